//! Rows in `audit_logs` for what is not a change of a system table: refusals, failed authentications, administrative
//! acts, and statements that the policy wants audited.
//!
//! A change of a system table carries its row in its own transaction (`execute::postgres`). Everything else goes into
//! the spool, where it is durable, and from there into PostgreSQL ([`drain`]). A refusal is answered, and an audited
//! statement is sent, once its record is durable.

mod drain;
mod event;
pub mod partitions;
mod statement;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::metrics::Metrics;
use super::spool::{self, Spool, SpoolError, SpoolSettings};
use crate::error::{Code, Problem, PublicError};
use crate::system::System;
pub use drain::Writer;
pub use event::{Decision, Event, Phase, bounded, trace_id};
pub use statement::Intent;

/// What becomes of what must be audited and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It does not happen: 503 `audit.unavailable`.
    #[default]
    Block,
    /// It happens, and is counted.
    Drop,
}

/// A record could not be made durable. The cause is the operator's.
#[derive(Debug, thiserror::Error)]
#[error("cannot be audited: {0}")]
pub struct Unaudited(#[from] SpoolError);

impl PublicError for Unaudited {
    fn problem(&self) -> Problem {
        let mut problem = Problem::new(
            Code::AuditUnavailable,
            "the sidecar cannot record what must be audited, and nothing was done: send the request again later",
        );
        problem.retry_after_ms = Some(1000);
        problem
    }
}

/// The gate's end of the spool.
#[derive(Clone)]
pub struct Audit {
    spool: Spool,
    when_full: WhenFull,
    metrics: Arc<Metrics>,
    /// Whether the last record failed, so that an outage is told once.
    is_failing: Arc<AtomicBool>,
}

/// Opens the spool. The writing end is to be polled by one task.
///
/// # Errors
/// When the folder of the spool cannot be used.
pub fn open(
    settings: SpoolSettings,
    when_full: WhenFull,
    system: Arc<System>,
    metrics: Arc<Metrics>,
) -> Result<(Audit, Writer), SpoolError> {
    let (spool, drain) = spool::open(settings)?;
    let audit = Audit {
        spool,
        when_full,
        metrics: Arc::clone(&metrics),
        is_failing: Arc::default(),
    };
    let writer = Writer::new(drain, system, metrics);
    Ok((audit, writer))
}

impl Audit {
    /// Returns once the event is durable. May be cancelled: it is then written all the same, unless the disk fails.
    ///
    /// # Errors
    /// When it cannot be, and the configuration says to do nothing unaudited.
    pub async fn keep(&self, event: &Event) -> Result<(), Unaudited> {
        let kept = self.spool.append(event.line()).await;
        self.told(kept)
    }

    /// Notes an event without waiting for the disk: what has happened already, and cannot be refused any more.
    pub fn note(&self, event: &Event) {
        if let Err(error) = self.told(self.spool.note(event.line())) {
            tracing::error!(%error, action = event.action, "an audit record is lost");
        }
    }

    /// Notes the policy that decides from now on, by its digest.
    pub fn policy(&self, action: &str, digest: &str) {
        self.note(&Event {
            objects: vec![format!("policy:{digest}")],
            resource_type: Some("policy"),
            decision: Some(Decision::Allow),
            ..Event::now(action)
        });
    }

    /// Notes an act of the operator's.
    pub fn act(&self, action: &str, metadata: Value) {
        self.note(&Event {
            resource_type: Some("config"),
            decision: Some(Decision::Allow),
            metadata: Some(metadata),
            ..Event::now(action)
        });
    }

    /// Whether the last record could be kept.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Brings the metrics up to date.
    pub fn measure(&self) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.audit_queued.set(number(self.spool.pending()));
        self.metrics.audit_spooled.set(number(self.spool.records()));
        self.metrics
            .audit_spool_bytes
            .set(number(self.spool.bytes()));
    }

    /// Counts a failure, tells the first of several, and says whether it must stop what was to be audited.
    fn told(&self, kept: Result<(), SpoolError>) -> Result<(), Unaudited> {
        let Err(error) = kept else {
            if self.is_failing.swap(false, Ordering::Relaxed) {
                tracing::info!("audit records are kept again");
            }
            return Ok(());
        };
        self.metrics.audit_failures.inc();
        let is_new = !self.is_failing.swap(true, Ordering::Relaxed);
        match self.when_full {
            WhenFull::Block => {
                if is_new {
                    tracing::error!(%error, "audit records cannot be kept: what must be audited is answered 503");
                }
                Err(Unaudited(error))
            }
            WhenFull::Drop => {
                if is_new {
                    tracing::error!(%error, "audit records cannot be kept, and are dropped, as [audit] when_full says");
                }
                Ok(())
            }
        }
    }
}
