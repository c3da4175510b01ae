//! The limits that all sidecars share: GCRA as one atomic script in Redis, by Redis' clock.

use std::sync::Mutex;
use std::time::Duration;

use redis::{RedisError, Script};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::gcra::{Outcome, Rate};
use crate::decide::limits::{COUNTS_KEY_PREFIX, Per};
use crate::execute::redis::link::{ConnectError, Link, RedisSettings};
use crate::lock::Unpoisoned as _;

/// How long a request waits for the script, and how long a probe's answer may take for Redis to count as there, unless
/// the configuration says otherwise. After a wait in vain nobody waits again until a probe was answered.
pub const SHARED_MS_MAX: u64 = RedisSettings::LIMIT_TIMEOUT_MS;

/// Keys begin with this.
pub const KEY_PREFIX: &str = COUNTS_KEY_PREFIX;

const SCRIPT: &str = include_str!("gcra.lua");

/// Numbers that the script answers for each limit.
const NUMBERS: usize = 5;

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("not connected")]
    NotConnected,
    #[error("no answer in {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("not what the script answers")]
    Strange,
    #[error(transparent)]
    Failed(#[from] RedisError),
}

/// What is asked of one limit.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub redis_key: &'a str,
    pub rate: Rate,
    /// Taken, or nothing is taken of any limit; 0 only looks.
    pub need: u32,
    /// Taken besides, as far as there is room.
    pub ahead: u32,
    /// Whether its refusal refuses nothing.
    pub shadow: bool,
}

/// What one limit answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// `allowed` is this limit's own say; another may have refused.
    pub outcome: Outcome,
    /// What was taken ahead.
    pub ahead: u32,
}

/// The limiter's own connection, with the sidecar's credentials.
#[derive(Debug)]
pub struct Shared {
    link: Link,
    answers_within: Duration,
    script: Script,
    /// Why a request was not answered since this was last looked at.
    failure: Mutex<Option<String>>,
    failed: Notify,
}

impl Shared {
    /// Must be called inside a Tokio runtime. Redis may come later.
    pub fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        let answers_within = Duration::from_millis(settings.limit_timeout_ms);
        Ok(Self {
            link: Link::open(settings, answers_within)?,
            answers_within,
            script: Script::new(SCRIPT),
            failure: Mutex::default(),
            failed: Notify::new(),
        })
    }

    /// Notes why a request was not answered, for the log. That nobody is asked is no news.
    fn failed(&self, error: &Unanswered) {
        match error {
            Unanswered::NotConnected => {}
            Unanswered::Slow(_) | Unanswered::Strange | Unanswered::Failed(_) => {
                let mut failure = self.failure.lock().unpoisoned();
                *failure = Some(error.to_string());
                drop(failure);
                self.failed.notify_one();
            }
        }
    }

    /// Waits until a request was not answered. May be cancelled.
    pub async fn until_failed(&self) {
        self.failed.notified().await;
    }

    /// Why the last one was not, if any since this was called before.
    pub fn take_failure(&self) -> Option<String> {
        let mut failure = self.failure.lock().unpoisoned();
        failure.take()
    }

    pub fn is_usable(&self) -> bool {
        self.link.is_up()
    }

    /// One step for every limit of a request: all of them take, or none does. Answers in the order of `asks`. Waits for
    /// `limit_timeout_ms` at most. Cancelling may leave it taken.
    pub async fn step(&self, asks: &[Ask<'_>]) -> Result<Vec<Answer>, Unanswered> {
        if !self.link.is_up() {
            return Err(Unanswered::NotConnected);
        }
        let mut manager = self.link.manager();
        let mut invocation = self.script.prepare_invoke();
        for ask in asks {
            if self.link.is_cluster() {
                invocation.key(in_one_slot(ask.redis_key));
            } else {
                invocation.key(ask.redis_key);
            }
            invocation
                .arg(ask.rate.interval_us)
                .arg(ask.rate.capacity_us)
                .arg(ask.need)
                .arg(ask.ahead)
                .arg(u8::from(ask.shadow));
        }
        let answer = invocation.invoke_async::<Vec<u64>>(&mut manager);
        let answered = match timeout(self.answers_within, answer).await {
            Ok(Ok(numbers)) => read(&numbers, asks.len()).ok_or(Unanswered::Strange),
            Ok(Err(error)) => Err(Unanswered::Failed(error)),
            Err(_) => Err(Unanswered::Slow(self.answers_within)),
        };
        if let Err(error) = &answered {
            self.link.suspect();
            self.failed(error);
        }
        answered
    }
}

fn read(numbers: &[u64], limits: usize) -> Option<Vec<Answer>> {
    let answers = numbers.chunks_exact(NUMBERS).map(|numbers| match numbers {
        [refused, ahead, remaining, retry_after_us, reset_after_us] => Some(Answer {
            outcome: Outcome {
                allowed: *refused == 0,
                remaining: *remaining,
                retry_after_us: *retry_after_us,
                reset_after_us: *reset_after_us,
            },
            ahead: u32::try_from(*ahead).ok()?,
        }),
        _ => None,
    });
    let answers: Vec<Answer> = answers.collect::<Option<_>>()?;
    (answers.len() == limits && numbers.len() == limits * NUMBERS).then_some(answers)
}

/// Where Redis keeps the count of a key or role. The limit's name is escaped, so that no other limit and key spell the
/// same.
pub fn redis_key(limit: &str, per: Per, name: &str) -> String {
    let limit = limit.replace('%', "%25").replace(':', "%3A");
    format!("{KEY_PREFIX}{limit}:{}:{name}", per.as_str())
}

/// The same key where Redis is a cluster, which runs a script only on keys of one slot: all counts are in one, since any
/// two limits may meet in a request. It keeps the prefix that no caller may touch.
fn in_one_slot(redis_key: &str) -> String {
    let name = redis_key.strip_prefix(KEY_PREFIX).unwrap_or(redis_key);
    format!("{KEY_PREFIX}{{limits}}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_collide() {
        let cases = [
            ("app", Per::Key, "k1", "ratelimit:bulkhead:app:key:k1"),
            ("app", Per::Role, "k1", "ratelimit:bulkhead:app:role:k1"),
            ("a:b", Per::Key, "c", "ratelimit:bulkhead:a%3Ab:key:c"),
            ("a", Per::Key, "b:c", "ratelimit:bulkhead:a:key:b:c"),
            ("a%3Ab", Per::Key, "c", "ratelimit:bulkhead:a%253Ab:key:c"),
        ];
        for (limit, per, name, expected) in cases {
            assert_eq!(redis_key(limit, per, name), expected);
        }
        // Of a name that looks like a hash tag, the part that chooses the slot is still ours.
        let strange = in_one_slot(&redis_key("{a}", Per::Key, "k"));
        assert_eq!(strange, "ratelimit:bulkhead:{limits}:{a}:key:k");
    }

    #[test]
    fn an_answer_has_five_numbers_for_each_limit() {
        let one = [0, 3, 7, 0, 30];
        let answer = Answer {
            outcome: Outcome {
                allowed: true,
                remaining: 7,
                retry_after_us: 0,
                reset_after_us: 30,
            },
            ahead: 3,
        };
        let cases: [(&[u64], usize, bool); 5] = [
            (&one, 1, true),
            (&one, 2, false),
            (&one[..4], 1, false),
            (&[0, 3, 7, 0, 30, 1], 1, false),
            (&[0, u64::MAX, 7, 0, 30], 1, false),
        ];
        for (numbers, limits, expected) in cases {
            let expected = expected.then(|| vec![answer]);
            assert_eq!(read(numbers, limits), expected, "{numbers:?}");
        }
    }
}
