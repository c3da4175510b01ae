//! Policy file → compiled policy → [`Permit`] or [`Refusal`]. Pure: no IO, no clock, no async.
//!
//! [`Policy::compile`] takes the text of the policy's files and either gives a policy in which every name was
//! looked up, or every fault of every file. Deciding is then a few hash look-ups, whatever the size of the
//! policy. The order in which refusals are reported stands in `judge.rs`; the format in `policies/README.md`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::authenticate::Principal;
use crate::error::{Problem, PublicError};
use crate::operation::{Classification, Operation, Store};

mod source;
pub use source::{Place, PolicyFile, digest};

mod fault;
pub use fault::{Fault, PolicyFaults, Severity};

mod raw;
mod read;
mod toml_tree;

mod cases;
pub use cases::{Case, CaseRequest, Expectation};

mod glob;
mod patterns;
mod roles;
mod stores;
pub use roles::{Grant, Role};

pub mod restrict;
pub mod rules;

mod judge;
pub use judge::{TouchVerdict, Verdict};

use fault::Faults;
use source::Sources;
use stores::{PerStore, StoreObjects};

/// A compiled policy, immutable; a reload makes a new one.
#[derive(Debug)]
pub struct Policy {
    stores: PerStore<Option<StoreObjects>>,
    roles: HashMap<String, Arc<Role>>,
    digest: String,
    warnings: Vec<Fault>,
}

/// One `[rate_limits.NAME]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub name: String,
    /// Requests in each `period_ms`.
    pub requests: u32,
    pub period_ms: u64,
    /// How many requests may come at once.
    pub burst: u32,
}

impl Policy {
    /// Compiles the files of one policy, merged. Fails with every fault of all of them.
    pub fn compile(files: &[PolicyFile]) -> Result<Self, PolicyFaults> {
        let sources = Sources::new(files);
        let mut faults = Faults::new(sources.clone());
        let raw = read::read(&sources, files.len(), &mut faults);
        let stores = stores::compile(&raw.stores, &mut faults);
        let roles = roles::compile(raw, &stores, &mut faults);
        Ok(Self {
            stores,
            roles,
            digest: source::digest(files),
            warnings: faults.finish()?,
        })
    }

    /// Judges one classified operation for one caller. The only place where a [`Permit`] is made.
    pub fn decide(&self, caller: &Arc<Principal>, operation: Operation) -> Result<Permit, Refusal> {
        let (role, rule) = self.judge(&caller.role, operation.store, &operation.classification)?;
        Ok(Permit {
            operation,
            caller: Arc::clone(caller),
            role: Arc::clone(role),
            rule,
        })
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

    /// The functions that statements may call in `store`, as the policy writes them.
    pub fn functions(&self, store: Store) -> Vec<&str> {
        match self.stores.get(store) {
            Some(StoreObjects::Named(named)) => {
                let functions = named.functions_written.iter();
                functions.map(String::as_str).collect()
            }
            Some(StoreObjects::Keys(_)) | None => Vec::new(),
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
/// fn forge(permit: bulkhead::decide::Permit, other: bulkhead::operation::Operation)
/// -> bulkhead::decide::Permit {
///     bulkhead::decide::Permit { operation: other, ..permit }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    operation: Operation,
    caller: Arc<Principal>,
    role: Arc<Role>,
    rule: Option<roles::GrantIndex>,
}

impl Permit {
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    pub fn caller(&self) -> &Arc<Principal> {
        &self.caller
    }

    pub fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        self.role.rate_limit()
    }

    /// The grant that allowed the first touch; a statement that touches nothing has none.
    pub fn rule(&self) -> Option<&Grant> {
        self.role.grant(self.rule?)
    }

    /// The operation, given up by the permit.
    pub fn into_operation(self) -> Operation {
        self.operation
    }
}

#[cfg(test)]
impl Permit {
    /// For the tests of the stages behind `decide`; no policy was asked.
    pub(crate) fn for_tests(
        operation: Operation,
        caller: Arc<Principal>,
        rate_limit: Option<Arc<RateLimit>>,
    ) -> Self {
        Self {
            role: Arc::new(Role::for_tests(&caller.role, rate_limit)),
            operation,
            caller,
            rule: None,
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
    /// The verdict on every touch of `classification`, allowed or not, and the refusal that [`Self::decide`]
    /// would give: for people and tests, not for the request's path.
    pub fn explain<'a>(
        &'a self,
        role: &str,
        store: Store,
        classification: &'a Classification,
    ) -> (Vec<TouchVerdict<'a>>, Result<(), Refusal>) {
        let verdicts = self.verdicts(role, store, classification);
        let outcome = self.judge(role, store, classification).map(|_| ());
        (verdicts, outcome)
    }
}

#[cfg(test)]
mod compile_tests;
#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod default_policy_tests;
