//! Quick reads share connections. The driver sends one caller's statement behind another's without waiting, and the
//! server answers them in that order; so several share one write, one read and one wake-up on each side.
//!
//! Only what is proven to leave nothing behind comes here: single reads, each a read-only transaction of its own, whose
//! rows are kept and not streamed. What would hold others up stays away: a statement shares only after it has been quick
//! [`QUICK_RUNS`] times in a row, and one that is not answered in [`PATIENCE`] is run again on a connection of its own,
//! where a read does no harm twice. A lane in which anybody gave up takes nobody else in; once its other readers have
//! their rows, its connection is closed and its statement cancelled, as any that is left in the middle of one.
//!
//! Callers take turns at seats as they do at connections, and half of the pool is left to statements that need a
//! connection each, but for the moment in which old lanes end and new ones begin.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::MutexGuard as Turn;
use tokio::time::{Instant, timeout, timeout_at};

use super::session::{Opener, Session};
use super::{Failure, bind, client, deliver, prepared};
use crate::execute::Error;
use crate::execute::pool::{Exhausted, Lease, Lines, Pool, Slot, Turns};
use crate::execute::request::SqlRequest;
use crate::execute::settings::PoolSettings;
use crate::lock::Unpoisoned as _;
use crate::operation::Store;
use crate::reply::{RowSink, Summary};

/// Seats for each connection that may be shared.
const SEATS_A_LANE: usize = 32;
/// Where each lane has so many readers, another connection is opened if there may be one. The more share one, the less
/// each of their statements costs, until they wait for each other.
const READERS_MANY: usize = 16;
/// As long as readers wait for each other: where a read takes longer than [`WAIT_LONG`].
const READERS_FEW: usize = 2;
const WAIT_LONG: Duration = Duration::from_millis(2);
/// The part of the latest read in what reads take, as one of so many.
const WAIT_WEIGHT: u64 = 16;
/// A lane of this age takes no more readers, so that its connection comes back to the pool, which looks after it.
const LANE_AGE_MAX: Duration = Duration::from_secs(1);
/// How long a reader waits for its first row before it is run again apart.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// What counts as quick, and how often in a row a statement must have been.
const QUICK_MAX: Duration = Duration::from_millis(10);
const QUICK_ROWS_MAX: u64 = 1_000;
const QUICK_RUNS: u8 = 3;
/// Statements with their parameters that are larger do not share.
const SENT_BYTES_MAX: usize = 16 * 1024;
/// Statements whose pace is remembered, and the longest of them.
const PACES_MAX: usize = 2_048;
const PACE_BYTES_MAX: usize = 4 * 1024;

/// The shared connections.
pub(super) struct Lanes {
    open: Mutex<Vec<Open>>,
    /// Held by whoever opens a lane; those who find none wait for it.
    opening: tokio::sync::Mutex<()>,
    seats: Arc<Turns>,
    /// How long a reader waits for a lane that somebody opens.
    patience: Duration,
    lanes_max: usize,
    /// What a read takes in a lane, in microseconds, the latest counting most.
    takes_us: AtomicU64,
    paces: Cache<Arc<str>, Arc<Pace>>,
}

/// A connection that is shared just now, by one reader at least.
struct Open {
    lane: Arc<Lane>,
    readers: usize,
}

struct Lane {
    /// Busy for as long as it is shared.
    session: Lease<'static, Arc<Opener>>,
    opened: Instant,
    /// Somebody left in the middle of a statement.
    given_up: AtomicBool,
}

/// How often in a row a statement was quick.
#[derive(Default)]
pub(super) struct Pace(AtomicU8);

impl Pace {
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= QUICK_RUNS
    }

    pub(super) fn note(&self, took: Duration, rows: u64) {
        let runs = if took <= QUICK_MAX && rows <= QUICK_ROWS_MAX {
            (self.0.load(Ordering::Relaxed) + 1).min(QUICK_RUNS)
        } else {
            0
        };
        self.0.store(runs, Ordering::Relaxed);
    }
}

/// A read, and for whom.
pub(super) struct Read<'a> {
    pub(super) sql: &'a Arc<str>,
    pub(super) request: &'a SqlRequest,
    pub(super) caller: &'a str,
    pub(super) deadline: Instant,
}

/// What became of a read in a lane.
pub(super) enum Shared {
    Done(Result<Summary, Failure>),
    /// Nothing of it was delivered: it may run on a connection of its own.
    Apart,
}

impl Lanes {
    pub(super) fn new(settings: &PoolSettings) -> Self {
        let lanes_max = settings.max as usize / 2;
        let seats = lanes_max * SEATS_A_LANE;
        Self {
            open: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            seats: Turns::new(seats, settings.waiting_max, settings.acquire_timeout_ms),
            patience: Duration::from_millis(settings.acquire_timeout_ms),
            lanes_max,
            takes_us: AtomicU64::new(0),
            paces: Cache::new(PACES_MAX),
        }
    }

    /// The pace of a statement; `None` for one that never shares.
    pub(super) fn pace(&self, sql: &Arc<str>, request: &SqlRequest) -> Option<Arc<Pace>> {
        if self.lanes_max == 0
            || sql.len() > PACE_BYTES_MAX
            || request.sent_bytes(sql) > SENT_BYTES_MAX
        {
            return None;
        }
        Some(self.paces.get(&**sql).unwrap_or_else(|| {
            let pace = Arc::<Pace>::default();
            self.paces.insert(Arc::clone(sql), Arc::clone(&pace));
            pace
        }))
    }

    pub(super) fn lines(&self) -> Lines {
        self.seats.lines()
    }

    /// Runs a quick read behind others. Dropping the future gives the lane up.
    pub(super) async fn read(
        &self,
        pool: &Pool<Arc<Opener>>,
        read: &Read<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<Shared, Error> {
        let seating = timeout_at(read.deadline, self.seat(pool, read.caller));
        let Ok(seat) = seating.await else {
            return Ok(Shared::Done(Err(Failure::TimedOut)));
        };
        let mut seat = seat?;
        let began = Instant::now();
        let until = read.deadline.min(began + PATIENCE);
        let begun = match timeout_at(until, begin(seat.session(), read)).await {
            Ok(begun) => begun,
            Err(_) if until == read.deadline => return Ok(Shared::Done(Err(Failure::TimedOut))),
            Err(_) => return Ok(Shared::Apart),
        };
        let (statement, rows) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                seat.is_done = failure.is_in_step();
                return Ok(seat.failed(failure, read.sql));
            }
        };
        let delivering = timeout_at(read.deadline, deliver(rows, &statement, sink));
        let result = delivering.await.unwrap_or(Err(Failure::TimedOut));
        seat.is_done = result.as_ref().err().is_none_or(Failure::is_in_step);
        self.took(began.elapsed());
        Ok(Shared::Done(result))
    }

    fn took(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let known = self.takes_us.load(Ordering::Relaxed);
        // Of two reads that end at once one may not count.
        let takes_us = known - known / WAIT_WEIGHT + took_us / WAIT_WEIGHT;
        self.takes_us.store(takes_us, Ordering::Relaxed);
    }

    fn wait_for_each_other(&self) -> bool {
        u128::from(self.takes_us.load(Ordering::Relaxed)) > WAIT_LONG.as_micros()
    }

    /// A place in a lane, in `caller`'s turn.
    async fn seat(&self, pool: &Pool<Arc<Opener>>, caller: &str) -> Result<Seat<'_>, Error> {
        let turn = self.seats.take(caller).await;
        let turn = turn.map_err(exhausted)?;
        let _opening = match self.find(pool, caller) {
            Found::Lane(lane) => return Ok(self.seated(lane, turn)),
            Found::Another(opening) => opening,
            Found::None => {
                let opening = timeout(self.patience, self.opening.lock()).await;
                let waited_ms = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
                let opening = opening.map_err(|_| exhausted(Exhausted { waited_ms }))?;
                // Somebody may have opened one meanwhile.
                if let Some(lane) = self.join(|_| false) {
                    return Ok(self.seated(lane, turn));
                }
                opening
            }
        };
        // Boxed, since few readers come this far.
        let mut session = Box::pin(pool.acquire_owned(caller)).await?;
        session.set_busy();
        let lane = Arc::new(Lane {
            session,
            opened: Instant::now(),
            given_up: AtomicBool::new(false),
        });
        self.lock().push(Open {
            lane: Arc::clone(&lane),
            readers: 1,
        });
        Ok(self.seated(lane, turn))
    }

    /// A place in the emptiest lane, unless one more should be opened and nobody does so yet.
    fn find(&self, pool: &Pool<Arc<Opener>>, caller: &str) -> Found<'_> {
        let mut opening = None;
        let lane = self.join(|readers| {
            let waits = self.wait_for_each_other();
            if readers >= READERS_MANY || (waits && (readers >= READERS_FEW || pool.has_idle())) {
                opening = self.opening.try_lock().ok();
            }
            if !pool.has_free_slot(caller) {
                opening = None;
            }
            opening.is_some()
        });
        match (lane, opening) {
            (Some(lane), _) => Found::Lane(lane),
            (None, Some(opening)) => Found::Another(opening),
            (None, None) => Found::None,
        }
    }

    /// Takes a place in the emptiest lane. `None` where there is no lane, or another is wanted beside it.
    fn join(&self, wants_another: impl FnOnce(usize) -> bool) -> Option<Arc<Lane>> {
        let mut open = self.lock();
        let may_grow = open.len() < self.lanes_max;
        let lanes = open.iter_mut().filter(|open| open.is_taking());
        let emptiest = lanes.min_by_key(|open| open.readers)?;
        if may_grow && wants_another(emptiest.readers) {
            return None;
        }
        emptiest.readers += 1;
        Some(Arc::clone(&emptiest.lane))
    }

    fn seated(&self, lane: Arc<Lane>, turn: Slot) -> Seat<'_> {
        Seat {
            lanes: self,
            lane: Some(lane),
            is_done: false,
            _turn: turn,
        }
    }

    /// The last reader to leave gives the connection back, or leaves it to be closed.
    fn leave(&self, lane: Arc<Lane>) {
        let mut open = self.lock();
        let Some(at) = open.iter().position(|open| Arc::ptr_eq(&open.lane, &lane)) else {
            return;
        };
        drop(lane);
        let Some(left) = open.get_mut(at) else { return };
        left.readers -= 1;
        if left.readers > 0 {
            return;
        }
        let lane = open.swap_remove(at).lane;
        drop(open);
        if let Some(mut lane) = Arc::into_inner(lane)
            && !lane.given_up.into_inner()
        {
            lane.session.set_clean();
        }
    }

    /// The list is whole between any two statements that could panic.
    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unpoisoned()
    }
}

/// What is there for a new reader.
enum Found<'l> {
    Lane(Arc<Lane>),
    /// The right to open one more.
    Another(Turn<'l, ()>),
    None,
}

impl Open {
    /// Whether it takes another reader; how many there are at all is bounded by the seats.
    fn is_taking(&self) -> bool {
        let lane = &self.lane;
        !lane.given_up.load(Ordering::Relaxed)
            && lane.opened.elapsed() < LANE_AGE_MAX
            && (lane.session.client()).is_some_and(|client| !client.is_closed())
    }
}

/// A reader's place. Left before [`Seat::is_done`], it gives the lane up.
struct Seat<'l> {
    lanes: &'l Lanes,
    /// Taken when the seat is dropped, and only then.
    lane: Option<Arc<Lane>>,
    is_done: bool,
    _turn: Slot,
}

impl Seat<'_> {
    fn session(&self) -> Option<&Session> {
        self.lane.as_deref().map(|lane| &*lane.session)
    }

    /// What failed before its first row: once more, apart, where that may help.
    fn failed(&self, failure: Failure, sql: &str) -> Shared {
        match &failure {
            Failure::Fault(fault) if fault.is_stale() => {
                if let Some(session) = self.session() {
                    session.statements.forget(sql);
                    if let Some(client) = session.client() {
                        client.clear_type_cache();
                    }
                }
                Shared::Apart
            }
            // The connection went away under all of its readers.
            Failure::Fault(fault) if !fault.is_answer() => Shared::Apart,
            Failure::Fault(_) | Failure::Refused(_) | Failure::Abandoned(_) | Failure::TimedOut => {
                Shared::Done(Err(failure))
            }
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            if !self.is_done {
                lane.given_up.store(true, Ordering::Relaxed);
            }
            self.lanes.leave(lane);
        }
    }
}

fn exhausted(Exhausted { waited_ms }: Exhausted) -> Error {
    Error::PoolExhausted {
        store: Store::Postgres,
        waited_ms,
    }
}

/// Prepares the statement, where this connection has not, and sends it.
async fn begin(
    session: Option<&Session>,
    read: &Read<'_>,
) -> Result<(Arc<super::Prepared>, tokio_postgres::RowStream), Failure> {
    let session = session.ok_or_else(|| super::unavailable("the connection closed"))?;
    let (statement, _) = prepared(session, read.sql).await?;
    let rows = bind(client(session)?, &statement, read.request).await?;
    Ok((statement, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_wait_for_each_other_once_reads_are_slow_and_until_they_are_quick() {
        let lanes = Lanes::new(&PoolSettings::POSTGRES);
        let after = |took: Duration| {
            (0..100).for_each(|_| lanes.took(took));
            lanes.wait_for_each_other()
        };
        assert!(!lanes.wait_for_each_other());
        assert!(!after(WAIT_LONG / 4));
        assert!(after(WAIT_LONG * 2));
        assert!(!after(WAIT_LONG / 4));
        lanes.took(WAIT_LONG * 4);
        assert!(!lanes.wait_for_each_other(), "one read counts little");
    }
}
