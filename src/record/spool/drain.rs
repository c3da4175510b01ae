//! The reading end: this process' own spool, and those that dead sidecars left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::SpoolError;
use super::folder::Lock;
use super::reader::{self, Extent, Found};
use super::writer::{Shared, remove_segments, take_drained};
use crate::lock::Unpoisoned as _;

/// How often spools of dead sidecars are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Records of one spool, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    pub spool: String,
    /// Of the first byte.
    pub from: u64,
    /// Behind the last byte.
    pub to: u64,
    /// Empty where nothing of the range is intact, and where only the end of a spool is to be told.
    pub records: Vec<Vec<u8>>,
    /// Nothing comes behind it: its owner is dead, or this process closed it. Once it is confirmed the files are gone, and
    /// then (not before) the spool's row in the database may go.
    pub is_last: bool,
}

/// For one task. Exactly once takes the database: commit `to` as the spool's position together with the records. Where the
/// database holds a position beyond `from`, a drain before this one got further and died between commit and confirm: drop the
/// batch, call [`Drain::resume`] with that position, and ask again.
#[derive(Debug)]
pub struct Drain {
    shared: Arc<Shared>,
    /// Used on threads that may block; never by two at once, except behind a call that was cancelled.
    spools: Arc<Mutex<Spools>>,
}

#[derive(Debug)]
struct Spools {
    shared: Arc<Shared>,
    /// By id, and so by age.
    open: BTreeMap<String, Source>,
    looked: Instant,
    /// Segments without a lock that were told of.
    unlocked: BTreeSet<String>,
}

#[derive(Debug)]
struct Source {
    /// Everything before is in the database.
    position: u64,
    /// Up to where damage was reported.
    reported: u64,
    /// `None` for this process' own.
    adopted: Option<Adopted>,
}

#[derive(Debug)]
struct Adopted {
    _lock: Lock,
    extent: Extent,
}

enum Step {
    Batch(Batch),
    Wait,
    Done,
}

impl Drain {
    pub(super) fn begin(shared: Arc<Shared>) -> Result<Self, SpoolError> {
        let own = Source {
            position: 0,
            reported: 0,
            adopted: None,
        };
        let mut spools = Spools {
            open: BTreeMap::from([(shared.spool.clone(), own)]),
            shared: Arc::clone(&shared),
            looked: Instant::now(),
            unlocked: BTreeSet::new(),
        };
        spools.look().map_err(disk)?;
        let spools = Arc::new(Mutex::new(spools));
        Ok(Self { shared, spools })
    }

    /// The next records that are durable and not confirmed, of the oldest spool first; the same again until they are
    /// confirmed. Waits while there are none. `None` once this process' spool is closed and all are empty. May be
    /// cancelled.
    pub async fn next(&mut self, records_max: usize) -> Result<Option<Batch>, SpoolError> {
        loop {
            let step = self
                .blocking(move |spools| spools.next(records_max, Instant::now()))
                .await?;
            match step {
                Step::Batch(batch) => return Ok(Some(batch)),
                Step::Done => return Ok(None),
                Step::Wait => {
                    let progress = self.shared.progress.notified();
                    // Either way there is something to look at.
                    let _ = tokio::time::timeout(LOOK_INTERVAL, progress).await;
                }
            }
        }
    }

    /// The batch is in the database: frees its place. When it fails for the last batch of a spool, `next` gives the end of
    /// that spool again.
    pub async fn confirm(&mut self, batch: Batch) -> Result<(), SpoolError> {
        self.blocking(move |spools| spools.confirm(&batch)).await
    }

    /// Skips what is before `position`, which the database holds. Never goes back; does nothing for a spool that is not
    /// drained here (another sidecar's).
    pub fn resume(&mut self, spool: &str, position: u64) {
        lock(&self.spools).resume(spool, position);
    }

    /// Waits until the thread has written and synced what it was given, after the last `Spool` was dropped. What is not
    /// drained stays for the next process.
    pub async fn closed(&mut self) {
        while !self.shared.has_ended() {
            self.shared.progress.notified().await;
        }
        // Whoever asks for the next batch is to see the end too.
        self.shared.progress.notify_one();
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spools) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let spools = Arc::clone(&self.spools);
        tokio::task::spawn_blocking(move || work(&mut lock(&spools)))
            .await
            .map_err(|_| SpoolError::Closed)?
            .map_err(disk)
    }
}

fn lock(spools: &Mutex<Spools>) -> MutexGuard<'_, Spools> {
    spools.lock().unpoisoned()
}

fn disk(error: io::Error) -> SpoolError {
    SpoolError::Disk(error.to_string())
}

impl Spools {
    fn next(&mut self, records_max: usize, now: Instant) -> io::Result<Step> {
        if now.duration_since(self.looked) >= LOOK_INTERVAL {
            self.looked = now;
            self.look()?;
        }
        let spools: Vec<String> = self.open.keys().cloned().collect();
        for spool in spools {
            match self.read(&spool, records_max) {
                Ok(Some(batch)) => return Ok(Step::Batch(batch)),
                Ok(None) => {}
                Err(error) if spool == self.shared.spool => return Err(error),
                Err(error) => {
                    // Given back, so that the others are drained; the next look takes it again.
                    tracing::error!(%error, spool, "an audit spool that a sidecar left cannot be read");
                    self.open.remove(&spool);
                }
            }
        }
        if self.open.is_empty() {
            return Ok(Step::Done);
        }
        Ok(Step::Wait)
    }

    /// Takes over the spools whose owners are dead.
    fn look(&mut self) -> io::Result<()> {
        let folder = &self.shared.folder;
        for (spool, found) in folder.list()? {
            if self.open.contains_key(&spool) {
                continue;
            }
            if !found.has_lock {
                // Nobody may tell whether its owner lives, unless the file appeared or went since.
                if folder
                    .list()?
                    .get(&spool)
                    .is_some_and(|found| !found.has_lock)
                    && self.unlocked.insert(spool.clone())
                {
                    tracing::error!(
                        spool,
                        "an audit spool has lost its lock file and is not drained: if its sidecar is gone, make an empty file <spool>.lock beside it"
                    );
                }
                continue;
            }
            match adopt(&self.shared, &spool) {
                Ok(None) => {}
                Ok(Some(adopted)) => {
                    let bytes = adopted.bytes(0);
                    tracing::info!(
                        spool,
                        bytes,
                        "an audit spool that a sidecar left is taken over"
                    );
                    let source = Source {
                        position: adopted.extent.segments.first().copied().unwrap_or_default(),
                        reported: 0,
                        adopted: Some(adopted),
                    };
                    self.open.insert(spool, source);
                }
                Err(error) => {
                    tracing::error!(%error, spool, "an audit spool that a sidecar left cannot be taken over");
                }
            }
        }
        self.tell_adopted();
        Ok(())
    }

    fn tell_adopted(&self) {
        let adopted = self.open.values().filter_map(|source| {
            let adopted = source.adopted.as_ref()?;
            Some(adopted.bytes(source.position))
        });
        self.shared.set_adopted_bytes(adopted.sum());
    }

    fn extent(&self, source: &Source) -> Extent {
        match &source.adopted {
            Some(adopted) => adopted.extent.clone(),
            None => self.shared.extent(),
        }
    }

    fn read(&mut self, spool: &str, records_max: usize) -> io::Result<Option<Batch>> {
        let Some(source) = self.open.get(spool) else {
            return Ok(None);
        };
        let extent = self.extent(source);
        let (from, reported) = (source.position, source.reported);
        let is_adopted = source.adopted.is_some();
        if extent.has_ended && extent.segments.is_empty() {
            self.remove(spool, &extent)?;
            return Ok(None);
        }
        let found = reader::read(&self.shared.folder, spool, &extent, from, records_max)?;
        let is_last = extent.has_ended && found.to >= extent.end;
        if found.to == from && !is_last {
            return Ok(None);
        }
        if found.to > reported {
            self.report(spool, &extent, &found, reported, is_adopted);
            if let Some(source) = self.open.get_mut(spool) {
                source.reported = found.to;
            }
        }
        Ok(Some(Batch {
            spool: spool.to_owned(),
            from,
            to: found.to,
            records: found.records,
            is_last,
        }))
    }

    fn report(&self, spool: &str, extent: &Extent, found: &Found, after: u64, is_adopted: bool) {
        for damaged in found.damaged.iter().filter(|range| range.end > after) {
            let begun = extent
                .segments
                .partition_point(|start| *start <= damaged.start);
            let index = begun.saturating_sub(1);
            let start = extent.segments.get(index).copied().unwrap_or_default();
            let file = self.shared.folder.segment(spool, start);
            let (file, offset) = (file.display(), damaged.start.saturating_sub(start));
            let bytes = damaged.end - damaged.start;
            if is_adopted && damaged.end == extent.end {
                tracing::warn!(%file, offset, bytes, "the end of an audit spool was not written to its end: it was never acknowledged, and is cut");
            } else {
                tracing::error!(%file, offset, bytes, "an audit spool is damaged: the records there are lost");
            }
        }
    }

    fn confirm(&mut self, batch: &Batch) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(source) = self.open.get_mut(&batch.spool) else {
            return Ok(());
        };
        if batch.to > source.position || batch.is_last {
            source.position = batch.to.max(source.position);
            match &mut source.adopted {
                Some(adopted) => {
                    let drained = take_drained(&mut adopted.extent.segments, batch.to);
                    remove_segments(&shared.folder, &batch.spool, &drained);
                }
                None => shared.confirm(batch.to, batch.records.len() as u64),
            }
        }
        if batch.is_last
            && let Some(source) = self.open.get(&batch.spool)
        {
            let extent = self.extent(source);
            self.remove(&batch.spool, &extent)?;
        }
        self.tell_adopted();
        Ok(())
    }

    /// Removes the files, then lets go of the lock.
    fn remove(&mut self, spool: &str, extent: &Extent) -> io::Result<()> {
        self.shared.folder.remove_spool(spool, &extent.segments)?;
        self.open.remove(spool);
        Ok(())
    }

    fn resume(&mut self, spool: &str, position: u64) {
        let Some(source) = self.open.get(spool) else {
            return;
        };
        let position = position.min(self.extent(source).end);
        if let Some(source) = self.open.get_mut(spool) {
            source.position = source.position.max(position);
        }
        self.tell_adopted();
    }
}

impl Adopted {
    /// Behind `position`.
    fn bytes(&self, position: u64) -> u64 {
        let first = self.extent.segments.first().copied().unwrap_or_default();
        self.extent.end.saturating_sub(position.max(first))
    }
}

/// `None` where its owner lives, or another has taken it.
fn adopt(shared: &Shared, spool: &str) -> io::Result<Option<Adopted>> {
    let folder = &shared.folder;
    let Some(lock) = folder.adopt(spool)? else {
        return Ok(None);
    };
    // What was seen before the lock was held may have been drained since.
    let segments = folder.list()?.remove(spool).unwrap_or_default().segments;
    let end = match segments.last() {
        Some(start) => start + folder.segment(spool, *start).metadata()?.len(),
        None => 0,
    };
    let extent = Extent {
        segments,
        end,
        has_ended: true,
    };
    Ok(Some(Adopted {
        _lock: lock,
        extent,
    }))
}
