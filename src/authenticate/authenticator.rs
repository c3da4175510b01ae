//! Knows who is calling: by an API key, a certificate or a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::cache::{Entry, Keys, Recall, Settings};
use super::certificates::Certificates;
use super::doubted::Doubted;
use super::key::{Hash, PREFIX, Presented};
use super::row::{self, Secret};
use super::throttle::Throttle;
use super::tokens::{KeyState, Tokens};
use super::used::LastUsed;
use super::{Error, Peer, Principal};
use crate::execute::pool::Circuit;
use crate::system::changes::{Change, Subscription};
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Look-ups under way at once; a request that finds so many waits, for [`STATEMENT_TIMEOUT`] at most.
const LOOK_UPS_MAX: usize = 64;

/// How long a request whose key may serve as it is waits for PostgreSQL to confirm it, and any look-up while others fail.
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
    doubted: Doubted,
    /// Look-ups that failed: while they do, one at a time is tried after a pause, and the others fail at once.
    failing: Circuit,
    probing: Semaphore,
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
            doubted: Doubted::default(),
            failing: Circuit::default(),
            probing: Semaphore::new(1),
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
        let certified = self.certificates.principal(peer, clock)?;
        let Some(text) = key else {
            return certified.ok_or_else(|| self.certificates.nobody(peer));
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
                .look_up(presented, digest, now, STATEMENT_TIMEOUT)
                .await?
                .ok_or(Error::Invalid);
        };
        if entry.refreshing.swap(true, Ordering::AcqRel) {
            return Ok((entry, secret));
        }
        // Also lowered when this future is dropped, or nobody would look the key up again.
        let _lowered = Lower(&entry.refreshing);
        let asked = self.look_up(presented, digest, now, REFRESH_TIMEOUT);
        let failure = match asked.await {
            Ok(found) => return found.ok_or(Error::Invalid),
            Err(error) => error,
        };
        tracing::debug!(%failure, key_id = presented.id, "using a cached key");
        Ok((Arc::clone(&entry), secret))
    }

    /// Looks up what memory knows no good of. However it ends badly, it is one failure of the peer's address, and took
    /// the same way: a wrong id and a wrong secret are both asked of PostgreSQL once, and remembered as presented.
    ///
    /// Where the address has failed too often, it takes its turn: a good key that is new here is found out whoever
    /// guesses beside it, and all guessing together has few look-ups under way. Who goes away meanwhile has failed.
    async fn ask(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        is_refused: bool,
        peer: &Peer,
        now: Instant,
    ) -> Result<(Arc<Entry>, Secret), Error> {
        let taken = self.throttle.take(peer.address, now);
        let found = match &taken {
            _ if is_refused => Ok(None),
            Ok(()) => {
                self.look_up(presented, digest, now, STATEMENT_TIMEOUT)
                    .await
            }
            Err(_) => match self.doubted.turn().await {
                Some(_turn) => {
                    self.look_up(presented, digest, now, STATEMENT_TIMEOUT)
                        .await
                }
                None => return Err(Error::NoTurn),
            },
        };
        let is_failure = matches!(found, Ok(None));
        if taken.is_ok() && !is_failure {
            self.throttle.give_back(peer.address);
        }
        match (found?, taken) {
            (Some(found), _) => Ok(found),
            (None, Ok(())) => Err(Error::Invalid),
            (None, Err(retry_after)) => Err(throttled(retry_after, Error::Invalid)),
        }
    }

    async fn look_up(
        &self,
        presented: &Presented<'_>,
        digest: &Hash,
        now: Instant,
        patience: Duration,
    ) -> Result<Option<(Arc<Entry>, Secret)>, Unavailable> {
        let turn = self.turn()?;
        let patience = if turn.is_some() {
            patience.min(REFRESH_TIMEOUT)
        } else {
            patience
        };
        let deadline = tokio::time::Instant::now() + patience;
        let permit = tokio::time::timeout_at(deadline, self.look_ups.acquire()).await?;
        for _ in 0..ATTEMPTS_MAX {
            let asked = self.keys.ask(now);
            let row = row::look_up(&self.system, presented.id);
            let row = tokio::time::timeout_at(deadline, row).await;
            let row = row.unwrap_or_else(|elapsed| Err(elapsed.into()));
            match &row {
                Ok(_) => self.failing.record_success(),
                Err(Unavailable(cause)) => self.failing.record_failure(Instant::now(), cause),
            }
            let row = row?;
            if let Some(found) = self.keys.keep(presented, digest, row, asked) {
                drop((permit, turn));
                return Ok(found);
            }
        }
        Err(Unavailable("the key changes while it is asked for".into()))
    }

    /// Lets everybody ask while that goes well. `Some`: it does not, and this is the one to try again.
    fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, Unavailable> {
        if !self.failing.is_failing() {
            return Ok(None);
        }
        let failed = |cause: Arc<str>| Unavailable(cause.to_string());
        let turn = self.probing.try_acquire();
        let turn = turn.map_err(|_| failed(self.failing.cause()))?;
        self.failing.admit(Instant::now()).map_err(failed)?;
        Ok(Some(turn))
    }

    async fn by_token(
        &self,
        text: &str,
        peer: &Peer,
        now: Instant,
        clock: Timestamp,
    ) -> Result<Arc<Principal>, Error> {
        let failed = |fault| match self.throttle.take(peer.address, now) {
            Ok(()) => fault,
            Err(retry_after) => throttled(retry_after, fault),
        };
        let tokens = self.tokens.as_ref().filter(|_| !text.starts_with(PREFIX));
        let tokens = tokens.ok_or_else(|| failed(Error::Invalid))?;
        let known = match tokens.recall(text) {
            Some(known) => known,
            None => match tokens.verify(text, now, clock).await {
                Ok(known) => known,
                Err(fault @ Error::Token(_)) => return Err(failed(fault)),
                Err(error) => return Err(error),
            },
        };
        tokens.admit(&known, now, clock).await
    }

    /// Takes in what PostgreSQL tells of keys, for as long as it is polled.
    pub async fn follow(&self, mut changes: Subscription) {
        loop {
            let change = changes.next().await;
            if matches!(change, Change::Connected) {
                // PostgreSQL answers, so nobody need wait for another pause.
                self.failing.record_success();
            }
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

    /// What is known of the keys of tokens; `None` where tokens are not honoured.
    pub fn token_keys(&self, now: Instant) -> Option<KeyState> {
        self.tokens.as_ref().map(|tokens| tokens.key_state(now))
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

fn throttled(retry_after: Duration, cause: Error) -> Error {
    Error::Throttled {
        retry_after,
        cause: Box::new(cause),
    }
}

struct Lower<'f>(&'f AtomicBool);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
