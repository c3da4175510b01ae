//! What can go wrong while private servers are started. Every message is for a developer's terminal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::operation::Store;

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot find `{program}`; run `scripts/setup.sh` to install it, or {otherwise}")]
    Missing {
        program: &'static str,
        otherwise: &'static str,
    },
    #[error("cannot run `{}`: {source}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("`{program}` ended with {status}; the end of `{}`:\n{tail}", log.display())]
    Ended {
        program: String,
        status: ExitStatus,
        log: PathBuf,
        tail: String,
    },
    #[error("{what} did not answer within {seconds} s, see `{}`: {cause}", log.display())]
    Silent {
        what: String,
        seconds: u64,
        log: PathBuf,
        cause: String,
    },
    #[error("{store} is not running; `start {store}` first")]
    NotRunning { store: Store },
    #[error("{store} is running already; `kill {store}` or `stop {store}` first")]
    Running { store: Store },
    #[error("{store}: cannot {step}: {cause}")]
    SetUp {
        store: Store,
        step: &'static str,
        cause: String,
    },
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error(
        "`{}` is there and `{}` is not: nothing is written over; put the other back, or take it away", there.display(), missing.display()
    )]
    Half { there: PathBuf, missing: PathBuf },
    #[error("no free loopback port was found in {attempts} attempts")]
    NoPort { attempts: u32 },
    #[error("the operating system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(
        "the servers run as `{account}`, which cannot enter `{}` to reach `{}`; choose a folder \
         whose parents everyone may enter, such as one in `/var/tmp`", closed.display(), folder.display()
    )]
    Closed {
        account: String,
        closed: PathBuf,
        folder: PathBuf,
    },
    #[error(
        "`{}` holds other files; choose an empty folder or one that `bulkhead dev --keep` made", folder.display()
    )]
    Foreign { folder: PathBuf },
    #[error("another `bulkhead dev` is using `{}`; stop it or choose another folder", folder.display())]
    InUse { folder: PathBuf },
    #[error("`{}` is not a state this version understands: {cause}; remove the folder to start anew", path.display())]
    State { path: PathBuf, cause: String },
    #[error("cannot create an API key: {0}")]
    Key(String),
    #[error(
        "`{line}` is not a command; use `kill`, `stop`, `start` or `restart` and a store's name"
    )]
    Control { line: String },
}

impl DevError {
    pub(crate) fn half(there: &Path, missing: &Path) -> Self {
        Self::Half {
            there: there.to_owned(),
            missing: missing.to_owned(),
        }
    }

    /// For `map_err`: the closure that names the file and what was being done to it.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For `map_err` on a driver's error, whatever its type.
    pub(crate) fn set_up<E: std::fmt::Display>(
        store: Store,
        step: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |cause| Self::SetUp {
            store,
            step,
            cause: cause.to_string(),
        }
    }
}
