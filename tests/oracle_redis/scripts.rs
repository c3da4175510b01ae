//! Scripts that classify as allowed run as a user that may touch the declared keys alone. Whatever they then try
//! beyond these, the server writes into its ACL log, `pcall` or not. (It lets nobody run `EVAL` who may not write
//! every declared key; that a key is only read shows in its value, which must be the same afterwards.)

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead::classify::{Refusal, Session, redis::classify};
use bulkhead::operation::{Action, Object, Touch};
use redis::Value;

use super::chance::{Chance, cases};
use super::generate::{corpus, runs_scripts};
use super::server::{PASSWORD, Private, items, text};

const USER: &str = "script";
/// How long a changed script may loop before it is ended.
const SCRIPT_MS_MAX: u64 = 3_000;
/// What may stand behind a script: four keys, two values.
const ARGUMENTS: [&str; 7] = ["4", "a", "b", "c", "d", "1", "2"];

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Ways out, whole.
const REACHES: [&str; 20] = [
    "redis.call('GET','x')",
    "redis.pcall('SET','x',1)",
    "redis.call('GET',KEYS[1]..'x')",
    "redis.call('GET',ARGV[1])",
    "redis.call('GET',k)",
    "redis.call('GET',KEYS[2])",
    "redis.call('GET',(KEYS[1]))",
    "redis.call('GET','x' or KEYS[1])",
    "redis.call(ARGV[1],KEYS[1])",
    "redis['call']('GET','x')",
    "redis.call'RANDOMKEY'",
    "KEYS[1]='x'",
    "KEYS={'x'}",
    "local KEYS={'x'}",
    "local redis={call=redis.call}",
    "local k=KEYS[1]",
    "k='x'",
    "for k in pairs({x=1}) do redis.call('GET',k) end",
    "table.insert(KEYS,1,'x')",
    "(function(...) return redis.call(...) end)('GET','x')",
];

/// Pieces that lexers read differently.
const PIECES: [&str; 58] = [
    "--",
    "--[[",
    "]]",
    "--[=[",
    "]=]",
    "[[",
    "[=[",
    "'",
    "\"",
    "\n",
    "\r\n",
    "\\",
    "\\\n",
    "\\z",
    " ",
    ";",
    "(",
    ")",
    "{",
    "}",
    "function f()",
    "end",
    "do",
    "repeat",
    "until true",
    "if true then",
    "else",
    "return",
    "local",
    "=",
    ",",
    "..",
    "#",
    "KEYS",
    "[1]",
    "redis",
    ".call",
    "x",
    "1",
    "0x1p",
    "1e",
    "nil",
    "\t",
    "\u{b}",
    "\u{c}",
    "~=",
    "::a::",
    "goto a",
    "//",
    "&",
    "[[a]]",
    "---",
    "--[",
    "--[==",
    "\u{e9}",
    "\u{a0}",
    "'\\''",
    "'a\\",
];

fn seeds() -> Vec<String> {
    let mut seeds: Vec<String> = include_str!("seeds.lua")
        .split("-----\n")
        .map(str::to_owned)
        .collect();
    let scripts = corpus()
        .into_iter()
        .filter(|words| words.len() > 2 && runs_scripts(&words[0]) && words[1].len() < 20_000);
    seeds.extend(scripts.map(|words| words[1].clone()));
    // What is not changed must not loop for ever either.
    seeds.retain(|script| !script.contains("while"));
    seeds
}

fn bit(chance: &mut Chance) -> String {
    match chance.below(3) {
        0 => (*chance.pick(&PIECES)).to_owned(),
        1 => (*chance.pick(&REACHES)).to_owned(),
        _ => format!("{}\n", chance.pick(&PIECES)),
    }
}

/// A script with bits put in at up to four places, or with some of it taken away.
fn changed(script: &str, chance: &mut Chance) -> String {
    let mut text: Vec<char> = script.chars().collect();
    for _ in 0..=chance.below(4) {
        let at = chance.below(text.len() + 1);
        let gone = (*chance.pick(&[0, 0, 0, 1, 5])).min(text.len() - at);
        let count = 1 + chance.below(3);
        let bits: String = (0..count).map(|_| bit(chance)).collect();
        text.splice(at..at + gone, bits.chars());
    }
    text.into_iter().collect()
}

fn made_up(chance: &mut Chance) -> String {
    let count = 2 + chance.below(12);
    let bits: Vec<String> = (0..count).map(|_| bit(chance)).collect();
    bits.join(*chance.pick(&["", " ", "\n"]))
}

/// Two statements: a way out before, after or within an honest script, or two of them.
fn joined(seeds: &[String], chance: &mut Chance) -> String {
    let reach = *chance.pick(&REACHES);
    match chance.below(4) {
        0 => format!("{reach}\n{}", chance.pick(seeds)),
        1 => format!("do {} end {reach}", chance.pick(seeds)),
        2 => format!("local k=KEYS[{}] {reach}", 1 + chance.below(5)),
        _ => {
            let lines: Vec<&str> = chance.pick(seeds).lines().collect();
            let at = chance.below(lines.len());
            let (before, after) = lines.split_at(at);
            format!("{}\n{reach}\n{}", before.join("\n"), after.join("\n"))
        }
    }
}

#[derive(Default)]
struct Tally {
    allowed: usize,
    compiled: usize,
    endless: usize,
    refused: BTreeMap<String, usize>,
    outside: Vec<String>,
}

/// What the server has logged since the last time it was asked: which key or command, not by whom.
fn trespasses(log: &Value) -> Vec<String> {
    items(log)
        .iter()
        .map(|entry| {
            let part = |name| {
                super::server::member(entry, name)
                    .map(text)
                    .unwrap_or_default()
            };
            format!(
                "{} `{}` in {}",
                part("reason"),
                part("object"),
                part("context")
            )
        })
        .collect()
}

#[tokio::test]
async fn scripts_touch_what_was_classified() {
    let server = Private::start().await;
    let mut administrator = server.administrator().await;
    let made: String = redis::cmd("ACL")
        .arg(&[
            "SETUSER",
            USER,
            "on",
            &format!(">{PASSWORD}"),
            "resetkeys",
            "~a",
            "~b",
            "~c",
            "~d",
            "+@all",
            "-@admin",
            "-@dangerous",
        ])
        .arg(&["+keys", "+sort", "+sort_ro", "+info"])
        .query_async(&mut administrator)
        .await
        .unwrap();
    assert_eq!(made, "OK");
    let mut script_user = server.connect(USER, PASSWORD).await;

    // The method itself: a script that reaches outside is seen, even where it hides the error.
    let outside: Value = redis::cmd("EVAL")
        .arg(&["redis.pcall('GET','x') return 1", "0"])
        .query_async(&mut script_user)
        .await
        .unwrap();
    assert_eq!(outside, Value::Int(1));
    let log: Value = redis::cmd("ACL")
        .arg("LOG")
        .query_async(&mut administrator)
        .await
        .unwrap();
    assert_eq!(trespasses(&log), ["key `x` in lua"]);
    redis::cmd("ACL")
        .arg(&["LOG", "RESET"])
        .exec_async(&mut administrator)
        .await
        .unwrap();

    let mut chance = Chance::start();
    let seeds = seeds();
    let mut tally = Tally::default();
    let count = cases(4_000);
    for number in 0..count {
        let script = match (seeds.get(number), chance.below(3)) {
            (Some(seed), _) => seed.clone(),
            (None, 0) => changed(chance.pick(&seeds).clone().as_str(), &mut chance),
            (None, 1) => made_up(&mut chance),
            (None, _) => joined(&seeds, &mut chance),
        };
        let name = if chance.one_in(8) { "EVAL_RO" } else { "EVAL" };
        let mut words = vec![name.to_owned(), script];
        words.extend(ARGUMENTS.map(str::to_owned));
        one(&words, &mut administrator, &mut script_user, &mut tally).await;
    }
    println!(
        "{count} scripts: {} allowed ({} of them compile, {} were ended), {} refused",
        tally.allowed,
        tally.compiled,
        tally.endless,
        tally.refused.values().sum::<usize>()
    );
    for (reason, count) in &tally.refused {
        println!("  {count:6} {reason}");
    }
    assert!(
        tally.outside.is_empty(),
        "outside:\n{}",
        tally.outside.join("\n")
    );
    assert!(tally.compiled * 50 > count, "too few scripts ran");
}

/// What the declared keys hold.
async fn values(administrator: &mut redis::aio::MultiplexedConnection) -> Vec<Value> {
    let mut pipeline = redis::pipe();
    for key in KEYS {
        // A key that expires meanwhile is no script's doing.
        pipeline.cmd("PERSIST").arg(key).ignore();
        pipeline.cmd("DUMP").arg(key);
    }
    pipeline.query_async(administrator).await.unwrap()
}

/// Classifies one script and, where it passes, runs it as that user.
async fn one(
    words: &[String],
    administrator: &mut redis::aio::MultiplexedConnection,
    script_user: &mut redis::aio::MultiplexedConnection,
    tally: &mut Tally,
) {
    let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
    let known = match classify(&bytes, Session::Shared) {
        // No policy vouches for a script here.
        Ok(known) if !known.scripts.is_empty() => {
            let why = Refusal::Forbidden(known.scripts[0].why.clone());
            *tally.refused.entry(super::reason(&why)).or_default() += 1;
            return;
        }
        Ok(known) => known,
        Err(refusal) => {
            *tally.refused.entry(super::reason(&refusal)).or_default() += 1;
            return;
        }
    };
    tally.allowed += 1;
    // What earlier scripts left decides which branches are taken: now something, now nothing.
    if tally.allowed.is_multiple_of(2) {
        let clear = redis::cmd("FLUSHALL").exec_async(administrator).await;
        clear.unwrap();
    }
    let before = values(administrator).await;
    let mut run = redis::Cmd::new();
    run.arg(words);
    let mut waiting = Box::pin(run.query_async::<Value>(script_user));
    let ran = match tokio::time::timeout(Duration::from_millis(SCRIPT_MS_MAX), &mut waiting).await {
        Ok(ran) => ran,
        Err(_) => {
            tally.endless += 1;
            let kill = redis::cmd("SCRIPT")
                .arg("KILL")
                .exec_async(administrator)
                .await;
            kill.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            waiting.await
        }
    };
    let compiled = !matches!(&ran, Err(error) if error.to_string().contains("compiling"));
    tally.compiled += usize::from(compiled);
    let (log, _): (Value, Value) = redis::pipe()
        .cmd("ACL")
        .arg("LOG")
        .cmd("ACL")
        .arg(&["LOG", "RESET"])
        .query_async(administrator)
        .await
        .unwrap();
    let after = values(administrator).await;
    // `SORT` converts a sorted set to its other encoding, and `DUMP` shows encodings.
    let sorts = words[1].to_ascii_lowercase().contains("sort");
    for ((key, before), after) in KEYS.iter().zip(&before).zip(&after) {
        let written = |touch: &Touch| {
            touch.object == Object::Key(key.as_bytes().to_vec()) && touch.action == Action::Write
        };
        if before != after && !sorts && !known.touches.iter().any(written) {
            tally
                .outside
                .push(format!("{:?}: changes `{key}`", words[1]));
        }
    }
    for trespass in trespasses(&log) {
        tally.outside.push(format!(
            "{:?}: {trespass}; allowed {:?}",
            words[1], known.touches
        ));
    }
}
