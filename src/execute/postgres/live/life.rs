//! Sessions: pinned, cancelled, killed, replaced.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn the_session_is_pinned_and_reads_cannot_write() {
    let rig = Rig::new(1);
    for (setting, expected) in [
        ("search_path", "public, pg_temp"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "on"),
        ("TimeZone", "UTC"),
        ("client_encoding", "UTF8"),
        ("statement_timeout", "12s"),
        (
            "application_name",
            &crate::execute::settings::application_name("bulkhead"),
        ),
    ] {
        let found = rig.value(&format!("SHOW \"{setting}\""), &[]).await;
        assert_eq!(
            found.replace('"', ""),
            format!("Text({expected})"),
            "{setting}"
        );
    }
    assert_eq!(
        rig.value(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            &[]
        )
        .await,
        "Bool(true)"
    );
    let error = rig
        .read("CREATE TABLE never (id int)", &[])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Server { sqlstate: Some(state), .. } if state == "25006"),
        "{error}"
    );
    let error = rig.read("SELECT 1; SELECT 2", &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Server { sqlstate: Some(state), .. } if state == "42601"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_given_up_is_cancelled_and_its_connection_not_reused() {
    let rig = Rig::new(2);
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(9%' AND state = 'active'";
    let before = rig.value("SELECT pg_backend_pid()", &[]).await;

    let mut slow = request(&[]);
    slow.timeout_ms = Some(200);
    let started = Instant::now();
    let timed_out = rig
        .ask(
            Effect::Read,
            "SELECT pg_sleep(9)",
            &slow,
            &mut Kept::default(),
        )
        .await;
    assert!(matches!(
        timed_out,
        Err(Error::Timeout {
            timeout_ms: 200,
            ..
        })
    ));
    assert!(started.elapsed() < Duration::from_secs(1));

    let caller = tokio::time::timeout(
        Duration::from_millis(200),
        rig.read("SELECT pg_sleep(9.5)", &[]),
    )
    .await;
    assert!(caller.is_err());

    let mut sink = Kept {
        rows_max: Some(10),
        ..Kept::default()
    };
    let error = rig
        .ask(
            Effect::Read,
            "SELECT g FROM generate_series(1, 10000000) g",
            &request(&[]),
            &mut sink,
        )
        .await;
    assert!(matches!(error, Err(Error::Sink(_))));

    for _ in 0..50 {
        if rig.value(sleeping, &[]).await == "BigInt(0)" {
            assert_ne!(rig.value("SELECT pg_backend_pid()", &[]).await, before);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the statement still runs on the server");
}

#[tokio::test]
async fn nothing_stays_in_a_session() {
    let rig = Rig::new(1);
    for sql in [
        "CREATE TEMP TABLE left_behind (id int)",
        "SET search_path = pg_catalog",
        "SET default_transaction_read_only = off",
        "SELECT pg_advisory_lock(42)",
        "LISTEN left_behind",
    ] {
        rig.change(sql).await;
    }
    assert_eq!(
        rig.value("SELECT to_regclass('pg_temp.left_behind')", &[])
            .await,
        "Null"
    );
    assert_eq!(
        rig.value("SHOW search_path", &[]).await,
        "Text(\"public, pg_temp\")"
    );
    assert_eq!(
        rig.value("SHOW default_transaction_read_only", &[]).await,
        "Text(\"on\")"
    );
    assert_eq!(
        rig.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42",
            &[]
        )
        .await,
        "BigInt(0)"
    );
    assert_eq!(
        rig.value("SELECT count(*) FROM pg_listening_channels()", &[])
            .await,
        "BigInt(0)"
    );
}

#[tokio::test]
async fn a_killed_backend_is_replaced() {
    let rig = Rig::new(1);
    let other = Rig::new(1);
    let pid = rig
        .value("SELECT pg_backend_pid()", &[])
        .await
        .replace("Int(", "")
        .replace(')', "");
    other
        .read(&format!("SELECT pg_terminate_backend({pid})"), &[])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(rig.read("SELECT 1", &[]).await.is_ok());
    rig.store.ping().await.unwrap();

    let running = rig.read("SELECT pg_terminate_backend(pg_backend_pid())", &[]);
    assert!(matches!(running.await, Err(Error::Unavailable { .. })));
    assert!(rig.read("SELECT 1", &[]).await.is_ok());
}

#[tokio::test]
async fn an_old_connection_is_replaced() {
    let mut settings = settings(Store::Postgres, small_pool(1));
    settings.pool.max_lifetime_s = 1;
    let rig = Rig {
        store: PostgresStore::new(&settings, "public").unwrap(),
    };
    let first = rig.value("SELECT pg_backend_pid()", &[]).await;
    let began = Instant::now();
    while rig.value("SELECT pg_backend_pid()", &[]).await == first {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_wrong_password_or_ca_is_unavailable_at_once() {
    let mut wrong = settings(Store::Postgres, small_pool(1));
    wrong.password = "wrong".to_owned().into();
    let mut untrusted = settings(Store::Postgres, small_pool(1));
    untrusted.tls.ca_file = None;
    let mut refused = settings(Store::Postgres, small_pool(1));
    refused.port = 1;
    for settings in [wrong, untrusted, refused] {
        let rig = Rig {
            store: PostgresStore::new(&settings, "public").unwrap(),
        };
        let started = Instant::now();
        let error = rig.read("SELECT 1", &[]).await.unwrap_err();
        assert!(matches!(error, Error::Unreached { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}
