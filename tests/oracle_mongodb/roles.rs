//! Roles say what a command touches.

use std::collections::BTreeMap;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use bulkhead::classify::{Refusal, Session, mongodb};
use bulkhead::wire::extended_json::parse_extended_json;

use ::mongodb::Database;
use ::mongodb::error::ErrorKind;

use super::chance::{Chance, cases};
use super::change::changed;
use super::generate;
use super::server::{Private, Rights, rights};

/// The server's `Unauthorized`.
const UNAUTHORIZED: i32 = 13;
/// A tailable cursor may wait this long.
const COMMAND_MS_MAX: u64 = 5_000;

/// A command in its database, as bytes.
type Command = (String, Vec<u8>);

#[derive(Debug, PartialEq)]
enum Outcome {
    Ran,
    Unauthorized(String),
    /// Not what the server takes, or the data does not suit it.
    Failed,
}

async fn run(database: &Database, command: &[u8]) -> Outcome {
    let command = RawDocumentBuf::from_bytes(command.to_vec()).unwrap();
    let sent = database.run_raw_command(command);
    let Ok(answer) = tokio::time::timeout(Duration::from_millis(COMMAND_MS_MAX), sent).await else {
        return Outcome::Failed;
    };
    match answer {
        Ok(_) => Outcome::Ran,
        Err(error) => match error.kind.as_ref() {
            ErrorKind::Command(told) if told.code == UNAUTHORIZED => {
                Outcome::Unauthorized(told.message.clone())
            }
            _ => Outcome::Failed,
        },
    }
}

/// A refusal without the names in it, to count by.
fn reason(refusal: &Refusal) -> String {
    let text = refusal.to_string();
    let parts: Vec<&str> = text.split('`').step_by(2).collect();
    parts.join("…").chars().take(90).collect()
}

/// The corpus' commands, and commands that are made up or changed.
fn commands(count: usize) -> Vec<Command> {
    let mut commands = corpus();
    assert!(commands.len() > 100, "{} in the corpus", commands.len());
    let documents: Vec<(String, Document)> = commands
        .iter()
        .filter_map(|(database, bytes)| {
            Some((
                database.clone(),
                Document::try_from(bson::RawDocument::from_bytes(bytes).ok()?).ok()?,
            ))
        })
        .collect();
    let mut chance = Chance::start();
    while commands.len() < count {
        let (database, document) = match chance.below(4) {
            0 => {
                let (database, document) = chance.pick(&documents).clone();
                (database, changed(&document, &mut chance))
            }
            1 => {
                let (database, document) = generate::command(&mut chance);
                (database.to_owned(), changed(&document, &mut chance))
            }
            _ => {
                let (database, document) = generate::command(&mut chance);
                (database.to_owned(), document)
            }
        };
        commands.push((database, bson::serialize_to_vec(&document).unwrap()));
    }
    commands
}

fn corpus() -> Vec<Command> {
    #[derive(serde::Deserialize)]
    struct Case<'a> {
        store: String,
        #[serde(borrow)]
        request: &'a serde_json::value::RawValue,
        request_b64: Option<String>,
    }
    let text = std::fs::read_to_string("tests/corpus/known.jsonl").unwrap();
    let cases = text
        .lines()
        .map(|line| serde_json::from_str::<Case<'_>>(line).unwrap());
    cases
        .filter(|case| case.store == "mongodb" && case.request_b64.is_none())
        .filter_map(|case| parse_extended_json(case.request.get()).ok())
        .filter_map(|bytes| mongodb::without_database(&bytes).ok())
        .map(|(database, bytes)| {
            (
                database.unwrap_or_else(|| "enterprise_db".to_owned()),
                bytes,
            )
        })
        .collect()
}

#[derive(Default)]
struct Tally {
    understood: usize,
    ran: usize,
    failed: usize,
    /// Their rights fit in no role.
    unaskable: usize,
    necessary: usize,
    unneeded: BTreeMap<String, usize>,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

/// What was understood, by what it touches, so that the role changes once for each.
fn grouped(commands: Vec<Command>, tally: &mut Tally) -> BTreeMap<Rights, Vec<Command>> {
    let mut groups: BTreeMap<Rights, Vec<Command>> = BTreeMap::new();
    for (database, bytes) in commands {
        match mongodb::classify(&bytes, &database, Session::Own) {
            Ok(known) => {
                tally.understood += 1;
                groups
                    .entry(rights(&known.touches))
                    .or_default()
                    .push((database, bytes));
            }
            Err(refusal) => *tally.refused.entry(reason(&refusal)).or_default() += 1,
        }
    }
    groups
}

fn shown(command: &[u8]) -> String {
    let document = bson::RawDocument::from_bytes(command).unwrap();
    Document::try_from(document).unwrap().to_string()
}

/// Runs a group with exactly its rights: nothing may be missing. Gives back what ran.
async fn with_all(
    server: &Private,
    all: &Rights,
    group: &[Command],
    tally: &mut Tally,
) -> Vec<Command> {
    if server.allow(all).await.is_err() {
        tally.unaskable += group.len();
        return Vec::new();
    }
    let mut ran = Vec::new();
    for command in group {
        match run(&server.as_user(&command.0), &command.1).await {
            Outcome::Ran => {
                tally.ran += 1;
                ran.push(command.clone());
            }
            Outcome::Failed => tally.failed += 1,
            // The server takes `$documents` for a read of the database's `$cmd.aggregate`, which no role can name.
            Outcome::Unauthorized(_) if shown(&command.1).contains("$documents") => {
                tally.unaskable += 1;
            }
            Outcome::Unauthorized(told) => tally.wrong.push(format!(
                "{} in {}: classified as {all:?}, and the server: {told}",
                shown(&command.1),
                command.0
            )),
        }
    }
    ran
}

/// Takes each right away in turn: what still runs did not need it.
async fn without_each(server: &Private, all: &Rights, ran: &[Command], tally: &mut Tally) {
    // Rights that no role can hold cannot be taken away either.
    if ran.is_empty() {
        return;
    }
    for right in all {
        let mut less = all.clone();
        less.remove(right);
        let allowed = server.allow(&less).await;
        allowed.unwrap_or_else(|error| panic!("{less:?}: {error}"));
        for (database, command) in ran {
            match run(&server.as_user(database), command).await {
                Outcome::Unauthorized(_) | Outcome::Failed => tally.necessary += 1,
                Outcome::Ran => {
                    let raw = bson::RawDocument::from_bytes(command).unwrap();
                    let name = raw.iter().next().unwrap().unwrap().0;
                    *tally
                        .unneeded
                        .entry(format!("{} of `{name}`", right.2))
                        .or_default() += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn roles_allow_what_was_classified_and_nothing_less() {
    let server = Private::start().await;
    furnish(&server).await;
    let commands = commands(cases(1_500));
    let count = commands.len();
    let mut tally = Tally::default();
    let groups = grouped(commands, &mut tally);
    println!("{} sets of rights", groups.len());
    for (all, group) in &groups {
        let ran = with_all(&server, all, group, &mut tally).await;
        without_each(&server, all, &ran, &mut tally).await;
    }
    println!(
        "{count} commands: {} understood ({} ran, {} failed for another reason, {} could not be asked), {} refused; {} rights were \
         necessary, {} not",
        tally.understood,
        tally.ran,
        tally.failed,
        tally.unaskable,
        tally.refused.values().sum::<usize>(),
        tally.necessary,
        tally.unneeded.values().sum::<usize>()
    );
    for (what, count) in tally.refused.iter().chain(&tally.unneeded) {
        println!("  {count:6} {what}");
    }
    assert!(
        tally.wrong.is_empty(),
        "{} wrong:\n{}",
        tally.wrong.len(),
        tally.wrong.join("\n")
    );
    assert!(tally.ran * 4 > count, "too little of what is made up runs");
}

/// The method itself: the server refuses what the role lacks, at the next command after a change.
#[tokio::test]
async fn a_missing_right_is_seen() {
    let server = Private::start().await;
    furnish(&server).await;
    let command =
        doc! {"aggregate": "activity_logs", "pipeline": [{"$unionWith": "salaries"}], "cursor": {}};
    let bytes = bson::serialize_to_vec(&command).unwrap();
    let known = mongodb::classify(&bytes, "enterprise_db", Session::Shared).unwrap();
    let all = rights(&known.touches);
    assert_eq!(all.len(), 2);
    let user = server.as_user("enterprise_db");
    for _ in 0..5 {
        server.allow(&all).await.unwrap();
        assert_eq!(run(&user, &bytes).await, Outcome::Ran);
        for right in &all {
            let mut less = all.clone();
            less.remove(right);
            server.allow(&less).await.unwrap();
            assert!(matches!(run(&user, &bytes).await, Outcome::Unauthorized(_)));
        }
    }
}

async fn furnish(server: &Private) {
    let databases: [Database; 2] = [
        server.database("enterprise_db"),
        server.database("other_db"),
    ];
    for database in databases {
        for name in [
            "activity_logs",
            "analytics_events",
            "event_store",
            "salaries",
        ] {
            let documents = vec![doc! {"x": 1, "tags": [1, 2]}, doc! {"x": 3, "name": "a"}];
            let insert = doc! {"insert": name, "documents": documents, "ordered": false};
            database.run_command(insert).await.unwrap();
        }
    }
}
