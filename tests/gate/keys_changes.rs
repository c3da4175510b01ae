//! Changes of keys reach every running sidecar: told by PostgreSQL, asked for when it does not tell, and never lost
//! between the two.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bulkhead::authenticate::keys::{self, NewKey};
use bulkhead::execute::settings::SqlStoreSettings;
use secrecy::ExposeSecret;
use tokio_postgres::Client;

use crate::changes::{linked, own_database};
use crate::keys::whoami;
use crate::support::link::Mode;
use crate::support::{Dev, Sidecar, eventually, shared};

/// A sidecar whose system connection is `settings`, with these lines in `[auth]`.
fn sidecar(settings: &SqlStoreSettings, auth: &str) -> Sidecar {
    Sidecar::start(shared(), |config| {
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), settings.database.clone().into());
        system.insert("port".into(), i64::from(settings.port).into());
        config.insert("auth".into(), auth.parse::<toml::Table>().unwrap().into());
    })
}

/// A new key of the role `app`: its id and the whole of it.
async fn new_key(client: &mut Client) -> (String, String) {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let new = NewKey {
        name: format!("made {}", MADE.fetch_add(1, Ordering::Relaxed)),
        user_id: None,
        role: "app".into(),
        expires_at: None,
    };
    let made = keys::create(client, &new).await.unwrap();
    (made.id, made.secret.expose_secret().to_owned())
}

/// The role, or the refusal's code.
async fn seen(sidecar: &Sidecar, key: &str) -> String {
    let reply = whoami(&sidecar.http, key).await;
    let role = reply.body["role"].as_str().map(str::to_owned);
    role.unwrap_or_else(|| reply.code().to_owned())
}

async fn becomes(sidecar: &Sidecar, key: &str, expected: &str) {
    eventually(expected, || async { seen(sidecar, key).await == expected }).await;
}

/// Waits until the sidecar's entries no longer run out with time alone: PostgreSQL tells it of changes.
async fn listens(client: &Client, sidecars: i64) {
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '%pg_listening_channels%' AND pid <> pg_backend_pid()";
    eventually("the sidecars listen", || async {
        let count: i64 = client.query_one(asked, &[]).await.unwrap().get(0);
        count == sidecars
    })
    .await;
}

/// With entries that would hold for a minute, only what PostgreSQL tells can be so quick.
#[tokio::test]
async fn a_revocation_and_a_role_reach_every_sidecar_at_once() {
    const ROUNDS: usize = 25;
    let settings = own_database(shared(), "keys_two").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let slow = "cache_ttl_ms = 60000";
    let sidecars = [sidecar(&settings, slow), sidecar(&settings, slow)];
    listens(&client, 2).await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let (id, key) = new_key(&mut client).await;
        for one in &sidecars {
            assert_eq!(seen(one, &key).await, "app");
        }
        client
            .execute("UPDATE api_keys SET role = 'admin' WHERE id = $1", &[&id])
            .await
            .unwrap();
        for one in &sidecars {
            becomes(one, &key, "admin").await;
        }
        keys::revoke(&mut client, &id).await.unwrap();
        let revoked = Instant::now();
        for one in &sidecars {
            while seen(one, &key).await != "auth.revoked" {
                assert!(revoked.elapsed() < Duration::from_secs(20), "never revoked");
            }
            took.push(revoked.elapsed());
        }
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "{} revocations seen: median {median:?}, longest {longest:?}",
        took.len()
    );
}

/// While the triggers are off, nothing is told, and keys are asked for again every second.
#[tokio::test]
async fn without_notifications_keys_are_polled() {
    let settings = own_database(shared(), "keys_polled").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let sidecar = sidecar(&settings, "");
    listens(&client, 1).await;
    let (id, key) = new_key(&mut client).await;
    assert_eq!(seen(&sidecar, &key).await, "app");
    client
        .batch_execute("ALTER TABLE api_keys DISABLE TRIGGER bulkhead_note_change")
        .await
        .unwrap();
    keys::revoke(&mut client, &id).await.unwrap();
    let revoked = Instant::now();
    becomes(&sidecar, &key, "auth.revoked").await;
    eprintln!("a revocation seen by polling: {:?}", revoked.elapsed());
}

/// What happens while the connection is away is seen when it is back, though nobody told it.
#[tokio::test]
async fn what_was_missed_is_made_up_for() {
    let settings = own_database(shared(), "keys_missed").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, through) = linked(&settings).await;
    let sidecar = sidecar(&through, "");
    listens(&client, 1).await;
    for mode in [Mode::Cut, Mode::Drop] {
        let (revoked_id, revoked) = new_key(&mut client).await;
        let (_, kept) = new_key(&mut client).await;
        let (_, unknown) = new_key(&mut client).await;
        let (gone_id, gone) = new_key(&mut client).await;
        keys::revoke(&mut client, &gone_id).await.unwrap();
        assert_eq!(seen(&sidecar, &revoked).await, "app");
        assert_eq!(seen(&sidecar, &kept).await, "app");
        becomes(&sidecar, &gone, "auth.revoked").await;
        link.set(mode);
        keys::revoke(&mut client, &revoked_id).await.unwrap();
        // Known keys go on, what was seen revoked stays so, and nothing new comes in.
        for _ in 0..3 {
            assert_eq!(seen(&sidecar, &kept).await, "app", "{mode:?}");
            assert_eq!(seen(&sidecar, &gone).await, "auth.revoked", "{mode:?}");
            assert_eq!(
                seen(&sidecar, &unknown).await,
                "store.unavailable",
                "{mode:?}"
            );
        }
        link.set(Mode::Open);
        becomes(&sidecar, &revoked, "auth.revoked").await;
        becomes(&sidecar, &unknown, "app").await;
        assert_eq!(seen(&sidecar, &kept).await, "app");
    }
}

/// A revocation that was told holds, also if PostgreSQL goes away before the key is asked for again.
#[tokio::test]
async fn a_change_that_was_told_is_not_forgotten_in_an_outage() {
    let settings = own_database(shared(), "keys_told").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, through) = linked(&settings).await;
    let sidecar = sidecar(&through, "cache_ttl_ms = 60000");
    listens(&client, 1).await;
    let (id, key) = new_key(&mut client).await;
    let (_, witness) = new_key(&mut client).await;
    assert_eq!(seen(&sidecar, &key).await, "app");
    assert_eq!(seen(&sidecar, &witness).await, "app");
    keys::revoke(&mut client, &id).await.unwrap();
    // Told after it on the same connection: once this is seen, so was the other.
    client
        .batch_execute("UPDATE api_keys SET role = 'admin' WHERE revoked_at IS NULL")
        .await
        .unwrap();
    becomes(&sidecar, &witness, "admin").await;
    link.set(Mode::Cut);
    for _ in 0..3 {
        assert_eq!(seen(&sidecar, &key).await, "store.unavailable");
        assert_eq!(seen(&sidecar, &witness).await, "admin");
    }
}

#[tokio::test]
async fn known_keys_outlive_postgresql_for_a_while_and_then_fail_closed() {
    let dev = Dev::start();
    let key = dev.new_key("outlives");
    let revoked = dev.new_key("revoked before");
    let sidecar = Sidecar::start(&dev, |config| {
        let auth = "stale_max_s = 10".parse::<toml::Table>().unwrap();
        config.insert("auth".into(), auth.into());
    });
    sidecar.ready().await;
    assert!(
        dev.bulkhead(&["keys", "revoke", &revoked[4..20]])
            .status
            .success()
    );
    assert_eq!(seen(&sidecar, &key).await, "app");
    assert_eq!(seen(&sidecar, &revoked).await, "auth.revoked");
    dev.tell("kill postgres");
    assert_eq!(seen(&sidecar, &key).await, "app");
    assert_eq!(seen(&sidecar, &revoked).await, "auth.revoked");
    becomes(&sidecar, &key, "store.unavailable").await;
    assert_eq!(seen(&sidecar, &revoked).await, "store.unavailable");
    dev.tell("start postgres");
    becomes(&sidecar, &key, "app").await;
    becomes(&sidecar, &revoked, "auth.revoked").await;
}
