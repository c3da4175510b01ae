//! Values that hold values: arrays, ranges, rows.

use std::fmt::Write as _;

use tokio_postgres::types::Type;

use super::number::push_float;
use super::reader::{Malformed, Reader};
use super::{Codec, decode};
use crate::reply::Value;

/// Most dimensions that PostgreSQL gives an array (MAXDIM).
const DIMENSIONS_MAX: usize = 6;

const RANGE_EMPTY: u8 = 0x01;
const RANGE_LOWER_INCLUSIVE: u8 = 0x02;
const RANGE_UPPER_INCLUSIVE: u8 = 0x04;
const RANGE_LOWER_INFINITE: u8 = 0x08;
const RANGE_UPPER_INFINITE: u8 = 0x10;

/// An array, one level for each dimension. Lower bounds other than 1 have no place in JSON and are dropped.
pub(super) fn array<'a>(element: &Codec, bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let mut reader = Reader(bytes);
    let dimensions = reader.length()?;
    let _has_null = reader.i32()?;
    let _element_oid = reader.u32()?;
    if dimensions > DIMENSIONS_MAX {
        return Err(Malformed);
    }
    let mut lengths = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lengths.push(reader.length()?);
        let _lower_bound = reader.i32()?;
    }
    let value = match lengths.as_slice() {
        [] => Value::Array(Vec::new()),
        lengths => dimension(element, lengths, &mut reader)?,
    };
    reader.end()?;
    Ok(value)
}

fn dimension<'a>(
    element: &Codec,
    lengths: &[usize],
    reader: &mut Reader<'a>,
) -> Result<Value<'a>, Malformed> {
    let Some((length, inner)) = lengths.split_first() else {
        return match reader.field()? {
            None => Ok(Value::Null),
            Some(bytes) => decode(element, bytes),
        };
    };
    // Every element has at least its own length of four bytes, so the count is checked before it is trusted.
    if *length > reader.0.len() / 4 {
        return Err(Malformed);
    }
    (0..*length)
        .map(|_| dimension(element, inner, reader))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

/// `[1,10)`, `empty`, `(,5]`: as `range_out` prints it.
pub(super) fn range(element: &Codec, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let flags = reader.u8()?;
    if flags & RANGE_EMPTY != 0 {
        reader.end()?;
        return Ok("empty".to_owned());
    }
    let mut out = String::new();
    out.push(if flags & RANGE_LOWER_INCLUSIVE != 0 {
        '['
    } else {
        '('
    });
    if flags & RANGE_LOWER_INFINITE == 0 {
        bound(element, &mut reader, &mut out)?;
    }
    out.push(',');
    if flags & RANGE_UPPER_INFINITE == 0 {
        bound(element, &mut reader, &mut out)?;
    }
    out.push(if flags & RANGE_UPPER_INCLUSIVE != 0 {
        ']'
    } else {
        ')'
    });
    reader.end()?;
    Ok(out)
}

pub(super) fn multirange(element: &Codec, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::from("{");
    for position in 0..reader.length()? {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&range(element, reader.field()?.ok_or(Malformed)?)?);
    }
    reader.end()?;
    out.push('}');
    Ok(out)
}

fn bound(element: &Codec, reader: &mut Reader<'_>, out: &mut String) -> Result<(), Malformed> {
    let bytes = reader.field()?.ok_or(Malformed)?;
    let mut text = String::new();
    push_text(&decode(element, bytes)?, &mut text);
    push_quoted(&text, out);
    Ok(())
}

/// `(a,"b c",)`: as `record_out` prints it. `fields` are the columns of a known row type; an anonymous
/// record says its types itself, and those must be built in. A member of another type than it had when the row type
/// was read from the catalogue is not guessed at.
pub(super) fn row(fields: Option<&[(u32, Codec)]>, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let count = reader.length()?;
    if fields.is_some_and(|fields| fields.len() != count) {
        return Err(Malformed);
    }
    let mut out = String::from("(");
    for position in 0..count {
        if position > 0 {
            out.push(',');
        }
        let oid = reader.u32()?;
        let Some(bytes) = reader.field()? else {
            continue;
        };
        let own;
        let codec = match fields.and_then(|fields| fields.get(position)) {
            Some((known, codec)) if *known == oid => codec,
            Some(_) => return Err(Malformed),
            None => {
                own = Type::from_oid(oid)
                    .and_then(|type_| Codec::of(&type_))
                    .ok_or(Malformed)?;
                &own
            }
        };
        let mut text = String::new();
        push_text(&decode(codec, bytes)?, &mut text);
        push_quoted(&text, &mut out);
    }
    reader.end()?;
    out.push(')');
    Ok(out)
}

/// What C's `isspace` knows. PostgreSQL does not quote Unicode's other spaces.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// Quotes a part of a range or row where PostgreSQL would have to.
fn push_quoted(text: &str, out: &mut String) {
    let special = |c: char| matches!(c, '"' | '\\' | '(' | ')' | '[' | ']' | ',') || is_space(c);
    if !text.is_empty() && !text.contains(special) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('"');
}

/// A value as PostgreSQL's text.
fn push_text(value: &Value<'_>, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = match value {
        Value::Null => Ok(()),
        Value::Bool(value) => out.write_str(if *value { "t" } else { "f" }),
        Value::Int(value) | Value::BigInt(value) => write!(out, "{value}"),
        Value::BigUint(value) => write!(out, "{value}"),
        Value::Float(value) => write!(out, "{value}"),
        Value::Double(value) => {
            push_float(out, *value);
            Ok(())
        }
        Value::Decimal(text) | Value::Text(text) | Value::Temporal(text) | Value::Json(text) => {
            out.write_str(text)
        }
        Value::Bytes(bytes) => {
            out.push_str("\\x");
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        Value::Array(values) => {
            push_array_text(values, out);
            Ok(())
        }
    };
}

fn push_array_text(values: &[Value<'_>], out: &mut String) {
    out.push('{');
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        match value {
            Value::Null => out.push_str("NULL"),
            Value::Array(inner) => push_array_text(inner, out),
            Value::Bool(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::BigUint(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Decimal(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Temporal(_)
            | Value::Json(_) => {
                let mut text = String::new();
                push_text(value, &mut text);
                let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || is_space(c);
                if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
                    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                    let _ = write!(out, "\"{escaped}\"");
                } else {
                    out.push_str(&text);
                }
            }
        }
    }
    out.push('}');
}
