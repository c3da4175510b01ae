//! What a test tells a `bulkhead dev` that it started with `--exit-with-stdin`.
//!
//! The test writes a line to its standard input and reads a line of JSON from its standard output, one for each
//! line, in order, when the command has been carried out:
//!
//! ```text
//! kill postgres        {"command":"kill postgres","ok":true}
//! start postgres       {"command":"start postgres","ok":true}
//! kill nothing         {"command":"kill nothing","ok":false,"error":"…"}
//! ```
//!
//! `kill` is SIGKILL, `stop` an orderly end, `start` returns when the store answers on its former port with its
//! former data, `restart` is `stop` and `start`. The store is `postgres`, `mysql`, `mongodb` or `redis`.
//! Closing the pipe ends `bulkhead dev`.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc;

use super::Servers;
use super::error::DevError;
use crate::operation::Store;

const LINE_BYTES_MAX: u64 = 1024;
const LINES_WAITING_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Kill,
    Stop,
    Start,
    Restart,
}

/// Carries out one line, and says how that went in one line of JSON.
///
/// Dropping the future in the middle of a `start` kills what was being started.
pub async fn obey(line: &str, servers: &mut Servers) -> String {
    let line = line.trim();
    let outcome = match parse(line) {
        Ok((verb, store)) => carry_out(verb, servers, store).await,
        Err(error) => Err(error),
    };
    let mut reply = serde_json::json!({"command": line, "ok": outcome.is_ok()});
    if let (Err(error), Some(members)) = (outcome, reply.as_object_mut()) {
        members.insert("error".to_owned(), error.to_string().into());
    }
    reply.to_string()
}

/// The lines of our standard input; the channel closes at its end.
///
/// A thread of its own reads them, since a blocked read in the runtime would keep the process from ending.
pub fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        let mut line = String::new();
        loop {
            line.clear();
            let read = (&mut input).take(LINE_BYTES_MAX).read_line(&mut line);
            if !matches!(read, Ok(1..)) || sender.blocking_send(line.clone()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn parse(line: &str) -> Result<(Verb, Store), DevError> {
    let unknown = || DevError::Control {
        line: line.to_owned(),
    };
    let (verb, store) = line.split_once(' ').ok_or_else(unknown)?;
    let verb = match verb {
        "kill" => Verb::Kill,
        "stop" => Verb::Stop,
        "start" => Verb::Start,
        "restart" => Verb::Restart,
        _ => return Err(unknown()),
    };
    let store = Store::parse(store.trim()).ok_or_else(unknown)?;
    Ok((verb, store))
}

async fn carry_out(verb: Verb, servers: &mut Servers, store: Store) -> Result<(), DevError> {
    let server = servers.get_mut(store);
    match verb {
        Verb::Kill => server.kill().await,
        Verb::Stop => server.stop().await,
        Verb::Start => server.start().await,
        Verb::Restart => server.restart().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_a_verb_and_a_store() {
        for (line, expected) in [
            ("kill postgres", Some((Verb::Kill, Store::Postgres))),
            ("stop mysql", Some((Verb::Stop, Store::Mysql))),
            ("start  mongodb", Some((Verb::Start, Store::Mongodb))),
            ("restart redis", Some((Verb::Restart, Store::Redis))),
            ("kill", None),
            ("kill everything", None),
            ("KILL redis", None),
            ("", None),
        ] {
            assert_eq!(parse(line).ok(), expected, "{line}");
        }
    }
}
