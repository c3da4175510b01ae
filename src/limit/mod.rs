//! Rate limits: slices held here ([`lease`]), Redis for all sidecars together ([`shared`]), governor for this one alone
//! ([`local`]), and [`Ticket`], the proof that they admitted.
//!
//! A request never waits for the limiter longer than [`SHARED_MS_MAX`]: where Redis has not answered by then, the
//! policy's `on_redis_failure` says what becomes of it, and nobody waits until Redis has answered a probe.
//! `docs/limits.md` says what each mode promises.

mod admit;
mod bucket;
mod claim;
pub(crate) mod gcra;
mod lease;
mod local;
pub mod overrides;
mod quota;
pub mod shared;
mod watch;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod simulation_tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

pub use admit::{Admission, Held};
pub use bucket::BUCKETS_MAX;
pub use claim::CountedBy;
pub use lease::{LEASE_MS_MAX, LEASE_PARTS};
pub use quota::{Left, Numbers, Quota, Standing};
pub use shared::{KEY_PREFIX, SHARED_MS_MAX};

use crate::authenticate::Principal;
use crate::decide::limits::{OnRedisFailure, Per};
use crate::decide::{Permit, Policy, RateLimit, Role};
use crate::error::{Code, Problem, PublicError};
use crate::execute::redis::link::{ConnectError, RedisSettings};
use bucket::Buckets;
use gcra::Rate;
use overrides::Overrides;
use shared::{Ask, Shared, redis_key};

/// What a caller is told to wait where nobody knows when there is room: requests in flight end, Redis comes back.
const RETRY_AFTER_MS: u64 = 1_000;

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
///     bulkhead::limit::Ticket { permit }
/// }
/// ```
#[derive(Debug)]
pub struct Ticket {
    permit: Permit,
}

impl Ticket {
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// For the tests of `execute`; no limit was asked.
    #[cfg(test)]
    pub(crate) fn for_tests(permit: Permit) -> Self {
        Self { permit }
    }
}

/// Why an operation was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Error {
    pub why: Why,
    /// The limits, for the reply's headers.
    pub quota: Quota,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("rate limit `{}` exceeded, retry after {retry_after_ms} ms", .limit.name)]
    Exceeded {
        limit: Arc<RateLimit>,
        numbers: Numbers,
        retry_after_ms: u64,
    },
    /// However long the caller waited, so many would not be admitted together.
    #[error("{units} at once, and the burst of rate limit `{}` is {burst}", .limit.name)]
    AboveBurst {
        limit: Arc<RateLimit>,
        units: u32,
        burst: u64,
    },
    /// This sidecar counts for itself, and its share admits fewer together.
    #[error("{units} at once, and this sidecar's share of rate limit `{}` is {burst}", .limit.name)]
    AboveShare {
        limit: Arc<RateLimit>,
        units: u32,
        burst: u64,
    },
    #[error("{max} in flight, as many as rate limit `{}` allows", .limit.name)]
    Concurrent { limit: Arc<RateLimit>, max: u32 },
    /// Redis is away, and the policy has its limit closed then.
    #[error("rate limit `{}` is closed while Redis is away", .limit.name)]
    Closed { limit: Arc<RateLimit> },
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        let (code, detail, retry_after_ms) = match &self.why {
            Why::Exceeded {
                limit,
                numbers,
                retry_after_ms,
            } => (
                Code::RateLimitExceeded,
                format!(
                    "rate limit `{}` allows {} requests in {} s: wait {retry_after_ms} ms",
                    limit.name,
                    numbers.requests,
                    numbers.window_s()
                ),
                Some(*retry_after_ms),
            ),
            Why::AboveBurst {
                limit,
                units,
                burst,
            } => (
                Code::RateLimitExceeded,
                format!(
                    "each statement of a batch or pipeline counts: these are {units}, and rate limit `{}` allows {burst} at once; split it",
                    limit.name
                ),
                None,
            ),
            Why::AboveShare {
                limit,
                units,
                burst,
            } => (
                Code::RateLimitExceeded,
                format!(
                    "each statement of a batch or pipeline counts: these are {units}, and rate limit `{}` allows {burst} at once just now; split it, or try again shortly",
                    limit.name
                ),
                Some(RETRY_AFTER_MS),
            ),
            Why::Concurrent { limit, max } => (
                Code::RateLimitExceeded,
                format!(
                    "rate limit `{}` allows {max} requests in flight: wait until one has ended",
                    limit.name
                ),
                Some(RETRY_AFTER_MS),
            ),
            Why::Closed { limit } => (
                Code::RateLimitUnavailable,
                format!(
                    "rate limit `{}` cannot be counted just now: try again shortly",
                    limit.name
                ),
                Some(RETRY_AFTER_MS),
            ),
        };
        let mut problem = Problem::new(code, detail);
        problem.retry_after_ms = retry_after_ms;
        problem
    }
}

/// Who counts at this moment, or what is done instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimiterMode {
    /// Redis, for all sidecars together.
    Shared,
    /// This sidecar for itself: Redis is away, slow or not configured.
    Local,
    /// Nobody: everything is admitted.
    Open,
    /// Nobody: everything is refused.
    Closed,
}

impl LimiterMode {
    pub const ALL: [Self; 4] = [Self::Shared, Self::Local, Self::Open, Self::Closed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Admits operations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Option<Shared>,
    buckets: Buckets,
    overrides: Arc<Overrides>,
}

impl Limiter {
    /// `redis` is the limiter's own connection; without it every sidecar counts for itself. Redis may come later.
    /// Must be called inside a Tokio runtime.
    pub fn new(redis: Option<&RedisSettings>, now: Instant) -> Result<Self, ConnectError> {
        Ok(Self(Arc::new(Inner {
            shared: redis.map(Shared::connect).transpose()?,
            buckets: Buckets::new(BUCKETS_MAX, now),
            overrides: Arc::default(),
        })))
    }

    /// Other numbers than the policy's; somebody must [`Overrides::keep`] them.
    pub fn overrides(&self) -> &Arc<Overrides> {
        &self.0.overrides
    }

    /// Whether Redis counts at this moment.
    pub fn is_shared(&self) -> bool {
        self.0.shared.as_ref().is_some_and(Shared::is_usable)
    }

    /// How the limits of a policy's roles are counted at this moment; each mode once.
    pub fn modes(&self, policy: &Policy) -> Vec<LimiterMode> {
        if self.is_shared() {
            return vec![LimiterMode::Shared];
        }
        let roles = policy.roles();
        let limits = roles.iter().flat_map(|role| role.rate_limits());
        let rates = limits.filter_map(|limit| limit.rate);
        let modes: BTreeSet<LimiterMode> = rates
            .map(|rate| match rate.on_redis_failure {
                OnRedisFailure::Closed => LimiterMode::Closed,
                OnRedisFailure::Open if self.0.shared.is_some() => LimiterMode::Open,
                OnRedisFailure::Open | OnRedisFailure::Local => LimiterMode::Local,
            })
            .collect();
        if modes.is_empty() {
            return vec![LimiterMode::Local];
        }
        modes.into_iter().collect()
    }

    /// What is left of a caller's limits, without taking any. Of a rate nothing is known while Redis is away.
    pub async fn peek(&self, role: &Role, caller: &Principal, now: Instant) -> Quota {
        let mut quota = Quota::default();
        let mut rates = Vec::new();
        for (at, limit) in role.rate_limits().iter().enumerate() {
            if let Some(numbers) = self.numbers(limit, at == 0, caller, now) {
                let key = redis_key(&limit.name, limit.per, name(limit, caller));
                rates.push((key, Rate::of(numbers), quota.0.len()));
                let left = Left::Rate { numbers, now: None };
                quota.0.push(Standing {
                    limit: Arc::clone(limit),
                    left,
                });
            }
            if let Some(max) = limit.concurrent {
                let bucket = self.0.buckets.find(limit, name(limit, caller));
                let in_flight = bucket.map_or(0, |bucket| bucket.in_flight());
                quota.0.push(Standing {
                    limit: Arc::clone(limit),
                    left: Left::Flight { max, in_flight },
                });
            }
        }
        let debts = Box::pin(self.look(&rates)).await;
        for ((_, rate, at), debt_us) in rates.into_iter().zip(debts) {
            let Some(Standing { limit, left }) = quota.0.get_mut(at) else {
                continue;
            };
            let bucket = self.0.buckets.find(limit, name(limit, caller));
            let counted = bucket.as_ref().and_then(|bucket| bucket.counted.as_ref());
            let held = counted.map_or(0, |counted| counted.held().lease.left(now));
            *left = left.with_debt(rate, debt_us, held);
        }
        quota
    }

    /// The debts in Redis; none without an answer.
    async fn look(&self, rates: &[(String, Rate, usize)]) -> Vec<u64> {
        let (Some(shared), false) = (&self.0.shared, rates.is_empty()) else {
            return Vec::new();
        };
        let asks = rates.iter().map(|(redis_key, rate, _)| Ask {
            redis_key,
            rate: *rate,
            need: 0,
            ahead: 0,
            shadow: false,
        });
        let asks: Vec<Ask<'_>> = asks.collect();
        let answers = shared.step(&asks).await.unwrap_or_default();
        let debts = answers.iter().map(|answer| answer.outcome.reset_after_us);
        debts.collect()
    }

    /// The numbers in force; `None` where the limit has no rate.
    fn numbers(
        &self,
        limit: &RateLimit,
        is_first: bool,
        caller: &Principal,
        now: Instant,
    ) -> Option<Numbers> {
        let rate = limit.rate.as_ref()?;
        let other = self.0.overrides.find(limit, is_first, caller, now);
        Some(other.unwrap_or_else(|| Numbers::of(rate)))
    }
}

/// Who is counted.
fn name<'c>(limit: &RateLimit, caller: &'c Principal) -> &'c str {
    match limit.per {
        Per::Key => &caller.key_id,
        Per::Role => &caller.role,
    }
}

#[cfg(test)]
mod tests;
