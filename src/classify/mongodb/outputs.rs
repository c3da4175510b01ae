//! Stages that write: `$out` and `$merge`.

use bson::raw::RawBsonRef;

use super::pipeline::{namespace, no_option, of_update, unset_fields};
use super::structure::{fields, text, wrong};
use super::{Scope, expression};
use crate::classify::Result;
use crate::operation::Action;

/// `$out` drops what the collection held and puts a new one in its place: `ddl`, as `TRUNCATE` is, beside
/// `insert` and `delete`.
pub(super) fn out(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    let (database, collection) = namespace(stage, argument)?;
    for action in [Action::Insert, Action::Delete, Action::Ddl] {
        scope.touch_in(database, collection, action)?;
    }
    Ok(())
}

pub(super) fn merge(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    let Some(argument) = argument.as_document() else {
        return merge_into(scope, (None, text(stage, argument)?), true, true);
    };
    let mut into = None;
    let (mut updates, mut inserts) = (true, true);
    for field in fields(argument) {
        let (name, value) = field?;
        match name {
            "into" => into = Some(namespace(name, value)?),
            "on" => unset_fields(name, value)?,
            "let" => expression::variables(name, value)?,
            "whenMatched" => match (value.as_str(), value.as_array()) {
                // The server carries `keepExisting` out as an upsert, and asks for the right to update.
                (Some("replace" | "merge" | "keepExisting"), _) => {}
                (Some("fail"), _) => updates = false,
                (_, Some(stages)) => of_update(stages)?,
                (_, None) => return Err(wrong(name, "a mode that is known here or a pipeline")),
            },
            "whenNotMatched" => match value.as_str() {
                Some("insert") => {}
                Some("discard" | "fail") => inserts = false,
                Some(_) | None => return Err(wrong(name, "a mode that is known here")),
            },
            _ => return Err(no_option(stage, name)),
        }
    }
    let into = into.ok_or_else(|| wrong(stage, "given `into`"))?;
    merge_into(scope, into, updates, inserts)
}

fn merge_into(
    scope: &mut Scope<'_>,
    (database, collection): (Option<&str>, &str),
    updates: bool,
    inserts: bool,
) -> Result<()> {
    if updates {
        scope.touch_in(database, collection, Action::Update)?;
    }
    if inserts || !updates {
        scope.touch_in(database, collection, Action::Insert)?;
    }
    Ok(())
}
