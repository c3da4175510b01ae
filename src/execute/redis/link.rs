//! How Redis is reached, and the rate limiter's connection, which reconnects by itself and says at once when it is
//! away. (Callers' commands go over a [`Line`](super::line).)
//!
//! The driver's manager keeps trying to reconnect for ever, with backoff and jitter, and lets every command wait for
//! that. Here a watcher asks `PING` while the connection is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    PushKind, RedisError, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::execute::settings::{TlsMode, TlsSettings};
use crate::execute::tls::TlsError;

/// How long opening the connection may take, TLS and authentication included.
pub const CONNECT_MS_MAX: u64 = 2_000;
/// How long a command waits for a connection that has just gone; later ones are refused at once.
pub const RECONNECT_WAIT_MS_MAX: u64 = 500;
/// Bounds of the pause between attempts to reconnect; the driver adds jitter.
pub(super) const RECONNECT_PAUSE_MS_MIN: u64 = 20;
pub(super) const RECONNECT_PAUSE_MS_MAX: u64 = 1_000;
/// How long the watcher waits for an answer to `PING`, and between two of them.
pub(super) const PROBE_MS_MAX: u64 = 1_000;
const PROBE_PAUSE_MS: u64 = 50;
/// A command that waited so long in vain makes the watcher look whether the connection still lives.
pub(super) const SUSPECT_MS_MIN: u64 = 500;
/// How long the kernel keeps data that nobody acknowledges, before it gives the connection up.
pub(super) const UNACKNOWLEDGED_MS_MAX: u64 = 10_000;
/// Commands that may wait inside the driver to be written.
pub(super) const WRITE_QUEUE_MAX: usize = 1_024;

/// Everything that a connection to Redis needs. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://host:port/db` or `rediss://…`, or `redis+unix:///path`; credentials in it are used where the fields
    /// below are empty.
    pub url: SecretString,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub tls: TlsSettings,
    /// How long a command may take; a request may ask for less, never for more.
    pub command_timeout_ms: u64,
    /// Requests that may be under way at once; one more is refused.
    pub in_flight_max: usize,
}

impl RedisSettings {
    pub const COMMAND_TIMEOUT_MS: u64 = 5_000;
    pub const IN_FLIGHT_MAX: usize = 1_024;
}

/// Why the settings make no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the Redis url is not valid: {0}")]
    Url(RedisError),
    #[error("the Redis url asks for TLS and `tls.mode` is \"disable\": take one of them out")]
    TlsContradiction,
    #[error(
        "`tls.mode` is \"verify-full\" and the Redis url is a Unix socket: set it to \"disable\""
    )]
    TlsOnSocket,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the CA file `{path}` cannot be read: {cause}")]
    CaFile { path: String, cause: std::io::Error },
}

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// It was not sent.
    #[error("not connected")]
    NotConnected,
    /// It may have been carried out.
    #[error("connection lost: {0}")]
    Lost(RedisError),
    /// It may still be carried out.
    #[error("no reply in time")]
    Slow,
}

/// A configured client: opens connections with the sidecar's credentials.
pub fn client(settings: &RedisSettings) -> Result<Client, ConnectError> {
    let info = settings.url.expose_secret().into_connection_info();
    let info = info.map_err(ConnectError::Url)?;
    let mut redis = info
        .redis_settings()
        .clone()
        // RESP3 tells maps, sets, doubles and booleans from arrays and strings.
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name("bulkhead", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password.expose_secret());
    }
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_user_timeout(Duration::from_millis(UNACKNOWLEDGED_MS_MAX));
    let address = address(info.addr().clone(), settings.tls.mode)?;
    let encrypted = matches!(address, ConnectionAddr::TcpTls { .. });
    let info = info
        .set_addr(address)
        .set_redis_settings(redis)
        .set_tcp_settings(tcp);
    if encrypted {
        encrypted_client(info, &settings.tls)
    } else {
        Client::open(info).map_err(ConnectError::Url)
    }
}

fn address(address: ConnectionAddr, mode: TlsMode) -> Result<ConnectionAddr, ConnectError> {
    match (mode, address) {
        (
            TlsMode::VerifyFull,
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. },
        ) => Ok(ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }),
        (TlsMode::VerifyFull, _) => Err(ConnectError::TlsOnSocket),
        (TlsMode::Disable, ConnectionAddr::TcpTls { .. }) => Err(ConnectError::TlsContradiction),
        (TlsMode::Disable, address) => Ok(address),
    }
}

fn encrypted_client(info: ConnectionInfo, tls: &TlsSettings) -> Result<Client, ConnectError> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|cause| ConnectError::CaFile {
            path: path.display().to_string(),
            cause,
        })
    };
    let root_cert = tls.ca_file.as_ref().map(read).transpose()?;
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert,
    };
    Client::build_with_tls(info, certificates).map_err(ConnectError::Url)
}

/// The connection. Cheap to clone.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    manager: ConnectionManager,
    /// Whether the last thing heard was good. The watcher runs while it is false.
    up: watch::Sender<bool>,
    down_since: std::sync::Mutex<Instant>,
    watched: AtomicBool,
    /// A probe that is answered later than this finds Redis too slow to be of use.
    answers_within: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Starts connecting in the background; Redis may come later. Must be called inside a Tokio runtime.
    pub fn open(client: Client, answers_within: Duration) -> Result<Self, ConnectError> {
        let (up, _) = watch::channel(false);
        let push = up.clone();
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(usize::MAX)
            .set_min_delay(Duration::from_millis(RECONNECT_PAUSE_MS_MIN))
            .set_max_delay(Duration::from_millis(RECONNECT_PAUSE_MS_MAX))
            .set_connection_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WRITE_QUEUE_MAX)
            .set_push_sender(move |info: PushInfo| {
                if info.kind == PushKind::Disconnection {
                    push.send_replace(false);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let manager =
            ConnectionManager::new_lazy_with_config(client, config).map_err(ConnectError::Url)?;
        let link = Self(Arc::new(Inner {
            manager,
            up,
            down_since: std::sync::Mutex::new(Instant::now()),
            watched: AtomicBool::new(false),
            answers_within,
        }));
        link.watch();
        Ok(link)
    }

    /// Whether commands are answered, as far as is known.
    pub fn is_up(&self) -> bool {
        *self.0.up.borrow()
    }

    /// [`Self::is_up`], and where it is not, has the watcher look again.
    pub fn is_usable(&self) -> bool {
        let up = self.is_up();
        if !up {
            self.watch();
        }
        up
    }

    /// The manager itself, for a caller with a deadline of its own who has asked [`Self::is_up`].
    pub fn manager(&self) -> ConnectionManager {
        self.0.manager.clone()
    }

    /// Reports that a caller's own deadline has passed or its connection failed: commands are refused until the
    /// watcher has had an answer.
    pub fn suspect(&self) {
        self.0.up.send_replace(false);
        self.watch();
    }

    /// Starts the watcher, unless it runs: it asks `PING` until there is an answer in time.
    fn watch(&self) {
        if self.0.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        *self
            .0
            .down_since
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                let Some(inner) = inner.upgrade() else {
                    return;
                };
                let ping = redis::cmd("PING");
                let mut manager = inner.manager.clone();
                let asked = Instant::now();
                let answer = timeout(
                    Duration::from_millis(PROBE_MS_MAX),
                    manager.req_packed_command(&ping),
                )
                .await;
                if let Ok(Ok(value)) = answer
                    && !matches!(value, Value::ServerError(_))
                    && asked.elapsed() <= inner.answers_within
                {
                    inner.watched.store(false, Ordering::Release);
                    inner.up.send_replace(true);
                    return;
                }
                drop(inner);
                tokio::time::sleep(Duration::from_millis(PROBE_PAUSE_MS)).await;
            }
        });
    }
}
