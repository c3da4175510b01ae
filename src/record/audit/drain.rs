//! From the spool into `audit_logs`, each event once.
//!
//! A batch and how far it reaches are one statement, so they commit together. Where the answer was lost, the database
//! knows whether it did: the next attempt finds another position than it expects, and goes on from there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;

use super::super::spool::{Batch, Drain};
use crate::record::metrics::Metrics;
use crate::system::{STATEMENT_TIMEOUT, System, describe};

/// Rows written by one statement.
const BATCH_ROWS_MAX: usize = 500;

/// Pause before a failed batch is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// $1 the spool, $2 where the batch begins, $3 where it ends, $4 its events. Tells 0, and
/// writes nothing, where the database has another beginning.
const INSERT: &str = "WITH place AS (
        INSERT INTO public.audit_spools AS s (spool, position) VALUES ($1, $3)
        ON CONFLICT (spool) DO UPDATE SET position = excluded.position, updated_at = now() WHERE s.position <= $2
        RETURNING 1
    ), written AS (
    INSERT INTO public.audit_logs (occurred_at, user_id, key_id, role, action, resource_type, metadata, store, objects,
        decision, code, statement, fingerprint, rows_affected, duration_us, request_id, trace_id, event_id, phase)
    SELECT timestamptz 'epoch' + e.occurred_us * interval '1 microsecond', e.user_id, e.key_id, e.role, e.action,
        e.resource_type, e.metadata, e.store, e.objects, e.decision, e.code, e.statement, e.fingerprint, e.rows_affected,
        e.duration_us, e.request_id, e.trace_id, e.event_id, e.phase
    FROM place, jsonb_array_elements($4) WITH ORDINALITY AS each(event, nth), jsonb_to_record(event) AS e(
        occurred_us bigint, user_id text, key_id text, role text, action text, resource_type text, metadata jsonb,
        store text, objects text[], decision text, code text, statement text, fingerprint text, rows_affected bigint,
        duration_us bigint, request_id text, trace_id text, event_id uuid, phase text)
    ORDER BY nth)
    SELECT count(*) FROM place";

const POSITION: &str = "SELECT position FROM public.audit_spools WHERE spool = $1";

const FORGET: &str = "DELETE FROM public.audit_spools WHERE spool = $1";

/// Why a batch is not in the table.
enum Failure {
    /// PostgreSQL cannot be asked, or refuses for a reason that has nothing to do with what is written.
    Unavailable(String),
    /// It does not take one of the events.
    Refused(String),
    /// The database has the spool up to here already.
    Elsewhere(u64),
}

/// The writing end, to be polled by one task.
pub struct Writer {
    drain: Drain,
    system: Arc<System>,
    metrics: Arc<Metrics>,
    is_waiting: bool,
}

impl Writer {
    pub(super) const fn new(drain: Drain, system: Arc<System>, metrics: Arc<Metrics>) -> Self {
        Self {
            drain,
            system,
            metrics,
            is_waiting: false,
        }
    }

    /// Writes until every [`super::Audit`] is gone and the spool is empty.
    pub async fn run(mut self) {
        // Fewer while one of a batch is being looked for that the database does not take.
        let mut rows_max = BATCH_ROWS_MAX;
        loop {
            let batch = match self.drain.next(rows_max).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the audit spool cannot be read");
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            match self.write(&batch, &batch.records).await {
                Ok(()) => {
                    self.settle(batch).await;
                    rows_max = BATCH_ROWS_MAX;
                }
                Err(Failure::Elsewhere(position)) => self.drain.resume(&batch.spool, position),
                Err(Failure::Refused(_)) if batch.records.len() > 1 => {
                    rows_max = batch.records.len().div_ceil(2);
                }
                Err(Failure::Refused(cause)) => {
                    tracing::error!(
                        cause,
                        "an audit record is not taken by postgres, and is kept as text"
                    );
                    let instead = unreadable(&batch);
                    match self.write(&batch, &[instead]).await {
                        Ok(()) => self.settle(batch).await,
                        Err(_) => tokio::time::sleep(RETRY_AFTER).await,
                    }
                }
                Err(Failure::Unavailable(cause)) => {
                    if !std::mem::replace(&mut self.is_waiting, true) {
                        tracing::warn!(cause, "audit records wait for postgres");
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// The batch is in the table: its place in the spool is free.
    async fn settle(&mut self, batch: Batch) {
        if std::mem::replace(&mut self.is_waiting, false) {
            tracing::info!("audit records are written to postgres again");
        }
        self.metrics
            .audit_written
            .inc_by(batch.records.len() as u64);
        let finished = batch.is_last.then(|| batch.spool.clone());
        if let Err(error) = self.drain.confirm(batch).await {
            tracing::error!(%error, "the audit spool cannot be cleared");
            return;
        }
        // Once its files are gone, where it ended need not be known; a row that stays harms nobody.
        if let (Some(spool), Ok(client)) = (finished, self.system.client().await) {
            let _ = client.execute(FORGET, &[&spool]).await;
        }
    }

    async fn write(&self, batch: &Batch, records: &[Vec<u8>]) -> Result<(), Failure> {
        let unavailable = |cause: String| Failure::Unavailable(cause);
        let client = self.system.client().await;
        let client = client.map_err(|error| unavailable(error.to_string()))?;
        let events: Result<Vec<&RawValue>, _> = records
            .iter()
            .map(|record| serde_json::from_slice(record))
            .collect();
        let events = Json(events.map_err(|error| Failure::Refused(error.to_string()))?);
        let place = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
        let (from, to) = (place(batch.from), place(batch.to));
        let writing = async {
            let written = client
                .query_one(INSERT, &[&batch.spool, &from, &to, &events])
                .await?;
            if written.try_get::<_, i64>(0)? > 0 {
                return Ok(None);
            }
            let known = client.query_opt(POSITION, &[&batch.spool]).await?;
            known.map(|row| row.try_get::<_, i64>(0)).transpose()
        };
        let answered = tokio::time::timeout(STATEMENT_TIMEOUT, writing).await;
        match answered.map_err(|_| unavailable("timed out".into()))? {
            Ok(None) => Ok(()),
            Ok(Some(position)) => Err(Failure::Elsewhere(u64::try_from(position).unwrap_or(0))),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// A data exception or a broken constraint is the event's; everything else may pass.
fn failure(error: &tokio_postgres::Error) -> Failure {
    let cause = describe(error);
    let class = error
        .code()
        .map(SqlState::code)
        .and_then(|code| code.get(..2));
    match class {
        Some("22" | "23") => Failure::Refused(cause),
        // The trigger refuses an action that is the owner's alone; where the account lacks INSERT, no event passes.
        _ if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Failure::Refused(cause),
        _ if error.code() == Some(&SqlState::UNDEFINED_TABLE)
            || error.code() == Some(&SqlState::UNDEFINED_COLUMN) =>
        {
            Failure::Unavailable(format!("{cause}: run `bulkhead schema apply`"))
        }
        _ => Failure::Unavailable(cause),
    }
}

/// What stands in the table for an event that it does not take.
fn unreadable(batch: &Batch) -> Vec<u8> {
    let texts = batch.records.iter();
    let texts: Vec<Value> = texts
        .map(|record| {
            String::from_utf8_lossy(record)
                .replace('\0', "\u{fffd}")
                .into()
        })
        .collect();
    let now = jiff::Timestamp::now().as_microsecond();
    let event = json!({"occurred_us": now, "action": "unreadable", "objects": [], "metadata": {"records": texts}});
    event.to_string().into_bytes()
}
