//! MongoDB: one command document in, the server's reply document out.
//!
//! Each command runs in a server session of its own, so that what a caller abandons can be ended on the server
//! (`killSessions`), and so that a cursor's later `getMore` runs in the session that opened it.

mod abandon;
mod certificates;
mod command;
mod connection;
mod cursors;
mod failure;
mod held;
mod run;
mod stream;
mod transaction_fields;
mod transactions;
mod views;

#[cfg(test)]
mod cursor_server_tests;
#[cfg(test)]
mod dirt_server_tests;
#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod twice_server_tests;
#[cfg(test)]
mod values_server_tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bson::{RawDocumentBuf, doc};
use mongodb::{Client, ClientSession};
use tokio::time::timeout;

pub use command::KILL_CURSORS_MAX;
pub use connection::{
    CONNECT_MS_MAX, ConnectError, Connected, MongoSettings, PoolGauges, SERVER_SELECTION_MS_MAX,
};
pub use cursors::{
    CURSOR_COMMAND_BYTES_MAX, CURSOR_IDLE_MS_MAX, CURSORS_MAX, CURSORS_PER_KEY_MAX, Opening,
};
pub use transactions::TRANSACTIONS;
pub use views::{VIEWS_FRESH_MS, VIEWS_MAX, ViewsError};

use crate::authenticate::Principal;
use crate::execute::Error;
use crate::execute::pool::{Slot, Turns};
use crate::execute::transaction::Desk;
use crate::limit::Ticket;
use crate::lock::Unpoisoned as _;
use crate::operation::{Payload, Store};
use crate::reply::RowSink;
use abandon::Abandoned;
use command::Prepared;
use connection::Watch;
use cursors::{Cursors, Doomed};
use failure::{unavailable, unreached};
use held::Continued;
use run::Run;
use transactions::OpenTransaction;

/// How often idle cursors are looked for.
const REAP_INTERVAL_MS: u64 = 5_000;
/// How long a kill on the server or a health check may take.
const CONTROL_MS_MAX: u64 = 2_000;

/// A client of its own, for questions that are no caller's. Opens its connections when they are first needed.
pub async fn open(settings: &MongoSettings) -> Result<Connected, ConnectError> {
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
    client: ArcSwapOption<Connected>,
    /// Held while a client is made.
    making: tokio::sync::Mutex<()>,
    watch: Arc<Watch>,
    cursors: Mutex<Cursors<Continued>>,
    /// Requests that may use the pool at once. One connection is kept free for kills and health checks.
    slots: Arc<Turns>,
    abandoned: Abandoned,
    views: views::Databases,
    transactions: Desk<OpenTransaction>,
}

impl MongoStore {
    /// Checks the settings and starts connecting in the background; the database may come later. Must be called
    /// inside a Tokio runtime.
    pub async fn connect(settings: MongoSettings) -> Result<Self, ConnectError> {
        let slots = settings.pool.max.saturating_sub(1).max(1);
        let inner = Inner {
            client: ArcSwapOption::empty(),
            making: tokio::sync::Mutex::default(),
            watch: Arc::new(Watch::default()),
            cursors: Mutex::new(Cursors::default()),
            slots: Turns::new(
                slots as usize,
                settings.pool.waiting_max,
                settings.pool.acquire_timeout_ms,
            ),
            abandoned: Abandoned::default(),
            views: Mutex::default(),
            transactions: Desk::new(Store::Mongodb, &TRANSACTIONS),
            settings,
        };
        let store = Self(Arc::new(inner));
        // `mongodb+srv` needs a name server, which may come later too: its first request resolves it.
        if !store.is_srv() {
            store.client().await?;
        }
        tokio::spawn(reap(Arc::downgrade(&store.0)));
        tokio::spawn(certificates::renew(Arc::downgrade(&store.0)));
        Ok(store)
    }

    fn is_srv(&self) -> bool {
        use secrecy::ExposeSecret;
        let uri = self.0.settings.uri.expose_secret();
        uri.starts_with("mongodb+srv://")
    }

    async fn client(&self) -> Result<Client, ConnectError> {
        if let Some(made) = self.0.client.load().as_ref() {
            return Ok(made.client.clone());
        }
        let _making = self.0.making.lock().await;
        if let Some(made) = self.0.client.load().as_ref() {
            return Ok(made.client.clone());
        }
        let made = connection::client(&self.0.settings, &self.0.watch).await?;
        let client = made.client.clone();
        self.0.client.store(Some(Arc::new(made)));
        Ok(client)
    }

    /// Connections by state; `waiting` includes the requests that wait for one here.
    pub fn gauges(&self) -> PoolGauges {
        let mut gauges = self.0.watch.gauges(self.0.settings.pool.max);
        let lines = self.0.slots.lines();
        gauges.waiting = lines.waiting as u64;
        gauges.waits_total = lines.waits_total;
        gauges.waited_us_total = lines.waited_us_total;
        gauges
    }

    /// Transactions that callers hold open.
    pub(super) fn transactions(&self) -> &Desk<OpenTransaction> {
        &self.0.transactions
    }

    /// Cursors that callers hold open.
    #[cfg(test)]
    pub(super) fn cursors_open(&self) -> usize {
        self.cursors().len()
    }

    /// See [`Stores::opened_otherwise`](crate::execute::stores::Stores::opened_otherwise).
    pub(super) fn opened_otherwise(
        &self,
        id: i64,
        caller: &Principal,
        policy: &str,
    ) -> Option<Opening> {
        let cursors = self.cursors();
        cursors.opened_otherwise(id, caller, policy).cloned()
    }

    /// Notes under which policy a cursor was judged again.
    pub(super) fn judged(&self, id: i64, opening: Opening) {
        self.cursors().judged(id, opening);
    }

    /// Closes a cursor of the caller's that no request is using.
    pub(super) async fn close_cursor(&self, id: i64, caller: &Principal) {
        let doomed = self.cursors().doom(id, &caller.key_id);
        if let Some(cursor) = doomed {
            self.kill_cursor(&cursor).await;
        }
    }

    /// Asks the server whether it serves. May be cancelled.
    pub async fn ping(&self) -> Result<(), Error> {
        self.may_serve()?;
        let client = self
            .client()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let database = client.database(&self.0.settings.database);
        let ping = database.run_command(doc! {"ping": 1});
        match timeout(Duration::from_millis(CONTROL_MS_MAX), ping).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure::from_driver(&error, CONTROL_MS_MAX)),
            Err(_) => {
                let fault = self.0.watch.fault().unwrap_or_default();
                let why = format!("no answer to ping in {CONTROL_MS_MAX} ms; {fault}");
                Err(unavailable(why.trim_end_matches("; ")))
            }
        }
    }

    /// Fails where no server serves, as far as is known.
    fn may_serve(&self) -> Result<(), Error> {
        if !self.0.watch.is_down() {
            return Ok(());
        }
        let fault = self.0.watch.fault();
        Err(unreached(fault.unwrap_or_else(|| {
            "every server's last check failed".to_owned()
        })))
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
        let _slot = self.slot(&ticket).await?;
        match &prepared.transaction {
            Some(fields) => {
                let fields = fields.clone();
                transactions::fits(&ticket.permit().operation().classification)?;
                Box::pin(run.in_transaction(prepared, &fields)).await
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
        let _slot = self.slot(&ticket).await?;
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
        self.may_serve()?;
        let run = Run {
            store: self,
            client: self
                .client()
                .await
                .map_err(|error| unreached(error.to_string()))?,
            database,
            permit,
        };
        Ok((run, prepared))
    }

    /// One of the pool's connections to use in the caller's turn, or the reason why not. May be cancelled.
    async fn slot(&self, ticket: &Ticket) -> Result<Slot, Error> {
        let slot = self.0.slots.take(&ticket.permit().caller().key_id).await;
        slot.map_err(|exhausted| Error::PoolExhausted {
            store: Store::Mongodb,
            waited_ms: exhausted.waited_ms,
        })
    }

    fn cursors(&self) -> MutexGuard<'_, Cursors<Continued>> {
        self.0.cursors.lock().unpoisoned()
    }

    /// Kills one cursor on the server, as well as it can: what remains, the server's own idle limit ends.
    async fn kill_cursor(&self, cursor: &Doomed<Continued>) {
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
