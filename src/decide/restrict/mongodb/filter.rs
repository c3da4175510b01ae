//! Filters of the caller's that run beside the rows' own condition, before anything is hidden.
//!
//! Such a filter may name open fields alone, and only compare them: then it cannot fail on a row that the caller may
//! not see, and tell of it by that. Regular expressions can (their matcher has limits), and expressions too.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::view::Collection;
use super::{Command, Result, key, top};

/// Operators on one field whose argument is a value.
const COMPARISONS: [&str; 14] = [
    "$bitsAllClear",
    "$bitsAllSet",
    "$bitsAnyClear",
    "$bitsAnySet",
    "$eq",
    "$exists",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$mod",
    "$ne",
    "$size",
    "$type",
];

/// Checks a filter of `count`, `distinct` or a write.
pub(super) fn check(
    command: &Command<'_>,
    collection: &Collection<'_>,
    filter: &RawDocument,
) -> Result<()> {
    // Where every row is seen, it tells nothing new when a pattern fails on one.
    let may_match = !collection.filters_rows();
    for field in command.fields(filter) {
        let (name, value) = field?;
        let name = name.as_str();
        match name {
            "$comment" => {}
            "$and" | "$or" | "$nor" => {
                for inner in command.documents(value)? {
                    check(command, collection, inner)?;
                }
            }
            _ if name.starts_with('$') => {
                return Err(collection.forbid(&format!(
                    "`{name}` cannot be used in this filter, which would see rows or fields that the role may not: \
                     compare fields with values"
                )));
            }
            _ if !collection.is_open(top(name)) => {
                return Err(closed(collection, top(name)));
            }
            _ if !is_comparison(value, may_match) => {
                return Err(collection.forbid(&format!(
                    "`{name}` must be compared with values here: regular expressions and references would see rows \
                     that the role may not"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn closed(
    collection: &Collection<'_>,
    field: &str,
) -> crate::decide::restrict::Forbidden {
    collection.forbid(&format!("the role may not use the field `{field}` here"))
}

/// The parts of a filter that [`check`] would let pass, each as a filter.
pub(super) fn open_parts(
    command: &Command<'_>,
    collection: &Collection<'_>,
    filter: &RawDocument,
) -> Result<Vec<RawDocumentBuf>> {
    let mut parts = Vec::new();
    for field in command.fields(filter) {
        let (name, value) = field?;
        if name.as_str() == "$and" {
            for inner in command.documents(value)? {
                parts.extend(open_parts(command, collection, inner)?);
            }
            continue;
        }
        let mut part = RawDocumentBuf::new();
        part.append(name, value);
        if name.as_str() != "$comment" && check(command, collection, &part).is_ok() {
            parts.push(part);
        }
    }
    Ok(parts)
}

/// Whether what a field is compared with cannot fail, whatever the field holds; patterns count where they `may_match`.
fn is_comparison(value: RawBsonRef<'_>, may_match: bool) -> bool {
    let Some(operators) = value.as_document() else {
        return is_value(value, may_match);
    };
    let mut fields = operators
        .iter()
        .filter_map(std::result::Result::ok)
        .peekable();
    match fields.peek() {
        Some((first, _)) if first.as_str().starts_with('$') => {
            fields.all(|(operator, value)| is_operator(operator.as_str(), value, may_match))
        }
        // A document is compared as a whole.
        Some(_) | None => true,
    }
}

fn is_operator(operator: &str, value: RawBsonRef<'_>, may_match: bool) -> bool {
    let all = |test: &dyn Fn(RawBsonRef<'_>) -> bool| {
        let mut values = value.as_array().into_iter().flatten();
        value.as_array().is_some() && values.all(|value| value.is_ok_and(test))
    };
    match operator {
        "$not" => is_comparison(value, may_match),
        "$in" | "$nin" => all(&|value| is_value(value, may_match)),
        "$all" => all(&|value| is_comparison(value, may_match)),
        "$elemMatch" => value.as_document().is_some_and(|filter| {
            let is_open = |name: &str, value| {
                if name.starts_with('$') {
                    is_operator(name, value, may_match)
                } else {
                    is_comparison(value, may_match)
                }
            };
            let mut fields = filter.iter();
            fields.all(|field| field.is_ok_and(|(name, value)| is_open(name.as_str(), value)))
        }),
        "$regex" | "$options" => may_match,
        _ => COMPARISONS.contains(&operator) && is_value(value, false),
    }
}

const fn is_value(value: RawBsonRef<'_>, may_match: bool) -> bool {
    match value {
        RawBsonRef::RegularExpression(_) => may_match,
        RawBsonRef::JavaScriptCode(_) | RawBsonRef::JavaScriptCodeWithScope(_) => false,
        RawBsonRef::Double(_)
        | RawBsonRef::String(_)
        | RawBsonRef::Array(_)
        | RawBsonRef::Document(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::Int32(_)
        | RawBsonRef::Int64(_)
        | RawBsonRef::Timestamp(_)
        | RawBsonRef::Binary(_)
        | RawBsonRef::ObjectId(_)
        | RawBsonRef::DateTime(_)
        | RawBsonRef::Symbol(_)
        | RawBsonRef::Decimal128(_)
        | RawBsonRef::Undefined
        | RawBsonRef::MaxKey
        | RawBsonRef::MinKey
        | RawBsonRef::DbPointer(_) => true,
    }
}

/// The filter with the rows' condition beside it.
pub(super) fn restricted(collection: &Collection<'_>, filter: &RawDocument) -> RawDocumentBuf {
    if !collection.filters_rows() {
        return filter.to_owned();
    }
    let mut all = bson::raw::RawArrayBuf::new();
    for condition in collection.conditions() {
        all.push(raw(&condition));
    }
    all.push(filter.to_owned());
    let mut restricted = RawDocumentBuf::new();
    restricted.append(key("$and"), all);
    restricted
}

/// A document that was made here. Those can always be written.
pub(super) fn raw(document: &bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap_or_else(|_| nothing())
}

/// A query that no document meets, and no stage.
fn nothing() -> RawDocumentBuf {
    let mut nothing = RawDocumentBuf::new();
    nothing.append(key("$alwaysFalse"), 1_i32);
    nothing
}

/// Whether a filter names some field: without one it means every document.
pub(super) fn names_a_field(filter: &RawDocument) -> bool {
    filter
        .iter()
        .filter_map(std::result::Result::ok)
        .any(|(name, value)| {
            if !name.as_str().starts_with('$') {
                return true;
            }
            let Some(inner) = value.as_array() else {
                return false;
            };
            let mut inner = inner.into_iter().filter_map(std::result::Result::ok);
            let names = |value: RawBsonRef<'_>| value.as_document().is_some_and(names_a_field);
            match name.as_str() {
                "$and" => inner.any(names),
                "$or" | "$nor" => inner.all(names),
                _ => false,
            }
        })
}
