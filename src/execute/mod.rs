//! Runs what was admitted: takes only a [`Ticket`](crate::limit::Ticket).

mod gather;
pub(crate) mod hosts;
pub mod mongodb;
pub mod mysql;
pub mod pool;
pub mod postgres;
#[cfg(test)]
pub(crate) mod private_servers;
pub mod redis;
pub mod request;
pub mod settings;
pub mod stores;
pub mod tls;
pub mod transaction;

#[cfg(test)]
mod dice;
#[cfg(test)]
mod live;

use crate::error::{Code, Problem, PublicError};
use crate::operation::Store;
use crate::reply::SinkError;

/// How long a store may take to answer a health check.
const PING_TIMEOUT_MS: u64 = 2_000;

/// What can go wrong between a ticket and its reply. `Display` is for the log and holds no value of a statement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter does not fit its type; names the parameter, counted from 1.
    #[error("parameter {index} does not fit its type")]
    Parameter { index: usize, reason: String },
    #[error("{store} refused it: {}", server_code(sqlstate.as_deref(), *errno))]
    Server {
        store: Store,
        sqlstate: Option<String>,
        errno: Option<i64>,
        /// The server's message for the caller's own statement.
        message: String,
        /// Unique violation, serialization failure or deadlock.
        conflict: bool,
    },
    /// No answer. What was asked may have been carried out.
    #[error("{store} is unavailable: {cause}")]
    Unavailable { store: Store, cause: String },
    /// Nothing was sent.
    #[error("no connection to {store}: {cause}")]
    Unreached { store: Store, cause: String },
    /// `waited_ms` is 0 where it was not let wait at all.
    #[error("{}", exhausted(*store, *waited_ms))]
    PoolExhausted { store: Store, waited_ms: u64 },
    #[error("{}", late(*store, *timeout_ms))]
    Timeout { store: Store, timeout_ms: u64 },
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Transaction(transaction::Fault),
    /// The request as a whole cannot be run (a cursor of another key, say).
    #[error("{0}")]
    Invalid(String),
}

/// Who may not wait is told so, and not that it waited.
fn exhausted(store: Store, waited_ms: u64) -> String {
    if waited_ms == 0 {
        format!("all {store} connections are in use, and no more requests may wait for one")
    } else {
        format!("all {store} connections were in use for {waited_ms} ms")
    }
}

/// Redis cannot be asked to cancel anything.
fn late(store: Store, timeout_ms: u64) -> String {
    match store {
        Store::Postgres | Store::Mysql | Store::Mongodb => {
            format!("{store} was asked to cancel the statement after {timeout_ms} ms")
        }
        Store::Redis => format!(
            "{store} did not answer within {timeout_ms} ms; it may still carry the command out"
        ),
    }
}

/// What the log says of a server's refusal: its codes. Its message may hold the caller's values.
fn server_code(sqlstate: Option<&str>, errno: Option<i64>) -> String {
    match (sqlstate, errno) {
        (Some(sqlstate), Some(errno)) => format!("sqlstate {sqlstate}, errno {errno}"),
        (Some(sqlstate), None) => format!("sqlstate {sqlstate}"),
        (None, Some(errno)) => format!("code {errno}"),
        (None, None) => "no code".into(),
    }
}

impl Error {
    /// Whether a change may have been made although this is all that came back. Of a transaction, its
    /// [`Fate`](transaction::Fate) tells.
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout { .. } | Self::Sink(_) => true,
            Self::Parameter { .. }
            | Self::Server { .. }
            | Self::Unreached { .. }
            | Self::PoolExhausted { .. }
            | Self::Transaction(_)
            | Self::Invalid(_) => false,
        }
    }
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        match self {
            Self::Parameter { index, reason } => {
                Problem::new(Code::RequestInvalid, format!("parameter {index}: {reason}"))
            }
            Self::Server {
                sqlstate,
                errno,
                message,
                conflict,
                ..
            } => {
                let code = if *conflict {
                    Code::StoreConflict
                } else {
                    Code::StoreError
                };
                let mut problem = Problem::new(code, message.clone());
                problem.sqlstate.clone_from(sqlstate);
                problem.errno = *errno;
                problem
            }
            Self::Unavailable { store, .. } => {
                let mut problem =
                    Problem::new(Code::StoreUnavailable, format!("{store} did not answer"));
                problem.retry_after_ms = Some(1000);
                problem
            }
            Self::Unreached { store, .. } => {
                let mut problem = Problem::new(
                    Code::StoreUnavailable,
                    format!("there is no connection to {store} just now; try again shortly"),
                );
                problem.retry_after_ms = Some(1000);
                problem
            }
            Self::PoolExhausted { store, waited_ms } => {
                let detail = exhausted(*store, *waited_ms);
                let mut problem = Problem::new(Code::PoolExhausted, detail);
                problem.retry_after_ms = Some(1000);
                problem
            }
            Self::Timeout { store, timeout_ms } => {
                Problem::new(Code::StoreTimeout, late(*store, *timeout_ms))
            }
            Self::Sink(error) => sink_problem(error),
            Self::Transaction(fault) => fault.problem(),
            Self::Invalid(detail) => Problem::new(Code::RequestInvalid, detail.clone()),
        }
    }
}

/// What a caller may do about a result that did not fit.
fn sink_problem(error: &SinkError) -> Problem {
    let way_out = "ask for it with `query` as a stream (`Accept: application/x-ndjson`)";
    let (code, detail) = match error {
        SinkError::DuplicateColumn(name) => (
            Code::RequestInvalid,
            format!(
                "two columns are called `{name}` and one value would be lost: alias one of them, or ask for \"rows\": \"arrays\""
            ),
        ),
        SinkError::RowsMax(rows) => (
            Code::RequestInvalid,
            format!(
                "the result has more than {rows} rows: add a LIMIT, ask for a higher `max_rows`, or {way_out}"
            ),
        ),
        SinkError::RowsAllowed(rows) => (
            Code::RequestInvalid,
            format!(
                "the result has more than {rows} rows, which is all that the policy allows the role for this (`max_rows` of \
                 the role or of a grant): add a LIMIT; neither a higher `max_rows` in the request nor a stream brings more"
            ),
        ),
        SinkError::BytesMax(bytes) => (
            Code::RequestInvalid,
            format!(
                "the result is larger than {bytes} bytes: select fewer rows or columns, or {way_out}"
            ),
        ),
        SinkError::RowBytesMax(bytes) => (
            Code::RequestInvalid,
            format!(
                "a row is larger than {bytes} bytes, the most that one row may have, in a stream, too: select fewer columns, or part of a value"
            ),
        ),
        SinkError::Document(cause) => (
            Code::RequestInvalid,
            format!(
                "a document cannot be shown ({cause}): leave it out by its `_id`, or project part of it"
            ),
        ),
        SinkError::NoDocuments => (
            Code::RequestInvalid,
            "documents cannot be returned here".to_owned(),
        ),
        SinkError::Gone | SinkError::Stalled(_) => (
            Code::RequestAbandoned,
            "the reply was not taken, and the statement was cancelled".to_owned(),
        ),
        SinkError::Memory => (
            Code::MemoryExhausted,
            format!(
                "the requests under way hold all the memory there is: try again shortly, or {way_out}"
            ),
        ),
    };
    let mut problem = Problem::new(code, detail);
    if code == Code::MemoryExhausted {
        problem.retry_after_ms = Some(1000);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_what_happened_and_no_more() {
        let (store, redis) = (Store::Postgres, Store::Redis);
        for (error, words) in [
            (
                Error::PoolExhausted {
                    store,
                    waited_ms: 0,
                },
                "no more requests may wait",
            ),
            (
                Error::PoolExhausted {
                    store,
                    waited_ms: 7,
                },
                "in use for 7 ms",
            ),
            (
                Error::Timeout {
                    store,
                    timeout_ms: 7,
                },
                "asked to cancel the statement after 7 ms",
            ),
            (
                Error::Timeout {
                    store: redis,
                    timeout_ms: 7,
                },
                "did not answer within 7 ms",
            ),
        ] {
            let detail = error.problem().detail.clone();
            assert!(detail.contains(words), "{detail}");
        }
    }
}
