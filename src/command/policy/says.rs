//! What a policy says of one role, so flat that two of them can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::decide::{Clause, Grant, Policy, Role};
use crate::operation::{Action, Object, Store};

/// When something is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// In these windows.
    At(BTreeSet<String>),
}

impl When {
    fn of(grant: &Grant) -> Self {
        if grant.is_timed() {
            Self::At(grant.hours().map(str::to_owned).collect())
        } else {
            Self::Always
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Always, _) | (_, Self::Always) => Self::Always,
            (Self::At(one), Self::At(other)) => Self::At(&one | &other),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::At(windows) => {
                let windows: Vec<&str> = windows.iter().map(String::as_str).collect();
                f.write_str(&windows.join(" and "))
            }
        }
    }
}

/// A thing in a store, as the policy writes it.
pub(super) type Thing = (Store, String);

/// All that a policy says of one role; nothing, where it has no such role.
#[derive(Debug, Default)]
pub(super) struct Says {
    pub(super) granted: BTreeMap<(Thing, Action), When>,
    /// What deny rules take, whatever is granted.
    pub(super) denied: BTreeMap<Thing, BTreeSet<Action>>,
    /// What is demanded of a thing, and of the role as a whole (`None`), by key.
    pub(super) demands: BTreeMap<(Option<Thing>, &'static str), String>,
}

impl Says {
    pub(super) fn of(policy: &Policy, name: &str) -> Self {
        let mut says = Self::default();
        let Some(role) = policy.role(name) else {
            return says;
        };
        says.of_role(role);
        for grant in role.grants() {
            says.grant(policy, role, grant);
        }
        for denial in role.denials() {
            says.deny(policy, denial);
        }
        says
    }

    fn of_role(&mut self, role: &Role) {
        let mut own = |key, value: String| self.demands.insert((None, key), value);
        own("mode", role.mode().as_str().to_owned());
        let limits: Vec<String> = role
            .rate_limits()
            .iter()
            .map(|limit| format!("\"{}\" ({limit})", limit.name))
            .collect();
        if !limits.is_empty() {
            own("rate_limits", limits.join(" and "));
        }
        for Clause { key, value } in role.clauses() {
            own(key, value.to_string());
        }
    }

    fn grant(&mut self, policy: &Policy, role: &Role, grant: &Grant) {
        for thing in things(policy, grant) {
            for action in grant.actions() {
                let when = When::of(grant);
                let key = (thing.clone(), *action);
                let known = self.granted.remove(&key);
                let when = known.map_or(when.clone(), |known| known.or(when));
                self.granted.insert(key, when);
            }
            let object = object(&thing);
            let (clauses, _) = policy.demanded_of(role.name(), grant.store(), &object);
            for Clause { key, value } in clauses {
                let demand = (Some(thing.clone()), key);
                self.demands.insert(demand, value.to_string());
            }
        }
    }

    fn deny(&mut self, policy: &Policy, denial: &Grant) {
        for thing in things(policy, denial) {
            for action in denial.actions() {
                self.granted.remove(&(thing.clone(), *action));
            }
            let actions = denial.actions().iter().copied();
            self.denied.entry(thing).or_default().extend(actions);
        }
    }
}

/// What a grant or deny rule is about, `*` spelled out.
fn things(policy: &Policy, grant: &Grant) -> Vec<Thing> {
    let store = grant.store();
    let every = grant.objects().iter().any(|object| object == "*");
    let objects: Vec<&str> = if every {
        policy.objects(store)
    } else {
        grant.objects().iter().map(String::as_str).collect()
    };
    let thing = |object: &str| (store, own_name(policy, store, object).to_owned());
    objects.into_iter().map(thing).collect()
}

/// A name without the schema or database that it has anyway.
pub(super) fn own_name<'o>(policy: &Policy, store: Store, object: &'o str) -> &'o str {
    match store {
        Store::Postgres | Store::Mysql => policy
            .default_namespace(store)
            .and_then(|space| object.strip_prefix(space)?.strip_prefix('.'))
            .unwrap_or(object),
        Store::Mongodb | Store::Redis => object,
    }
}

fn object((store, name): &Thing) -> Object {
    match store {
        Store::Postgres | Store::Mysql => match name.split_once('.') {
            Some((namespace, name)) => Object::named(Some(namespace), name),
            None => Object::named(None, name),
        },
        Store::Mongodb => Object::named(None, name),
        Store::Redis => Object::Keys(name.clone().into_bytes()),
    }
}
