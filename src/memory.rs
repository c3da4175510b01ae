//! How much memory the bodies of requests, the buffered replies and the understanding of statements may take, all
//! together.
//!
//! Each of them is bounded by itself, but a thousand at their bound would be more than a machine has. What does not
//! fit is refused ([`Code::MemoryExhausted`](crate::error::Code)), and can be asked for again or as a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Code, Problem};

/// After how long a refused caller may try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// Part of the budget that is asked for at once, so that a growing reply does not ask at each value.
const STEP_BYTES: usize = 64 * 1024;

/// The budget. Shared by everything that holds bytes for a caller.
#[derive(Debug)]
pub struct Memory {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Memory {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            held: AtomicUsize::new(0),
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
        }
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
}

impl Part {
    /// Makes the part cover `bytes` at least.
    pub fn cover(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.cover_sparing(bytes, 0)
    }

    /// Like [`Self::cover`], and leaves `spared` bytes to others.
    pub fn cover_sparing(&mut self, bytes: usize, spared: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let wanted = bytes.next_multiple_of(STEP_BYTES) - self.bytes;
        if !self.memory.take(wanted, spared) {
            return Err(Exhausted);
        }
        self.bytes += wanted;
        Ok(())
    }

    /// Gives back all but what `bytes` need.
    pub fn shrink(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.memory.held.fetch_sub(excess, Ordering::Relaxed);
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
}
