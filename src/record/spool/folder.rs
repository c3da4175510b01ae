//! The folder of spools: names, locks, and the calls that make and remove files durably.
//!
//! A spool is `<id>.lock` and `<id>.<position of the first byte, 20 digits>.spool`. Whoever holds the lock (`flock`) may
//! write or drain it; the kernel frees it when the process dies. It is made before the spool's first segment and
//! removed behind its last.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::SpoolError;

/// Ids tried for a new spool. Another sidecar may look into the folder between the making of a lock and its taking, and
/// remove what it takes for an empty spool of a dead one.
const ATTEMPTS_MAX: usize = 8;

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
}

/// What stands in the folder of one spool.
#[derive(Debug, Default)]
pub struct Found {
    pub has_lock: bool,
    /// Positions of the segments' first bytes, ascending.
    pub segments: Vec<u64>,
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let unusable = |error: io::Error| SpoolError::Folder {
            path: path.to_owned(),
            cause: error.to_string(),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unusable)?;
        let handle = File::open(path).map_err(unusable)?;
        handle.sync_all().map_err(unusable)?;
        Ok(Self {
            path: path.to_owned(),
            handle,
        })
    }

    /// Whether files can be made in it.
    pub fn check(&self) -> Result<(), SpoolError> {
        let path = self.path.join(format!("{}.check", Uuid::new_v4()));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let made = made.and_then(|_| std::fs::remove_file(&path));
        made.map_err(|error| SpoolError::Folder {
            path: self.path.clone(),
            cause: error.to_string(),
        })
    }

    /// Makes names that were made or removed durable.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    pub fn segment(&self, spool: &str, start: u64) -> PathBuf {
        self.path.join(format!("{spool}.{start:020}.spool"))
    }

    fn lock(&self, spool: &str) -> PathBuf {
        self.path.join(format!("{spool}.lock"))
    }

    /// A new spool's id and lock.
    pub fn begin(&self) -> Result<(String, Lock), SpoolError> {
        let unusable = |error: io::Error| SpoolError::Folder {
            path: self.path.clone(),
            cause: error.to_string(),
        };
        for _ in 0..ATTEMPTS_MAX {
            let spool = Uuid::now_v7().to_string();
            let file = Self::options()
                .create_new(true)
                .open(self.lock(&spool))
                .map_err(unusable)?;
            if let Some(lock) = Self::take(file).map_err(unusable)? {
                self.sync().map_err(unusable)?;
                return Ok((spool, lock));
            }
        }
        Err(unusable(io::Error::other("locks are taken by others")))
    }

    /// The lock of a spool whose owner is dead. `None` when it is alive, or somebody else has it or is done with it.
    pub fn adopt(&self, spool: &str) -> io::Result<Option<Lock>> {
        match Self::options().open(self.lock(spool)) {
            Ok(file) => Self::take(file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }

    /// Who was done with a spool removed the file before letting go of it.
    fn take(file: File) -> io::Result<Option<Lock>> {
        match file.try_lock() {
            Ok(()) if file.metadata()?.nlink() == 0 => Ok(None),
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// All spools, the oldest first.
    pub fn list(&self) -> io::Result<BTreeMap<String, Found>> {
        let mut spools = BTreeMap::<String, Found>::new();
        for entry in self.path.read_dir()? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            if let Some(spool) = name.strip_suffix(".lock").filter(|spool| is_id(spool)) {
                spools.entry(spool.to_owned()).or_default().has_lock = true;
            } else if let Some((spool, start)) = segment_of(name) {
                spools
                    .entry(spool.to_owned())
                    .or_default()
                    .segments
                    .push(start);
            }
        }
        for found in spools.values_mut() {
            found.segments.sort_unstable();
        }
        Ok(spools)
    }

    /// Makes an empty segment in the place of one of which nothing is durable. The caller syncs the folder.
    pub fn create_segment(&self, spool: &str, start: u64) -> io::Result<File> {
        self.remove_segment(spool, start)?;
        Self::options()
            .create_new(true)
            .open(self.segment(spool, start))
    }

    /// The caller syncs the folder.
    pub fn remove_segment(&self, spool: &str, start: u64) -> io::Result<()> {
        remove(&self.segment(spool, start))
    }

    /// Removes a spool, durably.
    pub fn remove_spool(&self, spool: &str, segments: &[u64]) -> io::Result<()> {
        for start in segments {
            self.remove_segment(spool, *start)?;
        }
        if !segments.is_empty() {
            self.sync()?;
        }
        remove(&self.lock(spool))?;
        self.sync()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn segment_of(name: &str) -> Option<(&str, u64)> {
    let (spool, start) = name.strip_suffix(".spool")?.split_once('.')?;
    let is_ours = is_id(spool) && start.len() == 20 && start.bytes().all(|b| b.is_ascii_digit());
    Some((spool, start.parse().ok().filter(|_| is_ours)?))
}

fn is_id(spool: &str) -> bool {
    Uuid::parse_str(spool).is_ok_and(|id| id.to_string() == spool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_read() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let good = format!("{id}.00000000000000000042.spool");
        assert_eq!(segment_of(&good), Some((id, 42)));
        for other in [
            format!("{id}.42.spool"),
            format!("{id}.+0000000000000000042.spool"),
            format!("{id}.99999999999999999999.spool"),
            format!("{}.00000000000000000042.spool", id.to_uppercase()),
            format!("../{id}.00000000000000000042.spool"),
            format!("{id}.lock"),
        ] {
            assert_eq!(segment_of(&other), None, "{other}");
        }
    }

    #[test]
    fn a_lock_that_was_removed_is_nobodys() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let (spool, lock) = folder.begin().unwrap();
        assert!(folder.adopt(&spool).unwrap().is_none(), "held");
        let late = File::open(folder.lock(&spool)).unwrap();
        folder.remove_spool(&spool, &[]).unwrap();
        drop(lock);
        assert!(Folder::take(late).unwrap().is_none(), "removed");
        assert!(folder.list().unwrap().is_empty());
    }
}
