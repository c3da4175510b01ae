//! The thread that writes and syncs, and what it shares with both ends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::folder::{Folder, Lock};
use super::line::{self, RECORD_BYTES_MAX};
use super::reader::Extent;
use super::{
    PENDING_BYTES_MAX, PENDING_RECORDS_MAX, SEGMENT_BYTES_MAX, SPOOL_BYTES_MIN, SpoolError,
    SpoolSettings,
};
use crate::lock::Unpoisoned as _;

/// After a failure, how long records that nobody waits for stay in memory before they are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type Waiter = oneshot::Sender<Result<(), SpoolError>>;

#[derive(Debug)]
struct Entry {
    record: Vec<u8>,
    /// `None` for one that was noted.
    waiter: Option<Waiter>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        line::line_bytes(self.record.len())
    }

    /// Whoever waited has gone and may not act on it.
    fn is_given_up(&self) -> bool {
        self.waiter.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

/// Of this process' own spool.
#[derive(Debug)]
pub struct Shared {
    pub folder: Folder,
    pub spool: String,
    _lock: Lock,
    bytes_max: u64,
    segment_bytes_max: u64,
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes the drain: more is durable, or the thread has ended.
    pub progress: Notify,
    syncs: AtomicU64,
    adopted_bytes: AtomicU64,
    /// Syncs that are to fail, which no sound disk does when asked to.
    #[cfg(test)]
    pub failing_syncs: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    /// Of the queue, and of what is being written.
    pending: Amount,
    durable: Amount,
    /// In the database.
    drained: Amount,
    /// Positions of the segments' first bytes.
    segments: Vec<u64>,
    has_failed: bool,
    is_closing: bool,
    was_last_try: bool,
    has_ended: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    bytes: u64,
    records: u64,
}

impl Amount {
    fn add(&mut self, entry: &Entry) {
        self.bytes += entry.bytes();
        self.records += 1;
    }

    fn subtract(&mut self, entry: &Entry) {
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.records = self.records.saturating_sub(1);
    }
}

impl State {
    fn undrained(&self) -> Amount {
        Amount {
            bytes: self.durable.bytes - self.drained.bytes + self.pending.bytes,
            records: self.durable.records - self.drained.records + self.pending.records,
        }
    }
}

impl Shared {
    pub fn begin(settings: &SpoolSettings) -> Result<Arc<Self>, SpoolError> {
        let bytes_max = settings.bytes_max;
        if bytes_max < SPOOL_BYTES_MIN {
            return Err(SpoolError::Small { bytes_max });
        }
        let folder = Folder::open(&settings.dir)?;
        let (spool, lock) = folder.begin()?;
        Ok(Arc::new(Self {
            folder,
            spool,
            _lock: lock,
            bytes_max,
            segment_bytes_max: (bytes_max / 4).min(SEGMENT_BYTES_MAX),
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Notify::new(),
            syncs: AtomicU64::new(0),
            adopted_bytes: AtomicU64::new(0),
            #[cfg(test)]
            failing_syncs: AtomicU64::new(0),
        }))
    }

    /// Held for a few instructions, never while the disk is asked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }

    pub fn push(&self, record: Vec<u8>, waiter: Option<Waiter>) -> Result<(), SpoolError> {
        let bytes = record.len();
        if bytes > RECORD_BYTES_MAX {
            return Err(SpoolError::TooLarge { bytes });
        }
        if record.contains(&b'\n') {
            return Err(SpoolError::Newline);
        }
        let entry = Entry { record, waiter };
        let mut state = self.state();
        if state.has_ended {
            return Err(SpoolError::Closed);
        }
        let bytes = state.undrained().bytes;
        if bytes + entry.bytes() > self.bytes_max {
            let bytes_max = self.bytes_max;
            return Err(SpoolError::Full { bytes, bytes_max });
        }
        let records = state.pending.records;
        if records >= PENDING_RECORDS_MAX || state.pending.bytes + entry.bytes() > PENDING_BYTES_MAX
        {
            return Err(SpoolError::Behind { records });
        }
        state.pending.add(&entry);
        state.queue.push_back(entry);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    pub fn close(&self) {
        self.state().is_closing = true;
        self.work.notify_one();
    }

    /// Bytes and records.
    pub fn undrained(&self) -> (u64, u64) {
        let Amount { bytes, records } = self.state().undrained();
        (bytes, records)
    }

    pub fn pending(&self) -> u64 {
        self.state().pending.records
    }

    pub fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    pub fn adopted_bytes(&self) -> u64 {
        self.adopted_bytes.load(Ordering::Relaxed)
    }

    pub fn set_adopted_bytes(&self, bytes: u64) {
        self.adopted_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What may be read. It is never taken back.
    pub fn extent(&self) -> Extent {
        let state = self.state();
        Extent {
            segments: state.segments.clone(),
            end: state.durable.bytes,
            has_ended: state.has_ended,
        }
    }

    /// Everything before `position` is in the database, `records` of it since the last call.
    pub fn confirm(&self, position: u64, records: u64) {
        let mut state = self.state();
        let durable = state.durable;
        let drained = &mut state.drained;
        drained.bytes = position.clamp(drained.bytes, durable.bytes);
        drained.records = (drained.records + records).min(durable.records);
        if drained.bytes == durable.bytes {
            // Damaged ones were counted when they were written and are not among those that were read.
            drained.records = durable.records;
        }
        drop(state);
        self.remove_drained();
    }

    fn remove_drained(&self) {
        let mut state = self.state();
        let position = state.drained.bytes;
        let drained = take_drained(&mut state.segments, position);
        drop(state);
        remove_segments(&self.folder, &self.spool, &drained);
    }

    /// The next records for the disk, as many as fit a segment. `None` when the spool is closed.
    fn take(&self) -> Option<Vec<Entry>> {
        let mut state = self.state();
        if state.has_failed && state.queue.iter().all(|entry| entry.waiter.is_none()) {
            if !state.is_closing {
                let woken = self.work.wait_timeout(state, RETRY_PAUSE);
                state = woken.unpoisoned().0;
            } else if mem::replace(&mut state.was_last_try, true) {
                return None;
            }
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.is_empty() {
            while let Some(entry) = state.queue.pop_front() {
                if entry.is_given_up() {
                    state.pending.subtract(&entry);
                    continue;
                }
                if bytes + entry.bytes() > self.segment_bytes_max {
                    state.queue.push_front(entry);
                    break;
                }
                bytes += entry.bytes();
                group.push(entry);
            }
            if group.is_empty() {
                if state.is_closing {
                    return None;
                }
                let woken = self.work.wait(state);
                state = woken.unpoisoned();
            }
        }
        Some(group)
    }

    fn succeeded(&self, group: Vec<Entry>) {
        let mut state = self.state();
        for entry in &group {
            state.pending.subtract(entry);
            state.durable.add(entry);
        }
        if mem::take(&mut state.has_failed) {
            tracing::info!("the audit spool's disk takes records again");
        }
        drop(state);
        self.progress.notify_one();
        answer(group, &Ok(()));
    }

    /// Whoever waits is told; what was noted goes back to the front.
    fn failed(&self, group: Vec<Entry>, error: &io::Error) {
        let mut state = self.state();
        if !mem::replace(&mut state.has_failed, true) {
            tracing::error!(%error, "the audit spool's disk takes no records");
        }
        let (awaited, noted): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|entry| entry.waiter.is_some());
        for entry in &awaited {
            state.pending.subtract(entry);
        }
        for entry in noted.into_iter().rev() {
            state.queue.push_front(entry);
        }
        drop(state);
        answer(awaited, &Err(SpoolError::Disk(error.to_string())));
    }

    fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.pending = Amount::default();
        let left = mem::take(&mut state.queue);
        drop(state);
        if !left.is_empty() {
            let lost = left.len();
            tracing::error!(
                lost,
                "audit records are lost: the spool's disk does not take them"
            );
        }
        self.progress.notify_one();
        answer(left.into(), &Err(SpoolError::Closed));
    }

    /// A new, durable segment that begins where the durable records end.
    fn begin_segment(&self) -> io::Result<Segment> {
        let mut state = self.state();
        let start = state.durable.bytes;
        if state.segments.last() != Some(&start) {
            state.segments.push(start);
        }
        drop(state);
        // On a full disk this is what makes room.
        self.remove_drained();
        let file = self.folder.create_segment(&self.spool, start)?;
        self.folder.sync()?;
        Ok(Segment { file, start })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        {
            let fewer = |left: u64| left.checked_sub(1);
            let order = Ordering::SeqCst;
            if self.failing_syncs.fetch_update(order, order, fewer).is_ok() {
                return Err(io::Error::from_raw_os_error(5));
            }
        }
        file.sync_data()
    }
}

fn answer(entries: Vec<Entry>, outcome: &Result<(), SpoolError>) {
    for waiter in entries.into_iter().filter_map(|entry| entry.waiter) {
        // Nobody listens where the caller has gone.
        let _ = waiter.send(outcome.clone());
    }
}

/// Takes out the segments that end at or before `position`. The last one stays: it may be written to.
pub fn take_drained(segments: &mut Vec<u64>, position: u64) -> Vec<u64> {
    let begun = segments.partition_point(|start| *start <= position);
    segments.drain(..begun.saturating_sub(1)).collect()
}

/// A file that stays is skipped by whoever takes the spool over, since the database knows its position.
pub fn remove_segments(folder: &Folder, spool: &str, segments: &[u64]) {
    for start in segments {
        if let Err(error) = folder.remove_segment(spool, *start) {
            let file = folder.segment(spool, *start);
            tracing::warn!(%error, file = %file.display(), "a drained segment of an audit spool cannot be removed");
        }
    }
    if !segments.is_empty()
        && let Err(error) = folder.sync()
    {
        tracing::warn!(%error, "the folder of audit spools cannot be synced");
    }
}

struct Segment {
    file: File,
    start: u64,
}

/// The thread's own.
struct Writer {
    shared: Arc<Shared>,
    segment: Option<Segment>,
    lines: Vec<u8>,
}

/// Tells the end however the thread ends.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.end();
    }
}

pub fn start(shared: &Arc<Shared>) -> Result<(), SpoolError> {
    let mut writer = Writer {
        shared: Arc::clone(shared),
        segment: None,
        lines: Vec::new(),
    };
    std::thread::Builder::new()
        .name("audit-spool".to_owned())
        .spawn(move || {
            while let Some(group) = writer.shared.take() {
                match writer.write(&group) {
                    Ok(()) => writer.shared.succeeded(group),
                    Err(error) => writer.shared.failed(group, &error),
                }
            }
        })
        .map_err(|error| SpoolError::Disk(error.to_string()))?;
    Ok(())
}

impl Writer {
    fn write(&mut self, group: &[Entry]) -> io::Result<()> {
        self.lines.clear();
        for entry in group {
            line::encode(&entry.record, &mut self.lines);
        }
        let durable = self.shared.state().durable.bytes;
        let limit = self.shared.segment_bytes_max;
        let fits = |segment: &Segment| durable - segment.start + self.lines.len() as u64 <= limit;
        let mut segment = match self.segment.take().filter(fits) {
            Some(segment) => segment,
            None => self.shared.begin_segment()?,
        };
        let written = segment.file.write_all(&self.lines);
        match written.and_then(|()| self.shared.sync(&segment.file)) {
            Ok(()) => {
                self.segment = Some(segment);
                Ok(())
            }
            Err(error) => {
                // The segment is given up: once a sync has failed, the kernel may call pages clean that never reached the
                // disk, and a later sync of them proves nothing. What follows goes to a new file, whose name tells
                // readers where this one ends even if it cannot be cut.
                if let Err(error) = segment.file.set_len(durable - segment.start) {
                    tracing::warn!(%error, "a segment of the audit spool cannot be cut");
                }
                Err(error)
            }
        }
    }
}
