//! A transaction on a connection of its own: begun here, and no caller's text begins or ends it.
//!
//! A change's audit row is written in the same transaction, at the latest together with `COMMIT`. Rows wait until
//! then, so that a change costs no further round trip; a savepoint writes them first, and rolling back to one drops
//! those that wait, since all of them are younger than any savepoint.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::TryFutureExt as _;
use futures_util::future::{self, MaybeDone, maybe_done};

use super::change::{Ran, audit_failed, insert_audit};
use super::session::Opener;
use super::{
    Effect, Failure, PostgresStore, RESET_TIMEOUT_MS, bind, client, deliver, prepared, unavailable,
};
use crate::execute::Error;
use crate::execute::pool::Lease;
use crate::execute::request::{AuditRow, SqlRequest};
use crate::execute::transaction::{
    Broken, COMMIT_TIMEOUT_MS, CONTROL_TIMEOUT_MS, Desk, Fate, Limits, RollBack,
    SERVER_TIMEOUT_SLACK_MS, Statement, Transaction, Transactional, in_time,
};
use crate::operation::{Payload, Store};
use crate::reply::{RowSink, Summary};
use crate::transaction::{Control, Options, Savepoint, SavepointStep};

/// Audit rows that wait for the commit; more are written before it.
const WAITING_AUDITS_MAX: usize = 64;

/// An open transaction. Dropped before its end, its connection is closed, and the server rolls it back.
pub(in crate::execute) struct OpenTransaction {
    session: Lease<'static, Arc<Opener>>,
    opener: Arc<Opener>,
    audit_insert: Arc<str>,
    /// Settings of this transaction alone, to be made again where the session was pinned anew.
    settings: String,
    /// Rows of changes that were made, with how many rows each affected.
    audits: Vec<(AuditRow, Ran)>,
    /// A statement has failed, and the server takes nothing but a rollback.
    has_failed: bool,
    /// Whether the session may differ from a new one when the transaction has ended.
    must_reset: bool,
    statement_timeout_ms: u64,
}

impl Transactional for PostgresStore {
    type Transaction = OpenTransaction;

    const STORE: Store = Store::Postgres;

    async fn open(
        &self,
        key_id: &str,
        options: Options,
        limits: Option<Limits>,
    ) -> Result<OpenTransaction, Error> {
        let mut session = self.pool.acquire_for_transaction(key_id).await?;
        session.set_busy();
        let settings = limits.map(settings_of).unwrap_or_default();
        let begin = format!("{}; {settings}", begin(&options));
        let beginning = client(&session)?.batch_execute(&begin);
        let beginning =
            beginning.map_err(|error| Failure::from(error).into_error(CONTROL_TIMEOUT_MS));
        in_time(Self::STORE, "BEGIN", beginning).await?;
        Ok(OpenTransaction {
            session,
            opener: Arc::clone(&self.opener),
            audit_insert: Arc::clone(&self.audit_insert),
            settings,
            audits: Vec::new(),
            has_failed: false,
            must_reset: limits.is_some(),
            statement_timeout_ms: self.statement_timeout_ms,
        })
    }

    fn desk(&self) -> &Desk<OpenTransaction> {
        &self.transactions
    }

    fn statement_timeout_ms(&self) -> u64 {
        self.statement_timeout_ms
    }
}

fn begin(options: &Options) -> String {
    let isolation = options.isolation.map_or_else(String::new, |isolation| {
        format!(" ISOLATION LEVEL {}", isolation.as_sql())
    });
    let access = if options.read_only { "ONLY" } else { "WRITE" };
    format!("BEGIN{isolation} READ {access}")
}

/// The server ends what the sidecar could not. `transaction_timeout` is known from PostgreSQL 17 on; before, the
/// idle limit and each statement's own time-out have to do.
fn settings_of(limits: Limits) -> String {
    let idle_ms = limits.idle_ms.saturating_add(SERVER_TIMEOUT_SLACK_MS);
    let lifetime_ms = limits.lifetime_ms.saturating_add(SERVER_TIMEOUT_SLACK_MS);
    format!(
        "SET LOCAL idle_in_transaction_session_timeout = {idle_ms}; \
         SELECT pg_catalog.set_config(name, '{lifetime_ms}', true) FROM pg_catalog.pg_settings \
         WHERE name = 'transaction_timeout'"
    )
}

impl Transaction for OpenTransaction {
    async fn run(
        &mut self,
        statement: Statement<'_>,
        deadline: Instant,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Broken> {
        let operation = statement.ticket.permit().operation();
        let rolls_back_to = |savepoint: &Savepoint| savepoint.step == SavepointStep::RollBackTo;
        let running = async {
            match &operation.payload {
                Payload::Control(Control::Savepoint(savepoint))
                    if !self.has_failed || rolls_back_to(savepoint) =>
                {
                    self.savepoint(savepoint, sink).await
                }
                _ if self.has_failed => Err(Failure::Refused(Error::Invalid(
                    "a statement before has failed in this transaction".to_owned(),
                ))),
                Payload::Sql(sql) => {
                    let effect = Effect::of(operation);
                    self.statement(sql, effect, statement.request, statement.audit, sink)
                        .await
                }
                Payload::Control(_) | Payload::Mongodb { .. } | Payload::Redis { .. } => {
                    Err(Failure::Refused(Error::Invalid(
                        "this is not a statement for a transaction".to_owned(),
                    )))
                }
            }
        };
        let ran = tokio::time::timeout_at(deadline.into(), running).await;
        ran.unwrap_or(Err(Failure::TimedOut))
            .map_err(|failure| self.broken(failure, statement.request))
    }

    async fn commit(mut self) -> Result<(), Broken> {
        if self.has_failed {
            self.roll_back().await;
            let cause = Error::Invalid("a statement in the transaction had failed".to_owned());
            return Err(Broken::new(cause, Fate::RolledBack));
        }
        if client(&self.session).is_ok_and(|client| client.is_closed()) {
            let cause = unavailable("the connection closed before COMMIT");
            return Err(Broken::new(cause, Fate::RolledBack));
        }
        let patience = Duration::from_millis(COMMIT_TIMEOUT_MS);
        let failure = match tokio::time::timeout(patience, self.send_commit()).await {
            Ok(Ok(())) => {
                self.give_back().await;
                return Ok(());
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                return Err(Broken::new(
                    unavailable("no answer to COMMIT"),
                    Fate::Unknown,
                ));
            }
        };
        if !failure.is_in_step() {
            let timeout_ms = self.statement_timeout_ms;
            return Err(Broken::new(failure.into_error(timeout_ms), Fate::Unknown));
        }
        let timeout_ms = self.statement_timeout_ms;
        self.roll_back().await;
        Err(Broken::new(
            failure.into_error(timeout_ms),
            Fate::RolledBack,
        ))
    }
}

impl RollBack for OpenTransaction {
    async fn roll_back(mut self) {
        let Ok(client) = client(&self.session) else {
            return;
        };
        let rolling = client.batch_execute("ROLLBACK");
        let patience = Duration::from_millis(CONTROL_TIMEOUT_MS);
        if matches!(tokio::time::timeout(patience, rolling).await, Ok(Ok(()))) {
            self.give_back().await;
        }
    }
}

impl OpenTransaction {
    async fn statement(
        &mut self,
        sql: &Arc<str>,
        effect: Effect,
        request: &SqlRequest,
        audit: Option<AuditRow>,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Failure> {
        let touches_session = match effect {
            Effect::Read => false,
            Effect::Change { touches_session } => touches_session,
        };
        if effect != Effect::Read && audit.is_none() {
            return Err(Failure::Refused(Error::Invalid(
                "a change of a system table needs its audit row".to_owned(),
            )));
        }
        let began = Instant::now();
        self.session.carries(request.sent_bytes(sql));
        let (statement, was_kept) = prepared(&self.session, sql).await?;
        let rows = match bind(client(&self.session)?, &statement, request).await {
            Ok(rows) => rows,
            Err(Failure::Fault(fault)) if was_kept && fault.is_stale() => {
                // The transaction has failed with it, so it cannot be tried again here.
                self.session.statements.forget(sql);
                client(&self.session)?.clear_type_cache();
                return Err(Failure::Fault(fault));
            }
            Err(failure) => return Err(failure),
        };
        let summary = deliver(rows, &statement, sink).await?;
        if let Some(audit) = audit {
            let ran = Ran {
                rows_affected: summary.rows_affected,
                took: began.elapsed(),
            };
            self.audits.push((audit, ran));
            if self.audits.len() >= WAITING_AUDITS_MAX {
                self.write_audits().await?;
            }
        }
        if touches_session {
            self.must_reset = true;
            self.session.reset(self.opener.pins()).await?;
            client(&self.session)?.batch_execute(&self.settings).await?;
        }
        Ok(summary)
    }

    async fn savepoint(
        &mut self,
        savepoint: &Savepoint,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Failure> {
        match savepoint.step {
            SavepointStep::Set => self.write_audits().await?,
            SavepointStep::Release => {}
            SavepointStep::RollBackTo => self.audits.clear(),
        }
        let sql = savepoint.to_sql(Store::Postgres);
        client(&self.session)?.batch_execute(&sql).await?;
        self.has_failed = false;
        sink.columns(&[]).map_err(Error::Sink)?;
        Ok(Summary::default())
    }

    async fn write_audits(&mut self) -> Result<(), Failure> {
        self.send_audits("").await
    }

    async fn send_commit(&mut self) -> Result<(), Failure> {
        self.send_audits("COMMIT").await
    }

    /// Sends the rows that wait and then `last`, without waiting in between. Where a row fails, so does the
    /// transaction, and a `COMMIT` behind it rolls back; without a row, a `SELECT` before it fails in its place.
    async fn send_audits(&mut self, last: &str) -> Result<(), Failure> {
        let audits = std::mem::take(&mut self.audits);
        if audits.is_empty() {
            if !last.is_empty() {
                let checked = format!("SELECT 1; {last}");
                client(&self.session)?.batch_execute(&checked).await?;
            }
            return Ok(());
        }
        // Until they are written, the changes that they tell of must not be committed.
        self.has_failed = true;
        let insert = prepared(&self.session, &self.audit_insert).await;
        let (insert, _) = insert.map_err(audit_failed)?;
        let client = client(&self.session)?;
        let rows = audits
            .iter()
            .map(|(row, ran)| insert_audit(client, &insert.statement, row, *ran));
        let (recorded, ended) = future::join(in_order(rows), client.batch_execute(last)).await;
        if let Some(error) = recorded.into_iter().find_map(Result::err) {
            // The table may have changed: prepare anew next time.
            self.session.statements.forget(&self.audit_insert);
            return Err(audit_failed(error.into()));
        }
        ended?;
        self.has_failed = false;
        Ok(())
    }

    /// Notes what a failure leaves of the transaction.
    fn broken(&mut self, failure: Failure, request: &SqlRequest) -> Broken {
        let fate = match &failure {
            Failure::Refused(_) if self.has_failed => Fate::Failed,
            Failure::Refused(_) => Fate::Open,
            Failure::Fault(fault) if fault.is_answer() => {
                self.has_failed = true;
                Fate::Failed
            }
            Failure::Fault(_) | Failure::Abandoned(_) | Failure::TimedOut => Fate::RolledBack,
        };
        let timeout_ms = request
            .timeout_ms
            .unwrap_or(u64::MAX)
            .min(self.statement_timeout_ms);
        Broken::new(failure.into_error(timeout_ms), fate)
    }

    /// Nothing is open any more: makes the session as new for whoever comes next.
    async fn give_back(&mut self) {
        if !self.must_reset {
            self.session.set_clean();
            return;
        }
        let resetting = self.session.reset(self.opener.pins());
        let patience = Duration::from_millis(RESET_TIMEOUT_MS);
        if matches!(
            tokio::time::timeout(patience, resetting).await,
            Ok(Ok(true))
        ) {
            self.session.set_clean();
        }
    }
}

/// Awaits all, polling them in order each time, so that what each sends at first goes out in that order.
async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<Pin<Box<MaybeDone<F>>>> =
        futures.map(|one| Box::pin(maybe_done(one))).collect();
    future::poll_fn(|context| {
        let mut pending = false;
        for one in &mut all {
            pending |= one.as_mut().poll(context).is_pending();
        }
        if pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    all.iter_mut()
        .filter_map(|one| one.as_mut().take_output())
        .collect()
}
