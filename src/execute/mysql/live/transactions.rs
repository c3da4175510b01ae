//! What a transaction leaves when the server ends it, and what its functions do to the session.

use std::sync::Arc;

use super::*;
use crate::authenticate::Principal;
use crate::decide::Permit;
use crate::execute::transaction::{Broken, Fate, Statement, Transaction, Transactional};
use crate::operation::Operation;
use crate::transaction::Options;

fn ticket(sql: &str, functions: &[&str]) -> Ticket {
    let classification = Classification {
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        ..Classification::default()
    };
    let operation = Operation {
        store: Store::Mysql,
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

pub(super) async fn step(
    transaction: &mut OpenTransaction,
    sql: &str,
    functions: &[&str],
) -> Result<Kept, Broken> {
    let mut sink = Kept::default();
    let statement = Statement {
        ticket: &ticket(sql, functions),
        request: &request(&[]),
        audit: None,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    transaction.run(statement, deadline, &mut sink).await?;
    Ok(sink)
}

#[tokio::test]
async fn a_function_that_changes_the_session_changes_no_later_statement() {
    let rig = Rig::new(1);
    let loosen = "SET SESSION sql_mode = 'ANSI_QUOTES'";
    for sql in [
        "DROP FUNCTION IF EXISTS loosens",
        &format!("CREATE FUNCTION loosens() RETURNS INT BEGIN {loosen}; RETURN 1; END"),
        "DROP FUNCTION IF EXISTS loosens_and_fails",
        &format!(
            "CREATE FUNCTION loosens_and_fails() RETURNS INT BEGIN {loosen}; SIGNAL SQLSTATE '45000'; RETURN 1; END"
        ),
    ] {
        rig.change(sql, &[]).await;
    }
    let mut transaction = rig
        .store
        .open("k1", Options::default(), None)
        .await
        .unwrap();
    let mode = "SELECT @@sql_mode";
    let pinned = step(&mut transaction, mode, &[]).await.unwrap().rows;
    step(&mut transaction, "SELECT loosens()", &["loosens"])
        .await
        .unwrap();
    assert_eq!(
        step(&mut transaction, mode, &[]).await.unwrap().rows,
        pinned
    );
    let failing = "SELECT loosens_and_fails()";
    let broken = step(&mut transaction, failing, &["loosens_and_fails"])
        .await
        .unwrap_err();
    assert_eq!(broken.fate, Fate::Open);
    assert_eq!(
        step(&mut transaction, mode, &[]).await.unwrap().rows,
        pinned
    );
    transaction.commit().await.unwrap();
    assert_eq!(rig.row(mode, &[]).await, pinned[0]);
}

/// The classifier lets no such statement into a transaction; if it did, it would be noticed.
#[tokio::test]
async fn a_statement_that_commits_by_itself_is_noticed() {
    let rig = Rig::new(1);
    let mut transaction = rig
        .store
        .open("k1", Options::default(), None)
        .await
        .unwrap();
    let broken = step(&mut transaction, "DROP TABLE IF EXISTS never_there", &[])
        .await
        .unwrap_err();
    assert_eq!(broken.fate, Fate::Committed);
    drop(transaction);
    assert_eq!(
        rig.row("SELECT @@in_transaction", &[]).await,
        ["BigUint(0)"]
    );
}
