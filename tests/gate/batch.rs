//! `batch`: one transaction, all or nothing, and every statement through the whole gate before any runs.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::isolation::{mysql, postgres};
use crate::support::{self, Dev, Reply, shared};

/// A key of these tests' own: each statement counts against its limit.
fn key(dev: &Dev) -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| dev.new_key("batch"))
}

async fn batch(dev: &Dev, store: &str, statements: Value) -> Reply {
    let path = format!("/v1/{store}/batch");
    dev.post(key(dev), &path, &json!({"statements": statements}))
        .await
}

/// A user of MySQL that no other test knows.
async fn user(dev: &Dev, email: &str) -> u64 {
    use mysql_async::prelude::Queryable;
    let mut mysql = mysql(dev).await;
    mysql
        .exec_drop("INSERT INTO users (email, name) VALUES (?, 'N')", (email,))
        .await
        .unwrap();
    mysql.last_insert_id().unwrap()
}

async fn name_and_payments(dev: &Dev, user: u64) -> (String, u64) {
    use mysql_async::prelude::Queryable;
    let sql = "SELECT name, (SELECT count(*) FROM transactions t WHERE t.user_id = u.id) FROM users u WHERE id = ?";
    mysql(dev)
        .await
        .exec_first(sql, (user,))
        .await
        .unwrap()
        .unwrap()
}

async fn sessions(dev: &Dev, user: &str) -> i64 {
    let client = postgres(dev).await;
    let sql = "SELECT count(*) FROM sessions WHERE user_id = $1";
    client.query_one(sql, &[&user]).await.unwrap().get(0)
}

async fn audited(dev: &Dev, reply: &Reply) -> Vec<(String, Option<i64>)> {
    let client = postgres(dev).await;
    let id = reply.headers["x-request-id"].to_str().unwrap();
    let sql = "SELECT action, rows_affected FROM audit_logs WHERE request_id = $1 AND decision = 'allow' ORDER BY id";
    let rows = client.query(sql, &[&id]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn session(id: &str, user: &str) -> Value {
    let sql =
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, '2099-01-01T00:00:00Z')";
    json!({"sql": sql, "params": [id, user]})
}

#[tokio::test]
async fn the_patterns_transaction_is_one_batch() {
    let dev = shared();
    let user = user(dev, "batch-pattern@example.com").await;
    let reply = batch(
        dev,
        "mysql",
        json!([
            {"sql": "UPDATE users SET name = ? WHERE id = ?", "params": ["Paid", user]},
            {"sql": "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (?, ?, ?, ?)",
             "params": [user, "12.5000", "EUR", "deposit"]},
            {"sql": "SELECT amount FROM transactions WHERE user_id = ?", "params": [user]},
        ]),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert_eq!(results[0]["rows_affected"], 1);
    assert!(results[1]["last_insert_id"].is_string(), "{}", reply.text);
    assert_eq!(results[2]["rows"], json!([{"amount": "12.5000"}]));
    assert_eq!(name_and_payments(dev, user).await, ("Paid".to_owned(), 1));
}

#[tokio::test]
async fn a_failing_statement_is_named_and_nothing_is_kept() {
    let dev = shared();
    let user = user(dev, "batch-fails@example.com").await;
    let reply = batch(
        dev,
        "mysql",
        json!([
            {"sql": "UPDATE users SET name = 'Half' WHERE id = ?", "params": [user]},
            {"sql": "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (0, 1, 'EUR', 'deposit')"},
            {"sql": "UPDATE users SET name = 'Whole' WHERE id = ?", "params": [user]},
        ]),
    )
    .await;
    assert_eq!(
        (reply.status, reply.code()),
        (422, "store.error"),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["statement"], 1);
    assert_eq!(reply.body["transaction"], "rolled_back");
    assert!(reply.text.contains("was rolled back"), "{}", reply.text);
    assert_eq!(name_and_payments(dev, user).await, ("N".to_owned(), 0));

    let twice = json!([
        session("bf-1", "batch-fails"),
        session("bf-1", "batch-fails")
    ]);
    let reply = batch(dev, "postgres", twice).await;
    assert_eq!(
        (reply.status, reply.code()),
        (409, "store.conflict"),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["statement"], 1);
    assert_eq!(sessions(dev, "batch-fails").await, 0);
    assert_eq!(audited(dev, &reply).await, []);
}

#[tokio::test]
async fn every_change_of_a_system_table_commits_with_its_audit_row() {
    let dev = shared();
    let statements = json!([
        session("ba-1", "batch-audited"),
        session("ba-2", "batch-audited"),
        {"sql": "SELECT count(*) AS n FROM sessions WHERE user_id = 'batch-audited'"},
        {"sql": "DELETE FROM sessions WHERE user_id = $1", "params": ["batch-audited"]},
        session("ba-3", "batch-audited"),
    ]);
    let reply = batch(dev, "postgres", statements).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["results"][2]["rows"], json!([{"n": "2"}]));
    let row = |action: &str, rows| (action.to_owned(), Some(rows));
    assert_eq!(
        audited(dev, &reply).await,
        [
            row("insert", 1),
            row("insert", 1),
            row("delete", 2),
            row("insert", 1)
        ]
    );
    assert_eq!(sessions(dev, "batch-audited").await, 1);
    // More changes than may wait for the commit.
    let many: Vec<Value> = (0..90)
        .map(|n| session(&format!("bm-{n}"), "batch-many"))
        .collect();
    let key = dev.new_key("batch-many");
    let body = json!({"statements": many});
    let reply = dev.post(&key, "/v1/postgres/batch", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(audited(dev, &reply).await.len(), 90);
}

/// The neighbour puts what it may not do behind what it may: nothing of it runs.
#[tokio::test]
async fn every_statement_is_judged_before_any_runs() {
    let dev = shared();
    let mine = session("bj-1", "batch-judged");
    for (sql, code) in [
        ("SELECT hashed_key FROM api_keys", "policy.denied"),
        ("SELECT * FROM users", "policy.wrong_store"),
        (
            "CREATE TABLE sessions_2 (id int)",
            "policy.forbidden_statement",
        ),
        ("TRUNCATE sessions", "policy.forbidden_statement"),
        ("COMMIT", "policy.forbidden_statement"),
        (
            "ROLLBACK; DELETE FROM sessions",
            "policy.forbidden_statement",
        ),
        (
            "SAVEPOINT a; DELETE FROM api_keys",
            "policy.forbidden_statement",
        ),
        (
            "SET default_transaction_read_only = off",
            "policy.forbidden_statement",
        ),
        (
            "SET LOCAL ROLE bulkhead_system",
            "policy.forbidden_statement",
        ),
        (
            "PREPARE TRANSACTION 'bulkhead'",
            "policy.forbidden_statement",
        ),
        ("SELEKT 1", "statement.unparsable"),
    ] {
        let reply = batch(dev, "postgres", json!([mine, {"sql": sql}, mine])).await;
        assert_eq!(reply.code(), code, "{sql}: {}", reply.text);
        assert_eq!(reply.body["statement"], 1, "{sql}");
        assert!(reply.text.contains("no statement of the batch was run"));
    }
    for sql in [
        "COMMIT",
        "BEGIN",
        "SET autocommit = 1",
        "TRUNCATE posts",
        "DROP TABLE posts",
        "LOCK TABLES users READ",
        "SAVEPOINT `a`; COMMIT",
        "SET TRANSACTION READ WRITE",
        "XA START 'x'",
    ] {
        let update =
            json!({"sql": "UPDATE users SET name = 'batch-judged' WHERE id = 2", "params": []});
        let reply = batch(dev, "mysql", json!([update, {"sql": sql}])).await;
        assert!(matches!(reply.status, 400 | 403), "{sql}: {}", reply.text);
        assert_eq!(reply.body["statement"], 1, "{sql}");
    }
    assert_eq!(sessions(dev, "batch-judged").await, 0);
    assert_ne!(name_and_payments(dev, 2).await.0, "batch-judged");
    let single = batch(dev, "postgres", json!([{"sql": "SELECT * FROM api_keys"}])).await;
    assert_eq!(single.body["statement"], 0, "{}", single.text);
}

#[tokio::test]
async fn isolation_is_asked_of_the_server_and_what_only_reads_cannot_write() {
    let dev = shared();
    let shown = json!([
        {"sql": "SHOW transaction_isolation"},
        {"sql": "SHOW transaction_read_only"},
    ]);
    let body = json!({"statements": shown, "isolation": "serializable", "rows": "arrays"});
    let reply = dev.post(key(dev), "/v1/postgres/batch", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["results"][0]["rows"], json!([["serializable"]]));
    assert_eq!(reply.body["results"][1]["rows"], json!([["on"]]));
}

#[tokio::test]
async fn savepoints_work_in_a_batch() {
    let dev = shared();
    let statements = json!([
        session("bs-1", "batch-saved"),
        {"sql": "SAVEPOINT here"},
        session("bs-2", "batch-saved"),
        {"sql": "ROLLBACK TO SAVEPOINT here"},
        session("bs-3", "batch-saved"),
        {"sql": "RELEASE here"},
    ]);
    let reply = batch(dev, "postgres", statements).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(sessions(dev, "batch-saved").await, 2);
    // What was rolled back left no audit row.
    assert_eq!(audited(dev, &reply).await.len(), 2);
    let user = user(dev, "batch-saved@example.com").await;
    let pay = json!({"sql": "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (?, 1, 'EUR', 'deposit')", "params": [user]});
    let statements = json!([
        pay,
        {"sql": "SAVEPOINT `here`"},
        pay,
        {"sql": "ROLLBACK TO here"},
    ]);
    let reply = batch(dev, "mysql", statements).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(name_and_payments(dev, user).await.1, 1);
}

#[tokio::test]
async fn each_statement_counts_and_their_number_is_bounded() {
    let dev = shared();
    let one = json!({"sql": "SELECT 1 AS one"});
    let many = vec![one.clone(); 1001];
    let reply = batch(dev, "mysql", json!(many)).await;
    assert_eq!(
        (reply.status, reply.code()),
        (400, "request.invalid"),
        "{}",
        reply.text
    );
    let key = dev.new_key("batch-limit");
    let post = async |count: usize| {
        let body = json!({"statements": vec![one.clone(); count]});
        dev.post(&key, "/v1/mysql/batch", &body).await
    };
    // More than the policy's burst of 100 is never admitted, so nobody is told to wait.
    let reply = post(101).await;
    assert_eq!(
        (reply.status, reply.code()),
        (429, "rate_limit.exceeded"),
        "{}",
        reply.text
    );
    assert!(!reply.headers.contains_key("retry-after"));
    assert_eq!(post(60).await.status, 200);
    let reply = post(60).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert!(reply.headers.contains_key("retry-after"));
    assert_eq!(post(20).await.status, 200);
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_rolled_back() {
    let dev = shared();
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
        SELECT count(*) AS c FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d";
    let user = user(dev, "batch-slow@example.com").await;
    let update = json!({"sql": "UPDATE users SET name = 'Slow' WHERE id = ?", "params": [user]});
    let body = json!({"statements": [update, {"sql": slow}], "timeout_ms": 300});
    let reply = dev.post(key(dev), "/v1/mysql/batch", &body).await;
    assert_eq!(
        (reply.status, reply.code()),
        (504, "store.timeout"),
        "{}",
        reply.text
    );
    assert_eq!(reply.body["transaction"], "rolled_back");
    support::eventually("the row is free again", || async {
        let body = json!({"sql": "UPDATE users SET name = 'Free' WHERE id = ?", "params": [user], "timeout_ms": 1000});
        dev.post(key(dev), "/v1/mysql/query", &body).await.status == 200
    })
    .await;
}
