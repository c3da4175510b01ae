//! `bulkhead keys` as an operator uses it: the first key, rotation, expiry, and the forms in which a key is handed over.

use std::process::{Command, Output};

use bulkhead::authenticate::keys::{self, NewKey};
use bulkhead::execute::settings::SqlStoreSettings;
use serde_json::Value;

use crate::changes::own_database;
use crate::isolation::postgres;
use crate::keys::whoami;
use crate::support::{Dev, eventually, shared};

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn made(dev: &Dev, more: &[&str]) -> Value {
    let mut arguments = vec![
        "keys", "create", "--role", "app", "--name", "made", "--output", "json",
    ];
    arguments.extend(more);
    json(&dev.bulkhead(&arguments))
}

/// What the shared sidecar says of a key: `ok`, or the refusal's code.
async fn seen(key: &str) -> String {
    let reply = whoami(&shared().http, key).await;
    if reply.status == 200 {
        "ok".into()
    } else {
        reply.code().to_owned()
    }
}

async fn becomes(key: &str, expected: &str) {
    eventually(expected, || async { seen(key).await == expected }).await;
}

#[tokio::test]
async fn after_a_rotation_both_secrets_open_for_a_while() {
    let dev = shared();
    let first = made(dev, &["--user", "u1"]);
    let (id, old) = (
        first["id"].as_str().unwrap(),
        first["key"].as_str().unwrap(),
    );
    becomes(old, "ok").await;
    let rotate = |more: &[&str]| {
        let mut arguments = vec!["keys", "rotate", id, "--output", "json"];
        arguments.extend(more);
        dev.bulkhead(&arguments)
    };
    let second = json(&rotate(&[]));
    let new = second["key"].as_str().unwrap();
    assert_eq!(
        (&second["id"], &second["role"]),
        (&first["id"], &first["role"])
    );
    let until: jiff::Timestamp = second["previous_until"].as_str().unwrap().parse().unwrap();
    let hours = until.duration_since(jiff::Timestamp::now()).as_secs() / 3600;
    assert!(
        (23..=24).contains(&hours),
        "a day is the default, not {hours} h"
    );
    assert_ne!(new, old);
    becomes(new, "ok").await;
    assert_eq!(seen(old).await, "ok");
    assert_eq!(whoami(&dev.http, old).await.body["user_id"], "u1");
    let listed = text(&dev.bulkhead(&["keys", "list"]));
    let line = listed.lines().find(|line| line.contains(id)).unwrap();
    assert!(
        line.contains("the secret before the rotation until"),
        "{line}"
    );

    // A rotation that is tried again, because its answer was lost, must not shut out whoever has the old secret.
    let again = rotate(&[]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    assert_eq!(
        (seen(old).await, seen(new).await),
        ("ok".into(), "ok".into())
    );

    let third = json(&rotate(&["--force", "--overlap", "3s"]));
    becomes(third["key"].as_str().unwrap(), "ok").await;
    becomes(old, "auth.invalid").await;
    // Its holder is told that it is over, as with a key.
    becomes(new, "auth.expired").await;

    let fourth = json(&rotate(&["--overlap", "0s"]));
    assert_eq!(fourth.get("previous_until"), None);
    becomes(third["key"].as_str().unwrap(), "auth.invalid").await;
    becomes(fourth["key"].as_str().unwrap(), "ok").await;

    assert!(dev.bulkhead(&["keys", "revoke", id]).status.success());
    becomes(fourth["key"].as_str().unwrap(), "auth.revoked").await;
    assert_eq!(
        rotate(&[]).status.code(),
        Some(1),
        "a revoked key is not rotated"
    );
    assert_eq!(
        dev.bulkhead(&["keys", "rotate", "none"]).status.code(),
        Some(1)
    );
    let actions = "SELECT action FROM audit_logs WHERE metadata->>'key_id' = $1 ORDER BY id";
    let rows = postgres(dev).await.query(actions, &[&id]).await.unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        actions,
        [
            "keys.create",
            "keys.rotate",
            "keys.rotate",
            "keys.rotate",
            "keys.revoke"
        ]
    );
}

#[tokio::test]
async fn a_key_expires_in_a_span_or_at_a_time() {
    let dev = shared();
    let expires = async |more: &[&str]| -> Option<jiff::Timestamp> {
        let made = made(dev, more);
        let row = "SELECT expires_at FROM api_keys WHERE id = $1";
        let id = made["id"].as_str().unwrap();
        postgres(dev)
            .await
            .query_one(row, &[&id])
            .await
            .unwrap()
            .get(0)
    };
    assert_eq!(expires(&[]).await, None);
    let at = expires(&["--expires-at", "2099-01-01T00:00:00Z"]).await;
    assert_eq!(at.unwrap().to_string(), "2099-01-01T00:00:00Z");
    let days = expires(&["--expires-in", "90d"]).await.unwrap();
    let days = days.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((89..=90).contains(&days), "{days}");
    let both = ["--expires-in", "1d", "--expires-at", "2099-01-01T00:00:00Z"];
    let past = ["--expires-at", "2001-01-01T00:00:00Z"];
    for wrong in [&both[..], &past[..]] {
        let mut arguments = vec!["keys", "create", "--role", "app", "--name", "x"];
        arguments.extend(wrong);
        assert_eq!(dev.bulkhead(&arguments).status.code(), Some(2), "{wrong:?}");
    }
}

/// PostgreSQL knows times that no calendar here does.
#[tokio::test]
async fn a_key_lives_as_long_as_postgresql_means_it_to() {
    let dev = shared();
    for (column, time, expected) in [
        ("expires_at", "infinity", "ok"),
        ("expires_at", "290000-01-01", "ok"),
        ("expires_at", "-infinity", "auth.expired"),
        ("expires_at", "4000-01-01 BC", "auth.expired"),
        ("revoked_at", "-infinity", "auth.revoked"),
        ("last_used_at", "infinity", "ok"),
    ] {
        let made = made(dev, &[]);
        let set = format!("UPDATE api_keys SET {column} = '{time}' WHERE id = $1");
        let id = made["id"].as_str().unwrap();
        let client = postgres(dev).await;
        client.execute(&set, &[&id]).await.unwrap();
        becomes(made["key"].as_str().unwrap(), expected).await;
        for format in [&["keys", "list"][..], &["keys", "list", "--format", "json"]] {
            let listed = dev.bulkhead(format);
            assert!(text(&listed).contains(id), "{column} {time}: {listed:?}");
        }
        // None of them is left for the tests beside this one.
        client
            .execute("DELETE FROM api_keys WHERE id = $1", &[&id])
            .await
            .unwrap();
    }
    let made = made(dev, &[]);
    let id = made["id"].as_str().unwrap();
    let client = postgres(dev).await;
    let set = "UPDATE api_keys SET previous_hashed_key = hashed_key, previous_expires_at = 'infinity' WHERE id = $1";
    client.execute(set, &[&id]).await.unwrap();
    let rotated = dev.bulkhead(&["keys", "rotate", id]);
    assert!(!rotated.status.success(), "{rotated:?}");
    let rotated = dev.bulkhead(&["keys", "rotate", id, "--force"]);
    assert!(rotated.status.success(), "{rotated:?}");
}

#[tokio::test]
async fn a_key_is_handed_over_in_the_form_that_is_asked_for() {
    let dev = shared();
    let create = |output: &str| {
        let arguments = [
            "keys", "create", "--role", "app", "--name", "formed", "--output", output,
        ];
        text(&dev.bulkhead(&arguments))
    };
    let env = create("env");
    let key = env.strip_prefix("BULKHEAD_KEY=").unwrap();
    assert_eq!(seen(key).await, "ok");
    let secret: Value = serde_saphyr::from_str(&create("secret")).unwrap();
    assert_eq!(
        (&secret["apiVersion"], &secret["kind"]),
        (&"v1".into(), &"Secret".into())
    );
    assert_eq!(
        seen(secret["stringData"]["key"].as_str().unwrap()).await,
        "ok"
    );
}

/// Runs `bulkhead` on the configuration of `dev` with another system database.
fn with_database(dev: &Dev, settings: &SqlStoreSettings, arguments: &[&str]) -> Output {
    let mut config: toml::Table = std::fs::read_to_string(&dev.config)
        .unwrap()
        .parse()
        .unwrap();
    let system = config["system"].as_table_mut().unwrap();
    system.insert("database".into(), settings.database.clone().into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bulkhead.toml");
    std::fs::write(&path, config.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(arguments)
        .env("BULKHEAD_CONFIG", &path)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_first_key_is_made_once() {
    let dev = shared();
    let settings = own_database(dev, "keys_first").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    let first = [
        "keys",
        "bootstrap",
        "--role",
        "admin",
        "--name",
        "first",
        "--output",
        "json",
    ];
    // However many try at once.
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let attempt = || with_database(dev, &settings, &first);
        let attempts: Vec<_> = (0..6).map(|_| scope.spawn(attempt)).collect();
        attempts
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    let codes = |code| {
        outcomes
            .iter()
            .filter(|one| one.status.code() == Some(code))
            .count()
    };
    // An installer may do it again and again: nothing is made or printed, and nothing is wrong.
    assert_eq!(codes(0), 6, "{outcomes:?}");
    let made = outcomes.iter().filter(|one| !one.stdout.is_empty()).count();
    assert_eq!(made, 1, "{outcomes:?}");
    let told =
        |one: &&Output| String::from_utf8_lossy(&one.stderr).contains("there is a key already");
    assert_eq!(outcomes.iter().filter(told).count(), 5, "{outcomes:?}");
    let count = async |query: &str| -> i64 { client.query_one(query, &[]).await.unwrap().get(0) };
    assert_eq!(count("SELECT count(*) FROM api_keys").await, 1);
    let audited = "SELECT count(*) FROM audit_logs WHERE action = 'keys.bootstrap'";
    assert_eq!(count(audited).await, 1);
    // Nor again when the table has been emptied; other keys are made as ever.
    client.batch_execute("DELETE FROM api_keys").await.unwrap();
    let nothing = |output: Output| output.status.success() && output.stdout.is_empty();
    assert!(nothing(with_database(dev, &settings, &first)));
    let another = ["keys", "create", "--role", "app", "--name", "another"];
    assert!(with_database(dev, &settings, &another).status.success());
    // And not where keys were made without it.
    let settings = own_database(dev, "keys_not_first").await;
    assert!(with_database(dev, &settings, &another).status.success());
    assert!(nothing(with_database(dev, &settings, &first)));
}

#[tokio::test]
async fn without_system_tables_it_says_how_they_are_made() {
    let dev = shared();
    let settings = own_database(dev, "keys_no_tables").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    client
        .batch_execute("DROP TABLE api_keys CASCADE")
        .await
        .unwrap();
    let create = ["keys", "create", "--role", "app", "--name", "early"];
    for arguments in [&["keys", "list"][..], &create] {
        let output = with_database(dev, &settings, arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(told.contains("run `bulkhead schema apply`"), "{told}");
    }
}

#[test]
fn what_does_not_go_together_or_cannot_be_shown_is_refused() {
    let dev = shared();
    let create = ["keys", "create", "--role", "app"];
    for (more, words) in [
        (&["--name", ""][..], "must not be empty"),
        (&["--name", "a\u{1b}[2Jb"], "no control characters"),
        (&["--name", "a", "--user", ""], "must not be empty"),
        (
            &["--name", "a", "--format", "json", "--output", "env"],
            "leave one out",
        ),
        (
            &["--name", "a", "--secret-name", "s"],
            "add `--output secret`",
        ),
        (
            &["--name", "a", "--secret-name", "s", "--output", "env"],
            "add `--output secret`",
        ),
    ] {
        let output = dev.bulkhead(&[&create, more].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(words) && !told.contains('\u{1b}'), "{told}");
    }
}

/// A whole key, given where its id is wanted, is not repeated.
#[tokio::test]
async fn a_key_given_for_its_id_is_not_shown() {
    let dev = shared();
    let made = made(dev, &["--user", "u\u{e9}7"]);
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    // Not copied whole: the id is taken out of it all the same.
    let rotated = dev.bulkhead(&["keys", "rotate", &key[..key.len() - 1]]);
    let revoked = dev.bulkhead(&["keys", "revoke", key]);
    let again = dev.bulkhead(&["keys", "revoke", key]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    for output in [&rotated, &revoked, &again] {
        let shown = format!("{output:?}");
        assert!(!shown.contains(&key[21..60]), "{shown}");
        assert!(shown.contains(id), "{shown}");
    }
    assert!(rotated.status.success() && revoked.status.success());

    // Names that others wrote into the table are shown as a terminal may see them.
    let named = "UPDATE api_keys SET name = $2 WHERE id = $1";
    let client = postgres(dev).await;
    client
        .execute(named, &[&id, &"a\u{1b}[31m\nb"])
        .await
        .unwrap();
    let listed = text(&dev.bulkhead(&["keys", "list"]));
    let line = listed.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(
        line.contains("a\\u{1b}[31m\\nb") && line.contains("u\u{e9}7"),
        "{line}"
    );
    assert!(!listed.contains('\u{1b}'));
}

#[tokio::test]
async fn keys_without_a_role_of_the_policy_are_named_by_check() {
    let dev = shared();
    let settings = own_database(dev, "keys_roles").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let mut made = Vec::new();
    for role in ["app", "gone"] {
        let new = NewKey {
            name: role.into(),
            user_id: None,
            role: role.into(),
            expires_at: None,
        };
        made.push(keys::create(&mut client, &new).await.unwrap().id);
    }
    let line = || {
        let checked = text(&with_database(dev, &settings, &["check"]));
        let line = checked.lines().find(|line| line.contains("  keys  "));
        line.unwrap_or(&checked).to_owned()
    };
    let told = line();
    let words = format!(
        "warning: 1 with a role that the policy does not have, so that they are refused everything: `{}` (`gone`)",
        made[1]
    );
    assert!(told.starts_with("ok") && told.ends_with(&words), "{told}");
    keys::revoke(&mut client, &made[1]).await.unwrap();
    let told = line();
    assert!(told.ends_with("each has a role of the policy"), "{told}");
}

#[tokio::test]
async fn the_last_use_is_noted() {
    let dev = shared();
    let made = made(dev, &[]);
    let id = made["id"].as_str().unwrap();
    let client = postgres(dev).await;
    let used = async || -> bool {
        let asked = "SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = $1";
        client.query_one(asked, &[&id]).await.unwrap().get(0)
    };
    assert!(!used().await);
    becomes(made["key"].as_str().unwrap(), "ok").await;
    eventually("the use is written", || async { used().await }).await;
    // And again: the note of it is written once, and then taken anew.
    client
        .execute(
            "UPDATE api_keys SET last_used_at = NULL WHERE id = $1",
            &[&id],
        )
        .await
        .unwrap();
    becomes(made["key"].as_str().unwrap(), "ok").await;
    eventually("the next use is written", || async { used().await }).await;
}
