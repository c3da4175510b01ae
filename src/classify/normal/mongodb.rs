//! MongoDB: names of commands, options, stages, operators, fields and collections, each only where it stands for one.
//!
//! A document that may be data is `?`, its keys included: what is inserted, a replacement, a value compared with.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::classify::mongodb::{DEPTH_MAX, is_command_classified, names_collection};

/// What a value is for, which decides whether its names are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A whole command.
    Command,
    /// An entry of `updates`, `ops`, `indexes` and the like.
    Options,
    Filter,
    /// What a filter asks of one field.
    Condition,
    /// An update's operators; a replacement is data.
    Update,
    /// Fields, each with a value or an expression.
    Fields,
    /// An expression's operators.
    Expression,
    /// What an operator takes: expressions by position, or by name.
    Arguments,
    Stages,
    Stage,
    /// A stage's own options, of which some name a collection.
    Place,
    /// Names, each with a pipeline.
    Pipelines,
    /// The name of a collection.
    Name,
    Value,
}

/// Named arguments of operators; a document with another key is a value.
const ARGUMENTS: [&str; 44] = [
    "amount",
    "as",
    "binSize",
    "branches",
    "case",
    "chars",
    "cond",
    "date",
    "dateString",
    "default",
    "else",
    "endDate",
    "field",
    "find",
    "format",
    "if",
    "in",
    "initialValue",
    "input",
    "limit",
    "n",
    "newRoot",
    "onError",
    "onNull",
    "options",
    "output",
    "p",
    "method",
    "regex",
    "replacement",
    "size",
    "sortBy",
    "startDate",
    "startOfWeek",
    "then",
    "timezone",
    "to",
    "unit",
    "useLongestLength",
    "value",
    "inputs",
    "defaults",
    "coll",
    "vars",
];

/// Tells a command; nothing where its bytes are no BSON, or nest too deeply.
pub(super) fn text(document: &[u8]) -> Option<String> {
    let mut teller = Teller::default();
    teller.document(RawDocument::from_bytes(document).ok()?, Shape::Command, 1)?;
    Some(teller.text)
}

#[derive(Default)]
struct Teller {
    text: String,
}

impl Teller {
    fn value(&mut self, value: RawBsonRef<'_>, shape: Shape, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(document) = value.as_document()
            && shows(shape, document)?
        {
            return self.document(document, shape, depth);
        }
        if let Some(array) = value.as_array() {
            return self.array(array, shape, depth);
        }
        match value.as_str() {
            Some(name) if matches!(shape, Shape::Name | Shape::Place) => self.name(name),
            Some(_) | None => self.text.push('?'),
        }
        Some(())
    }

    fn document(&mut self, document: &RawDocument, shape: Shape, depth: usize) -> Option<()> {
        self.text.push('{');
        for (index, field) in document.iter().enumerate() {
            let (key, value) = field.ok()?;
            let key = key.as_str();
            if index > 0 {
                self.text.push_str(", ");
            }
            let is_command = shape == Shape::Command && index == 0;
            if is_command && !is_command_classified(key) {
                self.text.push('?');
            } else {
                self.name(key);
            }
            self.text.push_str(": ");
            let inner = if is_command {
                first(key)
            } else {
                inner(shape, key)
            };
            self.value(value, inner, depth + 1)?;
        }
        self.text.push('}');
        Some(())
    }

    /// An array: elements that are told alike stand once.
    fn array(&mut self, array: &RawArray, shape: Shape, depth: usize) -> Option<()> {
        let of_elements = match shape {
            Shape::Stages | Shape::Update => Shape::Stage,
            Shape::Fields => Shape::Expression,
            Shape::Command
            | Shape::Options
            | Shape::Filter
            | Shape::Condition
            | Shape::Expression
            | Shape::Arguments
            | Shape::Stage
            | Shape::Place
            | Shape::Pipelines
            | Shape::Name
            | Shape::Value => shape,
        };
        let is_positional = matches!(shape, Shape::Fields | Shape::Expression | Shape::Arguments);
        self.text.push('[');
        let mut before: Option<std::ops::Range<usize>> = None;
        let mut is_more = false;
        for element in array {
            let comma = self.text.len();
            if before.is_some() {
                self.text.push_str(", ");
            }
            let start = self.text.len();
            self.value(element.ok()?, of_elements, depth + 1)?;
            let told = self.text.get(start..);
            let is_repeated = of_elements != Shape::Stage
                && before
                    .clone()
                    .is_some_and(|before| self.text.get(before) == told);
            if is_repeated {
                self.text.truncate(comma);
            } else {
                before = Some(start..self.text.len());
                is_more = false;
            }
            let says_more = is_repeated || !is_positional && of_elements != Shape::Stage;
            if says_more && !is_more {
                self.text.push_str(", …");
                is_more = true;
            }
        }
        self.text.push(']');
        Some(())
    }

    /// A name, in quotes where it could be taken for something else.
    fn name(&mut self, name: &str) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$-".contains(&byte);
        if !name.is_empty() && name.bytes().all(is_plain) {
            self.text.push_str(name);
        } else {
            self.text.push('"');
            self.text.extend(name.escape_debug());
            self.text.push('"');
        }
    }
}

/// Whether a document's keys are names.
fn shows(shape: Shape, document: &RawDocument) -> Option<bool> {
    let first = document.iter().next().transpose().ok()?;
    let has_operators = first.is_some_and(|(key, _)| key.as_str().starts_with('$'));
    Some(match shape {
        Shape::Command
        | Shape::Options
        | Shape::Filter
        | Shape::Fields
        | Shape::Stage
        | Shape::Place
        | Shape::Pipelines => true,
        Shape::Condition | Shape::Update | Shape::Expression => has_operators,
        Shape::Arguments => {
            has_operators
                || document
                    .iter()
                    .all(|field| field.is_ok_and(|(key, _)| ARGUMENTS.contains(&key.as_str())))
        }
        Shape::Stages | Shape::Name | Shape::Value => false,
    })
}

/// What the value of a command's own name is for.
fn first(command: &str) -> Shape {
    if names_collection(command) {
        Shape::Name
    } else if command == "explain" {
        Shape::Command
    } else {
        Shape::Value
    }
}

/// What a key's value is for, within a document of this shape.
fn inner(shape: Shape, key: &str) -> Shape {
    match shape {
        Shape::Command | Shape::Options => option(key),
        Shape::Filter => match key {
            "$and" | "$or" | "$nor" => Shape::Filter,
            "$expr" => Shape::Expression,
            _ if key.starts_with('$') => Shape::Value,
            _ => Shape::Condition,
        },
        Shape::Condition => match key {
            "$not" => Shape::Condition,
            "$elemMatch" => Shape::Filter,
            _ => Shape::Value,
        },
        Shape::Update => Shape::Fields,
        Shape::Fields => Shape::Expression,
        Shape::Expression | Shape::Arguments => match key {
            "$literal" | "$const" => Shape::Value,
            _ => Shape::Arguments,
        },
        Shape::Stage => match key {
            "$match" => Shape::Filter,
            "$lookup" | "$graphLookup" | "$unionWith" | "$merge" | "$out" => Shape::Place,
            "$facet" => Shape::Pipelines,
            "$documents" => Shape::Value,
            "$replaceWith" | "$redact" | "$sortByCount" | "$unset" | "$unwind" => Shape::Expression,
            _ => Shape::Fields,
        },
        Shape::Place => match key {
            "from" | "coll" | "db" | "into" => Shape::Place,
            "pipeline" | "whenMatched" => Shape::Stages,
            "let" => Shape::Fields,
            "restrictSearchWithMatch" => Shape::Filter,
            _ => Shape::Value,
        },
        Shape::Pipelines => Shape::Stages,
        Shape::Stages | Shape::Name | Shape::Value => Shape::Value,
    }
}

fn option(key: &str) -> Shape {
    match key {
        "filter" | "query" | "q" | "arrayFilters" => Shape::Filter,
        "pipeline" => Shape::Stages,
        "sort" | "projection" | "fields" | "key" | "hint" | "let" | "c" | "constants"
        | "cursor" => Shape::Fields,
        "u" | "update" | "updateMods" => Shape::Update,
        "updates" | "deletes" | "ops" | "indexes" | "nsInfo" => Shape::Options,
        "collection" | "ns" | "viewOn" => Shape::Name,
        _ => Shape::Value,
    }
}
