//! What large results and requests cost the sidecar in memory. `BULKHEAD_CURVE=7` draws the curve up to 10^7 rows,
//! `BULKHEAD_CURVE_STORE=mysql` of one store.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stream::open;
use crate::support::{Dev, Sidecar, shared};

/// How much more the longest stream may hold than the shortest, in KiB. Allocators and pools have their moods.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

pub const MIB: usize = 1 << 20;

/// The most that the process has had in memory since the last [`forget_peak`], in KiB.
pub fn peak_kib(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let digits = line.unwrap().split_ascii_whitespace().nth(1);
    digits.unwrap().parse().unwrap()
}

/// How far the peak has risen over `before`, in KiB. It may be a little lower: the kernel counts resident pages by
/// processor, and the allocator gives pages back meanwhile.
pub fn grown_kib(sidecar: &Sidecar, before: u64) -> u64 {
    peak_kib(sidecar).saturating_sub(before)
}

pub fn forget_peak(sidecar: &Sidecar) {
    std::fs::write(format!("/proc/{}/clear_refs", sidecar.child.id()), "5").unwrap();
}

async fn sidecar(dev: &Dev) -> Sidecar {
    let sidecar = Sidecar::start(dev, |config| {
        for store in ["postgres", "mysql", "mongodb"] {
            let section = config["stores"][store].as_table_mut().unwrap();
            section.insert("statement_timeout_ms".into(), 3_600_000.into());
        }
    });
    sidecar.ready().await;
    sidecar
}

/// Reads a stream to its end; returns the number of its lines.
async fn count(sidecar: &Sidecar, dev: &Dev, path: &str, body: &serde_json::Value) -> usize {
    let accept = [("accept", "application/x-ndjson")];
    let mut reply = open(&sidecar.http, &dev.app, path, &accept, body).await;
    let mut lines = 0;
    let mut last = Vec::new();
    while let Some(frame) = reply.body_mut().frame().await {
        let frame = frame.unwrap();
        let data = frame.data_ref().unwrap();
        lines += data.iter().filter(|byte| **byte == b'\n').count();
        last = data.to_vec();
    }
    let last = String::from_utf8_lossy(&last);
    assert!(last.contains("\"complete\":true"), "{last}");
    lines
}

#[tokio::test]
async fn a_long_stream_costs_no_more_memory_than_a_short_one() {
    let dev = shared();
    let sidecar = sidecar(dev).await;
    let digits = std::env::var("BULKHEAD_CURVE").ok();
    let digits: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap_or(5);
    let documents: Vec<_> = (0..1000).map(|n| json!({"n": n})).collect();
    let insert = json!({"command": {"insert": "analytics_events", "documents": documents}});
    let reply = sidecar.post(&dev.app, "/v1/mongodb/command", &insert).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let ten = "SELECT 0 AS i UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
               UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9";
    let only = std::env::var("BULKHEAD_CURVE_STORE").ok();
    let stores = ["postgres", "mysql", "mongodb"].into_iter();
    for store in stores.filter(|store| only.as_deref().is_none_or(|only| only == *store)) {
        let mut first = None;
        for digits in 3..=digits {
            let rows = 10_usize.pow(digits);
            let (path, body) = match store {
                "postgres" => (
                    "/v1/postgres/query",
                    json!({"sql": format!("SELECT generate_series(1, {rows})::int8 AS i, 'some text' AS t, now() AS at")}),
                ),
                "mysql" => {
                    let tables: Vec<_> = (0..digits).map(|n| format!("({ten}) AS t{n}")).collect();
                    let from = tables.join(" CROSS JOIN ");
                    let sql = format!("SELECT t0.i, 'some text' AS t, NOW() AS at FROM {from}");
                    ("/v1/mysql/query", json!({"sql": sql}))
                }
                _ => {
                    let range = json!({"$range": [0, rows / 1000]});
                    let pipeline = json!([
                        {"$limit": 1000}, {"$project": {"t": "some text", "i": range}}, {"$unwind": "$i"},
                    ]);
                    let aggregate = json!({"aggregate": "analytics_events", "pipeline": pipeline, "cursor": {}});
                    ("/v1/mongodb/command", json!({"command": aggregate}))
                }
            };
            forget_peak(&sidecar);
            let began = Instant::now();
            assert_eq!(count(&sidecar, dev, path, &body).await, rows + 2);
            let (peak, took) = (peak_kib(&sidecar), began.elapsed());
            eprintln!("{store} {rows} rows: peak {peak} KiB, {took:?}");
            let first = *first.get_or_insert(peak);
            assert!(
                peak < first + GROWTH_KIB_MAX,
                "{store}: {first} KiB, then {peak}"
            );
        }
    }
}

#[tokio::test]
async fn a_large_insert_works_and_a_huge_one_is_refused_unread() {
    let dev = shared();
    let sidecar = sidecar(dev).await;
    for (store, insert, row, delete) in [
        (
            "mysql",
            "INSERT INTO posts (user_id, title, content, status)",
            "(1, '#', '$', 'draft')",
            "DELETE FROM posts WHERE title LIKE 'large-%'",
        ),
        (
            "postgres",
            "INSERT INTO sessions (id, user_id, data, expires_at)",
            "('#', 'large', '\"$\"', '2099-01-01')",
            "DELETE FROM sessions WHERE user_id = 'large'",
        ),
    ] {
        let content = "it''s text ".repeat(750);
        let rows = 50 * MIB / (content.len() + row.len());
        let row = |n: usize| {
            row.replace('#', &format!("large-{n}"))
                .replace('$', &content)
        };
        let values: Vec<_> = (0..rows).map(row).collect();
        let body = json!({"sql": format!("{insert} VALUES {}", values.join(","))});
        let path = format!("/v1/{store}/query");
        forget_peak(&sidecar);
        let before = peak_kib(&sidecar);
        let began = Instant::now();
        let reply = sidecar.post(&dev.app, &path, &body).await;
        let (took, grown) = (began.elapsed(), grown_kib(&sidecar, before));
        eprintln!("{store}: an INSERT of 50 MiB: {grown} KiB, {took:?}");
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.body["rows_affected"], rows);
        assert!(grown < 512 * 1024, "{store}: {grown} KiB");
        let reply = sidecar.post(&dev.app, &path, &json!({"sql": delete})).await;
        assert_eq!(reply.body["rows_affected"], rows, "{}", reply.text);
    }

    // Its length alone is enough; of a body without one, no more is read than may be.
    let address = sidecar.http.strip_prefix("http://").unwrap();
    for (framing, is_stated) in [
        ("content-length: 1073741824", true),
        ("transfer-encoding: chunked", false),
    ] {
        forget_peak(&sidecar);
        let before = peak_kib(&sidecar);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/mysql/query HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n",
            dev.app
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut incoming, mut outgoing) = stream.into_split();
        let sending = tokio::spawn(async move {
            let chunk = [b"100000\r\n".as_slice(), &vec![b' '; MIB], b"\r\n"].concat();
            while !is_stated && outgoing.write_all(&chunk).await.is_ok() {}
            outgoing
        });
        let mut answer = [0; 12];
        let reading = incoming.read_exact(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
        read.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
        sending.abort();
        let grown = grown_kib(&sidecar, before);
        eprintln!("{framing}: {grown} KiB");
        let bound = if is_stated { 16 } else { 160 };
        assert!(grown < bound * 1024, "{framing}: {grown} KiB");
    }
}

#[tokio::test]
async fn bodies_and_replies_share_one_budget() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("memory_bytes_max".into(), (8 * MIB as i64).into());
    });
    sidecar.ready().await;
    let body = json!({"sql": "SELECT repeat('x', 9000000) AS x"});
    let reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_eq!(reply.code(), "memory.exhausted");
    assert!(reply.headers.contains_key("retry-after"));
    let large = json!({"sql": "SELECT 1", "params": ["x".repeat(9_000_000)]});
    let reply = sidecar.post(&dev.app, "/v1/postgres/query", &large).await;
    assert_eq!(reply.code(), "memory.exhausted", "{}", reply.text);
    // It all came back.
    for _ in 0..3 {
        let body =
            json!({"sql": "SELECT length(repeat('x', 3000000)) AS x, repeat('y', 3000000) AS y"});
        let reply = sidecar.post(&dev.app, "/v1/postgres/query", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
}

/// What a caller only says that it will send takes nothing from others, and what it sends leaves them half.
#[tokio::test]
async fn one_key_takes_no_more_than_half_of_the_budget() {
    const BODY: usize = 4 * MIB;
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("memory_bytes_max".into(), (16 * MIB as i64).into());
        server.insert("body_bytes_max".into(), (BODY as i64).into());
    });
    sidecar.ready().await;
    let host = sidecar.http.strip_prefix("http://").unwrap();
    let begin = async |sent: usize| {
        let mut stream = TcpStream::connect(host).await.unwrap();
        let head = format!(
            "POST /v1/postgres/query HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n{}",
            dev.app,
            " ".repeat(sent)
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let small = json!({"sql": "SELECT 1 AS x"});
    let stated: Vec<TcpStream> = futures_util::future::join_all((0..12).map(|_| begin(1))).await;
    let mut padded = small.to_string();
    padded.push_str(&" ".repeat(3 * MIB));
    let neighbour = dev.new_key("memory-neighbour");
    for _ in 0..3 {
        for key in [&neighbour, &dev.app] {
            let reply = sidecar.post(key, "/v1/postgres/query", &small).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    drop(stated);
    // What has arrived counts: of five such bodies two fit into a half, and the others are refused.
    let sent: Vec<TcpStream> =
        futures_util::future::join_all((0..5).map(|_| begin(BODY - 1))).await;
    let refused = async || {
        let reply = sidecar.post(&dev.app, "/v1/postgres/query", &small).await;
        reply.code() == "memory.exhausted"
    };
    crate::support::eventually("the key has its half", refused).await;
    let url = format!("{}/v1/postgres/query", sidecar.http);
    let headers = [("x-api-key", neighbour.clone())];
    let reply = crate::support::send(hyper::Method::POST, &url, &headers, Some(padded)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    drop(sent);
}
