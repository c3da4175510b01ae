//! A set of key patterns that answers in time proportional to the key, whatever the number of patterns.

use std::collections::HashMap;

use super::glob::{Glob, Rest};

/// Patterns, each with a value. Whole keys and `prefix*` patterns (nearly all that policies hold) are found by
/// hashing; other globs are tried one after the other.
#[derive(Debug, Clone)]
pub(super) struct PatternSet<T> {
    keys: HashMap<Box<[u8]>, T>,
    prefixes: HashMap<Box<[u8]>, T>,
    /// The different lengths in `prefixes`, longest first, so that the most specific pattern answers.
    prefix_lengths: Vec<usize>,
    globs: Vec<(Glob, T)>,
}

impl<T> Default for PatternSet<T> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            prefixes: HashMap::new(),
            prefix_lengths: Vec::new(),
            globs: Vec::new(),
        }
    }
}

impl<T: Copy> PatternSet<T> {
    /// Adds a pattern. The value that came first stays.
    pub(super) fn insert(&mut self, glob: &Glob, value: T) {
        let (prefix, rest) = glob.literal_prefix();
        match rest {
            Rest::Nothing => {
                self.keys.entry(prefix.into()).or_insert(value);
            }
            Rest::Anything => {
                let length = prefix.len();
                self.prefixes.entry(prefix.into()).or_insert(value);
                if let Err(at) = self
                    .prefix_lengths
                    .binary_search_by(|have| length.cmp(have))
                {
                    self.prefix_lengths.insert(at, length);
                }
            }
            Rest::Pattern => self.globs.push((glob.clone(), value)),
        }
    }

    /// The value of a pattern that matches `key`: the key itself, else the longest prefix, else the first glob.
    pub(super) fn key(&self, key: &[u8]) -> Option<T> {
        if let Some(value) = self.keys.get(key) {
            return Some(*value);
        }
        self.prefix(key)
            .or_else(|| self.globs.iter().find(|(g, _)| g.matches(key)).map(|g| g.1))
    }

    /// The value of a pattern that matches every key that `glob`, as a caller wrote it, can match.
    pub(super) fn containing(&self, glob: &[u8]) -> Option<T> {
        self.containing_glob(&Glob::lenient(glob)?)
    }

    pub(super) fn containing_glob(&self, glob: &Glob) -> Option<T> {
        let (literal, rest) = glob.literal_prefix();
        if rest == Rest::Nothing {
            return self.key(&literal);
        }
        self.prefix(&literal)
            .or_else(|| self.globs.iter().find(|g| g.0.contains(glob)).map(|g| g.1))
    }

    fn prefix(&self, key: &[u8]) -> Option<T> {
        self.prefix_lengths
            .iter()
            .filter_map(|length| key.get(..*length))
            .find_map(|prefix| self.prefixes.get(prefix))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(patterns: &[&str]) -> PatternSet<usize> {
        let mut set = PatternSet::default();
        for (at, pattern) in patterns.iter().enumerate() {
            set.insert(&Glob::strict(pattern).unwrap(), at);
        }
        set
    }

    #[test]
    fn the_most_specific_pattern_answers() {
        let set = set(&["a:*", "a:b:*", "a:b:c", "*:z", "x?z"]);
        for (key, expected) in [
            ("a:1", Some(0)),
            ("a:b:1", Some(1)),
            ("a:b:c", Some(2)),
            ("q:z", Some(3)),
            ("xyz", Some(4)),
            ("a", None),
            ("", None),
            ("xyyz", None),
        ] {
            assert_eq!(set.key(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn a_glob_is_allowed_only_inside_one_pattern() {
        let set = set(&["cache:*", "one", "v[0-9]:*"]);
        for (glob, expected) in [
            ("cache:*", Some(0)),
            ("cache:user:[ab]?", Some(0)),
            (r"cache\:*", Some(0)),
            ("[c]ache:*", Some(0)),
            ("one", Some(1)),
            ("v[12]:*:x", Some(2)),
            ("v7:*", Some(2)),
            ("cache*", None),
            ("*", None),
            ("?ache:*", None),
            ("on?", None),
            ("v*", None),
            ("v[0-a]:*", None),
            ("{cache}:*", None),
        ] {
            assert_eq!(set.containing(glob.as_bytes()), expected, "{glob}");
        }
        let long = format!("cache:{}*", "x".repeat(crate::decide::glob::GLOB_BYTES_MAX));
        assert_eq!(set.containing(long.as_bytes()), None);
    }
}
