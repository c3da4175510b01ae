//! What becomes of one request at one limit.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::bucket::{Bucket, Counted, InFlight};
use super::lease::{Receipt, Taken};
use super::shared::{Answer, Ask};
use super::{Left, Numbers, Quota, Standing, Why};
use crate::decide::RateLimit;
use crate::decide::limits::{CountMode, OnRedisFailure, PolicyRate};

/// Who counted a request; of several, the one furthest down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedBy {
    /// No rate covers it.
    Nobody,
    /// A slice that this sidecar held.
    Slice,
    /// Redis.
    Redis,
    /// This sidecar for itself.
    Sidecar,
    /// Nobody, although a rate covers it: Redis is away and the limit open.
    Open,
}

/// One limit that covers a request.
pub struct Claim<'p> {
    limit: &'p Arc<RateLimit>,
    bucket: Arc<Bucket>,
    rate: Option<(&'p PolicyRate, Numbers)>,
    units: NonZeroU32,
    in_flight: Option<InFlight>,
    state: State,
    /// Whether what this sidecar counts for itself was taken.
    charged: bool,
    /// What was asked for ahead and not answered.
    reserved: u32,
    asked: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has counted it yet.
    Open,
    /// There is no rate, or a limit in shadow mode would have refused: there is nothing to count.
    Free,
    Slice(Receipt),
    Redis,
    Sidecar,
    /// Admitted although nobody counts.
    Uncounted,
    Refused,
}

impl Drop for Claim<'_> {
    /// Also where the request goes away while it waits.
    fn drop(&mut self) {
        self.release(0);
    }
}

impl<'p> Claim<'p> {
    pub const fn new(
        limit: &'p Arc<RateLimit>,
        bucket: Arc<Bucket>,
        rate: Option<(&'p PolicyRate, Numbers)>,
        units: NonZeroU32,
        now: Instant,
    ) -> Self {
        Self {
            limit,
            bucket,
            rate,
            units,
            in_flight: None,
            state: State::Open,
            charged: true,
            reserved: 0,
            asked: now,
        }
    }

    /// Whether nobody has counted it yet.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether the limit's no is one.
    pub fn refuses(&self) -> bool {
        !self.limit.shadow
    }

    /// Whether the limit refuses everything while Redis is away.
    pub fn may_be_closed(&self) -> bool {
        (self.rate).is_some_and(|(rate, _)| rate.on_redis_failure == OnRedisFailure::Closed)
    }

    pub const fn bucket(&self) -> &Arc<Bucket> {
        &self.bucket
    }

    /// The place among those in flight, given up by the claim.
    pub fn place(&mut self) -> Option<InFlight> {
        self.in_flight.take()
    }

    fn release(&mut self, given: u32) {
        let reserved = std::mem::take(&mut self.reserved);
        if let (Some(counted), true) = (&self.bucket.counted, reserved > 0) {
            let mut held = counted.held();
            held.lease.answered(reserved, given, self.asked, self.asked);
        }
    }

    fn counted(&self) -> Option<(&Counted, &'p PolicyRate, Numbers)> {
        let (rate, numbers) = self.rate?;
        Some((self.bucket.counted.as_ref()?, rate, numbers))
    }

    /// Takes a place among those in flight. What is over the limit is refused; in shadow mode it is spared.
    pub fn enter(&mut self) -> Result<u32, Why> {
        let Some(max) = self.limit.concurrent else {
            return Ok(0);
        };
        self.in_flight = self.bucket.enter(max);
        match (&self.in_flight, self.limit.shadow) {
            (Some(_), _) => Ok(0),
            (None, true) => Ok(1),
            (None, false) => Err(Why::Concurrent {
                limit: Arc::clone(self.limit),
                max,
            }),
        }
    }

    /// Refuses what no waiting would help.
    pub fn fits(&mut self) -> Result<u32, Why> {
        let Some((counted, _, _)) = self.counted() else {
            self.state = State::Free;
            return Ok(0);
        };
        let burst = counted.rate.burst();
        if u64::from(self.units.get()) <= burst {
            return Ok(0);
        }
        if self.limit.shadow {
            self.state = State::Free;
            return Ok(1);
        }
        Err(Why::AboveBurst {
            limit: Arc::clone(self.limit),
            units: self.units.get(),
            burst,
        })
    }

    /// Takes from the slice, if there is enough; returns how much more to ask for in the background.
    pub fn take_held(&mut self, now: Instant) -> u32 {
        let Some((counted, rate, _)) = self.counted() else {
            return 0;
        };
        if self.state != State::Open || rate.mode == CountMode::Exact || counted.slice_max == 0 {
            return 0;
        }
        let taken = (counted.held().lease).take(self.units.get(), counted.slice_max, now);
        match taken {
            Taken::Held { receipt, renew } => {
                self.state = State::Slice(receipt);
                renew
            }
            Taken::Short { ahead } => {
                self.reserved = ahead;
                0
            }
        }
    }

    pub fn ask(&self) -> Option<Ask<'_>> {
        let (counted, _, _) = self.counted()?;
        (self.state == State::Open).then_some(Ask {
            redis_key: &counted.redis_key,
            rate: counted.rate,
            need: self.units.get(),
            ahead: self.reserved,
            shadow: self.limit.shadow,
        })
    }

    /// Takes note of what Redis said. `admitted`: no limit refused.
    pub fn answered(&mut self, answer: Answer, admitted: bool, now: Instant) -> u32 {
        if let Some((counted, _, _)) = self.counted() {
            counted.held().told(answer.outcome.reset_after_us, now);
        }
        self.release(answer.ahead);
        let refused = !answer.outcome.allowed;
        self.state = match (refused, admitted) {
            (true, true) => State::Free,
            (true, false) => State::Refused,
            (false, _) => State::Redis,
        };
        u32::from(refused && admitted)
    }

    /// What the policy says of a request that Redis has not counted.
    pub fn alone(&mut self, has_redis: bool, now: Instant) -> Result<u32, Why> {
        self.release(0);
        let Some((counted, rate, _)) = self.counted() else {
            return Ok(0);
        };
        match rate.on_redis_failure {
            OnRedisFailure::Open if has_redis => self.state = State::Uncounted,
            OnRedisFailure::Closed if self.limit.shadow => {
                self.state = State::Free;
                return Ok(1);
            }
            OnRedisFailure::Closed => {
                return Err(Why::Closed {
                    limit: Arc::clone(self.limit),
                });
            }
            OnRedisFailure::Open | OnRedisFailure::Local => {
                let burst = counted.local.rate().burst();
                let outcome = counted.local.take(self.units, now);
                self.state = State::Sidecar;
                if outcome.allowed {
                    return Ok(0);
                }
                self.charged = false;
                if self.limit.shadow {
                    return Ok(1);
                }
                if u64::from(self.units.get()) > burst {
                    return Err(Why::AboveShare {
                        limit: Arc::clone(self.limit),
                        units: self.units.get(),
                        burst,
                    });
                }
                return Err(self.exceeded(outcome.retry_after_us));
            }
        }
        Ok(0)
    }

    pub fn exceeded(&self, retry_after_us: u64) -> Why {
        let limit = Arc::clone(self.limit);
        let retry_after_ms = retry_after_us.div_ceil(1_000).max(1);
        let numbers = self.rate.map_or(Numbers::NONE, |(_, numbers)| numbers);
        Why::Exceeded {
            limit,
            numbers,
            retry_after_ms,
        }
    }

    /// Undoes what this sidecar counted, since another limit has refused. Redis has counted none.
    pub fn give_back(&mut self) {
        let Some((counted, _, _)) = self.counted() else {
            return;
        };
        match self.state {
            State::Slice(receipt) => (counted.held().lease).give_back(receipt, counted.slice_max),
            State::Sidecar if self.charged => counted.local.give_back(self.units),
            State::Sidecar
            | State::Open
            | State::Free
            | State::Redis
            | State::Uncounted
            | State::Refused => {}
        }
        self.in_flight = None;
    }

    /// The local count follows, so that a caller who stalls Redis does not find it fresh.
    pub fn follow(&self, now: Instant) {
        let Some((counted, rate, _)) = self.counted() else {
            return;
        };
        let counted_elsewhere = matches!(self.state, State::Slice(_) | State::Redis);
        if counted_elsewhere && rate.on_redis_failure == OnRedisFailure::Local {
            counted.local.take(self.units, now);
        }
    }

    /// What is left, as far as whoever counts at this moment has told. Nothing is told of what nobody knows.
    pub fn standings(&self, has_redis: bool, is_shared: bool, now: Instant, quota: &mut Quota) {
        if let Some((counted, rate, numbers)) = self.counted() {
            let unknown = Left::Rate { numbers, now: None };
            let by_redis = || {
                let mut held = counted.held();
                let units = held.lease.left(now);
                let debt_us = held.debt_us(now);
                debt_us.map_or(unknown, |debt| unknown.with_debt(counted.rate, debt, units))
            };
            let here = || unknown.with_debt(counted.local.rate(), counted.local.debt_us(now), 0);
            let left = match self.state {
                State::Sidecar => here(),
                State::Uncounted => unknown,
                State::Slice(_) | State::Redis | State::Refused => by_redis(),
                State::Open | State::Free if is_shared => by_redis(),
                State::Open | State::Free => match rate.on_redis_failure {
                    OnRedisFailure::Local => here(),
                    OnRedisFailure::Open if !has_redis => here(),
                    OnRedisFailure::Open | OnRedisFailure::Closed => unknown,
                },
            };
            quota.0.push(Standing {
                limit: Arc::clone(self.limit),
                left,
            });
        }
        if let Some(max) = self.limit.concurrent {
            let in_flight = self.bucket.in_flight();
            quota.0.push(Standing {
                limit: Arc::clone(self.limit),
                left: Left::Flight { max, in_flight },
            });
        }
    }

    pub const fn counted_by(&self) -> CountedBy {
        match self.state {
            State::Open | State::Free | State::Refused => CountedBy::Nobody,
            State::Slice(_) => CountedBy::Slice,
            State::Redis => CountedBy::Redis,
            State::Sidecar if self.charged => CountedBy::Sidecar,
            State::Sidecar => CountedBy::Nobody,
            State::Uncounted => CountedBy::Open,
        }
    }
}
