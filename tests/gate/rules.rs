//! Column rules, row filters, bounds, deny rules and shadow mode, from the policy's file to the four databases.

use serde_json::{Value, json};

use crate::isolation::postgres;
use crate::support::{Dev, Reply, Sidecar, eventually};

/// In the place of the example policy: the same stores, and other roles.
const ROLES: &str = r#"
mask_salt = "pepper"
[roles.app]
[[roles.app.grants]]
store = "mysql"
tables = ["users"]
actions = ["select"]
mask_columns = { email = "partial" }
deny_columns = ["created_at"]
max_rows = 2
[[roles.app.grants]]
store = "mysql"
tables = ["posts"]
actions = ["select", "update", "delete"]
rows = "user_id = 1"
require_where = true
[[roles.app.grants]]
store = "postgres"
tables = ["sessions"]
actions = ["select", "insert", "update", "delete"]
rows = "user_id = :caller.role"
mask_columns = { data = "null" }
[[roles.app.grants]]
store = "mongodb"
collections = ["event_store"]
actions = ["find", "insert"]
rows = "owner = :caller.role"
[[roles.app.grants]]
store = "redis"
keys = ["cache:*"]
actions = ["read", "write"]
[[roles.app.deny]]
store = "redis"
keys = ["cache:secret:*"]
[roles.admin]
mode = "shadow"
[[roles.admin.grants]]
store = "mysql"
tables = ["users"]
actions = ["select"]
deny_columns = ["email"]
"#;

async fn sidecar(dev: &Dev) -> (Sidecar, tempfile::TempDir) {
    let mut policy = dev.policy();
    let rules: toml::Table = ROLES.parse().unwrap();
    policy.remove("rate_limits");
    policy.extend(rules);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), policy.to_string()).unwrap();
    let sidecar = Sidecar::start_under(dev, folder.path()).await;
    (sidecar, folder)
}

async fn sql(sidecar: &Sidecar, key: &str, store: &str, sql: &str, params: Value) -> Reply {
    let body = json!({"sql": sql, "params": params});
    sidecar
        .post(key, &format!("/v1/{store}/query"), &body)
        .await
}

#[tokio::test]
async fn rules_hold_from_the_policy_to_the_databases() {
    let dev = Dev::start();
    let (sidecar, _folder) = sidecar(&dev).await;
    let app = async |store: &str, text: &str, params: Value| {
        sql(&sidecar, &dev.app, store, text, params).await
    };
    let none = || json!([]);

    let users = app(
        "mysql",
        "SELECT * FROM users WHERE id < 3 ORDER BY id",
        none(),
    )
    .await;
    assert_eq!(users.status, 200, "{}", users.text);
    let expected = [json!("****.com"), json!("****.com")];
    let emails: Vec<Value> = (users.body["rows"].as_array().unwrap().iter())
        .map(|row| row["email"].clone())
        .collect();
    assert_eq!(emails, expected, "{}", users.text);
    assert!(!users.text.contains("created_at"), "{}", users.text);
    let hidden = app("mysql", "SELECT created_at FROM users", none()).await;
    assert_eq!(hidden.code(), "policy.denied", "{}", hidden.text);
    let guess = "SELECT id FROM users WHERE email = 'ada@example.com'";
    assert_eq!(app("mysql", guess, none()).await.body["rows"], json!([]));
    let many = app("mysql", "SELECT id FROM users", none()).await;
    assert!(many.text.contains("more than 2 rows"), "{}", many.text);
    assert!(
        many.text.contains("all that the policy allows"),
        "{}",
        many.text
    );

    let posts = app("mysql", "SELECT user_id FROM posts", none()).await;
    assert_eq!(
        posts.body["rows"],
        json!([{"user_id": "1"}]),
        "{}",
        posts.text
    );
    let all = app("mysql", "UPDATE posts SET title = 'x'", none()).await;
    assert_eq!(all.code(), "policy.denied", "{}", all.text);
    let update = "UPDATE posts SET title = 'x' WHERE id > 0";
    assert_eq!(
        app("mysql", update, none()).await.body["rows_affected"],
        json!(1)
    );

    let insert = "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now())";
    assert_eq!(
        app("postgres", insert, json!(["a", "app"])).await.status,
        200
    );
    let other = app("postgres", insert, json!(["b", "other"])).await;
    assert_eq!(other.code(), "policy.denied", "{}", other.text);
    assert!(other.text.contains("user_id"), "{}", other.text);

    // What the servers themselves tell of tables and sequences.
    for (store, text) in [
        ("postgres", "SELECT most_common_vals FROM pg_stats"),
        ("postgres", "SELECT reltuples FROM pg_class"),
        ("postgres", "SELECT * FROM information_schema.columns"),
        ("postgres", "SELECT lastval()"),
        ("mysql", "SELECT * FROM information_schema.STATISTICS"),
        ("mysql", "SELECT * FROM mysql.innodb_table_stats"),
        ("mysql", "SHOW INDEX FROM users"),
        ("mysql", "EXPLAIN SELECT id FROM users WHERE email > 'b'"),
    ] {
        let refused = app(store, text, none()).await;
        assert_eq!(refused.status, 403, "{text}: {}", refused.text);
    }

    for (owner, status) in [("app", 200), ("other", 403)] {
        let command = json!({"insert": "event_store", "documents": [{"owner": owner}]});
        let body = json!({ "command": command });
        let reply = sidecar.post(&dev.app, "/v1/mongodb/command", &body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
    }
    for (key, status) in [("cache:a", 200), ("cache:secret:a", 403)] {
        let body = json!({"command": ["GET", key]});
        let reply = sidecar.post(&dev.app, "/v1/redis/command", &body).await;
        assert_eq!(reply.status, status, "{}", reply.text);
    }
}

/// What is seen of a table follows its columns.
#[tokio::test]
async fn columns_follow_the_table() {
    let dev = Dev::start();
    let (sidecar, _folder) = sidecar(&dev).await;
    let client = postgres(&dev).await;
    let insert = "INSERT INTO sessions (id, user_id, data, expires_at)
        VALUES ('a', 'app', '{\"k\": 1}', now()), ('b', 'other', '{}', now())";
    client.batch_execute(insert).await.unwrap();
    let ask = || {
        sql(
            &sidecar,
            &dev.app,
            "postgres",
            "SELECT * FROM sessions",
            json!([]),
        )
    };
    let names = |reply: &Reply| -> Vec<String> {
        let columns = reply.body["columns"].as_array().unwrap();
        let names = columns
            .iter()
            .map(|column| column["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let before = ask().await;
    assert_eq!(before.status, 200, "{}", before.text);
    assert_eq!(
        names(&before),
        ["id", "user_id", "data", "created_at", "expires_at"]
    );
    assert_eq!(before.body["rows"].as_array().unwrap().len(), 1);
    assert_eq!(before.body["rows"][0]["data"], Value::Null);
    let change = "ALTER TABLE sessions ADD COLUMN note int, DROP COLUMN expires_at;
        ALTER TABLE sessions RENAME COLUMN note TO remark";
    client.batch_execute(change).await.unwrap();
    eventually("the columns are read again", || async {
        let reply = ask().await;
        reply.status == 200 && names(&reply) == ["id", "user_id", "data", "created_at", "remark"]
    })
    .await;
}

#[tokio::test]
async fn shadow_mode_records_and_lets_through() {
    let dev = Dev::start();
    let (sidecar, _folder) = sidecar(&dev).await;
    let client = postgres(&dev).await;
    for (store, text, status) in [
        ("mysql", "SELECT title FROM posts", 200),
        ("mysql", "SELECT email FROM users", 200),
        ("mysql", "SELECT id FROM api_keys", 403),
        ("mysql", "SELECT user FROM mysql.user", 403),
        ("mysql", "SELECT SLEEP(1)", 403),
        ("postgres", "SELECT id FROM api_keys", 403),
        ("postgres", "UPDATE api_keys SET role = 'admin'", 403),
        ("postgres", "DELETE FROM public.audit_logs", 403),
    ] {
        let reply = sql(&sidecar, &dev.admin_key, store, text, json!([])).await;
        assert_eq!(reply.status, status, "{text}: {}", reply.text);
    }
    let spared = "SELECT code, objects[1] FROM audit_logs WHERE resource_type = 'shadow'
        AND decision = 'allow' ORDER BY id";
    eventually("what was let through is audited", || async {
        let rows = client.query(spared, &[]).await.unwrap();
        let told: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        told == [
            ("policy.denied", "select:posts"),
            ("policy.denied", "select:users"),
        ]
    })
    .await;
}

/// What a server says of a value that collides may be the value.
#[tokio::test]
async fn the_servers_words_about_hidden_columns_are_withheld() {
    let dev = Dev::start();
    let (sidecar, _folder) = sidecar(&dev).await;
    let event = json!({"command": {"insert": "event_store", "documents": [{"_id": "taken", "owner": "app"}]}});
    let first = sidecar.post(&dev.app, "/v1/mongodb/command", &event).await;
    assert_eq!(first.body["n"], 1, "{}", first.text);
    let again = sidecar.post(&dev.app, "/v1/mongodb/command", &event).await;
    assert_eq!(
        again.body["writeErrors"][0]["code"], 11000,
        "{}",
        again.text
    );
    assert!(!again.text.contains("taken"), "{}", again.text);

    let insert =
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ('taken', 'app', '2099-01-01')";
    let first = sql(&sidecar, &dev.app, "postgres", insert, json!([])).await;
    let again = sql(&sidecar, &dev.app, "postgres", insert, json!([])).await;
    assert_eq!((first.status, again.status), (200, 409), "{}", first.text);
    assert!(!again.text.contains("duplicate key"), "{}", again.text);
}
