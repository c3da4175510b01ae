//! A request's line in JSON, as the subscriber would write it, at a tenth of the cost: every request has one.

use std::cell::Cell;
use std::io::Write as _;

use jiff::Timestamp;

use super::{OBJECT_BYTES_MAX, Record, told};
use crate::error::Problem;
use crate::operation::Store;
use crate::record::micros;
use crate::wire::json;

/// `2026-01-05T09:00:00`
const SECOND_BYTES: usize = 19;

thread_local! {
    /// The second that was written last, and its text.
    static SECOND: Cell<(i64, [u8; SECOND_BYTES])> = const { Cell::new((i64::MIN, [b' '; SECOND_BYTES])) };
}

/// Appends the line with its end.
pub(super) fn write(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    problem: Option<&Problem>,
    now: Timestamp,
) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_time(out, now);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\"");
    let caller = record.caller.as_deref();
    text(out, "request_id", Some(record.request_id));
    text(out, "traceparent", record.traceparent);
    text(out, "action", Some(record.action));
    text(out, "store", record.store.map(Store::as_str));
    text(out, "key_id", caller.map(|caller| caller.key_id.as_str()));
    text(out, "role", caller.map(|caller| caller.role.as_str()));
    if caller.is_none() {
        text(out, "peer", Some(&record.peer.address.to_string()));
    }
    if !only_object(out, record) {
        objects(out, &record.objects());
    }
    let code = problem.map_or("ok", |problem| problem.code.as_str());
    text(out, "code", Some(code));
    text(out, "cause", record.cause.as_deref());
    text(out, "shadow", record.shadow.as_ref().map(told).as_deref());
    number(out, "total_us", Some(micros(record.began.elapsed())));
    number(out, "store_us", record.execution.map(micros));
    out.extend_from_slice(b",\"target\":\"");
    out.extend_from_slice(super::output::REQUESTS.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// The same as [`objects`], without a copy, where one thing was touched and its name is plain and short; false, and
/// nothing written, where not.
fn only_object(out: &mut Vec<u8>, record: &Record<'_>) -> bool {
    let [operation] = record.operations.as_slice() else {
        return false;
    };
    let [touch] = operation.touches.as_slice() else {
        return false;
    };
    let before = out.len();
    name(out, "objects");
    out.extend_from_slice(b"\"[\\\"");
    let begin = out.len();
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{}:{}", touch.action, touch.object);
    let shown = out.get(begin..).unwrap_or_default();
    if shown.len() > OBJECT_BYTES_MAX || !shown.iter().copied().all(is_plain) {
        out.truncate(before);
        return false;
    }
    out.extend_from_slice(b"\\\"]\"");
    true
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// What was touched, as one text: a list as Rust shows it.
fn objects(out: &mut Vec<u8>, objects: &[String]) {
    let are_plain = objects.iter().all(|object| object.bytes().all(is_plain));
    if !are_plain {
        return text(out, "objects", Some(&format!("{objects:?}")));
    }
    name(out, "objects");
    out.extend_from_slice(b"\"[");
    for (place, object) in objects.iter().enumerate() {
        let separator: &[u8] = if place > 0 { b", " } else { b"" };
        for part in [separator, b"\\\"", object.as_bytes(), b"\\\""] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"]\"");
}

/// RFC 3339 with microseconds.
fn write_time(out: &mut Vec<u8>, now: Timestamp) {
    let (second, micros) = (now.as_second(), now.subsec_microsecond());
    let (known, mut shown) = SECOND.get();
    if known != second {
        let written = now.to_string();
        if let Some(begin) = written.as_bytes().first_chunk() {
            shown = *begin;
            SECOND.set((second, shown));
        }
    }
    out.extend_from_slice(&shown);
    // Writing into a Vec cannot fail.
    let _ = write!(out, ".{micros:06}Z");
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        name(out, key);
        json::string(out, value);
    }
}

fn number(out: &mut Vec<u8>, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        name(out, key);
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::authenticate::{Peer, Principal};
    use crate::error::Code;
    use crate::operation::{Action, Classification, Object};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// A line without what differs from call to call.
    fn steady(line: &[u8]) -> String {
        let mut line: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(line).unwrap();
        for (key, form) in [("timestamp", 27), ("total_us", 0)] {
            let value = line.insert(key.to_owned(), "…".into()).unwrap();
            assert!(form == 0 || value.as_str().unwrap().len() == form);
        }
        serde_json::Value::Object(line).to_string()
    }

    #[test]
    fn a_line_is_what_the_subscriber_would_write() {
        let peer = Peer::new([127, 0, 0, 1].into(), Vec::new());
        let request = crate::gate::Request {
            id: "id \"1\"",
            traceparent: Some("00-0-0-01"),
            peer: &peer,
            key: None,
            action: "command",
            transaction: None,
        };
        let caller = Arc::new(Principal {
            key_id: "k".into(),
            user_id: None,
            role: "app".into(),
        });
        let problem = Problem::new(Code::PolicyDenied, "no");
        let long = [b'k'; OBJECT_BYTES_MAX];
        let keys: [&[&[u8]]; 7] = [
            &[],
            &[b"cache:1"],
            &[b"cache:\"1\""],
            &[b"\xff"],
            &[&long],
            &[b"a 'b'", b"c"],
            &[b"cache:\"\\\xc3\xa9\n", b"d"],
        ];
        for (known, keys) in [false, true]
            .into_iter()
            .flat_map(|known| keys.map(|keys| (known, keys)))
        {
            let mut classification = Classification::default();
            for key in keys {
                classification.touch(Object::Key(key.to_vec()), Action::Read);
            }
            let mut record = Record::begin(&request, Some(Store::Redis));
            let mut problem = Some(&problem);
            if known {
                record.caller = Some(Arc::clone(&caller));
                record.operations = vec![Arc::new(classification)];
                record.execution = Some(std::time::Duration::from_micros(7));
                problem = None;
            } else {
                record.cause = Some("a\tcause".into());
            }
            let kept = Kept::default();
            let subscriber = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_writer(kept.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                super::super::event(&record, problem);
            });
            let mut ours = Vec::new();
            write(&mut ours, &record, problem, Timestamp::now());
            assert_eq!(steady(&ours), steady(&kept.0.lock().unwrap()));
            assert!(ours.ends_with(b"}\n"));
        }
    }

    #[test]
    fn times_have_six_digits() {
        for (micros, expected) in [
            (1_767_603_600_000_007, "2026-01-05T09:00:00.000007Z"),
            (1_767_603_600_999_999, "2026-01-05T09:00:00.999999Z"),
            (1_767_603_601_000_000, "2026-01-05T09:00:01.000000Z"),
        ] {
            let mut out = Vec::new();
            write_time(&mut out, Timestamp::from_microsecond(micros).unwrap());
            assert_eq!(out, expected.as_bytes());
        }
    }
}
