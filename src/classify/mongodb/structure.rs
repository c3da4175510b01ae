//! The shape of a command document, before anyone asks what it means.
//!
//! Servers, drivers and classifiers read a repeated key differently (first or last), and invalid UTF-8 or
//! arrays whose keys are out of order at will. Such documents are refused as a whole, at every depth.

use std::collections::HashSet;

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::classify::{Refusal, Result};

/// Largest command document, in bytes: the server's own limit on a message.
pub const COMMAND_BYTES_MAX: usize = 48_000_000;

/// Deepest nesting of documents and arrays. The server's own limit is 200.
pub const DEPTH_MAX: usize = 180;

/// From this many keys on, repeated ones are looked for in a set.
const LINEAR_KEYS_MAX: usize = 12;

/// One element of a document.
pub(super) type Field<'a> = (&'a str, RawBsonRef<'a>);

/// Reads a command document and everything in it.
pub(super) fn read(document: &[u8]) -> Result<&RawDocument> {
    if document.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::TooLarge(format!(
            "a command has at most {COMMAND_BYTES_MAX} bytes"
        )));
    }
    let document = RawDocument::from_bytes(document).map_err(malformed)?;
    check_document(document, 1)?;
    Ok(document)
}

fn check_document(document: &RawDocument, depth: usize) -> Result<()> {
    check_depth(depth)?;
    let mut few: Vec<&str> = Vec::new();
    let mut many: HashSet<&str> = HashSet::new();
    for field in fields(document) {
        let (key, value) = field?;
        let repeated = if few.len() < LINEAR_KEYS_MAX {
            let repeated = few.contains(&key);
            few.push(key);
            repeated
        } else {
            if many.is_empty() {
                many.extend(&few);
            }
            !many.insert(key)
        };
        if repeated {
            return Err(Refusal::Unparsable(format!(
                "the key `{}` is repeated, and readers differ about which one counts",
                shown(key)
            )));
        }
        check_value(value, depth)?;
    }
    Ok(())
}

fn check_array(array: &RawArray, depth: usize) -> Result<()> {
    check_depth(depth)?;
    for (index, element) in array.iter_elements().enumerate() {
        let element = element.map_err(malformed)?;
        let key = element.key().as_str();
        let canonical = key == "0" || !key.starts_with('0');
        if !canonical || key.parse() != Ok(index) {
            return Err(Refusal::Unparsable(format!(
                "element {index} of an array is numbered `{}`",
                shown(key)
            )));
        }
        check_value(element.value().map_err(malformed)?, depth)?;
    }
    Ok(())
}

fn check_value(value: RawBsonRef<'_>, depth: usize) -> Result<()> {
    match value {
        RawBsonRef::Document(document) => check_document(document, depth + 1),
        RawBsonRef::Array(array) => check_array(array, depth + 1),
        RawBsonRef::JavaScriptCodeWithScope(code) => check_document(code.scope, depth + 1),
        RawBsonRef::Double(_)
        | RawBsonRef::String(_)
        | RawBsonRef::Boolean(_)
        | RawBsonRef::Null
        | RawBsonRef::RegularExpression(_)
        | RawBsonRef::JavaScriptCode(_)
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

fn check_depth(depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Refusal::TooLarge(format!(
            "a command nests at most {DEPTH_MAX} levels of documents and arrays"
        )));
    }
    Ok(())
}

pub(super) fn fields(document: &RawDocument) -> impl Iterator<Item = Result<Field<'_>>> {
    document.iter().map(|field| {
        field
            .map(|(key, value)| (key.as_str(), value))
            .map_err(malformed)
    })
}

pub(super) fn elements(array: &RawArray) -> impl Iterator<Item = Result<RawBsonRef<'_>>> {
    array.into_iter().map(|element| element.map_err(malformed))
}

/// The value of a key, where it is there.
pub(super) fn get<'a>(document: &'a RawDocument, key: &str) -> Result<Option<RawBsonRef<'a>>> {
    for field in fields(document) {
        let (name, value) = field?;
        if name == key {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

pub(super) fn first_key(document: &RawDocument) -> Result<Option<&str>> {
    fields(document)
        .next()
        .transpose()
        .map(|field| field.map(|(key, _)| key))
}

pub(super) fn document<'a>(what: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument> {
    value.as_document().ok_or_else(|| wrong(what, "a document"))
}

pub(super) fn array<'a>(what: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray> {
    value.as_array().ok_or_else(|| wrong(what, "an array"))
}

pub(super) fn text<'a>(what: &str, value: RawBsonRef<'a>) -> Result<&'a str> {
    value.as_str().ok_or_else(|| wrong(what, "a string"))
}

pub(super) fn flag(what: &str, value: RawBsonRef<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(what, "true or false"))
}

pub(super) fn wrong(what: &str, wanted: &str) -> Refusal {
    Refusal::Unparsable(format!("`{}` must be {wanted}", shown(what)))
}

/// A caller's name, short enough for a message.
pub(super) fn shown(name: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 60;
    name.chars().take(SHOWN_CHARACTERS_MAX).collect()
}

fn malformed(error: impl std::fmt::Display) -> Refusal {
    Refusal::Unparsable(format!("the command is not valid BSON: {error}"))
}

#[cfg(test)]
#[path = "structure_tests.rs"]
mod tests;
