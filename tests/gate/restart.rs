//! The sidecar's life: starting before the databases, changing while it runs, and ending without a loss.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::isolation::postgres;
use crate::support::link::{Link, Mode};
use crate::support::{Sidecar, eventually, send, shared};

const RESTARTS: usize = 10;

type Table = toml::Table;

fn set(config: &mut Table, section: &str, values: &[(&str, toml::Value)]) {
    let section = config[section].as_table_mut().unwrap();
    section.extend(
        values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
}

/// Clients of one kind, and what became of their requests.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    made: AtomicU64,
    /// Told to come on another connection before they were sent.
    again: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// One client that asks again and again. `fresh`: each time on a connection of its own.
    async fn ask(self: Arc<Self>, url: String, key: String, version: Version, fresh: bool) {
        let client = || -> Client<HttpConnector, Full<Bytes>> {
            Client::builder(TokioExecutor::new())
                .http2_only(version == Version::HTTP_2)
                .build_http()
        };
        let mut kept = client();
        while !self.stop.load(Ordering::Relaxed) {
            if fresh {
                kept = client();
            }
            let body = json!({"sql": "SELECT 1 AS one"}).to_string();
            let request = Request::post(format!("{url}/v1/postgres/query"))
                .header("authorization", format!("Bearer {key}"))
                .header("content-type", "application/json")
                .body(Full::from(body))
                .unwrap();
            self.made.fetch_add(1, Ordering::Relaxed);
            let fault = match kept.request(request).await {
                Ok(reply) => {
                    let status = reply.status();
                    match reply.into_body().collect().await {
                        Ok(_) if status == 200 => continue,
                        Ok(body) => format!("{status} {:?}", body.to_bytes()),
                        Err(error) => format!("body: {error:?}"),
                    }
                }
                // The connection was told to end while the request was being put on it: it was never processed, and a
                // client sends it on another one (RFC 9113, 6.8), which this pool does not do by itself.
                Err(error) if format!("{error:?}").contains("GoAway(b\"\", NO_ERROR, Remote)") => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Err(error) => format!("{error:?}"),
            };
            self.failed.lock().unwrap().push(fault);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_fail_no_request() {
    let dev = shared();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let start = || {
        Sidecar::start(dev, |config| {
            let listen = format!("127.0.0.1:{port}");
            let shared = [("listen", listen.into()), ("reuse_port", true.into())];
            set(config, "server", &shared);
        })
    };
    let mut old = start();
    old.ready().await;
    let kinds = [
        ("http/1.1, kept alive", Version::HTTP_11, false, 4),
        (
            "http/1.1, each its own connection",
            Version::HTTP_11,
            true,
            1,
        ),
        ("http/2", Version::HTTP_2, false, 4),
        ("http/2, each its own connection", Version::HTTP_2, true, 1),
    ];
    let mut loads = BTreeMap::new();
    let mut clients = Vec::new();
    for (kind, version, fresh, count) in kinds {
        let load = Arc::new(Load::default());
        for _ in 0..count {
            let asking = Arc::clone(&load).ask(url.clone(), dev.admin_key.clone(), version, fresh);
            clients.push(tokio::spawn(asking));
        }
        loads.insert(kind, load);
    }
    for _ in 0..RESTARTS {
        let new = start();
        new.ready().await;
        old.signal(Signal::TERM);
        let code = tokio::task::spawn_blocking(move || old.child.wait().unwrap().code());
        assert_eq!(code.await.unwrap(), Some(0));
        old = new;
    }
    for load in loads.values() {
        load.stop.store(true, Ordering::Relaxed);
    }
    for client in clients {
        client.await.unwrap();
    }
    for (kind, load) in &loads {
        let failed = load.failed.lock().unwrap();
        let made = load.made.load(Ordering::Relaxed);
        println!(
            "{RESTARTS} rolling restarts, {kind}: {made} requests, {} sent again, {} failed",
            load.again.load(Ordering::Relaxed),
            failed.len()
        );
        assert!(made > 0 && failed.is_empty(), "{kind}: {failed:?}");
    }
}

#[tokio::test]
async fn readyz_fails_first_and_the_last_replies_close_their_connections() {
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |config| {
        set(config, "server", &[("drain_delay_ms", 5_000.into())]);
    });
    sidecar.ready().await;
    let address: SocketAddr = sidecar.http.trim_start_matches("http://").parse().unwrap();
    let mut kept = TcpStream::connect(address).await.unwrap();
    let whoami = format!(
        "GET /v1/whoami HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        dev.admin_key
    );
    let mut before = [0; 4096];
    kept.write_all(whoami.as_bytes()).await.unwrap();
    let read = kept.read(&mut before).await.unwrap();
    assert!(String::from_utf8_lossy(&before[..read]).starts_with("HTTP/1.1 200"));

    sidecar.signal(Signal::TERM);
    let readyz = format!("{}/readyz", sidecar.admin);
    eventually("readyz fails", || async {
        send(Method::GET, &readyz, &[], None).await.status == 503
    })
    .await;
    // Work is still done, and the client told to come back elsewhere.
    kept.write_all(whoami.as_bytes()).await.unwrap();
    let mut last = String::new();
    kept.read_to_string(&mut last).await.unwrap();
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert!(last.contains("connection: close"), "{last}");
    assert_eq!(sidecar.child.wait().unwrap().code(), Some(0));
}

/// Longer than any test waits.
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900000000) \
    SELECT count(*) AS c FROM n";

#[tokio::test]
async fn a_second_signal_ends_at_once_and_the_exit_code_says_what_was_cut() {
    let dev = shared();
    let admin = postgres(dev).await;
    for second in [Signal::TERM, Signal::INT] {
        let mut sidecar = Sidecar::start(dev, |config| {
            let long = [
                ("drain_grace_ms", 600_000.into()),
                ("drain_delay_ms", 0.into()),
            ];
            set(config, "server", &long);
            let store = config["stores"]["postgres"].as_table_mut().unwrap();
            store.insert("statement_timeout_ms".into(), 600_000.into());
        });
        sidecar.ready().await;
        let (url, key) = (sidecar.http.clone(), dev.admin_key.clone());
        let asking = tokio::spawn(async move {
            let headers = [("authorization", format!("Bearer {key}"))];
            let body = json!({"sql": ENDLESS}).to_string();
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let request = Request::post(format!("{url}/v1/postgres/query"))
                .header(headers[0].0, &headers[0].1)
                .header("content-type", "application/json")
                .body(Full::from(body))
                .unwrap();
            client.request(request).await.is_err()
        });
        let running = async |what: &str| {
            let sql = format!(
                "SELECT count({what}) FROM pg_stat_activity \
                 WHERE state = 'active' AND query LIKE '%900000000) SELECT%' AND pid <> pg_backend_pid()"
            );
            admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        eventually("the statement runs", async || running("*").await > 0).await;
        sidecar.signal(Signal::TERM);
        let draining = "draining";
        eventually("it drains", async || sidecar.has_logged(draining)).await;
        let began = Instant::now();
        sidecar.signal(second);
        let code = tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap().code());
        assert_eq!(code.await.unwrap(), Some(1));
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(asking.await.unwrap());
        running("pg_terminate_backend(pid)").await;
    }
}

#[tokio::test]
async fn what_was_refused_just_before_the_end_is_recorded() {
    const REFUSED: usize = 20;
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let body = json!({"sql": "SELECT id FROM api_keys"});
    let refused = (0..REFUSED).map(|_| sidecar.post(&dev.app, "/v1/postgres/query", &body));
    let refused = futures_util::future::join_all(refused).await;
    sidecar.signal(Signal::TERM);
    let mut ids = Vec::new();
    for reply in refused {
        assert_eq!(reply.code(), "policy.denied", "{}", reply.text);
        ids.push(reply.headers["x-request-id"].to_str().unwrap().to_owned());
    }
    let code = tokio::task::spawn_blocking(move || sidecar.child.wait().unwrap().code());
    assert_eq!(code.await.unwrap(), Some(0));
    let rows = "SELECT count(*) FROM audit_logs WHERE request_id = ANY($1)";
    let admin = postgres(dev).await;
    let count: i64 = admin.query_one(rows, &[&ids]).await.unwrap().get(0);
    assert_eq!(count, REFUSED as i64);
}

#[tokio::test]
async fn it_starts_before_the_databases() {
    let dev = shared();
    let config = std::fs::read_to_string(&dev.config).unwrap();
    let config: Table = config.parse().unwrap();
    let port = config["system"]["port"].as_integer().unwrap();
    let target = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    let link = Link::to(target).await;
    link.set(Mode::Cut);
    let sidecar = Sidecar::start(dev, |config| {
        set(config, "system", &[("port", i64::from(link.port).into())]);
        let store = config["stores"]["postgres"].as_table_mut().unwrap();
        store.insert("port".into(), i64::from(link.port).into());
    });
    let status = async |path: &str| {
        let url = format!("{}{path}", sidecar.admin);
        send(Method::GET, &url, &[], None).await.status
    };
    assert_eq!(
        (status("/livez").await, status("/readyz").await),
        (200, 503)
    );
    link.set(Mode::Open);
    eventually("it is ready", async || status("/readyz").await == 200).await;
    let body = json!({"sql": "SELECT 1 AS one"});
    let reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test]
async fn hang_up_takes_what_can_change_and_names_what_cannot() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let body = json!({"sql": "SELECT 1 AS one UNION ALL SELECT 2"});
    let rows = async || {
        let reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
        (reply.status, reply.text)
    };
    assert_eq!(rows().await.0, 200);
    let change = |edit: &dyn Fn(&mut Table)| {
        let text = std::fs::read_to_string(&sidecar.config).unwrap();
        let mut config: Table = text.parse().unwrap();
        edit(&mut config);
        std::fs::write(&sidecar.config, config.to_string()).unwrap();
        sidecar.signal(Signal::HUP);
    };
    change(&|config| {
        set(
            config,
            "server",
            &[("rows_max", 1.into()), ("threads", 3.into())],
        );
        let store = config["stores"]["redis"].as_table_mut().unwrap();
        store.insert("in_flight_max".into(), 7.into());
        config.insert(
            "log".into(),
            Table::from_iter([("filter".into(), "warn".into())]).into(),
        );
    });
    eventually("fewer rows are allowed", async || rows().await.0 != 200).await;
    for said in [
        "[server] threads changed: takes a restart",
        "[stores.redis] in_flight_max changed: takes a restart",
        "[server] rows_max",
    ] {
        assert!(sidecar.has_logged(said), "{said}");
    }
    // The log's filter is another: what was told at `info` is not told any more.
    change(&|config| set(config, "server", &[("rows_max", 100.into())]));
    eventually("more rows are allowed", async || rows().await.0 == 200).await;
    // A configuration that is not valid changes nothing.
    change(&|config| {
        set(
            config,
            "server",
            &[("rows_max", 1.into()), ("nonsense", 1.into())],
        )
    });
    eventually("it is refused", async || {
        sidecar.has_logged("the configuration is not valid; the one before stays in force")
    })
    .await;
    assert_eq!(rows().await.0, 200);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
