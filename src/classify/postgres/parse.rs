//! Text to tree, within named limits.

use pg_query::protobuf::{ParseResult, ScanToken, Token};

use super::{Refusal, Result};
use crate::classify::lanes::{self, Length};
use crate::classify::words::{self, words_outside_quotes};
use crate::classify::{LARGE_BYTES, STATEMENT_BYTES_MAX};

/// Most words and punctuation marks in a statement; a quoted string is one where it is plain where it ends. Each may
/// become a node of the tree, which costs up to two kilobytes while it is parsed. A statement with as many parameters as
/// the protocol can carry (65,535) stays below.
pub const WORDS_MAX: usize = 250_000;

/// Longest text whose nesting is worth measuring before the parse, in bytes.
const MEASURED_BYTES_MAX: usize = 16 * 1024;

/// Most steps that the parser may spend on runs of operator characters: some tenths of a second.
const OPERATOR_STEPS_MAX: usize = 100_000_000;

/// Beside which statements this one is parsed; see `lanes`.
pub fn length(sql: &str) -> Length {
    if sql.len() <= MEASURED_BYTES_MAX {
        Length::Short
    } else if memory_bytes(sql) <= LARGE_BYTES {
        Length::Long
    } else {
        Length::Large
    }
}

/// The limits that can be checked without parsing.
pub fn check_text(sql: &str) -> Result<()> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Refusal::TooLarge(format!(
            "a statement may have {STATEMENT_BYTES_MAX} bytes, this one has {}",
            sql.len()
        )));
    }
    if sql.as_bytes().contains(&0) {
        return Err(Refusal::Unparsable(
            "a NUL byte is never legal in PostgreSQL text".into(),
        ));
    }
    if operator_steps(sql.as_bytes()) > OPERATOR_STEPS_MAX {
        return Err(Refusal::TooLarge(
            "long runs of operator characters, or comments nested without a space".into(),
        ));
    }
    if sql.len() > WORDS_MAX && words(sql) > WORDS_MAX {
        return Err(Refusal::TooLarge(format!(
            "a statement may have {WORDS_MAX} words and punctuation marks; send long values as parameters"
        )));
    }
    Ok(())
}

/// The parser reads a run of operator characters to its end for each operator or comment that begins in it:
/// the square of the run's length. Banners in comments and strings are far below the limit.
fn operator_steps(text: &[u8]) -> usize {
    let mut steps = 0_usize;
    let mut run = 0_usize;
    for byte in text {
        if b"~!@#^&|`?+-*/%<>=".contains(byte) {
            // 1 + 3 + 5 + … is the square.
            steps = steps.saturating_add(2 * run + 1);
            run += 1;
        } else {
            run = 0;
        }
    }
    steps
}

/// Never fewer than the parser's tokens that become nodes.
fn words(sql: &str) -> usize {
    let text = sql.as_bytes();
    words_outside_quotes(text).unwrap_or_else(|| words::words(text))
}

/// What parsing and walking may take, beside the text, in bytes: the copies of what it says (the library's, its tree's,
/// the message between the two languages, our tree's) and the nodes. Measured: 5 bytes for each of long strings, and
/// for each word or mark 1,990 in `SELECT a, a, …`, 1,330 in `SELECT abs(1), …`, 530 in `VALUES (1, 2), …`.
pub fn memory_bytes(sql: &str) -> usize {
    const COPIES: usize = 5;
    const WORD_BYTES: usize = 2112;
    // With more words it is not parsed.
    sql.len() * COPIES + words(sql).min(WORDS_MAX) * WORD_BYTES
}

/// An upper bound of how deep the tree of this text nests, in tokens; `None` where the text is too long to
/// measure, or has no tokens to measure by.
///
/// Each level of a tree has a token of its own that is neither a name nor a constant. A comma ends what nests
/// in the list item before it, within its brackets; only the set operations chain across commas, so they
/// count to the end of their brackets.
#[allow(clippy::wildcard_enum_match_arm)] // Every other token counts.
pub fn nesting_bound(sql: &str) -> Option<usize> {
    if sql.len() > MEASURED_BYTES_MAX {
        return None;
    }
    if is_blank(sql) {
        return Some(0);
    }
    let tokens = pg_query::scan_tokens(sql).ok()?;
    let mut outer: Vec<(usize, usize)> = Vec::new();
    let (mut item, mut chained) = (0_usize, 0_usize);
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for token in &tokens {
        match Token::try_from(token.token).unwrap_or(Token::Nul) {
            Token::SqlComment
            | Token::CComment
            | Token::Ident
            | Token::Uident
            | Token::Sconst
            | Token::Usconst
            | Token::Bconst
            | Token::Xconst
            | Token::Fconst
            | Token::Iconst
            | Token::Param
            | Token::As
            | Token::From
            | Token::Where
            | Token::Order
            | Token::By
            | Token::Ascii46 => continue,
            Token::Ascii40 | Token::Ascii91 => {
                outer.push((item, chained));
                (item, chained) = (1, 0);
                depth += 1;
            }
            Token::Ascii41 | Token::Ascii93 => {
                depth -= item + chained;
                (item, chained) = outer.pop().unwrap_or_default();
                item += 1;
                depth += 1;
            }
            Token::Ascii44 => {
                depth -= item;
                item = 0;
            }
            // Statements stand beside one another.
            Token::Ascii59 if outer.is_empty() => (depth, item, chained) = (0, 0, 0),
            Token::Union | Token::Intersect | Token::Except => {
                chained += 1;
                depth += 1;
            }
            _ => {
                item += 1;
                depth += 1;
            }
        }
        deepest = deepest.max(depth);
    }
    Some(deepest)
}

/// The scanner's tokens of a text that [`check_text`] takes, comments among them; nothing where it finds none.
pub fn tokens(sql: &str) -> Option<Vec<ScanToken>> {
    check_text(sql).ok()?;
    if is_blank(sql) {
        return Some(Vec::new());
    }
    if sql.len() <= MEASURED_BYTES_MAX {
        return pg_query::scan_tokens(sql).ok();
    }
    // A long text may come from a thread that does not last, which the scanner must not see: see `lanes`.
    let text = sql.to_owned();
    let scan = move || pg_query::scan_tokens(&text).ok();
    lanes::begin(length(sql), scan)?.recv().ok()?
}

/// The library makes a slice of a null pointer where a text has no token at all.
fn is_blank(sql: &str) -> bool {
    sql.bytes().all(|byte| matches!(byte, b' ' | 0x09..=0x0d))
}

/// Parses by PostgreSQL's own grammar, with `standard_conforming_strings` on, as the executor pins it.
pub fn tree(sql: &str) -> Result<ParseResult> {
    match pg_query::parse(sql, pg_query::ParserOptions::DEFAULT) {
        Ok(result) => Ok(result.protobuf),
        Err(pg_query::Error::Parse(message)) if is_depth_limit(&message) => Err(Refusal::TooLarge(
            "the statement nests too deeply; split it or use a list (`IN`, `VALUES`, `unnest`)"
                .into(),
        )),
        Err(pg_query::Error::Parse(message)) => Err(Refusal::Unparsable(message)),
        Err(error) => Err(Refusal::Unparsable(error.to_string())),
    }
}

/// The three ways in which the parser says that a text nests too deeply for it.
fn is_depth_limit(message: &str) -> bool {
    ["memory exhausted", "stack depth limit", "nested too deeply"]
        .iter()
        .any(|said| message.contains(said))
}
