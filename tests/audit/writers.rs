//! Whatever ends transactions, chains are whole: rollbacks, savepoints, concurrent sessions, a server that is killed, and
//! process ids that come again.

use bulkhead::dev::{Options, Servers};

use crate::seals::sealer;
use crate::trail::Trail;

const ROW: &str = "INSERT INTO audit_logs (action, user_id, metadata, objects, statement, occurred_at)
    VALUES ('tested', E'a\"\\\\\\b\\f\\n\\r\\t\\x01\\x1f\\x7fé𝄞', '{\"b\": 1.10, \"a\": [null, \"\\u00e9\", 1e3]}', ARRAY['select:a,b', 'x{}\"', NULL],
        'SELECT $1', 'epoch'::timestamptz - interval '1 microsecond')";

#[tokio::test]
async fn concurrent_sessions_that_commit_and_roll_back_leave_whole_chains() {
    let trail = Trail::new("writers").await;
    let mut tasks = Vec::new();
    for writer in 0..6 {
        let client = trail.client().await;
        tasks.push(tokio::spawn(async move {
            for turn in 0..20 {
                let end = if (turn + writer) % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
                let work = format!(
                    "BEGIN; {ROW}; SAVEPOINT s; {ROW}; {ROW}; ROLLBACK TO s; {ROW}; SAVEPOINT s; {ROW}; RELEASE s; {end}"
                );
                client.batch_execute(&work).await.unwrap();
                client.batch_execute(ROW).await.unwrap();
                // A statement that fails takes its row with it.
                assert!(client.batch_execute(&format!("BEGIN; {ROW}; SELECT 1 / 0")).await.is_err());
                client.batch_execute("ROLLBACK").await.unwrap();
            }
        }));
    }
    let mut sealer = sealer(&trail, None, None);
    for _ in 0..10 {
        sealer.round(false).await;
        let (code, text, errors) = trail.audit(&["verify"]);
        assert_eq!(code, 0, "{text}{errors}");
    }
    for task in tasks {
        task.await.unwrap();
    }
    let committed: u64 = (0..6_u64)
        .flat_map(|writer| (0..20).map(move |turn| writer + turn))
        .map(|sum| if sum % 3 == 0 { 1 } else { 4 })
        .sum();
    assert_eq!(trail.is_clean(), committed);
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_whole_chains() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.postgres.start().await.unwrap();
    let trail = Trail::made(&servers, "killed", "").await;
    let mut sealer = sealer(&trail, None, Some(trail.path("seals.jsonl")));
    let mut acknowledged = 0;
    for _ in 0..2 {
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let client = trail.client().await;
            tasks.push(tokio::spawn(async move {
                let mut acknowledged: u64 = 0;
                while client
                    .batch_execute(&format!("BEGIN; {ROW}; {ROW}; COMMIT"))
                    .await
                    .is_ok()
                {
                    acknowledged += 2;
                }
                acknowledged
            }));
        }
        for _ in 0..5 {
            sealer.round(false).await;
        }
        servers.postgres.kill().await.unwrap();
        for task in tasks {
            acknowledged += task.await.unwrap();
        }
        servers.postgres.start().await.unwrap();
        let rows = trail.is_clean();
        // A commit that nobody was told of may have been made, one of each writer at the most.
        assert!(
            rows >= acknowledged && rows <= acknowledged + 2 * 4 * 2,
            "{rows} {acknowledged}"
        );
        let seals = trail.path("seals.jsonl");
        let (code, text, errors) = trail.audit(&["verify", "--seals", seals.to_str().unwrap()]);
        assert_eq!(code, 0, "{text}{errors}");
    }
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_id_that_comes_again_goes_on_with_its_chain() {
    let trail = Trail::new("process_ids").await;
    let before = trail.client().await;
    before
        .batch_execute(&format!("{ROW}; {ROW}"))
        .await
        .unwrap();
    let again = trail.client().await;
    let pid: i32 = again
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    // Process ids are the system's to give; so the rows of before are made those of this one's, as they would be if it had
    // come before: hashed by the trigger's own text.
    let client = trail.client().await;
    client
        .batch_execute(crate::tampering_cases::FORGERY)
        .await
        .unwrap();
    client
        .batch_execute(&format!(
            "ALTER TABLE audit_logs DISABLE TRIGGER ALL; UPDATE audit_logs SET chain = {pid}; CALL rehash({pid}, 1);
            TRUNCATE audit_chains;
            INSERT INTO audit_chains SELECT chain, seq, hash FROM audit_logs ORDER BY seq DESC LIMIT 1;
            ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER bulkhead_audit_chain"
        ))
        .await
        .unwrap();
    again.batch_execute(ROW).await.unwrap();
    let seqs: Vec<i64> = client
        .query_one(
            "SELECT array_agg(seq ORDER BY id) FROM audit_logs WHERE chain = $1",
            &[&i64::from(pid)],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(trail.is_clean(), 3);
}
