//! On real servers, started for these tests.

mod dirt;
mod failover;
mod random;
mod statements;
mod transactions;
mod values;

use std::time::Instant;

use super::*;
use crate::execute::live::{Kept, request, settings, small_pool};

fn asked<'a>(sql: &'a str, touches_session: bool, request: &'a SqlRequest) -> Asked<'a> {
    Asked {
        sql,
        touches_session,
        request,
        caller: "k1",
    }
}

struct Rig {
    store: MysqlStore,
}

impl Rig {
    fn new(max: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            store: MysqlStore::new(&settings(Store::Mysql, small_pool(max))).unwrap(),
        }
    }

    async fn run(&self, sql: &str, params: &[&str]) -> Result<(Kept, Summary), Error> {
        let mut sink = Kept::default();
        let touches_session = sql.starts_with("CREATE") || sql.starts_with("DROP");
        let request = request(params);
        let asked = asked(sql, touches_session, &request);
        let summary = self.store.run(asked, &mut sink).await?;
        Ok((sink, summary))
    }

    /// The values of a query's first row.
    async fn row(&self, sql: &str, params: &[&str]) -> Vec<String> {
        let ran = self.run(sql, params).await;
        let (kept, _) = ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
        kept.rows[0].clone()
    }

    async fn change(&self, sql: &str, params: &[&str]) -> Summary {
        let ran = self.run(sql, params).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error}")).1
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_said() {
    let rig = Rig::new(1);
    rig.change("CREATE TABLE IF NOT EXISTS narrow (v TINYINT)", &[])
        .await;
    let error = rig
        .run("INSERT INTO narrow VALUES (?)", &["300"])
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Server {
                errno: Some(1264),
                ..
            }
        ),
        "{error}"
    );
    let error = rig.run("SELECT ?", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let error = rig.run("/**/ SELECT '*/ :a'", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(
        rig.row("SELECT '{\"a\":true}:a', '12:30'", &[]).await[0],
        "Text(\"{\\\"a\\\":true}:a\")"
    );
}

#[tokio::test]
async fn the_session_is_pinned_and_takes_one_statement() {
    let rig = Rig::new(1);
    let pinned = "SELECT @@sql_mode, @@time_zone, @@character_set_client, @@collation_connection, @@autocommit, @@max_statement_time";
    let expected = [
        "Text(\"STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION\")",
        "Text(\"+00:00\")",
        "Text(\"utf8mb4\")",
        "Text(\"utf8mb4_general_ci\")",
        "BigInt(1)",
        "Double(12.0)",
    ];
    assert_eq!(rig.row(pinned, &[]).await, expected);
    let cipher = rig.row("SHOW STATUS LIKE 'Ssl_cipher'", &[]).await;
    assert!(cipher[1].contains("TLS_"), "{cipher:?}");
    for sql in ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE narrow"] {
        let error = rig.run(sql, &[]).await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Server {
                    errno: Some(1064),
                    ..
                }
            ),
            "{error}"
        );
    }
    // A statement that may have changed its session is followed by a reset.
    rig.change("CREATE TEMPORARY TABLE left_behind (id INT)", &[])
        .await;
    let error = rig.run("SELECT * FROM left_behind", &[]).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Server {
                errno: Some(1146),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(rig.row(pinned, &[]).await, expected);
}

#[tokio::test]
async fn changes_are_counted_and_conflicts_said() {
    let rig = Rig::new(2);
    rig.change("DROP TABLE IF EXISTS counted", &[]).await;
    rig.change(
        "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) UNIQUE)",
        &[],
    )
    .await;
    let summary = rig
        .change(
            "INSERT INTO counted (name) VALUES (?), (?)",
            &["\"a\"", "\"b\""],
        )
        .await;
    assert_eq!(
        summary,
        Summary {
            rows_affected: 2,
            last_insert_id: Some(1)
        }
    );
    // Matched, though nothing changes.
    assert_eq!(
        rig.change("UPDATE counted SET name = name", &[])
            .await
            .rows_affected,
        2
    );
    let error = rig
        .run("INSERT INTO counted (name) VALUES (?)", &["\"a\""])
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Server {
                conflict: true,
                errno: Some(1062),
                ..
            }
        ),
        "{error}"
    );
    // DDL under a prepared statement.
    for columns in [2, 3] {
        let (kept, _) = rig.run("SELECT * FROM counted", &[]).await.unwrap();
        assert_eq!((kept.columns.len(), kept.rows[0].len()), (columns, columns));
        if columns == 2 {
            Rig::new(1)
                .change("ALTER TABLE counted ADD COLUMN more INT", &[])
                .await;
        }
    }
    // A text that is too long to keep.
    let values = vec!["(NULL, NULL, 1)"; 5_000].join(",");
    let summary = rig
        .change(&format!("INSERT INTO counted VALUES {values}"), &[])
        .await;
    assert_eq!(summary.rows_affected, 5_000);
}

#[tokio::test]
async fn what_is_given_up_is_killed_and_its_connection_not_reused() {
    let rig = Rig::new(2);
    let sleeping =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(9%'";
    let before = rig.row("SELECT CONNECTION_ID()", &[]).await;

    let mut slow = request(&[]);
    slow.timeout_ms = Some(200);
    let started = Instant::now();
    let timed_out = rig
        .store
        .run(asked("SELECT SLEEP(9)", false, &slow), &mut Kept::default())
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
        rig.run("SELECT SLEEP(9.5)", &[]),
    );
    assert!(caller.await.is_err());

    let mut sink = Kept {
        rows_max: Some(10),
        ..Kept::default()
    };
    let many = "SELECT a.seq FROM seq_1_to_10000 a, seq_1_to_10000 b";
    let request = request(&[]);
    let error = rig.store.run(asked(many, false, &request), &mut sink).await;
    assert!(matches!(error, Err(Error::Sink(_))));

    for _ in 0..50 {
        if rig.row(sleeping, &[]).await == ["BigInt(0)"] {
            assert_ne!(rig.row("SELECT CONNECTION_ID()", &[]).await, before);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the statement still runs on the server");
}

#[tokio::test]
async fn an_open_transaction_or_a_dead_connection_is_not_handed_on() {
    let rig = Rig::new(1);
    let before = rig.row("SELECT CONNECTION_ID()", &[]).await;
    rig.change("START TRANSACTION", &[]).await;
    let after = rig.row("SELECT CONNECTION_ID()", &[]).await;
    assert_ne!(before, after);

    let id = after[0]
        .replace("Big", "")
        .replace("Int(", "")
        .replace(')', "");
    Rig::new(1).change(&format!("KILL {id}"), &[]).await;
    // Within the first second the death may be met by a statement, which then says so; the next one works.
    let met = rig.run("SELECT 1", &[]).await;
    assert!(matches!(met, Ok(_) | Err(Error::Unavailable { .. })));
    assert!(rig.run("SELECT 1", &[]).await.is_ok());
    rig.store.ping().await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_or_ca_is_unavailable_at_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut wrong = settings(Store::Mysql, small_pool(1));
    wrong.password = "wrong".to_owned().into();
    let mut untrusted = settings(Store::Mysql, small_pool(1));
    untrusted.tls.ca_file = None;
    let mut refused = settings(Store::Mysql, small_pool(1));
    refused.port = 1;
    for settings in [wrong, untrusted, refused] {
        let store = MysqlStore::new(&settings).unwrap();
        let started = Instant::now();
        let (request, mut sink) = (request(&[]), Kept::default());
        let asked = asked("SELECT 1", false, &request);
        let error = store.run(asked, &mut sink).await.unwrap_err();
        assert!(matches!(error, Error::Unreached { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}
