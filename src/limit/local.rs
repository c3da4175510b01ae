//! The limit of this sidecar alone, while Redis is away: `governor`, one bucket for each key of each limit.
//!
//! Time is handed in: governor's clock here is the latest `now` that anyone has brought.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota as GovernorQuota, RateLimiter};
use quick_cache::sync::Cache;

use super::gcra::{Outcome, Rate};

/// Keys whose state is kept for one limit. Beyond them, new keys share one bucket.
pub const LOCAL_KEYS_MAX: usize = 10_000;
/// Limits whose state is kept; the least used one is forgotten first.
pub const LOCAL_LIMITS_MAX: usize = 256;

/// The bucket of keys that found no room. No API key has an empty id.
const OVERFLOW_KEY: &str = "";

type Buckets =
    RateLimiter<Arc<str>, DashMapStateStore<Arc<str>>, HandedClock, StateInformationMiddleware>;

/// Nanoseconds since the limiter was made; the latest that was handed in.
#[derive(Debug, Clone, Default)]
struct HandedClock(Arc<AtomicU64>);

impl Clock for HandedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

pub struct Local {
    epoch: Instant,
    clock: HandedClock,
    limits: Cache<(String, Rate), Arc<Buckets>>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("limits", &self.limits.len())
            .finish_non_exhaustive()
    }
}

impl Local {
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            clock: HandedClock::default(),
            limits: Cache::new(LOCAL_LIMITS_MAX),
        }
    }

    /// Takes `count` requests of one key of one limit, all or none. There must be no more than the burst.
    pub fn take(
        &self,
        limit: &str,
        key_id: &str,
        rate: Rate,
        count: NonZeroU32,
        now: Instant,
    ) -> Outcome {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.clock.0.fetch_max(elapsed, Ordering::Relaxed);
        let buckets = self.buckets(limit, rate);
        let key: Arc<str> = Arc::from(room(&buckets, key_id));
        match buckets.check_key_n(&key, count) {
            Ok(Ok(snapshot)) => {
                let remaining = u64::from(snapshot.remaining_burst_capacity());
                let free_us = remaining.saturating_mul(rate.interval_us);
                Outcome {
                    allowed: true,
                    remaining,
                    retry_after_us: 0,
                    reset_after_us: rate.capacity_us.saturating_sub(free_us),
                }
            }
            Ok(Err(not_until)) => {
                let now = self.clock.now();
                let wait = not_until.earliest_possible().duration_since(now);
                let retry_after_us = wait.as_u64().div_ceil(1_000);
                let taken_us = rate.interval_us.saturating_mul(count.get().into());
                let until_then = rate.capacity_us.saturating_sub(taken_us);
                Outcome {
                    allowed: false,
                    remaining: 0,
                    retry_after_us,
                    reset_after_us: retry_after_us.saturating_add(until_then),
                }
            }
            Err(_) => rate.nothing_left(),
        }
    }

    fn buckets(&self, limit: &str, rate: Rate) -> Arc<Buckets> {
        let name = (limit.to_owned(), rate);
        if let Some(buckets) = self.limits.get(&name) {
            return buckets;
        }
        let buckets: Arc<Buckets> = Arc::new(RateLimiter::new(
            quota(rate),
            DashMapStateStore::default(),
            self.clock.clone(),
        ));
        // Of two that make it at once, the first stays.
        let made = Arc::clone(&buckets);
        self.limits
            .get_or_insert_with(&name, || Ok::<_, std::convert::Infallible>(made))
            .unwrap_or(buckets)
    }
}

/// The key itself, while there is room for its state; full buckets of idle keys are forgotten to make some.
fn room<'a>(buckets: &Buckets, key_id: &'a str) -> &'a str {
    if buckets.len() < LOCAL_KEYS_MAX {
        return key_id;
    }
    buckets.retain_recent();
    if buckets.len() < LOCAL_KEYS_MAX {
        key_id
    } else {
        OVERFLOW_KEY
    }
}

fn quota(rate: Rate) -> GovernorQuota {
    let burst = u32::try_from(rate.capacity_us / rate.interval_us).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::from_micros(rate.interval_us);
    GovernorQuota::with_period(interval)
        .unwrap_or_else(|| GovernorQuota::per_second(NonZeroU32::MIN))
        .allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten a second, three at once.
    const RATE: Rate = Rate {
        interval_us: 100_000,
        capacity_us: 300_000,
    };

    fn outcome(allowed: bool, remaining: u64, retry_after_us: u64, reset_after_us: u64) -> Outcome {
        Outcome {
            allowed,
            remaining,
            retry_after_us,
            reset_after_us,
        }
    }

    #[test]
    fn it_decides_as_the_shared_one() {
        let start = Instant::now();
        let local = Local::new(start);
        let cases = [
            (0, "a", outcome(true, 2, 0, 100_000)),
            (0, "a", outcome(true, 1, 0, 200_000)),
            (0, "a", outcome(true, 0, 0, 300_000)),
            (0, "a", outcome(false, 0, 100_000, 300_000)),
            (0, "b", outcome(true, 2, 0, 100_000)),
            (40, "a", outcome(false, 0, 60_000, 260_000)),
            (100, "a", outcome(true, 0, 0, 300_000)),
            // Time does not go back for the limiter.
            (50, "a", outcome(false, 0, 100_000, 300_000)),
            (10_000, "a", outcome(true, 2, 0, 100_000)),
        ];
        for (at_ms, key_id, expected) in cases {
            let now = start + Duration::from_millis(at_ms);
            assert_eq!(
                local.take("app", key_id, RATE, NonZeroU32::MIN, now),
                expected,
                "{at_ms} {key_id}"
            );
        }
    }

    #[test]
    fn limits_and_their_changes_count_apart() {
        let start = Instant::now();
        let local = Local::new(start);
        let other = Rate {
            interval_us: 100_000,
            capacity_us: 100_000,
        };
        assert!(local.take("app", "a", RATE, NonZeroU32::MIN, start).allowed);
        assert!(
            local
                .take("app", "a", other, NonZeroU32::MIN, start)
                .allowed
        );
        assert!(
            !local
                .take("app", "a", other, NonZeroU32::MIN, start)
                .allowed
        );
        assert!(
            local
                .take("batch", "a", other, NonZeroU32::MIN, start)
                .allowed
        );
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let start = Instant::now();
        let local = Local::new(start);
        let slow = Rate {
            interval_us: 1 << 40,
            capacity_us: 1 << 40,
        };
        for key in 0..LOCAL_KEYS_MAX {
            assert!(
                local
                    .take("app", &key.to_string(), slow, NonZeroU32::MIN, start)
                    .allowed
            );
        }
        // One more shares a bucket with all that come after it.
        assert!(local.take("app", "x", slow, NonZeroU32::MIN, start).allowed);
        assert!(!local.take("app", "y", slow, NonZeroU32::MIN, start).allowed);
        // When the first are idle again, there is room.
        let later = start + Duration::from_micros(1 << 41);
        assert!(local.take("app", "x", slow, NonZeroU32::MIN, later).allowed);
        assert!(local.take("app", "y", slow, NonZeroU32::MIN, later).allowed);
    }
}
