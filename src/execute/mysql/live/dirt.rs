//! What a caller leaves in its session, however its statement ends, is gone before anybody else has the connection.

use super::*;
use crate::execute::transaction::{RollBack as _, Transactional as _};
use crate::transaction::Options;

/// Leaves what a function can leave in a session, and fails when it is called twice.
const MAKE_DIRTY: &str = "CREATE FUNCTION IF NOT EXISTS dirty() RETURNS INT MODIFIES SQL DATA BEGIN \
     SET @secret = 'hidden'; SET SESSION sql_mode = ''; SET SESSION time_zone = '+09:00'; \
     SET SESSION foreign_key_checks = 0; \
     DO GET_LOCK('left_behind', 0); \
     CREATE TEMPORARY TABLE left_behind (id INT); RETURN 1; END";

/// What the next caller sees of it; the temporary table is asked for apart.
const FOUND: &str = "SELECT @secret IS NULL, @@sql_mode LIKE 'STRICT%', @@time_zone, @@foreign_key_checks, \
     @@autocommit, COALESCE(IS_USED_LOCK('left_behind') = CONNECTION_ID(), 0)";

const CLEAN: [&str; 6] = ["1)", "1)", "\"+00:00\")", "1)", "1)", "0)"];

async fn is_clean(rig: &Rig, how: &str) {
    let found = rig.row(FOUND, &[]).await;
    let found: Vec<_> = found
        .iter()
        .filter_map(|value| value.split('(').next_back())
        .collect();
    assert_eq!(found, CLEAN, "{how}");
    let error = rig.run("SELECT * FROM left_behind", &[]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Server {
                errno: Some(1146),
                ..
            }
        ),
        "{how}: {error}"
    );
    // Whoever holds the lock keeps everybody waiting. What was given up is killed in the background.
    for _ in 0..500 {
        let free = rig.row("SELECT IS_FREE_LOCK('left_behind') = 1", &[]).await;
        if free[0].contains("(1)") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{how}: the lock is still held");
}

#[tokio::test]
async fn however_a_statement_ends_the_next_one_finds_nothing() {
    let rig = Rig::new(1);
    rig.change(MAKE_DIRTY, &[]).await;
    rig.change("DROP TABLE IF EXISTS left_locked", &[]).await;
    rig.change("CREATE TABLE left_locked (id INT)", &[]).await;
    let endless =
        "SELECT IF(a.seq = 1 AND b.seq = 1, dirty(), 0) FROM seq_1_to_10000 a, seq_1_to_10000 b";
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
            "SELECT dirty(), SLEEP(20)",
            Some(400),
            false,
            None,
        ),
        (
            "with its caller",
            "SELECT dirty(), SLEEP(20)",
            Some(400),
            true,
            None,
        ),
        ("half-read", endless, None, false, Some(10)),
        ("well", "LOCK TABLES left_locked WRITE", None, false, None),
        ("well", "SET @secret = 'hidden'", None, false, None),
        ("well", "START TRANSACTION", None, false, None),
        ("well", "SET autocommit = 0", None, false, None),
    ] {
        let mut sink = Kept {
            rows_max,
            ..Kept::default()
        };
        let mut request = request(&[]);
        if !leaves {
            request.timeout_ms = timeout_ms;
        }
        let running = rig.store.run(asked(sql, true, &request), &mut sink);
        let patience = timeout_ms.filter(|_| leaves).unwrap_or(60_000);
        let ran = tokio::time::timeout(Duration::from_millis(patience), running).await;
        assert_eq!(ran.is_err(), leaves, "{how}");
        if let Ok(ran) = ran {
            assert_eq!(ran.is_ok(), how == "well", "{how}, {sql}: {ran:?}");
        }
        is_clean(&rig, &format!("{sql}, which ends {how}")).await;
        // Waits for a lock on the table, if one is left.
        rig.change("INSERT INTO left_locked VALUES (1)", &[]).await;
        let other = Rig::new(1);
        let count = other.row("SELECT COUNT(*) > 0 FROM left_locked", &[]).await;
        assert!(count[0].contains("(1)"), "{how}, {sql}: not committed");
        other.change("DELETE FROM left_locked", &[]).await;
    }
}

#[tokio::test]
async fn however_a_transaction_ends_the_next_one_finds_nothing() {
    let rig = Rig::new(1);
    rig.change(MAKE_DIRTY, &[]).await;
    rig.change("DROP TABLE IF EXISTS left_open", &[]).await;
    rig.change("CREATE TABLE left_open (id INT PRIMARY KEY)", &[])
        .await;
    rig.change("INSERT INTO left_open VALUES (1)", &[]).await;
    for how in ["committed", "rolled back", "dropped", "dropped within"] {
        let open = rig.store.open("k1", Options::default(), None);
        let mut transaction = open.await.unwrap();
        let sql = "UPDATE left_open SET id = 2 WHERE dirty() = 1";
        super::transactions::step(&mut transaction, sql, &["dirty"])
            .await
            .unwrap();
        match how {
            "committed" => {
                crate::execute::transaction::Transaction::commit(transaction)
                    .await
                    .unwrap();
            }
            "rolled back" => transaction.roll_back().await,
            "dropped" => drop(transaction),
            _ => {
                let slow =
                    super::transactions::step(&mut transaction, "SELECT SLEEP(20)", &["sleep"]);
                let patience = Duration::from_millis(200);
                assert!(tokio::time::timeout(patience, slow).await.is_err());
                drop(transaction);
            }
        }
        is_clean(&rig, how).await;
        // Waits for the row's lock, if one is left.
        let found = rig.row("SELECT id FROM left_open FOR UPDATE", &[]).await;
        let expected = if how == "committed" { "(2)" } else { "(1)" };
        assert!(found[0].contains(expected), "{how}: {found:?}");
        rig.change("UPDATE left_open SET id = 1", &[]).await;
    }
}
