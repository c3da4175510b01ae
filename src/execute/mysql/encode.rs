//! JSON parameters → the binary protocol's values.
//!
//! The server does not say what type a placeholder has, so the JSON kind decides: whole numbers go as 64-bit
//! integers, other numbers as their exact decimal text, strings as they are, booleans as 1 and 0,
//! `{"$base64": "…"}` as bytes, and other objects and arrays as JSON text.

use mysql_async::Value;
use serde_json::value::RawValue;

use crate::execute::Error;
use crate::execute::request::{Json, base64_object};

/// Encodes all parameters of a statement that has `expected` placeholders.
pub(super) fn parameters(values: &[Box<RawValue>], expected: usize) -> Result<Vec<Value>, Error> {
    if values.len() != expected {
        return Err(Error::Invalid(format!(
            "the statement has {expected} parameters and `params` has {}",
            values.len()
        )));
    }
    values
        .iter()
        .enumerate()
        .map(|(position, value)| {
            parameter(value.get()).map_err(|reason| Error::Parameter {
                index: position + 1,
                reason,
            })
        })
        .collect()
}

fn parameter(text: &str) -> Result<Value, String> {
    Ok(match Json::read(text)? {
        Json::Null => Value::NULL,
        Json::Bool(value) => Value::Int(value.into()),
        Json::Number(number) => self::number(number),
        Json::String(text) => Value::Bytes(text.into_owned().into_bytes()),
        Json::Array(text) => Value::Bytes(text.as_bytes().to_vec()),
        Json::Object(text) => match base64_object(text) {
            Some(bytes) => Value::Bytes(bytes?),
            None => Value::Bytes(text.as_bytes().to_vec()),
        },
    })
}

fn number(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::Int(number);
    }
    match text.parse::<u64>() {
        Ok(number) => Value::UInt(number),
        Err(_) => Value::Bytes(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_kind_decides() {
        let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
        for (json, expected) in [
            ("null", Value::NULL),
            ("true", Value::Int(1)),
            ("false", Value::Int(0)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("18446744073709551615", Value::UInt(u64::MAX)),
            ("18446744073709551616", bytes("18446744073709551616")),
            (
                "0.1000000000000000000001",
                bytes("0.1000000000000000000001"),
            ),
            ("1e3", bytes("1e3")),
            ("\"a\\nb\"", bytes("a\nb")),
            ("[1, 2]", bytes("[1, 2]")),
            ("{\"a\": 1}", bytes("{\"a\": 1}")),
            ("{\"$base64\": \"AP8=\"}", Value::Bytes(vec![0, 255])),
        ] {
            assert_eq!(parameter(json), Ok(expected), "{json}");
        }
        assert!(parameter("{\"$base64\": \"*\"}").is_err());
    }

    #[test]
    fn the_parameter_is_named() {
        let values: Vec<_> = ["1", "{\"$base64\": \"*\"}"]
            .map(|text| RawValue::from_string(text.to_owned()).unwrap())
            .into();
        let error = parameters(&values, 2).unwrap_err();
        assert!(
            matches!(error, Error::Parameter { index: 2, .. }),
            "{error}"
        );
        let error = parameters(&values, 3).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
