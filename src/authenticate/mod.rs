//! API keys, principals, caches, revocation.

mod cache;
pub mod key;
pub mod keys;
mod peer;

pub use cache::{Authenticator, Settings};
pub use peer::Peer;

use crate::error::{Code, Problem, PublicError};

/// Who is calling, as the key's row in `api_keys` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key's public id; never its secret.
    pub key_id: String,
    /// `api_keys.user_id`, where the key belongs to a user.
    pub user_id: Option<String>,
    /// The policy role that the key has.
    pub role: String,
}

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
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        match self {
            Self::Missing => Problem::new(
                Code::AuthMissing,
                "send an API key as `Authorization: Bearer <key>` or `X-Api-Key: <key>`",
            ),
            Self::Invalid => Problem::new(
                Code::AuthInvalid,
                "the API key is not valid: check that it was copied whole, or ask for a new one",
            ),
            Self::Expired { key_id } => Problem::new(
                Code::AuthExpired,
                format!("key `{key_id}` has expired: ask for a new one"),
            ),
            Self::Revoked { key_id } => Problem::new(
                Code::AuthRevoked,
                format!("key `{key_id}` was revoked: ask for a new one"),
            ),
            Self::Unavailable(_) => {
                let mut problem = Problem::new(
                    Code::StoreUnavailable,
                    "the key cannot be checked just now; try again shortly",
                );
                problem.retry_after_ms = Some(1000);
                problem
            }
        }
    }
}
