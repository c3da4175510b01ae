//! What the caller may see of a collection, as stages before any of the caller's own.

use bson::{Bson, Document, doc};

use super::condition;
use crate::authenticate::Principal;
use crate::decide::restrict::Forbidden;
use crate::decide::rules::{Mask, TableRules};
use crate::operation::Object;

/// More documents than there can be: the greatest whole number that a double holds.
///
/// No server moves a later stage across a `$limit`, since that would change what comes out. So it keeps the caller's
/// stages away from rows that the caller may not see: a `$match` of theirs that was merged with ours could fail on
/// such a row, or not, and tell of it.
const EVERY_DOCUMENT: i64 = 9_007_199_254_740_991;

/// Longest value of which a partial mask shows nothing.
const PARTIAL_CHARACTERS_MIN: i32 = 8;

/// How many characters a partial mask shows.
const PARTIAL_CHARACTERS: i32 = 4;

/// A collection with rules.
pub(super) struct Collection<'a> {
    object: &'a Object,
    rules: &'a TableRules,
    caller: &'a Principal,
}

impl<'a> Collection<'a> {
    pub(super) const fn new(
        object: &'a Object,
        rules: &'a TableRules,
        caller: &'a Principal,
    ) -> Self {
        Self {
            object,
            rules,
            caller,
        }
    }

    pub(super) const fn rules(&self) -> &'a TableRules {
        self.rules
    }

    pub(super) const fn caller(&self) -> &'a Principal {
        self.caller
    }

    /// Whether what is read differs from what is stored.
    pub(super) fn hides(&self) -> bool {
        self.rules.hides()
    }

    pub(super) const fn filters_rows(&self) -> bool {
        !self.rules.rows.is_empty()
    }

    /// Whether some field is hidden or masked.
    pub(super) fn hides_fields(&self) -> bool {
        self.rules.columns.is_some()
            || !self.rules.denied.is_empty()
            || !self.rules.masked.is_empty()
    }

    /// Whether a field, by its name at the top of the document, is seen as it is.
    pub(super) fn is_open(&self, field: &str) -> bool {
        self.rules.may_name(field) && !self.rules.masked.contains_key(field)
    }

    /// Whether a row filter depends on the field.
    pub(super) fn is_filtered_by(&self, field: &str) -> bool {
        let mut columns = self.rules.rows.iter().flat_map(|rows| rows.columns());
        columns.any(|column| column == field)
    }

    /// The queries that the rows to be seen meet.
    pub(super) fn conditions(&self) -> Vec<Document> {
        let rows = self.rules.rows.iter();
        rows.map(|condition| condition::query(condition, false, self.caller))
            .collect()
    }

    /// The stages that leave what the caller may see. `also` are queries on open fields that cannot fail, which the
    /// caller asks for anyway: an index may serve them.
    pub(super) fn stages(&self, also: Vec<Document>) -> Vec<Document> {
        let mut stages = Vec::new();
        let mut queries = self.conditions();
        queries.extend(also);
        if !queries.is_empty() {
            stages.push(doc! {"$match": {"$and": queries}});
        }
        if self.filters_rows() {
            stages.push(doc! {"$limit": EVERY_DOCUMENT});
        }
        stages.extend(self.shown_fields());
        let masks: Document = (self.rules.masked.iter())
            .map(|(field, mask)| (field.to_string(), mask_of(field, *mask)))
            .collect();
        if !masks.is_empty() {
            stages.push(doc! {"$set": masks});
        }
        stages
    }

    /// The stage that leaves the fields which may be named.
    fn shown_fields(&self) -> Option<Document> {
        let Some(columns) = &self.rules.columns else {
            if self.rules.denied.is_empty() {
                return None;
            }
            let denied = self
                .rules
                .denied
                .iter()
                .map(|field| Bson::String(field.to_string()));
            return Some(doc! {"$unset": denied.collect::<Vec<Bson>>()});
        };
        let shown = columns.iter().filter(|field| self.rules.may_name(field));
        let mut fields: Document = shown
            .map(|field| (field.to_string(), Bson::Int32(1)))
            .collect();
        if fields.is_empty() {
            // A projection that names nothing to show would show everything else.
            return Some(doc! {"$replaceWith": {"$literal": {}}});
        }
        if !fields.contains_key("_id") {
            fields.insert("_id", 0);
        }
        Some(doc! {"$project": fields})
    }

    pub(super) fn forbid(&self, reason: &str) -> Forbidden {
        Forbidden {
            objects: vec![self.object.clone()],
            reason: format!("{reason} (`{}` has rules)", self.object),
        }
    }
}

/// What stands in the place of a field. `$$ROOT` cannot be bound to anything else, as `$$CURRENT` can, which a plain
/// `$field` stands for.
fn mask_of(field: &str, mask: Mask) -> Bson {
    match mask {
        // No policy has a hash here; it would show nothing.
        Mask::Null | Mask::Hash => doc! {"$literal": Bson::Null}.into(),
        Mask::Partial => partial(&format!("$$ROOT.{field}")).into(),
    }
}

/// `****`, and the last characters of a text or of what can be written as one; NULL and absence stay.
fn partial(value: &str) -> Document {
    let text = doc! {"$convert": {"input": value, "to": "string", "onError": "", "onNull": ""}};
    let length = doc! {"$strLenCP": text.clone()};
    let start = doc! {"$subtract": [length.clone(), PARTIAL_CHARACTERS]};
    let end = doc! {"$substrCP": [text, start, PARTIAL_CHARACTERS]};
    let is_absent = doc! {"$eq": [{"$type": value}, "missing"]};
    let is_null = doc! {"$in": [{"$type": value}, ["null", "undefined"]]};
    doc! {"$switch": {
        "branches": [
            {"case": is_absent, "then": "$$REMOVE"},
            {"case": is_null, "then": Bson::Null},
            {"case": {"$gt": [length, PARTIAL_CHARACTERS_MIN]}, "then": {"$concat": ["****", end]}},
        ],
        "default": "****",
    }}
}
