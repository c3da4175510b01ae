//! Events that must not be lost on their way into the audit table: a file that survives SIGKILL, a crash of the machine, an
//! outage of PostgreSQL and a full disk.
//!
//! Each process writes a spool of its own: a stream of lines (`line.rs`) with positions from 0, kept in segments (`folder.rs`). One
//! thread writes and syncs (`writer.rs`): what waits is written together and made durable by one `fdatasync`. The
//! [`Drain`] reads what is durable (`reader.rs`), also of the spools of dead sidecars in the same folder, and removes
//! what it is told was committed.

mod drain;
mod folder;
mod line;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use drain::{Batch, Drain};
pub use line::RECORD_BYTES_MAX;
use writer::Shared;

/// Bytes of one segment. A small spool has smaller ones, so that what was drained frees the disk soon.
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A spool that is smaller is refused.
pub const SPOOL_BYTES_MIN: u64 = 1024 * 1024;

/// Records, and bytes of their lines, that wait in memory for the disk.
const PENDING_RECORDS_MAX: u64 = 8192;
const PENDING_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How long one append waits for the disk.
const APPEND_WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct SpoolSettings {
    pub dir: PathBuf,
    /// Bytes of this process that are not drained yet. The files may take one segment more.
    pub bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "the audit spool cannot be kept in `{}`: {cause}; set [audit] spool_dir to a folder that this process may make files in, on a disk of this machine",
        path.display()
    )]
    Folder { path: PathBuf, cause: String },
    #[error("an audit spool of {bytes_max} bytes is too small; give it at least {SPOOL_BYTES_MIN}")]
    Small { bytes_max: u64 },
    #[error(
        "the audit spool is full: {bytes} of {bytes_max} bytes wait for the database; see that PostgreSQL takes audit records, or give the spool more room"
    )]
    Full { bytes: u64, bytes_max: u64 },
    #[error("the disk of the audit spool does not keep up: {records} records wait for it")]
    Behind { records: u64 },
    #[error("the audit spool cannot use its disk: {0}")]
    Disk(String),
    #[error("an audit record has {bytes} bytes, of at most {RECORD_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("an audit record holds a newline")]
    Newline,
    #[error("the audit spool is closed")]
    Closed,
    #[error("the disk of the audit spool did not take a record within {} s", APPEND_WAIT_MAX.as_secs())]
    TimedOut,
}

/// Whether a spool can be kept in the folder: makes it, and a file in it that is removed again.
pub fn check(dir: &Path) -> Result<(), SpoolError> {
    folder::Folder::open(dir)?.check()
}

/// Makes the folder (0700) and a spool of this process in it (files 0600), and takes over those of dead sidecars.
pub fn open(settings: SpoolSettings) -> Result<(Spool, Drain), SpoolError> {
    let shared = Shared::begin(&settings)?;
    let drain = Drain::begin(Arc::clone(&shared))?;
    writer::start(&shared)?;
    let writing = Arc::new(Writing(shared));
    Ok((Spool { writing }, drain))
}

/// The writing end. When the last one is dropped, what was noted is written and the thread ends: see [`Drain::closed`].
#[derive(Debug, Clone)]
pub struct Spool {
    writing: Arc<Writing>,
}

#[derive(Debug)]
struct Writing(Arc<Shared>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Spool {
    /// The record, a JSON text without newlines, is durable when this returns `Ok`. On `TimedOut`, or when cancelled, a record
    /// that the disk has not been given yet is taken back; one under way may become durable all the same.
    pub async fn append(&self, record: Vec<u8>) -> Result<(), SpoolError> {
        let (waiter, done) = oneshot::channel();
        self.writing.0.push(record, Some(waiter))?;
        match tokio::time::timeout(APPEND_WAIT_MAX, done).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(SpoolError::Closed),
            Err(_) => Err(SpoolError::TimedOut),
        }
    }

    /// The same without waiting: durable with the next sync. While the disk fails it stays in memory, bounded, and is
    /// tried again.
    pub fn note(&self, record: Vec<u8>) -> Result<(), SpoolError> {
        self.writing.0.push(record, None)
    }

    /// Of this process, not drained yet.
    pub fn bytes(&self) -> u64 {
        self.writing.0.undrained().0
    }

    /// Of this process, not drained yet.
    pub fn records(&self) -> u64 {
        self.writing.0.undrained().1
    }

    /// Records that wait in memory for the disk.
    pub fn pending(&self) -> u64 {
        self.writing.0.pending()
    }

    /// Of dead sidecars, taken over and not drained yet.
    pub fn adopted_bytes(&self) -> u64 {
        self.writing.0.adopted_bytes()
    }

    /// Calls of `fdatasync` so far.
    pub fn syncs(&self) -> u64 {
        self.writing.0.syncs()
    }
}
