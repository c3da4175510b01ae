//! Statements of our own, benign and hostile, with what they touch. Each hostile one stands for a class.

use super::super::{Refusal, Session};
use super::classify;

mod lexical;
mod limits;
mod orm;
mod reads;
mod refusals;
mod scope;
mod session;
mod writes;

/// What a statement touches, as `table:action` joined by spaces, sorted; or the start of the refusal.
fn touches(sql: &str, session: Session) -> String {
    match classify(sql, session) {
        Err(refusal) => refusal.to_string(),
        Ok(found) => {
            let mut words: Vec<String> = found
                .touches
                .iter()
                .map(|touch| format!("{}:{}", touch.object, touch.action))
                .chain(found.functions.iter().map(|name| format!("{name}()")))
                .collect();
            words.sort();
            words.join(" ")
        }
    }
}

/// Checks rows of statement and touches, on a shared connection.
fn check(rows: &[(&str, &str)]) {
    for (sql, wanted) in rows {
        assert_eq!(touches(sql, Session::Shared), *wanted, "{sql}");
    }
}

/// Checks that each statement is refused on any connection, for a reason that has `reason` in it.
fn check_refused(reason: &str, statements: &[&str]) {
    for sql in statements {
        for session in [Session::Shared, Session::Own] {
            match classify(sql, session) {
                Ok(found) => panic!("understood: {sql}: {found:?}"),
                Err(refusal) => {
                    let text = refusal.to_string();
                    let shared_only = session == Session::Shared && text.contains("shared");
                    assert!(text.contains(reason) || shared_only, "{sql}: {text}");
                }
            }
        }
    }
}

/// The text that is sent.
fn sent(sql: &str) -> String {
    match classify(sql, Session::Shared) {
        Ok(found) => found.rewritten.unwrap_or_else(|| sql.to_owned()),
        Err(refusal) => panic!("{sql}: {refusal}"),
    }
}

fn is_too_large(sql: &str) -> bool {
    matches!(classify(sql, Session::Own), Err(Refusal::TooLarge(_)))
}
