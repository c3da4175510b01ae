//! Whether a condition says which rows: each way to meet it names a column.

use super::statement::Statement;
use crate::classify::mysql::Kind;
use crate::classify::mysql::shape::{ColumnPlace, Span};

/// Deepest nesting that is looked into; past it the condition is taken to say nothing.
const NESTING_MAX: usize = 50;

/// Whether a condition does not hold of every row alike.
pub fn bounds(statement: &Statement<'_>, condition: &Span) -> bool {
    within(statement, condition, 0)
}

fn within(statement: &Statement<'_>, condition: &Span, depth: usize) -> bool {
    if depth > NESTING_MAX {
        return false;
    }
    let is = |at: usize, words: &[&str]| {
        matches!(statement.kind(at), Some(Kind::Word | Kind::Symbol))
            && words
                .iter()
                .any(|word| statement.text(at).eq_ignore_ascii_case(word))
    };
    let split = |words: &[&str]| {
        let mut parts = Vec::new();
        let (mut level, mut start) = (0_usize, condition.start);
        for at in condition.clone() {
            if is(at, &["(", "CASE"]) {
                level += 1;
            } else if is(at, &[")", "END"]) {
                level = level.saturating_sub(1);
            } else if level == 0 && is(at, words) {
                parts.push(start..at);
                start = at + 1;
            }
        }
        parts.push(start..condition.end);
        parts
    };
    let inner = condition.start + 1..condition.end.saturating_sub(1);
    let alternatives = split(&["OR", "||", "XOR"]);
    if alternatives.len() > 1 {
        return alternatives
            .iter()
            .all(|part| within(statement, part, depth + 1));
    }
    let parts = split(&["AND", "&&"]);
    if parts.len() > 1 {
        return parts.iter().any(|part| within(statement, part, depth + 1));
    }
    let in_parentheses = is(condition.start, &["("])
        && is(condition.end.saturating_sub(1), &[")"])
        && closes_at_end(statement, condition);
    if in_parentheses {
        return within(statement, &inner, depth + 1);
    }
    names_a_column(statement, condition)
}

fn closes_at_end(statement: &Statement<'_>, span: &Span) -> bool {
    let mut level = 0_usize;
    for at in span.clone() {
        match (statement.kind(at), statement.text(at)) {
            (Some(Kind::Symbol), "(") => level += 1,
            (Some(Kind::Symbol), ")") => level = level.saturating_sub(1),
            _ => {}
        }
        if level == 0 {
            return at + 1 == span.end;
        }
    }
    false
}

/// Not by comparing it with itself.
fn names_a_column(statement: &Statement<'_>, span: &Span) -> bool {
    let columns: Vec<_> = statement
        .columns_in(span)
        .filter(|column| column.place == ColumnPlace::Read)
        .collect();
    let with_itself = columns.len() > 1
        && span.len()
            <= columns
                .iter()
                .map(|column| column.tokens.len())
                .sum::<usize>()
                + 1
        && columns
            .iter()
            .all(|column| column.name() == columns.first().and_then(|first| first.name()));
    !columns.is_empty() && !with_itself
}
