//! The pattern's blacklist of tokens, in Redis: a key `jwt:blacklist:<jti>` for each that was revoked.

use std::time::Duration;

use tokio::time::timeout;

use crate::execute::redis::link::{ConnectError, Link, RedisSettings};

const KEY_PREFIX: &str = "jwt:blacklist:";

/// How long Redis may take to say whether a token is in it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection of its own, with the sidecar's credentials.
pub struct Blacklist(Link);

impl Blacklist {
    /// Must be called inside a Tokio runtime. Redis may come later.
    pub fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        Ok(Self(Link::open(settings, ANSWER_TIMEOUT)?))
    }

    /// Whether the token with this `jti` was revoked; the error is for the log. May be cancelled.
    pub async fn has(&self, id: &str) -> Result<bool, String> {
        if !self.0.is_up() {
            return Err("redis is not connected".into());
        }
        let mut manager = self.0.manager();
        let mut command = redis::cmd("EXISTS");
        command.arg(format!("{KEY_PREFIX}{id}"));
        match timeout(ANSWER_TIMEOUT, command.query_async::<u64>(&mut manager)).await {
            Ok(Ok(found)) => Ok(found > 0),
            Ok(Err(error)) => {
                self.0.suspect();
                Err(error.to_string())
            }
            Err(_) => {
                self.0.suspect();
                Err("redis did not answer in time".into())
            }
        }
    }
}
