//! The corpus of benign and hostile requests through `bulkhead policy explain --batch`: no bypass, and fewer
//! than one benign case in a hundred refused.
//!
//! `BULKHEAD_CORPUS` names another corpus of the same form (a folder with `known.jsonl` and `policy.toml`).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Counts of one store.
#[derive(Debug, Default)]
struct Count {
    hostile: usize,
    bypasses: Vec<String>,
    benign: usize,
    false_denials: Vec<String>,
}

fn folder() -> PathBuf {
    std::env::var_os("BULKHEAD_CORPUS").map_or_else(|| "tests/corpus".into(), PathBuf::from)
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("known.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The decisions, in the order of `cases`.
fn decide(cases: &[Value]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["policy", "explain", "--batch", "--policy"])
        .arg(folder().join("policy.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<String> = cases.iter().map(question).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            writeln!(input, "{line}").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let decisions: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(decisions.len(), cases.len(), "one answer for each question");
    decisions
}

fn question(case: &Value) -> String {
    let mut question = json!({"id": case["id"], "role": "app", "store": case["store"]});
    let request = if case["request_b64"].is_string() {
        "request_b64"
    } else {
        "request"
    };
    question[request] = case[request].clone();
    if case["session"] == true {
        question["session"] = true.into();
    }
    question.to_string()
}

#[test]
fn no_bypass_and_few_false_denials() {
    let cases = cases();
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for (case, answer) in cases.iter().zip(decide(&cases)) {
        assert_eq!(case["id"], answer["id"]);
        if case["contested"].is_string() {
            continue;
        }
        let count = counts
            .entry(case["store"].as_str().unwrap().to_owned())
            .or_default();
        let told = || format!("{}: {} {}", case["id"], case["technique"], answer);
        if case["decision"] == "deny" {
            count.hostile += 1;
            if answer["decision"] != "deny" {
                count.bypasses.push(told());
            }
        } else {
            count.benign += 1;
            if answer["decision"] != "allow" {
                count.false_denials.push(told());
            }
        }
    }
    let mut failures = Vec::new();
    for (store, count) in &counts {
        println!(
            "{store}: {} of {} hostile allowed, {} of {} benign refused",
            count.bypasses.len(),
            count.hostile,
            count.false_denials.len(),
            count.benign
        );
        failures.extend(count.bypasses.iter().map(|case| format!("bypass {case}")));
        if count.false_denials.len() * 100 >= count.benign {
            failures.extend(
                count
                    .false_denials
                    .iter()
                    .map(|case| format!("refused {case}")),
            );
        }
    }
    assert_eq!(counts.len(), 4, "a store has no cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
