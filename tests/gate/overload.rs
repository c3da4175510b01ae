//! More than the sidecar takes: connections, silence, requests. What is refused is told so at once; others are served.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::raw::{Neighbour, PATIENCE, connect, read_to_end, statuses};
use crate::support::{Sidecar, eventually, send, shared};

/// How much memory a connection that says nothing may take, in KiB; a debug build's futures are larger.
const CONNECTION_KIB_MAX: u64 = 64;

fn with_server(entries: &'static [(&'static str, i64)]) -> impl FnOnce(&mut toml::Table) {
    move |config| {
        let server = config["server"].as_table_mut().unwrap();
        for (name, value) in entries {
            server.insert((*name).into(), (*value).into());
        }
    }
}

/// A connection from one of loopback's many addresses.
async fn connect_from(http: &str, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let to = http.strip_prefix("http://").unwrap().parse().unwrap();
    socket.connect(to).await.unwrap()
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

/// The status that a connection is answered with, once it is told to speak.
async fn status(stream: &mut TcpStream) -> u16 {
    stream.write_all(LIVEZ).await.unwrap();
    let mut reply = Vec::new();
    // Every answer here is one JSON object.
    while !reply.ends_with(b"}") {
        let reading = stream.read_buf(&mut reply);
        let read = tokio::time::timeout(PATIENCE, reading).await.unwrap();
        assert!(read.unwrap() > 0, "closed without an answer");
    }
    statuses(&String::from_utf8_lossy(&reply))[0]
}

#[tokio::test]
async fn connections_are_capped_for_all_and_for_each_address() {
    let dev = shared();
    let caps = with_server(&[("connections_max", 12), ("connections_per_peer_max", 5)]);
    let sidecar = Sidecar::start(dev, caps);
    let [one, two, three] = [2, 3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut held = Vec::new();
    for (from, count) in [(one, 5), (two, 5), (three, 2)] {
        for _ in 0..count {
            let mut stream = connect_from(&sidecar.http, from).await;
            assert_eq!(status(&mut stream).await, 200);
            held.push(stream);
        }
        if from == one {
            // Its address is full; another's is not.
            let mut refused = connect_from(&sidecar.http, one).await;
            refused.write_all(LIVEZ).await.unwrap();
            let text = read_to_end(&mut refused).await;
            assert_eq!(statuses(&text), [503], "{text}");
            assert!(
                text.contains("\"code\":\"connections.exhausted\""),
                "{text}"
            );
            assert!(text.contains("retry-after: 1\r\n"), "{text}");
        }
    }
    // All are full.
    let mut refused = connect_from(&sidecar.http, three).await;
    assert_eq!(status(&mut refused).await, 503);
    // A place that is left is free, and those who were let in are still served.
    drop(held.remove(0));
    eventually("a free place", || async {
        let mut stream = connect_from(&sidecar.http, one).await;
        status(&mut stream).await == 200
    })
    .await;
    assert_eq!(status(&mut held[0]).await, 200);
}

/// Sends `first`, and then `then` every now and again; what came back when the other end has closed.
async fn slowly(http: &str, first: &str, then: &str) -> String {
    let (mut incoming, mut outgoing) = connect(http).await.into_split();
    let (first, then) = (first.as_bytes().to_vec(), then.as_bytes().to_vec());
    let trickling = tokio::spawn(async move {
        outgoing.write_all(&first).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !then.is_empty() && outgoing.write_all(&then).await.is_err() {
                return;
            }
        }
    });
    let text = read_to_end(&mut incoming).await;
    trickling.abort();
    text
}

/// Each of these holds a connection, and would for ever.
#[tokio::test]
async fn who_is_slow_to_ask_is_cut() {
    let dev = shared();
    let limits = with_server(&[("receive_timeout_ms", 700), ("send_timeout_ms", 700)]);
    let sidecar = Sidecar::start(dev, limits);
    sidecar.ready().await;
    let neighbour = Neighbour::asks(&sidecar.http, &dev.admin_key, "SELECT 1 AS one");
    let post = format!(
        "POST /v1/postgres/query HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n",
        dev.app
    );
    let stated = format!("{post}content-length: 1000\r\n\r\n");
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    let expecting = format!("{post}content-length: 1000\r\nexpect: 100-continue\r\n\r\n");
    let cases = [
        ("nothing", "", "", &[][..]),
        ("one letter, of either version", "P", "", &[]),
        (
            "half a greeting of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM",
            "",
            &[],
        ),
        (
            "a greeting alone",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "",
            &[],
        ),
        (
            "half a frame",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04",
            "",
            &[],
        ),
        (
            "a head that stops",
            "GET /livez HTTP/1.1\r\nhost: x\r\n",
            "",
            &[],
        ),
        (
            "a head that trickles",
            "GET /livez HTTP/1.1\r\nhost: x\r\nx-a: ",
            "y",
            &[],
        ),
        ("a body that stops", &stated, "", &[400]),
        ("a body that trickles", &stated, " ", &[400]),
        ("chunks that trickle", &chunked, "1\r\n \r\n", &[400]),
        ("a chunk's size that trickles", &chunked, "0", &[400]),
        (
            "a body that waits to be asked for",
            &expecting,
            "",
            &[100, 400],
        ),
        (
            "a second request that does not come",
            "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
            "",
            &[200],
        ),
    ];
    let asking = cases.into_iter().map(|(name, first, then, expected)| {
        let http = &sidecar.http;
        Box::pin(async move {
            let text = slowly(http, first, then).await;
            assert_eq!(statuses(&text), expected, "{name}: {text}");
        })
    });
    futures_util::future::join_all(asking).await;
    neighbour.was_served("slow clients").await;
}

/// Resident memory now, in KiB.
fn resident_kib(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let digits = line.unwrap().split_ascii_whitespace().nth(1);
    digits.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_thousand_idle_connections_take_little_and_others_are_served() {
    // Every connection is an open file here, too.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let mut held = Vec::new();
    let mut at = BTreeMap::new();
    for count in [1, 100, 1_000] {
        while held.len() < count {
            let mut stream = connect(&sidecar.http).await;
            assert_eq!(status(&mut stream).await, 200);
            held.push(stream);
        }
        at.insert(count, resident_kib(&sidecar));
    }
    println!("resident KiB at idle connections: {at:?}");
    let each = at[&1_000].saturating_sub(at[&100]) / 900;
    assert!(each < CONNECTION_KIB_MAX, "{each} KiB each");
    let neighbour = Neighbour::asks(&sidecar.http, &dev.admin_key, "SELECT 1 AS one");
    neighbour.was_served("a thousand idle connections").await;
    drop(held);
}

/// Longer than the round trip of a request, so that a queue forms.
const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
    SELECT count(*) AS c FROM n";

/// One key, without a limit on its rate, asks four times as much at once as there are connections and places to wait;
/// another asks one thing after the other.
async fn flooded(seconds: u64) -> (crate::raw::Served, BTreeMap<String, u64>) {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let pool = "min = 2\nmax = 2\nwaiting_max = 16\nacquire_timeout_ms = 2000";
        let pool: toml::Table = pool.parse().unwrap();
        let postgres = config["stores"]["postgres"].as_table_mut().unwrap();
        postgres.insert("pool".into(), pool.into());
    });
    sidecar.ready().await;
    let url = format!("{}/v1/postgres/query", sidecar.http);
    let headers = [("authorization", format!("Bearer {}", dev.admin_key))];
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    let neighbour = Neighbour::asks(
        &sidecar.http,
        &dev.new_key_as("admin", "polite"),
        "SELECT 1 AS one",
    );
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 * (2 + 16) {
        let (url, headers) = (url.clone(), headers.clone());
        asking.spawn(async move {
            let mut codes = BTreeMap::<String, u64>::new();
            while std::time::Instant::now() < until {
                let body = json!({"sql": SLOW}).to_string();
                let asked = send(hyper::Method::POST, &url, &headers, Some(body));
                let reply = tokio::time::timeout(PATIENCE, asked).await.unwrap();
                assert!([200, 503].contains(&reply.status), "{}", reply.text);
                if reply.status == 503 {
                    assert_eq!(reply.code(), "pool.exhausted", "{}", reply.text);
                    assert!(reply.headers.contains_key("retry-after"));
                    // As a client does that was told to come back.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                *codes.entry(reply.code().to_owned()).or_default() += 1;
            }
            codes
        });
    }
    let mut codes = BTreeMap::new();
    while let Some(asked) = asking.join_next().await {
        for (code, count) in asked.unwrap() {
            *codes.entry(code).or_default() += count;
        }
    }
    (neighbour.stop().await, codes)
}

#[tokio::test]
async fn a_queue_four_times_too_long_is_refused_and_shared() {
    let (served, flood) = flooded(4).await;
    println!(
        "flood {flood:?}; the other key: {} requests, {} failures, p99 {:?}, worst {:?}",
        served.requests,
        served.failures.len(),
        served.p99(),
        served.worst()
    );
    assert!(flood.contains_key("pool.exhausted"), "{flood:?}");
    assert!(flood.contains_key(""), "{flood:?}");
    assert!(served.requests > 1);
    // Its turn comes whatever the other one has asked.
    assert_eq!(served.failures, [""; 0]);
}

/// Long statements of one key leave the last connection to another, whose statements then run.
#[tokio::test]
async fn one_key_does_not_hold_the_whole_pool() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let pool = "min = 1\nmax = 4\nacquire_timeout_ms = 25000";
        let postgres = config["stores"]["postgres"].as_table_mut().unwrap();
        postgres.insert("pool".into(), pool.parse::<toml::Table>().unwrap().into());
    });
    sidecar.ready().await;
    let neighbour = dev.new_key("pool-neighbour");
    let path = "/v1/postgres/query";
    let long = SLOW.replace("20000", "2000000000");
    let long = json!({"sql": long, "timeout_ms": 20000});
    let running = (0..6).map(|_| sidecar.post(&dev.admin_key, path, &long));
    let running = futures_util::future::join_all(running);
    let in_use = "database_connection_pool_in_use{database=\"postgres\"}";
    let beside = async {
        let has_all_but_one = async || sidecar.metric(in_use).await >= 3.0;
        eventually("the key has all but one", has_all_but_one).await;
        for _ in 0..3 {
            let body = json!({"sql": "SELECT 1 AS one"});
            let reply = sidecar.post(&neighbour, path, &body).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            // The others are still at it.
            assert!(sidecar.metric(in_use).await >= 3.0);
        }
    };
    tokio::select! {
        ended = running => {
            let told: Vec<_> = ended.iter().map(|reply| reply.text.as_str()).collect();
            panic!("they ended: {told:?}");
        }
        () = beside => {}
    }
}
