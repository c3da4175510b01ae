//! Sidecars with configurations of their own: a store left out, a pool of one, draining, reload.

use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{self, Sidecar, shared};

/// Takes a few seconds on any machine, and stays within the time-out.
const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000000) \
    SELECT count(*) AS c FROM n";

#[tokio::test]
async fn a_store_that_is_not_configured() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        config["stores"].as_table_mut().unwrap().remove("redis");
    });
    sidecar.ready().await;
    let body = json!({"command": ["GET", "cache:x"]});
    let reply = sidecar.post(&dev.app, "/v1/redis/command", &body).await;
    assert_eq!(
        (reply.status, reply.code()),
        (404, "store.not_configured"),
        "{}",
        reply.text
    );
    // Without Redis the limiter counts in process, and the other stores work.
    let body = json!({"sql": "SELECT id FROM users WHERE id = 1"});
    let reply = sidecar.post(&dev.app, "/v1/mysql/query", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert!(reply.headers.contains_key("ratelimit"));
}

/// The driver asks the server for the members of its set, and takes those of no other.
#[tokio::test]
async fn a_replica_set_is_reached_by_its_name() {
    let dev = shared();
    let named = |name: &str| {
        Sidecar::start(dev, |config| {
            let uri = &mut config["stores"]["mongodb"]["uri"];
            let set = format!("replicaSet={name}");
            let text = uri.as_str().unwrap().replace("directConnection=true", &set);
            assert!(text.contains(&set), "{text}");
            *uri = text.into();
        })
    };
    let sidecar = named("rs0");
    sidecar.ready().await;
    let body = json!({"command": {"count": "activity_logs"}});
    let reply = sidecar.post(&dev.app, "/v1/mongodb/command", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let stranger = named("another");
    support::eventually("it is not reached", async || {
        stranger.lines_with(&["\"store\":\"mongodb\"", "the database does not answer"]) > 0
    })
    .await;
    let reply = stranger.post(&dev.app, "/v1/mongodb/command", &body).await;
    assert_eq!(reply.code(), "store.unavailable", "{}", reply.text);
}

#[tokio::test]
async fn a_pool_that_is_exhausted_says_so() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let pool = "min = 1\nmax = 1\nacquire_timeout_ms = 100"
            .parse::<toml::Table>()
            .unwrap();
        config["stores"]["postgres"]
            .as_table_mut()
            .unwrap()
            .insert("pool".into(), pool.into());
    });
    sidecar.ready().await;
    let slow = json!({"sql": SLOW});
    let (one, two) = tokio::join!(
        sidecar.post(&dev.app, "/v1/postgres/query", &slow),
        sidecar.post(&dev.app, "/v1/postgres/query", &slow),
    );
    let mut codes = [(one.status, one.code()), (two.status, two.code())];
    codes.sort();
    assert_eq!(
        codes,
        [(200, ""), (503, "pool.exhausted")],
        "{} {}",
        one.text,
        two.text
    );
}

#[tokio::test]
async fn draining_finishes_what_is_under_way_and_turns_new_work_away() {
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let (slow, turned_away) = tokio::join!(
        async {
            let slow = json!({"sql": SLOW});
            sidecar.post(&dev.app, "/v1/postgres/query", &slow).await
        },
        async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            sidecar.signal(Signal::TERM);
            let url = format!("{}/readyz", sidecar.admin);
            support::eventually("readyz tells that it drains", async || {
                let reply = support::send(Method::GET, &url, &[], None).await;
                reply.status == 503 && reply.body["status"] == "draining"
            })
            .await;
            let body = json!({"sql": "SELECT 1 AS one"});
            let mut reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
            // Slowly enough to stay below the rate limit while new work is still taken.
            while reply.status == 200 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
            }
            reply
        },
    );
    assert_eq!(slow.status, 200, "{}", slow.text);
    assert_eq!(
        (turned_away.status, turned_away.code()),
        (503, "draining"),
        "{}",
        turned_away.text
    );
    assert!(turned_away.headers.contains_key("retry-after"));
    assert_eq!(turned_away.headers["connection"], "close");
    assert_eq!(sidecar.child.wait().unwrap().code(), Some(0));
}

/// Longer than the grace period, it is cut, and recorded; the end does not wait for more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_outlasts_the_grace_period_is_cut_and_recorded() {
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("drain_delay_ms".into(), 100.into());
        server.insert("drain_grace_ms".into(), 500.into());
    });
    sidecar.ready().await;
    let url = format!("{}/v1/postgres/query", sidecar.http);
    let headers = [("authorization", format!("Bearer {}", dev.app))];
    let endless = json!({"sql": SLOW.replace("4000000", "4000000000")}).to_string();
    let cut = tokio::spawn(async move {
        support::send(Method::POST, &url, &headers, Some(endless)).await;
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    sidecar.signal(Signal::TERM);
    let began = Instant::now();
    let code = tokio::task::block_in_place(|| sidecar.child.wait().unwrap().code());
    assert_eq!(code, Some(1));
    // It was 7 s.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(cut.await.is_err(), "the request was answered");
    let line = ["\"code\":\"request.abandoned\"", "\"store\":\"postgres\""];
    support::eventually("it is recorded", async || sidecar.lines_with(&line) == 1).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    let text = std::fs::read_to_string(&sidecar.config).unwrap();
    for (section, taken) in [("server", &sidecar.http), ("admin", &sidecar.admin)] {
        let mut config: toml::Table = text.parse().unwrap();
        config[section]["listen"] = taken.strip_prefix("http://").unwrap().into();
        let path = sidecar.config.with_file_name(format!("{section}.toml"));
        std::fs::write(&path, config.to_string()).unwrap();
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["serve", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        let said = format!("{said}{}", String::from_utf8_lossy(&ended.stdout));
        assert!(!ended.status.success(), "{said}");
        let section = format!("[{section}]");
        assert!(
            said.contains(&section) && said.contains("reuse_port"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn hang_up_reloads_the_policy_or_keeps_the_one_in_force() {
    let dev = shared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let policy = std::fs::read_to_string("policies/default.toml").unwrap();
    std::fs::write(&path, &policy).unwrap();
    let sidecar = Sidecar::start(dev, |config| {
        let path = path.display().to_string();
        config["policy"]
            .as_table_mut()
            .unwrap()
            .insert("path".into(), path.into());
    });
    sidecar.ready().await;
    let allowed = async || {
        let body = json!({"sql": "SELECT count(*) AS n FROM users"});
        sidecar
            .post(&dev.admin_key, "/v1/mysql/query", &body)
            .await
            .status
            == 200
    };
    assert!(allowed().await);
    std::fs::write(&path, policy.replace("version = 1", "version = 7")).unwrap();
    sidecar.signal(Signal::HUP);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(
        allowed().await,
        "a policy that is not valid replaced a valid one"
    );
    let without_users = policy.replace("\"users\"", "\"people\"");
    std::fs::write(&path, without_users).unwrap();
    sidecar.signal(Signal::HUP);
    support::eventually("the new policy is in force", || async { !allowed().await }).await;
}
