//! Statements prepared on one connection.

use std::sync::{Arc, Mutex, MutexGuard};

use quick_cache::unsync::Cache;
use tokio_postgres::{Client, Statement};

use super::decode::Codec;
use crate::execute::Error;
use crate::lock::Unpoisoned as _;
use crate::reply::Column;

/// Statements kept prepared on each connection; the server keeps a plan for each.
pub(super) const STATEMENTS_MAX: usize = 256;
/// Longer texts (rows spelt out in an INSERT, mostly) are prepared for one use.
const STATEMENT_KEPT_BYTES_MAX: usize = 16 * 1024;

/// A prepared statement, with what its result needs and is the same for every row.
pub(super) struct Prepared {
    pub(super) statement: Statement,
    pub(super) columns: Vec<Column>,
    pub(super) codecs: Vec<Codec>,
}

/// Keyed by text. An evicted statement is closed on the server when its last user drops it.
pub(super) struct Statements(Mutex<Cache<Arc<str>, Arc<Prepared>>>);

impl Statements {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Cache::new(STATEMENTS_MAX)))
    }

    pub(super) fn get(&self, sql: &str) -> Option<Arc<Prepared>> {
        self.lock().get(sql).cloned()
    }

    pub(super) fn keep(&self, sql: &Arc<str>, prepared: &Arc<Prepared>) {
        if sql.len() <= STATEMENT_KEPT_BYTES_MAX {
            self.lock().insert(Arc::clone(sql), Arc::clone(prepared));
        }
    }

    pub(super) fn forget(&self, sql: &str) {
        self.lock().remove(sql);
    }

    /// Held for one look-up; readers of one connection come from any thread.
    fn lock(&self) -> MutexGuard<'_, Cache<Arc<str>, Arc<Prepared>>> {
        self.0.lock().unpoisoned()
    }
}

/// Why a statement could not be prepared.
pub(super) enum PrepareError {
    Driver(tokio_postgres::Error),
    /// The statement is fine, but its result cannot be shown.
    Refused(Error),
}

/// One round trip, and a few more when a type is met for the first time on a connection.
pub(super) async fn prepare(client: &Client, sql: &str) -> Result<Prepared, PrepareError> {
    let statement = client.prepare(sql).await.map_err(PrepareError::Driver)?;
    let mut columns = Vec::with_capacity(statement.columns().len());
    let mut codecs = Vec::with_capacity(statement.columns().len());
    for column in statement.columns() {
        let type_ = column.type_();
        let Some(codec) = Codec::of(type_) else {
            return Err(PrepareError::Refused(Error::Invalid(format!(
                "column `{}` has type `{}`, which cannot be returned: cast it to text (`{}::text`)",
                column.name(),
                type_.name(),
                column.name(),
            ))));
        };
        columns.push(Column {
            name: column.name().to_owned(),
            database_type: type_name(type_.name()).into(),
        });
        codecs.push(codec);
    }
    Ok(Prepared {
        statement,
        columns,
        codecs,
    })
}

/// `int4[]` rather than the catalogue's `_int4`.
fn type_name(name: &str) -> String {
    match name.strip_prefix('_') {
        Some(element) => format!("{element}[]"),
        None => name.to_owned(),
    }
}
