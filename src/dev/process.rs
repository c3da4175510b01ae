//! One server process, or one program that prepares a data folder.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::error::DevError;
use super::folder::Account;
use super::guardian::Guardian;

/// How long a server may take to end by itself before it is killed.
const STOP_TIMEOUT_S: u64 = 20;
/// How long a program that prepares a data folder may take, on a slow and busy machine.
const PREPARE_TIMEOUT_S: u64 = 120;
/// How much of a log an error shows.
const TAIL_LINES: usize = 12;
const TAIL_BYTES_MAX: u64 = 8 * 1024;

/// How to run a program: nothing of our own environment reaches it but where to find other programs.
#[derive(Debug)]
pub(crate) struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Its working folder and home.
    pub folder: PathBuf,
    pub account: Account,
    pub log: PathBuf,
    /// The variables of our own environment that the program shall have too.
    pub inherit: &'static [&'static str],
    /// The signal that ends it in an orderly way.
    pub stop: Signal,
    /// The signal that ends it at once, leaving nothing behind in the system; its data may need recovery.
    pub abort: Signal,
}

impl Launch {
    fn name(&self) -> String {
        self.program.file_name().map_or_else(
            || self.program.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    fn spawn(&self) -> Result<(Child, u64), DevError> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(DevError::file("open", &self.log))?;
        let log_start = log.metadata().map(|data| data.len()).unwrap_or(0);
        let errors = log.try_clone().map_err(DevError::file("open", &self.log))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", search_path(&self.program))
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0);
        for name in self.inherit {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Account::Other { uid, gid, .. } = self.account {
            // The standard library also drops root's supplementary groups here.
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().map_err(|source| DevError::Spawn {
            program: self.program.clone(),
            source,
        })?;
        Ok((child, log_start))
    }

    /// Runs a program to its end.
    pub(crate) async fn run(self, guardian: &Guardian) -> Result<(), DevError> {
        let mut process = Process::start(self, guardian)?;
        let waited =
            tokio::time::timeout(Duration::from_secs(PREPARE_TIMEOUT_S), process.wait()).await;
        let Ok(waited) = waited else {
            process.kill().await?;
            return Err(DevError::Silent {
                what: process.launch.name(),
                seconds: PREPARE_TIMEOUT_S,
                log: process.launch.log.clone(),
                cause: "it was still running".to_owned(),
            });
        };
        let status = waited?;
        if status.success() {
            Ok(())
        } else {
            Err(process.ended(status))
        }
    }
}

/// A running program. Dropping it sends its abort signal, and what that does not end, the guardian does.
#[derive(Debug)]
pub(crate) struct Process {
    launch: Launch,
    child: Child,
    pid: u32,
    log_start: u64,
    guardian: Guardian,
    /// Once waited for, the id may be another's: it must not be signalled again.
    reaped: bool,
}

impl Process {
    pub(crate) fn start(launch: Launch, guardian: &Guardian) -> Result<Self, DevError> {
        let (child, log_start) = launch.spawn()?;
        let pid = child.id().unwrap_or(0);
        guardian.add(pid, signal_name(launch.abort));
        Ok(Self {
            launch,
            child,
            pid,
            log_start,
            guardian: guardian.clone(),
            reaped: false,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn log(&self) -> &Path {
        &self.launch.log
    }

    /// The status, if the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.forget();
        Some(status)
    }

    /// The error for a process that ended by itself when it should not have.
    pub(crate) fn ended(&self, status: ExitStatus) -> DevError {
        DevError::Ended {
            program: self.launch.name(),
            status,
            log: self.launch.log.clone(),
            tail: tail(&self.launch.log, self.log_start),
        }
    }

    /// Ends the process with its orderly signal, and by force when that takes too long.
    pub(crate) async fn stop(&mut self) -> Result<(), DevError> {
        self.end_with(self.launch.stop).await
    }

    /// Ends the process at once; its data is about to be removed.
    pub(crate) async fn abort(&mut self) -> Result<(), DevError> {
        self.end_with(self.launch.abort).await
    }

    /// What a crash does: SIGKILL, no farewell.
    pub(crate) async fn kill(&mut self) -> Result<(), DevError> {
        self.end_with(Signal::KILL).await
    }

    async fn end_with(&mut self, signal: Signal) -> Result<(), DevError> {
        if self.has_ended().is_some() {
            return Ok(());
        }
        self.signal(signal);
        let patience = Duration::from_secs(STOP_TIMEOUT_S);
        if tokio::time::timeout(patience, self.wait()).await.is_err() {
            self.signal(Signal::KILL);
            self.wait().await?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !self.reaped) {
            // The only failure left is that the process has ended, which the wait will find.
            let _ = kill_process(pid, signal);
        }
    }

    async fn wait(&mut self) -> Result<ExitStatus, DevError> {
        let status = self.child.wait().await.map_err(|source| DevError::Spawn {
            program: self.launch.program.clone(),
            source,
        })?;
        self.forget();
        Ok(status)
    }

    fn forget(&mut self) {
        if !self.reaped {
            self.reaped = true;
            self.guardian.drop_pid(self.pid);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.launch.abort);
    }
}

fn signal_name(signal: Signal) -> &'static str {
    if signal == Signal::QUIT {
        "QUIT"
    } else if signal == Signal::TERM {
        "TERM"
    } else {
        "KILL"
    }
}

/// Scripts such as mariadb-install-db look for their companions beside themselves and on PATH.
fn search_path(program: &Path) -> OsString {
    let own = program.parent().map(Path::to_owned);
    let usual = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let folders = own.into_iter().chain(usual.iter().map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin"))
}

/// The last lines that were written to the log since `start`.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let from = start.max(length.saturating_sub(TAIL_BYTES_MAX));
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(TAIL_LINES);
    lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}
