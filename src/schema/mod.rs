//! The system tables in PostgreSQL, as numbered migrations that are embedded in the program.
//!
//! A migration that has been released is never edited: the library compares its checksum with the one that
//! was applied, and refuses to go on when they differ.

pub mod guard;

use refinery::{Migration, Runner};
use tokio_postgres::Client;

/// In order; a file beside these that is not listed does not exist for the program.
const MIGRATIONS: [(&str, &str); 4] = [
    (
        "V1__system_tables",
        include_str!("../../migrations/postgres/V1__system_tables.sql"),
    ),
    (
        "V2__key_changes",
        include_str!("../../migrations/postgres/V2__key_changes.sql"),
    ),
    (
        "V3__limits_of_users",
        include_str!("../../migrations/postgres/V3__limits_of_users.sql"),
    ),
    (
        "V4__audit_chain",
        include_str!("../../migrations/postgres/V4__audit_chain.sql"),
    ),
];

/// What [`grant`] gives.
const ACCOUNTS: &str = include_str!("accounts.sql");

/// The table in which the library keeps what was applied.
const HISTORY_TABLE: &str = "refinery_schema_history";

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("cannot migrate the system tables: {0}")]
    Migration(#[from] refinery::Error),
    #[error("cannot ask PostgreSQL for the state of the system tables: {0}")]
    Query(#[from] tokio_postgres::Error),
}

/// What [`apply`] did: the migrations that were not there before, as `V1__name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub applied: Vec<String>,
}

/// Which migrations the database has and which it lacks, as `V1__name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub applied: Vec<String>,
    pub pending: Vec<String>,
}

impl Status {
    pub fn is_current(&self) -> bool {
        self.pending.is_empty()
    }
}

/// Applies what is missing, each migration in a transaction of its own. Run again, it does nothing.
///
/// # Errors
/// When a migration fails, or one that was applied is not the one this program holds.
pub async fn apply(client: &mut Client) -> Result<Report, SchemaError> {
    // The library creates its table with the current search_path; the tables belong in `public`.
    client.batch_execute("SET search_path TO public").await?;
    let report = runner()?.run_async(client).await?;
    let applied = report.applied_migrations().iter().map(name_of).collect();
    Ok(Report { applied })
}

/// Gives the sidecar's own account, and that of callers' statements, what they need of the tables of the connection's
/// account. An owner has it already.
///
/// # Errors
/// When PostgreSQL refuses; nothing is then changed.
pub async fn grant(
    client: &Client,
    system: &str,
    callers: Option<&str>,
) -> Result<(), SchemaError> {
    let owner = client.query_one("SELECT current_user::text", &[]).await?;
    let owner: String = owner.try_get(0)?;
    if owner == system || callers == Some(owner.as_str()) {
        return Ok(());
    }
    let script = ACCOUNTS
        .replace("$1", &identifier(system))
        .replace("$2", &identifier(callers.unwrap_or(system)));
    client
        .batch_execute(&format!("BEGIN;{script}COMMIT"))
        .await?;
    Ok(())
}

/// Compares the database with this program, and changes nothing.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn status(client: &mut Client) -> Result<Status, SchemaError> {
    let known = client
        .query_one(
            "SELECT to_regclass($1) IS NOT NULL",
            &[&format!("public.{HISTORY_TABLE}")],
        )
        .await?
        .try_get::<_, bool>(0)?;
    let applied: Vec<i32> = if known {
        let rows = client
            .query(&format!("SELECT version FROM public.{HISTORY_TABLE}"), &[])
            .await?;
        let versions = rows.iter().map(|row| row.try_get(0));
        versions.collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let (applied, pending): (Vec<_>, Vec<_>) = runner()?
        .get_migrations()
        .iter()
        .map(|migration| (applied.contains(&migration.version()), name_of(migration)))
        .partition(|(is_applied, _)| *is_applied);
    let names = |list: Vec<(bool, String)>| list.into_iter().map(|(_, name)| name).collect();
    Ok(Status {
        applied: names(applied),
        pending: names(pending),
    })
}

/// A name as PostgreSQL takes it, whatever is in it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn runner() -> Result<Runner, SchemaError> {
    let migrations = MIGRATIONS
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<Vec<_>, _>>()?;
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(HISTORY_TABLE);
    Ok(runner)
}

fn name_of(migration: &Migration) -> String {
    format!("V{}__{}", migration.version(), migration.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_listed_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|(name, _)| format!("{name}.sql"))
            .collect();
        assert_eq!(files, listed);
        let versions: Vec<i32> = runner()
            .unwrap()
            .get_migrations()
            .iter()
            .map(Migration::version)
            .collect();
        assert_eq!(versions, (1..).take(versions.len()).collect::<Vec<_>>());
    }
}
