//! Aggregations: every collection with rules is read through its view, at the start and wherever a stage names it.

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use super::view::Collection;
use super::{Command, Result, filter, is_true, key, top};

pub(super) fn aggregate(command: &Command<'_>) -> Result<RawDocumentBuf> {
    if !command.rules.tables.iter().any(|(_, rules)| rules.hides()) {
        return Ok(command.document.to_owned());
    }
    let mut restricted = RawDocumentBuf::new();
    restricted.append(key("aggregate"), command.target);
    for option in command.options() {
        let (name, value) = option?;
        command.not_around(name.as_str())?;
        match name.as_str() {
            "explain" if is_true(value) => {
                let reason = "`explain` would tell of rows and fields that the role may not see";
                return Err(command.forbid(reason));
            }
            "pipeline" => {
                let target = command.target().filter(Collection::hides);
                let stages = pipeline(command, target.as_ref(), value)?;
                restricted.append(name, stages);
            }
            _ => restricted.append(name, value),
        }
    }
    Ok(restricted)
}

/// A pipeline over a collection, which is `Some` where it has rules.
fn pipeline(
    command: &Command<'_>,
    on: Option<&Collection<'_>>,
    stages: RawBsonRef<'_>,
) -> Result<RawArrayBuf> {
    command.tells_nothing_else(stages)?;
    let stages = command.documents(stages)?;
    let mut restricted = match on {
        None => RawArrayBuf::new(),
        Some(collection) => {
            let first = stages.first().copied().map(|stage| single(command, stage));
            let matched = match first.transpose()? {
                Some(("$match", query)) => query.as_document(),
                Some(_) | None => None,
            };
            view(command, collection, matched)?
        }
    };
    for stage in stages {
        restricted.push(restrict_stage(command, stage)?);
    }
    Ok(restricted)
}

/// The stages before the caller's own; what they ask for by `asked` may be looked for at once.
pub(super) fn view(
    command: &Command<'_>,
    collection: &Collection<'_>,
    asked: Option<&RawDocument>,
) -> Result<RawArrayBuf> {
    let parts = match asked {
        Some(asked) => filter::open_parts(command, collection, asked)?,
        None => Vec::new(),
    };
    let also = parts
        .into_iter()
        .map(|part| bson::Document::try_from(part).map_err(|_| command.malformed()))
        .collect::<Result<Vec<_>>>()?;
    let stages = collection.stages(also);
    Ok(stages.iter().map(filter::raw).collect())
}

fn single<'d>(command: &Command<'_>, stage: &'d RawDocument) -> Result<(&'d str, RawBsonRef<'d>)> {
    let mut fields = command.fields(stage);
    match (fields.next().transpose()?, fields.next()) {
        (Some((name, argument)), None) => Ok((name.as_str(), argument)),
        (_, _) => Err(command.malformed()),
    }
}

fn restrict_stage(command: &Command<'_>, stage: &RawDocument) -> Result<RawDocumentBuf> {
    let (name, argument) = single(command, stage)?;
    let replaced = match name {
        "$lookup" => lookup(command, argument)?,
        "$unionWith" => union_with(command, argument)?,
        "$facet" => facet(command, argument)?,
        "$graphLookup" => {
            if let Some(from) = value(command, argument, "from")?
                && let Some(collection) = source(command, from)?
            {
                return Err(collection.forbid("`$graphLookup` cannot be used here: use `$lookup`"));
            }
            return Ok(stage.to_owned());
        }
        "$out" => {
            written(command, argument)?;
            return Ok(stage.to_owned());
        }
        "$merge" => {
            written(
                command,
                value(command, argument, "into")?.unwrap_or(argument),
            )?;
            return Ok(stage.to_owned());
        }
        _ => return Ok(stage.to_owned()),
    };
    let mut stage = RawDocumentBuf::new();
    stage.append(key(name), replaced);
    Ok(stage)
}

/// A member of a stage's argument, where that is a document and has it.
fn value<'d>(
    command: &Command<'_>,
    argument: RawBsonRef<'d>,
    member: &str,
) -> Result<Option<RawBsonRef<'d>>> {
    let Some(argument) = argument.as_document() else {
        return Ok(None);
    };
    for field in command.fields(argument) {
        let (name, value) = field?;
        if name.as_str() == member {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The rules of the collection that `"name"` or `{db, coll}` means.
fn source<'a>(command: &Command<'a>, named: RawBsonRef<'_>) -> Result<Option<Collection<'a>>> {
    let (database, name) = match named.as_str() {
        Some(name) => (None, name),
        None => {
            let text = |member| -> Result<Option<&str>> {
                let found = value(command, named, member)?;
                found
                    .map(|found| found.as_str().ok_or_else(|| command.malformed()))
                    .transpose()
            };
            let name = text("coll")?.ok_or_else(|| command.malformed())?;
            (text("db")?, name)
        }
    };
    Ok(command.collection(database, name).filter(Collection::hides))
}

/// Refuses to write the results of a pipeline into a collection with rules.
fn written(command: &Command<'_>, target: RawBsonRef<'_>) -> Result<()> {
    match source(command, target)? {
        Some(collection) => Err(collection.forbid(
            "the results of a pipeline cannot be written there: send `insert` or `update`",
        )),
        None => Ok(()),
    }
}

/// The join on `foreignField` is made before the pipeline, on the documents as they are.
fn lookup(command: &Command<'_>, argument: RawBsonRef<'_>) -> Result<RawDocumentBuf> {
    let collection = match value(command, argument, "from")? {
        Some(from) => source(command, from)?,
        None => None,
    };
    if let Some(collection) = &collection
        && let Some(field) = value(command, argument, "foreignField")?
    {
        let path = field.as_str().ok_or_else(|| command.malformed())?;
        if !collection.is_open(top(path)) {
            return Err(filter::closed(collection, top(path)));
        }
    }
    with_pipeline(command, argument, collection.as_ref())
}

fn union_with(command: &Command<'_>, argument: RawBsonRef<'_>) -> Result<RawDocumentBuf> {
    let mut plain = RawDocumentBuf::new();
    let argument = match argument.as_str() {
        Some(name) => {
            plain.append(key("coll"), name);
            RawBsonRef::Document(&plain)
        }
        None => argument,
    };
    let collection = match value(command, argument, "coll")? {
        Some(_) => source(command, argument)?,
        None => None,
    };
    with_pipeline(command, argument, collection.as_ref())
}

/// A stage's argument, whose pipeline begins with the view of the collection that it reads.
fn with_pipeline(
    command: &Command<'_>,
    argument: RawBsonRef<'_>,
    collection: Option<&Collection<'_>>,
) -> Result<RawDocumentBuf> {
    let mut restricted = RawDocumentBuf::new();
    let mut has_pipeline = false;
    for field in command.fields(command.as_document(argument)?) {
        let (name, value) = field?;
        if name.as_str() == "pipeline" {
            has_pipeline = true;
            restricted.append(name, pipeline(command, collection, value)?);
        } else {
            restricted.append(name, value);
        }
    }
    if let (false, Some(collection)) = (has_pipeline, collection) {
        restricted.append(key("pipeline"), view(command, collection, None)?);
    }
    Ok(restricted)
}

fn facet(command: &Command<'_>, argument: RawBsonRef<'_>) -> Result<RawDocumentBuf> {
    let mut restricted = RawDocumentBuf::new();
    for field in command.fields(command.as_document(argument)?) {
        let (name, stages) = field?;
        restricted.append(name, pipeline(command, None, stages)?);
    }
    Ok(restricted)
}
