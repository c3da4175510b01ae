//! One bounded pool for both SQL stores.
//!
//! `bb8` keeps the idle connections; in front of it stand slots, one for each connection, that callers take in
//! turns ([`turns`]). So a request that waits for a slot waits for other requests (`PoolExhausted`), while one that
//! has a slot and no connection waits for the database (`Unreached`), and the two are never confused.
//!
//! A connection says itself whether it may be used again ([`Link::is_clean`]): it is marked busy before a
//! statement is sent and clean after its last byte was read. Whatever ends in between (an error, a time-out,
//! a caller who went away and whose future was dropped) leaves it busy, and it is closed, not handed on.

mod circuit;
mod turns;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use self::circuit::Circuit;
pub(in crate::execute) use self::turns::{Exhausted, Lines, Slot, Turns};
use super::Error;
use super::settings::PoolSettings;
use crate::operation::Store;

/// How long one attempt to connect may take, TLS and authentication included.
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// How often idle connections are looked at (too old, too many, too few).
const REAP_INTERVAL_MS: u64 = 5_000;
/// Connections beyond the minimum are closed when idle for so long.
const IDLE_TIMEOUT_MS: u64 = 600_000;

/// Of a pool of so many connections, the last is kept for a caller that has none.
pub const KEEPING_MIN: u32 = 4;

/// Opens connections to one database.
pub trait Connector: Send + Sync + 'static {
    type Link: Link;

    /// Connects, authenticates and pins the session. The error text is for the operator's log.
    fn connect(&self) -> impl Future<Output = Result<Self::Link, String>> + Send;
}

impl<C: Connector> Connector for Arc<C> {
    type Link = C::Link;

    fn connect(&self) -> impl Future<Output = Result<Self::Link, String>> + Send {
        C::connect(self)
    }
}

/// One connection.
pub trait Link: Send + 'static {
    /// Whether nothing is under way, nothing is left over, and the connection is open.
    fn is_clean(&self) -> bool;

    /// Whether the server still answers, as far as can be told without a round trip on a connection that
    /// was used a moment ago.
    fn check(&mut self) -> impl Future<Output = Result<(), String>> + Send;
}

/// What the metrics show of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolState {
    pub size: u32,
    pub in_use: u32,
    pub idle: u32,
    pub waiting: u32,
    pub max: u32,
    /// How many requests had to wait for a connection, since the start.
    pub waits_total: u64,
    /// How long they waited altogether, in microseconds.
    pub waited_us_total: u64,
}

impl PoolState {
    /// Adds those who wait in other lines for the same connections.
    pub(in crate::execute) fn add(&mut self, lines: Lines) {
        let waiting = u32::try_from(lines.waiting).unwrap_or(u32::MAX);
        self.waiting = self.waiting.saturating_add(waiting);
        self.waits_total = self.waits_total.saturating_add(lines.waits_total);
        self.waited_us_total = self.waited_us_total.saturating_add(lines.waited_us_total);
    }
}

pub struct Pool<C: Connector> {
    store: Store,
    idle: bb8::Pool<Manager<C>>,
    slots: Arc<Turns>,
    circuit: Arc<Circuit>,
    max: u32,
}

impl<C: Connector> Pool<C> {
    /// Starts filling the pool in the background and does not wait for it: a database may come later.
    /// Must be called within a tokio runtime.
    pub fn start(store: Store, connector: C, settings: PoolSettings) -> Self {
        let circuit = Arc::new(Circuit::default());
        let lifetime = Duration::from_secs(settings.max_lifetime_s.max(1));
        let max = settings.max.max(1);
        let manager = Manager {
            store,
            connector,
            circuit: Arc::clone(&circuit),
            lifetime,
        };
        let idle = bb8::Pool::builder()
            .max_size(max)
            .min_idle(settings.min.min(max))
            .max_lifetime(lifetime)
            .idle_timeout(Duration::from_millis(IDLE_TIMEOUT_MS))
            .connection_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            // Attempts are paced by the circuit, for callers and background alike.
            .retry_connection(false)
            .reaper_rate(Duration::from_millis(REAP_INTERVAL_MS))
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(manager);
        Self {
            store,
            idle,
            slots: Turns::keeping(
                usize::from(max >= KEEPING_MIN),
                max as usize,
                settings.waiting_max,
                settings.acquire_timeout_ms,
            ),
            circuit,
            max,
        }
    }

    /// A connection that nobody else has, in `caller`'s turn. Dropping the future gives everything back.
    pub async fn acquire(&self, caller: &str) -> Result<Lease<'_, C>, Error> {
        let slot = self.slot(caller).await?;
        let link = self.take_or_connect(self.idle.get()).await?;
        Ok(Lease { link, slot })
    }

    /// The same, to keep for longer than one call, and for a transaction.
    pub async fn acquire_owned(&self, caller: &str) -> Result<Lease<'static, C>, Error> {
        let slot = self.slot(caller).await?;
        let link = self.take_or_connect(self.idle.get_owned()).await?;
        Ok(Lease { link, slot })
    }

    /// The same, for a transaction that spans requests: such have limits of their own, and whoever holds one may have the kept connection for a statement.
    pub async fn acquire_for_transaction(&self, caller: &str) -> Result<Lease<'static, C>, Error> {
        let mut lease = self.acquire_owned(caller).await?;
        lease.slot.uncount();
        Ok(lease)
    }

    /// A connection if one is free or can be opened, without waiting for other requests.
    pub async fn try_acquire(&self) -> Result<Lease<'_, C>, Error> {
        let exhausted = || self.exhausted(Exhausted { waited_ms: 0 });
        let slot = self.slots.try_take().ok_or_else(exhausted)?;
        let link = self.take_or_connect(self.idle.get()).await?;
        Ok(Lease { link, slot })
    }

    /// Whether `caller` could take a connection without waiting for other requests.
    pub fn has_free_slot(&self, caller: &str) -> bool {
        self.slots.has_one_for(caller)
    }

    /// Whether one stands idle.
    pub fn has_idle(&self) -> bool {
        self.idle.state().idle_connections > 0
    }

    pub fn state(&self) -> PoolState {
        let state = self.idle.state();
        let lines = self.slots.lines();
        PoolState {
            size: state.connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            idle: state.idle_connections,
            waiting: u32::try_from(lines.waiting).unwrap_or(u32::MAX),
            max: self.max,
            waits_total: lines.waits_total,
            waited_us_total: lines.waited_us_total,
        }
    }

    async fn slot(&self, caller: &str) -> Result<Slot, Error> {
        let slot = self.slots.take(caller).await;
        slot.map_err(|exhausted| self.exhausted(exhausted))
    }

    /// With a slot in hand: an idle connection, or a new one. Fails as soon as an attempt to connect fails,
    /// unless other connections work (the server may be out of connections for us: theirs will come back).
    async fn take_or_connect<'p>(
        &self,
        taking: impl Future<Output = Taken<'p, C>>,
    ) -> Result<bb8::PooledConnection<'p, Manager<C>>, Error> {
        if self.circuit.is_failing() && self.idle.state().idle_connections == 0 {
            match self.circuit.admit(Instant::now()) {
                Ok(()) => self.circuit.grant(),
                Err(cause) => return Err(self.unavailable(&cause)),
            }
        }
        tokio::pin!(taking);
        loop {
            tokio::select! {
                biased;
                taken = &mut taking => return taken.map_err(|error| match error {
                    bb8::RunError::User(cause) => self.unavailable(&cause),
                    bb8::RunError::TimedOut => self.unavailable(&format!(
                        "no connection within {CONNECT_TIMEOUT_MS} ms; {}",
                        self.circuit.cause()
                    )),
                }),
                () = self.circuit.failed.notified() => {
                    if self.idle.state().connections == 0 {
                        return Err(self.unavailable(&self.circuit.cause()));
                    }
                }
            }
        }
    }

    fn exhausted(&self, exhausted: Exhausted) -> Error {
        Error::PoolExhausted {
            store: self.store,
            waited_ms: exhausted.waited_ms,
        }
    }

    fn unavailable(&self, cause: &str) -> Error {
        Error::Unreached {
            store: self.store,
            cause: cause.to_owned(),
        }
    }
}

/// What the pool underneath answers.
type Taken<'p, C> = Result<bb8::PooledConnection<'p, Manager<C>>, bb8::RunError<String>>;

/// A connection on loan. It goes back when dropped, if it is clean; otherwise it is closed.
pub struct Lease<'a, C: Connector> {
    // The order matters: the connection goes back before its slot is free.
    link: bb8::PooledConnection<'a, Manager<C>>,
    slot: Slot,
}

impl<C: Connector> Deref for Lease<'_, C> {
    type Target = C::Link;

    fn deref(&self) -> &C::Link {
        &self.link.link
    }
}

impl<C: Connector> DerefMut for Lease<'_, C> {
    fn deref_mut(&mut self) -> &mut C::Link {
        &mut self.link.link
    }
}

/// A connection with the time at which it is too old. Boxed, since the pool hands it through several of its layers.
pub struct Aged<L> {
    link: Box<L>,
    expires_at: Instant,
}

/// What `bb8` needs to know.
pub struct Manager<C> {
    store: Store,
    connector: C,
    circuit: Arc<Circuit>,
    lifetime: Duration,
}

impl<C: Connector> bb8::ManageConnection for Manager<C> {
    type Connection = Aged<C::Link>;
    type Error = String;

    async fn connect(&self) -> Result<Self::Connection, String> {
        let admitted = self.circuit.admit_attempt(Instant::now());
        admitted.map_err(|cause| cause.to_string())?;
        let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
        let connected = match tokio::time::timeout(patience, self.connector.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no answer within {CONNECT_TIMEOUT_MS} ms")),
        };
        match connected {
            Ok(link) => {
                self.circuit.record_success();
                let lifetime_ms = u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX);
                Ok(Aged {
                    link: Box::new(link),
                    expires_at: Instant::now() + Duration::from_millis(shortened(lifetime_ms, 10)),
                })
            }
            Err(cause) => {
                tracing::warn!(store = self.store.as_str(), cause, "cannot connect");
                self.circuit.record_failure(Instant::now(), &cause);
                Err(cause)
            }
        }
    }

    async fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), String> {
        connection.link.check().await
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        !connection.link.is_clean() || Instant::now() >= connection.expires_at
    }
}

/// `full` less a random part of up to one `part`th.
fn shortened(full: u64, part: u64) -> u64 {
    let range = full / part.max(1);
    // Without randomness the figure is merely less spread.
    let random = getrandom::u32().unwrap_or(0);
    full - range * u64::from(random) / u64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
