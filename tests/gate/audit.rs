//! What `audit_logs` says after a change of a system table, and after a refusal.

use serde_json::json;

use super::isolation::postgres;
use crate::support::{self, shared};

#[tokio::test]
async fn a_change_of_a_system_table_commits_with_its_row_or_not_at_all() {
    let dev = shared();
    let client = postgres(dev).await;
    let count = async || -> i64 {
        client
            .query_one(
                "SELECT count(*) FROM audit_logs WHERE decision = 'allow' AND store = 'postgres' AND objects::text LIKE '%sessions%'",
                &[],
            )
            .await
            .unwrap()
            .get(0)
    };
    let before = count().await;
    let id = format!("audited-{before}");
    let sql = "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, $3)";
    let params = json!([id, "9", "2099-01-01T00:00:00Z"]);
    let reply = dev.sql("postgres", sql, params.clone()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let row = client
        .query_one(
            "SELECT key_id, role, action, request_id FROM audit_logs WHERE request_id = $1",
            &[&reply.headers["x-request-id"].to_str().unwrap()],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(1), "app");
    assert_eq!(row.get::<_, &str>(2), "insert");
    // The same again conflicts: neither the row nor its audit row is there.
    let reply = dev.sql("postgres", sql, params).await;
    assert_eq!(reply.status, 409, "{}", reply.text);
    let rows = client
        .query(
            "SELECT 1 FROM audit_logs WHERE request_id = $1",
            &[&reply.headers["x-request-id"].to_str().unwrap()],
        )
        .await
        .unwrap();
    assert!(rows.is_empty());
}

#[tokio::test]
async fn every_refusal_is_a_row() {
    let dev = shared();
    let client = postgres(dev).await;
    let reply = dev
        .sql(
            "postgres",
            "SELECT hashed_key FROM api_keys WHERE id = 'secret-value'",
            json!([]),
        )
        .await;
    assert_eq!(reply.code(), "policy.denied");
    let request_id = reply.headers["x-request-id"].to_str().unwrap().to_owned();
    support::eventually("the refusal is audited", || async {
        let rows = client
            .query(
                "SELECT role, store, objects, decision, code, audit_logs::text FROM audit_logs WHERE request_id = $1",
                &[&request_id],
            )
            .await
            .unwrap();
        let Some(row) = rows.first() else { return false };
        assert_eq!(row.get::<_, &str>(0), "app");
        assert_eq!(row.get::<_, &str>(1), "postgres");
        assert_eq!(row.get::<_, Vec<String>>(2), ["select:api_keys"]);
        assert_eq!(row.get::<_, &str>(3), "deny");
        assert_eq!(row.get::<_, &str>(4), "policy.denied");
        assert!(!row.get::<_, &str>(5).contains("secret-value"));
        true
    })
    .await;
}

#[tokio::test]
async fn the_patterns_own_row_is_chained_like_the_rest() {
    let dev = shared();
    let client = postgres(dev).await;
    let action = format!("user.update.{}", uuid::Uuid::new_v4().simple());
    let sql =
        "INSERT INTO audit_logs (user_id, action, resource_type, metadata) VALUES ($1, $2, $3, $4)";
    let params = json!(["7", action, "user", {"field": "name", "n": 1.50}]);
    let reply = dev.sql("postgres", sql, params).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let row = client
        .query_one(
            "SELECT a.account, a.sidecar, a.hash = c.hash OR EXISTS (
                SELECT FROM audit_logs n WHERE n.chain = a.chain AND n.seq = a.seq + 1 AND n.prev_hash = a.hash)
             FROM audit_logs a JOIN audit_chains c ON c.chain = a.chain WHERE a.action = $1",
            &[&action],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "bulkhead_app");
    assert!(row.get::<_, &str>(1).starts_with("bulkhead@"));
    assert!(row.get::<_, bool>(2));
    // What the database and the owner set is not a caller's to set.
    for (columns, values) in [
        ("recorded_at, action", "'2020-01-01', 'x'"),
        ("action", "'audit.retire'"),
    ] {
        let sql = format!("INSERT INTO audit_logs ({columns}) VALUES ({values})");
        let reply = dev.sql("postgres", &sql, json!([])).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
    }
    let forged = "INSERT INTO audit_logs (action, chain, seq, prev_hash, hash, account) VALUES ($1, 1, 1, '', '', 'nobody')";
    let action = format!("forged.{action}");
    let reply = dev.sql("postgres", forged, json!([action])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let row = client
        .query_one(
            "SELECT account, octet_length(hash), chain > 1 FROM audit_logs WHERE action = $1",
            &[&action],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "bulkhead_app");
    assert_eq!((row.get::<_, i32>(1), row.get::<_, bool>(2)), (32, true));
}

#[tokio::test]
async fn a_change_says_what_was_asked_without_its_values() {
    let dev = shared();
    let client = postgres(dev).await;
    let id = format!("secret-{}", uuid::Uuid::new_v4().simple());
    let sql = format!(
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ('{id}', $1, '2099-01-01T00:00:00Z')"
    );
    let reply = dev.sql("postgres", &sql, json!(["9"])).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let row = client
        .query_one(
            "SELECT statement, length(fingerprint), rows_affected, duration_us >= 0, audit_logs::text FROM audit_logs WHERE request_id = $1",
            &[&reply.headers["x-request-id"].to_str().unwrap()],
        )
        .await
        .unwrap();
    let statement: &str = row.get(0);
    assert!(statement.starts_with("INSERT INTO sessions"), "{statement}");
    assert_eq!(
        (
            row.get::<_, i32>(1),
            row.get::<_, i64>(2),
            row.get::<_, bool>(3)
        ),
        (32, 1, true)
    );
    assert!(!row.get::<_, &str>(4).contains(&id));
}

#[tokio::test]
async fn acts_of_the_operator_are_rows() {
    let dev = shared();
    let client = postgres(dev).await;
    let sidecar = support::Sidecar::start(dev, |_| {});
    sidecar.ready().await;
    let before: i64 = client
        .query_one("SELECT coalesce(max(id), 0) FROM audit_logs", &[])
        .await
        .unwrap()
        .get(0);
    let mut config: toml::Table = std::fs::read_to_string(&sidecar.config)
        .unwrap()
        .parse()
        .unwrap();
    config["server"]
        .as_table_mut()
        .unwrap()
        .insert("rows_max".into(), 77.into());
    std::fs::write(&sidecar.config, config.to_string()).unwrap();
    sidecar.signal(rustix::process::Signal::HUP);
    dev.new_key("acts");
    for (action, told) in [
        ("config.reload", "[server] rows_max"),
        ("policy.reload", "policy:"),
        ("keys.create", "app"),
    ] {
        support::eventually(action, || async {
            let rows = client
                .query(
                    "SELECT audit_logs::text FROM audit_logs WHERE action = $1 AND id > $2",
                    &[&action, &before],
                )
                .await
                .unwrap();
            rows.iter().any(|row| row.get::<_, &str>(0).contains(told))
        })
        .await;
    }
}

#[tokio::test]
async fn check_says_who_could_change_a_row() {
    let dev = support::Dev::start();
    let client = postgres(&dev).await;
    let check = || {
        let checked = dev.bulkhead(&["check"]);
        (
            checked.status.code(),
            String::from_utf8(checked.stdout).unwrap(),
        )
    };
    let (code, text) = check();
    assert_eq!(code, Some(0), "{text}");
    for (harm, told, mend) in [
        (
            "GRANT UPDATE ON audit_logs TO bulkhead_app",
            "`bulkhead_app` may update audit_logs",
            "REVOKE UPDATE ON audit_logs FROM bulkhead_app",
        ),
        (
            "GRANT bulkhead_owner TO bulkhead_system",
            "`bulkhead_system` may act as the owner of audit_logs",
            "REVOKE bulkhead_owner FROM bulkhead_system",
        ),
        (
            "ALTER TABLE audit_logs_rest DISABLE TRIGGER bulkhead_audit_refuse_truncate",
            "the triggers of `audit_logs_rest` are not all in force",
            "ALTER TABLE audit_logs_rest ENABLE ALWAYS TRIGGER bulkhead_audit_refuse_truncate",
        ),
        (
            "ALTER TABLE audit_logs ENABLE TRIGGER bulkhead_audit_chain",
            "the triggers of `audit_logs` are not all in force",
            "ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain",
        ),
        (
            "CREATE OR REPLACE FUNCTION bulkhead_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "the function `bulkhead_audit_refuse` is not as",
            "",
        ),
    ] {
        client.batch_execute(harm).await.unwrap();
        let (code, text) = check();
        assert_eq!(code, Some(1), "{harm}: {text}");
        assert!(text.contains(told), "{harm}: {text}");
        client.batch_execute(mend).await.unwrap();
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_a_row() {
    let dev = shared();
    let client = postgres(dev).await;
    for sql in [
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "TRUNCATE audit_logs_rest",
        "SET session_replication_role = replica; DELETE FROM audit_logs",
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{sql}: {error:?}"
        );
    }
}
