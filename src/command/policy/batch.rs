//! `bulkhead policy explain --policy PATH --batch`: a JSON line in, a JSON line out, in the same order.
//!
//! In: `{"id", "role", "store", "request" or "request_b64", "user_id"?, "session"?: bool}`. `request` is SQL text, a command
//! document (Extended JSON) or a command (an array of strings); `request_b64`, which wins where both are there,
//! is the exact bytes: SQL, BSON, or a Redis command in its protocol. Out: `{"id", "decision", "code",
//! "touches", "detail"}`; `code` is null where the decision is `allow`. A line that cannot be judged is denied.

use std::io::{self, BufRead, Read as _, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::report::json_line;
use super::request::{Body, caller, classify};
use super::{Exit, report};
use crate::classify::Session;
use crate::decide::{Policy, Question, Verdict};
use crate::error::{Code, Problem};
use crate::operation::{Classification, Store};

/// Longest line, in bytes: a statement of the largest size with every byte escaped.
const LINE_BYTES_MAX: u64 = 6 * crate::classify::STATEMENT_BYTES_MAX as u64 + 64 * 1024;

/// Each field raw, so that one of the wrong type does not hide the others.
#[derive(Debug, Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    id: Option<&'l RawValue>,
    #[serde(borrow)]
    role: Option<&'l RawValue>,
    #[serde(borrow)]
    store: Option<&'l RawValue>,
    #[serde(borrow)]
    request: Option<&'l RawValue>,
    #[serde(borrow)]
    request_b64: Option<&'l RawValue>,
    #[serde(borrow)]
    user_id: Option<&'l RawValue>,
    #[serde(borrow)]
    session: Option<&'l RawValue>,
}

#[derive(Debug, Serialize)]
struct Answer<'l> {
    id: Option<&'l RawValue>,
    decision: &'static str,
    code: Option<&'static str>,
    touches: Vec<TouchJson>,
    detail: String,
}

#[derive(Debug, Serialize)]
pub(super) struct TouchJson {
    object: String,
    action: &'static str,
}

pub(super) fn touches(classification: &Classification) -> Vec<TouchJson> {
    let touch = |touch: &crate::operation::Touch| TouchJson {
        object: touch.object.to_string(),
        action: touch.action.as_str(),
    };
    classification.touches.iter().map(touch).collect()
}

pub(super) fn run(
    policy: &Policy,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<Exit> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(Exit::Done);
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX {
            input.skip_until(b'\n')?;
            let detail = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            json_line(
                output,
                &denied(None, &Problem::new(Code::RequestInvalid, detail)),
            )?;
        } else if !line.trim_ascii().is_empty() {
            answer(policy, &line, output)?;
        }
        output.flush()?;
    }
}

fn answer(policy: &Policy, line: &[u8], output: &mut impl Write) -> io::Result<()> {
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => {
            let detail = format!("the line is not an object in JSON: {error}");
            let problem = Problem::new(Code::RequestInvalid, detail);
            return json_line(output, &denied(None, &problem));
        }
    };
    // A classifier must never panic; if one does, the request is refused and the other lines are still judged.
    let judged = catch_unwind(AssertUnwindSafe(|| judge(policy, &line))).unwrap_or_else(|_| {
        let detail = "the classifier failed on this request, which is a fault of bulkhead";
        Err(Problem::new(Code::StatementUnparsable, detail))
    });
    match judged {
        Ok(answer) => json_line(output, &answer),
        Err(problem) => json_line(output, &denied(line.id, &problem)),
    }
}

fn denied<'l>(id: Option<&'l RawValue>, problem: &Problem) -> Answer<'l> {
    Answer {
        id,
        decision: "deny",
        code: Some(problem.code.as_str()),
        touches: Vec::new(),
        detail: problem.detail.clone(),
    }
}

fn judge<'l>(policy: &Policy, line: &Line<'l>) -> Result<Answer<'l>, Problem> {
    let role: String = field("role", line.role)?;
    let name: String = field("store", line.store)?;
    let store = Store::parse(&name).ok_or_else(|| {
        let stores = Store::ALL.map(Store::as_str).join(", ");
        invalid(format!("`store` is `{name}`: write one of {stores}"))
    })?;
    let session = match line.session {
        Some(session) if field("session", Some(session))? => Session::Own,
        Some(_) | None => Session::Shared,
    };
    let operation = match (present(line.request_b64), present(line.request)) {
        (Some(base64), _) => {
            let base64: String = field("request_b64", Some(base64))?;
            let bytes = BASE64
                .decode(base64)
                .map_err(|error| invalid(format!("`request_b64` is not base64: {error}")))?;
            classify(policy, store, Body::Bytes(&bytes), session)?
        }
        (None, Some(request)) => classify(policy, store, Body::Json(request.get()), session)?,
        (None, None) => return Err(invalid("the line has no `request`")),
    };
    let user_id: Option<String> = match present(line.user_id) {
        Some(user) => Some(field("user_id", Some(user))?),
        None => None,
    };
    let caller = caller(&role, user_id.as_deref());
    let (verdicts, outcome) = policy.explain(Question {
        caller: &caller,
        operation: &operation,
        now: Timestamp::now(),
    });
    let (code, detail) = match outcome {
        Ok(()) => (None, allowed(&verdicts)),
        Err(refusal) => (Some(refusal.0.code.as_str()), refusal.0.detail.clone()),
    };
    Ok(Answer {
        id: line.id,
        decision: if code.is_none() { "allow" } else { "deny" },
        code,
        touches: touches(&operation.classification),
        detail,
    })
}

/// Which grants allow a request.
fn allowed(verdicts: &[crate::decide::TouchVerdict<'_>]) -> String {
    let mut rules: Vec<String> = Vec::new();
    for verdict in verdicts {
        if let Verdict::Allowed(grant) = verdict.verdict {
            let rule = report::rule(grant);
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    if rules.is_empty() {
        "touches nothing, and the role is granted something in this store".to_owned()
    } else {
        format!("granted at {}", rules.join(", "))
    }
}

fn present(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|value| value.get() != "null")
}

fn field<T: for<'d> Deserialize<'d>>(name: &str, value: Option<&RawValue>) -> Result<T, Problem> {
    let value = present(value).ok_or_else(|| invalid(format!("the line has no `{name}`")))?;
    serde_json::from_str(value.get())
        .map_err(|error| invalid(format!("`{name}` cannot be read: {error}")))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}
