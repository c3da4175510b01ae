//! Tables of statements of our own: what they touch, or why they are refused.

mod allowed;
mod hostile;
mod refused;
mod scoping;

use super::{Refusal, Session, classify};

/// What a statement touches, written out: `table:action …`, functions as `name()`.
fn touches(sql: &str, session: Session) -> String {
    match classify(sql, session) {
        Ok(found) => found
            .touches
            .iter()
            .map(|touch| format!("{}:{}", touch.object, touch.action))
            .chain(found.functions.iter().map(|name| format!("{name}()")))
            .collect::<Vec<_>>()
            .join(" "),
        Err(refusal) => refusal.to_string(),
    }
}

fn check(table: &[(&str, &str)], session: Session) {
    for (sql, expected) in table {
        assert_eq!(touches(sql, session), *expected, "\nfor {sql}");
    }
}

/// Checks that each statement is forbidden, with a reason that has this text.
fn check_forbidden(table: &[(&str, &str)], session: Session) {
    for (sql, reason) in table {
        match classify(sql, session) {
            Err(Refusal::Forbidden(said)) if said.contains(reason) => {}
            other => panic!("for {sql}\nexpected forbidden with {reason:?}, got {other:?}"),
        }
    }
}

#[test]
fn identity_columns_are_left_to_their_table() {
    check_forbidden(
        &[(
            "INSERT INTO audit_logs (id, action) OVERRIDING SYSTEM VALUE VALUES (1, 'x')",
            "OVERRIDING SYSTEM VALUE",
        )],
        Session::Shared,
    );
    assert!(
        classify(
            "INSERT INTO audit_logs (action) OVERRIDING USER VALUE VALUES ('x')",
            Session::Shared
        )
        .is_ok()
    );
}
