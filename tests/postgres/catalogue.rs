//! What the catalogue of a real server adds to what a text shows.

use std::sync::Arc;

use bulkhead::catalogue::Catalogue;
use bulkhead::catalogue::postgres::Loader;
use bulkhead::catalogue::watch::{Catalogues, Error};
use bulkhead::classify::{Session, postgres};
use bulkhead::config::Stores;
use bulkhead::decide::{Policy, PolicyFile};
use bulkhead::execute::settings::SqlStoreSettings;
use bulkhead::operation::{Classification, Store};

use crate::server;

const SCHEMA: &str = include_str!("catalogue.sql");

/// A statement, and everything that it reaches: touches, then functions.
const CASES: &[(&str, &str)] = &[
    ("SELECT * FROM plain", "select plain"),
    ("INSERT INTO plain (note) VALUES ('a')", "insert plain"),
    ("SELECT * FROM shown", "select secrets, select shown"),
    (
        "SELECT * FROM shown_again",
        "select secrets, select shown, select shown_again",
    ),
    (
        "UPDATE shown SET id = 1",
        "select secrets, update secrets, update shown",
    ),
    (
        "SELECT * FROM shown_roles",
        "select pg_catalog.pg_authid, select shown_roles",
    ),
    ("SELECT * FROM shown_file", "select shown_file | shown_file"),
    ("SELECT * FROM stored", "select secrets, select stored"),
    ("SELECT * FROM calling", "select calling | secret_number"),
    (
        "INSERT INTO watched VALUES (1)",
        "insert watched | copy_row is_fine",
    ),
    ("SELECT * FROM watched", "select watched"),
    ("DELETE FROM watched", "delete watched | forget"),
    (
        "DELETE FROM owner",
        "delete days, delete owned, delete owner, update owned_loosely",
    ),
    (
        "UPDATE owner SET id = 2",
        "update owned_loosely, update owner",
    ),
    ("INSERT INTO owned VALUES (1)", "insert owned"),
    (
        "INSERT INTO numbered DEFAULT VALUES",
        "insert numbered, update free_numbers | secret_number",
    ),
    (
        "INSERT INTO odd_default DEFAULT VALUES",
        "insert odd_default | odd_default",
    ),
    ("INSERT INTO states VALUES ('open')", "insert states"),
    (
        "INSERT INTO checked VALUES ('{a}')",
        "insert checked | is_fine",
    ),
    ("UPDATE indexed SET note = 'b'", "update indexed | is_fine"),
    (
        "SELECT * FROM rows_of",
        "select rows_of, select secrets | is_fine",
    ),
    ("SELECT * FROM parent", "select child, select parent"),
    ("SELECT * FROM events", "select events"),
    ("INSERT INTO events VALUES (1)", "insert events | copy_row"),
    ("INSERT INTO days (day) VALUES (1)", "insert days"),
    ("SELECT p.id FROM people p", "select people"),
    (
        "SELECT p.secret_of FROM people p",
        "select people | secret_of",
    ),
    ("SELECT p.any_of FROM plain p", "select plain | any_of"),
    ("SELECT upper('A')", ""),
    ("SELECT lower('A')", " | lower"),
    ("SELECT 1 <-> 2", " | <->"),
    (
        "SELECT * FROM points WHERE at = at",
        "select points | = point_text",
    ),
    (
        "SELECT * FROM elsewhere.shown",
        "select elsewhere.shown, select secrets",
    ),
];

#[tokio::test]
async fn everything_that_a_statement_reaches_is_found() {
    let client = server::database("catalogue", SCHEMA).await;
    let loader = Loader::new(server::settings("catalogue"), "public");
    let catalogue = loader.load(false).await.unwrap();
    let mut wrong = Vec::new();
    for (sql, expected) in CASES {
        let told = told(&catalogue, sql);
        if told != *expected {
            wrong.push(format!("{sql}\n  expected {expected}\n  found    {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(client);
}

/// Everything that a statement reaches: touches, then functions.
pub fn told(catalogue: &Catalogue, sql: &str) -> String {
    let found = match postgres::classify(sql, Session::Shared) {
        Ok(found) => Arc::new(found),
        Err(refusal) => return refusal.to_string(),
    };
    let whole = catalogue.expand(&found, sql, |_| false).unwrap();
    let mut touches: Vec<String> = whole
        .touches
        .iter()
        .map(|touch| format!("{} {}", touch.action, touch.object))
        .collect();
    touches.sort();
    let mut told = touches.join(", ");
    if !whole.functions.is_empty() {
        told = format!("{told} | {}", whole.functions.join(" "));
    }
    told
}

#[tokio::test]
async fn a_change_changes_the_fingerprint() {
    let client = server::database("fingerprint", "CREATE TABLE a (id int, note text);").await;
    let loader = Loader::new(server::settings("fingerprint"), "public");
    let mut before = loader.fingerprint(false).await.unwrap();
    assert_eq!(loader.fingerprint(false).await.unwrap(), before);
    client
        .batch_execute("INSERT INTO a VALUES (1); ANALYZE a")
        .await
        .unwrap();
    for change in [
        "CREATE VIEW v AS SELECT * FROM a",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM a WHERE id > 1",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE a DISABLE TRIGGER t",
        "ALTER TABLE a ALTER COLUMN note SET DEFAULT 'x'",
        "ALTER TABLE a ALTER COLUMN note SET DEFAULT 'y'",
        "ALTER TABLE a ADD CHECK (id > 0)",
        "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON a USING (true)",
        "ALTER POLICY p ON a USING (false)",
        "CREATE RULE r AS ON DELETE TO a DO INSTEAD NOTHING",
        "CREATE TABLE c () INHERITS (a)",
        "ALTER TABLE c NO INHERIT a",
        "CREATE DOMAIN d AS text CHECK (VALUE <> 'a')",
        "DROP VIEW v",
        "ALTER TABLE a ALTER COLUMN note TYPE d",
        "CREATE SEQUENCE s",
        "ALTER SEQUENCE s OWNED BY a.id",
        "ALTER SCHEMA public RENAME TO other",
    ] {
        client.batch_execute(change).await.unwrap();
        let after = loader.fingerprint(false).await.unwrap();
        assert_ne!(after, before, "{change}");
        before = after;
    }
}

fn watched(settings: SqlStoreSettings) -> Catalogues {
    let policy = Policy::compile(&[PolicyFile {
        path: "policy.toml".into(),
        text: "version = 1\n[stores.postgres]\ntables = [\"a\"]\n".into(),
    }]);
    let stores = Stores {
        postgres: Some(settings),
        mysql: None,
        mongodb: None,
        redis: None,
    };
    Catalogues::new(&stores, &policy.unwrap())
}

async fn reached(catalogues: &Catalogues, sql: &str) -> Result<Arc<Classification>, Error> {
    let found = Arc::new(postgres::classify(sql, Session::Shared).unwrap());
    catalogues
        .expand(Store::Postgres, found, sql, |_| false)
        .await
}

#[tokio::test]
async fn a_change_that_went_through_here_counts_at_once() {
    let client = server::database(
        "watched",
        "CREATE TABLE a (id int); CREATE TABLE b (id int);",
    )
    .await;
    let catalogues = watched(server::settings("watched"));
    let count = async |sql| reached(&catalogues, sql).await.unwrap().touches.len();
    assert_eq!(count("SELECT * FROM v").await, 1);
    client
        .batch_execute("CREATE VIEW v AS SELECT * FROM a")
        .await
        .unwrap();
    assert_eq!(count("SELECT * FROM v").await, 1, "nobody has asked yet");
    let ddl = postgres::classify("DROP TABLE b", Session::Shared).unwrap();
    drop(catalogues.while_running(Store::Postgres, &ddl));
    assert_eq!(count("SELECT * FROM v").await, 2);
}

/// Nobody knows what a statement reaches while the catalogue has not been read.
#[tokio::test]
async fn without_a_catalogue_nothing_runs() {
    let catalogues = watched(SqlStoreSettings {
        port: 1,
        ..server::settings("postgres")
    });
    let refused = reached(&catalogues, "SELECT 1").await;
    assert!(matches!(
        refused,
        Err(Error::Unavailable {
            store: Store::Postgres,
            ..
        })
    ));
}
