//! The HTTP front door: requests of DESIGN §3 in, the gate's answers out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::json;

use super::admin;
use super::body::{self, Bounds, RowsWanted, invalid};
use super::coding::{Coding, quality};
use super::doubt;
use super::request_id;
use super::respond::{self, Reply};
use super::routes::{self, Route};
use super::stream::{self, Streaming};
use crate::authenticate::{Peer, Principal};
use crate::config::Server;
use crate::decide::{Grant, Role};
use crate::error::{Code, Problem};
use crate::execute::redis::RedisReply;
use crate::execute::stores::Answer;
use crate::gate::{self, Ask, Gate, aside};
use crate::limit::Quota;
use crate::memory::{Exhausted, Part};
use crate::operation::Store;
use crate::reply::{NoRows, RowSink};
use crate::transaction::TransactionId;
use crate::wire;
use crate::wire::extended_json::{Form as JsonForm, write_extended_json};
use crate::wire::json_rows::{Form, JsonRows, NumberForm, RowForm};
use crate::wire::ndjson;
use crate::wire::redis_json;

/// Longest `X-Request-Id` that is taken over from a caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// About as long as the reply of a single Redis command is.
const RESULT_BYTES: usize = 256;

/// Serves the data listener.
#[derive(Clone)]
pub struct Door {
    pub gate: Arc<Gate>,
    pub body: Bounds,
    /// Rows of a reply, unless the request asks for fewer.
    pub rows_max: u64,
    /// Bytes of a reply, and of one row of a stream.
    pub reply_bytes_max: usize,
    /// How long a client may take nothing of a stream.
    pub send_timeout: Duration,
}

/// A request as it is handed from layer to layer.
pub(super) type BoxedRequest = Box<Request<Incoming>>;

/// What the caller's headers say, kept while the body is read.
pub(super) struct Head {
    pub(super) request_id: String,
    peer: Arc<Peer>,
    traceparent: Option<HeaderValue>,
    key: Option<String>,
    /// Why it cannot be said which key was meant: something on the way may have judged by another.
    ambiguous: Option<&'static str>,
}

impl Door {
    /// Takes over what bounds each request, as the configuration has it now.
    pub fn bound(&mut self, server: &Server) {
        self.body.bytes_max = server.body_bytes_max;
        self.rows_max = server.rows_max;
        self.reply_bytes_max = server.reply_bytes_max;
    }

    /// Answers one HTTP request; every failure is a problem+json reply.
    pub fn handle(
        self,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Reply> + Send {
        self.answer(peer, Box::new(request))
    }

    /// The request is boxed, since every layer that hands it on has room for it.
    async fn answer(self, peer: Arc<Peer>, request: BoxedRequest) -> Reply {
        let head = Head::read(peer, request.headers());
        let (id, traceparent) = (head.request_id.clone(), head.traceparent.clone());
        let accepted = Coding::accepted(request.headers());
        let send_timeout = self.send_timeout;
        let mut quota = None;
        let doubtful = doubt::doubtful(&request);
        let route = match (
            routes::find(request.method(), request.uri().path()),
            head.ambiguous.or(doubtful),
        ) {
            (Ok(route), None) => Ok(route),
            (Err(problem), _) => Err(problem),
            (Ok(_), Some(reason)) => Err(invalid(reason)),
        };
        let reply = match route {
            Ok(route) => self.route(route, request, head, &mut quota).await,
            Err(problem) => {
                turn_away(&self.gate, &head, &problem);
                Err(problem)
            }
        };
        let mut reply = reply.unwrap_or_else(|problem| respond::problem(&problem, &id));
        respond::pack(&mut reply, accepted);
        if doubtful.is_some() {
            doubt::close(&mut reply);
        }
        reply.body_mut().watch(send_timeout);
        respond::finish(reply, &id, traceparent, quota.as_ref())
    }

    async fn route(
        self,
        route: Route,
        request: BoxedRequest,
        head: Head,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        match route {
            Route::Query(_) | Route::MongodbCommand if wants_stream(request.headers()) => {
                Box::pin(self.stream(head, route, request, quota)).await
            }
            Route::Query(store) => self.query(&head, store, None, request, quota).await,
            Route::Batch(store) => Box::pin(self.batch(&head, store, request, quota)).await,
            Route::Transactions(store) => Box::pin(self.begin(&head, store, request, quota)).await,
            Route::Transaction(going) => Box::pin(self.go_on(&head, going, request, quota)).await,
            Route::MongodbCommand => self.mongodb(&head, request, quota).await,
            Route::RedisCommand => self.redis_command(&head, request, quota).await,
            Route::RedisPipeline => self.redis_pipeline(&head, request, quota).await,
            Route::Explain => Box::pin(self.explain(&head, request)).await,
            Route::Whoami => Box::pin(self.whoami(&head, quota)).await,
            Route::Health => Ok(admin::health(&self.gate)),
            Route::Livez => Ok(admin::livez()),
            Route::Readyz => Ok(admin::readyz(&self.gate)),
        }
    }

    /// Reads the rest of a request, once its caller is known, and gives the gate's answer. What the body holds of the
    /// memory for all it holds until then; the reply may have a part of its own.
    pub(super) async fn ask<S: RowSink>(
        &self,
        asked: &gate::Request<'_>,
        store: Store,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
        parse: impl FnOnce(&[u8], &Part) -> Result<(Ask, S), Problem>,
    ) -> Result<(Answer, S, Part), Problem> {
        let mut held = None;
        let holding = &mut held;
        let receive = |caller: Arc<Principal>| async move {
            let received = body::read(request, &self.body, &caller).await?;
            let parsed = received.parse(|bytes| parse(bytes, &received.part))?;
            *holding = Some(received.part);
            Ok(parsed)
        };
        let (answer, taken) = self.gate.answer(asked, store, receive).await;
        *quota = taken;
        let (answer, sink) = answer?;
        let part = held.map_or_else(|| self.body.memory.part(), |held| held.sibling());
        Ok((answer, sink, part))
    }

    /// A statement on its own, or in a transaction that its caller holds open.
    pub(super) async fn query(
        &self,
        head: &Head,
        store: Store,
        within: Option<TransactionId>,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let parse = |bytes: &[u8], part: &Part| {
            let (ask, wanted) = body::query(bytes, store)?;
            let rows = JsonRows::new(self.form(wanted));
            let ask = match within {
                Some(id) => ask.within(id),
                None => ask,
            };
            Ok((ask, rows.within(part.sibling())))
        };
        let mut asked = head.as_request("query");
        asked.transaction = within;
        match self.ask(&asked, store, request, quota, parse).await? {
            (Answer::Sql(summary), mut rows, _) => {
                let part = rows.take_part();
                let mut reply = respond::json(StatusCode::OK, rows.finish(&summary));
                reply.body_mut().hold(part);
                Ok(reply)
            }
            (Answer::Transaction(_) | Answer::Mongodb(_) | Answer::Redis(_), _, _) => {
                Err(invalid("not a SQL answer"))
            }
        }
    }

    pub(super) fn form(&self, wanted: RowsWanted) -> Form {
        Form {
            rows: wanted.rows.unwrap_or_default(),
            numbers: wanted.numbers,
            rows_max: wanted.rows_max.unwrap_or(self.rows_max).min(self.rows_max),
            bytes_max: self.reply_bytes_max,
        }
    }

    /// A query or command whose rows go out as they come.
    async fn stream(
        self,
        head: Head,
        route: Route,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let (store, action) = match route {
            Route::Query(store) => (store, "query"),
            Route::MongodbCommand => (Store::Mongodb, "command"),
            Route::Batch(_)
            | Route::Transactions(_)
            | Route::Transaction(_)
            | Route::RedisCommand
            | Route::RedisPipeline
            | Route::Explain
            | Route::Whoami
            | Route::Health
            | Route::Livez
            | Route::Readyz => return Err(invalid("this route has no stream")),
        };
        let row_bytes_max = self.reply_bytes_max;
        let (bounds, patience) = (self.body, self.send_timeout);
        let receive = move |caller: Arc<Principal>| async move {
            let received = body::read(request, &bounds, &caller).await?;
            let form = |numbers, rows_max, documents| ndjson::Form {
                numbers,
                rows_max,
                documents,
                row_bytes_max,
            };
            if store == Store::Mongodb {
                let (ask, documents) = received.parse(body::mongodb)?;
                return Ok((ask, form(NumberForm::Exact, None, documents)));
            }
            let (ask, wanted) = received.parse(|bytes| body::query(bytes, store))?;
            if wanted.rows == Some(RowForm::Objects) {
                return Err(invalid(
                    "the rows of a stream are arrays: leave \"rows\" out, or ask for \"arrays\"",
                ));
            }
            Ok((
                ask,
                form(wanted.numbers, wanted.rows_max, JsonForm::Relaxed),
            ))
        };
        let streaming = Streaming {
            head,
            store,
            action,
            patience,
            receive,
        };
        streaming.run(self.gate, quota).await
    }

    async fn mongodb(
        &self,
        head: &Head,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let mut form = JsonForm::Relaxed;
        let parse = |bytes: &[u8], _: &Part| {
            let (ask, wanted) = body::mongodb(bytes)?;
            form = wanted;
            Ok((ask, NoRows))
        };
        let asked = head.as_request("command");
        let answer = self.ask(&asked, Store::Mongodb, request, quota, parse);
        match answer.await? {
            (Answer::Mongodb(document), NoRows, part) => {
                let mut body = Vec::with_capacity(document.len().saturating_mul(2));
                aside(document.len(), || {
                    write_extended_json(&mut body, &document, form)
                })
                .map_err(|error| invalid(error.to_string()))?;
                bounded(body, part)
            }
            (Answer::Sql(_) | Answer::Transaction(_) | Answer::Redis(_), NoRows, _) => {
                Err(invalid("not a MongoDB answer"))
            }
        }
    }

    async fn redis_command(
        &self,
        head: &Head,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let asked = head.as_request("command");
        let (replies, part) = self
            .redis(asked, request, body::redis_command, quota)
            .await?;
        bounded(redis_result(&replies, self.reply_bytes_max)?, part)
    }

    async fn redis_pipeline(
        &self,
        head: &Head,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let asked = head.as_request("pipeline");
        let (replies, part) = self
            .redis(asked, request, body::redis_pipeline, quota)
            .await?;
        bounded(redis_results(&replies, self.reply_bytes_max)?, part)
    }

    async fn redis(
        &self,
        asked: gate::Request<'_>,
        request: BoxedRequest,
        parse: fn(&[u8]) -> Result<Ask, Problem>,
        quota: &mut Option<Quota>,
    ) -> Result<(Vec<RedisReply>, Part), Problem> {
        let parse = |bytes: &[u8], _: &Part| Ok((parse(bytes)?, NoRows));
        let answer = self.ask(&asked, Store::Redis, request, quota, parse);
        match answer.await? {
            (Answer::Redis(replies), NoRows, part) => Ok((replies, part)),
            (Answer::Sql(_) | Answer::Transaction(_) | Answer::Mongodb(_), NoRows, _) => {
                Err(invalid("not a Redis answer"))
            }
        }
    }

    async fn explain(&self, head: &Head, request: BoxedRequest) -> Result<Reply, Problem> {
        let receive = |caller: Arc<Principal>| async move {
            let received = body::read(request, &self.body, &caller).await?;
            received.parse(body::explain)
        };
        let asked = head.as_request("explain");
        let explained = self.gate.explain(&asked, receive).await?;
        let body = serde_json::to_vec(&explained).map_err(|error| invalid(error.to_string()))?;
        Ok(respond::json(StatusCode::OK, body))
    }

    async fn whoami(&self, head: &Head, quota: &mut Option<Quota>) -> Result<Reply, Problem> {
        let caller = self.gate.identify(&head.as_request("whoami")).await?;
        let policy = self.gate.policy.load_full();
        let role = policy.role(&caller.role);
        if let Some(role) = role {
            let left = self.gate.limiter.peek(role, &caller, Instant::now()).await;
            *quota = (!left.0.is_empty()).then_some(left);
        }
        let grants = role.map_or(&[][..], Role::grants);
        let body = json!({
            "key_id": caller.key_id,
            "user_id": caller.user_id,
            "role": caller.role,
            "grants": grants.iter().map(grant).collect::<Vec<_>>(),
            "limits": quota.as_ref().map_or_else(|| json!([]), Quota::to_json),
            "policy": {"version": policy.version(), "digest": policy.digest()},
        });
        Ok(respond::json(StatusCode::OK, body.to_string().into_bytes()))
    }
}

/// What goes no further leaves a line in the log, too.
fn turn_away(gate: &Gate, head: &Head, problem: &Problem) {
    gate.turn_away(&head.as_request("none"), problem);
}

/// A reply that was made in one piece, within what all replies may hold together.
pub(super) fn bounded(body: Vec<u8>, mut part: Part) -> Result<Reply, Problem> {
    let held = part.cover(body.len());
    held.map_err(Exhausted::problem)?;
    let mut reply = respond::json(StatusCode::OK, body);
    reply.body_mut().hold(Some(part));
    Ok(reply)
}

/// Whether the caller asks for lines of JSON.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).into_iter();
    let types = accepts.flat_map(|value| value.to_str().unwrap_or("").split(','));
    types
        .map(quality)
        .any(|(name, quality)| name.eq_ignore_ascii_case(stream::MEDIA_TYPE) && quality > 0.0)
}

/// A grant as the policy writes it.
fn grant(grant: &Grant) -> serde_json::Value {
    json!({
        "store": grant.store().as_str(),
        "objects": grant.objects(),
        "actions": grant.actions().iter().map(|action| action.as_str()).collect::<Vec<_>>(),
    })
}

/// `{"result": …}`, or the server's error as a problem.
fn redis_result(replies: &[RedisReply], bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::with_capacity(RESULT_BYTES);
    body.extend_from_slice(b"{\"result\":");
    for reply in replies {
        match reply {
            RedisReply::Value(value) => write_redis(&mut body, value, bytes_max)?,
            RedisReply::Error(error) => return Err(Problem::new(Code::StoreError, error.clone())),
        }
    }
    body.push(b'}');
    Ok(body)
}

/// `{"results": [{"result": …} or {"error": …}, …]}`.
fn redis_results(replies: &[RedisReply], bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = b"{\"results\":[".to_vec();
    for (place, reply) in replies.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        match reply {
            RedisReply::Value(value) => {
                body.extend_from_slice(b"{\"result\":");
                write_redis(&mut body, value, bytes_max)?;
            }
            RedisReply::Error(error) => {
                body.extend_from_slice(b"{\"error\":");
                wire::json::string(&mut body, error);
            }
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

fn write_redis(out: &mut Vec<u8>, value: &redis::Value, bytes_max: usize) -> Result<(), Problem> {
    redis_json::write(out, value, bytes_max).map_err(|error| invalid(error.to_string()))
}

impl Head {
    fn read(peer: Arc<Peer>, headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(&AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let request_id = text(&X_REQUEST_ID)
            .filter(|id| {
                (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
                    && id.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .map_or_else(request_id::new, str::to_owned);
        Self {
            request_id,
            peer,
            traceparent: headers.get(TRACEPARENT).cloned(),
            ambiguous: ambiguous(headers, bearer.is_some()),
            key: bearer.or_else(|| text(&X_API_KEY)).map(str::to_owned),
        }
    }

    pub(super) fn as_request(&self, action: &'static str) -> gate::Request<'_> {
        gate::Request {
            id: &self.request_id,
            peer: &self.peer,
            traceparent: self
                .traceparent
                .as_ref()
                .and_then(|value| value.to_str().ok()),
            key: self.key.as_deref(),
            action,
            transaction: None,
        }
    }
}

fn ambiguous(headers: &HeaderMap, has_bearer: bool) -> Option<&'static str> {
    let count = |name: &HeaderName| headers.get_all(name).iter().count();
    if count(&AUTHORIZATION) > 1 || count(&X_API_KEY) > 1 {
        return Some("there are two keys: send one `Authorization` or `X-Api-Key` header");
    }
    (has_bearer && count(&X_API_KEY) == 1)
        .then_some("there are two keys: send `Authorization: Bearer` or `X-Api-Key`, not both")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_are_none() {
        let peer = Arc::new(Peer::new([127, 0, 0, 1].into(), Vec::new()));
        let check = |sent: &[(HeaderName, &'static str)], ambiguous: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(
                Head::read(Arc::clone(&peer), &headers).ambiguous.is_some(),
                ambiguous,
                "{sent:?}"
            );
        };
        check(&[(AUTHORIZATION, "Bearer a")], false);
        check(&[(AUTHORIZATION, "Basic a"), (X_API_KEY, "b")], false);
        check(
            &[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer b")],
            true,
        );
        check(&[(X_API_KEY, "a"), (X_API_KEY, "a")], true);
        check(&[(AUTHORIZATION, "Bearer a"), (X_API_KEY, "a")], true);
    }

    /// A request's future is copied a few times on its way, so what is large and rare in it must be boxed.
    const FUTURE_BYTES_MAX: usize = 2_560;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size_of_future(Door::handle);
        assert!(size <= FUTURE_BYTES_MAX, "{size} bytes");
    }
}
