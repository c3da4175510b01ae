//! One private PostgreSQL for all tests of this binary, with a database of its own for each.

use std::sync::OnceLock;

use bulkhead::dev::{Options, Servers};
use bulkhead::execute::settings::{
    PoolSettings, SqlStoreSettings, TlsSettings, TransactionSettings,
};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        // The server's runtime must outlive each test's own, so it has a thread to itself for good.
        let (started, servers) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let mut servers = Servers::prepare(&Options::default()).unwrap();
                servers.postgres.start().await.unwrap();
                started.send(servers).unwrap();
                std::future::pending::<()>().await;
            });
        });
        servers.recv().unwrap()
    })
}

/// How the administrator reaches a database.
pub fn settings(database: &str) -> SqlStoreSettings {
    let servers = servers();
    let administrator = servers.postgres.administrator();
    SqlStoreSettings {
        host: "127.0.0.1".to_owned(),
        port: servers.postgres.port(),
        failover: Default::default(),
        database: database.to_owned(),
        user: administrator.user.to_owned(),
        password: administrator.password.clone(),
        tls: TlsSettings {
            ca_file: Some(servers.ca_file()),
            ..TlsSettings::default()
        },
        pool: PoolSettings {
            min: 1,
            max: 2,
            acquire_timeout_ms: 1_000,
            waiting_max: 8,
            max_lifetime_s: 600,
        },
        transactions: TransactionSettings::of_pool(2),
        statement_timeout_ms: 10_000,
    }
}

pub async fn connect(database: &str) -> Client {
    use secrecy::ExposeSecret;
    let settings = settings(database);
    let tls = bulkhead::execute::tls::client_config(&settings.tls)
        .unwrap()
        .unwrap();
    let (client, connection) = tokio_postgres::Config::new()
        .host(&settings.host)
        .port(settings.port)
        .dbname(database)
        .user(&settings.user)
        .password(settings.password.expose_secret())
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect(MakeRustlsConnect::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// A new database with these tables.
pub async fn database(name: &str, schema: &str) -> Client {
    let administrator = connect("postgres").await;
    administrator
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let client = connect(name).await;
    let (extensions, tables): (Vec<&str>, Vec<&str>) = schema
        .lines()
        .partition(|line| line.starts_with("CREATE EXTENSION"));
    for extension in extensions {
        // Not every server has every extension; statements that need an absent one are not valid there.
        let _ = client.batch_execute(extension).await;
    }
    client.batch_execute(&tables.join("\n")).await.unwrap();
    client
}
