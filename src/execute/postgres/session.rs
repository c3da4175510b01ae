//! One connection to PostgreSQL: how it is opened, pinned, cancelled and closed.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::{CancelToken, Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::describe;
use super::statements::Statements;
use crate::execute::pool::{Connector, Link};
use crate::execute::settings::SqlStoreSettings;
use crate::execute::tls::{Files, Renewed, TlsError};

/// How long one TCP connection may take; the pool bounds the whole of connecting.
const TCP_CONNECT_TIMEOUT_MS: u64 = 3_000;
/// A server that vanished without a word is noticed after so long.
const TCP_KEEPALIVE_IDLE_MS: u64 = 30_000;
const TCP_UNACKNOWLEDGED_MS: u64 = 30_000;
/// How many cancel requests may be under way; beyond it a connection is closed without one, and the server's
/// own `statement_timeout` ends the statement.
const CANCELS_MAX: usize = 16;
/// How long a cancelled statement may take to end before its connection is cut.
const CANCEL_TIMEOUT_MS: u64 = 5_000;
/// The server's time-out comes so much later than ours, which tells the caller more.
const SERVER_TIMEOUT_SLACK_MS: u64 = 2_000;
/// A transaction that stands idle so long is ended by the server: a net, since Bulkhead never waits in one.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u64 = 10_000;

/// Opens connections. Cheap to share.
pub(super) struct Opener {
    config: Config,
    tls: Option<Renewed<MakeRustlsConnect>>,
    /// The statements that pin a session.
    pins: String,
    cancels: Arc<Semaphore>,
}

impl Opener {
    pub(super) fn new(settings: &SqlStoreSettings, schema: &str) -> Result<Self, TlsError> {
        let connect = |files: &Files| Ok(MakeRustlsConnect::new(files.config().clone()));
        let tls = Renewed::new(&settings.tls, connect)?;
        let mut config = Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .dbname(&settings.database)
            .user(&settings.user)
            .password(settings.password.expose_secret())
            .application_name("bulkhead")
            .connect_timeout(Duration::from_millis(TCP_CONNECT_TIMEOUT_MS))
            .keepalives_idle(Duration::from_millis(TCP_KEEPALIVE_IDLE_MS))
            .tcp_user_timeout(Duration::from_millis(TCP_UNACKNOWLEDGED_MS))
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            });
        Ok(Self {
            config,
            tls,
            pins: pins(schema, settings.statement_timeout_ms),
            cancels: Arc::new(Semaphore::new(CANCELS_MAX)),
        })
    }

    /// Connects and spawns the task that moves the connection's bytes.
    async fn open(
        &self,
        tls: Option<MakeRustlsConnect>,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        // The driver's connection ends with an error that the client's next use reports; the task drops it.
        match tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await?;
                let task = tokio::spawn(async {
                    let _ = connection.await;
                });
                Ok((client, task))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                let task = tokio::spawn(async {
                    let _ = connection.await;
                });
                Ok((client, task))
            }
        }
    }
}

impl Connector for Opener {
    type Link = Session;

    async fn connect(&self) -> Result<Session, String> {
        let tls = self.tls.as_ref().map(Renewed::get);
        let opening = self.open(tls.clone()).await;
        let (client, task) = opening.map_err(|error| describe(&error))?;
        let session = Session {
            canceller: Canceller {
                token: client.cancel_token(),
                tls,
                slots: Arc::clone(&self.cancels),
            },
            client: Some(client),
            task: Some(task),
            statements: Statements::new(),
            busy: false,
        };
        session
            .client()
            .ok_or("the connection closed")?
            .batch_execute(&self.pins)
            .await
            .map_err(|error| format!("cannot pin the session: {}", describe(&error)))?;
        Ok(session)
    }
}

/// The session state that every statement was classified under. A read runs as its own transaction, which
/// the session makes read-only: a statement that was taken for a read cannot write, and a change whose
/// `BEGIN READ WRITE` failed cannot slip out without its audit row.
fn pins(schema: &str, statement_timeout_ms: u64) -> String {
    let schema = schema.replace('"', "\"\"");
    let statement_timeout_ms = statement_timeout_ms.saturating_add(SERVER_TIMEOUT_SLACK_MS);
    format!(
        "SET search_path = \"{schema}\", pg_temp; \
         SET default_transaction_read_only = on; \
         SET default_transaction_isolation = 'read committed'; \
         SET default_transaction_deferrable = off; \
         SET standard_conforming_strings = on; \
         SET backslash_quote = safe_encoding; \
         SET transform_null_equals = off; \
         SET row_security = on; \
         SET client_encoding = 'UTF8'; \
         SET timezone = 'UTC'; \
         SET datestyle = 'ISO, YMD'; \
         SET intervalstyle = 'iso_8601'; \
         SET bytea_output = 'hex'; \
         SET xmloption = content; \
         SET lc_monetary = 'C'; \
         SET statement_timeout = {statement_timeout_ms}; \
         SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_TIMEOUT_MS}"
    )
}

/// Undoes whatever a statement may have left behind in its session. One round trip, followed by the pins.
const RESET: &str = "CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); \
                     DISCARD TEMP; DISCARD SEQUENCES; RESET SESSION AUTHORIZATION; RESET ALL; ";

/// One connection.
pub(super) struct Session {
    /// Taken when the session is dropped, and only then.
    client: Option<Client>,
    task: Option<JoinHandle<()>>,
    canceller: Canceller,
    pub(super) statements: Statements,
    busy: bool,
}

impl Session {
    /// `None` never comes while the session is in use.
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// From here until [`Session::set_clean`] the connection cannot be handed to anybody else.
    pub(super) fn set_busy(&mut self) {
        self.busy = true;
    }

    /// The last statement was read to its end, and no transaction is open.
    pub(super) fn set_clean(&mut self) {
        self.busy = false;
    }

    /// Pins the session anew after a statement that may have changed it (DDL, a function of the policy's).
    pub(super) async fn reset(&mut self, pins: &str) -> Result<(), tokio_postgres::Error> {
        if let Some(client) = self.client.as_ref() {
            client.batch_execute(&format!("{RESET}{pins}")).await?;
            client.clear_type_cache();
        }
        Ok(())
    }
}

impl Opener {
    pub(super) fn pins(&self) -> &str {
        &self.pins
    }
}

impl Link for Session {
    fn is_clean(&self) -> bool {
        !self.busy
            && self
                .client
                .as_ref()
                .is_some_and(|client| !client.is_closed())
    }

    /// The connection's task sees the server's end-of-file at once, so no round trip is needed.
    async fn check(&mut self) -> Result<(), String> {
        if self.is_clean() {
            Ok(())
        } else {
            Err("the server closed the connection".to_owned())
        }
    }
}

impl Drop for Session {
    /// A busy session is cancelled on the server, in the background; then its socket is cut, whatever the
    /// server does.
    fn drop(&mut self) {
        let (Some(client), Some(task)) = (self.client.take(), self.task.take()) else {
            return;
        };
        if !self.busy {
            // The task ends by itself: it says goodbye to the server first.
            return;
        }
        // Before the prepared statements are: with the client alive, each would ask the server to close it.
        drop(client);
        let slot = Arc::clone(&self.canceller.slots).try_acquire_owned();
        match (slot, tokio::runtime::Handle::try_current()) {
            (Ok(slot), Ok(runtime)) => {
                let canceller = self.canceller.clone();
                runtime.spawn(async move {
                    canceller.cancel(task).await;
                    drop(slot);
                });
            }
            _ => task.abort(),
        }
    }
}

/// What it takes to cancel a session's statement.
#[derive(Clone)]
struct Canceller {
    token: CancelToken,
    tls: Option<MakeRustlsConnect>,
    slots: Arc<Semaphore>,
}

impl Canceller {
    /// Asks the server to cancel, waits for the connection to end, and cuts it when it does not.
    async fn cancel(self, mut task: JoinHandle<()>) {
        let cancelled = async {
            let asked = match self.tls {
                Some(tls) => self.token.cancel_query(tls).await,
                None => self.token.cancel_query(NoTls).await,
            };
            if let Err(error) = asked {
                tracing::warn!(cause = describe(&error), "cannot cancel a statement");
            }
            let _ = (&mut task).await;
        };
        let patience = Duration::from_millis(CANCEL_TIMEOUT_MS);
        if tokio::time::timeout(patience, cancelled).await.is_err() {
            task.abort();
        }
    }
}
