//! Redis itself says what a command touches: exact or refused, never confidently wrong.
//!
//! `COMMAND` lists every command, `COMMAND GETKEYSANDFLAGS` says which keys one has and what happens to them,
//! `ACL DRYRUN` whether a user with exactly the classified keys may run it, and scripts that classify as allowed
//! run as a user that may touch exactly what was classified. `BULKHEAD_ORACLE_CASES` makes the campaigns longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

#[path = "../chance/mod.rs"]
mod chance;
mod commands;
mod generate;
mod scripts;
mod server;

use bulkhead::classify::Refusal;
use bulkhead::classify::redis::is_classified;
use redis::Value;

/// A refusal without the names in it, to count by.
fn reason(refusal: &Refusal) -> String {
    let text = refusal.to_string();
    let parts: Vec<&str> = text.split('`').step_by(2).collect();
    let mut reason = parts.join("…");
    reason.retain(|letter| !letter.is_ascii_digit());
    reason.chars().take(90).collect()
}

/// `COMMAND`'s names, `container|subcommand` among them.
fn names(commands: &Value, found: &mut Vec<String>) {
    for command in server::items(commands) {
        let parts = server::items(command);
        found.push(server::text(&parts[0]));
        if let Some(subcommands) = parts.get(9) {
            names(subcommands, found);
        }
    }
}

#[tokio::test]
async fn every_command_of_the_server_is_classified() {
    let server = server::Private::start().await;
    let mut connection = server.administrator().await;
    let listed: Value = redis::cmd("COMMAND")
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut all = Vec::new();
    names(&listed, &mut all);
    assert!(all.len() > 300, "{} commands", all.len());
    println!("{} commands and subcommands", all.len());
    all.retain(|name| !is_classified(name));
    assert!(all.is_empty(), "not classified: {all:?}");
}
