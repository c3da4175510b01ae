//! Commands that write.

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use super::view::Collection;
use super::{Command, Result, filter, is_true, key, top, update};

pub(super) fn insert(command: &Command<'_>) -> Result<RawDocumentBuf> {
    let collection = command.only_target()?;
    for option in command.options() {
        let (name, value) = option?;
        if name.as_str() == "documents" {
            for document in command.documents(value)? {
                update::document(command, &collection, document)?;
            }
        }
    }
    Ok(command.document.to_owned())
}

pub(super) fn update(command: &Command<'_>) -> Result<RawDocumentBuf> {
    statements(command, "updates")
}

pub(super) fn delete(command: &Command<'_>) -> Result<RawDocumentBuf> {
    statements(command, "deletes")
}

/// The command with each of its statements restricted.
fn statements(command: &Command<'_>, list: &str) -> Result<RawDocumentBuf> {
    let collection = command.only_target()?;
    let mut restricted = RawDocumentBuf::new();
    restricted.append(key(command.name), command.target);
    for option in command.options() {
        let (name, value) = option?;
        if name.as_str() != list {
            restricted.append(name, value);
            continue;
        }
        let mut all = RawArrayBuf::new();
        for statement in command.documents(value)? {
            let fields = command.fields(statement).collect::<Result<Vec<_>>>()?;
            all.push(changed(command, &collection, &fields, "q")?);
        }
        restricted.append(name, all);
    }
    Ok(restricted)
}

/// A field, by its key.
type Field<'d> = (&'d bson::raw::CStr, RawBsonRef<'d>);

/// A statement, or a `findAndModify` without its first field: its filter, which `filter_key` names, is restricted,
/// and everything else of it checked.
fn changed(
    command: &Command<'_>,
    collection: &Collection<'_>,
    fields: &[Field<'_>],
    filter_key: &str,
) -> Result<RawDocumentBuf> {
    let empty = RawDocumentBuf::new();
    let mut query: &RawDocument = &empty;
    let mut restricted = RawDocumentBuf::new();
    for (name, value) in fields {
        if name.as_str() == filter_key {
            query = command.as_document(*value)?;
            continue;
        }
        if collection.hides() {
            option(command, collection, name.as_str(), *value)?;
        }
        restricted.append(*name, *value);
    }
    if collection.rules().requires_where && !filter::names_a_field(query) {
        let reason = "the filter must name a field: it would change every document";
        return Err(collection.forbid(reason));
    }
    if !collection.hides() {
        restricted.append(key(filter_key), query.to_owned());
        return Ok(restricted);
    }
    filter::check(command, collection, query)?;
    restricted.append(key(filter_key), filter::restricted(collection, query));
    Ok(restricted)
}

fn option(
    command: &Command<'_>,
    collection: &Collection<'_>,
    name: &str,
    value: RawBsonRef<'_>,
) -> Result<()> {
    command.not_around(name)?;
    match name {
        "u" | "update" => update::check(command, collection, value),
        "upsert" if is_true(value) && collection.filters_rows() => {
            let reason =
                "an upsert could insert what the role may not see: send `insert` or `update`";
            Err(collection.forbid(reason))
        }
        "sort" => {
            command.tells_nothing_else(value)?;
            for field in command.fields(command.as_document(value)?) {
                let (path, _) = field?;
                if !collection.is_open(top(path.as_str())) {
                    return Err(filter::closed(collection, top(path.as_str())));
                }
            }
            Ok(())
        }
        "fields" => command.tells_nothing_else(value),
        _ => Ok(()),
    }
}

pub(super) fn find_and_modify(command: &Command<'_>) -> Result<RawDocumentBuf> {
    let collection = command.only_target()?;
    if collection.hides_fields() {
        let reason = "the reply would be the document as it is: send `update`, and then `find`";
        return Err(collection.forbid(reason));
    }
    let fields = command.options().collect::<Result<Vec<_>>>()?;
    let options = changed(command, &collection, &fields, "query")?;
    let mut restricted = RawDocumentBuf::new();
    restricted.append(key(command.name), command.target);
    for option in command.fields(&options) {
        let (name, value) = option?;
        restricted.append(name, value);
    }
    Ok(restricted)
}
