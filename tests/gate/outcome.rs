//! What an error says of the change that was asked for: a database that went silent may have made it.

use serde_json::{Value, json};

use crate::chaos::faults::{Links, STORES};
use crate::support::link::Mode;
use crate::support::{Reply, Sidecar, eventually, shared};

/// A read and a write of a store; a name makes the write another each time.
fn requests(store: &str, name: &str) -> [(&'static str, Value); 2] {
    match store {
        "postgres" => [
            (
                "/v1/postgres/query",
                json!({"sql": "SELECT count(*) AS n FROM system_config", "timeout_ms": 500}),
            ),
            (
                "/v1/postgres/query",
                json!({
                    "sql": "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, 'u', now())",
                    "params": [name], "timeout_ms": 500,
                }),
            ),
        ],
        "mysql" => [
            (
                "/v1/mysql/query",
                json!({"sql": "SELECT id FROM users WHERE id = 1", "timeout_ms": 500}),
            ),
            (
                "/v1/mysql/query",
                json!({
                    "sql": "INSERT INTO posts (user_id, title, content) VALUES (1, ?, 'outcome')",
                    "params": [name], "timeout_ms": 500,
                }),
            ),
        ],
        "mongodb" => [
            (
                "/v1/mongodb/command",
                json!({"command": {"find": "event_store", "limit": 1}}),
            ),
            (
                "/v1/mongodb/command",
                json!({"command": {"insert": "event_store", "documents": [{"_id": name, "stream": name, "version": 1}]}}),
            ),
        ],
        _ => [
            (
                "/v1/redis/command",
                json!({"command": ["GET", "cache:outcome"]}),
            ),
            (
                "/v1/redis/command",
                json!({"command": ["SET", format!("cache:{name}"), "1"]}),
            ),
        ],
    }
}

/// Reads may be sent again; so may writes that were not sent. Of others, nobody knows.
#[tokio::test]
async fn a_change_that_may_have_been_made_is_told_from_one_that_was_not() {
    let dev = shared();
    for store in STORES {
        let links = Links::before(dev).await;
        let sidecar = Sidecar::start(dev, |config| {
            links.put_into(config);
            let section = config["stores"][store].as_table_mut().unwrap();
            let (key, value) = match store {
                "redis" => ("command_timeout_ms", 500),
                _ => ("statement_timeout_ms", 1_000),
            };
            section.insert(key.into(), value.into());
        });
        sidecar.ready().await;
        let ask = async |place: usize, name: &str| -> Reply {
            let (path, body) = &requests(store, name)[place];
            sidecar.post(&dev.app, path, body).await
        };
        let name = |step: &str| format!("outcome-{store}-{step}");
        for place in [0, 1] {
            let reply = ask(place, &name("open")).await;
            assert_eq!(reply.status, 200, "{store}: {}", reply.text);
        }
        // It is sent and never answered.
        for (place, outcome) in [(1, json!("unknown")), (0, Value::Null)] {
            links.link(store).set(Mode::Drop);
            let reply = ask(place, &name("silent")).await;
            assert!(
                [503, 504].contains(&reply.status),
                "{store}: {}",
                reply.text
            );
            assert_eq!(reply.body["outcome"], outcome, "{store}: {}", reply.text);
            if place == 1 {
                assert!(!reply.headers.contains_key("retry-after"), "{}", reply.text);
            }
            links.link(store).set(Mode::Open);
            eventually("it is back", || async { ask(0, "").await.status == 200 }).await;
        }
        // It cannot be sent: at first what was kept open breaks, and then nothing opens.
        links.link(store).set(Mode::Cut);
        eventually("it is known to be away", || async {
            let reply = ask(1, &name("cut")).await;
            assert!(
                [503, 504].contains(&reply.status),
                "{store}: {}",
                reply.text
            );
            reply.body["outcome"].is_null() && reply.headers.contains_key("retry-after")
        })
        .await;
    }
}
