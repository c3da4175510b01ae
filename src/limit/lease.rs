//! A slice of a limit that a sidecar has taken ahead of need, so that the usual request waits for no round trip. Pure:
//! time is handed in.
//!
//! A slice is taken from the very count that `exact` uses, so that it is paid for before it is used. It can be used for
//! [`LEASE_MS_MAX`] from when it was asked for, by this sidecar's monotonic clock, and what is then left of it is lost.
//! All slices of one bucket, those asked for included, never hold more than [`slice_max`]. From these two facts
//! follows the bound in `docs/limits.md`.

use std::time::{Duration, Instant};

use super::gcra::Rate;

/// How long a slice can be used after it was asked for.
pub const LEASE_MS_MAX: u64 = 500;

/// A sidecar holds at most one in so many of the burst ahead.
pub const LEASE_PARTS: u64 = 10;

/// After an answer that there is nothing to take ahead, how long nothing is asked for in the background.
const RENEW_PAUSE_MS: u64 = 5;

const LEASE: Duration = Duration::from_millis(LEASE_MS_MAX);

/// Most that one sidecar holds ahead; 0 where the burst is so small that every request is counted exactly.
pub fn slice_max(rate: Rate) -> u32 {
    u32::try_from(rate.burst() / LEASE_PARTS).unwrap_or(u32::MAX)
}

/// When a slice that is asked for now can no more be used.
pub fn until(asked: Instant) -> Instant {
    asked + LEASE
}

/// What is held of one bucket.
#[derive(Debug, Default)]
pub struct Lease {
    /// Used first.
    current: Slice,
    next: Slice,
    /// Asked for and not answered.
    pending: u32,
    demand: Demand,
    renew_after: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slice {
    units: u32,
    until: Option<Instant>,
}

/// What came of asking the slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Admitted. `renew` more should be asked for in the background; they are reserved.
    Held { receipt: Receipt, renew: u32 },
    /// The slices do not have it: Redis must be asked, and for `ahead` more; they are reserved.
    Short { ahead: u32 },
}

/// From which slice units were taken, so that they can be put back into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    units: u32,
    until: Option<Instant>,
}

impl Lease {
    /// Takes `units`, all or none. What is reserved must be answered by [`Self::answered`].
    pub fn take(&mut self, units: u32, slice_max: u32, now: Instant) -> Taken {
        self.forget_expired(now);
        let expected = self.demand.expected(now);
        self.demand.note(units, now);
        let held = self.held();
        if held < units {
            let room = slice_max.saturating_sub(held.saturating_add(self.pending));
            let ahead = room.min(expected);
            self.pending += ahead;
            return Taken::Short { ahead };
        }
        let from_current = units.min(self.current.units);
        let receipt = Receipt {
            units: from_current,
            until: self.current.until,
        };
        self.current.units -= from_current;
        self.next.units -= units - from_current;
        self.forget_expired(now);
        let renew = self.due(slice_max, now);
        self.pending += renew;
        Taken::Held { receipt, renew }
    }

    /// How many more to ask for while some are left.
    fn due(&self, slice_max: u32, now: Instant) -> u32 {
        let is_paused = self.renew_after.is_some_and(|after| now < after);
        if is_paused || self.pending > 0 || self.next.units > 0 {
            return 0;
        }
        let wanted = slice_max.min(self.demand.expected(now));
        let left = self
            .current
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let is_short = self.current.units < wanted.div_ceil(2);
        if is_short || left < LEASE / 2 {
            wanted.saturating_sub(self.current.units)
        } else {
            0
        }
    }

    /// Ends a reservation of `reserved`, of which Redis gave `given`, asked for at `asked`. Without an answer nothing was
    /// given, as far as this sidecar will ever know.
    pub fn answered(&mut self, reserved: u32, given: u32, asked: Instant, now: Instant) {
        self.pending = self.pending.saturating_sub(reserved);
        self.forget_expired(now);
        let given = given.min(reserved);
        if given == 0 {
            if reserved > 0 {
                self.renew_after = Some(now + Duration::from_millis(RENEW_PAUSE_MS));
            }
            return;
        }
        let slice = Slice {
            units: given,
            until: Some(until(asked)),
        };
        if self.current.units == 0 {
            self.current = slice;
        } else if self.next.units == 0 {
            self.next = slice;
        } else {
            // Two answers at once: together they last as long as the shorter.
            self.next.units += given;
            self.next.until = self.next.until.min(slice.until);
        }
        self.forget_expired(now);
    }

    /// Puts units back that another limit did not admit. What its slice no longer takes is lost: it may have been used
    /// up, or their place may be reserved for what was asked for since.
    pub fn give_back(&mut self, receipt: Receipt, slice_max: u32) {
        let room = slice_max.saturating_sub(self.held().saturating_add(self.pending));
        for slice in [&mut self.current, &mut self.next] {
            if slice.until.is_some() && slice.until == receipt.until {
                slice.units += receipt.units.min(room);
                return;
            }
        }
    }

    /// What could be used at this moment.
    pub fn left(&mut self, now: Instant) -> u32 {
        self.forget_expired(now);
        self.held()
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&mut self, now: Instant) -> bool {
        self.left(now) == 0 && self.pending == 0 && self.demand.expected(now) == 0
    }

    const fn held(&self) -> u32 {
        self.current.units + self.next.units
    }

    fn forget_expired(&mut self, now: Instant) {
        for slice in [&mut self.current, &mut self.next] {
            if slice.until.is_none_or(|until| until <= now) {
                *slice = Slice::default();
            }
        }
        if self.current.units == 0 && self.next.units > 0 {
            self.current = std::mem::take(&mut self.next);
        }
    }
}

/// What was asked for lately: a slice is as large as what one of its lives would use.
#[derive(Debug, Default)]
struct Demand {
    began: Option<Instant>,
    this: u32,
    last: u32,
}

impl Demand {
    fn note(&mut self, units: u32, now: Instant) {
        let age = self.age(now);
        if age >= LEASE {
            self.last = if age < 2 * LEASE { self.this } else { 0 };
            self.this = 0;
            self.began = None;
        }
        self.began.get_or_insert(now);
        self.this = self.this.saturating_add(units);
    }

    fn expected(&self, now: Instant) -> u32 {
        match self.age(now) {
            age if age < LEASE => self.this.max(self.last),
            age if age < 2 * LEASE => self.this,
            _ => 0,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        self.began
            .map_or(Duration::MAX, |began| now.saturating_duration_since(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn small_bursts_are_exact() {
        for (burst, expected) in [(1, 0), (9, 0), (10, 1), (100, 10), (5_000, 500)] {
            let rate = Rate {
                interval_us: 10,
                capacity_us: 10 * burst,
            };
            assert_eq!(slice_max(rate), expected);
        }
    }

    #[test]
    fn an_idle_bucket_takes_nothing_ahead_and_a_busy_one_what_it_needs() {
        let start = Instant::now();
        let mut lease = Lease::default();
        // At, units → what is asked for ahead; each is given all that it asks for.
        let cases = [
            (0, Taken::Short { ahead: 0 }),
            (10, Taken::Short { ahead: 1 }),
            // One is held: it is used, and more is asked for in the background.
            (
                20,
                Taken::Held {
                    receipt: Receipt {
                        units: 1,
                        until: Some(at(start, 510)),
                    },
                    renew: 3,
                },
            ),
            (
                30,
                Taken::Held {
                    receipt: Receipt {
                        units: 1,
                        until: Some(at(start, 520)),
                    },
                    renew: 0,
                },
            ),
            // It has expired, and nobody has come for a long time.
            (2_000, Taken::Short { ahead: 0 }),
        ];
        for (ms, expected) in cases {
            let now = at(start, ms);
            let taken = lease.take(1, 10, now);
            assert_eq!(taken, expected, "{ms}");
            let (Taken::Short { ahead } | Taken::Held { renew: ahead, .. }) = taken;
            lease.answered(ahead, ahead, now, now);
        }
        assert!(!lease.is_idle(at(start, 2_000)));
        assert!(lease.is_idle(at(start, 4_000)));
    }

    #[test]
    fn what_is_held_and_asked_for_is_bounded() {
        let start = Instant::now();
        let mut lease = Lease::default();
        let mut reserved = Vec::new();
        for _ in 0..100 {
            if let Taken::Short { ahead } = lease.take(1, 10, start) {
                reserved.push(ahead);
            }
        }
        assert_eq!(reserved.iter().sum::<u32>(), 10);
        for ahead in reserved {
            lease.answered(ahead, ahead, start, start);
        }
        assert_eq!(lease.left(start), 10);
        assert_eq!(
            lease.take(1, 10, start),
            Taken::Held {
                receipt: Receipt {
                    units: 1,
                    until: Some(until(start))
                },
                renew: 0
            }
        );
    }

    #[test]
    fn a_slice_expires_by_when_it_was_asked_for() {
        let start = Instant::now();
        let mut lease = Lease::default();
        lease.take(1, 10, start);
        let Taken::Short { ahead } = lease.take(1, 10, start) else {
            panic!("nothing was given yet");
        };
        // The answer is four milliseconds late.
        lease.answered(ahead, ahead, start, at(start, 4));
        assert_eq!(lease.left(at(start, LEASE_MS_MAX - 1)), 1);
        assert_eq!(lease.left(at(start, LEASE_MS_MAX)), 0);
        lease.answered(1, 1, start, at(start, LEASE_MS_MAX));
        assert_eq!(lease.left(at(start, LEASE_MS_MAX)), 0);
    }

    #[test]
    fn what_is_put_back_expires_with_its_slice() {
        let start = Instant::now();
        let mut lease = Lease::default();
        lease.take(1, 10, start);
        let Taken::Short { ahead } = lease.take(1, 10, start) else {
            panic!("nothing was given yet");
        };
        lease.answered(ahead, ahead, start, start);
        let Taken::Held { receipt, renew } = lease.take(1, 10, start) else {
            panic!("one is held");
        };
        // Three are reserved by now, and of three there is no room for a fourth.
        assert_eq!(renew, 3);
        lease.give_back(receipt, 3);
        assert_eq!(lease.left(start), 0);
        lease.answered(renew, 0, start, start);
        lease.give_back(receipt, 3);
        assert_eq!(lease.left(at(start, LEASE_MS_MAX - 1)), 1);
        assert_eq!(lease.left(at(start, LEASE_MS_MAX)), 0);
    }
}
