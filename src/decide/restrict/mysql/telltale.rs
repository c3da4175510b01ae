//! What the server would tell of hidden columns by the way, when others are written.

use super::super::Forbidden;
use super::super::computed::telling;
use super::columns::{quoted, same_name};
use super::edits::Edits;
use super::statement::Statement;
use super::table::Table;
use crate::classify::mysql::shape::{Assignment, Verb, Write};

/// No column is changed alone that the server checks together with a hidden one.
pub fn check_together(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
) -> Result<(), Forbidden> {
    let changed = match write.verb {
        Verb::Update => &write.assignments,
        Verb::Insert | Verb::Replace | Verb::Delete => &write.on_duplicate,
    };
    let columns = table.columns().unwrap_or_default();
    let found = telling(
        columns,
        |name| is_assigned(statement, changed, name),
        |name| table.hides_column(name),
    );
    match found {
        None => Ok(()),
        Some((written, _)) => Err(table.forbidden(&format!(
            "`{written}` of `{}` is checked together with a column that its rules hide, so that a change of it alone \
             would tell of that one",
            table.objects()
        ))),
    }
}

/// A column that is `ON UPDATE CURRENT_TIMESTAMP` would tell whether a hidden column had the written value before. So
/// it is set whenever a hidden column is written.
pub fn touch(statement: &Statement<'_>, write: &Write, table: &Table<'_>, edits: &mut Edits) {
    let Some(last) = write.assignments.last() else {
        return;
    };
    let is_written = |name: &str| is_assigned(statement, &write.assignments, name);
    let columns = table.columns().unwrap_or_default();
    let mut hidden = columns
        .iter()
        .filter(|column| table.hides_column(&column.name));
    if write.verb != Verb::Update || !hidden.any(|column| is_written(&column.name)) {
        return;
    }
    let end = statement.bytes(&last.value).end;
    for column in columns {
        if column.is_touched && !table.hides_column(&column.name) && !is_written(&column.name) {
            let fraction: String = (column.type_name.chars())
                .filter(char::is_ascii_digit)
                .collect();
            let name = quoted(&column.name);
            edits.insert(end, format!(", {name} = CURRENT_TIMESTAMP({fraction})"));
        }
    }
}

/// Whether a column of the target, spelled as the server does, is assigned.
fn is_assigned(statement: &Statement<'_>, assignments: &[Assignment], name: &str) -> bool {
    let columns = &statement.shape().columns;
    assignments
        .iter()
        .filter_map(|assignment| columns.get(assignment.column)?.name())
        .any(|assigned| same_name(assigned, name))
}

/// Names that no table needs to list: `_rowid` is the key, whatever its name; the others say since when a row of a table
/// with history is as it is.
pub fn is_telling(table: &Table<'_>, name: &str) -> bool {
    let is = |telling: &str| name.eq_ignore_ascii_case(telling);
    is("_rowid") || (table.has_column(name) != Some(true) && (is("row_start") || is("row_end")))
}
