//! Standard output for the log: the lines of requests that went well go out several at a time.
//!
//! Such a line waits for [`PAUSE`], for [`WAIT_MAX`] where the process is too busy to look after it ([`keep`]), and no more
//! than [`WAITING_BYTES_MAX`] wait. Every other line (a refusal, an error, anything that is not a request) goes out at once,
//! behind those that wait. Whoever kills the process takes what waits with it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::lock::Unpoisoned as _;

/// The target of the lines that may wait.
pub const REQUESTS: &str = "bulkhead::record";

/// Bytes of lines that wait.
const WAITING_BYTES_MAX: usize = 32 * 1024;

/// How long a line waits for others.
const PAUSE: Duration = Duration::from_millis(20);

/// How long it waits where nobody looks after it.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Whether lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// That there is a line to look after.
static BEGUN: Notify = Notify::const_new();

static WAITING: Mutex<Waiting> = Mutex::new(Waiting {
    lines: Vec::new(),
    since: None,
});

struct Waiting {
    lines: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Waiting {
    /// Held while it writes, so that lines stay in order.
    fn lock() -> MutexGuard<'static, Self> {
        WAITING.lock().unpoisoned()
    }

    fn add(&mut self, line: &[u8], now: Instant) -> bool {
        self.lines.extend_from_slice(line);
        let since = *self.since.get_or_insert_with(|| {
            BEGUN.notify_one();
            now
        });
        self.lines.len() >= WAITING_BYTES_MAX || now.saturating_duration_since(since) >= WAIT_MAX
    }

    /// A log that nobody takes is no reason to stop serving.
    fn flush(&mut self, output: &mut impl Write) {
        if !self.lines.is_empty() {
            let _ = output.write_all(&self.lines);
            self.lines.clear();
        }
        self.since = None;
    }
}

/// Looks after lines that wait, for as long as it is polled.
pub async fn keep() {
    loop {
        BEGUN.notified().await;
        tokio::time::sleep(PAUSE).await;
        flush();
    }
}

/// Writes what waits. To be called before the process ends.
pub fn flush() {
    let mut waiting = Waiting::lock();
    // Whoever holds standard output for long must not stop a thread that has nothing to write.
    if !waiting.lines.is_empty() {
        waiting.flush(&mut io::stdout().lock());
    }
}

/// Says that the subscriber writes JSON, as [`request`]'s lines are.
pub fn set_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Takes a request's whole line.
pub fn request(line: &[u8]) {
    let mut waiting = Waiting::lock();
    if waiting.add(line, Instant::now()) {
        waiting.flush(&mut io::stdout().lock());
    }
}

/// What the subscriber writes its lines to.
#[derive(Debug, Clone, Copy)]
pub struct Output;

/// One line on its way.
#[derive(Debug)]
pub struct Line {
    may_wait: bool,
}

impl MakeWriter<'_> for Output {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { may_wait: false }
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> Line {
        Line {
            may_wait: line.target() == REQUESTS && *line.level() == Level::INFO,
        }
    }
}

impl Write for Line {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = Waiting::lock();
        let is_due = waiting.add(line, Instant::now());
        if is_due || !self.may_wait {
            waiting.flush(&mut io::stdout().lock());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_within_bounds_and_go_out_in_order() {
        let start = Instant::now();
        let mut waiting = Waiting {
            lines: Vec::new(),
            since: None,
        };
        assert!(!waiting.add(b"1\n", start));
        assert!(!waiting.add(b"2\n", start + WAIT_MAX / 2));
        assert!(waiting.add(b"3\n", start + WAIT_MAX));
        let mut out = Vec::new();
        waiting.flush(&mut out);
        assert_eq!(out, b"1\n2\n3\n");
        assert!(!waiting.add(b"4\n", start + WAIT_MAX));
        assert!(waiting.add(&[b'x'; WAITING_BYTES_MAX], start + WAIT_MAX));
        waiting.flush(&mut out);
        assert_eq!(out.len(), 8 + WAITING_BYTES_MAX);
    }
}
