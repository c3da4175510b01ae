//! How interactive transactions end when nobody ends them: by their limits, with their connection, with the sidecar.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::isolation::{mysql, postgres};
use super::transactions::{Caller, INSERT, name_and_payments, new_user, sessions, told};
use crate::support::{self, Dev, Sidecar, shared};

/// A sidecar whose store has these limits for transactions, and a pool of this size.
fn sidecar(dev: &Dev, store: &str, pool_max: i64, limits: &str) -> Sidecar {
    Sidecar::start(dev, |config| {
        let pool: toml::Table = format!("min = 1\nmax = {pool_max}\nacquire_timeout_ms = 30000")
            .parse()
            .unwrap();
        let limits: toml::Table = limits.parse().unwrap();
        let section = config["stores"][store].as_table_mut().unwrap();
        section.insert("pool".into(), pool.into());
        section.insert("transactions".into(), limits.into());
    })
}

#[tokio::test]
async fn an_idle_transaction_is_rolled_back_and_its_locks_are_free() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-idle");
    let user = new_user(dev, "tx-idle@example.com").await;
    let update = "UPDATE users SET name = 'Idle' WHERE id = ?";
    let options = json!({"idle_timeout_ms": 300});
    let idle = caller.begin("mysql", options.clone()).await;
    caller.run(&idle, update, json!([user])).await;
    // Waits for the row until the idle transaction lets it go.
    let body = json!({"sql": "UPDATE users SET name = 'Other' WHERE id = ?", "params": [user]});
    let other = dev.post(&caller.key, "/v1/mysql/query", &body).await;
    assert_eq!(other.status, 200, "{}", other.text);
    assert_eq!(name_and_payments(dev, user).await.0, "Other");
    for reply in [
        caller.query(&idle, update, json!([user])).await,
        caller.end(&idle, "commit").await,
    ] {
        assert_eq!(
            told(&reply),
            (410, "transaction.expired", "rolled_back"),
            "{}",
            reply.text
        );
        assert!(reply.text.contains("idle"), "{}", reply.text);
    }
    let idle = caller.begin("postgres", options).await;
    caller.run(&idle, INSERT, json!(["ti-1", "tx-idle"])).await;
    support::eventually("the transaction expires", || async {
        caller.end(&idle, "rollback").await.status == 410 || {
            tokio::time::sleep(Duration::from_millis(400)).await;
            false
        }
    })
    .await;
    assert_eq!(sessions(dev, "tx-idle").await, 0);
}

#[tokio::test]
async fn a_transaction_that_is_used_again_and_again_ends_too() {
    let dev = shared();
    let sidecar = sidecar(dev, "postgres", 4, "lifetime_ms = 700");
    sidecar.ready().await;
    let caller = Caller::at(dev, &sidecar, "tx-lives");
    let open = caller.begin("postgres", json!({})).await;
    caller.run(&open, INSERT, json!(["tl-1", "tx-lives"])).await;
    support::eventually("its life is over", || async {
        let reply = caller.query(&open, "SELECT 1 AS one", json!([])).await;
        assert!(matches!(reply.status, 200 | 410 | 504), "{}", reply.text);
        reply.status == 410
    })
    .await;
    assert_eq!(sessions(dev, "tx-lives").await, 0);
}

/// A key that opens all it can leaves the pool to others, and so do all keys together.
#[tokio::test]
async fn transactions_do_not_starve_others() {
    let dev = shared();
    let sidecar = sidecar(dev, "mysql", 4, "max = 3\nper_key_max = 2");
    sidecar.ready().await;
    let greedy = Caller::at(dev, &sidecar, "tx-greedy");
    let neighbour = Caller::at(dev, &sidecar, "tx-modest");
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(greedy.begin("mysql", json!({})).await);
    }
    let reply = greedy.post("mysql/transactions", &json!({})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (429, "rate_limit.exceeded"),
        "{}",
        reply.text
    );
    assert!(
        reply.text.contains("2 mysql transactions"),
        "{}",
        reply.text
    );
    let theirs = neighbour.begin("mysql", json!({})).await;
    let reply = neighbour.post("mysql/transactions", &json!({})).await;
    assert_eq!(
        (reply.status, reply.code()),
        (503, "pool.exhausted"),
        "{}",
        reply.text
    );
    assert!(reply.headers.contains_key("retry-after"));
    let body = json!({"sql": "SELECT count(*) AS n FROM users"});
    let reply = neighbour.post("mysql/query", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    greedy.end(&open[0], "rollback").await;
    let again = neighbour.begin("mysql", json!({})).await;
    for (caller, path) in [
        (&greedy, &open[1]),
        (&neighbour, &theirs),
        (&neighbour, &again),
    ] {
        assert_eq!(caller.end(path, "rollback").await.status, 200);
    }
}

/// What a transaction set in its session is gone when the connection serves somebody else.
#[tokio::test]
async fn a_connection_is_as_new_after_a_transaction() {
    let dev = shared();
    let sidecar = sidecar(dev, "mysql", 1, "max = 1\nper_key_max = 1");
    sidecar.ready().await;
    let caller = Caller::at(dev, &sidecar, "tx-clean");
    let state =
        "SELECT @@wait_timeout AS w, @@autocommit AS a, @@sql_mode AS m, @@in_transaction AS i";
    let state = json!({"sql": state});
    let before = caller.post("mysql/query", &state).await;
    assert_eq!(before.status, 200, "{}", before.text);
    for step in ["commit", "rollback"] {
        let open = caller
            .begin("mysql", json!({"isolation": "serializable"}))
            .await;
        let inside = caller
            .run(&open, "SELECT @@wait_timeout AS w", json!([]))
            .await;
        assert_ne!(inside.body["rows"][0]["w"], before.body["rows"][0]["w"]);
        caller.end(&open, step).await;
        let after = caller.post("mysql/query", &state).await;
        assert_eq!(after.body["rows"], before.body["rows"], "{}", after.text);
    }
}

#[tokio::test]
async fn a_request_that_is_cut_off_ends_its_transaction() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-cut");
    let open = caller.begin("postgres", json!({})).await;
    caller.run(&open, INSERT, json!(["tc-1", "tx-cut"])).await;
    let slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) \
        SELECT count(*) AS c FROM n AS a CROSS JOIN n AS b CROSS JOIN n AS c CROSS JOIN n AS d";
    let cut = caller.query(&open, slow, json!([]));
    let cut = tokio::time::timeout(Duration::from_millis(500), cut).await;
    assert!(cut.is_err());
    support::eventually("the transaction is gone", || async {
        let reply = caller.end(&open, "commit").await;
        assert!(matches!(reply.status, 409 | 410), "{}", reply.text);
        reply.status == 410
    })
    .await;
    assert_eq!(sessions(dev, "tx-cut").await, 0);
}

#[tokio::test]
async fn a_connection_that_breaks_takes_its_transaction_along() {
    let dev = shared();
    let caller = Caller::new(dev, "tx-broken");
    let open = caller.begin("postgres", json!({})).await;
    caller
        .run(&open, INSERT, json!(["tk-1", "tx-broken"]))
        .await;
    // The one that writes the audit row of nobody else: its backend is found by the lock on its own row.
    let client = postgres(dev).await;
    let waiting = tokio::spawn({
        let other = postgres(dev).await;
        async move {
            let sql =
                "INSERT INTO sessions (id, user_id, expires_at) VALUES ('tk-1', 'other', now())";
            other.execute(sql, &[]).await
        }
    });
    support::eventually("the backend in its way is ended", || async {
        let sql = "SELECT pg_terminate_backend(unnest(pg_blocking_pids(pid))) FROM pg_stat_activity \
            WHERE query LIKE 'INSERT INTO sessions%''tk-1''%' AND wait_event_type = 'Lock'";
        !client.query(sql, &[]).await.unwrap().is_empty()
    })
    .await;
    waiting.await.unwrap().unwrap();
    let reply = caller.query(&open, "SELECT 1 AS one", json!([])).await;
    assert_eq!(
        told(&reply),
        (503, "store.unavailable", "rolled_back"),
        "{}",
        reply.text
    );

    let user = new_user(dev, "tx-broken@example.com").await;
    let open = caller.begin("mysql", json!({})).await;
    let update = "UPDATE users SET name = 'tx-broken' WHERE id = ?";
    caller.run(&open, update, json!([user])).await;
    use mysql_async::prelude::Queryable;
    let mut administrator = mysql(dev).await;
    let id = caller
        .run(&open, "SELECT CONNECTION_ID() AS id", json!([]))
        .await;
    let id = id.body["rows"][0]["id"].clone();
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    administrator
        .query_drop(format!("KILL {id}"))
        .await
        .unwrap();
    let reply = caller.query(&open, update, json!([user])).await;
    assert_eq!(
        told(&reply),
        (503, "store.unavailable", "rolled_back"),
        "{}",
        reply.text
    );
    let reply = caller.end(&open, "commit").await;
    assert_eq!(told(&reply), (410, "transaction.expired", "rolled_back"));
    assert_eq!(name_and_payments(dev, user).await.0, "N");
}

/// The pattern's example, with the sidecar killed between its two statements.
#[tokio::test]
async fn a_sidecar_that_is_killed_leaves_nothing_half_done() {
    let dev = shared();
    let mut sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let caller = Caller::at(dev, &sidecar, "tx-killed");
    let user = new_user(dev, "tx-killed@example.com").await;
    let open = caller.begin("mysql", json!({})).await;
    let update = "UPDATE users SET name = 'Half' WHERE id = ?";
    caller.run(&open, update, json!([user])).await;
    let system = caller.begin("postgres", json!({})).await;
    caller
        .run(&system, INSERT, json!(["tk-2", "tx-killed"]))
        .await;
    sidecar.child.kill().unwrap();
    sidecar.child.wait().unwrap();
    // The row is free as soon as the server has noticed: another sidecar does the work anew.
    let statements = json!([
        {"sql": update, "params": [user]},
        {"sql": "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (?, 5, 'EUR', 'deposit')",
         "params": [user]},
    ]);
    let body = json!({"statements": statements});
    let reply = dev.post(&caller.key, "/v1/mysql/batch", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(name_and_payments(dev, user).await, ("Half".to_owned(), 1));
    assert_eq!(sessions(dev, "tx-killed").await, 0);
    // The name means nothing to another sidecar.
    let elsewhere = dev
        .post(
            &caller.key,
            &format!("/v1/{open}/commit"),
            &Value::Object(Default::default()),
        )
        .await;
    assert_eq!(elsewhere.code(), "transaction.not_found");
}

#[tokio::test]
async fn a_sidecar_that_drains_lets_transactions_end_and_rolls_back_the_rest() {
    let dev = shared();
    let mut sidecar = sidecar(
        dev,
        "postgres",
        8,
        "per_key_max = 4\nidle_timeout_ms = 3000",
    );
    sidecar.ready().await;
    let caller = Caller::at(dev, &sidecar, "tx-drained");
    let neighbour = Caller::at(dev, &sidecar, "tx-drained-2");
    let kept = caller.begin("postgres", json!({})).await;
    let forgotten = caller.begin("postgres", json!({})).await;
    caller
        .run(&kept, INSERT, json!(["td-1", "tx-drained"]))
        .await;
    caller
        .run(&forgotten, INSERT, json!(["td-2", "tx-drained"]))
        .await;
    sidecar.signal(Signal::TERM);
    support::eventually("the sidecar drains", || async {
        let reply = caller.post("postgres/transactions", &json!({})).await;
        if reply.status == 201 {
            let id = reply.body["transaction"].as_str().unwrap();
            let path = format!("postgres/transactions/{id}");
            caller.end(&path, "rollback").await;
        }
        reply.code() == "draining"
    })
    .await;
    // Only its own key goes on with it.
    let reply = neighbour.end(&kept, "rollback").await;
    assert_eq!(reply.status, 404, "{}", reply.text);
    caller
        .run(&kept, INSERT, json!(["td-3", "tx-drained"]))
        .await;
    let reply = caller.end(&kept, "commit").await;
    assert_eq!(told(&reply), (200, "", "committed"), "{}", reply.text);
    assert_eq!(sidecar.child.wait().unwrap().code(), Some(0));
    assert_eq!(sessions(dev, "tx-drained").await, 2);
}
