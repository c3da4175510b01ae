//! The bare handler: the same HTTP, JSON and drivers as the sidecar, and nothing else. No key is looked at, no
//! statement understood, nothing limited, logged or counted: what is left is the floor for any proxy of this kind.
//!
//! It runs in a process of its own, so that its processor time and memory are its own, and takes statements and
//! commands from the request as the sidecar does. Only the shape of the row is known beforehand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead::operation::Store;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use mysql_async::prelude::Queryable;
use mysql_async::{PoolConstraints, PoolOpts};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::environment::{Environment, Ready};
use crate::process::{Launch, free_address};
use crate::questions::route;
use crate::settings::Settings;
use crate::{Fallible, connect};

/// The first argument of this executable when it is to be the bare handler.
pub const MODE: &str = "bare";
/// The pattern's pools. PostgreSQL's connections are shared and pipelined, so all of them are opened.
const POSTGRES_CONNECTIONS: usize = 10;
const MYSQL_CONNECTIONS: (usize, usize) = (5, 20);
const MYSQL_IDLE_S: u64 = 600;
const MONGODB_CONNECTIONS: (u32, u32) = (2, 10);

pub fn prepare(settings: &Settings, environment: &Environment) -> Fallible<Launch> {
    let address = free_address()?;
    Ok(Launch {
        program: std::env::current_exe()?,
        arguments: vec![
            MODE.into(),
            environment.ready_file.clone().into(),
            address.to_string().into(),
            settings.bare_threads.to_string().into(),
        ],
        address,
        log: environment.folder.path().join("bare.log"),
    })
}

/// Serves until standard input ends.
pub fn run(ready_file: &Path, address: SocketAddr, threads: usize) -> Fallible {
    let mut builder = if threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = builder
        .worker_threads(threads.max(1))
        .enable_all()
        .build()?;
    runtime.block_on(serve(ready_file, address))
}

async fn serve(ready_file: &Path, address: SocketAddr) -> Fallible {
    let stores = Arc::new(Stores::connect(&Ready::read(ready_file)?).await?);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let stores = Arc::clone(&stores);
        tokio::spawn(async move {
            let service = service_fn(|request| reply(&stores, request));
            // A caller that goes away is no fault.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn reply(
    stores: &Stores,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match answer(stores, request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(fault) => {
            let body = json!({"detail": fault.to_string()}).to_string();
            (StatusCode::INTERNAL_SERVER_ERROR, body.into_bytes())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

async fn answer(stores: &Stores, request: Request<Incoming>) -> Fallible<Vec<u8>> {
    let path = request.uri().path();
    let store = Store::ALL
        .into_iter()
        .find(|store| route(*store) == path)
        .ok_or("there is no such route")?;
    let body = request.into_body().collect().await?.to_bytes();
    match store {
        Store::Postgres => stores.postgres.query(serde_json::from_slice(&body)?).await,
        Store::Mysql => query_mysql(&stores.mysql, serde_json::from_slice(&body)?).await,
        Store::Mongodb => command_mongodb(&stores.mongodb, serde_json::from_slice(&body)?).await,
        Store::Redis => command_redis(stores.redis.clone(), serde_json::from_slice(&body)?).await,
    }
}

struct Stores {
    postgres: Postgres,
    mysql: mysql_async::Pool,
    mongodb: mongodb::Database,
    redis: MultiplexedConnection,
}

impl Stores {
    async fn connect(ready: &Ready) -> Fallible<Self> {
        let (min, max) = MYSQL_CONNECTIONS;
        let constraints =
            PoolConstraints::new(min, max).ok_or("a pool's least is its greatest at most")?;
        // A reset on every return would halve the throughput; nothing here changes a session.
        let pool = PoolOpts::default()
            .with_constraints(constraints)
            // Without it the driver closes every connection beyond the least as soon as it is returned.
            .with_inactive_connection_ttl(Duration::from_secs(MYSQL_IDLE_S))
            .with_reset_connection(false);
        let (postgres, mongodb, redis) = tokio::try_join!(
            Postgres::connect(ready),
            connect::mongodb(ready, MONGODB_CONNECTIONS),
            connect::redis(ready),
        )?;
        Ok(Self {
            postgres,
            mysql: mysql_async::Pool::new(connect::mysql(ready)?.pool_opts(pool)),
            mongodb,
            redis,
        })
    }
}

/// Shared connections, taken in turn: the driver sends several callers' statements one behind the other.
struct Postgres {
    connections: Vec<PostgresConnection>,
    next: AtomicUsize,
}

struct PostgresConnection {
    client: tokio_postgres::Client,
    prepared: Mutex<HashMap<String, tokio_postgres::Statement>>,
}

#[derive(Deserialize)]
struct PostgresQuery {
    sql: String,
    params: Vec<String>,
}

impl Postgres {
    async fn connect(ready: &Ready) -> Fallible<Self> {
        let opening = (0..POSTGRES_CONNECTIONS).map(|_| connect::postgres(ready));
        let connections = futures_util::future::try_join_all(opening)
            .await?
            .into_iter()
            .map(|client| PostgresConnection {
                client,
                prepared: Mutex::default(),
            })
            .collect();
        Ok(Self {
            connections,
            next: AtomicUsize::new(0),
        })
    }

    async fn query(&self, query: PostgresQuery) -> Fallible<Vec<u8>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        let connection = self.connections.get(turn).ok_or("there is no connection")?;
        let statement = connection.prepared(&query.sql).await?;
        let params = query.params.iter().map(String::as_str);
        let params: Vec<_> = params.collect();
        let params: Vec<_> = params
            .iter()
            .map(|param| param as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let row = connection.client.query_one(&statement, &params).await?;
        let (key, description): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        one_row(&POSTGRES_COLUMNS, PostgresRow { key, description })
    }
}

impl PostgresConnection {
    async fn prepared(&self, sql: &str) -> Fallible<tokio_postgres::Statement> {
        let known = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        known().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

#[derive(Deserialize)]
struct MysqlQuery {
    sql: String,
    params: Vec<u64>,
}

/// The driver keeps each connection's prepared statements by their text.
async fn query_mysql(pool: &mysql_async::Pool, query: MysqlQuery) -> Fallible<Vec<u8>> {
    let params: Vec<mysql_async::Value> = query.params.into_iter().map(Into::into).collect();
    let mut conn = pool.get_conn().await?;
    let row: Option<(u64, String, String)> = conn.exec_first(query.sql, params).await?;
    drop(conn);
    let (id, email, name) = row.ok_or("there is no such row")?;
    let row = MysqlRow {
        id: id.to_string(),
        email,
        name,
    };
    one_row(&MYSQL_COLUMNS, row)
}

/// The reply that the sidecar gives as well.
#[derive(Serialize)]
struct Rows<R> {
    columns: &'static [Column],
    rows: [R; 1],
    rows_affected: u64,
}

#[derive(Serialize)]
struct Column {
    name: &'static str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct PostgresRow<'a> {
    key: &'a str,
    description: &'a str,
}

#[derive(Serialize)]
struct MysqlRow {
    id: String,
    email: String,
    name: String,
}

const POSTGRES_COLUMNS: [Column; 2] = [column("key", "text"), column("description", "text")];
const MYSQL_COLUMNS: [Column; 3] = [
    column("id", "BIGINT UNSIGNED"),
    column("email", "VARCHAR"),
    column("name", "VARCHAR"),
];

const fn column(name: &'static str, r#type: &'static str) -> Column {
    Column { name, r#type }
}

fn one_row(columns: &'static [Column], row: impl Serialize) -> Fallible<Vec<u8>> {
    Ok(serde_json::to_vec(&Rows {
        columns,
        rows: [row],
        rows_affected: 1,
    })?)
}

#[derive(Deserialize)]
struct MongodbCommand {
    command: bson::Document,
}

async fn command_mongodb(
    database: &mongodb::Database,
    request: MongodbCommand,
) -> Fallible<Vec<u8>> {
    let reply = database.run_command(request.command).await?;
    Ok(serde_json::to_vec(&reply)?)
}

#[derive(Deserialize)]
struct RedisCommand {
    command: Vec<String>,
}

async fn command_redis(
    mut connection: MultiplexedConnection,
    request: RedisCommand,
) -> Fallible<Vec<u8>> {
    let mut command = redis::Cmd::new();
    for argument in &request.command {
        command.arg(argument);
    }
    let value: Option<String> = command.query_async(&mut connection).await?;
    Ok(serde_json::to_vec(&json!({"result": value}))?)
}
