//! Several callers' statements in one write: a connection that all share is served after whatever else is ready.
//!
//! The runtime runs a task that was just woken next. So the first caller's statement would be on its way before the
//! second had said what it wants, each in a system call of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::yield_now;

/// Runs `connection`, and whenever it is woken lets every task go first that is ready, too.
pub(super) async fn gathered<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    loop {
        yield_now().await;
        if let Poll::Ready(output) = once(connection.as_mut()).await {
            return output;
        }
    }
}

/// Polls now, and where that is not enough returns when it is woken.
async fn once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    let mut was_polled = false;
    poll_fn(|cx: &mut Context<'_>| {
        if was_polled {
            return Poll::Ready(Poll::Pending);
        }
        was_polled = true;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Poll::Ready(output)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    /// On the runtime of `bulkhead serve`, with one worker.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_asked_at_once_is_served_at_once() {
        const CALLERS: usize = 20;
        let (ask, mut asked) = mpsc::channel(CALLERS);
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let serving = async move {
            let mut served = 0;
            poll_fn(|cx| {
                counted.fetch_add(1, Ordering::Relaxed);
                while let Poll::Ready(one) = asked.poll_recv(cx) {
                    match one {
                        Some(()) => served += 1,
                        None => return Poll::Ready(served),
                    }
                }
                Poll::Pending
            })
            .await
        };
        let serving = tokio::spawn(gathered(serving));
        let callers = tokio::spawn(async move {
            yield_now().await;
            for _ in 0..CALLERS {
                let ask = ask.clone();
                tokio::spawn(async move { ask.send(()).await.unwrap() });
            }
        });
        callers.await.unwrap();
        assert_eq!(serving.await.unwrap(), CALLERS);
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns <= 4, "{turns}");
    }
}
