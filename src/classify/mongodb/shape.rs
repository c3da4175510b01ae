//! The options that commands share, each with the shape its value must have.

use bson::raw::RawBsonRef;

use super::structure::{document, elements, fields, flag as boolean, text as string, wrong};
use super::{Scope, expression, filter, pipeline, update};
use crate::classify::{Refusal, Result};

/// Checks an option's value, and records what it reaches.
pub(super) type Check = fn(&mut Scope<'_>, &str, RawBsonRef<'_>) -> Result<()>;

/// Options that every command takes: sessions and transactions, the stable API, concerns and preferences, and
/// `$db`, which the caller of this module has read already.
pub(super) const EVERYWHERE: &[(&str, Check)] = &[
    ("$clusterTime", data),
    ("$db", text),
    ("$readPreference", data),
    ("apiDeprecationErrors", flag),
    ("apiStrict", flag),
    ("apiVersion", text),
    ("autocommit", flag),
    ("comment", any),
    ("lsid", session),
    ("maxTimeMS", whole),
    ("readConcern", data),
    ("startTransaction", flag),
    ("txnNumber", whole),
    ("writeConcern", write_concern),
];

pub(super) fn any(_: &mut Scope<'_>, _: &str, _: RawBsonRef<'_>) -> Result<()> {
    Ok(())
}

/// A document that is data.
pub(super) fn data(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    document(name, value).map(drop)
}

/// `lsid: {id}`. The other members speak for another user, or for the servers among themselves.
fn session(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(name, value)?) {
        let (member, _) = field?;
        if member != "id" {
            return Err(wrong(name, "a document of `id` alone"));
        }
    }
    Ok(())
}

/// A server that is to acknowledge nothing answers as if all had gone well: neither the caller nor the audit trail would
/// learn of a write that failed.
fn write_concern(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(name, value)?) {
        let (member, value) = field?;
        let is_nothing = value.as_i32() == Some(0)
            || value.as_i64() == Some(0)
            || value.as_f64() == Some(0.0)
            || matches!(value, RawBsonRef::Decimal128(_));
        if member == "w" && is_nothing {
            return Err(Refusal::Forbidden(format!(
                "`{name}` with `w: 0` keeps back whether the write failed: leave it out"
            )));
        }
    }
    Ok(())
}

pub(super) fn text(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    string(name, value).map(drop)
}

pub(super) fn flag(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    boolean(name, value).map(drop)
}

/// `bypassDocumentValidation` and its kind: what a schema protects is not the caller's to unprotect.
pub(super) fn only_false(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    if boolean(name, value)? {
        return Err(Refusal::Forbidden(format!(
            "`{name}` would get past what the collection's owner set: leave it out"
        )));
    }
    Ok(())
}

pub(super) fn whole(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    number(name, value)
}

pub(super) fn number(name: &str, value: RawBsonRef<'_>) -> Result<()> {
    let is_number = matches!(
        value,
        RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_)
    );
    if is_number {
        Ok(())
    } else {
        Err(wrong(name, "a number"))
    }
}

/// An array of documents that are data.
pub(super) fn documents(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    let array = value.as_array().ok_or_else(|| wrong(name, "an array"))?;
    for element in elements(array) {
        document(name, element?)?;
    }
    Ok(())
}

/// An index, by name or by its keys.
pub(super) fn hint(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    if value.as_str().is_some() || value.as_document().is_some() {
        return Ok(());
    }
    Err(wrong(name, "an index's name or its keys"))
}

pub(super) fn filter(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    filter::check(document(name, value)?)
}

pub(super) fn projection(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    filter::projection(document(name, value)?)
}

pub(super) fn sort(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    filter::sort(document(name, value)?)
}

pub(super) fn variables(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    expression::variables(name, value)
}

pub(super) fn stages(scope: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    pipeline::check(scope, name, value)
}

pub(super) fn modification(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    update::check(name, value)
}

pub(super) fn array_filters(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    update::array_filters(name, value)
}
