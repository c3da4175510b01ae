//! What the server's catalogue knows counts at the gate: a granted name that stands for something else is refused
//! for what it reaches.

use serde_json::{Value, json};

use crate::isolation::postgres;
use crate::support::{Dev, Reply, eventually};

const HIDE: &str = "
    ALTER TABLE system_config RENAME TO system_config_rows;
    CREATE VIEW system_config AS SELECT id AS key, hashed_key AS value FROM api_keys;
    GRANT SELECT ON system_config TO PUBLIC;
    CREATE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO audit_logs (action) VALUES ('copied'); RETURN NEW; END $$;
    CREATE TRIGGER copy AFTER UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION copy_row();
    CREATE TABLE session_notes (session_id text REFERENCES sessions ON DELETE CASCADE);
    CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE sql STABLE AS
        $$ SELECT hashed_key FROM public.api_keys LIMIT 1 $$;
    CREATE FUNCTION key_of(sessions) RETURNS text LANGUAGE sql STABLE AS
        $$ SELECT hashed_key FROM public.api_keys LIMIT 1 $$;";

const SHOW: &str = "
    DROP VIEW system_config;
    ALTER TABLE system_config_rows RENAME TO system_config;
    DROP TRIGGER copy ON sessions;
    DROP TABLE session_notes;
    DROP FUNCTION lower(varchar);
    DROP FUNCTION key_of(sessions);";

/// A statement, its code while things are hidden, and the object or function that the refusal names.
const CASES: [(&str, &str, &str); 5] = [
    ("SELECT key FROM system_config", "policy.denied", "api_keys"),
    (
        "UPDATE sessions SET user_id = 'x' WHERE id = 'none'",
        "policy.forbidden_statement",
        "copy_row",
    ),
    (
        "DELETE FROM sessions WHERE id = 'none'",
        "policy.unknown_object",
        "session_notes",
    ),
    (
        "SELECT lower(user_id::varchar) FROM sessions",
        "policy.forbidden_statement",
        "lower",
    ),
    (
        "SELECT s.key_of FROM sessions s",
        "policy.forbidden_statement",
        "key_of",
    ),
];

async fn ask(dev: &Dev, sql: &str) -> Reply {
    dev.sql("postgres", sql, Value::Array(Vec::new())).await
}

#[tokio::test]
async fn what_a_name_hides_is_judged() {
    let dev = Dev::start();
    let client = postgres(&dev).await;
    for (sql, ..) in &CASES[..4] {
        assert_eq!(ask(&dev, sql).await.status, 200, "{sql}");
    }
    client.batch_execute(HIDE).await.unwrap();
    eventually("the catalogue is read again", || async {
        ask(&dev, CASES[0].0).await.status == 403
    })
    .await;
    for (sql, code, named) in CASES {
        let reply = ask(&dev, sql).await;
        assert_eq!((reply.status, reply.code()), (403, code), "{}", reply.text);
        let detail = reply.body["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{named}`")), "{detail}");
        let body = json!({"store": "postgres", "request": sql});
        let explained = dev.post(&dev.app, "/v1/explain", &body).await;
        assert!(explained.text.contains(code), "{}", explained.text);
    }
    // What reaches nothing is as free as before.
    let reply = ask(&dev, "SELECT id FROM sessions").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    client.batch_execute(SHOW).await.unwrap();
    eventually("everything is allowed again", || async {
        ask(&dev, CASES[0].0).await.status == 200
    })
    .await;
    for (sql, ..) in &CASES[..4] {
        assert_eq!(ask(&dev, sql).await.status, 200, "{sql}");
    }
}
