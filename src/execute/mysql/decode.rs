//! The driver's values → [`Value`]s, by the type of their column.

use std::borrow::Cow;
use std::fmt::Write as _;

use mysql_async::Column as Metadata;
use mysql_async::Value as Wire;
use mysql_async::consts::{ColumnFlags, ColumnType};

use crate::reply::{Column, Value};

/// The character set number that means bytes.
const CHARACTER_SET_BINARY: u16 = 63;

/// How a column's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Int,
    BigInt,
    BigUint,
    Float,
    Double,
    Decimal,
    Date,
    /// Without a zone.
    Datetime,
    /// An instant; the session's time zone is UTC.
    Timestamp,
    Time,
    /// A number of at most 64 bits, sent as big-endian bytes.
    Bit,
    Text,
    Json,
    Bytes,
}

/// A value does not look as its column's type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's value is not of this type")]
pub(super) struct Malformed;

/// The column as a front door shows it, and how to read its values.
pub(super) fn column(metadata: &Metadata) -> (Column, Codec) {
    let (name, codec) = kind(
        metadata.column_type(),
        metadata.flags(),
        metadata.character_set(),
    );
    let column = Column {
        name: metadata.name_str().into_owned(),
        database_type: Cow::Borrowed(name),
    };
    (column, codec)
}

fn kind(type_: ColumnType, flags: ColumnFlags, character_set: u16) -> (&'static str, Codec) {
    let is_unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let sign = |signed, unsigned| if is_unsigned { unsigned } else { signed };
    let is_binary = character_set == CHARACTER_SET_BINARY;
    let text = |text, bytes| {
        if flags.contains(ColumnFlags::ENUM_FLAG) {
            ("ENUM", Codec::Text)
        } else if flags.contains(ColumnFlags::SET_FLAG) {
            ("SET", Codec::Text)
        } else if is_binary {
            (bytes, Codec::Bytes)
        } else {
            (text, Codec::Text)
        }
    };
    match type_ {
        ColumnType::MYSQL_TYPE_TINY => (sign("TINYINT", "TINYINT UNSIGNED"), Codec::Int),
        ColumnType::MYSQL_TYPE_SHORT => (sign("SMALLINT", "SMALLINT UNSIGNED"), Codec::Int),
        ColumnType::MYSQL_TYPE_INT24 => (sign("MEDIUMINT", "MEDIUMINT UNSIGNED"), Codec::Int),
        ColumnType::MYSQL_TYPE_LONG => (sign("INT", "INT UNSIGNED"), Codec::Int),
        ColumnType::MYSQL_TYPE_YEAR => ("YEAR", Codec::Int),
        ColumnType::MYSQL_TYPE_LONGLONG if is_unsigned => ("BIGINT UNSIGNED", Codec::BigUint),
        ColumnType::MYSQL_TYPE_LONGLONG => ("BIGINT", Codec::BigInt),
        ColumnType::MYSQL_TYPE_FLOAT => ("FLOAT", Codec::Float),
        ColumnType::MYSQL_TYPE_DOUBLE => ("DOUBLE", Codec::Double),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
            ("DECIMAL", Codec::Decimal)
        }
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => ("DATE", Codec::Date),
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => {
            ("DATETIME", Codec::Datetime)
        }
        ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
            ("TIMESTAMP", Codec::Timestamp)
        }
        ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => ("TIME", Codec::Time),
        ColumnType::MYSQL_TYPE_BIT => ("BIT", Codec::Bit),
        ColumnType::MYSQL_TYPE_JSON => ("JSON", Codec::Json),
        ColumnType::MYSQL_TYPE_ENUM => ("ENUM", Codec::Text),
        ColumnType::MYSQL_TYPE_SET => ("SET", Codec::Text),
        ColumnType::MYSQL_TYPE_STRING => text("CHAR", "BINARY"),
        ColumnType::MYSQL_TYPE_VARCHAR | ColumnType::MYSQL_TYPE_VAR_STRING => {
            text("VARCHAR", "VARBINARY")
        }
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_BLOB => text("TEXT", "BLOB"),
        ColumnType::MYSQL_TYPE_GEOMETRY => ("GEOMETRY", Codec::Bytes),
        ColumnType::MYSQL_TYPE_VECTOR => ("VECTOR", Codec::Bytes),
        ColumnType::MYSQL_TYPE_NULL => ("NULL", Codec::Bytes),
        ColumnType::MYSQL_TYPE_TYPED_ARRAY | ColumnType::MYSQL_TYPE_UNKNOWN => {
            ("UNKNOWN", Codec::Bytes)
        }
    }
}

/// For the fuzz target: both the text's and the bytes' character set.
#[cfg(fuzzing)]
pub(super) fn fuzz(type_: ColumnType, flags: ColumnFlags, value: &Wire) {
    for character_set in [CHARACTER_SET_BINARY, CHARACTER_SET_BINARY + 1] {
        let _ = decode(kind(type_, flags, character_set).1, value);
    }
}

pub(super) fn decode(codec: Codec, value: &Wire) -> Result<Value<'_>, Malformed> {
    Ok(match (codec, value) {
        (_, Wire::NULL) => Value::Null,
        (Codec::Int, Wire::Int(value)) => Value::Int(*value),
        (Codec::BigInt, Wire::Int(value)) => Value::BigInt(*value),
        (Codec::BigUint, Wire::Int(value)) => {
            Value::BigUint(u64::try_from(*value).map_err(|_| Malformed)?)
        }
        (Codec::BigUint, Wire::UInt(value)) => Value::BigUint(*value),
        (Codec::Float, Wire::Float(value)) => Value::Float(*value),
        (Codec::Double, Wire::Double(value)) => Value::Double(*value),
        (Codec::Decimal, Wire::Bytes(bytes)) => Value::Decimal(text(bytes)?),
        (Codec::Text, Wire::Bytes(bytes)) => Value::Text(text(bytes)?),
        (Codec::Json, Wire::Bytes(bytes)) => Value::Json(text(bytes)?),
        (Codec::Bytes, Wire::Bytes(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
        (Codec::Bit, Wire::Bytes(bytes)) => Value::BigUint(bit(bytes)?),
        (Codec::Date | Codec::Datetime | Codec::Timestamp, Wire::Date(..)) => {
            Value::Temporal(Cow::Owned(date(codec, value)?))
        }
        (Codec::Time, Wire::Time(negative, days, hours, minutes, seconds, micros)) => {
            let hours = u64::from(*days) * 24 + u64::from(*hours);
            let sign = if *negative { "-" } else { "" };
            let mut out = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
            push_fraction(&mut out, *micros);
            Value::Temporal(Cow::Owned(out))
        }
        _ => return Err(Malformed),
    })
}

/// Zero dates (`0000-00-00`, `2024-00-00`) are values, and are shown as they are.
fn date(codec: Codec, value: &Wire) -> Result<String, Malformed> {
    let Wire::Date(year, month, day, hour, minute, second, micros) = value else {
        return Err(Malformed);
    };
    let mut out = format!("{year:04}-{month:02}-{day:02}");
    if codec != Codec::Date {
        // Writing into a String cannot fail.
        let _ = write!(out, "T{hour:02}:{minute:02}:{second:02}");
        push_fraction(&mut out, *micros);
    }
    if codec == Codec::Timestamp {
        out.push('Z');
    }
    Ok(out)
}

fn push_fraction(out: &mut String, micros: u32) {
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
}

fn bit(bytes: &[u8]) -> Result<u64, Malformed> {
    if bytes.len() > 8 {
        return Err(Malformed);
    }
    Ok(bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The session's character set is `utf8mb4`, so the server sends nothing else.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    std::str::from_utf8(bytes)
        .map(Cow::Borrowed)
        .map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_column() {
        let bytes = |text: &str| Wire::Bytes(text.as_bytes().to_vec());
        let temporal = |text: &'static str| Ok(Value::Temporal(text.into()));
        let noon = Wire::Date(2024, 1, 2, 12, 0, 5, 0);
        for (codec, wire, expected) in [
            (Codec::Int, Wire::Int(-1), Ok(Value::Int(-1))),
            (
                Codec::BigInt,
                Wire::Int(i64::MIN),
                Ok(Value::BigInt(i64::MIN)),
            ),
            (Codec::BigUint, Wire::Int(7), Ok(Value::BigUint(7))),
            (
                Codec::BigUint,
                Wire::UInt(u64::MAX),
                Ok(Value::BigUint(u64::MAX)),
            ),
            (Codec::BigUint, Wire::Int(-1), Err(Malformed)),
            (
                Codec::Decimal,
                bytes("1.50"),
                Ok(Value::Decimal("1.50".into())),
            ),
            (Codec::Bit, Wire::Bytes(vec![1, 2]), Ok(Value::BigUint(258))),
            (Codec::Bit, Wire::Bytes(vec![0; 9]), Err(Malformed)),
            (Codec::Text, Wire::Bytes(vec![255]), Err(Malformed)),
            (Codec::Text, Wire::NULL, Ok(Value::Null)),
            (Codec::Date, noon.clone(), temporal("2024-01-02")),
            (
                Codec::Datetime,
                noon.clone(),
                temporal("2024-01-02T12:00:05"),
            ),
            (Codec::Timestamp, noon, temporal("2024-01-02T12:00:05Z")),
            (
                Codec::Date,
                Wire::Date(0, 0, 0, 0, 0, 0, 0),
                temporal("0000-00-00"),
            ),
            (
                Codec::Datetime,
                Wire::Date(2024, 1, 2, 3, 4, 5, 678_901),
                temporal("2024-01-02T03:04:05.678901"),
            ),
            (
                Codec::Time,
                Wire::Time(true, 34, 22, 59, 59, 0),
                temporal("-838:59:59"),
            ),
            (
                Codec::Time,
                Wire::Time(false, 0, 1, 2, 3, 4),
                temporal("01:02:03.000004"),
            ),
            (Codec::Int, bytes("1"), Err(Malformed)),
        ] {
            assert_eq!(decode(codec, &wire), expected, "{codec:?} {wire:?}");
        }
    }

    #[test]
    fn the_character_set_tells_text_from_bytes() {
        let none = ColumnFlags::empty();
        let blob = ColumnType::MYSQL_TYPE_BLOB;
        let string = ColumnType::MYSQL_TYPE_STRING;
        for (type_, flags, set, expected) in [
            (blob, none, 63, ("BLOB", Codec::Bytes)),
            (blob, none, 45, ("TEXT", Codec::Text)),
            (string, ColumnFlags::ENUM_FLAG, 63, ("ENUM", Codec::Text)),
            (string, ColumnFlags::SET_FLAG, 45, ("SET", Codec::Text)),
            (
                ColumnType::MYSQL_TYPE_LONGLONG,
                ColumnFlags::UNSIGNED_FLAG,
                63,
                ("BIGINT UNSIGNED", Codec::BigUint),
            ),
            (
                ColumnType::MYSQL_TYPE_GEOMETRY,
                none,
                63,
                ("GEOMETRY", Codec::Bytes),
            ),
        ] {
            assert_eq!(kind(type_, flags, set), expected);
        }
    }
}
