//! `cargo bench --bench encoder`: what a row costs on its way into the reply, beside `serde_json` on the same rows.
//!
//! `serde_json` is measured twice: serializing a struct whose fields are borrowed, which knows at compile time what we
//! learn from the database, and building a tree of values first, as a generic proxy would.

use std::hint::black_box;
use std::time::Instant;

use bulkhead::reply::{Column, RowSink, Summary, Value};
use bulkhead::wire::json_rows::{Form, JsonRows, NumberForm, RowForm};
use serde::Serialize;
use serde_json::json;

const ROWS: usize = 1000;
const ROUNDS: usize = 2000;

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    title: &'a str,
    price: &'a str,
    created_at: &'a str,
    visible: bool,
    stock: i64,
}

/// What both write: an id, some text, a decimal, a time, a flag and a number.
struct Source {
    id: i64,
    title: String,
    price: String,
    created_at: String,
}

fn sources() -> Vec<Source> {
    (0..ROWS as i64)
        .map(|row| Source {
            id: row * 1_000_003,
            title: format!("a title of middling length, number {row}"),
            price: format!("{row}.{:02}", row % 100),
            created_at: "2024-01-02T03:04:05.678901Z".to_owned(),
        })
        .collect()
}

fn ours(sources: &[Source]) -> Vec<u8> {
    let names = ["id", "title", "price", "created_at", "visible", "stock"];
    let columns = names.map(|name| Column {
        name: name.to_owned(),
        database_type: "t".into(),
    });
    let mut rows = JsonRows::new(Form {
        rows: RowForm::Objects,
        numbers: NumberForm::Exact,
        rows_max: u64::MAX,
        bytes_max: usize::MAX,
    });
    let mut write = || {
        rows.columns(&columns)?;
        for source in sources {
            rows.start_row()?;
            rows.value(&Value::BigInt(source.id))?;
            rows.value(&Value::Text(source.title.as_str().into()))?;
            rows.value(&Value::Decimal(source.price.as_str().into()))?;
            rows.value(&Value::Temporal(source.created_at.as_str().into()))?;
            rows.value(&Value::Bool(true))?;
            rows.value(&Value::Int(source.id % 1000))?;
            rows.end_row()?;
        }
        Ok::<_, bulkhead::reply::SinkError>(())
    };
    // Nothing bounds these rows.
    let _ = write();
    rows.finish(&Summary::default())
}

fn structs(sources: &[Source]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.push(b'[');
    for source in sources {
        let id = source.id.to_string();
        let row = Row {
            id: &id,
            title: &source.title,
            price: &source.price,
            created_at: &source.created_at,
            visible: true,
            stock: source.id % 1000,
        };
        // Writing into a Vec cannot fail.
        let _ = serde_json::to_writer(&mut out, &row);
        out.push(b',');
    }
    out
}

fn trees(sources: &[Source]) -> Vec<u8> {
    let rows: Vec<_> = sources
        .iter()
        .map(|source| {
            json!({
                "id": source.id.to_string(), "title": source.title, "price": source.price,
                "created_at": source.created_at, "visible": true, "stock": source.id % 1000,
            })
        })
        .collect();
    serde_json::to_vec(&rows).unwrap_or_default()
}

fn measure(name: &str, sources: &[Source], encode: fn(&[Source]) -> Vec<u8>) {
    // The quickest of several parts: whatever else the machine does only makes it slower.
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let began = Instant::now();
        for _ in 0..ROUNDS / 10 {
            black_box(encode(black_box(sources)));
        }
        let nanos = began.elapsed().as_nanos() as f64 / (ROUNDS / 10 * ROWS) as f64;
        best = best.min(nanos);
    }
    println!("| {name} | {best:.0} |");
}

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("encoder: not measuring; run `cargo bench --bench encoder`");
        return;
    }
    let sources = sources();
    println!("| encoder | ns a row |\n|---|---|");
    measure("ours, from borrowed values", &sources, ours);
    measure("serde_json, a borrowed struct", &sources, structs);
    measure("serde_json, a tree of values", &sources, trees);
}
