//! Two servers, one of which takes writes: the sidecar finds it, and follows.

use super::*;
use crate::execute::live::Pair;

async fn administer(pair: &Pair, index: usize, sql: &str) {
    let settings = pair.administrator(index, Store::Mysql);
    let mut administrator = connect(&settings).await.unwrap();
    administrator.query_drop(sql).await.unwrap();
}

/// Writes until it is the server with this port that has taken it.
async fn written_to(rig: &Rig, port: u16) {
    let started = Instant::now();
    loop {
        match rig.run("INSERT INTO followed VALUES (@@port)", &[]).await {
            Ok(_) => {
                let found = rig.row("SELECT @@port", &[]).await;
                if found[0].contains(&format!("({port})")) {
                    return;
                }
            }
            Err(Error::Unavailable { .. } | Error::Unreached { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_pool_follows_the_server_that_takes_writes() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut pair = Pair::start(Store::Mysql).await;
    for index in [0, 1] {
        for sql in [
            "CREATE USER either@'%' IDENTIFIED BY 'either'",
            // No privilege that lets it write where nobody may.
            "GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO either@'%'",
            "CREATE TABLE followed (port INT)",
        ] {
            administer(&pair, index, sql).await;
        }
    }
    let ports = [0, 1].map(|index| pair.servers[index].mysql.port());
    administer(&pair, 1, "SET GLOBAL read_only = 1").await;
    let rig = Rig {
        store: MysqlStore::new(&pair.settings).unwrap(),
    };
    written_to(&rig, ports[0]).await;

    // The first goes away, and the second is made the primary.
    pair.servers[0].mysql.kill().await.unwrap();
    let error = loop {
        match rig.run("SELECT 1", &[]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => break error,
        }
    };
    let is_away = matches!(error, Error::Unavailable { .. } | Error::Unreached { .. });
    assert!(is_away, "{error}");
    administer(&pair, 1, "SET GLOBAL read_only = 0").await;
    written_to(&rig, ports[1]).await;
    // The first comes back, and nobody goes there while the second serves.
    pair.servers[0].mysql.start().await.unwrap();
    for _ in 0..5 {
        written_to(&rig, ports[1]).await;
    }
    // The second takes no writes any more, and lives: a write that meets it is told to come again.
    administer(&pair, 1, "SET GLOBAL read_only = 1").await;
    let refused = rig.run("INSERT INTO followed VALUES (0)", &[]).await;
    assert!(
        matches!(
            refused,
            Ok(_) | Err(Error::Unavailable { .. } | Error::Unreached { .. })
        ),
        "{refused:?}"
    );
    written_to(&rig, ports[0]).await;
    administer(&pair, 1, "SET GLOBAL read_only = 0").await;
    let lost = "SELECT COUNT(*) FROM followed WHERE port <> @@port AND port <> 0";
    let found = rig.row(lost, &[]).await;
    assert!(found[0].contains("(0)"), "a write went astray: {found:?}");
}

/// During an outage many callers, and the pool itself, make few attempts: a listener that hangs up counts them.
#[tokio::test]
async fn an_outage_is_no_storm_of_attempts() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(Store::Mysql, small_pool(10));
    settings.pool.min = 5;
    settings.port = listener.local_addr().unwrap().port();
    settings.tls.mode = crate::execute::settings::TlsMode::Disable;
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&attempts);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let rig = Rig {
        store: MysqlStore::new(&settings).unwrap(),
    };
    let outage = Duration::from_secs(7);
    let start = std::time::Instant::now();
    let callers = (0..50).map(|_| async {
        let mut refused = 0;
        while start.elapsed() < outage {
            let refusal = rig.run("SELECT 1", &[]).await.unwrap_err();
            assert!(matches!(refusal, Error::Unreached { .. }), "{refusal}");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        refused
    });
    let refused: usize = futures_util::future::join_all(callers)
        .await
        .into_iter()
        .sum();
    // At first as many as there are places; then one after each pause, which doubles up to two seconds.
    let attempts = attempts.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        (5..=35).contains(&attempts),
        "{attempts} attempts for {refused} refusals"
    );
    assert!(
        refused > 50 * attempts,
        "{refused} refusals, {attempts} attempts"
    );
}
