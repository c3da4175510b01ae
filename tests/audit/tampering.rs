//! Does each of [`cases`] to a copy of a trail and asks `verify`: alone, on an exported file, and with what is kept outside
//! of the database. What it says is docs/audit-tampering.md.

use std::path::Path;

use crate::seals::{openssl_key, sealer};
use crate::tampering_cases::{Case, FORGERY, Seen, cases};
use crate::trail::Trail;

const ROW: &str = r#"INSERT INTO audit_logs (occurred_at, user_id, key_id, role, action, resource_type, metadata, store, objects,
        decision, code, statement, fingerprint, rows_affected, duration_us, request_id, trace_id, event_id, phase)
    SELECT now(), 'u' || i, 'k' || i, 'app', 'query', 'users', jsonb_build_object('n', 1.0, 'i', i), 'mysql',
        ARRAY['select:users'], 'deny', 'policy.denied', 'SELECT $1', 'f', i, 10, 'r' || i, 't' || i, gen_random_uuid(), 'outcome'
    FROM generate_series(1, $1::int) AS i"#;

/// The trail that the copies are of, with the exported seals and the public key beside it.
async fn original() -> Trail {
    let trail = Trail::new("tampering").await;
    let seals = Some(trail.path("seals.jsonl"));
    let (private, _) = openssl_key(&trail, "key.pem");
    let (a, b) = (trail.client().await, trail.client().await);
    let mut sealer = sealer(&trail, Some(&private), seals);
    for (of_a, of_b, is_sealed) in [(6, 2, true), (2, 2, true), (1, 0, true), (1, 1, false)] {
        a.execute(ROW, &[&of_a]).await.unwrap();
        b.execute(ROW, &[&of_b]).await.unwrap();
        if is_sealed {
            sealer.round(false).await;
        }
    }
    let pid = async |client: &tokio_postgres::Client| -> i32 {
        client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0)
    };
    for (name, client) in [("a", &a), ("b", &b)] {
        let pid = pid(client).await;
        let name = format!(
            "CREATE FUNCTION {name}() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT {pid}::bigint'"
        );
        a.batch_execute(&name).await.unwrap();
    }
    a.batch_execute(FORGERY).await.unwrap();
    trail
}

/// What `verify` said, by the names of chains that the page uses.
fn said(output: &(i32, String, String), chains: &[(i64, &str)]) -> String {
    let (code, text, errors) = output;
    let report: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}{errors}"));
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(*code, i32::from(!faults.is_empty()), "{text}");
    let retired = report["retired"].as_array().unwrap().len();
    let told = faults.iter().map(|fault| {
        let mut told = fault["kind"].as_str().unwrap().replace('_', " ");
        if let Some(chain) = fault["chain"].as_i64() {
            let name = chains.iter().find(|(known, _)| *known == chain);
            told.push_str(&format!(" {}", name.map_or("?", |(_, name)| name)));
        }
        for place in ["seq", "seal"] {
            if let Some(number) = fault[place].as_i64() {
                told.push_str(&format!(" {number}"));
            }
        }
        told
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    if retired > 0 {
        told.push("(a retirement)".into());
    }
    match told.is_empty() {
        true => "clean".into(),
        false => told.join("; "),
    }
}

async fn tamper(case: &Case, name: &str, original: &Trail) -> String {
    let trail = Trail::copy(name, "tampering").await;
    let client = trail.client().await;
    let chains: Vec<(i64, &str)> = {
        let row = client.query_one("SELECT a(), b()", &[]).await.unwrap();
        vec![(row.get(0), "A"), (row.get(1), "B"), (1, "1")]
    };
    let off =
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL; ALTER TABLE audit_seals DISABLE TRIGGER ALL";
    client.batch_execute(off).await.unwrap();
    if let Err(error) = client.batch_execute(&case.sql).await {
        panic!("{}: {}", case.what, bulkhead::system::describe(&error));
    }
    let verify = |more: &[&str]| {
        let arguments = [&["verify", "--format", "json"], more].concat();
        said(&trail.audit(&arguments), &chains)
    };
    let inside = verify(&[]);
    let export = trail.path("export.jsonl").display().to_string();
    let (code, _, errors) = trail.audit(&["export", "--output", &export]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(
        verify(&["--file", &export]),
        inside,
        "{}: offline",
        case.what
    );
    let seals = original.path("seals.jsonl").display().to_string();
    let key = original.path("key.pem.pub").display().to_string();
    let all = ["--seals", &seals, "--public-key", &key];
    let outside = verify(&all);
    let offline = verify(&[&["--file", &export], &all[..]].concat());
    assert_eq!(offline, outside, "{}: offline", case.what);
    let is_clean = |said: &str| said == "clean" || said == "(a retirement)";
    let found = match (is_clean(&inside), is_clean(&outside)) {
        (false, false) => Seen::Inside,
        (true, false) => Seen::Outside,
        (true, true) => Seen::Never,
        (false, true) => panic!("{}: what is kept outside makes it clean", case.what),
    };
    assert_eq!(found, case.seen, "{}: {inside}; {outside}", case.what);
    drop(client);
    trail.remove().await;
    let outside = if inside == outside {
        "the same"
    } else {
        &outside
    };
    format!("| {} | {inside} | {outside} |\n", case.what)
}

#[tokio::test]
async fn whatever_is_done_to_a_trail_is_named() {
    let original = original().await;
    assert_eq!(original.is_clean(), 15);
    let mut table = String::from(
        "| what was done | `verify` | with the exported seals and the public key |\n|---|---|---|\n",
    );
    for (number, case) in cases().iter().enumerate() {
        let line = tamper(case, &format!("tampering_{number}"), &original).await;
        eprint!("{line}");
        table.push_str(&line);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit-tampering.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- table -->\n", "<!-- end of table -->\n");
    let (before, rest) = page.split_once(begin).unwrap();
    let (told, after) = rest.split_once(end).unwrap();
    if std::env::var_os("BULKHEAD_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(
        told, table,
        "write the page anew with BULKHEAD_WRITE_DOCS=1"
    );
}

/// Who edits an exported file is found like who edits the table.
#[tokio::test]
async fn a_file_that_was_edited_is_named() {
    let trail = Trail::new("edited").await;
    let client = trail.client().await;
    client.execute(ROW, &[&5_i32]).await.unwrap();
    sealer(&trail, None, None).round(false).await;
    let (_, text, _) = trail.audit(&["export"]);
    let lines: Vec<&str> = text.lines().collect();
    let rows = lines
        .iter()
        .position(|line| line.starts_with("{\"row\""))
        .unwrap();
    let check = |lines: Vec<String>, expected: &str| {
        let path = trail.path("edited.jsonl");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let (code, text, errors) = trail.audit(&["verify", "--file", path.to_str().unwrap()]);
        let faults: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("fault"))
            .collect();
        assert!(
            code == 1 && faults.len() == 1 && faults[0].contains(expected),
            "{expected}: {text}{errors}"
        );
    };
    let whole = || -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let mut edited = whole();
    edited[rows + 1] = edited[rows + 1].replace("\"u2\"", "\"u9\"");
    check(edited, "seq 2 id 2 changed");
    let mut edited = whole();
    edited[rows + 1] = edited[rows + 1].replace("\"n\": 1.0", "\"n\": 1");
    check(edited, "seq 2 id 2 changed");
    let mut edited = whole();
    edited[rows + 1] = edited[rows + 1].replace("\"phase\"", "\"more\":1,\"phase\"");
    let path = trail.path("edited.jsonl");
    std::fs::write(&path, edited.join("\n")).unwrap();
    let (code, text, _) = trail.audit(&["verify", "--file", path.to_str().unwrap()]);
    assert!(
        code == 1 && text.contains("cannot be read: unknown field `more`"),
        "{text}"
    );
    let mut edited = whole();
    edited.pop();
    check(edited, "it ends without its last line");
}
