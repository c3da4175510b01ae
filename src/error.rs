//! The closed set of error codes, and the public face of every error.
//!
//! Each stage has its own error type whose `Display` is for the operator's log. What a caller sees is a
//! [`Problem`], made through [`PublicError`], which has no default: a stage must choose its code and words.

use std::ops::{Deref, DerefMut};

use crate::operation::Store;
use crate::transaction::Fate;

/// Every code a caller can receive (DESIGN §3), with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    RequestInvalid,
    StatementUnparsable,
    AuthMissing,
    AuthInvalid,
    AuthExpired,
    AuthRevoked,
    PolicyDenied,
    PolicyWrongStore,
    PolicyUnknownObject,
    PolicyForbiddenStatement,
    RouteUnknown,
    RouteMethodNotAllowed,
    StoreNotConfigured,
    TransactionNotFound,
    TransactionExpired,
    StoreConflict,
    RequestTooLarge,
    RequestMediaType,
    StoreError,
    RateLimitExceeded,
    RateLimitUnavailable,
    StoreUnavailable,
    PoolExhausted,
    Draining,
    StoreTimeout,
    /// Nobody took the reply. Never sent; for the record.
    RequestAbandoned,
    MemoryExhausted,
    ConnectionsExhausted,
    AuditUnavailable,
    /// Who vouches for the caller's token cannot be asked.
    AuthUnavailable,
}

impl Code {
    pub const ALL: [Self; 30] = [
        Self::RequestInvalid,
        Self::StatementUnparsable,
        Self::AuthMissing,
        Self::AuthInvalid,
        Self::AuthExpired,
        Self::AuthRevoked,
        Self::PolicyDenied,
        Self::PolicyWrongStore,
        Self::PolicyUnknownObject,
        Self::PolicyForbiddenStatement,
        Self::RouteUnknown,
        Self::RouteMethodNotAllowed,
        Self::StoreNotConfigured,
        Self::TransactionNotFound,
        Self::TransactionExpired,
        Self::StoreConflict,
        Self::RequestTooLarge,
        Self::RequestMediaType,
        Self::StoreError,
        Self::RateLimitExceeded,
        Self::RateLimitUnavailable,
        Self::StoreUnavailable,
        Self::PoolExhausted,
        Self::Draining,
        Self::StoreTimeout,
        Self::RequestAbandoned,
        Self::MemoryExhausted,
        Self::ConnectionsExhausted,
        Self::AuditUnavailable,
        Self::AuthUnavailable,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestInvalid => "request.invalid",
            Self::StatementUnparsable => "statement.unparsable",
            Self::AuthMissing => "auth.missing",
            Self::AuthInvalid => "auth.invalid",
            Self::AuthExpired => "auth.expired",
            Self::AuthRevoked => "auth.revoked",
            Self::PolicyDenied => "policy.denied",
            Self::PolicyWrongStore => "policy.wrong_store",
            Self::PolicyUnknownObject => "policy.unknown_object",
            Self::PolicyForbiddenStatement => "policy.forbidden_statement",
            Self::RouteUnknown => "route.unknown",
            Self::RouteMethodNotAllowed => "route.method_not_allowed",
            Self::StoreNotConfigured => "store.not_configured",
            Self::TransactionNotFound => "transaction.not_found",
            Self::TransactionExpired => "transaction.expired",
            Self::StoreConflict => "store.conflict",
            Self::RequestTooLarge => "request.too_large",
            Self::RequestMediaType => "request.media_type",
            Self::StoreError => "store.error",
            Self::RateLimitExceeded => "rate_limit.exceeded",
            Self::RateLimitUnavailable => "rate_limit.unavailable",
            Self::StoreUnavailable => "store.unavailable",
            Self::PoolExhausted => "pool.exhausted",
            Self::Draining => "draining",
            Self::StoreTimeout => "store.timeout",
            Self::RequestAbandoned => "request.abandoned",
            Self::MemoryExhausted => "memory.exhausted",
            Self::ConnectionsExhausted => "connections.exhausted",
            Self::AuditUnavailable => "audit.unavailable",
            Self::AuthUnavailable => "auth.unavailable",
        }
    }

    pub const fn status(self) -> u16 {
        match self {
            Self::RequestInvalid | Self::StatementUnparsable => 400,
            Self::AuthMissing | Self::AuthInvalid | Self::AuthExpired | Self::AuthRevoked => 401,
            Self::PolicyDenied
            | Self::PolicyWrongStore
            | Self::PolicyUnknownObject
            | Self::PolicyForbiddenStatement => 403,
            Self::RouteUnknown | Self::StoreNotConfigured | Self::TransactionNotFound => 404,
            Self::RouteMethodNotAllowed => 405,
            Self::StoreConflict => 409,
            Self::TransactionExpired => 410,
            Self::RequestTooLarge => 413,
            Self::RequestMediaType => 415,
            Self::StoreError => 422,
            Self::RateLimitExceeded => 429,
            Self::RequestAbandoned => 408,
            Self::RateLimitUnavailable
            | Self::StoreUnavailable
            | Self::PoolExhausted
            | Self::Draining
            | Self::MemoryExhausted
            | Self::ConnectionsExhausted
            | Self::AuditUnavailable
            | Self::AuthUnavailable => 503,
            Self::StoreTimeout => 504,
        }
    }

    /// One short sentence, the same for every occurrence (RFC 9457 `title`).
    pub const fn title(self) -> &'static str {
        match self {
            Self::RequestInvalid => "the request is not valid",
            Self::StatementUnparsable => "the statement could not be understood",
            Self::AuthMissing => "no credentials were sent",
            Self::AuthInvalid => "the credentials are not valid",
            Self::AuthExpired => "the credentials have expired",
            Self::AuthRevoked => "the credentials were revoked",
            Self::PolicyDenied => "the policy does not grant this",
            Self::PolicyWrongStore => "the object lives in another store",
            Self::PolicyUnknownObject => "the policy does not know this object",
            Self::PolicyForbiddenStatement => "this statement is never allowed",
            Self::RouteUnknown => "there is no such route",
            Self::RouteMethodNotAllowed => "the route takes another method",
            Self::StoreNotConfigured => "this store is not configured",
            Self::TransactionNotFound => "there is no such transaction",
            Self::TransactionExpired => "the transaction has expired",
            Self::StoreConflict => "the statement conflicts with the data or another transaction",
            Self::RequestTooLarge => "the request is too large",
            Self::RequestMediaType => "the request must be JSON",
            Self::StoreError => "the database refused the statement",
            Self::RateLimitExceeded => "too many requests",
            Self::RateLimitUnavailable => "the rate limit cannot be counted",
            Self::StoreUnavailable => "the database cannot be reached",
            Self::PoolExhausted => "no database connection became free in time",
            Self::Draining => "the sidecar is shutting down",
            Self::StoreTimeout => "the statement did not end in time",
            Self::RequestAbandoned => "the client did not take the reply",
            Self::MemoryExhausted => "the sidecar has no memory left for this",
            Self::ConnectionsExhausted => "too many connections are open",
            Self::AuditUnavailable => "the request cannot be audited",
            Self::AuthUnavailable => "the token's issuer cannot be asked",
        }
    }
}

/// The methods that a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// It is read. HEAD is answered like GET, without the body.
    Read,
    /// It does something.
    Post,
}

impl Methods {
    /// As `Allow` has them (RFC 9110 section 10.2.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

/// What a caller is told. One pointer long, since every stage's result has room for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Members>);

/// A stable code, what to do, and the members that code needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    pub code: Code,
    /// What happened to this request and what to do about it; never a cause from inside.
    pub detail: String,
    /// `policy.wrong_store`: the store to ask.
    pub lives_in: Option<Store>,
    /// `route.method_not_allowed`: the methods that the route takes.
    pub allow: Option<Methods>,
    /// The objects that the refusal is about, as the statement named them.
    pub objects: Vec<String>,
    /// PostgreSQL's and MySQL's SQLSTATE, for the caller's own statement.
    pub sqlstate: Option<String>,
    /// MySQL's errno or MongoDB's code.
    pub errno: Option<i64>,
    pub retry_after_ms: Option<u64>,
    /// `batch`: which statement this is about, counted from 0.
    pub statement: Option<u16>,
    /// What has become of the transaction that the statement stands in.
    pub transaction: Option<Fate>,
    /// Whether the request may have been carried out all the same.
    pub outcome_unknown: bool,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Members {
            code,
            detail: detail.into(),
            lives_in: None,
            allow: None,
            objects: Vec::new(),
            sqlstate: None,
            errno: None,
            retry_after_ms: None,
            statement: None,
            transaction: None,
            outcome_unknown: false,
        }))
    }

    /// Says that a change may have been made all the same: an invitation to send it again could make it twice.
    pub fn leave_open(&mut self) {
        self.outcome_unknown = true;
        self.retry_after_ms = None;
        self.detail
            .push_str("; whether the change was made is not known: look before you try again");
    }
}

impl Deref for Problem {
    type Target = Members;

    fn deref(&self) -> &Members {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Members {
        &mut self.0
    }
}

/// The public face of a stage's error. No default: a stage must say what a caller may know.
pub trait PublicError: std::error::Error {
    fn problem(&self) -> Problem;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's table of codes has each of them, in some order, with its status and what to do, and no other.
    #[test]
    fn the_readme_lists_every_code() {
        let readme = include_str!("../README.md");
        let rows = readme.lines().filter_map(|line| {
            let cells: Vec<&str> = line
                .strip_prefix("| ")?
                .strip_suffix(" |")?
                .split(" | ")
                .collect();
            let &[status, codes, what] = cells.as_slice() else {
                return None;
            };
            let status: u16 = status.parse().ok()?;
            assert!(what.len() > 5, "{line}");
            let codes = codes.split(", ").map(|code| code.trim_matches('`'));
            Some(codes.map(|code| (status, code)).collect::<Vec<_>>())
        });
        let mut told: Vec<_> = rows.flatten().collect();
        told.sort_unstable();
        let mut known = Code::ALL.map(|code| (code.status(), code.as_str()));
        known.sort_unstable();
        assert_eq!(told, known);
    }
}
