//! How many words and punctuation marks a SQL text has: never fewer than a parser's tokens, and so a bound of what its
//! tree may take, before anything is parsed.

/// Counts runs of word characters and single other characters, without regard to quotes.
pub fn words(text: &[u8]) -> usize {
    let mut count = 0;
    let mut in_word = false;
    for byte in text {
        let word = is_word(*byte);
        // A digit run may be followed by letters without a space (`1a`), which are two tokens at most.
        let starts = if word {
            !in_word
        } else {
            !byte.is_ascii_whitespace()
        };
        count += usize::from(starts);
        in_word = word;
    }
    count
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The same for PostgreSQL's text, with each quoted piece for one word. `None` where it is not plain where quotes end:
/// strings with a prefix (`E'…'`, `U&'…'`), dollar quotes, comments, quotes that are not closed.
pub fn words_outside_quotes(text: &[u8]) -> Option<usize> {
    let mut count = 0;
    let mut previous = b' ';
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let next = after.first().copied().unwrap_or(b' ');
        match byte {
            b'\'' | b'"' => {
                if is_word(previous) || matches!(previous, b'&' | b'$') {
                    return None;
                }
                rest = after_quote(*byte, after)?;
                count += 1;
            }
            // A dollar before a digit is a parameter, or stands in a name.
            b'$' if !next.is_ascii_digit() => return None,
            b'-' if next == b'-' => return None,
            b'/' if next == b'*' => return None,
            b'\\' => return None,
            byte if is_word(*byte) => count += usize::from(!is_word(previous)),
            byte => count += usize::from(!byte.is_ascii_whitespace()),
        }
        previous = *byte;
    }
    Some(count)
}

/// What follows a quoted piece; the quote itself stands in it twice.
fn after_quote(quote: u8, mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.iter().position(|byte| *byte == quote)?;
        rest = rest.get(end + 1..)?;
        match rest.split_first() {
            Some((byte, after)) if *byte == quote => rest = after,
            Some(_) | None => return Some(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_marks_are_counted() {
        for (text, everything, outside) in [
            ("", 0, Some(0)),
            ("SELECT 1, a.b", 6, Some(6)),
            ("a $1 b$2", 6, Some(6)),
            ("VALUES ('it''s so', 'x')", 14, Some(6)),
            (r##""a b" = 'c "d"'"##, 11, Some(3)),
            ("'a''b'", 6, Some(1)),
            ("''''", 4, Some(1)),
            ("'é ü'é", 5, Some(2)),
        ] {
            assert_eq!(words(text.as_bytes()), everything, "{text}");
            assert_eq!(words_outside_quotes(text.as_bytes()), outside, "{text}");
        }
    }

    /// Here a quote may not be one, or not the end of one, and hide words that the parser would see.
    #[test]
    fn what_is_not_plain_is_not_skipped() {
        for text in [
            r"E'it\'s'",
            r"e'it\'s'",
            r"U&'\0061'",
            "B'01'",
            "N'a'",
            "1'a'",
            "$$it's$$",
            "$a$it's$a$",
            "a -- it's",
            "a --it's\n",
            "/* it's */ a",
            "1-/* ' */1",
            r"\'",
            "'a",
            "\"a",
            "'a''",
            r#"U&"a""#,
        ] {
            assert_eq!(words_outside_quotes(text.as_bytes()), None, "{text}");
        }
    }
}
