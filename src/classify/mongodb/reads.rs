//! Commands that read, beyond what a table of options says of them.

use bson::raw::{RawBsonRef, RawDocument};

use super::structure::{array, document, elements, fields, get, text, wrong};
use super::{Scope, pipeline, shape};
use crate::classify::{Refusal, Result};
use crate::operation::Action;

/// `{aggregate: "name"}`, or `{aggregate: 1}` for pipelines that begin with documents of their own.
pub(super) fn aggregate(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    command: &RawDocument,
) -> Result<()> {
    if let Some(collection) = target.as_str() {
        return scope.touch(collection, Action::Find);
    }
    shape::number(name, target)?;
    let first = get(command, "pipeline")?
        .map(pipeline::first_stage)
        .transpose()?;
    match first.flatten() {
        Some("$documents") => Ok(()),
        Some(_) | None => Err(Refusal::Forbidden(
            "`aggregate` on a whole database is allowed only for pipelines that begin with `$documents`"
                .to_owned(),
        )),
    }
}

/// `{getMore: id, collection: "name"}`: the executor checks that the caller opened the cursor.
pub(super) fn get_more(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    command: &RawDocument,
) -> Result<()> {
    scope.cursor(cursor_id(name, target)?);
    let collection =
        get(command, "collection")?.ok_or_else(|| wrong(name, "given `collection`"))?;
    scope.touch(text("collection", collection)?, Action::Find)
}

/// `{killCursors: "name", cursors: [id, …]}`.
pub(super) fn kill_cursors(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    command: &RawDocument,
) -> Result<()> {
    scope.touch(text(name, target)?, Action::Find)?;
    let cursors = get(command, "cursors")?.ok_or_else(|| wrong(name, "given `cursors`"))?;
    for cursor in elements(array("cursors", cursors)?) {
        scope.cursor(cursor_id("cursors", cursor?)?);
    }
    Ok(())
}

fn cursor_id(name: &str, value: RawBsonRef<'_>) -> Result<i64> {
    value
        .as_i64()
        .or_else(|| value.as_i32().map(i64::from))
        .ok_or_else(|| wrong(name, "a cursor's id, a 64-bit integer"))
}

/// `{explain: {command}}`: explaining touches what the command would.
pub(super) fn explain(
    scope: &mut Scope<'_>,
    name: &str,
    target: RawBsonRef<'_>,
    _: &RawDocument,
) -> Result<()> {
    const EXPLAINABLE: [&str; 7] = [
        "aggregate",
        "count",
        "delete",
        "distinct",
        "find",
        "findAndModify",
        "update",
    ];
    let inner = document(name, target)?;
    let (first, _) = fields(inner)
        .next()
        .transpose()?
        .unwrap_or(("", RawBsonRef::Null));
    if !EXPLAINABLE.contains(&first) && first != "findandmodify" {
        return Err(wrong(
            name,
            "one of find, aggregate, count, distinct, update, delete, findAndModify",
        ));
    }
    if let Some(database) = get(inner, "$db")?
        && text("$db", database)? != scope.database()
    {
        return Err(wrong("$db", "the database of the command around it"));
    }
    super::command(scope, inner)
}

/// `cursor: {batchSize: n}`.
pub(super) fn cursor(_: &mut Scope<'_>, name: &str, value: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(name, value)?) {
        let (option, value) = field?;
        if option != "batchSize" {
            return Err(wrong(option, "`batchSize`"));
        }
        shape::number(option, value)?;
    }
    Ok(())
}
