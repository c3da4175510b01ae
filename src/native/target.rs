//! The server that is compared: by a URL, or as the configuration has it.

use std::path::PathBuf;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use mysql_async::Conn;
use secrecy::{ExposeSecret as _, SecretString};

use super::mend::{self, Comparison};
use super::{
    Difference, Error, Side, Subject, account_name, mongodb, mysql, postgres, redis, sidecar,
    subjects,
};
use crate::config;
use crate::config::reach::Reach;
use crate::decide::Policy;
use crate::execute::mongodb::MongoSettings;
use crate::execute::redis::{BlockingSettings, RedisSettings, SentinelLogin};
use crate::execute::settings::{
    Failover, PoolSettings, SqlStoreSettings, TlsMode, TlsSettings, TransactionSettings,
};
use crate::operation::Store;

/// How long comparing one server may take.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(20);

/// One server.
#[derive(Debug, Clone)]
pub enum Target {
    Postgres(SqlStoreSettings),
    Mysql(SqlStoreSettings),
    Mongodb(MongoSettings),
    Redis(RedisSettings),
}

impl Target {
    /// The store that the sidecar uses; `None` where it is not configured.
    pub fn configured(stores: &config::Stores, store: Store) -> Option<Self> {
        match store {
            Store::Postgres => stores.postgres.clone().map(Self::Postgres),
            Store::Mysql => stores.mysql.clone().map(Self::Mysql),
            Store::Mongodb => stores.mongodb.clone().map(Self::Mongodb),
            Store::Redis => stores.redis.clone().map(Self::Redis),
        }
    }

    /// `scheme://user:password@host:port/database?sslrootcert=…`. What leaves the machine is encrypted and verified.
    pub fn from_url(store: Store, url: &str, ca_file: Option<PathBuf>) -> Result<Self, Error> {
        let parts = Parts::read(store, url)?;
        let ca_file = ca_file.or_else(|| parts.ca_file());
        let tls = TlsSettings {
            mode: if parts.is_encrypted() || ca_file.is_some() || leaves(store, url, &parts.host) {
                TlsMode::VerifyFull
            } else {
                TlsMode::Disable
            },
            ca_file,
            ..TlsSettings::default()
        };
        let sql = |port, pool| SqlStoreSettings {
            host: parts.host.clone(),
            port: parts.port.unwrap_or(port),
            failover: Failover::default(),
            database: parts.path.clone(),
            user: parts.user.clone(),
            password: SecretString::from(parts.password.clone()),
            tls: tls.clone(),
            pool,
            transactions: TransactionSettings::of_pool(0),
            statement_timeout_ms: 10_000,
        };
        Ok(match store {
            Store::Postgres => Self::Postgres(sql(5432, PoolSettings::POSTGRES)),
            Store::Mysql => Self::Mysql(sql(3306, PoolSettings::MYSQL)),
            Store::Mongodb => Self::Mongodb(MongoSettings {
                uri: SecretString::from(url),
                password: None,
                database: mongodb::ROLES_DATABASE.to_owned(),
                tls,
                pool: MongoSettings::POOL,
                statement_timeout_ms: 10_000,
            }),
            Store::Redis => Self::Redis(RedisSettings {
                url: SecretString::from(url),
                user: None,
                password: None,
                tls,
                command_timeout_ms: RedisSettings::COMMAND_TIMEOUT_MS,
                limit_timeout_ms: RedisSettings::LIMIT_TIMEOUT_MS,
                in_flight_max: RedisSettings::IN_FLIGHT_MAX,
                blocking: BlockingSettings::default(),
                sentinel: SentinelLogin::default(),
            }),
        })
    }

    /// The same with a password that its URL does not show.
    #[must_use]
    pub fn with_password(mut self, password: SecretString) -> Self {
        match &mut self {
            Self::Postgres(settings) | Self::Mysql(settings) => settings.password = password,
            Self::Mongodb(settings) => settings.password = Some(password),
            Self::Redis(settings) => settings.password = Some(password),
        }
        self
    }

    /// Every difference, as an administrator sees it: of the policy's roles, of the accounts that hold one of them
    /// and of `account`, and roles that the policy does not have; with what mends them.
    pub async fn differences(
        &self,
        policy: &Policy,
        account: Option<&str>,
    ) -> Result<Comparison, Error> {
        let comparing = self.compare(policy, account);
        tokio::time::timeout(COMPARE_TIMEOUT, comparing)
            .await
            .map_err(|_| Error::Read("it takes too long".into()))?
    }

    async fn compare(&self, policy: &Policy, account: Option<&str>) -> Result<Comparison, Error> {
        let store = self.store();
        let account = account.map(|name| account_name(store, name));
        let scripted = subjects(policy, store, account.as_deref());
        let with = |holders: &[String]| {
            let is_new = |holder: &&String| scripted.iter().all(|one| one.name != **holder);
            let holders = holders.iter().filter(is_new);
            let holders: Vec<Subject> = holders.map(|name| sidecar(policy, store, name)).collect();
            (
                scripted
                    .iter()
                    .cloned()
                    .chain(holders.iter().cloned())
                    .collect::<Vec<_>>(),
                holders,
            )
        };
        let (others, only_holders, mut all) = match self {
            Self::Postgres(settings) => {
                let client = crate::system::connect(settings)
                    .await
                    .map_err(unconnected)?;
                let others = postgres::others(&client, &scripted).await?;
                let (subjects, holders) = with(&others.holders);
                let all = postgres::differences(&client, &subjects).await?;
                (others, holders, all)
            }
            Self::Mysql(settings) => {
                let mut conn = mysql_connection(settings).await?;
                let others = mysql::others(&mut conn, &scripted).await?;
                let (subjects, holders) = with(&others.holders);
                let all = mysql::differences(&mut conn, &subjects).await?;
                (others, holders, all)
            }
            Self::Mongodb(settings) => {
                let client = crate::execute::mongodb::open(settings)
                    .await
                    .map_err(unconnected)?;
                let others = mongodb::others(&client.client, &scripted).await?;
                let (subjects, holders) = with(&others.holders);
                let all = mongodb::differences(&client.client, &subjects).await?;
                (others, holders, all)
            }
            Self::Redis(settings) => {
                let mut connection = redis_connection(settings).await?;
                let others = redis::others(&mut connection, &scripted).await?;
                let all = redis::differences(&mut connection, &scripted).await?;
                (others, Vec::new(), all)
            }
        };
        // Who holds some of the roles only may do less than all callers, and must not do more.
        let is_holder = |name: &str| only_holders.iter().any(|holder| holder.name == name);
        all.retain(|found| found.side == Side::Extra || !is_holder(&found.subject));
        Ok(mend::put_together(store, all, others, &scripted))
    }

    /// How the account of the sidecar differs from what its callers may do, as that account itself sees it.
    pub async fn own_differences(&self, policy: &Policy) -> Result<Vec<Difference>, Error> {
        let comparing = self.compare_own(policy);
        tokio::time::timeout(COMPARE_TIMEOUT, comparing)
            .await
            .map_err(|_| Error::Read("it takes too long".into()))?
    }

    async fn compare_own(&self, policy: &Policy) -> Result<Vec<Difference>, Error> {
        match self {
            Self::Postgres(settings) => {
                let client = crate::system::connect(settings)
                    .await
                    .map_err(unconnected)?;
                let subject = sidecar(policy, Store::Postgres, &settings.user);
                postgres::differences(&client, std::slice::from_ref(&subject)).await
            }
            Self::Mysql(settings) => {
                let mut conn = mysql_connection(settings).await?;
                let name = mysql::whoami(&mut conn).await?;
                mysql::own_differences(&mut conn, &sidecar(policy, Store::Mysql, &name)).await
            }
            Self::Mongodb(settings) => {
                let client = crate::execute::mongodb::open(settings)
                    .await
                    .map_err(unconnected)?;
                let subject = sidecar(policy, Store::Mongodb, "the sidecar's account");
                mongodb::own_differences(&client.client, &subject).await
            }
            Self::Redis(settings) => {
                let mut connection = redis_connection(settings).await?;
                let asked = redis::whoami(&mut connection).await?;
                let configured = settings.user.clone();
                let name = asked.or(configured).unwrap_or_else(|| "default".to_owned());
                let listed: Vec<String> = policy
                    .objects(Store::Redis)
                    .into_iter()
                    .map(str::to_owned)
                    .collect();
                let subject = sidecar(policy, Store::Redis, &name);
                redis::own_differences(&mut connection, &subject, &listed).await
            }
        }
    }

    const fn store(&self) -> Store {
        match self {
            Self::Postgres(_) => Store::Postgres,
            Self::Mysql(_) => Store::Mysql,
            Self::Mongodb(_) => Store::Mongodb,
            Self::Redis(_) => Store::Redis,
        }
    }
}

async fn mysql_connection(settings: &SqlStoreSettings) -> Result<Conn, Error> {
    crate::execute::mysql::connect(settings)
        .await
        .map_err(unconnected)
}

async fn redis_connection(settings: &RedisSettings) -> Result<MultiplexedConnection, Error> {
    let client = crate::execute::redis::driver(settings).map_err(unconnected)?;
    client
        .get_multiplexed_async_connection()
        .await
        .map_err(unconnected)
}

fn unconnected(error: impl std::fmt::Display) -> Error {
    Error::Connect(error.to_string())
}

/// A URL, taken apart. `Debug` is not there: it holds a password.
struct Parts {
    scheme: String,
    user: String,
    password: String,
    host: String,
    port: Option<u16>,
    path: String,
    query: Vec<(String, String)>,
}

impl Parts {
    fn read(store: Store, url: &str) -> Result<Self, Error> {
        let odd = |what: &str| {
            let form = match store {
                Store::Postgres => "postgres://user:password@host:5432/database",
                Store::Mysql => "mysql://user:password@host:3306/database",
                Store::Mongodb => "mongodb://user:password@host:27017/?authSource=admin",
                Store::Redis => "rediss://user:password@host:6379/0",
            };
            Error::Target(format!("the URL {what}: write `{form}`"))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| odd("has no scheme"))?;
        let is_ours = match store {
            Store::Postgres => matches!(scheme, "postgres" | "postgresql"),
            Store::Mysql => matches!(scheme, "mysql" | "mariadb"),
            Store::Mongodb => matches!(scheme, "mongodb" | "mongodb+srv"),
            Store::Redis => matches!(scheme, "redis" | "rediss"),
        };
        if !is_ours {
            return Err(odd(&format!("is not one of {store}")));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (account, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = account.split_once(':').unwrap_or((account, ""));
        let (host, port) = match place
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match (store, port) {
            // A MongoDB URL may name several hosts; its driver reads it.
            (Store::Mongodb, _) | (_, None) => None,
            (_, Some(port)) => Some(port.parse().map_err(|_| odd("has a port that is none"))?),
        };
        let decode = |text: &str| decoded(text).ok_or_else(|| odd("has a `%` without its digits"));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        Ok(Self {
            scheme: scheme.to_owned(),
            user: decode(user)?,
            password: decode(password)?,
            host: host.to_owned(),
            port,
            path: decode(path)?,
            query: query
                .map(|(key, value)| Ok((key.to_lowercase(), decode(value)?)))
                .collect::<Result<_, Error>>()?,
        })
    }

    fn option(&self, names: &[&str]) -> Option<&str> {
        let found = self
            .query
            .iter()
            .find(|(key, _)| names.contains(&key.as_str()));
        found.map(|(_, value)| value.as_str())
    }

    fn ca_file(&self) -> Option<PathBuf> {
        self.option(&["sslrootcert", "ssl-ca", "tlscafile"])
            .map(PathBuf::from)
    }

    fn is_encrypted(&self) -> bool {
        let asked = self.option(&["sslmode", "ssl-mode", "tls", "ssl"]);
        let off = ["disable", "disabled", "false"];
        matches!(self.scheme.as_str(), "rediss" | "mongodb+srv")
            || asked.is_some_and(|mode| !off.contains(&mode.to_lowercase().as_str()))
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Whether a connection may leave the machine.
fn leaves(store: Store, url: &str, host: &str) -> bool {
    let reach = match store {
        Store::Postgres | Store::Mysql => Reach::of_host(host),
        Store::Mongodb => Reach::of_mongodb(url).0,
        Store::Redis => Reach::of_redis(url).0,
    };
    matches!(reach, Reach::Network(_))
}

impl Target {
    /// The account that the target logs in with, where it says.
    pub fn user(&self) -> Option<String> {
        match self {
            Self::Postgres(settings) | Self::Mysql(settings) => Some(settings.user.clone()),
            Self::Mongodb(settings) => {
                let uri = settings.uri.expose_secret();
                let (_, rest) = uri.split_once("://")?;
                let (account, _) = rest.split_once('@')?;
                decoded(account.split(':').next()?)
            }
            Self::Redis(settings) => settings.user.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let sql = |url: &str| match Target::from_url(Store::Postgres, url, None) {
            Ok(Target::Postgres(s)) => format!(
                "{} {} {} {} {} {:?} {:?}",
                s.host,
                s.port,
                s.database,
                s.user,
                s.password.expose_secret(),
                s.tls.mode,
                s.tls.ca_file
            ),
            other => format!("{}", other.unwrap_err()),
        };
        for (url, expected) in [
            (
                "postgres://a:b@localhost/d",
                "localhost 5432 d a b Disable None",
            ),
            ("postgres://a:b%40@db:1/d", "db 1 d a b@ VerifyFull None"),
            (
                "postgresql://a:b@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=/ca",
                "127.0.0.1 1 d a b VerifyFull Some(\"/ca\")",
            ),
            ("postgres://a:b@[::1]:1/d", "::1 1 d a b Disable None"),
        ] {
            assert_eq!(sql(url), expected, "{url}");
        }
        for url in [
            "localhost",
            "mysql://a:b@h/d",
            "postgres://a:b%4@h/d",
            "postgres://a@h:x/d",
        ] {
            assert!(sql(url).contains("the URL "), "{url}: {}", sql(url));
        }
    }
}
