//! What the tests of the SQL executors on real servers share.

use std::sync::OnceLock;

use serde_json::value::RawValue;

use super::request::SqlRequest;
use super::settings::{
    Address, Failover, PoolSettings, SessionAttrs, SqlStoreSettings, TlsSettings,
    TransactionSettings,
};
use crate::dev::{Options, Servers};
use crate::operation::Store;
use crate::reply::{Column, RowSink, SinkError, Value};

/// Private PostgreSQL and MariaDB or MySQL for all tests of this process; they end with it.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        // The servers' runtime must outlive each test's own, so it has a thread to itself for good.
        let (started, servers) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let mut servers = Servers::prepare(&Options::default()).unwrap();
                tokio::try_join!(servers.postgres.start(), servers.mysql.start()).unwrap();
                started.send(servers).unwrap();
                std::future::pending::<()>().await;
            });
        });
        servers.recv().unwrap()
    })
}

/// How an administrator reaches `store`.
pub(super) fn settings(store: Store, pool: PoolSettings) -> SqlStoreSettings {
    settings_of(servers(), store, pool)
}

fn settings_of(servers: &Servers, store: Store, pool: PoolSettings) -> SqlStoreSettings {
    let server = servers.get(store);
    let administrator = server.administrator();
    let url = server.url();
    let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    SqlStoreSettings {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        failover: Failover::default(),
        database: database.to_owned(),
        user: administrator.user.to_owned(),
        password: administrator.password.clone(),
        tls: TlsSettings {
            ca_file: Some(servers.ca_file()),
            ..TlsSettings::default()
        },
        transactions: TransactionSettings::of_pool(pool.max),
        pool,
        statement_timeout_ms: 10_000,
    }
}

/// Two private servers of one store, of which one stands for the other's standby, and how to reach both as one.
pub(super) struct Pair {
    pub(super) servers: [Servers; 2],
    pub(super) settings: SqlStoreSettings,
    _folder: tempfile::TempDir,
}

impl Pair {
    pub(super) async fn start(store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("both.pem");
        let mut servers = [(); 2].map(|()| Servers::prepare(&Options::default()).unwrap());
        let mut authorities = Vec::new();
        for servers in &mut servers {
            servers.get_mut(store).start().await.unwrap();
            authorities.extend(std::fs::read(servers.ca_file()).unwrap());
        }
        std::fs::write(&ca_file, authorities).unwrap();
        let [mut settings, other] =
            [0, 1].map(|index| settings_of(&servers[index], store, small_pool(3)));
        settings.tls.ca_file = Some(ca_file);
        settings.user = "either".to_owned();
        settings.password = "either".to_owned().into();
        settings.failover = Failover {
            others: vec![Address {
                host: other.host,
                port: other.port,
            }],
            target: SessionAttrs::ReadWrite,
        };
        Self {
            servers,
            settings,
            _folder: folder,
        }
    }

    /// How an administrator reaches one of them.
    pub(super) fn administrator(&self, index: usize, store: Store) -> SqlStoreSettings {
        settings_of(&self.servers[index], store, small_pool(1))
    }
}

pub(super) fn small_pool(max: u32) -> PoolSettings {
    PoolSettings {
        min: 1,
        max,
        acquire_timeout_ms: 500,
        waiting_max: 64,
        max_lifetime_s: 60,
    }
}

pub(super) fn request(params: &[&str]) -> SqlRequest {
    SqlRequest {
        params: params
            .iter()
            .map(|text| RawValue::from_string((*text).to_owned()).unwrap())
            .collect(),
        timeout_ms: None,
    }
}

/// Keeps everything, as text: `Int(5)`, `Text("a")`.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// How many rows to take before refusing.
    pub(super) rows_max: Option<usize>,
}

impl RowSink for Kept {
    fn limit_rows(&mut self, _rows_max: u64) {}

    fn columns(&mut self, columns: &[Column]) -> Result<(), SinkError> {
        self.columns = columns
            .iter()
            .map(|column| format!("{}:{}", column.name, column.database_type))
            .collect();
        Ok(())
    }

    fn start_row(&mut self) -> Result<(), SinkError> {
        if self.rows_max == Some(self.rows.len()) {
            return Err(SinkError::RowsMax(self.rows.len() as u64));
        }
        self.rows.push(Vec::new());
        Ok(())
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), SinkError> {
        self.rows.last_mut().unwrap().push(format!("{value:?}"));
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
