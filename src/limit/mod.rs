//! Rate limits: Redis (shared), governor (local), [`Ticket`].
//!
//! A request never waits for the limiter longer than [`SHARED_MS_MAX`]: where Redis has not answered by then, this
//! sidecar counts by itself until Redis answers again.

mod gcra;
mod local;
mod quota;
pub mod shared;

#[cfg(test)]
mod server_tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

pub use local::{LOCAL_KEYS_MAX, LOCAL_LIMITS_MAX};
pub use quota::Quota;
pub use shared::{KEY_PREFIX, SHARED_MS_MAX};

use crate::decide::{Permit, RateLimit};
use crate::error::{Code, Problem, PublicError};
use crate::execute::redis::link::{ConnectError, RedisSettings};
use crate::operation::Payload;
use crate::transaction::Control;
use gcra::{Outcome, Rate};
use local::Local;
use shared::{Shared, Step};

/// Proof that a permitted operation was admitted. `execute` accepts nothing else.
///
/// ```
/// fn store(ticket: &bulkhead::limit::Ticket) -> bulkhead::operation::Store {
///     ticket.permit().operation().store
/// }
/// ```
///
/// Its fields are private, so that a permit alone makes no ticket:
///
/// ```compile_fail,E0451
/// fn ticket(permit: bulkhead::decide::Permit) -> bulkhead::limit::Ticket {
///     bulkhead::limit::Ticket { permit, quota: None }
/// }
/// ```
#[derive(Debug)]
pub struct Ticket {
    permit: Permit,
    quota: Option<Quota>,
}

impl Ticket {
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The limit that was counted against, for the reply's headers; `None` where the role has none.
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// For the tests of `execute`; no limit was asked.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: Permit) -> Self {
        Self {
            permit,
            quota: None,
        }
    }
}

/// Why an operation was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("rate limit `{}` exceeded, retry after {retry_after_ms} ms", .quota.name)]
    Exceeded { quota: Quota, retry_after_ms: u64 },
    /// However long the caller waited, so many would not be admitted together.
    #[error("{count} statements at once, and the burst of rate limit `{}` is {burst}", .quota.name)]
    AboveBurst {
        quota: Quota,
        count: u32,
        burst: u32,
    },
}

impl Error {
    /// The limit, for the reply's headers.
    pub fn quota(&self) -> &Quota {
        match self {
            Self::Exceeded { quota, .. } | Self::AboveBurst { quota, .. } => quota,
        }
    }
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        match self {
            Self::Exceeded {
                quota,
                retry_after_ms,
            } => {
                let detail = format!(
                    "rate limit `{}` allows {} requests in {} s: wait {retry_after_ms} ms",
                    quota.name, quota.limit, quota.window_s
                );
                let mut problem = Problem::new(Code::RateLimitExceeded, detail);
                problem.retry_after_ms = Some(*retry_after_ms);
                problem
            }
            Self::AboveBurst {
                quota,
                count,
                burst,
            } => Problem::new(
                Code::RateLimitExceeded,
                format!(
                    "each statement of a batch counts: these are {count}, and rate limit `{}` allows {burst} at once; split the batch",
                    quota.name
                ),
            ),
        }
    }
}

/// Who counts at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimiterMode {
    /// Redis, for all sidecars together.
    Shared,
    /// This sidecar for itself: Redis is away, slow or not configured.
    Local,
}

impl LimiterMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Local => "local",
        }
    }
}

/// Admits operations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Option<Shared>,
    local: Local,
}

impl Limiter {
    /// `redis` is the limiter's own connection; without it every sidecar counts for itself. Redis may come later.
    /// Must be called inside a Tokio runtime.
    pub fn new(redis: Option<&RedisSettings>, now: Instant) -> Result<Self, ConnectError> {
        Ok(Self(Arc::new(Inner {
            shared: redis.map(Shared::connect).transpose()?,
            local: Local::new(now),
        })))
    }

    /// Who counts at this moment.
    pub fn mode(&self) -> LimiterMode {
        match &self.0.shared {
            Some(shared) if shared.is_usable() => LimiterMode::Shared,
            Some(_) | None => LimiterMode::Local,
        }
    }

    /// Counts the operations of one request against their caller's limit, all or none of them. The only place where
    /// a [`Ticket`] is made. May be cancelled; the operations may then have been counted.
    ///
    /// The end of a transaction is not counted: it frees what the limit protects.
    pub async fn admit(&self, permits: Vec<Permit>, now: Instant) -> Result<Vec<Ticket>, Error> {
        let quota = match permits.first() {
            Some(first) => self.count(first, &permits, now).await?,
            None => None,
        };
        let ticket = |permit| Ticket {
            permit,
            quota: quota.clone(),
        };
        Ok(permits.into_iter().map(ticket).collect())
    }

    /// What is left of the limit afterwards; `None` where nothing is counted.
    async fn count(
        &self,
        first: &Permit,
        permits: &[Permit],
        now: Instant,
    ) -> Result<Option<Quota>, Error> {
        let counted = permits.iter().filter(|permit| is_counted(permit)).count();
        let count = NonZeroU32::new(u32::try_from(counted).unwrap_or(u32::MAX));
        let (Some(limit), Some(count)) = (first.rate_limit(), count) else {
            return Ok(None);
        };
        let rate = Rate::of(limit);
        if u64::from(count.get()) > rate.capacity_us / rate.interval_us {
            return Err(Error::AboveBurst {
                quota: Quota::of(limit, &rate.nothing_left()),
                count: count.get(),
                burst: limit.burst,
            });
        }
        let outcome = self.take(limit, &first.caller().key_id, count, now).await;
        let quota = Quota::of(limit, &outcome);
        if outcome.allowed {
            return Ok(Some(quota));
        }
        Err(Error::Exceeded {
            quota,
            retry_after_ms: outcome.retry_after_us.div_ceil(1_000).max(1),
        })
    }

    /// What is left of a key's limit, without taking any. `None` while this sidecar counts for itself, when what the
    /// others have admitted is not known.
    pub async fn peek(&self, limit: &RateLimit, key_id: &str) -> Option<Quota> {
        let shared = self.0.shared.as_ref()?;
        let step = shared.step(&limit.name, key_id, Rate::of(limit), Step::Look);
        let outcome = step.await.ok()?;
        Some(Quota::of(limit, &outcome))
    }

    async fn take(
        &self,
        limit: &RateLimit,
        key_id: &str,
        count: NonZeroU32,
        now: Instant,
    ) -> Outcome {
        let rate = Rate::of(limit);
        let take_here = || self.0.local.take(&limit.name, key_id, rate, count, now);
        if let Some(shared) = &self.0.shared {
            let step = Step::Take(count);
            match shared.step(&limit.name, key_id, rate, step).await {
                Ok(outcome) => {
                    // The local count follows, so that a caller who stalls Redis does not find it fresh.
                    take_here();
                    return outcome;
                }
                Err(error) => tracing::debug!(%error, "this sidecar counts for itself"),
            }
        }
        take_here()
    }
}

fn is_counted(permit: &Permit) -> bool {
    !matches!(
        permit.operation().payload,
        Payload::Control(Control::Commit | Control::RollBack)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::Principal;
    use crate::operation::{Operation, Payload, Store};
    use std::time::Duration;

    pub fn permit(rate_limit: Option<RateLimit>) -> Permit {
        let operation = Operation {
            store: Store::Redis,
            classification: Arc::default(),
            payload: Payload::Redis {
                commands: Vec::new(),
                atomic: false,
            },
        };
        let caller = Arc::new(Principal {
            key_id: "k1".into(),
            user_id: None,
            role: "app".into(),
        });
        Permit::for_tests(operation, caller, rate_limit.map(Arc::new))
    }

    fn two_a_second() -> RateLimit {
        RateLimit {
            name: "app".into(),
            requests: 2,
            period_ms: 1_000,
            burst: 2,
        }
    }

    #[tokio::test]
    async fn without_a_limit_everything_is_admitted() {
        let now = Instant::now();
        let limiter = Limiter::new(None, now).unwrap();
        for _ in 0..100 {
            let tickets = limiter.admit(vec![permit(None)], now).await.unwrap();
            assert_eq!(tickets[0].quota(), None);
        }
        assert_eq!(limiter.mode(), LimiterMode::Local);
    }

    #[tokio::test]
    async fn a_limit_is_counted_and_told() {
        let start = Instant::now();
        let limiter = Limiter::new(None, start).unwrap();
        let cases = [
            (0, Ok((1, 500))),
            (0, Ok((0, 1_000))),
            (0, Err(500)),
            (300, Err(200)),
            (500, Ok((0, 1_000))),
        ];
        for (at_ms, expected) in cases {
            let now = start + Duration::from_millis(at_ms);
            let admitted = limiter.admit(vec![permit(Some(two_a_second()))], now).await;
            let found = match admitted {
                Ok(tickets) => {
                    let quota = tickets[0].quota().unwrap();
                    Ok((quota.remaining, quota.reset_ms))
                }
                Err(Error::Exceeded { retry_after_ms, .. }) => Err(retry_after_ms),
                Err(error @ Error::AboveBurst { .. }) => panic!("{error}"),
            };
            assert_eq!(found, expected, "{at_ms}");
        }
    }

    #[tokio::test]
    async fn the_refusal_says_what_to_do() {
        let now = Instant::now();
        let limiter = Limiter::new(None, now).unwrap();
        for _ in 0..2 {
            limiter
                .admit(vec![permit(Some(two_a_second()))], now)
                .await
                .unwrap();
        }
        let error = limiter
            .admit(vec![permit(Some(two_a_second()))], now)
            .await
            .unwrap_err();
        let problem = error.problem();
        assert_eq!(problem.code, Code::RateLimitExceeded);
        assert_eq!(problem.retry_after_ms, Some(500));
        assert_eq!(
            problem.detail,
            "rate limit `app` allows 2 requests in 1 s: wait 500 ms"
        );
        assert_eq!(error.quota().header(), r#""app";r=0;t=1"#);
    }

    #[tokio::test]
    async fn a_batch_counts_each_of_its_statements_or_none() {
        let now = Instant::now();
        let limiter = Limiter::new(None, now).unwrap();
        let some = |count: usize| (0..count).map(|_| permit(Some(two_a_second()))).collect();
        let error = limiter.admit(some(3), now).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 statements at once, and the burst of rate limit `app` is 2"
        );
        let one = limiter.admit(some(1), now).await.unwrap();
        assert_eq!(one[0].quota().unwrap().remaining, 1);
        let error = limiter.admit(some(2), now).await.unwrap_err();
        assert_eq!(error.problem().retry_after_ms, Some(500));
        assert_eq!(limiter.admit(some(1), now).await.unwrap().len(), 1);
    }
}
