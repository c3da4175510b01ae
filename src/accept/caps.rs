//! How many connections there may be: all together, and from one address.
//!
//! Beyond a cap a connection is taken, told 503 and closed: a client that is left waiting in the kernel's queue learns
//! nothing, and could not tell a full sidecar from a dead one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::respond;
use crate::error::{Code, Problem};
use crate::lock::Unpoisoned as _;
use crate::record::metrics::ListenerCounts;

/// Refusals that are being told at once; whoever comes meanwhile is closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long telling one refusal may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a refused client's request that are read, so that it sees the answer before the connection is reset.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// When to come back.
const RETRY_AFTER_MS: u64 = 1_000;

/// The connections of one listener.
pub(super) struct Caps {
    total_max: usize,
    per_peer_max: usize,
    open: Mutex<Open>,
    refusals: Arc<Semaphore>,
    refusal: Vec<u8>,
    counts: ListenerCounts,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
    /// Whether the last that came was refused: a flood of them is one line of the log.
    is_refusing: bool,
}

impl Caps {
    pub(super) fn new(total_max: usize, per_peer_max: usize, counts: ListenerCounts) -> Arc<Self> {
        Arc::new(Self {
            total_max,
            per_peer_max,
            open: Mutex::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            refusal: refusal(),
            counts,
        })
    }

    /// A place for a connection from `address`, unless it, or all together, have as many as they may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = peer(address);
        let mut open = self.open();
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or(0);
        if open.total >= self.total_max || of_peer >= self.per_peer_max {
            self.counts.refused.inc();
            if !std::mem::replace(&mut open.is_refusing, true) {
                let total = open.total;
                tracing::warn!(%address, total, of_peer, "too many connections: more are refused");
            }
            return None;
        }
        open.is_refusing = false;
        open.total += 1;
        open.by_peer.insert(peer, of_peer + 1);
        drop(open);
        self.counts.open.inc();
        Some(Place {
            caps: Arc::clone(self),
            peer,
        })
    }

    /// Tells a client that has no place so, and closes its connection. With TLS, telling would cost a handshake.
    pub(super) fn refuse(self: &Arc<Self>, mut stream: TcpStream, is_tls: bool) {
        let Ok(telling) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        if is_tls {
            return;
        }
        let caps = Arc::clone(self);
        tokio::spawn(async move {
            let telling_it = async {
                stream.write_all(&caps.refusal).await?;
                stream.shutdown().await?;
                let mut rest = [0; 1024];
                let mut read = 0;
                while read < REFUSED_BYTES_MAX {
                    match stream.read(&mut rest).await? {
                        0 => break,
                        bytes => read += bytes,
                    }
                }
                Ok::<_, std::io::Error>(())
            };
            let _ = tokio::time::timeout(REFUSAL_TIMEOUT, telling_it).await;
            drop(telling);
        });
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unpoisoned()
    }
}

/// One connection's place. It is free again when this is dropped.
pub(super) struct Place {
    caps: Arc<Caps>,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.caps.counts.open.dec();
        let mut open = self.caps.open();
        open.total -= 1;
        match open.by_peer.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                open.by_peer.remove(&self.peer);
            }
        }
    }
}

/// Who counts as one: an IPv4 address, or the 64 bits of an IPv6 address that tell networks apart, since whoever has
/// one of these addresses has all of its network.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

/// The whole reply, as HTTP/1.1 has it: a client that speaks HTTP/2 sees that it is not answered in its tongue.
fn refusal() -> Vec<u8> {
    let mut problem = Problem::new(
        Code::ConnectionsExhausted,
        "as many connections are open as may be: close some, or try again shortly",
    );
    problem.retry_after_ms = Some(RETRY_AFTER_MS);
    let body = serde_json::Value::Object(respond::problem_object(&problem, "-")).to_string();
    let (status, length) = (problem.code.status(), body.len());
    format!(
        "HTTP/1.1 {status} Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::metrics::Metrics;

    #[test]
    fn both_caps_hold_and_places_come_back() {
        let counts = Metrics::new().unwrap().listener("data");
        let caps = Caps::new(4, 2, counts.clone());
        let enter = |address: &str| caps.enter(address.parse().unwrap());
        let first = enter("10.0.0.1");
        let mapped = enter("::ffff:10.0.0.1");
        assert!(first.is_some() && mapped.is_some());
        assert!(enter("10.0.0.1").is_none());
        let network = [enter("2001:db8::1"), enter("2001:db8::2:1")];
        assert!(network.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none());
        // The whole is full.
        assert!(enter("10.0.0.9").is_none());
        assert_eq!((counts.open.get(), counts.refused.get()), (4, 3));
        drop(first);
        assert!(enter("10.0.0.1").is_some());
        drop((mapped, network));
        assert_eq!((caps.open().total, counts.open.get()), (0, 0));
        assert!(caps.open().by_peer.is_empty());
    }
}
