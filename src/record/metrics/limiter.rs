//! What the rate limiter tells: who counted, what was refused, and how limits are counted at this moment.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::{Made, Maker};
use crate::limit::{CountedBy, LimiterMode, Why};

/// Outcomes of what was admitted, in the order of [`CountedBy`].
const ADMITTED: [&str; 5] = [
    "unlimited",
    "leased_allowed",
    "allowed",
    "local_allowed",
    "open_allowed",
];

/// Outcomes of what was not, or would not have been.
const REFUSED: [&str; 5] = [
    "refused",
    "local_refused",
    "closed_refused",
    "concurrent_refused",
    "shadow_refused",
];

pub struct LimiterMetrics {
    outcomes: IntCounterVec,
    /// Resolved once: a request touches one of them.
    admitted: [IntCounter; 5],
    modes: IntGaugeVec,
}

impl LimiterMetrics {
    pub(super) fn new(make: &Maker) -> Made<Self> {
        let outcomes = make.counters(
            "bulkhead_rate_limit_total",
            "Admissions by outcome: `leased_` from a slice held here, `local_`, `open_` and `closed_` while Redis was away, `concurrent_` for what is in flight, `shadow_` what would have been refused.",
            &["outcome"],
        )?;
        for outcome in REFUSED {
            outcomes.with_label_values(&[outcome]);
        }
        Ok(Self {
            admitted: ADMITTED.map(|outcome| outcomes.with_label_values(&[outcome])),
            outcomes,
            modes: make.gauges_by(
                "bulkhead_rate_limit_mode",
                "How rate limits are counted at this moment: 1 for each mode that is on.",
                &["mode"],
            )?,
        })
    }

    /// Counts an admission under who counted it, and the limits in shadow mode that would have refused it.
    pub fn count_admission(&self, counted: CountedBy, spared: u32) {
        if let Some(counter) = self.admitted.get(counted as usize) {
            counter.inc();
        }
        if spared > 0 {
            let counter = self.outcomes.with_label_values(&["shadow_refused"]);
            counter.inc_by(spared.into());
        }
    }

    /// Counts what a limit has refused.
    pub fn count_refusal(&self, why: &Why, is_shared: bool) {
        let outcome = match (why, is_shared) {
            (Why::Exceeded { .. } | Why::AboveBurst { .. }, true) => "refused",
            (Why::Exceeded { .. } | Why::AboveBurst { .. }, false)
            | (Why::AboveShare { .. }, _) => "local_refused",
            (Why::Concurrent { .. }, _) => "concurrent_refused",
            (Why::Closed { .. }, _) => "closed_refused",
        };
        self.outcomes.with_label_values(&[outcome]).inc();
    }

    pub fn set_modes(&self, modes: &[LimiterMode]) {
        for mode in LimiterMode::ALL {
            let is_on = modes.contains(&mode);
            self.modes
                .with_label_values(&[mode.as_str()])
                .set(i64::from(is_on));
        }
    }
}
