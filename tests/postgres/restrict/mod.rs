//! PostgreSQL itself as the judge of what column rules and row filters let through.
//!
//! Three databases have the same tables. Two have the same rows that the caller may see, and different hidden ones.
//! The third holds what the caller may see and nothing else. A statement under the rules must end in the same way,
//! with the same rows or the same error, on the first two, whatever it tries. One that reads must give what the
//! original statement gives on the third.

mod attacks;
mod benign;
mod plans;
mod random;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bulkhead::authenticate::Principal;
use bulkhead::catalogue::Catalogue;
use bulkhead::catalogue::postgres::Loader;
use bulkhead::decide::restrict::{Restrictions, postgres};
use bulkhead::decide::rules::{Attribute, Comparison, Condition, Constant, Mask, TableRules};
use bulkhead::operation::Object;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::server;

const SALT: &str = "s'a\\lt";

/// As `execute::postgres` pins a session.
const PINS: &str = "SET search_path = \"public\", pg_temp; SET standard_conforming_strings = on; \
    SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET bytea_output = 'hex'";

const TABLES: &str = "
CREATE TABLE accounts (id bigint PRIMARY KEY, owner varchar(36) NOT NULL, note text, amount numeric(12,2), tier int, opened date);
CREATE TABLE plain (id bigint PRIMARY KEY, account_id bigint, person_id bigint, x int);
INSERT INTO plain SELECT n, n, n % 5, n % 3 FROM generate_series(1, 9) n;
";

const PEOPLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, card varchar(20), \
    salary numeric(12,2), password text, boss bigint);
CREATE TABLE pay (id bigint PRIMARY KEY, note text, gross int, pin text,
    tax int GENERATED ALWAYS AS (gross * 2) STORED, code text GENERATED ALWAYS AS (upper(pin)) STORED,
    label text GENERATED ALWAYS AS (note || '!') STORED,
    bonus int DEFAULT 0 CHECK (bonus < 1000), CHECK (bonus <= gross));
CREATE INDEX ON pay ((1 / (id - gross)));
CREATE INDEX ON pay ((gross + 1));";

/// What the caller may see of the accounts.
const VISIBLE: &str = "INSERT INTO accounts VALUES (1, 'alice', 'rent', 10, 1, '2024-01-01'), \
    (2, 'alice', NULL, 20.50, 2, '2024-02-01'), (3, 'alice', 'food', NULL, 1, NULL);";

/// Two sets of hidden values.
const HIDDEN: [&str; 2] = [
    "INSERT INTO accounts VALUES (4, 'bob', 'secret', 5, 5, '2020-01-01'), (5, 'bob', '5', 7, 0, NULL), \
        (6, 'carol', 'rent', 10, 1, '2024-01-01');
     INSERT INTO people VALUES (1, 'Ann', 'ann@x', '4111111111111234', 100, 'p1', 2), \
        (2, 'Bob', 'bob@x', '5500000000001234', 200, 'p2', NULL), (3, NULL, NULL, NULL, NULL, NULL, 1), \
        (4, 'Dan', 'dan@x', 'short', 5, 'q', 2);
     INSERT INTO pay (id, note, gross, pin) SELECT n, 'n' || n, 100 + n, 'a' || n FROM generate_series(1, 9) n;",
    "INSERT INTO accounts VALUES (4, 'bob', '12', 0, 0, NULL), (7, 'dave', 'x\\', 1e9, 3, 'infinity'), \
        (8, 'dave', NULL, 99, 1, '2025-05-05'), (9, 'eve', 'abc', 3, 2, '2025-05-05');
     INSERT INTO people VALUES (1, 'Ann', 'ann@x', '9999999999991234', 0, 'zz', 2), \
        (2, 'Bob', 'bob@x', '8800000000001234', 7, '7', NULL), (3, NULL, NULL, NULL, 12345, 'q9', 1), \
        (4, 'Dan', 'dan@x', 'tiny', NULL, NULL, 2);
     INSERT INTO pay (id, note, gross, pin) SELECT n, 'n' || n, 50 - n, 'b' || n FROM generate_series(1, 9) n;",
];

/// The people as the caller sees them: made from the first set by other means than the masks.
const SEEN: &str = "CREATE TABLE people (id bigint PRIMARY KEY, name text, email text, card text, salary numeric(12,2), boss bigint);
     INSERT INTO people SELECT v.id, v.name, encode(sha256(convert_to('s''a\\lt' || v.email, 'UTF8')), 'hex'), v.card, NULL, v.boss \
        FROM (VALUES (1, 'Ann', 'ann@x', '****1234', 2), (2, 'Bob', 'bob@x', '****1234', NULL), (3, NULL, NULL, NULL, 1), \
        (4, 'Dan', 'dan@x', '****', 2)) v (id, name, email, card, boss);
     CREATE TABLE pay (id bigint PRIMARY KEY, note text, gross int, tax int,
        label text GENERATED ALWAYS AS (note || '!') STORED, bonus int DEFAULT 0);
     INSERT INTO pay (id, note) SELECT n, 'n' || n FROM generate_series(1, 9) n;";

/// The three databases are made once, and one test at a time uses them, since it locks rows.
static IN_USE: Mutex<bool> = Mutex::const_new(false);

/// The databases, each statement in a transaction that is rolled back.
pub struct Databases {
    hidden: [Client; 2],
    seen: Client,
    _in_use: MutexGuard<'static, bool>,
}

impl Databases {
    pub async fn open() -> Self {
        let mut are_made = IN_USE.lock().await;
        if !*are_made {
            for (name, rows) in [
                ("rules_a", format!("{PEOPLE}{VISIBLE}{}", HIDDEN[0])),
                ("rules_b", format!("{PEOPLE}{VISIBLE}{}", HIDDEN[1])),
                ("rules_seen", format!("{VISIBLE}{SEEN}")),
            ] {
                server::database(name, &format!("{TABLES}{rows}")).await;
            }
            let loader = Loader::new(server::settings("rules_a"), "public");
            let _ = CATALOGUE.set(loader.load(true).await.unwrap());
            *are_made = true;
        }
        let databases = Self {
            hidden: [
                server::connect("rules_a").await,
                server::connect("rules_b").await,
            ],
            seen: server::connect("rules_seen").await,
            _in_use: are_made,
        };
        for client in databases.hidden.iter().chain([&databases.seen]) {
            client.batch_execute(PINS).await.unwrap();
        }
        databases
    }

    /// How a statement ends under the rules: the same with either set of hidden values, or this fails.
    pub async fn ending(&self, sql: &str) -> Ending {
        self.ending_under(Filter::Plain, sql).await
    }

    pub async fn ending_under(&self, filter: Filter, sql: &str) -> Ending {
        let rewritten = match rewrite_under(filter, sql) {
            Ok(rewritten) => rewritten,
            Err(reason) => return Ending::Refused(reason),
        };
        let [first, second] = &self.hidden;
        let (first, second) =
            tokio::join!(run(first, &rewritten, true), run(second, &rewritten, true));
        let ends = [first, second];
        if ends[0] == ends[1] {
            let [first, _] = ends;
            return first;
        }
        Ending::Leak(format!(
            "{sql}\n  as {rewritten}\n  {:?}\n  {:?}",
            ends[0], ends[1]
        ))
    }

    /// Whether a text, sent as it is, ends in another way with the other hidden values.
    pub async fn differ(&self, sql: &str) -> bool {
        let [first, second] = &self.hidden;
        run(first, sql, false).await != run(second, sql, false).await
    }

    /// How the original ends where there is nothing but what the caller may see.
    pub async fn on_seen(&self, sql: &str) -> Ending {
        run(&self.seen, sql, false).await
    }
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Before it reached the server.
    Refused(String),
    /// Rows, sorted unless the statement sorts them, and how many it wrote or read.
    Rows(Vec<Vec<Option<String>>>, u64),
    /// SQLSTATE and message.
    Failed(String, String),
    Leak(String),
}

/// A digest of the rows that no statement of the caller's may change.
const UNTOUCHABLE: &str =
    "SELECT md5(string_agg(a::text, ',' ORDER BY id)) FROM accounts a WHERE owner <> 'alice'";

async fn run(client: &Client, sql: &str, has_hidden: bool) -> Ending {
    // The driver takes no copied rows from a simple query, and would not be in step after it.
    let sent = if sql.starts_with("COPY") {
        "SELECT 1"
    } else {
        sql
    };
    // All go out together, and are answered in this order.
    let (_, before, result, after, _) = tokio::join!(
        client.batch_execute("BEGIN"),
        client.simple_query(UNTOUCHABLE),
        client.simple_query(sent),
        client.simple_query(UNTOUCHABLE),
        client.batch_execute("ROLLBACK"),
    );
    let digest = |messages: Vec<SimpleQueryMessage>| {
        let SimpleQueryMessage::Row(row) = &messages[1] else {
            return None;
        };
        row.get(0).map(str::to_owned)
    };
    // After an error there is nothing more to see.
    if has_hidden
        && let Ok(after) = after
        && digest(after) != digest(before.unwrap())
    {
        return Ending::Leak(format!("{sql} changed hidden rows"));
    }
    match result {
        Err(error) => {
            let Some(error) = error.as_db_error() else {
                return Ending::Failed(String::new(), error.to_string());
            };
            Ending::Failed(error.code().code().to_owned(), error.message().to_owned())
        }
        Ok(messages) => {
            let mut rows = Vec::new();
            let mut count = 0;
            for message in messages {
                if let SimpleQueryMessage::Row(row) = message {
                    rows.push(
                        (0..row.len())
                            .map(|at| row.get(at).map(str::to_owned))
                            .collect(),
                    );
                } else if let SimpleQueryMessage::CommandComplete(complete) = message {
                    count = complete;
                }
            }
            if !sql.contains("ORDER BY") {
                rows.sort();
            }
            Ending::Rows(rows, count)
        }
    }
}

/// The row filter on accounts. PostgreSQL tries cheaper conditions first, so a costly one comes after the caller's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Plain,
    Costly,
}

/// The rules of these tests: accounts of the caller's own, and masks of people.
fn rules(filter: Filter) -> BTreeMap<&'static str, TableRules> {
    let own = Condition::Compare {
        column: "owner".into(),
        comparison: Comparison::Equal,
        value: Constant::Caller(Attribute::UserId),
    };
    let own = match filter {
        Filter::Plain => own,
        Filter::Costly => {
            let nobody = |number| Condition::Compare {
                column: "owner".into(),
                comparison: Comparison::Equal,
                value: Constant::Text(format!("nobody {number}").into()),
            };
            Condition::Any((0..12).map(nobody).chain([own]).collect())
        }
    };
    let accounts = TableRules {
        rows: vec![own],
        ..TableRules::default()
    };
    let people = TableRules {
        denied: ["password".into()].into(),
        masked: [
            ("email".into(), Mask::Hash),
            ("card".into(), Mask::Partial),
            ("salary".into(), Mask::Null),
        ]
        .into(),
        ..TableRules::default()
    };
    let pay = TableRules {
        denied: ["pin".into()].into(),
        masked: [("gross".into(), Mask::Null)].into(),
        ..TableRules::default()
    };
    BTreeMap::from([("accounts", accounts), ("people", people), ("pay", pay)])
}

/// What the sidecar would know of the databases.
static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();

/// The statement as it would be sent.
pub fn rewrite(sql: &str) -> Result<String, String> {
    rewrite_under(Filter::Plain, sql)
}

pub fn rewrite_under(filter: Filter, sql: &str) -> Result<String, String> {
    let caller = Principal {
        key_id: "key".into(),
        user_id: Some("alice".into()),
        role: "app".into(),
    };
    let session = bulkhead::classify::Session::Own;
    let classified = bulkhead::classify::postgres::classify(sql, session)
        .map_err(|refusal| refusal.to_string())?;
    let all = rules(filter);
    let mut objects: Vec<Object> = classified
        .touches
        .into_iter()
        .map(|touch| touch.object)
        .collect();
    objects.dedup();
    let tables = objects.iter().filter_map(|object| {
        let Object::Named { name, .. } = object else {
            return None;
        };
        Some((object, Arc::new(all.get(&**name)?.clone())))
    });
    let restrictions = Restrictions {
        caller: &caller,
        default_namespace: "public",
        mask_salt: SALT,
        tables: tables.collect(),
    };
    if restrictions.tables.is_empty() {
        return Ok(sql.to_owned());
    }
    match postgres::restrict(sql, &restrictions, Some(CATALOGUE.get().unwrap())) {
        Ok(restricted) => Ok(restricted.unwrap().sql),
        Err(forbidden) => Err(forbidden.reason),
    }
}
