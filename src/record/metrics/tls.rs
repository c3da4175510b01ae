//! Certificates: when they expire, and whether renewed ones were taken.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::{Made, Maker};

/// Labels come from the closed set of [`crate::certificates::Held`].
pub struct TlsMetrics {
    expiry: IntGaugeVec,
    reloads: IntCounterVec,
}

impl TlsMetrics {
    pub(super) fn new(make: &Maker) -> Made<Self> {
        Ok(Self {
            expiry: make.gauges_by(
                "bulkhead_tls_certificate_expiry_seconds",
                "Time until a certificate expires; negative once it has.",
                &["certificate"],
            )?,
            reloads: make.counters(
                "bulkhead_tls_reloads_total",
                "Changed certificates of listeners, by whether they were taken.",
                &["certificate", "outcome"],
            )?,
        })
    }

    pub fn set_expiry(&self, certificate: &str, seconds: i64) {
        self.expiry.with_label_values(&[certificate]).set(seconds);
    }

    pub fn count_reload(&self, certificate: &str, taken: bool) {
        let outcome = if taken { "ok" } else { "refused" };
        self.reloads
            .with_label_values(&[certificate, outcome])
            .inc();
    }
}
