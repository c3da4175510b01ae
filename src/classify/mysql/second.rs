//! A second reading of ordinary statements, by `sqlparser`, as a net under the first.
//!
//! The first reading is the proof; this one was written by other people from other sources, so that a mistake of
//! ours is unlikely to be theirs as well. It takes the canonical text. A table that it sees and the first reading
//! did not is a disagreement, and refused. What it cannot parse (much of MySQL's own grammar) stands on the first
//! reading alone, and so does what is too large or too deep for it: its syntax tree is recursive, and is dropped
//! and walked recursively, so that a long chain of operators would exhaust the stack.

use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, visit_relations};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser as SqlParser;

use super::parser::Parser;
use super::words;
use crate::classify::{Refusal, Result};

/// Largest statement that is read twice.
const TOKENS_MAX: usize = 1_000;

/// Deepest nesting that is read twice; `sqlparser` tries parentheses in more than one way.
const NESTING_MAX: usize = 6;

/// Longest chain of operators that is read twice.
const CHAIN_MAX: usize = 100;

/// Most joins that are read twice: `sqlparser` recurses, without its own guard, on each `JOIN` that has no `ON`,
/// and sixty of them overflow two mebibytes of stack in a build without optimisation.
const JOINS_MAX: usize = 6;

/// Refuses `text` if `sqlparser` sees a table in it that `parser` has not.
pub fn read(text: &str, parser: &Parser<'_>) -> Result<()> {
    let small = parser.tokens.len() <= TOKENS_MAX
        && parser.depth_seen <= NESTING_MAX
        && parser.chain_seen <= CHAIN_MAX
        && parser.joins_seen <= JOINS_MAX;
    if !small {
        return Ok(());
    }
    let Ok(statements) = SqlParser::parse_sql(&MySqlDialect {}, text) else {
        return Ok(());
    };
    let unseen = visit_relations(&statements, |relation| {
        let Some(name) = last_part(relation) else {
            return ControlFlow::Continue(());
        };
        // The canonical text has every table in back quotes, so that a bare reserved word is no table, but a
        // modifier that `sqlparser` does not know.
        let modifier = name.quote_style.is_none()
            && (words::is_reserved(&name.value) || name.value.eq_ignore_ascii_case("QUICK"));
        if modifier || parser.known.contains(&name.value.to_lowercase()) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(name.value.clone())
        }
    });
    match unseen {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => Err(Refusal::Unparsable(format!(
            "it may be read as touching `{name}`; write it more simply"
        ))),
    }
}

/// The table's own name; a table function has none.
fn last_part(relation: &ObjectName) -> Option<&Ident> {
    match relation.0.last() {
        Some(ObjectNamePart::Identifier(name)) => Some(name),
        Some(ObjectNamePart::Function(_)) | None => None,
    }
}
