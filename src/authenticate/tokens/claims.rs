//! What a token says, once its signature is right.

use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

use super::{Fault, TokenSettings};

/// Bytes of a subject, a user, a role and a token's id.
const NAME_BYTES_MAX: usize = 256;

#[derive(Debug)]
pub struct Claims {
    /// `jti`, which the blacklist knows the token by.
    pub id: String,
    pub subject: String,
    pub user: Option<String>,
    pub role: String,
    /// The latest of `iat` and `nbf`.
    begins_at: Timestamp,
    /// With the skew that is allowed.
    expires_at: Timestamp,
    too_old_at: Timestamp,
}

impl Claims {
    /// # Errors
    /// When something is missing or not of its kind.
    pub fn read(settings: &TokenSettings, claims: &Map<String, Value>) -> Result<Self, Fault> {
        let issued_at = required(claims, "iat", time)?;
        let not_before = optional(claims, "nbf", time)?.unwrap_or(issued_at);
        let expires_at = required(claims, "exp", time)?;
        let age_max_s = settings.age_max_s.saturating_add(settings.skew_s);
        let end = |at, seconds, claim: &str| {
            later(at, seconds).ok_or_else(|| Fault::Claim(claim.to_owned()))
        };
        Ok(Self {
            id: required(claims, "jti", name)?,
            subject: required(claims, "sub", name)?,
            user: optional(claims, &settings.user_claim, name)?,
            role: required(claims, &settings.role_claim, name)?,
            begins_at: issued_at.max(not_before),
            expires_at: end(expires_at, settings.skew_s, "exp")?,
            too_old_at: end(issued_at, age_max_s, "iat")?,
        })
    }

    /// Whether it is in force yet, by a clock that may go wrong by the skew.
    pub fn began(&self, settings: &TokenSettings, clock: Timestamp) -> Result<(), Fault> {
        let latest = later(clock, settings.skew_s);
        if latest.is_some_and(|latest| self.begins_at <= latest) {
            Ok(())
        } else {
            Err(Fault::Early)
        }
    }

    /// Whether it is in force still; `key_id` is whom it is of.
    pub fn lasts(&self, key_id: &str, clock: Timestamp) -> Result<(), Fault> {
        if self.expires_at <= clock {
            return Err(Fault::Expired(key_id.to_owned()));
        }
        if self.too_old_at <= clock {
            return Err(Fault::TooOld(key_id.to_owned()));
        }
        Ok(())
    }
}

fn required<T>(
    claims: &Map<String, Value>,
    claim: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<T, Fault> {
    optional(claims, claim, read)?.ok_or_else(|| Fault::Missing(claim.to_owned()))
}

fn optional<T>(
    claims: &Map<String, Value>,
    claim: &str,
    read: fn(&Value) -> Option<T>,
) -> Result<Option<T>, Fault> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let read = read(value).ok_or_else(|| Fault::Claim(claim.to_owned()))?;
    Ok(Some(read))
}

/// A NumericDate (RFC 7519, section 2): seconds, perhaps with a fraction, which is cut off.
fn time(value: &Value) -> Option<Timestamp> {
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        None => value
            .as_f64()
            .filter(|seconds| seconds.abs() < 1e12)
            .map(|seconds| seconds.floor() as i64)?,
    };
    Timestamp::from_second(seconds).ok()
}

fn later(at: Timestamp, seconds: u32) -> Option<Timestamp> {
    at.checked_add(Span::new().seconds(i64::from(seconds))).ok()
}

/// A text that may stand in logs, audit rows and the names of Redis keys.
fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_one = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    is_one.then(|| text.to_owned())
}
