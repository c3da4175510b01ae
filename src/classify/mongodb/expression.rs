//! Aggregation expressions. Every operator is known by name; none that is known reaches another collection or
//! runs code.

use bson::raw::{RawBsonRef, RawDocument};

use super::names;
use super::structure::{elements, fields, shown, wrong};
use crate::classify::{Refusal, Result};

/// Any value that may stand as an expression: an operator, a path, a literal, an object or array of these.
pub(super) fn check(value: RawBsonRef<'_>) -> Result<()> {
    match value {
        RawBsonRef::Document(document) => operator_or_object(document),
        RawBsonRef::Array(array) => {
            for element in elements(array) {
                check(element?)?;
            }
            Ok(())
        }
        RawBsonRef::String(text) => variable(text),
        RawBsonRef::JavaScriptCode(_) | RawBsonRef::JavaScriptCodeWithScope(_) => Err(
            Refusal::Forbidden("JavaScript is not allowed in an expression".to_owned()),
        ),
        RawBsonRef::Double(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::RegularExpression(_)
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
        | RawBsonRef::DbPointer(_) => Ok(()),
    }
}

/// A document whose values are expressions (`$project`, `let`, `$group`).
pub(super) fn object(document: &RawDocument) -> Result<()> {
    for field in fields(document) {
        let (key, value) = field?;
        if key.starts_with('$') {
            return Err(misplaced(key));
        }
        check(value)?;
    }
    Ok(())
}

/// The single operator of a document, checked by name, with its argument; `None` for an object of fields.
pub(super) fn operator(document: &RawDocument) -> Result<Option<(&str, RawBsonRef<'_>)>> {
    let mut all = fields(document);
    let Some((key, value)) = all.next().transpose()? else {
        return Ok(None);
    };
    if !key.starts_with('$') {
        return Ok(None);
    }
    if let Some((second, _)) = all.next().transpose()? {
        return Err(misplaced(second));
    }
    named(key)?;
    Ok(Some((key, value)))
}

fn operator_or_object(document: &RawDocument) -> Result<()> {
    match operator(document)? {
        // What `$literal` holds is data, whatever it looks like.
        Some(("$literal" | "$const", _)) => Ok(()),
        Some((_, argument)) => check(argument),
        None => object(document),
    }
}

/// Whether an operator is one that only computes.
pub(super) fn named(operator: &str) -> Result<()> {
    if names::EXPRESSIONS.binary_search(&operator).is_ok() {
        return Ok(());
    }
    if names::EXPRESSIONS_NEVER.contains(&operator) {
        return Err(Refusal::Forbidden(format!(
            "`{operator}` runs JavaScript in the server: use built-in operators"
        )));
    }
    Err(Refusal::Forbidden(format!(
        "`{}` is not an expression operator that is known here",
        shown(operator)
    )))
}

/// `$$name` and `$field`; the roles of the shared database account are not the caller's to see.
fn variable(text: &str) -> Result<()> {
    let name = text
        .strip_prefix("$$")
        .map(|rest| rest.split('.').next().unwrap_or(rest));
    match name {
        Some("USER_ROLES") => Err(Refusal::Forbidden(
            "`$$USER_ROLES` tells the roles of the database account".to_owned(),
        )),
        Some(_) | None => Ok(()),
    }
}

fn misplaced(key: &str) -> Refusal {
    Refusal::Unparsable(format!(
        "`{}` stands where only one operator, or only fields, may stand",
        shown(key)
    ))
}

/// A document of expressions, as `let` takes it.
pub(super) fn variables(what: &str, value: RawBsonRef<'_>) -> Result<()> {
    let document = value
        .as_document()
        .ok_or_else(|| wrong(what, "a document"))?;
    object(document)
}
