//! The sections `[system]` and `[stores.*]`.

use secrecy::SecretString;

use super::Stores;
use super::reach::Reach;
use super::reader::{Reader, Section};
use super::tls;
use crate::execute::mongodb::MongoSettings;
use crate::execute::redis::{BlockingSettings, RedisSettings, SentinelLogin};
use crate::execute::settings::{
    Address, Failover, PoolSettings, SessionAttrs, SqlStoreSettings, TlsVersion,
    TransactionSettings,
};

/// What differs between the SQL sections: names of variables, default port and pool.
struct SqlDefaults {
    section: &'static str,
    /// `POSTGRES` for `POSTGRES_HOST` and its sisters.
    variables: &'static str,
    port: u64,
    database: &'static str,
    pool: (u64, u64),
}

const POSTGRES: SqlDefaults = SqlDefaults {
    section: "postgres",
    variables: "POSTGRES",
    port: 5432,
    database: "enterprise_system_db",
    pool: (2, 10),
};

const MYSQL: SqlDefaults = SqlDefaults {
    section: "mysql",
    variables: "MYSQL",
    port: 3306,
    database: "enterprise_app_db",
    pool: (5, 20),
};

const SYSTEM: SqlDefaults = SqlDefaults {
    section: "system",
    variables: "BULKHEAD_SYSTEM",
    port: 5432,
    database: "enterprise_system_db",
    pool: (1, 2),
};

/// The stores, and the sidecar's own connection.
pub fn read(reader: &mut Reader<'_>, root: &mut Section<'_>) -> (Stores, Option<SqlStoreSettings>) {
    let mut section = reader.section(root, "stores");
    let stores = Stores {
        postgres: sql(reader, &mut section, &POSTGRES),
        mysql: sql(reader, &mut section, &MYSQL),
        mongodb: mongodb(reader, &mut section),
        redis: redis(reader, &mut section),
    };
    reader.finish(section);
    let faults = reader.faults.len();
    let system = sql(reader, root, &SYSTEM);
    if system.is_none() && reader.faults.len() == faults {
        reader.missing(
            root,
            "no [system] section: keys and audit need a PostgreSQL account of the sidecar's own (`host`, `user`, `password_file`)",
        );
    }
    (stores, system)
}

fn sql(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    defaults: &SqlDefaults,
) -> Option<SqlStoreSettings> {
    let mut section = reader.section(parent, defaults.section);
    let variable = |name: &str| format!("{}_{name}", defaults.variables);
    let (addresses, target) = servers(reader, &mut section, defaults);
    let database = reader.string_or_variable(&mut section, "database", Some(&variable("DB")));
    let user = reader.string_or_variable(&mut section, "user", Some(&variable("USER")));
    let password = reader.secret(
        &mut section,
        ("password", "password_file"),
        Some(&variable("PASSWORD")),
    );
    let reach = Reach::of_hosts(addresses.iter().map(|address| &*address.host));
    let tls = tls::client(reader, &mut section, &reach, false);
    let (min, max) = defaults.pool;
    let pool = pool(reader, &mut section, min, max);
    let transactions = transactions(reader, &mut section, &pool);
    let statement_timeout_ms = statement_timeout(reader, &mut section);
    let wanted = section.is_present() || reader.variable(&variable("HOST")).is_some();
    if wanted && user.is_none() {
        reader.missing(
            &section,
            format!("`user` is missing (or set {})", variable("USER")),
        );
    }
    if wanted && password.is_none() {
        reader.missing(
            &section,
            format!(
                "`password_file` or `password` is missing (or set {})",
                variable("PASSWORD")
            ),
        );
    }
    reader.finish(section);
    let mut addresses = addresses.into_iter();
    let first = addresses.next()?;
    let others = addresses.collect();
    Some(SqlStoreSettings {
        host: first.host,
        port: first.port,
        failover: Failover { others, target },
        database: database.unwrap_or_else(|| defaults.database.into()),
        user: user.filter(|_| wanted)?,
        password: password?,
        tls,
        pool,
        transactions,
        statement_timeout_ms,
    })
}

/// `host` and `port`, or `hosts`, and which of them may be used: where there are several, one that takes writes, unless
/// the file says otherwise. At least one.
fn servers(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    defaults: &SqlDefaults,
) -> (Vec<Address>, SessionAttrs) {
    let variable = |name: &str| format!("{}_{name}", defaults.variables);
    let in_file = reader.string(section, "host");
    let in_environment = reader.variable(&variable("HOST"));
    let port = reader.port(section, &variable("PORT"), defaults.port);
    let hosts = reader.strings(section, "hosts");
    let mut addresses = Vec::new();
    for (text, span) in &hosts {
        match address(text, port) {
            Some(address) => addresses.push(address),
            None => reader.fault(
                span.clone(),
                format!("`{text}` is not a server: write `host` or `host:port`"),
            ),
        }
    }
    if in_file.is_some() && !hosts.is_empty() {
        reader.missing(section, "`host` and `hosts` are both there: leave one out");
    }
    let single = in_environment.or(in_file.filter(|_| addresses.is_empty()));
    if single.is_some() || addresses.is_empty() {
        let host = single.unwrap_or_else(|| "localhost".into());
        addresses = vec![Address { host, port }];
    }
    let default = if addresses.len() > 1 {
        SessionAttrs::ReadWrite
    } else {
        SessionAttrs::Any
    };
    let targets = [
        ("any", SessionAttrs::Any),
        ("read-write", SessionAttrs::ReadWrite),
    ];
    let target = reader.choice(section, "target_session_attrs", &targets, default);
    (addresses, target)
}

/// `host`, `host:port`, `[v6]:port`.
fn address(text: &str, port: u16) -> Option<Address> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None if rest.is_empty() => port,
        None => return None,
    };
    (!host.is_empty()).then(|| Address {
        host: host.to_owned(),
        port,
    })
}

fn mongodb(reader: &mut Reader<'_>, parent: &mut Section<'_>) -> Option<MongoSettings> {
    let mut section = reader.section(parent, "mongodb");
    let uri = reader.string_or_variable(&mut section, "uri", Some("MONGODB_URI"));
    let database = reader.string(&mut section, "database");
    let password = reader.secret(
        &mut section,
        ("password", "password_file"),
        Some("MONGODB_PASSWORD"),
    );
    let (reach, encrypted) = uri
        .as_deref()
        .map_or((Reach::Loopback, false), Reach::of_mongodb);
    let tls = tls::client(reader, &mut section, &reach, encrypted);
    let pool = pool(reader, &mut section, 2, 10);
    let statement_timeout_ms = statement_timeout(reader, &mut section);
    if tls.min_version == TlsVersion::V1_3 {
        reader.missing(
            &section,
            "the MongoDB driver takes no `min_version`: let the server insist (`net.tls.disabledProtocols: TLS1_2`) and leave it out",
        );
    }
    if section.is_present() && uri.is_none() {
        reader.missing(&section, "`uri` is missing (or set MONGODB_URI)");
    }
    reader.finish(section);
    Some(MongoSettings {
        uri: SecretString::from(uri?),
        password,
        database: database.unwrap_or_else(|| "enterprise_db".into()),
        tls,
        pool,
        statement_timeout_ms,
    })
}

fn redis(reader: &mut Reader<'_>, parent: &mut Section<'_>) -> Option<RedisSettings> {
    let mut section = reader.section(parent, "redis");
    let url = reader.string_or_variable(&mut section, "url", Some("REDIS_URL"));
    let user = reader.string(&mut section, "user");
    let password = reader.secret(
        &mut section,
        ("password", "password_file"),
        Some("REDIS_PASSWORD"),
    );
    let (reach, encrypted) = url
        .as_deref()
        .map_or((Reach::Loopback, false), Reach::of_redis);
    let tls = tls::client(reader, &mut section, &reach, encrypted);
    let command_timeout_ms =
        reader.integer(&mut section, "command_timeout_ms", 1..=3_600_000, 5_000);
    let limit_timeout_ms = RedisSettings::LIMIT_TIMEOUT_MS;
    let limit_timeout_ms =
        reader.integer(&mut section, "limit_timeout_ms", 1..=100, limit_timeout_ms);
    let in_flight_max = reader.integer(&mut section, "in_flight_max", 1..=1 << 20, 4096) as usize;
    let default = BlockingSettings::default().max as u64;
    let blocking_max =
        reader.integer(&mut section, "blocking_connections_max", 0..=4_096, default) as usize;
    let half = blocking_max.div_ceil(2) as u64;
    let blocking = BlockingSettings {
        max: blocking_max,
        per_key_max: reader.integer(&mut section, "blocking_per_key_max", 0..=4_096, half) as usize,
    };
    let sentinel = SentinelLogin {
        user: reader.string(&mut section, "sentinel_user"),
        password: reader.secret(
            &mut section,
            ("sentinel_password", "sentinel_password_file"),
            Some("REDIS_SENTINEL_PASSWORD"),
        ),
    };
    if section.is_present() && url.is_none() {
        reader.missing(&section, "`url` is missing (or set REDIS_URL)");
    }
    reader.finish(section);
    Some(RedisSettings {
        url: SecretString::from(url?),
        user,
        password,
        tls,
        command_timeout_ms,
        limit_timeout_ms,
        in_flight_max,
        blocking,
        sentinel,
    })
}

fn pool(reader: &mut Reader<'_>, parent: &mut Section<'_>, min: u64, max: u64) -> PoolSettings {
    let mut section = reader.section(parent, "pool");
    let max = reader.integer(&mut section, "max", 1..=10_000, max);
    let min = reader.integer(&mut section, "min", 0..=10_000, min.min(max));
    if min > max {
        reader.missing(&section, format!("`min` is {min}, more than `max`, {max}"));
    }
    let pool = PoolSettings {
        min: min as u32,
        max: max as u32,
        acquire_timeout_ms: reader.integer(&mut section, "acquire_timeout_ms", 1..=600_000, 5_000),
        waiting_max: reader.integer(&mut section, "waiting_max", 0..=1 << 20, 1024) as usize,
        max_lifetime_s: reader.integer(&mut section, "max_lifetime_s", 1..=604_800, 1800),
    };
    reader.finish(section);
    pool
}

/// `transactions = { max, per_key_max, idle_timeout_ms, lifetime_ms }`.
fn transactions(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    pool: &PoolSettings,
) -> TransactionSettings {
    let mut section = reader.section(parent, "transactions");
    let default = TransactionSettings::of_pool(pool.max);
    let max = reader.integer(
        &mut section,
        "max",
        0..=u64::from(pool.max),
        default.max.into(),
    );
    let per_key = max.div_ceil(2);
    let settings = TransactionSettings {
        max: max as u32,
        per_key_max: reader.integer(&mut section, "per_key_max", 0..=10_000, per_key) as u32,
        idle_timeout_ms: reader.integer(
            &mut section,
            "idle_timeout_ms",
            1..=600_000,
            default.idle_timeout_ms,
        ),
        lifetime_ms: reader.integer(
            &mut section,
            "lifetime_ms",
            1..=3_600_000,
            default.lifetime_ms,
        ),
    };
    reader.finish(section);
    settings
}

fn statement_timeout(reader: &mut Reader<'_>, section: &mut Section<'_>) -> u64 {
    reader.integer(section, "statement_timeout_ms", 1..=86_400_000, 30_000)
}

impl Reader<'_> {
    /// A port, which a variable overrides.
    fn port(&mut self, section: &mut Section<'_>, variable: &str, default: u64) -> u16 {
        let port = self.integer(section, "port", 1..=65_535, default);
        let Some(text) = self.variable(variable) else {
            return u16::try_from(port).unwrap_or_default();
        };
        text.parse().unwrap_or_else(|_| {
            self.variable_fault(variable, format!("`{text}` is not a port"));
            0
        })
    }
}
