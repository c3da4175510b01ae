//! Which of several servers of the same data is used: one at a time, for all connections of a pool.
//!
//! New connections go to the server that is used now. When it cannot be reached, or takes writes no longer where it must,
//! the others are tried in their order, and the first that serves is used from then on. Connections to another server
//! than that are not used again ([`Hosts::check`]), so that no two requests work on two servers for longer than those
//! under way take. Who makes a standby the primary, and keeps the old one from taking writes, is not the sidecar.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::settings::{Address, SessionAttrs, SqlStoreSettings};
use crate::operation::Store;

/// A server that must take writes is asked again on each connection that was not asked for so long, when it is next used.
pub(crate) const WRITABLE_FRESH_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Hosts {
    /// Whose servers they are, for the log; `None` tells it nothing.
    store: Option<Store>,
    addresses: Vec<Address>,
    target: SessionAttrs,
    /// An index of `addresses`.
    current: AtomicUsize,
}

/// Where one connection leads, and when its server last said that it takes writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    host: usize,
    asked_at: Instant,
}

/// What is to be done before a connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Use,
    /// Use it if its server still takes writes.
    Ask,
    /// Another server is used now.
    Leave,
}

impl Hosts {
    /// `store` is whose pool uses them: the one to tell the log of a switch.
    pub(crate) fn new(settings: &SqlStoreSettings, store: Option<Store>) -> Self {
        Self {
            store,
            addresses: settings.addresses(),
            target: settings.failover.target,
            current: AtomicUsize::new(0),
        }
    }

    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn wants_writes(&self) -> bool {
        self.target == SessionAttrs::ReadWrite
    }

    /// Connects by `dial`, which takes an index of the addresses and fails where the server cannot be used. `patience`
    /// is shared by all of them. May be cancelled.
    pub(crate) async fn connect<T, F>(
        &self,
        patience: Duration,
        dial: impl Fn(usize) -> F,
    ) -> Result<(Seat, T), String>
    where
        F: Future<Output = Result<T, String>>,
    {
        let current = self.current.load(Ordering::Acquire);
        let count = self.addresses.len().max(1);
        let each = patience / u32::try_from(count).unwrap_or(u32::MAX);
        let mut faults = Vec::new();
        let others = (0..count).filter(|index| *index != current);
        for host in std::iter::once(current).chain(others) {
            let dialled = match tokio::time::timeout(each, dial(host)).await {
                Ok(dialled) => dialled,
                Err(_) => Err(format!("no answer within {} ms", each.as_millis())),
            };
            match dialled {
                Ok(connected) => {
                    if host != current {
                        self.switch(host);
                    }
                    let asked_at = Instant::now();
                    return Ok((Seat { host, asked_at }, connected));
                }
                Err(fault) => faults.push(format!("{}: {fault}", self.name(host))),
            }
        }
        Err(faults.join("; "))
    }

    /// Told once, however many connections find it out together.
    fn switch(&self, host: usize) {
        let before = self.current.swap(host, Ordering::AcqRel);
        if let (Some(store), true) = (self.store, before != host) {
            let (store, address) = (store.as_str(), self.name(host));
            tracing::info!(store, address, "another server is used now");
        }
    }

    fn name(&self, host: usize) -> String {
        self.addresses
            .get(host)
            .map_or_else(String::new, ToString::to_string)
    }

    /// Whether a connection may be used at `now`. One of a single server that need not take writes always may.
    pub(crate) fn check(&self, seat: Seat, now: Instant) -> Verdict {
        if seat.host != self.current.load(Ordering::Acquire) {
            return Verdict::Leave;
        }
        let fresh = Duration::from_millis(WRITABLE_FRESH_MS);
        if self.wants_writes() && now.saturating_duration_since(seat.asked_at) >= fresh {
            return Verdict::Ask;
        }
        Verdict::Use
    }
}

impl Seat {
    /// The server has said at `now` that it takes writes.
    pub(crate) fn takes_writes(&mut self, now: Instant) {
        self.asked_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: usize, target: SessionAttrs) -> Hosts {
        let address = |port| Address {
            host: "h".to_owned(),
            port,
        };
        Hosts {
            store: None,
            addresses: (0..count as u16).map(address).collect(),
            target,
            current: AtomicUsize::new(0),
        }
    }

    /// Connects where these are up, and says to which.
    async fn connect(hosts: &Hosts, up: &[usize]) -> Result<usize, String> {
        let dial = |host: usize| async move {
            let is_up = up.contains(&host);
            is_up.then_some(host).ok_or_else(|| "refused".to_owned())
        };
        let connected = hosts.connect(Duration::from_secs(9), dial).await;
        connected.map(|(_, host)| host)
    }

    #[tokio::test]
    async fn the_one_in_use_is_kept_and_the_first_other_that_serves_comes_next() {
        let hosts = hosts(3, SessionAttrs::Any);
        for (up, expected) in [
            (&[0, 1, 2][..], Ok(0)),
            (&[1, 2], Ok(1)),
            (&[0, 1, 2], Ok(1)),
            (&[2], Ok(2)),
            (&[0, 1], Ok(0)),
            (
                &[],
                Err("h:0: refused; h:1: refused; h:2: refused".to_owned()),
            ),
            (&[2], Ok(2)),
        ] {
            assert_eq!(connect(&hosts, up).await, expected, "{up:?}");
        }
        assert_eq!(
            connect(&self::hosts(1, SessionAttrs::Any), &[]).await,
            Err("h:0: refused".into())
        );
    }

    #[tokio::test]
    async fn a_connection_is_asked_now_and_then_and_left_with_its_server() {
        let hosts = hosts(2, SessionAttrs::ReadWrite);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut seat = Seat {
            host: 0,
            asked_at: start,
        };
        assert_eq!(hosts.check(seat, at(0)), Verdict::Use);
        assert_eq!(hosts.check(seat, at(WRITABLE_FRESH_MS)), Verdict::Ask);
        seat.takes_writes(at(WRITABLE_FRESH_MS));
        assert_eq!(hosts.check(seat, at(WRITABLE_FRESH_MS)), Verdict::Use);
        assert_eq!(connect(&hosts, &[1]).await, Ok(1));
        assert_eq!(hosts.check(seat, at(0)), Verdict::Leave);
        let any = self::hosts(1, SessionAttrs::Any);
        assert_eq!(
            any.check(
                Seat {
                    host: 0,
                    asked_at: start
                },
                at(90_000)
            ),
            Verdict::Use
        );
    }
}
