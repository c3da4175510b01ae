//! How often an address may fail to authenticate. Only failures count, so a good key is never in the way of itself, and
//! what is known to be good is not asked here at all. What is not known yet takes a failure ahead, which it gets back if
//! it is good; where none is left, it is still looked at, in its turn: others behind the same address go on.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// Failures of one address that are let through at once.
pub const FAILURES_MAX: u32 = 20;

/// After so long, one more is.
pub const FAILURE_INTERVAL: Duration = Duration::from_secs(3);

/// Addresses that are remembered; the least used one is forgotten first. About 100 bytes each.
pub const ADDRESSES_MAX: usize = 16_384;

const INTERVAL_MS: u64 = FAILURE_INTERVAL.as_millis() as u64;
const CAPACITY_MS: u64 = INTERVAL_MS * FAILURES_MAX as u64;

/// One bucket for each IPv4 address and each IPv6 /64, which is what one host commonly has.
pub struct Throttle {
    epoch: Instant,
    /// When the bucket will be full again, in milliseconds since `epoch`.
    full_at: Cache<IpAddr, Arc<AtomicU64>>,
}

impl Throttle {
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            full_at: Cache::new(ADDRESSES_MAX),
        }
    }

    /// Counts a failure of `address`, before it is one: of many that come at once no more pass than of those that come
    /// one after the other.
    ///
    /// # Errors
    /// When it has none left, with the time until it has. Asking in vain does not lengthen that.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let bucket = bucket(address);
        let now = self.elapsed_ms(now);
        let new = || Ok::<_, std::convert::Infallible>(Arc::default());
        let Ok(full_at) = self.full_at.get_or_insert_with(&bucket, new);
        let take = |at: u64| {
            let taken = at.max(now) + INTERVAL_MS;
            (taken <= now + CAPACITY_MS).then_some(taken)
        };
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(drop).map_err(|at| {
            Duration::from_millis((at + INTERVAL_MS).saturating_sub(now + CAPACITY_MS))
        })
    }

    /// It was none.
    pub fn give_back(&self, address: IpAddr) {
        if let Some(full_at) = self.full_at.get(&bucket(address)) {
            let back = |at: u64| Some(at.saturating_sub(INTERVAL_MS));
            let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
        }
    }

    fn elapsed_ms(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX / 2)
    }
}

fn bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_address_and_forgiven_with_time() {
        let start = Instant::now();
        let throttle = Throttle::new(start);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..FAILURES_MAX {
            assert_eq!(throttle.take(one, start), Ok(()));
        }
        // More of them while it waits do not lengthen the wait.
        for _ in 0..3 {
            assert_eq!(throttle.take(one, start), Err(FAILURE_INTERVAL));
        }
        let later = start + FAILURE_INTERVAL;
        assert_eq!(throttle.take(one, later), Ok(()));
        assert_eq!(throttle.take(one, later), Err(FAILURE_INTERVAL));
        // What was good costs nothing.
        throttle.give_back(one);
        assert_eq!(throttle.take(one, later), Ok(()));
        assert_eq!(throttle.take(one, later), Err(FAILURE_INTERVAL));
        let other = "192.0.2.2".parse().unwrap();
        for _ in 0..2 * FAILURES_MAX {
            assert_eq!(throttle.take(other, later), Ok(()));
            throttle.give_back(other);
        }
    }

    #[test]
    fn an_address_is_a_host() {
        let check = |one: &str, two: &str, same: bool| {
            let of = |text: &str| bucket(text.parse().unwrap());
            assert_eq!(of(one) == of(two), same, "{one} {two}");
        };
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let start = Instant::now();
        let throttle = Throttle::new(start);
        for host in 0..2 * ADDRESSES_MAX as u32 {
            let _ = throttle.take(IpAddr::V4(host.into()), start);
        }
        assert!(throttle.full_at.len() <= ADDRESSES_MAX);
    }
}
