//! What each route answers when all is well.

use hyper::Method;
use serde_json::json;

use crate::support::{self, shared};

#[tokio::test]
async fn rows_are_objects_or_arrays_and_numbers_exact() {
    let dev = shared();
    let body =
        json!({"sql": "SELECT 9007199254740993::int8 AS big, 1.10::numeric AS price, true AS yes"});
    let reply = dev.post(&dev.app, "/v1/postgres/query", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.body["rows"],
        json!([{"big": "9007199254740993", "price": "1.10", "yes": true}])
    );
    let body = json!({"sql": "SELECT 1 AS a, 2 AS a", "rows": "arrays", "numbers": "native"});
    let reply = dev.post(&dev.app, "/v1/mysql/query", &body).await;
    assert_eq!(reply.body["rows"], json!([[1, 2]]), "{}", reply.text);
    let body = json!({"sql": "SELECT 1 AS a, 2 AS a"});
    let reply = dev.post(&dev.app, "/v1/mysql/query", &body).await;
    assert_eq!(reply.code(), "request.invalid");
    assert!(
        reply.body["detail"].as_str().unwrap().contains("alias"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn the_pattern_s_mysql_examples() {
    let dev = shared();
    let sql = "INSERT INTO posts (user_id, title, content, status) VALUES (?, ?, ?, ?)";
    let reply = dev
        .sql(
            "mysql",
            sql,
            json!([1, "A title", "Text \u{1f980}", "draft"]),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let id = reply.body["last_insert_id"].as_str().unwrap().to_owned();
    let reply = dev
        .sql(
            "mysql",
            "SELECT title, content FROM posts WHERE id = ?",
            json!([id]),
        )
        .await;
    assert_eq!(
        reply.body["rows"],
        json!([{"title": "A title", "content": "Text \u{1f980}"}]),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn the_pattern_s_session_example() {
    let dev = shared();
    let sql = "SELECT * FROM sessions WHERE id = $1 AND expires_at > NOW()";
    let reply = dev.sql("postgres", sql, json!(["nobody"])).await;
    assert_eq!(
        (reply.status, &reply.body["rows"]),
        (200, &json!([])),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn mongodb_commands_and_cursors() {
    let dev = shared();
    let run = async |command| {
        dev.post(
            &dev.app,
            "/v1/mongodb/command",
            &json!({"command": command}),
        )
        .await
    };
    let documents: Vec<_> = (0..25)
        .map(|n| json!({"batch": "cursors", "n": n, "big": {"$numberLong": "9007199254740993"}}))
        .collect();
    let reply = run(json!({"insert": "activity_logs", "documents": documents})).await;
    assert_eq!(
        (reply.status, &reply.body["n"]),
        (200, &json!(25)),
        "{}",
        reply.text
    );
    let find = json!({"find": "activity_logs", "filter": {"batch": "cursors"}, "batchSize": 10});
    let reply = run(find).await;
    let cursor = &reply.body["cursor"];
    assert_eq!(
        cursor["firstBatch"].as_array().unwrap().len(),
        10,
        "{}",
        reply.text
    );
    let more = json!({"getMore": {"$numberLong": cursor["id"].to_string()}, "collection": "activity_logs", "batchSize": 100});
    let foreign = dev
        .post(
            &dev.admin_key,
            "/v1/mongodb/command",
            &json!({"command": more}),
        )
        .await;
    assert_ne!(
        foreign.status, 200,
        "another key's cursor: {}",
        foreign.text
    );
    let rest = run(more).await;
    assert_eq!(
        rest.body["cursor"]["nextBatch"].as_array().unwrap().len(),
        15,
        "{}",
        rest.text
    );
    let reply = run(
        json!({"delete": "activity_logs", "deletes": [{"q": {"batch": "cursors"}, "limit": 0}]}),
    )
    .await;
    assert!(reply.body["n"].as_i64().unwrap() >= 25, "{}", reply.text);
}

#[tokio::test]
async fn redis_commands_and_pipelines() {
    let dev = shared();
    let bytes = json!({"$base64": "AP8="});
    let set = json!({"command": ["SET", "cache:bytes", bytes]});
    let reply = dev.post(&dev.app, "/v1/redis/command", &set).await;
    assert_eq!(
        (reply.status, &reply.body),
        (200, &json!({"result": "OK"})),
        "{}",
        reply.text
    );
    let reply = dev
        .post(
            &dev.app,
            "/v1/redis/command",
            &json!({"command": ["GET", "cache:bytes"]}),
        )
        .await;
    assert_eq!(reply.body, json!({"result": {"$base64": "AP8="}}));
    let pipeline = json!({"commands": [["SET", "cache:n", "1"], ["INCR", "cache:n"], ["LPUSH", "cache:n", "x"]]});
    let reply = dev.post(&dev.app, "/v1/redis/pipeline", &pipeline).await;
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(results[1], json!({"result": 2}), "{}", reply.text);
    assert!(
        results[2]["error"]
            .as_str()
            .is_some_and(|error| error.contains("WRONGTYPE")),
        "{}",
        reply.text
    );
    // One command that is not allowed refuses the whole pipeline; nothing ran.
    let mixed =
        json!({"commands": [["SET", "cache:n", "9"], ["GET", "ratelimit:x"]], "atomic": true});
    let reply = dev.post(&dev.app, "/v1/redis/pipeline", &mixed).await;
    assert_eq!(reply.code(), "policy.denied");
    let reply = dev
        .post(
            &dev.app,
            "/v1/redis/command",
            &json!({"command": ["GET", "cache:n"]}),
        )
        .await;
    assert_eq!(reply.body, json!({"result": "2"}));
}

#[tokio::test]
async fn explain_decides_and_executes_nothing() {
    let dev = shared();
    let body = json!({"store": "mysql", "request": "DELETE FROM users WHERE id = 1"});
    let reply = dev.post(&dev.app, "/v1/explain", &body).await;
    assert_eq!(reply.body["decision"], "allow", "{}", reply.text);
    let touch = &reply.body["touches"][0];
    assert_eq!(
        (&touch["object"], &touch["action"], &touch["verdict"]),
        (&"users".into(), &"delete".into(), &"granted".into())
    );
    let body = json!({"store": "redis", "request": ["GET", "ratelimit:x"]});
    let reply = dev.post(&dev.app, "/v1/explain", &body).await;
    assert_eq!(reply.body["code"], "policy.denied");
    let reply = dev
        .sql("mysql", "SELECT id FROM users WHERE id = 1", json!([]))
        .await;
    assert_eq!(reply.body["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn health_and_metrics() {
    let dev = shared();
    let reply = dev.get("/health").await;
    for store in ["postgres", "mysql", "mongodb", "redis"] {
        assert!(reply.body[store]["status"].is_string(), "{}", reply.text);
    }
    assert_eq!(dev.get("/livez").await.status, 200);
    let reply = dev
        .sql("mysql", "SELECT id FROM users WHERE id = 1", json!([]))
        .await;
    assert_eq!(reply.status, 200);
    for series in [
        "database_query_duration_seconds_count{database=\"mysql\"}",
        "database_connection_pool_size{database=\"mysql\"}",
        "database_connection_pool_max{database=\"postgres\"}",
        "bulkhead_requests_total{code=\"ok\",store=\"mysql\"}",
        "bulkhead_policy_decisions_total{code=\"ok\",decision=\"allow\",store=\"mysql\"}",
        "bulkhead_overhead_seconds_count{stage=\"classify\"}",
        "process_resident_memory_bytes",
    ] {
        assert!(dev.metric(series).await > 0.0, "{series}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let dev = shared();
    let (post, read) = ("POST", "GET, HEAD");
    let named = "/v1/postgres/transactions/tx_1/commit";
    for (listener, method, path, allow) in [
        (&dev.http, Method::GET, "/v1/postgres/query", post),
        (&dev.http, Method::PUT, "/v1/redis/pipeline", post),
        (&dev.http, Method::OPTIONS, "/v1/explain", post),
        (&dev.http, Method::DELETE, named, post),
        (&dev.http, Method::POST, "/v1/whoami", read),
        (&dev.http, Method::POST, "/readyz", read),
        (&dev.admin, Method::POST, "/metrics", read),
        (&dev.admin, Method::DELETE, "/health", read),
    ] {
        let url = format!("{listener}{path}");
        let reply = support::send(method, &url, &[], None).await;
        let told = (reply.status, reply.code());
        assert_eq!(told, (405, "route.method_not_allowed"), "{}", reply.text);
        assert_eq!(reply.headers["allow"], allow, "{path}");
    }
    for listener in [&dev.http, &dev.admin] {
        let url = format!("{listener}/livez");
        let reply = support::send(Method::HEAD, &url, &[], None).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
        let url = format!("{listener}/v2/livez");
        let reply = support::send(Method::POST, &url, &[], None).await;
        assert_eq!((reply.status, reply.code()), (404, "route.unknown"));
    }
}

#[tokio::test]
async fn a_callers_request_id_and_trace_are_carried_on() {
    let dev = shared();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("x-request-id", "mine-1".to_owned()),
        ("traceparent", trace.to_owned()),
    ];
    let url = format!("{}/livez", dev.http);
    let reply = support::send(Method::GET, &url, &headers, None).await;
    assert_eq!(reply.headers["x-request-id"], "mine-1");
    assert_eq!(reply.headers["traceparent"], trace);
}
