//! Redis: users with `ACL SETUSER`, and what `ACL GETUSER` and `ACL DRYRUN` say. Redis 7 is needed, whose lists tell
//! reading from writing.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use redis::{Value, from_redis_value};

use super::mend::{Mend, Others};
use super::redis_commands::{commands, is_newer, keys};
use super::{CALLERS, Difference, Error, Held, Privilege, ROLE_PREFIX, Subject, compare};

/// Commands whose permission anybody has, whatever the list says.
const ALWAYS: [&str; 4] = ["auth", "hello", "quit", "reset"];

/// A key that no policy would list, with which an account that may not read lists is tried.
const PROBE: &str = "\u{1}bulkhead-probe";

/// The commands, as words.
pub fn words(subjects: &[Subject]) -> Vec<Vec<String>> {
    let mut list = Vec::new();
    for subject in subjects {
        let mut command: Vec<String> = ["ACL", "SETUSER", &subject.name].map(str::to_owned).into();
        // The password and whether the user is on are the operator's.
        command
            .extend(["clearselectors", "resetkeys", "resetchannels", "-@all"].map(str::to_owned));
        command.extend(patterns(subject).into_iter().map(|(letter, pattern)| {
            if letter == "RW" {
                format!("~{pattern}")
            } else {
                format!("%{letter}~{pattern}")
            }
        }));
        let all = commands(&subject.access);
        let (newer, known): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|command| is_newer(command));
        command.extend(known.into_iter().map(|name| format!("+{name}")));
        list.push(command);
        for name in newer {
            let more = ["ACL", "SETUSER", &subject.name, &format!("+{name}")];
            list.push(more.map(str::to_owned).into());
        }
    }
    list
}

/// The same for `redis-cli`.
pub fn script(subjects: &[Subject]) -> String {
    let mut text = String::from(
        "# Redis 7: the policy as users. Feed it to redis-cli as an administrator, again after every change of the\n\
         # policy (the comments first taken out: grep -v '^#'). A server that does not know a newer command refuses its\n\
         # line alone. New users are off and have no password: ACL SETUSER bulkhead_callers on '>…'. COPY, SELECT,\n\
         # GEORADIUS and GEORADIUSBYMEMBER are given to nobody: Redis' lists do not keep them to their keys and database.\n",
    );
    for subject in subjects {
        for (_, pattern) in patterns_of(subject) {
            if !can_be_listed(&pattern) {
                let shown = pattern.escape_default();
                text += &format!("# {}: Redis' lists cannot hold {shown}\n", subject.name);
            }
        }
    }
    for command in words(subjects) {
        let quoted: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        text += &quoted.join(" ");
        text.push('\n');
    }
    text
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-:|@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A pattern with white space in it cannot be part of a list.
fn can_be_listed(pattern: &str) -> bool {
    !pattern.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// What each pattern is for: `R`, `W` or `RW`.
fn patterns_of(subject: &Subject) -> Vec<(&'static str, String)> {
    let (reads, writes) = keys(&subject.access);
    let all: BTreeSet<&String> = reads.union(&writes).collect();
    all.into_iter()
        .map(|pattern| {
            let letter = match (reads.contains(pattern), writes.contains(pattern)) {
                (true, true) => "RW",
                (true, false) => "R",
                (false, _) => "W",
            };
            (letter, pattern.clone())
        })
        .collect()
}

fn patterns(subject: &Subject) -> Vec<(&'static str, String)> {
    let mut all = patterns_of(subject);
    all.retain(|(_, pattern)| can_be_listed(pattern));
    all
}

fn wanted(subject: &Subject, known: &BTreeMap<String, i64>) -> BTreeSet<Privilege> {
    let mut wanted = BTreeSet::new();
    for (letter, pattern) in patterns(subject) {
        for (one, word) in [('R', "read"), ('W', "write")] {
            if letter.contains(one) {
                wanted.insert(Privilege::new(word, format!("keys {pattern}")));
            }
        }
    }
    let given = commands(&subject.access);
    // A container is given with all that it holds.
    let within = known.keys().filter(|name| name.starts_with("command|"));
    let within = within
        .filter(|_| given.contains("command"))
        .map(String::as_str);
    for command in given.iter().copied().chain(within) {
        if known.contains_key(command) && !ALWAYS.contains(&command) {
            wanted.insert(Privilege::new("run", format!("command {command}")));
        }
    }
    wanted
}

/// Compares a server with the subjects, as an administrator. May be cancelled.
pub async fn differences(
    connection: &mut MultiplexedConnection,
    subjects: &[Subject],
) -> Result<Vec<Difference>, Error> {
    let known = known_commands(connection).await?;
    let mut all = Vec::new();
    for subject in subjects {
        let mut held = listed(connection, &subject.name).await?;
        if held.exists {
            add_commands(connection, &subject.name, &known, &mut held).await?;
        }
        all.extend(compare(
            &subject.name,
            &wanted(subject, &known),
            &held,
            covers,
        ));
    }
    Ok(all)
}

/// Compares the account of this connection. Where it may not read its own list, keys are tried one by one: those of
/// the policy, and one that lives nowhere.
pub async fn own_differences(
    connection: &mut MultiplexedConnection,
    subject: &Subject,
    listed_patterns: &[String],
) -> Result<Vec<Difference>, Error> {
    let known = known_commands(connection).await?;
    let mut held = match listed(connection, &subject.name).await {
        Ok(held) => held,
        Err(_) => tried(connection, subject, listed_patterns).await?,
    };
    add_commands(connection, &subject.name, &known, &mut held).await?;
    Ok(compare(
        &subject.name,
        &wanted(subject, &known),
        &held,
        covers,
    ))
}

pub async fn whoami(connection: &mut MultiplexedConnection) -> Result<Option<String>, Error> {
    Ok(redis::cmd("ACL")
        .arg("WHOAMI")
        .query_async(connection)
        .await
        .ok())
}

/// Users that no role of the policy has; and whether anybody may do anything without logging in.
pub(super) async fn others(
    connection: &mut MultiplexedConnection,
    subjects: &[Subject],
) -> Result<Others, Error> {
    let users: Vec<String> = redis::cmd("ACL")
        .arg("USERS")
        .query_async(connection)
        .await
        .map_err(unread)?;
    let is_known = |name: &String| subjects.iter().any(|subject| subject.name == *name);
    let strays = users
        .into_iter()
        .filter(|user| user.starts_with(ROLE_PREFIX) || user == CALLERS)
        .filter(|user| !is_known(user));
    let dropped = |user: String| {
        let mend = acl(&["DELUSER", &user]);
        (user, mend)
    };
    let default = listed(connection, "default").await?;
    let open = Privilege::new("no password", "logging in");
    let off = Privilege::new("off", "logging in");
    let mut anybody = Vec::new();
    if default.privileges.contains(&open) && !default.privileges.contains(&off) {
        let what = "whatever it may do, without a password";
        anybody.push(Difference::new(
            "default",
            super::Side::Extra,
            what,
            "the server",
        ));
    }
    Ok(Others {
        strays: strays.map(dropped).collect(),
        anybody,
        ..Others::default()
    })
}

fn acl(words: &[&str]) -> Mend {
    let all: Vec<&str> = std::iter::once("ACL")
        .chain(words.iter().copied())
        .collect();
    let quoted: Vec<String> = all.iter().map(|word| quoted(word)).collect();
    Mend {
        text: quoted.join(" "),
        command: all.into(),
    }
}

/// What undoes what the script of grants leaves alone: passwords are the operator's, but none at all is nobody's.
pub(super) fn mend(found: &Difference) -> Option<Mend> {
    let is_open = found.what == "no password";
    is_open.then(|| acl(&["SETUSER", &found.subject, "resetpass"]))
}

/// What `ACL GETUSER` says, but for the commands.
async fn listed(connection: &mut MultiplexedConnection, name: &str) -> Result<Held, Error> {
    let answer: Value = redis::cmd("ACL")
        .arg("GETUSER")
        .arg(name)
        .query_async(connection)
        .await
        .map_err(unread)?;
    if answer == Value::Nil {
        return Ok(Held::default());
    }
    let fields: BTreeMap<String, Value> = from_redis_value(answer).map_err(unread)?;
    let text = |key: &str| -> String {
        let value = fields.get(key).cloned().unwrap_or(Value::Nil);
        // Lists of words in Redis 6, one text in Redis 7.
        from_redis_value::<String>(value.clone())
            .or_else(|_| from_redis_value::<Vec<String>>(value).map(|words| words.join(" ")))
            .unwrap_or_default()
    };
    let mut held = Held {
        exists: true,
        ..Held::default()
    };
    for pattern in text("keys").split_whitespace() {
        add_pattern(&mut held, pattern);
    }
    for channel in text("channels").split_whitespace() {
        let on = format!("channels {}", channel.trim_start_matches('&'));
        held.privileges
            .insert(Privilege::new("publish and subscribe", on));
    }
    let flags: Vec<String> = match fields.get("flags") {
        Some(flags) => from_redis_value(flags.clone()).map_err(unread)?,
        None => Vec::new(),
    };
    if flags.iter().any(|flag| flag == "nopass") {
        held.privileges
            .insert(Privilege::new("no password", "logging in"));
    }
    if name == "default" && flags.iter().any(|flag| flag == "off") {
        held.privileges.insert(Privilege::new("off", "logging in"));
    }
    let selectors = match fields.get("selectors") {
        Some(Value::Array(selectors)) => selectors.len(),
        Some(_) | None => 0,
    };
    if selectors > 0 {
        let what = format!("{selectors} more sets of rules (selectors)");
        held.privileges.insert(Privilege::new(what, "the server"));
    }
    Ok(held)
}

fn add_pattern(held: &mut Held, written: &str) {
    let (letters, pattern) = match written
        .strip_prefix('%')
        .and_then(|rest| rest.split_once('~'))
    {
        Some((letters, pattern)) => (letters.to_ascii_uppercase(), pattern),
        None => ("RW".to_owned(), written.trim_start_matches('~')),
    };
    for (letter, word) in [('R', "read"), ('W', "write")] {
        if letters.contains(letter) {
            held.privileges
                .insert(Privilege::new(word, format!("keys {pattern}")));
        }
    }
}

/// Tries keys with `ACL DRYRUN`: a pattern counts as held where its own text, taken as a key, may be read.
async fn tried(
    connection: &mut MultiplexedConnection,
    subject: &Subject,
    listed_patterns: &[String],
) -> Result<Held, Error> {
    let mut held = Held {
        exists: true,
        ..Held::default()
    };
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let own = patterns_of(subject).into_iter().map(|(_, pattern)| pattern);
    for pattern in own.chain(listed_patterns.iter().cloned()) {
        keys.insert(example(&pattern), pattern);
    }
    keys.insert(PROBE.to_owned(), "*".to_owned());
    for (key, pattern) in keys {
        for (command, word) in [("EXISTS", "read"), ("UNLINK", "write")] {
            let mut dry = redis::cmd("ACL");
            dry.arg("DRYRUN").arg(&subject.name).arg(command).arg(&key);
            let answer: String = dry.query_async(connection).await.map_err(no_dry_run)?;
            if answer == "OK" {
                held.privileges
                    .insert(Privilege::new(word, format!("keys {pattern}")));
            }
        }
    }
    Ok(held)
}

/// A key that a pattern matches, where it has no classes.
fn example(pattern: &str) -> String {
    pattern.replace(['*', '?'], "x").replace('\\', "")
}

/// Tries every command that the server has.
async fn add_commands(
    connection: &mut MultiplexedConnection,
    name: &str,
    known: &BTreeMap<String, i64>,
    held: &mut Held,
) -> Result<(), Error> {
    let mut pipeline = redis::pipe();
    let mut asked = Vec::new();
    for (command, arity) in known {
        if ALWAYS.contains(&command.as_str()) {
            continue;
        }
        let mut words: Vec<&str> = command.split('|').collect();
        let count = usize::try_from(arity.unsigned_abs())
            .unwrap_or(1)
            .max(words.len());
        words.resize(count, "1");
        pipeline.cmd("ACL").arg("DRYRUN").arg(name).arg(&words);
        asked.push(command);
    }
    let answers: Vec<Value> = pipeline.query_async(connection).await.map_err(no_dry_run)?;
    for (command, answer) in asked.into_iter().zip(answers) {
        let answer = from_redis_value::<String>(answer).unwrap_or_default();
        // It is denied for the command itself, or, the command being allowed, for the keys that we made up.
        if !answer.contains(" to run ") {
            held.privileges
                .insert(Privilege::new("run", format!("command {command}")));
        }
    }
    Ok(())
}

/// Every command and subcommand, with the number of its words.
async fn known_commands(
    connection: &mut MultiplexedConnection,
) -> Result<BTreeMap<String, i64>, Error> {
    let answer: Value = redis::cmd("COMMAND")
        .query_async(connection)
        .await
        .map_err(unread)?;
    let mut known = BTreeMap::new();
    add_known(&answer, &mut known);
    Ok(known)
}

fn add_known(list: &Value, known: &mut BTreeMap<String, i64>) {
    let Value::Array(list) = list else { return };
    for entry in list {
        let Value::Array(fields) = entry else {
            continue;
        };
        let (Some(name), Some(Value::Int(arity))) = (fields.first(), fields.get(1)) else {
            continue;
        };
        let Ok(name) = from_redis_value::<String>(name.clone()) else {
            continue;
        };
        // A container is nothing without its subcommands, but `COMMAND` alone is a command too.
        match fields.get(9) {
            Some(Value::Array(subcommands)) if !subcommands.is_empty() => {
                add_known(&Value::Array(subcommands.clone()), known);
                if name == "command" {
                    known.insert(name, *arity);
                }
            }
            Some(_) | None => {
                known.insert(name, *arity);
            }
        }
    }
}

fn covers(held: &Held, wanted: &Privilege) -> bool {
    wanted.on.starts_with("keys ")
        && held
            .privileges
            .contains(&Privilege::new(wanted.what.clone(), "keys *"))
}

fn unread(error: impl std::fmt::Display) -> Error {
    Error::Read(error.to_string())
}

fn no_dry_run(error: redis::RedisError) -> Error {
    Error::Read(format!(
        "{error}: the account needs `+acl|dryrun` (Redis 7) to say what it may do"
    ))
}
