//! What the driver's errors mean to a caller.

use mongodb::error::{Error as DriverError, ErrorKind};

use crate::execute::Error;
use crate::operation::Store;

/// Duplicate keys and write conflicts: the caller's statement against the data or another's.
const CONFLICT_CODES: [i32; 4] = [112, 11_000, 11_001, 12_582];
/// `MaxTimeMSExpired`, `NetworkTimeout` between members, `ExceededTimeLimit`.
const TIMEOUT_CODES: [i32; 3] = [50, 89, 262];
/// Shutting down, stepping down, no primary: the server cannot serve now.
const UNAVAILABLE_CODES: [i32; 11] = [
    6, 7, 91, 189, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436,
];
/// `AuthenticationFailed`: the sidecar's own credentials are refused, which is no caller's concern.
const CREDENTIAL_CODES: [i32; 1] = [18];

/// The server cannot be reached, or cannot serve now. The cause is for the operator's log.
pub fn unavailable(cause: impl Into<String>) -> Error {
    Error::Unavailable {
        store: Store::Mongodb,
        cause: cause.into(),
    }
}

/// Nothing was sent.
pub fn unreached(cause: impl Into<String>) -> Error {
    Error::Unreached {
        store: Store::Mongodb,
        cause: cause.into(),
    }
}

/// Maps a driver's error. `timeout_ms` is the limit that the command ran under.
pub fn from_driver(error: &DriverError, timeout_ms: u64) -> Error {
    if let ErrorKind::Command(command) = error.kind.as_ref() {
        return from_command(command.code, &command.message, timeout_ms);
    }
    if let ErrorKind::InvalidArgument { message, .. } = error.kind.as_ref() {
        return Error::Invalid(message.clone());
    }
    // A pool that was cleared may have cut a command short.
    if let ErrorKind::ServerSelection { .. } = error.kind.as_ref() {
        return unreached(error.kind.to_string());
    }
    unavailable(error.kind.to_string())
}

/// Maps what the server says of a command, or of a write within it.
pub fn from_command(code: i32, message: &str, timeout_ms: u64) -> Error {
    if TIMEOUT_CODES.contains(&code) {
        return Error::Timeout {
            store: Store::Mongodb,
            timeout_ms,
        };
    }
    if UNAVAILABLE_CODES.contains(&code) || CREDENTIAL_CODES.contains(&code) {
        return unavailable(format!("server error {code}: {message}"));
    }
    Error::Server {
        store: Store::Mongodb,
        sqlstate: None,
        errno: Some(i64::from(code)),
        message: message.to_owned(),
        conflict: CONFLICT_CODES.contains(&code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, PublicError};

    #[test]
    fn a_server_code_becomes_ours() {
        let cases = [
            (11_000, Code::StoreConflict),
            (112, Code::StoreConflict),
            (50, Code::StoreTimeout),
            (262, Code::StoreTimeout),
            (10_107, Code::StoreUnavailable),
            (91, Code::StoreUnavailable),
            (18, Code::StoreUnavailable),
            (13, Code::StoreError),
            (9, Code::StoreError),
            (59, Code::StoreError),
            (-1, Code::StoreError),
        ];
        for (code, expected) in cases {
            let problem = from_command(code, "said the server", 100).problem();
            assert_eq!(problem.code, expected, "{code}");
        }
    }
}
