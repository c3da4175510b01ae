//! What the definitions of MySQL's views, triggers and foreign keys reach.

use std::collections::BTreeSet;

use super::Trigger;
use crate::catalogue::words::Text;
use crate::catalogue::{Actions, Name, Reach, Target, When};
use crate::classify::{self, Session};
use crate::operation::{Action, Classification, Object};

/// What a definition's text may not have been written under: strings and names would end elsewhere.
const OTHER_MODES: [&str; 4] = [
    "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES",
    "IGNORE_SPACE",
    "ORACLE",
];

/// The stored functions of a definition's own database that its text may call by the name of a built-in.
pub fn shadowing<'t>(
    routines: &'t BTreeSet<(String, String)>,
    schema: &'t str,
    body: &'t str,
) -> impl Iterator<Item = Name> + 't {
    let mut text = Text::new(body);
    routines
        .iter()
        .filter(move |(of, name)| {
            of == schema
                && classify::mysql::is_taken_for_built_in(name)
                && text.meets(&When::Word(name.to_ascii_lowercase().into()))
        })
        .map(|(schema, name)| Name::new(schema, &name.to_ascii_lowercase()))
}

/// What a trigger is set off by.
pub fn actions(event: &str) -> Actions {
    match event {
        "INSERT" => Actions::INSERT,
        "UPDATE" => Actions::UPDATE,
        "DELETE" => Actions::DELETE,
        _ => Actions::ALL,
    }
}

/// What a foreign key does to the rows that refer to a changed one; `None` if it forbids the change.
pub fn cascaded(rule: &str, cascade: Action) -> Option<Action> {
    match rule {
        "RESTRICT" | "NO ACTION" => None,
        "CASCADE" => Some(cascade),
        // `SET NULL`, `SET DEFAULT`, and what a newer server may do.
        _ => Some(Action::Update),
    }
}

/// The touched tables and called functions of a definition that belongs to `schema`.
fn behind(found: &Classification, schema: &str) -> (Vec<(Name, Action)>, Vec<Name>) {
    let touched = |object: &Object| match object {
        Object::Named { namespace, name } => {
            Some(Name::new(namespace.as_deref().unwrap_or(schema), name))
        }
        Object::Key(_) | Object::Keys(_) => None,
    };
    let tables = found
        .touches
        .iter()
        .filter_map(|touch| Some((touched(&touch.object)?, touch.action)));
    let functions = found.functions.iter().map(|function| {
        let (schema, name) = function.split_once('.').unwrap_or((schema, function));
        Name::new(schema, name)
    });
    (tables.collect(), functions.collect())
}

/// A view reads its tables however it is used, and a change of it may change any of them.
pub fn view_reaches(view: &Name, body: &str) -> Vec<Reach> {
    let Ok(found) = classify::mysql::classify(body, Session::Shared) else {
        return vec![Reach::new(Actions::ALL, Target::Function(view.clone()))];
    };
    let (tables, functions) = behind(&found, &view.namespace);
    let mut reaches = Vec::new();
    for (table, action) in tables {
        let changes = Actions::STORE.and(Actions::DELETE);
        reaches.push(Reach::new(changes, Target::Same(table.clone())));
        reaches.push(Reach::new(Actions::ALL, Target::Relation(table, action)));
    }
    for function in functions {
        reaches.push(Reach::new(Actions::ALL, Target::Function(function)));
    }
    reaches
}

pub fn trigger_reaches(trigger: &Trigger) -> Vec<Reach> {
    let (_, _, event, schema, name, body, sql_mode) = trigger;
    let on = actions(event);
    let other_mode = sql_mode.split(',').any(|mode| OTHER_MODES.contains(&mode));
    let body = body.as_deref().unwrap_or_default();
    let found = classify::mysql::classify(&as_query(body), Session::Own);
    let (Ok(found), false) = (found, other_mode) else {
        let target = Target::Function(Name::new(schema, name));
        return vec![Reach::new(on, target)];
    };
    let (tables, functions) = behind(&found, schema);
    let tables = tables
        .into_iter()
        .map(|(table, action)| Target::Relation(table, action));
    tables
        .chain(functions.into_iter().map(Target::Function))
        .map(|target| Reach::new(on, target))
        .collect()
}

/// `SET NEW.a = x, NEW.b = y` as the list of its assignments, which has the same tables and functions in it.
fn as_query(body: &str) -> String {
    let mut words = body.split_ascii_whitespace();
    let (first, second) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let sets_row = first.eq_ignore_ascii_case("SET")
        && second
            .get(..4)
            .is_some_and(|row| row.eq_ignore_ascii_case("NEW."));
    match body.trim_start().get(first.len()..) {
        Some(assignments) if sets_row => format!("SELECT{assignments}"),
        _ => body.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(body: &str, sql_mode: &str) -> Vec<Reach> {
        let text = |text: &str| text.to_owned();
        trigger_reaches(&(
            text("app"),
            text("users"),
            text("INSERT"),
            text("app"),
            text("remember"),
            Some(text(body)),
            text(sql_mode),
        ))
    }

    #[test]
    fn triggers() {
        let relation = |name, action| {
            let target = Target::Relation(Name::new("app", name), action);
            Reach::new(Actions::INSERT, target)
        };
        let function = |name| Reach::new(Actions::INSERT, Target::Function(Name::new("app", name)));
        for (body, mode, expected) in [
            ("SET NEW.at = NOW(), NEW.n = 1", "", vec![]),
            (
                "SET NEW.n = (SELECT COUNT(*) FROM posts)",
                "",
                vec![relation("posts", Action::Select)],
            ),
            (
                "INSERT INTO audit (id) VALUES (NEW.id)",
                "STRICT_ALL_TABLES",
                vec![relation("audit", Action::Insert)],
            ),
            (
                "INSERT INTO audit (id) VALUES (NEW.id)",
                "ANSI_QUOTES",
                vec![function("remember")],
            ),
            ("SET NEW.n = secret()", "", vec![function("secret")]),
            (
                "BEGIN DELETE FROM posts; END",
                "",
                vec![function("remember")],
            ),
            ("CALL p()", "", vec![function("remember")]),
        ] {
            assert_eq!(trigger(body, mode), expected, "{body}");
        }
    }

    #[test]
    fn views() {
        let view = Name::new("app", "shown");
        let unseen = vec![Reach::new(Actions::ALL, Target::Function(view.clone()))];
        assert_eq!(view_reaches(&view, ""), unseen);
        let found = view_reaches(&view, "select `other`.`t`.`id` AS `id` from `other`.`t`");
        let table = Name::new("other", "t");
        let changes = Actions::STORE.and(Actions::DELETE);
        assert_eq!(
            found,
            [
                Reach::new(changes, Target::Same(table.clone())),
                Reach::new(Actions::ALL, Target::Relation(table, Action::Select)),
            ]
        );
    }

    #[test]
    fn rules_of_foreign_keys() {
        assert_eq!(cascaded("RESTRICT", Action::Delete), None);
        assert_eq!(cascaded("NO ACTION", Action::Update), None);
        assert_eq!(cascaded("CASCADE", Action::Delete), Some(Action::Delete));
        assert_eq!(cascaded("SET NULL", Action::Delete), Some(Action::Update));
        assert_eq!(cascaded("new", Action::Delete), Some(Action::Update));
    }
}
