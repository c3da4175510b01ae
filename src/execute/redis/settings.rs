//! How to reach Redis: one server, Sentinels that know the primary, or the nodes of a cluster.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, RedisError, TlsCertificates,
};
use secrecy::{ExposeSecret, SecretString};

use super::link::UNACKNOWLEDGED_MS_MAX;
use crate::execute::settings::{TlsMode, TlsSettings};
use crate::execute::tls::{Files, TlsError};

const SENTINEL_PORT: u16 = 26_379;

/// Everything that a connection to Redis needs. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://host:port/db` or `rediss://…`, or `redis+unix:///path`; credentials in it are used where the fields
    /// below are empty. `redis+sentinel://host:port,host:port/db?master=name` lists Sentinels, and
    /// `redis+cluster://host:port,host:port` some nodes of a cluster; `rediss+…` is encrypted.
    pub url: SecretString,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub tls: TlsSettings,
    /// How long a command may take; a request may ask for less, never for more.
    pub command_timeout_ms: u64,
    /// How long a request waits for its rate limit to be counted.
    pub limit_timeout_ms: u64,
    /// Requests that may be under way at once, beside the commands that wait; as many more wait for their turn.
    pub in_flight_max: usize,
    pub blocking: BlockingSettings,
    pub sentinel: SentinelLogin,
}

impl RedisSettings {
    pub const COMMAND_TIMEOUT_MS: u64 = 5_000;
    pub const LIMIT_TIMEOUT_MS: u64 = 5;
    pub const IN_FLIGHT_MAX: usize = 1_024;
}

/// What bounds the commands that wait (`BLPOP`, `XREAD BLOCK`), each on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockingSettings {
    /// Commands that may wait at once; one more is refused.
    pub max: usize,
    /// Of one API key.
    pub per_key_max: usize,
}

impl Default for BlockingSettings {
    /// Half of them for one key, so that no key takes them all.
    fn default() -> Self {
        Self {
            max: 16,
            per_key_max: 8,
        }
    }
}

/// With which account Sentinels are asked; without a password they are asked as anybody may.
#[derive(Debug, Clone, Default)]
pub struct SentinelLogin {
    pub user: Option<String>,
    pub password: Option<SecretString>,
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
    #[error("a `redis+sentinel` url must name the primary: add `?master=name`")]
    NoMaster,
    #[error("a cluster has database 0 alone: take the number out of the `redis+cluster` url")]
    ClusterDatabase,
    #[error("through Sentinel or a cluster it cannot be told which server is meant: name one")]
    ManyServers,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the servers that a url names are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Single,
    Sentinel { master: String },
    Cluster,
}

/// A url, taken apart: what is there, and one connection's settings for each server that is named.
pub(super) struct Places {
    pub(super) topology: Topology,
    /// At least one.
    pub(super) infos: Vec<ConnectionInfo>,
}

impl Places {
    pub(super) fn read(settings: &RedisSettings) -> Result<Self, ConnectError> {
        let (topology, urls) = apart(settings.url.expose_secret())?;
        let infos = urls.iter().map(|url| info(settings, url));
        Ok(Self {
            topology,
            infos: infos.collect::<Result<_, _>>()?,
        })
    }
}

/// Every server that a url names, as it is dialled where the settings say nothing else.
pub fn addresses(url: &str) -> Result<Vec<ConnectionAddr>, ConnectError> {
    let (_, urls) = apart(url)?;
    let infos = urls.into_iter().map(|url| {
        let info = url.into_connection_info().map_err(ConnectError::Url)?;
        Ok(info.addr().clone())
    });
    infos.collect()
}

/// What is there, and the url of each server that is named; at least one.
fn apart(url: &str) -> Result<(Topology, Vec<String>), ConnectError> {
    let many = url.split_once("://").and_then(|(scheme, rest)| {
        let (scheme, kind) = scheme.split_once('+')?;
        matches!(kind, "sentinel" | "cluster").then_some((scheme, kind, rest))
    });
    let Some((scheme, kind, rest)) = many else {
        return Ok((Topology::Single, vec![url.to_owned()]));
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (account, hosts) = match authority.rsplit_once('@') {
        Some((account, hosts)) => (format!("{account}@"), hosts),
        None => (String::new(), authority),
    };
    let is_sentinel = kind == "sentinel";
    let topology = if is_sentinel {
        let master = query
            .split('&')
            .find_map(|option| option.strip_prefix("master="))
            .filter(|name| !name.is_empty())
            .ok_or(ConnectError::NoMaster)?;
        Topology::Sentinel {
            master: master.to_owned(),
        }
    } else {
        if !matches!(path, "" | "0") {
            return Err(ConnectError::ClusterDatabase);
        }
        Topology::Cluster
    };
    let urls = hosts.split(',').map(|host| {
        let port = if is_sentinel && has_no_port(host) {
            format!(":{SENTINEL_PORT}")
        } else {
            String::new()
        };
        format!("{scheme}://{account}{host}{port}/{path}")
    });
    Ok((topology, urls.collect()))
}

fn has_no_port(host: &str) -> bool {
    !host
        .rsplit(']')
        .next()
        .is_some_and(|after| after.contains(':'))
}

/// One server's url with our credentials, protocol and TLS.
fn info(settings: &RedisSettings, url: &str) -> Result<ConnectionInfo, ConnectError> {
    let info = url.into_connection_info().map_err(ConnectError::Url)?;
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
    Ok(info
        .set_addr(address)
        .set_redis_settings(redis)
        .set_tcp_settings(tcp))
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

/// The driver's client of a single server, for an administrator's questions.
pub fn driver(settings: &RedisSettings) -> Result<Client, ConnectError> {
    let Places {
        topology: Topology::Single,
        infos,
    } = Places::read(settings)?
    else {
        return Err(ConnectError::ManyServers);
    };
    let info = infos.into_iter().next().ok_or(ConnectError::ManyServers)?;
    match Files::read(&settings.tls)? {
        Some(files) => encrypted_client(info, &files),
        None => Client::open(info),
    }
    .map_err(ConnectError::Url)
}

/// The driver takes PEM, and no oldest version: what carries callers' commands ([`Dial`](super::dial::Dial)) insists on
/// the one that is configured, and this connection, which answers an administrator, on what the driver does.
fn encrypted_client(info: ConnectionInfo, files: &Files) -> Result<Client, RedisError> {
    let certificates = TlsCertificates {
        client_tls: files.identity().map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.to_vec(),
            client_key: key.to_vec(),
        }),
        root_cert: files.ca.clone(),
    };
    Client::build_with_tls(info, certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<String, String> {
        let settings = RedisSettings {
            url: url.to_owned().into(),
            user: None,
            password: None,
            tls: TlsSettings {
                mode: if url.starts_with("rediss") {
                    TlsMode::VerifyFull
                } else {
                    TlsMode::Disable
                },
                ..TlsSettings::default()
            },
            command_timeout_ms: 1,
            limit_timeout_ms: RedisSettings::LIMIT_TIMEOUT_MS,
            in_flight_max: 1,
            blocking: BlockingSettings::default(),
            sentinel: SentinelLogin::default(),
        };
        let places = Places::read(&settings).map_err(|error| error.to_string())?;
        let mut shown = format!("{:?}", places.topology);
        for info in places.infos {
            let redis = info.redis_settings();
            let user = redis.username().unwrap_or("");
            let password = redis.password().unwrap_or("");
            shown += &format!(" {user}:{password}@{}/{}", info.addr(), redis.db());
        }
        Ok(shown)
    }

    #[test]
    fn urls_name_one_server_or_many() {
        for (url, expected) in [
            ("redis://h:1/2", "Single :@h:1/2"),
            ("redis+unix:///s", "Single :@/s/0"),
            (
                "redis+sentinel://a,b:2,[::1]/3?master=m",
                "Sentinel { master: \"m\" } :@a:26379/3 :@b:2/3 :@::1:26379/3",
            ),
            (
                "rediss+sentinel://u:p%40@a:1,b/?x=y&master=m",
                "Sentinel { master: \"m\" } u:p@@a:1/0 u:p@@b:26379/0",
            ),
            ("redis+cluster://a:1,b", "Cluster :@a:1/0 :@b:6379/0"),
        ] {
            assert_eq!(read(url), Ok(expected.to_owned()), "{url}");
        }
        for (url, expected) in [
            ("redis+sentinel://a", "must name the primary"),
            ("redis+sentinel://a/0?master=", "must name the primary"),
            ("redis+cluster://a/1", "database 0 alone"),
            ("redis+cluster://a,:x", "not valid"),
            ("nonsense", "not valid"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
