//! PostgreSQL, by its own grammar (`pg_query`, the server's parser as a library).
//!
//! The text is parsed once, the whole tree is walked, and every node is either understood or refused by name.
//! What comes out is every relation with its action, and every function, operator and type that is not
//! PostgreSQL's own: the policy must list those (`functions`), since they may run anything.
//!
//! What no text shows is added from the server's catalogue (see `catalogue`):
//! - a view, rule, trigger, foreign key or generated column behind a relation that is granted;
//! - a column default that calls a function;
//! - `alias.name`, which calls the function `name(relation)` where the relation has no such column
//!   (`(alias).name` says so by its form, and counts as a call);
//! - a user's function, operator or cast that overloads a built-in name for a type of its own.

mod parse;

pub use parse::memory_bytes;
pub(crate) use parse::{length, nesting_bound, tokens, tree};

mod nodes;

mod walk;

mod definition;
mod expression;
mod json;
mod locking;
mod notation;
mod query;
mod session;
mod source;

mod call;
mod functions;
mod names;
mod settings;

pub(crate) use names::{from_literal, is_catalog};

#[cfg(test)]
mod tests;

pub use functions::{is_classified, is_taken_for_built_in};

use super::{INLINE_BYTES_MAX, Refusal, Result, Session, lanes};

/// Deepest tree that is walked on the caller's own stack, in nested tokens (an upper bound of the real depth).
/// In a debug build a token needs up to 65 kB of stack; this keeps below half of what runtimes give a thread.
pub(crate) const INLINE_DEPTH_MAX: usize = if cfg!(debug_assertions) { 12 } else { 24 };

/// Classifies one PostgreSQL statement; on a connection of the caller's own, also several separated by `;`.
///
/// Takes microseconds for ordinary statements. A text of many kilobytes takes milliseconds, so callers on an
/// event loop should move those elsewhere.
pub fn classify(sql: &str, session: Session) -> Result {
    parse::check_text(sql)?;
    match parse::nesting_bound(sql) {
        Some(depth) if depth <= INLINE_DEPTH_MAX && sql.len() <= INLINE_BYTES_MAX => {
            understand(sql, session)
        }
        // A long text may come from a thread that does not last, which the parser must not see: see `lanes`.
        _ => {
            let unavailable = || Refusal::TooLarge("no memory to parse this statement now".into());
            let text = sql.to_owned();
            lanes::begin(parse::length(sql), move || understand(&text, session))
                .ok_or_else(unavailable)?
                .recv()
                .map_err(|_| Refusal::Unparsable("the parser failed".into()))?
        }
    }
}

fn understand(sql: &str, session: Session) -> Result {
    let tree = parse::tree(sql)?;
    walk::statements(&tree, session)
}
