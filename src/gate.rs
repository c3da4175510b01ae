//! THE pipeline: one function, every stage, for every front door.
//!
//! authenticate → classify (and what the catalogue adds) → decide → admit → execute, with record around it.
//! [`Gate::stages`] is the whole of it; nothing else reaches a store.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::authenticate::{Authenticator, Principal};
use crate::catalogue::{self, watch::Catalogues};
use crate::classify::cache::Classifications;
use crate::classify::{self, Refusal, Session};
use crate::decide::{Permit, Policy};
use crate::error::{Code, Problem, PublicError};
use crate::execute::request::{AuditRow, SqlRequest};
use crate::execute::stores::{Answer, Extra, Stores};
use crate::limit::{Limiter, Quota, Ticket};
use crate::operation::{Classification, Object, Operation, Payload, Store};
use crate::record::audit::Audit;
use crate::record::health::{Health, InFlight};
use crate::record::metrics::Metrics;
use crate::record::{Record, objects, request_log};
use crate::reply::RowSink;

/// Everything the stages need, shared by all front doors.
pub struct Gate {
    pub keys: Authenticator,
    pub policy: ArcSwap<Policy>,
    pub classifications: Arc<Classifications>,
    pub catalogues: Catalogues,
    pub limiter: Limiter,
    pub stores: Stores,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub audit: Audit,
}

/// A request as every front door hands it in.
pub struct Request<'r> {
    pub id: &'r str,
    pub traceparent: Option<&'r str>,
    /// The API key as presented; `None` if none was.
    pub key: Option<&'r str>,
    /// `query`, `command` or `pipeline`, for the record.
    pub action: &'static str,
}

/// What is asked of which store.
pub enum Ask {
    Sql {
        store: Store,
        sql: Arc<str>,
        request: SqlRequest,
    },
    /// A command document (BSON bytes) and the database to run it in, unless it says so itself.
    Mongodb {
        document: Vec<u8>,
        database: Option<String>,
    },
    Redis {
        commands: Vec<Vec<Vec<u8>>>,
        atomic: bool,
    },
}

impl Ask {
    pub const fn store(&self) -> Store {
        match self {
            Self::Sql { store, .. } => *store,
            Self::Mongodb { .. } => Store::Mongodb,
            Self::Redis { .. } => Store::Redis,
        }
    }
}

/// What `explain` tells: the decision and what is touched.
pub struct Explanation {
    pub refused: Option<Problem>,
    pub classification: Option<Arc<Classification>>,
}

impl Gate {
    /// Answers one request and records it.
    ///
    /// `receive` reads the rest of the request (a body) and makes the sink that takes the rows of a SQL
    /// result; it is polled only when the caller is known. May be cancelled: a statement under way is then
    /// cancelled on its server.
    pub async fn answer<S: RowSink>(
        &self,
        request: &Request<'_>,
        store: Store,
        receive: impl Future<Output = Result<(Ask, S), Problem>>,
    ) -> (Result<(Answer, S), Problem>, Option<Quota>) {
        let mut record = Record::begin(request, Some(store));
        let answer = self.stages(request, receive, &mut record).await;
        self.record(&record, answer.as_ref().err());
        (answer, record.quota)
    }

    /// The pipeline.
    async fn stages<S: RowSink>(
        &self,
        request: &Request<'_>,
        receive: impl Future<Output = Result<(Ask, S), Problem>>,
        record: &mut Record<'_>,
    ) -> Result<(Answer, S), Problem> {
        let _in_flight = self.enter()?;
        let caller = self.authenticate(request.key, record).await?;
        let (ask, mut sink) = receive.await?;
        let policy = self.policy.load_full();
        let (operation, rest) = self.classify(ask, &policy, record).await?;
        let permit = self.decide(&policy, &caller, operation, record).await?;
        let ticket = self.admit(permit, record).await?;
        let answer = self.execute(ticket, rest, &mut sink, record).await?;
        Ok((answer, sink))
    }

    /// Judges without executing: the pipeline as far as `decide`.
    pub async fn explain(
        &self,
        request: &Request<'_>,
        receive: impl Future<Output = Result<Ask, Problem>>,
    ) -> Result<Explanation, Problem> {
        let mut record = Record::begin(request, None);
        let explained = self.judge(request, receive, &mut record).await;
        self.record(&record, explained.as_ref().err());
        explained
    }

    async fn judge(
        &self,
        request: &Request<'_>,
        receive: impl Future<Output = Result<Ask, Problem>>,
        record: &mut Record<'_>,
    ) -> Result<Explanation, Problem> {
        let _in_flight = self.enter()?;
        let caller = self.authenticate(request.key, record).await?;
        let ask = receive.await?;
        record.store = Some(ask.store());
        let policy = self.policy.load_full();
        let operation = match self.classify(ask, &policy, record).await {
            Ok((operation, _)) => operation,
            Err(problem) => {
                return Ok(Explanation {
                    refused: Some(problem),
                    classification: None,
                });
            }
        };
        let named = Arc::clone(&operation.classification);
        let permit = self.decide(&policy, &caller, operation, record).await;
        let reached = permit
            .as_ref()
            .map(|permit| &permit.operation().classification);
        Ok(Explanation {
            classification: Some(reached.map_or(named, Arc::clone)),
            refused: permit.err(),
        })
    }

    /// Who is calling, for `whoami`.
    pub async fn identify(&self, request: &Request<'_>) -> Result<Arc<Principal>, Problem> {
        let mut record = Record::begin(request, None);
        let caller = self.authenticate(request.key, &mut record).await;
        self.record(&record, caller.as_ref().err());
        caller
    }

    /// Nothing new is begun while the sidecar drains.
    fn enter(&self) -> Result<InFlight<'_>, Problem> {
        self.health.enter().ok_or_else(|| {
            let mut problem = Problem::new(
                Code::Draining,
                "the sidecar is shutting down: send the request again to its successor",
            );
            problem.retry_after_ms = Some(1000);
            problem
        })
    }

    fn configured(&self, store: Store) -> Result<(), Problem> {
        if self.stores.is_configured(store) {
            return Ok(());
        }
        let hint = format!("add [stores.{store}] to the sidecar's configuration");
        Err(Problem::new(
            Code::StoreNotConfigured,
            format!("{store} is not configured: {hint}"),
        ))
    }

    async fn authenticate(
        &self,
        key: Option<&str>,
        record: &mut Record<'_>,
    ) -> Result<Arc<Principal>, Problem> {
        let caller = self
            .keys
            .authenticate(key, Instant::now(), Timestamp::now())
            .await
            .map_err(|error| record.cause(&error));
        self.metrics
            .count_auth(caller.as_ref().err().map(|problem| problem.code));
        let caller = caller?;
        record.authenticated(&caller, &self.metrics);
        Ok(caller)
    }

    /// Splits a request into what is judged and what merely travels along (parameters, time-out).
    async fn classify(
        &self,
        ask: Ask,
        policy: &Policy,
        record: &mut Record<'_>,
    ) -> Result<(Operation, SqlRequest), Problem> {
        record.received();
        let store = ask.store();
        self.configured(store)?;
        let (classified, rest) = match ask {
            Ask::Sql { sql, request, .. } => {
                let classified = self.classify_sql(store, &sql, policy).await;
                (
                    classified.map(|known| sql_operation(store, &sql, known)),
                    request,
                )
            }
            Ask::Mongodb { document, database } => {
                let default = policy.default_namespace(Store::Mongodb);
                let database = database.as_deref().or(default).unwrap_or_default();
                let classified = classify::mongodb_operation(&document, database, Session::Shared);
                (classified.map_err(Into::into), SqlRequest::default())
            }
            Ask::Redis { commands, atomic } => {
                let classified = classify::redis_operation(commands, atomic, Session::Shared);
                (classified.map_err(Into::into), SqlRequest::default())
            }
        };
        let operation = classified.map_err(|error| {
            if let catalogue::watch::Error::Refused(refusal) = &error {
                let code = refusal.problem().code;
                self.metrics.count_decision(store, Some(code));
            }
            record.cause(&error)
        })?;
        record.classified(&operation, &self.metrics);
        Ok((operation, rest))
    }

    /// What the text touches, and what the catalogue says that this reaches.
    async fn classify_sql(
        &self,
        store: Store,
        sql: &Arc<str>,
        policy: &Policy,
    ) -> Result<Arc<Classification>, catalogue::watch::Error> {
        let shown = self.classify_text(store, sql).await?;
        let is_listed = |object: &Object| policy.is_listed(store, object);
        self.catalogues.expand(store, shown, sql, is_listed).await
    }

    async fn classify_text(
        &self,
        store: Store,
        sql: &Arc<str>,
    ) -> classify::Result<Arc<Classification>> {
        if let Some(known) = self.classifications.get(store, sql) {
            return Ok(known);
        }
        if sql.len() <= classify::INLINE_BYTES_MAX {
            return self.classifications.classify(store, sql);
        }
        // On a thread of its own, so that other requests do not wait for it.
        let (classifications, sql) = (Arc::clone(&self.classifications), Arc::clone(sql));
        tokio::task::spawn_blocking(move || classifications.classify(store, &sql))
            .await
            .unwrap_or_else(|_| Err(Refusal::Unparsable("the classifier failed on it".into())))
    }

    async fn decide(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operation: Operation,
        record: &mut Record<'_>,
    ) -> Result<Permit, Problem> {
        let store = operation.store;
        let permit = self.decide_all(policy, caller, operation, record).await;
        self.metrics
            .count_decision(store, permit.as_ref().err().map(|problem| problem.code));
        record.decided(&self.metrics);
        permit
    }

    /// Asks the policy about what the statement names, and then, of a command that is allowed so far, about
    /// what lies behind these names (MongoDB's views).
    async fn decide_all(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operation: Operation,
        record: &mut Record<'_>,
    ) -> Result<Permit, Problem> {
        let permit = policy
            .decide(caller, operation)
            .map_err(|refusal| record.cause(&refusal))?;
        let behind = self.stores.behind(permit.operation()).await;
        let Some(whole) = behind.map_err(|error| record.cause(&error))? else {
            return Ok(permit);
        };
        let mut operation = permit.into_operation();
        operation.classification = Arc::new(whole);
        record.widened(&operation);
        policy
            .decide(caller, operation)
            .map_err(|refusal| record.cause(&refusal))
    }

    async fn admit(&self, permit: Permit, record: &mut Record<'_>) -> Result<Ticket, Problem> {
        let admitted = self.limiter.admit(permit, Instant::now()).await;
        self.metrics
            .count_admission(self.limiter.mode(), admitted.is_ok());
        match admitted {
            Ok(ticket) => {
                record.quota = ticket.quota().cloned();
                record.admitted(&self.metrics);
                Ok(ticket)
            }
            Err(error) => {
                record.quota = Some(error.quota().clone());
                Err(record.cause(&error))
            }
        }
    }

    async fn execute(
        &self,
        ticket: Ticket,
        rest: SqlRequest,
        sink: &mut dyn RowSink,
        record: &mut Record<'_>,
    ) -> Result<Answer, Problem> {
        let store = ticket.permit().operation().store;
        sink.admitted(record.quota.as_ref());
        let extra = Extra {
            sql: rest,
            audit: audit_row(&ticket, record.request_id),
            sink,
        };
        let classification = Arc::clone(&ticket.permit().operation().classification);
        let running = self.catalogues.while_running(store, &classification);
        let began = Instant::now();
        let answer = self.stores.execute(ticket, extra).await;
        drop(running);
        let took = began.elapsed();
        record.executed(took);
        self.metrics.observe_query(store, took);
        answer.map_err(|error| {
            let problem = record.cause(&error);
            self.metrics.count_store_error(store, problem.code);
            if problem.code == Code::StoreUnavailable {
                self.health.down(store);
                self.metrics.set_up(store, false);
            }
            problem
        })
    }

    /// Counts, logs and, if it was refused, audits a request that has ended.
    fn record(&self, record: &Record<'_>, problem: Option<&Problem>) {
        self.metrics
            .count_request(record.store, problem.map(|problem| problem.code));
        request_log(record, problem);
        if let Some(refused) = problem.and_then(|problem| record.refused(problem)) {
            self.audit.refused(refused);
        }
    }
}

/// The row that commits with a change of a system table; `None` for a read, and for the other stores. A listed
/// function may change anything, whatever the statement around it does.
fn audit_row(ticket: &Ticket, request_id: &str) -> Option<AuditRow> {
    let permit = ticket.permit();
    let operation = permit.operation();
    let is_read =
        operation.classification.is_read() && operation.classification.functions.is_empty();
    if operation.store != Store::Postgres || is_read {
        return None;
    }
    let touches = &operation.classification.touches;
    let mut actions: Vec<_> = touches.iter().map(|touch| touch.action.as_str()).collect();
    actions.sort_unstable();
    actions.dedup();
    let caller = permit.caller();
    Some(AuditRow {
        user_id: caller.user_id.clone(),
        key_id: caller.key_id.clone(),
        role: caller.role.clone(),
        action: actions.join(","),
        resource_type: "table".into(),
        objects: objects(&operation.classification),
        request_id: request_id.to_owned(),
        statement: None,
    })
}

/// What is sent is what was understood: the classifier's rendering where it made one.
fn sql_operation(store: Store, sql: &Arc<str>, classification: Arc<Classification>) -> Operation {
    let text = match &classification.rewritten {
        Some(rewritten) => Arc::from(rewritten.as_str()),
        None => Arc::clone(sql),
    };
    Operation {
        store,
        classification,
        payload: Payload::Sql(text),
    }
}
