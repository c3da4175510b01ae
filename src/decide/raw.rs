//! The policy file as written: every value with its place, before names are looked up.

use super::source::{Span, Written};
use crate::operation::{Action, Store};

/// All files together.
#[derive(Debug, Default)]
pub(super) struct RawPolicy {
    pub(super) stores: Vec<RawStore>,
    pub(super) roles: Vec<RawRole>,
    pub(super) rate_limits: Vec<RawRateLimit>,
}

/// One `[stores.NAME]`.
#[derive(Debug)]
pub(super) struct RawStore {
    pub(super) store: Store,
    pub(super) span: Span,
    /// `schema` or `database`.
    pub(super) namespace: Option<Written<String>>,
    /// `tables`, `collections` or `keys`.
    pub(super) objects: Vec<Written<String>>,
    pub(super) functions: Vec<Written<String>>,
    /// Digests of Redis scripts.
    pub(super) scripts: Vec<Written<String>>,
}

/// One `[roles.NAME]`.
#[derive(Debug)]
pub(super) struct RawRole {
    pub(super) name: Written<String>,
    pub(super) description: Option<String>,
    pub(super) rate_limit: Option<Written<String>>,
    pub(super) grants: Vec<RawGrant>,
}

/// One `[[roles.NAME.grants]]`.
#[derive(Debug)]
pub(super) struct RawGrant {
    pub(super) span: Span,
    pub(super) store: Store,
    pub(super) objects: Vec<Written<String>>,
    pub(super) actions: Vec<Action>,
}

/// One `[rate_limits.NAME]`.
#[derive(Debug)]
pub(super) struct RawRateLimit {
    pub(super) name: Written<String>,
    pub(super) requests: u32,
    pub(super) period_ms: u64,
    pub(super) burst: u32,
}

/// The key under which a store lists its objects.
pub(super) const fn objects_key(store: Store) -> &'static str {
    match store {
        Store::Postgres | Store::Mysql => "tables",
        Store::Mongodb => "collections",
        Store::Redis => "keys",
    }
}

/// One of those objects, in words.
pub(super) const fn object_word(store: Store) -> &'static str {
    match store {
        Store::Postgres | Store::Mysql => "table",
        Store::Mongodb => "collection",
        Store::Redis => "key pattern",
    }
}

/// The key that says what an unqualified name means.
pub(super) const fn namespace_key(store: Store) -> Option<&'static str> {
    match store {
        Store::Postgres => Some("schema"),
        Store::Mysql | Store::Mongodb => Some("database"),
        Store::Redis => None,
    }
}
