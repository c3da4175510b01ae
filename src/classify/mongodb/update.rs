//! What an update does to a document: operators, a replacement, or a pipeline.

use bson::raw::{RawBsonRef, RawDocument};

use super::structure::{document, elements, fields, first_key, shown, wrong};
use super::{filter, names, pipeline};
use crate::classify::{Refusal, Result};

pub(super) fn check(what: &str, update: RawBsonRef<'_>) -> Result<()> {
    match update {
        RawBsonRef::Array(stages) => pipeline::of_update(stages),
        RawBsonRef::Document(update) => match first_key(update)? {
            Some(first) if first.starts_with('$') => operators(update),
            // A replacement is data.
            Some(_) | None => Ok(()),
        },
        RawBsonRef::Double(_)
        | RawBsonRef::String(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::RegularExpression(_)
        | RawBsonRef::JavaScriptCode(_)
        | RawBsonRef::JavaScriptCodeWithScope(_)
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
        | RawBsonRef::DbPointer(_) => Err(wrong(what, "a document or a pipeline")),
    }
}

fn operators(update: &RawDocument) -> Result<()> {
    for field in fields(update) {
        let (operator, argument) = field?;
        if names::UPDATES.binary_search(&operator).is_err() {
            return Err(Refusal::Forbidden(format!(
                "`{}` is not an update operator that is known here",
                shown(operator)
            )));
        }
        let argument = document(operator, argument)?;
        if operator == "$pull" {
            pull(argument)?;
        }
    }
    Ok(())
}

/// `$pull` takes a condition for each field; the other operators take values.
fn pull(argument: &RawDocument) -> Result<()> {
    for field in fields(argument) {
        let (_, condition) = field?;
        if let Some(condition) = condition.as_document() {
            filter::either(condition)?;
        }
    }
    Ok(())
}

/// `arrayFilters`: an array of filters.
pub(super) fn array_filters(what: &str, value: RawBsonRef<'_>) -> Result<()> {
    let filters = value.as_array().ok_or_else(|| wrong(what, "an array"))?;
    for filter in elements(filters) {
        filter::check(document(what, filter?)?)?;
    }
    Ok(())
}
