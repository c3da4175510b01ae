//! A compiled `[rate_limits.NAME]`: what it counts, for whom, and what it does while Redis is away.

use std::fmt;

use crate::operation::{Action, Classification, Store};

/// Limits that one role may name: all of them are asked in one step.
pub const LIMITS_PER_ROLE_MAX: usize = 8;

/// Redis' keys of the counts begin with this; who may write them has no limit.
pub const COUNTS_KEY_PREFIX: &str = "ratelimit:bulkhead:";

/// A whole share, in millionths.
pub const WHOLE_SHARE_PPM: u32 = 1_000_000;

/// One `[rate_limits.NAME]` entry. It has a rate, a bound on what is in flight, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub name: String,
    pub rate: Option<PolicyRate>,
    /// Requests in flight at once for each key or role, in one sidecar.
    pub concurrent: Option<u32>,
    /// Whether each key or the whole role is counted.
    pub per: Per,
    pub scope: Scope,
    /// Counts what it would refuse, and refuses nothing.
    pub shadow: bool,
}

/// So much in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyRate {
    /// Requests in each `period_ms`; a statement counts as many as it costs.
    pub requests: u32,
    pub period_ms: u64,
    /// How many requests may come at once.
    pub burst: u32,
    pub mode: CountMode,
    pub on_redis_failure: OnRedisFailure,
    /// This sidecar's part of the limit while it counts for itself, in millionths.
    pub share_ppm: u32,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    Key,
    Role,
}

/// How sidecars count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountMode {
    /// Redis is asked for every request.
    Exact,
    /// A sidecar takes a small slice ahead of need.
    Leased,
}

/// What becomes of a request while Redis does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnRedisFailure {
    /// This sidecar counts for itself, its share of the limit.
    Local,
    /// Everything is admitted.
    Open,
    /// Everything is refused.
    Closed,
}

/// What a limit covers, and what each statement costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    stores: [bool; 4],
    /// `None` covers whatever is done, also statements that touch nothing.
    actions: Option<[bool; 8]>,
    cost: [u32; 8],
}

/// How many requests a share of a burst admits at once, before it is raised to what a statement costs.
pub fn share_of(burst: u64, share_ppm: u32) -> u64 {
    // In a wide number: a large burst times a million passes 64 bits.
    let share = u128::from(burst) * u128::from(share_ppm) / u128::from(WHOLE_SHARE_PPM);
    u64::try_from(share).unwrap_or(u64::MAX).max(1)
}

/// What a statement costs that touches nothing, or does what the policy gives no cost.
pub const PLAIN_COST: u32 = 1;

impl Default for Scope {
    fn default() -> Self {
        Self {
            stores: [true; 4],
            actions: None,
            cost: [PLAIN_COST; 8],
        }
    }
}

impl Scope {
    pub(crate) fn only_stores(&mut self, stores: &[Store]) {
        self.stores = [false; 4];
        for store in stores {
            if let Some(covered) = self.stores.get_mut(*store as usize) {
                *covered = true;
            }
        }
    }

    pub(crate) fn only_actions(&mut self, actions: &[Action]) {
        let mut only = [false; 8];
        for action in actions {
            if let Some(covered) = only.get_mut(*action as usize) {
                *covered = true;
            }
        }
        self.actions = Some(only);
    }

    pub(crate) fn set_cost(&mut self, action: Action, cost: u32) {
        if let Some(known) = self.cost.get_mut(action as usize) {
            *known = cost;
        }
    }

    /// What a statement costs: the most that one of the covered things it does costs. 0: it is not covered.
    pub fn cost(&self, store: Store, classification: &Classification) -> u32 {
        if self.stores.get(store as usize) != Some(&true) {
            return 0;
        }
        let touches = classification.touches.iter();
        let covered = touches.filter(|touch| self.covers(touch.action));
        let costs = covered.filter_map(|touch| self.cost.get(touch.action as usize).copied());
        match (costs.max(), &self.actions) {
            (Some(cost), _) => cost,
            (None, None) => PLAIN_COST,
            // It does something else. What calls a listed function may do anything.
            (None, Some(_)) if classification.functions.is_empty() => 0,
            (None, Some(_)) => PLAIN_COST,
        }
    }

    /// The most that one statement costs.
    pub fn cost_max(&self) -> u32 {
        let costs = self.cost.iter().enumerate();
        let covered = |at: usize| (self.actions).is_none_or(|only| only.get(at) == Some(&true));
        let costs = costs.filter(|(at, _)| covered(*at)).map(|(_, cost)| *cost);
        costs.fold(PLAIN_COST, u32::max)
    }

    fn covers(&self, action: Action) -> bool {
        self.actions
            .is_none_or(|actions| actions.get(action as usize) == Some(&true))
    }
}

impl Per {
    pub const ALL: [Self; 2] = [Self::Key, Self::Role];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Role => "role",
        }
    }
}

impl CountMode {
    pub const ALL: [Self; 2] = [Self::Exact, Self::Leased];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Leased => "leased",
        }
    }
}

impl OnRedisFailure {
    pub const ALL: [Self; 3] = [Self::Local, Self::Open, Self::Closed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for RateLimit {
    /// As the policy writes it, without its name: `requests = 600, per = "1m", burst = 100`. What is as it would be where
    /// it is left out is left out. A new key does not compile until it has its words here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name: _,
            rate,
            concurrent,
            per,
            scope,
            shadow,
        } = self;
        let mut words = rate.as_ref().map_or_else(Vec::new, words_of_rate);
        words.extend(concurrent.map(|concurrent| format!("concurrent = {concurrent}")));
        match per {
            Per::Key => {}
            Per::Role => words.push("per_what = \"role\"".to_owned()),
        }
        words.extend(words_of_scope(scope));
        if *shadow {
            words.push("shadow = true".to_owned());
        }
        f.write_str(&words.join(", "))
    }
}

fn words_of_rate(rate: &PolicyRate) -> Vec<String> {
    let PolicyRate {
        requests,
        period_ms,
        burst,
        mode,
        on_redis_failure,
        share_ppm,
    } = rate;
    let mut words = vec![
        format!("requests = {requests}"),
        format!("per = \"{}\"", span(*period_ms)),
        format!("burst = {burst}"),
    ];
    if *mode != CountMode::Leased {
        words.push(format!("mode = \"{}\"", mode.as_str()));
    }
    if *on_redis_failure != OnRedisFailure::Local {
        words.push(format!(
            "on_redis_failure = \"{}\"",
            on_redis_failure.as_str()
        ));
    }
    if *share_ppm != WHOLE_SHARE_PPM {
        let share = f64::from(*share_ppm) / f64::from(WHOLE_SHARE_PPM);
        words.push(format!("share = {share}"));
    }
    words
}

fn words_of_scope(scope: &Scope) -> Vec<String> {
    let Scope {
        stores,
        actions,
        cost,
    } = scope;
    let all = [
        Action::Select,
        Action::Find,
        Action::Read,
        Action::Insert,
        Action::Update,
        Action::Delete,
        Action::Ddl,
        Action::Write,
    ];
    let list = |names: Vec<&str>| format!("[\"{}\"]", names.join("\", \""));
    let mut words = Vec::new();
    if *stores != [true; 4] {
        let covered = Store::ALL.into_iter();
        let covered = covered.filter(|store| stores.get(*store as usize) == Some(&true));
        let names = covered.map(Store::as_str).collect();
        words.push(format!("stores = {}", list(names)));
    }
    if let Some(only) = actions {
        let covered = all.into_iter();
        let covered = covered.filter(|action| only.get(*action as usize) == Some(&true));
        let names = covered.map(Action::as_str).collect();
        words.push(format!("actions = {}", list(names)));
    }
    let costs = all.into_iter().filter_map(|action| {
        let cost = cost.get(action as usize)?;
        (*cost != PLAIN_COST).then(|| format!("{action} = {cost}"))
    });
    let costs: Vec<_> = costs.collect();
    if !costs.is_empty() {
        words.push(format!("cost = {{ {} }}", costs.join(", ")));
    }
    words
}

/// A span of time in the largest unit that says it without a fraction.
fn span(ms: u64) -> String {
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms > 0 && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Object;

    fn doing(actions: &[Action], functions: &[&str]) -> Classification {
        let mut classification = Classification::default();
        for action in actions {
            classification.touch(Object::named(None, "t"), *action);
        }
        classification.functions = functions.iter().map(ToString::to_string).collect();
        classification
    }

    #[test]
    fn a_statement_costs_the_most_of_what_it_does() {
        use Action::{Insert, Select, Update};
        let all = Scope::default();
        let mut inserts = Scope::default();
        inserts.only_stores(&[Store::Mysql, Store::Mongodb]);
        inserts.only_actions(&[Insert, Update]);
        inserts.set_cost(Insert, 5);
        type Case<'c> = (&'c Scope, Store, &'c [Action], &'c [&'c str], u32);
        let cases: [Case<'_>; 9] = [
            (&all, Store::Mysql, &[Select], &[], 1),
            (&all, Store::Redis, &[], &[], 1),
            (&inserts, Store::Mysql, &[Select], &[], 0),
            (&inserts, Store::Mysql, &[Select, Insert], &[], 5),
            (&inserts, Store::Mysql, &[Update], &[], 1),
            (&inserts, Store::Mysql, &[Update, Insert], &[], 5),
            (&inserts, Store::Postgres, &[Insert], &[], 0),
            (&inserts, Store::Mysql, &[], &[], 0),
            // A listed function may do anything, and so it is counted.
            (&inserts, Store::Mysql, &[Select], &["f"], 1),
        ];
        for (scope, store, actions, functions, expected) in cases {
            let classification = doing(actions, functions);
            assert_eq!(
                scope.cost(store, &classification),
                expected,
                "{store} {actions:?}"
            );
        }
        // What is not counted costs nothing here, whatever the policy says.
        inserts.set_cost(Action::Delete, 9);
        assert_eq!([all.cost_max(), inserts.cost_max()], [1, 5]);
    }

    #[test]
    fn spans_have_the_largest_unit() {
        for (ms, expected) in [
            (500, "500ms"),
            (1000, "1s"),
            (90_000, "90s"),
            (60_000, "1m"),
            (86_400_000, "24h"),
        ] {
            assert_eq!(span(ms), expected);
        }
    }
}
