//! Whether a database can be reached, so that nobody waits for one that is down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::lock::Unpoisoned as _;

/// The first pause between two attempts to connect to a database that is down.
const RETRY_MIN_MS: u64 = 100;
/// The longest pause, and so about how long a recovered database may go unnoticed.
const RETRY_MAX_MS: u64 = 2_000;

/// Remembers failed attempts to connect. While attempts fail, one caller at a time may try again, after a
/// pause that doubles; everybody else is told at once. Time is an argument, so tests need not sleep.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    /// Whether the last attempt failed: all that a request looks at while the database is up.
    failing: AtomicBool,
    /// An attempt that somebody was admitted to has not begun yet.
    granted: AtomicBool,
    state: Mutex<State>,
    /// Woken at every failed attempt.
    pub(super) failed: Notify,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    retry_at: Option<Instant>,
    cause: Arc<str>,
}

impl Circuit {
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether the caller may try to connect at `now`. While attempts fail, a yes claims the next attempt.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), Arc<str>> {
        if !self.is_failing() {
            return Ok(());
        }
        let mut state = self.lock();
        match state.retry_at {
            Some(retry_at) if now < retry_at => Err(Arc::clone(&state.cause)),
            Some(_) | None => {
                state.retry_at = Some(now + pause(state.failures));
                Ok(())
            }
        }
    }

    /// The same for whoever makes the attempts: those that were admitted on behalf of a request, and others (a pool that
    /// is filled up in the background) only at their own turn.
    pub(crate) fn admit_attempt(&self, now: Instant) -> Result<(), Arc<str>> {
        if !self.is_failing() || self.granted.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.admit(now)
    }

    /// An attempt that was just admitted is about to be made.
    pub(crate) fn grant(&self) {
        if self.is_failing() {
            self.granted.store(true, Ordering::Release);
        }
    }

    pub(crate) fn record_failure(&self, now: Instant, cause: &str) {
        {
            let mut state = self.lock();
            state.failures = state.failures.saturating_add(1);
            state.retry_at = Some(now + pause(state.failures));
            state.cause = cause.into();
        }
        self.failing.store(true, Ordering::Release);
        self.failed.notify_waiters();
    }

    pub(crate) fn record_success(&self) {
        if self.is_failing() {
            let mut state = self.lock();
            state.failures = 0;
            state.retry_at = None;
            self.failing.store(false, Ordering::Release);
        }
    }

    /// Why the last attempt failed.
    pub(crate) fn cause(&self) -> Arc<str> {
        Arc::clone(&self.lock().cause)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }
}

/// The pause after so many failures in a row, shortened by up to a quarter at random, so that sidecars that
/// lost the same database do not come back in step.
fn pause(failures: u32) -> Duration {
    let doubled = RETRY_MIN_MS.saturating_mul(1 << failures.saturating_sub(1).min(16));
    Duration::from_millis(super::shortened(doubled.min(RETRY_MAX_MS), 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_tries_again_after_each_pause() {
        let circuit = Circuit::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(circuit.admit(at(0)), Ok(()));
        circuit.record_failure(at(0), "refused");
        assert_eq!(circuit.admit(at(1)), Err("refused".into()));
        assert_eq!(circuit.admit(at(100)), Ok(()));
        // The attempt is claimed: the next caller is told at once.
        assert_eq!(circuit.admit(at(101)), Err("refused".into()));
        circuit.record_failure(at(120), "still refused");
        assert_eq!(circuit.admit(at(220)), Err("still refused".into()));
        assert_eq!(circuit.admit(at(320)), Ok(()));
        circuit.record_success();
        assert_eq!(circuit.admit(at(321)), Ok(()));
        assert_eq!(circuit.admit(at(321)), Ok(()));
    }

    #[test]
    fn an_attempt_in_the_background_waits_for_its_turn_too() {
        let circuit = Circuit::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(circuit.admit_attempt(at(0)), Ok(()));
        circuit.record_failure(at(0), "refused");
        assert!(circuit.admit_attempt(at(1)).is_err());
        assert_eq!(circuit.admit(at(100)), Ok(()));
        circuit.grant();
        assert_eq!(circuit.admit_attempt(at(100)), Ok(()), "it was granted");
        assert!(circuit.admit_attempt(at(100)).is_err(), "once");
        assert_eq!(circuit.admit_attempt(at(300)), Ok(()), "its own turn");
    }

    #[test]
    fn the_pause_is_bounded() {
        for failures in [0, 1, 5, 100, u32::MAX] {
            let pause = pause(failures).as_millis();
            assert!((75..=2_000).contains(&pause), "{failures}: {pause}");
        }
    }
}
