//! Looks keys up in PostgreSQL, through a bounded cache that also remembers keys that do not exist.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use quick_cache::sync::Cache;
use tokio_postgres::types::{ToSql, Type};

use super::key::{Hash, Presented};
use super::{Error, Principal};
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Keys remembered at once, those that do not exist among them.
const CACHED_KEYS_MAX: usize = 10_000;

/// How often `last_used_at` is written.
const LAST_USED_INTERVAL: Duration = Duration::from_secs(10);

const LOOK_UP: &str = "SELECT hashed_key, user_id, role, expires_at, revoked_at IS NOT NULL
    FROM api_keys WHERE id = $1";

const NOTE_USE: &str = "UPDATE api_keys SET last_used_at = now() WHERE id = ANY($1)";

/// How old an answer may be.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// After this an entry is looked up again: the bound on a revocation's delay.
    pub ttl: Duration,
    /// How long a known key keeps working while PostgreSQL is away.
    pub stale_max: Duration,
}

/// Knows who is calling.
pub struct Authenticator {
    system: Arc<System>,
    settings: Settings,
    cache: Cache<String, Arc<Entry>>,
    used: Mutex<HashSet<String>>,
}

/// What PostgreSQL said of one id, and when.
struct Entry {
    row: Option<Row>,
    at: Instant,
    /// Set by the one caller that looks the key up again; the others go on with this entry meanwhile.
    refreshing: AtomicBool,
}

struct Row {
    hash: Option<Hash>,
    principal: Arc<Principal>,
    expires_at: Option<Timestamp>,
    revoked: bool,
}

impl Authenticator {
    pub fn new(system: Arc<System>, settings: Settings) -> Self {
        Self {
            system,
            settings,
            cache: Cache::new(CACHED_KEYS_MAX),
            used: Mutex::default(),
        }
    }

    /// Who `key` belongs to. `now` is monotonic, `clock` is what expiry is compared with.
    pub async fn authenticate(
        &self,
        key: Option<&str>,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let presented = Presented::parse(key.ok_or(Error::Missing)?).ok_or(Error::Invalid)?;
        let entry = self.entry(presented.id, now).await?;
        let row = entry.row.as_ref().ok_or(Error::Invalid)?;
        let matches = row
            .hash
            .as_ref()
            .is_some_and(|hash| presented.matches(hash));
        if !matches {
            return Err(Error::Invalid);
        }
        let key_id = || row.principal.key_id.clone();
        if row.revoked {
            return Err(Error::Revoked { key_id: key_id() });
        }
        if row.expires_at.is_some_and(|at| at <= clock) {
            return Err(Error::Expired { key_id: key_id() });
        }
        self.note_use(presented.id);
        Ok(Arc::clone(&row.principal))
    }

    async fn entry(&self, id: &str, now: Instant) -> Result<Arc<Entry>, Error> {
        let Some(cached) = self.cache.get(id) else {
            return Ok(Box::pin(self.look_up(id, now)).await?);
        };
        let age = now.saturating_duration_since(cached.at);
        if age < self.settings.ttl {
            return Ok(cached);
        }
        let usable = age < self.settings.stale_max + self.settings.ttl;
        if usable && cached.refreshing.swap(true, Ordering::AcqRel) {
            return Ok(cached);
        }
        // Also lowered when this future is dropped, or nobody would look the key up again.
        let _lowered = Lower(&cached.refreshing);
        match Box::pin(self.look_up(id, now)).await {
            Ok(entry) => Ok(entry),
            Err(error) if usable => {
                tracing::debug!(%error, key_id = id, "using a cached key");
                Ok(Arc::clone(&cached))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn look_up(&self, id: &str, now: Instant) -> Result<Arc<Entry>, Unavailable> {
        let client = self.system.client().await?;
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&id, Type::TEXT)];
        let query = client.query_typed(LOOK_UP, &parameters);
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, query).await??;
        let row = match rows.first() {
            Some(row) => Some(Row {
                hash: row.try_get::<_, &str>(0).ok().and_then(Hash::parse),
                principal: Arc::new(Principal {
                    key_id: id.to_owned(),
                    user_id: row.try_get(1)?,
                    role: row.try_get::<_, Option<String>>(2)?.unwrap_or_default(),
                }),
                expires_at: row.try_get(3)?,
                revoked: row.try_get(4)?,
            }),
            None => None,
        };
        let entry = Arc::new(Entry {
            row,
            at: now,
            refreshing: AtomicBool::new(false),
        });
        self.cache.insert(id.to_owned(), Arc::clone(&entry));
        Ok(entry)
    }

    fn note_use(&self, id: &str) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(id) && used.len() < CACHED_KEYS_MAX {
            used.insert(id.to_owned());
        }
    }

    /// Writes `last_used_at` in batches, off the requests' path, for as long as it is polled.
    pub async fn keep_last_used(&self) {
        loop {
            tokio::time::sleep(LAST_USED_INTERVAL).await;
            self.flush_last_used().await;
        }
    }

    /// Writes what is noted so far. What cannot be written is noted again.
    pub async fn flush_last_used(&self) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return;
        }
        let ids: Vec<&String> = used.iter().collect();
        let written = async {
            let client = self.system.client().await?;
            let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
            let update = client.execute(NOTE_USE, &parameters);
            Ok::<_, Unavailable>(tokio::time::timeout(STATEMENT_TIMEOUT, update).await??)
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "last_used_at was not written");
            for id in &used {
                self.note_use(id);
            }
        }
    }
}

struct Lower<'f>(&'f AtomicBool);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
