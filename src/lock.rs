//! Locks that outlive a panic: what they guard is never left half-changed, so that the next holder may go on.

use std::sync::{LockResult, PoisonError};

/// For what `lock`, `read` and `write` of the standard library's locks return.
pub trait Unpoisoned<G> {
    /// The guard, also where a thread panicked while it held the lock.
    fn unpoisoned(self) -> G;
}

impl<G> Unpoisoned<G> for LockResult<G> {
    fn unpoisoned(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}
