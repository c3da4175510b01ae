//! What happened: metrics, audit rows, health, one log line per request.

pub mod audit;
pub mod health;
mod line;
pub mod metrics;
pub mod output;
pub mod requests;
pub mod seal;
pub mod spool;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::authenticate::{Peer, Principal};
use crate::classify::normal::{self, Normal};
use crate::decide::restrict::Shadow;
use crate::error::{Code, Problem, PublicError};
use crate::gate::Request;
use crate::limit::Quota;
use crate::operation::{Classification, Operation, Store};
use audit::{Decision, Event};
use metrics::{Metrics, Stage};

/// The action of a request that has several statements.
pub const BATCH: &str = "batch";

/// Objects of one request that logs and audit rows name.
pub const OBJECTS_MAX: usize = 32;

/// Bytes of one object's name there. A Redis key may be hundreds of megabytes long.
pub const OBJECT_BYTES_MAX: usize = 256;

/// About as long as a request's line is.
const LINE_BYTES: usize = 512;

/// Bytes of a cause in the log.
const CAUSE_BYTES_MAX: usize = 1024;

/// What is known of one request so far. Holds no value of its statement.
pub struct Record<'r> {
    pub request_id: &'r str,
    traceparent: Option<&'r str>,
    action: &'static str,
    pub store: Option<Store>,
    caller: Option<Arc<Principal>>,
    /// Whose address is logged where the caller is not known.
    peer: &'r Peer,
    /// Of a batch, one for each statement.
    operations: Vec<Arc<Classification>>,
    began: Instant,
    /// When the stage under way began.
    stage: Instant,
    execution: Option<Duration>,
    pub quota: Option<Quota>,
    /// What the caller's role was spared because it is in shadow mode.
    pub shadow: Option<Shadow>,
    /// The failing stage's own words, for the log alone.
    cause: Option<String>,
}

impl<'r> Record<'r> {
    /// `store` is `None` where it is not known yet, or none is asked.
    pub fn begin(request: &Request<'r>, store: Option<Store>) -> Self {
        let now = Instant::now();
        Self {
            request_id: request.id,
            traceparent: request.traceparent,
            action: request.action,
            store,
            caller: None,
            peer: request.peer,
            operations: Vec::new(),
            began: now,
            stage: now,
            execution: None,
            quota: None,
            shadow: None,
            cause: None,
        }
    }

    /// Whether several statements were asked for, so that a refusal must say which it is about.
    pub fn is_batch(&self) -> bool {
        self.action == BATCH
    }

    /// Keeps a stage's error for the log and gives its public face.
    pub fn cause(&mut self, error: &dyn PublicError) -> Problem {
        let problem = error.problem();
        // A parser's words quote the statement, values and all.
        self.cause = Some(if problem.code == Code::StatementUnparsable {
            "cannot be parsed".into()
        } else {
            clip(error.to_string(), CAUSE_BYTES_MAX)
        });
        problem
    }

    /// Nobody waits for the answer any more.
    pub fn abandoned(&mut self) -> Problem {
        let why = "its client left, or the sidecar ended, before there was an answer";
        self.cause = Some(why.to_owned());
        Problem::new(Code::RequestAbandoned, why)
    }

    pub fn authenticated(&mut self, caller: &Arc<Principal>, metrics: &Metrics) {
        self.caller = Some(Arc::clone(caller));
        self.next(Stage::Authenticate, metrics);
    }

    /// When the stage under way began.
    pub const fn stage(&self) -> Instant {
        self.stage
    }

    /// The request has arrived whole; how long its sender took is not the gate's doing.
    pub fn received(&mut self) {
        self.stage = Instant::now();
    }

    pub fn classified(&mut self, operations: &[Operation], metrics: &Metrics) {
        let each = operations.iter().map(|one| Arc::clone(&one.classification));
        self.operations = each.collect();
        self.next(Stage::Classify, metrics);
    }

    /// A catalogue has told what the statement touches besides what it names.
    pub fn widened(&mut self, operation: &Operation) {
        self.operations = vec![Arc::clone(&operation.classification)];
    }

    pub fn decided(&mut self, metrics: &Metrics) {
        self.next(Stage::Decide, metrics);
    }

    pub fn admitted(&mut self, metrics: &Metrics) {
        self.next(Stage::Admit, metrics);
    }

    pub fn executed(&mut self, took: Duration) {
        self.execution = Some(took);
    }

    fn next(&mut self, stage: Stage, metrics: &Metrics) {
        let now = Instant::now();
        metrics.observe_stage(stage, now.duration_since(self.stage));
        self.stage = now;
    }

    fn objects(&self) -> Vec<String> {
        let each = self.operations.iter().flat_map(|one| objects(one));
        let mut all: Vec<String> = Vec::new();
        for object in each.take(OBJECTS_MAX) {
            if !all.contains(&object) {
                all.push(object);
            }
        }
        all
    }

    /// The audit row of a refusal; `None` where the code is not one (a store's error, an outage).
    pub fn refused(&self, problem: &Problem) -> Option<Event> {
        // The failures that led to a throttle are rows already; nobody unknown may fill the table without end, with
        // guesses or without any.
        let is_endless = matches!(problem.code, Code::RateLimitExceeded | Code::AuthMissing);
        if !is_refusal(problem.code) || is_endless && self.caller.is_none() {
            return None;
        }
        let mut event = self.event("request", Decision::Deny, problem.code.as_str());
        let statements = self.operations.iter();
        let statements: Vec<_> = (statements.map_while(|one| one.normal(self.store?))).collect();
        if !statements.is_empty() {
            event.state(&normal::joined(statements.into_iter()));
        }
        Some(event)
    }

    /// The audit row of what shadow mode let through.
    pub fn spared(&self) -> Option<Event> {
        let code = self.shadow.as_ref()?.code();
        Some(self.event("shadow", Decision::Allow, code.map_or("ok", Code::as_str)))
    }

    /// The audit row of statements that are about to run, as one.
    pub fn declared(&self, statement: &Normal) -> Event {
        let mut event = self.event("statement", Decision::Allow, "ok");
        event.state(statement);
        event
    }

    /// The id of the trace that the request is part of.
    pub fn trace_id(&self) -> Option<String> {
        audit::trace_id(self.traceparent)
    }

    fn event(&self, kind: &'static str, decision: Decision, code: &'static str) -> Event {
        let caller = self.caller.as_deref();
        Event {
            user_id: caller.and_then(|caller| caller.user_id.clone()),
            key_id: caller.map(|caller| caller.key_id.clone()),
            role: caller.map(|caller| caller.role.clone()),
            resource_type: Some(kind),
            store: self.store.map(Store::as_str),
            objects: self.objects(),
            decision: Some(decision),
            code: Some(code),
            request_id: Some(audit::bounded(self.request_id)),
            trace_id: self.trace_id(),
            // Whoever is not known has an address at least.
            metadata: (caller.is_none())
                .then(|| serde_json::json!({"peer": self.peer.address.to_string()})),
            ..Event::now(self.action)
        }
    }
}

/// What is touched, as `action:object`, for logs and audit rows.
pub fn objects(classification: &Classification) -> Vec<String> {
    let touches = classification.touches.iter().take(OBJECTS_MAX);
    touches
        .map(|touch| {
            clip(
                format!("{}:{}", touch.action, touch.object),
                OBJECT_BYTES_MAX,
            )
        })
        .collect()
}

/// Cuts a text that a caller may have made long, at a character's end.
pub fn clip(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
    text
}

/// Whether a code is the gate's own no.
const fn is_refusal(code: Code) -> bool {
    match code {
        Code::AuthMissing
        | Code::AuthInvalid
        | Code::AuthExpired
        | Code::AuthRevoked
        | Code::StatementUnparsable
        | Code::PolicyDenied
        | Code::PolicyWrongStore
        | Code::PolicyUnknownObject
        | Code::PolicyForbiddenStatement
        | Code::RateLimitExceeded => true,
        Code::RequestInvalid
        | Code::RouteUnknown
        | Code::RouteMethodNotAllowed
        | Code::StoreNotConfigured
        | Code::TransactionNotFound
        | Code::TransactionExpired
        | Code::StoreConflict
        | Code::RequestTooLarge
        | Code::RequestMediaType
        | Code::StoreError
        | Code::RateLimitUnavailable
        | Code::StoreUnavailable
        | Code::PoolExhausted
        | Code::Draining
        | Code::StoreTimeout
        | Code::RequestAbandoned
        | Code::MemoryExhausted
        | Code::ConnectionsExhausted
        | Code::AuditUnavailable
        | Code::AuthUnavailable => false,
    }
}

/// What shadow mode let through, for the log.
fn told(shadow: &Shadow) -> String {
    match shadow {
        Shadow::Refused(refusal) => clip(refusal.to_string(), CAUSE_BYTES_MAX),
        Shadow::Restricted => "column rules or row filters would apply".into(),
    }
}

/// One structured line a request, without values.
pub fn request_log(record: &Record<'_>, problem: Option<&Problem>) {
    if !tracing::enabled!(target: output::REQUESTS, tracing::Level::INFO) {
        return;
    }
    if output::is_json() {
        let mut written = Vec::with_capacity(LINE_BYTES);
        line::write(&mut written, record, problem, Timestamp::now());
        output::request(&written);
    } else {
        event(record, problem);
    }
    // What was refused or failed is on record before its caller knows.
    if problem.is_some() {
        output::flush();
    }
}

/// The same by way of the subscriber, in whatever form it writes.
fn event(record: &Record<'_>, problem: Option<&Problem>) {
    let caller = record.caller.as_deref();
    tracing::info!(
        target: output::REQUESTS,
        request_id = record.request_id,
        traceparent = record.traceparent,
        action = record.action,
        store = record.store.map(Store::as_str),
        key_id = caller.map(|caller| caller.key_id.as_str()),
        role = caller.map(|caller| caller.role.as_str()),
        peer = caller.is_none().then(|| tracing::field::display(record.peer.address)),
        objects = ?record.objects(),
        code = problem.map_or("ok", |problem| problem.code.as_str()),
        cause = record.cause.as_deref(),
        shadow = record.shadow.as_ref().map(told),
        total_us = micros(record.began.elapsed()),
        store_us = record.execution.map(micros),
        "request"
    );
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
