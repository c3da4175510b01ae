//! What the columns of MySQL's and MariaDB's tables are made of.
//!
//! The servers tell the expressions of generated columns, defaults and checks, and the bodies of triggers, as text. A column
//! counts as made of each column that this text names, be it in a string: too much is hidden rather than too little.

use super::{ColumnRow, Trigger};
use crate::decide::restrict::{Column, Source};

/// The columns of one table, from its rows in their order. `triggers` and `checks` are the table's.
pub fn columns(rows: &[&ColumnRow], triggers: &[&Trigger], checks: &[&str]) -> Vec<Column> {
    let checks: Vec<String> = checks.iter().map(|check| check.to_lowercase()).collect();
    let bodies: Vec<String> = triggers
        .iter()
        .map(|(_, _, _, _, _, body, _)| body.as_deref().unwrap_or_default().to_lowercase())
        .collect();
    rows.iter()
        .map(|(_, _, _, name, type_name, extra, _, _)| {
            let mut column = Column::new(name, type_name);
            column.source = source(rows, name, &bodies);
            let own = checks.iter().filter(|check| has_name(check, name)).cloned();
            column.checked_with = named(rows, name, &own.collect::<Vec<_>>());
            column.is_touched = extra.to_ascii_lowercase().contains("on update");
            column
        })
        .collect()
}

fn source(rows: &[&ColumnRow], own: &str, bodies: &[String]) -> Source {
    let mut texts: Vec<String> = Vec::new();
    let own_row = rows.iter().find(|(_, _, _, name, ..)| name == own);
    if let Some((_, _, _, _, _, extra, generated, default)) = own_row {
        let generated = generated.as_deref().unwrap_or_default().to_lowercase();
        if !generated.is_empty() || is_generated(extra) {
            let from = named(rows, own, &[generated]);
            // `ROW START` of a table with history, or nothing that the account may see.
            return if from.is_empty() {
                Source::Unknown
            } else {
                Source::Columns(from)
            };
        }
        // `SET column = DEFAULT` computes it from the row as it is.
        let default = default.as_deref().unwrap_or_default();
        if !default.starts_with('\'') {
            texts.push(default.to_lowercase());
        }
    }
    let sets = bodies.iter().filter(|body| sets(body, own)).cloned();
    texts.extend(sets);
    let from = named(rows, own, &texts);
    if from.is_empty() {
        Source::Written
    } else {
        Source::Columns(from)
    }
}

fn is_generated(extra: &str) -> bool {
    let mut words = extra.split(|one: char| !one.is_ascii_alphabetic());
    words.any(|word| {
        ["virtual", "stored", "persistent"]
            .iter()
            .any(|one| word.eq_ignore_ascii_case(one))
    })
}

/// The other columns that some of the texts name.
fn named(rows: &[&ColumnRow], own: &str, texts: &[String]) -> Box<[Box<str>]> {
    rows.iter()
        .map(|(_, _, _, name, ..)| name.as_str())
        .filter(|name| *name != own)
        .filter(|name| texts.iter().any(|text| has_name(text, name)))
        .map(Into::into)
        .collect()
}

/// Whether a text in small letters may name a column. A name with other characters than words have is not looked for.
fn has_name(text: &str, name: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    let name = name.to_lowercase();
    if !name.chars().all(is_of_word) {
        return true;
    }
    text.match_indices(&name).any(|(at, found)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text
            .get(at + found.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

fn is_of_word(one: char) -> bool {
    one.is_alphanumeric() || one == '_' || one == '$'
}

/// Whether the body of a trigger, in small letters, may set the column of the new row.
fn sets(body: &str, column: &str) -> bool {
    if !has_name(body, column) {
        return false;
    }
    let has_comment = ["/*", "--", "#"].iter().any(|mark| body.contains(mark));
    let packed: String = body
        .chars()
        .filter(|one| !one.is_whitespace() && *one != '`')
        .collect();
    let column = column.to_lowercase();
    let is_plain = column.chars().all(is_of_word);
    has_comment
        || !is_plain
        || packed.contains(&format!("new.{column}="))
        || packed.contains(&format!("new.{column}:="))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns as name, `EXTRA`, generation expression and default; the sources of each after a colon.
    fn told(rows: &[(&str, &str, Option<&str>, Option<&str>)], trigger: &str) -> Vec<String> {
        let text = |text: &str| text.to_owned();
        let rows: Vec<ColumnRow> = (1..)
            .zip(rows)
            .map(|(at, (name, extra, generated, default))| {
                let (generated, default) = (generated.map(text), default.map(text));
                let (schema, table, type_name) = (text("s"), text("t"), text("int"));
                let (name, extra) = (text(name), text(extra));
                (
                    schema, table, at, name, type_name, extra, generated, default,
                )
            })
            .collect();
        let trigger = (
            text("s"),
            text("t"),
            text("UPDATE"),
            text("s"),
            text("g"),
            Some(text(trigger)),
            String::new(),
        );
        let rows: Vec<&ColumnRow> = rows.iter().collect();
        let shown = |column: Column| match (column.source, column.is_touched) {
            (Source::Written, true) => format!("{}: touched", column.name),
            (Source::Written, false) => column.name.into(),
            (Source::Unknown, _) => format!("{}: ?", column.name),
            (Source::Columns(from), _) => format!("{}: {}", column.name, from.join(" ")),
        };
        let all = columns(&rows, &[&trigger], &["`id` > 0", "(`Pay` < `paid`)"]);
        let checked: Vec<_> = all
            .iter()
            .filter(|column| !column.checked_with.is_empty())
            .collect();
        for column in checked {
            let other = if *column.name == *"Pay" {
                "paid"
            } else {
                "Pay"
            };
            let others: Vec<&str> = column.checked_with.iter().map(AsRef::as_ref).collect();
            assert_eq!(others, [other], "{}", column.name);
        }
        all.into_iter().map(shown).collect()
    }

    #[test]
    fn what_a_column_is_made_of() {
        assert_eq!(
            told(
                &[
                    ("id", "auto_increment", None, None),
                    ("Pay", "", None, Some("0")),
                    ("paid", "", Some(""), Some("'pay'")),
                    ("tax", "VIRTUAL GENERATED", Some("(`pay` / 5)"), None),
                    ("twice", "STORED GENERATED", Some("`tax`*2"), None),
                    (
                        "odd",
                        "STORED GENERATED, INVISIBLE",
                        Some("ROW START"),
                        None
                    ),
                    ("unseen", "VIRTUAL", None, None),
                    (
                        "copy",
                        "DEFAULT_GENERATED",
                        None,
                        Some("concat(`Pay`,_utf8mb4\\'x\\')")
                    ),
                    (
                        "at",
                        "DEFAULT_GENERATED on update CURRENT_TIMESTAMP",
                        None,
                        Some("CURRENT_TIMESTAMP")
                    ),
                ],
                "",
            ),
            [
                "id",
                "Pay",
                "paid",
                "tax: Pay",
                "twice: tax",
                "odd: ?",
                "unseen: ?",
                "copy: Pay",
                "at: touched"
            ]
        );
    }

    #[test]
    fn what_a_trigger_sets_is_made_of_what_it_names() {
        for (body, expected) in [
            ("SET NEW.at = NOW()", "at"),
            ("SET NEW.at = NEW.pay + OLD.pay", "at: pay"),
            (
                "BEGIN IF NEW.pay <> OLD.pay THEN SET NEW . `at` := NOW(); END IF; END",
                "at: pay",
            ),
            ("INSERT INTO log VALUES (NEW.pay, OLD.at)", "at"),
            ("SET NEW/**/.at = OLD.pay", "at: pay"),
        ] {
            let rows = [("pay", "", None, None), ("at", "", None, None)];
            assert_eq!(told(&rows, body).last().unwrap(), expected, "{body}");
        }
    }
}
