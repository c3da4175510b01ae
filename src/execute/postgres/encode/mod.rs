//! JSON parameters → what PostgreSQL's Bind message carries.
//!
//! Every type has an input function, so a parameter goes as text in the type's own syntax, exactly as the
//! caller wrote it, and the server checks it at Bind, before anything runs. What can be judged here without
//! knowing the server (kinds, integer ranges) is, so that the error can name the parameter. Only `bytea`
//! goes as binary.
//!
//! A JSON string for a `json` or `jsonb` parameter is JSON *text*, as node-postgres has it
//! (`JSON.stringify(metadata)`); every other JSON value stands for itself.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;
use serde_json::value::RawValue;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::execute::Error;
use crate::execute::request::{Json, base64_object, elements};

/// Deepest array that PostgreSQL knows (MAXDIM).
const ARRAY_DEPTH_MAX: usize = 6;

/// One parameter, ready to send.
pub(super) enum Parameter<'a> {
    Null,
    Text(Cow<'a, str>),
    Binary(Vec<u8>),
}

/// Values are the caller's: the driver's debug log must not print them.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameter")
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Binary(bytes) => out.extend_from_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self {
            Self::Null | Self::Text(_) => Format::Text,
            Self::Binary(_) => Format::Binary,
        }
    }

    to_sql_checked!();
}

/// Encodes all parameters of a statement whose parameters have these types.
pub(super) fn parameters<'a>(
    values: &'a [Box<RawValue>],
    types: &[Type],
) -> Result<Vec<Parameter<'a>>, Error> {
    if values.len() != types.len() {
        return Err(Error::Invalid(format!(
            "the statement has {} parameters and `params` has {}",
            types.len(),
            values.len()
        )));
    }
    values
        .iter()
        .zip(types)
        .enumerate()
        .map(|(position, (value, type_))| {
            parameter(value.get(), type_).map_err(|reason| Error::Parameter {
                index: position + 1,
                reason,
            })
        })
        .collect()
}

fn parameter<'a>(text: &'a str, type_: &Type) -> Result<Parameter<'a>, String> {
    let type_ = base_type(type_);
    let value = Json::read(text)?;
    if value == Json::Null {
        return Ok(Parameter::Null);
    }
    if *type_ == Type::BYTEA {
        return bytea(&value);
    }
    match (type_.kind(), &value) {
        (Kind::Array(element), Json::Array(array)) => {
            let mut out = String::with_capacity(array.len() + 2);
            array_literal(array, element, 1, &mut out)?;
            Ok(Parameter::Text(Cow::Owned(out)))
        }
        _ => scalar(value, type_).map(Parameter::Text),
    }
}

/// The text of a value that is not null, in the syntax of its type.
fn scalar<'a>(value: Json<'a>, type_: &Type) -> Result<Cow<'a, str>, String> {
    let text = match *type_ {
        Type::BOOL => boolean(value),
        Type::INT2 => integer(value, type_, i16::MIN.into(), i16::MAX.into()),
        Type::INT4 => integer(value, type_, i32::MIN.into(), i32::MAX.into()),
        Type::INT8 => integer(value, type_, i64::MIN, i64::MAX),
        Type::OID => integer(value, type_, 0, u32::MAX.into()),
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC | Type::MONEY => number(value, type_),
        Type::JSON | Type::JSONB => Ok(json(value)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            any_text(value, type_)
        }
        Type::TIMESTAMP => zoneless(value, type_),
        Type::TIMESTAMPTZ | Type::DATE | Type::TIME | Type::TIMETZ | Type::INTERVAL => {
            only_string(value, type_)
        }
        _ => match type_.kind() {
            // An enum's label, and what an extension defines (citext, say).
            Kind::Enum(_) | Kind::Simple => any_text(value, type_),
            Kind::Pseudo
            | Kind::Array(_)
            | Kind::Range(_)
            | Kind::Multirange(_)
            | Kind::Domain(_)
            | Kind::Composite(_)
            | _ => only_string(value, type_),
        },
    }?;
    if text.contains('\0') {
        return Err("holds U+0000, which PostgreSQL cannot store".to_owned());
    }
    Ok(text)
}

fn base_type(type_: &Type) -> &Type {
    let mut base = type_;
    while let Kind::Domain(inner) = base.kind() {
        base = inner;
    }
    base
}

fn unfit(value: &Json<'_>, type_: &Type) -> String {
    format!("{} does not fit `{}`", value.kind(), type_.name())
}

fn boolean(value: Json<'_>) -> Result<Cow<'_, str>, String> {
    match value {
        Json::Bool(true) => Ok("true".into()),
        Json::Bool(false) => Ok("false".into()),
        Json::Number(number @ ("0" | "1")) => Ok(number.into()),
        Json::String(text) => Ok(text),
        Json::Null | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            Err(unfit(&value, &Type::BOOL))
        }
    }
}

fn integer<'a>(value: Json<'a>, type_: &Type, min: i64, max: i64) -> Result<Cow<'a, str>, String> {
    let text: Cow<'a, str> = match value {
        Json::Number(number) => number.into(),
        Json::String(text) => text,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => {
            return Err(unfit(&value, type_));
        }
    };
    match text.trim().parse::<i128>() {
        Ok(number) if (i128::from(min)..=i128::from(max)).contains(&number) => Ok(text),
        Ok(_) => Err(format!("`{}` is out of range for `{}`", text, type_.name())),
        Err(_) => Err(format!("is not an integer, as `{}` must be", type_.name())),
    }
}

fn number<'a>(value: Json<'a>, type_: &Type) -> Result<Cow<'a, str>, String> {
    match value {
        Json::Number(number) => Ok(number.into()),
        Json::String(text) => Ok(text),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => Err(unfit(&value, type_)),
    }
}

fn json(value: Json<'_>) -> Cow<'_, str> {
    match value {
        Json::Null => "null".into(),
        Json::Bool(true) => "true".into(),
        Json::Bool(false) => "false".into(),
        Json::Number(text) | Json::Array(text) | Json::Object(text) => text.into(),
        Json::String(text) => text,
    }
}

fn any_text<'a>(value: Json<'a>, type_: &Type) -> Result<Cow<'a, str>, String> {
    match value {
        Json::String(text) => Ok(text),
        Json::Number(number) => Ok(number.into()),
        Json::Bool(true) => Ok("true".into()),
        Json::Bool(false) => Ok("false".into()),
        Json::Null => Err(unfit(&value, type_)),
        Json::Array(_) | Json::Object(_) => Err(format!(
            "{}; send its text as a string",
            unfit(&value, type_)
        )),
    }
}

fn only_string<'a>(value: Json<'a>, type_: &Type) -> Result<Cow<'a, str>, String> {
    match value {
        Json::String(text) => Ok(text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            Err(format!("{}; send a string", unfit(&value, type_)))
        }
    }
}

/// PostgreSQL drops the offset of a `timestamp` without a word; a value would change, so only UTC passes.
fn zoneless<'a>(value: Json<'a>, type_: &Type) -> Result<Cow<'a, str>, String> {
    let text = only_string(value, type_)?;
    let offset = text
        .get("2024-01-01".len()..)
        .and_then(|time| time.rfind(['+', '-']).and_then(|at| time.get(at + 1..)));
    match offset {
        Some(offset) if offset.bytes().any(|byte| matches!(byte, b'1'..=b'9')) => Err(format!(
            "`{text}` has an offset, which `timestamp` would drop: send UTC, or use `timestamptz`"
        )),
        Some(_) | None => Ok(text),
    }
}

fn bytea<'a>(value: &Json<'a>) -> Result<Parameter<'a>, String> {
    match value {
        Json::Object(object) => match base64_object(object) {
            Some(bytes) => bytes.map(Parameter::Binary),
            None => Err("an object for `bytea` must be {\"$base64\": \"…\"}".to_owned()),
        },
        Json::String(text) => match text.strip_prefix("\\x").map(hex) {
            Some(bytes) => bytes.map(Parameter::Binary),
            None => Err(
                "send bytes as {\"$base64\": \"…\"} or as a string of hexadecimal after `\\x`"
                    .to_owned(),
            ),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => {
            Err(unfit(value, &Type::BYTEA))
        }
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "is not hexadecimal".to_owned();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => digit(high)
                .zip(digit(low))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .ok_or_else(wrong),
            _ => Err(wrong()),
        })
        .collect()
}

/// Writes PostgreSQL's array literal: every element quoted, NULL bare.
fn array_literal(
    array: &str,
    element: &Type,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    if depth > ARRAY_DEPTH_MAX {
        return Err(format!("arrays have at most {ARRAY_DEPTH_MAX} dimensions"));
    }
    let element = base_type(element);
    let is_json = matches!(*element, Type::JSON | Type::JSONB);
    // `box` alone separates its elements otherwise, since its text has commas.
    let separator = if *element == Type::BOX { ';' } else { ',' };
    out.push('{');
    for (position, raw) in elements(array)?.into_iter().enumerate() {
        if position > 0 {
            out.push(separator);
        }
        let value = Json::read(raw.get())?;
        // In an array of json an inner array is a JSON value, not a dimension.
        if let Json::Array(inner) = value
            && !is_json
        {
            array_literal(inner, element, depth + 1, out)?;
        } else if value == Json::Null {
            out.push_str("NULL");
        } else if *element == Type::BYTEA {
            quote_bytes(&value, out)?;
        } else {
            quote(&scalar(value, element)?, out);
        }
    }
    out.push('}');
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

fn quote_bytes(value: &Json<'_>, out: &mut String) -> Result<(), String> {
    if let Parameter::Binary(bytes) = bytea(value)? {
        out.push_str("\"\\\\x");
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        out.push('"');
    }
    Ok(())
}

#[cfg(test)]
mod tests;
