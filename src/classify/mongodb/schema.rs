//! Collections and indexes: the options of `create`, `collMod` and `createIndexes`.
//!
//! Views are not among them: a view reads collections that a statement on it does not name.

use bson::raw::RawBsonRef;

use super::shape::{Check, any, data, filter, flag, text, whole};
use super::structure::{array, document, elements, fields};
use super::{Scope, filter as filters};
use crate::classify::Result;

pub(super) const CREATE: &[(&str, Check)] = &[
    ("capped", flag),
    ("size", whole),
    ("max", whole),
    ("validator", filter),
    ("validationLevel", text),
    ("validationAction", text),
    ("collation", data),
    ("timeseries", data),
    ("expireAfterSeconds", whole),
    ("clusteredIndex", any),
    ("changeStreamPreAndPostImages", data),
    ("autoIndexId", flag),
];

pub(super) const COLL_MOD: &[(&str, Check)] = &[
    ("index", data),
    ("validator", filter),
    ("validationLevel", text),
    ("validationAction", text),
    ("expireAfterSeconds", any),
    ("timeseries", data),
    ("changeStreamPreAndPostImages", data),
];

pub(super) const CREATE_INDEXES: &[(&str, Check)] = &[("indexes", indexes), ("commitQuorum", any)];

/// Descriptions of indexes, which are data but for the filter of a partial index.
fn indexes(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for index in elements(array(name, value)?) {
        for field in fields(document(name, index?)?) {
            let (option, value) = field?;
            if option == "partialFilterExpression" {
                filters::check(document(option, value)?)?;
            }
        }
    }
    Ok(())
}
