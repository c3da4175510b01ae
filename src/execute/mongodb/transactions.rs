//! Transactions of MongoDB, as callers name them: by session and number.
//!
//! All callers are one user to the server, so a session's id would be enough to go on with anybody's transaction.
//! What a caller sends is therefore a name among its own: under its key, its `lsid` and its `txnNumber` the sidecar
//! keeps a session that the server knows by another, random id. A transaction holds no connection of the pool.

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, doc};
use mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT;
use mongodb::options::{ReadConcern, WriteConcern};
use tokio::time::timeout;

use super::Session;
use super::abandon::Abandoned;
use super::command::{Kind, Prepared};
use super::failure::{self, unavailable};
use super::run::{Run, encode};
use super::transaction_fields::TransactionFields;
use crate::classify::transaction;
use crate::error::PublicError as _;
use crate::execute::Error;
use crate::execute::settings::TransactionSettings;
use crate::execute::transaction::{Broken, COMMIT_TIMEOUT_MS, Ended, Fate, Held, RollBack};
use crate::operation::Classification;
use crate::transaction::{Options, TransactionId};

/// What bounds transactions. The server's own limit on their life is a minute too, unless it was changed, and the
/// only one that holds for those of a sidecar that was killed.
pub const TRANSACTIONS: TransactionSettings = TransactionSettings {
    max: 64,
    per_key_max: 8,
    idle_timeout_ms: 10_000,
    lifetime_ms: 60_000,
};

/// A session with a transaction under way. Dropped without its end being known, it is ended on the server.
pub(in crate::execute) struct OpenTransaction {
    /// Taken out once the server has no transaction of it.
    session: Option<Session>,
    /// A command of it may still be on its way to the server.
    is_underway: bool,
    abandoned: Abandoned,
}

impl RollBack for OpenTransaction {
    async fn roll_back(mut self) {
        if let Some(session) = self.session.as_ref().filter(|_| !self.is_underway)
            && self.abandoned.kill(session).await
        {
            self.session = None;
        }
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.abandoned.end(session, self.is_underway);
        }
    }
}

/// Refuses what has no place in a transaction.
pub(super) fn fits(classification: &Classification) -> Result<(), Error> {
    transaction::fits(classification)
        .map_err(|refusal| Error::Invalid(refusal.problem().detail.clone()))
}

impl Run<'_> {
    /// Runs a command in a transaction, beginning or ending it. May be cancelled: the transaction is then aborted.
    pub(super) async fn in_transaction(
        &self,
        prepared: Prepared,
        fields: &TransactionFields,
    ) -> Result<RawDocumentBuf, Error> {
        let id = self.name(fields);
        let desk = self.store.transactions();
        let held = if fields.starts {
            let (mut held, _) = desk.reserve(id, self.key_id(), &Options::default())?;
            held.transaction = Some(self.begin(fields, prepared.timeout_ms).await?);
            held
        } else {
            desk.check_out(id, self.key_id())?.0
        };
        match prepared.kind {
            Kind::CommitTransaction => commit(held).await,
            Kind::AbortTransaction => abort(held).await,
            Kind::Plain | Kind::GetMore { .. } | Kind::KillCursors { .. } => {
                self.go_on(prepared, held).await
            }
        }
    }

    /// No other key, session or number has the same.
    fn name(&self, fields: &TransactionFields) -> TransactionId {
        let number = fields.number.to_be_bytes();
        TransactionId::of(&[self.key_id().as_bytes(), &fields.session, &number])
    }

    async fn begin(
        &self,
        fields: &TransactionFields,
        timeout_ms: u64,
    ) -> Result<OpenTransaction, Error> {
        let failed = |error| failure::from_driver(&error, timeout_ms);
        let session = self.client.start_session().causal_consistency(false).await;
        let mut session = session.map_err(failed)?;
        let mut starting = session
            .start_transaction()
            .write_concern(WriteConcern::majority());
        if let Some(level) = &fields.read_level {
            starting = starting.read_concern(ReadConcern::custom(level));
        }
        starting.await.map_err(failed)?;
        Ok(OpenTransaction {
            session: Some(Arc::new(tokio::sync::Mutex::new(session))),
            is_underway: false,
            abandoned: self.store.0.abandoned.clone(),
        })
    }

    async fn go_on(
        &self,
        prepared: Prepared,
        mut held: Held<'_, OpenTransaction>,
    ) -> Result<RawDocumentBuf, Error> {
        held.set_ended(Ended::CutOff);
        let session = held.transaction.as_mut().and_then(|open| {
            open.is_underway = true;
            open.session.clone()
        });
        let Some(session) = session else {
            return Err(unavailable("the transaction has no session"));
        };
        let ran = match &prepared.kind {
            Kind::Plain => self.send_and_keep(prepared, session).await,
            // A cursor knows the session that it was opened in.
            Kind::GetMore { .. } | Kind::KillCursors { .. } => self.command(prepared).await,
            Kind::CommitTransaction | Kind::AbortTransaction => {
                return Err(unavailable("the end of a transaction does not go on"));
            }
        };
        let ran = ran.and_then(without_write_errors);
        let fate = match &ran {
            // Refused before it was sent.
            Ok(_) | Err(Error::Invalid(_)) => Fate::Open,
            // The server aborts a transaction with whatever fails in it.
            Err(_) => Fate::RolledBack,
        };
        if let Some(open) = held.transaction.as_mut() {
            open.is_underway =
                matches!(ran, Err(Error::Unavailable { .. } | Error::Timeout { .. }));
        }
        if fate == Fate::Open {
            held.keep();
        } else {
            held.set_ended(Ended::ByAStatement(fate));
            if let Some(transaction) = held.transaction.take() {
                transaction.roll_back().await;
            }
        }
        match ran {
            Ok(reply) => Ok(reply),
            Err(error) => Err(Broken::new(error, fate).into_error(None)),
        }
    }
}

async fn commit(mut held: Held<'_, OpenTransaction>) -> Result<RawDocumentBuf, Error> {
    held.set_ended(Ended::ByItsCaller(Fate::Unknown));
    let Some(mut transaction) = held.transaction.take() else {
        return Err(unavailable("the transaction has no session"));
    };
    let Some(session) = transaction.session.clone() else {
        return Err(unavailable("the transaction has no session"));
    };
    let committing = async { session.lock().await.commit_transaction().await };
    let (fate, cause) = match timeout(Duration::from_millis(COMMIT_TIMEOUT_MS), committing).await {
        Ok(Ok(())) => {
            transaction.session = None;
            held.set_ended(Ended::ByItsCaller(Fate::Committed));
            return encode(&doc! {"ok": 1.0});
        }
        Ok(Err(error)) => {
            let is_unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
            let fate = if is_unknown {
                Fate::Unknown
            } else {
                Fate::RolledBack
            };
            (fate, failure::from_driver(&error, COMMIT_TIMEOUT_MS))
        }
        Err(_) => (Fate::Unknown, unavailable("no answer to commitTransaction")),
    };
    held.set_ended(Ended::ByItsCaller(fate));
    Err(Broken::new(cause, fate).into_error(None))
}

async fn abort(mut held: Held<'_, OpenTransaction>) -> Result<RawDocumentBuf, Error> {
    held.set_ended(Ended::ByItsCaller(Fate::RolledBack));
    if let Some(transaction) = held.transaction.take() {
        transaction.roll_back().await;
    }
    encode(&doc! {"ok": 1.0})
}

/// A write that failed is told within a reply, and has aborted its transaction no less.
fn without_write_errors(reply: RawDocumentBuf) -> Result<RawDocumentBuf, Error> {
    let errors = reply.get_array("writeErrors").ok();
    let first = errors.and_then(|errors| errors.into_iter().next()?.ok());
    let Some(first) = first.and_then(|error| error.as_document()) else {
        return Ok(reply);
    };
    let code = first.get_i32("code").unwrap_or_default();
    let message = first.get_str("errmsg").unwrap_or("a write failed");
    Err(failure::from_command(code, message, COMMIT_TIMEOUT_MS))
}
