//! Every command, stage and operator that the server knows is classified.

use std::collections::BTreeSet;

use bson::{Document, doc};
use bulkhead::classify::mongodb::{
    is_command_classified, is_operator_classified, is_stage_classified,
};

use super::server::Private;

#[tokio::test]
async fn commands_stages_and_operators_of_the_server_are_classified() {
    let server = Private::start().await;
    let admin = server.admin();
    let listed = admin.run_command(doc! {"listCommands": 1}).await.unwrap();
    let commands = names(listed.get_document("commands").unwrap());
    assert!(commands.len() > 150, "{} commands", commands.len());

    // The server counts the use of each stage and operator, and so lists them all by name.
    let status = admin.run_command(doc! {"serverStatus": 1}).await.unwrap();
    let metrics = status.get_document("metrics").unwrap();
    let stages = names(metrics.get_document("aggStageCounters").unwrap());
    assert!(stages.len() > 40, "{} stages", stages.len());
    let counters = metrics.get_document("operatorCounters").unwrap();
    let mut operators = BTreeSet::new();
    for (kind, counted) in counters {
        let names = names(counted.as_document().unwrap());
        println!("{} operators of {kind}", names.len());
        operators.extend(names);
    }
    assert!(operators.len() > 150, "{} operators", operators.len());
    let updates = update_operators(&server).await;
    println!("{} update operators", updates.len());
    assert!(
        updates.contains("$setOnInsert") && updates.len() > 12,
        "{updates:?}"
    );
    operators.extend(updates);

    println!(
        "{} commands, {} stages, {} operators",
        commands.len(),
        stages.len(),
        operators.len()
    );
    let stages: Vec<_> = stages
        .iter()
        .filter(|name| !is_stage_classified(name))
        .collect();
    let unknown: Vec<_> = commands
        .iter()
        .filter(|name| !is_command_classified(name))
        .collect();
    let operators: Vec<_> = operators
        .iter()
        .filter(|name| !is_operator_classified(name))
        .collect();
    assert!(
        unknown.is_empty() && stages.is_empty() && operators.is_empty(),
        "not classified: {unknown:?} {stages:?} {operators:?}"
    );
}

fn names(document: &Document) -> BTreeSet<String> {
    document.keys().cloned().collect()
}

/// Update operators are counted nowhere: each `$word` in the server's program is tried as one.
async fn update_operators(server: &Private) -> BTreeSet<String> {
    let program = std::fs::read(server.program()).unwrap();
    let mut words = BTreeSet::new();
    for (at, _) in program
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'$')
    {
        let rest = &program[at + 1..(at + 32).min(program.len())];
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric())
            .count();
        let starts_well = rest.first().is_some_and(u8::is_ascii_lowercase);
        // Strings may lie next to one another, so that the first letter of the next seems to be of this one.
        for length in length.saturating_sub(1)..=length {
            if starts_well && length >= 2 {
                words.insert(String::from_utf8_lossy(&rest[..length]).into_owned());
            }
        }
    }
    assert!(words.len() > 300, "{} words", words.len());
    let database = server.database("coverage");
    let mut known = BTreeSet::new();
    for word in words {
        let operator = format!("${word}");
        let update = doc! {"q": {}, "u": {&operator: {}}};
        let command = doc! {"update": "nothing", "updates": [update]};
        let reply = database.run_command(command).await;
        let told = match reply {
            Ok(reply) => reply.to_string(),
            Err(error) => error.to_string(),
        };
        if !told.contains("Unknown modifier") {
            known.insert(operator);
        }
    }
    known
}
