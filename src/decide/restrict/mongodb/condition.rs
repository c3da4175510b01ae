//! Row filters as MongoDB's queries, and as a check of a document that is to be written.
//!
//! A row counts where the filter is true, as in SQL: what compares with NULL, a field that is missing, or an array
//! is not. Negation is carried to the comparisons, since MongoDB's own `$nor` would turn such into true.

use bson::raw::{RawBsonRef, RawDocument};
use bson::{Bson, Decimal128, Document, doc, oid::ObjectId};

use crate::authenticate::Principal;
use crate::decide::rules::{Attribute, Comparison, Condition, Constant};

/// A query that no document meets.
fn never() -> Document {
    doc! {"$nor": [{}]}
}

/// The query that documents meet for which the condition is true; where `negated`, for which it is false.
pub(super) fn query(condition: &Condition, negated: bool, caller: &Principal) -> Document {
    let all = |conditions: &[Condition]| {
        let queries = conditions.iter().map(|one| query(one, negated, caller));
        queries.collect::<Vec<Document>>()
    };
    match (condition, negated) {
        (Condition::All(conditions), false) | (Condition::Any(conditions), true) => {
            doc! {"$and": all(conditions)}
        }
        (Condition::Any(conditions), false) | (Condition::All(conditions), true) => {
            doc! {"$or": all(conditions)}
        }
        (Condition::Not(inner), negated) => query(inner, !negated, caller),
        (
            Condition::Compare {
                column,
                comparison,
                value,
            },
            negated,
        ) => compared(column, turned(*comparison, negated), value, caller),
        (Condition::In { column, values }, negated) => {
            among(column, &Values::of(values, caller), negated)
        }
        (Condition::IsNull { column }, false) => one_value(column, doc! {"$eq": Bson::Null}),
        (Condition::IsNull { column }, true) => doc! {&**column: {"$ne": Bson::Null}},
    }
}

/// The comparison that holds where this one does not.
const fn turned(comparison: Comparison, negated: bool) -> Comparison {
    if !negated {
        return comparison;
    }
    match comparison {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

fn compared(
    column: &str,
    comparison: Comparison,
    value: &Constant,
    caller: &Principal,
) -> Document {
    let values = Values::of(std::slice::from_ref(value), caller);
    let operator = match comparison {
        Comparison::Equal => return among(column, &values, false),
        Comparison::NotEqual => return among(column, &values, true),
        Comparison::Less => "$lt",
        Comparison::LessOrEqual => "$lte",
        Comparison::Greater => "$gt",
        Comparison::GreaterOrEqual => "$gte",
    };
    match values.all.into_iter().next() {
        Some(value) => one_value(column, doc! {operator: value}),
        None => never(),
    }
}

fn among(column: &str, values: &Values, negated: bool) -> Document {
    match (negated, values.has_null) {
        (false, _) => one_value(column, doc! {"$in": values.all.clone()}),
        // Nobody knows whether it is among them.
        (true, true) => never(),
        (true, false) => {
            let mut all = values.all.clone();
            all.push(Bson::Null);
            one_value(column, doc! {"$nin": all})
        }
    }
}

/// MongoDB compares each element of an array; a row filter compares one value.
fn one_value(column: &str, mut test: Document) -> Document {
    test.insert("$not", doc! {"$type": "array"});
    doc! {column: test}
}

/// Constants as values of documents.
struct Values {
    all: Vec<Bson>,
    /// Whether one is not known: the key belongs to no user.
    has_null: bool,
}

impl Values {
    fn of(constants: &[Constant], caller: &Principal) -> Self {
        let mut values = Self {
            all: Vec::new(),
            has_null: false,
        };
        for constant in constants {
            match constant {
                Constant::Text(text) => values.all.push(Bson::String(text.to_string())),
                Constant::Boolean(value) => values.all.push(Bson::Boolean(*value)),
                Constant::Number(number) => values.all.extend(numbers(number)),
                Constant::Caller(attribute) => match attribute.of(caller) {
                    Some(text) => values.all.extend(identities(*attribute, text)),
                    None => values.has_null = true,
                },
            }
        }
        values
    }
}

/// A number in the types in which it may stand. Servers compare across them by exact value.
fn numbers(written: &str) -> Vec<Bson> {
    if let Ok(whole) = written.parse::<i64>() {
        return vec![Bson::Int64(whole)];
    }
    let double = written.parse::<f64>().ok().map(Bson::Double);
    let decimal = written.parse::<Decimal128>().ok().map(Bson::Decimal128);
    double.into_iter().chain(decimal).collect()
}

/// Who is calling, as documents may name them: a user is also a number or an object id.
fn identities(attribute: Attribute, text: &str) -> Vec<Bson> {
    let mut all = vec![Bson::String(text.to_owned())];
    match attribute {
        Attribute::KeyId | Attribute::Role => {}
        Attribute::UserId => {
            let whole = text.parse::<i64>().ok();
            all.extend(
                whole
                    .filter(|whole| whole.to_string() == text)
                    .map(Bson::Int64),
            );
            all.extend(ObjectId::parse_str(text).ok().map(Bson::ObjectId));
        }
    }
    all
}

/// Whether a document that is to be written certainly meets the condition (`negated`: certainly does not).
pub(super) fn meets(
    condition: &Condition,
    negated: bool,
    document: &RawDocument,
    caller: &Principal,
) -> bool {
    match (condition, negated) {
        (Condition::All(conditions), false) | (Condition::Any(conditions), true) => conditions
            .iter()
            .all(|one| meets(one, negated, document, caller)),
        (Condition::Any(conditions), false) | (Condition::All(conditions), true) => conditions
            .iter()
            .any(|one| meets(one, negated, document, caller)),
        (Condition::Not(inner), negated) => meets(inner, !negated, document, caller),
        (
            Condition::Compare {
                column,
                comparison,
                value,
            },
            negated,
        ) => {
            let values = Values::of(std::slice::from_ref(value), caller);
            holds(get(document, column), turned(*comparison, negated), &values)
        }
        (Condition::In { column, values }, negated) => {
            let values = Values::of(values, caller);
            let comparison = turned(Comparison::Equal, negated);
            holds(get(document, column), comparison, &values)
        }
        (Condition::IsNull { column }, negated) => {
            let is_null = matches!(get(document, column), None | Some(RawBsonRef::Null));
            is_null != negated
        }
    }
}

fn get<'d>(document: &'d RawDocument, column: &str) -> Option<RawBsonRef<'d>> {
    let mut fields = document.iter().filter_map(Result::ok);
    fields
        .find(|(key, _)| key.as_str() == column)
        .map(|(_, value)| value)
}

fn holds(given: Option<RawBsonRef<'_>>, comparison: Comparison, values: &Values) -> bool {
    let Some(given) = given else {
        return false;
    };
    let orders = values.all.iter().map(|value| order(given, value));
    match comparison {
        Comparison::Equal => orders.flatten().any(|order| order.is_eq()),
        Comparison::NotEqual => {
            // What cannot be compared may be equal in a way that is not seen here.
            let mut orders = orders;
            !values.has_null && orders.all(|order| order.is_some_and(|order| order.is_ne()))
        }
        Comparison::Less => orders.flatten().any(|order| order.is_lt()),
        Comparison::LessOrEqual => orders.flatten().any(|order| order.is_le()),
        Comparison::Greater => orders.flatten().any(|order| order.is_gt()),
        Comparison::GreaterOrEqual => orders.flatten().any(|order| order.is_ge()),
    }
}

/// How two values of one kind compare; `None` where they are of two, or not of a kind that is compared here.
fn order(given: RawBsonRef<'_>, value: &Bson) -> Option<std::cmp::Ordering> {
    match (given, value) {
        (RawBsonRef::String(given), Bson::String(value)) => {
            Some(given.as_bytes().cmp(value.as_bytes()))
        }
        (RawBsonRef::Boolean(given), Bson::Boolean(value)) => Some(given.cmp(value)),
        (RawBsonRef::ObjectId(given), Bson::ObjectId(value)) => Some(given.cmp(value)),
        (RawBsonRef::Int32(given), Bson::Int64(value)) => Some(i64::from(given).cmp(value)),
        (RawBsonRef::Int64(given), Bson::Int64(value)) => Some(given.cmp(value)),
        (RawBsonRef::Int32(given), Bson::Double(value)) => f64::from(given).partial_cmp(value),
        (RawBsonRef::Double(given), Bson::Double(value)) => given.partial_cmp(value),
        (RawBsonRef::Double(given), Bson::Int64(value)) => {
            let exact = i32::try_from(*value).ok()?;
            given.partial_cmp(&f64::from(exact))
        }
        (_, _) => None,
    }
}
