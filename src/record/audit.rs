//! Rows in `audit_logs` for what is not a change of a system table: refusals and failed authentications.
//!
//! A change of a system table carries its row in its own transaction (`execute::postgres`). Refusals go
//! through a bounded queue and are written in batches, so that a flood of them neither slows the gate nor
//! grows without end; while PostgreSQL is away they wait in the queue.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;

use super::metrics::Metrics;
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Events that may wait; one more is counted as a failure and logged.
const QUEUED_MAX: usize = 10_000;

/// Rows written by one statement.
const BATCH_ROWS_MAX: usize = 500;

/// Pause before a failed batch is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

const INSERT: &str = "INSERT INTO audit_logs
    (occurred_at, user_id, key_id, role, action, resource_type, store, objects, decision, code, request_id)
    SELECT to_timestamp(e.at), e.user_id, e.key_id, e.role, e.action, e.kind, e.store,
        CASE WHEN e.objects = '' THEN '{}' ELSE string_to_array(e.objects, chr(31)) END,
        CASE WHEN e.kind IN ('shadow', 'policy') THEN 'allow' ELSE 'deny' END, nullif(e.code, ''), e.request_id
    FROM unnest($1::float8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[])
        AS e(at, user_id, key_id, role, action, store, objects, kind, code, request_id)";

/// Separates the objects of one event inside a text array's element (ASCII unit separator).
const OBJECT_SEPARATOR: &str = "\u{1f}";

/// One refusal, one that shadow mode let through, or a policy that took effect. Holds no value of a statement.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// Seconds since the Unix epoch.
    pub at: f64,
    pub user_id: Option<String>,
    pub key_id: Option<String>,
    pub role: Option<String>,
    /// `query`, `command`, `pipeline` or `authenticate`.
    pub action: &'static str,
    pub store: Option<&'static str>,
    pub objects: Vec<String>,
    /// `request`, `shadow` where it was let through, or `policy`.
    pub kind: &'static str,
    pub code: &'static str,
    pub request_id: String,
}

/// The gate's end of the queue.
pub struct Audit {
    queue: mpsc::Sender<Refused>,
    metrics: Arc<Metrics>,
}

/// The writing end, to be polled by one task.
pub struct Writer {
    events: mpsc::Receiver<Refused>,
    system: Arc<System>,
    metrics: Arc<Metrics>,
}

/// Makes the two ends.
pub fn queue(system: Arc<System>, metrics: Arc<Metrics>) -> (Audit, Writer) {
    let (queue, events) = mpsc::channel(QUEUED_MAX);
    let audit = Audit {
        queue,
        metrics: Arc::clone(&metrics),
    };
    let writer = Writer {
        events,
        system,
        metrics,
    };
    (audit, writer)
}

impl Audit {
    /// Notes the policy that decides from now on, by its digest.
    pub fn policy(&self, action: &'static str, digest: &str) {
        self.note(Refused {
            at: Timestamp::now().as_microsecond() as f64 / 1e6,
            action,
            objects: vec![format!("policy:{digest}")],
            kind: "policy",
            ..Refused::default()
        });
    }

    /// Notes an event without waiting.
    pub fn note(&self, event: Refused) {
        match self.queue.try_send(event) {
            Ok(()) => self.metrics.audit_queued.inc(),
            Err(error) => {
                self.metrics.audit_failures.inc();
                tracing::error!(%error, "an audit event was lost");
            }
        }
    }
}

impl Writer {
    /// Writes until every [`Audit`] is gone and the queue is empty.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_ROWS_MAX);
        while self.events.recv_many(&mut batch, BATCH_ROWS_MAX).await > 0 {
            while let Err(error) = self.write(&batch).await {
                tracing::warn!(%error, waiting = batch.len(), "audit rows wait for postgres");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            let rows = batch.len();
            self.metrics
                .audit_queued
                .sub(i64::try_from(rows).unwrap_or(i64::MAX));
            self.metrics.audit_written.inc_by(rows as u64);
            batch.clear();
        }
    }

    async fn write(&self, batch: &[Refused]) -> Result<(), Unavailable> {
        let client = self.system.client().await?;
        let objects: Vec<String> = batch
            .iter()
            .map(|event| {
                event
                    .objects
                    .join(OBJECT_SEPARATOR)
                    .replace('\0', "\u{fffd}")
            })
            .collect();
        let at: Vec<f64> = batch.iter().map(|event| event.at).collect();
        let column = |of: fn(&Refused) -> Option<&str>| batch.iter().map(of).collect::<Vec<_>>();
        let user_id = column(|event| event.user_id.as_deref());
        let key_id = column(|event| event.key_id.as_deref());
        let role = column(|event| event.role.as_deref());
        let action = column(|event| Some(event.action));
        let store = column(|event| event.store);
        let kind = column(|event| Some(event.kind));
        let code = column(|event| Some(event.code));
        let request_id = column(|event| Some(&event.request_id));
        let columns: [&(dyn ToSql + Sync); 10] = [
            &at,
            &user_id,
            &key_id,
            &role,
            &action,
            &store,
            &objects,
            &kind,
            &code,
            &request_id,
        ];
        let insert = client.execute(INSERT, &columns);
        tokio::time::timeout(STATEMENT_TIMEOUT, insert).await??;
        Ok(())
    }
}
