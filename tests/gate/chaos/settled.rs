//! What must hold when the links are open again: everything is idle, and the databases hold what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mysql_async::prelude::Queryable as _;

use super::ledger::{Ledger, Outcome, Place};
use super::tally::Tally;
use crate::isolation;
use crate::support::{Dev, Sidecar, send};

/// The databases, past the sidecar and its links.
pub struct Direct {
    postgres: tokio_postgres::Client,
    mysql: tokio::sync::Mutex<mysql_async::Conn>,
    mongodb: mongodb::Client,
    redis: redis::aio::MultiplexedConnection,
}

impl Direct {
    pub async fn to(dev: &Dev) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mongodb = mongodb::Client::with_uri_str(dev.store_url("mongodb")).await;
        let config = bulkhead::config::Config::load(&dev.config).unwrap();
        let redis = config.stores.redis.unwrap();
        let redis = bulkhead::execute::redis::driver(&redis).unwrap();
        Self {
            postgres: isolation::postgres(dev).await,
            mysql: tokio::sync::Mutex::new(isolation::mysql(dev).await),
            mongodb: mongodb.unwrap(),
            redis: redis.get_multiplexed_async_connection().await.unwrap(),
        }
    }

    /// How often each row is there.
    async fn rows(&self, place: Place) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        let ids: Vec<String> = match place {
            Place::Sessions => {
                let rows = self.postgres.query("SELECT id FROM sessions", &[]).await;
                rows.unwrap().iter().map(|row| row.get(0)).collect()
            }
            Place::Posts => {
                let mut mysql = self.mysql.lock().await;
                let sql = "SELECT title FROM posts WHERE content = 'chaos'";
                mysql.query(sql).await.unwrap()
            }
            Place::Events => {
                let events = self.mongodb.database("enterprise_db");
                let events = events.collection::<Document>("event_store");
                let mut cursor = events.find(doc! {}).await.unwrap();
                let mut ids = Vec::new();
                while cursor.advance().await.unwrap() {
                    let id = cursor.current().get_str("_id").map(str::to_owned);
                    ids.extend(id);
                }
                ids
            }
            Place::Cache => {
                let mut redis = self.redis.clone();
                let mut keys = redis::cmd("KEYS");
                let keys: Vec<String> = keys.arg("cache:c*").query_async(&mut redis).await.unwrap();
                let ids = keys.iter().map(|key| key.trim_start_matches("cache:"));
                ids.map(str::to_owned).collect()
            }
        };
        for id in ids {
            *found.entry(id).or_default() += 1;
        }
        found
    }

    /// Compares what the databases hold with what the replies said.
    pub async fn compare(&self, ledger: &Ledger, tally: &Tally) {
        let mut rows = BTreeMap::new();
        for place in [Place::Sessions, Place::Posts, Place::Events, Place::Cache] {
            rows.insert(place, self.rows(place).await);
        }
        for ((place, id), outcome) in ledger.entries() {
            let count = rows[&place].get(&id).copied().unwrap_or(0);
            let fits = match outcome {
                Outcome::Made => count == 1,
                Outcome::NotMade => count == 0,
                Outcome::Unknown => count <= 1,
            };
            if !fits {
                tally.complain(format!(
                    "{place:?} {id}: told {outcome:?}, is there {count} times"
                ));
            }
            tally.write(outcome == Outcome::Unknown, count > 0);
        }
        for (place, ids) in ledger.together() {
            let there: BTreeSet<_> = ids.iter().map(|id| rows[&place].contains_key(id)).collect();
            if there.len() > 1 {
                tally.complain(format!("{place:?} {ids:?}: some are there, some are not"));
            }
        }
        for (name, (least, most)) in ledger.counters() {
            let mut redis = self.redis.clone();
            let mut get = redis::cmd("GET");
            let stands: Option<i64> = get.arg(&name).query_async(&mut redis).await.unwrap();
            let stands = stands.unwrap_or(0);
            if !(least..=most).contains(&stands) {
                tally.complain(format!("{name}: {stands}, not {least} to {most}"));
            }
        }
    }

    /// Transactions that are open in the databases themselves.
    async fn open_transactions(&self) -> [i64; 3] {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
        let postgres = self.postgres.query_one(sql, &[]).await.unwrap().get(0);
        let sql = "SELECT COUNT(*) FROM information_schema.innodb_trx";
        let mysql: Option<i64> = self.mysql.lock().await.query_first(sql).await.unwrap();
        let admin = self.mongodb.database("admin");
        let status = admin.run_command(doc! {"serverStatus": 1}).await.unwrap();
        let open = status
            .get_document("transactions")
            .unwrap()
            .get("currentOpen");
        let mongodb = open.and_then(|open| open.as_i64().or_else(|| open.as_i32().map(i64::from)));
        [postgres, mysql.unwrap(), mongodb.unwrap()]
    }

    async fn cursors(&self) -> String {
        let admin = self.mongodb.database("admin");
        let status = admin.run_command(doc! {"serverStatus": 1}).await.unwrap();
        let metrics = status.get_document("metrics").unwrap();
        let cursor = metrics.get_document("cursor").unwrap();
        cursor.get_document("open").unwrap().to_string()
    }

    /// Connections of all sidecars to PostgreSQL and MySQL.
    async fn connections(&self) -> [i64; 2] {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        let postgres = self.postgres.query_one(sql, &[]).await.unwrap().get(0);
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE host <> ''";
        let mysql: Option<i64> = self.mysql.lock().await.query_first(sql).await.unwrap();
        [postgres, mysql.unwrap()]
    }
}

/// Connections of two sidecars at rest: their pools, their catalogues, the sidecars' own, and this test's.
const CONNECTIONS_MAX: i64 = 60;

/// How long it may take until everything is idle. The longest wait is for a transaction on a server that has not seen
/// its connection go: its own time-out ends it.
const SETTLING_MAX: Duration = Duration::from_secs(60);

/// Waits until the sidecar is healthy and nothing is under way or left over, in it or in the databases.
pub async fn everything(sidecar: &Sidecar, direct: &Direct, tally: &Tally) {
    for path in ["health", "readyz"] {
        let url = format!("{}/{path}", sidecar.admin);
        settles(tally, path, || async {
            let reply = send(hyper::Method::GET, &url, &[], None).await;
            if reply.status == 200 {
                String::new()
            } else {
                reply.text
            }
        })
        .await;
    }
    let url = format!("{}/metrics", sidecar.admin);
    settles(tally, "the pools are idle", || async {
        let text = send(hyper::Method::GET, &url, &[], None).await.text;
        let is_busy = |line: &&str| {
            GAUGES.iter().any(|gauge| line.starts_with(gauge)) && !line.ends_with(" 0")
        };
        text.lines().filter(is_busy).collect::<Vec<_>>().join(", ")
    })
    .await;
    settles(
        tally,
        "no transaction is left open in a database",
        || async {
            let open = direct.open_transactions().await;
            if open == [0; 3] {
                String::new()
            } else {
                format!("{open:?}")
            }
        },
    )
    .await;
    // Those whose kill did not get through; the server ends them when they have stood for ten minutes.
    println!("cursors left in MongoDB: {}", direct.cursors().await);
    settles(tally, "no connection is left over", || async {
        let count = direct.connections().await;
        if count.iter().all(|count| *count <= CONNECTIONS_MAX) {
            String::new()
        } else {
            format!("{count:?}")
        }
    })
    .await;
}

const GAUGES: [&str; 3] = [
    "database_connection_pool_in_use",
    "database_connection_pool_waiting",
    "bulkhead_transactions_open",
];

/// Waits until nothing speaks against it; what still does after a while is wrong.
async fn settles<F: Future<Output = String>>(tally: &Tally, what: &str, against: impl Fn() -> F) {
    let began = Instant::now();
    let mut last = String::from("nothing");
    loop {
        let seen = against().await;
        if seen.is_empty() {
            let took = began.elapsed();
            println!("settled after {took:?}: {what}; last against it: {last}");
            return;
        }
        if began.elapsed() > SETTLING_MAX {
            tally.complain(format!("never: {what}: {seen}"));
            return;
        }
        last = seen;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
