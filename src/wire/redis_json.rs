//! Redis values as JSON text.
//!
//! | Redis (RESP3) | JSON |
//! |---|---|
//! | null | `null` |
//! | integer | a number, every digit kept (a 64-bit integer: read it with a parser that keeps 64 bits) |
//! | double | the shortest number that reads back the same; `"inf"`, `"-inf"`, `"nan"` |
//! | boolean | `true`, `false` |
//! | big number | a string of its digits |
//! | simple string, bulk string, verbatim string | a string; `{"$base64": "…"}` where the bytes are not UTF-8 |
//! | array, set, push | an array |
//! | map | an object where every key is text and no two are equal; otherwise an array of `[key, value]` |
//! | attribute | the value it goes with |
//! | error inside an array | `{"$error": "…"}` |
//!
//! A map whose first key is `$base64` or `$error` is written as pairs too, so that no data looks like bytes or
//! like an error.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redis::Value;

/// Deepest nesting that is written. The driver's parser stops at about the same depth.
pub const DEPTH_MAX: usize = 128;

const BYTES_KEY: &str = "$base64";
const ERROR_KEY: &str = "$error";

/// Why a value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    #[error("the reply is larger than {0} bytes")]
    Bytes(usize),
    #[error("the reply is nested deeper than {DEPTH_MAX}")]
    Depth,
}

/// Writes one value after what stands in `out`; fails once `out` is longer than `bytes_max`.
pub fn write(out: &mut Vec<u8>, value: &Value, bytes_max: usize) -> Result<(), TooLarge> {
    Writer { out, bytes_max }.value(value, DEPTH_MAX)
}

/// A server's error in its own words: `WRONGTYPE Operation against …`.
pub fn error_text(error: &redis::ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), TooLarge> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(TooLarge::Depth);
        };
        match value {
            Value::Nil => self.raw(b"null"),
            Value::Int(number) => self.raw(number.to_string().as_bytes()),
            Value::BulkString(bytes) | Value::BigNumber(bytes) => self.bytes(bytes),
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => self.text(text),
            Value::Okay => self.raw(b"\"OK\""),
            Value::Boolean(truth) => self.raw(if *truth { b"true" } else { b"false" }),
            Value::Double(number) => self.double(*number),
            Value::Array(items) | Value::Set(items) | Value::Push { data: items, .. } => {
                self.array(items, depth)
            }
            Value::Map(pairs) => self.map(pairs, depth),
            Value::Attribute { data, .. } => self.value(data, depth),
            Value::ServerError(error) => {
                self.raw(b"{\"$error\":")?;
                self.text(&error_text(error))?;
                self.raw(b"}")
            }
            // The driver's type may grow; what it then means is not known here.
            _ => self.raw(b"null"),
        }
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.out.len().saturating_add(bytes.len()) > self.bytes_max {
            return Err(TooLarge::Bytes(self.bytes_max));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) => {
                self.room(bytes.len())?;
                self.raw(b"{\"$base64\":\"")?;
                self.raw(STANDARD.encode(bytes).as_bytes())?;
                self.raw(b"\"}")
            }
        }
    }

    /// Refuses before copying what cannot fit anyway.
    fn room(&self, bytes: usize) -> Result<(), TooLarge> {
        if self.out.len().saturating_add(bytes) > self.bytes_max {
            return Err(TooLarge::Bytes(self.bytes_max));
        }
        Ok(())
    }

    /// Copies the runs between the characters that JSON wants escaped (RFC 8259, section 7).
    fn text(&mut self, text: &str) -> Result<(), TooLarge> {
        self.room(text.len() + 2)?;
        self.raw(b"\"")?;
        let mut run = 0;
        for (index, byte) in text.bytes().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => b"",
                0x20.. => continue,
            };
            self.raw(text.as_bytes().get(run..index).unwrap_or_default())?;
            if escape.is_empty() {
                self.raw(format!("\\u{byte:04x}").as_bytes())?;
            } else {
                self.raw(escape)?;
            }
            run = index + 1;
        }
        self.raw(text.as_bytes().get(run..).unwrap_or_default())?;
        self.raw(b"\"")
    }

    fn double(&mut self, number: f64) -> Result<(), TooLarge> {
        if number.is_nan() {
            self.raw(b"\"nan\"")
        } else if number.is_infinite() {
            self.raw(if number > 0.0 {
                b"\"inf\""
            } else {
                b"\"-inf\""
            })
        } else {
            self.raw(format!("{number:?}").as_bytes())
        }
    }

    fn array(&mut self, items: &[Value], depth: usize) -> Result<(), TooLarge> {
        self.raw(b"[")?;
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.raw(b",")?;
            }
            self.value(item, depth)?;
        }
        self.raw(b"]")
    }

    fn map(&mut self, pairs: &[(Value, Value)], depth: usize) -> Result<(), TooLarge> {
        let object = is_object(pairs);
        self.raw(if object { b"{" } else { b"[" })?;
        for (index, (key, value)) in pairs.iter().enumerate() {
            if index > 0 {
                self.raw(b",")?;
            }
            if !object {
                self.raw(b"[")?;
            }
            self.value(key, depth)?;
            self.raw(if object { b":" } else { b"," })?;
            self.value(value, depth)?;
            if !object {
                self.raw(b"]")?;
            }
        }
        self.raw(if object { b"}" } else { b"]" })
    }
}

fn is_object(pairs: &[(Value, Value)]) -> bool {
    let mut seen = HashSet::with_capacity(pairs.len());
    let all_distinct_text = pairs
        .iter()
        .all(|(key, _)| key_text(key).is_some_and(|key| seen.insert(key)));
    let looks_marked = pairs
        .first()
        .and_then(|(key, _)| key_text(key))
        .is_some_and(|key| key == BYTES_KEY || key == ERROR_KEY);
    all_distinct_text && !looks_marked
}

fn key_text(key: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = key {
        std::str::from_utf8(bytes).ok()
    } else if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = key {
        Some(text)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(value: &Value) -> String {
        let mut out = Vec::new();
        write(&mut out, value, usize::MAX).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::BulkString(bytes.as_ref().to_vec())
    }

    #[test]
    fn each_type_has_its_text() {
        let cases: Vec<(Value, &str)> = vec![
            (Value::Nil, "null"),
            (Value::Okay, r#""OK""#),
            (Value::Int(i64::MAX), "9223372036854775807"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::Double(3.0), "3.0"),
            (Value::Double(0.1), "0.1"),
            (Value::Double(-0.0), "-0.0"),
            (Value::Double(1e300), "1e300"),
            (Value::Double(5e-324), "5e-324"),
            (Value::Double(f64::INFINITY), r#""inf""#),
            (Value::Double(f64::NEG_INFINITY), r#""-inf""#),
            (Value::Double(f64::NAN), r#""nan""#),
            (Value::Boolean(true), "true"),
            (Value::Boolean(false), "false"),
            (
                Value::BigNumber(b"3492890328409238509324850943850943825024385".to_vec()),
                r#""3492890328409238509324850943850943825024385""#,
            ),
            (Value::SimpleString("PONG".into()), r#""PONG""#),
            (bulk("käse"), r#""käse""#),
            (bulk(""), r#""""#),
            (bulk([0xff, 0x00]), r#"{"$base64":"/wA="}"#),
            (
                bulk("a\"b\\c\n\r\t\u{1}\u{7f}"),
                "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}\"",
            ),
            (Value::Array(vec![Value::Int(1), Value::Nil]), "[1,null]"),
            (Value::Set(vec![]), "[]"),
            (Value::Map(vec![]), "{}"),
            (
                Value::Map(vec![
                    (bulk("a"), Value::Int(1)),
                    (bulk("b"), Value::Map(vec![(bulk("c"), Value::Nil)])),
                ]),
                r#"{"a":1,"b":{"c":null}}"#,
            ),
            (Value::Map(vec![(Value::Int(1), Value::Int(2))]), "[[1,2]]"),
            (
                Value::Map(vec![(bulk([0xff]), Value::Int(2))]),
                r#"[[{"$base64":"/w=="},2]]"#,
            ),
            (
                Value::Map(vec![(bulk("a"), Value::Int(1)), (bulk("a"), Value::Int(2))]),
                r#"[["a",1],["a",2]]"#,
            ),
            (
                Value::Map(vec![(bulk("$base64"), bulk("x"))]),
                r#"[["$base64","x"]]"#,
            ),
            (
                Value::Map(vec![(bulk("$error"), bulk("x"))]),
                r#"[["$error","x"]]"#,
            ),
            (
                Value::VerbatimString {
                    format: redis::VerbatimFormat::Text,
                    text: "t".into(),
                },
                r#""t""#,
            ),
            (
                Value::Attribute {
                    data: Box::new(Value::Int(1)),
                    attributes: vec![(bulk("k"), Value::Int(2))],
                },
                "1",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(json(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let mut deep = Value::Nil;
        for _ in 0..DEPTH_MAX {
            deep = Value::Array(vec![deep]);
        }
        let cases = [
            (Value::Int(12345), 4, Err(TooLarge::Bytes(4))),
            (Value::Int(12345), 5, Ok(())),
            (bulk("abc"), 4, Err(TooLarge::Bytes(4))),
            (bulk("abc"), 5, Ok(())),
            (bulk([0xff; 4]), 12, Err(TooLarge::Bytes(12))),
            (deep, usize::MAX, Err(TooLarge::Depth)),
        ];
        for (value, bytes_max, expected) in cases {
            assert_eq!(write(&mut Vec::new(), &value, bytes_max), expected);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            // Short enough for serde_json's reader, which may be off by the last digit of a long one.
            any::<i32>().prop_map(|quarters| Value::Double(f64::from(quarters) / 4.0)),
            any::<Vec<u8>>().prop_map(Value::BulkString),
            any::<String>().prop_map(Value::SimpleString),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
            ]
        })
    }

    /// What a reader of the JSON gets back, where nothing in the table above makes two values one.
    fn reads_back(value: &Value, json: &serde_json::Value) -> bool {
        match value {
            Value::Int(number) => json.as_i64() == Some(*number),
            Value::Double(number) => json.as_f64() == Some(*number),
            Value::SimpleString(text) => json.as_str() == Some(text),
            Value::BulkString(bytes) => match json.as_str() {
                Some(text) => text.as_bytes() == bytes,
                None => STANDARD.decode(json["$base64"].as_str().unwrap()).unwrap() == *bytes,
            },
            Value::Array(items) => {
                let json = json.as_array().unwrap();
                json.len() == items.len()
                    && items
                        .iter()
                        .zip(json)
                        .all(|(item, json)| reads_back(item, json))
            }
            Value::Map(pairs) => match json {
                serde_json::Value::Object(object) => {
                    object.len() == pairs.len()
                        && pairs
                            .iter()
                            .zip(object.values())
                            .all(|((_, value), json)| reads_back(value, json))
                }
                _ => pairs
                    .iter()
                    .zip(json.as_array().unwrap())
                    .all(|((key, value), json)| {
                        reads_back(key, &json[0]) && reads_back(value, &json[1])
                    }),
            },
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn a_double_keeps_every_bit(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            let text = json(&Value::Double(number));
            prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok(), "{}", text);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits());
        }

        #[test]
        fn every_value_is_json_that_reads_back(value in any_value()) {
            let json: serde_json::Value = serde_json::from_str(&json(&value)).unwrap();
            prop_assert!(reads_back(&value, &json), "{value:?} {json}");
        }
    }
}
