//! Who may do what: the compiled `[roles.*]` and `[rate_limits.*]` sections.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::RateLimit;
use super::glob::Glob;
use super::hours::Hours;
use super::patterns::PatternSet;
use super::rules::{Audited, Bounds, Mode, TableRules};
use super::source::Place;
use super::stores::{KeySpace, ObjectId, PerStore, StoreObjects};
use super::words::{self, Clause};
use crate::operation::{Action, Object, Store, Touch};

mod compile;
mod demands;
mod denials;
pub(super) use compile::compile;
pub(super) use demands::warn_of_plain_hashes;
use denials::Denials;

/// The object of a grant that means all objects of the store.
const EVERY_OBJECT: &str = "*";

/// One `[[roles.NAME.grants]]`, or one `[[roles.NAME.deny]]`, as written and where.
#[derive(Debug)]
pub struct Grant {
    store: Store,
    objects: Vec<String>,
    actions: Vec<Action>,
    place: Place,
    rules: TableRules,
    bounds: Bounds,
    hours: Vec<Hours>,
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

    /// What it demands of columns and rows; nothing, for most.
    pub const fn rules(&self) -> &TableRules {
        &self.rules
    }

    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What it demands, in the policy's words.
    pub fn clauses(&self) -> Vec<Clause> {
        let mut clauses = words::of_rules(&self.rules, self.bounds);
        if self.is_timed() {
            let windows: Vec<toml::Value> = self.hours().map(Into::into).collect();
            clauses.push(Clause::new("hours", windows));
        }
        clauses
    }

    /// When it holds, in the policy's words; none where it always does.
    pub fn hours(&self) -> impl Iterator<Item = &str> {
        self.hours.iter().map(Hours::as_str)
    }

    /// The same as one text: `mon-fri 08:00-18:00 UTC, sat 10:00-12:00 UTC`.
    pub fn hours_in_words(&self) -> String {
        self.hours().collect::<Vec<_>>().join(", ")
    }

    /// Whether it holds at certain times alone.
    pub const fn is_timed(&self) -> bool {
        !self.hours.is_empty()
    }

    fn holds(&self, now: Timestamp) -> bool {
        self.hours.is_empty() || self.hours.iter().any(|hours| hours.contain(now))
    }
}

/// One `[roles.NAME]`.
#[derive(Debug, Default)]
pub struct Role {
    name: String,
    description: Option<String>,
    rate_limits: Vec<Arc<RateLimit>>,
    mode: Mode,
    /// For whatever it asks.
    bounds: Bounds,
    grants: Vec<Grant>,
    denials: Vec<Grant>,
    /// The grants that always hold.
    index: PerStore<Option<StoreGrants>>,
    /// Those that hold at certain times.
    timed: Vec<TimedGrant>,
    /// What overrides all grants.
    denied: PerStore<Denials>,
    /// What all grants on an object together demand.
    demands: PerStore<HashMap<ObjectId, Demands>>,
}

/// A grant that holds at certain times, with an index of its own.
#[derive(Debug)]
struct TimedGrant {
    at: GrantIndex,
    store: Store,
    index: StoreGrants,
}

/// What the grants on one object demand, and which they are.
#[derive(Debug, Default)]
pub(super) struct Demands {
    pub(super) rules: Arc<TableRules>,
    pub(super) bounds: Bounds,
    pub(super) grants: Vec<GrantIndex>,
}

/// What a role's grants and deny rules say about one touch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Allowance<'r> {
    By(GrantIndex),
    DeniedBy(&'r Grant),
    NotGranted,
}

impl Role {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// In the order of the policy.
    pub fn rate_limits(&self) -> &[Arc<RateLimit>] {
        &self.rate_limits
    }

    /// In the order of the policy.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// In the order of the policy.
    pub fn denials(&self) -> &[Grant] {
        &self.denials
    }

    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The most that is audited of anything in a store.
    pub(super) fn audited_in(&self, store: Store) -> Audited {
        let grants = self.grants.iter().filter(|grant| grant.store == store);
        let most = grants.map(|grant| grant.bounds.audited).max();
        most.unwrap_or_default().max(self.bounds.audited)
    }

    /// Bounds of whatever the role asks.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What is said of the role as a whole beside its mode and rate limit, in the policy's words.
    pub fn clauses(&self) -> Vec<Clause> {
        words::of_bounds(self.bounds)
    }

    /// Whether anything is granted in the store at this time.
    pub(super) fn is_known_in(&self, store: Store, now: Timestamp) -> bool {
        self.index.get(store).is_some()
            || (self.timed.iter()).any(|timed| timed.store == store && self.holds(timed.at, now))
    }

    /// Whether anything is granted on the object, at any time.
    pub(super) fn knows(&self, store: Store, object: ObjectId) -> bool {
        let timed = self.timed.iter().filter(|timed| timed.store == store);
        let timed = timed.map(|timed| &timed.index);
        let mut all = self.index.get(store).iter().chain(timed);
        all.any(|grants| match grants {
            StoreGrants::Named(named) => named.any(object),
            StoreGrants::Keys(_) => false,
        })
    }

    /// Whether a touch of the store is allowed: by a grant, and denied by no rule.
    pub(super) fn allowance(
        &self,
        store: Store,
        objects: &StoreObjects,
        touch: &Touch,
        now: Timestamp,
    ) -> Allowance<'_> {
        let denied = self.denied.get(store);
        if !denied.is_empty()
            && let Some(at) = denied.find(objects, touch)
            && let Some(denial) = self.denials.get(at.0 as usize)
        {
            return Allowance::DeniedBy(denial);
        }
        let always = self.index.get(store).as_ref();
        if let Some(at) = always.and_then(|grants| grants.allowing(objects, touch)) {
            return Allowance::By(at);
        }
        for timed in &self.timed {
            if timed.store == store
                && self.holds(timed.at, now)
                && let Some(at) = timed.index.allowing(objects, touch)
            {
                return Allowance::By(at);
            }
        }
        Allowance::NotGranted
    }

    fn holds(&self, at: GrantIndex, now: Timestamp) -> bool {
        self.grant(at).is_some_and(|grant| grant.holds(now))
    }

    /// The grants that would allow a touch at another time.
    pub(super) fn at_other_times<'r>(
        &'r self,
        store: Store,
        objects: &'r StoreObjects,
        touch: &'r Touch,
    ) -> impl Iterator<Item = &'r Grant> {
        let timed = self.timed.iter().filter(move |timed| timed.store == store);
        timed.filter_map(|timed| self.grant(timed.index.allowing(objects, touch)?))
    }

    /// The grants of a store that hold at certain times.
    pub(super) fn timed_in(&self, store: Store) -> impl Iterator<Item = &Grant> {
        let timed = self.timed.iter().filter(move |timed| timed.store == store);
        timed.filter_map(|timed| self.grant(timed.at))
    }

    /// What the grants of a store demand by object; empty for most.
    pub(super) const fn demands(&self, store: Store) -> &HashMap<ObjectId, Demands> {
        self.demands.get(store)
    }

    /// Whether some grant demands something of columns or rows in a store.
    pub(super) fn hides(&self, store: Store) -> bool {
        self.demands(store)
            .values()
            .any(|demands| demands.rules.hides())
    }

    pub(super) fn grant(&self, at: GrantIndex) -> Option<&Grant> {
        self.grants.get(at.0 as usize)
    }
}

#[cfg(test)]
impl Role {
    /// A role without grants, for the tests of the stages behind `decide`.
    pub(crate) fn for_tests(name: &str, rate_limits: Vec<Arc<RateLimit>>) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            rate_limits,
            ..Self::default()
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

impl StoreGrants {
    /// The grant that allows a touch.
    fn allowing(&self, objects: &StoreObjects, touch: &Touch) -> Option<GrantIndex> {
        match (objects, self, &touch.object) {
            (
                StoreObjects::Named(named),
                Self::Named(grants),
                Object::Named { namespace, name },
            ) => {
                let id = named.objects.find(namespace.as_deref(), name)?;
                grants.find(id, touch.action)
            }
            (StoreObjects::Keys(space), Self::Keys(grants), Object::Key(key)) => {
                grants.key(space, touch.action, key)
            }
            (StoreObjects::Keys(space), Self::Keys(grants), Object::Keys(glob)) => {
                grants.keys(space, touch.action, glob)
            }
            (StoreObjects::Named(_), Self::Named(_), Object::Key(_) | Object::Keys(_))
            | (StoreObjects::Keys(_), Self::Keys(_), Object::Named { .. })
            | (StoreObjects::Named(_), Self::Keys(_), _)
            | (StoreObjects::Keys(_), Self::Named(_), _) => None,
        }
    }
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
