//! A cursor read to its end, batch by batch, its documents handed on as the server sent them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mongodb::ClientSession;
use tokio::time::timeout;

use super::command::Prepared;
use super::failure;
use super::held::has_cursor;
use super::run::{DEADLINE_GRACE_MS, KillOnDrop, Run, timed_out};
use crate::execute::Error;
use crate::reply::{self, Column, RowSink, SinkError};

/// Documents that are asked for at once: without it a batch has up to 16 MiB, however small its documents.
const BATCH_DOCUMENTS_MAX: u32 = 1_000;

/// The one column of a stream of documents.
const COLUMN: &str = "document";

/// What became of a stream that did not come to its end.
enum Failure {
    /// The server answered, or the connection to it is gone: nothing of it goes on.
    Driver(mongodb::error::Error),
    /// Given up here.
    Abandoned(Error),
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Abandoned(error.into())
    }
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(error)
    }
}

impl Run<'_> {
    /// Hands each document of the command's cursor to `sink`; of a command that has none, its reply.
    pub(super) async fn stream(
        &self,
        prepared: Prepared,
        sink: &mut dyn RowSink,
    ) -> Result<(), Error> {
        if !has_cursor(&prepared.document) {
            let reply = self.command(prepared).await?;
            begin(sink)?;
            reply::room(sink).await?;
            return Ok(sink.document(reply.as_bytes())?);
        }
        let timeout_ms = prepared.timeout_ms;
        let session = self.client.start_session().causal_consistency(false).await;
        let session = session.map_err(|error| failure::from_driver(&error, timeout_ms))?;
        let session = Arc::new(tokio::sync::Mutex::new(session));
        let mut guard = session.lock().await;
        let mut kill = KillOnDrop {
            store: self.store,
            session: Some(Arc::clone(&session)),
        };
        let deadline = Duration::from_millis(timeout_ms + DEADLINE_GRACE_MS);
        let ended = timeout(deadline, self.documents(prepared, &mut guard, sink)).await;
        match ended {
            Ok(Ok(())) => {
                kill.session = None;
                Ok(())
            }
            Ok(Err(Failure::Driver(error))) => {
                kill.session = None;
                Err(failure::from_driver(&error, timeout_ms))
            }
            Ok(Err(Failure::Abandoned(error))) => Err(error),
            Err(_) => Err(timed_out(timeout_ms)),
        }
    }

    /// Dropped before its end, the driver closes the cursor on the server.
    async fn documents(
        &self,
        prepared: Prepared,
        session: &mut ClientSession,
        sink: &mut dyn RowSink,
    ) -> Result<(), Failure> {
        let database = self.client.database(self.database);
        let opening = database.run_raw_cursor_command(prepared.document);
        let opening = opening.batch_size(BATCH_DOCUMENTS_MAX);
        let mut cursor = opening.session(&mut *session).batch().await?;
        begin(sink)?;
        let mut batches = cursor.stream(session);
        while let Some(batch) = reply::unless_waiting(batches.next(), sink).await {
            for document in batch?.doc_slices()? {
                let document = document.map_err(|error| not_understood(&error))?;
                let document = document.as_document();
                let document = document.ok_or_else(|| not_understood(&"not a document"))?;
                reply::room(sink).await?;
                sink.document(document.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn begin(sink: &mut dyn RowSink) -> Result<(), SinkError> {
    sink.columns(&[Column {
        name: COLUMN.to_owned(),
        database_type: COLUMN.into(),
    }])
}

fn not_understood(cause: &dyn std::fmt::Display) -> Failure {
    let cause = format!("the server's batch is not understood: {cause}");
    Failure::Abandoned(failure::unavailable(cause))
}
