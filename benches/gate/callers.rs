//! Those who ask: one caller is one connection, or one user of a connection that the driver shares.
//!
//! Another peer (a pooler, another gateway) is another way to make one of these.

use std::net::SocketAddr;
use std::sync::Arc;

use bulkhead::operation::Store;
use mysql_async::prelude::Queryable;
use tokio_postgres::types::Type;
use tokio_rustls::TlsConnector;

use crate::environment::Ready;
use crate::http::{Exchange, HttpClient};
use crate::questions::{MYSQL_SQL, POSTGRES_SQL, ROWS, find, key, mysql_id, redis_key, text};
use crate::{Fallible, connect};

pub enum Caller {
    Postgres {
        client: tokio_postgres::Client,
        statement: tokio_postgres::Statement,
    },
    /// In transaction mode PgBouncer keeps no prepared statement, so each is parsed, bound and executed at once.
    Pgbouncer(tokio_postgres::Client),
    Mysql {
        conn: mysql_async::Conn,
        statement: mysql_async::Statement,
    },
    Mongodb(mongodb::Database),
    Redis(redis::aio::MultiplexedConnection),
    Http {
        client: HttpClient,
        exchanges: Arc<[Exchange]>,
        /// Where in the exchanges this caller begins.
        first: usize,
    },
}

impl Caller {
    /// Asks for one row and reads the answer as an application would. Any other answer is an error.
    pub async fn ask(&mut self, number: u32) -> Fallible {
        let is_right = match self {
            Self::Postgres { client, statement } => {
                let row = client.query_one(&*statement, &[&key(number)]).await?;
                let (found, description): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                found == key(number) && description == text(number)
            }
            Self::Pgbouncer(client) => {
                let key = key(number);
                let rows = client
                    .query_typed(POSTGRES_SQL, &[(&key, Type::TEXT)])
                    .await?;
                let row = rows.first().ok_or("there is no such row")?;
                let (found, description): (String, String) = (row.try_get(0)?, row.try_get(1)?);
                found == key && description == text(number)
            }
            Self::Mysql { conn, statement } => {
                let row: Option<(u64, String, String)> =
                    conn.exec_first(&*statement, (mysql_id(number),)).await?;
                row.is_some_and(|(id, _email, name)| id == mysql_id(number) && name == text(number))
            }
            Self::Mongodb(database) => {
                let reply = database.run_command(find(number)).await?;
                let documents = reply.get_document("cursor")?.get_array("firstBatch")?;
                let document = documents.first().and_then(bson::Bson::as_document);
                document.is_some_and(|found| {
                    found.get_str("text").is_ok_and(|said| said == text(number))
                })
            }
            Self::Redis(connection) => {
                let value: Option<String> = redis::cmd("GET")
                    .arg(redis_key(number))
                    .query_async(connection)
                    .await?;
                value.is_some_and(|value| value == text(number))
            }
            Self::Http {
                client,
                exchanges,
                first,
            } => {
                let index = *first + usize::try_from(number)?;
                let exchange = exchanges.get(index % exchanges.len());
                return client.ask(exchange.ok_or("there is nothing to ask")?).await;
            }
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("row {number} is not as it was written").into())
        }
    }
}

/// Callers that use the driver as an application without a gate would: PostgreSQL and MySQL with a connection
/// each and the statement prepared once, MongoDB with a pool as large as the callers are many, Redis with the
/// one multiplexed connection that its driver advises.
pub async fn direct(ready: &Ready, store: Store, count: usize) -> Fallible<Vec<Caller>> {
    let mut callers = Vec::with_capacity(count);
    match store {
        Store::Postgres => {
            for _ in 0..count {
                let client = connect::postgres(ready).await?;
                let statement = client.prepare(POSTGRES_SQL).await?;
                callers.push(Caller::Postgres { client, statement });
            }
        }
        Store::Mysql => {
            for _ in 0..count {
                let mut conn = mysql_async::Conn::new(connect::mysql(ready)?).await?;
                let statement = conn.prep(MYSQL_SQL).await?;
                callers.push(Caller::Mysql { conn, statement });
            }
        }
        Store::Mongodb => {
            let connections = u32::try_from(count)?;
            let database = connect::mongodb(ready, (connections, connections)).await?;
            callers.resize_with(count, || Caller::Mongodb(database.clone()));
        }
        Store::Redis => {
            let connection = connect::redis(ready).await?;
            callers.resize_with(count, || Caller::Redis(connection.clone()));
        }
    }
    Ok(callers)
}

/// Callers of something that speaks HTTP, with a kept-alive connection each.
pub async fn http(
    address: SocketAddr,
    exchanges: Vec<Exchange>,
    count: usize,
    tls: Option<&TlsConnector>,
) -> Fallible<Vec<Caller>> {
    let exchanges: Arc<[Exchange]> = exchanges.into();
    let mut callers = Vec::with_capacity(count);
    for place in 0..count {
        callers.push(Caller::Http {
            client: HttpClient::open(address, tls).await?,
            exchanges: Arc::clone(&exchanges),
            first: place * ROWS as usize,
        });
    }
    Ok(callers)
}

/// Callers of PgBouncer, with a connection each.
pub async fn pgbouncer(address: SocketAddr, count: usize) -> Fallible<Vec<Caller>> {
    let mut callers = Vec::with_capacity(count);
    for _ in 0..count {
        callers.push(Caller::Pgbouncer(connect::pgbouncer(address).await?));
    }
    Ok(callers)
}
