//! Columns that the statement names and the caller may not.
//!
//! A table that is read is replaced by one without them, so that naming one would be the server's error, or worse,
//! would mean another table's column of that name. Both are told here.

use super::super::Forbidden;
use super::columns::same_name;
use super::statement::Statement;
use super::table::Table;
use crate::classify::mysql::shape::{ColumnPlace, ColumnUse, TableUse, Verb};

/// Refuses a statement that names a column which one of its tables hides by name.
pub fn check(statement: &Statement<'_>) -> Result<(), Forbidden> {
    let shape = statement.shape();
    let inserts = statement
        .write()
        .is_some_and(|write| matches!(write.verb, Verb::Insert | Verb::Replace));
    for column in &shape.columns {
        let Some(name) = column.name() else {
            continue;
        };
        let of_target = inserts
            && match column.place {
                ColumnPlace::Written | ColumnPlace::Inserted => true,
                ColumnPlace::Read | ColumnPlace::Matched | ColumnPlace::Star => false,
            };
        for found in &shape.tables {
            let Some(table) = statement.ruled(found) else {
                continue;
            };
            if (of_target && !found.is_target)
                || table.may_name(name)
                || !names(statement, table, found, column, name)
            {
                continue;
            }
            return Err(table.forbidden(&format!(
                "the column `{name}` of `{}` may not be named; leave it out{}",
                table.objects(),
                if column.qualifier().is_none() && shape.tables.len() > 1 {
                    ", or say whose column it is"
                } else {
                    ""
                }
            )));
        }
    }
    Ok(())
}

/// Whether a column, which this table does not allow, is this table's.
fn names(
    statement: &Statement<'_>,
    table: &Table<'_>,
    found: &TableUse,
    column: &ColumnUse,
    name: &str,
) -> bool {
    if let Some(qualifier) = column.qualifier() {
        return same_name(qualifier, found.exposed());
    }
    match table.has_column(name) {
        Some(has) => has,
        None => table.denies(name) || is_alone(statement, name),
    }
}

/// Whether, as far as the text shows, an unqualified column can only be of a table that does not list it.
fn is_alone(statement: &Statement<'_>, name: &str) -> bool {
    let shape = statement.shape();
    shape.derived.is_empty()
        && !shape.aliases.iter().any(|alias| same_name(alias, name))
        && shape.tables.iter().all(|found| {
            statement
                .ruled(found)
                .is_some_and(|table| !table.may_name(name))
        })
}
