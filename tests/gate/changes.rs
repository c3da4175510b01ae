//! What PostgreSQL tells of changes in the system tables: every row that comes, changes or goes, while the connection
//! stands; that it is lost, when it is; and no word of `last_used_at`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bulkhead::config::Config;
use bulkhead::execute::settings::SqlStoreSettings;
use bulkhead::system::changes::{Change, Changes, Subscription, Table};

use crate::isolation::postgres;
use crate::support::link::{Link, Mode};
use crate::support::{Dev, Sidecar, shared};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system account's way to a database of the test's own, with the system tables in it.
pub async fn own_database(dev: &Dev, name: &str) -> SqlStoreSettings {
    let mut settings = Config::load(&dev.config).unwrap().system;
    let administrator = postgres(dev).await;
    for statement in [
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name} OWNER {}", settings.user),
    ] {
        administrator.batch_execute(&statement).await.unwrap();
    }
    settings.database = name.into();
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    bulkhead::schema::apply(&mut client).await.unwrap();
    settings
}

/// The same through a link that can be cut.
pub async fn linked(settings: &SqlStoreSettings) -> (Link, SqlStoreSettings) {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
    let link = Link::to(server).await;
    let settings = SqlStoreSettings {
        port: link.port,
        ..settings.clone()
    };
    (link, settings)
}

async fn next(subscription: &mut Subscription) -> Change {
    let next = tokio::time::timeout(PATIENCE, subscription.next());
    next.await.unwrap()
}

fn row(table: Table, id: &str) -> Change {
    Change::Row {
        table,
        id: Some(Arc::from(id)),
    }
}

#[tokio::test]
async fn every_row_that_changes_is_told() {
    let settings = own_database(shared(), "changes_told").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    let changes = Arc::new(Changes::new(settings));
    let mut subscription = changes.subscribe();
    assert_eq!(next(&mut subscription).await, Change::Lost);
    let running = Arc::clone(&changes);
    let running = tokio::spawn(async move { running.run().await });
    assert_eq!(next(&mut subscription).await, Change::Connected);
    let any = || Change::Row {
        table: Table::ApiKeys,
        id: None,
    };
    let key = |id| row(Table::ApiKeys, id);
    let limit = |id| row(Table::RateLimitOverrides, id);
    let cases: &[(&str, Vec<Change>)] = &[
        (
            "INSERT INTO api_keys (id, hashed_key, name) VALUES ('a', 'h', 'n'), ('b', 'i', 'n')",
            vec![key("a"), key("b")],
        ),
        ("UPDATE api_keys SET last_used_at = now()", vec![]),
        (
            "UPDATE api_keys SET role = 'app' WHERE id = 'a'",
            vec![key("a")],
        ),
        (
            "UPDATE api_keys SET revoked_at = now() WHERE id = 'b'",
            vec![key("b")],
        ),
        ("BEGIN; UPDATE api_keys SET role = 'x'; ROLLBACK", vec![]),
        (
            "BEGIN; UPDATE api_keys SET role = 'x' WHERE id = 'a'; UPDATE api_keys SET role = 'y' WHERE id = 'a'; COMMIT",
            vec![key("a")],
        ),
        (
            "UPDATE api_keys SET id = 'c' WHERE id = 'b'",
            vec![key("b"), key("c")],
        ),
        (
            "UPDATE api_keys SET previous_hashed_key = 'p', previous_expires_at = now() WHERE id = 'c'",
            vec![key("c")],
        ),
        (
            "INSERT INTO rate_limit_overrides (key_id, requests, per_ms) VALUES ('a', 1, 1)",
            vec![limit("1")],
        ),
        (
            "UPDATE rate_limit_overrides SET requests = 2",
            vec![limit("1")],
        ),
        ("DELETE FROM rate_limit_overrides", vec![limit("1")]),
        ("DELETE FROM api_keys WHERE id = 'a'", vec![key("a")]),
        (
            "UPDATE api_keys SET id = repeat('k', 2000) WHERE id = 'c'",
            vec![key("c"), any()],
        ),
        (
            "TRUNCATE api_keys CASCADE",
            vec![
                any(),
                Change::Row {
                    table: Table::RateLimitOverrides,
                    id: None,
                },
            ],
        ),
    ];
    for (sql, expected) in cases {
        client.batch_execute(sql).await.unwrap();
        for change in expected {
            assert_eq!(next(&mut subscription).await, *change, "{sql}");
        }
    }
    running.abort();
}

#[tokio::test]
async fn a_lost_connection_is_told_and_so_is_the_next() {
    let settings = own_database(shared(), "changes_lost").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, settings) = linked(&settings).await;
    let changes = Arc::new(Changes::new(settings));
    let mut subscription = changes.subscribe();
    assert_eq!(next(&mut subscription).await, Change::Lost);
    let running = Arc::clone(&changes);
    let running = tokio::spawn(async move { running.run().await });
    assert_eq!(next(&mut subscription).await, Change::Connected);
    // Reset, silent, and silent without losing anything: each is noticed.
    for mode in [Mode::Cut, Mode::Drop, Mode::Hold] {
        link.set(mode);
        assert_eq!(next(&mut subscription).await, Change::Lost, "{mode:?}");
        assert_eq!(next(&mut changes.subscribe()).await, Change::Lost);
        link.set(Mode::Open);
        assert_eq!(next(&mut subscription).await, Change::Connected, "{mode:?}");
        assert_eq!(next(&mut changes.subscribe()).await, Change::Connected);
    }
    // Triggers that are off tell nothing, so that is no listening either.
    client
        .batch_execute("ALTER TABLE api_keys DISABLE TRIGGER bulkhead_note_change")
        .await
        .unwrap();
    assert_eq!(next(&mut subscription).await, Change::Lost);
    client
        .batch_execute("ALTER TABLE api_keys ENABLE TRIGGER bulkhead_note_change")
        .await
        .unwrap();
    assert_eq!(next(&mut subscription).await, Change::Connected);
    running.abort();
}

/// The sidecar's own trigger stands between no caller and a table that the policy grants; any other does.
#[tokio::test]
async fn the_trigger_is_not_held_against_callers() {
    let dev = shared();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let grant = "\n[[roles.admin.grants]]\nstore = \"postgres\"\n\
        tables = [\"rate_limit_overrides\"]\nactions = [\"insert\"]\n";
    let policy = std::fs::read_to_string("policies/default.toml").unwrap();
    std::fs::write(&path, policy + grant).unwrap();
    let settings = own_database(dev, "changes_trigger").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    client
        .batch_execute("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO PUBLIC")
        .await
        .unwrap();
    let body = serde_json::json!({
        "store": "postgres",
        "request": "INSERT INTO rate_limit_overrides (role, requests, per_ms) VALUES ('x', 1, 1)",
    });
    // Its text as it was migrated, and then another under the same name.
    let other =
        "CREATE OR REPLACE FUNCTION bulkhead_note_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM audit_logs; RETURN NULL; END $$";
    for (change, decision, function) in [("SELECT 1", "allow", false), (other, "deny", true)] {
        client.batch_execute(change).await.unwrap();
        // A sidecar's first look at the catalogue is never an old one.
        let sidecar = Sidecar::start(dev, |config| {
            let policy = config["policy"].as_table_mut().unwrap();
            policy.insert("path".into(), path.display().to_string().into());
            let postgres = config["stores"]["postgres"].as_table_mut().unwrap();
            postgres.insert("database".into(), settings.database.clone().into());
        });
        let told = sidecar
            .post(&dev.admin_key, "/v1/explain", &body)
            .await
            .body;
        assert_eq!(told["decision"], decision, "{told}");
        assert_eq!(
            told.to_string().contains("bulkhead_note_change"),
            function,
            "{told}"
        );
    }
}
