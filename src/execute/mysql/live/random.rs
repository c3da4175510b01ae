//! Random values of every type: what the server's own text says is what is shown, and what is shown goes in again
//! as the same value. `BULKHEAD_VALUES` says how many of each type, `BULKHEAD_SEED` which.

use serde_json::Value as Json;

use super::*;
use crate::execute::dice::Dice;
use crate::wire::json_rows::{Form, JsonRows, NumberForm, RowForm};

/// How a type's JSON is compared with the server's text, and sent back.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Same,
    Number,
    Float,
    /// A number of up to 64 bits: it goes back as a JSON number, since a string would be its bytes.
    Bit,
    /// `2024-01-02T03:04:05` for `2024-01-02 03:04:05`.
    Time,
    Bytes,
    Json,
}

/// An SQL literal.
type Make = fn(&mut Dice) -> String;

const TYPES: &[(&str, Shown, Make)] = &[
    ("TINYINT", Shown::Number, |dice| {
        (dice.int() as i8).to_string()
    }),
    ("TINYINT UNSIGNED", Shown::Number, |dice| {
        (dice.int() as u8).to_string()
    }),
    ("SMALLINT UNSIGNED", Shown::Number, |dice| {
        (dice.int() as u16).to_string()
    }),
    ("MEDIUMINT", Shown::Number, |dice| {
        (dice.int() as i16).to_string()
    }),
    ("INT", Shown::Number, |dice| (dice.int() as i32).to_string()),
    ("INT UNSIGNED", Shown::Number, |dice| {
        (dice.int() as u32).to_string()
    }),
    ("BIGINT", Shown::Same, |dice| dice.int().to_string()),
    ("BIGINT UNSIGNED", Shown::Same, |dice| {
        (dice.int() as u64).to_string()
    }),
    ("FLOAT", Shown::Float, |dice| {
        format!("{:e}", finite(f32::from_bits(dice.int() as u32)))
    }),
    ("DOUBLE", Shown::Float, |dice| {
        let number = f64::from_bits(dice.int() as u64);
        format!("{:e}", if number.is_finite() { number } else { 0.5 })
    }),
    ("DECIMAL(65,30)", Shown::Same, |dice| dice.decimal(34, 30)),
    ("DECIMAL(10,0)", Shown::Same, |dice| {
        (dice.int() as i32).to_string()
    }),
    ("DATE", Shown::Same, |dice| text(&date(dice))),
    ("DATETIME(6)", Shown::Time, |dice| {
        text(&format!("{} {}", date(dice), dice.clock(24)))
    }),
    ("DATETIME", Shown::Time, |dice| {
        text(&format!("{} 10:20:30", date(dice)))
    }),
    ("TIMESTAMP(6) NULL", Shown::Time, |dice| {
        text(&format!(
            "20{:02}-06-{:02} {}",
            dice.below(38),
            dice.below(28) + 1,
            dice.clock(24)
        ))
    }),
    ("TIME(6)", Shown::Time, |dice| {
        text(&format!("{}{}", dice.pick(&["", "-"]), dice.clock(838)))
    }),
    ("YEAR", Shown::Number, |dice| {
        (1901 + dice.below(254)).to_string()
    }),
    ("BIT(1)", Shown::Bit, |dice| format!("b'{}'", dice.below(2))),
    ("BIT(64)", Shown::Bit, |dice| format!("b'{:b}'", dice.int())),
    ("CHAR(30) CHARACTER SET utf8mb4", Shown::Same, |dice| {
        text(dice.text().trim_end_matches(' '))
    }),
    ("VARCHAR(40) CHARACTER SET utf8mb4", Shown::Same, |dice| {
        text(&dice.text())
    }),
    ("VARCHAR(40) CHARACTER SET latin1", Shown::Same, |dice| {
        text(&dice.word(30))
    }),
    ("LONGTEXT CHARACTER SET utf8mb4", Shown::Same, |dice| {
        text(&dice.text())
    }),
    ("BINARY(20)", Shown::Bytes, |dice| {
        format!("x'{}'", dice.hex(20))
    }),
    ("VARBINARY(40)", Shown::Bytes, |dice| {
        format!("x'{}'", dice.hex(40))
    }),
    ("BLOB", Shown::Bytes, |dice| format!("x'{}'", dice.hex(40))),
    (
        "ENUM('a','b c','d''e') CHARACTER SET utf8mb4",
        Shown::Same,
        |dice| dice.pick(&["'a'", "'b c'", "'d''e'"]),
    ),
    (
        "SET('a','b c','d') CHARACTER SET utf8mb4",
        Shown::Same,
        |dice| dice.pick(&["''", "'a,d'", "'b c'"]),
    ),
    ("JSON", Shown::Json, |dice| text(&dice.json(3))),
    ("GEOMETRY", Shown::Bytes, |dice| {
        format!(
            "ST_GeomFromText('LINESTRING({} {}, 1.5 -2)')",
            dice.small(),
            dice.small()
        )
    }),
];

fn finite(number: f32) -> f32 {
    if number.is_finite() { number } else { 0.5 }
}

/// Zero dates too: the session allows them.
fn date(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => dice.pick(&[
            "0000-00-00",
            "9999-12-31",
            "1000-01-01",
            "2024-02-29",
            "2024-00-00",
        ]),
        _ => format!(
            "{:04}-{:02}-{:02}",
            dice.below(9999) + 1,
            dice.below(12) + 1,
            dice.below(28) + 1
        ),
    }
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The server's own text of the column `v`.
fn server_text(shown: Shown) -> &'static str {
    match shown {
        Shown::Bytes => "HEX(v)",
        Shown::Bit => "CAST(v + 0 AS CHAR)",
        Shown::Float => "v",
        Shown::Same | Shown::Number | Shown::Time | Shown::Json => "CAST(v AS CHAR)",
    }
}

fn is_same(shown: Shown, ours: &Json, theirs: &Json) -> bool {
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    match shown {
        Shown::Same | Shown::Bit => ours == theirs,
        Shown::Number => text(theirs) == format!("{ours}"),
        Shown::Float => ours == theirs,
        Shown::Time => {
            let ours = text(ours).replacen('T', " ", 1);
            let plain = |text: &str| match text.split_once('.') {
                Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => {
                    whole.to_owned()
                }
                _ => text.to_owned(),
            };
            plain(ours.trim_end_matches('Z')) == plain(&text(theirs))
        }
        Shown::Bytes => {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let bytes = engine.decode(text(ours)).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            hex == text(theirs)
        }
        // MariaDB keeps the text; MySQL prints it anew.
        Shown::Json => true,
    }
}

fn parameter(shown: Shown, json: &Json, theirs: &Json) -> String {
    match (shown, json) {
        // MariaDB's JSON is text, and shown so; a string is JSON text to both servers.
        (Shown::Json, json) if json == theirs => json.to_string(),
        (Shown::Bytes, Json::String(text)) => format!("{{\"$base64\": \"{text}\"}}"),
        // The session's zone is UTC, and the server's text has no zone.
        (Shown::Time, Json::String(text)) => Json::from(text.trim_end_matches('Z')).to_string(),
        (Shown::Bit, Json::String(digits)) => digits.clone(),
        (Shown::Json, json) => Json::from(json.to_string()).to_string(),
        (_, json) => json.to_string(),
    }
}

impl Rig {
    /// The rows of a query as the front door shows them.
    async fn shown(&self, sql: &str) -> Vec<Vec<Json>> {
        let mut sink = JsonRows::new(Form {
            rows: RowForm::Arrays,
            numbers: NumberForm::Exact,
            rows_max: 10_000,
            bytes_max: 64 << 20,
        });
        let request = request(&[]);
        let ran = self.store.run(asked(sql, false, &request), &mut sink).await;
        let summary = ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let reply: Json = serde_json::from_slice(&sink.finish(&summary)).unwrap();
        serde_json::from_value(reply["rows"].clone()).unwrap()
    }
}

#[tokio::test]
async fn any_value_of_any_type_is_shown_and_taken_as_it_is() {
    let rig = Rig::new(1);
    let mut dice = Dice::from_environment();
    for (type_, shown, make) in TYPES {
        rig.change("DROP TABLE IF EXISTS random_values", &[]).await;
        let create = format!("CREATE TABLE random_values (id INT PRIMARY KEY, v {type_})");
        rig.change(&create, &[]).await;
        let literals: Vec<_> = (0..dice.cases(12)).map(|_| make(&mut dice)).collect();
        let rows = literals.iter().enumerate();
        let rows: Vec<_> = rows
            .map(|(id, literal)| format!("({id}, {literal})"))
            .collect();
        let insert = format!("INSERT INTO random_values VALUES {}", rows.join(", "));
        rig.change(&insert, &[]).await;

        let text = server_text(*shown);
        let sql = format!("SELECT v, {text} AS t FROM random_values ORDER BY id");
        let rows = rig.shown(&sql).await;
        for (row, literal) in rows.iter().zip(&literals) {
            assert!(
                is_same(*shown, &row[0], &row[1]),
                "{type_} {literal}: {row:?}"
            );
        }

        let params: Vec<_> = rows
            .iter()
            .map(|row| parameter(*shown, &row[0], &row[1]))
            .collect();
        let places: Vec<_> = (0..rows.len())
            .map(|id| format!("({}, ?)", id + 100_000))
            .collect();
        let insert = format!("INSERT INTO random_values VALUES {}", places.join(", "));
        let params: Vec<_> = params.iter().map(String::as_str).collect();
        rig.change(&insert, &params).await;
        let differs = "SELECT a.id FROM random_values AS a JOIN random_values AS b ON b.id = a.id + 100000 \
            WHERE NOT (a.v <=> b.v AND HEX(CAST(a.v AS BINARY)) <=> HEX(CAST(b.v AS BINARY)))";
        let differing = rig.shown(differs).await;
        // A JSON text may be printed anew on its way; its value is compared below.
        if *shown == Shown::Json {
            let back = rig.shown(&sql).await;
            let (before, after) = back.split_at(rows.len());
            for (before, after) in before.iter().zip(after) {
                assert_eq!(before[0], after[0]);
            }
        } else {
            let values: Vec<_> = differing
                .iter()
                .map(|row| &rows[row[0].as_u64().unwrap() as usize])
                .collect();
            assert!(
                values.is_empty(),
                "{type_}: {values:?} went in as other values"
            );
        }
    }
}
