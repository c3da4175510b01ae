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

fn decide(statements: &[Statement], policy: &Path) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["policy", "explain", "--batch", "--policy"])
        .arg(policy)
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
    let answers = decide(&statements, &Path::new(FOLDER).join("policy.toml"));
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

/// The script that a command sends to be run or stored.
fn script(statement: &Statement) -> Option<&str> {
    let words = statement.line["request"].as_array()?;
    let word = |at: usize| words.get(at).and_then(Value::as_str);
    match (word(0)?.to_ascii_lowercase().as_str(), word(1)?) {
        ("eval" | "eval_ro", script) => Some(script),
        ("script", load) if load.eq_ignore_ascii_case("load") => word(2),
        _ => None,
    }
}

/// With the scripts listed that a library sends, its commands that name them by digest are allowed: the digests are
/// those that the libraries make. A script of which no recording holds the text stays refused.
#[test]
fn scripts_that_a_policy_lists_are_allowed() {
    use sha1::{Digest as _, Sha1};

    let statements: Vec<Statement> = statements()
        .into_iter()
        .filter(|statement| statement.line["store"] == "redis")
        .collect();
    let digest = |script: &str| -> String {
        let bytes = Sha1::digest(script);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let digests: BTreeSet<String> = statements.iter().filter_map(script).map(digest).collect();
    let folder = tempfile::tempdir().unwrap();
    let own = Path::new(FOLDER).join("policy.toml");
    std::fs::copy(&own, folder.path().join("policy.toml")).unwrap();
    let listed: Vec<String> = digests.iter().map(|digest| format!("{digest:?}")).collect();
    let text = format!(
        "version = 1\n[stores.redis]\nscripts = [{}]\n",
        listed.join(", ")
    );
    std::fs::write(folder.path().join("scripts.toml"), text).unwrap();

    let (before, after) = (
        decide(&statements, &own),
        decide(&statements, folder.path()),
    );
    let allowed = |answer: &Value| answer["decision"] == "allow";
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut faults = Vec::new();
    for (statement, (before, after)) in statements.iter().zip(before.iter().zip(&after)) {
        let text = statement.text();
        let count = counts.entry(&statement.library).or_default();
        count[0] += 1;
        count[1] += usize::from(allowed(before));
        count[2] += usize::from(allowed(after));
        let named = digests.iter().any(|digest| text.contains(digest.as_str()));
        let expected = allowed(before) || script(statement).is_some() || named;
        if allowed(after) != expected {
            let shown: String = text.chars().take(200).collect();
            faults.push(format!(
                "{}: {shown}\n    {}",
                statement.library, after["detail"]
            ));
        }
    }
    for (library, [distinct, before, after]) in counts {
        println!("{library}: {before} of {distinct} allowed, {after} with its scripts listed");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
