//! `find`, which becomes an aggregation; `count` and `distinct`, which keep their own form.

use bson::raw::{CStr, RawBsonRef, RawDocument, RawDocumentBuf};

use super::pipeline::view;
use super::{Command, Result, filter, is_true, key, top};

/// How many documents the first batch of a `find` has at most where it does not say.
const FIRST_BATCH: i64 = 101;

/// What a `find` asks for, beside what goes along unchanged.
#[derive(Default)]
struct Find<'d> {
    filter: Option<&'d RawDocument>,
    projection: Option<&'d RawDocument>,
    sort: Option<&'d RawDocument>,
    skip: i64,
    limit: i64,
    batch: Option<i64>,
    is_single: bool,
    /// Options that an aggregation has, too.
    same: Vec<(&'d CStr, RawBsonRef<'d>)>,
}

pub(super) fn find(command: &Command<'_>) -> Result<RawDocumentBuf> {
    let collection = command.only_target()?;
    if !collection.hides() {
        return Ok(command.document.to_owned());
    }
    let mut asked = read(command)?;
    if asked.is_single {
        // One batch that holds everything has room for one more, so that no cursor is left open.
        if asked.limit == 0 {
            asked.limit = asked.batch.unwrap_or(FIRST_BATCH);
        }
        asked.batch = Some(asked.limit.saturating_add(1));
    }
    let mut stages = view(command, &collection, asked.filter)?;
    let mut stage = |name: &str, argument: Option<&RawDocument>| {
        if let Some(argument) = argument.filter(|argument| argument.iter().next().is_some()) {
            let mut stage = RawDocumentBuf::new();
            stage.append(key(name), argument.to_owned());
            stages.push(stage);
        }
    };
    stage("$match", asked.filter);
    stage("$sort", asked.sort);
    for (name, count) in [("$skip", asked.skip), ("$limit", asked.limit)] {
        if count > 0 {
            let mut stage = RawDocumentBuf::new();
            stage.append(key(name), count);
            stages.push(stage);
        }
    }
    if let Some(projection) = asked
        .projection
        .filter(|fields| fields.iter().next().is_some())
    {
        let mut stage = RawDocumentBuf::new();
        stage.append(key("$project"), projection.to_owned());
        stages.push(stage);
    }
    let mut aggregate = RawDocumentBuf::new();
    aggregate.append(key("aggregate"), command.target);
    aggregate.append(key("pipeline"), stages);
    let mut cursor = RawDocumentBuf::new();
    if let Some(batch) = asked.batch {
        cursor.append(key("batchSize"), batch);
    }
    aggregate.append(key("cursor"), cursor);
    for (name, value) in asked.same {
        aggregate.append(name, value);
    }
    Ok(aggregate)
}

fn read<'d>(command: &Command<'d>) -> Result<Find<'d>> {
    let mut asked = Find::default();
    for option in command.options() {
        let (name, value) = option?;
        match name.as_str() {
            "filter" => {
                command.tells_nothing_else(value)?;
                asked.filter = Some(command.as_document(value)?);
            }
            "projection" => {
                let fields = command.as_document(value)?;
                projection(command, fields)?;
                asked.projection = Some(fields);
            }
            "sort" => {
                command.tells_nothing_else(value)?;
                asked.sort = Some(command.as_document(value)?);
            }
            "skip" => asked.skip = whole(command, "skip", value)?,
            "limit" => asked.limit = whole(command, "limit", value)?,
            "batchSize" => asked.batch = Some(whole(command, "batchSize", value)?),
            "singleBatch" => asked.is_single = is_true(value),
            // What a driver says by habit; they do nothing where they are false.
            "returnKey"
            | "showRecordId"
            | "tailable"
            | "awaitData"
            | "noCursorTimeout"
            | "allowPartialResults"
            | "oplogReplay"
                if !is_true(value) => {}
            "let"
            | "allowDiskUse"
            | "comment"
            | "maxTimeMS"
            | "readConcern"
            | "lsid"
            | "$clusterTime"
            | "$readPreference"
            | "apiVersion"
            | "apiStrict"
            | "apiDeprecationErrors" => asked.same.push((name, value)),
            other => {
                command.not_around(other)?;
                let reason =
                    format!("`{other}` cannot be used on a collection with rules: leave it out");
                return Err(command.forbid(&reason));
            }
        }
    }
    Ok(asked)
}

/// What a projection of `find` means that a `$project` stage does not, or not in the same way.
fn projection(command: &Command<'_>, fields: &RawDocument) -> Result<()> {
    for field in command.fields(fields) {
        let (path, value) = field?;
        command.tells_nothing_else(value)?;
        let is_positional = path.as_str().split('.').any(|part| part == "$");
        let operator = value
            .as_document()
            .and_then(|value| value.iter().next()?.ok())
            .map(|(operator, _)| operator.as_str());
        if is_positional || matches!(operator, Some("$slice" | "$elemMatch")) {
            let reason = "positional projections, `$slice` and `$elemMatch` cannot be used on a collection with rules: \
                          use `aggregate` with `$filter` or `$slice` in a `$project`";
            return Err(command.forbid(reason));
        }
    }
    Ok(())
}

/// A whole number that is not negative, in whatever type it stands.
fn whole(command: &Command<'_>, name: &str, value: RawBsonRef<'_>) -> Result<i64> {
    // In range and whole, where it is taken from a double.
    let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX);
    let double = value.as_f64().filter(is_whole).map(|number| number as i64);
    let number = value.as_i64().or(value.as_i32().map(i64::from)).or(double);
    number.filter(|number| *number >= 0).ok_or_else(|| {
        command.forbid(&format!(
            "`{name}` must be a whole number, 0 or more, on a collection with rules"
        ))
    })
}

/// `{count, query, …}`.
pub(super) fn count(command: &Command<'_>) -> Result<RawDocumentBuf> {
    filtered(command, |_| Ok(()))
}

/// `{distinct, key, query, …}`, of an open field.
pub(super) fn distinct(command: &Command<'_>) -> Result<RawDocumentBuf> {
    filtered(command, |path| {
        let collection = command.only_target()?;
        if collection.is_open(top(path)) {
            Ok(())
        } else {
            Err(filter::closed(&collection, top(path)))
        }
    })
}

fn filtered(
    command: &Command<'_>,
    may_name: impl Fn(&str) -> Result<()>,
) -> Result<RawDocumentBuf> {
    let collection = command.only_target()?;
    if !collection.hides() {
        return Ok(command.document.to_owned());
    }
    let mut restricted = RawDocumentBuf::new();
    restricted.append(key(command.name), command.target);
    let empty = RawDocumentBuf::new();
    let mut query: &RawDocument = &empty;
    for option in command.options() {
        let (name, value) = option?;
        command.not_around(name.as_str())?;
        match name.as_str() {
            "query" if matches!(value, RawBsonRef::Null) => {}
            "query" => query = command.as_document(value)?,
            "key" => {
                may_name(value.as_str().ok_or_else(|| command.malformed())?)?;
                restricted.append(name, value);
            }
            // `count` takes it and does nothing with it.
            "fields" => {}
            _ => restricted.append(name, value),
        }
    }
    filter::check(command, &collection, query)?;
    restricted.append(key("query"), filter::restricted(&collection, query));
    Ok(restricted)
}
