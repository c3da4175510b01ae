//! Policy file → compiled policy → [`Permit`] or [`Refusal`]. Pure: no IO, no clock, no async.
//!
//! [`Policy::compile`] takes the text of the policy's files and either gives a policy in which every name was
//! looked up, or every fault of every file. Deciding is then a few hash look-ups, whatever the size of the
//! policy. The order in which refusals are reported stands in `judge.rs`; the format in `policies/README.md`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::authenticate::Principal;
use crate::classify::normal::{Normal, normal};
use crate::error::{Problem, PublicError};
use crate::operation::{Object, Operation, Payload, Store};

mod source;
pub use source::{Place, PolicyFile, digest};

mod fault;
pub use fault::{Fault, PolicyFaults, Severity};

mod raw;
mod read;
mod toml_tree;

mod condition;
mod hours;

pub mod limits;
pub use limits::RateLimit;

mod cases;
pub use cases::{Case, CaseRequest, Expectation};

mod glob;
mod patterns;
mod roles;
mod stores;
pub use roles::{Grant, Role};

mod schema;
pub use schema::schema;

pub mod restrict;
pub mod rules;

mod words;
pub use words::Clause;

mod judge;
pub use judge::{TouchVerdict, Verdict};

mod explanation;
pub use explanation::{Audience, Explanation, Judgement, TouchExplained};

use fault::Faults;
use judge::Judged;
use restrict::{Circumstances, Kept, Rewritings, Shadow};
use rules::{Audited, Bounds};
use source::Sources;
use stores::{PerStore, StoreObjects};

/// A compiled policy, immutable; a reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    stores: PerStore<Option<StoreObjects>>,
    roles: HashMap<String, Arc<Role>>,
    mask_salt: MaskSalt,
    digest: Arc<str>,
    rewritings: Rewritings,
    warnings: Vec<Fault>,
}

/// What is hashed before a masked value. Who knows it can try values out, so that it does not print.
#[derive(Default)]
struct MaskSalt(String);

impl MaskSalt {
    fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for MaskSalt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskSalt(…)")
    }
}

/// What [`Policy::explain`] is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub caller: &'a Principal,
    pub operation: &'a Operation,
    pub now: Timestamp,
}

impl Policy {
    /// Compiles the files of one policy, merged. Fails with every fault of all of them.
    pub fn compile(files: &[PolicyFile]) -> Result<Self, PolicyFaults> {
        let sources = Sources::new(files);
        let mut faults = Faults::new(sources.clone());
        let mut raw = read::read(&sources, files.len(), &mut faults);
        let stores = stores::compile(&raw.stores, &mut faults);
        roles::warn_of_plain_hashes(&raw, &mut faults);
        let mask_salt = raw.mask_salt.take().map(|salt| MaskSalt(salt.value));
        let roles = roles::compile(raw, &stores, &mut faults);
        Ok(Self {
            stores,
            roles,
            mask_salt: mask_salt.unwrap_or_default(),
            digest: source::digest(files).into(),
            rewritings: Rewritings::default(),
            warnings: faults.finish()?,
        })
    }

    /// Judges one classified operation for one caller, and makes it keep the rules of what it touches. The only
    /// place where a [`Permit`] is made.
    pub fn decide(
        &self,
        caller: &Arc<Principal>,
        mut operation: Operation,
        circumstances: &Circumstances<'_>,
    ) -> Result<Permit, Refusal> {
        let allowed = self.judge(Judged {
            role: &caller.role,
            store: operation.store,
            classification: &operation.classification,
            now: circumstances.now,
        })?;
        let Kept {
            payload,
            bounds,
            shadow,
            hides,
        } = self.keep(&allowed, caller, &operation, circumstances)?;
        let (role, rule) = (Arc::clone(allowed.role), allowed.rule);
        let asked = payload.map(|payload| std::mem::replace(&mut operation.payload, payload));
        let granted = Granted {
            operation,
            asked,
            policy: Arc::clone(&self.digest),
            caller: Arc::clone(caller),
            role,
            rule,
            bounds,
            shadow,
            hides,
        };
        Ok(Permit {
            granted: Box::new(granted),
        })
    }

    /// Whether the grants allow what an operation is known to touch so far. More may be found to be touched before
    /// it is decided.
    pub fn allows(
        &self,
        caller: &Principal,
        operation: &Operation,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let asked = Judged {
            role: &caller.role,
            store: operation.store,
            classification: &operation.classification,
            now,
        };
        self.judge(asked).map(drop)
    }

    /// Whether a role has column rules or row filters in a SQL store, for which its columns must be known.
    pub fn needs_columns(&self, role: &str, store: Store) -> bool {
        match store {
            Store::Postgres | Store::Mysql => {
                self.roles.get(role).is_some_and(|role| role.hides(store))
            }
            Store::Mongodb | Store::Redis => false,
        }
    }

    /// What an unqualified name means in `store`: its schema or database; `None` for Redis and for a store
    /// the policy does not name.
    pub fn default_namespace(&self, store: Store) -> Option<&str> {
        match self.stores.get(store) {
            Some(StoreObjects::Named(named)) => Some(named.objects.default_namespace()),
            Some(StoreObjects::Keys(_)) | None => None,
        }
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(Arc::as_ref)
    }

    /// By name.
    pub fn roles(&self) -> Vec<&Role> {
        let mut roles: Vec<&Role> = self.roles.values().map(Arc::as_ref).collect();
        roles.sort_by_key(|role| role.name());
        roles
    }

    /// The tables, collections or key patterns that live in `store`, as the policy writes them.
    pub fn objects(&self, store: Store) -> Vec<&str> {
        match self.stores.get(store) {
            Some(StoreObjects::Named(named)) => named.written.iter().map(String::as_str).collect(),
            Some(StoreObjects::Keys(space)) => space.globs.iter().map(|g| g.0.as_str()).collect(),
            None => Vec::new(),
        }
    }

    /// The functions that statements may call in `store`, as the policy writes them; in Redis, scripts by digest.
    pub fn functions(&self, store: Store) -> Vec<&str> {
        match self.stores.get(store) {
            Some(StoreObjects::Named(named)) => {
                let functions = named.functions_written.iter();
                functions.map(String::as_str).collect()
            }
            Some(StoreObjects::Keys(space)) => {
                let mut scripts: Vec<&str> = space.scripts.iter().map(AsRef::as_ref).collect();
                scripts.sort_unstable();
                scripts
            }
            None => Vec::new(),
        }
    }

    /// SHA-256 in hexadecimal; the same on every sidecar that has the same policy.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The version of the format.
    pub const fn version(&self) -> u32 {
        read::POLICY_VERSION
    }

    /// What the policy says without effect.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

/// Proof that the policy allows this operation for this caller.
///
/// Whoever holds one may read it:
///
/// ```
/// fn store(permit: &bulkhead::decide::Permit) -> bulkhead::operation::Store {
///     permit.operation().store
/// }
/// ```
///
/// Nobody else can make or change one:
///
/// ```compile_fail,E0451
/// fn forge() -> bulkhead::decide::Permit {
///     bulkhead::decide::Permit { granted: loop {} }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    /// It is handed from stage to stage, so it is short.
    granted: Box<Granted>,
}

#[derive(Debug)]
struct Granted {
    operation: Operation,
    /// What was asked, where rules have put something else in its place.
    asked: Option<Payload>,
    /// The digest of the policy.
    policy: Arc<str>,
    caller: Arc<Principal>,
    role: Arc<Role>,
    rule: Option<roles::GrantIndex>,
    bounds: Bounds,
    shadow: Option<Shadow>,
    hides: bool,
}

impl Permit {
    /// Whether something that is touched has columns or rows that the caller may not see: the server's own words about
    /// it may show them.
    pub fn hides(&self) -> bool {
        self.granted.hides
    }

    pub fn operation(&self) -> &Operation {
        &self.granted.operation
    }

    /// What was asked. What may run, [`Self::operation`], differs from it where rules are kept.
    pub fn asked(&self) -> &Payload {
        self.granted
            .asked
            .as_ref()
            .unwrap_or(&self.granted.operation.payload)
    }

    /// The digest of the policy that allows it.
    pub fn policy(&self) -> &Arc<str> {
        &self.granted.policy
    }

    pub fn caller(&self) -> &Arc<Principal> {
        &self.granted.caller
    }

    /// Those of the caller's role: all of them must admit it.
    pub fn rate_limits(&self) -> &[Arc<RateLimit>] {
        self.granted.role.rate_limits()
    }

    /// The grant that allowed the first touch; a statement that touches nothing has none.
    pub fn rule(&self) -> Option<&Grant> {
        self.granted.role.grant(self.granted.rule?)
    }

    /// How many rows it may bring and how long it may take.
    pub fn bounds(&self) -> Bounds {
        self.granted.bounds
    }

    /// Whether the policy wants the statement recorded before it runs and after.
    pub fn is_audited(&self) -> bool {
        let classification = &self.granted.operation.classification;
        let touches_nothing = classification.touches.is_empty();
        let audited = if touches_nothing {
            self.granted.role.audited_in(self.granted.operation.store)
        } else {
            self.granted.bounds.audited
        };
        // What touches nothing may be the end of a transaction that did.
        let may_end = match &self.granted.operation.payload {
            Payload::Control(_) => true,
            Payload::Mongodb { .. } => touches_nothing,
            Payload::Sql(_) | Payload::Redis { .. } => false,
        };
        match audited {
            Audited::Nothing => false,
            Audited::Writes => classification.may_change() || may_end,
            Audited::All => true,
        }
    }

    /// What was asked, without any value.
    pub fn normal(&self) -> Arc<Normal> {
        match &self.granted.asked {
            // Of SQL the classification knows the text that was asked.
            None | Some(Payload::Sql(_) | Payload::Control(_)) => self.granted.operation.normal(),
            Some(asked) => Arc::new(normal(self.granted.operation.store, asked)),
        }
    }

    /// What the role was spared because it is in shadow mode.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.granted.shadow.as_ref()
    }
}

#[cfg(test)]
impl Permit {
    /// The operation, given up by the permit.
    pub(crate) fn into_operation(self) -> Operation {
        self.granted.operation
    }

    /// For the tests of the stages behind `decide`; no policy was asked.
    pub(crate) fn for_tests(
        operation: Operation,
        caller: Arc<Principal>,
        rate_limits: Vec<Arc<RateLimit>>,
    ) -> Self {
        let granted = Granted {
            role: Arc::new(Role::for_tests(&caller.role, rate_limits)),
            operation,
            asked: None,
            policy: "tests".into(),
            caller,
            rule: None,
            bounds: Bounds::default(),
            hides: false,
            shadow: None,
        };
        Self {
            granted: Box::new(granted),
        }
    }
}

/// The policy's no, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", .0.code.as_str(), .0.detail)]
pub struct Refusal(pub Problem);

impl PublicError for Refusal {
    fn problem(&self) -> Problem {
        self.0.clone()
    }
}

impl Policy {
    /// The verdict on every touch of what was classified, allowed or not, and the refusal that [`Self::decide`]
    /// would give, were no role in shadow mode: for people and tests, not for the request's path. Rules are checked as
    /// far as that goes without the columns of tables.
    pub fn explain<'a>(
        &'a self,
        question: Question<'a>,
    ) -> (Vec<TouchVerdict<'a>>, Result<(), Refusal>) {
        let Question {
            caller,
            operation,
            now,
        } = question;
        let asked = Judged {
            role: &caller.role,
            store: operation.store,
            classification: &operation.classification,
            now,
        };
        let outcome = self.judge(asked).and_then(|allowed| match allowed.shadow {
            Some(refusal) => Err(refusal),
            None => self.check_rules(allowed.role, caller, operation),
        });
        (self.verdicts(asked), outcome)
    }

    /// What the grants of a role together demand of a table or collection; `None` where they demand nothing.
    pub fn rules(
        &self,
        role: &str,
        store: Store,
        object: &Object,
    ) -> Option<Arc<rules::TableRules>> {
        let (Some(role), Some(StoreObjects::Named(named)), Object::Named { namespace, name }) =
            (self.roles.get(role), self.stores.get(store), object)
        else {
            return None;
        };
        let id = named.objects.find(namespace.as_deref(), name)?;
        let demands = role.demands(store).get(&id)?;
        Some(Arc::clone(&demands.rules))
    }

    /// Whether some key may be matched by both key patterns; so it is where one of them is no pattern.
    pub fn keys_meet(one: &str, other: &str) -> bool {
        match (glob::Glob::strict(one), glob::Glob::strict(other)) {
            (Ok(one), Ok(other)) => one.may_meet(&other),
            (Ok(_) | Err(_), _) => true,
        }
    }

    /// Whether every key that one pattern matches is surely matched by another, too.
    pub fn keys_within(inner: &str, outer: &str) -> bool {
        match (glob::Glob::strict(inner), glob::Glob::strict(outer)) {
            (Ok(inner), Ok(outer)) => outer.contains(&inner),
            (Ok(_) | Err(_), _) => false,
        }
    }

    /// What the grants of a role together demand wherever it uses a table or collection, in the policy's words, and
    /// which grants these are; nothing, for most.
    pub fn demanded_of(
        &self,
        role: &str,
        store: Store,
        object: &Object,
    ) -> (Vec<Clause>, Vec<&Grant>) {
        let (Some(role), Some(StoreObjects::Named(named)), Object::Named { namespace, name }) =
            (self.roles.get(role), self.stores.get(store), object)
        else {
            return (Vec::new(), Vec::new());
        };
        let id = named.objects.find(namespace.as_deref(), name);
        let Some(demands) = id.and_then(|id| role.demands(store).get(&id)) else {
            return (Vec::new(), Vec::new());
        };
        let grants = demands.grants.iter().filter_map(|at| role.grant(*at));
        (
            words::of_rules(&demands.rules, demands.bounds),
            grants.collect(),
        )
    }

    /// How the salt of masks differs from another policy's, without telling either.
    pub fn mask_salt_since(&self, before: &Self) -> Option<&'static str> {
        let (before, after) = (before.mask_salt.as_str(), self.mask_salt.as_str());
        match (before.is_empty(), after.is_empty()) {
            _ if before == after => None,
            (true, _) => Some("added"),
            (false, true) => Some("removed"),
            (false, false) => Some("changed"),
        }
    }
}

#[cfg(test)]
mod compile_tests;
#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod default_policy_tests;
#[cfg(test)]
mod rule_faults_tests;
#[cfg(test)]
mod rules_tests;
