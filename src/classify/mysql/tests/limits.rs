//! Hostile shapes end in a named limit, on a small stack.

use super::super::super::Session;
use super::super::classify;
use super::is_too_large;

/// Less than a thread of the runtime has.
const STACK_BYTES: usize = 1024 * 1024;

fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn too_deep() {
    on_a_small_stack(|| {
        for (open, close) in [
            ("(", ")"),
            ("(SELECT ", ")"),
            ("EXISTS(SELECT ", ")"),
            ("CASE WHEN ", " THEN 1 END"),
            ("ABS(", ")"),
            ("(SELECT 1 FROM (SELECT 1 WHERE ", ") x)"),
            ("(SELECT 1 FROM ((a)) WHERE ", ")"),
            ("(WITH x AS (SELECT ", ") SELECT 1)"),
            ("INTERVAL(", ") DAY"),
            ("ROW(", ", 1)"),
        ] {
            let nested =
                |depth: usize| format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
            assert!(is_too_large(&nested(20_000)), "{open}");
            let deepest = (1..=100)
                .rev()
                .find(|depth| classify(&nested(*depth), Session::Shared).is_ok());
            assert!(
                deepest.is_some_and(|depth| depth >= 20),
                "{open} {deepest:?}"
            );
        }
    });
}

#[test]
fn wide_is_not_deep() {
    on_a_small_stack(|| {
        for sql in [
            format!("SELECT 1{}", " + 1".repeat(20_000)),
            format!("SELECT {}1", "NOT ".repeat(20_000)),
            format!("SELECT {}1", "- ".repeat(20_000)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(20_000)),
            format!("SELECT 1{}", " IS NULL".repeat(20_000)),
            format!("SELECT 1 {}", "/**/".repeat(20_000)),
            format!("INSERT INTO a VALUES (1){}", ",(1)".repeat(20_000)),
            format!("SELECT '{}'", "\\'".repeat(100_000)),
        ] {
            assert!(classify(&sql, Session::Shared).is_ok(), "{sql:.40}");
        }
    });
}

#[test]
fn too_many() {
    let tables = " JOIN a".repeat(100);
    let common: String = (0..300).map(|n| format!(", t{n} AS (SELECT 1)")).collect();
    assert!(is_too_large(&format!("SELECT 1 FROM a{tables}")));
    assert!(is_too_large(&format!(
        "WITH t AS (SELECT 1){common} SELECT 1"
    )));
    assert!(is_too_large(
        &"(".repeat(super::super::lexer::TOKENS_MAX + 1)
    ));
    // Joins without ON make the second reading recurse; it must not be asked.
    on_a_small_stack(|| {
        let sql = format!("SELECT 1 FROM a{}", " JOIN b".repeat(60));
        assert!(classify(&sql, Session::Shared).is_ok());
    });
}

/// A reason repeats no value and stays short.
#[test]
fn reasons_are_short() {
    for sql in [
        format!("SELECT 1 {} {}", "x".repeat(10_000), "y".repeat(10_000)),
        format!("SELECT * FROM `{}.`", "é".repeat(10_000)),
    ] {
        let reason = classify(&sql, Session::Shared).unwrap_err().to_string();
        assert!(reason.len() < 1_000, "{reason}");
    }
    let reason = classify("SELECT 1 FROM 'hunter2'", Session::Shared)
        .unwrap_err()
        .to_string();
    assert!(!reason.contains("hunter2"), "{reason}");
}
