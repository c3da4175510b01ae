//! A statement that the policy wants audited: a record before it is sent, and one after it.

use std::time::Duration;

use uuid::Uuid;

use super::{Audit, Event, Phase, Unaudited};

/// The code of an outcome that nobody waited for.
const ABANDONED: &str = "request.abandoned";

/// The intent is durable; the outcome is owed, and is noted as abandoned when this is dropped without one.
pub struct Intent {
    audit: Audit,
    /// The outcome to be.
    event: Event,
    is_ended: bool,
}

impl Intent {
    /// Returns once the intent is durable.
    ///
    /// # Errors
    /// When it cannot be; then the statement must not be sent.
    pub async fn declare(audit: &Audit, mut event: Event) -> Result<Self, Unaudited> {
        event.event_id = Some(Uuid::now_v7());
        event.phase = Some(Phase::Outcome);
        // Made before the record is: whoever goes away meanwhile may leave a durable one, which is owed its outcome.
        let mut owed = Self {
            audit: audit.clone(),
            event: event.clone(),
            is_ended: false,
        };
        event.phase = Some(Phase::Intent);
        let kept = audit.keep(&event).await;
        owed.is_ended = kept.is_err();
        kept.map(|()| owed)
    }

    /// Notes how the statement ended: `ok`, or the code of its error.
    pub fn end(mut self, code: &'static str, rows_affected: Option<u64>, took: Duration) {
        self.event.code = Some(code);
        self.event.rows_affected = rows_affected.and_then(|rows| i64::try_from(rows).ok());
        self.event.duration_us = i64::try_from(took.as_micros()).ok();
        self.note();
    }

    fn note(&mut self) {
        self.is_ended = true;
        self.event.occurred_us = jiff::Timestamp::now().as_microsecond();
        self.audit.note(&self.event);
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        if !self.is_ended {
            self.event.code = Some(ABANDONED);
            self.note();
        }
    }
}
