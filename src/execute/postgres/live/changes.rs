//! Changes, their audit rows, and tables that change under prepared statements.

use super::*;
use crate::reply::SinkError;

#[tokio::test]
async fn a_change_and_its_audit_row_commit_together_or_not_at_all() {
    let rig = Rig::new(2);
    rig.change("DROP TABLE IF EXISTS twins").await;
    rig.change("CREATE TABLE twins (id int PRIMARY KEY, other int REFERENCES twins DEFERRABLE INITIALLY DEFERRED)").await;
    let tag = format!("/* {:?} */", std::time::SystemTime::now());
    let insert = format!("INSERT INTO twins VALUES ($1) RETURNING id {tag}");

    let (kept, summary) = rig.run(CHANGE, &insert, &["7"]).await.unwrap();
    assert_eq!(
        (kept.rows, summary.rows_affected),
        (vec![vec!["Int(7)".to_owned()]], 1)
    );
    assert_eq!(rig.audited(&insert).await, "BigInt(1)");
    let quoted = serde_json::to_string(&insert).unwrap();
    let affected = "SELECT rows_affected FROM audit_logs WHERE request_id = $1";
    assert_eq!(rig.value(affected, &[&quoted]).await, "BigInt(1)");

    // The statement fails: no second audit row.
    let error = rig.run(CHANGE, &insert, &["7"]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Server { conflict: true, .. }),
        "{error}"
    );
    assert_eq!(rig.audited(&insert).await, "BigInt(1)");

    // The commit fails.
    let deferred = format!("INSERT INTO twins VALUES (8, 99) {tag}");
    let error = rig.run(CHANGE, &deferred, &[]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Server { sqlstate: Some(state), .. } if state == "23503"),
        "{error}"
    );
    assert_eq!(rig.audited(&deferred).await, "BigInt(0)");
}

#[tokio::test]
async fn a_change_that_is_given_up_or_not_audited_does_not_happen() {
    let rig = Rig::new(2);
    rig.change("DROP TABLE IF EXISTS given_up").await;
    rig.change("CREATE TABLE given_up (id int)").await;
    let tag = format!("/* {:?} */", std::time::SystemTime::now());
    // The sink gives up.
    let many = format!(
        "INSERT INTO given_up SELECT g FROM generate_series(100, 200) g RETURNING id {tag}"
    );
    let mut sink = Kept {
        rows_max: Some(3),
        ..Kept::default()
    };
    let error = rig
        .ask(CHANGE, &many, &request(&[]), &mut sink)
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Sink(SinkError::RowsMax(3))),
        "{error}"
    );
    assert_eq!(rig.audited(&many).await, "BigInt(0)");
    assert_eq!(
        rig.value("SELECT count(*) FROM given_up", &[]).await,
        "BigInt(0)"
    );

    // Without an audit row nothing runs.
    let unaudited = Asked {
        sql: &many.as_str().into(),
        effect: CHANGE,
        request: &request(&[]),
        audit: None,
        caller: "k1",
    };
    let error = rig.store.run(unaudited, &mut Kept::default()).await;
    assert!(matches!(error, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_change_that_cannot_be_recorded_does_not_happen() {
    let rig = Rig::new(1);
    rig.change("DROP TABLE IF EXISTS unrecorded").await;
    rig.change("CREATE TABLE unrecorded (id int)").await;
    rig.change("ALTER TABLE audit_logs ADD CONSTRAINT no_such CHECK (request_id NOT LIKE 'INSERT INTO unrecorded%') NOT VALID").await;
    let result = rig
        .run(CHANGE, "INSERT INTO unrecorded VALUES (1)", &[])
        .await;
    rig.change("ALTER TABLE audit_logs DROP CONSTRAINT no_such")
        .await;
    assert!(matches!(result, Err(Error::Unavailable { .. })));
    assert_eq!(
        rig.value("SELECT count(*) FROM unrecorded", &[]).await,
        "BigInt(0)"
    );
}

#[tokio::test]
async fn ddl_under_a_prepared_statement_is_not_noticed() {
    let rig = Rig::new(1);
    rig.change("DROP TABLE IF EXISTS shape").await;
    rig.change("CREATE TABLE shape (id int)").await;
    rig.run(CHANGE, "INSERT INTO shape VALUES ($1)", &["1"])
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(
            rig.read("SELECT * FROM shape WHERE id = $1", &["1"])
                .await
                .unwrap()
                .columns,
            ["id:int4"]
        );
    }
    // Through another pool, so that this connection's cache goes stale unnoticed.
    let other = Rig::new(1);
    other.change("ALTER TABLE shape ADD COLUMN name text").await;
    assert_eq!(
        rig.read("SELECT * FROM shape WHERE id = $1", &["1"])
            .await
            .unwrap()
            .columns,
        ["id:int4", "name:text"]
    );
    other
        .change("ALTER TABLE shape ALTER COLUMN id TYPE text")
        .await;
    assert_eq!(
        rig.read("SELECT * FROM shape WHERE id = $1", &["\"1\""])
            .await
            .unwrap()
            .columns,
        ["id:text", "name:text"]
    );
    assert!(
        rig.run(CHANGE, "UPDATE shape SET id = $1 RETURNING *", &["\"b\""])
            .await
            .is_ok()
    );
    other.change("ALTER TABLE shape DROP COLUMN name").await;
    let (kept, _) = rig
        .run(CHANGE, "UPDATE shape SET id = $1 RETURNING *", &["\"c\""])
        .await
        .unwrap();
    assert_eq!(kept.columns, ["id:text"]);
}
