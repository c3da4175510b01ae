//! Replies: JSON, problem+json (RFC 9457), and the headers every reply has.

use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};

use super::coding::{Coding, PACKED_BYTES_MIN};
use super::reply_body::ReplyBody;
use crate::error::{Code, Problem};
use crate::limit::Quota;
use crate::record::{OBJECT_BYTES_MAX, OBJECTS_MAX, clip};

pub type Reply = Response<ReplyBody>;

/// Bytes of a problem's `detail`.
const DETAIL_BYTES_MAX: usize = 4096;

/// Prefix of a problem's `type`, a URI reference that names the code.
const PROBLEM_TYPE: &str = "urn:bulkhead:problem:";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A reply of `status` with a JSON body.
pub fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    typed(status, HeaderValue::from_static("application/json"), body)
}

/// A reply of any type.
pub fn typed(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Reply {
    with_body(status, content_type, ReplyBody::whole(Bytes::from(body)))
}

/// A reply of any type and body.
pub fn with_body(status: StatusCode, content_type: HeaderValue, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// The members of problem+json.
pub fn problem_object(problem: &Problem, request_id: &str) -> Map<String, Value> {
    let code = problem.code;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    put("type", format!("{PROBLEM_TYPE}{}", code.as_str()).into());
    put("title", code.title().into());
    put("status", code.status().into());
    put("code", code.as_str().into());
    put(
        "detail",
        clip(problem.detail.clone(), DETAIL_BYTES_MAX).into(),
    );
    put("request_id", request_id.into());
    if let Some(store) = problem.lives_in {
        put("lives_in", store.as_str().into());
    }
    if !problem.objects.is_empty() {
        let named = problem.objects.iter().take(OBJECTS_MAX);
        let named = named.map(|name| clip(name.clone(), OBJECT_BYTES_MAX));
        put("objects", named.collect::<Vec<_>>().into());
    }
    if let Some(sqlstate) = &problem.sqlstate {
        put("sqlstate", sqlstate.as_str().into());
    }
    if let Some(errno) = problem.errno {
        put("errno", errno.into());
    }
    if let Some(retry_after_ms) = problem.retry_after_ms {
        put("retry_after_ms", retry_after_ms.into());
    }
    if let Some(statement) = problem.statement {
        put("statement", statement.into());
    }
    if let Some(transaction) = problem.transaction {
        put("transaction", transaction.as_str().into());
    }
    if problem.outcome_unknown {
        put("outcome", "unknown".into());
    }
    body
}

/// The public face of an error.
pub fn problem(problem: &Problem, request_id: &str) -> Reply {
    let body = problem_object(problem, request_id);
    let code = problem.code;
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = Value::Object(body).to_string().into_bytes();
    let content_type = HeaderValue::from_static("application/problem+json");
    let mut reply = typed(status, content_type, body);
    if let Some(retry_after_ms) = problem.retry_after_ms {
        // The header counts whole seconds; rounding down would invite a caller back too early.
        let seconds = retry_after_ms.div_ceil(1000).max(1);
        reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        // RFC 6750 section 3: an error where a credential was shown.
        let challenge = if code == Code::AuthMissing {
            "Bearer realm=\"bulkhead\""
        } else {
            "Bearer realm=\"bulkhead\", error=\"invalid_token\""
        };
        let challenge = HeaderValue::from_static(challenge);
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(allow) = problem.allow {
        let allow = HeaderValue::from_static(allow.as_str());
        reply.headers_mut().insert(ALLOW, allow);
    }
    reply
}

/// Packs a reply as its caller asked.
pub fn pack(reply: &mut Reply, accepted: Option<Coding>) {
    let Some(coding) = accepted else {
        return;
    };
    let whole = reply.body().whole_bytes();
    if whole.is_some_and(|bytes| bytes < PACKED_BYTES_MIN) || !reply.body_mut().pack(coding) {
        return;
    }
    let headers = reply.headers_mut();
    headers.insert(CONTENT_ENCODING, coding.header());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Adds what every reply carries.
pub fn finish(
    mut reply: Reply,
    request_id: &str,
    traceparent: Option<HeaderValue>,
    quota: Option<&Quota>,
) -> Reply {
    let headers = reply.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT, traceparent);
    }
    if let Some(quota) = quota {
        for (name, text) in [
            (RATE_LIMIT, quota.header()),
            (RATE_LIMIT_POLICY, quota.policy_header()),
        ] {
            // Nothing is known of what is left while Redis is away.
            if text.is_empty() {
                continue;
            }
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
    reply
}
