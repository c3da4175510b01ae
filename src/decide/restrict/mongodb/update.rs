//! What an update may do to a document with rules.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::view::Collection;
use super::{Command, Result, condition, filter, key, top};
use crate::decide::rules::Condition;

/// Checks a document that is inserted, or that replaces another: the role may name its fields, and see it.
pub(super) fn document(
    command: &Command<'_>,
    collection: &Collection<'_>,
    document: &RawDocument,
) -> Result<()> {
    for field in command.fields(document) {
        let (name, _) = field?;
        // Every document has one, and drivers make it.
        if name.as_str() != "_id" && !collection.rules().may_name(name.as_str()) {
            return Err(filter::closed(collection, name.as_str()));
        }
    }
    for condition in &collection.rules().rows {
        if !condition::meets(condition, false, document, collection.caller()) {
            return Err(demanded(collection, condition));
        }
    }
    Ok(())
}

fn demanded(collection: &Collection<'_>, condition: &Condition) -> super::Forbidden {
    let columns = condition.columns().join("`, `");
    collection.forbid(&format!(
        "only documents that the role may see can be written: set `{columns}` to what the row filter demands"
    ))
}

/// Checks an update: operators, or a document that replaces another.
pub(super) fn check(
    command: &Command<'_>,
    collection: &Collection<'_>,
    update: RawBsonRef<'_>,
) -> Result<()> {
    let Some(update) = update.as_document() else {
        let reason =
            "an update in stages could read fields that the role may not: use update operators";
        return Err(collection.forbid(reason));
    };
    let first = command.fields(update).next().transpose()?;
    if !first.is_some_and(|(name, _)| name.as_str().starts_with('$')) {
        if collection.hides_fields() {
            let reason = "a replacement would remove the fields that the role may not see: use update operators";
            return Err(collection.forbid(reason));
        }
        return document(command, collection, update);
    }
    for field in command.fields(update) {
        let (operator, fields) = field?;
        for field in command.fields(command.as_document(fields)?) {
            let (path, value) = field?;
            changed(collection, operator.as_str(), path.as_str(), value)?;
            if operator.as_str() == "$rename" {
                let to = value.as_str().ok_or_else(|| command.malformed())?;
                changed(collection, "$rename", to, value)?;
            }
        }
    }
    Ok(())
}

/// Whether an operator may change a path: what it changes must be open, since the reply tells whether the value was
/// another, and the rows' condition must hold afterwards.
fn changed(
    collection: &Collection<'_>,
    operator: &str,
    path: &str,
    value: RawBsonRef<'_>,
) -> Result<()> {
    let field = top(path);
    if !collection.is_open(field) {
        return Err(filter::closed(collection, field));
    }
    if !collection.is_filtered_by(field) {
        return Ok(());
    }
    let mut after = RawDocumentBuf::new();
    after.append(key(field), value);
    let sets_it = path == field && matches!(operator, "$set" | "$setOnInsert");
    for condition in &collection.rules().rows {
        let columns = condition.columns();
        if !columns.contains(&field) {
            continue;
        }
        let is_alone = columns.iter().all(|column| *column == field);
        let is_met =
            sets_it && is_alone && condition::meets(condition, false, &after, collection.caller());
        if !is_met {
            return Err(demanded(collection, condition));
        }
    }
    Ok(())
}
