//! How to reach a SQL store. The configuration makes these; nothing here reads its files or the environment.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustls::SupportedProtocolVersion;
use secrecy::SecretString;

/// Bytes of a host's name in [`application_name`].
const HOST_BYTES_MAX: usize = 40;

/// Everything that one SQL store needs. `Debug` shows no password ([`SecretString`] hides it).
#[derive(Debug, Clone)]
pub struct SqlStoreSettings {
    /// A DNS name, an IP address or, for a Unix socket, a path that begins with `/`.
    pub host: String,
    pub port: u16,
    /// Where the same data is, beside `host`.
    pub failover: Failover,
    pub database: String,
    pub user: String,
    pub password: SecretString,
    pub tls: TlsSettings,
    pub pool: PoolSettings,
    pub transactions: TransactionSettings,
    /// How long a statement may run; a request may ask for less, never for more.
    pub statement_timeout_ms: u64,
}

/// The name under which this sidecar's connections stand in PostgreSQL, and in audit rows: `bulkhead@HOST`, where a pod's
/// host is its name.
pub fn application_name(program: &str) -> String {
    static HOST: OnceLock<String> = OnceLock::new();
    let host = HOST.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
        let name = name.map(|name| name.trim().to_owned()).unwrap_or_default();
        // PostgreSQL would put others into question marks, and cuts names at 63 bytes.
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
        name.chars().filter(is_plain).take(HOST_BYTES_MAX).collect()
    });
    format!("{program}@{host}")
}

impl SqlStoreSettings {
    /// Every server, in the order in which they are tried.
    pub fn addresses(&self) -> Vec<Address> {
        let first = Address {
            host: self.host.clone(),
            port: self.port,
        };
        let others = self.failover.others.iter().cloned();
        std::iter::once(first).chain(others).collect()
    }

    /// The same, with this server alone.
    pub fn at(&self, address: &Address) -> Self {
        Self {
            host: address.host.clone(),
            port: address.port,
            failover: Failover::default(),
            ..self.clone()
        }
    }
}

/// Further servers of the same data, and which of all of them may be used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failover {
    pub others: Vec<Address>,
    pub target: SessionAttrs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As [`SqlStoreSettings::host`].
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a server must offer (libpq's `target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionAttrs {
    /// The first that can be reached.
    #[default]
    Any,
    /// The first that takes writes.
    ReadWrite,
}

/// Whether what is sent to this host stays on this machine. A name other than `localhost` is none: who answers for names
/// may change his mind.
pub fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    pub mode: TlsMode,
    /// A PEM file with the CA that signed the server's certificate; without it, the system's roots.
    pub ca_file: Option<PathBuf>,
    /// By what the server knows the sidecar, where it asks for a certificate.
    pub identity: Option<IdentityFiles>,
    pub min_version: TlsVersion,
    /// Whether plaintext may leave this machine, where `mode` is plaintext; for servers that others announce later.
    pub plaintext_over_network: bool,
}

impl TlsSettings {
    /// Whether anything in a file of ours may change.
    pub const fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }

    /// The files' names, for the log.
    pub fn names(&self) -> String {
        let ca = self.ca_file.iter();
        let identity = self.identity.iter().map(|files| &files.cert_file);
        let names: Vec<_> = ca
            .chain(identity)
            .map(|path| path.display().to_string())
            .collect();
        names.join(", ")
    }
}

/// PEM files: a certificate with those between it and its CA, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

impl TlsVersion {
    /// As the configuration writes them.
    pub const CHOICES: [(&'static str, Self); 2] = [("1.2", Self::V1_2), ("1.3", Self::V1_3)];

    /// This version and what came after it.
    pub const fn protocols(self) -> &'static [&'static SupportedProtocolVersion] {
        const V1_3_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        match self {
            Self::V1_2 => rustls::ALL_VERSIONS,
            Self::V1_3 => V1_3_ALONE,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// The certificate must be signed by a trusted CA and name the host that was dialled.
    VerifyFull,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    /// Connections kept open while nothing happens.
    pub min: u32,
    pub max: u32,
    /// How long a request waits for a connection.
    pub acquire_timeout_ms: u64,
    /// How many requests may wait at once; the next one is refused immediately.
    pub waiting_max: usize,
    /// Connections older than this are replaced when they come back (less up to a tenth, at random, so that
    /// they do not all go at once).
    pub max_lifetime_s: u64,
}

impl PoolSettings {
    /// The pattern's figures for PostgreSQL.
    pub const POSTGRES: Self = Self::of(2, 10);
    /// The pattern's figures for MySQL.
    pub const MYSQL: Self = Self::of(5, 20);

    const fn of(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            acquire_timeout_ms: 5_000,
            waiting_max: 1_024,
            max_lifetime_s: 1_800,
        }
    }
}

/// What bounds the transactions that callers hold open between requests, each on a connection of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSettings {
    /// How many may be open at once; 0 allows none.
    pub max: u32,
    /// How many one API key may have open at once.
    pub per_key_max: u32,
    /// How long one may stand idle; a caller may ask for less.
    pub idle_timeout_ms: u64,
    /// How long one may be open, whatever is done with it.
    pub lifetime_ms: u64,
}

impl TransactionSettings {
    /// Half of the pool, so that the other half serves everybody else; and half of that for one key.
    pub const fn of_pool(pool_max: u32) -> Self {
        let max = pool_max / 2;
        Self {
            max,
            per_key_max: max.div_ceil(2),
            idle_timeout_ms: 10_000,
            lifetime_ms: 60_000,
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            mode: TlsMode::VerifyFull,
            ca_file: None,
            identity: None,
            min_version: TlsVersion::default(),
            plaintext_over_network: false,
        }
    }
}
