//! What a caller leaves in its session, however its statement ends, is gone before anybody else has the connection.

use super::transactions::step;
use super::*;
use crate::execute::transaction::{RollBack as _, Transaction as _};

/// Leaves everything that a statement can leave in a session, and fails when it is called twice.
const MAKE_DIRTY: &str = "CREATE OR REPLACE FUNCTION dirty() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN \
     PERFORM set_config('search_path', 'pg_catalog', false); \
     PERFORM set_config('my.secret', 'hidden', false); \
     PERFORM set_config('default_transaction_read_only', 'off', false); \
     PERFORM pg_advisory_lock(4711); \
     CREATE TEMP TABLE left_behind AS SELECT 1 AS id; \
     EXECUTE 'SET ROLE left_role'; \
     EXECUTE 'PREPARE left_behind AS SELECT 1'; \
     EXECUTE 'LISTEN left_behind'; \
     EXECUTE 'DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1'; \
     RETURN 1; END $$";

/// What the next caller sees of it.
const FOUND: &str = "SELECT current_setting('search_path'), \
     coalesce(nullif(current_setting('my.secret', true), ''), 'none'), \
     current_setting('default_transaction_read_only'), \
     coalesce(to_regclass('pg_temp.left_behind')::text, 'none'), \
     (current_user = session_user)::text, \
     (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)::text, \
     (SELECT count(*) FROM pg_cursors WHERE name = 'left_behind')::text, \
     (SELECT count(*) FROM pg_listening_channels())::text, \
     (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND pid = pg_backend_pid())::text";

const CLEAN: [&str; 9] = [
    "Text(public, pg_temp)",
    "Text(none)",
    "Text(on)",
    "Text(none)",
    "Text(true)",
    "Text(0)",
    "Text(0)",
    "Text(0)",
    "Text(0)",
];

/// On the whole server: a lock that is held keeps everybody else waiting, whoever holds it.
const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711";

async fn prepare(rig: &Rig) {
    rig.change(MAKE_DIRTY).await;
    rig.change("DO $$ BEGIN CREATE ROLE left_role SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        .await;
}

async fn is_clean(rig: &Rig, how: &str) {
    let found = rig.read(FOUND, &[]).await.unwrap();
    let found: Vec<String> = found.rows[0]
        .iter()
        .map(|value| value.replace(['"', '\\'], ""))
        .collect();
    assert_eq!(found, CLEAN, "{how}");
    // A statement that was given up is cancelled in the background.
    for _ in 0..500 {
        if rig.value(LOCKS, &[]).await == "BigInt(0)" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{how}: the lock is still held");
}

#[tokio::test]
async fn however_a_statement_ends_the_next_one_finds_nothing() {
    let rig = Rig::new(1);
    prepare(&rig).await;
    let endless = "SELECT g, CASE WHEN g = 1 THEN dirty() END FROM generate_series(1, 10000000) g";
    // How it ends, the statement, after how long it is given up, whether the caller leaves, rows taken.
    for (how, sql, timeout_ms, leaves, rows_max) in [
        ("well", "SELECT dirty()", None, false, None),
        (
            "with an error",
            "SELECT dirty(), dirty()",
            None,
            false,
            None,
        ),
        (
            "with a time-out",
            "SELECT dirty(), pg_sleep(20)",
            Some(400),
            false,
            None,
        ),
        (
            "with its caller",
            "SELECT dirty(), pg_sleep(20)",
            Some(400),
            true,
            None,
        ),
        ("half-read", endless, None, false, Some(10)),
    ] {
        let mut sink = Kept {
            rows_max,
            ..Kept::default()
        };
        let mut asked = request(&[]);
        if !leaves {
            asked.timeout_ms = timeout_ms;
        }
        let running = rig.ask(DDL, sql, &asked, &mut sink);
        let patience = timeout_ms.filter(|_| leaves).unwrap_or(60_000);
        let ran = tokio::time::timeout(Duration::from_millis(patience), running).await;
        assert_eq!(ran.is_err(), leaves, "{how}");
        if let Ok(ran) = ran {
            assert_eq!(ran.is_ok(), how == "well", "{how}: {ran:?}");
        }
        is_clean(&rig, how).await;
    }
}

#[tokio::test]
async fn however_a_transaction_ends_the_next_one_finds_nothing() {
    let rig = Rig::new(1);
    prepare(&rig).await;
    rig.change("DROP TABLE IF EXISTS left_open").await;
    rig.change("CREATE TABLE left_open (id int)").await;
    for how in [
        "committed",
        "rolled back",
        "failed and committed",
        "dropped",
        "dropped within",
    ] {
        let mut transaction = rig.begin().await;
        let insert = "INSERT INTO left_open SELECT 1 WHERE dirty() = 1";
        step(&mut transaction, insert, &["dirty"]).await.unwrap();
        match how {
            "committed" => transaction.commit().await.unwrap(),
            "rolled back" => transaction.roll_back().await,
            "failed and committed" => {
                let failed = step(&mut transaction, "SELECT dirty()", &["dirty"]).await;
                assert!(failed.is_err());
                assert!(transaction.commit().await.is_err());
            }
            "dropped" => drop(transaction),
            _ => {
                let slow = step(&mut transaction, "SELECT pg_sleep(20)", &["pg_sleep"]);
                let patience = Duration::from_millis(200);
                assert!(tokio::time::timeout(patience, slow).await.is_err());
                drop(transaction);
            }
        }
        is_clean(&rig, how).await;
        // Waits for the transaction's lock on the table, if one is left.
        rig.change("ALTER TABLE left_open ALTER COLUMN id DROP DEFAULT")
            .await;
    }
    let kept = rig.value("SELECT count(*) FROM left_open", &[]).await;
    assert_eq!(kept, "BigInt(1)", "one of them was committed");
}
