//! The corpus through the real listener on real servers: every hostile case is refused by the gate, every benign
//! one passes it; and the same hostile requests, put straight to the database as its administrator, succeed, so
//! that it is the gate and nothing else that stops them.
//!
//! `BULKHEAD_CORPUS` names another corpus of the same form.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod corpus;
mod direct;
mod native;
mod sidecar;
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use corpus::{Case, cases, folder};
use direct::{Outcome, Who};
use sidecar::Sidecar;

/// Codes with which the gate itself refuses, before any store is reached.
const GATE_CODES: [&str; 7] = [
    "request.invalid",
    "request.too_large",
    "statement.unparsable",
    "policy.denied",
    "policy.wrong_store",
    "policy.unknown_object",
    "policy.forbidden_statement",
];

/// How `request.invalid` begins where the request was let through and its parameters or its answer did not fit:
/// such a hostile case was not refused.
const AFTER_THE_DECISION: [&str; 3] = ["parameter ", "two columns ", "column "];

/// What became of one store's cases.
#[derive(Debug, Default)]
struct Count {
    denied: usize,
    succeeded: usize,
    failed: Vec<String>,
    not_here: Vec<String>,
    kept_back: Vec<String>,
    allowed: usize,
    needs_a_session: usize,
    /// Not of the form that the route takes, or an answer that JSON rows cannot hold: no judgement of the statement.
    of_another_form: Vec<String>,
    refused: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_refuses_what_the_databases_would_do() {
    let dev = support::Dev::start();
    sidecar::load_schemas(&dev).await;
    let sidecar = Sidecar::start(&dev).await;
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut faults = Vec::new();
    let cases = cases();
    for case in &cases {
        let count = counts.entry(case.store.clone()).or_default();
        let reply = sidecar.ask(case).await;
        let refused = GATE_CODES.contains(&reply.code());
        let detail = reply.body["detail"].as_str().unwrap_or_default();
        let passed_the_gate = !refused
            || AFTER_THE_DECISION
                .iter()
                .any(|begin| detail.starts_with(begin));
        // Anything else than the gate's word or the database's is a fault of the listener.
        assert!(
            refused || reply.status < 300 || reply.code().starts_with("store."),
            "{}: {} {}",
            case.id,
            reply.status,
            reply.text
        );
        match (case.is_hostile, refused) {
            (true, _) if !passed_the_gate => count.denied += 1,
            (true, _) => faults.push(format!("bypass {}: {}", case.id, reply.text)),
            (false, false) => count.allowed += 1,
            // `query` and `command` run on shared connections; they say what to use instead.
            (false, true) if case.needs_session => count.needs_a_session += 1,
            (false, true) if case.is_contested => {}
            (false, true) if reply.code() == "request.invalid" => {
                count.of_another_form.push(format!("{}: {detail}", case.id));
            }
            (false, true) => {
                count.refused += 1;
                println!("refused {}: {}", case.id, reply.text);
            }
        }
    }
    drop(sidecar);
    put_directly(&dev, &cases, &mut counts).await;
    report(&counts);
    native::the_databases_refuse_by_themselves(&dev, &cases).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for (store, count) in &counts {
        let benign = count.allowed + count.refused;
        assert!(count.refused * 100 <= benign, "{store}: {count:?}");
        assert!(
            count.of_another_form.len() * 10 <= benign,
            "{store}: {count:?}"
        );
        assert!(count.succeeded * 2 > count.denied, "{store}: {count:?}");
    }
    let unexpected: Vec<&String> = counts.values().flat_map(|count| &count.failed).collect();
    assert!(
        unexpected.is_empty() || folder() != std::path::Path::new(corpus::OWN),
        "put directly, these should succeed, or `direct` say why not: {unexpected:#?}"
    );
}

async fn put_directly(dev: &support::Dev, cases: &[Case], counts: &mut BTreeMap<String, Count>) {
    let mut databases = direct::Databases::open(dev, Who::Administrator).await;
    for case in cases.iter().filter(|case| case.is_hostile) {
        let count = counts.entry(case.store.clone()).or_default();
        match databases.put(case).await {
            Outcome::Succeeded => count.succeeded += 1,
            Outcome::Failed(error) | Outcome::Refused(error) => {
                count.failed.push(format!("{}: {error}", case.id));
            }
            Outcome::NotHere(why) => count.not_here.push(format!("{}: {why}", case.id)),
            Outcome::KeptBack => count.kept_back.push(case.id.clone()),
        }
    }
}

fn report(counts: &BTreeMap<String, Count>) {
    for (store, count) in counts {
        println!(
            "{store}: hostile: {} refused by the gate; directly: {} succeeded, {} not applicable here, \
             {} would harm the server, {} failed; benign: {} allowed, {} need a session, {} are of another form, {} refused",
            count.denied,
            count.succeeded,
            count.not_here.len(),
            count.kept_back.len(),
            count.failed.len(),
            count.allowed,
            count.needs_a_session,
            count.of_another_form.len(),
            count.refused,
        );
        for line in &count.not_here {
            println!("  not here: {line}");
        }
        for line in &count.of_another_form {
            println!("  another form: {line}");
        }
        println!("  kept back: {}", count.kept_back.join(" "));
        for line in &count.failed {
            println!("  failed: {line}");
        }
    }
}
