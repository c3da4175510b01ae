//! The driver's errors → ours.

use mysql_async::{Error as DriverError, IoError, ServerError};

use crate::execute::Error;
use crate::operation::Store;

/// Lock wait time-out: another transaction held the row, and trying again may succeed.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const DUPLICATE_ENTRY: u16 = 1062;
const DUPLICATE_ENTRY_WITH_KEY: u16 = 1586;
/// MariaDB: the row has changed since it was read, under snapshot isolation.
const RECORD_CHANGED: u16 = 1020;
/// A prepared statement whose tables have changed too often or too late to be prepared again by the server itself,
/// and one that the server does not know (any more).
const STALE: [u16; 2] = [1615, 1243];
const PREVENTED_BY_OPTION: u16 = 1290;
const READ_ONLY_MODE: u16 = 1836;
/// Killed, past `max_execution_time` (MySQL), past `max_statement_time` (MariaDB).
const INTERRUPTED: [u16; 3] = [1317, 3024, 1969];
/// Too many connections (all, of this user), shutting down, killed, and what the network did.
const GONE: [u16; 11] = [
    1040, 1203, 1226, 1053, 1927, 1152, 1158, 1159, 1160, 1161, 3169,
];

pub(super) fn into_error(error: &DriverError, timeout_ms: u64) -> Error {
    match error {
        DriverError::Server(error) => server_error(error, timeout_ms),
        DriverError::Driver(_)
        | DriverError::Io(_)
        | DriverError::Other(_)
        | DriverError::Url(_) => Error::Unavailable {
            store: Store::Mysql,
            cause: describe(error),
        },
    }
}

/// Whether the server itself answered, so that the connection is in step and can go on.
pub(super) fn is_answer(error: &DriverError) -> bool {
    matches!(error, DriverError::Server(error) if !GONE.contains(&error.code))
}

/// Whether a statement may have failed only because it was prepared before its tables were changed. The server says so
/// when it opens them, and so before anything has run.
pub(super) fn is_stale(error: &DriverError) -> bool {
    matches!(error, DriverError::Server(error) if STALE.contains(&error.code))
}

/// Whether the server has refused a write because it takes none. The code stands for other options as well, which the
/// message names.
pub(super) fn is_read_only(error: &DriverError) -> bool {
    matches!(error, DriverError::Server(error)
        if error.code == READ_ONLY_MODE
            || error.code == PREVENTED_BY_OPTION && error.message.contains("read-only"))
}

/// For the operator's log; the driver's own words hold no parameter.
pub(super) fn describe(error: &DriverError) -> String {
    match error {
        // Each layer would repeat that it was input or output.
        DriverError::Io(IoError::Io(error)) => error.to_string(),
        DriverError::Io(IoError::Tls(error)) => format!("TLS: {error}"),
        DriverError::Server(_)
        | DriverError::Driver(_)
        | DriverError::Other(_)
        | DriverError::Url(_) => error.to_string(),
    }
}

fn server_error(error: &ServerError, timeout_ms: u64) -> Error {
    let store = Store::Mysql;
    if INTERRUPTED.contains(&error.code) {
        return Error::Timeout { store, timeout_ms };
    }
    if GONE.contains(&error.code) {
        return Error::Unavailable {
            store,
            cause: format!("{}: {}", error.code, error.message),
        };
    }
    Error::Server {
        store,
        sqlstate: Some(error.state.clone()),
        errno: Some(error.code.into()),
        message: error.message.clone(),
        conflict: [
            DUPLICATE_ENTRY,
            DUPLICATE_ENTRY_WITH_KEY,
            DEADLOCK,
            LOCK_WAIT_TIMEOUT,
            RECORD_CHANGED,
        ]
        .contains(&error.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = DriverError::Io(IoError::Io(refused));
        assert_eq!(describe(&error), "connection refused");
    }

    #[test]
    fn codes_have_meanings() {
        let error = |code: u16| {
            into_error(
                &DriverError::Server(ServerError {
                    code,
                    message: "m".to_owned(),
                    state: "HY000".to_owned(),
                }),
                7,
            )
        };
        for code in [1062, 1213, 1205] {
            assert!(matches!(error(code), Error::Server { conflict: true, .. }));
        }
        assert!(matches!(
            error(1146),
            Error::Server {
                conflict: false,
                errno: Some(1146),
                ..
            }
        ));
        assert!(matches!(error(1969), Error::Timeout { timeout_ms: 7, .. }));
        assert!(matches!(error(1040), Error::Unavailable { .. }));
    }
}
