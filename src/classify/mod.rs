//! What does this statement touch? Pure: no IO, no policy, no clock.
//!
//! Every classifier fails closed: what it does not know by name it refuses, with the reason.

pub mod cache;
pub(crate) mod lanes;
pub mod mongodb;
pub mod mysql;
pub mod normal;
pub mod postgres;
pub mod redis;
pub mod transaction;
mod words;

use std::sync::Arc;

use crate::error::{Code, Problem, PublicError};
use crate::operation::{Classification, Operation, Payload, Store};

/// Longest SQL text that is parsed, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest SQL text, in bytes, that a caller on an event loop should classify there; a longer one takes
/// milliseconds.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

/// A statement whose understanding may take more memory than this, in bytes, is large: few are understood at a time.
pub const LARGE_BYTES: usize = 16 * 1024 * 1024;

/// Whose connection the statement would run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Session {
    /// A pooled connection, shared with other callers between statements (HTTP `query`, `command`).
    Shared,
    /// A connection of the caller's own, where transaction control and harmless driver set-up are legal.
    Own,
}

/// Why a statement has no classification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text is not understood (a syntax error, or a construct the parser does not know).
    #[error("cannot be parsed: {0}")]
    Unparsable(String),
    /// Understood, and never allowed, whoever asks. Says which construct, why, and what to use instead.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// A named limit of the classifier was passed.
    #[error("too large: {0}")]
    TooLarge(String),
}

impl PublicError for Refusal {
    fn problem(&self) -> Problem {
        match self {
            Self::Unparsable(detail) => Problem::new(Code::StatementUnparsable, detail.clone()),
            Self::Forbidden(detail) => Problem::new(Code::PolicyForbiddenStatement, detail.clone()),
            Self::TooLarge(detail) => Problem::new(Code::RequestTooLarge, detail.clone()),
        }
    }
}

impl Refusal {
    /// The reason, without its kind.
    pub fn into_detail(self) -> String {
        let (Self::Unparsable(detail) | Self::Forbidden(detail) | Self::TooLarge(detail)) = self;
        detail
    }
}

/// How much memory understanding a SQL text may take beside it, in bytes. It is measured, and what was measured is in
/// each store's function: some texts take a quarter of it, none more.
pub fn memory_bytes(store: Store, sql: &str) -> usize {
    match store {
        Store::Postgres => postgres::memory_bytes(sql),
        Store::Mysql => mysql::memory_bytes(sql),
        Store::Mongodb | Store::Redis => 0,
    }
}

pub type Result<T = Classification> = std::result::Result<T, Refusal>;

/// Classifies a command document; its own `$db` wins over `database`, as on the wire.
pub fn mongodb_operation(document: &[u8], database: &str, session: Session) -> Result<Operation> {
    let (named, document) = mongodb::without_database(document)?;
    let database = named.unwrap_or_else(|| database.to_owned());
    let classification = mongodb::classify(&document, &database, session)?;
    Ok(Operation {
        store: Store::Mongodb,
        classification: Arc::new(classification),
        payload: Payload::Mongodb { database, document },
    })
}

/// Classifies a pipeline: everything that any of its commands touches.
pub fn redis_operation(
    commands: Vec<Vec<Vec<u8>>>,
    atomic: bool,
    session: Session,
) -> Result<Operation> {
    let mut whole = Classification::default();
    for command in &commands {
        let one = redis::classify(command, session)?;
        whole.touches.extend(one.touches);
        whole.functions.extend(one.functions);
        whole.scripts.extend(one.scripts);
    }
    Ok(Operation {
        store: Store::Redis,
        classification: Arc::new(whole.finish()),
        payload: Payload::Redis { commands, atomic },
    })
}
