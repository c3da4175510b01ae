//! What is written is in force: a changed policy takes effect under load, all of it or nothing, and a store whose own
//! grants are not the policy's is held back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use hyper::Method;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use support::{Dev, Sidecar, eventually, send};

/// How often the policy is swapped under load.
const SWAPS: usize = 6;

/// A policy that grants one of two tables.
fn policy(granted: &str) -> String {
    format!(
        "version = 1\n[stores.mysql]\ndatabase = \"enterprise_app_db\"\ntables = [\"users\", \"posts\"]\n\
         [roles.app]\n[[roles.app.grants]]\nstore = \"mysql\"\ntables = [\"{granted}\"]\nactions = [\"select\"]\n"
    )
}

/// Puts a version in place as Kubernetes does with a mounted ConfigMap: a folder of its own, and a link that is
/// replaced in one step.
fn mount(folder: &Path, version: usize, text: &str) {
    let name = format!("..version_{version}");
    std::fs::create_dir(folder.join(&name)).unwrap();
    std::fs::write(folder.join(&name).join("policy.toml"), text).unwrap();
    symlink(&name, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !folder.join("policy.toml").exists() {
        symlink("..data/policy.toml", folder.join("policy.toml")).unwrap();
    }
}

async fn health(sidecar: &Sidecar) -> Value {
    let url = format!("{}/health", sidecar.http);
    send(Method::GET, &url, &[], None).await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_under_load_is_whole() {
    let dev = support::shared();
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), 0, &policy("users"));
    let path = folder.path().display().to_string();
    let sidecar = Arc::new(Sidecar::start(dev, |config| {
        config["policy"]
            .as_table_mut()
            .unwrap()
            .insert("path".into(), path.into());
        config["stores"]
            .as_table_mut()
            .unwrap()
            .retain(|name, _| name == "mysql");
    }));
    sidecar.ready().await;

    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let load = (0..4).map(|_| {
        let (sidecar, stop, asked) = (Arc::clone(&sidecar), Arc::clone(&stop), Arc::clone(&asked));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                for (sql, allowed) in [
                    ("SELECT id FROM users LIMIT 1", [200, 403].as_slice()),
                    ("SELECT id FROM posts LIMIT 1", &[200, 403]),
                    // Each policy grants one of the two; a mixture of them would grant both.
                    ("SELECT u.id FROM users u, posts p LIMIT 1", &[403]),
                ] {
                    let reply = sidecar
                        .post(&dev.app, "/v1/mysql/query", &json!({"sql": sql}))
                        .await;
                    assert!(
                        allowed.contains(&reply.status),
                        "{sql}: {} {}",
                        reply.status,
                        reply.text
                    );
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    let load: Vec<_> = load.collect();
    let mut took = Vec::new();
    for version in 1..=SWAPS {
        let granted = if version % 2 == 0 { "users" } else { "posts" };
        mount(folder.path(), version, &policy(granted));
        let began = Instant::now();
        let sql = format!("SELECT id FROM {granted} LIMIT 1");
        eventually_fast(async || {
            let body = json!({"sql": sql});
            sidecar
                .post(&dev.app, "/v1/mysql/query", &body)
                .await
                .status
                == 200
        })
        .await;
        took.push(began.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    took.sort();
    println!(
        "{SWAPS} swaps under load: {} requests, none failed or mixed; from file to force: median {:?}, longest {:?}",
        asked.load(Ordering::Relaxed),
        took[took.len() / 2],
        took[took.len() - 1],
    );

    let before = health(&sidecar).await["policy"]["digest"].clone();
    mount(
        folder.path(),
        SWAPS + 1,
        "version = 1\n[stores.mysql]\ntable = []\n",
    );
    eventually("the refusal shows", || async {
        health(&sidecar).await["policy"]["refused"].is_object()
    })
    .await;
    let policy_shown = health(&sidecar).await["policy"].clone();
    assert_eq!(policy_shown["digest"], before);
    assert_eq!(policy_shown["refused"]["faults_at"][0], "policy.toml:2");
    let body = json!({"sql": "SELECT id FROM users LIMIT 1"});
    assert_eq!(
        sidecar
            .post(&dev.app, "/v1/mysql/query", &body)
            .await
            .status,
        200
    );

    mount(folder.path(), SWAPS + 2, &policy("posts"));
    eventually("the mended policy is in force", || async {
        let policy = health(&sidecar).await["policy"].clone();
        policy["digest"] != before && policy["refused"].is_null()
    })
    .await;

    let digest = health(&sidecar).await["policy"]["digest"].clone();
    let object = format!("policy:{}", digest.as_str().unwrap());
    eventually("the audit tells which policy is in force", || async {
        let body = json!({
            "sql": "SELECT count(*) AS n FROM audit_logs WHERE action = 'policy.reload' AND objects[1] = $1",
            "params": [object],
        });
        let headers = [("x-api-key", dev.admin_key.clone())];
        let url = format!("{}/v1/postgres/query", dev.http);
        let reply = send(Method::POST, &url, &headers, Some(body.to_string())).await;
        reply.body["rows"][0]["n"].as_str().is_some_and(|n| n != "0")
    })
    .await;
}

/// As [`eventually`], with a finer step, for what is measured.
async fn eventually_fast(mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the change is never in force"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_held_back_until_its_grants_are_the_policys() {
    let dev = Dev::start();
    let sidecar = Sidecar::start(&dev, |config| {
        config["policy"]
            .as_table_mut()
            .unwrap()
            .insert("native_grants".into(), "require".into());
    });
    eventually("the differences are found", || async {
        let health = health(&sidecar).await;
        ["postgres", "mysql", "mongodb", "redis"]
            .iter()
            .all(|store| {
                health[store]["held_back"] == true && health[store]["native_grants"].is_string()
            })
    })
    .await;
    for path in ["readyz", "health"] {
        let url = format!("{}/{path}", sidecar.http);
        assert_eq!(
            send(Method::GET, &url, &[], None).await.status,
            503,
            "{path}"
        );
    }
    assert_eq!(health(&sidecar).await["status"], "degraded");
    let warned = Sidecar::start(&dev, |config| {
        config["policy"]
            .as_table_mut()
            .unwrap()
            .insert("native_grants".into(), "warn".into());
    });
    warned.ready().await;
    eventually("the warning shows, and nothing is held back", || async {
        let url = format!("{}/health", warned.http);
        let reply = send(Method::GET, &url, &[], None).await;
        let told = reply.body["warnings"].as_array().map(Vec::len);
        (reply.status, told) == (200, Some(4)) && reply.body["status"] == "warning"
    })
    .await;
    let metric = |text: &str, series: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.and_then(|value| value.trim().parse::<f64>().ok())
    };
    for (of, held_back) in [(&sidecar, 1.0), (&warned, 0.0)] {
        eventually("the metrics tell it", || async {
            let metrics = send(Method::GET, &format!("{}/metrics", of.admin), &[], None).await;
            let of_mysql =
                |name: &str| metric(&metrics.text, &format!("{name}{{database=\"mysql\"}}"));
            of_mysql("bulkhead_native_grants_differences") > Some(0.0)
                && of_mysql("bulkhead_native_grants_known") == Some(1.0)
                && of_mysql("bulkhead_store_held_back") == Some(held_back)
        })
        .await;
    }
    drop(warned);
    let select = json!({"sql": "SELECT email FROM users"});
    let reply = sidecar.post(&dev.app, "/v1/mysql/query", &select).await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "store.unavailable"),
        "{}",
        reply.text
    );
    assert!(reply.text.contains("held back"), "{}", reply.text);
    let check = dev.bulkhead(&["check"]);
    assert!(
        check.status.success(),
        "nobody asked for it there: {check:?}"
    );

    apply(&dev).await;
    sidecar.ready().await;
    eventually("health follows", || async {
        health(&sidecar).await["status"] == "ok"
    })
    .await;
    for (path, body) in [
        (
            "/v1/mysql/query",
            json!({"sql": "UPDATE users SET name = 'x' WHERE id = 1"}),
        ),
        (
            "/v1/postgres/query",
            json!({"sql": "INSERT INTO audit_logs (action) VALUES ('a')"}),
        ),
        (
            "/v1/mongodb/command",
            json!({"command": {"find": "activity_logs"}}),
        ),
        (
            "/v1/redis/command",
            json!({"command": ["SET", "cache:native", "1"]}),
        ),
        (
            "/v1/redis/command",
            json!({"command": ["SCAN", "0", "MATCH", "cache:*"]}),
        ),
        (
            "/v1/redis/pipeline",
            json!({"commands": [["GET", "cache:native"], ["INCR", "cache:n"]], "atomic": true}),
        ),
    ] {
        let reply = sidecar.post(&dev.app, path, &body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
    let health = async || {
        let url = format!("{}/health", sidecar.http);
        send(Method::GET, &url, &[], None).await.body
    };
    eventually("the limiter's script runs under these grants", || async {
        health().await["rate_limit"] == "shared"
    })
    .await;
    let shared = health().await;
    assert_eq!(shared["redis"]["native_grants"], "clean", "{shared}");
}

/// Applies the printed grants to the account that the sidecars of `dev` use.
async fn apply(dev: &Dev) {
    let config = bulkhead::config::Config::load(&dev.config).unwrap();
    let policy = config.policy.display().to_string();
    let printed = |store: &str, account: &str| {
        let arguments = [
            "policy",
            "grants",
            "--policy",
            &policy,
            "--store",
            store,
            "--format",
            "json",
            "--account",
            account,
        ];
        let output = dev.bulkhead(&arguments);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["commands"].clone()
    };
    let ca = config
        .stores
        .mysql
        .as_ref()
        .unwrap()
        .tls
        .ca_file
        .clone()
        .unwrap();
    let plain = |store: &str| dev.store_url(store).split('?').next().unwrap().to_owned();

    let tls = config.stores.postgres.as_ref().unwrap().tls.clone();
    let tls = bulkhead::execute::tls::client_config(&tls)
        .unwrap()
        .unwrap();
    let mut options: tokio_postgres::Config = plain("postgres").parse().unwrap();
    options.ssl_mode(tokio_postgres::config::SslMode::Require);
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    let (client, connection) = options.connect(tls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(printed("postgres", "bulkhead_app")[0].as_str().unwrap())
        .await
        .unwrap();

    let tls = mysql_async::SslOpts::default().with_root_certs(vec![ca.into()]);
    let options = mysql_async::Opts::from_url(&plain("mysql")).unwrap();
    let options = mysql_async::OptsBuilder::from_opts(options).ssl_opts(tls);
    let mut conn = mysql_async::Conn::new(options).await.unwrap();
    conn.query_drop(printed("mysql", "bulkhead_app@%")[0].as_str().unwrap())
        .await
        .unwrap();

    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb"))
        .await
        .unwrap();
    let admin = client.database("admin");
    for command in printed("mongodb", "bulkhead_app").as_array().unwrap() {
        let command: Document = serde_json::from_value(command.clone()).unwrap();
        admin.run_command(command).await.unwrap();
    }
    let roles = doc! {"updateUser": "bulkhead_app", "roles": ["bulkhead_callers"]};
    admin.run_command(roles).await.unwrap();

    let mut settings = config.stores.redis.clone().unwrap();
    settings.url = dev.store_url("redis").into();
    (settings.user, settings.password) = (None, None);
    let client = bulkhead::execute::redis::driver(&settings).unwrap();
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    for command in printed("redis", "bulkhead_app").as_array().unwrap() {
        let words: Vec<&str> = command
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        // A line that an older server refuses.
        let _ = command.exec_async(&mut conn).await;
    }
}
