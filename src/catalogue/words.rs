//! Whether a statement's text may hold a name. Says yes where it is not sure.

use super::When;

/// PostgreSQL cuts longer identifiers, so that a longer word in the text may mean this one.
const IDENTIFIER_BYTES_CUT: usize = 60;

/// A statement's text, made comparable when first needed.
pub struct Text<'t> {
    sql: &'t str,
    small: Option<String>,
}

impl<'t> Text<'t> {
    pub const fn new(sql: &'t str) -> Self {
        Self { sql, small: None }
    }

    pub fn meets(&mut self, when: &When) -> bool {
        match when {
            When::Always => true,
            When::Word(word) => self.has_word(word),
            When::Symbol(symbol) => self.sql.contains(&**symbol),
        }
    }

    fn has_word(&mut self, word: &str) -> bool {
        let text = self
            .small
            .get_or_insert_with(|| self.sql.to_ascii_lowercase());
        // A name can be spelled with escapes, or with quotes inside quotes.
        if text.contains("u&\"") || word.contains('"') {
            return true;
        }
        let word = word.to_ascii_lowercase();
        let mut from = 0;
        while let Some(at) = text.get(from..).and_then(|rest| rest.find(&word)) {
            let start = from + at;
            let end = start + word.len();
            let before = text.get(..start).and_then(|text| text.chars().next_back());
            let after = text.get(end..).and_then(|text| text.chars().next());
            // A digit before may end a number.
            let begins = before.is_none_or(|c| !is_letter(c));
            let ends = after.is_none_or(|c| !is_letter(c) && !c.is_ascii_digit() && c != '$');
            if begins && (ends || word.len() >= IDENTIFIER_BYTES_CUT) {
                return true;
            }
            from = start
                + text
                    .get(start..)
                    .and_then(|t| t.chars().next())
                    .map_or(1, char::len_utf8);
        }
        false
    }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_as_the_server_would_read_it() {
        let long = "x".repeat(62);
        let cut = format!("SELECT {long}yz");
        let cases = [
            ("SELECT s.secret FROM s", "secret", true),
            ("SELECT s . \"secret\" FROM s", "secret", true),
            ("SELECT S.SECRET FROM s", "secret", true),
            ("SELECT 1secret", "secret", true),
            ("SELECT U&\"\\0073ecret\"", "secret", true),
            (
                "SELECT secretary, top_secret, secret1 FROM s",
                "secret",
                false,
            ),
            ("SELECT secrets, secret FROM s", "secret", true),
            ("SELECT ésecret", "secret", false),
            ("SELECT 1", "se\"cret", true),
            (&cut, &long, true),
        ];
        for (sql, word, expected) in cases {
            let found = Text::new(sql).meets(&When::Word(word.into()));
            assert_eq!(found, expected, "{word} in {sql}");
        }
        assert!(Text::new("a ### b").meets(&When::Symbol("###".into())));
        assert!(!Text::new("a + b").meets(&When::Symbol("###".into())));
    }
}
