//! The count of this sidecar alone, while Redis is away: `governor`.
//!
//! Time is handed in: governor's clock here is the latest `now` that anyone has brought.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota as GovernorQuota, RateLimiter};

use super::gcra::{Outcome, Rate};

/// Nanoseconds since the limiter was made; the latest that was handed in.
#[derive(Debug, Clone)]
pub struct HandedClock {
    epoch: Instant,
    latest: Arc<AtomicU64>,
}

impl HandedClock {
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            latest: Arc::default(),
        }
    }

    pub fn hand(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.latest.fetch_max(elapsed, Ordering::Relaxed);
    }
}

impl Clock for HandedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.latest.load(Ordering::Relaxed))
    }
}

/// The theoretical arrival time that governor keeps, where what another limit has refused can be given back.
#[derive(Debug, Clone, Default)]
struct Tat(Arc<AtomicU64>);

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.0.load(Ordering::Acquire);
        loop {
            let (result, tat) = measure((known > 0).then(|| Nanos::from(known)))?;
            let replaced = self.0.compare_exchange_weak(
                known,
                tat.into(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match replaced {
                Ok(_) => return Ok(result),
                Err(now) => known = now,
            }
        }
    }
}

/// One bucket.
pub struct Local {
    rate: Rate,
    tat: Tat,
    began: Duration,
    clock: HandedClock,
    limiter: RateLimiter<NotKeyed, Tat, HandedClock, StateInformationMiddleware>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl Local {
    pub fn new(rate: Rate, clock: &HandedClock) -> Self {
        let tat = Tat::default();
        let limiter = RateLimiter::new(quota(rate), tat.clone(), clock.clone());
        Self {
            rate,
            tat,
            began: clock.now(),
            clock: clock.clone(),
            limiter,
        }
    }

    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes `count` requests, all or none.
    pub fn take(&self, count: NonZeroU32, now: Instant) -> Outcome {
        self.clock.hand(now);
        match self.limiter.check_n(count) {
            Ok(Ok(snapshot)) => {
                let remaining = u64::from(snapshot.remaining_burst_capacity());
                let free_us = remaining.saturating_mul(self.rate.interval_us);
                Outcome {
                    allowed: true,
                    remaining,
                    retry_after_us: 0,
                    reset_after_us: self.rate.capacity_us.saturating_sub(free_us),
                }
            }
            Ok(Err(not_until)) => {
                let now = self.clock.now();
                let wait = not_until.earliest_possible().duration_since(now);
                let retry_after_us = wait.as_u64().div_ceil(1_000);
                let taken_us = self.rate.interval_us.saturating_mul(count.get().into());
                let until_then = self.rate.capacity_us.saturating_sub(taken_us);
                Outcome {
                    allowed: false,
                    remaining: 0,
                    retry_after_us,
                    reset_after_us: retry_after_us.saturating_add(until_then),
                }
            }
            Err(_) => self.rate.nothing_left(),
        }
    }

    /// Gives back what was just taken, since another limit did not admit.
    pub fn give_back(&self, count: NonZeroU32) {
        let spent = self.rate.interval_us.saturating_mul(1_000);
        let spent = spent.saturating_mul(count.get().into());
        let back = |tat: u64| Some(tat.saturating_sub(spent));
        // It always succeeds: the closure always gives a value.
        let _ = self
            .tat
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, back);
    }

    /// The debt that stands.
    pub fn debt_us(&self, now: Instant) -> u64 {
        self.clock.hand(now);
        let age = self.clock.now().saturating_sub(self.began).as_nanos();
        let age = u64::try_from(age).unwrap_or(u64::MAX);
        let tat = self.tat.0.load(Ordering::Acquire);
        tat.saturating_sub(age).div_ceil(1_000)
    }

    /// Whether it is full again, so that nothing is lost when it is forgotten.
    pub fn is_full(&self, now: Instant) -> bool {
        self.clock.hand(now);
        let age = self.clock.now().saturating_sub(self.began);
        u128::from(self.tat.0.load(Ordering::Acquire)) <= age.as_nanos()
    }
}

fn quota(rate: Rate) -> GovernorQuota {
    let burst = u32::try_from(rate.burst()).unwrap_or(u32::MAX);
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

    const ONE: NonZeroU32 = NonZeroU32::MIN;

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
        let local = Local::new(RATE, &HandedClock::new(start));
        let cases = [
            (0, outcome(true, 2, 0, 100_000)),
            (0, outcome(true, 1, 0, 200_000)),
            (0, outcome(true, 0, 0, 300_000)),
            (0, outcome(false, 0, 100_000, 300_000)),
            (40, outcome(false, 0, 60_000, 260_000)),
            (100, outcome(true, 0, 0, 300_000)),
            // Time does not go back for the limiter.
            (50, outcome(false, 0, 100_000, 300_000)),
            (10_000, outcome(true, 2, 0, 100_000)),
        ];
        for (at_ms, expected) in cases {
            let now = start + Duration::from_millis(at_ms);
            let found = local.take(ONE, now);
            assert_eq!(found, expected, "{at_ms}");
            if found.allowed {
                assert_eq!(local.debt_us(now), found.reset_after_us, "{at_ms}");
            }
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let start = Instant::now();
        let local = Local::new(RATE, &HandedClock::new(start));
        let three = NonZeroU32::new(3).unwrap();
        for _ in 0..5 {
            assert!(local.take(three, start).allowed);
            assert!(!local.take(ONE, start).allowed);
            assert!(!local.is_full(start));
            local.give_back(three);
            assert!(local.is_full(start));
        }
        assert_eq!(
            local.take(NonZeroU32::new(4).unwrap(), start),
            RATE.nothing_left()
        );
    }
}
