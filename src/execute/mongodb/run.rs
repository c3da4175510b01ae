//! One command on its way: its session, its deadline, the cursor it opens or continues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf};
use mongodb::Client;
use tokio::time::timeout;

use super::command::{Kind, Prepared};
use super::cursors::{Doomed, Full, Namespace, Opening, Refusal};
use super::failure::{self, unavailable};
use super::held::{self, Continued, Hold, Reply, open_cursor};
use super::{CURSORS_PER_KEY_MAX, MongoStore, Session};
use crate::decide::Permit;
use crate::execute::Error;
use crate::operation::Store;

/// How much longer than the server the sidecar waits: the server's own answer is the better one.
pub(super) const DEADLINE_GRACE_MS: u64 = 500;

/// The classifier judged the cursors it saw; what runs must name the same.
pub(super) fn same_cursors(kind: &Kind, classified: &[i64]) -> Result<(), Error> {
    let named: &[i64] = match kind {
        Kind::Plain | Kind::CommitTransaction | Kind::AbortTransaction => &[],
        Kind::GetMore { cursor, .. } => std::slice::from_ref(cursor),
        Kind::KillCursors { cursors, .. } => cursors,
    };
    let sorted = |ids: &[i64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    if sorted(named) == sorted(classified) {
        Ok(())
    } else {
        Err(Error::Invalid(
            "the command continues other cursors than were checked".into(),
        ))
    }
}

fn refused(id: i64, refusal: Refusal) -> Error {
    Error::Invalid(match refusal {
        Refusal::NoSuchCursor => format!("no such cursor: `{id}`"),
        Refusal::Busy => format!("cursor `{id}` is in use by another request"),
    })
}

/// One command on its way.
pub(super) struct Run<'a> {
    pub store: &'a MongoStore,
    pub client: Client,
    pub database: &'a str,
    pub permit: &'a Permit,
}

impl Run<'_> {
    pub(super) fn key_id(&self) -> &str {
        &self.permit.caller().key_id
    }

    pub async fn command(&self, prepared: Prepared) -> Result<RawDocumentBuf, Error> {
        match prepared.kind.clone() {
            Kind::Plain => self.plain(prepared).await,
            Kind::GetMore { cursor, collection } => {
                Box::pin(self.get_more(prepared, cursor, collection)).await
            }
            Kind::KillCursors {
                cursors,
                collection,
            } => Box::pin(self.kill_cursors(prepared, &cursors, collection)).await,
            Kind::CommitTransaction | Kind::AbortTransaction => Err(Error::Invalid(
                "name the transaction to end: `lsid`, `txnNumber` and `autocommit: false`".into(),
            )),
        }
    }

    async fn plain(&self, prepared: Prepared) -> Result<RawDocumentBuf, Error> {
        let session = self.client.start_session().causal_consistency(false).await;
        let session = session.map_err(|error| failure::from_driver(&error, prepared.timeout_ms))?;
        let session: Session = Arc::new(tokio::sync::Mutex::new(session));
        self.send_and_keep(prepared, session).await
    }

    /// Sends the document in the session, and registers the cursor that the reply leaves open, if it does.
    pub(super) async fn send_and_keep(
        &self,
        prepared: Prepared,
        session: Session,
    ) -> Result<RawDocumentBuf, Error> {
        let Reply { document, hold } = self.send(prepared, &session, None).await?;
        if let Some((id, namespace)) = open_cursor(&document) {
            let continued = Continued { session, hold };
            self.keep(id, namespace, continued).await?;
        }
        Ok(document)
    }

    /// Registers a cursor that the server has opened; without room it is killed and the request refused.
    async fn keep(&self, id: i64, namespace: Namespace, continued: Continued) -> Result<(), Error> {
        let opening = Opening::of(self.permit);
        let now = Instant::now();
        let kept = self
            .store
            .cursors()
            .open(id, opening, namespace, continued, now);
        let Err((full, doomed)) = kept else {
            return Ok(());
        };
        self.store.kill_cursor(&doomed).await;
        Err(match full {
            Full::Key => Error::Invalid(format!(
                "this key has {CURSORS_PER_KEY_MAX} cursors open: read one to its end, kill one, or ask with `singleBatch`"
            )),
            Full::Total => Error::PoolExhausted {
                store: Store::Mongodb,
                waited_ms: 0,
            },
        })
    }

    async fn get_more(
        &self,
        prepared: Prepared,
        id: i64,
        collection: String,
    ) -> Result<RawDocumentBuf, Error> {
        let namespace = Namespace {
            database: self.database.to_owned(),
            collection,
        };
        let continued = self
            .store
            .cursors()
            .check_out(id, self.key_id(), &namespace);
        let continued = continued.map_err(|refusal| refused(id, refusal))?;
        let session = Arc::clone(&continued.session);
        // A failed or abandoned getMore leaves a cursor whose position nobody knows: it is not continued.
        let mut held = Held {
            store: self.store,
            cursor: Some(Doomed {
                id,
                namespace,
                session: continued,
            }),
        };
        let hold = held
            .cursor
            .as_mut()
            .and_then(|cursor| cursor.session.hold.as_mut());
        let reply = self.send(prepared, &session, hold).await?.document;
        let is_open = open_cursor(&reply).is_some_and(|(still, _)| still == id);
        match held.cursor.take() {
            Some(cursor) if is_open => {
                // Closed meanwhile by `killCursors`: the session goes back to the driver, and the server has no cursor.
                let now = Instant::now();
                let _closed = self.store.cursors().check_in(id, cursor.session, now);
            }
            Some(_) | None => {
                self.store.cursors().close(id);
            }
        }
        Ok(reply)
    }

    async fn kill_cursors(
        &self,
        prepared: Prepared,
        ids: &[i64],
        collection: String,
    ) -> Result<RawDocumentBuf, Error> {
        let namespace = Namespace {
            database: self.database.to_owned(),
            collection,
        };
        {
            let cursors = self.store.cursors();
            let foreign = ids
                .iter()
                .find(|id| !cursors.is_owned(**id, self.key_id(), &namespace));
            if let Some(id) = foreign {
                return Err(refused(*id, Refusal::NoSuchCursor));
            }
        }
        // `killCursors` takes no session (the driver refuses one); the server asks for none.
        let database = self.client.database(self.database);
        let deadline = Duration::from_millis(prepared.timeout_ms + DEADLINE_GRACE_MS);
        let send = database.run_raw_command(prepared.document);
        let reply = timeout(deadline, send)
            .await
            .map_err(|_| timed_out(prepared.timeout_ms))?;
        let reply = reply.map_err(|error| failure::from_driver(&error, prepared.timeout_ms))?;
        let mut cursors = self.store.cursors();
        for id in ids {
            cursors.close(*id);
        }
        encode(&reply)
    }

    /// Sends the document in the session. Whether it fails, times out or is abandoned, nothing of it goes on.
    async fn send(
        &self,
        prepared: Prepared,
        session: &Session,
        hold: Option<&mut Hold>,
    ) -> Result<Reply, Error> {
        let mut guard = session.lock().await;
        let mut kill = KillOnDrop {
            store: self.store,
            session: Some(Arc::clone(session)),
        };
        // The client may have been replaced since the session began, and the driver wants the session's own.
        let database = guard.client().database(self.database);
        let deadline = Duration::from_millis(prepared.timeout_ms + DEADLINE_GRACE_MS);
        let send = held::send(&database, prepared.document, &mut guard, hold);
        match timeout(deadline, send).await {
            Ok(Ok(reply)) => {
                kill.session = None;
                Ok(reply)
            }
            Ok(Err(error)) => {
                // The server has answered, or the connection is gone and the server ends what ran on it.
                kill.session = None;
                Err(failure::from_driver(&error, prepared.timeout_ms))
            }
            Err(_) => Err(timed_out(prepared.timeout_ms)),
        }
    }
}

pub(super) fn timed_out(timeout_ms: u64) -> Error {
    Error::Timeout {
        store: Store::Mongodb,
        timeout_ms,
    }
}

pub(super) fn encode(reply: &Document) -> Result<RawDocumentBuf, Error> {
    RawDocumentBuf::try_from(reply)
        .map_err(|error| unavailable(format!("the reply cannot be encoded: {error}")))
}

/// Ends a session's work on the server when a request is dropped or times out before its reply.
///
/// It keeps the session, so that the driver gives it to nobody else before the kill has run.
pub(super) struct KillOnDrop<'a> {
    pub(super) store: &'a MongoStore,
    /// Taken out once nothing goes on.
    pub(super) session: Option<Session>,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.store.0.abandoned.kill_soon(session);
        }
    }
}

/// A cursor in the hands of a `getMore`. Dropped before the reply is there, it is closed here and on the server.
struct Held<'a> {
    store: &'a MongoStore,
    cursor: Option<Doomed<Continued>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(cursor) = self.cursor.take() else {
            return;
        };
        self.store.cursors().close(cursor.id);
        let store = self.store.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _turn = store.0.abandoned.turn().await;
                store.kill_cursor(&cursor).await;
            });
        }
    }
}
