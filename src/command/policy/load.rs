//! Reads policy files. `decide` itself does no IO.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::decide::{Policy, PolicyFaults, PolicyFile};

/// Largest policy file, in bytes.
pub const POLICY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files of one policy.
pub const POLICY_FILES_MAX: usize = 1000;

/// How the name of a file with test cases ends.
const TEST_SUFFIX: &str = ".test.toml";

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    #[error("cannot read `{}`: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("`{}` is larger than {POLICY_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("`{}` is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("`{}` has no `*.toml` file", .0.display())]
    NoFile(PathBuf),
    #[error("`{}` has more than {POLICY_FILES_MAX} files", .0.display())]
    TooManyFiles(PathBuf),
    #[error(transparent)]
    Faults(#[from] PolicyFaults),
}

/// Reads and compiles a policy: one file, or the `*.toml` files of a directory (`*.test.toml` apart), merged.
pub fn load(path: &Path) -> Result<Policy, LoadFault> {
    PolicyText::read(path)?.compile()
}

/// The files of a policy, read and not yet compiled.
pub struct PolicyText(Vec<PolicyFile>);

impl PolicyText {
    pub fn read(path: &Path) -> Result<Self, LoadFault> {
        Ok(Self(read_all(&policy_files(path)?)?))
    }

    /// The digest of the policy that these would make.
    pub fn digest(&self) -> String {
        crate::decide::digest(&self.0)
    }

    pub fn compile(self) -> Result<Policy, LoadFault> {
        Ok(Policy::compile(&self.0)?)
    }
}

/// The files of a policy, in the order of their names.
fn policy_files(path: &Path) -> Result<Vec<PathBuf>, LoadFault> {
    if !is_directory(path)? {
        return Ok(vec![path.to_owned()]);
    }
    let files = toml_files(path, |name| !name.ends_with(TEST_SUFFIX))?;
    if files.is_empty() {
        return Err(LoadFault::NoFile(path.to_owned()));
    }
    Ok(files)
}

/// The files with test cases beside a policy: those of its directory, but for the ones that are named after
/// another policy file there (`other.test.toml` beside `other.toml`).
pub(super) fn test_files(path: &Path) -> Result<Vec<PathBuf>, LoadFault> {
    if is_directory(path)? {
        return toml_files(path, |name| name.ends_with(TEST_SUFFIX));
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let own = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    toml_files(directory, |name| {
        let Some(stem) = name.strip_suffix(TEST_SUFFIX) else {
            return false;
        };
        let policy = format!("{stem}.toml");
        own.as_ref() == Some(&policy) || !directory.join(policy).exists()
    })
}

pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<PolicyFile>, LoadFault> {
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<PolicyFile, LoadFault> {
    let unread = |error| LoadFault::Read {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unread)?;
    let read = file
        .take(POLICY_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if read as u64 > POLICY_BYTES_MAX {
        return Err(LoadFault::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| LoadFault::NotText(path.to_owned()))?;
    Ok(PolicyFile {
        path: path.display().to_string(),
        text,
    })
}

fn is_directory(path: &Path) -> Result<bool, LoadFault> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) => Err(LoadFault::Read {
            path: path.to_owned(),
            error,
        }),
    }
}

/// The directory's own `*.toml` files with a wanted name, sorted. Names that begin with a dot are left out:
/// Kubernetes keeps the versions of a mounted ConfigMap under such names.
fn toml_files(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, LoadFault> {
    let unread = |error| LoadFault::Read {
        path: directory.to_owned(),
        error,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') || !name.ends_with(".toml") || !wanted(name) {
            continue;
        }
        if files.len() >= POLICY_FILES_MAX {
            return Err(LoadFault::TooManyFiles(directory.to_owned()));
        }
        files.push(directory.join(name));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let names = paths.iter().map(|path| path.file_name().unwrap());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_directory_is_its_toml_files_and_tests_belong_to_their_policy() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "b.toml",
            "a.toml",
            "a.test.toml",
            "b.test.toml",
            "x.test.toml",
            ".c.toml",
            "d",
        ] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let path = directory.path();
        assert_eq!(names(&policy_files(path).unwrap()), ["a.toml", "b.toml"]);
        assert_eq!(
            names(&policy_files(&path.join("b.toml")).unwrap()),
            ["b.toml"]
        );
        for (asked, expected) in [
            (
                path.to_owned(),
                vec!["a.test.toml", "b.test.toml", "x.test.toml"],
            ),
            (path.join("a.toml"), vec!["a.test.toml", "x.test.toml"]),
        ] {
            assert_eq!(names(&test_files(&asked).unwrap()), expected);
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("p.toml");
        fs::write(&binary, [0xff]).unwrap();
        assert!(matches!(load(&binary), Err(LoadFault::NotText(_))));
        fs::remove_file(binary).unwrap();
        assert!(matches!(load(directory.path()), Err(LoadFault::NoFile(_))));
        let absent = directory.path().join("absent.toml");
        assert!(matches!(load(&absent), Err(LoadFault::Read { .. })));
    }
}
