//! Tells what changes in the system tables that sidecars hold in memory, as PostgreSQL tells it (`LISTEN`).
//!
//! A trigger on each table notifies its channel (`migrations/postgres/V2__key_changes.sql`). A connection that is lost
//! loses notifications with it, so a subscriber is also told when listening begins and ends: what it read before is to
//! be read again then. Silence is not taken for health: the connection is asked every [`PROBE_INTERVAL`], also whether
//! the triggers are still there. So listening is known to work, or to have ended, within [`PROBE_INTERVAL`] and
//! [`PROBE_TIMEOUT`] together, which is less than a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_postgres::{Client, Notification};

use super::{Unavailable, connect_listening};
use crate::execute::postgres::takes_writes;
use crate::execute::settings::{SessionAttrs, SqlStoreSettings};

/// How often the connection is asked whether it still listens.
const PROBE_INTERVAL: Duration = Duration::from_millis(400);

/// How long its answer may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Pause before a lost connection is opened again.
const RETRY_AFTER: Duration = Duration::from_millis(300);

/// Notifications that may wait for this task; beyond them the connection is read no further.
const NOTIFICATIONS_MAX: usize = 1024;

/// Changes that a subscriber may lag behind. One that lags further is told that anything may have changed.
const LAG_MAX: usize = 4096;

/// Whether this connection listens on both channels, and the triggers that speak there are on.
const PROBE: &str = "SELECT (SELECT count(*) FROM pg_catalog.pg_listening_channels() AS c
        WHERE c IN ('bulkhead_api_keys', 'bulkhead_rate_limit_overrides')) = 2
    AND (SELECT count(*) FROM pg_catalog.pg_trigger
        WHERE tgrelid IN (to_regclass('public.api_keys'), to_regclass('public.rate_limit_overrides'))
        AND tgname IN ('bulkhead_note_change', 'bulkhead_note_truncate') AND tgenabled IN ('O', 'A')) = 4";

/// A table whose changes are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    ApiKeys,
    RateLimitOverrides,
}

impl Table {
    const ALL: [Self; 2] = [Self::ApiKeys, Self::RateLimitOverrides];

    const fn channel(self) -> &'static str {
        match self {
            Self::ApiKeys => "bulkhead_api_keys",
            Self::RateLimitOverrides => "bulkhead_rate_limit_overrides",
        }
    }
}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// From now on every change is told. What was read before may be old.
    Connected,
    /// Changes are not told any more: whoever needs them must ask, until [`Change::Connected`].
    Lost,
    /// This row came, changed or went; `None`: any row may have.
    Row { table: Table, id: Option<Arc<str>> },
}

/// The source of changes, shared by those who need them.
pub struct Changes {
    settings: SqlStoreSettings,
    events: broadcast::Sender<Change>,
    connected: Arc<AtomicBool>,
}

/// One subscriber's end.
pub struct Subscription {
    events: broadcast::Receiver<Change>,
    connected: Arc<AtomicBool>,
    told_state: bool,
}

impl Changes {
    /// Nothing is connected until [`Changes::run`] is polled.
    pub fn new(settings: SqlStoreSettings) -> Self {
        Self {
            settings,
            events: broadcast::channel(LAG_MAX).0,
            connected: Arc::default(),
        }
    }

    pub fn subscribe(&self) -> Subscription {
        Subscription {
            events: self.events.subscribe(),
            connected: Arc::clone(&self.connected),
            told_state: false,
        }
    }

    /// Listens for as long as it is polled, and connects again whenever the connection is lost.
    pub async fn run(&self) {
        let mut last = None;
        loop {
            let error = self.listen().await;
            if self.connected.swap(false, Ordering::AcqRel) {
                let _ = self.events.send(Change::Lost);
                last = None;
            }
            // An outage is one line, not one for each attempt.
            if last.as_ref() != Some(&error) {
                tracing::warn!(%error, "changes of keys and limits are polled: postgres does not tell them");
                last = Some(error);
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Returns why listening ended, or could not begin.
    async fn listen(&self) -> Unavailable {
        match self.try_listen().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn try_listen(&self) -> Result<std::convert::Infallible, Unavailable> {
        let (notify, mut notifications) = mpsc::channel(NOTIFICATIONS_MAX);
        let client = connect_listening(&self.settings, notify).await?;
        for table in Table::ALL {
            let listen = format!("LISTEN {}", table.channel());
            tokio::time::timeout(PROBE_TIMEOUT, client.batch_execute(&listen)).await??;
        }
        self.probe(&client).await?;
        self.connected.store(true, Ordering::Release);
        let _ = self.events.send(Change::Connected);
        tracing::info!("postgres tells changes of keys and limits");
        let mut next_probe = tokio::time::Instant::now() + PROBE_INTERVAL;
        loop {
            tokio::select! {
                notification = notifications.recv() => match notification {
                    Some(notification) => self.tell(&notification),
                    None => return Err(Unavailable("the connection ended".into())),
                },
                () = tokio::time::sleep_until(next_probe) => {
                    self.probe_and_tell(&client, &mut notifications).await?;
                    next_probe = tokio::time::Instant::now() + PROBE_INTERVAL;
                }
            }
        }
    }

    /// Goes on telling while the probe's answer is awaited.
    async fn probe_and_tell(
        &self,
        client: &Client,
        notifications: &mut mpsc::Receiver<Notification>,
    ) -> Result<(), Unavailable> {
        let mut asked = std::pin::pin!(self.probe(client));
        loop {
            tokio::select! {
                answer = &mut asked => return answer,
                Some(notification) = notifications.recv() => self.tell(&notification),
            }
        }
    }

    /// Fails where changes are told no more: nobody writes to a server that has stopped being the primary.
    async fn probe(&self, client: &Client) -> Result<(), Unavailable> {
        let asking = async {
            if self.settings.failover.target == SessionAttrs::ReadWrite {
                takes_writes(client).await.map_err(Unavailable)?;
            }
            probe(client).await
        };
        tokio::time::timeout(PROBE_TIMEOUT, asking).await?
    }

    fn tell(&self, notification: &Notification) {
        let channel = notification.channel();
        let table = Table::ALL
            .into_iter()
            .find(|table| table.channel() == channel);
        if let Some(table) = table {
            let id = Some(notification.payload()).filter(|id| !id.is_empty());
            let id = id.map(Arc::from);
            let _ = self.events.send(Change::Row { table, id });
        }
    }
}

impl Subscription {
    /// The next change; the first says whether changes are told at all. May be cancelled, and nothing is lost.
    pub async fn next(&mut self) -> Change {
        if std::mem::replace(&mut self.told_state, true) {
            match self.events.recv().await {
                Ok(change) => return change,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                // Nobody listens any more; the source is gone with the sidecar.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
        if self.connected.load(Ordering::Acquire) {
            Change::Connected
        } else {
            Change::Lost
        }
    }
}

async fn probe(client: &Client) -> Result<(), Unavailable> {
    let rows = client.query_typed(PROBE, &[]).await?;
    let listens = rows.first().map(|row| row.try_get(0)).transpose()?;
    if listens == Some(true) {
        return Ok(());
    }
    Err(Unavailable(
        "the system tables lack the triggers that tell changes: run `bulkhead schema apply`".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_is_told_the_state_first_and_again_when_it_lags() {
        let (sender, events) = broadcast::channel(2);
        let mut subscription = Subscription {
            events,
            connected: Arc::default(),
            told_state: false,
        };
        assert_eq!(subscription.next().await, Change::Lost);
        subscription.connected.store(true, Ordering::Release);
        let row = |id: &str| Change::Row {
            table: Table::ApiKeys,
            id: Some(Arc::from(id)),
        };
        for id in ["a", "b", "c"] {
            let _ = sender.send(row(id));
        }
        // It has missed the first, so all that it knows may be old.
        assert_eq!(subscription.next().await, Change::Connected);
        assert_eq!(subscription.next().await, row("b"));
    }
}
