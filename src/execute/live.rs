//! What the tests of the SQL executors on real servers share.

use std::sync::OnceLock;

use serde_json::value::RawValue;

use super::request::SqlRequest;
use super::settings::{PoolSettings, SqlStoreSettings, TlsSettings, TransactionSettings};
use crate::dev::{Options, Servers};
use crate::operation::Store;
use crate::reply::{Column, RowSink, SinkError, Value};
use crate::schema;

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
                let mut client = servers.system_client().await.unwrap();
                schema::apply(&mut client).await.unwrap();
                started.send(servers).unwrap();
                std::future::pending::<()>().await;
            });
        });
        servers.recv().unwrap()
    })
}

/// How an administrator reaches `store`.
pub(super) fn settings(store: Store, pool: PoolSettings) -> SqlStoreSettings {
    let servers = servers();
    let server = servers.get(store);
    let administrator = server.administrator();
    let url = server.url();
    let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    SqlStoreSettings {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
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
