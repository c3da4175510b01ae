//! Look-ups for addresses that have failed too often: few at once, and who has just come goes first.
//!
//! Beside a flood of made-up keys a line would be as long as the wait for it, and a good key at its end would always
//! come too late. Here whoever has come last is next, and who has waited longest makes room: a good key gets its turn
//! within a few tries, as often as the flood leaves it to be the last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::lock::Unpoisoned as _;

/// Look-ups under way at once for addresses that have failed too often, however many of these there are.
pub const DOUBTED_LOOK_UPS_MAX: usize = 4;

/// How many wait for their turn: as many as a burst of one good key that nobody has used yet may be.
pub const DOUBTED_WAITING_MAX: usize = 256;

/// How long one of them waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The turns, and who waits for one.
#[derive(Default)]
pub(super) struct Doubted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to look one key up. It goes on when this is dropped.
pub(super) struct Turn(Option<Arc<Mutex<State>>>);

impl Doubted {
    /// A turn; `None` where others went first. May be cancelled.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let mine = {
            let mut state = self.0.lock().unpoisoned();
            if state.taken < DOUBTED_LOOK_UPS_MAX {
                state.taken += 1;
                return Some(Turn(Some(Arc::clone(&self.0))));
            }
            let (turn, mine) = oneshot::channel();
            state.waiting.push_back(turn);
            if state.waiting.len() > DOUBTED_WAITING_MAX {
                // Told of it by being dropped.
                state.waiting.pop_front();
            }
            mine
        };
        tokio::time::timeout(WAIT_MAX, mine).await.ok()?.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = shared.lock().unpoisoned();
                let next = state.waiting.pop_back();
                if next.is_none() {
                    state.taken -= 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.send(Self(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // That one is gone. The turn goes on from here, and not by its drop.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn who_came_last_is_next_and_who_waited_longest_makes_room() {
        let doubted = Doubted::default();
        let mut taken = Vec::new();
        for _ in 0..DOUBTED_LOOK_UPS_MAX {
            taken.extend(doubted.turn().await);
        }
        let mut waiting: Vec<_> = (0..=DOUBTED_WAITING_MAX)
            .map(|_| Box::pin(doubted.turn()))
            .collect();
        for (place, one) in waiting.iter_mut().enumerate() {
            assert!(poll!(one).is_pending(), "{place}");
        }
        // One more than may wait has come.
        assert!(waiting.remove(0).now_or_never().unwrap().is_none());
        let gone = waiting.pop();
        drop(gone);
        taken.pop();
        let next = waiting.pop().unwrap().now_or_never().unwrap();
        assert!(next.is_some());
        assert!(poll!(waiting.first_mut().unwrap()).is_pending());
        drop((waiting, next, taken));
        assert_eq!(doubted.0.lock().unwrap().taken, 0);
    }
}
