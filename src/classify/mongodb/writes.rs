//! Commands that write: their statements, and what an upsert or a removal adds.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::shape::{
    Check, array_filters, data, filter, flag, hint, modification, sort, variables, whole,
};
use super::structure::{
    array, document, elements, fields, flag as boolean, get, shown, text, wrong,
};
use super::{Scope, apply};
use crate::classify::Result;
use crate::operation::Action;

const UPDATE: &[(&str, Check)] = &[
    ("q", filter),
    ("u", modification),
    // Constants of a pipeline update.
    ("c", variables),
    ("multi", flag),
    ("upsert", flag),
    ("arrayFilters", array_filters),
    ("collation", data),
    ("hint", hint),
    ("sort", sort),
];

const DELETE: &[(&str, Check)] = &[
    ("q", filter),
    ("limit", whole),
    ("collation", data),
    ("hint", hint),
];

/// The statements of an `update`.
pub(super) fn updates(scope: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for statement in elements(array(name, value)?) {
        let statement = document(name, statement?)?;
        apply(scope, "updates", UPDATE, fields(statement))?;
        if set(statement, "upsert")? {
            scope.touch_target(Action::Insert)?;
        }
    }
    Ok(())
}

/// The statements of a `delete`.
pub(super) fn deletes(scope: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for statement in elements(array(name, value)?) {
        apply(
            scope,
            "deletes",
            DELETE,
            fields(document(name, statement?)?),
        )?;
    }
    Ok(())
}

/// Returns a document as it was or as it became, so that it reads besides what it writes.
pub(super) fn find_and_modify(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    command: &RawDocument,
) -> Result<()> {
    let collection = text(name, target)?;
    scope.touch(collection, Action::Find)?;
    if set(command, "remove")? {
        if set(command, "upsert")? {
            return Err(wrong("upsert", "left out where `remove` is true"));
        }
        // The server asks for the right to update before it says that both make no sense.
        for option in ["update", "arrayFilters"] {
            if get(command, option)?.is_some() {
                return Err(wrong(option, "left out where `remove` is true"));
            }
        }
        return scope.touch(collection, Action::Delete);
    }
    scope.touch(collection, Action::Update)?;
    if set(command, "upsert")? {
        scope.touch(collection, Action::Insert)?;
    }
    Ok(())
}

/// `{bulkWrite: 1, ops: [{insert: n, …}, …], nsInfo: [{ns: "database.collection"}, …]}`, MongoDB 8.
pub(super) fn bulk_write(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    command: &RawDocument,
) -> Result<()> {
    super::shape::number(name, target)?;
    let spaces = get(command, "nsInfo")?.ok_or_else(|| wrong(name, "given `nsInfo`"))?;
    let spaces = namespaces(array("nsInfo", spaces)?)?;
    let operations = get(command, "ops")?.ok_or_else(|| wrong(name, "given `ops`"))?;
    for operation in elements(array("ops", operations)?) {
        bulk_operation(scope, document("ops", operation?)?, &spaces)?;
    }
    Ok(())
}

fn namespaces(spaces: &RawArray) -> Result<Vec<(&str, &str)>> {
    elements(spaces)
        .map(|space| {
            let mut found = None;
            for field in fields(document("nsInfo", space?)?) {
                let (option, value) = field?;
                if option != "ns" {
                    return Err(wrong(option, "`ns`"));
                }
                found = text("ns", value)?.split_once('.');
            }
            found.ok_or_else(|| wrong("ns", "`database.collection`"))
        })
        .collect()
}

fn bulk_operation(
    scope: &mut Scope<'_>,
    operation: &RawDocument,
    spaces: &[(&str, &str)],
) -> Result<()> {
    const INSERT: &[(&str, Check)] = &[("document", data)];
    const UPDATE: &[(&str, Check)] = &[
        ("filter", filter),
        ("updateMods", modification),
        ("multi", flag),
        ("upsert", flag),
        ("arrayFilters", array_filters),
        ("constants", variables),
        ("collation", data),
        ("hint", hint),
        ("sort", sort),
    ];
    const DELETE: &[(&str, Check)] = &[
        ("filter", filter),
        ("multi", flag),
        ("collation", data),
        ("hint", hint),
    ];
    let mut all = fields(operation);
    let (kind, index) = all.next().transpose()?.unwrap_or(("", RawBsonRef::Null));
    let (action, options) = match kind {
        "insert" => (Action::Insert, INSERT),
        "update" => (Action::Update, UPDATE),
        "delete" => (Action::Delete, DELETE),
        _ => return Err(wrong(kind, "insert, update or delete")),
    };
    apply(scope, "ops", options, all)?;
    let (database, collection) = index
        .as_i32()
        .and_then(|index| usize::try_from(index).ok())
        .and_then(|index| spaces.get(index))
        .ok_or_else(|| wrong(&shown(kind), "the number of an entry of `nsInfo`"))?;
    scope.touch_in(Some(database), collection, action)?;
    if action == Action::Update && set(operation, "upsert")? {
        scope.touch_in(Some(database), collection, Action::Insert)?;
    }
    Ok(())
}

/// Whether a flag is there and true.
fn set(statement: &RawDocument, name: &str) -> Result<bool> {
    match get(statement, name)? {
        Some(value) => boolean(name, value),
        None => Ok(false),
    }
}
