//! One connection to PostgreSQL: how it is opened, pinned, cancelled and closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::fault::describe;
use super::statements::Statements;
use crate::execute::gather::gathered;
use crate::execute::hosts::{Hosts, Seat, Verdict};
use crate::execute::pool::{Connector, Link};
use crate::execute::settings::{Address, SqlStoreSettings, application_name};
use crate::execute::tls::{Files, Renewed, TlsError};
use crate::operation::Store;

/// How long one TCP connection may take, and connecting as a whole where there are several servers to try.
const TCP_CONNECT_TIMEOUT_MS: u64 = 3_000;
const CONNECT_TIMEOUT_MS: u64 = 4_500;
/// How long a server may take to say whether it takes writes.
const ASK_TIMEOUT_MS: u64 = 1_000;
const IS_READ_ONLY: &str = "SELECT pg_catalog.pg_is_in_recovery() OR s.reset_val = 'on' \
                            FROM pg_catalog.pg_settings AS s \
                            WHERE s.name = 'default_transaction_read_only'";
/// A server that vanished without a word is noticed after so long.
const TCP_KEEPALIVE_IDLE_MS: u64 = 30_000;
const TCP_UNACKNOWLEDGED_MS: u64 = 30_000;
/// A connection that has sent a larger message is not used again.
const CARRIED_BYTES_MAX: usize = 4 << 20;
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
    /// Without a server.
    config: Config,
    hosts: Arc<Hosts>,
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
            .dbname(&settings.database)
            .user(&settings.user)
            .password(settings.password.expose_secret())
            .application_name(application_name("bulkhead"))
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
            hosts: Arc::new(Hosts::new(settings, Some(Store::Postgres))),
            tls,
            pins: pins(schema, settings.statement_timeout_ms),
            cancels: Arc::new(Semaphore::new(CANCELS_MAX)),
        })
    }

    /// Connects to a server that may be used.
    async fn open_at(
        &self,
        host: usize,
        tls: Option<MakeRustlsConnect>,
    ) -> Result<(Client, JoinHandle<()>), String> {
        let address = self.hosts.addresses().get(host).ok_or("no such server")?;
        let opened = self.open(address, tls).await;
        let (client, task) = opened.map_err(|error| describe(&error))?;
        if self.hosts.wants_writes() {
            takes_writes(&client).await?;
        }
        Ok((client, task))
    }

    /// Connects and spawns the task that moves the connection's bytes.
    async fn open(
        &self,
        address: &Address,
        tls: Option<MakeRustlsConnect>,
    ) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.host(&address.host).port(address.port);
        // The driver's connection ends with an error that the client's next use reports; the task drops it.
        match tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                let task = tokio::spawn(async {
                    let _ = gathered(connection).await;
                });
                Ok((client, task))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                let task = tokio::spawn(async {
                    let _ = gathered(connection).await;
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
        let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
        let opened = self
            .hosts
            .connect(patience, |host| self.open_at(host, tls.clone()))
            .await;
        let (seat, (client, task)) = opened?;
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
            worn: false,
            hosts: Arc::clone(&self.hosts),
            seat,
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

/// Undoes whatever a statement may have left behind in its session. One round trip, followed by the pins. Statements
/// that a function has prepared are merely counted: `DEALLOCATE ALL` would take ours with them.
const RESET: &str = "CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); \
                     DISCARD TEMP; DISCARD SEQUENCES; RESET SESSION AUTHORIZATION; RESET ALL; \
                     SELECT pg_catalog.count(*) AS statements_left \
                     FROM pg_catalog.pg_prepared_statements WHERE from_sql; ";

/// One connection.
pub(super) struct Session {
    /// Taken when the session is dropped, and only then.
    client: Option<Client>,
    task: Option<JoinHandle<()>>,
    canceller: Canceller,
    pub(super) statements: Statements,
    busy: bool,
    /// It has carried something large, and the driver keeps the memory for that: it is closed, not handed on.
    worn: bool,
    hosts: Arc<Hosts>,
    seat: Seat,
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

    /// Notes how much a statement sends, in bytes.
    pub(super) fn carries(&mut self, bytes: usize) {
        self.worn |= bytes > CARRIED_BYTES_MAX;
    }

    /// The last statement was read to its end, and no transaction is open.
    pub(super) fn set_clean(&mut self) {
        self.busy = false;
    }

    /// Pins the session anew after a statement that may have changed it (DDL, a function of the policy's). False where
    /// something is left that only closing the connection removes.
    pub(super) async fn reset(&mut self, pins: &str) -> Result<bool, tokio_postgres::Error> {
        let Some(client) = self.client.as_ref() else {
            return Ok(false);
        };
        let answers = client.simple_query(&format!("{RESET}{pins}")).await?;
        client.clear_type_cache();
        Ok(answers.iter().any(has_no_statements_left))
    }
}

fn has_no_statements_left(answer: &SimpleQueryMessage) -> bool {
    let SimpleQueryMessage::Row(row) = answer else {
        return false;
    };
    row.try_get("statements_left").is_ok_and(|n| n == Some("0"))
}

impl Opener {
    pub(super) fn pins(&self) -> &str {
        &self.pins
    }
}

impl Link for Session {
    fn is_clean(&self) -> bool {
        !self.busy
            && !self.worn
            && self
                .client
                .as_ref()
                .is_some_and(|client| !client.is_closed())
    }

    /// The connection's task sees the server's end-of-file at once, so no round trip is needed; but a server that must
    /// take writes is asked, now and then, whether it still does.
    async fn check(&mut self) -> Result<(), String> {
        let Some(client) = self.client.as_ref().filter(|_| self.is_clean()) else {
            return Err("the server closed the connection".to_owned());
        };
        match self.hosts.check(self.seat, Instant::now()) {
            Verdict::Use => Ok(()),
            Verdict::Leave => Err("another server is used now".to_owned()),
            Verdict::Ask => {
                // A question that is cut short must not leave its answer for the next statement to read.
                self.busy = true;
                let patience = Duration::from_millis(ASK_TIMEOUT_MS);
                let asked = tokio::time::timeout(patience, takes_writes(client)).await;
                asked.map_err(|_| "no answer in time".to_owned())??;
                self.seat.takes_writes(Instant::now());
                self.set_clean();
                Ok(())
            }
        }
    }
}

/// Fails where the server is a standby, or its own setting keeps new sessions from writing (ours are pinned).
pub(crate) async fn takes_writes(client: &Client) -> Result<(), String> {
    let answers = client.simple_query(IS_READ_ONLY).await;
    let answers = answers.map_err(|error| describe(&error))?;
    let takes_writes = answers
        .iter()
        .any(|answer| matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some("f")));
    takes_writes
        .then_some(())
        .ok_or_else(|| "the server takes no writes".to_owned())
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
                tracing::warn!(
                    store = "postgres",
                    cause = describe(&error),
                    "cannot cancel a statement"
                );
            }
            let _ = (&mut task).await;
        };
        let patience = Duration::from_millis(CANCEL_TIMEOUT_MS);
        if tokio::time::timeout(patience, cancelled).await.is_err() {
            task.abort();
        }
    }
}
