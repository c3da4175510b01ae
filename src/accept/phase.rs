//! A listener's life, from serving to its end, and what each part means for its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use hyper::Version;
use tokio::sync::{Notify, watch};

/// How long a connection that has just come may take to ask for something once its listener is closed.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// How far a listener has come on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Everything is served, and every client told to come back on another connection: HTTP/1.1 by
    /// `Connection: close` with its next reply, HTTP/2 by GOAWAY.
    Leaving,
    /// No more connections are taken, and those that nothing is asked on are closed.
    Closing,
    /// What is still open is cut.
    Stopped,
}

/// Told to every listener by whoever runs it.
pub type Phases = watch::Receiver<Phase>;

const NOTHING: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// What a connection has been asked so far: one that speaks HTTP/2 can be told to end without any loss, one that
/// speaks HTTP/1.1 only with a reply, and one on which nothing was said yet not at all.
#[derive(Debug, Default)]
pub struct Spoken {
    version: AtomicU8,
    answered: AtomicBool,
    leaving: AtomicBool,
    /// Tells of the first request, and of the first answer.
    first: Notify,
}

impl Spoken {
    /// Notes a request; the first says what is spoken.
    pub fn note(&self, version: Version, phases: &Phases) {
        if self.version.load(Ordering::Relaxed) != NOTHING {
            return;
        }
        if *phases.borrow() >= Phase::Leaving {
            self.leaving.store(true, Ordering::Relaxed);
        }
        let spoken = if version == Version::HTTP_2 {
            HTTP2
        } else {
            HTTP1
        };
        self.version.store(spoken, Ordering::Release);
        self.first.notify_waiters();
    }

    /// Notes that a request was answered. Clients take GOAWAY badly while they still send their first one.
    pub fn note_answer(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Release);
            self.first.notify_waiters();
        }
    }

    /// Whether the client is to come back on another connection.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Ends when the connection should be ended after what is under way on it.
    pub async fn may_end(self: Arc<Self>, mut phases: Phases) {
        loop {
            let first = self.first.notified();
            let version = self.version.load(Ordering::Acquire);
            if version == NOTHING {
                first.await;
                continue;
            }
            // The sender is gone only when the process ends.
            let _ = phases.wait_for(|phase| *phase >= Phase::Leaving).await;
            self.leaving.store(true, Ordering::Relaxed);
            if version == HTTP1 {
                let _ = phases.wait_for(|phase| *phase >= Phase::Closing).await;
                return;
            }
            if self.answered.load(Ordering::Acquire) {
                return;
            }
            tokio::select! {
                () = first => {}
                _ = phases.wait_for(|phase| *phase >= Phase::Stopped) => {}
            }
            return;
        }
    }

    /// Ends when nobody waits any longer for a connection on which nothing was asked.
    pub async fn may_be_dropped(self: Arc<Self>, mut phases: Phases) {
        let _ = phases.wait_for(|phase| *phase >= Phase::Closing).await;
        tokio::select! {
            () = tokio::time::sleep(FIRST_REQUEST_TIMEOUT) => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Stopped) => {}
        }
        if self.version.load(Ordering::Acquire) != NOTHING {
            std::future::pending::<()>().await;
        }
    }
}
