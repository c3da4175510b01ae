//! The sidecar in front of the private servers: the real program, started as a user would start it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::error::DevError;
use super::folder::Account;
use super::process::{Launch, Process};
use super::ready::Listeners;
use super::{Servers, ports, settings};

/// The ports that DESIGN gives the two listeners.
const DEFAULT: Listeners = Listeners {
    http: 8080,
    admin: 9090,
};
const READY_TIMEOUT_S: u64 = 60;
const ANSWER_TIMEOUT_S: u64 = 5;
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const POLL_INTERVAL_MS: u64 = 20;
const START_ATTEMPTS_MAX: u32 = 5;
/// What a developer may want to set for the sidecar. The variables that override its configuration are not
/// among them: a `POSTGRES_HOST` left in a shell must not lead a private sidecar to another database.
const INHERITED: [&str; 4] = [
    "RUST_LOG",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "LLVM_PROFILE_FILE",
];

/// A running sidecar. Dropping it kills the process.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    pub listeners: Listeners,
    pub config: PathBuf,
}

impl Sidecar {
    /// Writes the configuration, starts `bulkhead serve` on it and returns when it is ready.
    ///
    /// # Errors
    /// When the sidecar ends, or is not ready within a minute.
    pub async fn start(servers: &mut Servers, choice: Choice) -> Result<Self, DevError> {
        let mut listeners = choose(servers, choice)?;
        let mut attempts = 0;
        loop {
            let config = settings::write(servers, listeners)?;
            let process = Process::start(launch(servers, &config)?, &servers.guardian)?;
            let mut sidecar = Self {
                process,
                listeners,
                config,
            };
            match sidecar.wait_ready().await {
                Ok(()) => {
                    servers.state.set_listeners(listeners);
                    servers.state.write(servers.folder())?;
                    return Ok(sidecar);
                }
                // Someone took the port between our choice and its bind.
                Err(DevError::Ended { tail, .. })
                    if attempts < START_ATTEMPTS_MAX && tail.contains("ddress already in use") =>
                {
                    attempts += 1;
                    listeners = free()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The error to show, if the sidecar has ended by itself.
    pub fn has_ended(&mut self) -> Option<DevError> {
        let status = self.process.has_ended()?;
        Some(self.process.ended(status))
    }

    /// Lets the sidecar finish what it is doing.
    ///
    /// # Errors
    /// When the process could not be waited for.
    pub async fn stop(mut self) -> Result<(), DevError> {
        self.process.stop().await
    }

    async fn wait_ready(&mut self) -> Result<(), DevError> {
        let deadline = Instant::now() + Duration::from_secs(READY_TIMEOUT_S);
        loop {
            if let Some(error) = self.has_ended() {
                return Err(error);
            }
            let patience = Duration::from_secs(ANSWER_TIMEOUT_S);
            let status = tokio::time::timeout(patience, status_of(self.listeners.admin)).await;
            let cause = match status {
                Ok(Ok(200)) => return Ok(()),
                Ok(Ok(status)) => format!("/readyz answered {status}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "/readyz did not answer".to_owned(),
            };
            if Instant::now() > deadline {
                return Err(DevError::Silent {
                    what: "the sidecar".to_owned(),
                    seconds: READY_TIMEOUT_S,
                    log: self.process.log().to_owned(),
                    cause,
                });
            }
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
        }
    }
}

/// Which ports the sidecar should have, when the folder does not remember any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Those that people expect, if both are free.
    Default,
    /// Any: several may run side by side, and a file says where.
    Free,
}

/// # Errors
/// When there are no free ports.
pub fn choose(servers: &Servers, choice: Choice) -> Result<Listeners, DevError> {
    let default = match choice {
        Choice::Default => Some(DEFAULT),
        Choice::Free => None,
    };
    let is_free =
        |listeners: &Listeners| ports::is_free(listeners.http) && ports::is_free(listeners.admin);
    match servers.state.listeners().or(default).filter(is_free) {
        Some(listeners) => Ok(listeners),
        None => free(),
    }
}

fn free() -> Result<Listeners, DevError> {
    let http = ports::free()?;
    let mut admin = ports::free()?;
    while admin == http {
        admin = ports::free()?;
    }
    Ok(Listeners { http, admin })
}

fn launch(servers: &Servers, config: &Path) -> Result<Launch, DevError> {
    let program = std::env::current_exe().map_err(|source| DevError::Spawn {
        program: "bulkhead".into(),
        source,
    })?;
    Ok(Launch {
        program,
        arguments: vec!["serve".into(), "--config".into(), config.into()],
        folder: servers.folder().to_owned(),
        // It reads secrets that the servers' account must not read.
        account: Account::Current,
        log: servers.folder().join("logs/sidecar.log"),
        inherit: &INHERITED,
        stop: Signal::TERM,
        abort: Signal::KILL,
    })
}

/// The status of `GET /readyz`. One request on one connection needs no HTTP library.
async fn status_of(port: u16) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request =
        format!("GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}
