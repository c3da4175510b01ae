//! The data folder: who may enter it, who owns what in it, and whether we may remove it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::error::DevError;
use super::guardian::AtEnd;

/// Bytes of randomness in a password; written in hexadecimal, so that it needs no escaping anywhere.
const PASSWORD_BYTES: usize = 24;
/// The user that servers run as when we are root: three of the four refuse to run as root, and none should.
const UNPRIVILEGED_USER: &str = "nobody";
const UNPRIVILEGED_ID_DEFAULT: u32 = 65_534;
/// Tried in this order when no folder is named: a root-only TMPDIR must not stop a root user.
const TEMPORARY_FOLDERS: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
const SECRETS_FOLDER: &str = "secrets";
const LOCK_FILE: &str = "lock";
pub(crate) const STATE_FILE: &str = "dev.json";

/// The account that the servers run under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// Our own, which is not root.
    Current,
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl Account {
    pub(crate) fn for_servers() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Current;
        }
        let (uid, gid) = fs::read_to_string("/etc/passwd")
            .ok()
            .and_then(|text| ids_of(&text, UNPRIVILEGED_USER))
            .unwrap_or((UNPRIVILEGED_ID_DEFAULT, UNPRIVILEGED_ID_DEFAULT));
        Self::Other {
            name: UNPRIVILEGED_USER.to_owned(),
            uid,
            gid,
        }
    }

    /// The first ancestor (or the path itself) that this account may not enter or read.
    pub(crate) fn stopped_at(&self, path: &Path) -> Option<PathBuf> {
        let Self::Other { uid, gid, .. } = self else {
            return None;
        };
        path.ancestors()
            .filter(|ancestor| !ancestor.as_os_str().is_empty())
            .find(|ancestor| {
                ancestor.metadata().is_ok_and(|data| {
                    let bit = if data.uid() == *uid {
                        0o100
                    } else if data.gid() == *gid {
                        0o010
                    } else {
                        0o001
                    };
                    data.mode() & bit == 0
                })
            })
            .map(Path::to_owned)
    }

    fn own(&self, path: &Path) -> Result<(), DevError> {
        match self {
            Self::Current => Ok(()),
            Self::Other { uid, gid, .. } => std::os::unix::fs::lchown(path, Some(*uid), Some(*gid))
                .map_err(DevError::file("change the owner of", path)),
        }
    }
}

fn ids_of(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != user {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

/// One data folder, locked against a second `bulkhead dev` while this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    pub path: PathBuf,
    pub account: Account,
    pub at_end: AtEnd,
    _lock: File,
}

impl Folder {
    /// Opens the folder that was asked for, or makes one. `keep` decides what becomes of what we make.
    pub(crate) fn open(dir: Option<&Path>, keep: bool) -> Result<Self, DevError> {
        let account = Account::for_servers();
        let (path, made) = match dir {
            Some(dir) => named(dir)?,
            None => (temporary(&account)?, true),
        };
        let path = path.canonicalize().map_err(DevError::file("find", &path))?;
        let had_state = path.join(STATE_FILE).exists();
        if !made && !had_state && holds_anything(&path)? {
            return Err(DevError::Foreign { folder: path });
        }
        let at_end = match (keep || had_state, made) {
            (true, _) => AtEnd::Keep,
            (false, true) => AtEnd::Remove,
            (false, false) => AtEnd::Empty,
        };
        // Servers under another account pass through this folder to their own, without listing it.
        let mode = match account {
            Account::Current => 0o700,
            Account::Other { .. } => 0o711,
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(DevError::file("set the mode of", &path))?;
        if let (Some(closed), Account::Other { name, .. }) = (account.stopped_at(&path), &account) {
            if at_end == AtEnd::Remove {
                let _ = fs::remove_dir(&path);
            }
            return Err(DevError::Closed {
                account: name.clone(),
                closed,
                folder: path,
            });
        }
        let lock = lock(&path)?;
        Ok(Self {
            path,
            account,
            at_end,
            _lock: lock,
        })
    }

    /// A password of this folder: read if it is there, else drawn and written for us alone.
    pub(crate) fn password(&self, name: &str) -> Result<(PathBuf, SecretString), DevError> {
        let path = self.path.join(SECRETS_FOLDER).join(name);
        if let Some(secret) = self.kept_secret(name) {
            return Ok((path, secret));
        }
        let secret = random_password()?;
        self.keep_secret(name, &secret)?;
        Ok((path, secret))
    }

    pub(crate) fn kept_secret(&self, name: &str) -> Option<SecretString> {
        let text = fs::read_to_string(self.path.join(SECRETS_FOLDER).join(name)).ok()?;
        Some(SecretString::from(text.trim_end().to_owned()))
    }

    pub(crate) fn keep_secret(&self, name: &str, secret: &SecretString) -> Result<(), DevError> {
        let folder = self.path.join(SECRETS_FOLDER);
        private_folder(&folder, &Account::Current)?;
        let bytes = secret.expose_secret().as_bytes();
        write_private(&folder.join(name), bytes, &Account::Current)
    }
}

pub(crate) fn random_password() -> Result<SecretString, DevError> {
    let mut bytes = [0u8; PASSWORD_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(SecretString::from(hex(&bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a folder with mode 0700 for the account, if it is not there.
pub(crate) fn private_folder(path: &Path, account: &Account) -> Result<(), DevError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => account.own(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(DevError::file("make", path)(error)),
    }
}

/// Writes a new file with mode 0600 for the account, in place of one that is there.
///
/// The file appears whole or not at all, and no link that someone left in its place is followed.
pub(crate) fn write_private(path: &Path, bytes: &[u8], account: &Account) -> Result<(), DevError> {
    write(path, bytes, 0o600, account)
}

pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), DevError> {
    write(path, bytes, 0o644, &Account::Current)
}

fn write(path: &Path, bytes: &[u8], mode: u32, account: &Account) -> Result<(), DevError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&partial)
        .map_err(DevError::file("create", &partial))?;
    file.write_all(bytes)
        .map_err(DevError::file("write", &partial))?;
    account.own(&partial)?;
    fs::rename(&partial, path).map_err(DevError::file("put into place", path))
}

fn named(dir: &Path) -> Result<(PathBuf, bool), DevError> {
    if dir.is_dir() {
        return Ok((dir.to_owned(), false));
    }
    fs::create_dir_all(dir).map_err(DevError::file("make", dir))?;
    Ok((dir.to_owned(), true))
}

fn temporary(account: &Account) -> Result<PathBuf, DevError> {
    let parent = std::iter::once(std::env::temp_dir())
        .chain(TEMPORARY_FOLDERS.iter().map(PathBuf::from))
        .find(|folder| folder.is_dir() && account.stopped_at(folder).is_none())
        .unwrap_or_else(std::env::temp_dir);
    let mut bytes = [0u8; 6];
    getrandom::fill(&mut bytes)?;
    let path = parent.join(format!("bulkhead-dev-{}", hex(&bytes)));
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(DevError::file("make", &path))?;
    Ok(path)
}

fn holds_anything(path: &Path) -> Result<bool, DevError> {
    let mut entries = fs::read_dir(path).map_err(DevError::file("list", path))?;
    Ok(entries.next().is_some())
}

fn lock(folder: &Path) -> Result<File, DevError> {
    let path = folder.join(LOCK_FILE);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(DevError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DevError::InUse {
            folder: folder.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(DevError::file("lock", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwd_lines_are_read_by_field() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\n";
        assert_eq!(ids_of(passwd, "nobody"), Some((65_534, 65_533)));
        assert_eq!(ids_of(passwd, "root"), Some((0, 0)));
        assert_eq!(ids_of(passwd, "body"), None);
        assert_eq!(ids_of("nobody:x:abc:1", "nobody"), None);
    }

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for text in ["first", "second"] {
            write_private(&path, text.as_bytes(), &Account::Current).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_other_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
        let refused = Folder::open(Some(dir.path()), false);
        assert!(matches!(refused, Err(DevError::Foreign { .. })));
    }

    #[test]
    fn passwords_are_drawn_once() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let folder = Folder::open(Some(&dir.path().join("data")), false).unwrap();
        let (path, first) = folder.password("a").unwrap();
        let (_, again) = folder.password("a").unwrap();
        let (_, other) = folder.password("b").unwrap();
        assert_eq!(first.expose_secret().len(), PASSWORD_BYTES * 2);
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert_ne!(first.expose_secret(), other.expose_secret());
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }
}
