//! The one question that every store is asked, the same for all targets: one row, document or value by its key.

use bson::{Document, doc};
use bulkhead::operation::Store;
use serde_json::{Value, json};

use crate::http::Exchange;

/// Rows to ask for; the callers go through them so that no single one is always asked.
pub const ROWS: u32 = 1_000;
/// MySQL's rows stand apart from those of the example.
pub const MYSQL_ID_FIRST: u64 = 1_000_000;

pub const POSTGRES_SQL: &str = "SELECT key, description FROM system_config WHERE key = $1";
pub const MYSQL_SQL: &str = "SELECT id, email, name FROM users WHERE id = ?";
pub const MONGODB_COLLECTION: &str = "event_store";

/// The key of a row in PostgreSQL and MongoDB. All have one length, so that every request does.
pub fn key(number: u32) -> String {
    format!("bench-{number:04}")
}

pub fn redis_key(number: u32) -> String {
    format!("cache:{}", key(number))
}

pub fn mysql_id(number: u32) -> u64 {
    MYSQL_ID_FIRST + u64::from(number)
}

pub fn email(number: u32) -> String {
    format!("{}@example.com", key(number))
}

/// What the row says besides its key.
pub fn text(number: u32) -> String {
    format!("row {number:04} of the benchmark, as long as a short sentence usually is")
}

/// The command that MongoDB runs, whoever sends it.
pub fn find(number: u32) -> Document {
    doc! {
        "find": MONGODB_COLLECTION,
        "filter": {"_id": key(number)},
        "limit": 1,
        "singleBatch": true,
    }
}

/// The routes, which the bare handler has as well.
pub const fn route(store: Store) -> &'static str {
    match store {
        Store::Postgres => "/v1/postgres/query",
        Store::Mysql => "/v1/mysql/query",
        Store::Mongodb => "/v1/mongodb/command",
        Store::Redis => "/v1/redis/command",
    }
}

/// Every request of a store, ready to send, each with what its reply must hold. The keys take turns, and each of them has
/// one at least.
pub fn exchanges<K: AsRef<str>>(store: Store, api_keys: &[K]) -> Vec<Exchange> {
    let rows = (0..ROWS).cycle();
    let asks = api_keys.iter().cycle().zip(rows).map(|(key, number)| {
        Exchange::post(
            route(store),
            key.as_ref(),
            &body(store, number),
            text(number),
        )
    });
    asks.take(api_keys.len().max(ROWS as usize)).collect()
}

/// Webdis' way to ask for the same values.
pub fn webdis_exchanges() -> Vec<Exchange> {
    (0..ROWS)
        .map(|number| Exchange::get(&format!("/GET/{}", redis_key(number)), text(number)))
        .collect()
}

/// Commands of one pipeline.
pub const PIPELINE: u32 = 100;

/// Pipelines of `GET`s; each reply must hold its last value.
pub fn pipelines(api_key: &str) -> Vec<Exchange> {
    let one = |first: u32| {
        let numbers = (first..first + PIPELINE).map(|number| number % ROWS);
        let commands: Vec<Value> = numbers
            .map(|number| json!(["GET", redis_key(number)]))
            .collect();
        let last = text((first + PIPELINE - 1) % ROWS);
        let body = json!({ "commands": commands });
        Exchange::post("/v1/redis/pipeline", api_key, &body, last)
    };
    (0..ROWS).map(one).collect()
}

/// One request of a store: for finding out whether somebody serves.
pub fn exchange(store: Store, api_key: &str) -> Exchange {
    Exchange::post(route(store), api_key, &body(store, 0), text(0))
}

fn body(store: Store, number: u32) -> Value {
    match store {
        Store::Postgres => json!({"sql": POSTGRES_SQL, "params": [key(number)]}),
        Store::Mysql => json!({"sql": MYSQL_SQL, "params": [mysql_id(number)]}),
        Store::Mongodb => json!({"command": find(number)}),
        Store::Redis => json!({"command": ["GET", redis_key(number)]}),
    }
}
