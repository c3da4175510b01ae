//! Whose turn it is to have a connection: fair across callers, not across requests.
//!
//! Requests that find no free slot wait in a line of their caller's. Each slot that comes free goes to the next
//! caller in turn, and within a caller to who came first; so a thousand waiting requests of one API key delay
//! another key's single request by one turn. The lines together have a length: when they are full, a caller
//! with a shorter line takes the place of the last one in the longest, and who has that line is refused.
//!
//! Slots may be kept for callers that have none ([`Turns::keeping`]), so that no caller has them all, however long its
//! statements run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::lock::Unpoisoned as _;

/// Slots, and who waits for them. Without waiting, taking one costs a lock and no more.
pub(in crate::execute) struct Turns {
    state: Mutex<State>,
    waiting_max: usize,
    patience: Duration,
    /// So many slots are for callers that have none.
    kept: usize,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.lines();
        f.debug_struct("Turns")
            .field("lines", &lines)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// Nobody waits who may have one of them.
    free: usize,
    /// How many slots each caller has, where some are kept.
    held: HashMap<Arc<str>, usize>,
    /// Callers with a line, in the order of their turns.
    order: VecDeque<Arc<str>>,
    lines: HashMap<Arc<str>, VecDeque<Waiter>>,
    waiting: usize,
    /// Numbers of waiters only grow, and so each line is sorted.
    numbers: u64,
    waits_total: u64,
    waited_us_total: u64,
}

struct Waiter {
    number: u64,
    turn: oneshot::Sender<Slot>,
}

/// What the metrics show of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::execute) struct Lines {
    /// Slots that nobody has.
    pub(in crate::execute) free: usize,
    pub(in crate::execute) waiting: usize,
    /// How many requests had to wait, since the start.
    pub(in crate::execute) waits_total: u64,
    /// How long they waited altogether, in microseconds.
    pub(in crate::execute) waited_us_total: u64,
}

/// No slot in time: the lines were full, or the wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::execute) struct Exhausted {
    pub(in crate::execute) waited_ms: u64,
}

/// The right to use one connection; goes to the next in turn when dropped.
pub(in crate::execute) struct Slot {
    turns: Option<Arc<Turns>>,
    /// Whose it is, where that counts.
    caller: Option<Arc<str>>,
}

impl Turns {
    pub(in crate::execute) fn new(slots: usize, waiting_max: usize, patience_ms: u64) -> Arc<Self> {
        Self::keeping(0, slots, waiting_max, patience_ms)
    }

    /// Of `slots`, `kept` are for callers that have none.
    pub(in crate::execute) fn keeping(
        kept: usize,
        slots: usize,
        waiting_max: usize,
        patience_ms: u64,
    ) -> Arc<Self> {
        let state = State {
            free: slots,
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            waiting_max,
            patience: Duration::from_millis(patience_ms),
            kept,
        })
    }

    /// A slot that is free now, whosever turn it is: for the sidecar itself.
    pub(in crate::execute) fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let mut state = self.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Slot {
            turns: Some(Arc::clone(self)),
            caller: None,
        })
    }

    fn try_take_for(self: &Arc<Self>, caller: &str) -> Option<Slot> {
        let mut state = self.lock();
        if !state.may_have_one(caller, self.kept) {
            return None;
        }
        let caller = (self.kept > 0).then(|| state.hold(caller.into()));
        state.free -= 1;
        Some(Slot {
            turns: Some(Arc::clone(self)),
            caller,
        })
    }

    /// Whether `caller` would get a slot without waiting.
    pub(in crate::execute) fn has_one_for(&self, caller: &str) -> bool {
        self.lock().may_have_one(caller, self.kept)
    }

    /// A slot, in `caller`'s turn. Dropping the future leaves the line.
    pub(in crate::execute) async fn take(
        self: &Arc<Self>,
        caller: &str,
    ) -> Result<Slot, Exhausted> {
        match self.try_take_for(caller) {
            Some(slot) => Ok(slot),
            None => self.wait(caller).await,
        }
    }

    async fn wait(self: &Arc<Self>, caller: &str) -> Result<Slot, Exhausted> {
        let started = Instant::now();
        let (turn, mine) = oneshot::channel();
        let Some(_place) = self.stand_in_line(caller, turn) else {
            return Err(Exhausted { waited_ms: 0 });
        };
        let slot = timeout(self.patience, mine).await;
        let waited = started.elapsed();
        let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        {
            let mut state = self.lock();
            state.waits_total = state.waits_total.saturating_add(1);
            state.waited_us_total = state.waited_us_total.saturating_add(waited_us);
        }
        match slot {
            Ok(Ok(slot)) => Ok(slot),
            // Pushed out by a caller with a shorter line, or too late.
            Ok(Err(_)) | Err(_) => Err(Exhausted {
                waited_ms: waited_us / 1_000,
            }),
        }
    }

    /// `None` where the lines are full, and this caller's is as long as any.
    fn stand_in_line(
        self: &Arc<Self>,
        caller: &str,
        turn: oneshot::Sender<Slot>,
    ) -> Option<Place<'_>> {
        let mut state = self.lock();
        // Told of it by being dropped, once nothing is locked any more.
        let _pushed_out = if state.waiting >= self.waiting_max {
            Some(state.push_out_for(caller)?)
        } else {
            None
        };
        let number = state.numbers;
        state.numbers += 1;
        let caller = state.enter(caller, Waiter { number, turn });
        drop(state);
        // One may have come free since it was looked for.
        self.hand();
        Some(Place {
            turns: self,
            caller,
            number,
        })
    }

    pub(in crate::execute) fn lines(&self) -> Lines {
        let state = self.lock();
        Lines {
            free: state.free,
            waiting: state.waiting,
            waits_total: state.waits_total,
            waited_us_total: state.waited_us_total,
        }
    }

    /// Gives the slots that nobody has to whoever is next and may have one.
    fn hand(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let Some((caller, waiter)) = state.next(self.kept) else {
                return;
            };
            state.free -= 1;
            let caller = (self.kept > 0).then(|| state.hold(caller));
            drop(state);
            let slot = Slot {
                turns: Some(Arc::clone(self)),
                caller,
            };
            if let Err(mut slot) = waiter.turn.send(slot) {
                // That one has just gone. The slot comes back here, and not by its drop.
                slot.turns = None;
                self.lock().release(slot.caller.as_ref());
            }
        }
    }

    /// The state is whole between any two statements that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }
}

impl Slot {
    /// Lets its caller pass for one that has none: what is held for long has limits of its own.
    pub(in crate::execute) fn uncount(&mut self) {
        if let (Some(turns), Some(caller)) = (&self.turns, self.caller.take()) {
            turns.lock().let_go(&caller);
            turns.hand();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else {
            return;
        };
        turns.lock().release(self.caller.as_ref());
        turns.hand();
    }
}

impl State {
    /// Puts a waiter at the end of its caller's line.
    fn enter(&mut self, caller: &str, waiter: Waiter) -> Arc<str> {
        self.waiting += 1;
        if let Some((name, _)) = self.lines.get_key_value(caller) {
            let name = Arc::clone(name);
            if let Some(line) = self.lines.get_mut(caller) {
                line.push_back(waiter);
            }
            return name;
        }
        let name: Arc<str> = caller.into();
        self.order.push_back(Arc::clone(&name));
        self.lines
            .insert(Arc::clone(&name), VecDeque::from([waiter]));
        name
    }

    fn may_have_one(&self, caller: &str, kept: usize) -> bool {
        self.free > kept || (self.free > 0 && !self.held.contains_key(caller))
    }

    fn hold(&mut self, caller: Arc<str>) -> Arc<str> {
        if let Some((name, _)) = self.held.get_key_value(&caller) {
            let name = Arc::clone(name);
            if let Some(held) = self.held.get_mut(&name) {
                *held += 1;
            }
            return name;
        }
        self.held.insert(Arc::clone(&caller), 1);
        caller
    }

    /// A slot comes back from whoever had it.
    fn release(&mut self, caller: Option<&Arc<str>>) {
        self.free += 1;
        if let Some(caller) = caller {
            self.let_go(caller);
        }
    }

    fn let_go(&mut self, caller: &Arc<str>) {
        if let Some(held) = self.held.get_mut(caller) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(caller);
            }
        }
    }

    /// The first in the line of the caller whose turn it is, of those that may have a slot; that caller's next turn
    /// comes after all others'.
    fn next(&mut self, kept: usize) -> Option<(Arc<str>, Waiter)> {
        let may = |caller: &Arc<str>| self.may_have_one(caller, kept);
        let place = self.order.iter().position(may)?;
        let caller = self.order.remove(place)?;
        let line = self.lines.get_mut(&caller)?;
        let waiter = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&caller);
        } else {
            self.order.push_back(Arc::clone(&caller));
        }
        self.waiting -= usize::from(waiter.is_some());
        waiter.map(|waiter| (caller, waiter))
    }

    /// Takes the last one out of the longest line, where `caller`'s would still be shorter with one more.
    fn push_out_for(&mut self, caller: &str) -> Option<Waiter> {
        let own = self.lines.get(caller).map_or(0, VecDeque::len);
        let (longest, line) = self.lines.iter().max_by_key(|(_, line)| line.len())?;
        if line.len() <= own + 1 {
            return None;
        }
        let (longest, number) = (Arc::clone(longest), line.back()?.number);
        self.leave(&longest, number)
    }

    /// Takes one out of its line, if it still stands there.
    fn leave(&mut self, caller: &str, number: u64) -> Option<Waiter> {
        let line = self.lines.get_mut(caller)?;
        let index = line.binary_search_by_key(&number, |waiter| waiter.number);
        let waiter = line.remove(index.ok()?);
        if line.is_empty() {
            self.lines.remove(caller);
            self.order.retain(|other| &**other != caller);
        }
        self.waiting -= usize::from(waiter.is_some());
        waiter
    }
}

/// A place in a line, left when the request has its slot or goes away.
struct Place<'t> {
    turns: &'t Turns,
    caller: Arc<str>,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _left = self.turns.lock().leave(&self.caller, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts waiting, and says its name when it has its turn.
    async fn wait(turns: &Arc<Turns>, caller: &'static str, said: &Mutex<Vec<&'static str>>) {
        let slot = turns.take(caller).await;
        said.lock()
            .unwrap()
            .push(if slot.is_ok() { caller } else { "refused" });
    }

    /// The order in which callers get the one slot, when they have come in this order.
    async fn order_of(callers: &[&'static str], waiting_max: usize) -> Vec<&'static str> {
        let turns = Turns::new(1, waiting_max, 60_000);
        let said = Mutex::default();
        let slot = turns.try_take().unwrap();
        let all = callers.iter().map(|caller| wait(&turns, caller, &said));
        let all = futures_util::future::join_all(all);
        let (_, ()) = tokio::join!(all, async { drop(slot) });
        let lines = turns.lines();
        assert_eq!(lines.waiting, 0);
        let state = turns.lock();
        assert_eq!(
            (state.free, state.lines.len(), state.order.len()),
            (1, 0, 0)
        );
        drop(state);
        said.into_inner().unwrap()
    }

    #[tokio::test]
    async fn callers_take_turns() {
        for (came, went) in [
            (&["a"][..], &["a"][..]),
            (&["a", "a", "a", "b"], &["a", "b", "a", "a"]),
            (
                &["a", "a", "b", "b", "c", "a"],
                &["a", "b", "c", "a", "b", "a"],
            ),
        ] {
            assert_eq!(order_of(came, 64).await, went);
        }
        let mut many = vec!["many"; 1_000];
        many.push("single");
        assert_eq!(order_of(&many, 1_001).await[1], "single");
    }

    #[tokio::test]
    async fn full_lines_have_room_for_who_has_a_shorter_one() {
        for (came, went) in [
            // The last of the longest line makes room; as long a line does not.
            (&["a", "a", "a", "b"][..], &["refused", "a", "b", "a"][..]),
            (&["a", "a", "a", "a"], &["refused", "a", "a", "a"]),
            (&["a", "b", "c", "d"], &["refused", "a", "b", "c"]),
            (
                &["a", "a", "a", "b", "b"],
                &["refused", "refused", "a", "b", "a"],
            ),
        ] {
            let mut seen = order_of(came, 3).await;
            // Who is pushed out says so when it is next looked at.
            seen.sort_by_key(|name| *name != "refused");
            assert_eq!(seen, went, "{came:?}");
        }
        assert_eq!(order_of(&["a"], 0).await, ["refused"]);
    }

    #[tokio::test]
    async fn who_goes_away_is_not_waited_for() {
        let turns = Turns::new(1, 8, 60_000);
        let slot = turns.try_take().unwrap();
        let (mut gone, mut stays) = (Box::pin(turns.take("a")), Box::pin(turns.take("b")));
        assert!(futures_util::poll!(&mut gone).is_pending());
        assert!(futures_util::poll!(&mut stays).is_pending());
        assert_eq!(turns.lines().waiting, 2);
        drop(gone);
        assert_eq!(turns.lines().waiting, 1);
        // Handed over and dropped before it was looked at, a slot goes on to the next.
        let mut third = Box::pin(turns.take("c"));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(slot);
        drop(stays);
        assert!(third.await.is_ok());
        assert!(turns.try_take().is_some());
    }

    #[tokio::test]
    async fn the_last_slot_is_for_who_has_none() {
        let turns = Turns::keeping(1, 4, 8, 60_000);
        let mut many = Vec::new();
        for _ in 0..3 {
            many.push(turns.take("many").await.ok().unwrap());
        }
        let mut fourth = Box::pin(turns.take("many"));
        assert!(futures_util::poll!(&mut fourth).is_pending());
        let mut single = turns.take("single").await.ok();
        let mut second = Box::pin(turns.take("single"));
        assert!(futures_util::poll!(&mut second).is_pending());
        // What comes free is kept again, first for who has none.
        drop(single.take());
        assert!(second.await.is_ok());
        assert!(futures_util::poll!(&mut fourth).is_pending());
        assert!(turns.has_one_for("other") && !turns.has_one_for("many"));
        many.pop();
        assert!(fourth.await.is_ok());
        // A transaction does not count.
        let mut open = turns.take("other").await.ok().unwrap();
        open.uncount();
        assert!(turns.has_one_for("other"));
        drop((many, open));
        let state = turns.lock();
        assert_eq!((state.free, state.held.len(), state.waiting), (4, 0, 0));
    }

    #[tokio::test]
    async fn a_wait_ends() {
        let turns = Turns::new(1, 8, 20);
        let _slot = turns.try_take().unwrap();
        let waited = turns.take("a").await.err().unwrap();
        assert!(waited.waited_ms >= 20);
        assert_eq!(turns.lines().waits_total, 1);
    }
}
