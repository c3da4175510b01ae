//! A transaction on a connection of its own: begun here, and no caller's text begins or ends it.
//!
//! MySQL rolls a whole transaction back by itself (a deadlock), or commits it (a statement that it cannot undo), and
//! then runs what follows each on its own. So after every statement the server is asked, by the flag that it sends
//! along with each answer, whether the transaction still stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryFutureExt as _;
use mysql_async::prelude::Queryable as _;

use super::session::Opener;
use super::{
    Failure, MysqlStore, RESET_TIMEOUT_MS, Retry, conn, fault, is_in_transaction,
    refuse_named_parameters, statement, touches_session, unavailable,
};
use crate::execute::Error;
use crate::execute::pool::Lease;
use crate::execute::request::SqlRequest;
use crate::execute::transaction::{
    Broken, COMMIT_TIMEOUT_MS, CONTROL_TIMEOUT_MS, Desk, Fate, Limits, RollBack,
    SERVER_TIMEOUT_SLACK_MS, Statement, Transaction, Transactional, in_time,
};
use crate::operation::{Operation, Payload, Store};
use crate::reply::{RowSink, Summary};
use crate::transaction::{Control, Options};

/// An open transaction. Dropped before its end, its connection is killed, and the server rolls it back.
pub(in crate::execute) struct OpenTransaction {
    session: Lease<'static, Arc<Opener>>,
    opener: Arc<Opener>,
    /// Whether the session may differ from a new one when the transaction has ended.
    must_reset: bool,
    statement_timeout_ms: u64,
}

impl Transactional for MysqlStore {
    type Transaction = OpenTransaction;

    const STORE: Store = Store::Mysql;

    async fn open(
        &self,
        key_id: &str,
        options: Options,
        limits: Option<Limits>,
    ) -> Result<OpenTransaction, Error> {
        let mut session = self.pool.acquire_for_transaction(key_id).await?;
        session.set_busy();
        let begin = begin(&options, limits);
        let beginning = conn(&mut session)?.query_drop(begin);
        let beginning = beginning.map_err(|error| fault::into_error(&error, CONTROL_TIMEOUT_MS));
        in_time(Self::STORE, "START TRANSACTION", beginning).await?;
        Ok(OpenTransaction {
            session,
            opener: Arc::clone(&self.opener),
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

/// The sidecar's own statements may go out together. `wait_timeout` lets the server end a transaction whose sidecar
/// is gone without a word; it counts whole seconds.
fn begin(options: &Options, limits: Option<Limits>) -> String {
    let mut begin = String::new();
    if let Some(limits) = limits {
        let idle_ms = limits.idle_ms.saturating_add(SERVER_TIMEOUT_SLACK_MS);
        let idle_s = idle_ms.div_ceil(1_000);
        begin = format!("SET SESSION wait_timeout = {idle_s}; ");
    }
    if let Some(isolation) = options.isolation {
        let isolation = isolation.as_sql();
        begin = format!("{begin}SET TRANSACTION ISOLATION LEVEL {isolation}; ");
    }
    // `READ WRITE` would be refused by a server that only reads; without it, only the writes are.
    let access = if options.read_only { " READ ONLY" } else { "" };
    format!("{begin}START TRANSACTION{access}")
}

impl Transaction for OpenTransaction {
    async fn run(
        &mut self,
        statement: Statement<'_>,
        deadline: Instant,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Broken> {
        let operation = statement.ticket.permit().operation();
        let timeout_ms = statement
            .request
            .timeout_ms
            .unwrap_or(u64::MAX)
            .min(self.statement_timeout_ms);
        let running = self.statement(operation, statement.request, sink);
        let ran = match tokio::time::timeout_at(deadline.into(), running).await {
            Ok(ran) => ran,
            Err(_) => {
                let cause = Error::Timeout {
                    store: Store::Mysql,
                    timeout_ms,
                };
                return Err(Broken::new(cause, Fate::RolledBack));
            }
        };
        let failure = match ran {
            Ok(summary) if self.stands() => return Ok(summary),
            Ok(_) => {
                let cause = Error::Invalid(
                    "the statement is one that the server commits by itself".to_owned(),
                );
                return Err(Broken::new(cause, Fate::Committed));
            }
            Err(failure) => failure,
        };
        let fate = if failure.is_in_step() && self.still_stands().await {
            Fate::Open
        } else {
            Fate::RolledBack
        };
        Err(Broken::new(failure.into_error(timeout_ms), fate))
    }

    async fn commit(mut self) -> Result<(), Broken> {
        let patience = Duration::from_millis(COMMIT_TIMEOUT_MS);
        let conn = conn(&mut self.session);
        let conn = conn.map_err(|error| Broken::new(error, Fate::RolledBack))?;
        match tokio::time::timeout(patience, conn.query_drop("COMMIT")).await {
            Ok(Ok(())) => {
                self.give_back().await;
                Ok(())
            }
            Ok(Err(error)) => {
                let is_answer = fault::is_answer(&error);
                let cause = fault::into_error(&error, self.statement_timeout_ms);
                if !is_answer {
                    return Err(Broken::new(cause, Fate::Unknown));
                }
                self.roll_back().await;
                Err(Broken::new(cause, Fate::RolledBack))
            }
            Err(_) => Err(Broken::new(
                unavailable("no answer to COMMIT"),
                Fate::Unknown,
            )),
        }
    }
}

impl RollBack for OpenTransaction {
    async fn roll_back(mut self) {
        let Ok(conn) = conn(&mut self.session) else {
            return;
        };
        let rolling = conn.query_drop("ROLLBACK");
        let patience = Duration::from_millis(CONTROL_TIMEOUT_MS);
        if matches!(tokio::time::timeout(patience, rolling).await, Ok(Ok(()))) {
            self.give_back().await;
        }
    }
}

impl OpenTransaction {
    async fn statement(
        &mut self,
        operation: &Operation,
        request: &SqlRequest,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Failure> {
        let conn = conn(&mut self.session)?;
        match &operation.payload {
            Payload::Control(Control::Savepoint(savepoint)) => {
                conn.query_drop(savepoint.to_sql(Store::Mysql)).await?;
                sink.columns(&[]).map_err(Error::Sink)?;
                Ok(Summary::default())
            }
            Payload::Sql(sql) => {
                refuse_named_parameters(sql).map_err(Failure::Refused)?;
                let ran = statement(conn, sql, request, sink, Retry::Never).await;
                let is_in_step = ran.as_ref().err().is_none_or(Failure::is_in_step);
                if is_in_step && touches_session(&operation.classification) {
                    // A function that has failed has changed it no less.
                    self.must_reset = true;
                    self.opener.pin_within(conn).await?;
                }
                ran
            }
            Payload::Control(_) | Payload::Mongodb { .. } | Payload::Redis { .. } => {
                Err(Failure::Refused(Error::Invalid(
                    "this is not a statement for a transaction".to_owned(),
                )))
            }
        }
    }

    /// What the last answer said.
    fn stands(&mut self) -> bool {
        conn(&mut self.session).is_ok_and(|conn| is_in_transaction(conn))
    }

    /// An error's packet does not say whether the transaction stands, so the server is asked again.
    async fn still_stands(&mut self) -> bool {
        let Ok(conn) = conn(&mut self.session) else {
            return false;
        };
        let patience = Duration::from_millis(CONTROL_TIMEOUT_MS);
        let pinged = tokio::time::timeout(patience, conn.ping()).await;
        matches!(pinged, Ok(Ok(()))) && is_in_transaction(conn)
    }

    /// Nothing is open any more: makes the session as new for whoever comes next.
    async fn give_back(&mut self) {
        if self.stands() {
            return;
        }
        let is_restored = !self.must_reset || {
            let resetting = self.opener.reset(&mut self.session);
            let patience = Duration::from_millis(RESET_TIMEOUT_MS);
            matches!(tokio::time::timeout(patience, resetting).await, Ok(Ok(())))
        };
        if is_restored {
            self.session.set_clean();
        }
    }
}
