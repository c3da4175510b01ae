//! Who is calling: API keys, certificates and tokens; what is remembered of them, and how often one may guess.

mod authenticator;
mod cache;
mod certificates;
mod doubted;
pub mod key;
pub mod keys;
mod peer;
mod row;
mod throttle;
pub mod tokens;
mod used;

use std::time::Duration;

pub use authenticator::Authenticator;
pub use cache::Settings;
pub use certificates::{Certificates, SPIFFE};
pub use doubted::{DOUBTED_LOOK_UPS_MAX, DOUBTED_WAITING_MAX};
pub use peer::Peer;
pub use throttle::{ADDRESSES_MAX, FAILURE_INTERVAL, FAILURES_MAX};

use crate::error::{Code, Problem, PublicError};

/// Who is calling, as the key's row in `api_keys`, the configuration (certificates) or a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key's public id, never its secret; `cert:` and the name of a certificate; `jwt:` and a token's subject. Of
    /// these three, none can be spelled as another.
    pub key_id: String,
    /// `api_keys.user_id`, where the key belongs to a user, or the token's claim.
    pub user_id: Option<String>,
    /// The policy role that the caller has.
    pub role: String,
}

/// A caller is not told more of what it may have guessed.
const NOT_VALID: &str =
    "the API key or token is not valid: check that it was copied whole, or ask for a new one";

/// Why a caller is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("no key was sent")]
    Missing,
    /// Not of a key's form, unknown, or with the wrong secret: a caller is not told which.
    #[error("the key is not valid")]
    Invalid,
    #[error("key `{key_id}` has expired")]
    Expired { key_id: String },
    #[error("key `{key_id}` was revoked")]
    Revoked { key_id: String },
    /// The key is not in the cache and PostgreSQL cannot be asked.
    #[error("cannot look the key up: {0}")]
    Unavailable(#[from] crate::system::Unavailable),
    /// The keys of the tokens' issuer were never read, or hold no more.
    #[error("the keys of the tokens' issuer are not known: the log tells why they cannot be read")]
    IssuerUnavailable,
    /// Whether the token was revoked cannot be asked.
    #[error("cannot ask whether the token was revoked: {0}")]
    BlacklistUnavailable(String),
    /// A verified certificate whose names nobody has listed: here they are, for the log.
    #[error("[auth.certificates] lists no name of the client's certificate, which has {0}")]
    Unlisted(String),
    /// The certificate of the connection has ended since the connection began.
    #[error("the certificate of the connection has expired")]
    CertificateExpired,
    /// The certificate of the connection has another role.
    #[error("`{key_id}` and `{certificate}` have different roles")]
    Disagree { key_id: String, certificate: String },
    /// What is wrong with a token: a caller is told of its end alone.
    #[error(transparent)]
    Token(#[from] tokens::Fault),
    /// Too many of addresses that have failed too often are looked up already.
    #[error("no turn to look the key up")]
    NoTurn,
    /// The address has failed too often, and has failed again. Never said of what is good.
    #[error("too many failures from this address; this one: {cause}")]
    Throttled {
        retry_after: Duration,
        cause: Box<Error>,
    },
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        match self {
            Self::Missing => Problem::new(
                Code::AuthMissing,
                "send an API key as `Authorization: Bearer <key>` or `X-Api-Key: <key>`",
            ),
            Self::Invalid => Problem::new(Code::AuthInvalid, NOT_VALID),
            Self::Token(fault) => fault.problem(),
            Self::Expired { key_id } => Problem::new(
                Code::AuthExpired,
                format!("key `{key_id}` has expired: ask for a new one"),
            ),
            Self::Revoked { key_id } => Problem::new(
                Code::AuthRevoked,
                format!("key `{key_id}` was revoked: ask for a new one"),
            ),
            Self::Unlisted(_) => Problem::new(
                Code::AuthMissing,
                "the certificate of the connection stands for no role: show one that does, or send an API key as `Authorization: Bearer <key>` or `X-Api-Key: <key>`",
            ),
            Self::Unavailable(_) => later(
                Code::StoreUnavailable,
                "the key cannot be checked just now; try again shortly",
                Duration::from_secs(1),
            ),
            Self::BlacklistUnavailable(_) => later(
                Code::StoreUnavailable,
                "whether the token was revoked cannot be asked just now; try again shortly",
                Duration::from_secs(1),
            ),
            Self::IssuerUnavailable => later(
                Code::AuthUnavailable,
                "the keys of the token's issuer cannot be fetched just now, so that no token can be checked; try again shortly, or send an API key",
                Duration::from_secs(1),
            ),
            Self::CertificateExpired => Problem::new(
                Code::AuthExpired,
                "the certificate of this connection has expired: connect again with one that is in force",
            ),
            Self::Disagree { .. } => Problem::new(
                Code::AuthInvalid,
                "the key and the certificate of the connection, or two names of the certificate, have different roles: send one that agrees",
            ),
            Self::NoTurn => later(
                Code::RateLimitExceeded,
                "too many keys are looked up for addresses that have failed too often; try again shortly",
                Duration::from_secs(1),
            ),
            Self::Throttled { retry_after, .. } => later(
                Code::RateLimitExceeded,
                "too many failed authentications from this address: check the key, and wait before it is sent again",
                *retry_after,
            ),
        }
    }
}

fn later(code: Code, detail: &str, after: Duration) -> Problem {
    let mut problem = Problem::new(code, detail);
    problem.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    problem
}
