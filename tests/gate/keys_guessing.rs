//! Guessing is throttled by address; whoever has a good key behind the same address goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use secrecy::ExposeSecret;

use bulkhead::authenticate::{DOUBTED_LOOK_UPS_MAX, FAILURE_INTERVAL, FAILURES_MAX, key, keys};
use bulkhead::execute::settings::SqlStoreSettings;
use tokio_postgres::Client;

use crate::changes::{linked, own_database};
use crate::isolation::postgres;
use crate::keys::whoami;
use crate::support::link::Mode;
use crate::support::{Sidecar, eventually, send, shared};

fn guess() -> String {
    key::generate().unwrap().key.expose_secret().to_owned()
}

#[tokio::test]
async fn who_guesses_waits_and_who_knows_goes_on() {
    let dev = shared();
    let admin = Sidecar::start(dev, |_| {});
    reached(&admin, &dev.app).await;
    let rows = async || -> i64 {
        let count =
            "SELECT count(*) FROM audit_logs WHERE code = 'rate_limit.exceeded' AND key_id IS NULL";
        let client = postgres(dev).await;
        client.query_one(count, &[]).await.unwrap().get(0)
    };
    let mut codes = Vec::new();
    // Wrong ids, wrong secrets of a right id, and what is no key at all.
    let damaged = guess().replace("bhk_", "bhk-");
    for turn in 0..3 * FAILURES_MAX {
        let wrong = match turn % 3 {
            0 => guess(),
            1 => key::generate_for(&dev.app[4..20])
                .unwrap()
                .key
                .expose_secret()
                .to_owned(),
            _ => damaged.clone(),
        };
        let reply = whoami(&admin.http, &wrong).await;
        if reply.status == 429 {
            let retry: u64 = reply.headers["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((1..=60).contains(&retry), "{retry}");
        }
        codes.push((reply.status, reply.code().to_owned()));
        assert_eq!(
            whoami(&admin.http, &dev.app).await.status,
            200,
            "a good key is refused"
        );
    }
    let burst = FAILURES_MAX as usize;
    assert!(
        codes[..burst]
            .iter()
            .all(|code| *code == (401, "auth.invalid".into())),
        "{codes:?}"
    );
    // Some are let through again as time passes; most are not.
    let throttled = codes
        .iter()
        .filter(|code| **code == (429, "rate_limit.exceeded".into()));
    assert!(throttled.count() > burst, "{codes:?}");
    assert_eq!(rows().await, 0, "a flood of guesses fills no table");
}

/// A sidecar whose system connection is `settings`.
fn sidecar(settings: &SqlStoreSettings) -> Sidecar {
    Sidecar::start(shared(), |config| {
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), settings.database.clone().into());
        system.insert("port".into(), i64::from(settings.port).into());
    })
}

async fn new_key(client: &mut Client) -> (String, String) {
    let new = keys::NewKey {
        name: "late".into(),
        user_id: None,
        role: "app".into(),
        expires_at: None,
    };
    let made = keys::create(client, &new).await.unwrap();
    (made.id, made.secret.expose_secret().to_owned())
}

/// Good keys that the sidecar has never seen get in the first time, while somebody at their address guesses all the
/// time; and guessing stays bounded.
#[tokio::test]
async fn a_good_key_that_is_not_known_yet_gets_in() {
    let settings = own_database(shared(), "keys_guessing").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let sidecar = sidecar(&settings);
    let began = Instant::now();
    let (id, _) = new_key(&mut client).await;
    let stop = Arc::new(AtomicBool::new(false));
    let guessers: Vec<_> = (0..8)
        .map(|_| {
            let (http, id, stop) = (sidecar.http.clone(), id.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut told, mut throttled) = (0_u128, 0);
                while !stop.load(Ordering::Relaxed) {
                    // A wrong id, then a wrong secret of a right one.
                    let secret = key::generate_for(&id).unwrap().key;
                    for wrong in [guess(), secret.expose_secret().to_owned()] {
                        match whoami(&http, &wrong).await.status {
                            401 => told += 1,
                            429 => throttled += 1,
                            status => panic!("{status}"),
                        }
                    }
                }
                (told, throttled)
            })
        })
        .collect();
    while whoami(&sidecar.http, &guess()).await.status != 429 {}
    for _ in 0..2 * FAILURES_MAX {
        let (id, key) = new_key(&mut client).await;
        let reply = whoami(&sidecar.http, &key).await;
        assert_eq!((reply.status, &reply.body["key_id"]), (200, &id.into()));
    }
    stop.store(true, Ordering::Relaxed);
    let (mut told, mut throttled) = (0, 0);
    for guesser in guessers {
        let (some, others) = guesser.await.unwrap();
        told += some;
        throttled += others;
    }
    let again = began.elapsed().as_millis() / FAILURE_INTERVAL.as_millis();
    assert!(told <= u128::from(FAILURES_MAX) + again + 1, "{told}");
    assert!(throttled > told, "{throttled} {told}");
    let rows = "SELECT count(*) FROM audit_logs WHERE code LIKE 'auth.%'";
    let rows: i64 = client.query_one(rows, &[]).await.unwrap().get(0);
    assert!(
        rows as u128 <= u128::from(FAILURES_MAX) + again + 1,
        "{rows}"
    );
    let url = format!("{}/v1/whoami", sidecar.http);
    let reply = send(hyper::Method::GET, &url, &[], None).await;
    assert_eq!(
        reply.status,
        StatusCode::UNAUTHORIZED.as_u16(),
        "no key is no guess"
    );
}

/// Waits until the sidecar has reached PostgreSQL, and knows the key.
async fn reached(sidecar: &Sidecar, key: &str) {
    eventually("postgres is reached", || async {
        whoami(&sidecar.http, key).await.status == 200
    })
    .await;
}

/// All that addresses ask which have failed too often has few look-ups under way; the rest has no turn.
#[tokio::test]
async fn guesses_do_not_crowd_postgresql() {
    let settings = own_database(shared(), "keys_crowd").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, through) = linked(&settings).await;
    let sidecar = sidecar(&through);
    let (_, known) = new_key(&mut client).await;
    reached(&sidecar, &known).await;
    while whoami(&sidecar.http, &guess()).await.status != 429 {}
    link.set(Mode::Hold);
    let guesses = (0..3 * DOUBTED_LOOK_UPS_MAX).map(|_| async {
        let guess = guess();
        whoami(&sidecar.http, &guess).await.status
    });
    let found = futures_util::future::join_all(guesses).await;
    let asked = found.iter().filter(|status| **status != 429).count();
    assert!(asked <= DOUBTED_LOOK_UPS_MAX, "{found:?}");
    assert_eq!(whoami(&sidecar.http, &known).await.status, 200);
    link.set(Mode::Open);
    let (_, key) = new_key(&mut client).await;
    eventually("a new key gets in", || async {
        whoami(&sidecar.http, &key).await.status == 200
    })
    .await;
}

/// Beside a flood that never stops, a good key that nobody has used yet gets in within a few tries, however slow
/// PostgreSQL is: with a line, it would stand behind more guesses than have their turn in the time that it waits.
#[tokio::test]
async fn a_new_key_gets_in_beside_a_flood() {
    let settings = own_database(shared(), "keys_flood").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, through) = linked(&settings).await;
    let sidecar = sidecar(&through);
    let (_, known) = new_key(&mut client).await;
    reached(&sidecar, &known).await;
    while whoami(&sidecar.http, &guess()).await.status != 429 {}
    link.set(Mode::Delay(Duration::from_millis(100)));
    let (_, key) = new_key(&mut client).await;
    let guessing = (0..96).map(|_| async {
        loop {
            whoami(&sidecar.http, &guess()).await;
        }
    });
    let guessing = futures_util::future::join_all(guessing);
    let trying = async {
        for turn in 1..=60 {
            let reply = whoami(&sidecar.http, &key).await;
            if reply.status == 200 {
                return turn;
            }
            assert_eq!(reply.status, 429, "{}", reply.text);
        }
        panic!("it never got in");
    };
    tokio::select! {
        _ = guessing => {}
        turns = trying => eprintln!("in at try {turns}"),
    }
}

/// A wrong id and a wrong secret are both asked for, once, and both come from memory then: while PostgreSQL is silent, what
/// was asked for before is answered, and nothing else is.
#[tokio::test]
async fn a_wrong_id_and_a_wrong_secret_take_the_same_way() {
    let settings = own_database(shared(), "keys_way").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let (link, through) = linked(&settings).await;
    let sidecar = Sidecar::start(shared(), |config| {
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), through.database.clone().into());
        system.insert("port".into(), i64::from(through.port).into());
        let auth = "cache_ttl_ms = 60000".parse::<toml::Table>().unwrap();
        config.insert("auth".into(), auth.into());
    });
    let (id, key) = new_key(&mut client).await;
    let wrong_secret = || {
        let key = key::generate_for(&id).unwrap().key;
        key.expose_secret().to_owned()
    };
    let asked_for = [key.clone(), guess(), wrong_secret()];
    let others = [guess(), wrong_secret()];
    reached(&sidecar, &key).await;
    for (key, status) in asked_for.iter().zip([200, 401, 401]) {
        assert_eq!(whoami(&sidecar.http, key).await.status, status);
    }
    link.set(Mode::Hold);
    for (key, status) in asked_for.iter().zip([200, 401, 401]) {
        for _ in 0..3 {
            assert_eq!(whoami(&sidecar.http, key).await.status, status);
        }
    }
    let found = others.each_ref().map(|key| whoami(&sidecar.http, key));
    for reply in futures_util::future::join_all(found).await {
        assert_eq!(reply.code(), "store.unavailable");
    }
}

/// Whoever sends no key fills no table.
#[tokio::test]
async fn requests_without_a_key_are_no_rows() {
    let settings = own_database(shared(), "keys_none").await;
    let client = bulkhead::system::connect(&settings).await.unwrap();
    let sidecar = sidecar(&settings);
    let url = format!("{}/v1/whoami", sidecar.http);
    for _ in 0..5 {
        let reply = send(hyper::Method::GET, &url, &[], None).await;
        assert_eq!(reply.code(), "auth.missing");
    }
    assert_eq!(whoami(&sidecar.http, &guess()).await.code(), "auth.invalid");
    let rows = "SELECT coalesce(string_agg(code, ','), '') FROM audit_logs WHERE code IS NOT NULL";
    eventually("the wrong key is a row", || async {
        let found: String = client.query_one(rows, &[]).await.unwrap().get(0);
        assert!(!found.contains("auth.missing"), "{found}");
        found == "auth.invalid"
    })
    .await;
}
