//! What a transaction leaves when it, its commit or its connection breaks.

use super::*;
use crate::authenticate::Principal;
use crate::decide::Permit;
use crate::execute::transaction::{Broken, Fate, Statement, Transaction, Transactional};
use crate::operation::{Classification, Object};
use crate::transaction::Options;

/// A ticket for a statement that calls `functions` and changes a table.
pub(super) fn ticket(sql: &str, functions: &[&str]) -> Ticket {
    let mut classification = Classification::default();
    classification.touch(Object::named(None, "t"), Action::Update);
    classification.functions = functions.iter().map(|name| (*name).to_owned()).collect();
    let operation = Operation {
        store: Store::Postgres,
        classification: Arc::new(classification),
        payload: Payload::Sql(sql.into()),
    };
    let caller = Arc::new(Principal {
        key_id: "k1".into(),
        user_id: None,
        role: "app".into(),
    });
    Ticket::for_tests(Permit::for_tests(operation, caller, Vec::new()))
}

impl Rig {
    pub(super) async fn begin(&self) -> OpenTransaction {
        self.store
            .open("k1", Options::default(), None)
            .await
            .unwrap()
    }
}

pub(super) async fn step(
    transaction: &mut OpenTransaction,
    sql: &str,
    functions: &[&str],
) -> Result<Kept, Broken> {
    let mut sink = Kept::default();
    let audit = AuditRow {
        request_id: sql.to_owned(),
        ..AuditRow::default()
    };
    let statement = Statement {
        ticket: &ticket(sql, functions),
        request: &request(&[]),
        audit: Some(audit),
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    transaction.run(statement, deadline, &mut sink).await?;
    Ok(sink)
}

#[tokio::test]
async fn a_commit_whose_connection_breaks_is_not_known() {
    let rig = Rig::new(3);
    for sql in [
        "DROP TABLE IF EXISTS slow_to_commit",
        "CREATE TABLE slow_to_commit (id int)",
        "CREATE OR REPLACE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(20); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_to_commit DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION slowly()",
    ] {
        rig.change(sql).await;
    }
    let mut transaction = rig.begin().await;
    let insert = "INSERT INTO slow_to_commit VALUES (1)";
    step(&mut transaction, insert, &[]).await.unwrap();
    let breaking = async {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE query = 'COMMIT' AND wait_event = 'PgSleep'";
        while rig.value(sql, &[]).await != "BigInt(1)" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (committed, ()) = tokio::join!(transaction.commit(), breaking);
    let broken = committed.unwrap_err();
    assert_eq!(broken.fate, Fate::Unknown);
    let problem = crate::error::PublicError::problem(&broken.into_error(None));
    assert_eq!(
        (problem.transaction, problem.retry_after_ms),
        (Some(Fate::Unknown), None)
    );
    assert!(problem.detail.contains("not known"), "{}", problem.detail);
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_has_rolled_back() {
    let rig = Rig::new(1);
    rig.change("DROP TABLE IF EXISTS refused").await;
    rig.change("CREATE TABLE refused (id int PRIMARY KEY, other int REFERENCES refused DEFERRABLE INITIALLY DEFERRED)").await;
    let mut transaction = rig.begin().await;
    step(&mut transaction, "INSERT INTO refused VALUES (1, 9)", &[])
        .await
        .unwrap();
    let broken = transaction.commit().await.unwrap_err();
    assert_eq!(broken.fate, Fate::RolledBack);
    assert!(
        matches!(&broken.cause, Error::Server { sqlstate: Some(state), .. } if state == "23503")
    );
    // The connection is in step, and nobody's transaction is open on it.
    let count = "SELECT count(*) FROM refused";
    assert_eq!(rig.value(count, &[]).await, "BigInt(0)");
    assert_eq!(
        rig.value("SHOW transaction_read_only", &[]).await,
        "Text(\"on\")"
    );
}

#[tokio::test]
async fn a_function_that_changes_the_session_changes_no_later_statement() {
    let rig = Rig::new(1);
    let mut transaction = rig.begin().await;
    let change = "SELECT set_config('search_path', 'pg_catalog', false), \
        set_config('standard_conforming_strings', 'off', false)";
    step(&mut transaction, change, &["set_config"])
        .await
        .unwrap();
    for (setting, expected) in [
        ("search_path", "Text(\"public, pg_temp\")"),
        ("standard_conforming_strings", "Text(\"on\")"),
    ] {
        let shown = step(&mut transaction, &format!("SHOW {setting}"), &[])
            .await
            .unwrap();
        assert_eq!(shown.rows[0][0].replace("\\\"", ""), expected, "{setting}");
    }
    transaction.commit().await.unwrap();
    let found = rig.value("SHOW search_path", &[]).await;
    assert_eq!(found.replace("\\\"", ""), "Text(\"public, pg_temp\")");
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    let rig = Rig::new(2);
    rig.change("DROP TABLE IF EXISTS dropped").await;
    rig.change("CREATE TABLE dropped (id int)").await;
    let mut transaction = rig.begin().await;
    step(&mut transaction, "INSERT INTO dropped VALUES (1)", &[])
        .await
        .unwrap();
    drop(transaction);
    // Waits for the lock that the transaction had.
    rig.change("TRUNCATE dropped").await;
    assert_eq!(
        rig.value("SELECT count(*) FROM dropped", &[]).await,
        "BigInt(0)"
    );
}
