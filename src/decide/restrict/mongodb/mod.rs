//! MongoDB: commands that keep field rules and row filters.
//!
//! A read of a collection with rules becomes an aggregation that begins with stages of our own (see [`view`]): they
//! leave the rows that the caller may see, and of these the fields, masked; whatever the caller's own stages do, they
//! do to that. `count` and `distinct`, whose replies have a form of their own, keep theirs, and their filters may
//! name nothing but open fields, in ways that cannot fail. So it is with writes: the rows' condition stands beside
//! their filter, and what is written must meet it.
//!
//! Fields are those at the top of a document. Some options reach around all of this (`collation` changes what is
//! equal, `hint`, `min` and `max` use an index' keys, `explain` counts): they are refused.

mod condition;
mod filter;
mod find;
mod pipeline;
mod update;
mod view;
mod write;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;

use bson::raw::{CStr, CString, RawArray, RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use super::{Forbidden, Restrictions};
use crate::operation::Object;
use view::Collection;

type Result<T> = std::result::Result<T, Forbidden>;

/// Options that would reach around the rules.
const AROUND: [&str; 6] = [
    "collation",
    "hint",
    "max",
    "min",
    "returnKey",
    "showRecordId",
];

/// Rewrites one command document (without `$db`, to run in `database`) so that it keeps the rules.
pub fn restrict(document: &[u8], database: &str, rules: &Restrictions<'_>) -> Result<Vec<u8>> {
    let command = Command::read(document, database, rules)?;
    let restricted = match command.name {
        "getMore" | "killCursors" => Ok(command.document.to_owned()),
        "find" => find::find(&command),
        "aggregate" => pipeline::aggregate(&command),
        "count" => find::count(&command),
        "distinct" => find::distinct(&command),
        "insert" => write::insert(&command),
        "update" => write::update(&command),
        "delete" => write::delete(&command),
        "findAndModify" | "findandmodify" => write::find_and_modify(&command),
        "bulkWrite" => Err(command
            .forbid("`bulkWrite` is not rewritten: send `insert`, `update` and `delete` instead")),
        "explain" => {
            Err(command.forbid("`explain` would tell of rows and fields that the role may not see"))
        }
        _ => {
            Err(command.forbid("this command cannot be made to keep the rules of its collections"))
        }
    };
    restricted.map(RawDocumentBuf::into_bytes)
}

/// A command, and the rules of what it touches.
struct Command<'a> {
    document: &'a RawDocument,
    name: &'a str,
    /// The value of its first key.
    target: RawBsonRef<'a>,
    database: &'a str,
    rules: &'a Restrictions<'a>,
}

impl<'a> Command<'a> {
    fn read(document: &'a [u8], database: &'a str, rules: &'a Restrictions<'a>) -> Result<Self> {
        let malformed = |_| forbid(rules, "the command is not valid BSON");
        let document = RawDocument::from_bytes(document).map_err(malformed)?;
        let first = document.iter().next().transpose().map_err(malformed)?;
        let (name, target) = first.ok_or_else(|| forbid(rules, "the command is empty"))?;
        Ok(Self {
            document,
            name: name.as_str(),
            target,
            database,
            rules,
        })
    }

    /// The rules of a collection; `None` where it has none.
    fn collection(&self, database: Option<&str>, name: &str) -> Option<Collection<'a>> {
        let database = database.unwrap_or(self.database);
        let is_meant = |object: &Object| match object {
            Object::Named {
                namespace,
                name: own,
            } => {
                let namespace = namespace.as_deref();
                own == name && namespace.unwrap_or(self.rules.default_namespace) == database
            }
            Object::Key(_) | Object::Keys(_) => false,
        };
        let mut all = self.rules.tables.iter();
        let (object, rules) = all.find(|(object, _)| is_meant(object))?;
        Some(Collection::new(object, rules, self.rules.caller))
    }

    /// The rules of the collection that the command itself names.
    fn target(&self) -> Option<Collection<'a>> {
        self.collection(None, self.target.as_str()?)
    }

    /// The rules of the collection that the command itself names, where no other can have some.
    fn only_target(&self) -> Result<Collection<'a>> {
        self.target().ok_or_else(|| {
            self.forbid("a collection with rules is touched that the command does not name")
        })
    }

    fn forbid(&self, reason: &str) -> Forbidden {
        forbid(self.rules, reason)
    }

    fn malformed(&self) -> Forbidden {
        self.forbid(
            "the command is not of a form that can be made to keep the rules of its collections",
        )
    }

    /// Every field but the first.
    fn options(&self) -> impl Iterator<Item = Result<(&'a CStr, RawBsonRef<'a>)>> {
        self.fields(self.document).skip(1)
    }

    fn fields<'d>(
        &self,
        document: &'d RawDocument,
    ) -> impl Iterator<Item = Result<(&'d CStr, RawBsonRef<'d>)>> {
        document
            .iter()
            .map(|field| field.map_err(|_| self.malformed()))
    }

    fn elements<'d>(&self, array: &'d RawArray) -> impl Iterator<Item = Result<RawBsonRef<'d>>> {
        array
            .into_iter()
            .map(|element| element.map_err(|_| self.malformed()))
    }

    fn as_document<'d>(&self, value: RawBsonRef<'d>) -> Result<&'d RawDocument> {
        value.as_document().ok_or_else(|| self.malformed())
    }

    fn as_array<'d>(&self, value: RawBsonRef<'d>) -> Result<&'d RawArray> {
        value.as_array().ok_or_else(|| self.malformed())
    }

    /// The documents of an array.
    fn documents<'d>(&self, value: RawBsonRef<'d>) -> Result<Vec<&'d RawDocument>> {
        let elements = self.elements(self.as_array(value)?);
        elements.map(|element| self.as_document(element?)).collect()
    }

    /// Refuses an option that would reach around the rules.
    fn not_around(&self, option: &str) -> Result<()> {
        if AROUND.contains(&option) {
            return Err(self.forbid(&format!(
                "`{option}` would reach around the rules of the collection: leave it out"
            )));
        }
        Ok(())
    }

    /// Refuses what tells of an index' keys or of a search, however deep it stands.
    fn tells_nothing_else(&self, value: RawBsonRef<'_>) -> Result<()> {
        if let Some(array) = value.as_array() {
            for element in self.elements(array) {
                self.tells_nothing_else(element?)?;
            }
        }
        if let Some(document) = value.as_document() {
            for field in self.fields(document) {
                let (key, value) = field?;
                if matches!(
                    key.as_str(),
                    "$meta" | "$text" | "$near" | "$nearSphere" | "$geoNear" | "$natural"
                ) {
                    let key = key.as_str();
                    let reason = format!("`{key}` cannot be used on a collection with rules");
                    return Err(self.forbid(&reason));
                }
                self.tells_nothing_else(value)?;
            }
        }
        Ok(())
    }
}

fn forbid(rules: &Restrictions<'_>, reason: &str) -> Forbidden {
    let objects = rules.tables.iter().map(|(object, _)| (*object).clone());
    Forbidden {
        objects: objects.collect(),
        reason: reason.to_owned(),
    }
}

/// A key of a document that is made here. One with a NUL byte cannot be, and the policy has none.
fn key(name: &str) -> CString {
    CString::try_from(name.to_owned()).unwrap_or_else(|_| cstr!("").to_owned())
}

/// The first part of a path: the field at the top of the document.
fn top(path: &str) -> &str {
    path.split_once('.').map_or(path, |(top, _)| top)
}

/// As servers read an option's value.
fn is_true(value: RawBsonRef<'_>) -> bool {
    let is_false = matches!(
        value,
        RawBsonRef::Boolean(false)
            | RawBsonRef::Int32(0)
            | RawBsonRef::Int64(0)
            | RawBsonRef::Null
            | RawBsonRef::Undefined
    );
    !is_false && value.as_f64() != Some(0.0)
}
