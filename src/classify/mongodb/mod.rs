//! MongoDB command documents.
//!
//! A command is read from its bytes, never through a map: its first key is its name, every other key must be an
//! option that is known for it, every stage and operator is known by name, and a repeated key refuses the whole.
//! What a stage reads from or writes to is recorded with its database. A view is an object of its own name here;
//! [`Views`] says what it reads besides, which only the server's catalogue knows.

mod commands;
mod expression;
mod filter;
mod names;
mod never;
mod outputs;
mod pipeline;
mod reads;
mod schema;
mod shape;
mod structure;
mod update;
mod views;
mod writes;

use bson::raw::{RawDocument, RawDocumentBuf};

use super::{Refusal, Result, Session};
use crate::operation::{Action, Classification, Object};
use commands::Target;
pub use structure::{COMMAND_BYTES_MAX, DEPTH_MAX};
use structure::{Field, fields, shown, text};
pub use views::Views;

/// Classifies one command document (BSON bytes). `database` is where it will run, unless the document's own
/// `$db` says otherwise.
pub fn classify(document: &[u8], database: &str, session: Session) -> Result {
    let document = structure::read(document)?;
    let database = match structure::get(document, "$db")? {
        Some(named) => text("$db", named)?,
        None => database,
    };
    let mut scope = Scope {
        database,
        session,
        target: None,
        classification: Classification::default(),
    };
    command(&mut scope, document)?;
    Ok(scope.classification.finish())
}

/// The database a command names itself (`$db`), and the document without it, which is what runs.
pub fn without_database(document: &[u8]) -> Result<(Option<String>, Vec<u8>)> {
    let raw = structure::read(document)?;
    let not_bson = |error| Refusal::Unparsable(format!("the command is not valid BSON: {error}"));
    let mut database = None;
    if raw.get("$db").map_err(not_bson)?.is_none() {
        return Ok((database, document.to_vec()));
    }
    let mut rest = RawDocumentBuf::new();
    for field in raw {
        let (key, value) = field.map_err(not_bson)?;
        if key.as_str() == "$db" {
            database = Some(text("$db", value)?.to_owned());
        } else {
            rest.append(key, value);
        }
    }
    Ok((database, rest.into_bytes()))
}

/// Whether a command of a live server (`listCommands`) is understood or refused by name.
pub fn is_command_classified(name: &str) -> bool {
    commands::find(name).is_some() || never::why(name).is_some()
}

/// Whether the value of a command's own name is that of a collection.
pub fn names_collection(name: &str) -> bool {
    commands::names_collection(name)
}

/// Whether an aggregation stage is understood or refused by name.
pub fn is_stage_classified(name: &str) -> bool {
    pipeline::knows(name)
}

/// Whether an operator (of expressions, filters or updates) is understood or refused by name.
pub fn is_operator_classified(name: &str) -> bool {
    [
        names::EXPRESSIONS,
        names::EXPRESSIONS_NEVER,
        names::FILTERS,
        names::FILTERS_NEVER,
        names::PREDICATES,
        names::PREDICATES_NESTED,
        names::UPDATES,
    ]
    .into_iter()
    .any(|list| list.contains(&name))
        // The servers' own; none is ever understood.
        || name.starts_with("$_")
}

/// What is gathered while a command is read.
struct Scope<'a> {
    database: &'a str,
    session: Session,
    /// The collection that the command itself names.
    target: Option<String>,
    classification: Classification,
}

impl Scope<'_> {
    fn database(&self) -> &str {
        self.database
    }

    fn touch(&mut self, collection: &str, action: Action) -> Result<()> {
        self.touch_in(None, collection, action)
    }

    fn touch_in(&mut self, database: Option<&str>, collection: &str, action: Action) -> Result<()> {
        let database = database.unwrap_or(self.database);
        for name in [database, collection] {
            if name.is_empty() || name.contains('\0') {
                return Err(Refusal::Unparsable(
                    "a database or collection has an empty name, or one with a NUL byte".to_owned(),
                ));
            }
        }
        self.classification
            .touch(Object::named(Some(database), collection), action);
        Ok(())
    }

    fn touch_target(&mut self, action: Action) -> Result<()> {
        match self.target.clone() {
            Some(target) => self.touch(&target, action),
            None => Err(Refusal::Unparsable(
                "the command names no collection".to_owned(),
            )),
        }
    }

    fn cursor(&mut self, id: i64) {
        self.classification.cursors.push(id);
    }
}

/// Reads one command: its name, what that touches, and every option.
fn command(scope: &mut Scope<'_>, document: &RawDocument) -> Result<()> {
    let mut all = fields(document);
    let (name, value) = all.next().transpose()?.ok_or_else(|| {
        Refusal::Unparsable("the command is empty: its first key is its name".to_owned())
    })?;
    let Some(command) = commands::find(name) else {
        return Err(Refusal::Forbidden(match never::why(name) {
            Some(why) => format!("`{name}` {why}"),
            None => format!("`{}` is not a command that is known here", shown(name)),
        }));
    };
    if command.own && scope.session == Session::Shared {
        return Err(Refusal::Forbidden(format!(
            "`{name}` needs a connection of its own: Bulkhead sets its connections up itself"
        )));
    }
    match command.target {
        Target::Collection(actions) => {
            let collection = text(name, value)?;
            for action in actions {
                scope.touch(collection, *action)?;
            }
            scope.target = Some(collection.to_owned());
        }
        Target::Special(read) => read(scope, name, value, document)?,
        Target::Nothing => {}
    }
    apply(scope, name, command.options, all)
}

/// Checks options against those that are known.
fn apply<'a>(
    scope: &mut Scope<'_>,
    what: &str,
    options: &[(&str, shape::Check)],
    given: impl Iterator<Item = Result<Field<'a>>>,
) -> Result<()> {
    let shared: &[(&str, shape::Check)] = if matches!(what, "updates" | "deletes" | "ops") {
        &[]
    } else {
        shape::EVERYWHERE
    };
    for field in given {
        let (name, value) = field?;
        let check = options
            .iter()
            .chain(shared)
            .find(|(option, _)| *option == name)
            .map(|(_, check)| *check)
            .ok_or_else(|| {
                Refusal::Forbidden(format!(
                    "`{what}` has no option `{}` that is known here",
                    shown(name)
                ))
            })?;
        check(scope, name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
