//! The policy file as written: every value with its place, before names are looked up.

use super::limits::RateLimit;
use super::rules::{Audited, Mode};
use super::source::{Span, Written, WrittenTable};
use crate::operation::{Action, Store};

/// All files together.
#[derive(Debug, Default)]
pub(super) struct RawPolicy {
    pub(super) stores: Vec<RawStore>,
    pub(super) roles: Vec<RawRole>,
    pub(super) rate_limits: Vec<RawRateLimit>,
    /// `mode` of the policy as a whole, in whichever file it stands.
    pub(super) mode: Option<Written<Mode>>,
    pub(super) mask_salt: Option<Written<String>>,
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
    /// In the order of the file.
    pub(super) rate_limits: Vec<Written<String>>,
    pub(super) mode: Option<Mode>,
    pub(super) timeout_ms: Option<u32>,
    pub(super) audited: Option<Audited>,
    pub(super) grants: Vec<RawGrant>,
    pub(super) denials: Vec<RawGrant>,
}

/// One `[[roles.NAME.grants]]`, or one `[[roles.NAME.deny]]`, which has no rules.
#[derive(Debug)]
pub(super) struct RawGrant {
    pub(super) span: Span,
    pub(super) store: Store,
    pub(super) objects: Vec<Written<String>>,
    pub(super) actions: Vec<Action>,
    pub(super) rules: RawRules,
}

/// What a grant demands beside its objects and actions. Each may be absent.
#[derive(Debug, Default)]
pub(super) struct RawRules {
    pub(super) columns: Option<Written<Vec<Written<String>>>>,
    pub(super) deny_columns: Option<Written<Vec<Written<String>>>>,
    /// Columns and the names of their masks, in the order of the file.
    pub(super) mask_columns: Option<WrittenTable>,
    pub(super) rows: Option<Written<String>>,
    pub(super) require_where: Option<Written<bool>>,
    pub(super) max_rows: Option<Written<u32>>,
    pub(super) timeout_ms: Option<Written<u32>>,
    pub(super) audited: Option<Written<Audited>>,
    /// When the grant holds; always, where it says nothing.
    pub(super) hours: Vec<Written<String>>,
}

/// One `[rate_limits.NAME]`.
#[derive(Debug)]
pub(super) struct RawRateLimit {
    pub(super) name: Written<String>,
    pub(super) limit: RateLimit,
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
