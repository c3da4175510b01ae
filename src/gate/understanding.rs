//! What understanding large statements takes: a part of the memory for all, and few of them at a time.
//!
//! A parser's tree is many times its text. It is gone when the statement has been decided upon, so whoever comes while
//! others are being understood waits a little, and is only then told to come again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::classify::LARGE_BYTES;
use crate::error::{Code, Problem};
use crate::memory::{Exhausted, Memory, Part, SPARED_PART};

/// Large statements that are understood side by side: a large one keeps a processor busy.
const LARGE_AT_ONCE: usize = 2;

/// How long a statement waits for its turn, and for memory.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often one that has its turn looks for memory.
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Bounds what is being understood at one time.
pub struct Understandings {
    pub memory: Arc<Memory>,
    turns: Arc<Semaphore>,
    turn_timeout: Duration,
}

/// What one request's statements take, until they have been decided upon. A batch's follow one another, so its largest
/// counts.
#[derive(Debug, Default)]
pub(super) struct Understanding {
    part: Option<Part>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Understandings {
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            turns: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
            turn_timeout: TURN_TIMEOUT,
        }
    }

    /// Makes room for a statement that takes `bytes`. May be cancelled.
    ///
    /// # Errors
    /// [`Code::RequestTooLarge`] for what could never have so much, [`Code::MemoryExhausted`] where it does not get it
    /// in time.
    pub(super) async fn room(
        &self,
        bytes: usize,
        understanding: &mut Understanding,
    ) -> Result<(), Problem> {
        let bytes_max = self.memory.bytes_max();
        let spared = bytes_max / SPARED_PART;
        if bytes > bytes_max - spared {
            return Err(too_large(bytes, bytes_max - spared));
        }
        let deadline = Instant::now() + self.turn_timeout;
        if bytes > LARGE_BYTES && understanding.turn.is_none() {
            let turn = Arc::clone(&self.turns).acquire_owned();
            match tokio::time::timeout_at(deadline, turn).await {
                Ok(Ok(turn)) => understanding.turn = Some(turn),
                Ok(Err(_)) | Err(_) => return Err(Exhausted.problem()),
            }
        }
        let part = understanding.part.get_or_insert_with(|| self.memory.part());
        while part.cover_sparing(bytes, spared).is_err() {
            if Instant::now() >= deadline {
                return Err(Exhausted.problem());
            }
            tokio::time::sleep(MEMORY_POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn too_large(bytes: usize, bytes_max: usize) -> Problem {
    let detail = format!(
        "understanding the statement may take {bytes} bytes of memory and may have {bytes_max}: send its values as parameters, split it, or raise `memory_bytes_max`"
    );
    Problem::new(Code::RequestTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn understandings(turn_timeout: Duration) -> Understandings {
        Understandings {
            turn_timeout,
            ..Understandings::new(Memory::new(128 * MIB))
        }
    }

    async fn room(all: &Understandings, bytes: usize) -> Result<Understanding, Code> {
        let mut one = Understanding::default();
        let made = all.room(bytes, &mut one).await;
        made.map(|()| one).map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn what_can_never_have_so_much_is_told_so() {
        let all = understandings(TURN_TIMEOUT);
        let refused = room(&all, 125 * MIB).await;
        assert_eq!(refused.err(), Some(Code::RequestTooLarge));
        assert!(room(&all, 124 * MIB).await.is_ok());
        assert_eq!(all.memory.held(), 0);
    }

    #[tokio::test]
    async fn large_ones_wait_for_their_turn_and_small_ones_do_not() {
        let all = understandings(Duration::ZERO);
        let one = room(&all, 17 * MIB).await.unwrap();
        let two = room(&all, 17 * MIB).await.unwrap();
        assert_eq!(
            room(&all, 17 * MIB).await.err(),
            Some(Code::MemoryExhausted)
        );
        assert!(room(&all, MIB).await.is_ok());
        drop(one);
        assert!(room(&all, 17 * MIB).await.is_ok());
        drop(two);
        assert_eq!(all.memory.held(), 0);
    }

    #[tokio::test]
    async fn one_that_waits_gets_what_another_gives_back() {
        let all = Arc::new(understandings(TURN_TIMEOUT));
        let one = room(&all, 100 * MIB).await.unwrap();
        let waiting = tokio::spawn({
            let all = Arc::clone(&all);
            async move { room(&all, 100 * MIB).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(one);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_batch_takes_what_its_largest_statement_does() {
        let all = understandings(Duration::ZERO);
        let mut batch = Understanding::default();
        for mib in [20, 60, 30, 100] {
            all.room(mib * MIB, &mut batch).await.unwrap();
        }
        assert_eq!(all.memory.held(), 100 * MIB);
    }

    #[tokio::test]
    async fn others_keep_a_part() {
        let all = understandings(Duration::ZERO);
        let _one = room(&all, 124 * MIB).await.unwrap();
        assert_eq!(room(&all, MIB).await.err(), Some(Code::MemoryExhausted));
        assert_eq!(all.memory.part().cover(4 * MIB), Ok(()));
    }
}
