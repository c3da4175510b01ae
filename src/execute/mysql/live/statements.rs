//! Prepared statements: bounded on each connection, closed on the server, and right whatever becomes of their tables.

use super::*;
use crate::execute::transaction::{Fate, RollBack as _, Transactional as _};
use crate::transaction::Options;

/// What this connection has prepared on the server. The counter is the session's own.
async fn prepared_on_the_server(rig: &Rig) -> usize {
    let shown =
        "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = ?";
    let opened = rig.row(shown, &["\"COM_STMT_PREPARE\""]).await;
    let closed = rig.row(shown, &["\"COM_STMT_CLOSE\""]).await;
    let count = |row: &[String]| -> usize {
        row[0]
            .replace("Text(\"", "")
            .replace("\")", "")
            .parse()
            .unwrap()
    };
    count(&opened) - count(&closed)
}

#[tokio::test]
async fn the_cache_is_bounded_here_and_on_the_server() {
    let rig = Rig::new(1);
    for number in 0..2 * session::STATEMENTS_MAX {
        rig.row(&format!("SELECT {number}"), &[]).await;
    }
    let kept = prepared_on_the_server(&rig).await;
    assert_eq!(kept, session::STATEMENTS_MAX);
    // A text that is too long to be kept is closed at once, and takes the place of no other for longer.
    for number in 0..20 {
        let long = format!("SELECT {number}, '{}'", "x".repeat(20_000));
        rig.row(&long, &[]).await;
    }
    assert!(prepared_on_the_server(&rig).await <= session::STATEMENTS_MAX);
    // A reset closes them all on the server; none of them is taken for prepared afterwards.
    let request = request(&[]);
    let mut sink = Kept::default();
    let reset = asked("SELECT 1", true, &request);
    rig.store.run(reset, &mut sink).await.unwrap();
    for number in 0..10 {
        rig.row(&format!("SELECT {number}"), &[]).await;
    }
}

/// Each change is made on another connection, so that this one's statements go stale unnoticed.
#[tokio::test]
async fn a_statement_survives_every_change_of_its_table() {
    let (rig, other) = (Rig::new(1), Rig::new(1));
    other.change("DROP TABLE IF EXISTS reshaped", &[]).await;
    other
        .change("CREATE TABLE reshaped (id INT, name VARCHAR(9))", &[])
        .await;
    other
        .change("INSERT INTO reshaped VALUES (1, 'a')", &[])
        .await;
    let id = rig.row("SELECT CONNECTION_ID()", &[]).await;
    let all = "SELECT * FROM reshaped";
    rig.row(all, &[]).await;
    for (change, columns, row) in [
        ("ADD COLUMN more INT", "id name more", "1 a null"),
        ("MODIFY COLUMN id VARCHAR(9)", "id name more", "1 a null"),
        (
            "CHANGE COLUMN more less DECIMAL(5,2) DEFAULT 1.5",
            "id name less",
            "1 a null",
        ),
        ("DROP COLUMN less", "id name", "1 a"),
        ("DROP COLUMN name", "id", "1"),
    ] {
        other
            .change(&format!("ALTER TABLE reshaped {change}"), &[])
            .await;
        let (kept, _) = rig
            .run(all, &[])
            .await
            .unwrap_or_else(|error| panic!("{change}: {error}"));
        let names: Vec<_> = kept
            .columns
            .iter()
            .map(|column| column.split(':').next().unwrap())
            .collect();
        assert_eq!(names.join(" "), columns, "{change}");
        let values: Vec<_> = kept.rows[0]
            .iter()
            .map(|value| {
                let value = value.to_lowercase();
                let inner = value
                    .split_once('(')
                    .map_or(value.as_str(), |(_, rest)| rest.trim_end_matches(')'));
                inner.replace('"', "")
            })
            .collect();
        assert_eq!(values.join(" "), row, "{change}");
    }
    assert_eq!(rig.row("SELECT CONNECTION_ID()", &[]).await, id);
}

/// The server says that a statement must be prepared again where it has tried so itself in vain, which no test can
/// bring about at will: so a function says it, once in each session.
#[tokio::test]
async fn a_statement_that_must_be_prepared_again_is_tried_once_more() {
    let rig = Rig::new(1);
    rig.change("DROP FUNCTION IF EXISTS stale", &[]).await;
    rig.change("DROP TABLE IF EXISTS stale_rows", &[]).await;
    rig.change("CREATE TABLE stale_rows (v INT)", &[]).await;
    rig.change(
        "CREATE FUNCTION stale(times INT) RETURNS INT NO SQL BEGIN \
         SET @stale = COALESCE(@stale, 0) + 1; \
         IF @stale <= times THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1615; END IF; \
         RETURN @stale; END",
        &[],
    )
    .await;
    let is_stale = |error: &Error| {
        matches!(
            error,
            Error::Server {
                errno: Some(1615),
                ..
            }
        )
    };
    let before = prepared_on_the_server(&rig).await;
    rig.change("INSERT INTO stale_rows VALUES (stale(1))", &[])
        .await;
    assert!(rig.row("SELECT @stale = 2", &[]).await[0].contains("(1)"));
    assert!(prepared_on_the_server(&rig).await <= before + 3);
    // Twice is too often.
    let error = rig
        .run("INSERT INTO stale_rows VALUES (stale(4))", &[])
        .await
        .unwrap_err();
    assert!(is_stale(&error), "{error}");
    assert!(rig.row("SELECT @stale = 4", &[]).await[0].contains("(1)"));
    // In a transaction it is not tried again, and the transaction stands.
    let rig = Rig::new(1);
    let open = rig.store.open("k1", Options::default(), None);
    let mut transaction = open.await.unwrap();
    let broken = super::transactions::step(
        &mut transaction,
        "INSERT INTO stale_rows VALUES (stale(1))",
        &[],
    )
    .await
    .unwrap_err();
    assert!(is_stale(&broken.cause) && broken.fate == Fate::Open);
    transaction.roll_back().await;
}
