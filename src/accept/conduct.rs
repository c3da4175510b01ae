//! How a connection behaves. One that asks for nothing, takes nothing, or takes back what it asks for is closed.
//!
//! HTTP/1's own time-outs see one request at a time. HTTP/2 has none: a client may leave a head or a version half
//! sent, take no byte of its replies, or open streams and reset them as fast as it can (CVE-2023-44487), and answer
//! every ping meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::Notify;

/// Requests that a client may take back before their replies between two looks at its connection, unless they are the
/// lesser part of what it asks.
const TAKEN_BACK_MAX: u64 = 256;

/// What has happened on one connection.
#[derive(Default)]
pub(super) struct Conduct {
    /// Moves with whatever a client asks or takes.
    progress: AtomicU64,
    /// Requests and replies that wait for us and not for their client.
    working: AtomicUsize,
    /// Since the last look.
    begun: AtomicU64,
    taken_back: AtomicU64,
    flooded: Notify,
}

impl Conduct {
    /// Counts a request until its reply is made, and then the reply until it is taken. `revocable`: a client may take
    /// it back and go on with the connection, as a stream of HTTP/2.
    pub(super) fn begin(self: &Arc<Self>, revocable: bool) -> Asked {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut asked = Asked {
            conduct: Arc::clone(self),
            works: false,
            revocable,
        };
        asked.works(true);
        asked
    }

    /// Returns when nothing has been asked or taken for `limit` at least, and twice that at most.
    async fn idles(&self, limit: Duration) {
        loop {
            let before = self.progress.load(Ordering::Relaxed);
            self.begun.store(0, Ordering::Relaxed);
            self.taken_back.store(0, Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            let is_still = self.progress.load(Ordering::Relaxed) == before;
            if is_still && self.working.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

/// A request, and then its reply.
pub(super) struct Asked {
    conduct: Arc<Conduct>,
    /// It waits for us.
    works: bool,
    /// Nothing of its reply has been taken yet, and its client may still leave it.
    revocable: bool,
}

impl Asked {
    fn works(&mut self, works: bool) {
        let conduct = &self.conduct;
        conduct.progress.fetch_add(1, Ordering::Relaxed);
        match (self.works, works) {
            (false, true) => conduct.working.fetch_add(1, Ordering::Relaxed),
            (true, false) => conduct.working.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
        self.works = works;
    }

    /// Goes on with the reply: from now on it waits for its client. It may have come too late: a handler that read the
    /// body of a stream that was reset answers, and nobody takes the answer.
    pub(super) fn reply<B: Body>(mut self, body: B) -> Watched<B> {
        self.works(false);
        self.revocable &= !body.is_end_stream();
        Watched { body, asked: self }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.works(false);
        if !self.revocable {
            return;
        }
        let conduct = &self.conduct;
        let taken_back = conduct.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = conduct.begun.load(Ordering::Relaxed);
        if taken_back > TAKEN_BACK_MAX && taken_back > begun / 2 {
            conduct.flooded.notify_one();
        }
    }
}

/// A reply's body that tells whether it waits for us or for its client.
pub(super) struct Watched<B> {
    body: B,
    asked: Asked,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.asked.revocable = false;
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.asked.works(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection until it ends, until `closing` and then its last reply, or until it misbehaves. A client that
/// idles is told so (HTTP/2's GOAWAY), and cut when it has as much time again and does not leave.
///
/// The connection comes boxed: it is tens of kilobytes long, and every layer it were moved through would have room for
/// it.
pub(super) async fn serve<C: GracefulConnection>(
    mut connection: Pin<Box<C>>,
    conduct: &Conduct,
    limit: Duration,
    closing: impl Future<Output = ()> + Send,
) -> Result<(), C::Error> {
    // Each of them is polled when it was woken, and not whenever the connection was.
    let mut seldom: FuturesUnordered<Seldom<'_>> = [
        when(closing, Happened::Closing),
        when(conduct.idles(limit), Happened::Idle),
        when(conduct.flooded.notified(), Happened::Flooded),
    ]
    .into_iter()
    .collect();
    let mut was_told = false;
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => return served,
            Some(happened) = seldom.next() => match happened {
                Happened::Closing => connection.as_mut().graceful_shutdown(),
                Happened::Idle if was_told => {
                    tracing::debug!("a client asked and took nothing, and was cut");
                    return Ok(());
                }
                Happened::Idle => {
                    was_told = true;
                    connection.as_mut().graceful_shutdown();
                    seldom.push(when(conduct.idles(limit), Happened::Idle));
                }
                Happened::Flooded => {
                    tracing::debug!("a client took back what it asked for, again and again, and was cut");
                    return Ok(());
                }
            },
        }
    }
}

/// What ends a connection, or begins to.
#[derive(Debug, Clone, Copy)]
enum Happened {
    Closing,
    Idle,
    Flooded,
}

type Seldom<'f> = Pin<Box<dyn Future<Output = Happened> + Send + 'f>>;

fn when<'f>(future: impl Future<Output = ()> + Send + 'f, happened: Happened) -> Seldom<'f> {
    Box::pin(future.map(move |()| happened))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty, Full};
    use hyper::body::Bytes;

    use super::*;

    fn text() -> Full<Bytes> {
        Full::from("a reply")
    }

    #[tokio::test]
    async fn what_is_taken_back_is_counted_and_what_is_answered_is_not() {
        let conduct = Arc::new(Conduct::default());
        let count = || conduct.taken_back.load(Ordering::Relaxed);
        let asked = conduct.begin(true);
        assert_eq!(conduct.working.load(Ordering::Relaxed), 1);
        let mut reply = asked.reply(text());
        assert_eq!(conduct.working.load(Ordering::Relaxed), 0);
        assert!(reply.frame().await.is_some());
        drop(reply);
        drop(conduct.begin(true).reply(Empty::<Bytes>::new()));
        // As HTTP/1 does with the reply to HEAD.
        drop(conduct.begin(false).reply(text()));
        assert_eq!(count(), 0);
        drop(conduct.begin(true));
        assert_eq!(count(), 1, "before its reply");
        drop(conduct.begin(true).reply(text()));
        assert_eq!(count(), 2, "after its reply, which nobody took");
        assert_eq!(conduct.working.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_connection_idles_when_nothing_waits_for_us() {
        let conduct = Arc::new(Conduct::default());
        let limit = Duration::from_millis(5);
        let idles = async |within| {
            let waiting = tokio::time::timeout(within, conduct.idles(limit));
            waiting.await.is_ok()
        };
        let (long, short) = (Duration::from_secs(10), 10 * limit);
        assert!(idles(long).await);
        let asked = conduct.begin(true);
        assert!(!idles(short).await, "its handler is at work");
        let reply = asked.reply(text());
        assert!(idles(long).await, "its client takes nothing");
        drop(reply);
        assert!(idles(long).await);
    }

    #[tokio::test]
    async fn a_flood_is_told_and_some_second_thoughts_are_not() {
        let limit = Duration::from_millis(10);
        for (answered, is_flood) in [(0, true), (2 * TAKEN_BACK_MAX, false)] {
            let conduct = Arc::new(Conduct::default());
            for _ in 0..answered {
                drop(conduct.begin(true).reply(Empty::<Bytes>::new()));
            }
            for _ in 0..=TAKEN_BACK_MAX {
                drop(conduct.begin(true));
            }
            let told = tokio::time::timeout(limit, conduct.flooded.notified()).await;
            assert_eq!(told.is_ok(), is_flood, "{answered}");
        }
    }
}
