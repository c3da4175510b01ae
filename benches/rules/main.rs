//! `cargo bench --bench rules`: what deciding costs a request, in process and without a store, for a role without rules,
//! with column rules and with a row filter.
//!
//! *Anew* is a statement that was not seen before, of which each has another constant; *again* is one that was. Where
//! there are no rules, and in MongoDB, nothing is remembered, and the two are the same work.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use bulkhead::authenticate::Principal;
use bulkhead::classify::{self, Session};
use bulkhead::decide::restrict::{Circumstances, Column, Columns, Index};
use bulkhead::decide::{Policy, PolicyFile};
use bulkhead::operation::{Operation, Payload, Store};
use jiff::Timestamp;

/// Different statements.
const STATEMENTS: usize = 200;
/// Each is decided so often.
const ROUNDS: usize = 25;

/// A policy of one store, with a role for each set of rules.
fn policy(store: Store) -> Option<Policy> {
    let (list, namespace, action) = match store {
        Store::Postgres => ("tables", "", "select"),
        Store::Mysql | Store::Redis => ("tables", "database = \"shop\"", "select"),
        Store::Mongodb => ("collections", "database = \"shop\"", "find"),
    };
    let objects = format!("{list} = [\"people\", \"orders\"]");
    let mut text =
        format!("version = 1\nmask_salt = \"pepper\"\n[stores.{store}]\n{namespace}\n{objects}\n");
    for (name, rules) in ROLES {
        text += &format!(
            "[roles.{name}]\n[[roles.{name}.grants]]\nstore = \"{store}\"\n{objects}\nactions = [\"{action}\"]\n\
             {rules}\n"
        );
    }
    let file = PolicyFile {
        path: "bench.toml".into(),
        text,
    };
    match Policy::compile(&[file]) {
        Ok(policy) => Some(policy),
        Err(faults) => {
            eprintln!("{faults}");
            None
        }
    }
}

const ROLES: [(&str, &str); 3] = [
    ("plain", ""),
    (
        "columns",
        "mask_columns = { email = \"partial\", phone = \"null\" }\ndeny_columns = [\"ssn\"]",
    ),
    ("rows", "rows = \"owner = :caller.user_id\""),
];

struct Tables {
    columns: Arc<[Column]>,
    indexes: Arc<[Index]>,
}

impl Columns for Tables {
    fn of(&self, _: &str, _: &str) -> Option<Arc<[Column]>> {
        Some(Arc::clone(&self.columns))
    }

    fn indexes(&self, _: &str, _: &str) -> Option<Arc<[Index]>> {
        Some(Arc::clone(&self.indexes))
    }
}

fn tables(store: Store) -> Tables {
    let text = match store {
        Store::Postgres => "text",
        Store::Mysql | Store::Mongodb | Store::Redis => "varchar(100)",
    };
    let columns = ["owner", "name", "email", "phone", "ssn", "city", "note"];
    let ids = ["id", "person"].map(|name| Column::new(name, "bigint"));
    let texts = columns.map(|name| Column::new(name, text));
    let columns: Vec<Column> = ids.into_iter().chain(texts).collect();
    Tables {
        columns: columns.into(),
        indexes: Arc::from([Index {
            name: "PRIMARY".into(),
            columns: vec!["id".into()],
        }]),
    }
}

fn operation(store: Store, size: &str, number: usize) -> Operation {
    let small = format!("SELECT id, name, email FROM people WHERE id = {number}");
    let middle = format!(
        "SELECT p.id, p.name, p.email, count(*) AS n, max(o.id) AS last FROM people p JOIN orders o ON o.person = p.id \
         LEFT JOIN orders q ON q.person = p.id AND q.id < o.id WHERE p.city = 'Oslo' AND o.id > {number} \
         AND p.id IN (SELECT person FROM orders WHERE city = 'Oslo') GROUP BY p.id, p.name, p.email \
         HAVING count(*) > 1 ORDER BY n DESC, p.id LIMIT 50"
    );
    let sql: &str = if size == "small" { &small } else { &middle };
    let classified = match store {
        Store::Postgres => classify::postgres::classify(sql, Session::Shared),
        Store::Mysql => classify::mysql::classify(sql, Session::Shared),
        Store::Mongodb | Store::Redis => return command(size, number),
    };
    let classification = classified.unwrap_or_default();
    let text = classification.rewritten.as_deref().unwrap_or(sql);
    Operation {
        store,
        payload: Payload::Sql(text.into()),
        classification: Arc::new(classification),
    }
}

fn command(size: &str, number: usize) -> Operation {
    let number = i64::try_from(number).unwrap_or_default();
    let command = if size == "small" {
        doc! {"find": "people", "filter": {"_id": number}, "projection": {"name": 1, "email": 1}}
    } else {
        doc! {"aggregate": "people", "cursor": {}, "pipeline": [
            {"$match": {"city": "Oslo", "_id": {"$gt": number}}},
            {"$lookup": {"from": "orders", "localField": "_id", "foreignField": "person", "as": "orders"}},
            {"$unwind": "$orders"},
            {"$group": {"_id": {"id": "$_id", "email": "$email"}, "n": {"$sum": 1}, "last": {"$max": "$orders._id"}}},
            {"$match": {"n": {"$gt": 1}}},
            {"$sort": {"n": -1, "_id": 1}},
            {"$limit": 50},
        ]}
    };
    let document = RawDocumentBuf::try_from(&command).unwrap_or_default();
    let classified = classify::mongodb::classify(document.as_bytes(), "shop", Session::Shared);
    Operation {
        store: Store::Mongodb,
        classification: Arc::new(classified.unwrap_or_default()),
        payload: Payload::Mongodb {
            database: "shop".into(),
            document: document.into_bytes(),
        },
    }
}

/// Microseconds a decision: of statements not seen before, and of the same again, each the median of some rounds.
fn measure(store: Store, size: &str, role: &str) -> Option<(f64, f64)> {
    let caller = Arc::new(Principal {
        key_id: "key".into(),
        user_id: Some("ann".into()),
        role: role.into(),
    });
    let tables = tables(store);
    let mut circumstances = Circumstances::at(Timestamp::UNIX_EPOCH);
    circumstances.columns = &tables;
    let (mut anew, mut again) = (Vec::new(), Vec::new());
    let operations: Vec<Operation> = (0..STATEMENTS)
        .map(|at| operation(store, size, at))
        .collect();
    for _ in 0..ROUNDS {
        let policy = policy(store)?;
        let pass = || {
            // What is handed in is given up, so copies are made beforehand.
            let asked = operations.clone();
            let began = Instant::now();
            for operation in asked {
                let permit = policy.decide(&caller, operation, &circumstances);
                if let Err(refusal) = &permit {
                    eprintln!("{store} {size} {role}: {refusal}");
                    return None;
                }
                let _ = black_box(permit);
            }
            Some(began.elapsed())
        };
        anew.push(pass()?);
        again.push(pass()?);
    }
    let median = |mut all: Vec<Duration>| {
        all.sort();
        let middle = all.get(all.len() / 2).copied().unwrap_or_default();
        middle.as_secs_f64() * 1e6 / STATEMENTS as f64
    };
    Some((median(anew), median(again)))
}

fn main() -> ExitCode {
    println!("| store | statement | rules | anew µs | again µs |\n|---|---|---|---|---|");
    for store in [Store::Postgres, Store::Mysql, Store::Mongodb] {
        for size in ["small", "middle"] {
            for (role, _) in ROLES {
                let Some((anew, again)) = measure(store, size, role) else {
                    return ExitCode::FAILURE;
                };
                println!("| {store} | {size} | {role} | {anew:.2} | {again:.2} |");
            }
        }
    }
    ExitCode::SUCCESS
}
