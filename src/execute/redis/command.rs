//! What a command does to the connection it runs on. Pure.
//!
//! The classifier decides what may run at all. This table is about the shared connection alone: a command that
//! would change it, or hold up everyone else on it, does not go there, whatever was decided before.

use crate::execute::Error;

/// Longest time that a blocking command may wait.
pub const BLOCK_MS_MAX: u64 = 30_000;
/// Most commands in one pipeline.
pub const PIPELINE_COMMANDS_MAX: usize = 10_000;

/// How a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On the shared connection.
    Plain,
    /// On a connection of its own, since it may wait so long for its reply.
    Blocking { wait_ms: u64 },
}

/// Where a blocking command says how long it waits.
#[derive(Clone, Copy)]
enum Wait {
    /// Seconds, with a fraction, as the first argument.
    FirstSeconds,
    /// Seconds, with a fraction, as the last argument.
    LastSeconds,
    /// Milliseconds after the word `BLOCK`; without it the command does not wait.
    BlockMs,
}

const BLOCKING: [(&str, Wait); 10] = [
    ("BLMOVE", Wait::LastSeconds),
    ("BLMPOP", Wait::FirstSeconds),
    ("BLPOP", Wait::LastSeconds),
    ("BRPOP", Wait::LastSeconds),
    ("BRPOPLPUSH", Wait::LastSeconds),
    ("BZMPOP", Wait::FirstSeconds),
    ("BZPOPMAX", Wait::LastSeconds),
    ("BZPOPMIN", Wait::LastSeconds),
    ("XREAD", Wait::BlockMs),
    ("XREADGROUP", Wait::BlockMs),
];

/// Commands that change or take over the connection, so that the next caller's replies would be wrong.
const CONNECTION_BOUND: [&str; 27] = [
    "ASKING",
    "AUTH",
    "CLIENT",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
    "DEBUG",
];

/// Says how the command runs, or why it cannot.
pub fn kind(command: &[Vec<u8>]) -> Result<Kind, Error> {
    let Some((name, arguments)) = command.split_first() else {
        return Err(Error::Invalid("an empty command: name one".into()));
    };
    let upper = String::from_utf8_lossy(name).to_ascii_uppercase();
    connection_bound(&upper)?;
    let Some((_, wait)) = BLOCKING.iter().find(|(blocking, _)| *blocking == upper) else {
        return Ok(Kind::Plain);
    };
    let wait_ms = match wait {
        Wait::FirstSeconds => Some(seconds(&upper, arguments.first())?),
        Wait::LastSeconds => Some(seconds(&upper, arguments.last())?),
        Wait::BlockMs => block_ms(&upper, arguments)?,
    };
    match wait_ms {
        None => Ok(Kind::Plain),
        Some(wait_ms @ 1..=BLOCK_MS_MAX) => Ok(Kind::Blocking { wait_ms }),
        Some(_) => Err(Error::Invalid(format!(
            "`{upper}` may wait from 1 to {BLOCK_MS_MAX} ms here: give such a time and ask again"
        ))),
    }
}

/// Whether a command may stand between `MULTI` and `EXEC`, where nothing waits.
pub fn queueable(command: &[Vec<u8>]) -> Result<(), Error> {
    let Some(name) = command.first() else {
        return Err(Error::Invalid("an empty command: name one".into()));
    };
    let upper = String::from_utf8_lossy(name).to_ascii_uppercase();
    connection_bound(&upper)
}

fn connection_bound(name: &str) -> Result<(), Error> {
    if CONNECTION_BOUND.contains(&name) {
        return Err(Error::Invalid(format!(
            "`{name}` changes or waits on the connection, which callers share here: {}",
            instead(name)
        )));
    }
    Ok(())
}

fn instead(name: &str) -> &'static str {
    match name {
        "MULTI" | "EXEC" | "DISCARD" => "send the commands as a pipeline with `\"atomic\": true`",
        "WATCH" | "UNWATCH" => "use a script, or `SET … NX`, to write on a condition",
        "SELECT" => "the database number is part of the sidecar's configuration",
        "WAIT" | "WAITAOF" => "it could count no write of yours",
        _ => "leave it out",
    }
}

fn seconds(name: &str, argument: Option<&Vec<u8>>) -> Result<u64, Error> {
    let number = argument
        .and_then(|argument| std::str::from_utf8(argument).ok())
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let Some(seconds) = number else {
        return Err(Error::Invalid(format!(
            "`{name}` must say how many seconds it may wait"
        )));
    };
    // A fraction of a millisecond still waits; 0, which waits for ever, stays 0.
    Ok((seconds * 1_000.0).ceil().min(f64::from(u32::MAX)) as u64)
}

/// `BLOCK` is an option, and stands before `STREAMS`, after which come keys and ids of any spelling.
fn block_ms(name: &str, arguments: &[Vec<u8>]) -> Result<Option<u64>, Error> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument.eq_ignore_ascii_case(b"STREAMS") {
            return Ok(None);
        }
        if argument.eq_ignore_ascii_case(b"GROUP") {
            // Its two operands are names, which may be spelt as any option.
            arguments.nth(1);
        } else if argument.eq_ignore_ascii_case(b"COUNT") {
            arguments.next();
        } else if argument.eq_ignore_ascii_case(b"BLOCK") {
            let text = arguments.next().and_then(|ms| std::str::from_utf8(ms).ok());
            let Some(ms) = text.and_then(|text| text.parse::<u64>().ok()) else {
                return Err(Error::Invalid(format!(
                    "`BLOCK` of `{name}` must be a number of milliseconds"
                )));
            };
            return Ok(Some(ms));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace()
            .map(|word| word.as_bytes().to_vec())
            .collect()
    }

    #[test]
    fn blocking_commands_say_how_long_they_wait() {
        let cases: [(&str, Option<u64>); 14] = [
            ("GET k", None),
            ("blpop k j 1", Some(1_000)),
            ("BRPOP k 0.25", Some(250)),
            ("BLPOP k 0.0001", Some(1)),
            ("BLMOVE a b LEFT RIGHT 2.5", Some(2_500)),
            ("BRPOPLPUSH a b 30", Some(30_000)),
            ("BLMPOP 3 1 k LEFT", Some(3_000)),
            ("BZMPOP 3 1 k MIN", Some(3_000)),
            ("BZPOPMIN k 1", Some(1_000)),
            ("XREAD COUNT 1 STREAMS block 0", None),
            ("XREAD BLOCK 100 STREAMS s $", Some(100)),
            ("xread count 2 block 100 streams s $", Some(100)),
            ("XREADGROUP GROUP block 5 BLOCK 70 STREAMS s >", Some(70)),
            ("XREADGROUP GROUP streams c BLOCK 70 STREAMS s >", Some(70)),
        ];
        for (command, wait_ms) in cases {
            let expected = wait_ms.map_or(Kind::Plain, |wait_ms| Kind::Blocking { wait_ms });
            assert_eq!(kind(&words(command)).unwrap(), expected, "{command}");
        }
    }

    #[test]
    fn what_would_disturb_others_is_refused() {
        let cases = [
            "",
            "SELECT 1",
            "select 1",
            "MULTI",
            "WATCH k",
            "SUBSCRIBE c",
            "CLIENT REPLY OFF",
            "RESET",
            "HELLO 2",
            "WAIT 1 0",
            "BLPOP k 0",
            "BLPOP k 31",
            "BLPOP k -1",
            "BLPOP k nan",
            "BLPOP k soon",
            "BLPOP",
            "XREAD BLOCK 0 STREAMS s $",
            "XREAD BLOCK -1 STREAMS s $",
            "XREAD BLOCK 1e3 STREAMS s $",
            "XREAD BLOCK",
        ];
        for command in cases {
            assert!(
                matches!(kind(&words(command)), Err(Error::Invalid(_))),
                "{command}"
            );
        }
    }
}
