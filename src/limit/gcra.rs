//! The generic cell rate algorithm (GCRA, ITU-T I.371 annex A). Pure arithmetic in whole microseconds.
//!
//! The state is one number: the theoretical arrival time (TAT) of the next request if all came evenly spaced. What
//! lies of it in the future is the *debt*; a request adds one interval to it, time takes it away, and a request
//! that would bring it above the capacity (interval times burst) is refused and adds nothing.

use super::quota::Numbers;
use crate::decide::limits::{WHOLE_SHARE_PPM, share_of};

/// Longest capacity, in microseconds: 2^50, some 35 years, so that the script's floating-point numbers stay exact.
pub const CAPACITY_US_MAX: u64 = 1 << 50;

/// A limit as GCRA counts it. Neither number is ever zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Time that one request costs. Rounded up, so that rounding never allows more than the policy.
    pub interval_us: u64,
    /// Most debt that may stand: the interval times the burst.
    pub capacity_us: u64,
}

/// What one step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub allowed: bool,
    /// Requests that would be allowed at this moment.
    pub remaining: u64,
    /// Until one request is allowed; 0 where it already was.
    pub retry_after_us: u64,
    /// Until the full burst is available again.
    pub reset_after_us: u64,
}

impl Rate {
    pub fn of(limit: Numbers) -> Self {
        let period_us = limit.period_ms.saturating_mul(1_000);
        let interval_us = period_us
            .div_ceil(u64::from(limit.requests.max(1)))
            .clamp(1, CAPACITY_US_MAX);
        let burst = u64::from(limit.burst.max(1));
        let capacity_us = interval_us
            .saturating_mul(burst)
            .clamp(interval_us, CAPACITY_US_MAX);
        Self {
            interval_us,
            capacity_us,
        }
    }
}

impl Rate {
    /// Requests that may come at once.
    pub const fn burst(self) -> u64 {
        self.capacity_us / self.interval_us
    }

    /// A sidecar's share of it, in millionths; never so small that a statement is not admitted that costs `cost_max`,
    /// where the whole admits it.
    pub fn share(self, ppm: u32, cost_max: u32) -> Self {
        let (ppm, whole) = (ppm.max(1), u64::from(WHOLE_SHARE_PPM));
        let burst = share_of(self.burst(), ppm).max(self.burst().min(cost_max.into()));
        let ppm = u64::from(ppm);
        let interval_us = self.interval_us.saturating_mul(whole).div_ceil(ppm);
        let interval_us = interval_us.clamp(1, CAPACITY_US_MAX);
        let capacity_us = interval_us.saturating_mul(burst);
        Self {
            interval_us,
            capacity_us: capacity_us.clamp(interval_us, CAPACITY_US_MAX),
        }
    }

    /// Nothing is asked, and nothing would be admitted.
    pub const fn nothing_left(self) -> Outcome {
        Outcome {
            allowed: false,
            remaining: 0,
            retry_after_us: self.capacity_us,
            reset_after_us: self.capacity_us,
        }
    }
}

/// What `gcra.lua` computes, in Rust: the tests hold the script to it.
#[cfg(test)]
impl Rate {
    /// `need` requests at `now_us`, and up to `ahead` more, with the TAT that stands. Returns what was taken ahead, and
    /// the TAT to keep, where it changes.
    ///
    /// A TAT further away than the capacity (the clock went back, or the limit was made smaller) counts as the
    /// capacity, so that no caller is locked out for longer than a full burst costs.
    pub(crate) fn step(
        self,
        tat_us: u64,
        now_us: u64,
        need: u32,
        ahead: u32,
    ) -> (Outcome, u32, Option<u64>) {
        let debt = tat_us.saturating_sub(now_us).min(self.capacity_us);
        let (need, ahead) = (u64::from(need), u64::from(ahead));
        let over = (debt + self.interval_us * need.max(1)).saturating_sub(self.capacity_us);
        if over > 0 && need > 0 {
            return (self.outcome(over, debt), 0, None);
        }
        let room = ((self.capacity_us - debt) / self.interval_us).saturating_sub(need);
        let ahead = ahead.min(room / 4);
        let debt = debt + self.interval_us * (need + ahead);
        let tat = (need + ahead > 0).then_some(now_us + debt);
        (self.outcome(over, debt), u32::try_from(ahead).unwrap(), tat)
    }

    fn outcome(self, over: u64, debt: u64) -> Outcome {
        Outcome {
            allowed: over == 0,
            remaining: (self.capacity_us - debt) / self.interval_us,
            retry_after_us: over,
            reset_after_us: debt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(requests: u32, period_ms: u64, burst: u32) -> Numbers {
        Numbers {
            requests,
            period_ms,
            burst,
        }
    }

    #[test]
    fn a_limit_becomes_a_rate() {
        let cases = [
            // requests, period, burst → interval, capacity
            ((600, 60_000, 100), (100_000, 10_000_000)),
            ((7, 1_000, 1), (142_858, 142_858)),
            ((u32::MAX, 1, 10), (1, 10)),
            ((1, u64::MAX, u32::MAX), (CAPACITY_US_MAX, CAPACITY_US_MAX)),
            ((0, 1_000, 0), (1_000_000, 1_000_000)),
        ];
        for ((requests, period_ms, burst), (interval_us, capacity_us)) in cases {
            let expected = Rate {
                interval_us,
                capacity_us,
            };
            assert_eq!(Rate::of(limit(requests, period_ms, burst)), expected);
        }
    }

    #[test]
    fn a_share_is_a_slower_rate_with_a_smaller_burst() {
        let rate = Rate::of(limit(600, 60_000, 100));
        for (ppm, cost_max, interval_us, burst) in [
            (1_000_000, 1, 100_000, 100),
            (250_000, 1, 400_000, 25),
            (250_000, 25, 400_000, 25),
            // What one statement costs must be possible, where it is without a share.
            (250_000, 40, 400_000, 40),
            (250_000, 101, 400_000, 100),
            (333_333, 1, 300_001, 33),
            (1, 1, 100_000_000_000, 1),
        ] {
            let share = rate.share(ppm, cost_max);
            assert_eq!((share.interval_us, share.burst()), (interval_us, burst));
        }
    }

    #[test]
    fn what_is_taken_ahead_leaves_three_quarters() {
        // Ten a second, a hundred at once, of which so many are gone.
        let rate = Rate::of(limit(10, 1_000, 100));
        let now = 1_000_000_000_000;
        for (gone, need, ahead, expected) in [
            (0, 1, 10, 10),
            (0, 1, 60, 24),
            (80, 1, 10, 4),
            (96, 1, 10, 0),
            (99, 1, 10, 0),
            (100, 1, 10, 0),
            (0, 0, 10, 10),
        ] {
            let tat = now + gone * rate.interval_us;
            let (_, taken, new_tat) = rate.step(tat, now, need, ahead);
            assert_eq!(taken, expected, "{gone} {need} {ahead}");
            let spent = if gone == 100 {
                None
            } else {
                Some(u64::from(need + taken))
            };
            assert_eq!(new_tat, spent.map(|spent| tat + spent * rate.interval_us));
        }
    }

    #[test]
    fn steps_read_as_the_algorithm() {
        // Ten a second, three at once.
        let rate = Rate::of(limit(10, 1_000, 3));
        let (start, tenth) = (1_000_000_000, 100_000);
        let cases = [
            // now, tat → allowed, remaining, retry, reset, new tat
            (start, 0, true, 2, 0, tenth, Some(start + tenth)),
            (
                start,
                start + tenth,
                true,
                1,
                0,
                2 * tenth,
                Some(start + 2 * tenth),
            ),
            (
                start,
                start + 2 * tenth,
                true,
                0,
                0,
                3 * tenth,
                Some(start + 3 * tenth),
            ),
            (start, start + 3 * tenth, false, 0, tenth, 3 * tenth, None),
            (
                start + tenth / 4,
                start + 3 * tenth,
                false,
                0,
                tenth - tenth / 4,
                3 * tenth - tenth / 4,
                None,
            ),
            (
                start + tenth,
                start + 3 * tenth,
                true,
                0,
                0,
                3 * tenth,
                Some(start + 4 * tenth),
            ),
            // The clock went back by an hour: as a full debt, not as an hour's wait.
            (
                start,
                start + 36_000 * tenth,
                false,
                0,
                tenth,
                3 * tenth,
                None,
            ),
        ];
        for (now, tat, allowed, remaining, retry_after_us, reset_after_us, new_tat) in cases {
            let outcome = Outcome {
                allowed,
                remaining,
                retry_after_us,
                reset_after_us,
            };
            assert_eq!(
                rate.step(tat, now, 1, 0),
                (outcome, 0, new_tat),
                "{now} {tat}"
            );
        }
    }

    /// The reference: a bucket of `burst` tokens that fills by one each interval, in exact fractions of a token.
    struct Bucket {
        filled_us: u64,
        at_us: u64,
    }

    impl Bucket {
        fn take(&mut self, rate: Rate, now_us: u64) -> bool {
            self.filled_us = (self.filled_us + (now_us - self.at_us)).min(rate.capacity_us);
            self.at_us = now_us;
            let allowed = self.filled_us >= rate.interval_us;
            if allowed {
                self.filled_us -= rate.interval_us;
            }
            allowed
        }
    }

    proptest! {
        #[test]
        fn it_decides_as_a_token_bucket(
            requests in 1_u32..2_000,
            period_ms in 1_u64..100_000,
            burst in 1_u32..50,
            gaps_us in prop::collection::vec(0_u64..3_000_000, 1..200),
        ) {
            let rate = Rate::of(limit(requests, period_ms, burst));
            let mut now_us = 1_700_000_000_000_000;
            let mut bucket = Bucket { filled_us: rate.capacity_us, at_us: now_us };
            let mut tat_us = 0;
            for gap_us in gaps_us {
                now_us += gap_us;
                let (outcome, _, new_tat) = rate.step(tat_us, now_us, 1, 0);
                prop_assert_eq!(outcome.allowed, bucket.take(rate, now_us));
                prop_assert_eq!(outcome.remaining, bucket.filled_us / rate.interval_us);
                prop_assert_eq!(outcome.reset_after_us, rate.capacity_us - bucket.filled_us);
                if !outcome.allowed {
                    // Waiting as told is enough, and one microsecond less is not.
                    let told = now_us + outcome.retry_after_us;
                    prop_assert!(rate.step(tat_us, told, 1, 0).0.allowed);
                    prop_assert!(!rate.step(tat_us, told - 1, 1, 0).0.allowed);
                }
                tat_us = new_tat.unwrap_or(tat_us);
            }
        }
    }
}
