//! MySQL 8 and MariaDB 10.11: what a statement touches, and the text that is sent in its place.
//!
//! No server's grammar can be embedded, and we do not know which of the two servers is behind. So the text that
//! reaches it is not the caller's, but one rendered from what was understood:
//!
//! 1. **Tokens** (`lexer`, `comment`). A lexer for what both servers agree on under the session that Bulkhead
//!    pins: `sql_mode` without `ANSI_QUOTES`, `NO_BACKSLASH_ESCAPES`, `PIPES_AS_CONCAT` and `IGNORE_SPACE`; character set utf8mb4.
//!    Comments go. What the servers lex differently, executable comments first of all, is refused.
//! 2. **Grammar** (`statement` and the modules below it). A recursive descent that can only move over a token by
//!    saying what it takes it for: a keyword, an operator, a literal, a name. A token that no rule takes is an
//!    error, and so is what is left over. Statements and functions that are not known by name are refused.
//! 3. **Rendering** (`canonical`). Every name in the place of a table, an alias, an index and the like is sent in
//!    back quotes, and so is every column whose bare name either server reserves. Hence a word that reaches the
//!    server bare is a keyword that a rule took for that keyword, a built-in function, or a column that is no
//!    keyword of either server. The servers cannot take a token for something else than we did, and a table can
//!    only be where a keyword that both reserve (`FROM`, `JOIN`, `INTO`, `UPDATE`, `TABLE`) or a comma in its list
//!    has put it.
//! 4. **Scope** (`scope`). Names of common table expressions are resolved as both servers do it; where they
//!    differ (letter case, forward references in `WITH RECURSIVE`, an inner `WITH` that refers to an outer one,
//!    which MariaDB takes for a real table), the statement is refused.
//! 5. **A second reading** (`second`). Ordinary statements are read again by `sqlparser`, from the canonical text.
//!    A table that it sees and the first reading did not is refused. It is a net and not the proof: it cannot
//!    parse much of MySQL's grammar, and is not asked about large or deep statements, since it can exhaust the
//!    stack.
//!
//! White space and the spelling of expressions are kept, since a column without an alias is labelled with its
//! expression's text.
//!
//! Where this is not sound by itself:
//! - It rests on the pinned session. Under another `sql_mode` or character set, strings end elsewhere. `SET` is
//!   therefore refused but for a closed list that changes no lexical rule.
//! - Views, triggers, foreign keys' cascades and stored functions reach tables that no text shows. Functions that are
//!   not built-in are reported for the policy to list. A stored function that has the name of the *other* server's
//!   built-in (`UUID_TO_BIN` on MariaDB) is taken for the built-in. `catalogue` adds all of these.
//! - A column without a table's name in a multi-table `UPDATE` counts as an update, and a reading, of each joined
//!   table; so more may be reported than is touched, never less. A column whose value goes into another table counts
//!   as read, though its own table is a target too.
//! - `LAST_INSERT_ID()`, `FOUND_ROWS()` and `ROW_COUNT()` tell about the connection's last statement, which on a
//!   shared connection may be another caller's.
//!
//! A DML target carries its verb alone unless it is also a source. `RETURNING` reads, and `FOR UPDATE` and
//! `FOR SHARE` count as an update of every table of the block they end.
mod call;
mod comment;
mod define;
mod expression;
mod functions;
mod keywords;
mod lexer;
mod parser;
mod query;
mod scope;
mod second;
mod session;
pub mod shape;
mod show;
mod statement;
mod tables;
mod token;
mod words;
mod write;

#[cfg(test)]
mod tests;

/// For the catalogue.
pub use functions::is_taken_for_built_in;

/// For tests that ask a server what it knows, and look whether we know it by name.
pub use functions::is_classified as is_classified_function;
pub use statement::is_classified as is_classified_statement;
pub use words::is_classified as is_classified_keyword;

pub(in crate::classify) use lexer::tokens;
pub(in crate::classify) use words::is_reserved_by_both;

use parser::Parser;
pub use parser::TableName;
pub use token::{Kind, Token};

use super::words::words;
use super::{Refusal, Result, STATEMENT_BYTES_MAX, Session};
use crate::operation::Classification;

/// Longest reason of a refusal that is passed on; it may repeat a name from the statement.
const REASON_CHARS_MAX: usize = 400;

/// Classifies one MySQL statement; on a connection of the caller's own, perhaps several.
pub fn classify(sql: &str, session: Session) -> Result {
    understand(sql, session).map_err(shortened)
}

/// What reading a text may take, beside it, in bytes: the text that is sent and its copy, and the tokens while their
/// list grows. Measured: 19 bytes for each word or mark in a list of numbers.
pub fn memory_bytes(sql: &str) -> usize {
    const COPIES: usize = 3;
    const TOKEN_BYTES: usize = 32;
    let tokens = words(sql.as_bytes()).min(lexer::TOKENS_MAX);
    sql.len() * COPIES + tokens * TOKEN_BYTES
}

fn shortened(refusal: Refusal) -> Refusal {
    let short = |reason: String| match reason.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
        None => reason,
    };
    match refusal {
        Refusal::Unparsable(reason) => Refusal::Unparsable(short(reason)),
        Refusal::Forbidden(reason) => Refusal::Forbidden(short(reason)),
        Refusal::TooLarge(reason) => Refusal::TooLarge(short(reason)),
    }
}

fn understand(sql: &str, session: Session) -> Result {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Refusal::TooLarge(format!(
            "the statement is longer than {STATEMENT_BYTES_MAX} bytes; send it in parts"
        )));
    }
    if sql.contains('\0') {
        return Err(Refusal::Unparsable(
            "the statement has a NUL byte; send bytes as parameters".into(),
        ));
    }
    let mut parser = Parser::new(sql, lexer::tokens(sql)?, session);
    parser.statements()?;
    let text = canonical(sql, &parser.tokens);
    second::read(&text, &parser)?;
    let rewritten = (text != sql).then_some(text);
    Ok(Classification {
        rewritten,
        ..parser.finish()
    })
}

/// A statement with the places of what it is made of.
#[derive(Debug)]
pub struct Reading {
    /// The text that would be sent, of which the tokens are.
    pub sql: String,
    pub tokens: Vec<Token>,
    pub shape: shape::Shape,
    pub classification: Classification,
}

/// Reads a statement for whoever rewrites it.
pub fn read(sql: &str, session: Session) -> Result<Reading> {
    let (text, noted) = read_once(sql, session).map_err(shortened)?;
    let (again, noted) = if text == sql {
        (sql.to_owned(), noted)
    } else {
        read_once(&text, session).map_err(shortened)?
    };
    if again != text {
        return Err(Refusal::Unparsable(
            "its canonical text has another; write it more simply".into(),
        ));
    }
    let (tokens, shape, classification) = noted;
    Ok(Reading {
        sql: text,
        tokens,
        shape,
        classification,
    })
}

type Noted = (Vec<Token>, shape::Shape, Classification);

fn read_once(sql: &str, session: Session) -> Result<(String, Noted)> {
    let mut parser = Parser::new(sql, lexer::tokens(sql)?, session);
    parser.shape = Some(Box::default());
    parser.statements()?;
    let text = canonical(sql, &parser.tokens);
    let shape = parser.shape.take().map(|shape| *shape).unwrap_or_default();
    let tokens = std::mem::take(&mut parser.tokens);
    Ok((text, (tokens, shape, parser.finish())))
}

/// The text that is sent: the tokens as they were understood. What stood between two tokens is kept where it is
/// white space (a column without an alias is labelled with its expression's text), and one space where it was a
/// comment. The last semicolon goes.
fn canonical(sql: &str, tokens: &[Token]) -> String {
    let tokens = match tokens.split_last() {
        Some((last, rest)) if last.text(sql) == ";" => rest,
        _ => tokens,
    };
    let mut text = String::with_capacity(sql.len() + 16);
    let mut previous: Option<&Token> = None;
    for token in tokens {
        let spelled = token.text(sql);
        if let Some(previous) = previous {
            let gap = sql.get(previous.end()..token.start()).unwrap_or(" ");
            let joins_to_comment = gap.is_empty()
                && matches!(
                    (previous.text(sql), spelled),
                    ("-", "-") | ("/", "*") | ("*", "/")
                );
            if joins_to_comment
                || !gap
                    .bytes()
                    .all(|byte| byte.is_ascii_whitespace() || byte == 0x0b)
            {
                text.push(' ');
            } else {
                text.push_str(gap);
            }
        }
        if token.quote && token.kind != Kind::Quoted {
            text.push('`');
            text.push_str(spelled);
            text.push('`');
        } else {
            text.push_str(spelled);
        }
        previous = Some(token);
    }
    text
}
