//! The sidecar's own PostgreSQL connection, apart from those that run callers' statements: API keys, audit.
//!
//! One connection, shared and pipelined. It is opened when first needed and again after it breaks, so the
//! sidecar starts without PostgreSQL and recovers by itself.

pub mod changes;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::execute::hosts::{Hosts, WRITABLE_FRESH_MS};
use crate::execute::pool::Circuit;
use crate::execute::postgres::takes_writes;
use crate::execute::settings::{SessionAttrs, SqlStoreSettings, application_name};
use crate::execute::tls;

/// How long opening the connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may acknowledge nothing of what is sent before the connection is given up: a host that vanished
/// says no goodbye.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// How long one statement of the sidecar's own may take.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server that must take writes may take to say that it still does.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// PostgreSQL cannot be used for the sidecar's own data just now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system connection is unavailable: {0}")]
pub struct Unavailable(pub String);

impl From<tokio_postgres::Error> for Unavailable {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(describe(&error))
    }
}

impl From<tokio::time::error::Elapsed> for Unavailable {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self("timed out".into())
    }
}

/// A driver error with its causes, for the operator's log.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A shared connection that reopens itself. While attempts fail they are paced, and everybody is told at once.
pub struct System {
    settings: SqlStoreSettings,
    circuit: Circuit,
    opened: Mutex<Option<Opened>>,
}

struct Opened {
    client: Arc<Client>,
    /// When its server last said that it takes writes, where it must.
    asked_at: Instant,
}

impl System {
    pub fn new(settings: SqlStoreSettings) -> Self {
        Self {
            settings,
            circuit: Circuit::default(),
            opened: Mutex::default(),
        }
    }

    /// The connection, opened if need be. Cancelling it leaves no connection behind.
    pub async fn client(&self) -> Result<Arc<Client>, Unavailable> {
        let mut opened = self.opened.lock().await;
        if let Some(known) = opened.as_mut()
            && self.is_usable(known).await
        {
            return Ok(Arc::clone(&known.client));
        }
        *opened = None;
        if let Err(cause) = self.circuit.admit(Instant::now()) {
            return Err(Unavailable(cause.to_string()));
        }
        match connect(&self.settings).await {
            Ok(client) => {
                self.circuit.record_success();
                let client = Arc::new(client);
                *opened = Some(Opened {
                    client: Arc::clone(&client),
                    asked_at: Instant::now(),
                });
                Ok(client)
            }
            Err(error) => {
                self.circuit.record_failure(Instant::now(), &error.0);
                Err(error)
            }
        }
    }

    async fn is_usable(&self, known: &mut Opened) -> bool {
        if known.client.is_closed() {
            return false;
        }
        let fresh = Duration::from_millis(WRITABLE_FRESH_MS);
        if self.settings.failover.target == SessionAttrs::Any || known.asked_at.elapsed() < fresh {
            return true;
        }
        let asked = tokio::time::timeout(ASK_TIMEOUT, takes_writes(&known.client)).await;
        known.asked_at = Instant::now();
        matches!(asked, Ok(Ok(())))
    }
}

/// Opens one connection with the system account, to the first server that may be used. Also used by the commands
/// (`keys`, `schema`, `check`).
pub async fn connect(settings: &SqlStoreSettings) -> Result<Client, Unavailable> {
    open(settings, None).await
}

/// The same, with what the server notifies. While `notify` is full, nothing is read from the connection.
async fn connect_listening(
    settings: &SqlStoreSettings,
    notify: mpsc::Sender<Notification>,
) -> Result<Client, Unavailable> {
    open(settings, Some(notify)).await
}

async fn open(
    settings: &SqlStoreSettings,
    notify: Option<mpsc::Sender<Notification>>,
) -> Result<Client, Unavailable> {
    let hosts = Hosts::new(settings, None);
    let dial = |host| {
        let address = hosts.addresses().get(host);
        let notify = notify.clone();
        async move {
            let address = address.ok_or("no such server")?;
            let client = open_at(&settings.at(address), notify).await;
            let client = client.map_err(|error| error.0)?;
            if settings.failover.target == SessionAttrs::ReadWrite {
                takes_writes(&client).await?;
            }
            Ok(client)
        }
    };
    let connected = hosts.connect(CONNECT_TIMEOUT, dial).await;
    connected.map(|(_, client)| client).map_err(Unavailable)
}

async fn open_at(
    settings: &SqlStoreSettings,
    notify: Option<mpsc::Sender<Notification>>,
) -> Result<Client, Unavailable> {
    let mut config = Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .dbname(&settings.database)
        .user(&settings.user)
        .password(settings.password.expose_secret())
        .application_name(application_name("bulkhead-system"))
        // What is given up here must not be done there later, or it would be done twice.
        .options(format!(
            "-c statement_timeout={}",
            STATEMENT_TIMEOUT.as_millis()
        ))
        .tcp_user_timeout(UNACKNOWLEDGED_MAX)
        .connect_timeout(CONNECT_TIMEOUT);
    let tls = tls::client_config(&settings.tls).map_err(|error| Unavailable(error.to_string()))?;
    let opening = async {
        match tls {
            None => {
                config.ssl_mode(tokio_postgres::config::SslMode::Disable);
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(drive(connection, notify));
                Ok(client)
            }
            Some(tls) => {
                config.ssl_mode(tokio_postgres::config::SslMode::Require);
                let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
                tokio::spawn(drive(connection, notify));
                Ok(client)
            }
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, opening).await?
}

/// The connection's own task ends when its client is dropped or the server goes away.
async fn drive<S, T>(mut connection: Connection<S, T>, notify: Option<mpsc::Sender<Notification>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match (message, &notify) {
            (Ok(AsyncMessage::Notification(notification)), Some(notify)) => {
                if notify.send(notification).await.is_err() {
                    return;
                }
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::debug!(error = describe(&error), "system connection ended");
                return;
            }
        }
    }
}
