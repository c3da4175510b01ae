//! Results as streams of lines: their form, their end, who may hold them up and for how long.

use std::time::Duration;

use bson::doc;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mysql_async::prelude::Queryable as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::isolation::{mysql, postgres};
use crate::support::{Dev, Sidecar, eventually, shared};

/// Makes a document longer than sockets hold many of.
const LONG: &str =
    "some text that is read by nobody, again and again, so that the stream cannot end by itself; ";

const STREAM: (&str, &str) = ("accept", "application/x-ndjson");

/// Sends a request and returns when its head is there.
pub async fn open(
    http: &str,
    key: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::post(format!("{http}{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::from(body.to_string()));
    client.request(request.body(body).unwrap()).await.unwrap()
}

async fn lines(dev: &Dev, path: &str, body: &Value) -> Vec<Value> {
    let reply = open(&dev.http, &dev.app, path, &[STREAM], body).await;
    let content_type = reply.headers()["content-type"].clone();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(content_type, "application/x-ndjson", "{text}");
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `10^digits` rows of MySQL, without a table.
fn many(digits: usize) -> String {
    let ten: Vec<_> = (0..10).map(|n| format!("SELECT {n} AS i")).collect();
    let ten = ten.join(" UNION ALL ");
    let sources: Vec<_> = (0..digits).map(|n| format!("({ten}) AS t{n}")).collect();
    format!("SELECT t0.i FROM {}", sources.join(" CROSS JOIN "))
}

#[tokio::test]
async fn a_stream_has_columns_rows_and_an_end() {
    let dev = shared();
    let sql = json!({"sql": "SELECT i, i * 10::int8 AS big FROM generate_series(1, 3) AS i"});
    assert_eq!(
        lines(dev, "/v1/postgres/query", &sql).await,
        [
            json!({"columns": [{"name": "i", "type": "int4"}, {"name": "big", "type": "int8"}]}),
            json!([1, "10"]),
            json!([2, "20"]),
            json!([3, "30"]),
            json!({"complete": true, "rows_affected": 3}),
        ]
    );
    let seen = lines(dev, "/v1/mysql/query", &json!({"sql": many(2)})).await;
    assert_eq!(seen.len(), 102);
    assert_eq!(seen[101], json!({"complete": true, "rows_affected": 100}));

    let documents: Vec<_> = (0..150).map(|n| json!({"_id": format!("s{n}")})).collect();
    let insert = json!({"command": {"insert": "activity_logs", "documents": documents}});
    let seen = lines(dev, "/v1/mongodb/command", &insert).await;
    assert_eq!(seen[1][0]["n"], 150, "{}", seen[1]);
    let filter = json!({"_id": {"$regex": "^s"}});
    let find = json!({"command": {"find": "activity_logs", "filter": filter, "sort": {"_id": 1}, "batchSize": 20}});
    let seen = lines(dev, "/v1/mongodb/command", &find).await;
    assert_eq!(
        seen[0],
        json!({"columns": [{"name": "document", "type": "document"}]})
    );
    assert_eq!(seen[1], json!([{"_id": "s0"}]));
    assert_eq!(seen[151], json!({"complete": true, "rows_affected": 150}));
}

#[tokio::test]
async fn what_is_refused_is_no_stream() {
    let dev = shared();
    for (path, body, status, code) in [
        (
            "/v1/postgres/query",
            json!({"sql": "SELECT * FROM users"}),
            403,
            "policy.wrong_store",
        ),
        (
            "/v1/postgres/query",
            json!({"sql": "SELECT $1::int4", "params": ["x"]}),
            400,
            "request.invalid",
        ),
        (
            "/v1/mysql/query",
            json!({"sql": "SELECT 1", "rows": "objects"}),
            400,
            "request.invalid",
        ),
        (
            "/v1/mongodb/command",
            json!({"command": {"find": "users"}}),
            403,
            "policy.wrong_store",
        ),
    ] {
        let reply = open(&dev.http, &dev.app, path, &[STREAM], &body).await;
        assert_eq!(reply.status(), status, "{path} {body}");
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(problem["code"], code, "{problem}");
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_is_the_last_line() {
    let dev = shared();
    let sql = json!({"sql": "SELECT 10 / (3 - i) FROM generate_series(1, 9) AS i"});
    let seen = lines(dev, "/v1/postgres/query", &sql).await;
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(seen[3]["error"]["sqlstate"], "22012", "{seen:?}");
    assert_eq!(seen[3]["error"]["code"], "store.error");

    let sql = json!({"sql": "SELECT i FROM generate_series(1, 9) AS i", "max_rows": 2});
    let seen = lines(dev, "/v1/postgres/query", &sql).await;
    assert_eq!(seen[1..3], [json!([1]), json!([2])]);
    assert_eq!(seen[3]["error"]["code"], "request.invalid");

    let sql = json!({"sql": many(9), "timeout_ms": 300});
    let seen = lines(dev, "/v1/mysql/query", &sql).await;
    assert_eq!(seen.last().unwrap()["error"]["code"], "store.timeout");
}

#[tokio::test]
async fn the_plain_form_is_bounded_and_names_the_stream() {
    let dev = shared();
    let sql = "SELECT i FROM generate_series(1, 100001) AS i";
    let reply = dev.sql("postgres", sql, json!([])).await;
    assert_eq!(reply.code(), "request.invalid", "{}", reply.text);
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("application/x-ndjson"), "{detail}");
    let seen = lines(dev, "/v1/postgres/query", &json!({"sql": sql})).await;
    assert_eq!(seen.len(), 100_003);
}

/// How many of the callers' statements that hold `marker` run on PostgreSQL.
async fn running(postgres: &tokio_postgres::Client, marker: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                 AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()";
    postgres.query_one(count, &[&marker]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_statement() {
    let dev = shared();
    let admin = postgres(dev).await;
    let endless = "SELECT generate_series(1, 100000000) AS leaver";
    // One whose rows are under way, and one that has none yet, nor a head.
    let quiet = "SELECT count(*) AS leaver FROM generate_series(1, 30000) AS a, generate_series(1, 30000) AS b";
    for sql in [endless, quiet] {
        let asking = tokio::spawn(async move {
            let body = json!({"sql": sql});
            let request = open(&dev.http, &dev.app, "/v1/postgres/query", &[STREAM], &body);
            let mut reply = request.await;
            reply.body_mut().frame().await.unwrap().unwrap();
            std::future::pending::<()>().await;
        });
        eventually("the statement runs", || async {
            running(&admin, "leaver").await > 0
        })
        .await;
        asking.abort();
        eventually("the statement is cancelled", || async {
            running(&admin, "leaver").await == 0
        })
        .await;
    }
    eventually("the record tells of it", || async {
        let series = "bulkhead_requests_total{code=\"request.abandoned\",store=\"postgres\"}";
        dev.metric(series).await >= 2.0
    })
    .await;

    let mut root = mysql(dev).await;
    let body = json!({"sql": many(9)});
    let request = open(&dev.http, &dev.app, "/v1/mysql/query", &[STREAM], &body);
    let mut reply = request.await;
    reply.body_mut().frame().await.unwrap().unwrap();
    drop(reply);
    let began = std::time::Instant::now();
    loop {
        let busy: Option<i64> = root
            .query_first(
                "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT%t8%'",
            )
            .await
            .unwrap();
        // The one that asks is in the list too.
        if busy == Some(1) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it runs on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reply = dev.sql("mysql", "SELECT 1 AS one", json!([])).await;
    assert_eq!(reply.body["rows"], json!([{"one": 1}]), "{}", reply.text);
}

/// Operations and idle cursors of MongoDB whose command has this comment.
async fn cursors_with(database: &mongodb::Database, comment: &str) -> usize {
    let marked = doc! {"$or": [
        {"command.comment": comment}, {"cursor.originatingCommand.comment": comment},
    ]};
    let operations = doc! {"$currentOp": {"allUsers": true, "idleCursors": true}};
    // What looks for them has the comment in its own pipeline, not as its comment.
    let pipeline = vec![operations, doc! {"$match": marked}];
    let found = database.aggregate(pipeline).await.unwrap();
    found.try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_of_mongodb_ends_its_cursor() {
    let dev = shared();
    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb")).await;
    let admin = client.unwrap().database("admin");
    let insert = json!({"command": {"insert": "event_store", "documents": [{"_id": "leaver"}]}});
    let reply = dev.post(&dev.app, "/v1/mongodb/command", &insert).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let pipeline = json!([
        {"$match": {"_id": "leaver"}}, {"$project": {"i": {"$range": [0, 1_000_000]}}}, {"$unwind": "$i"},
        {"$project": {"text": {"$concat": [LONG, LONG, LONG]}}},
    ]);
    let comment = "a stream that is left";
    let aggregate =
        json!({"aggregate": "event_store", "pipeline": pipeline, "cursor": {}, "comment": comment});
    let body = json!({"command": aggregate});
    let request = open(&dev.http, &dev.app, "/v1/mongodb/command", &[STREAM], &body);
    let mut reply = request.await;
    reply.body_mut().frame().await.unwrap().unwrap();
    eventually("the cursor is there", || async {
        cursors_with(&admin, comment).await > 0
    })
    .await;
    drop(reply);
    eventually("the cursor is killed", || async {
        cursors_with(&admin, comment).await == 0
    })
    .await;
    eventually("the record tells of it", || async {
        let series = "bulkhead_requests_total{code=\"request.abandoned\",store=\"mongodb\"}";
        dev.metric(series).await >= 1.0
    })
    .await;
}

fn with_server(table: &mut toml::Table, key: &str, value: i64) {
    let server = table["server"].as_table_mut().unwrap();
    server.insert(key.to_owned(), value.into());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let dev = shared();
    let admin = postgres(dev).await;
    let sidecar = Sidecar::start(dev, |config| with_server(config, "send_timeout_ms", 300));
    sidecar.ready().await;
    let abandoned = "SELECT generate_series(1, 100000000) AS idler";
    let large = "SELECT repeat('x', 30000000) AS idler";
    for (accept, sql, is_http2) in [
        ("application/x-ndjson", abandoned, false),
        ("application/x-ndjson", abandoned, true),
        ("application/json", large, false),
        ("application/json", large, true),
    ] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(is_http2)
            .build_http::<Full<Bytes>>();
        let request = Request::post(format!("{}/v1/postgres/query", sidecar.http))
            .header("authorization", format!("Bearer {}", dev.app))
            .header("content-type", "application/json")
            .header("accept", accept)
            .body(Full::new(Bytes::from(json!({"sql": sql}).to_string())))
            .unwrap();
        let mut reply = client.request(request).await.unwrap();
        assert_eq!(reply.status(), 200);
        eventually("the statement has ended", || async {
            running(&admin, "idler").await == 0
        })
        .await;
        // Long enough for what is on its way to be given up.
        tokio::time::sleep(Duration::from_millis(900)).await;
        let cut = loop {
            match reply.body_mut().frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(cut, "{accept}, HTTP/2: {is_http2}");
    }
}

#[tokio::test]
async fn a_stream_in_flight_finishes_while_the_sidecar_drains() {
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |_| {});
    sidecar.ready().await;
    let body = json!({"sql": "SELECT i FROM generate_series(1, 300000) AS i"});
    let request = open(
        &sidecar.http,
        &dev.app,
        "/v1/postgres/query",
        &[STREAM],
        &body,
    );
    let mut reply = request.await;
    let mut seen = reply.body_mut().frame().await.unwrap().unwrap();
    sidecar.signal(Signal::TERM);
    let mut text = Vec::new();
    loop {
        text.extend_from_slice(seen.data_ref().unwrap());
        match reply.body_mut().frame().await {
            Some(frame) => seen = frame.unwrap(),
            None => break,
        }
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count(), 300_002);
    assert!(text.ends_with("{\"complete\":true,\"rows_affected\":300000}\n"));
    assert_eq!(sidecar.child.wait().unwrap().code(), Some(0));
}

fn unpack(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut text = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut text)
            .unwrap(),
        _ => zstd::stream::read::Decoder::new(bytes)
            .unwrap()
            .read_to_end(&mut text)
            .unwrap(),
    };
    text
}

#[tokio::test]
async fn replies_and_requests_are_packed_where_the_caller_asks() {
    let dev = shared();
    let sql = "SELECT i, repeat('x', 50) AS x FROM generate_series(1, 3000) AS i";
    let body = json!({"sql": sql});
    for accept in ["application/json", "application/x-ndjson"] {
        let path = "/v1/postgres/query";
        let plain = open(&dev.http, &dev.app, path, &[("accept", accept)], &body).await;
        assert!(plain.headers().get("content-encoding").is_none());
        let plain = plain.into_body().collect().await.unwrap().to_bytes();
        for coding in ["gzip", "zstd"] {
            let headers = [("accept", accept), ("accept-encoding", coding)];
            let packed = open(&dev.http, &dev.app, path, &headers, &body).await;
            assert_eq!(packed.headers()["content-encoding"], coding);
            let packed = packed.into_body().collect().await.unwrap().to_bytes();
            assert!(packed.len() * 4 < plain.len(), "{} bytes", packed.len());
            assert_eq!(unpack(coding, &packed), plain, "{accept} {coding}");
        }
    }

    let bomb = json!({"sql": "SELECT 1", "params": [" ".repeat(70 << 20)]}).to_string();
    let fine = json!({"sql": "SELECT 1 AS one"}).to_string();
    for coding in ["gzip", "zstd", "br"] {
        for (body, status) in [(&fine, 200), (&bomb, 413)] {
            let packed = match coding {
                "zstd" => zstd::encode_all(body.as_bytes(), 1).unwrap(),
                _ => {
                    use std::io::Write as _;
                    let mut encoder =
                        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(body.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
            };
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let request = Request::post(format!("{}/v1/postgres/query", dev.http))
                .header("authorization", format!("Bearer {}", dev.app))
                .header("content-type", "application/json")
                .header("content-encoding", coding)
                .body(Full::new(Bytes::from(packed)))
                .unwrap();
            let reply = client.request(request).await.unwrap();
            let expected = if coding == "br" { 415 } else { status };
            assert_eq!(reply.status(), expected, "{coding}");
        }
    }
}
