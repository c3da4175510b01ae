//! What may stand within a transaction of the sidecar's, and is not a statement like others: savepoints.
//!
//! The transaction's beginning and end are the sidecar's to send, so of transaction control a caller's text may
//! hold savepoints alone. What is sent is made anew from the name that was read, so that no server reads more into
//! the text than was understood here.

use super::{Refusal, Result};
use crate::operation::{Action, Classification};
use crate::transaction::{Savepoint, SavepointStep};

/// Bytes of a savepoint's name: PostgreSQL cuts longer ones, and two could become one.
const NAME_BYTES_MAX: usize = 63;

/// The savepoint statement that `sql` is; `None` for any other text, which is then classified as usual.
pub fn savepoint(sql: &str) -> Option<Savepoint> {
    let text = sql.trim();
    let text = text.strip_suffix(';').unwrap_or(text).trim_end();
    let (words, name) = text.rsplit_once(|character: char| character.is_ascii_whitespace())?;
    let words: Vec<String> = words
        .split_ascii_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let step = match *words.as_slice() {
        ["SAVEPOINT"] => SavepointStep::Set,
        ["RELEASE"] | ["RELEASE", "SAVEPOINT"] => SavepointStep::Release,
        ["ROLLBACK", "TO"] | ["ROLLBACK", "TO", "SAVEPOINT"] => SavepointStep::RollBackTo,
        _ => return None,
    };
    Some(Savepoint {
        step,
        name: name_of(name)?,
    })
}

/// A bare name, folded as PostgreSQL folds it (MySQL does not tell the cases apart), or a quoted one as it stands.
fn name_of(text: &str) -> Option<String> {
    let quoted = ['"', '`']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let (name, may_dash) = match quoted {
        Some(name) => (name.to_owned(), true),
        None => (text.to_ascii_lowercase(), false),
    };
    let first = name.bytes().next()?;
    let is_plain = name.len() <= NAME_BYTES_MAX
        && (quoted.is_some() || !first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (may_dash && byte == b'-'));
    // `RELEASE SAVEPOINT` and `ROLLBACK TO SAVEPOINT` without a name.
    let is_keyword = quoted.is_none() && name == "savepoint";
    (is_plain && !is_keyword).then_some(name)
}

/// Words that begin or end a transaction, in some dialect.
const CONTROL: [&str; 6] = ["ABORT", "BEGIN", "COMMIT", "END", "ROLLBACK", "START"];

/// Refuses a text that would begin or end the transaction that it stands in, and says what does.
pub fn does_not_control(sql: &str) -> Result<()> {
    let text = sql.trim_start();
    let end = text
        .find(|character: char| !character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default().to_ascii_uppercase();
    if CONTROL.contains(&word.as_str()) {
        return Err(Refusal::Forbidden(format!(
            "`{word}` has no place within a transaction, which is begun and ended by requests of their own \
             (`commit`, `rollback`; a batch ends by itself); SAVEPOINT, RELEASE and ROLLBACK TO may be used, with a plain name"
        )));
    }
    Ok(())
}

/// Refuses what has no place in a transaction, where the data's own statements stand.
///
/// A change of the schema is one: MySQL commits what came before, and nobody else, the sidecar's catalogue
/// included, sees PostgreSQL's until the end, so that what later statements reach could not be told.
pub fn fits(classification: &Classification) -> Result<()> {
    let is_ddl = |action: Action| action == Action::Ddl;
    if classification
        .touches
        .iter()
        .any(|touch| is_ddl(touch.action))
    {
        return Err(Refusal::Forbidden(
            "a change of the schema has no place in a transaction: send it alone, with `query`"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Object, Store};

    #[test]
    fn savepoints_are_made_anew() {
        for (sql, expected) in [
            ("SAVEPOINT a", Some("SAVEPOINT \"a\"")),
            (" savepoint\n\tSp_1 ; ", Some("SAVEPOINT \"sp_1\"")),
            ("SAVEPOINT \"Sp-1\"", Some("SAVEPOINT \"Sp-1\"")),
            ("SAVEPOINT `x`", Some("SAVEPOINT \"x\"")),
            ("RELEASE a", Some("RELEASE SAVEPOINT \"a\"")),
            ("RELEASE SAVEPOINT a", Some("RELEASE SAVEPOINT \"a\"")),
            ("ROLLBACK TO a", Some("ROLLBACK TO SAVEPOINT \"a\"")),
            (
                "rollback to savepoint a;",
                Some("ROLLBACK TO SAVEPOINT \"a\""),
            ),
            ("ROLLBACK TO SAVEPOINT", None),
            ("RELEASE SAVEPOINT", None),
            ("SAVEPOINT", None),
            ("SAVEPOINT a b", None),
            ("SAVEPOINT 1a", None),
            ("SAVEPOINT a--", None),
            ("SAVEPOINT a;;", None),
            ("SAVEPOINT a/*! */", None),
            ("SAVEPOINT \"a\"\"b\"", None),
            ("SAVEPOINT a; COMMIT", None),
            ("SAVEPOINT ü", None),
            ("ROLLBACK", None),
            ("ROLLBACK WORK TO a", None),
            ("COMMIT", None),
            ("SELECT 1", None),
        ] {
            let found = savepoint(sql).map(|savepoint| savepoint.to_sql(Store::Postgres));
            assert_eq!(found.as_deref(), expected, "{sql}");
        }
        let long = format!("SAVEPOINT {}", "a".repeat(64));
        assert_eq!(savepoint(&long), None);
        let mysql = savepoint("SAVEPOINT a").unwrap().to_sql(Store::Mysql);
        assert_eq!(mysql, "SAVEPOINT `a`");
    }

    #[test]
    fn what_begins_or_ends_a_transaction_is_told_what_to_use() {
        for (sql, expected) in [
            ("COMMIT", false),
            (" rollback;", false),
            ("START TRANSACTION", false),
            ("begin", false),
            ("END", false),
            ("SELECT 1", true),
            ("ENDS", true),
            ("", true),
        ] {
            assert_eq!(does_not_control(sql).is_ok(), expected, "{sql}");
        }
    }

    #[test]
    fn schemas_do_not_change_within_a_transaction() {
        for (action, expected) in [
            (Action::Select, true),
            (Action::Insert, true),
            (Action::Ddl, false),
        ] {
            let mut classification = Classification::default();
            classification.touch(Object::named(None, "a"), action);
            assert_eq!(fits(&classification).is_ok(), expected, "{action}");
        }
    }
}
