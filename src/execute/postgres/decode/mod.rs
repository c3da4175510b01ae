//! PostgreSQL's binary results → [`Value`]s, borrowed from the row where they can be.
//!
//! A [`Codec`] is chosen once for each column of a prepared statement. A type that has none is refused before
//! the statement runs, with the way out (`cast it to text`), so that nothing is shown wrongly.

mod extension;
mod nested;
mod number;
mod other;
mod reader;
mod temporal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use tokio_postgres::types::{Kind, Type};

use self::other::Shape;
pub(super) use self::reader::Malformed;
use self::reader::Reader;
use crate::reply::Value;

/// How a column's bytes are read. The formats are those of the types' `…_send` functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Codec {
    Bool,
    /// `"char"`: one byte.
    Char,
    Int2,
    Int4,
    Int8,
    /// Unsigned 32 bits: `oid` and the `reg…` types (which are shown as numbers), `xid`, `cid`.
    Oid,
    Xid8,
    Float4,
    Float8,
    Numeric,
    Money,
    Text,
    /// Text after one byte of version (`jsonpath`, `ltree`).
    VersionedText,
    Json,
    /// JSON text after one byte of version.
    Jsonb,
    Bytea,
    Uuid,
    Date,
    Time,
    Timetz,
    Timestamp,
    Timestamptz,
    Interval,
    Network,
    Mac,
    Bits,
    Shape(Shape),
    Tsvector,
    Tsquery,
    Hstore,
    Vector,
    Geometry,
    Lsn,
    Tid,
    Void,
    Array(Box<Self>),
    Range(Box<Self>),
    Multirange(Box<Self>),
    /// Each member with the number of its type, which the value repeats.
    Row(Vec<(u32, Self)>),
    Record,
}

impl Codec {
    /// The codec of a type, or `None` for a type that is not known here.
    pub(super) fn of(type_: &Type) -> Option<Self> {
        if let Some(codec) = Self::built_in(type_) {
            return Some(codec);
        }
        match type_.kind() {
            Kind::Enum(_) => Some(Self::Text),
            Kind::Domain(base) => Self::of(base),
            Kind::Array(element) => Self::of(element).map(|codec| Self::Array(Box::new(codec))),
            Kind::Range(element) => Self::of(element).map(|codec| Self::Range(Box::new(codec))),
            Kind::Multirange(element) => {
                Self::of(element).map(|codec| Self::Multirange(Box::new(codec)))
            }
            Kind::Composite(fields) => fields
                .iter()
                .map(|field| Some((field.type_().oid(), Self::of(field.type_())?)))
                .collect::<Option<Vec<_>>>()
                .map(Self::Row),
            // Extensions' types are known by name alone; their numbers differ from database to database.
            Kind::Simple => match type_.name() {
                "citext" => Some(Self::Text),
                "hstore" => Some(Self::Hstore),
                "vector" => Some(Self::Vector),
                "geometry" | "geography" => Some(Self::Geometry),
                "ltree" | "lquery" | "ltxtquery" => Some(Self::VersionedText),
                _ => None,
            },
            // Kind is the driver's and may grow: what is not known has no codec.
            Kind::Pseudo | _ => None,
        }
    }

    fn built_in(type_: &Type) -> Option<Self> {
        Some(match *type_ {
            Type::BOOL => Self::Bool,
            Type::CHAR => Self::Char,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::XID8 => Self::Xid8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::MONEY => Self::Money,
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::UNKNOWN
            | Type::CSTRING
            | Type::XML
            | Type::REFCURSOR => Self::Text,
            Type::JSONPATH => Self::VersionedText,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::BYTEA => Self::Bytea,
            Type::UUID => Self::Uuid,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMETZ => Self::Timetz,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            Type::INTERVAL => Self::Interval,
            Type::INET | Type::CIDR => Self::Network,
            Type::MACADDR | Type::MACADDR8 => Self::Mac,
            Type::BIT | Type::VARBIT => Self::Bits,
            Type::POINT => Self::Shape(Shape::Point),
            Type::LSEG => Self::Shape(Shape::Segment),
            Type::BOX => Self::Shape(Shape::Box),
            Type::LINE => Self::Shape(Shape::Line),
            Type::CIRCLE => Self::Shape(Shape::Circle),
            Type::PATH => Self::Shape(Shape::Path),
            Type::POLYGON => Self::Shape(Shape::Polygon),
            Type::TS_VECTOR => Self::Tsvector,
            Type::TSQUERY => Self::Tsquery,
            Type::PG_LSN => Self::Lsn,
            Type::TID => Self::Tid,
            Type::VOID => Self::Void,
            Type::INT2_VECTOR => Self::Array(Box::new(Self::Int2)),
            Type::OID_VECTOR => Self::Array(Box::new(Self::Oid)),
            Type::RECORD => Self::Record,
            _ if is_oid(type_) => Self::Oid,
            _ => return None,
        })
    }
}

/// `oid` and what is sent like it.
fn is_oid(type_: &Type) -> bool {
    matches!(
        *type_,
        Type::OID
            | Type::XID
            | Type::CID
            | Type::REGPROC
            | Type::REGPROCEDURE
            | Type::REGOPER
            | Type::REGOPERATOR
            | Type::REGCLASS
            | Type::REGTYPE
            | Type::REGCONFIG
            | Type::REGDICTIONARY
            | Type::REGNAMESPACE
            | Type::REGROLE
            | Type::REGCOLLATION
    )
}

/// Reads one value that is not NULL.
pub(super) fn decode<'a>(codec: &Codec, bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let mut reader = Reader(bytes);
    let value = match codec {
        Codec::Bool => Value::Bool(reader.u8()? != 0),
        Codec::Int2 => Value::Int(reader.i16()?.into()),
        Codec::Int4 => Value::Int(reader.i32()?.into()),
        Codec::Int8 => Value::BigInt(reader.i64()?),
        Codec::Oid => Value::Int(reader.u32()?.into()),
        Codec::Xid8 => Value::BigUint(reader.u64()?),
        Codec::Float4 => Value::Float(reader.f32()?),
        Codec::Float8 => Value::Double(reader.f64()?),
        Codec::Money => Value::Decimal(Cow::Owned(number::money(reader.i64()?))),
        Codec::Char => Value::Text(Cow::Owned(char_text(reader.u8()?))),
        Codec::Lsn => {
            let lsn = reader.u64()?;
            Value::Text(Cow::Owned(format!(
                "{:X}/{:X}",
                lsn >> 32,
                lsn & 0xFFFF_FFFF
            )))
        }
        Codec::Tid => {
            let (block, offset) = (reader.u32()?, reader.u16()?);
            Value::Text(Cow::Owned(format!("({block},{offset})")))
        }
        Codec::Void => Value::Text(Cow::Borrowed("")),
        Codec::VersionedText => {
            reader.u8()?;
            Value::Text(text(reader.rest())?)
        }
        Codec::Jsonb => {
            reader.u8()?;
            Value::Json(text(reader.rest())?)
        }
        Codec::Text => return text(bytes).map(Value::Text),
        Codec::Json => return text(bytes).map(Value::Json),
        Codec::Bytea => return Ok(Value::Bytes(Cow::Borrowed(bytes))),
        Codec::Numeric
        | Codec::Uuid
        | Codec::Date
        | Codec::Time
        | Codec::Timetz
        | Codec::Timestamp
        | Codec::Timestamptz
        | Codec::Interval
        | Codec::Network
        | Codec::Mac
        | Codec::Bits
        | Codec::Shape(_)
        | Codec::Tsvector
        | Codec::Tsquery
        | Codec::Hstore
        | Codec::Vector
        | Codec::Geometry
        | Codec::Array(_)
        | Codec::Range(_)
        | Codec::Multirange(_)
        | Codec::Row(_)
        | Codec::Record => return decode_composed(codec, bytes),
    };
    reader.end()?;
    Ok(value)
}

/// The types whose text has to be made, and those that hold others.
fn decode_composed<'a>(codec: &Codec, bytes: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let made = |text: String| Value::Text(Cow::Owned(text));
    let temporal = |text: String| Value::Temporal(Cow::Owned(text));
    Ok(match codec {
        Codec::Numeric => Value::Decimal(Cow::Owned(number::numeric(bytes)?)),
        Codec::Uuid => made(other::uuid(bytes)?),
        Codec::Date => temporal(temporal::date(bytes)?),
        Codec::Time => temporal(temporal::time(bytes)?),
        Codec::Timetz => temporal(temporal::timetz(bytes)?),
        Codec::Timestamp => temporal(temporal::timestamp(bytes, "")?),
        Codec::Timestamptz => temporal(temporal::timestamp(bytes, "Z")?),
        Codec::Interval => made(temporal::interval(bytes)?),
        Codec::Network => made(other::network(bytes)?),
        Codec::Mac => made(other::mac(bytes)),
        Codec::Bits => made(other::bits(bytes)?),
        Codec::Shape(shape) => made(other::shape(*shape, bytes)?),
        Codec::Tsvector => made(other::tsvector(bytes)?),
        Codec::Tsquery => made(extension::tsquery(bytes)?),
        Codec::Hstore => made(extension::hstore(bytes)?),
        Codec::Vector => made(extension::vector(bytes)?),
        Codec::Geometry => made(extension::geometry(bytes)),
        Codec::Array(element) => nested::array(element, bytes)?,
        Codec::Range(element) => made(nested::range(element, bytes)?),
        Codec::Multirange(element) => made(nested::multirange(element, bytes)?),
        Codec::Row(fields) => made(nested::row(Some(fields), bytes)?),
        Codec::Record => made(nested::row(None, bytes)?),
        Codec::Bool
        | Codec::Char
        | Codec::Int2
        | Codec::Int4
        | Codec::Int8
        | Codec::Oid
        | Codec::Xid8
        | Codec::Float4
        | Codec::Float8
        | Codec::Money
        | Codec::Text
        | Codec::VersionedText
        | Codec::Json
        | Codec::Jsonb
        | Codec::Bytea
        | Codec::Lsn
        | Codec::Tid
        | Codec::Void => return Err(Malformed),
    })
}

/// The session's client encoding is UTF-8, so only a database in `SQL_ASCII` can fail here.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    std::str::from_utf8(bytes)
        .map(Cow::Borrowed)
        .map_err(|_| Malformed)
}

/// `"char"` as `charout` prints it: nothing for zero, three octal digits beyond ASCII.
fn char_text(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        128.. => format!("\\{byte:03o}"),
    }
}
