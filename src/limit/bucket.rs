//! What this sidecar keeps for each key or role of each limit: the slice it holds, its own count, what is in flight.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use super::gcra::Rate;
use super::lease::{self, Lease};
use super::local::{HandedClock, Local};
use super::shared::redis_key;
use crate::decide::RateLimit;
use crate::decide::limits::Per;
use crate::lock::Unpoisoned as _;

/// Buckets that are kept. Beyond them, new keys of a limit share one; each is about 500 bytes.
pub const BUCKETS_MAX: usize = 10_000;

/// How often idle buckets are looked for while there are too many.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// The bucket of keys that found no room. No API key and no role has an empty name.
const OVERFLOW: &str = "";

/// One key or role of one limit.
#[derive(Debug)]
pub struct Bucket {
    pub counted: Option<Counted>,
    flight: Arc<AtomicU32>,
}

/// What a bucket of a rate has.
#[derive(Debug)]
pub struct Counted {
    pub rate: Rate,
    /// Most that is held ahead.
    pub slice_max: u32,
    pub redis_key: String,
    lease: Mutex<Held>,
    pub local: Local,
}

/// What is held, and what Redis said last.
#[derive(Debug, Default)]
pub struct Held {
    pub lease: Lease,
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    debt_us: u64,
    at: Instant,
}

impl Held {
    /// Notes the debt that Redis told.
    pub fn told(&mut self, debt_us: u64, now: Instant) {
        self.told = Some(Told { debt_us, at: now });
    }

    /// The debt as it would be by now, as far as this sidecar knows: others may have added to it since.
    /// `None`: it has told nothing yet.
    pub fn debt_us(&self, now: Instant) -> Option<u64> {
        self.told.map(|told| {
            let age = now.saturating_duration_since(told.at).as_micros();
            told.debt_us
                .saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))
        })
    }
}

impl Counted {
    /// Never held across an await.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.lease.lock().unpoisoned()
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.held().lease.is_idle(now) && self.local.is_full(now)
    }
}

/// A request in flight, counted until this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicU32>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Bucket {
    /// Lets one more in, unless there are `max` already.
    pub fn enter(&self, max: u32) -> Option<InFlight> {
        let one_more = |now: u32| (now < max).then_some(now + 1);
        let entered = (self.flight).fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        entered.ok().map(|_| InFlight(Arc::clone(&self.flight)))
    }

    pub fn in_flight(&self) -> u32 {
        self.flight.load(Ordering::Acquire)
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.in_flight() == 0 && (self.counted.as_ref()).is_none_or(|counted| counted.is_idle(now))
    }
}

/// A rate in force, and this sidecar's share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub whole: Rate,
    pub share: Rate,
}

/// All buckets, by limit, kind and name.
#[derive(Debug)]
pub struct Buckets {
    known: RwLock<Known>,
    clock: HandedClock,
    max: usize,
}

#[derive(Debug, Default)]
struct Known {
    limits: HashMap<String, PerLimit>,
    count: usize,
    swept: Option<Instant>,
}

#[derive(Debug, Default)]
struct PerLimit {
    keys: HashMap<String, Arc<Bucket>>,
    roles: HashMap<String, Arc<Bucket>>,
}

impl PerLimit {
    const fn of(&self, per: Per) -> &HashMap<String, Arc<Bucket>> {
        match per {
            Per::Key => &self.keys,
            Per::Role => &self.roles,
        }
    }

    const fn of_mut(&mut self, per: Per) -> &mut HashMap<String, Arc<Bucket>> {
        match per {
            Per::Key => &mut self.keys,
            Per::Role => &mut self.roles,
        }
    }
}

impl Buckets {
    pub fn new(max: usize, now: Instant) -> Self {
        Self {
            known: RwLock::default(),
            clock: HandedClock::new(now),
            max,
        }
    }

    /// The bucket of `name`, made where there is none, or none of these rates.
    pub fn get(
        &self,
        limit: &RateLimit,
        name: &str,
        rates: Option<Rates>,
        now: Instant,
    ) -> Arc<Bucket> {
        let found = self.find(limit, name);
        match found {
            Some(bucket) if bucket.has(rates) => bucket,
            Some(_) | None => self.make(limit, name, rates, now),
        }
    }

    /// The bucket of `name`, if there is one.
    pub fn find(&self, limit: &RateLimit, name: &str) -> Option<Arc<Bucket>> {
        let known = self.known.read().unpoisoned();
        let buckets = known.limits.get(&limit.name)?.of(limit.per);
        buckets.get(name).map(Arc::clone)
    }

    fn make(
        &self,
        limit: &RateLimit,
        name: &str,
        rates: Option<Rates>,
        now: Instant,
    ) -> Arc<Bucket> {
        let mut known = self.known.write().unpoisoned();
        let is_known = (known.limits.get(&limit.name))
            .is_some_and(|buckets| buckets.of(limit.per).contains_key(name));
        if !is_known && known.count >= self.max {
            known.sweep(now);
        }
        let name = if is_known || known.count < self.max {
            name
        } else {
            OVERFLOW
        };
        let Known { limits, count, .. } = &mut *known;
        if !limits.contains_key(&limit.name) {
            limits.insert(limit.name.clone(), PerLimit::default());
        }
        let Some(buckets) = limits.get_mut(&limit.name) else {
            return Arc::new(self.bucket(limit, name, rates, Arc::default()));
        };
        let buckets = buckets.of_mut(limit.per);
        let before = buckets.get(name);
        if let Some(same) = before.filter(|before| before.has(rates)) {
            return Arc::clone(same);
        }
        // Other numbers begin a new count here and lose the slice; what is in flight stays in flight.
        let flight = before.map_or_else(Arc::default, |before| Arc::clone(&before.flight));
        let bucket = Arc::new(self.bucket(limit, name, rates, flight));
        if buckets
            .insert(name.to_owned(), Arc::clone(&bucket))
            .is_none()
        {
            *count += 1;
        }
        bucket
    }

    fn bucket(
        &self,
        limit: &RateLimit,
        name: &str,
        rates: Option<Rates>,
        flight: Arc<AtomicU32>,
    ) -> Bucket {
        let counted = rates.map(|rates| Counted {
            rate: rates.whole,
            slice_max: lease::slice_max(rates.whole),
            redis_key: redis_key(&limit.name, limit.per, name),
            lease: Mutex::default(),
            local: Local::new(rates.share, &self.clock),
        });
        Bucket { counted, flight }
    }
}

impl Bucket {
    fn has(&self, rates: Option<Rates>) -> bool {
        match (&self.counted, rates) {
            (Some(counted), Some(rates)) => {
                counted.rate == rates.whole && counted.local.rate() == rates.share
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Known {
    /// Forgets what is idle. Nothing is lost by that but names.
    fn sweep(&mut self, now: Instant) {
        let is_soon = |swept: Instant| now.saturating_duration_since(swept) < SWEEP_INTERVAL;
        if self.swept.is_some_and(is_soon) {
            return;
        }
        self.swept = Some(now);
        let mut count = 0;
        self.limits.retain(|_, buckets| {
            for buckets in [&mut buckets.keys, &mut buckets.roles] {
                buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_idle(now));
                count += buckets.len();
            }
            !buckets.keys.is_empty() || !buckets.roles.is_empty()
        });
        self.count = count;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::decide::limits::Scope;

    fn limit(name: &str) -> RateLimit {
        RateLimit {
            name: name.into(),
            rate: None,
            concurrent: None,
            per: Per::Key,
            scope: Scope::default(),
            shadow: false,
        }
    }

    /// One each 2^40 microseconds.
    const SLOW: Rates = {
        let rate = Rate {
            interval_us: 1 << 40,
            capacity_us: 1 << 40,
        };
        Rates {
            whole: rate,
            share: rate,
        }
    };

    fn take(buckets: &Buckets, limit: &RateLimit, name: &str, rates: Rates, now: Instant) -> bool {
        let bucket = buckets.get(limit, name, Some(rates), now);
        let counted = bucket.counted.as_ref().unwrap();
        counted.local.take(NonZeroU32::MIN, now).allowed
    }

    #[test]
    fn limits_and_their_changes_count_apart() {
        let start = Instant::now();
        let buckets = Buckets::new(BUCKETS_MAX, start);
        let other = Rates {
            share: Rate {
                interval_us: 1 << 39,
                capacity_us: 1 << 39,
            },
            ..SLOW
        };
        for (name, rates, expected) in [
            ("app", SLOW, true),
            ("app", SLOW, false),
            ("app", other, true),
            ("app", other, false),
            ("batch", SLOW, true),
        ] {
            assert_eq!(take(&buckets, &limit(name), "k", rates, start), expected);
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let start = Instant::now();
        let buckets = Buckets::new(BUCKETS_MAX, start);
        let limit = limit("app");
        for key in 0..BUCKETS_MAX {
            assert!(take(&buckets, &limit, &key.to_string(), SLOW, start));
        }
        // One more shares a bucket with all that come after it.
        assert!(take(&buckets, &limit, "x", SLOW, start));
        assert!(!take(&buckets, &limit, "y", SLOW, start));
        // When the first are idle again, there is room.
        let later = start + Duration::from_micros(1 << 41);
        assert!(take(&buckets, &limit, "x", SLOW, later));
        assert!(take(&buckets, &limit, "y", SLOW, later));
    }

    #[test]
    fn what_is_in_flight_is_bounded_also_while_the_numbers_change() {
        let start = Instant::now();
        let buckets = Buckets::new(2, start);
        let limit = limit("app");
        let first = buckets.get(&limit, "k", None, start).enter(2);
        let second = buckets.get(&limit, "k", Some(SLOW), start).enter(2);
        assert!(first.is_some() && second.is_some());
        let bucket = buckets.get(&limit, "k", None, start);
        assert!(bucket.enter(2).is_none());
        drop(first);
        assert!(bucket.enter(2).is_some());
        // Who is in flight is not forgotten when there are too many.
        drop(bucket);
        for name in ["a", "b", "c"] {
            buckets.get(&limit, name, None, start);
        }
        assert_eq!(buckets.get(&limit, "k", None, start).in_flight(), 1);
        drop(second);
        assert_eq!(buckets.get(&limit, "k", None, start).in_flight(), 0);
    }
}
