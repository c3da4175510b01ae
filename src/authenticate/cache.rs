//! Keys in memory. No IO and no clock: what was asked, heard and what time it is are handed in.
//!
//! While PostgreSQL tells every change, an entry holds until it is told of. While it does not, an entry is looked up
//! again after [`Settings::ttl`]. A look-up that was under way when something changed is not kept, since it may have
//! seen the key before that; nor is one that was sent before the one whose answer is kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;

use super::key::{Hash, Presented};
use super::row::{Row, Secret, secret_of};
use crate::lock::Unpoisoned as _;
use crate::system::changes::{Change, Table};

/// Keys that exist, remembered at once: twice as many as a large company has, since a cache drops some before it is full.
pub const KNOWN_MAX: usize = 20_000;

/// Refused presentations, remembered at once, apart from the keys that exist: a flood of them pushes out none of these.
pub const REFUSED_MAX: usize = 10_000;

/// Changes that are remembered by their ids. Beyond them, every key counts as changed.
const RECENT_MAX: usize = 256;

/// Even while every change is told, an entry is looked up again after this.
pub const LISTENED_MAX: Duration = Duration::from_secs(60);

/// How old an answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// After this an entry is looked up again while changes are not told. Zero: at every request, always.
    pub ttl: Duration,
    /// How long a known key keeps working while PostgreSQL is away.
    pub stale_max: Duration,
}

/// When a look-up was sent, and what had been heard by then.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    at: Instant,
    order: u64,
    /// Zero while changes are not told.
    session: u64,
    changes: u64,
}

/// What PostgreSQL said of a key that exists.
pub struct Entry {
    pub row: Row,
    asked: Asked,
    /// Set by the one caller that looks the key up again; the others go on with this entry meanwhile.
    pub refreshing: AtomicBool,
    /// Set once its use is noted, so that most requests note nothing.
    pub noted: AtomicBool,
}

/// What memory says of a presented key.
pub enum Recall {
    /// Its secret is this key's.
    Fresh(Arc<Entry>, Secret),
    /// It was, and must be looked up again; `usable`: or may serve, if it cannot be.
    Old {
        entry: Arc<Entry>,
        secret: Secret,
        usable: bool,
    },
    /// It was refused, and nothing has changed since.
    Refused,
    Unknown,
}

/// A refused presentation: another secret of the same id is another one, as is the same secret of another id.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Presentation {
    id: String,
    digest: [u8; 32],
}

/// Since when changes are told, and whether they still are.
#[derive(Clone, Copy, Default)]
struct Listening {
    /// Counts how often listening began.
    session: u64,
    is_on: bool,
    lost_at: Option<Instant>,
}

#[derive(Default)]
struct Counts {
    asked: u64,
    /// Changes of keys that were told.
    changes: u64,
    /// The ids of the last [`RECENT_MAX`] of them, oldest first; `None` stands for any.
    recent: VecDeque<Option<Arc<str>>>,
}

impl Counts {
    /// Whether `id` has, or may have, changed since there had been `changes`.
    fn has_changed(&self, id: &str, changes: u64) -> bool {
        let missed = usize::try_from(self.changes - changes).unwrap_or(usize::MAX);
        let is_it = |changed: &Option<Arc<str>>| changed.as_ref().is_none_or(|it| **it == *id);
        missed > self.recent.len() || self.recent.iter().rev().take(missed).any(is_it)
    }

    fn change(&mut self, id: Option<Arc<str>>) {
        self.changes += 1;
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(id);
    }
}

pub struct Keys {
    settings: Settings,
    known: Cache<String, Arc<Entry>>,
    refused: Cache<Presentation, Asked>,
    listening: ArcSwap<Listening>,
    /// Also held while an entry is put in or taken out, so that hearing of a change and keeping an answer take turns.
    counts: Mutex<Counts>,
}

impl Keys {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            known: Cache::new(KNOWN_MAX),
            refused: Cache::new(REFUSED_MAX),
            listening: ArcSwap::default(),
            counts: Mutex::default(),
        }
    }

    /// `digest` is that of the presented secret.
    pub fn recall(&self, presented: &Presented<'_>, digest: &Hash, now: Instant) -> Recall {
        let known = self.known.get(presented.id);
        let secret = secret_of(known.as_ref().map(|entry| &entry.row), digest);
        if let (Some(entry), Some(secret)) = (known, secret) {
            let listening = self.listening.load();
            if self.is_fresh(&entry.asked, &listening, now) {
                return Recall::Fresh(entry, secret);
            }
            let usable = self.is_usable(&entry.asked, &listening, now);
            return Recall::Old {
                entry,
                secret,
                usable,
            };
        }
        let presentation = Presentation::of(presented, digest);
        match self.refused.get(&presentation) {
            Some(asked) if self.still_refused(presented.id, &asked, now) => Recall::Refused,
            Some(_) | None => Recall::Unknown,
        }
    }

    fn is_fresh(&self, asked: &Asked, listening: &Listening, now: Instant) -> bool {
        let Settings { ttl, .. } = self.settings;
        let age = now.saturating_duration_since(asked.at);
        let told = listening.is_on && asked.session == listening.session && !ttl.is_zero();
        age < ttl || told && age < LISTENED_MAX
    }

    /// A key is known to be good as of its look-up, or as of when changes ceased to be told.
    fn is_usable(&self, asked: &Asked, listening: &Listening, now: Instant) -> bool {
        let Settings { ttl, stale_max } = self.settings;
        let good_at = if asked.session == listening.session && asked.session > 0 {
            let heard = if listening.is_on {
                Some(now)
            } else {
                listening.lost_at
            };
            heard.map_or(asked.at, |at| at.max(asked.at))
        } else {
            asked.at
        };
        now.saturating_duration_since(good_at) < stale_max + ttl
    }

    fn still_refused(&self, id: &str, asked: &Asked, now: Instant) -> bool {
        !self.counts().has_changed(id, asked.changes)
            && self.is_fresh(asked, &self.listening.load(), now)
    }

    /// To be called before a look-up is sent.
    pub fn ask(&self, now: Instant) -> Asked {
        let mut counts = self.counts();
        counts.asked += 1;
        let listening = self.listening.load();
        Asked {
            at: now,
            order: counts.asked,
            session: if listening.is_on {
                listening.session
            } else {
                0
            },
            changes: counts.changes,
        }
    }

    /// Keeps what a look-up said, and says what holds now; `None`: the key has changed meanwhile, so it must be asked
    /// again.
    pub fn keep(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        row: Option<Row>,
        asked: Asked,
    ) -> Option<Option<(Arc<Entry>, Secret)>> {
        let entry = row.map(|row| {
            Arc::new(Entry {
                row,
                asked,
                refreshing: AtomicBool::new(false),
                noted: AtomicBool::new(false),
            })
        });
        let counts = self.counts();
        if counts.has_changed(presented.id, asked.changes) {
            return None;
        }
        let newer = self.known.get(presented.id);
        let newer = newer.filter(|known| known.asked.order > asked.order);
        let holds = match (newer, entry) {
            (Some(newer), _) => Some(newer),
            (None, Some(entry)) => {
                self.known
                    .insert(presented.id.to_owned(), Arc::clone(&entry));
                Some(entry)
            }
            (None, None) => {
                self.known.remove(presented.id);
                None
            }
        };
        let secret = secret_of(holds.as_ref().map(|entry| &entry.row), digest);
        if secret.is_none() {
            self.refused
                .insert(Presentation::of(presented, digest), asked);
        }
        Some(holds.zip(secret))
    }

    /// Takes in what PostgreSQL told.
    pub fn heard(&self, change: &Change, now: Instant) {
        let mut counts = self.counts();
        let listening = **self.listening.load();
        match change {
            Change::Connected => self.listening.store(Arc::new(Listening {
                session: listening.session + 1,
                is_on: true,
                lost_at: None,
            })),
            Change::Lost => self.listening.store(Arc::new(Listening {
                is_on: false,
                lost_at: listening.is_on.then_some(now).or(listening.lost_at),
                ..listening
            })),
            Change::Row {
                table: Table::ApiKeys,
                id,
            } => {
                counts.change(id.clone());
                match id {
                    Some(id) => drop(self.known.remove(&**id)),
                    None => self.known.clear(),
                }
            }
            Change::Row {
                table: Table::RateLimitOverrides,
                ..
            } => {}
        }
    }

    /// From now on the use of `id` is noted again.
    pub fn forget_use(&self, id: &str) {
        if let Some(entry) = self.known.peek(id) {
            entry.noted.store(false, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unpoisoned()
    }
}

impl Presentation {
    fn of(presented: &Presented<'_>, digest: &Hash) -> Self {
        Self {
            id: presented.id.to_owned(),
            digest: *digest.bytes(),
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
