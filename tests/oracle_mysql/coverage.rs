//! What a server knows by name, we know by name: functions, keywords, statements. A newer server that knows more
//! fails these, so that somebody looks.

use bulkhead::classify::mysql::{
    is_classified_function, is_classified_keyword, is_classified_statement,
};
use mysql_async::prelude::Queryable;

use super::server::{administrator, servers};

/// `Com_…` counters whose names are not the statement's own words.
const COUNTERS: [(&str, &str); 39] = [
    ("alter_db", "ALTER DATABASE"),
    ("alter_db_upgrade", "ALTER DATABASE"),
    ("assign_to_keycache", "CACHE INDEX"),
    ("change_db", "USE"),
    ("create_db", "CREATE DATABASE"),
    ("create_udf", "CREATE FUNCTION"),
    ("delete_multi", "DELETE"),
    ("drop_db", "DROP DATABASE"),
    ("drop_udf", "DROP FUNCTION"),
    ("execute_sql", "EXECUTE"),
    ("ha_close", "HANDLER"),
    ("ha_open", "HANDLER"),
    ("ha_read", "HANDLER"),
    ("insert_select", "INSERT"),
    ("multi", "BEGIN"),
    ("preload_keys", "LOAD INDEX"),
    ("prepare_sql", "PREPARE"),
    ("dealloc_sql", "DEALLOCATE"),
    ("rename_table", "RENAME TABLE"),
    ("replace_select", "REPLACE"),
    ("replica_start", "START REPLICA"),
    ("replica_stop", "STOP REPLICA"),
    ("rollback_to_savepoint", "ROLLBACK"),
    ("set_option", "SET"),
    ("show_binlogs", "SHOW BINARY LOGS"),
    ("show_client_statistics", "SHOW CLIENT_STATISTICS"),
    ("show_generic", "SHOW USER_STATISTICS"),
    ("show_index_statistics", "SHOW INDEX_STATISTICS"),
    ("show_table_statistics", "SHOW TABLE_STATISTICS"),
    ("show_user_statistics", "SHOW USER_STATISTICS"),
    ("show_charsets", "SHOW CHARACTER SET"),
    ("show_collations", "SHOW COLLATION"),
    ("show_create_func", "SHOW CREATE FUNCTION"),
    ("show_fields", "SHOW COLUMNS"),
    ("show_storage_engines", "SHOW STORAGE ENGINES"),
    ("slave_start", "START SLAVE"),
    ("slave_stop", "STOP SLAVE"),
    ("update_multi", "UPDATE"),
    ("compound_sql", "BEGIN"),
];

/// Counters of no statement of SQL's: of the protocol, and of an empty text.
const NO_STATEMENT: [&str; 9] = [
    "admin_commands",
    "empty_query",
    "stmt_close",
    "stmt_execute",
    "stmt_fetch",
    "stmt_prepare",
    "stmt_reprepare",
    "stmt_reset",
    "stmt_send_long_data",
];

/// First words of the help's topics that name statements.
const DEFINING: [&str; 5] = ["SHOW", "CREATE", "ALTER", "DROP", "RENAME"];

async fn names(query: &str) -> Vec<String> {
    let mut conn = administrator(servers(), None).await;
    let names: Vec<String> = conn.query(query).await.unwrap();
    conn.disconnect().await.unwrap();
    names
}

fn all(what: &str, known: usize, unknown: Vec<String>) {
    println!("{what}: {known} known by name");
    assert!(unknown.is_empty(), "{what} not classified: {unknown:?}");
    assert!(known > 100, "{what}: the server told only {known}");
}

fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[tokio::test]
async fn every_keyword_is_classified() {
    let words = names("SELECT WORD FROM information_schema.KEYWORDS").await;
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.to_ascii_uppercase())
        .filter(|word| is_plain(word) && !word.is_empty())
        .collect();
    let known = words.len();
    let unknown = words
        .into_iter()
        .filter(|word| !is_classified_keyword(word))
        .collect();
    all("keywords", known, unknown);
}

/// From MariaDB's table where there is one, and from the chapters of the help that both have.
#[tokio::test]
async fn every_function_is_classified() {
    let has_table = "SELECT TABLE_NAME FROM information_schema.TABLES \
        WHERE TABLE_SCHEMA = 'information_schema' AND TABLE_NAME = 'SQL_FUNCTIONS'";
    let mut functions = Vec::new();
    if !names(has_table).await.is_empty() {
        functions = names("SELECT FUNCTION FROM information_schema.SQL_FUNCTIONS").await;
    }
    functions.extend(
        names(
            "SELECT topic.name FROM mysql.help_topic topic JOIN mysql.help_category category \
             USING (help_category_id) WHERE category.name LIKE '%function%' \
             OR category.name IN ('MBR', 'WKT', 'WKB', 'Geographic Features')",
        )
        .await,
    );
    let functions: Vec<String> = functions
        .iter()
        .map(|name| name.replace('\\', "").to_ascii_uppercase())
        .filter(|name| is_plain(name) && !name.is_empty() && name != "PARENTHESES")
        .collect();
    let known = functions.len();
    let unknown = functions
        .into_iter()
        .filter(|name| !is_classified_function(name) && !is_classified_keyword(name))
        .collect();
    all("functions", known, unknown);
}

#[tokio::test]
async fn every_statement_is_classified() {
    let mut conn = administrator(servers(), None).await;
    let counters: Vec<(String, String)> = conn
        .query("SHOW GLOBAL STATUS LIKE 'Com\\_%'")
        .await
        .unwrap();
    conn.disconnect().await.unwrap();
    let mut statements: Vec<String> = counters
        .iter()
        .map(|(name, _)| name[4..].to_ascii_lowercase())
        .filter(|name| !NO_STATEMENT.contains(&name.as_str()))
        .map(|name| {
            let told = COUNTERS.iter().find(|(counter, _)| *counter == name);
            told.map_or_else(
                || name.replace('_', " ").to_ascii_uppercase(),
                |(_, words)| (*words).to_owned(),
            )
        })
        .collect();
    let topics = names("SELECT name FROM mysql.help_topic").await;
    statements.extend(
        topics
            .into_iter()
            .map(|name| name.replace('\\', ""))
            .filter(|name| {
                let first = name.split(' ').next().unwrap_or_default();
                DEFINING.contains(&first)
            }),
    );
    let known = statements.len();
    let unknown = statements
        .into_iter()
        .filter(|words| !is_classified_statement(words))
        .collect();
    all("statements", known, unknown);
}
