//! `bulkhead audit retire`: what goes, what is refused, and that `verify` understands.

use crate::seals::sealer;
use crate::trail::Trail;

/// Puts this month's rows into an earlier month: the month's partition is detached, changed and attached, as if time had gone
/// on. The rows are hashed anew, since their time is in their hashes.
async fn age(client: &tokio_postgres::Client, month: &str) {
    client
        .batch_execute(&format!(
            "SELECT bulkhead_audit_partition('{month}-01');
            ALTER TABLE audit_logs DISABLE TRIGGER ALL;
            UPDATE audit_logs SET recorded_at = '{month}-15 00:00:00+00'::timestamptz + seq * interval '1 minute'
                WHERE recorded_at >= date_trunc('month', now());
            DO $$ DECLARE c bigint; BEGIN FOR c IN SELECT chain FROM audit_chains LOOP CALL rehash(c, 1); END LOOP; END $$;
            ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain"
        ))
        .await
        .unwrap();
}

const ROWS: &str = "INSERT INTO audit_logs (action) SELECT 'tested' FROM generate_series(1, 5)";

async fn trail(name: &str) -> (Trail, tokio_postgres::Client, tokio_postgres::Client) {
    let trail = Trail::new(name).await;
    let (one, two) = (trail.client().await, trail.client().await);
    one.batch_execute(crate::tampering_cases::FORGERY)
        .await
        .unwrap();
    one.batch_execute(ROWS).await.unwrap();
    two.batch_execute(ROWS).await.unwrap();
    age(&one, "2026-01").await;
    (trail, one, two)
}

fn retire(trail: &Trail, more: &[&str]) -> (i32, String) {
    let (code, text, errors) = trail.audit(&[&["retire"], more].concat());
    (code, text + &errors)
}

#[tokio::test]
async fn retired_months_are_gone_on_record_and_the_rest_verifies() {
    let (trail, one, two) = trail("retired").await;
    // One chain goes on, the other has ended.
    one.batch_execute(ROWS).await.unwrap();
    let refused = retire(&trail, &["--before", "2026-02"]);
    assert!(
        refused.0 == 1 && refused.1.contains("no seal covers"),
        "{refused:?}"
    );
    sealer(&trail, None, None).round(false).await;
    let export = trail.path("january.jsonl").display().to_string();
    let (code, text) = retire(&trail, &["--before", "2026-02", "--export", &export]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("audit_logs_2026_01 (10 rows)"), "{text}");
    assert_eq!(trail.is_clean(), 6);
    let (_, text, _) = trail.audit(&["verify"]);
    assert!(
        text.contains("retired  audit_logs_2026_01 by bulkhead_admin"),
        "{text}"
    );
    let (code, text, _) = trail.audit(&["verify", "--file", &export]);
    assert!(
        code == 0 && text.contains("rows     10 in 2 chains"),
        "{text}"
    );
    // A later one goes with the row that told of the first.
    let aged = "SELECT bulkhead_audit_partition('2026-02-01'); ALTER TABLE audit_logs DISABLE TRIGGER ALL;
        UPDATE audit_logs SET recorded_at = '2026-02-15 00:00:00+00'::timestamptz + seq * interval '1 minute';
        ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain;
        DO $$ DECLARE c bigint; BEGIN FOR c IN SELECT DISTINCT chain FROM audit_logs LOOP
            IF EXISTS (SELECT FROM audit_logs WHERE chain = c AND seq = 1) THEN CALL rehash(c, 1); END IF; END LOOP; END $$";
    one.batch_execute("ALTER TABLE audit_seals DISABLE TRIGGER ALL")
        .await
        .unwrap();
    one.batch_execute(aged).await.unwrap();
    sealer(&trail, None, None).round(false).await;
    let (code, text) = retire(&trail, &["--before", "2026-03", "--unverified"]);
    assert_eq!(code, 0, "{text}");
    // The chain that had ended before is still known to have been retired.
    let (code, text, _) = trail.audit(&["verify"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("retired  audit_logs_2026_02"), "{text}");
    two.batch_execute(ROWS).await.unwrap();
    assert_eq!(trail.is_clean(), 6);
}

#[tokio::test]
async fn what_would_lose_more_than_old_rows_is_refused() {
    let (trail, one, two) = trail("retire_refused").await;
    let check = |more: &[&str], code: i32, part: &str| {
        let (found, text) = retire(&trail, more);
        assert!(
            found == code && text.contains(part),
            "{more:?}: {found} {text}"
        );
    };
    sealer(&trail, None, None).round(false).await;
    check(
        &["--before", "2025-01"],
        1,
        "there is no month before 2025-01",
    );
    check(&["--before", "9999-01"], 1, "in the future");
    check(&["--before", "january"], 2, "is not a month");
    // A transaction that still may add to the month.
    let open = "BEGIN; LOCK TABLE audit_logs_2026_01 IN ROW EXCLUSIVE MODE";
    two.batch_execute(open).await.unwrap();
    check(&["--before", "2026-02"], 1, "a transaction that is open");
    two.batch_execute("ROLLBACK").await.unwrap();
    // A file that is there is not written over.
    let export = trail.path("there.jsonl");
    std::fs::write(&export, "").unwrap();
    check(
        &["--before", "2026-02", "--export", export.to_str().unwrap()],
        2,
        "exists",
    );
    // A row of before in another partition.
    one.batch_execute(
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL;
        UPDATE audit_logs SET recorded_at = now() WHERE seq = 2 AND chain = pg_backend_pid()",
    )
    .await
    .unwrap();
    check(&["--before", "2026-02"], 1, "would have a hole: its row 2");
    one.batch_execute(
        "UPDATE audit_logs SET recorded_at = '2026-01-15 00:02:00+00' WHERE seq = 2 AND chain = pg_backend_pid();
        UPDATE audit_logs SET role = 'x' WHERE seq = 3 AND chain = pg_backend_pid();
        ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain",
    )
    .await
    .unwrap();
    check(&["--before", "2026-02"], 1, "seq 3 id 3 changed");
    let rows: i64 = one
        .query_one("SELECT count(*) FROM audit_logs", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 10);
    check(&["--before", "2026-02", "--unverified"], 0, "10 rows");
    assert_eq!(trail.is_clean(), 1);
}

#[tokio::test]
async fn the_owner_retires_and_nobody_else() {
    let (trail, one, _two) = trail("retire_owner").await;
    sealer(&trail, None, None).round(false).await;
    one.batch_execute(
        "CREATE ROLE retire_writer LOGIN PASSWORD 'retire-writer-password'; GRANT INSERT, SELECT ON audit_logs TO retire_writer",
    )
    .await
    .unwrap();
    let password = trail.path("password");
    std::fs::write(&password, "retire-writer-password\n").unwrap();
    let account = [
        "--user",
        "retire_writer",
        "--password-file",
        password.to_str().unwrap(),
    ];
    let (code, text) = retire(&trail, &[&["--before", "2026-02"], &account[..]].concat());
    assert!(
        code == 2 && text.contains("permission denied"),
        "{code} {text}"
    );
    assert_eq!(trail.is_clean(), 10);
}
