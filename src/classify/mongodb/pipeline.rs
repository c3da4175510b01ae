//! Aggregation pipelines: every stage by name, and every collection a stage names.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::structure::{
    array, document, elements, fields, first_key, flag, get, shown, text, wrong,
};
use super::{Scope, expression, filter, outputs};
use crate::classify::{Refusal, Result};
use crate::operation::Action;

type Check = fn(&mut Scope<'_>, &str, RawBsonRef<'_>) -> Result<()>;

/// Stages that are understood, sorted.
const STAGES: &[(&str, Check)] = &[
    ("$addFields", fields_of_expressions),
    ("$bucket", any_expression),
    ("$bucketAuto", any_expression),
    ("$count", plain_text),
    ("$densify", any_expression),
    ("$documents", any_expression),
    ("$facet", facet),
    ("$fill", any_expression),
    ("$geoNear", geo_near),
    ("$graphLookup", graph_lookup),
    ("$group", fields_of_expressions),
    ("$limit", number),
    ("$lookup", lookup),
    ("$match", matching),
    ("$merge", outputs::merge),
    ("$out", outputs::out),
    ("$project", fields_of_expressions),
    ("$redact", any_expression),
    ("$replaceRoot", any_expression),
    ("$replaceWith", any_expression),
    ("$sample", any_expression),
    ("$set", fields_of_expressions),
    ("$setWindowFields", window),
    ("$skip", number),
    ("$sort", sort),
    ("$sortByCount", any_expression),
    ("$unionWith", union_with),
    ("$unset", unset),
    ("$unwind", any_expression),
];

/// Stages that tell about the server or other clients, or that an index or service outside the policy answers.
const STAGES_NEVER: &[&str] = &[
    "$backupCursor",
    "$backupCursorExtend",
    "$changeStream",
    "$changeStreamSplitLargeEvent",
    "$collStats",
    "$currentOp",
    "$indexStats",
    "$listCachedAndActiveUsers",
    "$listCatalog",
    "$listClusterCatalog",
    "$listExtensions",
    "$listLocalSessions",
    "$listMqlEntities",
    "$listSampledQueries",
    "$listSearchIndexes",
    "$listSessions",
    "$mergeCursors",
    "$operationMetrics",
    "$planCacheStats",
    "$querySettings",
    "$queryStats",
    "$queue",
    "$rankFusion",
    "$score",
    "$scoreFusion",
    "$search",
    "$searchBeta",
    "$searchMeta",
    "$setMetadata",
    "$setVariableFromSubPipeline",
    "$shardedDataDistribution",
    "$vectorSearch",
];

/// The servers' own stages; none is ever understood.
const INTERNAL: &str = "$_";

/// Stages that an update may be written in.
const STAGES_OF_UPDATE: &[&str] = &[
    "$addFields",
    "$project",
    "$replaceRoot",
    "$replaceWith",
    "$set",
    "$unset",
];

/// Whether a stage is understood, or refused by name.
pub(super) fn knows(stage: &str) -> bool {
    find(stage).is_some() || STAGES_NEVER.contains(&stage) || stage.starts_with(INTERNAL)
}

/// Checks every stage, and records what it reads and writes.
pub(super) fn check(scope: &mut Scope<'_>, what: &str, stages: RawBsonRef<'_>) -> Result<()> {
    for stage in elements(array(what, stages)?) {
        let (name, argument) = single(document("a stage", stage?)?)?;
        let Some(check) = find(name) else {
            return Err(unknown(name));
        };
        check(scope, name, argument)?;
    }
    Ok(())
}

/// The pipeline form of an update.
pub(super) fn of_update(stages: &RawArray) -> Result<()> {
    for stage in elements(stages) {
        let (name, argument) = single(document("a stage", stage?)?)?;
        if !STAGES_OF_UPDATE.contains(&name) {
            return Err(unknown(name));
        }
        match name {
            "$unset" => unset_fields(name, argument)?,
            _ => expression::check(argument)?,
        }
    }
    Ok(())
}

/// The name of a pipeline's first stage.
pub(super) fn first_stage<'a>(stages: RawBsonRef<'a>) -> Result<Option<&'a str>> {
    match elements(array("pipeline", stages)?).next() {
        Some(stage) => first_key(document("a stage", stage?)?),
        None => Ok(None),
    }
}

fn find(stage: &str) -> Option<Check> {
    STAGES
        .binary_search_by(|(name, _)| (*name).cmp(stage))
        .ok()
        .and_then(|index| STAGES.get(index))
        .map(|(_, check)| *check)
}

/// A stage is a document of one key. With two, the server would refuse it, and a reader of the first alone
/// would miss the second.
fn single(stage: &RawDocument) -> Result<(&str, RawBsonRef<'_>)> {
    let mut all = fields(stage);
    match (all.next().transpose()?, all.next()) {
        (Some(only), None) => Ok(only),
        (_, _) => Err(Refusal::Unparsable(
            "a stage must be a document of exactly one key".to_owned(),
        )),
    }
}

fn unknown(stage: &str) -> Refusal {
    Refusal::Forbidden(if STAGES_NEVER.contains(&stage) {
        format!("`{stage}` reaches beyond the collections that a policy names")
    } else {
        format!("`{}` is not a stage that is known here", shown(stage))
    })
}

fn any_expression(_: &mut Scope<'_>, _: &str, argument: RawBsonRef<'_>) -> Result<()> {
    expression::check(argument)
}

fn fields_of_expressions(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    expression::object(document(stage, argument)?)
}

fn plain_text(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    text(stage, argument).map(drop)
}

fn number(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    super::shape::number(stage, argument)
}

fn sort(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    filter::sort(document(stage, argument)?)
}

fn matching(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    filter::check(document(stage, argument)?)
}

fn unset(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    unset_fields(stage, argument)
}

pub(super) fn unset_fields(stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    match argument.as_array() {
        Some(names) => {
            for name in elements(names) {
                text(stage, name?)?;
            }
            Ok(())
        }
        None => text(stage, argument).map(drop),
    }
}

fn facet(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(stage, argument)?) {
        let (name, stages) = field?;
        check(scope, name, stages)?;
    }
    Ok(())
}

fn geo_near(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(stage, argument)?) {
        let (name, value) = field?;
        match name {
            "query" => filter::check(document(name, value)?)?,
            "near" | "minDistance" | "maxDistance" | "distanceMultiplier" => {
                expression::check(value)?
            }
            "distanceField" | "includeLocs" | "key" => text(name, value).map(drop)?,
            "spherical" | "uniqueDocs" => flag(name, value).map(drop)?,
            "limit" | "num" => super::shape::number(name, value)?,
            _ => return Err(no_option(stage, name)),
        }
    }
    Ok(())
}

fn lookup(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    let argument = document(stage, argument)?;
    for field in fields(argument) {
        let (name, value) = field?;
        match name {
            "from" => source(scope, name, value)?,
            "localField" | "foreignField" | "as" => text(name, value).map(drop)?,
            "let" => expression::variables(name, value)?,
            "pipeline" => check(scope, name, value)?,
            _ => return Err(no_option(stage, name)),
        }
    }
    if get(argument, "from")?.is_none() {
        from_documents(stage, argument)?;
    }
    Ok(())
}

/// Without a collection, a nested pipeline must begin with documents of its own.
fn from_documents(stage: &str, argument: &RawDocument) -> Result<()> {
    let first = get(argument, "pipeline")?
        .map(first_stage)
        .transpose()?
        .flatten();
    if first == Some("$documents") {
        return Ok(());
    }
    Err(Refusal::Unparsable(format!(
        "`{stage}` must name a collection or begin with `$documents`"
    )))
}

fn graph_lookup(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    let argument = document(stage, argument)?;
    for field in fields(argument) {
        let (name, value) = field?;
        match name {
            "from" => source(scope, name, value)?,
            "connectFromField" | "connectToField" | "as" | "depthField" => {
                text(name, value).map(drop)?
            }
            "startWith" => expression::check(value)?,
            "maxDepth" => super::shape::number(name, value)?,
            "restrictSearchWithMatch" => filter::check(document(name, value)?)?,
            _ => return Err(no_option(stage, name)),
        }
    }
    match get(argument, "from")? {
        Some(_) => Ok(()),
        None => Err(wrong(stage, "given `from`")),
    }
}

/// `"name"`, or `{coll, pipeline, db}`.
fn union_with(scope: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    let Some(argument) = argument.as_document() else {
        return source(scope, stage, argument);
    };
    if let Some(collection) = get(argument, "coll")? {
        let collection = text("coll", collection)?;
        let database = get(argument, "db")?.map(|db| text("db", db)).transpose()?;
        scope.touch_in(database, collection, Action::Find)?;
    } else {
        from_documents(stage, argument)?;
    }
    for field in fields(argument) {
        let (name, value) = field?;
        match name {
            "coll" | "db" => {}
            "pipeline" => check(scope, name, value)?,
            _ => return Err(no_option(stage, name)),
        }
    }
    Ok(())
}

/// A collection that is read: `"name"` or `{db, coll}`.
fn source(scope: &mut Scope<'_>, what: &str, value: RawBsonRef<'_>) -> Result<()> {
    let (database, collection) = namespace(what, value)?;
    scope.touch_in(database, collection, Action::Find)
}

pub(super) fn namespace<'a>(
    what: &str,
    value: RawBsonRef<'a>,
) -> Result<(Option<&'a str>, &'a str)> {
    let Some(pair) = value.as_document() else {
        return Ok((None, text(what, value)?));
    };
    let mut database = None;
    let mut collection = None;
    for field in fields(pair) {
        let (name, value) = field?;
        match name {
            "db" => database = Some(text(name, value)?),
            "coll" => collection = Some(text(name, value)?),
            _ => return Err(no_option(what, name)),
        }
    }
    let collection = collection.ok_or_else(|| wrong(what, "given `coll`"))?;
    Ok((database, collection))
}

fn window(_: &mut Scope<'_>, stage: &str, argument: RawBsonRef<'_>) -> Result<()> {
    for field in fields(document(stage, argument)?) {
        let (name, value) = field?;
        match name {
            "partitionBy" => expression::check(value)?,
            "sortBy" => filter::sort(document(name, value)?)?,
            "output" => {
                for field in fields(document(name, value)?) {
                    let (path, output) = field?;
                    window_output(document(path, output)?)?;
                }
            }
            _ => return Err(no_option(stage, name)),
        }
    }
    Ok(())
}

/// `{operator: argument, window: {…}}`, the one place where an operator has a field beside it.
fn window_output(output: &RawDocument) -> Result<()> {
    for field in fields(output) {
        let (name, value) = field?;
        if name == "window" {
            for field in fields(document(name, value)?) {
                let (bound, _) = field?;
                if !matches!(bound, "documents" | "range" | "unit") {
                    return Err(no_option(name, bound));
                }
            }
        } else {
            expression::named(name)?;
            expression::check(value)?;
        }
    }
    Ok(())
}

pub(super) fn no_option(what: &str, name: &str) -> Refusal {
    Refusal::Forbidden(format!(
        "`{}` has no option `{}` that is known here",
        shown(what),
        shown(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_sorted() {
        assert!(STAGES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
