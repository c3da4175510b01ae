//! Kinds of types, as far as comparing them cannot fail.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, TypeName, a_const};

use super::scope::names;

/// Types within which a comparison cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Decimal,
    Float,
    Text,
    Padded,
    Boolean,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Bytes,
}

/// The kind of a type as the server prints it.
pub fn kind_of_type(name: &str) -> Option<Kind> {
    // The length stands inside: `timestamp(3) without time zone`.
    let bare = match (name.split_once('('), name.split_once(')')) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => name.to_owned(),
    };
    Some(match bare.as_str() {
        "smallint" | "integer" | "bigint" => Kind::Integer,
        "numeric" => Kind::Decimal,
        "real" | "double precision" => Kind::Float,
        "text" | "character varying" => Kind::Text,
        "character" => Kind::Padded,
        "boolean" => Kind::Boolean,
        "uuid" => Kind::Uuid,
        "date" => Kind::Date,
        "time without time zone" => Kind::Time,
        "timestamp without time zone" => Kind::Timestamp,
        "timestamp with time zone" => Kind::TimestampTz,
        "bytea" => Kind::Bytes,
        _ => return None,
    })
}

/// The kind of a type as a cast names it.
pub fn kind_of_cast(name: &TypeName) -> Option<Kind> {
    if !name.array_bounds.is_empty() || name.setof || name.pct_type {
        return None;
    }
    let parts = names(&name.names);
    let parts: Vec<&str> = parts
        .iter()
        .map(|part| part.as_deref().unwrap_or(""))
        .collect();
    let bare = match parts.as_slice() {
        [bare] | ["pg_catalog", bare] => *bare,
        _ => return None,
    };
    Some(match bare {
        "int2" | "int4" | "int8" => Kind::Integer,
        "numeric" => Kind::Decimal,
        "float4" | "float8" => Kind::Float,
        "text" | "varchar" => Kind::Text,
        "bpchar" => Kind::Padded,
        "bool" => Kind::Boolean,
        "uuid" => Kind::Uuid,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampTz,
        "bytea" => Kind::Bytes,
        _ => return None,
    })
}

/// Whether a column of the first kind is compared with the second without a cast of the column that could fail.
/// A decimal becomes a float beside one, and may be too large for it.
pub fn compares(column: Kind, other: Kind) -> bool {
    column == other
        || matches!(
            (column, other),
            (Kind::Integer, Kind::Decimal | Kind::Float)
                | (Kind::Decimal | Kind::Float, Kind::Integer)
        )
}

/// Whether a constant or parameter is read as this kind, or compared with it, without touching the column.
#[allow(clippy::wildcard_enum_match_arm)] // Nothing else is constant.
pub fn is_constant_for(kind: Kind, node: &Node) -> bool {
    match &node.node {
        // A parameter may be a float by another use, beside which a decimal becomes one too.
        Some(NodeEnum::ParamRef(_)) => kind != Kind::Decimal,
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            None | Some(a_const::Val::Sval(_)) => true,
            Some(a_const::Val::Ival(_)) => {
                matches!(kind, Kind::Integer | Kind::Decimal | Kind::Float)
            }
            Some(a_const::Val::Fval(_)) => {
                matches!(kind, Kind::Integer | Kind::Decimal | Kind::Float)
            }
            Some(a_const::Val::Boolval(_)) => kind == Kind::Boolean,
            Some(a_const::Val::Bsval(_)) => false,
        },
        Some(NodeEnum::TypeCast(cast)) => {
            let is_constant = matches!(
                cast.arg.as_deref().and_then(|arg| arg.node.as_ref()),
                Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))
            );
            is_constant
                && cast
                    .type_name
                    .as_ref()
                    .and_then(kind_of_cast)
                    .is_some_and(|other| compares(kind, other))
        }
        _ => false,
    }
}
