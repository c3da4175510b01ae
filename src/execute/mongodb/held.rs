//! The server's replies as it sent them, and the driver's hold on a cursor that one of them left open.
//!
//! The driver hands the bytes of a reply out for commands that answer with a cursor alone; any other reply it decodes,
//! which keeps the last of two fields of one name. It ends a cursor on the server when its own hold on it is dropped.
//! So the hold is kept for as long as the cursor is, and a `getMore` goes through it where it asks for nothing that
//! the hold would not ask for.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use futures_util::StreamExt as _;
use mongodb::error::{Error as DriverError, Result as DriverResult};
use mongodb::raw_batch_cursor::SessionRawBatchCursor;
use mongodb::{ClientSession, Database};

use super::Session;
use super::cursors::Namespace;

/// The commands that answer with a cursor.
const CURSOR_COMMANDS: [&str; 4] = ["find", "aggregate", "listCollections", "listIndexes"];

/// What a cursor is continued with. Dropped, the cursor is killed on the server.
#[derive(Debug)]
pub(super) struct Continued {
    pub(super) session: Session,
    pub(super) hold: Option<Hold>,
}

/// The driver's hold on an open cursor.
#[derive(Debug)]
pub(super) struct Hold {
    cursor: SessionRawBatchCursor,
    /// How many documents it asks for at once.
    batch_size: Option<u32>,
}

/// A reply, byte for byte, and the hold on the cursor that it opened.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) document: RawDocumentBuf,
    pub(super) hold: Option<Hold>,
}

/// Sends the command. `known` is the hold on the cursor that it continues.
pub(super) async fn send(
    database: &Database,
    command: RawDocumentBuf,
    session: &mut ClientSession,
    known: Option<&mut Hold>,
) -> DriverResult<Reply> {
    if let Some(hold) = known.filter(|hold| hold.would_ask(&command)) {
        let document = next(&mut hold.cursor, session).await?;
        return Ok(Reply {
            document,
            hold: None,
        });
    }
    if has_cursor(&command) {
        return open(database, command, session).await;
    }
    let reply = database.run_raw_command(command).session(session).await?;
    Ok(Reply {
        document: RawDocumentBuf::try_from(&reply)?,
        hold: None,
    })
}

async fn open(
    database: &Database,
    command: RawDocumentBuf,
    session: &mut ClientSession,
) -> DriverResult<Reply> {
    let batch_size = batch_size(&command);
    let mut opening = database.run_raw_cursor_command(command);
    if let Some(batch_size) = batch_size {
        opening = opening.batch_size(batch_size);
    }
    let mut cursor = opening.session(&mut *session).batch().await?;
    // The first batch is here already.
    let document = next(&mut cursor, session).await?;
    let is_open = open_cursor(&document).is_some();
    let hold = is_open.then_some(Hold { cursor, batch_size });
    Ok(Reply { document, hold })
}

async fn next(
    cursor: &mut SessionRawBatchCursor,
    session: &mut ClientSession,
) -> DriverResult<RawDocumentBuf> {
    match cursor.stream(session).next().await {
        Some(batch) => Ok(batch?.as_raw_document().to_owned()),
        None => Err(DriverError::custom("the driver holds the cursor for ended")),
    }
}

impl Hold {
    /// Whether the driver's own `getMore` would be the same command.
    fn would_ask(&self, command: &RawDocument) -> bool {
        let mut asked = None;
        for element in command {
            match element {
                Ok((name, value)) if name.as_str() == "batchSize" => match whole(value) {
                    Some(size) => asked = Some(size),
                    None => return false,
                },
                Ok((name, _)) if matches!(name.as_str(), "getMore" | "collection") => {}
                Ok(_) | Err(_) => return false,
            }
        }
        asked == self.batch_size
    }
}

/// A count of documents. None is asked for with 0, which is no size that a `getMore` may have.
fn whole(value: RawBsonRef<'_>) -> Option<u32> {
    let number = if let Some(number) = value.as_f64().filter(|number| number.fract() == 0.0) {
        // JSON's whole numbers may come as doubles; those beyond 32 bits fail below.
        number as i64
    } else {
        value.as_i32().map(i64::from).or(value.as_i64())?
    };
    let number = i32::try_from(number).ok().filter(|number| *number > 0)?;
    u32::try_from(number).ok()
}

/// How many documents the command asks for at once.
fn batch_size(command: &RawDocument) -> Option<u32> {
    let named = command.get("batchSize").ok().flatten();
    let within = || {
        let cursor = command.get_document("cursor").ok()?;
        cursor.get("batchSize").ok().flatten()
    };
    named.or_else(within).and_then(whole)
}

/// The cursor that a reply leaves open.
pub(super) fn open_cursor(reply: &RawDocument) -> Option<(i64, Namespace)> {
    let cursor = reply.get_document("cursor").ok()?;
    let id = cursor.get_i64("id").ok().filter(|id| *id != 0)?;
    let namespace = Namespace::parse(cursor.get_str("ns").ok()?)?;
    Some((id, namespace))
}

/// An `aggregate` that explains itself has none.
pub(super) fn has_cursor(command: &RawDocument) -> bool {
    let first = command.iter().next().and_then(Result::ok);
    let is_known = first.is_some_and(|(name, _)| CURSOR_COMMANDS.contains(&name.as_str()));
    is_known
        && command
            .get("explain")
            .is_ok_and(|explain| explain.is_none())
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn raw(command: &Document) -> RawDocumentBuf {
        RawDocumentBuf::try_from(command).unwrap()
    }

    #[test]
    fn commands_with_a_cursor_are_told_by_name() {
        for (command, expected) in [
            (doc! {"find": "c"}, true),
            (doc! {"aggregate": "c", "cursor": {}}, true),
            (doc! {"aggregate": "c", "explain": true}, false),
            (doc! {"insert": "c", "documents": []}, false),
            (doc! {"getMore": 1_i64, "collection": "c"}, false),
            (doc! {}, false),
        ] {
            assert_eq!(has_cursor(&raw(&command)), expected, "{command}");
        }
    }

    #[test]
    fn the_size_of_a_batch_is_found_where_each_command_has_it() {
        for (command, expected) in [
            (doc! {"find": "c"}, None),
            (doc! {"find": "c", "batchSize": 2}, Some(2)),
            (doc! {"find": "c", "batchSize": 2_i64}, Some(2)),
            (doc! {"find": "c", "batchSize": 2.0}, Some(2)),
            (doc! {"find": "c", "batchSize": 0}, None),
            (doc! {"find": "c", "batchSize": 2.5}, None),
            (doc! {"find": "c", "batchSize": 1e300}, None),
            (doc! {"find": "c", "batchSize": "2"}, None),
            (doc! {"aggregate": "c", "cursor": {"batchSize": 3}}, Some(3)),
            (doc! {"aggregate": "c", "cursor": {}}, None),
        ] {
            assert_eq!(batch_size(&raw(&command)), expected, "{command}");
        }
    }
}
