//! Knows who is calling: by an API key, a certificate or a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::cache::{Entry, Keys, Recall, Settings};
use super::certificates::Certificates;
use super::key::{Hash, PREFIX, Presented};
use super::row::{self, Secret};
use super::throttle::Throttle;
use super::tokens::Tokens;
use super::used::LastUsed;
use super::{Error, Peer, Principal};
use crate::system::changes::Subscription;
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Look-ups under way at once; a request that finds so many waits, for [`STATEMENT_TIMEOUT`] at most.
const LOOK_UPS_MAX: usize = 64;

/// How long a request whose key may serve as it is waits for PostgreSQL to confirm it.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a key is asked for that changes while it is asked for.
const ATTEMPTS_MAX: usize = 3;

/// How often `last_used_at` is written.
const LAST_USED_INTERVAL: Duration = Duration::from_secs(10);

/// Knows who is calling.
pub struct Authenticator {
    system: Arc<System>,
    keys: Keys,
    used: LastUsed,
    throttle: Throttle,
    look_ups: Semaphore,
    certificates: Certificates,
    tokens: Option<Tokens>,
}

impl Authenticator {
    pub fn new(
        system: Arc<System>,
        settings: Settings,
        certificates: Certificates,
        tokens: Option<Tokens>,
        now: Instant,
    ) -> Self {
        Self {
            system,
            keys: Keys::new(settings),
            used: LastUsed::default(),
            throttle: Throttle::new(now),
            look_ups: Semaphore::new(LOOK_UPS_MAX),
            certificates,
            tokens,
        }
    }

    /// Who sent `key` (a key or a token) over a connection from `peer`. `now` is monotonic, `clock` is what expiry is
    /// compared with. May be cancelled.
    pub async fn authenticate(
        &self,
        key: Option<&str>,
        peer: &Peer,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let certified = self.certificates.principal(peer)?;
        let Some(text) = key else {
            return certified.ok_or(Error::Missing);
        };
        let caller = if let Some(presented) = Presented::parse(text) {
            self.by_key(&presented, peer, now, clock).await?
        } else {
            Box::pin(self.by_token(text, peer, now, clock)).await?
        };
        match certified {
            Some(certified) if certified.role != caller.role => Err(Error::Disagree {
                key_id: caller.key_id.clone(),
                certificate: certified.key_id.clone(),
            }),
            Some(_) | None => Ok(caller),
        }
    }

    async fn by_key(
        &self,
        presented: &Presented<'_>,
        peer: &Peer,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let digest = presented.digest();
        let (entry, secret) = match self.keys.recall(presented, &digest, now) {
            Recall::Fresh(entry, secret) => (entry, secret),
            Recall::Old {
                entry,
                secret,
                usable,
            } => {
                let known = usable.then_some((entry, secret));
                Box::pin(self.refresh(presented, &digest, known, now)).await?
            }
            recall @ (Recall::Refused | Recall::Unknown) => {
                let is_refused = matches!(recall, Recall::Refused);
                Box::pin(self.ask(presented, &digest, is_refused, peer, now)).await?
            }
        };
        let principal = entry.row.admit(secret, clock)?;
        if !entry.noted.swap(true, Ordering::Relaxed) {
            self.used.note(presented.id);
        }
        Ok(principal)
    }

    /// Looks a key up again whose secret is known to have been right. `known` may serve meanwhile, and if PostgreSQL is
    /// away.
    async fn refresh(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        known: Option<(Arc<Entry>, Secret)>,
        now: Instant,
    ) -> Result<(Arc<Entry>, Secret), Error> {
        let Some((entry, secret)) = known else {
            return self
                .look_up(presented, digest, now)
                .await?
                .ok_or(Error::Invalid);
        };
        if entry.refreshing.swap(true, Ordering::AcqRel) {
            return Ok((entry, secret));
        }
        // Also lowered when this future is dropped, or nobody would look the key up again.
        let _lowered = Lower(&entry.refreshing);
        let asked = self.look_up(presented, digest, now);
        let failure = match tokio::time::timeout(REFRESH_TIMEOUT, asked).await {
            Ok(Ok(found)) => return found.ok_or(Error::Invalid),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        tracing::debug!(%failure, key_id = presented.id, "using a cached key");
        Ok((Arc::clone(&entry), secret))
    }

    /// Looks up what memory knows no good of. However it ends badly, it is one failure of the peer's address, and took
    /// the same way: a wrong id and a wrong secret are both asked of PostgreSQL once, and remembered as presented.
    async fn ask(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        is_refused: bool,
        peer: &Peer,
        now: Instant,
    ) -> Result<(Arc<Entry>, Secret), Error> {
        self.may_fail(peer, now)?;
        let found = if is_refused {
            None
        } else {
            self.look_up(presented, digest, now).await?
        };
        found.ok_or_else(|| self.failed(peer, now))
    }

    async fn look_up(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        now: Instant,
    ) -> Result<Option<(Arc<Entry>, Secret)>, Unavailable> {
        let permit = tokio::time::timeout(STATEMENT_TIMEOUT, self.look_ups.acquire()).await?;
        for _ in 0..ATTEMPTS_MAX {
            let asked = self.keys.ask(now);
            let row = row::look_up(&self.system, presented.id).await?;
            if let Some(found) = self.keys.keep(presented, digest, row, asked) {
                drop(permit);
                return Ok(found);
            }
        }
        Err(Unavailable("the key changes while it is asked for".into()))
    }

    async fn by_token(
        &self,
        text: &str,
        peer: &Peer,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let tokens = self.tokens.as_ref().filter(|_| !text.starts_with(PREFIX));
        if let Some(tokens) = tokens {
            if let Some(known) = tokens.recall(text) {
                return tokens.admit(&known, now, clock).await;
            }
            self.may_fail(peer, now)?;
            match tokens.verify(text, now, clock).await {
                Ok(known) => return tokens.admit(&known, now, clock).await,
                Err(Error::Invalid) => {}
                Err(error) => return Err(error),
            }
        } else {
            self.may_fail(peer, now)?;
        }
        Err(self.failed(peer, now))
    }

    fn may_fail(&self, peer: &Peer, now: Instant) -> Result<(), Error> {
        match self.throttle.wait(peer.address, now) {
            None => Ok(()),
            Some(retry_after) => Err(Error::Throttled { retry_after }),
        }
    }

    fn failed(&self, peer: &Peer, now: Instant) -> Error {
        self.throttle.failed(peer.address, now);
        Error::Invalid
    }

    /// Takes in what PostgreSQL tells of keys, for as long as it is polled.
    pub async fn follow(&self, mut changes: Subscription) {
        loop {
            let change = changes.next().await;
            self.keys.heard(&change, Instant::now());
        }
    }

    /// Fetches the keys of tokens again and again, for as long as it is polled.
    pub async fn keep_token_keys(&self) {
        match &self.tokens {
            Some(tokens) => tokens.keep_fresh().await,
            None => std::future::pending().await,
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
        let ids = self.used.take();
        ids.iter().for_each(|id| self.keys.forget_use(id));
        self.used.write(&self.system, &ids).await;
    }
}

struct Lower<'f>(&'f AtomicBool);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
