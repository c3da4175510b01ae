//! PostgreSQL in a transaction that is rolled back; MariaDB or MySQL in databases that are made anew after
//! whatever is not one.

use futures_util::{StreamExt, pin_mut};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use tokio_postgres::error::SqlState;

use super::{Outcome, Who};
use crate::corpus::Case;
use crate::sidecar::{
    DATABASE, SCRATCH, copy_database, mysql, mysql_at, postgres, postgres_at, reload_mysql,
};
use crate::support::Dev;

/// The server's objection to a statement that manages transactions itself.
const ACTIVE_SQL_TRANSACTION: &str = "25001";

/// Reconfigures, stops or writes files of the whole server, or ends others' sessions.
const HARM_POSTGRES: [&str; 12] = [
    "ALTER SYSTEM",
    "PG_RELOAD_CONF",
    "PG_ROTATE_LOGFILE",
    "PG_TERMINATE_BACKEND",
    "PG_CANCEL_BACKEND",
    "PG_PROMOTE",
    "LO_EXPORT",
    "PG_FILE_WRITE",
    " PROGRAM ",
    "TO '/",
    "DROP DATABASE",
    "ALTER DATABASE",
];

/// First words of statements that do so in MariaDB and MySQL.
const HARM_MYSQL: [&str; 17] = [
    "BACKUP",
    "BINLOG",
    "CHANGE",
    "CREATE USER",
    "DROP USER",
    "FLUSH",
    "GRANT",
    "IMPORT",
    "INSTALL",
    "KILL",
    "LOCK",
    "PURGE",
    "RESET",
    "REVOKE",
    "SET GLOBAL",
    "SHUTDOWN",
    "UNINSTALL",
];

/// The servers' codes for a privilege that is missing: on a database, an account, a table, a column, a routine, a
/// view's tables, and those that are named in the error.
const DENIED_MYSQL: [u16; 10] = [1044, 1045, 1095, 1142, 1143, 1227, 1345, 1356, 1370, 1410];

pub struct Postgres<'d> {
    dev: &'d Dev,
    who: Who,
    is_dirty: bool,
}

impl<'d> Postgres<'d> {
    pub fn open(dev: &'d Dev, who: Who) -> Self {
        Self {
            dev,
            who,
            is_dirty: true,
        }
    }

    pub async fn put(&mut self, case: &Case) -> Outcome {
        let Some(text) = text_of(case) else {
            return Outcome::NotHere(
                "its bytes are not UTF-8 without NUL, the driver's only text".into(),
            );
        };
        let upper = text.to_uppercase();
        if HARM_POSTGRES.iter().any(|word| upper.contains(word)) {
            return Outcome::KeptBack;
        }
        self.renew().await;
        let url = self.who.url(self.dev, "postgres");
        let client = postgres_at(self.dev, &url, SCRATCH).await;
        // A second statement may be a COMMIT.
        self.is_dirty = text.trim_end_matches(';').contains(';');
        let refused = |step: &str, error: tokio_postgres::Error| {
            let cause = error
                .as_db_error()
                .map_or_else(|| error.to_string(), |db| db.message().to_owned());
            if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                return Outcome::Refused(cause);
            }
            Outcome::Failed(format!("{step}: {cause}"))
        };
        // What an administrator did before is the administrator's.
        if self.who == Who::Native && !case.setup.is_empty() {
            self.is_dirty = true;
            let admin = postgres(self.dev, SCRATCH).await;
            for statement in &case.setup {
                if let Err(error) = admin.batch_execute(statement.as_str().unwrap()).await {
                    return refused("setup", error);
                }
            }
        }
        client.batch_execute("BEGIN").await.unwrap();
        for statement in case.setup.iter().filter(|_| self.who == Who::Administrator) {
            let statement = statement.as_str().unwrap();
            if let Err(error) = client.batch_execute(statement).await {
                return refused("setup", error);
            }
        }
        let outcome = run_postgres(&client, &text, &case.params).await;
        let _ = client.batch_execute("ROLLBACK").await;
        match outcome {
            Ok(()) => Outcome::Succeeded,
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| code.code() == ACTIVE_SQL_TRANSACTION) =>
            {
                self.is_dirty = true;
                match run_postgres(&client, &text, &case.params).await {
                    Ok(()) => Outcome::Succeeded,
                    Err(error) => refused("alone", error),
                }
            }
            Err(error) => refused("in a transaction", error),
        }
    }

    async fn renew(&mut self) {
        if !self.is_dirty {
            return;
        }
        let admin = postgres(self.dev, "postgres").await;
        copy_database(&admin, SCRATCH).await;
    }
}

async fn run_postgres(
    client: &tokio_postgres::Client,
    text: &str,
    params: &[Value],
) -> Result<(), tokio_postgres::Error> {
    let upper = text.trim_start().to_uppercase();
    if upper.starts_with("COPY") && upper.contains("STDOUT") {
        let stream = client.copy_out(text).await?;
        pin_mut!(stream);
        while let Some(bytes) = stream.next().await {
            bytes?;
        }
        return Ok(());
    }
    if params.is_empty() {
        return client.batch_execute(text).await;
    }
    // Values in text form, of types that the server works out.
    let literal = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("'{value}'")
        }
    };
    let values: Vec<String> = params.iter().map(literal).collect();
    let call = format!("PREPARE put AS {text}; EXECUTE put({})", values.join(", "));
    client.batch_execute(&call).await
}

pub struct Mysql<'d> {
    dev: &'d Dev,
    who: Who,
    is_dirty: bool,
    is_mariadb: Option<bool>,
}

impl<'d> Mysql<'d> {
    pub fn open(dev: &'d Dev, who: Who) -> Self {
        Self {
            dev,
            who,
            is_dirty: true,
            is_mariadb: None,
        }
    }

    pub async fn put(&mut self, case: &Case) -> Outcome {
        let Some(text) = bytes_of(case) else {
            return Outcome::NotHere("it has no text".into());
        };
        let upper = String::from_utf8_lossy(&text).trim().to_uppercase();
        if HARM_MYSQL.iter().any(|words| upper.starts_with(words))
            || upper.contains("OUTFILE")
            || upper.contains("DUMPFILE")
        {
            return Outcome::KeptBack;
        }
        if self.is_dirty {
            reload_mysql(self.dev).await;
        }
        let url = self.who.url(self.dev, "mysql");
        let mut conn = mysql_at(self.dev, &url, Some(DATABASE)).await;
        if let Some(dialect) = &case.dialect
            && (dialect == "mariadb") != self.is_mariadb(&mut conn).await
        {
            return Outcome::NotHere(format!("only {dialect} accepts it"));
        }
        // These commit by themselves, and change what later cases need.
        let lasting = ["ALTER", "DROP", "RENAME", "TRUNCATE"];
        self.is_dirty = lasting.iter().any(|word| upper.starts_with(word)) || upper.contains(';');
        if self.who == Who::Native && !case.setup.is_empty() {
            self.is_dirty = true;
            let mut admin = mysql(self.dev, Some(DATABASE)).await;
            for statement in &case.setup {
                if let Err(error) = admin.query_drop(statement.as_str().unwrap()).await {
                    return Outcome::Failed(format!("setup: {error}"));
                }
            }
        }
        conn.query_drop("BEGIN").await.unwrap();
        for statement in case.setup.iter().filter(|_| self.who == Who::Administrator) {
            if let Err(error) = conn.query_drop(statement.as_str().unwrap()).await {
                return Outcome::Failed(format!("setup: {error}"));
            }
        }
        let outcome = conn.query_drop(text).await;
        let _ = conn.query_drop("ROLLBACK").await;
        let _ = conn.disconnect().await;
        match outcome {
            Ok(()) => Outcome::Succeeded,
            Err(mysql_async::Error::Server(error)) if DENIED_MYSQL.contains(&error.code) => {
                Outcome::Refused(error.message)
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn is_mariadb(&mut self, conn: &mut mysql_async::Conn) -> bool {
        if self.is_mariadb.is_none() {
            let version: Option<String> = conn.query_first("SELECT version()").await.unwrap();
            self.is_mariadb = Some(version.unwrap().contains("MariaDB"));
        }
        self.is_mariadb.unwrap()
    }
}

fn bytes_of(case: &Case) -> Option<Vec<u8>> {
    let text = || case.request.as_str().map(|text| text.as_bytes().to_vec());
    case.bytes.clone().or_else(text)
}

fn text_of(case: &Case) -> Option<String> {
    let text = String::from_utf8(bytes_of(case)?).ok()?;
    (!text.contains('\0')).then_some(text)
}
