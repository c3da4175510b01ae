//! The statements that bring a server from what it grants to what the policy does.
//!
//! What the printed script sets anew (the policy's roles, and the account that it is given) needs no more than being
//! run again. Beside it stand here: roles that the policy no longer has, accounts that hold one of ours and may do
//! more, and what no script of grants touches: memberships, ownership, attributes, the server's own objects.

use serde_json::{Value, json};

use super::{Difference, Privilege, Side, Subject, mongodb, mysql, postgres, redis};
use crate::operation::Store;

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Mend {
    /// For the store's own shell.
    pub text: String,
    /// For programs: SQL text, MongoDB's command for the database `admin`, Redis' words.
    pub command: Value,
}

impl Mend {
    pub(super) fn sql(text: String) -> Self {
        Self {
            command: Value::String(text.clone()),
            text,
        }
    }
}

/// How a server differs from the policy, and what mends it.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    pub differences: Vec<Difference>,
    /// What is to be run before the script of grants.
    pub mends: Vec<Mend>,
}

/// What an administrator sees on a server beside the subjects.
#[derive(Debug, Clone, Default)]
pub(super) struct Others {
    /// Native roles that no role of the policy has, each with what drops it.
    pub(super) strays: Vec<(String, Mend)>,
    /// Accounts that hold one of ours.
    pub(super) holders: Vec<String>,
    /// Roles of others that somebody holds, each with what takes it away.
    pub(super) memberships: Vec<(String, Mend)>,
    /// Differences that no statement of ours mends.
    pub(super) anybody: Vec<Difference>,
    /// What everybody may do, so that taking it from one does nothing, each with what takes it from all.
    pub(super) public: Vec<(Privilege, Mend)>,
}

/// Puts together what was found. `scripted` are the subjects that the script sets anew.
pub(super) fn put_together(
    store: Store,
    mut differences: Vec<Difference>,
    others: Others,
    scripted: &[Subject],
) -> Comparison {
    let mut mends: Vec<Mend> = Vec::new();
    let mut add = |mend: &Mend| {
        if !mends.contains(mend) {
            mends.push(mend.clone());
        }
        Some(mend.text.clone())
    };
    let is_scripted = |name: &str| scripted.iter().any(|one| one.name == name);
    let by_script: Vec<Difference> = differences
        .iter()
        .filter(|found| is_scripted(&found.subject))
        .cloned()
        .collect();
    for found in differences
        .iter_mut()
        .filter(|found| found.side == Side::Extra)
    {
        let is_same = |one: &Difference| one.what == found.what && one.on == found.on;
        let mut memberships = others.memberships.iter();
        let membership = memberships.find(|(member, _)| *member == found.subject);
        let mut public = others.public.iter();
        let public = public.find(|(held, _)| held.what == found.what && held.on == found.on);
        found.mend = match (store, public, membership) {
            (_, Some((_, mend)), _) => add(mend),
            // MySQL ends at a statement that takes from an account what it has by a role.
            (Store::Mysql, None, Some((_, mend))) => add(mend),
            (Store::Mysql, None, None) if by_script.iter().any(is_same) => None,
            (Store::Mysql, None, None) => mysql::mend(found).as_ref().and_then(&mut add),
            (Store::Postgres, None, _) => {
                let mend = postgres::mend(found, is_scripted(&found.subject));
                mend.or_else(|| membership.map(|(_, mend)| mend.clone()))
                    .as_ref()
                    .and_then(&mut add)
            }
            (Store::Mongodb, None, _) => None,
            (Store::Redis, None, _) => redis::mend(found).as_ref().and_then(&mut add),
        };
    }
    let has_more = |name: &String| {
        let mut all = differences.iter();
        all.any(|found| found.side == Side::Extra && found.subject == *name)
    };
    for (_, mend) in others.memberships.iter().filter(|(name, _)| has_more(name)) {
        add(mend);
    }
    for (stray, mend) in &others.strays {
        let on = "the server: the policy has no such role";
        differences.push(Difference {
            mend: add(mend),
            ..Difference::new(stray, Side::Extra, "existence", on)
        });
    }
    differences.extend(others.anybody);
    Comparison { differences, mends }
}

/// Everything to run, for the store's own shell and for programs.
pub fn script(store: Store, subjects: &[Subject], compared: &Comparison) -> (String, Value) {
    let differs = |name: &str| {
        let mut all = compared.differences.iter();
        all.any(|found| found.subject == name)
    };
    let is_scripted = |name: &str| subjects.iter().any(|subject| subject.name == name);
    let comment = match store {
        Store::Postgres | Store::Mysql => "--",
        Store::Mongodb => "//",
        Store::Redis => "#",
    };
    let mut text = String::new();
    let by_script = |found: &Difference| {
        let mut all = compared.differences.iter();
        all.any(|one| is_scripted(&one.subject) && (&one.what, &one.on) == (&found.what, &found.on))
    };
    let left = compared.differences.iter();
    let left = left.filter(|found| found.mend.is_none() && !by_script(found));
    for found in left {
        let shown = found.to_string().replace(char::is_control, " ");
        text += &format!("{comment} left to you: {shown}\n");
    }
    let mends: Vec<&str> = compared
        .mends
        .iter()
        .map(|mend| mend.text.as_str())
        .collect();
    let mends = mends.join("\n");
    if !mends.is_empty() {
        text += &match store {
            Store::Postgres => format!("BEGIN;\n{mends}\nCOMMIT;\n"),
            Store::Mysql | Store::Mongodb | Store::Redis => format!("{mends}\n"),
        };
    }
    let mut commands: Vec<Value> = (compared.mends.iter())
        .map(|mend| mend.command.clone())
        .collect();
    let changed: Vec<Subject> = subjects
        .iter()
        .filter(|one| differs(&one.name))
        .cloned()
        .collect();
    if !changed.is_empty() {
        match store {
            // What `PUBLIC` may do is everybody's, so the whole is set anew.
            Store::Postgres => text += &postgres::script(subjects),
            Store::Mysql => text += &mysql::script(&changed),
            Store::Mongodb => {
                text += &mongodb::script(&changed);
                commands.extend(mongodb::updates(&changed, &compared.differences));
            }
            Store::Redis => {
                text += &redis::script(&changed);
                commands.extend(redis::words(&changed).into_iter().map(Value::from));
            }
        }
    }
    match store {
        Store::Postgres | Store::Mysql => {
            let whole = (!text.is_empty()).then(|| text.clone());
            (text, json!(whole.into_iter().collect::<Vec<_>>()))
        }
        Store::Mongodb | Store::Redis => (text, commands.into()),
    }
}
