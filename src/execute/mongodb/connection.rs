//! The driver's client: how it is configured, and what its events tell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{ClientOptions, Tls, TlsOptions};
use mongodb::{Client, ServerType};
use secrecy::{ExposeSecret, SecretString};

use super::certificates::OpenFiles;
use crate::execute::settings::{PoolSettings, TlsSettings};
use crate::execute::tls::{Files, TlsError};
use crate::lock::Unpoisoned as _;

/// How long a request waits for a server that can serve it, an election included. A server that is known to be
/// down is not waited for at all ([`Watch::is_down`]).
pub const SERVER_SELECTION_MS_MAX: u64 = 2_000;
/// How long opening one connection may take, TLS and authentication included.
pub const CONNECT_MS_MAX: u64 = 2_000;
/// How often a server is asked how it is: the longest time for which one that has come back goes unnoticed.
const HEARTBEAT_MS: u64 = 1_000;
/// Name under which the server's log and `currentOp` know the sidecar.
const APP_NAME: &str = "bulkhead";

/// Everything that the MongoDB store needs. `Debug` shows neither uri nor password.
#[derive(Debug, Clone)]
pub struct MongoSettings {
    /// `mongodb://` or `mongodb+srv://`; it may name the user and, less well kept, hold the password.
    pub uri: SecretString,
    /// Replaces the password in the uri.
    pub password: Option<SecretString>,
    /// The database of a request that names none, and of health checks.
    pub database: String,
    pub tls: TlsSettings,
    pub pool: PoolSettings,
    /// How long the server may work on a command; a request may ask for less, never for more.
    pub statement_timeout_ms: u64,
}

impl MongoSettings {
    /// The pattern's figures.
    pub const POOL: PoolSettings = PoolSettings {
        min: 2,
        max: 10,
        acquire_timeout_ms: 5_000,
        waiting_max: 1_024,
        max_lifetime_s: 1_800,
    };
}

/// Why the settings make no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the MongoDB uri is not valid: {0}")]
    Uri(String),
    #[error("the MongoDB uri asks for TLS and `tls.mode` is \"disable\": take one of them out")]
    TlsContradiction,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the certificates cannot be handed to the driver: {0}")]
    HandOver(std::io::Error),
}

/// The pool's connections, as its events count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolGauges {
    pub size: u64,
    pub in_use: u64,
    pub idle: u64,
    pub waiting: u64,
    pub max: u64,
    /// How many requests had to wait for a connection, since the start.
    pub waits_total: u64,
    /// How long they waited altogether, in microseconds.
    pub waited_us_total: u64,
}

/// What the driver's events have told so far.
#[derive(Debug, Default)]
pub struct Watch {
    size: AtomicI64,
    in_use: AtomicI64,
    down: AtomicBool,
    /// Each server whose last check failed, and why.
    faults: Mutex<BTreeMap<String, String>>,
}

impl Watch {
    /// Whether every server's last check failed. False until the first check has ended.
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Why servers' last checks failed; `None` where none did. For the operator's log.
    pub fn fault(&self) -> Option<String> {
        let faults = self.faults.lock().unpoisoned();
        let faults = faults.iter().map(|(at, why)| format!("{at}: {why}"));
        let faults: Vec<_> = faults.collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// Connections by state. Who waits inside the driver is not counted: it does not tell when a request that waits is
    /// dropped, and the store lets no more in than there are connections.
    pub fn gauges(&self, max: u32) -> PoolGauges {
        let read = |gauge: &AtomicI64| u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0);
        let (size, in_use) = (read(&self.size), read(&self.in_use));
        PoolGauges {
            size,
            in_use,
            idle: size.saturating_sub(in_use),
            waiting: 0,
            max: u64::from(max),
            ..PoolGauges::default()
        }
    }

    fn pool_event(&self, event: &CmapEvent) {
        let change = |gauge: &AtomicI64, by: i64| {
            gauge.fetch_add(by, Ordering::Relaxed);
        };
        if matches!(event, CmapEvent::ConnectionCreated(_)) {
            change(&self.size, 1);
        } else if matches!(event, CmapEvent::ConnectionClosed(_)) {
            change(&self.size, -1);
        } else if matches!(event, CmapEvent::ConnectionCheckedOut(_)) {
            change(&self.in_use, 1);
        } else if matches!(event, CmapEvent::ConnectionCheckedIn(_)) {
            change(&self.in_use, -1);
        }
    }

    /// A server becomes unknown by a failed check or by an operation's network error; only the failed check says
    /// that it is down, since after the error the driver checks at once and a request may as well wait for that.
    fn topology_event(&self, event: &SdamEvent) {
        let mut faults = self.faults.lock().unpoisoned();
        if let SdamEvent::ServerHeartbeatFailed(failed) = event {
            let why = failed.failure.kind.to_string();
            faults.insert(failed.server_address.to_string(), why);
        } else if let SdamEvent::ServerHeartbeatSucceeded(succeeded) = event {
            faults.remove(&succeeded.server_address.to_string());
            self.down.store(false, Ordering::Relaxed);
        } else if let SdamEvent::ServerClosed(closed) = event {
            faults.remove(&closed.address.to_string());
        } else if let SdamEvent::TopologyDescriptionChanged(change) = event {
            let mut servers = change.new_description.servers().into_values();
            let known = servers.any(|server| server.server_type() != ServerType::Unknown);
            self.down
                .store(!known && !faults.is_empty(), Ordering::Relaxed);
        }
    }
}

/// The driver's client, and the certificates that it reads again for every server that it comes to know.
#[derive(Debug, Clone)]
pub struct Connected {
    pub client: Client,
    _files: Option<Arc<OpenFiles>>,
}

/// Makes the client. A plain `mongodb://` uri touches no network here; `mongodb+srv://` asks the name server.
pub async fn client(
    settings: &MongoSettings,
    watch: &Arc<Watch>,
) -> Result<Connected, ConnectError> {
    let mut options = ClientOptions::parse(settings.uri.expose_secret())
        .await
        .map_err(|error| ConnectError::Uri(error.to_string()))?;
    let files = Files::read(&settings.tls)?;
    let files = files.as_ref().map(OpenFiles::new).transpose();
    let files = files.map_err(ConnectError::HandOver)?.map(Arc::new);
    options.tls = Some(tls(files.as_deref(), options.tls.take())?);
    if files.is_none() {
        keep_to_one_server(&mut options);
    }
    if let (Some(password), Some(credential)) = (&settings.password, &mut options.credential) {
        credential.password = Some(password.expose_secret().to_owned());
    }
    options.app_name = Some(APP_NAME.to_owned());
    options.min_pool_size = Some(settings.pool.min);
    options.max_pool_size = Some(settings.pool.max);
    options.max_idle_time = Some(Duration::from_secs(settings.pool.max_lifetime_s));
    options.connect_timeout = Some(Duration::from_millis(CONNECT_MS_MAX));
    options.server_selection_timeout = Some(Duration::from_millis(SERVER_SELECTION_MS_MAX));
    options.heartbeat_freq = Some(Duration::from_millis(HEARTBEAT_MS));
    // A command runs once: the sidecar retries nothing that may have been carried out.
    options.retry_reads = Some(false);
    options.retry_writes = Some(false);
    let pool_watch = Arc::clone(watch);
    options.cmap_event_handler = Some(EventHandler::callback(move |event: CmapEvent| {
        pool_watch.pool_event(&event);
    }));
    let topology_watch = Arc::clone(watch);
    options.sdam_event_handler = Some(EventHandler::callback(move |event: SdamEvent| {
        topology_watch.topology_event(&event);
    }));
    let client = Client::with_options(options);
    let client = client.map_err(|error| ConnectError::Uri(error.to_string()))?;
    Ok(Connected {
        client,
        _files: files,
    })
}

/// `verify-full` overrides whatever the uri says, so that no option in it can switch the verification off.
fn tls(files: Option<&OpenFiles>, from_uri: Option<Tls>) -> Result<Tls, ConnectError> {
    match (files, from_uri) {
        (Some(files), _) => {
            let mut options = TlsOptions::default();
            options.ca_file_path = Some(files.ca_path());
            options.cert_key_file_path = files.identity_path();
            Ok(Tls::Enabled(options))
        }
        (None, Some(Tls::Enabled(_))) => Err(ConnectError::TlsContradiction),
        (None, Some(Tls::Disabled) | None) => Ok(Tls::Disabled),
    }
}

/// Without TLS, a server on this machine must not send us to members of its replica set elsewhere. (Whoever accepts
/// plaintext over the network names several hosts or a replica set.)
fn keep_to_one_server(options: &mut ClientOptions) {
    let is_one = matches!(options.hosts.as_slice(), [_]);
    let unsaid = options.direct_connection.is_none() && options.repl_set_name.is_none();
    if is_one && unsaid && options.load_balanced != Some(true) {
        options.direct_connection = Some(true);
    }
}
