//! The policy's text, and places in it.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// One policy file as it was read. `path` is what faults show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    pub path: String,
    pub text: String,
}

/// The files of one policy, kept for its faults and for naming the line of a grant.
#[derive(Debug, Clone)]
pub(super) struct Sources(Arc<[Source]>);

#[derive(Debug)]
struct Source {
    named: Arc<NamedSource<String>>,
    /// Where each line starts, so that a place is found without reading the text again.
    line_starts: Vec<usize>,
}

impl Sources {
    pub(super) fn new(files: &[PolicyFile]) -> Self {
        Self(files.iter().map(Source::new).collect())
    }

    pub(super) fn text(&self, file: usize) -> &str {
        self.0.get(file).map_or("", |source| source.named.inner())
    }

    pub(super) fn named(&self, file: usize) -> Option<Arc<NamedSource<String>>> {
        self.0.get(file).map(|source| Arc::clone(&source.named))
    }

    /// File, line and column of where `span` starts.
    pub(super) fn place(&self, span: &Span) -> Place {
        let Some(source) = self.0.get(span.file) else {
            return Place::default();
        };
        let line = source
            .line_starts
            .partition_point(|start| *start <= span.range.start);
        let line_start = line
            .checked_sub(1)
            .and_then(|index| source.line_starts.get(index))
            .copied()
            .unwrap_or_default();
        let before = source.named.inner().get(line_start..span.range.start);
        Place {
            file: source.named.name().to_owned(),
            line,
            column: before.map_or(0, |text| text.chars().count()) + 1,
        }
    }
}

impl Source {
    fn new(file: &PolicyFile) -> Self {
        let newlines = file.text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            line_starts: std::iter::once(0).chain(newlines).collect(),
            named: Arc::new(NamedSource::new(&file.path, file.text.clone())),
        }
    }
}

/// Bytes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) file: usize,
    pub(super) range: Range<usize>,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// Values by their names, in the order of the file.
pub(super) type WrittenTable = Written<Vec<(Written<String>, Written<String>)>>;

/// A place for people: lines and columns (in characters) count from one.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The same without the folder, which is nobody's business but the operator's.
    #[must_use]
    pub fn without_folder(&self) -> Self {
        let file = self.file.rsplit('/').next().unwrap_or_default();
        Self {
            file: file.to_owned(),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// SHA-256, in hexadecimal, of what the files say: line ends are read as `\n`, and a byte order mark is left
/// out. One file's digest is that of its text, so that `sha256sum policy.toml` prints it; several files' is
/// that of their sorted digests, a line each, so that neither the directory nor the file names change it.
pub fn digest(files: &[PolicyFile]) -> String {
    let mut digests: Vec<String> = files
        .iter()
        .map(|file| {
            let text = file.text.trim_start_matches('\u{feff}');
            hex(&Sha256::digest(text.replace("\r\n", "\n")))
        })
        .collect();
    digests.sort();
    match digests.as_slice() {
        [only] => only.clone(),
        several => hex(&Sha256::digest(several.join("\n"))),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> PolicyFile {
        PolicyFile {
            path: "p.toml".into(),
            text: text.into(),
        }
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let sources = Sources::new(&[file("a\nßß = x\n")]);
        for (start, line, column) in [(0, 1, 1), (1, 1, 2), (2, 2, 1), (9, 2, 6), (11, 3, 1)] {
            let range = start..start + 1;
            let place = sources.place(&Span { file: 0, range });
            assert_eq!((place.line, place.column), (line, column), "{start}");
        }
    }

    #[test]
    fn digest_ignores_line_ends_names_and_order() {
        let (a, b) = (file("version = 1\n"), file("# b\n"));
        assert_eq!(
            digest(std::slice::from_ref(&a)),
            "dbab12665d98aef021ba64953c61b0ed8a908cfb56a1c01e2fcb4b052b71a2a1"
        );
        assert_eq!(
            digest(&[file("version = 1\r\n")]),
            digest(std::slice::from_ref(&a))
        );
        assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b, a.clone()]));
        assert_ne!(digest(&[a.clone(), file("")]), digest(&[a]));
    }
}
