//! Tables that are written: their rows are chosen by the row filter too, hidden columns are not read, and rows stay
//! within the filter.
//!
//! What a write tells all the same: a unique key, whether a value is there; a foreign key, whether a row refers.

use super::super::{Forbidden, ParameterRule};
use super::bounds::bounds;
use super::columns::{quoted, same_name};
use super::condition::{fits, text_of};
use super::edits::Edits;
use super::harmless;
use super::source::{check_paths, ignoring, make_text};
use super::statement::Statement;
use super::table::Table;
use super::telltale::{check_together, is_telling, touch};
use super::value::{Value, value_at};
use crate::classify::mysql::Kind;
use crate::classify::mysql::shape::{ColumnPlace, Span, TableUse, Verb, Write};
use crate::decide::rules::Constant;

/// Checks what a statement writes, and gives what its parameters must be.
pub fn check(statement: &Statement<'_>) -> Result<Vec<ParameterRule>, Forbidden> {
    let mut parameters = Vec::new();
    for (found, table) in statement.targets() {
        let Some(write) = statement.write() else {
            return Err(table.forbidden("it writes in a way that is not understood"));
        };
        let object = table.objects();
        let chooses = matches!(write.verb, Verb::Update | Verb::Delete);
        if chooses && table.requires_where() {
            let chosen = write.condition.as_ref();
            if !chosen.is_some_and(|condition| bounds(statement, condition)) {
                return Err(table.forbidden(&format!(
                    "a change of `{object}` must say which rows: add a WHERE that names a column"
                )));
            }
        }
        if !table.hides() {
            continue;
        }
        if statement.shape().is_explained {
            return Err(table.forbidden(&format!(
                "EXPLAIN tells about rows and values of `{object}` that its rules hide"
            )));
        }
        if chooses {
            check_choice(statement, write, table, found)?;
        }
        check_columns(statement, write, table, found)?;
        if table.hides_rows() {
            match write.verb {
                Verb::Insert | Verb::Replace => {
                    check_rows(statement, write, table, &mut parameters)?;
                }
                Verb::Update => check_update(statement, write, table, &mut parameters)?,
                Verb::Delete => {}
            }
        }
    }
    Ok(parameters)
}

fn check_choice(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
    found: &TableUse,
) -> Result<(), Forbidden> {
    let object = table.objects();
    if write.is_joined {
        return Err(table.forbidden(&format!(
            "`{object}` has rules and is changed in a statement of several tables; change it alone, choosing rows \
             by a subquery{}",
            if write.verb == Verb::Update {
                ", or say whose each column in SET is"
            } else {
                ""
            }
        )));
    }
    check_paths(table, found)?;
    check_order(statement, write, table)?;
    if statement.shape().counts_examined {
        return Err(table.forbidden("LIMIT ROWS EXAMINED counts rows that are hidden"));
    }
    Ok(())
}

/// Rows are changed in the order of an index. What shows that order would tell of a hidden column: an `UPDATE` can be
/// kept from reading the index, a `DELETE` cannot.
fn check_order(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
) -> Result<(), Forbidden> {
    if table.columns().is_none() || !table.hides_columns() {
        return Ok(());
    }
    let indexes = table.revealing_indexes();
    let is_kept = match write.verb {
        Verb::Update => indexes.is_some(),
        Verb::Delete | Verb::Insert | Verb::Replace => indexes.is_some_and(|all| all.is_empty()),
    };
    let mut tokens = statement.reading.tokens.iter();
    let shows_order = write.has_limit
        || !write.returning.is_empty()
        || tokens.any(|token| token.kind == Kind::UserVariable)
        || (write.verb == Verb::Update && statement.shape().computes);
    if is_kept || !shows_order {
        return Ok(());
    }
    Err(table.forbidden(&format!(
        "LIMIT, RETURNING and variables show the order of an index that may have columns of `{}` which its rules hide; \
         choose the rows by WHERE",
        table.objects()
    )))
}

/// No hidden column of the target is read. Where a name may be the target's it counts as its.
fn check_columns(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
    found: &TableUse,
) -> Result<(), Forbidden> {
    if !table.hides_columns() {
        return Ok(());
    }
    let object = table.objects();
    let within = |column_start: usize, span: &Option<Span>| {
        span.as_ref()
            .is_some_and(|span| span.contains(&column_start))
    };
    for column in &statement.shape().columns {
        let unclear = column.name().filter(|name| !table.spells(name));
        if let Some(name) = unclear.filter(|_| statement.may_mean(column, found)) {
            return Err(table.forbidden(&format!(
                "`{name}` may be another spelling of a column of `{object}` that its rules hide; write it as it is"
            )));
        }
        let is_read = match column.place {
            ColumnPlace::Read | ColumnPlace::Matched => true,
            ColumnPlace::Written | ColumnPlace::Inserted | ColumnPlace::Star => false,
        };
        // An INSERT's query does not see the target.
        if !is_read || within(column.tokens.start, &write.source) {
            continue;
        }
        let Some(name) = column.name() else { continue };
        let is_returned = write
            .returning
            .iter()
            .any(|(expression, _)| *expression == column.tokens)
            && !is_telling(table, name);
        let is_hidden = table.hides_column(name) || is_telling(table, name);
        if is_hidden && statement.may_mean(column, found) && !is_returned {
            return Err(table.forbidden(&format!(
                "`{name}` of `{object}` is hidden, so that a change may write it and not read it; if another \
                 table's column is meant, say whose"
            )));
        }
    }
    for assignment in &write.on_duplicate {
        let column = statement.shape().columns.get(assignment.column);
        let name = column.and_then(|column| column.name()).unwrap_or_default();
        if table.hides_column(name) {
            return Err(table.forbidden(&format!(
                "ON DUPLICATE KEY UPDATE of `{name}` tells whether `{object}` had that value, which its rules hide; \
                 use INSERT or UPDATE"
            )));
        }
    }
    if write.verb == Verb::Replace {
        return Err(table.forbidden(&format!(
            "the count of a REPLACE tells whether `{object}` had just these values, some of which its rules hide; use \
             INSERT or UPDATE"
        )));
    }
    check_together(statement, write, table)?;
    let is_insert = write.verb == Verb::Insert;
    let lists_none = write.columns.is_none() && write.assignments.is_empty();
    if is_insert && lists_none && table.columns().is_some() {
        let columns = table.columns().unwrap_or_default();
        if let Some(hidden) = columns.iter().find(|column| !table.may_name(&column.name)) {
            return Err(table.forbidden(&format!(
                "an INSERT without a list of columns names `{}` of `{object}`, which may not be named; list the columns",
                hidden.name
            )));
        }
    }
    Ok(())
}

/// A new row must meet the row filter.
fn check_rows(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
    parameters: &mut Vec<ParameterRule>,
) -> Result<(), Forbidden> {
    let object = table.objects();
    if write.verb == Verb::Replace || !write.on_duplicate.is_empty() {
        return Err(table.forbidden(&format!(
            "REPLACE and ON DUPLICATE KEY UPDATE may overwrite rows of `{object}` that its rules hide; use INSERT \
             and UPDATE"
        )));
    }
    let Some(demands) = table.demands() else {
        return Err(table.forbidden(&format!(
            "the row filter of `{object}` is more than equalities, so that no row can be inserted under it"
        )));
    };
    if write.source.is_some() {
        return Err(table.forbidden(&format!(
            "rows for `{object}` must say themselves that they meet its row filter; use INSERT … VALUES"
        )));
    }
    for (column, constant) in &demands {
        let demand = Demand::new(statement, table, column, constant)?;
        if write.assignments.is_empty() {
            let listed = write.columns.as_deref().unwrap_or_default();
            let at = listed
                .iter()
                .position(|at| is_column(statement, *at, column));
            let Some(at) = at else {
                return Err(demand.missing());
            };
            if listed
                .iter()
                .filter(|at| is_column(statement, **at, column))
                .count()
                > 1
            {
                return Err(demand.missing());
            }
            for row in &write.rows {
                let Some(value) = row.get(at) else {
                    return Err(demand.missing());
                };
                demand.check(statement, value, parameters)?;
            }
        } else {
            let mut found = false;
            for assignment in &write.assignments {
                if is_column(statement, assignment.column, column) {
                    demand.check(statement, &assignment.value, parameters)?;
                    found = true;
                }
            }
            if !found {
                return Err(demand.missing());
            }
        }
    }
    Ok(())
}

/// A changed row must still meet the row filter.
fn check_update(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
    parameters: &mut Vec<ParameterRule>,
) -> Result<(), Forbidden> {
    let filtered = table.filtered_columns();
    for assignment in &write.assignments {
        let Some(column) = filtered
            .iter()
            .find(|column| is_column(statement, assignment.column, column))
        else {
            continue;
        };
        let demands = table.demands().unwrap_or_default();
        let mut of_column = demands.iter().filter(|(name, _)| same_name(name, column));
        let Some((_, constant)) = of_column.next() else {
            return Err(table.forbidden(&format!(
                "`{column}` of `{}` is in its row filter, so that it cannot be changed",
                table.objects()
            )));
        };
        let demand = Demand::new(statement, table, column, constant)?;
        demand.check(statement, &assignment.value, parameters)?;
        for (_, constant) in of_column {
            let demand = Demand::new(statement, table, column, constant)?;
            demand.check(statement, &assignment.value, parameters)?;
        }
    }
    Ok(())
}

fn is_column(statement: &Statement<'_>, at: usize, name: &str) -> bool {
    let column = statement.shape().columns.get(at);
    column
        .and_then(|column| column.name())
        .is_some_and(|column| same_name(column, name) || !column.is_ascii())
}

/// The value that a column of a written row must have.
struct Demand<'s> {
    table: &'s Table<'s>,
    column: &'s str,
    value: String,
}

impl<'s> Demand<'s> {
    fn new(
        statement: &Statement<'_>,
        table: &'s Table<'s>,
        column: &'s str,
        constant: &Constant,
    ) -> Result<Self, Forbidden> {
        let value = text_of(constant, statement.restrictions.caller);
        let value = value.filter(|value| {
            let family = table.family(column);
            table.columns().is_none() || family.is_some_and(|family| fits(value, family, constant))
        });
        match value {
            Some(value) => Ok(Self {
                table,
                column,
                value,
            }),
            None => Err(table.forbidden(&format!(
                "no row of `{}` can meet its row filter for this caller",
                table.objects()
            ))),
        }
    }

    fn missing(&self) -> Forbidden {
        self.table.forbidden(&format!(
            "a row of `{}` must say that `{}` is what its row filter demands; name the column, once",
            self.table.objects(),
            self.column
        ))
    }

    fn check(
        &self,
        statement: &Statement<'_>,
        value: &Span,
        parameters: &mut Vec<ParameterRule>,
    ) -> Result<(), Forbidden> {
        match value_at(statement, value) {
            Value::Parameter(index) => {
                parameters.push(ParameterRule {
                    index,
                    column: self.column.into(),
                    value: self.value.clone(),
                });
                Ok(())
            }
            Value::Literal(literal) if literal == self.value => Ok(()),
            Value::Literal(_) | Value::Other => Err(self.table.forbidden(&format!(
                "`{}` of `{}` must be the value that its row filter demands, written as a constant or a parameter",
                self.column,
                self.table.objects()
            ))),
        }
    }
}

/// Adds the row filter to what an `UPDATE` or `DELETE` chooses, and masks what `RETURNING` shows.
pub fn restrict(statement: &Statement<'_>, edits: &mut Edits) -> Result<(), Forbidden> {
    let Some(write) = statement.write() else {
        return Ok(());
    };
    for (found, table) in statement.targets() {
        if !table.hides() {
            continue;
        }
        let revealing = table.revealing_indexes().unwrap_or_default();
        if write.verb == Verb::Update && table.hides_columns() && !revealing.is_empty() {
            let end = statement.bytes(&found.tokens.whole).end;
            edits.insert(end, ignoring(&revealing));
        }
        if matches!(write.verb, Verb::Update | Verb::Delete) {
            choose(statement, write, table, found, edits)?;
        }
        if table.hides_columns() {
            touch(statement, write, table, edits);
            returned(statement, write, table, edits);
        }
    }
    Ok(())
}

fn choose(
    statement: &Statement<'_>,
    write: &Write,
    table: &Table<'_>,
    found: &TableUse,
    edits: &mut Edits,
) -> Result<(), Forbidden> {
    let prefix = format!("{}.", quoted(found.exposed()));
    let Some(filter) = table.row_condition(statement.restrictions, prefix)? else {
        return Ok(());
    };
    let Some(condition) = &write.condition else {
        let before = write.condition_at.checked_sub(1);
        let end = before.map_or(0, |last| statement.bytes(&(last..last + 1)).end);
        edits.insert(end, format!(" WHERE {filter}"));
        return Ok(());
    };
    let bytes = statement.bytes(condition);
    match harmless::texts(statement, condition) {
        Some(parameters) => {
            edits.insert(bytes.start, format!("{filter} AND ("));
            for at in parameters {
                make_text(statement, at, edits);
            }
            edits.insert(bytes.end, ")".to_owned());
        }
        // Evaluated for no other row.
        None => {
            edits.insert(bytes.start, format!("{filter} AND IF({filter}, ("));
            edits.insert(bytes.end, "), FALSE)".to_owned());
        }
    }
    Ok(())
}

fn returned(statement: &Statement<'_>, write: &Write, table: &Table<'_>, edits: &mut Edits) {
    let salt = statement.restrictions.mask_salt;
    for (expression, whole) in &write.returning {
        let Some(column) = statement.column_at(expression) else {
            continue;
        };
        let Some(name) = column.name() else {
            let list = table.select_list(salt).unwrap_or_else(|| "NULL".to_owned());
            edits.replace(statement.bytes(whole), list);
            continue;
        };
        if let Some(mut mask) = table.masked(name, salt) {
            if expression == whole {
                mask = format!("{mask} AS {}", quoted(name));
            }
            edits.replace(statement.bytes(expression), mask);
        }
    }
}
