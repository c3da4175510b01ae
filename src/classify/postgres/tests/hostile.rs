//! Inputs made to hurt: depth, size, and shapes that cost more than their length.

use std::time::{Duration, Instant};

use super::super::{INLINE_DEPTH_MAX, Refusal, Session, classify, parse};
use crate::classify::STATEMENT_BYTES_MAX;

/// A debug build on a busy machine; ordinary hostile input takes well under a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ways to nest: before, what opens a level, the core, what closes it, after.
const SHAPES: &[(&str, &str, &str, &str, &str)] = &[
    ("SELECT ", "(", "1", ")", ""),
    ("SELECT ", "- ", "1", "", ""),
    ("SELECT ", "NOT ", "true", "", ""),
    ("SELECT 1", "+1", "", "", ""),
    ("SELECT 'a'", "||'a'", "", "", ""),
    ("SELECT 1", "::int", "", "", ""),
    ("SELECT 1", " IS NULL", "", "", ""),
    ("SELECT 1", " UNION SELECT 1", "", "", ""),
    ("SELECT 1", " UNION (SELECT 1", "", ")", ""),
    ("SELECT 1 WHERE true", " AND true", "", "", ""),
    ("SELECT 1 WHERE true", " OR true AND false", "", "", ""),
    ("", "SELECT (", "SELECT 1", ")", ""),
    ("SELECT 1 WHERE ", "EXISTS(SELECT 1 WHERE ", "true", ")", ""),
    ("", "SELECT * FROM (", "SELECT 1", ") q", ""),
    ("", "WITH q AS (", "SELECT 1", ") SELECT 1", ""),
    ("SELECT ARRAY", "[", "1", "]", ""),
    ("SELECT a", "[a", "", "]", ""),
    ("SELECT ", "abs(", "1", ")", ""),
    ("SELECT ", "COALESCE(1, ", "1", ")", ""),
    ("SELECT ", "CASE WHEN true THEN ", "1", " END", ""),
    ("SELECT ", "CASE ", "1", " WHEN 1 THEN 1 END", ""),
    ("SELECT ", "ROW(1, ", "1", ")", ""),
    ("SELECT ", "JSON_ARRAY(", "1", ")", ""),
    (
        "SELECT 1 WHERE 1 BETWEEN 1 AND ",
        "NOT 1 BETWEEN 1 AND ",
        "1",
        "",
        "",
    ),
    ("SELECT 1 FROM t", " JOIN t ON true", "", "", ""),
    ("SELECT 1 FROM ", "(t JOIN ", "t", " ON true)", ""),
    ("SELECT 1 IN (", "1 IN (", "1", ")", ")"),
    ("EXPLAIN ", "", "SELECT 1", "", ""),
    ("SELECT 1", ", 1", "", "", ""),
    ("SELECT a", ".a", "", "", ""),
    ("/*", "/*", "", "*/", "*/ SELECT 1"),
    ("SELECT ", "interval '1' + ", "interval '1'", "", ""),
    ("SELECT 1 FROM t GROUP BY ", "GROUPING SETS (", "a", ")", ""),
];

fn nested(shape: &(&str, &str, &str, &str, &str), depth: usize) -> String {
    let (before, open, core, close, after) = shape;
    format!(
        "{before}{}{core}{}{after}",
        open.repeat(depth),
        close.repeat(depth)
    )
}

#[test]
fn depth_ends_in_an_answer() {
    for shape in SHAPES {
        for depth in [10, 3_000, 100_000] {
            let text = nested(shape, depth);
            let started = Instant::now();
            let result = classify(&text, Session::Own);
            assert!(started.elapsed() < PATIENCE, "{shape:?} × {depth}");
            assert!(
                !matches!(&result, Err(Refusal::Unparsable(said)) if said.contains("parser failed")),
                "{shape:?} × {depth}: {result:?}"
            );
        }
    }
}

/// What applications nest, generated filters included, stays far below the limits.
#[test]
fn moderate_depth_is_understood() {
    for shape in SHAPES {
        let text = nested(shape, 80);
        let result = classify(&text, Session::Own);
        let is_legal = !matches!(&result, Err(Refusal::Unparsable(_)));
        assert!(!is_legal || result.is_ok(), "{shape:?}: {result:?}");
    }
}

/// A shape at the bound for the caller's own stack needs less than the stacks that runtimes give.
#[test]
fn inline_depth_fits_a_small_stack() {
    for shape in SHAPES {
        let deepest = (1..INLINE_DEPTH_MAX)
            .take_while(|depth| {
                parse::nesting_bound(&nested(shape, *depth))
                    .is_none_or(|bound| bound <= INLINE_DEPTH_MAX)
            })
            .last()
            .unwrap_or(1);
        let text = nested(shape, deepest);
        std::thread::Builder::new()
            .stack_size(1024 * 1024)
            .spawn(move || drop(classify(&text, Session::Own)))
            .unwrap()
            .join()
            .unwrap();
    }
}

#[test]
fn size_ends_in_a_named_limit() {
    let long = |part: &str| part.repeat(STATEMENT_BYTES_MAX / part.len());
    for text in [
        format!("SELECT 1{}", long("        ")) + "  ",
        format!("SELECT {}", long("1,1,")),
        format!("VALUES {}(1)", long("(1),")),
        long("("),
        long("/*"),
        long("$a$"),
        long(";"),
        long("a."),
        format!("SELECT {}1", long("+")),
    ] {
        let started = Instant::now();
        let result = classify(&text, Session::Own);
        assert!(started.elapsed() < PATIENCE, "{:.40}", text);
        assert!(
            matches!(result, Err(Refusal::TooLarge(_) | Refusal::Unparsable(_))),
            "{:.40}: {result:?}",
            text
        );
    }
}

#[test]
fn a_long_literal_is_no_hostile_statement() {
    let text = format!(
        "INSERT INTO t (a) VALUES ('{}')",
        "x".repeat(8 * 1024 * 1024)
    );
    assert_eq!(super::touches(&text, Session::Shared), "t:insert");
    let rows = vec!["($10001, $10002, $10003)"; 65_535 / 3].join(", ");
    let text = format!("INSERT INTO t (a, b, c) VALUES {rows}");
    assert_eq!(super::touches(&text, Session::Shared), "t:insert");
}
