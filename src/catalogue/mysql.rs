//! Reads MySQL's or MariaDB's catalogue, with the account that runs callers' statements.
//!
//! Definitions are read by our own classifier. One that it does not understand counts as a function of the object's
//! name, which the policy must list.
//!
//! What the account may not see:
//! - a view's definition without `SHOW VIEW`: such a view is not understood;
//! - a trigger's body, where the server shows it to its definer alone: such a trigger is not understood;
//! - triggers without `TRIGGER` on their table: each change of such a table counts as a function of its name, since
//!   a trigger may be there;
//! - tables on which it has no privilege at all, and so the foreign keys from them. Grant it at least one on each
//!   table of the database.
//!
//! What counts, and what does not:
//! - a foreign key's cascade does; its own check of the other table tells whether a key exists, and no more;
//! - a stored function that has the name of a built-in (of the other server, or called with a space before the
//!   parenthesis) counts wherever a text, a trigger or a view of its database has its name;
//! - a table whose engine may keep its rows elsewhere (MERGE, FEDERATED) counts as a function of its name;
//! - an account's new rights count at the next look; rights that were taken away hold on pooled connections until
//!   these are renewed;
//! - generated columns and checks cannot call stored functions or read tables; a default that moves a sequence
//!   counts as a function of its table's name;
//! - a loadable function is not listed anywhere that the account can see.

mod columns;
mod definitions;

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{ChangeUserOpts, Conn};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use self::definitions::{actions, cascaded, shadowing, trigger_reaches, view_reaches};
use super::{Actions, Case, Catalogue, Name, Reach, Target, When};
use crate::classify;
use crate::decide::restrict::Index;
use crate::execute::mysql::{connect, takes_writes};
use crate::execute::settings::{SessionAttrs, SqlStoreSettings};
use crate::operation::Action;
use crate::system::{STATEMENT_TIMEOUT, Unavailable};

/// How long reading the whole catalogue may take.
const LOAD_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

const FOLDS: &str = "SELECT @@lower_case_table_names <> 0";

/// The databases in which the account sees every trigger. The server's own collation takes names for one that
/// differ in case alone.
const SCHEMAS_SEEN: &str = "SELECT s.SCHEMA_NAME FROM information_schema.SCHEMATA s WHERE EXISTS (
    SELECT 1 FROM information_schema.USER_PRIVILEGES p WHERE p.PRIVILEGE_TYPE = 'TRIGGER' AND BINARY p.GRANTEE =
    CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')
) OR EXISTS (
    SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES p WHERE p.PRIVILEGE_TYPE = 'TRIGGER' AND BINARY p.GRANTEE =
    CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')
    AND BINARY s.SCHEMA_NAME LIKE p.TABLE_SCHEMA)";

/// The tables whose triggers it sees.
const TABLES_SEEN: &str = "SELECT p.TABLE_SCHEMA, p.TABLE_NAME FROM information_schema.TABLE_PRIVILEGES p
    WHERE p.PRIVILEGE_TYPE = 'TRIGGER' AND BINARY p.GRANTEE =
    CONCAT('''', SUBSTRING_INDEX(CURRENT_USER(), '@', 1), '''@''', SUBSTRING_INDEX(CURRENT_USER(), '@', -1), '''')";

/// Engines whose tables hold their own rows. Any other may keep them in other tables or on other servers (MERGE,
/// FEDERATED, CONNECT, SPIDER).
const ORDINARY_ENGINES: [&str; 11] = [
    "innodb",
    "myisam",
    "aria",
    "memory",
    "archive",
    "blackhole",
    "csv",
    "rocksdb",
    "tokudb",
    "columnstore",
    "ndbcluster",
];

const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES
    WHERE TABLE_TYPE NOT LIKE '%VIEW'
    AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";

const VIEWS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";

const TRIGGERS: &str =
    "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, TRIGGER_SCHEMA,
    TRIGGER_NAME, ACTION_STATEMENT, SQL_MODE FROM information_schema.TRIGGERS";

const FOREIGN_KEYS: &str =
    "SELECT UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME, CONSTRAINT_SCHEMA, TABLE_NAME,
    UPDATE_RULE, DELETE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS";

const ROUTINES: &str = "SELECT ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES
    WHERE ROUTINE_TYPE = 'FUNCTION'";

const SEQUENCE_DEFAULTS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.COLUMNS
    WHERE COLUMN_DEFAULT LIKE '%nextval%' OR COLUMN_DEFAULT LIKE '%next value%'";

const COLUMNS: &str =
    "SELECT TABLE_SCHEMA, TABLE_NAME, CAST(ORDINAL_POSITION AS UNSIGNED), COLUMN_NAME, COLUMN_TYPE,
    EXTRA, GENERATION_EXPRESSION, COLUMN_DEFAULT FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";

/// Which of the server's tables tell of a `CHECK`: `CHECK_CONSTRAINTS` in this version, and the table's name in it.
const TELLS_CHECKS: &str = "SELECT COUNT(*) > 0, COALESCE(SUM(COLUMN_NAME = 'TABLE_NAME'), 0) > 0
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema' AND TABLE_NAME = 'CHECK_CONSTRAINTS'";

/// MariaDB's, where two tables may have constraints of one name.
const CHECKS_BY_TABLE: &str = "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CHECK_CLAUSE
    FROM information_schema.CHECK_CONSTRAINTS";

/// MySQL's, and the expressions of its indexes.
const CHECKS_BY_NAME: &str = "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, c.CHECK_CLAUSE
    FROM information_schema.TABLE_CONSTRAINTS t JOIN information_schema.CHECK_CONSTRAINTS c
    ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME
    WHERE t.CONSTRAINT_TYPE = 'CHECK'
    UNION SELECT TABLE_SCHEMA, TABLE_NAME, EXPRESSION FROM information_schema.STATISTICS WHERE EXPRESSION IS NOT NULL";

/// A part of an index that is an expression has no column. An index that no optimizer uses is one all the same.
const INDEXES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, CAST(SEQ_IN_INDEX AS UNSIGNED),
    COALESCE(COLUMN_NAME, '') FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";

/// A part of an index: its table, the index' name, its place in it and its column.
type IndexRow = (String, String, String, u64, String);

/// A column: its table, place, name and type, `EXTRA`, and the expressions that it is generated by and that is its
/// default.
type ColumnRow = (
    String,
    String,
    u64,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
);

/// What a table checks of a row that is written: the table, and an expression.
type CheckRow = (String, String, String);

/// A trigger: the table and event, its own name, body and `sql_mode`.
type Trigger = (
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    String,
);

type ForeignKey = (String, String, String, String, String, String);

/// What the server says. In our order: by its own collation, two names that differ in case alone are in none.
#[derive(Debug, Default)]
struct Told {
    folds: bool,
    schemas_seen: BTreeSet<String>,
    tables_seen: BTreeSet<(String, String)>,
    /// Each with its engine.
    tables: BTreeSet<(String, String, Option<String>)>,
    views: BTreeSet<(String, String, Option<String>)>,
    triggers: BTreeSet<Trigger>,
    /// The table referred to, the one that refers, and the rules for update and delete.
    foreign_keys: BTreeSet<ForeignKey>,
    routines: BTreeSet<(String, String)>,
    sequence_defaults: BTreeSet<(String, String)>,
    /// Empty unless asked for.
    columns: BTreeSet<ColumnRow>,
    checks: BTreeSet<CheckRow>,
    indexes: BTreeSet<IndexRow>,
}

async fn rows<T: FromRow + Ord + Send + 'static>(
    conn: &mut Conn,
    query: &str,
) -> Result<BTreeSet<T>, mysql_async::Error> {
    Ok(conn.query(query).await?.into_iter().collect())
}

/// Reads one server over a connection of its own.
pub struct Loader {
    settings: SqlStoreSettings,
    database: String,
    conn: Mutex<Option<Conn>>,
}

impl From<mysql_async::Error> for Unavailable {
    fn from(error: mysql_async::Error) -> Self {
        Self(error.to_string())
    }
}

impl Loader {
    /// `database` is what an unqualified name means.
    pub fn new(settings: SqlStoreSettings, database: &str) -> Self {
        Self {
            settings,
            database: database.to_owned(),
            conn: Mutex::default(),
        }
    }

    /// Differs whenever the catalogue does, `with_columns` also whenever these do. May be cancelled.
    pub async fn fingerprint(&self, with_columns: bool) -> Result<String, Unavailable> {
        let told = tokio::time::timeout(STATEMENT_TIMEOUT, self.ask(with_columns)).await??;
        Ok(Sha256::digest(format!("{told:?}"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Reads the whole. May be cancelled.
    pub async fn load(&self, with_columns: bool) -> Result<Catalogue, Unavailable> {
        let told = tokio::time::timeout(LOAD_TIMEOUT, self.ask(with_columns)).await??;
        let database = self.database.clone();
        // Thousands of definitions take a while to understand.
        tokio::task::spawn_blocking(move || build(&told, &database))
            .await
            .map_err(|_| Unavailable("the catalogue could not be understood".into()))
    }

    /// A connection that fails, or is left in the middle, is not used again.
    async fn ask(&self, with_columns: bool) -> Result<Told, Unavailable> {
        let mut kept = self.conn.lock().await;
        let mut conn = match kept.take() {
            // An account's new rights hold on new connections, such as the pool's, and where it is logged in again.
            Some(mut conn) => {
                conn.change_user(ChangeUserOpts::default()).await?;
                if self.settings.failover.target == SessionAttrs::ReadWrite {
                    // The catalogue must be that of the server on which statements run.
                    takes_writes(&mut conn).await.map_err(Unavailable)?;
                }
                conn
            }
            None => connect(&self.settings).await.map_err(Unavailable)?,
        };
        let told = read(&mut conn, with_columns).await?;
        *kept = Some(conn);
        Ok(told)
    }
}

async fn read(conn: &mut Conn, with_columns: bool) -> Result<Told, mysql_async::Error> {
    conn.query_drop("SET NAMES utf8mb4, sql_mode = ''").await?;
    Ok(Told {
        folds: conn.query_first(FOLDS).await? == Some(1_i64),
        schemas_seen: rows(conn, SCHEMAS_SEEN).await?,
        tables_seen: rows(conn, TABLES_SEEN).await?,
        tables: rows(conn, TABLES).await?,
        views: rows(conn, VIEWS).await?,
        triggers: rows(conn, TRIGGERS).await?,
        foreign_keys: rows(conn, FOREIGN_KEYS).await?,
        routines: rows(conn, ROUTINES).await?,
        sequence_defaults: rows(conn, SEQUENCE_DEFAULTS).await?,
        columns: if with_columns {
            rows(conn, COLUMNS).await?
        } else {
            BTreeSet::new()
        },
        checks: if with_columns {
            checks(conn).await?
        } else {
            BTreeSet::new()
        },
        indexes: if with_columns {
            rows(conn, INDEXES).await?
        } else {
            BTreeSet::new()
        },
    })
}

async fn checks(conn: &mut Conn) -> Result<BTreeSet<CheckRow>, mysql_async::Error> {
    match conn.query_first(TELLS_CHECKS).await? {
        Some((true, true)) => rows(conn, CHECKS_BY_TABLE).await,
        Some((true, false)) => rows(conn, CHECKS_BY_NAME).await,
        // The server has none.
        Some((false, _)) | None => Ok(BTreeSet::new()),
    }
}

fn build(told: &Told, database: &str) -> Catalogue {
    let case = if told.folds {
        Case::Folded
    } else {
        Case::Exact
    };
    let mut catalogue = Catalogue::new(database, case);
    set_columns(&mut catalogue, told);
    let changes = Actions::STORE.and(Actions::DELETE);
    for (schema, table, engine) in &told.tables {
        let engine = engine.as_deref().unwrap_or_default().to_ascii_lowercase();
        if !ORDINARY_ENGINES.contains(&engine.as_str()) {
            let name = Name::new(schema, table);
            catalogue.add(
                &name,
                Reach::new(Actions::ALL, Target::Function(name.clone())),
            );
        }
        let seen = told.schemas_seen.contains(schema)
            || told.tables_seen.contains(&(schema.clone(), table.clone()));
        if !seen {
            let name = Name::new(schema, table);
            catalogue.add(&name, Reach::new(changes, Target::Function(name.clone())));
        }
    }
    for (schema, view, body) in &told.views {
        let name = Name::new(schema, view);
        let body = body.as_deref().unwrap_or_default();
        let hidden = shadowing(&told.routines, schema, body).map(Target::Function);
        let hidden = hidden.map(|function| Reach::new(Actions::ALL, function));
        for reach in view_reaches(&name, body).into_iter().chain(hidden) {
            catalogue.add(&name, reach);
        }
    }
    for trigger in &told.triggers {
        let (schema, table, event, trigger_schema, _, body, _) = trigger;
        let body = body.as_deref().unwrap_or_default();
        let hidden = shadowing(&told.routines, trigger_schema, body).map(Target::Function);
        let hidden = hidden.map(|function| Reach::new(actions(event), function));
        for reach in trigger_reaches(trigger).into_iter().chain(hidden) {
            catalogue.add(&Name::new(schema, table), reach);
        }
    }
    for (schema, table, child_schema, child, on_update, on_delete) in &told.foreign_keys {
        let (parent, child) = (Name::new(schema, table), Name::new(child_schema, child));
        for (on, rule, cascade) in [
            (Actions::UPDATE, on_update, Action::Update),
            (Actions::DELETE, on_delete, Action::Delete),
        ] {
            if let Some(action) = cascaded(rule, cascade) {
                let target = Target::Relation(child.clone(), action);
                catalogue.add(&parent, Reach::new(on, target));
            }
        }
    }
    for (schema, name) in &told.routines {
        if schema == database && classify::mysql::is_taken_for_built_in(name) {
            let when = When::Word(name.to_ascii_lowercase().into());
            let target = Target::Function(Name::new(schema, &name.to_ascii_lowercase()));
            catalogue.add_everywhere(Reach::when(Actions::ALL, when, target));
        }
    }
    for (schema, table) in &told.sequence_defaults {
        let name = Name::new(schema, table);
        let target = Target::Function(name.clone());
        catalogue.add(&name, Reach::new(Actions::STORE, target));
    }
    catalogue
}

/// Tells the columns, and for each table of which they are known its indexes.
fn set_columns(catalogue: &mut Catalogue, told: &Told) {
    let mut columns: BTreeMap<(&str, &str), Vec<&ColumnRow>> = BTreeMap::new();
    for row in &told.columns {
        columns.entry((&row.0, &row.1)).or_default().push(row);
    }
    let mut triggers: BTreeMap<(&str, &str), Vec<&Trigger>> = BTreeMap::new();
    for trigger in &told.triggers {
        let of_table = triggers.entry((&trigger.0, &trigger.1)).or_default();
        of_table.push(trigger);
    }
    let mut checks: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (schema, table, check) in &told.checks {
        checks.entry((schema, table)).or_default().push(check);
    }
    let mut indexes: BTreeMap<(&str, &str), Vec<Index>> = BTreeMap::new();
    for (schema, table, name, _, column) in &told.indexes {
        let all = indexes.entry((schema, table)).or_default();
        match all.last_mut() {
            Some(index) if *index.name == **name => index.columns.push(column.as_str().into()),
            Some(_) | None => all.push(Index {
                name: name.as_str().into(),
                columns: vec![column.as_str().into()],
            }),
        }
    }
    for (table, columns) in columns {
        let name = Name::new(table.0, table.1);
        catalogue.set_indexes(&name, indexes.remove(&table).unwrap_or_default());
        let triggers = triggers.remove(&table).unwrap_or_default();
        let checks = checks.remove(&table).unwrap_or_default();
        catalogue.set_columns(&name, columns::columns(&columns, &triggers, &checks));
    }
}
