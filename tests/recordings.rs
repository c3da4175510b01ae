//! What real ORMs, drivers, queues and caches send (`tests/recordings/<library>.jsonl`) is understood and allowed,
//! but for what `refused.toml` names with its reason.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const FOLDER: &str = "tests/recordings";
/// A library that sends fewer distinct statements than this was not recorded properly.
const STATEMENTS_MIN: usize = 20;

/// Statements that are refused, each with why that is right.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusals {
    refused: Vec<Refused>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    store: String,
    /// How the statements begin: SQL text, or the JSON of a command.
    begins: Vec<String>,
    code: String,
    why: String,
}

struct Statement {
    library: String,
    line: Value,
}

impl Statement {
    fn text(&self) -> String {
        let request = &self.line["request"];
        let text = request.as_str().map(str::to_owned);
        text.unwrap_or_else(|| request.to_string())
    }
}

fn statements() -> Vec<Statement> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(FOLDER).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        let library = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            found.push(Statement {
                library: library.clone(),
                line: serde_json::from_str(line).unwrap(),
            });
        }
    }
    found
}

fn decide(statements: &[Statement]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["policy", "explain", "--batch", "--policy"])
        .arg(Path::new(FOLDER).join("policy.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let questions: Vec<String> = statements
        .iter()
        .enumerate()
        .map(|(number, statement)| {
            let mut question = json!({"id": number, "role": "app"});
            for (name, value) in statement.line.as_object().unwrap() {
                question[name] = value.clone();
            }
            question.to_string()
        })
        .collect();
    let writer = std::thread::spawn(move || {
        for question in questions {
            writeln!(input, "{question}").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_libraries_send_is_understood() {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("refused.toml")).unwrap();
    let Refusals { refused } = toml::from_str(&text).unwrap();
    let statements = statements();
    let answers = decide(&statements);
    assert_eq!(answers.len(), statements.len());
    let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for (statement, answer) in statements.iter().zip(&answers) {
        let store = statement.line["store"].as_str().unwrap();
        let text = statement.text();
        let count = counts.entry((&statement.library, store)).or_default();
        count.0 += 1;
        let code = answer["code"].as_str();
        count.1 += usize::from(code.is_none());
        let expected = refused
            .iter()
            .filter(|refused| refused.store == store)
            .find_map(|refused| {
                let begins = |begin: &&String| text.starts_with(begin.as_str());
                Some((refused, refused.begins.iter().find(begins)?))
            });
        used.extend(expected.map(|(_, begin)| begin));
        let expected = expected.map(|(refused, _)| refused.code.as_str());
        if code != expected {
            let shown: String = text.chars().take(300).collect();
            faults.push(format!(
                "{} {store}: {shown}\n    {code:?} {}, expected {expected:?}",
                statement.library, answer["detail"]
            ));
        }
    }
    for ((library, store), (distinct, understood)) in &counts {
        println!("{library} on {store}: {understood} of {distinct} allowed");
        assert!(*distinct >= STATEMENTS_MIN, "{library} on {store}");
    }
    for refused in &refused {
        assert!(
            !refused.why.is_empty(),
            "{:?} has no reason",
            refused.begins
        );
        let unused = refused.begins.iter().filter(|begin| !used.contains(begin));
        faults.extend(unused.map(|begin| format!("nothing begins with `{begin}` any more")));
    }
    assert!(
        faults.is_empty(),
        "{}\n{} in all",
        faults.join("\n"),
        faults.len()
    );
}
