//! The configured stores, and which executor a ticket goes to.

use std::time::Duration;

use futures_util::future::join_all;

use super::mongodb::{MongoStore, Opening, ViewsError};
use super::mysql::MysqlStore;
use super::pool::PoolState;
use super::postgres::PostgresStore;
use super::redis::{RedisReply, RedisStore};
use super::request::{AuditRow, SqlRequest};
use super::transaction::{Batched, Begun, Fault, Statement, Transactional, batch};
use super::{Error, mongodb, redis};
use crate::authenticate::Principal;
use crate::config;
use crate::limit::Ticket;
use crate::operation::{Classification, Operation, Payload, Store};
use crate::reply::{RowSink, SinkError, Summary};
use crate::transaction::{Control, Options, TransactionId};

/// The answer of a store. The rows of SQL went into the sink.
pub enum Answer {
    Sql(Summary),
    Transaction(TransactionAnswer),
    /// The server's reply document (BSON bytes); nothing where its documents went into the sink.
    Mongodb(Vec<u8>),
    /// One reply a command, in order.
    Redis(Vec<RedisReply>),
}

impl Answer {
    /// Rows or documents that were changed, or of a read, brought; `None` where nobody counts them.
    pub fn rows_affected(&self) -> Option<u64> {
        match self {
            Self::Sql(summary) => Some(summary.rows_affected),
            Self::Transaction(TransactionAnswer::Batch(summaries)) => {
                Some(summaries.iter().map(|one| one.rows_affected).sum())
            }
            Self::Mongodb(reply) => {
                let reply = bson::RawDocument::from_bytes(reply).ok()?;
                u64::try_from(reply.get_i32("n").ok()?).ok()
            }
            Self::Transaction(
                TransactionAnswer::Begun(_)
                | TransactionAnswer::Committed
                | TransactionAnswer::RolledBack,
            )
            | Self::Redis(_) => None,
        }
    }

    /// Whether it tells of a failure of a part: of some documents, or some commands of a pipeline.
    pub fn tells_errors(&self) -> bool {
        match self {
            Self::Mongodb(reply) => {
                let Ok(reply) = bson::RawDocument::from_bytes(reply) else {
                    return false;
                };
                let has = |key| matches!(reply.get(key), Ok(Some(_)));
                has("writeErrors") || has("writeConcernError")
            }
            Self::Redis(replies) => {
                let is_error = |reply: &RedisReply| matches!(reply, RedisReply::Error(_));
                replies.iter().any(is_error)
            }
            Self::Sql(_) | Self::Transaction(_) => false,
        }
    }
}

/// The answer to a batch, or to what begins or ends a transaction.
pub enum TransactionAnswer {
    /// One summary a statement, in order.
    Batch(Vec<Summary>),
    Begun(Begun),
    Committed,
    RolledBack,
}

/// Where admitted statements run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// On their own.
    #[default]
    Alone,
    /// In a transaction made for them, all or none.
    Batch {
        options: Options,
        timeout_ms: Option<u64>,
    },
    /// In a transaction that their caller holds open.
    Within(TransactionId),
}

/// What travels along with tickets.
pub struct Extra<'e> {
    pub place: Place,
    /// One for each ticket.
    pub sql: Vec<SqlRequest>,
    /// For each ticket, the row that commits with a change of a system table.
    pub audits: Vec<Option<AuditRow>>,
    /// Takes the rows of SQL results.
    pub sink: &'e mut dyn RowSink,
}

/// Why the stores' settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[stores.{store}]: {cause}")]
pub struct OpenError {
    store: Store,
    cause: String,
}

/// The stores that are configured.
pub struct Stores {
    postgres: Option<PostgresStore>,
    mysql: Option<MysqlStore>,
    mongodb: Option<MongoStore>,
    redis: Option<RedisStore>,
}

impl Stores {
    /// Starts connecting in the background, within the current tokio runtime; fails only where the settings
    /// themselves are wrong. `schema` is what an unqualified name means in PostgreSQL.
    pub async fn open(settings: &config::Stores, schema: &str) -> Result<Self, OpenError> {
        fn fault<E: std::fmt::Display>(store: Store) -> impl FnOnce(E) -> OpenError {
            move |cause| OpenError {
                store,
                cause: cause.to_string(),
            }
        }
        let postgres = settings.postgres.as_ref();
        let mysql = settings.mysql.as_ref();
        Ok(Self {
            postgres: postgres
                .map(|settings| PostgresStore::new(settings, schema))
                .transpose()
                .map_err(fault(Store::Postgres))?,
            mysql: mysql
                .map(MysqlStore::new)
                .transpose()
                .map_err(fault(Store::Mysql))?,
            mongodb: match settings.mongodb.clone() {
                Some(settings) => Some(
                    MongoStore::connect(settings)
                        .await
                        .map_err(fault(Store::Mongodb))?,
                ),
                None => None,
            },
            redis: settings
                .redis
                .as_ref()
                .map(RedisStore::connect)
                .transpose()
                .map_err(fault(Store::Redis))?,
        })
    }

    pub const fn is_configured(&self, store: Store) -> bool {
        match store {
            Store::Postgres => self.postgres.is_some(),
            Store::Mysql => self.mysql.is_some(),
            Store::Mongodb => self.mongodb.is_some(),
            Store::Redis => self.redis.is_some(),
        }
    }

    /// Runs what was admitted. May be cancelled: a statement under way is then cancelled on its server.
    ///
    /// The executors' futures are kilobytes long; boxed here, they are not carried and copied through every
    /// layer of every request.
    ///
    /// A stream whose reader has left is a request that ended: its statement is cancelled here, so that the
    /// record still tells of it.
    pub async fn execute(&self, tickets: Vec<Ticket>, extra: Extra<'_>) -> Result<Answer, Error> {
        let Some(gone) = extra.sink.gone() else {
            return self.run(tickets, extra).await;
        };
        tokio::select! {
            biased;
            answer = self.run(tickets, extra) => answer,
            () = gone => Err(Error::Sink(SinkError::Gone)),
        }
    }

    async fn run(&self, mut tickets: Vec<Ticket>, mut extra: Extra<'_>) -> Result<Answer, Error> {
        let is_alone = extra.place == Place::Alone && tickets.len() == 1;
        let is_control = tickets.iter().any(|ticket| control(ticket).is_some());
        if !is_alone || is_control {
            return Box::pin(self.execute_in_transaction(tickets, extra)).await;
        }
        let Some(ticket) = tickets.pop() else {
            return Err(nothing_to_run());
        };
        let sql = extra.sql.pop().unwrap_or_default();
        let audit = extra.audits.pop().flatten();
        let sink = extra.sink;
        let store = ticket.permit().operation().store;
        let absent = || absent(store);
        match store {
            Store::Postgres => {
                let postgres = self.postgres.as_ref().ok_or_else(absent)?;
                let ran = Box::pin(postgres.execute(ticket, &sql, audit.as_ref(), sink));
                ran.await.map(Answer::Sql)
            }
            Store::Mysql => {
                let mysql = self.mysql.as_ref().ok_or_else(absent)?;
                let ran = Box::pin(mysql.execute(ticket, &sql, sink));
                ran.await.map(Answer::Sql)
            }
            Store::Mongodb => {
                let mongodb = self.mongodb.as_ref().ok_or_else(absent)?;
                if sink.takes_documents() {
                    Box::pin(mongodb.stream(ticket, sql.timeout_ms, sink)).await?;
                    return Ok(Answer::Mongodb(Vec::new()));
                }
                let reply = Box::pin(mongodb.execute(ticket, sql.timeout_ms)).await?;
                Ok(Answer::Mongodb(reply.into_bytes()))
            }
            Store::Redis => {
                let redis = self.redis.as_ref().ok_or_else(absent)?;
                let ran = Box::pin(redis.execute(ticket, sql.timeout_ms));
                ran.await.map(Answer::Redis)
            }
        }
    }

    async fn execute_in_transaction(
        &self,
        tickets: Vec<Ticket>,
        extra: Extra<'_>,
    ) -> Result<Answer, Error> {
        let Some(first) = tickets.first() else {
            return Err(nothing_to_run());
        };
        let store = first.permit().operation().store;
        let is_of_one_store = |ticket: &Ticket| ticket.permit().operation().store == store;
        if !tickets.iter().all(is_of_one_store) {
            return Err(Error::Invalid("a transaction is of one store".to_owned()));
        }
        match (store, &self.postgres, &self.mysql) {
            (Store::Postgres, Some(postgres), _) => in_transaction(postgres, tickets, extra).await,
            (Store::Mysql, _, Some(mysql)) => in_transaction(mysql, tickets, extra).await,
            (Store::Postgres, None, _) | (Store::Mysql, _, None) => Err(absent(store)),
            (Store::Mongodb | Store::Redis, _, _) => Err(Error::Invalid(format!(
                "{store} has no transactions of this kind"
            ))),
        }
    }

    /// Whether somebody holds this transaction open.
    pub fn is_open(&self, id: TransactionId) -> bool {
        let in_postgres = self.postgres.as_ref().map(|store| store.desk().is_open(id));
        let in_mysql = self.mysql.as_ref().map(|store| store.desk().is_open(id));
        in_postgres == Some(true) || in_mysql == Some(true)
    }

    /// Transactions that callers hold open between requests.
    pub fn transactions_open(&self, store: Store) -> usize {
        match store {
            Store::Postgres => self
                .postgres
                .as_ref()
                .map_or(0, |store| store.desk().open()),
            Store::Mysql => self.mysql.as_ref().map_or(0, |store| store.desk().open()),
            Store::Mongodb => self
                .mongodb
                .as_ref()
                .map_or(0, |store| store.transactions().open()),
            Store::Redis => 0,
        }
    }

    /// Rolls back every transaction that no request is using.
    pub async fn roll_back_all(&self) {
        let postgres = self.postgres.iter().map(|store| store.desk().drain());
        let mysql = self.mysql.iter().map(|store| store.desk().drain());
        let mongodb = self
            .mongodb
            .iter()
            .map(|store| store.transactions().drain());
        tokio::join!(join_all(postgres), join_all(mysql), join_all(mongodb));
    }

    /// What a statement reads that its text does not show, as far as the store's catalogue can tell: the
    /// collections behind MongoDB's views. `None` if there is nothing.
    pub async fn behind(
        &self,
        operation: &Operation,
    ) -> Result<Option<Classification>, ViewsError> {
        match (operation.store, &self.mongodb) {
            (Store::Mongodb, Some(mongodb)) => {
                mongodb.behind_views(&operation.classification).await
            }
            (Store::Mongodb, None) | (Store::Postgres | Store::Mysql | Store::Redis, _) => Ok(None),
        }
    }

    /// What opened one of the caller's cursors, where that was decided under another policy than the one with this
    /// digest, or for the key as it was before its role or user changed.
    pub fn opened_otherwise(&self, id: i64, caller: &Principal, policy: &str) -> Option<Opening> {
        let mongodb = self.mongodb.as_ref()?;
        mongodb.opened_otherwise(id, caller, policy)
    }

    /// Notes under which policy a cursor was judged again.
    pub fn cursor_judged(&self, id: i64, opening: Opening) {
        if let Some(mongodb) = &self.mongodb {
            mongodb.judged(id, opening);
        }
    }

    /// Closes a cursor of the caller's, here and on its server. One that a request is using is left.
    pub async fn close_cursor(&self, id: i64, caller: &Principal) {
        if let Some(mongodb) = &self.mongodb {
            mongodb.close_cursor(id, caller).await;
        }
    }

    /// Whether a configured store answers. `PoolExhausted` means that every connection is busy.
    pub async fn ping(&self, store: Store) -> Result<(), Error> {
        match store {
            Store::Postgres => match &self.postgres {
                Some(postgres) => postgres.ping().await,
                None => Ok(()),
            },
            Store::Mysql => match &self.mysql {
                Some(mysql) => mysql.ping().await,
                None => Ok(()),
            },
            Store::Mongodb => match &self.mongodb {
                Some(mongodb) => mongodb.ping().await,
                None => Ok(()),
            },
            Store::Redis => match &self.redis {
                Some(redis) => redis.ping().await,
                None => Ok(()),
            },
        }
    }

    /// The connections of a configured store.
    pub fn pool_state(&self, store: Store) -> Option<PoolState> {
        match store {
            Store::Postgres => self.postgres.as_ref().map(PostgresStore::pool_state),
            Store::Mysql => self.mysql.as_ref().map(MysqlStore::pool_state),
            Store::Mongodb => self
                .mongodb
                .as_ref()
                .map(|store| of_mongodb(store.gauges())),
            Store::Redis => self.redis.as_ref().map(|store| of_redis(store.gauges())),
        }
    }
}

/// Begins, goes on with or ends a transaction, or runs a whole one.
async fn in_transaction<S: Transactional>(
    store: &S,
    tickets: Vec<Ticket>,
    mut extra: Extra<'_>,
) -> Result<Answer, Error> {
    let timeout = |asked_ms: Option<u64>| {
        let timeout_ms = asked_ms
            .unwrap_or(u64::MAX)
            .min(store.statement_timeout_ms());
        Duration::from_millis(timeout_ms)
    };
    let id = match extra.place {
        Place::Batch {
            options,
            timeout_ms,
        } => {
            let batched = Batched {
                tickets,
                requests: extra.sql,
                audits: extra.audits,
                options,
                timeout: timeout(timeout_ms),
            };
            let summaries = batch(store, batched, extra.sink).await?;
            return Ok(Answer::Transaction(TransactionAnswer::Batch(summaries)));
        }
        Place::Alone => None,
        Place::Within(id) => Some(id),
    };
    let [ticket] = tickets.as_slice() else {
        return Err(nothing_to_run());
    };
    let key_id = &ticket.permit().caller().key_id;
    let not_found = || Error::Transaction(Fault::NotFound);
    let commits = match control(ticket) {
        Some(Control::Begin(options)) => {
            let begun = store.desk().begin(store, key_id, *options).await;
            return begun.map(|begun| Answer::Transaction(TransactionAnswer::Begun(begun)));
        }
        None | Some(Control::Savepoint(_)) => {
            let request = extra.sql.pop().unwrap_or_default();
            let statement = Statement {
                ticket,
                request: &request,
                audit: extra.audits.pop().flatten(),
            };
            let id = id.ok_or_else(not_found)?;
            let timeout = timeout(request.timeout_ms);
            let ran = store.desk().run(id, statement, timeout, extra.sink).await;
            return ran.map(Answer::Sql);
        }
        Some(Control::Commit) => true,
        Some(Control::RollBack) => false,
    };
    let id = id.ok_or_else(not_found)?;
    store.desk().end(id, key_id, commits).await?;
    Ok(Answer::Transaction(if commits {
        TransactionAnswer::Committed
    } else {
        TransactionAnswer::RolledBack
    }))
}

fn control(ticket: &Ticket) -> Option<&Control> {
    match &ticket.permit().operation().payload {
        Payload::Control(control) => Some(control),
        Payload::Sql(_) | Payload::Mongodb { .. } | Payload::Redis { .. } => None,
    }
}

fn absent(store: Store) -> Error {
    Error::Unreached {
        store,
        cause: "not configured".into(),
    }
}

fn nothing_to_run() -> Error {
    Error::Invalid("there is not exactly one statement to run".to_owned())
}

fn of_mongodb(gauges: mongodb::PoolGauges) -> PoolState {
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    PoolState {
        size: count(gauges.size),
        in_use: count(gauges.in_use),
        idle: count(gauges.idle),
        waiting: count(gauges.waiting),
        max: count(gauges.max),
        waits_total: gauges.waits_total,
        waited_us_total: gauges.waited_us_total,
    }
}

/// One shared connection, and those that blocking commands have to themselves.
fn of_redis(gauges: redis::Gauges) -> PoolState {
    let blocking = u32::try_from(gauges.blocking_in_use).unwrap_or(u32::MAX);
    let shared = u32::from(gauges.up);
    let busy = u32::from(gauges.requests_in_flight > 0).min(shared);
    PoolState {
        size: shared + blocking,
        in_use: busy + blocking,
        idle: shared - busy,
        waiting: u32::try_from(gauges.requests_waiting).unwrap_or(u32::MAX),
        waits_total: gauges.waits_total,
        waited_us_total: gauges.waited_us_total,
        max: u32::try_from(gauges.blocking_max).map_or(u32::MAX, |max| max.saturating_add(1)),
    }
}
