//! The admin listener: metrics and health.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::body::invalid;
use super::doubt;
use super::respond::{self, Reply};
use super::routes::takes;
use crate::error::{Code, Methods, Problem};
use crate::gate::Gate;
use crate::operation::Store;

/// Prometheus' text exposition format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Answers one request to the admin listener.
pub async fn handle(gate: Arc<Gate>, request: Request<Incoming>) -> Reply {
    let doubtful = doubt::doubtful(&request);
    let found = find(&request).and_then(|answer| match doubtful {
        None => Ok(answer(&gate)),
        Some(reason) => Err(invalid(reason)),
    });
    let mut reply = found.unwrap_or_else(|problem| respond::problem(&problem, "-"));
    if doubtful.is_some() {
        doubt::close(&mut reply);
    }
    reply
}

fn find(request: &Request<Incoming>) -> Result<fn(&Gate) -> Reply, Problem> {
    let path = request.uri().path();
    let answer: fn(&Gate) -> Reply = match path {
        "/metrics" => metrics,
        "/health" => health,
        "/livez" => |_| livez(),
        "/readyz" => readyz,
        _ => {
            return Err(Problem::new(
                Code::RouteUnknown,
                "the admin listener has GET /metrics, /health, /livez and /readyz",
            ));
        }
    };
    takes(path, Methods::Read, request.method())?;
    Ok(answer)
}

/// Every configured store and the policy in force; 503 unless all stores are up and none is held back.
pub fn health(gate: &Gate) -> Reply {
    let mut report = gate.health.report();
    let policy = gate.policy.load();
    let mut in_force = json!({"version": policy.version(), "digest": policy.digest()});
    if let (Some(rejected), Some(in_force)) = (gate.health.rejected(), in_force.as_object_mut()) {
        in_force.insert("refused".into(), json!({"faults_at": rejected.places}));
    }
    report.insert("policy".into(), in_force);
    let audit = if gate.audit.is_failing() {
        "failing"
    } else {
        "ok"
    };
    report.insert("audit".into(), audit.into());
    let modes = gate.limiter.modes(&policy);
    let modes: Vec<_> = modes.iter().map(|mode| mode.as_str()).collect();
    report.insert("rate_limit".into(), modes.join(", ").into());
    let status = if gate.health.is_healthy() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    respond::json(status, Value::Object(report).to_string().into_bytes())
}

/// The process runs and answers.
pub fn livez() -> Reply {
    respond::json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec())
}

/// Requests may be sent here.
pub fn readyz(gate: &Gate) -> Reply {
    if gate.health.is_ready() {
        return respond::json(StatusCode::OK, br#"{"status":"ready"}"#.to_vec());
    }
    let mut report = gate.health.report();
    if !gate.health.is_leaving() {
        report.insert("status".into(), "not ready".into());
    }
    respond::json(
        StatusCode::SERVICE_UNAVAILABLE,
        Value::Object(report).to_string().into_bytes(),
    )
}

fn metrics(gate: &Gate) -> Reply {
    for store in Store::ALL {
        if let Some(pool) = gate.stores.pool_state(store) {
            gate.metrics.set_pool(store, pool);
            let open = gate.stores.transactions_open(store);
            gate.metrics.set_transactions(store, open);
        }
        if let Some(grants) = gate.health.grants(store) {
            let held_back = gate.health.is_held_back(store);
            gate.metrics.set_grants(store, grants, held_back);
        }
    }
    gate.audit.measure();
    let modes = gate.limiter.modes(&gate.policy.load());
    gate.metrics.limiter.set_modes(&modes);
    match gate.metrics.render() {
        Ok(text) => respond::typed(StatusCode::OK, METRICS_TYPE, text.into_bytes()),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be rendered");
            let mut reply = respond::json(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
            reply.headers_mut().clear();
            reply
        }
    }
}
