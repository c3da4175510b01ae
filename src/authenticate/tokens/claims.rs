//! What a token says, once its signature is right.

use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

use super::TokenSettings;
use crate::authenticate::Error;

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
    /// The sooner of `exp` and the greatest age, with the skew that is allowed.
    pub ends_at: Timestamp,
}

impl Claims {
    /// `None` where something is missing or not of its kind.
    pub fn read(settings: &TokenSettings, claims: &Map<String, Value>) -> Option<Self> {
        let issued_at = time(claims.get("iat")?)?;
        let not_before = match claims.get("nbf") {
            None => issued_at,
            Some(value) => time(value)?,
        };
        let user = match claims.get(&settings.user_claim) {
            None => None,
            Some(value) => Some(name(value)?),
        };
        let oldest = later(issued_at, settings.age_max_s)?;
        let ends_at = time(claims.get("exp")?)?.min(oldest);
        Some(Self {
            id: name(claims.get("jti")?)?,
            subject: name(claims.get("sub")?)?,
            user,
            role: name(claims.get(&settings.role_claim)?)?,
            begins_at: issued_at.max(not_before),
            ends_at: later(ends_at, settings.skew_s)?,
        })
    }

    /// Whether it is in force yet, by a clock that may go wrong by the skew.
    pub fn began(&self, settings: &TokenSettings, clock: Timestamp) -> Result<(), Error> {
        let latest = later(clock, settings.skew_s);
        if latest.is_some_and(|latest| self.begins_at <= latest) {
            Ok(())
        } else {
            Err(Error::Invalid)
        }
    }
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
