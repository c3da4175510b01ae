//! The driver's errors → ours.

use tokio_postgres::error::{DbError, SqlState};

use crate::execute::Error;
use crate::operation::Store;

/// Why a statement failed, and whether it may be tried once more.
pub(super) struct Fault {
    pub(super) error: tokio_postgres::Error,
}

impl Fault {
    /// Whether a statement that was prepared earlier may have failed only because a table has changed since:
    /// its plan is of another shape (0A000), it is gone (26000), or its names or types no longer fit
    /// (class 42). All of these come before the first row.
    pub(super) fn is_stale(&self) -> bool {
        self.error.code().is_some_and(|code| {
            *code == SqlState::FEATURE_NOT_SUPPORTED
                || *code == SqlState::INVALID_SQL_STATEMENT_NAME
                || code.code().starts_with("42")
        })
    }

    /// Whether the server itself answered, so that the connection is in step and can go on.
    pub(super) fn is_answer(&self) -> bool {
        self.error
            .as_db_error()
            .is_some_and(|error| matches!(error.severity(), "ERROR"))
    }

    pub(super) fn into_error(self, timeout_ms: u64) -> Error {
        match self.error.as_db_error() {
            Some(error) => server_error(error, timeout_ms),
            None => Error::Unavailable {
                store: Store::Postgres,
                cause: describe(&self.error),
            },
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self { error }
    }
}

fn server_error(error: &DbError, timeout_ms: u64) -> Error {
    let code = error.code();
    let store = Store::Postgres;
    if *code == SqlState::QUERY_CANCELED {
        return Error::Timeout { store, timeout_ms };
    }
    if is_unavailable(code) {
        return Error::Unavailable {
            store,
            cause: format!("{}: {}", code.code(), error.message()),
        };
    }
    if code.code().starts_with("22")
        && let Some(index) = error.where_().and_then(parameter_index)
    {
        return Error::Parameter {
            index,
            reason: error.message().to_owned(),
        };
    }
    Error::Server {
        store,
        sqlstate: Some(code.code().to_owned()),
        errno: None,
        message: error.message().to_owned(),
        conflict: *code == SqlState::UNIQUE_VIOLATION
            || *code == SqlState::EXCLUSION_VIOLATION
            || *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED,
    }
}

/// The server is going, coming or full; class 08 is a lost connection.
fn is_unavailable(code: &SqlState) -> bool {
    *code == SqlState::ADMIN_SHUTDOWN
        || *code == SqlState::CRASH_SHUTDOWN
        || *code == SqlState::CANNOT_CONNECT_NOW
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || code.code().starts_with("08")
}

/// The parameter that the server could not read, counted from 1, from the error's context
/// (`unnamed portal parameter $2 = '…'`; PostgreSQL 14 and later, in English).
fn parameter_index(context: &str) -> Option<usize> {
    let (before, after) = context.split_once('$')?;
    if !before.ends_with("parameter ") {
        return None;
    }
    let end = after
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(after.len());
    after.get(..end)?.parse().ok()
}

/// A driver's error for the operator's log, with its causes. It holds no parameter's value: the driver's own
/// words have none, and of the server's error only code and message are taken.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{}: {}", error.code().code(), error.message());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_the_parameter() {
        for (context, expected) in [
            ("unnamed portal parameter $2 = 'x'", Some(2)),
            ("portal \"p\" parameter $13", Some(13)),
            ("unnamed portal parameter $", None),
            ("PL/pgSQL function f(text) line 1, cost $5", None),
            ("", None),
        ] {
            assert_eq!(parameter_index(context), expected, "{context}");
        }
    }
}
