//! The corpus' schemas in the private servers, and a sidecar of its own in front of them, with the corpus' policy.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::corpus::{Case, folder};
use crate::support::{Dev, Reply, send};

pub const DATABASE: &str = "corpus";
/// Where hostile requests are put directly; the sidecar's caller is never led there.
pub const SCRATCH: &str = "corpus_scratch";
/// What both are copied from.
pub const PRISTINE: &str = "corpus_pristine";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The administrator's connection to one of PostgreSQL's databases.
pub async fn postgres(dev: &Dev, database: &str) -> tokio_postgres::Client {
    postgres_at(dev, dev.store_url("postgres"), database).await
}

/// Whoever's connection the URL says.
pub async fn postgres_at(dev: &Dev, url: &str, database: &str) -> tokio_postgres::Client {
    let url = url.split('?').next().unwrap();
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config
        .ssl_mode(tokio_postgres::config::SslMode::Require)
        .dbname(database);
    let settings = bulkhead::config::Config::load(&dev.config).unwrap();
    let tls = settings.stores.postgres.unwrap().tls;
    let tls = bulkhead::execute::tls::client_config(&tls)
        .unwrap()
        .unwrap();
    let (client, connection) = config
        .connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// The administrator's connection to MariaDB or MySQL, in the corpus' database if it is there.
pub async fn mysql(dev: &Dev, database: Option<&str>) -> mysql_async::Conn {
    mysql_at(dev, dev.store_url("mysql"), database).await
}

/// Whoever's connection the URL says.
pub async fn mysql_at(dev: &Dev, url: &str, database: Option<&str>) -> mysql_async::Conn {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = bulkhead::config::Config::load(&dev.config).unwrap();
    let ca = settings.stores.mysql.unwrap().tls.ca_file.unwrap();
    let url = url.split('?').next().unwrap();
    let options = mysql_async::OptsBuilder::from_opts(mysql_async::Opts::from_url(url).unwrap())
        .db_name(database)
        .ssl_opts(mysql_async::SslOpts::default().with_root_certs(vec![ca.into()]));
    mysql_async::Conn::new(options).await.unwrap()
}

pub async fn load_schemas(dev: &Dev) {
    let schema = std::fs::read_to_string(folder().join("schema_postgres.sql")).unwrap();
    let admin = postgres(dev, "postgres").await;
    admin
        .batch_execute(&format!("CREATE DATABASE {PRISTINE}"))
        .await
        .unwrap();
    // Roles that cases name.
    admin
        .batch_execute("CREATE ROLE app; CREATE ROLE other_role; CREATE ROLE postgres")
        .await
        .unwrap();
    {
        let pristine = postgres(dev, PRISTINE).await;
        pristine.batch_execute(&schema).await.unwrap();
        // The application's account may do everything there, so that a refusal is the gate's, not the server's.
        pristine
            .batch_execute(
                "GRANT ALL ON ALL TABLES IN SCHEMA public, archive TO bulkhead_app;
                 GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO bulkhead_app;
                 GRANT ALL ON SCHEMA public, archive TO bulkhead_app",
            )
            .await
            .unwrap();
    }
    copy_database(&admin, DATABASE).await;
    reload_mysql(dev).await;
    let mut mysql = mysql(dev, None).await;
    mysql
        .query_drop("GRANT ALL ON *.* TO 'bulkhead_app'@'%'")
        .await
        .unwrap();
}

/// A database as [`PRISTINE`] is. A connection that has just ended may hold that for a moment.
pub async fn copy_database(admin: &tokio_postgres::Client, name: &str) {
    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    admin.batch_execute(&drop).await.unwrap();
    let create = format!("CREATE DATABASE {name} TEMPLATE {PRISTINE}");
    let began = Instant::now();
    while let Err(error) = admin.batch_execute(&create).await {
        assert!(began.elapsed() < START_TIMEOUT, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The corpus' two databases, as new.
pub async fn reload_mysql(dev: &Dev) {
    let schema = std::fs::read_to_string(folder().join("schema_mysql.sql")).unwrap();
    let mut conn = mysql(dev, None).await;
    conn.query_drop(format!(
        "DROP DATABASE IF EXISTS {DATABASE}; DROP DATABASE IF EXISTS vault; \
         CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; USE {DATABASE}"
    ))
    .await
    .unwrap();
    conn.query_drop(schema).await.unwrap();
}

/// One running `bulkhead serve`; killed when dropped.
pub struct Sidecar {
    child: Child,
    key: String,
    http: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _folder: tempfile::TempDir,
}

impl Sidecar {
    pub async fn start(dev: &Dev) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, admin) = (free_address(), free_address());
        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, unlimited_policy()).unwrap();
        let mut settings: toml::Table = std::fs::read_to_string(&dev.config)
            .unwrap()
            .parse()
            .unwrap();
        for (place, value) in [
            (["server", "listen"].as_slice(), http.as_str()),
            (&["admin", "listen"], &admin),
            (&["policy", "path"], policy.to_str().unwrap()),
            (&["stores", "postgres", "database"], DATABASE),
            (&["stores", "mysql", "database"], DATABASE),
        ] {
            set(&mut settings, place, value);
        }
        let config = folder.path().join("bulkhead.toml");
        std::fs::write(&config, settings.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut sidecar = Self {
            child,
            key: dev.app.clone(),
            http: format!("http://{http}"),
            client: Client::builder(TokioExecutor::new()).build_http(),
            _folder: folder,
        };
        sidecar.wait_ready(&admin).await;
        sidecar
    }

    async fn wait_ready(&mut self, admin: &str) {
        let began = Instant::now();
        loop {
            assert!(self.child.try_wait().unwrap().is_none(), "serve has ended");
            assert!(began.elapsed() < START_TIMEOUT, "serve is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
            if std::net::TcpStream::connect(admin).is_ok() {
                let url = format!("http://{admin}/readyz");
                if send(Method::GET, &url, &[], None).await.status == 200 {
                    return;
                }
            }
        }
    }

    pub async fn ask(&self, case: &Case) -> Reply {
        let (path, body) = case.http();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.http))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let reply = self.client.request(request).await.unwrap();
        let (parts, body) = reply.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The corpus' policy with a rate limit that the whole corpus stays under.
fn unlimited_policy() -> String {
    let text = std::fs::read_to_string(folder().join("policy.toml")).unwrap();
    let mut policy: toml::Table = text.parse().unwrap();
    let limit = policy["rate_limits"]["app"].as_table_mut().unwrap();
    limit.insert("requests".into(), 1_000_000.into());
    limit.insert("burst".into(), 100_000.into());
    policy.to_string()
}

fn set(table: &mut toml::Table, place: &[&str], value: &str) {
    match place {
        [last] => {
            table.insert((*last).to_owned(), value.into());
        }
        [first, rest @ ..] => set(table[*first].as_table_mut().unwrap(), rest, value),
        [] => unreachable!(),
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
