//! Guessing is throttled by address; whoever has a good key behind the same address goes on.

use hyper::StatusCode;
use secrecy::ExposeSecret;

use bulkhead::authenticate::{FAILURES_MAX, key};

use crate::changes::own_database;
use crate::isolation::postgres;
use crate::keys::whoami;
use crate::support::{Sidecar, eventually, send, shared};

fn guess() -> String {
    key::generate().unwrap().key.expose_secret().to_owned()
}

#[tokio::test]
async fn who_guesses_waits_and_who_knows_goes_on() {
    let dev = shared();
    let admin = Sidecar::start(dev, |_| {});
    assert_eq!(whoami(&admin.http, &dev.app).await.status, 200);
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

/// The first time a good key comes from an address that guesses, it may have to come again; then it is known.
#[tokio::test]
async fn a_good_key_that_is_not_known_yet_gets_in() {
    let settings = own_database(shared(), "keys_guessing").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let sidecar = Sidecar::start(shared(), |config| {
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), settings.database.clone().into());
    });
    let new = bulkhead::authenticate::keys::NewKey {
        name: "late".into(),
        user_id: None,
        role: "app".into(),
        expires_at: None,
    };
    let made = bulkhead::authenticate::keys::create(&mut client, &new)
        .await
        .unwrap();
    let key = made.secret.expose_secret();
    while whoami(&sidecar.http, &guess()).await.status != 429 {}
    eventually("the key gets in", || async {
        whoami(&sidecar.http, key).await.status == 200
    })
    .await;
    // Good keys cost nothing, so the address may go on failing where it was.
    for _ in 0..2 * FAILURES_MAX {
        assert_eq!(whoami(&sidecar.http, key).await.status, 200);
    }
    let url = format!("{}/v1/whoami", sidecar.http);
    let reply = send(hyper::Method::GET, &url, &[], None).await;
    assert_eq!(
        reply.status,
        StatusCode::UNAUTHORIZED.as_u16(),
        "no key is no guess"
    );
}
