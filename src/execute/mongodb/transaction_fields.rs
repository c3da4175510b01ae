//! The fields with which a command says that it stands in a transaction. Pure.
//!
//! They are MongoDB's own (the drivers' transactions specification): `lsid` names the session, `txnNumber` the
//! transaction in it, `autocommit: false` goes with every command of it and `startTransaction: true` with the first.

use bson::{RawBsonRef, RawDocument};

use crate::execute::Error;

/// Fields that the sidecar's session writes anew.
pub(super) const TRANSACTION_FIELDS: [&str; 3] = ["txnNumber", "startTransaction", "autocommit"];

/// Bytes of a session's id: a UUID.
const SESSION_ID_BYTES: usize = 16;

/// Which transaction a command stands in, as its caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionFields {
    pub session: [u8; SESSION_ID_BYTES],
    pub number: i64,
    /// Its first command, with the read concern's level of the whole.
    pub starts: bool,
    pub read_level: Option<String>,
}

/// `None` for a command that stands in no transaction. A session alone makes none.
pub(super) fn read(raw: &RawDocument) -> Result<Option<TransactionFields>, Error> {
    let get = |field: &str| raw.get(field).map_err(|error| invalid(error.to_string()));
    let number = get("txnNumber")?;
    let starts = get("startTransaction")?;
    match get("autocommit")? {
        Some(RawBsonRef::Boolean(false)) => {}
        Some(_) => return Err(invalid("`autocommit` must be false, or left out")),
        None if number.is_some() => {
            return Err(invalid(
                "`txnNumber` without `autocommit: false` asks for retryable writes, which the sidecar does not do: take it out",
            ));
        }
        None if starts.is_some() => {
            return Err(invalid(
                "`startTransaction` needs `lsid`, `txnNumber` and `autocommit: false`",
            ));
        }
        None => return Ok(None),
    }
    let starts = match starts {
        None => false,
        Some(RawBsonRef::Boolean(true)) => true,
        Some(_) => return Err(invalid("`startTransaction` must be true, or left out")),
    };
    let session = get("lsid")?.and_then(session_id);
    let session = session.ok_or_else(|| invalid("a transaction needs `lsid`: {id: a UUID}"))?;
    let number = number.and_then(whole);
    let number = number.ok_or_else(|| {
        invalid(
            "a transaction needs `txnNumber`, a whole number that counts a session's transactions",
        )
    })?;
    Ok(Some(TransactionFields {
        session,
        number,
        starts,
        read_level: if starts {
            read_level(get("readConcern")?)?
        } else {
            None
        },
    }))
}

fn session_id(lsid: RawBsonRef<'_>) -> Option<[u8; SESSION_ID_BYTES]> {
    let id = lsid.as_document()?.get_binary("id").ok()?;
    id.bytes.try_into().ok()
}

fn whole(number: RawBsonRef<'_>) -> Option<i64> {
    number
        .as_i64()
        .or_else(|| number.as_i32().map(i64::from))
        .filter(|number| *number >= 0)
}

fn read_level(concern: Option<RawBsonRef<'_>>) -> Result<Option<String>, Error> {
    let Some(concern) = concern else {
        return Ok(None);
    };
    let other = || invalid("in a transaction `readConcern` may hold `level` alone, as text");
    let mut level = None;
    for element in concern.as_document().ok_or_else(other)? {
        let (name, value) = element.map_err(|error| invalid(error.to_string()))?;
        let text = value.as_str().filter(|_| name.as_str() == "level");
        level = Some(text.ok_or_else(other)?.to_owned());
    }
    Ok(level)
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::Invalid(detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::spec::BinarySubtype;
    use bson::{Binary, Document, RawDocumentBuf, doc};

    fn session(length: usize) -> Document {
        let bytes = vec![7; length];
        doc! {"id": Binary {subtype: BinarySubtype::Uuid, bytes}}
    }

    #[test]
    fn a_transaction_is_named_whole_or_refused() {
        let fields = |starts, level: Option<&str>| TransactionFields {
            session: [7; 16],
            number: 3,
            starts,
            read_level: level.map(str::to_owned),
        };
        let cases = [
            (doc! {"find": "c"}, Ok(None)),
            (doc! {"find": "c", "lsid": session(16)}, Ok(None)),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3_i64, "autocommit": false},
                Ok(Some(fields(false, None))),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3, "autocommit": false, "startTransaction": true,
                "readConcern": {"level": "snapshot"}},
                Ok(Some(fields(true, Some("snapshot")))),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3_i64, "autocommit": true},
                Err("must be false"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3_i64},
                Err("retryable writes"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "startTransaction": true},
                Err("needs `lsid`"),
            ),
            (
                doc! {"find": "c", "txnNumber": 3_i64, "autocommit": false},
                Err("needs `lsid`"),
            ),
            (
                doc! {"find": "c", "lsid": session(15), "txnNumber": 3_i64, "autocommit": false},
                Err("needs `lsid`"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "autocommit": false},
                Err("needs `txnNumber`"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": -1, "autocommit": false},
                Err("needs `txnNumber`"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3, "autocommit": false, "startTransaction": false},
                Err("must be true"),
            ),
            (
                doc! {"find": "c", "lsid": session(16), "txnNumber": 3, "autocommit": false, "startTransaction": true,
                "readConcern": {"afterClusterTime": 1}},
                Err("`level` alone"),
            ),
        ];
        for (command, expected) in cases {
            let raw = RawDocumentBuf::try_from(&command).unwrap();
            match (read(&raw), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{command}"),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{command}: {error}");
                }
                (found, _) => panic!("{command}: {found:?}"),
            }
        }
    }
}
