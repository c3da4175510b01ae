//! The limit that all sidecars share: GCRA as one atomic script in Redis, by Redis' clock.

use std::num::NonZeroU32;
use std::time::Duration;

use redis::{RedisError, Script};
use tokio::time::timeout;

use super::gcra::{Outcome, Rate};
use crate::execute::redis::link::{ConnectError, Link, RedisSettings};

/// How long a request waits for the script. After that the local limiter decides.
pub const SHARED_MS_MAX: u64 = 20;

/// Keys begin with this; no role may be granted it, or its holder could write its own limit.
pub const KEY_PREFIX: &str = "ratelimit:bulkhead:";

const SCRIPT: &str = include_str!("gcra.lua");

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("not connected")]
    NotConnected,
    #[error("no answer in {SHARED_MS_MAX} ms")]
    Slow,
    #[error(transparent)]
    Failed(#[from] RedisError),
}

/// Whether a step takes requests, all of them or none, or only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Take(NonZeroU32),
    Look,
}

/// The limiter's own connection, with the sidecar's credentials.
#[derive(Debug)]
pub struct Shared {
    link: Link,
    script: Script,
}

impl Shared {
    /// Must be called inside a Tokio runtime. Redis may come later.
    pub fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        Ok(Self {
            link: Link::open(settings)?,
            script: Script::new(SCRIPT),
        })
    }

    pub fn is_usable(&self) -> bool {
        self.link.is_usable()
    }

    /// One step for one key of one limit. Waits for [`SHARED_MS_MAX`] at most. Cancelling may leave it taken.
    pub async fn step(
        &self,
        limit: &str,
        key_id: &str,
        rate: Rate,
        step: Step,
    ) -> Result<Outcome, Unanswered> {
        if !self.link.is_usable() {
            return Err(Unanswered::NotConnected);
        }
        let mut manager = self.link.manager();
        let take = match step {
            Step::Take(count) => count.get(),
            Step::Look => 0,
        };
        let mut invocation = self.script.key(key(limit, key_id));
        invocation
            .arg(rate.interval_us)
            .arg(rate.capacity_us)
            .arg(take);
        let answer = invocation.invoke_async::<(u8, u64, u64, u64)>(&mut manager);
        match timeout(Duration::from_millis(SHARED_MS_MAX), answer).await {
            Ok(Ok((allowed, remaining, retry_after_us, reset_after_us))) => Ok(Outcome {
                allowed: allowed == 1,
                remaining,
                retry_after_us,
                reset_after_us,
            }),
            Ok(Err(error)) => {
                self.link.suspect();
                Err(Unanswered::Failed(error))
            }
            Err(_) => {
                self.link.suspect();
                Err(Unanswered::Slow)
            }
        }
    }
}

/// The limit's name is escaped, so that no other limit and key spell the same.
fn key(limit: &str, key_id: &str) -> String {
    let limit = limit.replace('%', "%25").replace(':', "%3A");
    format!("{KEY_PREFIX}{limit}:{key_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_collide() {
        let cases = [
            ("app", "k1", "ratelimit:bulkhead:app:k1"),
            ("a:b", "c", "ratelimit:bulkhead:a%3Ab:c"),
            ("a", "b:c", "ratelimit:bulkhead:a:b:c"),
            ("a%3Ab", "c", "ratelimit:bulkhead:a%253Ab:c"),
        ];
        for (limit, key_id, expected) in cases {
            assert_eq!(key(limit, key_id), expected);
        }
    }
}
