//! The file of exported seals: every seal of the database, a JSON line each, synced. It is only ever appended to, so that it
//! may be a file that the system lets grow alone (`chattr +a`), or one on a log collector's disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use crate::trail::{Seal, sql};

/// Seals that are appended at once.
const BATCH_MAX: i64 = 100;

/// Bytes of the file's end that are searched for its last seal.
const TAIL_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{0}")]
    File(#[from] io::Error),
    #[error("{}", crate::system::describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("the last {TAIL_BYTES_MAX} bytes of the file hold no seal")]
    NoSeal,
}

/// Where the file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct End {
    /// The last seal in it; 0 if there is none.
    seal: i64,
    /// A crash has cut its last line.
    is_cut: bool,
}

pub struct Export {
    path: PathBuf,
    /// `None` until the file was read, and after anything went wrong with it.
    end: Option<End>,
    failing: Option<String>,
}

impl Export {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            end: None,
            failing: None,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the last round did not fail in the same way.
    pub fn is_news(&mut self, error: &ExportError) -> bool {
        let error = error.to_string();
        let is_news = self.failing.as_ref() != Some(&error);
        self.failing = Some(error);
        is_news
    }

    /// Appends the seals that the file lacks.
    pub async fn catch_up(&mut self, client: &Client) -> Result<(), ExportError> {
        // Whatever goes wrong, the file's end is looked up again.
        let mut end = match self.end.take() {
            Some(end) => end,
            None => {
                let path = self.path.clone();
                blocking(move || read_end(&path)).await?
            }
        };
        loop {
            let statement = format!(
                "SELECT {} FROM public.audit_seals WHERE audit_seals.seal > $1 ORDER BY audit_seals.seal LIMIT $2",
                sql::SEAL
            );
            let rows = client.query(&statement, &[&end.seal, &BATCH_MAX]).await?;
            let seals: Vec<Seal> = rows.iter().map(sql::seal).collect::<Result<_, _>>()?;
            let Some(last) = seals.last().map(|seal| seal.seal) else {
                break;
            };
            let (path, is_cut) = (self.path.clone(), end.is_cut);
            blocking(move || append(&path, &seals, is_cut)).await?;
            end = End {
                seal: last,
                is_cut: false,
            };
        }
        self.end = Some(end);
        self.failing = None;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error).into()),
    }
}

/// In one write, after a line of its own for what a crash has cut.
fn append(path: &Path, seals: &[Seal], is_cut: bool) -> Result<(), ExportError> {
    let mut lines = Vec::new();
    if is_cut {
        lines.push(b'\n');
    }
    for seal in seals {
        serde_json::to_writer(&mut lines, seal).map_err(io::Error::from)?;
        lines.push(b'\n');
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&lines)?;
    file.sync_all()?;
    Ok(())
}

/// Reads backwards from the file's end, more each time, until a line is a seal.
fn read_end(path: &Path) -> Result<End, ExportError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(End::default()),
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    let mut taken: u64 = 64 << 10;
    loop {
        let from = length.saturating_sub(taken);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        (&mut file).take(length - from).read_to_end(&mut text)?;
        let is_cut = text.last().is_some_and(|byte| *byte != b'\n');
        let mut lines = text.rsplit(|byte| *byte == b'\n');
        // What stands after the last line's end is not a whole one.
        lines.next();
        let last = lines.find_map(|line| serde_json::from_slice::<Seal>(line).ok());
        match last {
            Some(seal) => {
                return Ok(End {
                    seal: seal.seal,
                    is_cut,
                });
            }
            None if from == 0 => return Ok(End { seal: 0, is_cut }),
            None if taken >= TAIL_BYTES_MAX => return Err(ExportError::NoSeal),
            None => taken *= 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::{Head, Hex, Micros};

    #[test]
    fn a_file_that_a_crash_has_cut_goes_on_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seals.jsonl");
        let end = || read_end(&path).unwrap();
        let at = |seal, is_cut| End { seal, is_cut };
        assert_eq!(end(), at(0, false));
        // A line longer than what is read first.
        let heads: Vec<Head> = (0..2_000)
            .map(|chain| Head {
                chain,
                seq: 1,
                hash: Hex::zeros(),
            })
            .collect();
        let first = Seal::new(None, Micros(1), None, &heads, None);
        let second = Seal::new(Some((1, &first.hash)), Micros(1), None, &heads, None);
        append(&path, std::slice::from_ref(&first), false).unwrap();
        assert_eq!(end(), at(1, false));
        let whole = std::fs::read(&path).unwrap();
        append(&path, std::slice::from_ref(&second), false).unwrap();
        assert_eq!(end(), at(2, false));
        let both = std::fs::read(&path).unwrap();
        for length in [10, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(end(), at(0, true));
        }
        std::fs::write(&path, &both[..whole.len() + 10]).unwrap();
        assert_eq!(end(), at(1, true));
        append(&path, &[second], true).unwrap();
        assert_eq!(end(), at(2, false));
        let mut lines = crate::trail::file::SealLines::default();
        let text = std::fs::read_to_string(&path).unwrap();
        let seals: Vec<_> = (1..)
            .zip(text.lines())
            .filter_map(|(number, line)| lines.line(number, line).unwrap())
            .map(|seal| seal.seal)
            .collect();
        assert_eq!(seals, [1, 2]);
    }
}
