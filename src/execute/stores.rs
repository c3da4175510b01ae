//! The configured stores, and which executor a ticket goes to.

use super::mongodb::{MongoStore, ViewsError};
use super::mysql::MysqlStore;
use super::pool::PoolState;
use super::postgres::PostgresStore;
use super::redis::{RedisReply, RedisStore};
use super::request::{AuditRow, SqlRequest};
use super::{Error, mongodb, redis};
use crate::config;
use crate::limit::Ticket;
use crate::operation::{Classification, Operation, Store};
use crate::reply::{RowSink, SinkError, Summary};

/// The answer of a store. The rows of SQL went into the sink.
pub enum Answer {
    Sql(Summary),
    /// The server's reply document (BSON bytes); nothing where its documents went into the sink.
    Mongodb(Vec<u8>),
    /// One reply a command, in order.
    Redis(Vec<RedisReply>),
}

/// What travels along with a ticket.
pub struct Extra<'e> {
    pub sql: SqlRequest,
    /// The row that commits with a change of a system table.
    pub audit: Option<AuditRow>,
    /// Takes the rows of a SQL result.
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
    pub async fn execute(&self, ticket: Ticket, extra: Extra<'_>) -> Result<Answer, Error> {
        let Some(gone) = extra.sink.gone() else {
            return self.run(ticket, extra).await;
        };
        tokio::select! {
            biased;
            answer = self.run(ticket, extra) => answer,
            () = gone => Err(Error::Sink(SinkError::Gone)),
        }
    }

    async fn run(&self, ticket: Ticket, extra: Extra<'_>) -> Result<Answer, Error> {
        let store = ticket.permit().operation().store;
        let absent = || Error::Unavailable {
            store,
            cause: "not configured".into(),
        };
        let Extra { sql, audit, sink } = extra;
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

    /// Whether a configured store answers. A pool whose connections are all busy does.
    pub async fn ping(&self, store: Store) -> Result<(), Error> {
        let answer = match store {
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
        };
        match answer {
            Err(Error::PoolExhausted { .. }) => Ok(()),
            answer => answer,
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

fn of_mongodb(gauges: mongodb::PoolGauges) -> PoolState {
    let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    PoolState {
        size: count(gauges.size),
        in_use: count(gauges.in_use),
        idle: count(gauges.idle),
        waiting: count(gauges.waiting),
        max: count(gauges.max),
        ..PoolState::default()
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
        max: 1 + u32::try_from(redis::BLOCKING_CONNECTIONS_MAX).unwrap_or(u32::MAX),
        ..PoolState::default()
    }
}
