//! No change of a system table without its audit row, and no row without its change, whenever the sidecar or PostgreSQL
//! is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::audit_statements::policy;
use super::isolation::postgres;
use crate::support::{Dev, Sidecar, eventually};

/// The example policy without a rate limit.
fn unlimited(dev: &Dev) -> tempfile::TempDir {
    policy(dev, |role| drop(role.remove("rate_limit")))
}

/// Sends without minding whether there is an answer; the status, if there is.
async fn try_post(http: &str, key: &str, id: &str, body: &Value) -> Option<u16> {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Full<bytes::Bytes>>();
    let request = hyper::Request::builder()
        .method(Method::POST)
        .uri(format!("{http}/v1/postgres/query"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("x-request-id", id);
    let request = request.body(http_body_util::Full::new(body.to_string().into()));
    let asked = client.request(request.unwrap());
    let answered = tokio::time::timeout(Duration::from_secs(10), asked)
        .await
        .ok()?;
    Some(answered.ok()?.status().as_u16())
}

/// A change whose row bears the request's id.
fn change(id: &str) -> Value {
    let sql =
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, '9', '2099-01-01T00:00:00Z')";
    json!({"sql": sql, "params": [id]})
}

/// Sessions without a row of the same transaction, rows without their session, sessions in all.
async fn unmatched(client: &Client, run: &str) -> (i64, i64, i64) {
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM sessions s WHERE s.id LIKE $1 AND NOT EXISTS (
                    SELECT FROM audit_logs a WHERE a.request_id = s.id AND a.xmin = s.xmin)),
                (SELECT count(*) FROM audit_logs a WHERE a.request_id LIKE $1 AND a.decision = 'allow'
                    AND NOT EXISTS (SELECT FROM sessions s WHERE s.id = a.request_id)),
                (SELECT count(*) FROM sessions WHERE id LIKE $1)",
            &[&format!("{run}-%")],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// Four callers that change something again and again until told to stop; those that were told that they have.
struct Callers {
    told: Arc<std::sync::Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    fn start(http: &str, key: &str, run: &str) -> Self {
        let told = Arc::default();
        let next = Arc::new(AtomicU64::new(0));
        let tasks = (0..4).map(|_| {
            let (http, key, run) = (http.to_owned(), key.to_owned(), run.to_owned());
            let (told, next): (Arc<std::sync::Mutex<Vec<String>>>, _) =
                (Arc::clone(&told), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let id = format!("{run}-{}", next.fetch_add(1, Ordering::Relaxed));
                    if try_post(&http, &key, &id, &change(&id)).await == Some(200) {
                        told.lock().unwrap().push(id);
                    }
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            told,
        }
    }

    async fn are_busy(&self) {
        eventually("changes are made", || async {
            self.told.lock().unwrap().len() > 4
        })
        .await;
    }

    /// Aborts them, and gives the ids of the changes that were acknowledged.
    fn stop(self) -> Vec<String> {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

async fn all_there(client: &Client, ids: &[String]) {
    let there = "SELECT count(*) FROM sessions WHERE id = ANY ($1)";
    let found: i64 = client.query_one(there, &[&ids]).await.unwrap().get(0);
    assert_eq!(
        found,
        i64::try_from(ids.len()).unwrap(),
        "an acknowledged change is missing"
    );
}

#[tokio::test]
async fn whenever_the_sidecar_is_killed_changes_and_rows_agree() {
    let dev = Dev::start();
    let client = postgres(&dev).await;
    let folder = unlimited(&dev);
    let mut changes = 0;
    for round in 0..15_u64 {
        let run = format!("sidecar{round}");
        let mut sidecar = Sidecar::start_under(&dev, folder.path()).await;
        let callers = Callers::start(&sidecar.http, &dev.app, &run);
        callers.are_busy().await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        sidecar.signal(Signal::KILL);
        let _ = sidecar.child.wait();
        let told = callers.stop();
        // What it had begun ends with its connections.
        eventually("its sessions are gone", || async {
            let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bulkhead@%' AND state <> 'idle'";
            client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        let (without_row, without_change, all) = unmatched(&client, &run).await;
        assert_eq!((without_row, without_change), (0, 0), "round {round}");
        all_there(&client, &told).await;
        changes += all;
    }
    println!("sidecar killed 15 times: {changes} changes, each with its row");
    assert!(changes >= 75, "{changes}");
}

#[tokio::test]
async fn whenever_postgres_is_killed_changes_and_rows_agree() {
    let dev = Dev::start();
    let folder = unlimited(&dev);
    let sidecar = Sidecar::start_under(&dev, folder.path()).await;
    let mut changes = 0;
    for round in 0..6_u64 {
        let run = format!("postgres{round}");
        let callers = Callers::start(&sidecar.http, &dev.app, &run);
        callers.are_busy().await;
        tokio::time::sleep(Duration::from_millis(round * 13)).await;
        dev.tell("kill postgres");
        let told = callers.stop();
        dev.tell("start postgres");
        let client = postgres(&dev).await;
        let (without_row, without_change, all) = unmatched(&client, &run).await;
        assert_eq!((without_row, without_change), (0, 0), "round {round}");
        all_there(&client, &told).await;
        changes += all;
        eventually("the sidecar is back", || async {
            let id = format!("back{round}");
            try_post(&sidecar.http, &dev.app, &id, &change(&id)).await == Some(200)
        })
        .await;
    }
    println!("postgres killed 6 times: {changes} changes, each with its row");
    assert!(changes >= 30, "{changes}");
}

/// Held at a point of its transaction, the change is not there after a kill, nor is its row.
#[tokio::test]
async fn at_each_point_of_a_change_a_kill_leaves_nothing_half_done() {
    let dev = Dev::start();
    let points = [
        (
            "before the statement",
            "LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE",
        ),
        (
            "between the statement and its row",
            "LOCK TABLE audit_logs IN SHARE MODE",
        ),
        (
            "while the row is chained",
            "LOCK TABLE audit_chains IN SHARE MODE",
        ),
    ];
    for victim in ["sidecar", "postgres"] {
        for (point, lock) in points {
            let id = format!("{victim}-{}", point.replace(' ', "-"));
            let mut sidecar = Sidecar::start(&dev, |_| {});
            sidecar.ready().await;
            eventually("what the statement reaches is known", || async {
                let before = format!("before-{id}");
                let key = &dev.app;
                try_post(&sidecar.http, key, &before, &change(&before)).await == Some(200)
            })
            .await;
            let holder = postgres(&dev).await;
            holder
                .batch_execute(&format!("BEGIN; {lock}"))
                .await
                .unwrap();
            let (http, key, sent) = (sidecar.http.clone(), dev.app.clone(), id.clone());
            let asking =
                tokio::spawn(async move { try_post(&http, &key, &sent, &change(&sent)).await });
            let watcher = postgres(&dev).await;
            eventually("it waits there", || async {
                assert!(!asking.is_finished(), "{victim} {point}: it was answered");
                let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bulkhead@%' AND wait_event_type = 'Lock'";
                watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0
            })
            .await;
            if victim == "sidecar" {
                sidecar.signal(Signal::KILL);
                let _ = sidecar.child.wait();
                holder.batch_execute("ROLLBACK").await.unwrap();
            } else {
                dev.tell("kill postgres");
                dev.tell("start postgres");
            }
            assert_ne!(asking.await.unwrap(), Some(200), "{victim} {point}");
            let client = postgres(&dev).await;
            eventually("nothing is under way", || async {
                let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'bulkhead@%' AND state <> 'idle'";
                client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
            })
            .await;
            let whole = "SELECT (SELECT count(*) FROM sessions WHERE id = $1), (SELECT count(*) FROM audit_logs WHERE request_id = $1 AND decision = 'allow')";
            let row = client.query_one(whole, &[&id]).await.unwrap();
            let (sessions, rows): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(sessions, rows, "{victim} {point}");
        }
    }
}
