//! What differs between two configurations, key by key.
//!
//! Every structure is taken apart without `..`: a key that is added to the configuration does not compile until it is
//! compared here.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Admin, Audit, Auth, Config, Log, Recording, Server, Stores};
use crate::execute::mongodb::MongoSettings;
use crate::execute::redis::{BlockingSettings, RedisSettings, SentinelLogin};
use crate::execute::settings::{Failover, SqlStoreSettings};

/// Names a key and says whether its values differ. The pattern beside it lists the structure's fields, all of them.
///
/// `as` gives the key where it is not the field's name; behind `;` are structures that are compared on their own.
macro_rules! compare {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (
        $out:ident,
        $section:expr,
        $type:ident { $($field:ident $(as $key:literal)?),* $(; $($apart:ident),*)? $(,)? },
        $old:expr,
        $new:expr
    ) => {{
        let $type { $($field,)* $($($apart: _,)*)? } = $old;
        let new: &$type = $new;
        $(if !same(&$field, &&new.$field) {
            $out.push(name($section, compare!(@key $field $($key)?)));
        })*
    }};
}

/// The keys that differ, as `[section] key`.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut out = Vec::new();
    let Config {
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
    } = old;
    self::server(&mut out, server, &new.server);
    compare!(
        out,
        "admin",
        Admin {
            listen,
            tls,
            reuse_port
        },
        admin,
        &new.admin
    );
    if policy != &new.policy {
        out.push(name("policy", "path"));
    }
    if native_grants != &new.native_grants {
        out.push(name("policy", "native_grants"));
    }
    match (record, &new.record) {
        (Some(Recording { path, bytes_max }), Some(new)) => {
            if path != &new.path {
                out.push(name("policy", "record"));
            }
            if bytes_max != &new.bytes_max {
                out.push(name("policy", "record_bytes_max"));
            }
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => out.push(name("policy", "record")),
    }
    compare!(
        out,
        "auth",
        Auth {
            cache_ttl_ms,
            stale_max_s,
            certificates,
            tokens,
        },
        auth,
        &new.auth
    );
    compare!(
        out,
        "audit",
        Audit {
            spool_dir,
            spool_bytes_max,
            when_full,
            seal_interval_s,
            seal_key_file,
            seals_file,
        },
        audit,
        &new.audit
    );
    sql(&mut out, "system", Some(system), Some(&new.system));
    self::stores(&mut out, stores, &new.stores);
    compare!(out, "log", Log { format, filter }, log, &new.log);
    out
}

fn server(out: &mut Vec<String>, old: &Server, new: &Server) {
    compare!(
        out,
        "server",
        Server {
            listen,
            tls,
            threads,
            body_bytes_max,
            reply_bytes_max,
            memory_bytes_max,
            rows_max,
            connections_max,
            receive_timeout_ms,
            send_timeout_ms,
            drain_grace_ms,
            drain_delay_ms,
            reuse_port;
            connections_per_peer_max
        },
        old,
        new
    );
    // What follows from other keys has not changed by itself.
    let is_derived = old.has_default_per_peer() && new.has_default_per_peer();
    if !is_derived && old.connections_per_peer_max != new.connections_per_peer_max {
        out.push(name("server", "connections_per_peer_max"));
    }
}

fn stores(out: &mut Vec<String>, old: &Stores, new: &Stores) {
    let Stores {
        postgres,
        mysql,
        mongodb,
        redis,
    } = old;
    sql(
        out,
        "stores.postgres",
        postgres.as_ref(),
        new.postgres.as_ref(),
    );
    sql(out, "stores.mysql", mysql.as_ref(), new.mysql.as_ref());
    match (mongodb, &new.mongodb) {
        (Some(old), Some(new)) => compare!(
            out,
            "stores.mongodb",
            MongoSettings {
                uri,
                password,
                database,
                tls,
                pool,
                statement_timeout_ms,
            },
            old,
            new
        ),
        (old, new) => section(out, "stores.mongodb", old.is_some() == new.is_some()),
    }
    match (redis, &new.redis) {
        (Some(old), Some(new)) => self::redis(out, old, new),
        (old, new) => section(out, "stores.redis", old.is_some() == new.is_some()),
    }
}

fn redis(out: &mut Vec<String>, old: &RedisSettings, new: &RedisSettings) {
    let section = "stores.redis";
    compare!(
        out,
        section,
        RedisSettings {
            url,
            user,
            password,
            tls,
            command_timeout_ms,
            limit_timeout_ms,
            in_flight_max;
            blocking, sentinel
        },
        old,
        new
    );
    compare!(
        out,
        section,
        BlockingSettings {
            max as "blocking_connections_max",
            per_key_max as "blocking_per_key_max",
        },
        &old.blocking,
        &new.blocking
    );
    compare!(
        out,
        section,
        SentinelLogin {
            user as "sentinel_user",
            password as "sentinel_password",
        },
        &old.sentinel,
        &new.sentinel
    );
}

fn sql(
    out: &mut Vec<String>,
    name_of: &'static str,
    old: Option<&SqlStoreSettings>,
    new: Option<&SqlStoreSettings>,
) {
    let (Some(old), Some(new)) = (old, new) else {
        return section(out, name_of, old.is_some() == new.is_some());
    };
    compare!(
        out,
        name_of,
        SqlStoreSettings {
            host,
            port,
            database,
            user,
            password,
            tls,
            pool,
            transactions,
            statement_timeout_ms;
            failover
        },
        old,
        new
    );
    compare!(
        out,
        name_of,
        Failover {
            others as "hosts",
            target as "target_session_attrs",
        },
        &old.failover,
        &new.failover
    );
}

/// A section that one of the two does not have.
fn section(out: &mut Vec<String>, section: &str, same: bool) {
    if !same {
        out.push(format!("[{section}]"));
    }
}

fn name(section: &str, key: &str) -> String {
    format!("[{section}] {key}")
}

fn same<T: Comparable>(old: &T, new: &T) -> bool {
    old.is_same(new)
}

/// Equality that secrets have, too.
trait Comparable {
    fn is_same(&self, other: &Self) -> bool;
}

impl Comparable for &SecretString {
    fn is_same(&self, other: &Self) -> bool {
        self.expose_secret() == other.expose_secret()
    }
}

impl Comparable for &Option<SecretString> {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Some(one), Some(two)) => one.expose_secret() == two.expose_secret(),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

macro_rules! comparable {
    ($($type:ty),* $(,)?) => {
        $(impl Comparable for &$type {
            fn is_same(&self, other: &Self) -> bool {
                self == other
            }
        })*
    };
}

comparable!(
    bool,
    u16,
    u64,
    usize,
    String,
    Option<String>,
    std::collections::BTreeMap<String, String>,
    Option<crate::authenticate::tokens::TokenSettings>,
    std::net::SocketAddr,
    std::path::PathBuf,
    Option<std::path::PathBuf>,
    crate::record::audit::WhenFull,
    Option<super::ListenerTls>,
    super::LogFormat,
    Vec<crate::execute::settings::Address>,
    crate::execute::settings::SessionAttrs,
    crate::execute::settings::PoolSettings,
    crate::execute::settings::TlsSettings,
    crate::execute::settings::TransactionSettings,
);
