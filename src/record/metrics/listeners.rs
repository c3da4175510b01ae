//! What a listener's connections come to before any request is read.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Made, Maker};

/// The listeners, as the label has them.
const LISTENERS: [&str; 2] = ["data", "admin"];

pub(super) struct Listeners {
    open: IntGaugeVec,
    refused: IntCounterVec,
    handshakes_failed: IntCounterVec,
}

/// One listener's.
#[derive(Debug, Clone)]
pub struct ListenerCounts {
    /// Connections that are open.
    pub open: IntGauge,
    /// Connections beyond a cap.
    pub refused: IntCounter,
    pub handshakes_failed: IntCounter,
}

impl Listeners {
    pub(super) fn new(make: &Maker) -> Made<Self> {
        let listeners = Self {
            open: make.gauges_by(
                "bulkhead_connections_open",
                "Clients' connections that are open.",
                &["listener"],
            )?,
            refused: make.counters(
                "bulkhead_connections_refused_total",
                "Clients' connections refused because too many were open, from one address or altogether.",
                &["listener"],
            )?,
            handshakes_failed: make.counters(
                "bulkhead_tls_handshakes_failed_total",
                "TLS handshakes with clients that failed or took too long.",
                &["listener"],
            )?,
        };
        for listener in LISTENERS {
            listeners.of(listener);
        }
        Ok(listeners)
    }

    pub(super) fn of(&self, listener: &str) -> ListenerCounts {
        ListenerCounts {
            open: self.open.with_label_values(&[listener]),
            refused: self.refused.with_label_values(&[listener]),
            handshakes_failed: self.handshakes_failed.with_label_values(&[listener]),
        }
    }
}
