//! What one or several roles may do in a store, as far as grants can say it.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::rules::{Condition, TableRules};
use crate::decide::{Policy, Role};
use crate::operation::{Action, Object, Store};

/// A table or collection: its schema or database, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub namespace: String,
    pub name: String,
}

/// Which columns of a table may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    All,
    Only(BTreeSet<Box<str>>),
    Except(BTreeSet<Box<str>>),
}

impl Columns {
    /// What a table's rules leave of it. A masked column is among them, since the sidecar reads it to mask it, and
    /// so is one that a row filter compares.
    pub fn left_by(rules: &TableRules) -> Self {
        let mut filtered = BTreeSet::new();
        rules
            .rows
            .iter()
            .for_each(|row| compared(row, &mut filtered));
        match &rules.columns {
            Some(listed) => {
                let listed = listed
                    .iter()
                    .filter(|column| rules.may_name(column))
                    .cloned();
                Self::Only(listed.chain(filtered).collect())
            }
            None => {
                let denied: BTreeSet<_> = rules.denied.difference(&filtered).cloned().collect();
                if denied.is_empty() {
                    Self::All
                } else {
                    Self::Except(denied)
                }
            }
        }
    }

    /// What either allows.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Only(a), Self::Only(b)) => Self::Only(a.union(&b).cloned().collect()),
            (Self::Except(a), Self::Except(b)) => {
                Self::Except(a.intersection(&b).cloned().collect()).normal()
            }
            (Self::Only(only), Self::Except(except)) | (Self::Except(except), Self::Only(only)) => {
                Self::Except(except.difference(&only).cloned().collect()).normal()
            }
        }
    }

    fn normal(self) -> Self {
        match self {
            Self::Except(columns) if columns.is_empty() => Self::All,
            Self::All | Self::Only(_) | Self::Except(_) => self,
        }
    }

    /// Of a table's own columns, those that may be named; `None` where it is all of them.
    pub fn among(&self, all: &[String]) -> Option<Vec<String>> {
        match self {
            Self::All => None,
            Self::Only(only) => Some(only.iter().map(ToString::to_string).collect()),
            Self::Except(except) => {
                let kept = all
                    .iter()
                    .filter(|column| !except.contains(column.as_str()));
                Some(kept.cloned().collect())
            }
        }
    }
}

fn compared(condition: &Condition, columns: &mut BTreeSet<Box<str>>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().for_each(|part| compared(part, columns));
        }
        Condition::Not(part) => compared(part, columns),
        Condition::Compare { column, .. }
        | Condition::In { column, .. }
        | Condition::IsNull { column } => {
            columns.insert(column.clone());
        }
    }
}

/// What may be done in one store.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub objects: BTreeMap<Name, BTreeMap<Action, Columns>>,
    /// Key patterns of Redis.
    pub reads: BTreeSet<String>,
    pub writes: BTreeSet<String>,
    /// Functions, by schema and name.
    pub functions: BTreeSet<Name>,
    /// Everything that lives in the store, whoever may touch it.
    pub listed: BTreeSet<Name>,
    /// Whether this is the sidecar's own account, which needs more than its callers may do.
    pub for_sidecar: bool,
    /// What an unqualified name means.
    pub default_namespace: String,
}

impl Access {
    /// Whether anything in the store is changed.
    pub fn changes(&self) -> bool {
        let mut actions = self.objects.values().flat_map(BTreeMap::keys);
        actions.any(|action| !action.is_read()) || !self.functions.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.reads.is_empty() && self.writes.is_empty()
    }
}

/// What these roles may do together.
pub fn of(policy: &Policy, roles: &[&Role], store: Store, for_sidecar: bool) -> Access {
    let default_namespace = policy.default_namespace(store).unwrap_or_default();
    let name = |written: &str| named(store, default_namespace, written);
    let mut access = Access {
        listed: policy.objects(store).into_iter().map(name).collect(),
        for_sidecar,
        default_namespace: default_namespace.to_owned(),
        ..Access::default()
    };
    for role in roles {
        let mut own = Access {
            for_sidecar,
            default_namespace: default_namespace.to_owned(),
            ..Access::default()
        };
        add(&mut own, policy, role, store);
        deny(&mut own, role, store);
        join(&mut access, own);
    }
    if !access.is_empty() {
        access.functions = policy.functions(store).into_iter().map(name).collect();
    }
    access
}

fn add(access: &mut Access, policy: &Policy, role: &Role, store: Store) {
    // A grant for certain hours would natively hold at all of them; the sidecar's account needs it then.
    let timed = access.for_sidecar;
    let grants = role.grants().iter().filter(|grant| grant.store() == store);
    for grant in grants.filter(|grant| timed || !grant.is_timed()) {
        let objects = grant.objects().iter().map(String::as_str);
        let objects: Vec<&str> = if grant.objects().iter().any(|object| object == "*") {
            policy.objects(store)
        } else {
            objects.collect()
        };
        for (object, action) in objects
            .iter()
            .flat_map(|object| grant.actions().iter().map(move |action| (object, action)))
        {
            match action {
                Action::Read => {
                    access.reads.insert((*object).to_owned());
                }
                Action::Write => {
                    access.writes.insert((*object).to_owned());
                }
                Action::Select
                | Action::Find
                | Action::Insert
                | Action::Update
                | Action::Delete
                | Action::Ddl => {
                    let name = named(store, &access.default_namespace, object);
                    let columns = columns(policy, role, store, &name);
                    let actions = access.objects.entry(name).or_default();
                    let known = actions.remove(action);
                    let columns = known.map_or(columns.clone(), |known| known.or(columns));
                    actions.insert(*action, columns);
                }
            }
        }
    }
}

/// The columns that a role may name.
fn columns(policy: &Policy, role: &Role, store: Store, name: &Name) -> Columns {
    let object = Object::named(Some(&name.namespace), &name.name);
    let rules = policy.rules(role.name(), store, &object);
    match store {
        Store::Postgres | Store::Mysql => {
            rules.map_or(Columns::All, |rules| Columns::left_by(&rules))
        }
        // Neither knows of columns: what is hidden of a document, the sidecar hides.
        Store::Mongodb | Store::Redis => Columns::All,
    }
}

/// What deny rules take away: objects, or every pattern that a denied key may match.
fn deny(access: &mut Access, role: &Role, store: Store) {
    for denial in role
        .denials()
        .iter()
        .filter(|denial| denial.store() == store)
    {
        let denied = denial.objects();
        let every = denied.iter().any(|object| object == "*");
        let names: Vec<Name> = denied
            .iter()
            .map(|object| named(store, &access.default_namespace, object))
            .collect();
        // Redis' lists cannot take a part out of a pattern: a role goes without the whole, and the sidecar, which
        // refuses the part itself, needs the rest.
        let for_sidecar = access.for_sidecar;
        let keeps = |pattern: &String| {
            let meets = |denied: &String| match for_sidecar {
                true => pattern == denied,
                false => Policy::keys_meet(pattern, denied),
            };
            !every && !denied.iter().any(meets)
        };
        for action in denial.actions() {
            match action {
                Action::Read => access.reads.retain(keeps),
                Action::Write => access.writes.retain(keeps),
                Action::Select
                | Action::Find
                | Action::Insert
                | Action::Update
                | Action::Delete
                | Action::Ddl => {
                    for (name, actions) in &mut access.objects {
                        if every || names.contains(name) {
                            actions.remove(action);
                        }
                    }
                }
            }
        }
        access.objects.retain(|_, actions| !actions.is_empty());
    }
}

/// Adds what another role may do.
fn join(access: &mut Access, other: Access) {
    access.reads.extend(other.reads);
    access.writes.extend(other.writes);
    for (name, actions) in other.objects {
        let own = access.objects.entry(name).or_default();
        for (action, columns) in actions {
            let columns = match own.remove(&action) {
                Some(known) => known.or(columns),
                None => columns,
            };
            own.insert(action, columns);
        }
    }
}

fn named(store: Store, default_namespace: &str, written: &str) -> Name {
    let (namespace, name) = match store {
        Store::Postgres | Store::Mysql => written
            .split_once('.')
            .unwrap_or((default_namespace, written)),
        Store::Mongodb | Store::Redis => (default_namespace, written),
    };
    Name {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}
