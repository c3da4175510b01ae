//! A process under measurement: what `/proc` says of it, and how long it takes to serve.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::Fallible;
use crate::http::{Exchange, HttpClient};

/// Linux counts processor time for `/proc` in hundredths of a second on every architecture this builds for.
const TICKS_PER_SECOND: f64 = 100.0;
const START_TIMEOUT_S: u64 = 30;
/// How often a starting process is asked; the error of a start-up time is about as large.
const POLL_INTERVAL_US: u64 = 500;
const LOG_LINES_SHOWN: usize = 20;

/// How a server is started, again and again.
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Where it will listen.
    pub address: SocketAddr,
    /// Takes what it prints. Writing a log is part of a server's work, so it goes to a real file.
    pub log: PathBuf,
}

/// One process; dropping it kills it.
pub struct Process {
    pub address: SocketAddr,
    pid: u32,
    child: Child,
}

/// Resident memory in MB (1 MB = 1,000,000 bytes).
#[derive(Clone, Copy)]
pub struct Resident {
    pub now_mb: f64,
    pub peak_mb: f64,
}

impl Launch {
    /// Starts it, asks until the answer is the one expected, and says how long that took.
    pub async fn start(&self, exchange: &Exchange) -> Fallible<(Process, Duration)> {
        let started = Instant::now();
        let mut process = self.spawn()?;
        let took = self.served(&mut process.child, exchange, started).await?;
        Ok((process, took))
    }

    /// Starts it.
    pub fn spawn(&self) -> Fallible<Process> {
        let log = std::fs::File::create(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            // A `POSTGRES_HOST` or `RUST_LOG` left in a shell must not change what is measured.
            .env_clear()
            // Ends with us: the bare handler stops when it reads the end.
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start `{}`: {error}", self.program.display()))?;
        Ok(Process {
            address: self.address,
            pid: child.id().ok_or("a process that has not begun")?,
            child,
        })
    }

    /// The same, once somebody listens there.
    pub async fn listening(&self) -> Fallible<Process> {
        let mut process = self.spawn()?;
        let deadline = Instant::now() + Duration::from_secs(START_TIMEOUT_S);
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if process.child.try_wait()?.is_some() || Instant::now() > deadline {
                let (program, tail) = (self.program.display(), log_tail(&self.log));
                return Err(format!("`{program}` does not listen:\n{tail}").into());
            }
            tokio::time::sleep(Duration::from_micros(POLL_INTERVAL_US)).await;
        }
        Ok(process)
    }

    async fn served(
        &self,
        child: &mut Child,
        exchange: &Exchange,
        started: Instant,
    ) -> Fallible<Duration> {
        let deadline = started + Duration::from_secs(START_TIMEOUT_S);
        loop {
            let last = match ask_once(self.address, exchange).await {
                Ok(()) => return Ok(started.elapsed()),
                Err(fault) => fault,
            };
            if let Some(status) = child.try_wait()? {
                return Err(
                    format!("the process ended ({status}):\n{}", log_tail(&self.log)).into(),
                );
            }
            if Instant::now() > deadline {
                let tail = log_tail(&self.log);
                return Err(format!("no row after {START_TIMEOUT_S} s: {last}\n{tail}").into());
            }
            tokio::time::sleep(Duration::from_micros(POLL_INTERVAL_US)).await;
        }
    }
}

impl Process {
    /// Processor time since the start, in microseconds: user and system, all threads.
    pub fn cpu_us(&self) -> Fallible<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the name in parentheses, which may hold anything; utime and stime are the 14th
        // and 15th.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: Vec<f64> = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse().ok())
            .collect();
        match ticks.as_slice() {
            [user, system] => Ok((user + system) * 1_000_000.0 / TICKS_PER_SECOND),
            _ => Err("`/proc/PID/stat` is not understood".into()),
        }
    }

    pub fn resident(&self) -> Fallible<Resident> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let megabytes = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1_024.0 / 1_000_000.0)
        };
        let resident = megabytes("VmRSS:").zip(megabytes("VmHWM:"));
        let (now_mb, peak_mb) = resident.ok_or("`/proc/PID/status` is not understood")?;
        Ok(Resident { now_mb, peak_mb })
    }

    pub async fn stop(mut self) -> Fallible {
        self.child.kill().await?;
        Ok(())
    }
}

/// A loopback address whose port was free a moment ago.
pub fn free_address() -> Fallible<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

pub fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines.get(shown..).unwrap_or_default().join("\n")
}

async fn ask_once(address: SocketAddr, exchange: &Exchange) -> Fallible {
    let mut client = HttpClient::open(address, None).await?;
    client.ask(exchange).await
}
