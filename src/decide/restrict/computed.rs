//! Columns that are made of others show them.
//!
//! A generated column over a hidden one would tell its value, and so would one whose default or trigger copies it. So it
//! is hidden as what it is made of is: where some of that may not be named, it may not be named either, even if the
//! policy lists it; where some of it is masked, it is NULL, whatever mask the policy gives it. What cannot be told
//! counts as made of every other column.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Column, Source};
use crate::decide::rules::{Mask, TableRules};

/// The rules of a table, with what follows from how its columns are made. `same` says whether two names are one to
/// the server.
pub fn with_computed(
    rules: &Arc<TableRules>,
    columns: &[Column],
    same: fn(&str, &str) -> bool,
) -> Arc<TableRules> {
    let hides_columns =
        rules.columns.is_some() || !rules.denied.is_empty() || !rules.masked.is_empty();
    let is_computed = |column: &&Column| column.source != Source::Written;
    if !hides_columns || !columns.iter().any(|column| is_computed(&column)) {
        return Arc::clone(rules);
    }
    let mut all = TableRules::clone(rules);
    // What is computed may be computed from what is computed: each round hides one column more, or is the last.
    loop {
        let before = (all.denied.len(), all.masked.len());
        for column in columns.iter().filter(is_computed) {
            let from = made_of(column, columns);
            if from.iter().any(|name| is_denied(&all, name, same)) {
                all.denied.insert(column.name.clone());
            } else if from.iter().any(|name| is_masked(&all, name, same)) {
                all.masked.insert(column.name.clone(), Mask::Null);
            }
        }
        if before == (all.denied.len(), all.masked.len()) {
            return Arc::new(all);
        }
    }
}

/// A column that the rules hide and the table has not: hiding it hides nothing.
pub fn missing<'r>(
    rules: &'r TableRules,
    columns: &[Column],
    same: fn(&str, &str) -> bool,
) -> Option<&'r str> {
    let has = |name: &str| columns.iter().any(|column| same(&column.name, name));
    let mut expected = rules.expected.iter().map(AsRef::as_ref);
    expected.find(|name| !has(name))
}

/// What a statement is told that meets such rules.
pub fn misses(column: &str) -> String {
    format!(
        "its rules hide the column `{column}`, which it has not: correct the policy (a grant on several tables hides columns that all of them have)"
    )
}

/// A column that is written and a hidden one that is not, where the database computes something of both: a `CHECK`, an
/// index' expression, a generated column. Whether it fails would tell of the hidden one.
pub fn telling(
    columns: &[Column],
    is_written: impl Fn(&str) -> bool,
    is_hidden: impl Fn(&str) -> bool,
) -> Option<(&str, &str)> {
    let tells = |other: &str| is_hidden(other) && !is_written(other);
    let written = columns.iter().filter(|column| is_written(&column.name));
    written.into_iter().find_map(|column| {
        let computed = columns
            .iter()
            .filter_map(|computed| match &computed.source {
                Source::Columns(from) if from.contains(&column.name) => Some(from),
                Source::Columns(_) | Source::Written | Source::Unknown => None,
            });
        let mut others = column.checked_with.iter().chain(computed.flatten());
        let hidden = others.find(|other| **other != column.name && tells(other))?;
        Some((&*column.name, &**hidden))
    })
}

fn made_of<'c>(column: &'c Column, columns: &'c [Column]) -> Vec<&'c str> {
    match &column.source {
        Source::Written => Vec::new(),
        Source::Columns(from) => from.iter().map(AsRef::as_ref).collect(),
        Source::Unknown => {
            let others = columns.iter().map(|other| &*other.name);
            others.filter(|name| **name != *column.name).collect()
        }
    }
}

fn is_denied(rules: &TableRules, name: &str, same: fn(&str, &str) -> bool) -> bool {
    let has = |names: &BTreeSet<Box<str>>| names.iter().any(|other| same(other, name));
    has(&rules.denied) || rules.columns.as_ref().is_some_and(|listed| !has(listed))
}

fn is_masked(rules: &TableRules, name: &str, same: fn(&str, &str) -> bool) -> bool {
    rules.masked.keys().any(|other| same(other, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, source: Source) -> Column {
        Column {
            source,
            ..Column::new(name, "int")
        }
    }

    fn from(names: &[&str]) -> Source {
        Source::Columns(names.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn what_is_made_of_something_hidden_is_hidden() {
        let columns = [
            column("id", Source::Written),
            column("pay", Source::Written),
            column("pin", Source::Written),
            column("twice", from(&["tax"])),
            column("tax", from(&["id", "pay"])),
            column("code", from(&["pin", "pay"])),
            column("both", from(&["id"])),
        ];
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        for (denied, masked, expected_denied, expected_null) in [
            (&[][..], None, "", ""),
            (&["pin"], None, "code pin", ""),
            (&[], Some("PAY"), "", "code tax twice"),
            (&["pin"], Some("pay"), "code pin", "tax twice"),
            (&["pay"], None, "code pay tax twice", ""),
            (&["id"], None, "both id tax twice", ""),
            // Its own mask would show too much.
            (&[], Some("tax"), "", "twice"),
        ] {
            let rules = Arc::new(TableRules {
                denied: names(denied),
                masked: masked
                    .map(|name: &str| (name.into(), Mask::Hash))
                    .into_iter()
                    .collect(),
                ..TableRules::default()
            });
            let all = with_computed(&rules, &columns, str::eq_ignore_ascii_case);
            let null = all.masked.iter().filter(|(_, mask)| **mask == Mask::Null);
            let null: Vec<&str> = null.map(|(name, _)| &**name).collect();
            let denied: Vec<&str> = all.denied.iter().map(AsRef::as_ref).collect();
            assert_eq!(
                (denied.join(" ").as_str(), null.join(" ").as_str()),
                (expected_denied, expected_null)
            );
        }
        let listed = Arc::new(TableRules {
            columns: Some(names(&["id", "tax", "both"])),
            ..TableRules::default()
        });
        let all = with_computed(&listed, &columns, str::eq);
        assert!(all.may_name("both"));
        assert!(
            !all.may_name("tax"),
            "listing it does not list what it is made of"
        );
    }

    #[test]
    fn what_is_checked_together_tells() {
        let mut columns = [
            column("id", Source::Written),
            column("bonus", Source::Written),
            column("pay", Source::Written),
            column("note", Source::Written),
            column("sum", from(&["note", "pay"])),
        ];
        columns[1].checked_with = Box::new(["pay".into()]);
        columns[2].checked_with = Box::new(["bonus".into()]);
        for (written, expected) in [
            (&["id"][..], None),
            (&["bonus"], Some(("bonus", "pay"))),
            (&["pay"], None),
            (&["bonus", "pay"], None),
            (&["note"], Some(("note", "pay"))),
            (&["note", "pay"], None),
        ] {
            let found = telling(
                &columns,
                |name| written.contains(&name),
                |name| name == "pay",
            );
            assert_eq!(found, expected, "{written:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_made_of_everything() {
        let columns = [
            column("id", Source::Written),
            column("pin", Source::Written),
            column("odd", Source::Unknown),
        ];
        let denies = |name: &str| {
            Arc::new(TableRules {
                denied: [name.into()].into(),
                ..TableRules::default()
            })
        };
        let all = with_computed(&denies("pin"), &columns, str::eq);
        assert!(!all.may_name("odd"));
        let none = Arc::new(TableRules::default());
        assert!(Arc::ptr_eq(&none, &with_computed(&none, &columns, str::eq)));
    }
}
