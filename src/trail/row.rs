//! A row of `audit_logs`, as it is read from the table or from an exported line.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::text::{Canonical, Hex, Micros, digest};

/// Every column. `Deserialize` refuses what it does not know, since that would not be hashed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub id: i64,
    /// When its transaction began, by the database's clock.
    pub recorded_at: Micros,
    /// When it happened, by the sidecar's clock.
    pub occurred_at: Micros,
    pub sidecar: Option<String>,
    pub account: String,
    pub user_id: Option<String>,
    pub key_id: Option<String>,
    pub role: Option<String>,
    pub action: String,
    pub resource_type: Option<String>,
    /// The text that PostgreSQL gives for it: reading and writing it anew might change a number's digits.
    pub metadata: Option<Box<RawValue>>,
    pub store: Option<String>,
    /// Each is `ACTION:OBJECT`.
    pub objects: Vec<Option<String>>,
    pub decision: Option<String>,
    pub code: Option<String>,
    pub statement: Option<String>,
    pub fingerprint: Option<String>,
    pub rows_affected: Option<i64>,
    pub duration_us: Option<i64>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub event_id: Option<String>,
    pub phase: Option<String>,
    pub chain: i64,
    pub seq: i64,
    pub prev_hash: Hex,
    pub hash: Hex,
}

impl Row {
    /// What the trigger `bulkhead_audit_chain` hashes.
    pub fn canonical(&self) -> String {
        Canonical::begin()
            .number(self.id)
            .number(self.recorded_at.0)
            .number(self.occurred_at.0)
            .text(self.sidecar.as_deref())
            .text(Some(&self.account))
            .text(self.user_id.as_deref())
            .text(self.key_id.as_deref())
            .text(self.role.as_deref())
            .text(Some(&self.action))
            .text(self.resource_type.as_deref())
            .json(self.metadata.as_deref().map(RawValue::get))
            .text(self.store.as_deref())
            .texts(self.objects.iter().map(Option::as_deref))
            .text(self.decision.as_deref())
            .text(self.code.as_deref())
            .text(self.statement.as_deref())
            .text(self.fingerprint.as_deref())
            .number(self.rows_affected)
            .number(self.duration_us)
            .text(self.request_id.as_deref())
            .text(self.trace_id.as_deref())
            .text(self.event_id.as_deref())
            .text(self.phase.as_deref())
            .number(self.chain)
            .number(self.seq)
            .end()
    }

    /// What its hash should be.
    pub fn digest(&self) -> Hex {
        digest(&self.prev_hash, &self.canonical())
    }
}
