//! THE pipeline: one function, every stage, for every front door.
//!
//! authenticate → classify (and what the catalogue adds) → decide → admit → execute, with record around it.
//! [`Gate::stages`] is the whole of it; nothing else reaches a store.

mod aside;
mod ask;
mod audit;
mod classify;
mod cursor;
mod explain;
mod understanding;
mod withhold;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::authenticate::{Authenticator, Peer, Principal};
use crate::catalogue::watch::Catalogues;
use crate::classify::cache::Classifications;
use crate::decide::restrict::Circumstances;
use crate::decide::{Permit, Policy};
use crate::error::{Code, Problem};
use crate::execute::Error;
use crate::execute::stores::{Answer, Extra, Place, Stores};
use crate::limit::{Held, Limiter, Quota, Ticket};
use crate::operation::{Operation, Store};
use crate::record::audit::Audit;
use crate::record::health::{Health, InFlight};
use crate::record::metrics::Metrics;
use crate::record::requests::{Recorded, Requests};
use crate::record::{Record, request_log};
use crate::reply::RowSink;
use crate::transaction::TransactionId;

pub use aside::aside;
use ask::Rest;
pub use ask::{Ask, Statement};
pub use understanding::Understandings;

/// How often a sidecar that drains looks whether transactions are still open.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Everything the stages need, shared by all front doors.
pub struct Gate {
    pub keys: Authenticator,
    pub policy: ArcSwap<Policy>,
    pub classifications: Arc<Classifications>,
    pub understandings: Understandings,
    pub catalogues: Arc<Catalogues>,
    pub limiter: Limiter,
    pub stores: Stores,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub audit: Audit,
    /// Requests recorded for `policy diff --replay`; `None`: they are not.
    pub requests: Option<Requests>,
}

/// A request as every front door hands it in.
pub struct Request<'r> {
    pub id: &'r str,
    pub traceparent: Option<&'r str>,
    /// Where it came from, and with which certificate.
    pub peer: &'r Peer,
    /// The API key as presented; `None` if none was.
    pub key: Option<&'r str>,
    /// `query`, `batch`, `command` or `pipeline`, for the record; `none` where it is not known.
    pub action: &'static str,
    /// The transaction that is to be gone on with: one that is open may end while the sidecar drains.
    pub transaction: Option<TransactionId>,
}

impl Gate {
    /// Answers one request and records it.
    ///
    /// `receive` reads the rest of the request (a body) and makes the sink that takes the rows of a SQL
    /// result; it is called only when the caller is known. May be cancelled: a statement under way is then
    /// cancelled on its server, and the request recorded as abandoned.
    pub async fn answer<S: RowSink, F: Future<Output = Result<(Ask, S), Problem>>>(
        &self,
        request: &Request<'_>,
        store: Store,
        receive: impl FnOnce(Arc<Principal>) -> F,
    ) -> (Result<(Answer, S), Problem>, Option<Quota>) {
        let mut open = Open {
            gate: self,
            record: Record::begin(request, Some(store)),
            is_ended: false,
        };
        let record = &mut open.record;
        // Boxed, so that it is not carried and copied through every layer of the front door.
        let answer = Box::pin(self.stages(request, receive, record)).await;
        let audited = self.audited(answer.as_ref().err(), record).await;
        let answer = audited.and(answer);
        self.record(record, answer.as_ref().err());
        open.is_ended = true;
        (answer, open.record.quota.take())
    }

    /// The pipeline. A request has one operation, a batch several; none runs before all are admitted.
    async fn stages<S: RowSink, F: Future<Output = Result<(Ask, S), Problem>>>(
        &self,
        request: &Request<'_>,
        receive: impl FnOnce(Arc<Principal>) -> F,
        record: &mut Record<'_>,
    ) -> Result<(Answer, S), Problem> {
        let _in_flight = self.enter(request)?;
        let caller = self.authenticate(request, record).await?;
        let (ask, mut sink) = receive(Arc::clone(&caller)).await?;
        let policy = self.policy.load_full();
        let (operations, mut rest) = self.classify(ask, &policy, record).await?;
        let permits = self
            .decide(&policy, &caller, operations, &rest, record)
            .await?;
        rest.understood();
        if let (Some(first), false) = (permits.first(), matches!(rest.place, Place::Within(_))) {
            self.expect_answer(first.operation().store, record)?;
        }
        let (tickets, _held) = self.admit(permits, record).await?;
        let answer = self.execute(tickets, rest, &mut sink, record).await?;
        Ok((answer, sink))
    }

    /// Records a request that no stage is asked about.
    pub fn turn_away(&self, request: &Request<'_>, problem: &Problem) {
        self.record(&Record::begin(request, None), Some(problem));
    }

    /// Who is calling, for `whoami`.
    pub async fn identify(&self, request: &Request<'_>) -> Result<Arc<Principal>, Problem> {
        let mut record = Record::begin(request, None);
        let caller = self.authenticate(request, &mut record).await;
        let audited = self.audited(caller.as_ref().err(), &mut record).await;
        let caller = audited.and(caller);
        self.record(&record, caller.as_ref().err());
        caller
    }

    /// Nothing new is begun while the sidecar drains; what is open may be ended.
    fn enter(&self, request: &Request<'_>) -> Result<InFlight<'_>, Problem> {
        let is_open = |id| self.stores.is_open(id);
        let entered = if self.health.is_draining() && request.transaction.is_some_and(is_open) {
            Some(self.health.enter_draining())
        } else {
            self.health.enter()
        };
        entered.ok_or_else(|| {
            let mut problem = Problem::new(
                Code::Draining,
                "the sidecar is shutting down: send the request again to its successor",
            );
            problem.retry_after_ms = Some(1000);
            problem
        })
    }

    /// Lets nothing new in, and waits for what is under way: requests, and the transactions that callers hold open.
    pub async fn drain(&self) {
        self.health.drain().await;
        // MongoDB's cannot be told by their route, so requests in them are turned away with all others.
        let is_open = |store| self.stores.transactions_open(store) > 0;
        while [Store::Postgres, Store::Mysql].into_iter().any(is_open) {
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
        self.health.drain().await;
    }

    fn configured(&self, store: Store) -> Result<(), Problem> {
        if self.stores.is_configured(store) && !self.health.is_held_back(store) {
            return Ok(());
        }
        if self.stores.is_configured(store) {
            let detail = format!(
                "{store} is held back: what it grants the sidecar is not, or not known to be, what the policy does; its operator finds the differences in the log"
            );
            return Err(Problem::new(Code::StoreUnavailable, detail));
        }
        let hint = format!("add [stores.{store}] to the sidecar's configuration");
        Err(Problem::new(
            Code::StoreNotConfigured,
            format!("{store} is not configured: {hint}"),
        ))
    }

    /// Nothing is sent to a store that has let the last probes wait in vain: the caller is told at once.
    fn expect_answer(&self, store: Store, record: &mut Record<'_>) -> Result<(), Problem> {
        if !self.health.is_silent(store) {
            return Ok(());
        }
        let cause = "it did not answer the last probes".to_owned();
        let problem = record.cause(&Error::Unreached { store, cause });
        self.metrics.count_store_error(store, problem.code);
        Err(problem)
    }

    async fn authenticate(
        &self,
        request: &Request<'_>,
        record: &mut Record<'_>,
    ) -> Result<Arc<Principal>, Problem> {
        let caller = self
            .keys
            .authenticate(request.key, request.peer, record.stage(), Timestamp::now())
            .await
            .map_err(|error| record.cause(&error));
        self.metrics
            .count_auth(caller.as_ref().err().map(|problem| problem.code));
        let caller = caller?;
        record.authenticated(&caller, &self.metrics);
        Ok(caller)
    }

    /// Judges every operation; of a batch, a refusal names the first that is not allowed.
    async fn decide(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operations: Vec<Operation>,
        rest: &Rest,
        record: &mut Record<'_>,
    ) -> Result<Vec<Permit>, Problem> {
        let is_batch = record.is_batch();
        let mut permits = Vec::with_capacity(operations.len());
        for (index, operation) in operations.into_iter().enumerate() {
            let request = rest.requests.get(index);
            let parameters = request.map_or(&[][..], |request| request.params.as_slice());
            let permit = self
                .decide_one(policy, caller, operation, parameters, record)
                .await;
            permits.push(permit.map_err(|problem| {
                if is_batch {
                    nothing_ran(problem, index)
                } else {
                    problem
                }
            })?);
        }
        record.decided(&self.metrics);
        Ok(permits)
    }

    /// Judges one operation, counts the decision and notes it for a replay.
    async fn decide_one(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operation: Operation,
        parameters: &[Box<RawValue>],
        record: &mut Record<'_>,
    ) -> Result<Permit, Problem> {
        let store = operation.store;
        let named = self
            .requests
            .as_ref()
            .map(|_| Arc::clone(&operation.classification));
        let permit = self
            .decide_all(policy, caller, operation, parameters, record)
            .await;
        match &permit {
            Ok(permit) => match permit.shadow() {
                None => self.metrics.count_decision(store, None),
                Some(spared) => {
                    self.metrics.count_shadow(store, spared.code());
                    record.shadow = Some(spared.clone());
                }
            },
            Err(problem) => self.metrics.count_decision(store, Some(problem.code)),
        }
        if let (Some(requests), Some(named)) = (&self.requests, named) {
            // What it was decided by: what it names, and where it was allowed, what that reaches, too.
            let reached = permit
                .as_ref()
                .map(|permit| &permit.operation().classification);
            let refused = permit.as_ref().err().map(|problem| problem.code);
            let whole = reached.unwrap_or(&named);
            let (digest, at) = (policy.digest(), Timestamp::now());
            let line = Recorded::of(&caller.role, store, whole, refused, digest, at);
            line.into_iter().for_each(|line| requests.note(line));
        }
        permit
    }

    /// Judges an operation, and the cursor that it goes on with.
    async fn decide_all(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operation: Operation,
        parameters: &[Box<RawValue>],
        record: &mut Record<'_>,
    ) -> Result<Permit, Problem> {
        if !operation.classification.cursors.is_empty() {
            Box::pin(self.judge_cursor(policy, caller, &operation, record)).await?;
        }
        let asked = (Timestamp::now(), parameters);
        self.decide_whole(policy, caller, operation, asked, record)
            .await
    }

    /// Finds out what lies behind the names of a command that is allowed so far (MongoDB's views), and then asks
    /// the policy about the whole.
    async fn decide_whole(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        mut operation: Operation,
        (now, parameters): (Timestamp, &[Box<RawValue>]),
        record: &mut Record<'_>,
    ) -> Result<Permit, Problem> {
        let store = operation.store;
        // Each of the two boxed, since most requests need neither.
        if store == Store::Mongodb {
            Box::pin(self.widen(policy, caller, &mut operation, now, record)).await?;
        }
        let catalogue = if policy.needs_columns(&caller.role, store) {
            let known = Box::pin(self.catalogues.with_columns(store)).await;
            known.map_err(|error| record.cause(&error))?
        } else {
            None
        };
        let mut circumstances = Circumstances::at(now);
        circumstances.parameters = parameters;
        if let Some(catalogue) = &catalogue {
            circumstances.columns = &**catalogue;
        }
        policy
            .decide(caller, operation, &circumstances)
            .map_err(|refusal| record.cause(&refusal))
    }

    /// Adds to a command of MongoDB's what lies behind the views that it names.
    async fn widen(
        &self,
        policy: &Policy,
        caller: &Principal,
        operation: &mut Operation,
        now: Timestamp,
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        policy
            .allows(caller, operation, now)
            .map_err(|refusal| record.cause(&refusal))?;
        self.expect_answer(operation.store, record)?;
        let behind = self.stores.behind(operation).await;
        if let Some(whole) = behind.map_err(|error| record.cause(&error))? {
            operation.classification = Arc::new(whole);
            record.widened(operation);
        }
        Ok(())
    }

    /// The request counts as in flight until the second of the pair is dropped.
    async fn admit(
        &self,
        permits: Vec<Permit>,
        record: &mut Record<'_>,
    ) -> Result<(Vec<Ticket>, Held), Problem> {
        match self.limiter.admit(permits, record.stage()).await {
            Ok(admission) => {
                self.metrics
                    .limiter
                    .count_admission(admission.counted, admission.spared);
                record.quota = admission.quota;
                record.admitted(&self.metrics);
                Ok((admission.tickets, admission.held))
            }
            Err(error) => {
                self.metrics
                    .limiter
                    .count_refusal(&error.why, self.limiter.is_shared());
                let problem = record.cause(&error);
                record.quota = Some(error.quota);
                Err(problem)
            }
        }
    }

    async fn execute(
        &self,
        tickets: Vec<Ticket>,
        mut rest: Rest,
        sink: &mut dyn RowSink,
        record: &mut Record<'_>,
    ) -> Result<Answer, Problem> {
        let Some(first) = tickets.first().map(|ticket| ticket.permit().operation()) else {
            return Err(Problem::new(Code::RequestInvalid, "there is no statement"));
        };
        let store = first.store;
        let classification = Arc::clone(&first.classification);
        sink.admitted(record.quota.as_ref());
        for (index, ticket) in tickets.iter().enumerate() {
            let bounds = ticket.permit().bounds();
            if let Some(allowed_ms) = bounds.timeout_ms {
                rest.limit_time(index, allowed_ms);
            }
            if let Some(rows_max) = bounds.rows_max {
                sink.limit_rows(rows_max);
            }
        }
        let hides = tickets.iter().any(|ticket| ticket.permit().hides());
        let is_read = tickets.iter().all(is_read);
        let intent = self.declare(&tickets, record).await?;
        let audit = |ticket| audit::row(ticket, record);
        let extra = Extra {
            place: rest.place,
            sql: rest.requests,
            audits: tickets.iter().map(audit).collect(),
            sink,
        };
        // A change of the schema comes alone.
        let running = self.catalogues.while_running(store, &classification);
        let began = Instant::now();
        let mut answer = self.stores.execute(tickets, extra).await;
        drop(running);
        let took = began.elapsed();
        record.executed(took);
        self.metrics.observe_query(store, took);
        let answered = answer.as_ref().ok().filter(|_| intent.is_some());
        let rows = answered.and_then(Answer::rows_affected);
        if let (true, Ok(Answer::Mongodb(reply))) = (hides, &mut answer) {
            withhold::from_reply(reply);
        }
        if answer.is_ok() {
            self.health.answered(store);
        }
        let answer = answer.map_err(|error| {
            let mut problem = record.cause(&error);
            if error.may_have_run() && !is_read {
                problem.leave_open();
            }
            if hides {
                withhold::from_problem(&mut problem);
            }
            self.metrics.count_store_error(store, problem.code);
            if problem.code == Code::StoreUnavailable {
                self.health.down(store);
                self.metrics.set_up(store, false);
            }
            problem
        });
        if let Some(intent) = intent {
            let code = match &answer {
                Ok(answer) if answer.tells_errors() => Code::StoreError.as_str(),
                Ok(_) => "ok",
                Err(problem) => problem.code.as_str(),
            };
            intent.end(code, rows, took);
        }
        answer
    }

    /// Counts and logs a request that has ended.
    fn record(&self, record: &Record<'_>, problem: Option<&Problem>) {
        self.metrics
            .count_request(record.store, problem.map(|problem| problem.code));
        request_log(record, problem);
    }
}

/// A request under way. Dropped before it has ended, since its client left or the sidecar ends, it is recorded all the
/// same.
struct Open<'g, 'r> {
    gate: &'g Gate,
    record: Record<'r>,
    is_ended: bool,
}

impl Drop for Open<'_, '_> {
    fn drop(&mut self) {
        if !self.is_ended {
            let problem = self.record.abandoned();
            self.gate.record(&self.record, Some(&problem));
        }
    }
}

fn is_read(ticket: &Ticket) -> bool {
    !ticket.permit().operation().classification.may_change()
}

/// A refusal that a statement of a batch has met.
fn nothing_ran(mut problem: Problem, index: usize) -> Problem {
    problem.detail = format!("{}; no statement of the batch was run", problem.detail);
    problem.statement = u16::try_from(index).ok();
    problem
}
