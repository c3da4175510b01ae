//! Where a store's address leads, as its driver reads it: on this machine, or over a network.

use mongodb::options::{ConnectionString, HostInfo, ServerAddress, Tls};
use redis::{ConnectionAddr, IntoConnectionInfo as _};

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
    /// What is not an address of loopback is a network's, a name other than `localhost` too: who answers for names may
    /// change his mind.
    pub fn of_host(host: &str) -> Self {
        let is_loopback = |address: std::net::IpAddr| address.is_loopback();
        if host.starts_with('/') {
            Self::Socket
        } else if host == "localhost" || host.parse().is_ok_and(is_loopback) {
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

    /// Of a Redis url, and whether it asks for TLS.
    pub fn of_redis(url: &str) -> (Self, bool) {
        let Ok(info) = url.into_connection_info() else {
            return (Self::Network("the `url` cannot be read".into()), false);
        };
        match info.addr() {
            ConnectionAddr::Tcp(host, _) => (Self::of_host(host), false),
            ConnectionAddr::TcpTls { host, .. } => (Self::of_host(host), true),
            ConnectionAddr::Unix(_) => (Self::Socket, false),
            _ => (Self::Network("the `url` cannot be read".into()), false),
        }
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
    }
}
