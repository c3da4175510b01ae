//! `bulkhead policy diff OLD NEW`: what is newly allowed or denied, to whom, on what; and which recorded requests
//! would be decided otherwise. Ends with 0 where nothing differs and with 1 where something does, as `diff` does.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

use super::replay::{self, Replayed};
use super::says::{Says, Thing, When};
use super::{DiffArgs, Exit, Format, report};
use crate::decide::Policy;
use crate::decide::rules::Mode;
use crate::operation::{Action, Store};

/// Which way something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Allowed,
    Denied,
    /// Neither more nor less, but other.
    Changed,
}

impl Change {
    pub(super) const fn sign(self) -> char {
        match self {
            Self::Allowed => '+',
            Self::Denied => '-',
            Self::Changed => '~',
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Line {
    /// `None` where it concerns every role.
    role: Option<String>,
    store: Option<&'static str>,
    /// `None` where it concerns the role, or the store, as a whole.
    object: Option<String>,
    /// An action, or the key of the policy that differs.
    about: String,
    change: Change,
    before: Option<String>,
    after: Option<String>,
    #[serde(skip)]
    form: Form,
}

/// How a difference is put into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// `select at mon-fri 08:00-18:00 UTC, before always`
    Action,
    /// `max_rows = 5, before 10`
    Clause,
    /// `deny select insert, before nothing`
    Deny,
    /// `lives here no more`
    Plain,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.change.sign())?;
        let place = [self.store, self.object.as_deref()];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(" "))?;
        }
        let about = &self.about;
        let before = self.before.as_deref();
        let was = before.unwrap_or("nothing");
        match (self.form, before, self.after.as_deref()) {
            (Form::Action, Some(before), Some(after)) => {
                write!(f, "{about} {after}, before {before}")
            }
            (Form::Action, Some("always"), None) | (Form::Action, None, Some("always")) => {
                f.write_str(about)
            }
            (Form::Action, Some(when), None) | (Form::Action, None, Some(when)) => {
                write!(f, "{about} {when}")
            }
            (Form::Clause, _, Some(after)) => write!(f, "{about} = {after}, before {was}"),
            (Form::Clause | Form::Deny, _, None) => write!(f, "no {about}, before {was}"),
            (Form::Deny, _, Some(after)) => write!(f, "{about} {after}, before {was}"),
            (Form::Plain, _, Some(what)) | (Form::Plain, Some(what), None) => f.write_str(what),
            (Form::Action | Form::Plain, None, None) => f.write_str(about),
        }
    }
}

pub(super) fn run(
    old: &Policy,
    new: &Policy,
    args: &DiffArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let lines = differences(old, new);
    let replayed = match replay::all(old, new, &args.replay) {
        Ok(replayed) => replayed,
        Err(reason) => {
            writeln!(errors, "error: {reason}")?;
            return Ok(Exit::Usage);
        }
    };
    match args.format {
        Format::Json => {
            let answer = json!({
                "old": old.digest(), "new": new.digest(), "same": lines.is_empty(),
                "differences": lines, "requests": replayed.turned, "replayed": replayed.read,
                "not_understood": replayed.not_understood, "left_out": replayed.left_out,
            });
            report::json_line(output, &answer)?;
        }
        Format::Text => print(&lines, &replayed, !args.replay.is_empty(), output)?,
    }
    let same = lines.is_empty() && replayed.turned.is_empty();
    Ok(if same { Exit::Done } else { Exit::No })
}

fn print(
    lines: &[Line],
    replayed: &Replayed,
    has_replayed: bool,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut role = None;
    for line in lines {
        if role != Some(&line.role) {
            match &line.role {
                Some(name) => writeln!(output, "role {name}")?,
                None => writeln!(output, "every role")?,
            }
            role = Some(&line.role);
        }
        writeln!(output, "  {line}")?;
    }
    if lines.is_empty() {
        writeln!(output, "the two policies allow the same")?;
    }
    if has_replayed {
        write!(output, "{replayed}")?;
    }
    Ok(())
}

/// Everything in which two policies differ.
fn differences(old: &Policy, new: &Policy) -> Vec<Line> {
    let mut lines = Vec::new();
    for store in Store::ALL {
        compare_store(store, old, new, &mut lines);
    }
    if let Some(how) = new.mask_salt_since(old) {
        // Neither salt is told: who knows one can try values out.
        let what = format!("mask_salt {how}: columns masked with \"hash\" show other values");
        lines.push(plain(None, None, "mask_salt", Change::Changed, what));
    }
    let roles = old.roles().into_iter().chain(new.roles());
    let names: BTreeSet<&str> = roles.map(|role| role.name()).collect();
    for name in names {
        compare_role(name, old, new, &mut lines);
    }
    lines.sort();
    lines
}

fn plain(
    store: Option<Store>,
    object: Option<&str>,
    about: &str,
    change: Change,
    what: String,
) -> Line {
    let (before, after) = match change {
        Change::Denied => (Some(what), None),
        Change::Allowed | Change::Changed => (None, Some(what)),
    };
    Line {
        role: None,
        store: store.map(Store::as_str),
        object: object.map(str::to_owned),
        about: about.to_owned(),
        change,
        before,
        after,
        form: Form::Plain,
    }
}

/// Where things live, and what may be called.
fn compare_store(store: Store, old: &Policy, new: &Policy, lines: &mut Vec<Line>) {
    let (key, functions) = match store {
        Store::Postgres | Store::Mysql => ("tables", "functions"),
        Store::Mongodb => ("collections", "functions"),
        Store::Redis => ("keys", "scripts"),
    };
    let space = |policy: &Policy| policy.default_namespace(store).map(str::to_owned);
    let (before, after) = (space(old), space(new));
    if before != after {
        let space = if store == Store::Postgres {
            "schema"
        } else {
            "database"
        };
        lines.push(Line {
            form: Form::Clause,
            before,
            after,
            ..plain(Some(store), None, space, Change::Changed, String::new())
        });
    }
    let names = [
        (key, old.objects(store), new.objects(store), "lives here"),
        (
            functions,
            old.functions(store),
            new.functions(store),
            "may be called",
        ),
    ];
    for (about, before, after, what) in names {
        let (before, after): (BTreeSet<&str>, BTreeSet<&str>) =
            (before.into_iter().collect(), after.into_iter().collect());
        let added = after.difference(&before);
        lines.extend(added.map(|name| {
            let what = what.to_owned();
            plain(Some(store), Some(name), about, Change::Allowed, what)
        }));
        let removed = before.difference(&after);
        lines.extend(removed.map(|name| {
            let what = format!("{what} no more");
            plain(Some(store), Some(name), about, Change::Denied, what)
        }));
    }
}

fn compare_role(name: &str, old: &Policy, new: &Policy, lines: &mut Vec<Line>) {
    let from = lines.len();
    let existence = match (old.role(name), new.role(name)) {
        (Some(_), None) => Some((Change::Denied, "the role is removed")),
        (None, Some(_)) => Some((Change::Allowed, "the role is added")),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some((change, what)) = existence {
        lines.push(plain(None, None, "role", change, what.to_owned()));
    }
    let (before, after) = (Says::of(old, name), Says::of(new, name));
    compare_grants(&before, &after, lines);
    compare_denials(&before, &after, lines);
    compare_demands(&before, &after, lines);
    for line in lines.iter_mut().skip(from) {
        line.role = Some(name.to_owned());
    }
}

fn of_thing(thing: Option<&Thing>, about: &str, change: Change, form: Form) -> Line {
    let line = plain(
        thing.map(|(store, _)| *store),
        thing.map(|(_, name)| name.as_str()),
        about,
        change,
        String::new(),
    );
    Line { form, ..line }
}

fn compare_grants(before: &Says, after: &Says, lines: &mut Vec<Line>) {
    let keys: BTreeSet<_> = before.granted.keys().chain(after.granted.keys()).collect();
    for key @ (thing, action) in keys {
        let (was, is) = (before.granted.get(key), after.granted.get(key));
        let change = match (was, is) {
            (None, Some(_)) => Change::Allowed,
            (Some(_), None) => Change::Denied,
            (Some(When::At(_)), Some(When::Always)) => Change::Allowed,
            (Some(When::Always), Some(When::At(_))) => Change::Denied,
            (Some(was), Some(is)) if was != is => Change::Changed,
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let mut line = of_thing(Some(thing), action.as_str(), change, Form::Action);
        (line.before, line.after) = (was.map(When::to_string), is.map(When::to_string));
        // A key pattern within one that was, or is, granted as well changes nothing by itself.
        let (says, how) = match change {
            Change::Allowed => (before, "as before within"),
            Change::Denied | Change::Changed => (after, "still within"),
        };
        if let (true, Some(wider)) = (was.is_none() || is.is_none(), wider(says, thing, *action)) {
            line.form = Form::Plain;
            line.change = Change::Changed;
            line.after = Some(format!("{action} {how} {wider}"));
        }
        lines.push(line);
    }
}

/// A key pattern that is always granted and that has all keys of another.
fn wider<'s>(says: &'s Says, (store, name): &Thing, action: Action) -> Option<&'s str> {
    if *store != Store::Redis {
        return None;
    }
    let mut granted = says.granted.iter();
    let found = granted.find(|(((other, wider), granted), when)| {
        *other == Store::Redis
            && *granted == action
            && **when == When::Always
            && Policy::keys_within(name, wider)
    });
    found.map(|(((_, wider), _), _)| wider.as_str())
}

fn compare_denials(before: &Says, after: &Says, lines: &mut Vec<Line>) {
    let things: BTreeSet<_> = before.denied.keys().chain(after.denied.keys()).collect();
    let none = BTreeSet::new();
    for thing in things {
        let was = before.denied.get(thing).unwrap_or(&none);
        let is = after.denied.get(thing).unwrap_or(&none);
        if was == is {
            continue;
        }
        let change = match (was.is_subset(is), is.is_subset(was)) {
            (true, _) => Change::Denied,
            (false, true) => Change::Allowed,
            (false, false) => Change::Changed,
        };
        let words = |actions: &BTreeSet<Action>| {
            let names: Vec<&str> = actions.iter().map(|action| action.as_str()).collect();
            (!names.is_empty()).then(|| names.join(" "))
        };
        let mut line = of_thing(Some(thing), "deny", change, Form::Deny);
        (line.before, line.after) = (words(was), words(is));
        lines.push(line);
    }
}

fn compare_demands(before: &Says, after: &Says, lines: &mut Vec<Line>) {
    let keys: BTreeSet<_> = before.demands.keys().chain(after.demands.keys()).collect();
    for key @ (thing, about) in keys {
        let (was, is) = (before.demands.get(key), after.demands.get(key));
        if was == is {
            continue;
        }
        let shadow = Mode::Shadow.as_str();
        let change = match (*about, was.map(String::as_str), is.map(String::as_str)) {
            ("mode", _, Some(mode)) if mode == shadow => Change::Allowed,
            ("mode", Some(mode), _) if mode == shadow => Change::Denied,
            // A role that comes or goes has the mode that all have.
            ("mode", None, _) | ("mode", _, None) => continue,
            (_, _, _) => Change::Changed,
        };
        let mut line = of_thing(thing.as_ref(), about, change, Form::Clause);
        (line.before, line.after) = (was.cloned(), is.cloned());
        lines.push(line);
    }
}
