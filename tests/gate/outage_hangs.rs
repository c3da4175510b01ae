//! Databases that take connections and answer nothing: what is known to be away is not waited for.

use std::time::{Duration, Instant};

use bulkhead::execute::mongodb::VIEWS_FRESH_MS;
use futures_util::future::join_all;
use serde_json::json;

use crate::chaos::faults::{Links, STORES};
use crate::support::link::Mode;
use crate::support::{Dev, Reply, Sidecar, eventually};

/// How long a request waited before what was known counted for it, or a good part of that.
const OLD_WAIT: Duration = Duration::from_secs(4);

async fn before(dev: &Dev, edit: impl FnOnce(&mut toml::Table)) -> (Links, Sidecar) {
    let links = Links::before(dev).await;
    let sidecar = Sidecar::start(dev, |config| {
        links.put_into(config);
        edit(config);
    });
    sidecar.ready().await;
    (links, sidecar)
}

async fn ask(sidecar: &Sidecar, key: &str, store: &str) -> Reply {
    let (path, body) = match store {
        "mongodb" => ("command", json!({"command": {"count": "activity_logs"}})),
        "redis" => ("command", json!({"command": ["GET", "cache:x"]})),
        _ => ("query", json!({"sql": "SELECT 1 AS n"})),
    };
    let path = format!("/v1/{store}/{path}");
    sidecar.post(key, &path, &body).await
}

fn is_away(reply: &Reply) {
    let told = (reply.status, reply.code());
    assert_eq!(told, (503, "store.unavailable"), "{}", reply.text);
}

/// Each request waited for the look-ups of all before it: 12 for 24 seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_share_the_look_up_of_views_that_fails() {
    let dev = Dev::start();
    let (links, sidecar) = before(&dev, |_| ()).await;
    for mode in [Mode::Cut, Mode::Hold] {
        eventually("it serves", || async {
            ask(&sidecar, &dev.app, "mongodb").await.status == 200
        })
        .await;
        tokio::time::sleep(Duration::from_millis(VIEWS_FRESH_MS + 100)).await;
        links.link("mongodb").set(mode);
        let began = Instant::now();
        let all = join_all((0..12).map(|_| ask(&sidecar, &dev.app, "mongodb"))).await;
        all.iter().for_each(is_away);
        assert!(began.elapsed() < 2 * OLD_WAIT, "{:?}", began.elapsed());
        links.link("mongodb").set(Mode::Open);
    }
}

/// Known keys go on, and unknown ones are told at once, while one request at a time looks whether PostgreSQL answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_do_not_each_wait_for_a_postgres_that_hangs() {
    let dev = Dev::start();
    let unknown: Vec<_> = (0..4).map(|n| dev.new_key(&format!("hang-{n}"))).collect();
    let (links, sidecar) = before(&dev, |config| {
        let auth = "cache_ttl_ms = 20".parse::<toml::Table>().unwrap();
        config.insert("auth".into(), auth.into());
    })
    .await;
    assert_eq!(ask(&sidecar, &dev.app, "mysql").await.status, 200);
    links.link("postgres").set(Mode::Hold);
    // Changes are not told any more, so that the entry is stale.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    for _ in 0..20 {
        let reply = ask(&sidecar, &dev.app, "mysql").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(began.elapsed() < 2 * OLD_WAIT, "{:?}", began.elapsed());
    let began = Instant::now();
    for key in &unknown {
        is_away(&ask(&sidecar, key, "mysql").await);
    }
    assert!(began.elapsed() < 2 * OLD_WAIT, "{:?}", began.elapsed());
    links.link("postgres").set(Mode::Open);
    eventually("keys are known again", || async {
        ask(&sidecar, &unknown[0], "mysql").await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_probes_know_counts_for_the_first_request() {
    let dev = Dev::start();
    let (links, sidecar) = before(&dev, |_| ()).await;
    for store in STORES {
        assert_eq!(ask(&sidecar, &dev.app, store).await.status, 200);
        links.link(store).set(Mode::Hold);
    }
    // Two probes of each.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for store in STORES {
        let began = Instant::now();
        is_away(&ask(&sidecar, &dev.app, store).await);
        assert!(began.elapsed() < OLD_WAIT, "{store}: {:?}", began.elapsed());
    }
    for store in STORES {
        links.link(store).set(Mode::Open);
    }
    for store in STORES {
        eventually(store, || async {
            ask(&sidecar, &dev.app, store).await.status == 200
        })
        .await;
    }
}
