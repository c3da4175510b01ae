//! Instructions, counted: the figure that does not depend on how busy the machine is. This executable runs itself under
//! Valgrind's callgrind, once with some calls and once with twice as many; the difference is the calls' alone.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bson::RawDocumentBuf;
use bulkhead::authenticate::Principal;
use bulkhead::classify::cache::Classifications;
use bulkhead::classify::{self, Session};
use bulkhead::decide::restrict::Circumstances;
use bulkhead::decide::{Policy, PolicyFile};
use bulkhead::operation::{Operation, Payload, Store};
use bulkhead::reply::{Column, RowSink as _, Summary, Value};
use bulkhead::wire::json_rows::{Form, JsonRows, NumberForm, RowForm};
use jiff::Timestamp;

use crate::Fallible;
use crate::connect::MONGODB_DATABASE;
use crate::questions::{MYSQL_SQL, POSTGRES_SQL, find, key, redis_key, text};

/// The first argument of this executable when it is to make calls.
pub const MODE: &str = "counted";
/// Calls of the first run.
const CALLS: usize = 500;

const POLICY: &str = include_str!("policy.toml");

/// What is called, by its name in the table.
const NAMES: [&str; 9] = [
    "classify postgres",
    "classify mysql",
    "classify mongodb",
    "classify redis",
    "classified before",
    "decide postgres",
    "decide redis",
    "encode 1 row",
    "encode 100 rows",
];

/// Name and instructions a call; empty where there is no Valgrind.
pub fn measure() -> Fallible<Vec<(&'static str, f64)>> {
    if !Path::new("/usr/bin/valgrind").exists() {
        eprintln!("gate: valgrind is not installed, and nothing is counted");
        return Ok(Vec::new());
    }
    eprintln!("gate: counting instructions");
    let count = |name: &'static str| {
        let few = instructions(name, CALLS)?;
        let many = instructions(name, 2 * CALLS)?;
        Ok((name, (many - few) / CALLS as f64))
    };
    NAMES.into_iter().map(count).collect()
}

fn instructions(name: &str, calls: usize) -> Fallible<f64> {
    let run = Command::new("/usr/bin/valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([MODE, name, &calls.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&run.stderr);
    let told = text.lines().find_map(|line| line.split_once("Collected :"));
    let told = told.and_then(|(_, count)| count.trim().parse().ok());
    told.ok_or_else(|| format!("valgrind does not tell a count:\n{text}").into())
}

/// Makes the calls.
pub fn run(name: &str, calls: usize) -> Fallible {
    let postgres: Arc<str> = POSTGRES_SQL.into();
    let document = RawDocumentBuf::try_from(&find(0))?.into_bytes();
    let get = [["GET".to_owned(), redis_key(0)]
        .map(String::into_bytes)
        .to_vec()];
    let cache = Classifications::default();
    cache.classify(Store::Postgres, &postgres)?;
    let policy = policy()?;
    let caller = Arc::new(Principal {
        key_id: "0".into(),
        user_id: None,
        role: "app".into(),
    });
    let sql = classify::postgres::classify(POSTGRES_SQL, Session::Shared)?;
    let sql = Operation {
        store: Store::Postgres,
        classification: Arc::new(sql),
        payload: Payload::Sql(Arc::clone(&postgres)),
    };
    let command = classify::redis_operation(get.to_vec(), false, Session::Shared)?;
    let circumstances = Circumstances::at(Timestamp::UNIX_EPOCH);
    for _ in 0..calls {
        match name {
            "classify postgres" => drop(black_box(classify::postgres::classify(
                &postgres,
                Session::Shared,
            ))),
            "classify mysql" => drop(black_box(classify::mysql::classify(
                MYSQL_SQL,
                Session::Shared,
            ))),
            "classify mongodb" => drop(black_box(classify::mongodb::classify(
                &document,
                MONGODB_DATABASE,
                Session::Shared,
            ))),
            "classify redis" => drop(black_box(classify::redis::classify(
                &get[0],
                Session::Shared,
            ))),
            "classified before" => drop(black_box(cache.get(Store::Postgres, &postgres))),
            "decide postgres" => drop(black_box(policy.decide(
                &caller,
                sql.clone(),
                &circumstances,
            ))),
            "decide redis" => drop(black_box(policy.decide(
                &caller,
                command.clone(),
                &circumstances,
            ))),
            "encode 1 row" => drop(black_box(encoded(1))),
            "encode 100 rows" => drop(black_box(encoded(100))),
            _ => return Err(format!("nothing is called `{name}`").into()),
        }
    }
    Ok(())
}

fn policy() -> Fallible<Policy> {
    let file = PolicyFile {
        path: "bench.toml".into(),
        text: POLICY.to_owned(),
    };
    Policy::compile(&[file]).map_err(|faults| faults.to_string().into())
}

/// Rows as the rounds' question brings them.
fn encoded(count: usize) -> Fallible<Vec<u8>> {
    let columns = ["key", "description"].map(|name| Column {
        name: name.to_owned(),
        database_type: "text".into(),
    });
    let mut rows = JsonRows::new(Form {
        rows: RowForm::Objects,
        numbers: NumberForm::Exact,
        rows_max: u64::MAX,
        bytes_max: usize::MAX,
    });
    let (key, text) = (key(0), text(0));
    rows.columns(&columns)?;
    for _ in 0..count {
        rows.start_row()?;
        rows.value(&Value::Text(key.as_str().into()))?;
        rows.value(&Value::Text(text.as_str().into()))?;
        rows.end_row()?;
    }
    Ok(rows.finish(&Summary::default()))
}
