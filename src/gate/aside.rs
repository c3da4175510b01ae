//! Work that takes long is done aside, so that other requests on the same thread do not wait for it.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::classify::INLINE_BYTES_MAX;

/// Does `work` on `bytes` bytes. Much of it hands the thread's other tasks to another thread first.
pub fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_others = || {
        Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    if bytes > INLINE_BYTES_MAX && has_others() {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_meanwhile() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = tokio::spawn(async move {
            // The only worker is in this work until the other task has run.
            tokio::spawn(async move { sender.send(()).unwrap() });
            aside(INLINE_BYTES_MAX + 1, || receiver.recv().unwrap());
        });
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_at_once() {
        assert_eq!(aside(INLINE_BYTES_MAX + 1, || 1), 1);
    }
}
