//! One private PostgreSQL for all tests of this binary; each has a database of its own, and a configuration that names it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use bulkhead::dev::{Options, Server, Servers};
use bulkhead::execute::settings::SqlStoreSettings;
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

/// A database with the system tables.
pub struct Trail {
    pub folder: tempfile::TempDir,
    pub settings: SqlStoreSettings,
}

impl Trail {
    /// A new database of the shared server.
    pub async fn new(name: &str) -> Self {
        Self::made(servers(), name, "").await
    }

    /// A copy of a database that nobody is connected to.
    pub async fn copy(name: &str, template: &str) -> Self {
        Self::made(servers(), name, template).await
    }

    pub async fn made(servers: &Servers, name: &str, template: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trail = Self::at(folder, servers, name);
        let administrator = connect(&trail.settings, "postgres").await;
        let template = match template {
            "" => String::new(),
            template => format!(" TEMPLATE {template}"),
        };
        let create = format!("CREATE DATABASE {name}{template}");
        administrator.batch_execute(&create).await.unwrap();
        if template.is_empty() {
            let mut client = trail.client().await;
            bulkhead::schema::apply(&mut client).await.unwrap();
        }
        trail
    }

    fn at(folder: tempfile::TempDir, servers: &Servers, database: &str) -> Self {
        let server: &Server = &servers.postgres;
        let administrator = server.administrator();
        let config = format!(
            "[policy]\npath = {policy:?}\n[system]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = {database:?}\n\
             user = {user:?}\npassword_file = {password:?}\ntls = {{ mode = \"verify-full\", ca_file = {ca:?} }}\n",
            policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml"),
            port = server.port(),
            user = administrator.user,
            password = administrator.password_file,
            ca = servers.ca_file(),
        );
        let path = folder.path().join("bulkhead.toml");
        std::fs::write(&path, config).unwrap();
        let settings = bulkhead::config::Config::load(&path).unwrap().system;
        Self { folder, settings }
    }

    pub async fn client(&self) -> Client {
        connect(&self.settings, &self.settings.database).await
    }

    /// Makes room for others.
    pub async fn remove(self) {
        let administrator = connect(&self.settings, "postgres").await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.settings.database);
        administrator.batch_execute(&drop).await.unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `bulkhead audit …` with this database's configuration: the exit code, what it printed, and what it said beside it.
    pub fn audit(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .arg("audit")
            .args(arguments)
            .env("BULKHEAD_CONFIG", self.path("bulkhead.toml"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Verifies in the database and in an exported file, and finds nothing in either. Returns the rows.
    pub fn is_clean(&self) -> u64 {
        let (code, online, errors) = self.audit(&["verify", "--format", "json"]);
        assert_eq!(code, 0, "{online}{errors}");
        let export = self.path(&format!(
            "export-{}.jsonl",
            std::fs::read_dir(self.folder.path()).unwrap().count()
        ));
        let export = export.display().to_string();
        let (code, _, errors) = self.audit(&["export", "--output", &export]);
        assert_eq!(code, 0, "{errors}");
        let (code, offline, errors) =
            self.audit(&["verify", "--file", &export, "--format", "json"]);
        assert_eq!(code, 0, "{offline}{errors}");
        assert_eq!(online, offline);
        let report: serde_json::Value = serde_json::from_str(&online).unwrap();
        report["rows"].as_u64().unwrap()
    }
}

/// As the administrator.
async fn connect(settings: &SqlStoreSettings, database: &str) -> Client {
    use secrecy::ExposeSecret;
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
