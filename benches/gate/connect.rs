//! The drivers' own connections, over verified TLS: what "direct" and the bare handler both stand on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bulkhead::operation::Store;
use mongodb::options::ClientOptions;
use mysql_async::{OptsBuilder, SslOpts};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Fallible;
use crate::environment::Ready;

/// The database that the policy names; the address of the ready file has none.
pub const MONGODB_DATABASE: &str = "enterprise_db";

pub async fn postgres(ready: &Ready) -> Fallible<tokio_postgres::Client> {
    let endpoint = ready.endpoint(Store::Postgres)?;
    let tls = MakeRustlsConnect::new(client_tls(&ready.ca)?);
    let (client, connection) = tokio_postgres::Config::new()
        .host(endpoint.host)
        .port(endpoint.port)
        .user(endpoint.user)
        .password(endpoint.password)
        .dbname(endpoint.database)
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect(tls)
        .await?;
    // What ends the connection also reaches the client's next call, which reports it.
    tokio::spawn(connection);
    Ok(client)
}

/// In plaintext: PgBouncer speaks TLS to the server, as the sidecar does.
pub async fn pgbouncer(address: SocketAddr) -> Fallible<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("bench")
        .dbname("bench")
        .connect(tokio_postgres::NoTls)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

pub fn mysql(ready: &Ready) -> Fallible<OptsBuilder> {
    let endpoint = ready.endpoint(Store::Mysql)?;
    let tls = SslOpts::default()
        .with_root_certs(vec![ready.ca.clone().into()])
        .with_disable_built_in_roots(true);
    Ok(OptsBuilder::default()
        .ip_or_hostname(endpoint.host)
        .tcp_port(endpoint.port)
        .user(Some(endpoint.user))
        .pass(Some(endpoint.password))
        .db_name(Some(endpoint.database))
        .prefer_socket(false)
        .ssl_opts(tls))
}

/// A client whose pool has at most so many connections.
pub async fn mongodb(ready: &Ready, connections: (u32, u32)) -> Fallible<mongodb::Database> {
    let (min, max) = connections;
    let mut options = ClientOptions::parse(ready.url(Store::Mongodb)).await?;
    options.min_pool_size = Some(min);
    options.max_pool_size = Some(max);
    let client = mongodb::Client::with_options(options)?;
    Ok(client.database(MONGODB_DATABASE))
}

pub async fn redis(ready: &Ready) -> Fallible<MultiplexedConnection> {
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: Some(std::fs::read(&ready.ca)?),
    };
    let client = redis::Client::build_with_tls(ready.url(Store::Redis), certificates)?;
    // No timer around each command: whoever measures has a clock of its own.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

pub fn client_tls(ca: &Path) -> Fallible<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
