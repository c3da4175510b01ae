//! Where a store's open transactions wait between requests.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::fault::{Ended, Fate, Fault};
use super::registry::{Caps, Full, Refusal, Registry};
use super::{Begun, CONTROL_TIMEOUT_MS, Limits, RollBack, Statement, Transaction, Transactional};
use crate::execute::Error;
use crate::execute::settings::TransactionSettings;
use crate::lock::Unpoisoned as _;
use crate::operation::Store;
use crate::reply::{RowSink, Summary};
use crate::transaction::{Options, TransactionId};

/// How often transactions that stood idle or lived for too long are looked for.
const REAP_INTERVAL_MS: u64 = 100;

/// The open transactions of one store.
pub(in crate::execute) struct Desk<T: RollBack> {
    store: Store,
    settings: TransactionSettings,
    registry: Arc<Mutex<Registry<T>>>,
}

impl<T: RollBack> std::fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("store", &self.store)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl<T: RollBack> Desk<T> {
    /// Must be called within a tokio runtime, in which what expires is rolled back.
    pub(in crate::execute) fn new(store: Store, settings: &TransactionSettings) -> Self {
        let caps = Caps {
            total: settings.max,
            per_key: settings.per_key_max,
        };
        let registry = Arc::new(Mutex::new(Registry::new(caps)));
        tokio::spawn(reap(Arc::downgrade(&registry)));
        Self {
            store,
            settings: settings.clone(),
            registry,
        }
    }

    /// Transactions open at this moment.
    pub(in crate::execute) fn open(&self) -> usize {
        lock(&self.registry).open()
    }

    pub(in crate::execute) fn is_open(&self, id: TransactionId) -> bool {
        lock(&self.registry).is_open(id)
    }

    /// Rolls back everything that no request is using.
    pub(in crate::execute) async fn drain(&self) {
        let idle = lock(&self.registry).drain(Instant::now());
        let rolling = idle.into_iter().map(RollBack::roll_back);
        let patience = Duration::from_millis(CONTROL_TIMEOUT_MS);
        let all = futures_util::future::join_all(rolling);
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Takes a place for a transaction that is about to begin.
    pub(in crate::execute) fn reserve(
        &self,
        id: TransactionId,
        key_id: &str,
        options: &Options,
    ) -> Result<(Held<'_, T>, Limits), Error> {
        let limits = Limits::of(&self.settings, options);
        let reserved = lock(&self.registry).reserve(id, &key_id.into(), limits, Instant::now());
        reserved.map_err(|full| Error::Transaction(self.full(full)))?;
        Ok((self.hold(id, Next::Forget), limits))
    }

    /// Takes a transaction for one request, with the time at which it ends.
    pub(in crate::execute) fn check_out(
        &self,
        id: TransactionId,
        key_id: &str,
    ) -> Result<(Held<'_, T>, Instant), Error> {
        let (transaction, ends_at) =
            lock(&self.registry)
                .check_out(id, key_id)
                .map_err(|refusal| {
                    Error::Transaction(match refusal {
                        Refusal::NotFound => Fault::NotFound,
                        Refusal::Busy => Fault::Busy,
                        Refusal::Ended(ended) => Fault::Ended(ended),
                    })
                })?;
        let mut held = self.hold(id, Next::End(Ended::CutOff));
        held.transaction = Some(transaction);
        Ok((held, ends_at))
    }

    fn hold(&self, id: TransactionId, next: Next) -> Held<'_, T> {
        Held {
            registry: &self.registry,
            id,
            transaction: None,
            next,
        }
    }

    fn full(&self, full: Full) -> Fault {
        let caps = lock(&self.registry).caps();
        let store = self.store;
        match full {
            Full::Key => Fault::KeyFull {
                store,
                max: caps.per_key,
            },
            Full::Known => Fault::Known,
            Full::Total => Fault::StoreFull {
                store,
                max: caps.total,
            },
        }
    }
}

impl<T: Transaction> Desk<T> {
    /// Begins a transaction that stays open. May be cancelled: nothing stays open then.
    pub(in crate::execute) async fn begin<S>(
        &self,
        store: &S,
        key_id: &str,
        options: Options,
    ) -> Result<Begun, Error>
    where
        S: Transactional<Transaction = T>,
    {
        let id = TransactionId::random().map_err(|error| Error::Unavailable {
            store: self.store,
            cause: format!("no random bytes for a name: {error}"),
        })?;
        let (mut held, limits) = self.reserve(id, key_id, &options)?;
        let transaction = store.open(key_id, options, Some(limits)).await?;
        held.transaction = Some(transaction);
        held.keep();
        Ok(Begun {
            id,
            lifetime_ms: limits.lifetime_ms,
            idle_timeout_ms: limits.idle_ms,
        })
    }

    /// Runs a statement in an open transaction. May be cancelled: the transaction is then rolled back.
    pub(in crate::execute) async fn run(
        &self,
        id: TransactionId,
        statement: Statement<'_>,
        timeout: Duration,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Error> {
        let key_id = &statement.ticket.permit().caller().key_id;
        let (mut held, ends_at) = self.check_out(id, key_id)?;
        let deadline = ends_at.min(Instant::now() + timeout);
        let Some(transaction) = held.transaction.as_mut() else {
            return Err(Error::Transaction(Fault::NotFound));
        };
        let ran = transaction.run(statement, deadline, sink).await;
        match ran {
            Ok(summary) => {
                held.keep();
                Ok(summary)
            }
            Err(broken) => {
                match broken.fate {
                    Fate::Open | Fate::Failed => held.keep(),
                    Fate::RolledBack | Fate::Committed | Fate::Unknown => {
                        held.set_ended(Ended::ByAStatement(broken.fate));
                    }
                }
                Err(broken.into_error(None))
            }
        }
    }

    /// Commits or rolls back. May be cancelled: the end is then not known where it was a commit.
    pub(in crate::execute) async fn end(
        &self,
        id: TransactionId,
        key_id: &str,
        commits: bool,
    ) -> Result<(), Error> {
        let (mut held, _) = self.check_out(id, key_id)?;
        let Some(transaction) = held.transaction.take() else {
            return Err(Error::Transaction(Fault::NotFound));
        };
        if !commits {
            held.set_ended(Ended::ByItsCaller(Fate::RolledBack));
            transaction.roll_back().await;
            return Ok(());
        }
        held.set_ended(Ended::ByItsCaller(Fate::Unknown));
        let committed = transaction.commit().await;
        let fate = match &committed {
            Ok(()) => Fate::Committed,
            Err(broken) => broken.fate,
        };
        held.set_ended(Ended::ByItsCaller(fate));
        committed.map_err(|broken| broken.into_error(None))
    }
}

/// What becomes of a transaction's place when the request that holds it is over.
#[derive(Debug, Clone, Copy)]
enum Next {
    Keep,
    /// It never began.
    Forget,
    End(Ended),
}

/// A transaction in the hands of one request. Dropped without being kept, it has ended: its connection is closed.
pub(in crate::execute) struct Held<'d, T: RollBack> {
    registry: &'d Mutex<Registry<T>>,
    id: TransactionId,
    pub(in crate::execute) transaction: Option<T>,
    next: Next,
}

impl<T: RollBack> Held<'_, T> {
    /// How the transaction has ended when this is dropped.
    pub(in crate::execute) fn set_ended(&mut self, ended: Ended) {
        self.next = Next::End(ended);
    }

    /// Puts it back for the next request.
    pub(in crate::execute) fn keep(mut self) {
        if let Some(transaction) = self.transaction.take() {
            // Only its holder ends a transaction that is in use, so there is a place for it.
            let _gone = lock(self.registry).check_in(self.id, transaction, Instant::now());
            self.next = Next::Keep;
        }
    }
}

impl<T: RollBack> Drop for Held<'_, T> {
    fn drop(&mut self) {
        drop(self.transaction.take());
        match self.next {
            Next::Keep => {}
            Next::Forget => lock(self.registry).forget(self.id),
            Next::End(ended) => lock(self.registry).end(self.id, ended, Instant::now()),
        }
    }
}

/// Rolls back what has expired, as long as the desk stands.
async fn reap<T: RollBack>(registry: Weak<Mutex<Registry<T>>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(REAP_INTERVAL_MS)).await;
        let Some(registry) = registry.upgrade() else {
            return;
        };
        let expired = lock(&registry).expire(Instant::now());
        for transaction in expired {
            tokio::spawn(transaction.roll_back());
        }
    }
}

/// The registry has no state that a panic could leave half-changed.
fn lock<T>(registry: &Mutex<Registry<T>>) -> MutexGuard<'_, Registry<T>> {
    registry.lock().unpoisoned()
}
