//! What understanding a statement costs, in process and without a store: for each store a small, a middle and a
//! large one.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use bulkhead::classify::cache::Classifications;
use bulkhead::classify::{self, Session};
use bulkhead::operation::Store;

use crate::questions::{MYSQL_SQL, POSTGRES_SQL, find, redis_key};
use crate::settings::Settings;
use crate::statistics::Spread;

/// Tables in the middle statement, joined one to the next.
const JOINS: usize = 10;
/// Rows, documents or elements in the large statement.
const LARGE_ROWS: usize = 1_000;
/// The time is taken in so many parts, for a median.
const PARTS: u32 = 10;
const SESSION: Session = Session::Shared;

pub struct Classified {
    pub store: Store,
    pub size: &'static str,
    pub bytes: usize,
    /// Microseconds; or why the classifier refuses the statement, which is then not one to measure with.
    pub fresh_us: Result<Option<Spread>, String>,
    /// The gate's own cache, which keeps SQL alone, and not the longest.
    pub cached_us: Option<Spread>,
}

enum Statement {
    Sql(Store, Arc<str>),
    Mongodb(Vec<u8>),
    Redis(Vec<Vec<u8>>),
}

impl Statement {
    const fn store(&self) -> Store {
        match self {
            Self::Sql(store, _) => *store,
            Self::Mongodb(_) => Store::Mongodb,
            Self::Redis(_) => Store::Redis,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Sql(_, sql) => sql.len(),
            Self::Mongodb(document) => document.len(),
            Self::Redis(command) => command.iter().map(Vec::len).sum(),
        }
    }

    fn classify(&self) -> classify::Result {
        match self {
            Self::Sql(Store::Postgres, sql) => classify::postgres::classify(sql, SESSION),
            Self::Sql(Store::Mysql | Store::Mongodb | Store::Redis, sql) => {
                classify::mysql::classify(sql, SESSION)
            }
            Self::Mongodb(document) => {
                classify::mongodb::classify(document, crate::connect::MONGODB_DATABASE, SESSION)
            }
            Self::Redis(command) => classify::redis::classify(command, SESSION),
        }
    }
}

pub fn measure(settings: &Settings) -> Vec<Classified> {
    eprintln!("gate: classification");
    settings
        .stores
        .iter()
        .flat_map(|store| statements(*store))
        .map(|(size, statement)| one(size, &statement, settings.classify))
        .collect()
}

fn one(size: &'static str, statement: &Statement, length: Duration) -> Classified {
    Classified {
        store: statement.store(),
        size,
        bytes: statement.bytes(),
        fresh_us: match statement.classify() {
            Ok(_) => Ok(timed(length, || statement.classify())),
            Err(refusal) => Err(refusal.to_string()),
        },
        cached_us: match statement {
            Statement::Sql(store, sql) => cached(*store, sql, length),
            Statement::Mongodb(_) | Statement::Redis(_) => None,
        },
    }
}

fn cached(store: Store, sql: &Arc<str>, length: Duration) -> Option<Spread> {
    let cache = Classifications::default();
    cache.classify(store, sql).ok()?;
    cache.get(store, sql)?;
    timed(length, || cache.get(store, sql))
}

/// Microseconds for one call: the mean of each part of the time, so that the clock itself costs nothing.
fn timed<T>(length: Duration, mut call: impl FnMut() -> T) -> Option<Spread> {
    let part = length / PARTS;
    Spread::of((0..PARTS).map(|_| {
        let started = Instant::now();
        let mut calls = 0.0;
        let mut batch = 1_u32;
        loop {
            for _ in 0..batch {
                black_box(call());
            }
            calls += f64::from(batch);
            let elapsed = started.elapsed();
            if elapsed >= part {
                return elapsed.as_secs_f64() * 1e6 / calls;
            }
            batch = batch.saturating_mul(2).min(1_024);
        }
    }))
}

/// The small one of each store is the one that the rounds ask.
fn statements(store: Store) -> [(&'static str, Statement); 3] {
    let [small, middle, large] = match store {
        Store::Postgres => [
            Statement::Sql(store, POSTGRES_SQL.into()),
            Statement::Sql(store, joins("sessions", "$1").into()),
            Statement::Sql(
                store,
                insert("system_config (key, value, description)").into(),
            ),
        ],
        Store::Mysql => [
            Statement::Sql(store, MYSQL_SQL.into()),
            Statement::Sql(store, joins("users", "?").into()),
            Statement::Sql(store, insert("posts (user_id, title, content)").into()),
        ],
        Store::Mongodb => [find(0), aggregate(), insert_many()].map(|document| {
            // A document of our own always has an encoding; an empty one would be refused, and shown so.
            let raw = RawDocumentBuf::try_from(&document).unwrap_or_default();
            Statement::Mongodb(raw.into_bytes())
        }),
        Store::Redis => {
            let get = vec!["GET".to_owned(), redis_key(0)];
            let mget = std::iter::once("MGET".to_owned()).chain((0..JOINS).map(cache_key));
            let mset = std::iter::once("MSET".to_owned())
                .chain((0..LARGE_ROWS).flat_map(|row| [cache_key(row), format!("value {row}")]));
            [get, mget.collect(), mset.collect()]
                .map(|command| command.into_iter().map(String::into_bytes).collect())
                .map(Statement::Redis)
        }
    };
    [("small", small), ("middle", middle), ("large", large)]
}

fn cache_key(number: usize) -> String {
    format!("cache:bench:{number}")
}

fn joins(table: &str, placeholder: &str) -> String {
    let joined: String = (1..=JOINS)
        .map(|n| {
            format!(
                " JOIN {table} t{n} ON t{n}.id = t{}.id AND t{n}.created_at > t0.created_at",
                n - 1
            )
        })
        .collect();
    format!(
        "SELECT t0.id, count(*), max(t{JOINS}.created_at) FROM {table} t0{joined} \
         WHERE t0.id = {placeholder} AND coalesce(t1.id, t2.id) IS NOT NULL \
         GROUP BY t0.id ORDER BY 2 DESC LIMIT 50"
    )
}

fn insert(columns: &str) -> String {
    let rows: Vec<String> = (0..LARGE_ROWS)
        .map(|row| format!("('{row}', '{{\"row\": {row}}}', 'the text of row number {row}')"))
        .collect();
    format!("INSERT INTO {columns} VALUES {}", rows.join(", "))
}

fn aggregate() -> bson::Document {
    let lookup = doc! {"$lookup": {
        "from": "activity_logs", "localField": "user_id", "foreignField": "user_id", "as": "activity",
    }};
    doc! {
        "aggregate": "event_store",
        "pipeline": [
            {"$match": {"type": "user.created", "version": {"$gte": 1, "$lt": 100}}},
            lookup,
            {"$unwind": "$activity"},
            {"$set": {"day": {"$dateToString": {"date": "$activity.at", "format": "%Y-%m-%d"}}}},
            {"$group": {"_id": {"user": "$user_id", "day": "$day"}, "count": {"$sum": 1}, "last": {"$max": "$activity.at"}}},
            {"$project": {"count": 1, "last": 1, "share": {"$divide": ["$count", {"$max": ["$count", 1]}]}}},
            {"$sort": {"count": -1}},
            {"$limit": 50},
        ],
        "cursor": {"batchSize": 50},
    }
}

fn insert_many() -> bson::Document {
    let documents: Vec<bson::Document> = (0_i64..)
        .take(LARGE_ROWS)
        .map(|row| doc! {"stream": format!("user-{row}"), "version": row, "data": {"text": format!("event {row}")}})
        .collect();
    doc! {"insert": "event_store", "documents": documents}
}
