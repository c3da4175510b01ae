//! Command documents with something in them changed.

use bson::{Bson, Document, doc};

use super::chance::Chance;
use super::generate::collection;

const KEYS: [&str; 30] = [
    "from",
    "coll",
    "db",
    "into",
    "pipeline",
    "as",
    "let",
    "q",
    "u",
    "upsert",
    "multi",
    "query",
    "filter",
    "viewOn",
    "collection",
    "cursor",
    "remove",
    "update",
    "$lookup",
    "$unionWith",
    "$out",
    "$merge",
    "$facet",
    "$match",
    "$graphLookup",
    "$expr",
    "$where",
    "$function",
    "$collStats",
    "$db",
];

fn value(chance: &mut Chance) -> Bson {
    match chance.below(9) {
        0..=2 => collection(chance).into(),
        3 => doc! {"db": "other_db", "coll": collection(chance)}.into(),
        4 => Bson::Array(vec![]),
        5 => doc! {}.into(),
        6 => Bson::Boolean(chance.one_in(2)),
        7 => Bson::Int32(1),
        _ => Bson::Array(vec![doc! {"$unionWith": collection(chance)}.into()]),
    }
}

/// One or two changes, anywhere in the document but its command's name.
pub fn changed(document: &Document, chance: &mut Chance) -> Document {
    let mut document = document.clone();
    for _ in 0..=chance.below(2) {
        let mut left = chance.below(size(&document).max(1));
        document = alter(document, &mut left, true, chance);
    }
    document
}

fn size(document: &Document) -> usize {
    document.values().map(|value| 1 + size_of(value)).sum()
}

fn size_of(value: &Bson) -> usize {
    match value {
        Bson::Document(document) => size(document),
        Bson::Array(items) => items.iter().map(|item| 1 + size_of(item)).sum(),
        _ => 0,
    }
}

/// Walks to the element that is `left` elements away and changes it.
fn alter(document: Document, left: &mut usize, top: bool, chance: &mut Chance) -> Document {
    let mut done = Document::new();
    for (index, (key, inner)) in document.into_iter().enumerate() {
        let here = *left == 0;
        *left = left.wrapping_sub(1);
        if !here {
            let inner = alter_value(inner, left, chance);
            done.insert(key, inner);
            continue;
        }
        match chance.below(4) {
            0 if !(top && index == 0) => {
                done.insert(*chance.pick(&KEYS), inner);
            }
            1 => {
                done.insert(key, inner);
                done.insert(*chance.pick(&KEYS), value(chance));
            }
            2 if !(top && index == 0) => {}
            _ => {
                done.insert(key, value(chance));
            }
        }
    }
    done
}

fn alter_value(inner: Bson, left: &mut usize, chance: &mut Chance) -> Bson {
    match inner {
        Bson::Document(document) => alter(document, left, false, chance).into(),
        Bson::Array(items) => {
            let mut done = Vec::new();
            for item in items {
                let here = *left == 0;
                *left = left.wrapping_sub(1);
                if here {
                    done.push(value(chance));
                }
                done.push(alter_value(item, left, chance));
            }
            Bson::Array(done)
        }
        other => other,
    }
}
