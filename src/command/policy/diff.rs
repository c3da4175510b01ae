//! `bulkhead policy diff OLD NEW`: what is newly allowed or denied, to whom, on what; and which recorded requests
//! would be decided otherwise. Ends with 0 where nothing differs and with 1 where something does, as `diff` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::request::caller;
use super::{DiffArgs, Exit, Format, report};
use crate::decide::rules::Bounds;
use crate::decide::{Grant, Policy, Role};
use crate::native::access::{self, Columns};
use crate::operation::{Operation, Payload, Store};
use crate::record::requests::Recorded;

/// Recorded requests of one kind that are shown.
const REQUESTS_MAX: usize = 1000;

/// Which way something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Allowed,
    Denied,
    /// Neither more nor less, but other.
    Changed,
}

impl Change {
    const fn sign(self) -> char {
        match self {
            Self::Allowed => '+',
            Self::Denied => '-',
            Self::Changed => '~',
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Line {
    /// `None` where it concerns every role.
    role: Option<String>,
    store: Option<&'static str>,
    object: String,
    change: Change,
    what: String,
}

/// A recorded request that the two policies decide otherwise.
#[derive(Debug, Serialize)]
struct Turned {
    change: Change,
    count: u64,
    role: String,
    store: String,
    touches: Vec<String>,
    before: &'static str,
    after: &'static str,
}

pub(super) fn run(
    old: &Policy,
    new: &Policy,
    args: &DiffArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let lines = differences(old, new);
    let turned = match &args.replay {
        None => Vec::new(),
        Some(path) => match replay(old, new, path) {
            Ok(turned) => turned,
            Err(reason) => {
                writeln!(errors, "error: {reason}")?;
                return Ok(Exit::Usage);
            }
        },
    };
    match args.format {
        Format::Json => {
            let answer = json!({
                "old": old.digest(), "new": new.digest(), "same": lines.is_empty(),
                "differences": lines, "requests": turned,
            });
            report::json_line(output, &answer)?;
        }
        Format::Text => print(&lines, &turned, args.replay.is_some(), output)?,
    }
    let same = lines.is_empty() && turned.is_empty();
    Ok(if same { Exit::Done } else { Exit::No })
}

fn print(
    lines: &[Line],
    turned: &[Turned],
    replayed: bool,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut role = None;
    for line in lines {
        if role != Some(&line.role) {
            let name = line.role.as_deref();
            writeln!(
                output,
                "{}",
                name.map_or("every role".to_owned(), |name| format!("role {name}"))
            )?;
            role = Some(&line.role);
        }
        let store = line
            .store
            .map(|store| format!("{store} "))
            .unwrap_or_default();
        writeln!(
            output,
            "  {} {store}{}: {}",
            line.change.sign(),
            line.object,
            line.what
        )?;
    }
    if lines.is_empty() {
        writeln!(output, "the two policies allow the same")?;
    }
    for turned in turned {
        writeln!(
            output,
            "{} {} recorded: role {} in {}, {}: {} before, {} after",
            turned.change.sign(),
            turned.count,
            turned.role,
            turned.store,
            turned.touches.join(" "),
            turned.before,
            turned.after
        )?;
    }
    if replayed && turned.is_empty() {
        writeln!(output, "no recorded request would be decided otherwise")?;
    }
    Ok(())
}

/// Everything in which two policies differ.
fn differences(old: &Policy, new: &Policy) -> Vec<Line> {
    let mut lines = Vec::new();
    for store in Store::ALL {
        let namespace = |policy: &Policy| policy.default_namespace(store).map(str::to_owned);
        if namespace(old) != namespace(new) {
            let shown = |space: Option<String>| space.unwrap_or_else(|| "nothing".to_owned());
            let what = format!(
                "means `{}`, before `{}`",
                shown(namespace(new)),
                shown(namespace(old))
            );
            lines.push(for_all(
                store,
                "an unqualified name".to_owned(),
                Change::Changed,
                what,
            ));
        }
        compare_names(
            store,
            &old.objects(store),
            &new.objects(store),
            "lives here",
            &mut lines,
        );
        compare_names(
            store,
            &old.functions(store),
            &new.functions(store),
            "may be called",
            &mut lines,
        );
    }
    let names = |policy: &Policy| -> BTreeSet<String> {
        policy
            .roles()
            .iter()
            .map(|role| role.name().to_owned())
            .collect()
    };
    for name in names(old).union(&names(new)) {
        match (old.role(name), new.role(name)) {
            (Some(before), Some(after)) => {
                let limits = (limit(before), limit(after));
                if limits.0 != limits.1 {
                    lines.push(Line {
                        role: Some(name.clone()),
                        store: None,
                        object: "rate limit".to_owned(),
                        change: Change::Changed,
                        what: format!("{}, before {}", limits.1, limits.0),
                    });
                }
            }
            (Some(_), None) => lines.push(existence(name, Change::Denied, "removed")),
            (None, Some(role)) => lines.push(existence(
                name,
                Change::Allowed,
                &format!("added, {}", limit(role)),
            )),
            (None, None) => {}
        }
        for store in Store::ALL {
            compare_role(store, name, old, new, &mut lines);
        }
        if let (Some(before), Some(after)) = (old.role(name), new.role(name)) {
            compare_demands(name, before, after, &mut lines);
        }
    }
    lines.sort();
    lines
}

fn for_all(store: Store, object: String, change: Change, what: String) -> Line {
    Line {
        role: None,
        store: Some(store.as_str()),
        object,
        change,
        what,
    }
}

fn existence(role: &str, change: Change, what: &str) -> Line {
    Line {
        role: Some(role.to_owned()),
        store: None,
        object: "the role itself".to_owned(),
        change,
        what: what.to_owned(),
    }
}

fn limit(role: &Role) -> String {
    let limits: Vec<_> = role
        .rate_limits()
        .iter()
        .map(|limit| limit.to_string())
        .collect();
    match limits.as_slice() {
        [] => "no rate limit".to_owned(),
        some => some.join("; "),
    }
}

fn compare_names(store: Store, old: &[&str], new: &[&str], what: &str, lines: &mut Vec<Line>) {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (old.iter().copied().collect(), new.iter().copied().collect());
    for name in new.difference(&old) {
        lines.push(for_all(
            store,
            (*name).to_owned(),
            Change::Allowed,
            what.to_owned(),
        ));
    }
    for name in old.difference(&new) {
        lines.push(for_all(
            store,
            (*name).to_owned(),
            Change::Denied,
            format!("{what} no more"),
        ));
    }
}

/// What a role may do in a store, thing by thing, and with which columns.
fn granted(policy: &Policy, role: &str, store: Store) -> BTreeMap<(String, &'static str), Columns> {
    let Some(role) = policy.role(role) else {
        return BTreeMap::new();
    };
    let access = access::of(policy, &[role], store, false);
    let mut granted = BTreeMap::new();
    for (name, actions) in &access.objects {
        let object = if name.namespace == access.default_namespace {
            name.name.clone()
        } else {
            format!("{}.{}", name.namespace, name.name)
        };
        for (action, columns) in actions {
            granted.insert((object.clone(), action.as_str()), columns.clone());
        }
    }
    for (patterns, word) in [(&access.reads, "read"), (&access.writes, "write")] {
        for pattern in patterns {
            granted.insert((pattern.clone(), word), Columns::All);
        }
    }
    granted
}

fn compare_role(store: Store, role: &str, old: &Policy, new: &Policy, lines: &mut Vec<Line>) {
    let (before, after) = (granted(old, role, store), granted(new, role, store));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (change, what) = match (before.get(key), after.get(key)) {
            (None, Some(_)) => (Change::Allowed, key.1.to_owned()),
            (Some(_), None) => (Change::Denied, key.1.to_owned()),
            (Some(a), Some(b)) if a != b => (
                Change::Changed,
                format!("{} of {}, before {}", key.1, columns(b), columns(a)),
            ),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        lines.push(Line {
            role: Some(role.to_owned()),
            store: Some(store.as_str()),
            object: key.0.clone(),
            change,
            what,
        });
    }
}

/// What a role's grants demand, what is denied to it, its mode and bounds: as text, since there is no more and less.
fn demands(role: &Role) -> BTreeSet<(Option<&'static str>, String, String)> {
    let mut demands = BTreeSet::new();
    demands.insert((None, "mode".to_owned(), role.mode().as_str().to_owned()));
    if role.bounds() != Bounds::default() {
        demands.insert((None, "bounds".to_owned(), format!("{:?}", role.bounds())));
    }
    let objects = |grant: &Grant| grant.objects().join(", ");
    let actions = |grant: &Grant| {
        let names = grant.actions().iter().map(|action| action.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    for grant in role.grants() {
        let store = Some(grant.store().as_str());
        if !grant.rules().is_empty() || grant.bounds() != Bounds::default() {
            let what = format!("{:?} {:?}", grant.rules(), grant.bounds());
            let what = format!("rules of {}: {what}", actions(grant));
            demands.insert((store, objects(grant), what));
        }
        if grant.is_timed() {
            let what = format!("{} at {}", actions(grant), grant.hours_in_words());
            demands.insert((store, objects(grant), what));
        }
    }
    for denial in role.denials() {
        let what = format!("deny {}", actions(denial));
        demands.insert((Some(denial.store().as_str()), objects(denial), what));
    }
    demands
}

fn compare_demands(role: &str, old: &Role, new: &Role, lines: &mut Vec<Line>) {
    let (before, after) = (demands(old), demands(new));
    for (set, other, word) in [(&after, &before, "now"), (&before, &after, "no more")] {
        for (store, object, what) in set.difference(other) {
            lines.push(Line {
                role: Some(role.to_owned()),
                store: *store,
                object: object.clone(),
                change: Change::Changed,
                what: format!("{word}: {what}"),
            });
        }
    }
}

fn columns(columns: &Columns) -> String {
    let list = |columns: &BTreeSet<Box<str>>| {
        columns
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<&str>>()
            .join(", ")
    };
    match columns {
        Columns::All => "every column".to_owned(),
        Columns::Only(only) => format!("the columns {}", list(only)),
        Columns::Except(except) => format!("every column but {}", list(except)),
    }
}

/// Decides every recorded request under both policies.
fn replay(old: &Policy, new: &Policy, path: &Path) -> Result<Vec<Turned>, String> {
    let file = fs::File::open(path)
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let mut turned: BTreeMap<(String, String, Vec<String>), Turned> = BTreeMap::new();
    let now = Timestamp::now();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let odd = |error: String| format!("{}:{}: {error}", path.display(), number + 1);
        let line = line.map_err(|error| odd(error.to_string()))?;
        let recorded: Recorded =
            serde_json::from_str(&line).map_err(|error| odd(error.to_string()))?;
        let Some((store, classification)) = recorded.classification() else {
            continue;
        };
        let touches: Vec<String> = classification
            .touches
            .iter()
            .map(|touch| format!("{}:{}", touch.action, touch.object))
            .collect();
        let asked = Operation {
            store,
            classification: Arc::new(classification),
            payload: Payload::Sql("".into()),
        };
        let caller = caller(&recorded.role, None);
        let decide = |policy: &Policy| {
            let outcome = policy.allows(&caller, &asked, now);
            outcome
                .err()
                .map_or("allow", |refusal| refusal.0.code.as_str())
        };
        let (before, after) = (decide(old), decide(new));
        if before == after {
            continue;
        }
        let change = match (before, after) {
            (_, "allow") => Change::Allowed,
            ("allow", _) => Change::Denied,
            _ => Change::Changed,
        };
        let key = (
            recorded.role.clone(),
            recorded.store.clone(),
            touches.clone(),
        );
        if turned.len() >= REQUESTS_MAX && !turned.contains_key(&key) {
            continue;
        }
        let entry = turned.entry(key).or_insert(Turned {
            change,
            count: 0,
            role: recorded.role,
            store: recorded.store,
            touches,
            before,
            after,
        });
        entry.count += 1;
    }
    Ok(turned.into_values().collect())
}
