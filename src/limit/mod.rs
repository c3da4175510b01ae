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

use std::sync::Arc;
use std::time::Instant;

pub use local::{LOCAL_KEYS_MAX, LOCAL_LIMITS_MAX};
pub use quota::Quota;
pub use shared::{KEY_PREFIX, SHARED_MS_MAX};

use crate::decide::{Permit, RateLimit};
use crate::error::{Code, Problem, PublicError};
use crate::execute::redis::link::{ConnectError, RedisSettings};
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
}

impl Error {
    /// The limit, for the reply's headers.
    pub fn quota(&self) -> &Quota {
        match self {
            Self::Exceeded { quota, .. } => quota,
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

    /// Counts the operation against its caller's limit. The only place where a [`Ticket`] is made. May be cancelled;
    /// the request may then have been counted.
    pub async fn admit(&self, permit: Permit, now: Instant) -> Result<Ticket, Error> {
        let Some(limit) = permit.rate_limit().map(Arc::clone) else {
            return Ok(Ticket {
                permit,
                quota: None,
            });
        };
        let outcome = self.take(&limit, &permit.caller().key_id, now).await;
        let quota = Quota::of(&limit, &outcome);
        if outcome.allowed {
            Ok(Ticket {
                permit,
                quota: Some(quota),
            })
        } else {
            Err(Error::Exceeded {
                quota,
                retry_after_ms: outcome.retry_after_us.div_ceil(1_000).max(1),
            })
        }
    }

    /// What is left of a key's limit, without taking any. `None` while this sidecar counts for itself, when what the
    /// others have admitted is not known.
    pub async fn peek(&self, limit: &RateLimit, key_id: &str) -> Option<Quota> {
        let shared = self.0.shared.as_ref()?;
        let step = shared.step(&limit.name, key_id, Rate::of(limit), Step::Look);
        let outcome = step.await.ok()?;
        Some(Quota::of(limit, &outcome))
    }

    async fn take(&self, limit: &RateLimit, key_id: &str, now: Instant) -> Outcome {
        let rate = Rate::of(limit);
        if let Some(shared) = &self.0.shared {
            match shared.step(&limit.name, key_id, rate, Step::Take).await {
                Ok(outcome) => {
                    // The local count follows, so that a caller who stalls Redis does not find it fresh.
                    self.0.local.take(&limit.name, key_id, rate, now);
                    return outcome;
                }
                Err(error) => tracing::debug!(%error, "this sidecar counts for itself"),
            }
        }
        self.0.local.take(&limit.name, key_id, rate, now)
    }
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
            let ticket = limiter.admit(permit(None), now).await.unwrap();
            assert_eq!(ticket.quota(), None);
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
            let admitted = limiter.admit(permit(Some(two_a_second())), now).await;
            let found = match admitted {
                Ok(ticket) => {
                    let quota = ticket.quota().unwrap();
                    Ok((quota.remaining, quota.reset_ms))
                }
                Err(Error::Exceeded { retry_after_ms, .. }) => Err(retry_after_ms),
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
                .admit(permit(Some(two_a_second())), now)
                .await
                .unwrap();
        }
        let error = limiter
            .admit(permit(Some(two_a_second())), now)
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
}
