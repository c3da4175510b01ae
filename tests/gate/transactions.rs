//! Interactive transactions: what they do while they are open, and for whom.

use serde_json::{Value, json};

use super::isolation::{mysql, postgres};
use crate::support::{self, Dev, Reply, Sidecar, shared};

/// A caller with a key of its own, since a key has few transactions, at a sidecar.
pub struct Caller {
    http: String,
    pub key: String,
}

impl Caller {
    pub fn new(dev: &Dev, name: &str) -> Self {
        Self {
            http: dev.http.clone(),
            key: dev.new_key(name),
        }
    }

    pub fn at(dev: &Dev, sidecar: &Sidecar, name: &str) -> Self {
        Self {
            http: sidecar.http.clone(),
            key: dev.new_key(name),
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let headers = [("authorization", format!("Bearer {}", self.key))];
        let url = format!("{}/v1/{path}", self.http);
        support::send(hyper::Method::POST, &url, &headers, Some(body.to_string())).await
    }

    /// Begins a transaction and gives its path.
    pub async fn begin(&self, store: &str, options: Value) -> String {
        let reply = self.post(&format!("{store}/transactions"), &options).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        let id = reply.body["transaction"].as_str().unwrap();
        assert!(id.starts_with("tx_") && id.len() == 35, "{id}");
        assert!(reply.body["expires_at"].as_str().unwrap().ends_with('Z'));
        format!("{store}/transactions/{id}")
    }

    pub async fn query(&self, path: &str, sql: &str, params: Value) -> Reply {
        let body = json!({"sql": sql, "params": params});
        self.post(&format!("{path}/query"), &body).await
    }

    /// A statement that is expected to work.
    pub async fn run(&self, path: &str, sql: &str, params: Value) -> Reply {
        let reply = self.query(path, sql, params).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text);
        reply
    }

    pub async fn end(&self, path: &str, step: &str) -> Reply {
        self.post(&format!("{path}/{step}"), &json!({})).await
    }
}

pub fn told(reply: &Reply) -> (u16, &str, &str) {
    let transaction = reply.body["transaction"].as_str().unwrap_or("");
    (reply.status, reply.code(), transaction)
}

pub const INSERT: &str =
    "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, '2099-01-01T00:00:00Z')";

pub async fn sessions(dev: &Dev, user: &str) -> i64 {
    let client = postgres(dev).await;
    let sql = "SELECT count(*) FROM sessions WHERE user_id = $1";
    client.query_one(sql, &[&user]).await.unwrap().get(0)
}

pub async fn new_user(dev: &Dev, email: &str) -> u64 {
    use mysql_async::prelude::Queryable;
    let mut mysql = mysql(dev).await;
    let sql = "INSERT INTO users (email, name) VALUES (?, 'N')";
    mysql.exec_drop(sql, (email,)).await.unwrap();
    mysql.last_insert_id().unwrap()
}

pub async fn name_and_payments(dev: &Dev, user: u64) -> (String, u64) {
    use mysql_async::prelude::Queryable;
    let sql = "SELECT name, (SELECT count(*) FROM transactions t WHERE t.user_id = u.id) FROM users u WHERE id = ?";
    let mut mysql = mysql(dev).await;
    mysql.exec_first(sql, (user,)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_commit_shows_all_and_a_rollback_nothing() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-both");
    let first = caller.begin("postgres", json!({})).await;
    let inserted = caller.run(&first, INSERT, json!(["tb-1", "tx-both"])).await;
    let count = "SELECT count(*) AS n FROM sessions WHERE user_id = 'tx-both'";
    let inside = caller.run(&first, count, json!([])).await;
    assert_eq!(inside.body["rows"][0]["n"], "1");
    assert_eq!(sessions(dev, "tx-both").await, 0);
    let committed = caller.end(&first, "commit").await;
    assert_eq!(
        told(&committed),
        (200, "", "committed"),
        "{}",
        committed.text
    );
    assert_eq!(sessions(dev, "tx-both").await, 1);
    let client = postgres(dev).await;
    let id = inserted.headers["x-request-id"].to_str().unwrap();
    let sql = "SELECT rows_affected FROM audit_logs WHERE request_id = $1";
    let audited = client.query_one(sql, &[&id]).await.unwrap();
    assert_eq!(audited.get::<_, Option<i64>>(0), Some(1));

    let second = caller.begin("postgres", json!({})).await;
    let inserted = caller
        .run(&second, INSERT, json!(["tb-2", "tx-both"]))
        .await;
    let rolled = caller.end(&second, "rollback").await;
    assert_eq!(told(&rolled), (200, "", "rolled_back"), "{}", rolled.text);
    assert_eq!(sessions(dev, "tx-both").await, 1);
    let id = inserted.headers["x-request-id"].to_str().unwrap();
    assert!(client.query(sql, &[&id]).await.unwrap().is_empty());
    // What has ended is told how.
    let again = caller.end(&first, "commit").await;
    assert_eq!(told(&again), (410, "transaction.expired", "committed"));
    let again = caller.query(&second, "SELECT 1 AS one", json!([])).await;
    assert_eq!(told(&again), (410, "transaction.expired", "rolled_back"));
}

#[tokio::test]
async fn the_patterns_transaction() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-pattern");
    let user = new_user(dev, "tx-pattern@example.com").await;
    let pay = "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (?, '9.99', 'EUR', 'deposit')";
    for (step, expected) in [
        ("rollback", ("N".to_owned(), 0)),
        ("commit", ("Paid".to_owned(), 1)),
    ] {
        let open = caller.begin("mysql", json!({})).await;
        let sql = "UPDATE users SET name = 'Paid' WHERE id = ?";
        caller.run(&open, sql, json!([user])).await;
        let paid = caller.run(&open, pay, json!([user])).await;
        assert!(paid.body["last_insert_id"].is_string());
        assert_eq!(name_and_payments(dev, user).await, ("N".to_owned(), 0));
        assert_eq!(caller.end(&open, step).await.status, 200);
        assert_eq!(name_and_payments(dev, user).await, expected);
    }
}

/// Whoever has another key finds nothing, whatever it tries; nor does the same key at another store.
#[tokio::test]
async fn a_transaction_belongs_to_the_key_that_opened_it() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-mine");
    let neighbour = Caller::new(dev, "tx-neighbour");
    let open = caller.begin("postgres", json!({})).await;
    caller.run(&open, INSERT, json!(["tm-1", "tx-mine"])).await;
    let elsewhere = open.replace("postgres", "mysql");
    for reply in [
        neighbour.query(&open, "SELECT 1 AS one", json!([])).await,
        neighbour.end(&open, "commit").await,
        neighbour.end(&open, "rollback").await,
        caller.end(&elsewhere, "commit").await,
        caller.query(&elsewhere, "SELECT 1 AS one", json!([])).await,
    ] {
        assert_eq!(
            told(&reply),
            (404, "transaction.not_found", ""),
            "{}",
            reply.text
        );
    }
    assert_eq!(caller.end(&open, "commit").await.status, 200);
    assert_eq!(sessions(dev, "tx-mine").await, 1);
    let reply = neighbour.end(&open, "commit").await;
    assert_eq!(told(&reply), (404, "transaction.not_found", ""));
}

#[tokio::test]
async fn every_statement_inside_is_judged_and_a_refusal_leaves_it_open() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-judged");
    let open = caller.begin("postgres", json!({})).await;
    caller
        .run(&open, INSERT, json!(["tj-1", "tx-judged"]))
        .await;
    for (sql, code) in [
        ("SELECT hashed_key FROM api_keys", "policy.denied"),
        ("SELECT * FROM users", "policy.wrong_store"),
        ("COMMIT", "policy.forbidden_statement"),
        ("ROLLBACK", "policy.forbidden_statement"),
        ("BEGIN", "policy.forbidden_statement"),
        (
            "SET LOCAL search_path = pg_temp",
            "policy.forbidden_statement",
        ),
        ("SET TRANSACTION READ ONLY", "policy.forbidden_statement"),
        (
            "CREATE TEMP TABLE users (id int)",
            "policy.forbidden_statement",
        ),
        (
            "DECLARE c CURSOR FOR SELECT * FROM api_keys",
            "policy.forbidden_statement",
        ),
        (
            "SAVEPOINT a; SELECT * FROM api_keys",
            "policy.forbidden_statement",
        ),
    ] {
        let reply = caller.query(&open, sql, json!([])).await;
        assert_eq!(reply.code(), code, "{sql}: {}", reply.text);
    }
    assert_eq!(caller.end(&open, "commit").await.status, 200);
    assert_eq!(sessions(dev, "tx-judged").await, 1);
}

#[tokio::test]
async fn an_error_says_what_became_of_the_transaction() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-errors");
    let open = caller.begin("postgres", json!({})).await;
    caller.run(&open, INSERT, json!(["te-1", "tx-err"])).await;
    // Refused here, before anything was sent.
    let reply = caller.query(&open, INSERT, json!(["te-2"])).await;
    assert_eq!(
        told(&reply),
        (400, "request.invalid", "open"),
        "{}",
        reply.text
    );
    caller.run(&open, "SAVEPOINT before", json!([])).await;
    let reply = caller.query(&open, INSERT, json!(["te-1", "tx-err"])).await;
    assert_eq!(
        told(&reply),
        (409, "store.conflict", "failed"),
        "{}",
        reply.text
    );
    let reply = caller.query(&open, "SELECT 1 AS one", json!([])).await;
    assert_eq!(
        told(&reply),
        (400, "request.invalid", "failed"),
        "{}",
        reply.text
    );
    caller.run(&open, "ROLLBACK TO before", json!([])).await;
    caller.run(&open, INSERT, json!(["te-3", "tx-err"])).await;
    let reply = caller.end(&open, "commit").await;
    assert_eq!(told(&reply), (200, "", "committed"), "{}", reply.text);
    assert_eq!(sessions(dev, "tx-err").await, 2);
    // A commit of what has failed commits nothing, and says so.
    let open = caller.begin("postgres", json!({})).await;
    caller.run(&open, INSERT, json!(["te-4", "tx-err"])).await;
    caller.query(&open, "SELECT 1/0 AS x", json!([])).await;
    let reply = caller.end(&open, "commit").await;
    assert_eq!(
        told(&reply),
        (400, "request.invalid", "rolled_back"),
        "{}",
        reply.text
    );
    assert_eq!(sessions(dev, "tx-err").await, 2);

    // MySQL undoes the statement alone.
    let user = new_user(dev, "tx-errors@example.com").await;
    let open = caller.begin("mysql", json!({})).await;
    let update = "UPDATE users SET name = 'Kept' WHERE id = ?";
    caller.run(&open, update, json!([user])).await;
    let clash = "UPDATE users SET email = 'ada@example.com' WHERE id = ?";
    let reply = caller.query(&open, clash, json!([user])).await;
    assert_eq!(
        told(&reply),
        (409, "store.conflict", "open"),
        "{}",
        reply.text
    );
    assert_eq!(caller.end(&open, "commit").await.status, 200);
    assert_eq!(name_and_payments(dev, user).await.0, "Kept");
}

#[tokio::test]
async fn a_deadlock_rolls_one_back_and_says_so() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-deadlock");
    let one = new_user(dev, "tx-deadlock-1@example.com").await;
    let two = new_user(dev, "tx-deadlock-2@example.com").await;
    let first = caller.begin("mysql", json!({})).await;
    let second = caller.begin("mysql", json!({})).await;
    let update = "UPDATE users SET name = 'D' WHERE id = ?";
    caller.run(&first, update, json!([one])).await;
    caller.run(&second, update, json!([two])).await;
    let (one, two) = tokio::join!(
        caller.query(&first, update, json!([two])),
        caller.query(&second, update, json!([one])),
    );
    let mut both = [told(&one), told(&two)];
    both.sort();
    assert_eq!(
        both,
        [(200, "", ""), (409, "store.conflict", "rolled_back")],
        "{} {}",
        one.text,
        two.text
    );
    // What follows in the one that is gone does not run on its own.
    let gone = if one.status == 409 { &first } else { &second };
    let reply = caller.query(gone, "SELECT 1 AS one", json!([])).await;
    assert_eq!(told(&reply), (410, "transaction.expired", "rolled_back"));
    let left = if one.status == 409 { &second } else { &first };
    assert_eq!(caller.end(left, "commit").await.status, 200);
}

#[tokio::test]
async fn isolation_and_access_are_the_servers() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-isolation");
    let options = json!({"isolation": "repeatable_read", "read_only": true});
    let open = caller.begin("postgres", options.clone()).await;
    let shown = caller
        .run(&open, "SHOW transaction_isolation", json!([]))
        .await;
    assert!(shown.text.contains("repeatable read"), "{}", shown.text);
    let reply = caller.query(&open, INSERT, json!(["ti-1", "tx-iso"])).await;
    assert_eq!(reply.body["sqlstate"], "25006", "{}", reply.text);
    caller.end(&open, "rollback").await;
    let open = caller.begin("mysql", options).await;
    let reply = caller
        .query(&open, "UPDATE users SET name = 'x' WHERE id = 1", json!([]))
        .await;
    assert_eq!(reply.body["errno"], 1792, "{}", reply.text);
    caller.end(&open, "rollback").await;
    let reply = caller
        .post("mysql/transactions", &json!({"isolation": "snapshot"}))
        .await;
    assert_eq!(reply.code(), "request.invalid");
    // Serializable in MySQL: a read locks.
    let open = caller
        .begin("mysql", json!({"isolation": "serializable"}))
        .await;
    caller
        .run(&open, "SELECT name FROM users WHERE id = 2", json!([]))
        .await;
    use mysql_async::prelude::Queryable;
    let level: Vec<String> = mysql(dev)
        .await
        .query("SELECT trx_isolation_level FROM information_schema.innodb_trx")
        .await
        .unwrap();
    assert!(level.contains(&"SERIALIZABLE".to_owned()), "{level:?}");
    caller.end(&open, "rollback").await;
}

#[tokio::test]
async fn requests_in_one_transaction_follow_one_another() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-busy");
    let open = caller.begin("postgres", json!({})).await;
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500000) \
        SELECT count(*) AS c FROM n";
    let (slow, turned_away) = tokio::join!(caller.query(&open, slow, json!([])), async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let reply = caller.end(&open, "rollback").await;
            // Too early, or too late on a machine that is quick.
            if reply.status != 200 {
                return reply;
            }
        }
    });
    if slow.status == 200 {
        assert_eq!(told(&turned_away), (409, "store.conflict", "open"));
        assert_eq!(caller.end(&open, "commit").await.status, 200);
    }
}

/// The metric of open transactions, and the pool's connections that they hold.
#[tokio::test]
async fn open_transactions_are_measured() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-metric");
    let open = caller.begin("mysql", json!({})).await;
    assert!(
        dev.metric("bulkhead_transactions_open{database=\"mysql\"}")
            .await
            >= 1.0
    );
    let in_use = "database_connection_pool_in_use{database=\"mysql\"}";
    assert!(dev.metric(in_use).await >= 1.0);
    caller.end(&open, "rollback").await;
}
