//! How much memory the bodies of requests, the buffered replies and the understanding of statements may take, all
//! together.
//!
//! Each of them is bounded by itself, but a thousand at their bound would be more than a machine has. What does not
//! fit is refused ([`Code::MemoryExhausted`](crate::error::Code)), and can be asked for again or as a stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Code, Problem};
use crate::lock::Unpoisoned as _;

/// After how long a refused caller may try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// Part of the budget that is asked for at once, so that a growing reply does not ask at each value.
const STEP_BYTES: usize = 64 * 1024;

/// What one caller may hold with several requests: this part of the budget.
const CALLER_PART: usize = 2;

/// The part that is left for bodies and replies of one step, so that small requests go on beside large ones.
pub const SPARED_PART: usize = 32;

/// The budget. Shared by everything that holds bytes for a caller.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    held: AtomicUsize,
    /// Of which callers hold how much.
    callers: Mutex<HashMap<Arc<str>, usize>>,
}

impl Memory {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            held: AtomicUsize::new(0),
            callers: Mutex::default(),
        })
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A part of the budget, empty at first.
    pub fn part(self: &Arc<Self>) -> Part {
        Part {
            memory: Arc::clone(self),
            bytes: 0,
            caller: None,
        }
    }

    /// A part that counts for a caller, empty at first.
    pub fn part_of(self: &Arc<Self>, caller: &str) -> Part {
        let mut part = self.part();
        part.caller = Some(Caller {
            name: caller.into(),
            request: Arc::default(),
        });
        part
    }

    /// Bytes that may be held.
    pub const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    fn take(&self, bytes: usize, spared: usize) -> bool {
        let bytes_max = self.bytes_max.saturating_sub(spared);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|after| *after <= bytes_max)
            })
            .is_ok()
    }

    /// Takes `bytes` for a caller's request. One that is its caller's only one may have more than a caller's part.
    fn take_for(&self, caller: &Caller, bytes: usize, spared: usize) -> bool {
        let mut callers = self.callers.lock().unpoisoned();
        let held = callers.get(&caller.name).copied().unwrap_or(0);
        let is_only_one = held == caller.request.load(Ordering::Relaxed);
        if !is_only_one && held.saturating_add(bytes) > self.bytes_max / CALLER_PART {
            return false;
        }
        let is_taken = self.take(bytes, spared);
        if is_taken {
            callers.insert(Arc::clone(&caller.name), held + bytes);
            caller.request.fetch_add(bytes, Ordering::Relaxed);
        }
        is_taken
    }

    fn give_back(&self, caller: Option<&Caller>, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        let Some(caller) = caller.filter(|_| bytes > 0) else {
            return;
        };
        let mut callers = self.callers.lock().unpoisoned();
        caller.request.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(held) = callers.get_mut(&caller.name) {
            *held -= bytes;
            if *held == 0 {
                callers.remove(&caller.name);
            }
        }
    }
}

/// Nothing is left of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl Exhausted {
    pub fn problem(self) -> Problem {
        let detail = "the requests and replies under way hold all the memory that they may: try again shortly";
        let mut problem = Problem::new(Code::MemoryExhausted, detail);
        problem.retry_after_ms = Some(RETRY_AFTER_MS);
        problem
    }
}

/// A part of the budget that one body or reply holds. It goes back when this is dropped.
#[derive(Debug)]
pub struct Part {
    memory: Arc<Memory>,
    bytes: usize,
    caller: Option<Caller>,
}

/// For whom a part is.
#[derive(Debug, Clone)]
struct Caller {
    name: Arc<str>,
    /// What the parts of one request hold together.
    request: Arc<AtomicUsize>,
}

impl Part {
    /// An empty part for the same request.
    pub fn sibling(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            bytes: 0,
            caller: self.caller.clone(),
        }
    }

    /// Makes the part cover `bytes` at least.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let spared = match &self.caller {
            Some(_) if bytes > STEP_BYTES => self.memory.bytes_max / SPARED_PART,
            Some(_) | None => 0,
        };
        self.cover_sparing(bytes, spared)
    }

    /// Like [`Self::cover`], and leaves `spared` bytes to others.
    pub fn cover_sparing(&mut self, bytes: usize, spared: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let wanted = bytes.next_multiple_of(STEP_BYTES) - self.bytes;
        let is_taken = match &self.caller {
            Some(caller) => self.memory.take_for(caller, wanted, spared),
            None => self.memory.take(wanted, spared),
        };
        if !is_taken {
            return Err(Exhausted);
        }
        self.bytes += wanted;
        Ok(())
    }

    /// Gives back all but what `bytes` need.
    pub fn shrink(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.memory.give_back(self.caller.as_ref(), excess);
        self.bytes -= excess;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let memory = Memory::new(3 * STEP_BYTES);
        let (mut one, mut two) = (memory.part(), memory.part());
        assert_eq!(one.cover(STEP_BYTES + 1), Ok(()));
        assert_eq!(one.cover(2 * STEP_BYTES), Ok(()));
        assert_eq!(two.cover(STEP_BYTES + 1), Err(Exhausted));
        assert_eq!(two.cover(1), Ok(()));
        assert_eq!(memory.held(), 3 * STEP_BYTES);
        one.shrink(10);
        assert_eq!(memory.held(), STEP_BYTES + 10);
        drop((one, two));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn one_caller_leaves_half_and_small_ones_go_on() {
        let memory = Memory::new(64 * STEP_BYTES);
        let mut large = memory.part_of("a");
        // Alone, a request may have more; the rest is for small ones.
        assert_eq!(large.cover(62 * STEP_BYTES), Ok(()));
        assert_eq!(large.cover(63 * STEP_BYTES), Err(Exhausted));
        assert_eq!(memory.part_of("a").cover(1), Err(Exhausted));
        let (mut small, mut larger) = (memory.part_of("b"), memory.part_of("b"));
        assert_eq!(small.cover(STEP_BYTES), Ok(()));
        assert_eq!(larger.cover(STEP_BYTES + 1), Err(Exhausted));
        drop(large);
        let mut parts: Vec<Part> = (0..8).map(|_| memory.part_of("a")).collect();
        let held = |parts: &mut Vec<Part>| {
            let covered = parts.iter_mut().map(|part| part.cover(8 * STEP_BYTES));
            covered.filter(Result::is_ok).count()
        };
        assert_eq!(held(&mut parts), 4);
        assert_eq!(larger.cover(16 * STEP_BYTES), Ok(()));
        assert_eq!(parts.first().unwrap().sibling().cover(1), Err(Exhausted));
        drop((parts, small, larger));
        // A body and its reply are one request.
        let mut body = memory.part_of("a");
        let mut reply = body.sibling();
        assert_eq!(body.cover(20 * STEP_BYTES), Ok(()));
        assert_eq!(reply.cover(20 * STEP_BYTES), Ok(()));
        drop((body, reply));
        assert_eq!(
            (memory.held(), memory.callers.lock().unwrap().len()),
            (0, 0)
        );
    }
}
