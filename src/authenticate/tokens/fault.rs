//! What is wrong with a token. The operator's log is told which check failed, and never the token itself.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error, ErrorKind};
use serde_json::Value;

use super::TOKEN_BYTES_MAX;
use crate::authenticate::NOT_VALID;
use crate::error::{Code, Problem};

/// Characters of a `kid` that the log repeats.
const KID_CHARACTERS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("what was sent is no key and no JWT")]
    Malformed,
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the token's header has `crit`, or another `typ` than JWT")]
    Header,
    #[error("the token's header has no `kid`")]
    NoKid,
    #[error("the issuer has no key with the token's `kid`, {0}")]
    UnknownKid(String),
    #[error("the token's algorithm is not that of its key")]
    Algorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's claim `{0}` is missing")]
    Missing(String),
    #[error("the token's claim `{0}` is not what it must be")]
    Claim(String),
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is not in force yet")]
    Early,
    /// From here on with the caller's id: its signature and its claims are right.
    #[error("the token of `{0}` has expired")]
    Expired(String),
    #[error("the token of `{0}` is older than `max_age_s`")]
    TooOld(String),
    #[error("the token of `{0}` is in the blacklist")]
    Revoked(String),
}

impl Fault {
    pub fn unknown_kid(kid: &str) -> Self {
        let short: String = kid.chars().take(KID_CHARACTERS_MAX).collect();
        Self::UnknownKid(format!("{short:?}"))
    }

    /// Why the header of `text` cannot be read.
    pub fn of_header(text: &str) -> Self {
        let mut parts = text.split('.');
        let header = parts.next().filter(|_| parts.count() == 2);
        let header = header.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let header: Option<Value> = header.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match header.as_ref().and_then(|header| header.get("alg")) {
            // One that no library knows, or `none`.
            Some(_) => Self::Algorithm,
            None => Self::Malformed,
        }
    }

    /// What the caller is told. Only the holder of a token that the issuer signed learns how it ended.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Malformed
            | Self::TooLong
            | Self::Header
            | Self::NoKid
            | Self::UnknownKid(_)
            | Self::Algorithm
            | Self::Signature
            | Self::Missing(_)
            | Self::Claim(_)
            | Self::Issuer
            | Self::Audience
            | Self::Early => Problem::new(Code::AuthInvalid, NOT_VALID),
            Self::Expired(key_id) | Self::TooOld(key_id) => Problem::new(
                Code::AuthExpired,
                format!("the token of `{key_id}` has expired: ask for a new one"),
            ),
            Self::Revoked(key_id) => Problem::new(
                Code::AuthRevoked,
                format!("the token of `{key_id}` was revoked: ask for a new one"),
            ),
        }
    }
}

impl From<Error> for Fault {
    #[allow(clippy::wildcard_enum_match_arm)] // The library's enum is open; the rest is wrong with the form.
    fn from(error: Error) -> Self {
        match error.into_kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAlgorithm
            | ErrorKind::InvalidAlgorithmName
            | ErrorKind::UnsupportedAlgorithm
            | ErrorKind::MissingAlgorithm => Self::Algorithm,
            ErrorKind::MissingRequiredClaim(claim) => Self::Missing(claim),
            ErrorKind::InvalidClaimFormat(claim) => Self::Claim(claim),
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            _ => Self::Malformed,
        }
    }
}
