//! Filters, projections and sorts.

use bson::raw::{RawBsonRef, RawDocument};

use super::structure::{array, document, elements, fields, first_key, shown, text, wrong};
use super::{expression, names};
use crate::classify::{Refusal, Result};

/// A filter: fields with conditions, and operators that combine filters.
pub(super) fn check(filter: &RawDocument) -> Result<()> {
    for field in fields(filter) {
        let (key, value) = field?;
        if key.starts_with('$') {
            combine(key, value)?;
        } else {
            condition(value)?;
        }
    }
    Ok(())
}

fn combine(operator: &str, value: RawBsonRef<'_>) -> Result<()> {
    match operator {
        "$and" | "$or" | "$nor" => {
            for filter in elements(array(operator, value)?) {
                check(document(operator, filter?)?)?;
            }
            Ok(())
        }
        "$expr" => expression::check(value),
        _ if names::FILTERS.contains(&operator) => Ok(()),
        _ if names::FILTERS_NEVER.contains(&operator) => Err(Refusal::Forbidden(format!(
            "`{operator}` runs JavaScript in the server: use query operators or `$expr`"
        ))),
        _ => Err(Refusal::Forbidden(format!(
            "`{}` is not a query operator that is known here",
            shown(operator)
        ))),
    }
}

/// What a field is compared with. A document is a set of operators when its first key says so, and a value
/// otherwise; so the server decides too.
fn condition(value: RawBsonRef<'_>) -> Result<()> {
    let Some(operators) = value.as_document() else {
        return Ok(());
    };
    match first_key(operators)? {
        Some("$ref" | "$id" | "$db") => reference(operators),
        Some(first) if first.starts_with('$') => predicates(operators),
        Some(_) | None => Ok(()),
    }
}

fn predicates(operators: &RawDocument) -> Result<()> {
    for field in fields(operators) {
        let (operator, value) = field?;
        predicate(operator, value)?;
    }
    Ok(())
}

fn predicate(operator: &str, value: RawBsonRef<'_>) -> Result<()> {
    match operator {
        "$not" => condition(value),
        "$elemMatch" => either(document(operator, value)?),
        "$all" => {
            for element in elements(array(operator, value)?) {
                condition(element?)?;
            }
            Ok(())
        }
        _ if names::PREDICATES.contains(&operator) => Ok(()),
        _ => combine(operator, value),
    }
}

/// A document that is a filter on an element or a set of operators on it, as in `$elemMatch` and `$pull`.
pub(super) fn either(document: &RawDocument) -> Result<()> {
    for field in fields(document) {
        let (key, value) = field?;
        if key.starts_with('$') {
            predicate(key, value)?;
        } else {
            condition(value)?;
        }
    }
    Ok(())
}

/// A reference to another document (`$ref`, `$id`, `$db`), which the server compares and does not follow.
fn reference(document: &RawDocument) -> Result<()> {
    for field in fields(document) {
        let (key, _) = field?;
        if key.starts_with('$') && !matches!(key, "$ref" | "$id" | "$db") {
            return Err(Refusal::Unparsable(format!(
                "`{}` stands in a reference, where only `$ref`, `$id` and `$db` may stand",
                shown(key)
            )));
        }
    }
    Ok(())
}

/// A projection of `find`: flags, expressions, `$slice`, `$elemMatch`.
pub(super) fn projection(projection: &RawDocument) -> Result<()> {
    for field in fields(projection) {
        let (key, value) = field?;
        if key.starts_with('$') {
            return Err(wrong(key, "a field"));
        }
        let nested = value.as_document();
        match nested.map(first_key).transpose()?.flatten() {
            Some("$elemMatch") => {
                for field in fields(document(key, value)?) {
                    let (operator, filter) = field?;
                    if operator != "$elemMatch" {
                        return Err(wrong(operator, "alone"));
                    }
                    either(document(operator, filter)?)?;
                }
            }
            Some(_) | None => expression::check(value)?,
        }
    }
    Ok(())
}

/// `{field: 1 | -1 | {$meta: …}}`, or `{$natural: …}`.
pub(super) fn sort(sort: &RawDocument) -> Result<()> {
    for field in fields(sort) {
        let (key, value) = field?;
        if key.starts_with('$') && key != "$natural" {
            return Err(wrong(key, "a field"));
        }
        if let Some(meta) = value.as_document() {
            for field in fields(meta) {
                let (operator, kind) = field?;
                if operator != "$meta" {
                    return Err(wrong(operator, "`$meta`"));
                }
                text(operator, kind)?;
            }
        }
    }
    Ok(())
}
