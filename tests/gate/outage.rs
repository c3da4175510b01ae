//! Each database killed and restarted while requests run: a clear 503 meanwhile, recovery without a restart
//! of the sidecar, `/health` and `database_up` telling the truth throughout.

use serde_json::{Value, json};

use crate::support::{Dev, Reply, eventually};
use crate::transactions::{Caller, name_and_payments, new_user, told};

async fn ask(dev: &Dev, store: &str) -> Reply {
    let key = &dev.admin_key;
    match store {
        "postgres" | "mysql" => {
            let table = if store == "mysql" {
                "users"
            } else {
                "system_config"
            };
            let body = json!({"sql": format!("SELECT count(*) AS n FROM {table}")});
            dev.post(key, &format!("/v1/{store}/query"), &body).await
        }
        "mongodb" => {
            let body = json!({"command": {"count": "activity_logs"}});
            dev.post(key, "/v1/mongodb/command", &body).await
        }
        _ => {
            dev.post(
                key,
                "/v1/redis/command",
                &json!({"command": ["GET", "cache:x"]}),
            )
            .await
        }
    }
}

#[tokio::test]
async fn each_database_goes_away_and_comes_back() {
    let dev = Dev::start();
    for store in ["redis", "mysql", "mongodb", "postgres"] {
        let up = format!("database_up{{database=\"{store}\"}}");
        eventually("healthy at first", || async {
            dev.get("/health").await.status == 200
        })
        .await;
        assert_eq!(ask(&dev, store).await.status, 200);

        dev.tell(&format!("kill {store}"));
        eventually("a clear 503", || async {
            let reply = ask(&dev, store).await;
            assert!(
                [200, 503].contains(&reply.status),
                "{store}: {}",
                reply.text
            );
            reply.status == 503
        })
        .await;
        let reply = ask(&dev, store).await;
        assert_eq!(reply.code(), "store.unavailable", "{store}: {}", reply.text);
        assert!(reply.headers.contains_key("retry-after"));
        eventually("health says which one", || async {
            let health = dev.get("/health").await;
            health.status == 503 && health.body[store]["status"] == "down"
        })
        .await;
        assert_eq!(dev.metric(&up).await, 0.0);
        for other in ["postgres", "mysql", "mongodb", "redis"] {
            if other != store {
                let reply = ask(&dev, other).await;
                assert_eq!(
                    reply.status, 200,
                    "{other} while {store} is away: {}",
                    reply.text
                );
            }
        }

        dev.tell(&format!("start {store}"));
        eventually("recovery without a restart", || async {
            ask(&dev, store).await.status == 200
        })
        .await;
        eventually("health is whole again", || async {
            dev.get("/health").await.status == 200
        })
        .await;
        assert_eq!(dev.metric(&up).await, 1.0);
    }
    assert_ne!(dev.get("/health").await.body, Value::Null);
}

/// The pattern's example, with the database killed between its two statements.
#[tokio::test]
async fn a_database_that_is_killed_leaves_nothing_half_done() {
    let dev = Dev::start();
    let caller = Caller::new(&dev, "killed");
    let user = new_user(&dev, "killed@example.com").await;
    let update = "UPDATE users SET name = 'Half' WHERE id = ?";
    let pay = "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (?, 5, 'EUR', 'deposit')";
    let open = caller.begin("mysql", json!({})).await;
    caller.run(&open, update, json!([user])).await;
    dev.tell("kill mysql");
    let reply = caller.query(&open, pay, json!([user])).await;
    let expected = (503, "store.unavailable", "rolled_back");
    assert_eq!(told(&reply), expected, "{}", reply.text);
    dev.tell("start mysql");
    eventually("it is back", || async {
        ask(&dev, "mysql").await.status == 200
    })
    .await;
    assert_eq!(name_and_payments(&dev, user).await, ("N".to_owned(), 0));
    let reply = caller.end(&open, "commit").await;
    assert_eq!(told(&reply), (410, "transaction.expired", "rolled_back"));
    // All of it, made anew.
    let open = caller.begin("mysql", json!({})).await;
    caller.run(&open, update, json!([user])).await;
    caller.run(&open, pay, json!([user])).await;
    let reply = caller.end(&open, "commit").await;
    assert_eq!(told(&reply), (200, "", "committed"), "{}", reply.text);
    // What was told to be committed outlives a crash.
    dev.tell("kill mysql");
    dev.tell("start mysql");
    assert_eq!(name_and_payments(&dev, user).await, ("Half".to_owned(), 1));
}
