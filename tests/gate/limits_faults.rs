//! Rate limits while Redis is slow, silent, gone or stopped, and across four sidecars.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::isolation::postgres;
use crate::limits::{header, policy, whoami};
use crate::support::link::{Link, Mode};
use crate::support::{self, Dev, Reply, Sidecar, eventually, shared};

/// The Redis server of an environment.
fn redis_pid(dev: &Dev) -> Pid {
    let folder = dev.config.parent().unwrap().canonicalize().unwrap();
    let mut found = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let works_in = std::fs::read_link(entry.path().join("cwd")).ok()?;
        (name.starts_with("redis") && works_in.starts_with(&folder)).then_some(pid)
    });
    Pid::from_raw(found.next().unwrap()).unwrap()
}

/// Goes on when it is dropped, so that a test that fails leaves nothing that cannot be stopped.
struct Stopped(Pid);

impl Stopped {
    fn now(pid: Pid) -> Self {
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// `rediss://user:password@host:port/0` with another port, and the port it had.
pub fn redis_through(config: &mut toml::Table, port: u16) -> u16 {
    let section = config["stores"]["redis"].as_table_mut().unwrap();
    let url = section["url"].as_str().unwrap().to_owned();
    let (before, after) = url.rsplit_once(':').unwrap();
    let (old, path) = after.split_once('/').unwrap_or((after, "0"));
    section.insert("url".into(), format!("{before}:{port}/{path}").into());
    old.parse().unwrap()
}

pub fn redis_port(dev: &Dev) -> u16 {
    let text = std::fs::read_to_string(&dev.config).unwrap();
    redis_through(&mut text.parse().unwrap(), 0)
}

/// A statement that needs no Redis but for the limit.
async fn select(sidecar: &Sidecar, key: &str) -> Reply {
    let body = json!({"sql": "SELECT 1 AS n"});
    sidecar.post(key, "/v1/mysql/query", &body).await
}

async fn mode(sidecar: &Sidecar) -> String {
    let health = support::send(Method::GET, &format!("{}/health", sidecar.http), &[], None).await;
    health.body["rate_limit"].as_str().unwrap().to_owned()
}

async fn until_mode(sidecar: &Sidecar, expected: &str) {
    eventually(expected, || async { mode(sidecar).await == expected }).await;
}

/// How many of so many are admitted; every other is refused as `refused`.
async fn admitted(sidecar: &Sidecar, key: &str, asked: usize, refused: (u16, &str)) -> usize {
    let mut admitted = 0;
    for _ in 0..asked {
        let reply = select(sidecar, key).await;
        if reply.status == 200 {
            admitted += 1;
            continue;
        }
        assert_eq!((reply.status, reply.code()), refused, "{}", reply.text);
        assert!(
            reply.headers.contains_key("retry-after"),
            "{:?}",
            reply.headers
        );
        assert!(
            reply.headers.contains_key("ratelimit-policy"),
            "{:?}",
            reply.headers
        );
    }
    admitted
}

/// Nothing is asked of the limits meanwhile: the limiter looks by itself.
#[tokio::test]
async fn a_redis_that_stops_is_noticed_without_a_request() {
    let dev = Dev::start();
    let sidecar = Sidecar::start(&dev, |_| ());
    sidecar.ready().await;
    until_mode(&sidecar, "shared").await;
    let stopped = Stopped::now(redis_pid(&dev));
    until_mode(&sidecar, "local").await;
    drop(stopped);
    until_mode(&sidecar, "shared").await;
}

#[tokio::test]
async fn without_redis_each_limit_does_as_the_policy_says() {
    let dev = Dev::start();
    let link = Link::to(SocketAddr::from((Ipv4Addr::LOCALHOST, redis_port(&dev)))).await;
    let base = "requests = 1\nper = '1h'\nburst = 1000\nmode = 'exact'\n";
    let folder = policy(
        &dev,
        &format!(
            "[alone]\n{base}on_redis_failure = 'local'\nshare = 100\n\
             [open]\n{base}on_redis_failure = 'open'\n\
             [closed]\n{base}on_redis_failure = 'closed'\n"
        ),
        "rate_limit = 'alone'",
    );
    // Roles beside `app` that differ in their limit.
    let path = folder.path().join("policy.toml");
    let mut whole: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let client = postgres(&dev).await;
    let mut keys = vec![dev.new_key("faults-alone")];
    for name in ["open", "closed"] {
        let mut role = whole["roles"]["app"].clone();
        role.as_table_mut()
            .unwrap()
            .insert("rate_limit".into(), name.into());
        whole["roles"]
            .as_table_mut()
            .unwrap()
            .insert(name.into(), role);
        keys.push(dev.new_key(&format!("faults-{name}")));
        let sql = format!("UPDATE api_keys SET role = '{name}' WHERE name = 'faults-{name}'");
        client.batch_execute(&sql).await.unwrap();
    }
    std::fs::write(&path, whole.to_string()).unwrap();
    let sidecar = Sidecar::start(&dev, |config| {
        config["policy"]["path"] = folder.path().to_str().unwrap().into();
        redis_through(config, link.port);
    });
    sidecar.ready().await;
    until_mode(&sidecar, "shared").await;

    let redis = redis_pid(&dev);
    for (round, fault) in ["hold", "cut", "slow", "stop"].into_iter().enumerate() {
        // A share of a hundredth is ten, which do not come back within the test.
        let stopped = (fault == "stop").then(|| Stopped::now(redis));
        link.set(match fault {
            "hold" => Mode::Hold,
            "cut" => Mode::Cut,
            "slow" => Mode::Delay(Duration::from_millis(30)),
            _ => Mode::Open,
        });
        let closed = admitted(&sidecar, &keys[2], 3, (503, "rate_limit.unavailable")).await;
        assert_eq!(closed, 0, "{fault}");
        assert_eq!(mode(&sidecar).await, "local, open, closed", "{fault}");
        let alone = admitted(&sidecar, &keys[0], 30, (429, "rate_limit.exceeded")).await;
        assert!(alone <= 10 && (round > 0 || alone > 0), "{fault}: {alone}");
        let open = admitted(&sidecar, &keys[1], 50, (0, "")).await;
        assert_eq!(open, 50, "{fault}");
        assert_eq!(
            whoami(&sidecar, &keys[1]).await.body["limits"][0]["remaining"],
            json!(null)
        );
        for (mode, expected) in [
            ("shared", 0.0),
            ("local", 1.0),
            ("open", 1.0),
            ("closed", 1.0),
        ] {
            let series = format!("bulkhead_rate_limit_mode{{mode=\"{mode}\"}}");
            assert_eq!(sidecar.metric(&series).await, expected, "{fault} {mode}");
        }
        link.set(Mode::Open);
        drop(stopped);
        // Nothing but the end of the fault is needed for Redis to count again.
        eventually("the closed limit is counted again", || async {
            select(&sidecar, &keys[2]).await.status == 200
        })
        .await;
        until_mode(&sidecar, "shared").await;
    }
    for outcome in [
        "allowed",
        "local_allowed",
        "local_refused",
        "open_allowed",
        "closed_refused",
    ] {
        let series = format!("bulkhead_rate_limit_total{{outcome=\"{outcome}\"}}");
        assert!(sidecar.metric(&series).await >= 1.0, "{outcome}");
    }
}

/// A sidecar that reaches Redis through a link, under these limits for the role `app`, once Redis counts.
async fn linked(limits: &str) -> (Sidecar, Link, tempfile::TempDir) {
    let dev = shared();
    let link = Link::to(SocketAddr::from((Ipv4Addr::LOCALHOST, redis_port(dev)))).await;
    let folder = policy(dev, limits, "rate_limit = 'app'");
    let sidecar = Sidecar::start(dev, |config| {
        config["policy"]["path"] = folder.path().to_str().unwrap().into();
        redis_through(config, link.port);
    });
    sidecar.ready().await;
    until_mode(&sidecar, "shared").await;
    (sidecar, link, folder)
}

/// The log has the change and its cause once, however many requests meet it.
#[tokio::test]
async fn a_change_of_mode_is_logged_once_and_why() {
    let away = "redis does not count the rate limits";
    let back = "redis counts the rate limits";
    let (sidecar, link, _folder) =
        linked("[app]\nrequests = 1000\nper = '1s'\nmode = 'exact'\n").await;
    let key = shared().new_key("faults-told");
    let count = |words| sidecar.lines_with(&[words]);
    // The log is behind what health says by half a second at most.
    eventually(back, || async { count(back) > 0 }).await;
    // Whether a request or the limiter itself has found out.
    for (fault, cause) in [(Mode::Hold, "\"cause\":\"no"), (Mode::Cut, away)] {
        let (were_away, were_back) = (count(away), count(back));
        link.set(fault);
        select(&sidecar, &key).await;
        until_mode(&sidecar, "local").await;
        eventually(away, || async {
            count(away) > were_away && sidecar.has_logged(cause)
        })
        .await;
        let told = count(away);
        for _ in 0..50 {
            assert_eq!(select(&sidecar, &key).await.status, 200);
        }
        assert_eq!(count(away), told);
        assert!(sidecar.has_logged("\"mode\":\"local\""));
        link.set(Mode::Open);
        until_mode(&sidecar, "shared").await;
        eventually(back, || async { count(back) > were_back }).await;
    }
}

/// While Redis is away, callers are told what this sidecar knows: what its share has left, and nothing of what nobody
/// counts. A share that is smaller than what one statement costs lets that statement through.
#[tokio::test]
async fn what_is_told_without_redis_is_what_is_known() {
    let dev = shared();
    let (sidecar, link, _folder) = linked(
        "[app]\nrequests = 1\nper = '1h'\nburst = 40\nmode = 'exact'\nshare = 20\n\
         cost = { delete = 5 }\n",
    )
    .await;
    link.set(Mode::Cut);
    until_mode(&sidecar, "local").await;
    let delete = json!({"sql": "DELETE FROM posts WHERE id = -1"});
    let selects: Vec<_> = (0..6).map(|_| json!({"sql": "SELECT 1 AS n"})).collect();
    let batch = json!({ "statements": selects });
    let (query, many) = ("/v1/mysql/query", "/v1/mysql/batch");
    let select = json!({"sql": "SELECT 1 AS n"});
    let cases = [
        ("dear", query, &delete, 200, 0),
        ("dear", query, &select, 429, 0),
        ("cheap", query, &select, 200, 4),
        ("cheap", query, &delete, 429, 4),
        // More than the share admits at once, and not more than the limit does.
        ("many", many, &batch, 429, 5),
    ];
    let keys = ["dear", "cheap", "many"].map(|name| (name, dev.new_key(&format!("known-{name}"))));
    for (name, path, body, status, left) in cases {
        let key = &keys.iter().find(|(key, _)| *key == name).unwrap().1;
        let reply = sidecar.post(key, path, body).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text);
        let told = header(&reply, "ratelimit");
        assert!(
            told.starts_with(&format!("\"app\";r={left};")),
            "{name}: {told}"
        );
        let waits = !header(&reply, "retry-after").is_empty();
        assert_eq!(waits, status == 429, "{name}");
        if name == "many" {
            assert!(
                reply.text.contains("allows 5 at once just now"),
                "{}",
                reply.text
            );
        }
    }

    let limits = "[app]\nrequests = 9\nper = '1h'\nmode = 'exact'\non_redis_failure = 'closed'\n";
    let (sidecar, link, _folder) = linked(limits).await;
    link.set(Mode::Cut);
    until_mode(&sidecar, "closed").await;
    let refused = sidecar.post(&keys[0].1, query, &select).await;
    assert_eq!(refused.code(), "rate_limit.unavailable");
    assert_eq!(header(&refused, "ratelimit"), "");
    assert_eq!(header(&refused, "ratelimit-policy"), "\"app\";q=9;w=3600");
}

/// Asks until told to stop; counts what is admitted.
async fn hammer(http: String, key: String, until: Arc<AtomicBool>, admitted: Arc<AtomicU64>) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let body = Bytes::from(json!({"sql": "SELECT 1 AS n"}).to_string());
    while !until.load(Ordering::Relaxed) {
        let request = Request::post(format!("{http}/v1/mysql/query"))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::new(body.clone()));
        let reply = client.request(request.unwrap()).await.unwrap();
        let (parts, body) = reply.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        // What a store has failed with was admitted, too.
        let refused = [b"rate_limit.exceeded".as_slice(), b"rate_limit.unavailable"];
        let is_refused = refused
            .iter()
            .any(|code| text.windows(code.len()).any(|part| part == *code));
        if is_refused {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            assert!(parts.status.as_u16() != 429, "{text:?}");
            admitted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The formula of `docs/limits.md`, with slices of a tenth of the burst that live for half a second.
#[tokio::test]
async fn four_sidecars_together_pass_a_leased_limit_by_no_more_than_the_formula() {
    const SIDECARS: u64 = 4;
    const INTERVAL: Duration = Duration::from_millis(20);
    const BURST: u64 = 50;
    let dev = Dev::start();
    let folder = policy(
        &dev,
        "[app]\nrequests = 50\nper = '1s'\nburst = 50\non_redis_failure = 'closed'\n",
        "rate_limit = 'app'",
    );
    let sidecars: Vec<Sidecar> = (0..SIDECARS)
        .map(|_| {
            Sidecar::start(&dev, |config| {
                config["policy"]["path"] = folder.path().to_str().unwrap().into();
            })
        })
        .collect();
    for sidecar in &sidecars {
        sidecar.ready().await;
        until_mode(sidecar, "shared").await;
    }
    let key = dev.new_key("faults-four");
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let began = Instant::now();
    let callers: Vec<_> = sidecars
        .iter()
        .flat_map(|sidecar| [&sidecar.http; 2])
        .map(|http| {
            tokio::spawn(hammer(
                http.clone(),
                key.clone(),
                Arc::clone(&stop),
                Arc::clone(&count),
            ))
        })
        .collect();
    let redis = redis_pid(&dev);
    for stalled_ms in [0, 40, 300, 0, 700, 5] {
        let stopped = (stalled_ms > 0).then(|| Stopped::now(redis));
        tokio::time::sleep(Duration::from_millis(stalled_ms)).await;
        drop(stopped);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let (window, admitted) = (began.elapsed(), count.load(Ordering::Relaxed));
    let in_time = |time: Duration| time.as_micros().div_ceil(INTERVAL.as_micros()) as u64;
    let slices = SIDECARS * (BURST / 10) + in_time(Duration::from_millis(5));
    let overshoot = slices.min(in_time(Duration::from_millis(500)));
    let most = BURST + in_time(window) + overshoot;
    let mut leased = 0.0;
    for sidecar in &sidecars {
        leased += sidecar
            .metric("bulkhead_rate_limit_total{outcome=\"leased_allowed\"}")
            .await;
    }
    println!(
        "{admitted} admitted in {window:?}, {leased} of them from slices; {most} by the formula"
    );
    assert!(admitted <= most, "{admitted} > {most}");
    assert!(admitted >= BURST && leased > 0.0, "{admitted} {leased}");
}
