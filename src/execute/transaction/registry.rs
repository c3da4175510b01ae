//! Which transactions are open, to whom they belong and until when; and, for a while, how others have ended. Pure:
//! time is an argument, and what must be rolled back is handed back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Limits;
use super::fault::Ended;
use crate::transaction::TransactionId;

/// Ended transactions whose end is remembered; the oldest is forgotten first.
pub const ENDED_MAX: usize = 1_024;
/// How long an end is remembered.
pub const ENDED_KEPT_MS: u64 = 600_000;

/// How many transactions may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    pub total: u32,
    pub per_key: u32,
}

/// Why no further transaction may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Key,
    Total,
    /// There is, or was, one of this name.
    Known,
}

/// Why a transaction cannot be gone on with. What belongs to another key looks like what does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    Busy,
    Ended(Ended),
}

#[derive(Debug)]
struct Open<T> {
    key_id: Arc<str>,
    idle: Duration,
    /// When it ends, whatever is done with it.
    ends_at: Instant,
    /// `None` while a request uses it.
    idle_since: Option<(T, Instant)>,
}

#[derive(Debug)]
struct Past {
    key_id: Arc<str>,
    ended: Ended,
    at: Instant,
}

#[derive(Debug)]
pub struct Registry<T> {
    caps: Caps,
    open: HashMap<TransactionId, Open<T>>,
    past: HashMap<TransactionId, Past>,
    /// In the order in which they ended.
    order: VecDeque<TransactionId>,
}

impl<T> Registry<T> {
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            open: HashMap::new(),
            past: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub fn caps(&self) -> Caps {
        self.caps
    }

    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether this key has it open.
    pub fn is_open(&self, id: TransactionId) -> bool {
        self.open.contains_key(&id)
    }

    /// Takes a place, before a connection is taken. [`Self::check_in`] or [`Self::forget`] must follow.
    pub fn reserve(
        &mut self,
        id: TransactionId,
        key_id: &Arc<str>,
        limits: Limits,
        now: Instant,
    ) -> Result<(), Full> {
        if self.open.contains_key(&id) || self.past.contains_key(&id) {
            return Err(Full::Known);
        }
        if self.open.len() >= self.caps.total as usize {
            return Err(Full::Total);
        }
        let of_key = self.open.values().filter(|open| open.key_id == *key_id);
        if of_key.count() >= self.caps.per_key as usize {
            return Err(Full::Key);
        }
        let open = Open {
            key_id: Arc::clone(key_id),
            idle: Duration::from_millis(limits.idle_ms),
            ends_at: now + Duration::from_millis(limits.lifetime_ms),
            idle_since: None,
        };
        self.open.insert(id, open);
        Ok(())
    }

    /// Gives a place back that was never filled.
    pub fn forget(&mut self, id: TransactionId) {
        self.open.remove(&id);
    }

    /// Takes a transaction for one request, with the time at which it ends; [`Self::check_in`] or [`Self::end`]
    /// must follow.
    pub fn check_out(&mut self, id: TransactionId, key_id: &str) -> Result<(T, Instant), Refusal> {
        let Some(open) = self.open.get_mut(&id) else {
            let past = self.past.get(&id).filter(|past| &*past.key_id == key_id);
            return Err(past.map_or(Refusal::NotFound, |past| Refusal::Ended(past.ended)));
        };
        if &*open.key_id != key_id {
            return Err(Refusal::NotFound);
        }
        let (transaction, _) = open.idle_since.take().ok_or(Refusal::Busy)?;
        Ok((transaction, open.ends_at))
    }

    /// Puts a transaction back after a request. One that was forgotten meanwhile is handed back.
    pub fn check_in(&mut self, id: TransactionId, transaction: T, now: Instant) -> Result<(), T> {
        match self.open.get_mut(&id) {
            Some(open) => {
                open.idle_since = Some((transaction, now));
                Ok(())
            }
            None => Err(transaction),
        }
    }

    /// Remembers how a transaction ended.
    pub fn end(&mut self, id: TransactionId, ended: Ended, now: Instant) {
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        self.forget_past(now);
        let past = Past {
            key_id: open.key_id,
            ended,
            at: now,
        };
        self.past.insert(id, past);
        self.order.push_back(id);
    }

    /// Takes out every transaction that has stood idle or lived for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let too_long = |open: &Open<T>| {
            let (_, since) = open.idle_since.as_ref()?;
            if now >= open.ends_at {
                return Some(Ended::LivedTooLong);
            }
            (now.saturating_duration_since(*since) >= open.idle).then_some(Ended::IdleTooLong)
        };
        let expired: Vec<(TransactionId, Ended)> = self
            .open
            .iter()
            .filter_map(|(id, open)| Some((*id, too_long(open)?)))
            .collect();
        self.take(&expired, now)
    }

    /// Takes out every transaction that no request is using.
    pub fn drain(&mut self, now: Instant) -> Vec<T> {
        let idle: Vec<(TransactionId, Ended)> = self
            .open
            .iter()
            .filter(|(_, open)| open.idle_since.is_some())
            .map(|(id, _)| (*id, Ended::Drained))
            .collect();
        self.take(&idle, now)
    }

    fn take(&mut self, which: &[(TransactionId, Ended)], now: Instant) -> Vec<T> {
        let mut taken = Vec::new();
        for (id, ended) in which {
            let idle = self
                .open
                .get_mut(id)
                .and_then(|open| open.idle_since.take());
            taken.extend(idle.map(|(transaction, _)| transaction));
            self.end(*id, *ended, now);
        }
        taken
    }

    fn forget_past(&mut self, now: Instant) {
        let kept = Duration::from_millis(ENDED_KEPT_MS);
        while let Some(oldest) = self.order.front() {
            let is_old = self
                .past
                .get(oldest)
                .is_none_or(|past| now.saturating_duration_since(past.at) >= kept);
            if !is_old && self.order.len() < ENDED_MAX {
                return;
            }
            self.past.remove(oldest);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
