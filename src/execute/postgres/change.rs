//! A change of a system table: the statement and its row in `audit_logs`, in one transaction.
//!
//! Two round trips: `BEGIN READ WRITE` and the statement are sent together, then the audit row (which holds
//! how many rows were affected) and `COMMIT`. Each pair is safe to send together: the session is read-only
//! outside `READ WRITE` transactions, so without the `BEGIN` the statement cannot write; and `COMMIT` after a
//! failed audit row rolls back, as PostgreSQL does with every transaction that has failed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use tokio::time::Instant;
use tokio_postgres::{Client, Statement};

use super::fault::describe;
use super::session::Session;
use super::{Failure, bind, client, deliver, prepared, unavailable};
use crate::execute::request::{AuditRow, SqlRequest};
use crate::operation::Store;
use crate::reply::{RowSink, Summary};

/// How long the audit row and the commit may take, once the statement has run in time. Cutting a commit
/// short would leave its outcome unknown, so this has nothing to do with the caller's own time-out.
const COMMIT_TIMEOUT_MS: u64 = 5_000;

/// The statement that writes an audit row, in the order in which [`Change::record`] gives the values. The
/// table is named with its schema: a statement that changes the search path must not lead the row elsewhere.
pub(super) fn audit_insert(schema: &str) -> Arc<str> {
    let schema = schema.replace('"', "\"\"");
    format!(
        "INSERT INTO \"{schema}\".audit_logs (user_id, action, resource_type, key_id, role, store, objects, decision, \
         code, statement, fingerprint, rows_affected, duration_us, request_id, trace_id) VALUES ($1::text, $2::text, \
         $3::text, $4::text, $5::text, $6::text, $7::text[], $8::text, $9::text, $10::text, $11::text, $12::int8, \
         $13::int8, $14::text, $15::text)"
    )
    .into()
}

pub(super) struct Change<'a> {
    pub(super) sql: &'a Arc<str>,
    pub(super) request: &'a SqlRequest,
    pub(super) audit: &'a AuditRow,
    pub(super) audit_insert: &'a Arc<str>,
    /// When the statement must have ended.
    pub(super) deadline: Instant,
}

impl Change<'_> {
    /// The session must be busy, and is in step afterwards as the result says.
    pub(super) async fn run(
        &self,
        session: &mut Session,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Failure> {
        // Prepared before the transaction begins: a failure here leaves nothing behind.
        let audit = prepared(session, self.audit_insert).await;
        let (audit, _) = audit.map_err(audit_failed)?;
        let began = Instant::now();
        let changing = self.change(session, sink);
        let summary = match tokio::time::timeout_at(self.deadline, changing).await {
            Ok(summary) => summary?,
            Err(_) => return Err(Failure::TimedOut),
        };
        let ran = Ran {
            rows_affected: summary.rows_affected,
            took: began.elapsed(),
        };
        let recording = self.record(session, &audit.statement, ran);
        let patience = Duration::from_millis(COMMIT_TIMEOUT_MS);
        match tokio::time::timeout(patience, recording).await {
            Ok(recorded) => recorded?,
            Err(_) => {
                let cause = "no answer to COMMIT: whether the change was made is not known";
                return Err(unavailable(cause).into());
            }
        }
        Ok(summary)
    }

    /// Begins and runs the statement, once more where it had been prepared under another shape of its tables.
    async fn change(
        &self,
        session: &mut Session,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Failure> {
        match self.attempt(session, sink).await {
            Err((Failure::Fault(fault), true)) if fault.is_stale() => {
                session.statements.forget(self.sql);
                client(session)?.clear_type_cache();
                let again = self.attempt(session, sink).await;
                again.map_err(|(failure, _)| failure)
            }
            attempt => attempt.map_err(|(failure, _)| failure),
        }
    }

    /// Writes the audit row and commits.
    async fn record(
        &self,
        session: &mut Session,
        audit: &Statement,
        ran: Ran,
    ) -> Result<(), Failure> {
        let client = client(session)?;
        let (recorded, committed) = future::join(
            insert_audit(client, audit, self.audit, ran),
            client.batch_execute("COMMIT"),
        )
        .await;
        if let Err(error) = recorded {
            // The table may have changed: prepare anew next time.
            session.statements.forget(self.audit_insert);
            return Err(audit_failed(error.into()));
        }
        Ok(committed?)
    }

    /// Begins a transaction and runs the statement in it. On failure the transaction has been rolled back
    /// where the connection still allows it; the flag says whether the statement had been prepared earlier
    /// and nothing has reached the sink, so that it may be tried again.
    async fn attempt(
        &self,
        session: &mut Session,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, (Failure, bool)> {
        let (prepared, was_kept) = prepared(session, self.sql)
            .await
            .map_err(|failure| (failure, false))?;
        let client = client(session).map_err(|error| (error.into(), false))?;

        let (begun, bound) = future::join(
            client.batch_execute("BEGIN READ WRITE"),
            bind(client, &prepared, self.request),
        )
        .await;
        if let Err(error) = begun {
            // The statement ran without a transaction, and so read-only; the connection is not used again.
            let cause = format!("cannot begin a transaction: {}", describe(&error));
            return Err((unavailable(&cause).into(), false));
        }
        let (failure, may_retry) = match bound {
            Err(failure) => (failure, was_kept),
            Ok(rows) => match deliver(rows, &prepared, sink).await {
                Ok(summary) => return Ok(summary),
                Err(failure) => (failure, false),
            },
        };
        if !failure.is_in_step() {
            return Err((failure, false));
        }
        match client.batch_execute("ROLLBACK").await {
            Ok(()) => Err((failure, may_retry)),
            Err(error) => Err((error.into(), false)),
        }
    }
}

/// What a statement has done, for its audit row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) rows_affected: u64,
    pub(super) took: Duration,
}

/// Sends the row when it is first polled.
pub(super) async fn insert_audit(
    client: &Client,
    audit: &Statement,
    row: &AuditRow,
    ran: Ran,
) -> Result<u64, tokio_postgres::Error> {
    let rows_affected = i64::try_from(ran.rows_affected).unwrap_or(i64::MAX);
    let duration_us = i64::try_from(ran.took.as_micros()).unwrap_or(i64::MAX);
    client
        .execute(
            audit,
            &[
                &row.user_id,
                &row.action,
                &row.resource_type,
                &row.key_id,
                &row.role,
                &Store::Postgres.as_str(),
                &row.objects,
                &"allow",
                &"ok",
                &row.statement,
                &row.fingerprint,
                &rows_affected,
                &duration_us,
                &row.request_id,
                &row.trace_id,
            ],
        )
        .await
}

/// A change that cannot be recorded does not happen. The cause is the operator's, not the caller's.
pub(super) fn audit_failed(failure: Failure) -> Failure {
    let is_in_step = failure.is_in_step();
    let cause = failure.into_error(0).to_string();
    let error = unavailable(&format!("cannot write to audit_logs: {cause}"));
    if is_in_step {
        Failure::Refused(error)
    } else {
        Failure::Abandoned(error)
    }
}
