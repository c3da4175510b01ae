//! What the catalogue of a real server adds to what a text shows.

use std::sync::Arc;

use bulkhead::catalogue::Catalogue;
use bulkhead::catalogue::mysql::Loader;
use bulkhead::classify::{Session, mysql};
use bulkhead::execute::settings::{
    Failover, PoolSettings, SqlStoreSettings, TlsSettings, TransactionSettings,
};
use mysql_async::prelude::Queryable;
use secrecy::SecretString;

use super::server::{administrator, servers};

const SCHEMA: &[&str] = &[
    "CREATE DATABASE reached",
    "USE reached",
    "CREATE TABLE secrets (id INT PRIMARY KEY, note VARCHAR(20))",
    "CREATE TABLE plain (id INT PRIMARY KEY, note VARCHAR(20))",
    "CREATE VIEW shown AS SELECT id FROM secrets",
    "CREATE VIEW shown_again AS SELECT id FROM shown",
    "CREATE TABLE watched (id INT PRIMARY KEY)",
    "CREATE TRIGGER remember AFTER INSERT ON watched FOR EACH ROW INSERT INTO secrets (id) VALUES (NEW.id)",
    "CREATE TRIGGER odd AFTER DELETE ON watched FOR EACH ROW BEGIN DELETE FROM secrets; END",
    "CREATE TABLE stamped (id INT PRIMARY KEY, at DATETIME)",
    "CREATE TRIGGER stamp BEFORE UPDATE ON stamped FOR EACH ROW SET NEW.at = NOW()",
    "CREATE TABLE owner (id INT PRIMARY KEY)",
    "CREATE TABLE owned (id INT PRIMARY KEY, owner INT, \
     FOREIGN KEY (owner) REFERENCES owner (id) ON DELETE CASCADE ON UPDATE SET NULL)",
    "CREATE FUNCTION uuid_to_bin(x INT) RETURNS INT DETERMINISTIC RETURN x",
    "CREATE FUNCTION secret_of(x INT) RETURNS INT READS SQL DATA RETURN (SELECT MAX(id) FROM secrets)",
    "CREATE VIEW calling AS SELECT secret_of(1) AS s",
    "CREATE SEQUENCE numbers",
    "CREATE TABLE numbered (id INT DEFAULT NEXT VALUE FOR numbers)",
    "CREATE TABLE Numbered (id INT DEFAULT NEXT VALUE FOR numbers)",
    "CREATE TABLE marked (id INT PRIMARY KEY, note VARCHAR(20))",
    "CREATE TRIGGER mark BEFORE INSERT ON marked FOR EACH ROW \
     SET NEW.note = CONCAT(NEW.note, uuid_to_bin (1))",
    "CREATE TRIGGER plainly BEFORE UPDATE ON marked FOR EACH ROW SET NEW.note = CONCAT(NEW.note, 'uuid')",
    "CREATE VIEW marking AS SELECT uuid_to_bin(1) AS s",
    "CREATE TABLE kept (id INT, note VARCHAR(20)) ENGINE = MyISAM",
    "CREATE TABLE merged (id INT, note VARCHAR(20)) ENGINE = MERGE UNION = (kept) INSERT_METHOD = LAST",
    "CREATE TABLE in_memory (id INT) ENGINE = MEMORY",
    "CREATE TABLE in_aria (id INT) ENGINE = Aria",
    "CREATE USER blind IDENTIFIED BY 'blind'",
    "CREATE USER Blind IDENTIFIED BY 'blind'",
    "GRANT TRIGGER ON *.* TO Blind",
    "GRANT TRIGGER ON Reached.* TO blind",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON reached.* TO blind",
];

/// A statement, and everything that it reaches: touches, then functions.
const SEEN: &[(&str, &str)] = &[
    ("SELECT * FROM plain", "select plain"),
    ("INSERT INTO plain VALUES (1, 'a')", "insert plain"),
    ("SELECT * FROM shown", "select secrets, select shown"),
    (
        "SELECT * FROM reached.shown_again",
        "select reached.shown_again, select secrets, select shown",
    ),
    (
        "UPDATE shown SET id = 1",
        "select secrets, update secrets, update shown",
    ),
    (
        "INSERT INTO watched VALUES (1)",
        "insert secrets, insert watched",
    ),
    ("DELETE FROM watched", "delete watched | odd"),
    (
        "REPLACE INTO watched VALUES (1)",
        "delete watched, insert secrets, insert watched | odd",
    ),
    ("SELECT * FROM watched", "select watched"),
    ("UPDATE stamped SET id = 1", "update stamped"),
    ("DELETE FROM owner", "delete owned, delete owner"),
    ("UPDATE owner SET id = 2", "update owned, update owner"),
    ("DELETE FROM owned", "delete owned"),
    (
        "INSERT INTO numbered VALUES ()",
        "insert numbered | numbered",
    ),
    (
        "INSERT INTO Numbered VALUES ()",
        "insert Numbered | Numbered",
    ),
    ("SELECT * FROM calling", "select calling | secret_of"),
    ("SELECT UUID_TO_BIN(1)", " | uuid_to_bin"),
    ("SELECT UUID()", ""),
    (
        "INSERT INTO marked VALUES (1, 'a')",
        "insert marked | uuid_to_bin",
    ),
    ("UPDATE marked SET note = 'a'", "update marked"),
    ("SELECT * FROM marking", "select marking | uuid_to_bin"),
    ("SELECT * FROM kept", "select kept"),
    ("SELECT * FROM merged", "select merged | merged"),
    (
        "INSERT INTO merged VALUES (1, 'a')",
        "insert merged | merged",
    ),
    ("SELECT * FROM in_memory", "select in_memory"),
    ("SELECT * FROM in_aria", "select in_aria"),
];

/// The same for an account that sees neither triggers nor definitions.
const UNSEEN: &[(&str, &str)] = &[
    ("SELECT * FROM plain", "select plain"),
    ("INSERT INTO plain VALUES (1, 'a')", "insert plain | plain"),
    ("SELECT * FROM shown", "select shown | shown"),
];

pub fn loader(user: &str, password: SecretString, database: &str) -> Loader {
    let servers = servers();
    let settings = SqlStoreSettings {
        host: "127.0.0.1".to_owned(),
        port: servers.mysql.port(),
        failover: Failover::default(),
        database: database.to_owned(),
        user: user.to_owned(),
        password,
        tls: TlsSettings {
            ca_file: Some(servers.ca_file()),
            ..TlsSettings::default()
        },
        pool: PoolSettings::MYSQL,
        transactions: TransactionSettings::of_pool(20),
        statement_timeout_ms: 10_000,
    };
    Loader::new(settings, database)
}

/// How often it is looked for two equal ones in a row.
const FINGERPRINTS_MAX: usize = 200;

fn reached(catalogue: &Catalogue, sql: &str) -> String {
    let shown = Arc::new(mysql::classify(sql, Session::Shared).unwrap());
    let all = catalogue.expand(&shown, sql, |_| true).unwrap();
    let mut touches: Vec<String> = all
        .touches
        .iter()
        .map(|touch| format!("{} {}", touch.action, touch.object))
        .collect();
    touches.sort();
    let mut text = touches.join(", ");
    if !all.functions.is_empty() {
        text.push_str(" | ");
        text.push_str(&all.functions.join(" "));
    }
    text
}

#[tokio::test]
async fn what_no_text_shows_is_added() {
    let mut conn = administrator(servers(), None).await;
    for statement in SCHEMA {
        conn.query_drop(*statement).await.unwrap();
    }
    let definer = servers().mysql.administrator();
    let seeing = loader(definer.user, definer.password.clone(), "reached");
    let blind = loader("blind", SecretString::from("blind".to_owned()), "reached");
    for (loader, cases) in [(&seeing, SEEN), (&blind, UNSEEN)] {
        let catalogue = loader.load(true).await.unwrap();
        for (sql, expected) in cases {
            assert_eq!(reached(&catalogue, sql), *expected, "{sql}");
        }
    }
    // What an account was granted since the last look.
    let sql = "SELECT uuid_to_bin(1)";
    assert_eq!(reached(&blind.load(false).await.unwrap(), sql), "");
    conn.query_drop("GRANT ALL ON *.* TO blind").await.unwrap();
    assert_eq!(
        reached(&blind.load(false).await.unwrap(), sql),
        " | uuid_to_bin"
    );
    let mut before = seeing.fingerprint(true).await.unwrap();
    let mut is_still = false;
    // Other tests make databases of their own on this server.
    for _ in 0..FINGERPRINTS_MAX {
        let again = seeing.fingerprint(true).await.unwrap();
        is_still = again == before;
        before = again;
        if is_still {
            break;
        }
    }
    assert!(is_still, "it is another each time");
    conn.query_drop("ALTER VIEW shown AS SELECT id FROM plain")
        .await
        .unwrap();
    assert_ne!(before, seeing.fingerprint(true).await.unwrap());
    let catalogue = seeing.load(true).await.unwrap();
    let found = reached(&catalogue, "SELECT * FROM shown");
    assert_eq!(found, "select plain, select shown");
    conn.disconnect().await.unwrap();
}
