//! `bulkhead audit tail|export|query`, and how fast `verify` is.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::trail::Trail;

#[tokio::test]
async fn tail_shows_what_commits_late() {
    let trail = Trail::new("tail").await;
    let (early, late) = (trail.client().await, trail.client().await);
    let row = |name: &str| format!("INSERT INTO audit_logs (action) VALUES ('{name}')");
    early.batch_execute(&row("first")).await.unwrap();
    early.batch_execute(&row("second")).await.unwrap();
    late.batch_execute(&format!("BEGIN; {}", row("late")))
        .await
        .unwrap();
    early.batch_execute(&row("third")).await.unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["audit", "tail", "-n", "2", "--follow", "--format", "json"])
        .env("BULKHEAD_CONFIG", trail.path("bulkhead.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> String {
        let line = lines.next().unwrap().unwrap();
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        row["action"].as_str().unwrap().to_owned()
    };
    assert_eq!((next(), next()), ("second".into(), "third".into()));
    // Its id is below that of a row which was shown.
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(next(), "late");
    let other = trail.client().await;
    other
        .batch_execute(&format!("BEGIN; {}; {}; COMMIT", row("a"), row("b")))
        .await
        .unwrap();
    assert_eq!((next(), next()), ("a".into(), "b".into()));
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, text, errors) = trail.audit(&["tail", "-n", "1"]);
    assert!(
        code == 0 && text.ends_with("  bulkhead_admin  b\n"),
        "{text}{errors}"
    );
}

#[tokio::test]
async fn a_part_of_a_trail_says_what_it_could_not_check() {
    let trail = Trail::new("part").await;
    let client = trail.client().await;
    for _ in 0..3 {
        client
            .batch_execute("INSERT INTO audit_logs (action) VALUES ('a')")
            .await
            .unwrap();
    }
    let at: String = client
        .query_one(
            "SELECT to_json(recorded_at AT TIME ZONE 'UTC') #>> '{}' || 'Z' FROM audit_logs WHERE seq = 2",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let (from, to) = (
        trail.path("from").display().to_string(),
        trail.path("to").display().to_string(),
    );
    for (limit, path, rows, open) in [
        (
            "--since",
            &from,
            2,
            "of 1 chains what comes before, and of 0",
        ),
        ("--until", &to, 1, "of 0 chains what comes before, and of 1"),
    ] {
        let (code, _, errors) = trail.audit(&["export", limit, &at, "--output", path]);
        assert!(
            code == 0 && errors.starts_with(&format!("{rows} rows in")),
            "{errors}"
        );
        let (code, text, errors) = trail.audit(&["verify", "--file", path]);
        assert!(code == 0 && text.contains(open), "{text}{errors}");
        let (code, _, errors) = trail.audit(&["export", "--output", path]);
        assert!(code == 2 && errors.contains("exists"), "{errors}");
    }
}

const FILLED: &str = "INSERT INTO audit_logs (occurred_at, user_id, key_id, role, action, store, objects, decision, code, request_id,
        trace_id)
    SELECT now() - i * interval '1 minute', 'u' || i % 500, 'k' || i % 500, 'role' || i % 50, 'query',
        (ARRAY['mysql', 'postgres'])[1 + i % 2], ARRAY['select:t' || i % 500, 'delete:app.d' || i % 500],
        CASE WHEN i % 100 = 0 THEN 'deny' END, CASE WHEN i % 100 = 0 THEN 'code' || i % 1000 END, 'r' || i, 't' || i
    FROM generate_series(1, 20000) AS i";

#[tokio::test]
async fn each_question_has_an_answer_and_an_index() {
    let trail = Trail::new("questions").await;
    let client = trail.client().await;
    client.batch_execute(FILLED).await.unwrap();
    client
        .batch_execute("VACUUM ANALYZE audit_logs")
        .await
        .unwrap();
    let filled: String = client
        .query_one(
            "SELECT DISTINCT tableoid::regclass::text FROM audit_logs",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let log = "ALTER DATABASE questions SET session_preload_libraries = 'auto_explain';
        ALTER DATABASE questions SET auto_explain.log_min_duration = 0";
    // The plan of the very statement that is run goes to the server's log.
    client.batch_execute(log).await.unwrap();
    for (arguments, count, index) in [
        (vec!["--user", "u7"], 40, "user_id"),
        (vec!["--key", "k7"], 40, "key_id"),
        (vec!["--role", "role7"], 400, "role"),
        (vec!["--table", "t7"], 40, "objects"),
        (vec!["--table", "t7", "--store", "postgres"], 40, "objects"),
        (vec!["--table", "t7", "--store", "mysql"], 0, "objects"),
        (vec!["--table", "t7", "--action", "delete"], 0, "objects"),
        (
            vec!["--table", "app.d7", "--action", "delete"],
            40,
            "objects",
        ),
        (vec!["--table", "t7", "--action", "query"], 40, "objects"),
        (vec!["--action", "insert"], 0, "action"),
        (vec!["--code", "code100"], 20, "code"),
        (
            vec!["--decision", "deny", "--since", "1h"],
            0,
            "occurred_at",
        ),
        (vec!["--since", "30m"], 29, "occurred_at"),
        (vec!["--store", "mysql", "--since", "10m"], 4, "occurred_at"),
        (
            vec!["--user", "u7", "--table", "t7", "--since", "9h"],
            2,
            "user_id",
        ),
        (vec!["--request-id", "r7"], 1, "request_id"),
        (vec!["--trace-id", "t7"], 1, "trace_id"),
    ] {
        // What is asked of few rows PostgreSQL may find by walking back in time.
        let all = ["--limit", "20000"];
        let (code, text, errors) = trail.audit(&[&["query"], &arguments[..], &all].concat());
        assert_eq!(
            (code, text.lines().count()),
            (0, count),
            "{arguments:?}: {text}{errors}"
        );
        let plan = plan(&client).await;
        // The months without rows are read whole, which costs nothing.
        let whole = format!("Seq Scan on {filled} ");
        let is_used = plan.contains(&format!("{filled}_{index}_")) && !plan.contains(&whole);
        assert!(is_used, "{arguments:?}: {plan}");
    }
}

/// The last plan in the server's log.
async fn plan(client: &tokio_postgres::Client) -> String {
    let log: String = client
        .query_one("SELECT current_setting('data_directory')", &[])
        .await
        .unwrap()
        .get(0);
    let log = std::path::Path::new(&log)
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("logs/postgres.log");
    let log = std::fs::read_to_string(&log).unwrap_or_else(|_| panic!("{}", log.display()));
    let at = log.rfind("Query Text: SELECT id, recorded_at").unwrap();
    log[at..].to_owned()
}

/// Prints rows per second; what the machine does besides is its own matter. `BULKHEAD_AUDIT_THOUSANDS=200` takes more rows.
#[tokio::test]
async fn a_long_trail_verifies() {
    let thousands = std::env::var("BULKHEAD_AUDIT_THOUSANDS");
    let thousands: u32 = thousands.map_or(10, |text| text.parse().unwrap());
    let trail = Trail::new("speed").await;
    let client = trail.client().await;
    let began = Instant::now();
    // In transactions of a thousand: each version of a chain's head stays until its transaction ends.
    for _ in 0..thousands {
        client
            .batch_execute(&FILLED.replace("20000", "1000"))
            .await
            .unwrap();
    }
    let inserted = began.elapsed();
    let began = Instant::now();
    let (code, text, errors) = trail.audit(&["verify", "--format", "json"]);
    let online = began.elapsed();
    assert_eq!(code, 0, "{text}{errors}");
    let export = trail.path("export.jsonl").display().to_string();
    let began = Instant::now();
    trail.audit(&["export", "--output", &export]);
    let exported = began.elapsed();
    let began = Instant::now();
    let (code, offline, errors) = trail.audit(&["verify", "--file", &export, "--format", "json"]);
    assert_eq!((code, &offline), (0, &text), "{errors}");
    let per_second =
        |time: std::time::Duration| (f64::from(thousands) * 1000.0 / time.as_secs_f64()) as u64;
    println!(
        "rows per second: inserted {}, verified {}, exported {}, verified from a file {}",
        per_second(inserted),
        per_second(online),
        per_second(exported),
        per_second(began.elapsed())
    );
}
