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

use crate::execute::settings::SqlStoreSettings;
use crate::execute::tls;

/// How long opening the connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one statement of the sidecar's own may take.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a failed attempt is remembered, so that an outage does not cost every caller a connect time-out.
const RETRY_AFTER: Duration = Duration::from_millis(200);

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

/// A shared connection that reopens itself.
pub struct System {
    settings: SqlStoreSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Arc<Client>>,
    failure: Option<(Instant, Unavailable)>,
}

impl System {
    pub fn new(settings: SqlStoreSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// The connection, opened if need be. Cancelling it leaves no connection behind.
    pub async fn client(&self) -> Result<Arc<Client>, Unavailable> {
        let mut state = self.state.lock().await;
        if let Some(client) = state.client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        if let Some((at, error)) = &state.failure
            && at.elapsed() < RETRY_AFTER
        {
            return Err(error.clone());
        }
        match connect(&self.settings).await {
            Ok(client) => {
                let client = Arc::new(client);
                state.client = Some(Arc::clone(&client));
                state.failure = None;
                Ok(client)
            }
            Err(error) => {
                state.client = None;
                state.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// Opens one connection with the system account. Also used by the commands (`keys`, `schema`, `check`).
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
    let mut config = Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .dbname(&settings.database)
        .user(&settings.user)
        .password(settings.password.expose_secret())
        .application_name("bulkhead-system")
        // What is given up here must not be done there later, or it would be done twice.
        .options(format!(
            "-c statement_timeout={}",
            STATEMENT_TIMEOUT.as_millis()
        ))
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
