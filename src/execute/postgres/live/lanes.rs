//! Quick reads that share a connection.

use futures_util::future::{join, join_all};

use super::*;

const PID: &str = "SELECT pg_backend_pid(), $1::int4";
const SLEEP: &str = "SELECT pg_sleep($1::float8) IS NULL";
const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep($1::float8) IS NULL' AND state = 'active'";

/// Runs a statement until it counts as quick.
async fn hurry(rig: &Rig, sql: &str, param: &str) {
    for _ in 0..32 {
        rig.read(sql, &[param]).await.unwrap();
        let pace = rig.store.lanes.pace(&sql.into(), &request(&[param]));
        if pace.unwrap().is_quick() {
            return;
        }
    }
    panic!("the machine is never quick: {sql}");
}

#[tokio::test]
async fn quick_reads_share_connections_and_each_gets_its_own_rows() {
    // On a busy machine connecting alone takes longer than the other tests wait for a connection.
    let pool = crate::execute::settings::PoolSettings {
        acquire_timeout_ms: 60_000,
        ..small_pool(4)
    };
    let rig = Rig {
        store: PostgresStore::new(&settings(Store::Postgres, pool), "public").unwrap(),
    };
    hurry(&rig, PID, "0").await;
    let ask = |number: usize| {
        let rig = &rig;
        async move { rig.read(PID, &[&number.to_string()]).await.unwrap() }
    };
    let all = join_all((0..64).map(ask)).await;
    for (number, kept) in all.iter().enumerate() {
        assert_eq!(kept.rows[0][1], format!("Int({number})"));
    }
    let mut pids: Vec<&String> = all.iter().map(|kept| &kept.rows[0][0]).collect();
    pids.sort();
    pids.dedup();
    // Two lanes; what a busy machine made wait for too long ran apart.
    assert!(pids.len() <= 4, "{pids:?}");
    assert!(rig.store.pool_state().size <= 4);
    assert_eq!(rig.store.pool_state().waiting, 0);
}

#[tokio::test]
async fn an_error_is_its_own_callers() {
    let rig = Rig::new(2);
    let sql = "SELECT 100 / $1::int4";
    hurry(&rig, sql, "1").await;
    let params = ["1", "0", "2", "\"x\"", "4"];
    let each = params.map(|param| {
        let rig = &rig;
        async move { rig.read(sql, &[param]).await }
    });
    let seen = join_all(each).await;
    let value = |at: usize| seen[at].as_ref().unwrap().rows[0][0].clone();
    assert_eq!(
        (value(0), value(2), value(4)),
        ("Int(100)".into(), "Int(50)".into(), "Int(25)".into())
    );
    assert!(
        matches!(&seen[1], Err(Error::Server { sqlstate: Some(state), .. }) if state == "22012")
    );
    assert!(seen[3].is_err());
}

#[tokio::test]
async fn one_that_becomes_slow_holds_nobody_up_and_is_cancelled() {
    let rig = Rig::new(4);
    hurry(&rig, SLEEP, "0").await;
    let mut slow = Box::pin(rig.read(SLEEP, &["30"]));
    // It has its seat once it was polled, and so the other comes behind it or opens a lane beside.
    for _ in 0..8 {
        tokio::select! {
            biased;
            _ = &mut slow => panic!("nobody sleeps so short"),
            quick = rig.read(SLEEP, &["0"]) => assert_eq!(quick.unwrap().rows[0][0], "Bool(false)"),
        }
    }
    // By then it runs apart, on the server, too.
    tokio::select! {
        biased;
        _ = &mut slow => panic!("nobody sleeps so short"),
        () = tokio::time::sleep(5 * super::super::lanes::PATIENCE) => {}
    }
    drop(slow);
    for _ in 0..100 {
        if rig.value(ASLEEP, &[]).await == "BigInt(0)" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the statement still runs on the server");
}

#[tokio::test]
async fn who_goes_away_takes_nobody_along() {
    let rig = Rig::new(2);
    // Not the other test's, which counts who sleeps.
    let sleep = "SELECT pg_sleep($1::float8) IS NOT NULL";
    hurry(&rig, PID, "0").await;
    hurry(&rig, sleep, "0").await;
    for _ in 0..4 {
        let leaves = tokio::time::timeout(Duration::from_millis(10), rig.read(sleep, &["30"]));
        let (left, stays) = join(leaves, rig.read(PID, &["7"])).await;
        assert!(left.is_err());
        assert_eq!(stays.unwrap().rows[0][1], "Int(7)");
    }
}

#[tokio::test]
async fn a_table_that_changes_is_read_as_it_is_now() {
    let rig = Rig::new(2);
    rig.change("CREATE TABLE IF NOT EXISTS laned (v int)").await;
    rig.change("TRUNCATE laned").await;
    rig.change("INSERT INTO laned VALUES (1)").await;
    let sql = "SELECT * FROM laned WHERE $1::int4 > 0";
    hurry(&rig, sql, "1").await;
    rig.change("ALTER TABLE laned ADD COLUMN w text DEFAULT 'new'")
        .await;
    let all = join_all((0..8).map(|_| rig.read(sql, &["1"]))).await;
    for kept in all {
        assert_eq!(kept.unwrap().rows[0].len(), 2);
    }
    rig.change("DROP TABLE laned").await;
}

#[test]
fn slow_large_and_failed_reads_lose_their_pace() {
    let pace = Pace::default();
    let quick = Duration::from_millis(1);
    for (took, rows, is_quick) in [
        (quick, 1, false),
        (quick, 1, false),
        (quick, 1, true),
        (Duration::from_secs(1), 1, false),
        (quick, 1, false),
        (quick, 1, false),
        (quick, 1, true),
        (quick, u64::MAX, false),
    ] {
        pace.note(took, rows);
        assert_eq!(pace.is_quick(), is_quick, "{took:?} {rows}");
    }
}
