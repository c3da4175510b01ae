//! Changes to a text at places that do not overlap.

use std::ops::Range;

/// What replaces what, by bytes of the text.
#[derive(Debug, Default)]
pub struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub fn replace(&mut self, bytes: Range<usize>, text: String) {
        self.0.push((bytes, text));
    }

    pub fn insert(&mut self, at: usize, text: String) {
        self.replace(at..at, text);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changed text; `None` if two changes meet. Insertions at one place keep their order.
    pub fn apply(mut self, text: &str) -> Option<String> {
        self.0
            .sort_by_key(|(bytes, _)| (bytes.start, !bytes.is_empty()));
        let grown: usize = self.0.iter().map(|(_, text)| text.len()).sum();
        let mut out = String::with_capacity(text.len() + grown);
        let mut end = 0;
        for (bytes, replacement) in self.0 {
            out.push_str(text.get(end..bytes.start)?);
            out.push_str(&replacement);
            end = bytes.end;
        }
        out.push_str(text.get(end..)?);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_made_at_their_places() {
        for (changes, expected) in [
            (vec![], Some("abcdef")),
            (vec![(1..2, "X"), (4..6, "")], Some("aXcd")),
            (
                vec![(3..3, "1"), (0..0, "<"), (3..3, "2")],
                Some("<abc12def"),
            ),
            (vec![(3..4, "X"), (3..3, "1")], Some("abc1Xef")),
            (vec![(1..4, "X"), (2..3, "Y")], None),
            (vec![(1..4, "X"), (3..3, "Y")], None),
        ] {
            let mut edits = Edits::default();
            for (bytes, text) in changes {
                edits.replace(bytes, text.to_owned());
            }
            assert_eq!(edits.apply("abcdef").as_deref(), expected);
        }
    }
}
