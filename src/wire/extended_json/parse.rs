//! Extended JSON text to BSON bytes.

use std::collections::HashSet;
use std::fmt;

use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Error;
use super::wrapper::wrapper;

/// From this many keys on, repeated ones are looked for in a set.
const LINEAR_KEYS_MAX: usize = 12;

/// The BSON of one document in Extended JSON, canonical or relaxed. `serde_json` limits its nesting to 127.
pub fn parse_extended_json(text: &str) -> Result<Vec<u8>, Error> {
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Object(fields)) => Ok(document(fields)?.into_bytes()),
        Ok(
            Json::Null
            | Json::Bool(_)
            | Json::Int(_)
            | Json::Big(_)
            | Json::Float(_)
            | Json::Text(_)
            | Json::Array(_),
        ) => Err(Error::NotADocument),
        Err(error) => Err(Error::Json(error.to_string())),
    }
}

/// JSON as it is written: order and repetition of keys kept.
#[derive(Clone)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Big(u64),
    Float(f64),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Node)
    }
}

struct Node;

impl<'de> Visitor<'de> for Node {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Big(value), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

pub(super) fn document(fields: Vec<(String, Json)>) -> Result<RawDocumentBuf, Error> {
    refuse_repeated(&fields)?;
    let mut document = RawDocumentBuf::new();
    for (key, json) in fields {
        document.append(cstring(key)?, value(json)?);
    }
    Ok(document)
}

fn refuse_repeated(fields: &[(String, Json)]) -> Result<(), Error> {
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, (key, _)) in fields.iter().enumerate() {
        let repeated = if fields.len() <= LINEAR_KEYS_MAX {
            fields.iter().take(index).any(|(before, _)| before == key)
        } else {
            !seen.insert(key)
        };
        if repeated {
            return Err(Error::RepeatedKey(key.clone()));
        }
    }
    Ok(())
}

pub(super) fn cstring(text: String) -> Result<CString, Error> {
    CString::try_from(text.clone()).map_err(|_| Error::NulInKey(text.replace('\0', "\\0")))
}

fn value(json: Json) -> Result<RawBson, Error> {
    Ok(match json {
        Json::Null => RawBson::Null,
        Json::Bool(value) => RawBson::Boolean(value),
        Json::Int(value) => i32::try_from(value).map_or(RawBson::Int64(value), RawBson::Int32),
        Json::Big(value) => RawBson::Double(exact_double(value)?),
        Json::Float(value) => RawBson::Double(value),
        Json::Text(text) => RawBson::String(text),
        Json::Array(values) => {
            let mut array = RawArrayBuf::new();
            for json in values {
                array.push(value(json)?);
            }
            RawBson::Array(array)
        }
        Json::Object(fields) => {
            refuse_repeated(&fields)?;
            match wrapper(&fields)? {
                Some(value) => value,
                None => RawBson::Document(document(fields)?),
            }
        }
    })
}

/// An integer above 64 bits' range is a double in Extended JSON; here only where nothing is lost.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn exact_double(value: u64) -> Result<f64, Error> {
    let double = value as f64;
    if double as u128 == u128::from(value) {
        Ok(double)
    } else {
        Err(Error::Number(value.to_string()))
    }
}
