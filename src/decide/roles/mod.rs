//! Who may do what: the compiled `[roles.*]` and `[rate_limits.*]` sections.

use std::collections::HashMap;
use std::sync::Arc;

use super::RateLimit;
use super::glob::Glob;
use super::patterns::PatternSet;
use super::source::Place;
use super::stores::{KeySpace, ObjectId, PerStore};
use crate::operation::{Action, Store};

mod compile;
pub(super) use compile::compile;

/// The object of a grant that means all objects of the store.
const EVERY_OBJECT: &str = "*";

/// One `[[roles.NAME.grants]]`, as written and where.
#[derive(Debug)]
pub struct Grant {
    store: Store,
    objects: Vec<String>,
    actions: Vec<Action>,
    place: Place,
}

impl Grant {
    pub const fn store(&self) -> Store {
        self.store
    }

    /// Tables, collections or key patterns as the policy writes them; `*` is every one of the store's.
    pub fn objects(&self) -> &[String] {
        &self.objects
    }

    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// File, line and column of the grant.
    pub const fn place(&self) -> &Place {
        &self.place
    }
}

/// One `[roles.NAME]`.
#[derive(Debug)]
pub struct Role {
    name: String,
    description: Option<String>,
    rate_limit: Option<Arc<RateLimit>>,
    grants: Vec<Grant>,
    index: PerStore<Option<StoreGrants>>,
}

impl Role {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    pub const fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        self.rate_limit.as_ref()
    }

    /// In the order of the policy.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    pub(super) const fn in_store(&self, store: Store) -> Option<&StoreGrants> {
        self.index.get(store).as_ref()
    }

    pub(super) fn grant(&self, at: GrantIndex) -> Option<&Grant> {
        self.grants.get(at.0 as usize)
    }
}

#[cfg(test)]
impl Role {
    /// A role without grants, for the tests of the stages behind `decide`.
    pub(super) fn for_tests(name: &str, rate_limit: Option<Arc<RateLimit>>) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            rate_limit,
            grants: Vec::new(),
            index: PerStore::default(),
        }
    }
}

/// The number of a grant within its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrantIndex(u32);

/// What a role may do in one store. Exists only where there is a grant.
#[derive(Debug)]
pub(super) enum StoreGrants {
    Named(NamedGrants),
    Keys(Box<KeyGrants>),
}

#[derive(Debug, Default)]
pub(super) struct NamedGrants {
    every: ActionGrants,
    some: HashMap<ObjectId, ActionGrants>,
}

impl NamedGrants {
    /// The first grant of `action` on an object that lives in the store.
    pub(super) fn find(&self, object: ObjectId, action: Action) -> Option<GrantIndex> {
        let named = self.some.get(&object).and_then(|have| have.get(action));
        named.or_else(|| self.every.get(action))
    }

    /// Whether the role may do anything with the object.
    pub(super) fn any(&self, object: ObjectId) -> bool {
        !self.every.is_empty() || self.some.contains_key(&object)
    }
}

#[derive(Debug, Default)]
pub(super) struct KeyGrants {
    /// Granted on `*`: on every key that lives in the store.
    every: ActionGrants,
    read: PatternSet<GrantIndex>,
    write: PatternSet<GrantIndex>,
}

impl KeyGrants {
    /// The grant of `action` on one key.
    pub(super) fn key(&self, space: &KeySpace, action: Action, key: &[u8]) -> Option<GrantIndex> {
        let named = self.patterns(action)?.key(key);
        named.or_else(|| {
            let every = self.every.get(action)?;
            space.patterns.key(key).map(|()| every)
        })
    }

    /// The grant of `action` on every key that a glob can match.
    pub(super) fn keys(&self, space: &KeySpace, action: Action, glob: &[u8]) -> Option<GrantIndex> {
        let named = self.patterns(action)?.containing(glob);
        named.or_else(|| {
            let every = self.every.get(action)?;
            space.patterns.containing(glob).map(|()| every)
        })
    }

    /// An action that Redis does not have has no patterns.
    const fn patterns(&self, action: Action) -> Option<&PatternSet<GrantIndex>> {
        match action {
            Action::Read => Some(&self.read),
            Action::Write => Some(&self.write),
            Action::Select
            | Action::Find
            | Action::Insert
            | Action::Update
            | Action::Delete
            | Action::Ddl => None,
        }
    }

    fn add(&mut self, glob: &Glob, action: Action, grant: GrantIndex) {
        match action {
            Action::Read => self.read.insert(glob, grant),
            Action::Write => self.write.insert(glob, grant),
            Action::Select
            | Action::Find
            | Action::Insert
            | Action::Update
            | Action::Delete
            | Action::Ddl => {}
        }
    }
}

/// For each action the grant that gives it.
#[derive(Debug, Clone, Copy, Default)]
struct ActionGrants([Option<GrantIndex>; 8]);

impl ActionGrants {
    fn get(&self, action: Action) -> Option<GrantIndex> {
        self.0.get(action as usize).copied().flatten()
    }

    /// The grant that came first stays.
    fn add(&mut self, action: Action, grant: GrantIndex) {
        if let Some(slot) = self.0.get_mut(action as usize) {
            slot.get_or_insert(grant);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}
