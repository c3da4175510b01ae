//! Where a store's address leads, as its driver reads it: on this machine, or over a network.

use mongodb::options::{ConnectionString, HostInfo, ServerAddress, Tls};
use redis::ConnectionAddr;

use crate::execute::redis::addresses;
use crate::execute::settings::is_loopback;

/// Where connections may lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A Unix socket, on which there is no TLS.
    Socket,
    Loopback,
    /// Beyond this machine, or nobody can tell; with what to say of it.
    Network(String),
}

impl Reach {
    /// What is not an address of loopback is a network's.
    pub fn of_host(host: &str) -> Self {
        if host.starts_with('/') {
            Self::Socket
        } else if is_loopback(host) {
            Self::Loopback
        } else {
            Self::Network(format!("`{host}` is not on loopback"))
        }
    }

    /// Of a MongoDB uri, and whether it asks for TLS. Servers tell drivers of the other members of their replica set,
    /// who may be anywhere: only a direct connection stays where it was sent.
    pub fn of_mongodb(uri: &str) -> (Self, bool) {
        let Ok(parsed) = ConnectionString::parse(uri) else {
            return (Self::Network("the `uri` cannot be read".into()), false);
        };
        let encrypted = matches!(parsed.tls, Some(Tls::Enabled(_)));
        let HostInfo::HostIdentifiers(hosts) = &parsed.host_info else {
            return (Self::Network("the hosts come from DNS".into()), encrypted);
        };
        let all: Vec<Self> = hosts.iter().map(of_server).collect();
        let far = all.iter().find(|reach| matches!(reach, Self::Network(_)));
        let stays = parsed.direct_connection == Some(true)
            || parsed.load_balanced == Some(true)
            || parsed.direct_connection.is_none() && parsed.replica_set.is_none();
        let reach = match (far, all.as_slice()) {
            (Some(far), _) => far.clone(),
            (None, [one]) if stays => one.clone(),
            (None, _) => Self::Network(
                "other members of the replica set may not be on loopback (`directConnection=true` with one host keeps to it)"
                    .into(),
            ),
        };
        (reach, encrypted)
    }

    /// Of a Redis url, and whether it asks for TLS: of every Sentinel or node that it names. Servers that these announce
    /// elsewhere are not dialled in plaintext that may not leave the machine.
    pub fn of_redis(url: &str) -> (Self, bool) {
        let Ok(named) = addresses(url) else {
            return (Self::Network("the `url` cannot be read".into()), false);
        };
        let is_encrypted = |address: &_| matches!(address, ConnectionAddr::TcpTls { .. });
        let encrypted = named.iter().any(is_encrypted);
        (Self::farthest(named.iter().map(of_redis)), encrypted)
    }

    /// Of all hosts of a list.
    pub fn of_hosts<'h>(hosts: impl Iterator<Item = &'h str>) -> Self {
        Self::farthest(hosts.map(Self::of_host))
    }

    /// TLS is for all of several servers or for none: one on the network decides, and then one that can have it.
    fn farthest(all: impl Iterator<Item = Self>) -> Self {
        let rank = |reach: &Self| match reach {
            Self::Socket => 0,
            Self::Loopback => 1,
            Self::Network(_) => 2,
        };
        let farther = |one: Self, other: Self| {
            if rank(&other) > rank(&one) {
                other
            } else {
                one
            }
        };
        let unknown = || Self::Network("no server is named".into());
        all.reduce(farther).unwrap_or_else(unknown)
    }
}

fn of_redis(address: &ConnectionAddr) -> Reach {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Reach::of_host(host),
        ConnectionAddr::Unix(_) => Reach::Socket,
        _ => Reach::Network("the `url` names a server that nobody knows".into()),
    }
}

fn of_server(address: &ServerAddress) -> Reach {
    match address {
        ServerAddress::Tcp { host, .. } => Reach::of_host(host),
        ServerAddress::Unix { .. } => Reach::Socket,
        _ => Reach::Network("the `uri` names a host that nobody knows".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(reach: &Reach) -> bool {
        matches!(reach, Reach::Network(_))
    }

    #[test]
    fn hosts() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            assert_eq!(Reach::of_host(host), Reach::Loopback, "{host}");
        }
        assert_eq!(Reach::of_host("/run/postgresql"), Reach::Socket);
        for host in [
            "",
            "db",
            "10.0.0.1",
            "localhost.example",
            "localhost,db",
            "127.0.0.1.example",
            "::ffff:10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(far(&Reach::of_host(host)), "{host}");
        }
    }

    #[test]
    fn mongodb_uris() {
        let check = |uri: &str, near: bool, encrypted: bool| {
            let (reach, asks) = Reach::of_mongodb(uri);
            assert_eq!((!far(&reach), asks), (near, encrypted), "{uri}: {reach:?}");
        };
        check("mongodb://localhost", true, false);
        check("mongodb://u:p@127.0.0.1:1/db?authSource=admin", true, false);
        check("mongodb://[::1]:27017/", true, false);
        check("mongodb://%2Ftmp%2Fmongodb-1.sock", true, false);
        check("mongodb://localhost/?tls=true", true, true);
        check("mongodb://localhost/?tls=false", true, false);
        check("mongodb://db.example/?tls=false", false, false);
        check("mongodb://localhost,db.example/", false, false);
        check(
            "mongodb://db.example,localhost/?directConnection=false",
            false,
            false,
        );
        check("mongodb://localhost:1,localhost:2/", false, false);
        check("mongodb://localhost/?replicaSet=rs0", false, false);
        check("mongodb://localhost/?directConnection=false", false, false);
        check(
            "mongodb://localhost/?replicaSet=rs0&directConnection=true",
            true,
            false,
        );
        check("mongodb+srv://cluster.example.net/", false, true);
        check("not a uri", false, false);
    }

    #[test]
    fn redis_urls() {
        let check = |url: &str, near: bool, encrypted: bool| {
            let (reach, asks) = Reach::of_redis(url);
            assert_eq!((!far(&reach), asks), (near, encrypted), "{url}: {reach:?}");
        };
        check("redis://localhost:6379/0", true, false);
        check("redis://:p@127.0.0.1", true, false);
        check("rediss://localhost", true, true);
        check("redis+unix:///run/redis.sock", true, false);
        check("redis://redis.example:6379", false, false);
        check("rediss://redis.example", false, true);
        check("redis://redis.example#@localhost", false, false);
        check("redis://localhost@redis.example", false, false);
        check("nonsense", false, false);
        check("redis+sentinel://localhost,[::1]:1?master=m", true, false);
        check("redis+sentinel://localhost,s?master=m", false, false);
        check("redis+sentinel://localhost", false, false);
        check("redis+cluster://u:p@127.0.0.1:1,127.0.0.1:2", true, false);
        check("redis+cluster://127.0.0.1:1,10.0.0.1:2", false, false);
        check("redis+cluster://127.0.0.1@c:1", false, false);
        check("rediss+cluster://127.0.0.1:1,127.0.0.1:2", true, true);
        check("rediss+sentinel://a,b?master=m", false, true);
    }

    #[test]
    fn lists() {
        let check = |hosts: &[&str], expected: Reach| {
            assert_eq!(
                Reach::of_hosts(hosts.iter().copied()),
                expected,
                "{hosts:?}"
            );
        };
        check(&["/run/postgresql"], Reach::Socket);
        check(&["/run/postgresql", "::1"], Reach::Loopback);
        check(&["localhost", "a", "b"], Reach::of_host("a"));
    }
}
