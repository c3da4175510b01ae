//! The caller's command document, made ready to send. Pure.
//!
//! The document goes out byte for byte, with exceptions that are the sidecar's own:
//!
//! - `lsid`, `txnNumber`, `startTransaction` and `autocommit` name a transaction of the caller's; the server gets those
//!   of the session that the sidecar keeps for it (`transactions.rs`).
//! - `$db`, `lsid`, `$clusterTime` and `$readPreference` belong to the connection between the sidecar and the
//!   server. What a caller's driver put there is taken out; the sidecar's driver adds its own (`$db`, `lsid`,
//!   and `$clusterTime` and `$readPreference` where the topology has them), and nothing else.
//! - `maxTimeMS` is added, or lowered to the sidecar's limit, so that the server ends what takes too long. Not on
//!   `getMore`, where it means something else (how long to wait for new data) and is only lowered; and not on
//!   `killCursors`.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr};

use super::transaction_fields::{self, TRANSACTION_FIELDS, TransactionFields};
use crate::execute::Error;

/// Fields of the connection, not of the command: the sidecar's driver writes its own.
const CONNECTION_FIELDS: [&str; 4] = ["$db", "lsid", "$clusterTime", "$readPreference"];

/// Most cursors that one `killCursors` may name.
pub const KILL_CURSORS_MAX: usize = 1_000;

/// What a command does with cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// May open a cursor; continues none.
    Plain,
    GetMore {
        cursor: i64,
        collection: String,
    },
    KillCursors {
        cursors: Vec<i64>,
        collection: String,
    },
    CommitTransaction,
    AbortTransaction,
}

/// A document that may be sent as it stands.
#[derive(Debug)]
pub struct Prepared {
    pub document: RawDocumentBuf,
    pub kind: Kind,
    /// The transaction that it stands in.
    pub transaction: Option<TransactionFields>,
    /// How long the server may work on it.
    pub timeout_ms: u64,
}

/// Takes out what is the connection's, sets the time limit, and finds which cursors are continued.
pub fn prepare(document: &[u8], limit_ms: u64) -> Result<Prepared, Error> {
    let raw = RawDocument::from_bytes(document).map_err(not_bson)?;
    let kind = kind(raw)?;
    let asked_ms = max_time_ms(raw)?;
    let timeout_ms = match asked_ms {
        Some(asked) if asked > 0 => asked.min(limit_ms),
        Some(_) | None => limit_ms,
    };
    let field = match (&kind, asked_ms) {
        (Kind::Plain, _) => Some(timeout_ms),
        (Kind::GetMore { .. }, Some(_)) => Some(timeout_ms),
        (Kind::GetMore { .. }, None)
        | (Kind::KillCursors { .. } | Kind::CommitTransaction | Kind::AbortTransaction, _) => None,
    };
    let transaction = transaction_fields::read(raw)?;
    let starts = transaction.as_ref().is_some_and(|fields| fields.starts);
    let mut document = without_connection_fields(raw, document, starts)?;
    if let Some(ms) = field {
        document.append(cstr!("maxTimeMS"), i64::try_from(ms).unwrap_or(i64::MAX));
    }
    Ok(Prepared {
        document,
        kind,
        transaction,
        timeout_ms,
    })
}

fn not_bson(error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the command is not valid BSON: {error}"))
}

fn kind(raw: &RawDocument) -> Result<Kind, Error> {
    let Some(first) = raw.iter().next() else {
        return Err(Error::Invalid(
            "the command document is empty: name a command".into(),
        ));
    };
    let (name, value) = first.map_err(not_bson)?;
    match name.as_str() {
        "getMore" => Ok(Kind::GetMore {
            cursor: cursor_id(value, "getMore")?,
            collection: text(raw, "collection")?,
        }),
        "killCursors" => {
            let Some(collection) = value.as_str() else {
                return Err(Error::Invalid(
                    "`killCursors` must name a collection".into(),
                ));
            };
            Ok(Kind::KillCursors {
                cursors: cursors_to_kill(raw)?,
                collection: collection.to_owned(),
            })
        }
        "commitTransaction" => Ok(Kind::CommitTransaction),
        "abortTransaction" => Ok(Kind::AbortTransaction),
        _ => Ok(Kind::Plain),
    }
}

fn cursors_to_kill(raw: &RawDocument) -> Result<Vec<i64>, Error> {
    let array = raw
        .get_array("cursors")
        .map_err(|_| Error::Invalid("`cursors` must be an array of cursor ids".into()))?;
    let mut cursors = Vec::new();
    for element in array {
        if cursors.len() == KILL_CURSORS_MAX {
            return Err(Error::Invalid(format!(
                "`cursors` has more than {KILL_CURSORS_MAX} ids: send several commands"
            )));
        }
        cursors.push(cursor_id(element.map_err(not_bson)?, "cursors")?);
    }
    Ok(cursors)
}

fn cursor_id(value: RawBsonRef<'_>, field: &str) -> Result<i64, Error> {
    value
        .as_i64()
        .ok_or_else(|| Error::Invalid(format!("`{field}` must hold a cursor id, a 64-bit integer")))
}

fn text(raw: &RawDocument, field: &str) -> Result<String, Error> {
    raw.get_str(field)
        .map(str::to_owned)
        .map_err(|_| Error::Invalid(format!("`{field}` must be a string")))
}

/// The caller's own limit. A value that is not a whole number of milliseconds is refused rather than guessed.
fn max_time_ms(raw: &RawDocument) -> Result<Option<u64>, Error> {
    let refused = || Error::Invalid("`maxTimeMS` must be a whole number, 0 or more".into());
    let whole = |value: f64| value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
    let mut found = None;
    for element in raw {
        let (name, value) = element.map_err(not_bson)?;
        if name.as_str() != "maxTimeMS" {
            continue;
        }
        if found.is_some() {
            return Err(Error::Invalid("`maxTimeMS` stands there twice".into()));
        }
        found = Some(if let Some(number) = value.as_i32() {
            u64::try_from(number).map_err(|_| refused())?
        } else if let Some(number) = value.as_i64() {
            u64::try_from(number).map_err(|_| refused())?
        } else if let Some(number) = value.as_f64().filter(|number| whole(*number)) {
            // In range and whole, as just checked.
            number as u64
        } else {
            return Err(refused());
        });
    }
    Ok(found)
}

/// `starts`: the first command of a transaction, whose `readConcern` is the transaction's own.
fn without_connection_fields(
    raw: &RawDocument,
    bytes: &[u8],
    starts: bool,
) -> Result<RawDocumentBuf, Error> {
    let is_taken_out = |field: &str| {
        CONNECTION_FIELDS.contains(&field)
            || TRANSACTION_FIELDS.contains(&field)
            || field == "maxTimeMS"
            || (starts && field == "readConcern")
    };
    let mut changes = false;
    for element in raw {
        let (name, _) = element.map_err(not_bson)?;
        let field = name.as_str();
        if is_taken_out(field) {
            changes = true;
        } else if field.starts_with('$') {
            return Err(Error::Invalid(format!(
                "`{field}` cannot be sent here: take it out of the command"
            )));
        }
    }
    if !changes {
        return RawDocumentBuf::from_bytes(bytes.to_vec()).map_err(not_bson);
    }
    let mut kept = RawDocumentBuf::new();
    for element in raw {
        let (name, value) = element.map_err(not_bson)?;
        if !is_taken_out(name.as_str()) {
            kept.append(name, value);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Bson, Document, doc};

    const LIMIT_MS: u64 = 5_000;

    fn bytes(document: &Document) -> Vec<u8> {
        RawDocumentBuf::try_from(document).unwrap().into_bytes()
    }

    fn sent(document: &Document) -> (Document, Kind, u64) {
        let prepared = prepare(&bytes(document), LIMIT_MS).unwrap();
        let sent = Document::try_from(prepared.document.as_ref()).unwrap();
        (sent, prepared.kind, prepared.timeout_ms)
    }

    #[test]
    fn the_time_limit_is_added_or_lowered() {
        let cases = [
            (doc! {"find": "c"}, 5_000_i64),
            (doc! {"find": "c", "maxTimeMS": 0}, 5_000),
            (doc! {"find": "c", "maxTimeMS": 20}, 20),
            (doc! {"find": "c", "maxTimeMS": 20_i64}, 20),
            (doc! {"find": "c", "maxTimeMS": 20.0}, 20),
            (doc! {"find": "c", "maxTimeMS": 9_000_000}, 5_000),
            (doc! {"find": "c", "maxTimeMS": i64::MAX}, 5_000),
        ];
        for (command, expected) in cases {
            let (sent, kind, timeout_ms) = sent(&command);
            assert_eq!(sent, doc! {"find": "c", "maxTimeMS": expected}, "{command}");
            assert_eq!(kind, Kind::Plain);
            assert_eq!(timeout_ms, u64::try_from(expected).unwrap());
        }
    }

    #[test]
    fn get_more_keeps_its_own_meaning_of_the_time_limit() {
        let cases = [
            (
                doc! {"getMore": 7_i64, "collection": "c"},
                doc! {"getMore": 7_i64, "collection": "c"},
            ),
            (
                doc! {"getMore": 7_i64, "collection": "c", "maxTimeMS": 100},
                doc! {"getMore": 7_i64, "collection": "c", "maxTimeMS": 100_i64},
            ),
            (
                doc! {"getMore": 7_i64, "collection": "c", "maxTimeMS": 100_000},
                doc! {"getMore": 7_i64, "collection": "c", "maxTimeMS": 5_000_i64},
            ),
        ];
        for (command, expected) in cases {
            let (sent, kind, _) = sent(&command);
            assert_eq!(sent, expected);
            assert_eq!(
                kind,
                Kind::GetMore {
                    cursor: 7,
                    collection: "c".into()
                }
            );
        }
    }

    #[test]
    fn what_belongs_to_the_connection_is_taken_out() {
        let command = doc! {
            "insert": "c",
            "documents": [{"lsid": 1, "$db": "kept: it is data"}],
            "lsid": {"id": "theirs"},
            "$db": "elsewhere",
            "$clusterTime": {"clusterTime": 1},
            "$readPreference": {"mode": "secondary"},
        };
        let (sent, _, _) = sent(&command);
        assert_eq!(
            sent,
            doc! {
                "insert": "c",
                "documents": [{"lsid": 1, "$db": "kept: it is data"}],
                "maxTimeMS": 5_000_i64,
            }
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let cases: [(Document, &str); 11] = [
            (doc! {}, "the command document is empty: name a command"),
            (
                doc! {"find": "c", "txnNumber": 1_i64},
                "`txnNumber` without `autocommit: false` asks for retryable writes, which the sidecar does not do: take it out",
            ),
            (
                doc! {"find": "c", "autocommit": false},
                "a transaction needs `lsid`: {id: a UUID}",
            ),
            (
                doc! {"find": "c", "$audit": {}},
                "`$audit` cannot be sent here: take it out of the command",
            ),
            (
                doc! {"find": "c", "maxTimeMS": -1},
                "`maxTimeMS` must be a whole number, 0 or more",
            ),
            (
                doc! {"find": "c", "maxTimeMS": 0.5},
                "`maxTimeMS` must be a whole number, 0 or more",
            ),
            (
                doc! {"find": "c", "maxTimeMS": f64::NAN},
                "`maxTimeMS` must be a whole number, 0 or more",
            ),
            (
                doc! {"find": "c", "maxTimeMS": Bson::Null},
                "`maxTimeMS` must be a whole number, 0 or more",
            ),
            (
                doc! {"getMore": "7", "collection": "c"},
                "`getMore` must hold a cursor id, a 64-bit integer",
            ),
            (doc! {"getMore": 7_i64}, "`collection` must be a string"),
            (
                doc! {"killCursors": "c", "cursors": 7_i64},
                "`cursors` must be an array of cursor ids",
            ),
        ];
        for (command, expected) in cases {
            match prepare(&bytes(&command), LIMIT_MS) {
                Err(Error::Invalid(reason)) => assert_eq!(reason, expected, "{command}"),
                other => panic!("{command}: {other:?}"),
            }
        }
        assert!(prepare(b"\x05\0\0\0", LIMIT_MS).is_err());
    }

    #[test]
    fn kill_cursors_names_its_cursors() {
        let (sent, kind, _) = sent(&doc! {"killCursors": "c", "cursors": [1_i64, 2_i64]});
        assert_eq!(sent, doc! {"killCursors": "c", "cursors": [1_i64, 2_i64]});
        assert_eq!(
            kind,
            Kind::KillCursors {
                cursors: vec![1, 2],
                collection: "c".into()
            }
        );
    }
}
