//! The server says what a statement touches, and the classifier must say the same or refuse: never confidently
//! wrong. Over the corpus, and over statements from a grammar and mutations of the corpus.
//!
//! `BULKHEAD_ORACLE_STATEMENTS` says how many to generate, `BULKHEAD_ORACLE_SEED` from which seed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../attack_table/mod.rs"]
mod attack_table;
mod attacks;
mod catalogue;
mod coverage;
mod expression;
mod grammar;
mod mutate;
mod random;
mod rules;
mod schema;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use bulkhead::classify::{Session, mysql};
use bulkhead::operation::{Action, Classification, Object};
use mysql_common::named_params::ParsedNamedParams;

use grammar::Grammar;
use random::Random;
use schema::{DATABASE, TABLES};
use server::{LOST, Probes, furnished, normalised, prepare, servers};

/// How many statements are generated where the environment does not say.
const STATEMENTS: usize = 2_000;

/// Of a hundred generated statements, this many are mutations of the corpus.
const MUTATIONS_PERCENT: usize = 30;

#[derive(Debug)]
enum Outcome {
    /// The classifier refuses, for this reason; whether the server would have taken the statement.
    Refused(String, bool),
    /// Understood, and the server does not prepare what would be sent.
    Rejected(u16),
    /// Understood, but this oracle cannot say: data definition is not checked when it is prepared.
    Unsaid,
    /// The server says the same; `more` if the classifier reports a verb that the server does not ask for.
    Exact { more: bool },
    /// Understood, and the server crashed when it was to prepare it: a fault of the server's.
    Crashed,
    /// Confidently wrong.
    Wrong(String),
}

#[derive(Default)]
struct Tally {
    statements: usize,
    exact: usize,
    more: usize,
    unsaid: usize,
    refused: BTreeMap<String, (usize, usize)>,
    rejected: BTreeMap<u16, usize>,
    crashed: Vec<String>,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, sql: &str, outcome: Outcome) {
        self.statements += 1;
        match outcome {
            Outcome::Refused(reason, taken) => {
                let (all, by_server) = self.refused.entry(reason).or_default();
                *all += 1;
                *by_server += usize::from(taken);
            }
            Outcome::Rejected(code) => *self.rejected.entry(code).or_default() += 1,
            Outcome::Unsaid => self.unsaid += 1,
            Outcome::Exact { more } => {
                self.exact += 1;
                self.more += usize::from(more);
            }
            Outcome::Crashed => self.crashed.push(sql.to_owned()),
            Outcome::Wrong(how) => self.wrong.push(format!("{how}\n  {sql:?}")),
        }
    }

    fn show(&self, name: &str) {
        let refused: usize = self.refused.values().map(|(all, _)| all).sum();
        let taken: usize = self.refused.values().map(|(_, taken)| taken).sum();
        println!(
            "{name}: {} statements, {} exact ({} report a verb more), {} refused ({taken} of them the server takes), \
             {} data definition, {} rejected by the server {:?}, {} crash the server, {} wrong",
            self.statements,
            self.exact,
            self.more,
            refused,
            self.unsaid,
            self.rejected.values().sum::<usize>(),
            self.rejected,
            self.crashed.len(),
            self.wrong.len()
        );
        for sql in &self.crashed {
            println!("  the server crashes: {sql:?}");
        }
        let mut reasons: Vec<_> = self.refused.iter().collect();
        reasons.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
        for (reason, (all, taken)) in reasons {
            println!("  {all:6} refused ({taken} taken by the server): {reason}");
        }
    }
}

/// A refusal without what it repeats of the statement.
fn reason(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        out.push_str(if at % 2 == 0 { part } else { "…" });
    }
    let plain = out.split(" at byte ").next().unwrap_or_default();
    let plain = plain.split(", found ").next().unwrap_or_default();
    plain.chars().take(90).collect()
}

/// The tables that the classifier reports, each with its verbs; `None` where this oracle cannot judge.
fn reported(found: &Classification) -> Option<BTreeMap<usize, BTreeSet<&'static str>>> {
    let mut tables: BTreeMap<usize, BTreeSet<&'static str>> = BTreeMap::new();
    for touch in &found.touches {
        let Object::Named { namespace, name } = &touch.object else {
            panic!("{touch:?} is no table");
        };
        let database = namespace.as_deref().unwrap_or(DATABASE);
        let known = TABLES
            .iter()
            .position(|table| table.database == database && table.name == name)?;
        let verb = match touch.action {
            Action::Select => "SELECT",
            Action::Insert => "INSERT",
            Action::Update => "UPDATE",
            Action::Delete => "DELETE",
            Action::Ddl => return None,
            Action::Find | Action::Read | Action::Write => panic!("{touch:?} is no SQL"),
        };
        tables.entry(known).or_default().insert(verb);
    }
    Some(tables)
}

/// Whether the driver would take `:name` in the text for a parameter; the executor refuses such a text.
fn has_named_parameters(sql: &str) -> bool {
    ParsedNamedParams::parse(sql.as_bytes()).map_or(true, |parsed| !parsed.params().is_empty())
}

async fn judge(probes: &mut Probes, sql: &str) -> Outcome {
    let found = match mysql::classify(sql, Session::Shared) {
        Ok(found) => found,
        Err(refusal) => {
            let taken = !has_named_parameters(sql) && prepare(&mut probes.all, sql).await.is_ok();
            return Outcome::Refused(reason(&refusal.to_string()), taken);
        }
    };
    let sent = found.rewritten.as_deref().unwrap_or(sql);
    if has_named_parameters(sent) {
        return Outcome::Unsaid;
    }
    let Some(mine) = reported(&found) else {
        return Outcome::Unsaid;
    };
    let told = match prepare(&mut probes.all, sent).await {
        Ok(told) => told,
        Err(rejected) if rejected.is_denial() => {
            return Outcome::Wrong(format!("{rejected:?}, and it reports {mine:?}: {sent}"));
        }
        Err(rejected) if rejected.code == LOST => return Outcome::Crashed,
        Err(rejected) => return Outcome::Rejected(rejected.code),
    };
    let original = match prepare(&mut probes.all, sql).await {
        Ok(original) => original,
        Err(rejected) => {
            return Outcome::Wrong(format!("only the rewritten is taken: {rejected:?} {sent}"));
        }
    };
    if !original.is_like(&told) {
        return Outcome::Wrong(format!("reads {original:?} and sent {told:?}: {sent}"));
    }
    if let Some(difference) = difference(probes, sql, sent, told_parameters(sent)).await {
        return Outcome::Wrong(difference);
    }
    compare(probes, sent, &mine).await
}

/// Whether the text has a place for a parameter, roughly: `EXPLAIN` cannot have one.
fn told_parameters(sent: &str) -> bool {
    sent.contains('?')
}

/// What the server makes of the original and of what is sent must be the same.
async fn difference(
    probes: &mut Probes,
    sql: &str,
    sent: &str,
    has_parameters: bool,
) -> Option<String> {
    let first = sent.trim_start_matches(['(', ' ']).get(..4)?;
    let explained = ["SELE", "WITH", "INSE", "REPL", "UPDA", "DELE"]
        .iter()
        .any(|verb| verb.eq_ignore_ascii_case(first));
    if has_parameters || !explained || sent == sql {
        return None;
    }
    for attempt in 0..2 {
        let original = normalised(&mut probes.all, sql).await;
        let rewritten = normalised(&mut probes.all, sent).await;
        let same = match (&original, &rewritten) {
            (Ok(one), Ok(two)) => one == two,
            (Err(one), Err(two)) => one.code == two.code,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if same {
            return None;
        }
        // The clock may have moved between the two.
        if attempt == 1 {
            return Some(format!("means {original:?} and sent {rewritten:?}"));
        }
    }
    None
}

async fn compare(
    probes: &mut Probes,
    sent: &str,
    mine: &BTreeMap<usize, BTreeSet<&'static str>>,
) -> Outcome {
    let Some(server) = probes.tables(sent).await else {
        return Outcome::Crashed;
    };
    let server: BTreeSet<usize> = server.into_iter().collect();
    let reported: BTreeSet<usize> = mine.keys().copied().collect();
    if server != reported {
        let names = |set: &BTreeSet<usize>| {
            let names: Vec<&str> = set.iter().map(|table| TABLES[*table].name).collect();
            names.join(" ")
        };
        return Outcome::Wrong(format!(
            "the server says [{}], the classifier [{}]: {sent}",
            names(&server),
            names(&reported)
        ));
    }
    let mut more = false;
    for (table, verbs) in mine {
        let needed = probes.verbs(*table, sent).await;
        for verb in &needed {
            // A target carries its verb alone, though the server asks for SELECT where its columns are read.
            let of_target = *verb == "SELECT" && verbs.iter().any(|verb| *verb != "SELECT");
            if !verbs.contains(verb) && !of_target {
                let name = TABLES[*table].name;
                return Outcome::Wrong(format!(
                    "{verb} on {name} is needed, not {verbs:?}: {sent}"
                ));
            }
        }
        more |= verbs.iter().any(|verb| !needed.contains(verb));
    }
    Outcome::Exact { more }
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// The corpus' statements for this store, but for those that are not UTF-8.
fn corpus() -> Vec<String> {
    let text = std::fs::read_to_string("tests/corpus/known.jsonl").unwrap();
    let cases = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    cases
        .filter(|case| case["store"] == "mysql" && !case["request_b64"].is_string())
        .map(|case| case["request"].as_str().unwrap().to_owned())
        .collect()
}

fn check(name: &str, tally: &Tally) {
    tally.show(name);
    let shown: Vec<&str> = tally.wrong.iter().take(20).map(String::as_str).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    assert!(
        tally.exact * 5 >= tally.statements,
        "the oracle says too little"
    );
}

#[tokio::test]
async fn the_corpus_is_understood_as_the_server_does() {
    let mut probes = Probes::connect(servers()).await;
    let mut tally = Tally::default();
    for sql in corpus() {
        let outcome = judge(&mut probes, &sql).await;
        tally.count(&sql, outcome);
    }
    check("corpus", &tally);
}

#[tokio::test]
async fn generated_statements_are_understood_as_the_server_does() {
    // What is made up may crash the server, which would end other tests too.
    let mut servers = furnished().await;
    let mut probes = Probes::connect(&servers).await;
    let corpus = corpus();
    let mut random = Random::new(number("BULKHEAD_ORACLE_SEED", 1) as u64);
    let (mut made, mut mutated) = (Tally::default(), Tally::default());
    for _ in 0..number("BULKHEAD_ORACLE_STATEMENTS", STATEMENTS) {
        let (tally, sql) = if random.chance(MUTATIONS_PERCENT) {
            (&mut mutated, mutate::mutated(&corpus, &mut random))
        } else {
            let sql = Grammar::new(&mut random).statement();
            (&mut made, mutate::respaced(&sql, &mut random))
        };
        let outcome = judge(&mut probes, &sql).await;
        tally.count(&sql, outcome);
        if probes.are_lost().await {
            servers.mysql.restart().await.unwrap();
            probes = Probes::connect(&servers).await;
        }
    }
    check("grammar", &made);
    check("mutations", &mutated);
}

#[tokio::test]
async fn attacks_are_refused_or_understood_as_the_server_does() {
    let mut probes = Probes::connect(servers()).await;
    let mut tally = Tally::default();
    for sql in attacks::ATTACKS {
        let outcome = judge(&mut probes, sql).await;
        tally.count(sql, outcome);
    }
    check("attacks", &tally);
}

/// The oracle itself: an account that lacks a table cannot prepare what touches it, however it is hidden.
#[tokio::test]
async fn the_oracle_sees() {
    let mut probes = Probes::connect(servers()).await;
    let keys = 5;
    assert_eq!(TABLES[keys].name, "api_keys");
    for (sql, tables) in [
        ("SELECT 1", vec![]),
        ("SELECT id FROM api_keys", vec![keys]),
        ("SELECT 1 /*! FROM api_keys */", vec![keys]),
        ("DO (SELECT 1 FROM api_keys)", vec![keys]),
        (
            "UPDATE users SET id = 1 WHERE EXISTS (SELECT 1 FROM api_keys)",
            vec![0, keys],
        ),
    ] {
        assert_eq!(probes.tables(sql).await, Some(tables), "{sql}");
    }
    let sql = "INSERT INTO api_keys (id) SELECT id FROM users ON DUPLICATE KEY UPDATE id = 1";
    assert_eq!(probes.verbs(keys, sql).await, ["INSERT", "UPDATE"]);
}
