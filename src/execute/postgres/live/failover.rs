//! Two servers, one of which takes writes: the sidecar finds it, and follows.

use super::*;
use crate::execute::live::Pair;
use crate::system;

/// Makes new sessions of a server read-only, or lets them write: what a standby is to the sidecar.
async fn set_read_only(pair: &Pair, index: usize, read_only: bool) {
    let administrator = system::connect(&pair.administrator(index, Store::Postgres)).await;
    let administrator = administrator.unwrap();
    let word = if read_only { "on" } else { "off" };
    for sql in [
        format!("ALTER SYSTEM SET default_transaction_read_only = {word}"),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        administrator.batch_execute(&sql).await.unwrap();
    }
}

/// Writes until it is the server with this port that has taken it.
async fn written_to(rig: &Rig, port: u16) {
    let started = std::time::Instant::now();
    let expected = format!("Int({port})");
    loop {
        let sql = "INSERT INTO followed VALUES (1) RETURNING inet_server_port()";
        match rig.run(CHANGE, sql, &[]).await {
            Ok((kept, _)) if kept.rows[0][0] == expected => return,
            Ok(_) | Err(Error::Unavailable { .. } | Error::Unreached { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_pool_follows_the_server_that_takes_writes() {
    let mut pair = Pair::start(Store::Postgres).await;
    for index in [0, 1] {
        let administrator = system::connect(&pair.administrator(index, Store::Postgres)).await;
        let sql =
            "CREATE ROLE either SUPERUSER LOGIN PASSWORD 'either'; CREATE TABLE followed (id int)";
        administrator.unwrap().batch_execute(sql).await.unwrap();
    }
    let ports = [0, 1].map(|index| pair.servers[index].postgres.port());
    set_read_only(&pair, 1, true).await;
    let rig = Rig {
        store: PostgresStore::new(&pair.settings, "public").unwrap(),
    };
    let own = system::System::new(pair.settings.clone());
    let own_port = async || {
        let client = own.client().await.ok()?;
        let row = client
            .query_one("SELECT inet_server_port()", &[])
            .await
            .ok()?;
        Some(row.get::<_, i32>(0))
    };
    written_to(&rig, ports[0]).await;
    assert_eq!(own_port().await, Some(ports[0].into()));

    // The first goes away, and the second is made the primary.
    pair.servers[0].postgres.kill().await.unwrap();
    let error = loop {
        match rig.read("SELECT 1", &[]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => break error,
        }
    };
    let is_away = matches!(error, Error::Unavailable { .. } | Error::Unreached { .. });
    assert!(is_away, "{error}");
    set_read_only(&pair, 1, false).await;
    written_to(&rig, ports[1]).await;
    // The first comes back, and nobody goes there while the second serves.
    pair.servers[0].postgres.start().await.unwrap();
    for _ in 0..5 {
        written_to(&rig, ports[1]).await;
    }
    // The second takes no writes any more, and lives: that is noticed, and the first is used again.
    set_read_only(&pair, 1, true).await;
    written_to(&rig, ports[0]).await;
    let started = std::time::Instant::now();
    while own_port().await != Some(ports[0].into()) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the system connection stays"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// During an outage many callers, and the pool itself, make few attempts: a listener that hangs up counts them.
#[tokio::test]
async fn an_outage_is_no_storm_of_attempts() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(Store::Postgres, small_pool(10));
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
        store: PostgresStore::new(&settings, "public").unwrap(),
    };
    let outage = Duration::from_secs(7);
    let start = std::time::Instant::now();
    let callers = (0..50).map(|_| async {
        let mut refused = 0;
        while start.elapsed() < outage {
            let refusal = rig.read("SELECT 1", &[]).await.unwrap_err();
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
