//! Transactions of the SQL stores: a batch in one request, and those that a caller holds open over several.
//!
//! Either has a connection to itself from its beginning to its end. One that is open between requests is found in its
//! store's [`Desk`], by name and by the key that opened it; it ends when its caller ends it, when it stands idle or
//! lives for too long, when a request in it is cut off, or with the sidecar.

mod batch;
mod desk;
mod fault;
mod registry;

use std::time::{Duration, Instant};

use super::Error;
use super::request::{AuditRow, SqlRequest};
use super::settings::TransactionSettings;
use crate::limit::Ticket;
use crate::operation::Store;
use crate::reply::{RowSink, Summary};
use crate::transaction::{Options, TransactionId};

pub use batch::BATCH_STATEMENTS_MAX;
pub(super) use batch::{Batched, batch};
pub(super) use desk::{Desk, Held};
pub(super) use fault::Broken;
pub use fault::{Ended, Fate, Fault};

/// How much later than ours the server's own time-outs come: ours tells the caller more.
pub(super) const SERVER_TIMEOUT_SLACK_MS: u64 = 2_000;
/// How long beginning, rolling back or making a session as new may take.
pub(super) const CONTROL_TIMEOUT_MS: u64 = 5_000;
/// How long a commit may take. Cutting one short leaves its outcome unknown, so this has nothing to do with the
/// caller's own time-out.
pub(super) const COMMIT_TIMEOUT_MS: u64 = 5_000;

/// What a [`Desk`] keeps: when nobody ends it, it is rolled back.
pub(super) trait RollBack: Sized + Send + 'static {
    /// Rolls back, and gives the connection back; closes it where that fails, which rolls back too.
    fn roll_back(self) -> impl Future<Output = ()> + Send;
}

/// A transaction on its connection. Dropping it rolls it back: the connection is closed.
pub(super) trait Transaction: RollBack {
    /// Runs one admitted statement and hands its rows to `sink`.
    fn run(
        &mut self,
        statement: Statement<'_>,
        deadline: Instant,
        sink: &mut dyn RowSink,
    ) -> impl Future<Output = Result<Summary, Broken>> + Send;

    /// Commits, and gives the connection back.
    fn commit(self) -> impl Future<Output = Result<(), Broken>> + Send;
}

/// A store that has transactions.
pub(super) trait Transactional {
    type Transaction: Transaction;

    const STORE: Store;

    /// Takes a connection, in the turn of the key `key_id`, and begins. `limits` bounds a transaction that stays
    /// open between requests.
    fn open(
        &self,
        key_id: &str,
        options: Options,
        limits: Option<Limits>,
    ) -> impl Future<Output = Result<Self::Transaction, Error>> + Send;

    fn desk(&self) -> &Desk<Self::Transaction>;

    fn statement_timeout_ms(&self) -> u64;
}

/// An admitted statement and what travels with it.
pub(super) struct Statement<'s> {
    pub(super) ticket: &'s Ticket,
    pub(super) request: &'s SqlRequest,
    /// The row that commits with a change of a system table.
    pub(super) audit: Option<AuditRow>,
}

/// How long one transaction may stand idle, and how long it may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) idle_ms: u64,
    pub(super) lifetime_ms: u64,
}

impl Limits {
    /// The caller may ask for less than the store allows, never for more.
    pub(super) fn of(settings: &TransactionSettings, options: &Options) -> Self {
        let idle_max = settings.idle_timeout_ms.max(1);
        Self {
            idle_ms: options
                .idle_timeout_ms
                .map_or(idle_max, |asked| asked.clamp(1, idle_max)),
            lifetime_ms: settings.lifetime_ms.max(1),
        }
    }
}

/// Awaits a step of the sidecar's own, named as the server knows it, for as long as one may take.
pub(super) async fn in_time<T>(
    store: Store,
    name: &str,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let patience = Duration::from_millis(CONTROL_TIMEOUT_MS);
    let ended = tokio::time::timeout(patience, step).await;
    ended.unwrap_or_else(|_| {
        Err(Error::Unavailable {
            store,
            cause: format!("no answer to {name}"),
        })
    })
}

/// What a caller is told when its transaction has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub id: TransactionId,
    /// Milliseconds until it ends, whatever is done with it.
    pub lifetime_ms: u64,
    /// How long it may stand idle.
    pub idle_timeout_ms: u64,
}
