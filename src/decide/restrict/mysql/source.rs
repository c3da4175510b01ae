//! Tables that are read: each becomes a derived table of what the caller may see of it.
//!
//! A derived table with a `LIMIT` is neither merged into the query around it nor are conditions pushed into it, on
//! both servers. It stands where the caller's conditions are not harmless by their shape.

use super::super::Forbidden;
use super::columns::{Family, quoted, same_name};
use super::edits::Edits;
use super::harmless;
use super::statement::Statement;
use super::table::Table;
use crate::classify::mysql::Kind;
use crate::classify::mysql::shape::{ColumnPlace, Shown, TableUse};

/// More rows than a table can have, as the servers' manuals have it.
const ALL_ROWS: &str = " LIMIT 18446744073709551615";

/// Refuses what no rewriting makes right.
pub fn check(statement: &Statement<'_>) -> Result<(), Forbidden> {
    let shape = statement.shape();
    for (found, table) in statement.sources() {
        let object = table.objects();
        if !found.tokens.system_time.is_empty() {
            return Err(table.forbidden(&format!(
                "older rows of `{object}` (FOR SYSTEM_TIME) are not readable under its rules"
            )));
        }
        check_paths(table, found)?;
        if shape.is_explained {
            return Err(table.forbidden(&format!(
                "EXPLAIN tells about rows and values of `{object}` that its rules hide"
            )));
        }
        if shape.counts_examined && table.hides_rows() {
            return Err(table.forbidden(&format!(
                "LIMIT ROWS EXAMINED counts rows of `{object}` that its rules hide; use LIMIT"
            )));
        }
    }
    for (shown, what) in &shape.shown {
        let ruled = statement
            .tables
            .iter()
            .find(|table| table.is(shown, statement.restrictions.default_namespace));
        if let Some(table) = ruled.filter(|table| *what == Shown::Statistics && table.hides()) {
            return Err(table.forbidden(&format!(
                "it tells how many rows or values `{}` has, which its rules hide; use SHOW COLUMNS",
                table.objects()
            )));
        }
    }
    for locked in &shape.locked {
        let ruled = statement
            .tables
            .iter()
            .find(|table| table.is(locked, statement.restrictions.default_namespace));
        if let Some(table) = ruled.filter(|table| table.hides()) {
            return Err(table.forbidden(&format!(
                "rows of `{}` cannot be locked under its rules; read without FOR UPDATE, or update them",
                table.objects()
            )));
        }
    }
    check_matches(statement)?;
    check_hints(statement)
}

/// What chooses rows by a hidden column: a partition, or an index in whose order they come.
pub fn check_paths(table: &Table<'_>, found: &TableUse) -> Result<(), Forbidden> {
    if !table.hides_columns() {
        return Ok(());
    }
    let object = table.objects();
    if !found.tokens.partition.is_empty() {
        return Err(table.forbidden(&format!(
            "PARTITION may tell about columns of `{object}` that its rules hide; leave it out"
        )));
    }
    if !found.tokens.hints.is_empty() {
        return Err(table.forbidden(&format!(
            "an index hint may order rows by columns of `{object}` that its rules hide; leave it out"
        )));
    }
    Ok(())
}

/// The relevance of a full-text search hangs on rows and columns that are hidden.
fn check_matches(statement: &Statement<'_>) -> Result<(), Forbidden> {
    let shape = statement.shape();
    let matched = shape
        .columns
        .iter()
        .filter(|column| column.place == ColumnPlace::Matched);
    for column in matched {
        for found in &shape.tables {
            let ruled = statement.ruled(found).filter(|table| table.hides());
            if let Some(table) = ruled.filter(|_| statement.may_mean(column, found)) {
                return Err(table.forbidden(&format!(
                    "full-text search counts what the rules of `{}` hide; use LIKE",
                    table.objects()
                )));
            }
        }
    }
    Ok(())
}

/// MySQL's optimizer hints that choose an index.
fn check_hints(statement: &Statement<'_>) -> Result<(), Forbidden> {
    let chooses = statement.reading.tokens.iter().any(|token| {
        let text = token.text(&statement.reading.sql);
        token.kind == Kind::Hint && text.to_ascii_uppercase().contains("INDEX")
    });
    let hiding = statement.tables.iter().find(|table| table.hides_columns());
    match hiding.filter(|_| chooses) {
        Some(table) => Err(table.forbidden(&format!(
            "an index hint may order rows by columns of `{}` that its rules hide; leave it out",
            table.objects()
        ))),
        None => Ok(()),
    }
}

/// Replaces every table that is read and hides something.
pub fn replace(statement: &Statement<'_>, edits: &mut Edits) -> Result<(), Forbidden> {
    let hides_rows = statement.sources().any(|(_, table)| table.hides_rows());
    let mut fenced = false;
    if hides_rows {
        match harmless_parameters(statement) {
            // Within a target's condition they were made text with it.
            Some(parameters) => {
                for at in parameters {
                    make_text(statement, at, edits);
                }
            }
            None => fenced = true,
        }
    }
    for (found, table) in statement.sources() {
        let derived = derived(statement, table, found, fenced && table.hides_rows())?;
        edits.replace(statement.bytes(&found.tokens.whole), derived);
    }
    unqualify(statement, edits)
}

/// The parameters to be made text, if nothing in the whole statement can tell of a hidden row.
fn harmless_parameters(statement: &Statement<'_>) -> Option<Vec<usize>> {
    let shape = statement.shape();
    if shape.computes || shape.joins_by_name || compares_elsewhere(statement) {
        return None;
    }
    let of_target = statement
        .targets()
        .any(|(_, table)| table.hides_rows())
        .then(|| statement.write()?.condition.clone())
        .flatten();
    let mut parameters = Vec::new();
    for condition in &shape.conditions {
        let texts = harmless::texts(statement, condition)?;
        if of_target.as_ref() != Some(condition) {
            parameters.extend(texts);
        }
    }
    Some(parameters)
}

/// Whether anything is compared outside of the conditions that are looked into.
fn compares_elsewhere(statement: &Statement<'_>) -> bool {
    let shape = statement.shape();
    let assigns = shape.write.is_some();
    let is_within = |at: usize| shape.conditions.iter().any(|span| span.contains(&at));
    let tokens = statement.reading.tokens.iter().enumerate();
    let mut compared = tokens.filter(|(_, token)| {
        let text = token.text(&statement.reading.sql);
        match token.kind {
            Kind::Symbol => {
                ["<", ">", "<=", ">=", "<>", "!=", "<=>", "&&", "||", "!"].contains(&text)
                    || (text == "=" && !assigns)
            }
            Kind::Word => ["LIKE", "IN", "BETWEEN", "XOR", "OR", "AND", "NOT"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word)),
            Kind::Name
            | Kind::Quoted
            | Kind::Text
            | Kind::National
            | Kind::Number
            | Kind::Binary
            | Kind::Parameter
            | Kind::UserVariable
            | Kind::SystemVariable
            | Kind::Hint => false,
        }
    });
    compared.any(|(at, _)| !is_within(at))
}

/// Sends a parameter as text, so that comparing a text column with it converts no row.
pub fn make_text(statement: &Statement<'_>, at: usize, edits: &mut Edits) {
    edits.replace(statement.bytes(&(at..at + 1)), "CONCAT(?)".to_owned());
}

fn derived(
    statement: &Statement<'_>,
    table: &Table<'_>,
    found: &TableUse,
    fenced: bool,
) -> Result<String, Forbidden> {
    let restrictions = statement.restrictions;
    let Some(list) = table.select_list(restrictions.mask_salt) else {
        return Err(table.forbidden(&format!("no column of `{}` may be seen", table.objects())));
    };
    let mut query = format!(
        "SELECT {list} FROM {}.{}",
        quoted(table.namespace),
        quoted(table.name)
    );
    for kept in [&found.tokens.partition, &found.tokens.hints] {
        if !kept.is_empty() {
            query.push(' ');
            query.push_str(statement.text_of(kept));
        }
    }
    let mut order = String::new();
    if table.hides_columns() {
        match table.revealing_indexes() {
            Some(indexes) if indexes.is_empty() => {}
            Some(indexes) => query.push_str(&ignoring(&indexes)),
            None => order = sorted(table),
        }
    }
    if let Some(condition) = table.row_condition(restrictions, String::new())? {
        query.push_str(" WHERE ");
        query.push_str(&condition);
    }
    if fenced || !order.is_empty() {
        query.push_str(&order);
        query.push_str(ALL_ROWS);
    }
    let exposed = quoted(found.exposed());
    Ok(if found.is_statement {
        format!("SELECT * FROM ({query}) AS {exposed}")
    } else {
        format!("({query}) AS {exposed}")
    })
}

/// The hint that keeps the server from reading some indexes.
pub fn ignoring(indexes: &[&str]) -> String {
    let names: Vec<String> = indexes.iter().map(|name| quoted(name)).collect();
    format!(" IGNORE INDEX ({})", names.join(", "))
}

/// An order that no hidden column has a part in.
fn sorted(table: &Table<'_>) -> String {
    let columns = table.columns().unwrap_or_default().iter();
    let shown = columns.filter(|column| {
        let family = Family::of(&column.type_name);
        !table.hides_column(&column.name)
            && matches!(
                family,
                Family::Integer | Family::Decimal | Family::Text | Family::Moment | Family::Instant
            )
    });
    let names: Vec<String> = shown.map(|column| quoted(&column.name)).collect();
    if names.is_empty() {
        return " ORDER BY RAND()".to_owned();
    }
    format!(" ORDER BY {}", names.join(", "))
}

/// A derived table has no database: `db.table.column` becomes `table.column` where it means one that was replaced.
fn unqualify(statement: &Statement<'_>, edits: &mut Edits) -> Result<(), Forbidden> {
    let shape = statement.shape();
    for column in &shape.columns {
        let (Some(database), Some(name)) = (column.database(), column.qualifier()) else {
            continue;
        };
        let Some((_, table)) = statement
            .sources()
            .find(|(found, _)| same_name(found.exposed(), name))
        else {
            continue;
        };
        let is_only = shape.tables.iter().all(|other| {
            !same_name(other.exposed(), name)
                || (other.alias.is_none()
                    && table.is(&other.table, statement.restrictions.default_namespace))
        });
        let is_derived = shape.derived.iter().any(|other| same_name(other, name));
        if !is_only || is_derived || database != table.namespace {
            return Err(table.forbidden(&format!(
                "`{database}.{name}` before a column is not clear under the rules of `{}`; give the table an alias",
                table.objects()
            )));
        }
        let prefix = statement.start(column.tokens.start)..statement.start(column.tokens.start + 2);
        edits.replace(prefix, String::new());
    }
    Ok(())
}
