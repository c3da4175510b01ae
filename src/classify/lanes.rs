//! Threads with deep stacks, for statements that nest too deeply or are too long for the caller's own.
//!
//! They live as long as the process: the parser's library keeps a piece of every thread that ever used it
//! (one of the 1,024 thread-local keys of a process), so a thread for each statement would use them up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};

/// Stack of each thread, in bytes: address space, of which only what is used becomes memory. The parser
/// itself ends at 10,000 nested messages, which fit into it in a debug build too.
const STACK_BYTES: usize = 512 * 1024 * 1024;

/// Threads of a lane, which is also how many of its statements can cost memory at once.
const LANE_THREADS: usize = 2;

/// Of the lane for the largest statements: an allocator may keep for each thread what its largest has taken.
const LARGE_THREADS: usize = 1;

/// Statements that wait in a lane; further callers wait to enter it.
const LANE_QUEUE_MAX: usize = 64;

/// Three lanes, so that no statement waits for one that takes much longer.
static SHORT: LazyLock<Lane> = LazyLock::new(|| Lane::open("classify-deep", LANE_THREADS));
static LONG: LazyLock<Lane> = LazyLock::new(|| Lane::open("classify-long", LANE_THREADS));
static LARGE: LazyLock<Lane> = LazyLock::new(|| Lane::open("classify-large", LARGE_THREADS));

/// How long a statement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Less than a few milliseconds.
    Short,
    Long,
    /// It may take more than [`LARGE_BYTES`](super::LARGE_BYTES).
    Large,
}

struct Lane(SyncSender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Lane {
    fn open(name: &str, threads: usize) -> Self {
        let (sender, receiver) = sync_channel(LANE_QUEUE_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            // Where no thread can start, the receiver is dropped, and sending says so.
            let _ = std::thread::Builder::new()
                .name(name.to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || work(&receiver));
        }
        Self(sender)
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let job = match receiver.lock() {
            Ok(receiver) => receiver.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else {
            return;
        };
        // A job that failed sends no answer, which its caller sees.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// Begins `job` on a deep stack; what it returns comes through the channel, which ends without an answer when
/// the job fails. `None` where no thread could be started.
pub fn begin<T: Send + 'static>(
    length: Length,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<Receiver<T>> {
    let lane = match length {
        Length::Short => &SHORT,
        Length::Long => &LONG,
        Length::Large => &LARGE,
    };
    let (answer, result) = sync_channel(1);
    let job = move || {
        // A caller that has gone needs no answer.
        let _ = answer.send(job());
    };
    lane.0.send(Box::new(job)).ok()?;
    Some(result)
}
