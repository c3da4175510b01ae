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
