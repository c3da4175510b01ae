//! Random values of every type: what the server's own text says is what is shown, and what is shown goes in again
//! as the same value. `BULKHEAD_VALUES` says how many of each type, `BULKHEAD_SEED` which.

use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::*;
use crate::execute::dice::Dice;
use crate::wire::json_rows::{Form, JsonRows, NumberForm, RowForm};

/// How a type's JSON is compared with the server's text.
#[derive(Clone, Copy)]
enum Shown {
    /// The same text.
    Same,
    Number,
    Float,
    Bool,
    Money,
    /// `2024-01-02T03:04:05.600000Z` for `2024-01-02 03:04:05.6+00`.
    Time,
    Bytes,
    Json,
    /// Not as text: arrays are arrays.
    Otherwise,
}

type Make = fn(&mut Dice) -> String;

const TYPES: &[(&str, Shown, Make)] = &[
    ("bool", Shown::Bool, |dice| dice.pick(&["t", "f"])),
    ("\"char\"", Shown::Same, |dice| {
        dice.pick(&["a", "", "~", "'"])
    }),
    ("int2", Shown::Number, |dice| {
        (dice.int() as i16).to_string()
    }),
    ("int4", Shown::Number, |dice| {
        (dice.int() as i32).to_string()
    }),
    ("int8", Shown::Same, |dice| dice.int().to_string()),
    ("oid", Shown::Number, |dice| (dice.int() as u32).to_string()),
    ("xid8", Shown::Same, |dice| (dice.int() as u64).to_string()),
    ("float4", Shown::Float, |dice| {
        format!("{:?}", f32::from_bits(dice.int() as u32))
    }),
    ("float8", Shown::Float, |dice| {
        format!("{:?}", f64::from_bits(dice.int() as u64))
    }),
    ("numeric", Shown::Same, numeric),
    ("numeric(38,9)", Shown::Same, |dice| dice.decimal(29, 9)),
    ("money", Shown::Money, |dice| {
        format!("{}.{:02}", dice.int() / 1000, dice.below(100))
    }),
    ("text", Shown::Same, Dice::text),
    ("varchar(40)", Shown::Same, Dice::text),
    ("name", Shown::Same, |dice| dice.word(60)),
    ("bytea", Shown::Bytes, |dice| format!("\\x{}", dice.hex(40))),
    ("uuid", Shown::Same, |dice| format!("{:032x}", dice.wide())),
    ("date", Shown::Time, date),
    ("time", Shown::Time, |dice| dice.clock(24)),
    ("timetz", Shown::Time, |dice| {
        format!("{}{}", dice.clock(24), dice.offset())
    }),
    ("timestamp", Shown::Time, timestamp),
    ("timestamptz", Shown::Time, |dice| match timestamp(dice) {
        text if text.ends_with('y') => text,
        text => match text.strip_suffix(" BC") {
            Some(text) => format!("{text}{} BC", dice.offset()),
            None => format!("{text}{}", dice.offset()),
        },
    }),
    ("interval", Shown::Same, interval),
    ("inet", Shown::Same, |dice| dice.address(true)),
    ("cidr", Shown::Same, |dice| {
        format!("{}.0.0.0/8", dice.below(256))
    }),
    ("macaddr", Shown::Same, |dice| {
        format!("{:012x}", dice.int() as u64 >> 16)
    }),
    ("macaddr8", Shown::Same, |dice| {
        format!("{:016x}", dice.int())
    }),
    ("bit(9)", Shown::Same, |dice| {
        format!("{:09b}", dice.below(512))
    }),
    ("varbit", Shown::Same, |dice| format!("{:b}", dice.int())),
    ("json", Shown::Json, |dice| dice.json(3)),
    ("jsonb", Shown::Json, |dice| dice.json(3)),
    ("xml", Shown::Same, |dice| {
        format!("<a b=\"{}\">{}</a>", dice.word(5), dice.below(9))
    }),
    ("point", Shown::Same, |dice| dice.points(1)),
    ("line", Shown::Same, |dice| {
        format!("{{1,{},{}}}", dice.small(), dice.small())
    }),
    ("lseg", Shown::Same, |dice| format!("[{}]", dice.points(2))),
    ("box", Shown::Same, |dice| dice.points(2)),
    ("path", Shown::Same, |dice| format!("[{}]", dice.points(3))),
    ("polygon", Shown::Same, |dice| {
        format!("({})", dice.points(4))
    }),
    ("circle", Shown::Same, |dice| {
        format!("<{},{}>", dice.points(1), dice.below(99))
    }),
    ("int4range", Shown::Same, |dice| {
        format!("[{},{}]", dice.below(9), dice.below(99) + 9)
    }),
    ("numrange", Shown::Same, |dice| {
        format!("(,{}]", dice.decimal(20, 20))
    }),
    ("daterange", Shown::Same, |dice| {
        format!("[2024-01-{:02},)", dice.below(28) + 1)
    }),
    ("tstzrange", Shown::Otherwise, |dice| {
        format!("[\"2024-01-01 {}\",infinity]", dice.clock(24))
    }),
    ("int8multirange", Shown::Same, |dice| {
        format!("{{[1,{}),[200,)}}", dice.below(99) + 2)
    }),
    ("tsvector", Shown::Same, |dice| {
        format!("{}:{}A,9 {}", dice.word(8), dice.below(8) + 1, dice.word(8))
    }),
    ("tsquery", Shown::Same, query),
    ("pg_lsn", Shown::Same, |dice| {
        format!("{:X}/{:X}", dice.int() as u32, dice.int() as u32)
    }),
    ("mood", Shown::Same, |dice| {
        dice.pick(&["sad", "so so", "\"glad\""])
    }),
    ("amount", Shown::Same, |dice| dice.decimal(12, 12)),
    ("pair", Shown::Same, |dice| {
        format!("({},{})", dice.below(99), quoted(&dice.text()))
    }),
    ("citext", Shown::Same, Dice::text),
    ("hstore", Shown::Same, |dice| {
        format!("{}=>{}, z=>NULL", dice.word(5), quoted(&dice.text()))
    }),
    ("int8[]", Shown::Otherwise, |dice| {
        format!("{{{},NULL,{}}}", dice.int(), dice.int())
    }),
    ("text[]", Shown::Otherwise, |dice| {
        format!("{{{{{},b}},{{NULL,\"\"}}}}", quoted(&dice.text()))
    }),
    ("numeric[]", Shown::Otherwise, |dice| {
        format!("{{{},NaN}}", numeric(dice))
    }),
    ("timestamptz[]", Shown::Otherwise, |dice| {
        format!("{{\"2024-01-01 {}\",infinity}}", dice.clock(24))
    }),
    ("jsonb[]", Shown::Otherwise, |dice| {
        format!("{{{}}}", quoted(&dice.json(2)))
    }),
    ("bytea[]", Shown::Otherwise, |dice| {
        format!("{{\"\\\\x{}\"}}", dice.hex(9))
    }),
    ("mood[]", Shown::Otherwise, |_| "{sad,\"so so\"}".to_owned()),
    ("pair[]", Shown::Otherwise, |dice| {
        format!("{{{}}}", quoted(&format!("({},)", dice.below(9))))
    }),
];

const PREPARE: &str = "CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION IF NOT EXISTS hstore; \
    DROP TYPE IF EXISTS mood, pair CASCADE; DROP DOMAIN IF EXISTS amount; \
    CREATE TYPE mood AS ENUM ('sad', 'so so', '\"glad\"'); \
    CREATE TYPE pair AS (a int, b text); CREATE DOMAIN amount AS numeric CHECK (VALUE < 1e13)";

fn numeric(dice: &mut Dice) -> String {
    match dice.below(12) {
        0 => dice.pick(&["NaN", "Infinity", "-Infinity", "0.00", "-0"]),
        _ => {
            let (whole, fraction) = (dice.below(60), dice.below(60));
            dice.decimal(whole, fraction)
        }
    }
}

fn date(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => dice.pick(&["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"]),
        1 => format!(
            "{:04}-{:02}-{:02} BC",
            dice.below(4000) + 1,
            dice.below(12) + 1,
            dice.below(28) + 1
        ),
        _ => format!(
            "{:04}-{:02}-{:02}",
            dice.below(12_000) + 1,
            dice.below(12) + 1,
            dice.below(28) + 1
        ),
    }
}

fn timestamp(dice: &mut Dice) -> String {
    let date = match date(dice) {
        date if date.ends_with("infinity") => return date,
        date if date.starts_with("4713") || date.starts_with("5874897") => {
            "294000-12-31".to_owned()
        }
        date => date,
    };
    let clock = dice.clock(23);
    match date.strip_suffix(" BC") {
        Some(date) => format!("{date} {clock} BC"),
        None => format!("{date} {clock}"),
    }
}

fn interval(dice: &mut Dice) -> String {
    format!(
        "{} months {} days {}.{:06} seconds",
        dice.small(),
        dice.small(),
        dice.below(99_999),
        dice.below(1_000_000)
    )
}

fn query(dice: &mut Dice) -> String {
    let (a, b, c) = (dice.word(5), dice.word(5), dice.word(5));
    let operators = ["&", "|", "<->", "<3>"];
    let (one, two) = (dice.pick(&operators), dice.pick(&operators));
    dice.pick(&[
        &format!("!({a} {one} {b}:*) {two} {c}:AB"),
        &format!("{a} {one} ({b} {two} !{c})"),
        &format!("({a} {one} {b}) {two} '{c}''x'"),
        "",
    ])
}

/// An element of an array, a row or an hstore.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The JSON as the server's text, where it has one.
fn as_text(shown: Shown, json: &RawValue) -> Option<String> {
    if matches!(shown, Shown::Json | Shown::Otherwise) {
        return None;
    }
    let json: Json = serde_json::from_str(json.get()).unwrap();
    let text = || json.as_str().unwrap().to_owned();
    Some(match shown {
        Shown::Same => text(),
        Shown::Number => json.to_string(),
        Shown::Bool => json.to_string()[..1].to_owned(),
        Shown::Money => text(),
        Shown::Float => match json.as_f64() {
            Some(number) => format!("{number:?}"),
            None => text(),
        },
        Shown::Time => trimmed(&text().replacen('T', " ", 1).replacen('Z', "+00", 1)),
        Shown::Bytes => {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(text()).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}")
        }
        Shown::Json | Shown::Otherwise => return None,
    })
}

/// What goes in where this came out: bytes are told from text.
fn parameter(type_: &str, raw: &RawValue) -> String {
    if let Some(element) = type_.strip_suffix("[]")
        && matches!(element, "bytea" | "jsonb")
    {
        let elements: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).unwrap();
        let elements: Vec<_> = elements.iter().map(|raw| parameter(element, raw)).collect();
        return format!("[{}]", elements.join(","));
    }
    match type_ {
        "bytea" => format!("{{\"$base64\": {}}}", raw.get()),
        // A string for a JSON parameter is JSON text, and null is SQL's.
        "json" | "jsonb" if raw.get().starts_with(['"', 'n']) => Json::from(raw.get()).to_string(),
        _ => raw.get().to_owned(),
    }
}

/// A fraction of a second without its last zeros, as the server prints it.
fn trimmed(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (fraction, tail) = rest.split_at(end);
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}{tail}"),
        fraction => format!("{whole}.{fraction}{tail}"),
    }
}

fn same_text(shown: Shown, ours: &str, theirs: &str) -> bool {
    match shown {
        Shown::Float => match (ours.parse::<f64>(), theirs.parse::<f64>()) {
            (Ok(ours), Ok(theirs)) => {
                ours.to_bits() == theirs.to_bits()
                    || (ours as f32).to_bits() == (theirs as f32).to_bits()
                    || (ours.is_nan() && theirs.is_nan())
            }
            _ => ours == theirs,
        },
        // The server leaves the minutes of an offset out where there are none.
        Shown::Time => ours == theirs || ours.strip_suffix(":00") == Some(theirs),
        Shown::Money => ours == theirs.replace(['$', ','], ""),
        Shown::Same | Shown::Number | Shown::Bool | Shown::Bytes => ours == theirs,
        Shown::Json | Shown::Otherwise => true,
    }
}

/// Values as they stand in the reply, digit for digit.
#[derive(serde::Deserialize)]
struct Reply {
    rows: Vec<Vec<Box<RawValue>>>,
}

impl Rig {
    /// The rows of a query as the front door shows them.
    async fn shown(&self, sql: &str, params: &[String]) -> Vec<Vec<Box<RawValue>>> {
        let mut sink = JsonRows::new(Form {
            rows: RowForm::Arrays,
            numbers: NumberForm::Exact,
            rows_max: 10_000,
            bytes_max: 64 << 20,
        });
        let params: Vec<_> = params.iter().map(String::as_str).collect();
        let request = request(&params);
        let ran = self.ask(Effect::Read, sql, &request, &mut sink);
        let summary = ran
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error} {error:?}"));
        let reply: Reply = serde_json::from_slice(&sink.finish(&summary)).unwrap();
        reply.rows
    }
}

#[tokio::test]
async fn any_value_of_any_type_is_shown_and_taken_as_it_is() {
    let rig = Rig::new(1);
    for statement in PREPARE.split("; ") {
        rig.change(statement).await;
    }
    let mut dice = Dice::from_environment();
    for (type_, shown, make) in TYPES {
        let literals: Vec<_> = (0..dice.cases(12)).map(|_| make(&mut dice)).collect();
        let values: Vec<_> = literals
            .iter()
            .map(|literal| format!("('{}'::{type_})", literal.replace('\'', "''")))
            .collect();
        let sql = format!(
            "SELECT v, format('%s', v) FROM (VALUES {}) AS x (v)",
            values.join(", ")
        );
        let rows = rig.shown(&sql, &[]).await;
        for (row, literal) in rows.iter().zip(&literals) {
            let theirs: String = serde_json::from_str(row[1].get()).unwrap();
            if let Some(ours) = as_text(*shown, &row[0]) {
                assert!(
                    same_text(*shown, &ours, &theirs),
                    "{type_} {literal}: {ours} is not {theirs}"
                );
            }
        }
        let places: Vec<_> = (1..=rows.len())
            .map(|place| format!("format('%s', ${place}::{type_})"))
            .collect();
        let params: Vec<_> = rows.iter().map(|row| parameter(type_, &row[0])).collect();
        let back = rig
            .shown(&format!("SELECT {}", places.join(", ")), &params)
            .await;
        for (row, back) in rows.iter().zip(&back[0]) {
            assert_eq!(
                row[1].get(),
                back.get(),
                "{type_}: {} went in as another value",
                row[0]
            );
        }
    }
}
