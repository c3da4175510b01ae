//! Prepared statements: bounded on each connection, closed on the server, and right whatever becomes of their tables.

use super::super::statements::STATEMENTS_MAX;
use super::*;

async fn prepared_on_the_server(rig: &Rig) -> usize {
    let count = rig
        .value("SELECT count(*) FROM pg_prepared_statements", &[])
        .await;
    count
        .replace("BigInt(", "")
        .replace(')', "")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn the_cache_is_bounded_here_and_on_the_server() {
    let rig = Rig::new(1);
    // Beside what callers sent, the driver keeps a few statements of its own, and the audit row's is one more.
    let bound = STATEMENTS_MAX + 8;
    for number in 0..2 * STATEMENTS_MAX {
        rig.read(&format!("SELECT {number}"), &[]).await.unwrap();
    }
    let kept = prepared_on_the_server(&rig).await;
    assert!((bound / 2..=bound).contains(&kept), "{kept} of {bound}");
    // A text that is too long to be kept is closed at once.
    let before = prepared_on_the_server(&rig).await;
    for number in 0..20 {
        let long = format!("SELECT {number} /* {} */", "x".repeat(20_000));
        rig.read(&long, &[]).await.unwrap();
    }
    assert!(prepared_on_the_server(&rig).await <= before);
    // One that cannot be shown is refused, and closed as well.
    for _ in 0..20 {
        assert!(rig.read("SELECT 'f(x)'::aclitem", &[]).await.is_err());
    }
    assert!(prepared_on_the_server(&rig).await <= bound);
}

/// Each change is made on another connection, so that this one's statements go stale unnoticed.
#[tokio::test]
async fn a_statement_survives_every_change_of_its_table() {
    let (rig, other) = (Rig::new(1), Rig::new(1));
    for sql in [
        "DROP TABLE IF EXISTS reshaped",
        "CREATE TABLE reshaped (id int, name text)",
        "INSERT INTO reshaped VALUES (1, 'a')",
        "DROP TYPE IF EXISTS pair CASCADE",
        "CREATE TYPE pair AS (a int, b int)",
    ] {
        other.change(sql).await;
    }
    let pid = rig.value("SELECT pg_backend_pid()", &[]).await;
    let all = "SELECT * FROM reshaped";
    assert_eq!(rig.read(all, &[]).await.unwrap().rows.len(), 1);
    for (change, columns) in [
        ("ADD COLUMN more int", "id:int4 name:text more:int4"),
        (
            "ALTER COLUMN more TYPE numeric",
            "id:int4 name:text more:numeric",
        ),
        (
            "RENAME COLUMN more TO less",
            "id:int4 name:text less:numeric",
        ),
        ("DROP COLUMN less", "id:int4 name:text"),
        (
            "ADD COLUMN two pair DEFAULT (1, 2)",
            "id:int4 name:text two:pair",
        ),
        ("DROP COLUMN name", "id:int4 two:pair"),
    ] {
        other
            .change(&format!("ALTER TABLE reshaped {change}"))
            .await;
        let kept = rig.read(all, &[]).await;
        let kept = kept.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(kept.columns.join(" "), columns, "{change}");
        assert_eq!(kept.rows[0].len(), kept.columns.len(), "{change}");
    }
    // The table is another one of the same name.
    other.change("DROP TABLE reshaped").await;
    other.change("CREATE TABLE reshaped (id text)").await;
    assert_eq!(rig.read(all, &[]).await.unwrap().columns, ["id:text"]);
    // All on the connection that it began on: nothing was closed for it.
    assert_eq!(rig.value("SELECT pg_backend_pid()", &[]).await, pid);
}

/// The driver remembers a row type's members, and no error tells it that they have changed. What it would read amiss is
/// refused, and the connection that remembers is closed.
#[tokio::test]
async fn a_row_of_a_type_that_has_changed_is_never_read_amiss() {
    let (rig, other) = (Rig::new(1), Rig::new(1));
    for sql in [
        "DROP TYPE IF EXISTS member CASCADE",
        "CREATE TYPE member AS (a int, b int)",
    ] {
        other.change(sql).await;
    }
    let row = "SELECT ROW(1, 2)::member";
    assert_eq!(rig.value(row, &[]).await, "Text(\"(1,2)\")");
    for (change, row, shown) in [
        ("ALTER ATTRIBUTE b TYPE real", row, "Text(\"(1,2)\")"),
        (
            "ADD ATTRIBUTE c text",
            "SELECT ROW(1, 2.5, 'x')::member",
            "Text(\"(1,2.5,x)\")",
        ),
        (
            "DROP ATTRIBUTE a",
            "SELECT ROW(2.5, 'x')::member",
            "Text(\"(2.5,x)\")",
        ),
    ] {
        other.change(&format!("ALTER TYPE member {change}")).await;
        for attempt in 0..2 {
            match rig.read(row, &[]).await {
                Ok(kept) => assert_eq!(kept.rows[0][0], shown, "{change}"),
                Err(error) => {
                    assert!(
                        attempt == 0 && matches!(error, Error::Invalid(_)),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn in_a_transaction_a_stale_statement_is_not_tried_again() {
    use super::transactions::step;
    use crate::execute::transaction::{Fate, RollBack as _};
    let (rig, other) = (Rig::new(1), Rig::new(1));
    other.change("DROP TABLE IF EXISTS stale").await;
    other.change("CREATE TABLE stale (id int)").await;
    let all = "SELECT * FROM stale";
    rig.read(all, &[]).await.unwrap();
    other.change("ALTER TABLE stale ADD COLUMN more int").await;
    let mut transaction = rig.begin().await;
    let broken = step(&mut transaction, all, &[]).await.unwrap_err();
    assert_eq!(broken.fate, Fate::Failed);
    transaction.roll_back().await;
    // It is forgotten, so that the transaction can be tried again.
    let mut transaction = rig.begin().await;
    assert_eq!(
        step(&mut transaction, all, &[])
            .await
            .unwrap()
            .columns
            .len(),
        2
    );
    transaction.roll_back().await;
}
