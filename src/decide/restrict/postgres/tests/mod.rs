//! Statements and what becomes of them; what a server makes of that, `tests/postgres` shows.

mod faithful;
mod refused;
mod rewritten;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::restrict;
use crate::authenticate::Principal;
use crate::decide::restrict::{Column, Columns, Forbidden, Restricted, Restrictions};
use crate::decide::rules::{Attribute, Comparison, Condition, Constant, Mask, TableRules};
use crate::operation::Object;

/// The tables of these tests.
struct Schema;

impl Columns for Schema {
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>> {
        let columns: &[(&str, &str)] = match (namespace, table) {
            ("public", "own" | "mixed") => &[
                ("id", "bigint"),
                ("owner", "character varying(36)"),
                ("note", "text"),
                ("amount", "numeric(12,2)"),
            ],
            ("public", "people") => &[
                ("id", "bigint"),
                ("name", "text"),
                ("email", "text"),
                ("card", "character varying(20)"),
                ("salary", "numeric(12,2)"),
                ("password", "text"),
            ],
            ("public", "listed") => &[("id", "bigint"), ("name", "text"), ("hidden", "text")],
            ("public", "state") => &[("id", "bigint"), ("level", "integer"), ("status", "text")],
            ("public", "plain") => &[("id", "bigint"), ("own_id", "bigint"), ("x", "integer")],
            ("public", "careful") => &[("id", "bigint")],
            _ => return None,
        };
        let column = |(name, type_name): &(&str, &str)| Column::new(name, type_name);
        Some(columns.iter().map(column).collect())
    }
}

fn compare(column: &str, comparison: Comparison, value: Constant) -> Condition {
    Condition::Compare {
        column: column.into(),
        comparison,
        value,
    }
}

fn rules_of(table: &str) -> TableRules {
    let mut rules = TableRules::default();
    let of_caller = compare(
        "owner",
        Comparison::Equal,
        Constant::Caller(Attribute::UserId),
    );
    let masks = BTreeMap::from([
        ("email".into(), Mask::Hash),
        ("card".into(), Mask::Partial),
        ("salary".into(), Mask::Null),
    ]);
    match table {
        "own" => rules.rows.push(of_caller),
        "mixed" => {
            rules.rows.push(of_caller);
            rules.masked.insert("note".into(), Mask::Hash);
            rules.denied.insert("amount".into());
        }
        "people" => {
            rules.masked = masks;
            rules.denied.insert("password".into());
        }
        "listed" => rules.columns = Some(BTreeSet::from(["id".into(), "name".into()])),
        "state" => rules.rows.push(Condition::All(vec![
            compare("level", Comparison::Less, Constant::Number("5".into())),
            Condition::In {
                column: "status".into(),
                values: vec![Constant::Text("open".into()), Constant::Text("paid".into())],
            },
            Condition::Not(Box::new(Condition::IsNull {
                column: "id".into(),
            })),
        ])),
        "careful" => rules.requires_where = true,
        other => panic!("{other}"),
    }
    rules
}

/// The rules apply to the tables that the statement names, and a key belongs to this user.
fn run(sql: &str, user: Option<&str>, is_online: bool) -> Result<Option<Restricted>, Forbidden> {
    let caller = Principal {
        key_id: "key".into(),
        user_id: user.map(str::to_owned),
        role: "app".into(),
    };
    let classified =
        crate::classify::postgres::classify(sql, crate::classify::Session::Own).unwrap();
    let mut objects: Vec<Object> = classified
        .touches
        .into_iter()
        .map(|touch| touch.object)
        .filter(|object| {
            let name = object.to_string();
            let name = name.strip_prefix("public.").unwrap_or(&name);
            ["own", "mixed", "people", "listed", "state", "careful"].contains(&name)
        })
        .collect();
    objects.dedup();
    let rules = |object: &Object| {
        let name = object.to_string();
        Arc::new(rules_of(name.strip_prefix("public.").unwrap_or(&name)))
    };
    let restrictions = Restrictions {
        caller: &caller,
        default_namespace: "public",
        mask_salt: "s'alt\\",
        tables: objects
            .iter()
            .map(|object| (object, rules(object)))
            .collect(),
    };
    restrict(
        sql,
        &restrictions,
        is_online.then_some(&Schema as &dyn Columns),
    )
}
