//! Statements that the policy wants audited, and what becomes of records in outages, crashes and on a full spool.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::isolation::postgres;
use super::limits_faults::{redis_port, redis_through};
use crate::support::link::{Link, Mode};
use crate::support::{Dev, Reply, Sidecar, eventually, send, shared};

/// The example policy with `audit` for the role `app`, as a file in a folder of its own.
pub fn policy(dev: &Dev, edit: impl FnOnce(&mut toml::Table)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut policy = dev.policy();
    edit(policy["roles"]["app"].as_table_mut().unwrap());
    std::fs::write(folder.path().join("policy.toml"), policy.to_string()).unwrap();
    folder
}

fn audited(level: &str) -> impl FnOnce(&mut toml::Table) {
    move |role| drop(role.insert("audit".into(), level.into()))
}

/// A sidecar under a policy, with a spool that outlives it.
async fn start(dev: &Dev, policy: &Path, spool: &Path, bytes_max: i64, when_full: &str) -> Sidecar {
    let sidecar = Sidecar::start(dev, |config| {
        config["policy"]["path"] = policy.to_str().unwrap().into();
        let audit = toml::Table::from_iter([
            ("spool_dir".to_owned(), spool.to_str().unwrap().into()),
            ("spool_bytes_max".to_owned(), bytes_max.into()),
            ("when_full".to_owned(), when_full.into()),
        ]);
        config.insert("audit".into(), audit.into());
    });
    sidecar.ready().await;
    sidecar
}

/// Asks as the application, under an id.
async fn ask(sidecar: &Sidecar, key: &str, path: &str, body: &Value, id: &str) -> Reply {
    let headers = [
        ("authorization", format!("Bearer {key}")),
        ("x-request-id", id.to_owned()),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        ),
    ];
    let url = format!("{}{path}", sidecar.http);
    send(Method::POST, &url, &headers, Some(body.to_string())).await
}

/// The rows of a request: phase, code, decision, statement, rows affected, duration, trace, event.
async fn rows(client: &Client, id: &str) -> Vec<tokio_postgres::Row> {
    client
        .query(
            "SELECT phase, code, decision, statement, rows_affected, duration_us, trace_id, event_id::text,
                audit_logs::text, objects
             FROM audit_logs WHERE request_id = $1 ORDER BY id",
            &[&id],
        )
        .await
        .unwrap()
}

async fn await_rows(client: &Client, id: &str, count: usize) -> Vec<tokio_postgres::Row> {
    eventually("the rows are there", || async {
        rows(client, id).await.len() >= count
    })
    .await;
    let found = rows(client, id).await;
    assert_eq!(found.len(), count, "{id}");
    found
}

#[tokio::test]
async fn an_audited_statement_has_an_intent_and_an_outcome() {
    let dev = shared();
    let client = postgres(dev).await;
    let folder = policy(dev, audited("writes"));
    let spool = tempfile::tempdir().unwrap();
    let sidecar = start(dev, folder.path(), spool.path(), 64 << 20, "block").await;
    let key = dev.new_key("audited");
    let run = uuid::Uuid::new_v4().simple().to_string();
    let secret = format!("secret-{run}");
    let email = format!("{secret}@example.com");
    let requests = [
        (
            "mysql",
            "/v1/mysql/query",
            json!({"sql": format!("INSERT INTO users (email, name) VALUES ('{email}', ?)"), "params": [secret]}),
            Some(1),
            "insert:users",
        ),
        (
            "mongodb",
            "/v1/mongodb/command",
            json!({"command": {"insert": "activity_logs", "documents": [{"at": secret}, {"at": secret}]}}),
            Some(2),
            "activity_logs",
        ),
        (
            "redis",
            "/v1/redis/command",
            json!({"command": ["SET", "cache:audited", secret]}),
            None,
            "write:cache:audited",
        ),
        (
            "batch",
            "/v1/mysql/batch",
            json!({"statements": [{"sql": "UPDATE users SET name = ? WHERE email = ?", "params": [secret, email]}, {"sql": "SELECT 1"}]}),
            Some(2),
            "update:users",
        ),
    ];
    for (what, path, body, rows_affected, object) in requests {
        let id = format!("{what}-{run}");
        let reply = ask(&sidecar, &key, path, &body, &id).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text);
        let found = await_rows(&client, &id, 2).await;
        let phases: Vec<&str> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(phases, ["intent", "outcome"], "{what}");
        assert_eq!(
            found[0].get::<_, Option<String>>(7),
            found[1].get(7),
            "{what}"
        );
        assert_eq!(found[1].get::<_, &str>(1), "ok", "{what}");
        assert_eq!(found[1].get::<_, Option<i64>>(4), rows_affected, "{what}");
        assert!(found[1].get::<_, Option<i64>>(5).is_some(), "{what}");
        assert_eq!(
            found[1].get::<_, &str>(6),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        let objects: Vec<String> = found[0].get(9);
        assert!(
            objects.iter().any(|one| one.contains(object)),
            "{what}: {objects:?}"
        );
        for row in &found {
            let whole: &str = row.get(8);
            assert!(!whole.contains(&secret), "{what}: {whole}");
        }
    }
    // A failure has its code.
    let body = json!({"sql": "INSERT INTO users (email, name) VALUES (?, 'x')", "params": [email]});
    let id = format!("again-{run}");
    let reply = ask(&sidecar, &key, "/v1/mysql/query", &body, &id).await;
    assert_eq!(reply.status, 409, "{}", reply.text);
    let found = await_rows(&client, &id, 2).await;
    assert_eq!(found[1].get::<_, &str>(1), "store.conflict");
    // So has one that the reply tells of.
    let unique = json!({"_id": format!("twice-{run}")});
    let body = json!({"command": {"insert": "activity_logs", "documents": [unique, unique]}});
    let id = format!("twice-{run}");
    let reply = ask(&sidecar, &key, "/v1/mongodb/command", &body, &id).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let found = await_rows(&client, &id, 2).await;
    assert_eq!(found[1].get::<_, &str>(1), "store.error");
    assert_eq!(found[1].get::<_, Option<i64>>(4), Some(1));
    // A read is not a write.
    let id = format!("read-{run}");
    let body = json!({"sql": "SELECT name FROM users WHERE email = ?", "params": [email]});
    assert_eq!(
        ask(&sidecar, &key, "/v1/mysql/query", &body, &id)
            .await
            .status,
        200
    );
    // Neither is one in another policy's eyes: with `all` on one table, reads of that table alone.
    let folder = policy(dev, |role| {
        for grant in role["grants"].as_array_mut().unwrap() {
            if grant["store"].as_str() == Some("mysql") {
                let grant = grant.as_table_mut().unwrap();
                grant.insert("tables".into(), toml::Value::Array(vec!["users".into()]));
                grant.insert("audit".into(), "all".into());
            }
        }
    });
    let other = tempfile::tempdir().unwrap();
    let all = start(dev, folder.path(), other.path(), 64 << 20, "block").await;
    let of_all = format!("all-{run}");
    assert_eq!(
        ask(&all, &key, "/v1/mysql/query", &body, &of_all)
            .await
            .status,
        200
    );
    let found = await_rows(&client, &of_all, 2).await;
    assert_eq!(found[1].get::<_, Option<i64>>(4), Some(1));
    let elsewhere = format!("elsewhere-{run}");
    let get = json!({"command": ["GET", "cache:audited"]});
    assert_eq!(
        ask(&all, &key, "/v1/redis/command", &get, &elsewhere)
            .await
            .status,
        200
    );
    assert!(rows(&client, &elsewhere).await.is_empty());
    assert!(rows(&client, &id).await.is_empty());
}

#[tokio::test]
async fn the_end_of_a_transaction_is_audited_with_what_it_held() {
    let dev = shared();
    let client = postgres(dev).await;
    let folder = policy(dev, audited("writes"));
    let spool = tempfile::tempdir().unwrap();
    let sidecar = start(dev, folder.path(), spool.path(), 64 << 20, "block").await;
    let key = dev.new_key("audited-transactions");
    let run = uuid::Uuid::new_v4().simple().to_string();
    let begun = ask(
        &sidecar,
        &key,
        "/v1/mysql/transactions",
        &json!({}),
        &format!("begin-{run}"),
    )
    .await;
    assert_eq!(begun.status, 201, "{}", begun.text);
    let open = format!(
        "/v1/mysql/transactions/{}",
        begun.body["transaction"].as_str().unwrap()
    );
    let body = json!({"sql": "INSERT INTO users (email, name) VALUES (?, 'n')", "params": [format!("{run}@x")]});
    let reply = ask(
        &sidecar,
        &key,
        &format!("{open}/query"),
        &body,
        &format!("write-{run}"),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let end = format!("rollback-{run}");
    let reply = ask(
        &sidecar,
        &key,
        &format!("{open}/rollback"),
        &json!({}),
        &end,
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    await_rows(&client, &format!("write-{run}"), 2).await;
    let found = await_rows(&client, &end, 2).await;
    assert_eq!(found[1].get::<_, &str>(3), "ROLLBACK");
}

/// What a change in PostgreSQL returned was seen, also where its own row goes with a rollback.
#[tokio::test]
async fn an_audited_change_in_postgres_that_is_rolled_back_leaves_its_records() {
    let dev = shared();
    let client = postgres(dev).await;
    let folder = policy(dev, audited("writes"));
    let spool = tempfile::tempdir().unwrap();
    let sidecar = start(dev, folder.path(), spool.path(), 64 << 20, "block").await;
    let key = dev.new_key("audited-rollback");
    let run = uuid::Uuid::new_v4().simple().to_string();
    let transactions = "/v1/postgres/transactions";
    let begun = ask(&sidecar, &key, transactions, &json!({}), "-").await;
    assert_eq!(begun.status, 201, "{}", begun.text);
    let open = format!(
        "{transactions}/{}",
        begun.body["transaction"].as_str().unwrap()
    );
    let sql =
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, '9', '2099-01-01T00:00:00Z')";
    let body = json!({"sql": sql, "params": [run]});
    let id = format!("rolled-back-{run}");
    let reply = ask(&sidecar, &key, &format!("{open}/query"), &body, &id).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = ask(&sidecar, &key, &format!("{open}/rollback"), &json!({}), "-").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let found = await_rows(&client, &id, 2).await;
    let objects: Vec<String> = found[1].get(9);
    assert!(
        objects.iter().any(|one| one.contains("sessions")),
        "{objects:?}"
    );
}

#[tokio::test]
async fn refusals_outlive_an_outage_and_the_sidecar() {
    let dev = Dev::start();
    let folder = policy(&dev, |_| {});
    let spool = tempfile::tempdir().unwrap();
    let mut sidecar = start(&dev, folder.path(), spool.path(), 64 << 20, "block").await;
    let known = json!({"command": ["GET", "cache:x"]});
    assert_eq!(
        ask(&sidecar, &dev.app, "/v1/redis/command", &known, "-")
            .await
            .status,
        200
    );
    dev.tell("kill postgres");
    let ids: Vec<String> = (0..40).map(|n| format!("outage-{n}")).collect();
    for id in &ids {
        let body = json!({"command": ["GET", "elsewhere:x"]});
        let reply = ask(&sidecar, &dev.app, "/v1/redis/command", &body, id).await;
        assert_eq!(reply.status, 403, "{}", reply.text);
    }
    sidecar.signal(Signal::KILL);
    let _ = sidecar.child.wait();
    dev.tell("start postgres");
    // Killed again and again while it writes what the one before has left.
    let client = postgres(&dev).await;
    for _ in 0..4 {
        let mut next = Sidecar::start(&dev, |config| {
            let path = spool.path().to_str().unwrap();
            let audit = toml::Table::from_iter([("spool_dir".to_owned(), path.into())]);
            config.insert("audit".into(), audit.into());
        });
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        next.signal(Signal::KILL);
        let _ = next.child.wait();
    }
    let _last = start(&dev, folder.path(), spool.path(), 64 << 20, "block").await;
    let count = async || -> (i64, i64) {
        let row = client
            .query_one(
                "SELECT count(*), count(DISTINCT request_id) FROM audit_logs WHERE request_id LIKE 'outage-%'",
                &[],
            )
            .await
            .unwrap();
        (row.get(0), row.get(1))
    };
    eventually("each refusal has a row", || async { count().await.1 == 40 }).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(count().await, (40, 40), "and one alone");
}

#[tokio::test]
async fn a_statement_during_which_the_sidecar_died_has_an_intent_alone() {
    let dev = Dev::start();
    let client = postgres(&dev).await;
    let folder = policy(&dev, audited("writes"));
    let spool = tempfile::tempdir().unwrap();
    let link = Link::to(SocketAddr::from((Ipv4Addr::LOCALHOST, redis_port(&dev)))).await;
    let mut sidecar = Sidecar::start(&dev, |config| {
        config["policy"]["path"] = folder.path().to_str().unwrap().into();
        redis_through(config, link.port);
        let path = spool.path().to_str().unwrap();
        let audit = toml::Table::from_iter([("spool_dir".to_owned(), path.into())]);
        config.insert("audit".into(), audit.into());
    });
    sidecar.ready().await;
    let set = json!({"command": ["SET", "cache:held", "1"]});
    link.set(Mode::Hold);
    let url = format!("{}/v1/redis/command", sidecar.http);
    let headers = [
        ("authorization", format!("Bearer {}", dev.app)),
        ("x-request-id", "held".to_owned()),
    ];
    let asking = tokio::spawn(async move {
        let client =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http::<http_body_util::Full<bytes::Bytes>>();
        let mut request = hyper::Request::builder().method(Method::POST).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.header("content-type", "application/json");
        let body = http_body_util::Full::new(set.to_string().into());
        // The sidecar dies before it answers.
        drop(client.request(request.body(body).unwrap()).await);
    });
    eventually("the intent is there", || async {
        !rows(&client, "held").await.is_empty()
    })
    .await;
    sidecar.signal(Signal::KILL);
    let _ = sidecar.child.wait();
    link.set(Mode::Open);
    asking.await.unwrap();
    let _next = start(&dev, folder.path(), spool.path(), 64 << 20, "block").await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let found = rows(&client, "held").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].get::<_, &str>(0), "intent");
}

/// A statement that is refused, whose record is long.
fn long() -> Value {
    let tables: Vec<String> = (0..32).map(|n| format!("{}{n}", "t".repeat(60))).collect();
    json!({"sql": format!("SELECT 1 FROM {}", tables.join(", "))})
}

#[tokio::test]
async fn a_full_spool_stops_what_must_be_audited_or_is_counted() {
    let dev = Dev::start();
    let folder = policy(&dev, audited("writes"));
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blocks = start(&dev, folder.path(), one.path(), 1 << 20, "block").await;
    let drops = start(&dev, folder.path(), two.path(), 1 << 20, "drop").await;
    let set = json!({"command": ["SET", "cache:full", "1"]});
    let get = json!({"command": ["GET", "cache:full"]});
    for sidecar in [&blocks, &drops] {
        assert_eq!(
            ask(sidecar, &dev.admin_key, "/v1/redis/command", &get, "-")
                .await
                .status,
            200
        );
        assert_eq!(
            ask(sidecar, &dev.app, "/v1/redis/command", &set, "-")
                .await
                .status,
            200
        );
    }
    dev.tell("kill postgres");
    let failures = "bulkhead_audit_failures_total";
    // The key that has no rate limit fills it, to its last byte.
    let short = json!({"command": ["GET", "elsewhere:x"]});
    for (path, body) in [("/v1/mysql/query", long()), ("/v1/redis/command", short)] {
        eventually("the spool is full", || async {
            let reply = ask(&blocks, &dev.admin_key, path, &body, "-").await;
            assert!([403, 503].contains(&reply.status), "{}", reply.text);
            reply.code() == "audit.unavailable"
        })
        .await;
    }
    let reply = ask(&blocks, &dev.app, "/v1/redis/command", &set, "-").await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "audit.unavailable"),
        "{}",
        reply.text
    );
    assert!(reply.headers.contains_key("retry-after"));
    let health = format!("{}/health", blocks.http);
    let health = send(Method::GET, &health, &[], None).await;
    assert_eq!(health.body["audit"], "failing");
    // What need not be audited goes on.
    let reply = ask(&blocks, &dev.app, "/v1/redis/command", &get, "-").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    eventually("the other one drops", || async {
        let reply = ask(&drops, &dev.admin_key, "/v1/mysql/query", &long(), "-").await;
        assert_eq!(reply.status, 403, "{}", reply.text);
        drops.metric(failures).await > 0.0
    })
    .await;
    let reply = ask(&drops, &dev.app, "/v1/redis/command", &set, "-").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    dev.tell("start postgres");
    eventually("it is drained", || async {
        ask(&blocks, &dev.app, "/v1/redis/command", &set, "-")
            .await
            .status
            == 200
    })
    .await;
    eventually("and empty", || async {
        blocks.metric("bulkhead_audit_spooled").await == 0.0
    })
    .await;
}
