//! What becomes a row of `audit_logs` by way of the spool.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::classify::normal::Normal;
use crate::record::clip;

/// Bytes of a text that a caller chose, such as a request's id.
const TEXT_BYTES_MAX: usize = 256;

/// One event: a line of the spool, then a row. Holds no value of a statement.
///
/// The names of its members are those of the columns, which [`super::drain`] takes out of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Event {
    /// Microseconds since the Unix epoch.
    pub occurred_us: i64,
    pub user_id: Option<String>,
    pub key_id: Option<String>,
    pub role: Option<String>,
    /// `query`, `command`, `pipeline`, `batch`, `authenticate`, …, or an administrative act, as `policy.reload`.
    pub action: String,
    /// `request`, `statement`, `shadow` where it was let through, `policy`, `config`.
    pub resource_type: Option<&'static str>,
    pub metadata: Option<Value>,
    pub store: Option<&'static str>,
    /// Each as `ACTION:OBJECT`.
    pub objects: Vec<String>,
    pub decision: Option<Decision>,
    pub code: Option<&'static str>,
    /// The statement without any value, and a digest of that.
    pub statement: Option<String>,
    pub fingerprint: Option<String>,
    pub rows_affected: Option<i64>,
    pub duration_us: Option<i64>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    /// The same in the intent and the outcome of a statement.
    pub event_id: Option<Uuid>,
    pub phase: Option<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

/// Which of the two records of an audited statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is about to be sent. Without an outcome the sidecar died meanwhile, and it may have run or not.
    Intent,
    Outcome,
}

impl Event {
    /// Now, and nothing else.
    pub fn now(action: &str) -> Self {
        Self {
            occurred_us: Timestamp::now().as_microsecond(),
            action: action.to_owned(),
            ..Self::default()
        }
    }

    /// Says what was asked.
    pub fn state(&mut self, statement: &Normal) {
        self.statement = Some(statement.text.clone());
        self.fingerprint = Some(statement.fingerprint.clone());
    }

    /// A line of the spool. What PostgreSQL's text cannot hold, NUL, is replaced.
    pub(super) fn line(&self) -> Vec<u8> {
        // Maps with keys that are not text do not occur, and nothing else fails.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        while let Some(at) = find_nul(&line) {
            line.splice(at..at + NUL.len(), *b"\\ufffd");
        }
        line
    }
}

/// How JSON writes the character NUL.
const NUL: &[u8; 6] = b"\\u0000";

/// Where an escaped NUL stands: its backslash is not itself escaped.
fn find_nul(line: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(rest) = line.get(at..) {
        let next = at + rest.iter().position(|byte| *byte == b'\\')?;
        if line.get(next..).is_some_and(|rest| rest.starts_with(NUL)) {
            return Some(next);
        }
        at = next + 2;
    }
    None
}

/// The trace's id in a W3C `traceparent`, where it has one.
pub fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let id = traceparent?.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_ascii_lowercase())
}

/// A text of the caller's, no longer than a row should hold.
pub fn bounded(text: &str) -> String {
    clip(text.to_owned(), TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_becomes_what_postgres_can_hold() {
        let event = Event {
            objects: vec!["a\0b\\u0000\\\0".into()],
            ..Event::default()
        };
        let line: Value = serde_json::from_slice(&event.line()).unwrap();
        assert_eq!(line["objects"][0], "a\u{fffd}b\\u0000\\\u{fffd}");
    }

    #[test]
    fn a_trace_is_named_by_its_id() {
        let whole = "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            trace_id(Some(whole)).as_deref(),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_eq!(trace_id(Some("00-xyz-1-1")), None);
        assert_eq!(trace_id(None), None);
    }
}
