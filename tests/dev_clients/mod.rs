//! Clients of the private servers, each the shortest that does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use bulkhead::dev::{Credentials, Servers};
use bulkhead::operation::Store;
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use mysql_async::prelude::Queryable;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;

/// The server was reached and refused the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused;

/// Without TLS nobody gets in, not even the administrator.
pub async fn plaintext_is_refused(servers: &Servers, store: Store) {
    let server = servers.get(store);
    let admin = server.administrator();
    match store {
        Store::Postgres => {
            let refused = postgres_config(servers, admin)
                .ssl_mode(tokio_postgres::config::SslMode::Disable)
                .connect(tokio_postgres::NoTls)
                .await;
            let text = format!("{:?}", refused.err().unwrap());
            assert!(text.contains("pg_hba.conf rejects"), "{text}");
        }
        Store::Mysql => {
            let opts = mysql_opts(servers, admin).ssl_opts(None::<mysql_async::SslOpts>);
            let text = mysql_async::Conn::new(opts).await.unwrap_err().to_string();
            // The account itself demands TLS, and so does the server.
            assert!(
                text.contains("ERROR 1045") || text.contains("ERROR 3159"),
                "{text}"
            );
        }
        Store::Mongodb => {
            let client = mongodb_client(server.port(), admin, Tls::Disabled);
            client
                .database("admin")
                .run_command(doc! {"ping": 1})
                .await
                .unwrap_err();
        }
        Store::Redis => {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            stream.write_all(b"PING\r\n").unwrap();
            let mut answer = Vec::new();
            // Some systems report the refusal as a reset.
            let _ = stream.read_to_end(&mut answer);
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains("PONG") && !text.contains("NOAUTH"), "{text}");
        }
    }
}

/// Runs a request with the account that runs callers' statements.
pub async fn try_as_app(servers: &Servers, store: Store, request: &str) -> Result<(), Refused> {
    let app = servers.get(store).app();
    match store {
        Store::Postgres => {
            let client = postgres_client(servers, app).await;
            client.batch_execute(request).await.map_err(|_| Refused)
        }
        Store::Mysql => {
            let mut conn = mysql_conn(servers, app).await;
            conn.query_drop(request).await.map_err(|_| Refused)
        }
        Store::Mongodb => {
            let json: serde_json::Value = serde_json::from_str(request).unwrap();
            let mut command: Document = bson::serialize_to_document(&json).unwrap();
            let name = command.remove("$db").unwrap();
            let client = mongodb_client_over_tls(servers, app);
            let database = client.database(name.as_str().unwrap());
            database
                .run_command(command)
                .await
                .map(drop)
                .map_err(|_| Refused)
        }
        Store::Redis => {
            let mut conn = redis_conn(servers, app).await;
            let mut words = request.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            command.exec_async(&mut conn).await.map_err(|_| Refused)
        }
    }
}

/// One more of what [`count`] counts.
pub async fn write_one(servers: &Servers, store: Store) {
    let request = match store {
        Store::Postgres => "INSERT INTO audit_logs (action) VALUES ('counted')",
        Store::Mysql => {
            "INSERT INTO transactions (user_id, amount, currency, kind) VALUES (1, 1, 'EUR', 'deposit')"
        }
        Store::Mongodb => {
            r#"{"insert": "activity_logs", "documents": [{"a": 1}], "writeConcern": {"w": "majority"}, "$db": "enterprise_db"}"#
        }
        Store::Redis => "RPUSH queue:counted x",
    };
    try_as_app(servers, store, request).await.unwrap();
}

pub async fn count(servers: &Servers, store: Store) -> i64 {
    let app = servers.get(store).app();
    match store {
        Store::Postgres => {
            let client = postgres_client(servers, app).await;
            let row = client
                .query_one("SELECT count(*) FROM audit_logs", &[])
                .await;
            row.unwrap().get(0)
        }
        Store::Mysql => {
            let mut conn = mysql_conn(servers, app).await;
            let count = conn.query_first("SELECT count(*) FROM transactions").await;
            count.unwrap().unwrap()
        }
        Store::Mongodb => {
            let client = mongodb_client_over_tls(servers, app);
            let logs = client
                .database("enterprise_db")
                .collection::<Document>("activity_logs");
            i64::try_from(logs.count_documents(doc! {}).await.unwrap()).unwrap()
        }
        Store::Redis => {
            let mut conn = redis_conn(servers, app).await;
            let length = redis::cmd("LLEN")
                .arg("queue:counted")
                .query_async(&mut conn)
                .await;
            length.unwrap()
        }
    }
}

fn postgres_config(servers: &Servers, account: &Credentials) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(servers.postgres.port())
        .user(account.user)
        .password(account.password.expose_secret())
        .dbname("enterprise_system_db");
    config
}

async fn postgres_client(servers: &Servers, account: &Credentials) -> tokio_postgres::Client {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(servers.ca_file()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, connection) = postgres_config(servers, account)
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn mysql_opts(servers: &Servers, account: &Credentials) -> mysql_async::OptsBuilder {
    let tls = mysql_async::SslOpts::default()
        .with_root_certs(vec![servers.ca_file().into()])
        .with_disable_built_in_roots(true);
    mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(servers.mysql.port())
        .user(Some(account.user))
        .pass(Some(account.password.expose_secret()))
        .db_name(Some("enterprise_app_db"))
        .prefer_socket(false)
        .ssl_opts(tls)
}

async fn mysql_conn(servers: &Servers, account: &Credentials) -> mysql_async::Conn {
    mysql_async::Conn::new(mysql_opts(servers, account))
        .await
        .unwrap()
}

fn mongodb_client_over_tls(servers: &Servers, account: &Credentials) -> mongodb::Client {
    let tls = TlsOptions::builder()
        .ca_file_path(servers.ca_file())
        .build();
    mongodb_client(servers.mongodb.port(), account, Tls::Enabled(tls))
}

fn mongodb_client(port: u16, account: &Credentials, tls: Tls) -> mongodb::Client {
    let credential = Credential::builder()
        .username(account.user.to_owned())
        .password(account.password.expose_secret().to_owned())
        .source("admin".to_owned())
        .build();
    let host = ServerAddress::Tcp {
        host: "127.0.0.1".to_owned(),
        port: Some(port),
    };
    let options = ClientOptions::builder()
        .hosts(vec![host])
        .direct_connection(true)
        .server_selection_timeout(Duration::from_secs(3))
        .credential(credential)
        .tls(tls)
        .build();
    mongodb::Client::with_options(options).unwrap()
}

async fn redis_conn(servers: &Servers, account: &Credentials) -> redis::aio::MultiplexedConnection {
    let url = format!(
        "rediss://{}:{}@127.0.0.1:{}/0",
        account.user,
        account.password.expose_secret(),
        servers.redis.port()
    );
    let certificates = redis::TlsCertificates {
        client_tls: None,
        root_cert: Some(std::fs::read(servers.ca_file()).unwrap()),
    };
    let client = redis::Client::build_with_tls(url, certificates).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}
