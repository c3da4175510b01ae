//! File and environment → typed configuration, every fault reported at once.
//!
//! Each key has a default that suits a laptop. The pattern's variables (`POSTGRES_HOST`, `MYSQL_USER`,
//! `MONGODB_URI`, `REDIS_URL`, …) override the file, and configure a store the file does not name.

mod audit;
mod auth;
pub mod change;
pub(crate) mod reach;
mod reader;
mod stores;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::execute::mongodb::MongoSettings;
use crate::execute::redis::RedisSettings;
use crate::execute::settings::SqlStoreSettings;
pub use audit::Audit;
pub use auth::Auth;
pub use reader::{Environment, Fault};
use reader::{Reader, Section};
pub use tls::{ClientAuth, ListenerTls};

/// How large the record of requests grows where nothing is said.
const RECORD_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    /// The policy: one file, or a directory of them.
    pub policy: PathBuf,
    pub native_grants: NativeGrants,
    /// Where allowed and refused requests are written for `policy diff --replay`; `None`: nowhere.
    pub record: Option<Recording>,
    pub auth: Auth,
    pub audit: Audit,
    /// The sidecar's own PostgreSQL connection: keys, audit, overrides.
    pub system: SqlStoreSettings,
    pub stores: Stores,
    pub log: Log,
}

/// The data listener and what it bounds.
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    pub tls: Option<ListenerTls>,
    /// Threads that serve; see [`threads_by_default`].
    pub threads: usize,
    pub body_bytes_max: usize,
    /// Bytes of a reply that is not streamed.
    pub reply_bytes_max: usize,
    /// Bytes of all requests' bodies and buffered replies together.
    pub memory_bytes_max: usize,
    /// Rows of a reply that is not streamed, unless the request asks for fewer.
    pub rows_max: u64,
    pub connections_max: usize,
    /// Connections from one address; an IPv6 network counts as one.
    pub connections_per_peer_max: usize,
    /// How long a client may take to send a request's headers, and then its body, and may ask and take nothing.
    pub receive_timeout_ms: u64,
    /// How long a client may take nothing of what is sent to it.
    pub send_timeout_ms: u64,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain_grace_ms: u64,
    /// How long after SIGTERM new work is still done, so that whoever sends it can learn to send it elsewhere.
    pub drain_delay_ms: u64,
    /// Whether another sidecar may listen on the same port, as in a rolling restart.
    pub reuse_port: bool,
}

/// The admin listener: metrics and health.
#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: SocketAddr,
    pub tls: Option<ListenerTls>,
    pub reuse_port: bool,
}

/// What becomes of a store whose own grants are not the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeGrants {
    /// Nobody looks.
    Off,
    /// It is said in the log, in health (`warning`) and in metrics.
    Warn,
    /// And nothing is sent to the store until it is clean; until then `/health` and `/readyz` are 503.
    Require,
}

/// The record of requests.
#[derive(Debug, Clone)]
pub struct Recording {
    pub path: PathBuf,
    /// The file is renamed to `PATH.1` when it is so large; there are never more than these two.
    pub bytes_max: u64,
}

/// A store without a section is not configured.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    pub postgres: Option<SqlStoreSettings>,
    pub mysql: Option<SqlStoreSettings>,
    pub mongodb: Option<MongoSettings>,
    pub redis: Option<RedisSettings>,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `tracing` filter, such as `info` or `bulkhead=debug`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

/// Every fault of a configuration, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

impl Config {
    /// Reads `path` and the process's environment.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Faults(vec![Fault {
                place: path.display().to_string(),
                message: format!("cannot be read: {error}"),
                at: 0,
            }])
        })?;
        Self::parse(path, &text, &|name| std::env::var(name).ok())
    }

    /// `path` names the file in faults and anchors relative paths.
    pub fn parse(path: &Path, text: &str, environment: Environment<'_>) -> Result<Self, Faults> {
        let mut reader = Reader::new(path, text, environment);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            reader.fault(error.span().unwrap_or_default(), error.message());
        }
        let mut root = reader.root(&table);
        let server = server(&mut reader, &mut root);
        let admin = admin(&mut reader, &mut root);
        let (policy, native_grants, record) = policy(&mut reader, &mut root);
        let (stores, system) = stores::read(&mut reader, &mut root);
        let clients = server.tls.as_ref().map(|tls| &tls.clients);
        let asks_clients = clients.is_some_and(|clients| *clients != ClientAuth::Off);
        let auth = auth::read(&mut reader, &mut root, asks_clients, stores.redis.is_some());
        let audit = audit::read(&mut reader, &mut root);
        let log = log(&mut reader, &mut root);
        reader.finish(root);
        match (policy, system) {
            (Some(policy), Some(system)) if reader.faults.is_empty() => Ok(Self {
                server,
                admin,
                policy,
                native_grants,
                record,
                auth,
                audit,
                system,
                stores,
                log,
            }),
            _ => {
                let mut faults = reader.faults;
                faults.sort_by_key(|fault| fault.at);
                Err(Faults(faults))
            }
        }
    }
}

/// Half of the processors that the process may use, 1 to 4: the application beside it wants the others, and on few
/// processors a second thread costs more in wake-ups than it serves (see `benches/README.md`).
fn threads_by_default() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors as u64 / 2).clamp(1, 4)
}

fn server(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Server {
    let mut section = reader.section(root, "server");
    let tls = tls::listener(reader, &mut section);
    let listen = listen(reader, &mut section, 8080);
    let connections_max = reader.integer(&mut section, "connections_max", 1..=1 << 20, 4096);
    let per_peer = connections_per_peer_default(&listen, connections_max);
    let server = Server {
        listen,
        tls,
        threads: reader.integer(&mut section, "threads", 1..=256, threads_by_default()) as usize,
        body_bytes_max: reader.integer(&mut section, "body_bytes_max", 1024..=1 << 30, 64 << 20)
            as usize,
        reply_bytes_max: reader.integer(&mut section, "reply_bytes_max", 1024..=1 << 32, 64 << 20)
            as usize,
        memory_bytes_max: reader.integer(
            &mut section,
            "memory_bytes_max",
            1024..=1 << 40,
            512 << 20,
        ) as usize,
        rows_max: reader.integer(&mut section, "rows_max", 1..=1 << 40, 100_000),
        connections_max: connections_max as usize,
        connections_per_peer_max: reader.integer(
            &mut section,
            "connections_per_peer_max",
            1..=1 << 20,
            per_peer,
        ) as usize,
        receive_timeout_ms: reader.integer(
            &mut section,
            "receive_timeout_ms",
            10..=3_600_000,
            30_000,
        ),
        send_timeout_ms: reader.integer(&mut section, "send_timeout_ms", 10..=3_600_000, 30_000),
        drain_grace_ms: reader.integer(&mut section, "drain_grace_ms", 0..=3_600_000, 25_000),
        drain_delay_ms: reader.integer(&mut section, "drain_delay_ms", 0..=600_000, 500),
        reuse_port: reader.boolean(&mut section, "reuse_port", false),
    };
    reader.finish(section);
    server
}

/// On loopback all have one address. Elsewhere, one must not take the places of all others.
fn connections_per_peer_default(listen: &SocketAddr, connections_max: u64) -> u64 {
    if listen.ip().is_loopback() {
        connections_max
    } else {
        connections_max.div_ceil(2)
    }
}

impl Server {
    /// Whether `connections_per_peer_max` is what follows from the other keys.
    fn has_default_per_peer(&self) -> bool {
        let default = connections_per_peer_default(&self.listen, self.connections_max as u64);
        self.connections_per_peer_max as u64 == default
    }
}

fn listen(reader: &mut Reader<'_>, section: &mut Section<'_>, port: u16) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], port));
    let Some(text) = reader.string(section, "listen") else {
        return default;
    };
    text.parse().unwrap_or_else(|_| {
        reader.missing(
            section,
            format!("`listen` is `{text}`; it must be an address and a port, as `{default}`"),
        );
        default
    })
}

fn admin(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Admin {
    let mut section = reader.section(root, "admin");
    let admin = Admin {
        listen: listen(reader, &mut section, 9090),
        tls: tls::listener(reader, &mut section),
        reuse_port: reader.boolean(&mut section, "reuse_port", false),
    };
    reader.finish(section);
    admin
}

fn policy(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
) -> (Option<PathBuf>, NativeGrants, Option<Recording>) {
    let mut section = reader.section(root, "policy");
    let path = reader.path(&mut section, "path");
    if path.is_none() {
        reader.missing(
            &section,
            "no policy is named; add [policy] with `path = \"policy.toml\"` (a file or a directory)",
        );
    }
    let choices = [
        ("off", NativeGrants::Off),
        ("warn", NativeGrants::Warn),
        ("require", NativeGrants::Require),
    ];
    let grants = reader.choice(&mut section, "native_grants", &choices, NativeGrants::Off);
    let record = reader.path(&mut section, "record");
    let bytes_max = reader.integer(
        &mut section,
        "record_bytes_max",
        1 << 10..=1 << 40,
        RECORD_BYTES_MAX,
    );
    reader.finish(section);
    (
        path,
        grants,
        record.map(|path| Recording { path, bytes_max }),
    )
}

fn log(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Log {
    let mut section = reader.section(root, "log");
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = reader.choice(&mut section, "format", &formats, LogFormat::Json);
    let filter = reader.string(&mut section, "filter");
    if let Some(filter) = filter.as_deref().filter(|filter| !is_filter(filter)) {
        let known =
            "a level (error, warn, info, debug, trace, off) and then, after commas, `module=level`";
        reader.missing(
            &section,
            format!("`filter` is `{filter}`: it must be {known}"),
        );
    }
    let log = Log {
        format,
        filter: filter.unwrap_or_else(|| "info".into()),
    };
    reader.finish(section);
    log
}

/// A word alone would be taken for a module, and everything else be silent.
fn is_filter(text: &str) -> bool {
    // No word at all would be a level, too.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let has_level = |part: &str| part.contains(['=', '[']) || is_level(part);
    EnvFilter::try_new(text).is_ok() && text.split(',').all(has_level)
}

#[cfg(test)]
mod tests;
