//! Which keys a command has, and whether it reads or writes them.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead::classify::{Session, redis::classify};
use bulkhead::operation::{Action, Classification, Object};
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::chance::{Chance, cases};
use super::generate::{Described, changed, corpus, described, invocation, runs_scripts};
use super::server::{PASSWORD, Private, items, text, user_for};

const USER: &str = "dry";
/// Commands that are asked about in one round trip.
const BATCH: usize = 200;

/// Scripts that are named by a digest touch what they declare, as the server sees it too.
const BY_DIGEST: [&str; 4] = [
    "EVALSHA 5332031c6b470dc5a0dd9b4bf2030dea6d65de91 2 k1 k2 k3 v",
    "EVALSHA 5332031C6B470DC5A0DD9B4BF2030DEA6D65DE91 0 k1",
    "EVALSHA_RO 5332031c6b470dc5a0dd9b4bf2030dea6d65de91 1 k1 k2",
    "SCRIPT EXISTS 5332031c6b470dc5a0dd9b4bf2030dea6d65de91",
];

type Touched = BTreeSet<(String, Action)>;

/// What the server says of a command.
enum Answer {
    Keys(Touched),
    /// It has none, or its arguments are not what it takes.
    NoKeys,
}

fn answer(reply: &Value) -> Answer {
    if matches!(reply, Value::ServerError(_)) {
        return Answer::NoKeys;
    }
    let mut touched = Touched::new();
    for pair in items(reply) {
        let parts = items(pair);
        let key = text(&parts[0]);
        let flags: Vec<String> = items(&parts[1])
            .iter()
            .map(|flag| text(flag).to_ascii_lowercase())
            .collect();
        let any = |names: &[&str]| flags.iter().any(|flag| names.contains(&flag.as_str()));
        if any(&["not_key"]) {
            continue;
        }
        let writes = any(&["insert", "update", "delete"]);
        if writes {
            touched.insert((key.clone(), Action::Write));
        }
        if any(&["access"]) || !writes {
            touched.insert((key, Action::Read));
        }
    }
    Answer::Keys(touched)
}

/// The keys that are named; patterns are judged apart.
fn named(classification: &Classification) -> Touched {
    let touches = classification.touches.iter();
    touches
        .filter_map(|touch| match &touch.object {
            Object::Key(key) => Some((String::from_utf8_lossy(key).into_owned(), touch.action)),
            Object::Keys(_) => None,
            Object::Named { .. } => panic!("{touch:?}"),
        })
        .collect()
}

#[derive(Default)]
struct Tally {
    exact: usize,
    stricter: usize,
    invalid: usize,
    dry_runs: usize,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn judge(
        &mut self,
        words: &[String],
        known: &Classification,
        reply: &Value,
        dry: Option<&Value>,
    ) {
        let ours = named(known);
        match answer(reply) {
            Answer::NoKeys if ours.is_empty() => self.exact += 1,
            Answer::NoKeys => self.invalid += 1,
            Answer::Keys(theirs) if theirs == ours => self.exact += 1,
            Answer::Keys(theirs) => {
                let missed: Vec<_> = theirs.difference(&ours).collect();
                let known_to_both = |key: &String| theirs.iter().any(|(theirs, _)| theirs == key);
                // Redis' own list stops at the first STORE of a GEORADIUS; the command obeys all of them.
                // Of several STOREs of a SORT it obeys the last; we ask for all of them.
                let name = words[0].to_ascii_lowercase();
                let more_than_listed = name.starts_with("georadius") || name == "sort";
                let invented = ours.iter().any(|(key, _)| !known_to_both(key));
                if !missed.is_empty() || invented && !more_than_listed {
                    self.wrong
                        .push(format!("{words:?}: ours {ours:?}, the server's {theirs:?}"));
                } else {
                    self.stricter += 1;
                }
            }
        }
        if let Some(dry) = dry {
            self.dry_runs += 1;
            let told = text(dry);
            if told.contains("permission") {
                self.wrong.push(format!("{words:?}: with {ours:?}: {told}"));
            }
        }
    }

    fn report(&self, cases: usize) {
        println!(
            "{cases} commands: {} exact, {} stricter than the server's flags, {} understood that the server \
             finds malformed, {} refused; {} dry runs",
            self.exact,
            self.stricter,
            self.invalid,
            self.refused.values().sum::<usize>(),
            self.dry_runs
        );
        for (reason, count) in &self.refused {
            println!("  {count:6} {reason}");
        }
        assert!(
            self.wrong.is_empty(),
            "{} wrong:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
        assert!(
            self.exact * 4 > cases,
            "the generator makes too little that is understood"
        );
    }
}

/// Classifies a batch and asks the server about what was understood, in one pipeline.
async fn batch(
    commands: &[Vec<String>],
    administrator: &mut MultiplexedConnection,
    tally: &mut Tally,
) {
    let mut asked = Vec::new();
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for words in commands {
        let bytes: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
        let known = match classify(&bytes, Session::Own) {
            Ok(known) => known,
            Err(refusal) => {
                *tally.refused.entry(super::reason(&refusal)).or_default() += 1;
                continue;
            }
        };
        pipeline.cmd("COMMAND").arg("GETKEYSANDFLAGS").arg(words);
        let user = user_for(USER, &known.touches);
        let dry = user.is_some();
        if let Some(user) = user {
            pipeline.add_command(user);
            pipeline.cmd("ACL").arg("DRYRUN").arg(USER).arg(words);
        }
        asked.push((words, known, dry));
    }
    if asked.is_empty() {
        return;
    }
    let replies: Vec<Value> = pipeline.query_async(administrator).await.unwrap();
    let mut replies = replies.iter();
    for (words, known, dry) in asked {
        let keys = replies.next().unwrap();
        let dry = dry.then(|| {
            let made = replies.next().unwrap();
            assert_eq!(text(made), "OK", "{words:?}");
            replies.next().unwrap()
        });
        tally.judge(words, &known, keys, dry);
    }
}

#[tokio::test]
async fn keys_and_access_are_what_the_server_says() {
    let server = Private::start().await;
    let mut administrator = server.administrator().await;
    let docs: Value = redis::cmd("COMMAND")
        .arg("DOCS")
        .query_async(&mut administrator)
        .await
        .unwrap();
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(USER)
        .arg("on")
        .arg(format!(">{PASSWORD}"))
        .arg("+@all")
        .arg("&*")
        .exec_async(&mut administrator)
        .await
        .unwrap();
    let mut known: Vec<Described> = Vec::new();
    described(&docs, &mut known);
    assert!(known.len() > 250, "{} described", known.len());
    let mut seeds = corpus();
    seeds.retain(|words| !words.is_empty() && !runs_scripts(&words[0]));
    assert!(seeds.len() > 50, "{} in the corpus", seeds.len());
    seeds.extend(BY_DIGEST.map(|words| words.split(' ').map(str::to_owned).collect()));

    let mut chance = Chance::start();
    let mut commands = seeds.clone();
    let count = cases(6_000);
    while commands.len() < count {
        let described = &known[commands.len() % known.len()];
        commands.push(invocation(described, &mut chance));
        if chance.one_in(3) {
            commands.push(changed(chance.pick(&seeds).as_slice(), &mut chance));
        }
    }
    let mut tally = Tally::default();
    for commands in commands.chunks(BATCH) {
        batch(commands, &mut administrator, &mut tally).await;
    }
    tally.report(commands.len());
}
