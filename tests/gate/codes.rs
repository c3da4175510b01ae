//! Every error code of the HTTP interface, produced by a request.

use hyper::Method;
use serde_json::json;

use crate::support::{self, shared};

#[tokio::test]
async fn requests_that_are_not_understood() {
    let dev = shared();
    for (path, body, status, code) in [
        ("/v1/mysql/query", "{", 400, "request.invalid"),
        (
            "/v1/mysql/query",
            r#"{"sql":"SELECT 1","param":[]}"#,
            400,
            "request.invalid",
        ),
        (
            "/v1/mysql/query",
            r#"{"sql":"SELEKT 1"}"#,
            400,
            "statement.unparsable",
        ),
        (
            "/v1/postgres/query",
            r#"{"sql":"SELEKT 1"}"#,
            400,
            "statement.unparsable",
        ),
        (
            "/v1/postgres/query",
            r#"{"sql":"SELECT 1; SELECT 2"}"#,
            403,
            "policy.forbidden_statement",
        ),
        ("/v1/redis/query", "{}", 404, "route.unknown"),
        ("/v1/postgres/batch", "{}", 400, "request.invalid"),
        ("/v1/redis/batch", "{}", 404, "route.unknown"),
    ] {
        let headers = [("x-api-key", dev.app.clone())];
        let url = format!("{}{path}", dev.http);
        let reply = support::send(Method::POST, &url, &headers, Some(body.into())).await;
        assert_eq!(
            (reply.status, reply.code()),
            (status, code),
            "{path} {body}: {}",
            reply.text
        );
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        assert_eq!(reply.body["status"], status);
        assert!(
            reply.body["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
    }
}

#[tokio::test]
async fn media_type_and_size() {
    let dev = shared();
    let url = format!("{}/v1/mysql/query", dev.http);
    let plain = [
        ("x-api-key", dev.app.clone()),
        ("content-type", "text/plain".into()),
    ];
    let reply = support::send(Method::POST, &url, &plain, Some("{}".into())).await;
    assert_eq!((reply.status, reply.code()), (415, "request.media_type"));
    let headers = [("x-api-key", dev.app.clone())];
    let body = format!(r#"{{"sql":"{}"}}"#, "x".repeat(65 << 20));
    let reply = support::send(Method::POST, &url, &headers, Some(body)).await;
    assert_eq!((reply.status, reply.code()), (413, "request.too_large"));
}

#[tokio::test]
async fn the_policys_four_noes() {
    let dev = shared();
    for (store, sql, code) in [
        ("postgres", "SELECT * FROM api_keys", "policy.denied"),
        ("postgres", "DELETE FROM system_config", "policy.denied"),
        ("postgres", "SELECT * FROM users", "policy.wrong_store"),
        (
            "mysql",
            "SELECT * FROM nothing_of_the_kind",
            "policy.unknown_object",
        ),
        (
            "postgres",
            "SELECT * FROM pg_catalog.pg_authid",
            "policy.unknown_object",
        ),
        (
            "postgres",
            "SELECT pg_read_file('/etc/passwd')",
            "policy.forbidden_statement",
        ),
        (
            "postgres",
            "SET search_path TO other",
            "policy.forbidden_statement",
        ),
        ("mysql", "SELECT SLEEP(10)", "policy.forbidden_statement"),
    ] {
        let reply = dev.sql(store, sql, json!([])).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, code),
            "{sql}: {}",
            reply.text
        );
    }
    let command = json!({"command": {"find": "activity_logs", "filter": {"$where": "true"}}});
    let reply = dev.post(&dev.app, "/v1/mongodb/command", &command).await;
    assert_eq!(reply.code(), "policy.forbidden_statement", "{}", reply.text);
    for (command, code) in [
        (json!(["GET", "elsewhere"]), "policy.unknown_object"),
        (json!(["GET", "ratelimit:x"]), "policy.denied"),
        (json!(["FLUSHALL"]), "policy.forbidden_statement"),
    ] {
        let reply = dev
            .post(&dev.app, "/v1/redis/command", &json!({"command": command}))
            .await;
        assert_eq!(reply.code(), code, "{command}: {}", reply.text);
    }
}

#[tokio::test]
async fn the_stores_own_noes() {
    let dev = shared();
    let insert = "INSERT INTO system_config (key, value) VALUES ($1, $2)";
    let reply = dev.sql("postgres", "SELECT 1/0 AS x", json!([])).await;
    assert_eq!(
        (reply.status, reply.code()),
        (422, "store.error"),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["sqlstate"], "22012");
    let session = "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, $3)";
    let params = json!(["twice", "1", "2099-01-01T00:00:00Z"]);
    let _ = dev.sql("postgres", session, params.clone()).await;
    let reply = dev.sql("postgres", session, params).await;
    assert_eq!(
        (reply.status, reply.code()),
        (409, "store.conflict"),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["sqlstate"], "23505");
    let reply = dev.sql("postgres", insert, json!(["k", "v"])).await;
    assert_eq!(reply.code(), "policy.denied");
    let reply = dev
        .sql(
            "postgres",
            "SELECT key FROM system_config WHERE key = $1",
            json!([{"no": 1}]),
        )
        .await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "request.invalid"),
        "{}",
        reply.text
    );
    assert!(
        reply.body["detail"]
            .as_str()
            .unwrap()
            .contains("parameter 1"),
        "{}",
        reply.text
    );
}

#[tokio::test]
async fn a_slow_statement_is_cancelled_on_the_server() {
    let dev = shared();
    // A product that would take ages, over nothing.
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
        SELECT count(*) AS c FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d";
    for store in ["postgres", "mysql"] {
        let body = json!({"sql": sql, "timeout_ms": 200});
        let reply = dev
            .post(&dev.app, &format!("/v1/{store}/query"), &body)
            .await;
        assert_eq!(
            (reply.status, reply.code()),
            (504, "store.timeout"),
            "{store}: {}",
            reply.text
        );
    }
    let client = super::isolation::postgres(dev).await;
    support::eventually("the statement ends on the server", || async {
        let row = client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'WITH RECURSIVE n%'",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test]
async fn more_requests_than_the_policy_grants() {
    let dev = shared();
    let body = json!({"command": ["GET", "cache:flood"]});
    let mut rounds = 0;
    // A slice of the burst is lost with each answer of Redis that comes too late, as on a busy machine: then once more.
    let (allowed, refused) = loop {
        let key = dev.new_key(&format!("flood-{rounds}"));
        let mut allowed = 0;
        let refused = loop {
            let reply = dev.post(&key, "/v1/redis/command", &body).await;
            if reply.status == 429 {
                break reply;
            }
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert!(
                reply.headers.contains_key("ratelimit"),
                "{:?}",
                reply.headers
            );
            allowed += 1;
            assert!(allowed < 5000, "nobody counts");
        };
        rounds += 1;
        if allowed >= 100 || rounds == 5 {
            break (allowed, refused);
        }
    };
    assert_eq!(refused.code(), "rate_limit.exceeded");
    assert!(
        allowed >= 100,
        "the burst is 100, and {allowed} were allowed"
    );
    for header in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(refused.headers.contains_key(header), "{header}");
    }
    assert!(refused.body["retry_after_ms"].as_u64().is_some());
    // Another key of the same role is not held back.
    let reply = dev.post(&dev.admin_key, "/v1/redis/command", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}
