//! Whether two globs can match the same key.

use super::Glob;
use super::read::Token;

impl Glob {
    /// Whether some key is matched by both. Exact; takes the product of their lengths.
    pub(in crate::decide) fn may_meet(&self, other: &Self) -> bool {
        let width = other.tokens.len();
        // For each position in `other`, whether what is left of both can match the same: from the end backwards.
        let mut after: Vec<bool> = Vec::new();
        for at in (0..=self.tokens.len()).rev() {
            let mut here = vec![false; width + 1];
            for column in (0..=width).rev() {
                let get = |row: &[bool], column: usize| row.get(column).copied().unwrap_or(false);
                let meets = match (self.tokens.get(at), other.tokens.get(column)) {
                    (None, None) => true,
                    (Some(Token::Star), _) => get(&after, column) || get(&here, column + 1),
                    (_, Some(Token::Star)) => get(&here, column + 1) || get(&after, column),
                    (Some(one), Some(two)) => get(&after, column + 1) && share_a_byte(*one, *two),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                if let Some(slot) = here.get_mut(column) {
                    *slot = meets;
                }
            }
            after = here;
        }
        after.first().copied().unwrap_or(false)
    }
}

fn share_a_byte(one: Token, two: Token) -> bool {
    match (one, two) {
        (Token::Byte(one), two) => two.accepts(one),
        (one, Token::Byte(two)) => one.accepts(two),
        (one, two) => (0..=u8::MAX).any(|byte| one.accepts(byte) && two.accepts(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_that_match_the_same_key() {
        for (one, two, expected) in [
            ("cache:*", "cache:secret:*", true),
            ("cache:user:*", "cache:secret:*", false),
            ("*", "a", true),
            ("*:secret", "cache:*", true),
            ("*:secret", "cache:?", false),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("[ab]x", "[bc]x", true),
            ("[a]x", "[bc]x", false),
            ("a*c*e", "*b*d*", true),
            ("", "", true),
            ("", "*", true),
            ("", "a", false),
        ] {
            let (one, two) = (Glob::lenient(one.as_bytes()), Glob::lenient(two.as_bytes()));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert_eq!(one.may_meet(&two), expected, "{one:?} {two:?}");
            assert_eq!(two.may_meet(&one), expected, "{two:?} {one:?}");
        }
    }
}
