//! MongoDB: one command document in, the server's reply document out.
//!
//! Each command runs in a server session of its own, so that what a caller abandons can be ended on the server
//! (`killSessions`), and so that a cursor's later `getMore` runs in the session that opened it.

mod command;
mod connection;
mod cursors;
mod failure;
mod run;
mod stream;
mod transaction_fields;
mod transactions;
mod views;

#[cfg(test)]
mod cursor_server_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod values_server_tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use mongodb::{Client, ClientSession};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

pub use command::KILL_CURSORS_MAX;
pub use connection::{
    CONNECT_MS_MAX, ConnectError, MongoSettings, PoolGauges, SERVER_SELECTION_MS_MAX,
};
pub use cursors::{CURSOR_IDLE_MS_MAX, CURSORS_MAX, CURSORS_PER_KEY_MAX};
pub use transactions::TRANSACTIONS;
pub use views::{VIEWS_FRESH_MS, VIEWS_MAX, ViewsError};

use crate::execute::Error;
use crate::execute::transaction::Desk;
use crate::limit::Ticket;
use crate::operation::{Payload, Store};
use crate::reply::RowSink;
use command::Prepared;
use connection::Watch;
use cursors::{Cursors, Doomed};
use failure::{unavailable, unreached};
use run::Run;
use transactions::OpenTransaction;

/// How often idle cursors are looked for.
const REAP_INTERVAL_MS: u64 = 5_000;
/// How long a kill on the server or a health check may take.
const CONTROL_MS_MAX: u64 = 2_000;
/// Kills under way at once; beyond that `maxTimeMS` and the cursor's idle limit end what was abandoned.
const KILLS_MAX: usize = 4;

/// A client of its own, for questions that are no caller's. Opens its connections when they are first needed.
pub async fn open(settings: &MongoSettings) -> Result<Client, ConnectError> {
    connection::client(settings, &Arc::default()).await
}

/// A session is locked by the one request that uses it; the mutex is never contended.
type Session = Arc<tokio::sync::Mutex<ClientSession>>;

/// The MongoDB executor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MongoStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: MongoSettings,
    client: OnceCell<Client>,
    watch: Arc<Watch>,
    cursors: Mutex<Cursors<Session>>,
    /// Requests that may use the pool at once. One connection is kept free for kills and health checks.
    slots: Semaphore,
    waiting: Semaphore,
    kills: Semaphore,
    views: tokio::sync::Mutex<views::Known>,
    transactions: Desk<OpenTransaction>,
}

impl MongoStore {
    /// Checks the settings and starts connecting in the background; the database may come later. Must be called
    /// inside a Tokio runtime.
    pub async fn connect(settings: MongoSettings) -> Result<Self, ConnectError> {
        let slots = settings.pool.max.saturating_sub(1).max(1);
        let inner = Inner {
            client: OnceCell::new(),
            watch: Arc::new(Watch::default()),
            cursors: Mutex::new(Cursors::default()),
            slots: Semaphore::new(usize::try_from(slots).unwrap_or(1)),
            waiting: Semaphore::new(settings.pool.waiting_max),
            kills: Semaphore::new(KILLS_MAX),
            views: tokio::sync::Mutex::default(),
            transactions: Desk::new(Store::Mongodb, &TRANSACTIONS),
            settings,
        };
        let store = Self(Arc::new(inner));
        // `mongodb+srv` needs a name server, which may come later too: its first request resolves it.
        if !store.is_srv() {
            store.client().await?;
        }
        tokio::spawn(reap(Arc::downgrade(&store.0)));
        Ok(store)
    }

    fn is_srv(&self) -> bool {
        use secrecy::ExposeSecret;
        let uri = self.0.settings.uri.expose_secret();
        uri.starts_with("mongodb+srv://")
    }

    async fn client(&self) -> Result<&Client, ConnectError> {
        let make = || connection::client(&self.0.settings, &self.0.watch);
        self.0.client.get_or_try_init(make).await
    }

    /// Connections by state; `waiting` includes the requests that wait for one here.
    pub fn gauges(&self) -> PoolGauges {
        let mut gauges = self.0.watch.gauges(self.0.settings.pool.max);
        let free = self.0.waiting.available_permits();
        let waiting_max = self.0.settings.pool.waiting_max;
        gauges.waiting = waiting_max.saturating_sub(free) as u64;
        gauges
    }

    /// Transactions that callers hold open.
    pub(super) fn transactions(&self) -> &Desk<OpenTransaction> {
        &self.0.transactions
    }

    /// Cursors that callers hold open.
    pub fn cursors_open(&self) -> usize {
        self.cursors().len()
    }

    /// Asks the server whether it serves. May be cancelled.
    pub async fn ping(&self) -> Result<(), Error> {
        if self.0.watch.is_down() {
            return Err(unavailable("every server's last check failed"));
        }
        let client = self
            .client()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let database = client.database(&self.0.settings.database);
        let ping = database.run_command(doc! {"ping": 1});
        match timeout(Duration::from_millis(CONTROL_MS_MAX), ping).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure::from_driver(&error, CONTROL_MS_MAX)),
            Err(_) => Err(unavailable(format!(
                "no answer to ping in {CONTROL_MS_MAX} ms"
            ))),
        }
    }

    /// Kills every cursor that callers hold open, for a shutdown.
    pub async fn close(&self) {
        let doomed = self.cursors().drain();
        for cursor in doomed {
            self.kill_cursor(&cursor).await;
        }
    }

    /// Runs the ticket's command and returns the server's reply, `writeErrors` and all.
    ///
    /// `timeout_ms` may lower the store's limit, not raise it. May be cancelled: the command is then ended on the
    /// server, and a cursor it was continuing is gone.
    pub async fn execute(
        &self,
        ticket: Ticket,
        timeout_ms: Option<u64>,
    ) -> Result<RawDocumentBuf, Error> {
        let (run, prepared) = self.run(&ticket, timeout_ms).await?;
        let _slot = self.slot().await?;
        match &prepared.transaction {
            Some(fields) => {
                let fields = fields.clone();
                transactions::fits(&ticket.permit().operation().classification)?;
                run.in_transaction(prepared, &fields).await
            }
            None => run.command(prepared).await,
        }
    }

    /// Like [`Self::execute`], but hands the documents of a cursor to `sink` while they come, to its end.
    pub async fn stream(
        &self,
        ticket: Ticket,
        timeout_ms: Option<u64>,
        sink: &mut dyn RowSink,
    ) -> Result<(), Error> {
        let (run, prepared) = self.run(&ticket, timeout_ms).await?;
        if prepared.transaction.is_some() {
            let why = "a cursor in a transaction is not streamed: leave `Accept` out, and continue it with `getMore`";
            return Err(Error::Invalid(why.into()));
        }
        let _slot = self.slot().await?;
        run.stream(prepared, sink).await
    }

    /// The ticket's command, ready to be sent.
    async fn run<'r>(
        &'r self,
        ticket: &'r Ticket,
        timeout_ms: Option<u64>,
    ) -> Result<(Run<'r>, Prepared), Error> {
        let permit = ticket.permit();
        let operation = permit.operation();
        let Payload::Mongodb { database, document } = &operation.payload else {
            return Err(Error::Invalid("this is not a MongoDB command".into()));
        };
        let limit_ms = self.0.settings.statement_timeout_ms;
        let limit_ms = timeout_ms.map_or(limit_ms, |asked| asked.clamp(1, limit_ms));
        let prepared = command::prepare(document, limit_ms)?;
        run::same_cursors(&prepared.kind, &operation.classification.cursors)?;
        if self.0.watch.is_down() {
            return Err(unreached("every server's last check failed"));
        }
        let run = Run {
            store: self,
            client: self
                .client()
                .await
                .map_err(|error| unreached(error.to_string()))?,
            database,
            key_id: &permit.caller().key_id,
        };
        Ok((run, prepared))
    }

    /// One of the pool's connections to use, or the reason why not. May be cancelled.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(slot) = self.0.slots.try_acquire() {
            return Ok(slot);
        }
        let exhausted = |waited_ms| Error::PoolExhausted {
            store: Store::Mongodb,
            waited_ms,
        };
        let Ok(_waiting) = self.0.waiting.try_acquire() else {
            return Err(exhausted(0));
        };
        let limit_ms = self.0.settings.pool.acquire_timeout_ms;
        match timeout(Duration::from_millis(limit_ms), self.0.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(exhausted(limit_ms)),
        }
    }

    fn cursors(&self) -> MutexGuard<'_, Cursors<Session>> {
        // The registry has no state that a panic could leave half-changed.
        self.0
            .cursors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills one cursor on the server, as well as it can: what remains, the server's own idle limit ends.
    async fn kill_cursor(&self, cursor: &Doomed<Session>) {
        let Ok(client) = self.client().await else {
            return;
        };
        let database = client.database(&cursor.namespace.database);
        let command = doc! {
            "killCursors": &cursor.namespace.collection,
            "cursors": [cursor.id],
        };
        let kill = database.run_command(command);
        match timeout(Duration::from_millis(CONTROL_MS_MAX), kill).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a cursor was not killed"),
            Err(_) => tracing::debug!("a cursor was not killed in time"),
        }
    }
}

/// Kills cursors that nobody continues, as long as the store lives.
async fn reap(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(Duration::from_millis(REAP_INTERVAL_MS)).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let store = MongoStore(inner);
        let doomed = store.cursors().expire(Instant::now());
        for cursor in doomed {
            store.kill_cursor(&cursor).await;
        }
    }
}
