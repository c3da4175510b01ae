//! Rewrites MySQL's and MariaDB's statements so that they keep the rules.
//!
//! What is read is replaced where it is named (`source`), so that whatever stands around it sees what the caller may
//! see and no more. What is written is checked and its rows are chosen by the row filter too (`target`). The result
//! is classified again, and must touch what the statement touched.
//!
//! What is not hidden: how long a statement takes; that a unique key has a value (`Duplicate entry`) or that a
//! foreign key refers to a row; the next `AUTO_INCREMENT`.

mod bounds;
mod columns;
mod condition;
mod edits;
mod harmless;
mod names;
mod source;
mod statement;
mod table;
mod target;
mod telltale;
#[cfg(test)]
mod tests;
mod value;

use super::{Columns, Forbidden, Restricted, Restrictions};
use crate::classify::{Session, mysql};
use crate::operation::{Classification, Object, Touch};
use edits::Edits;
use statement::Statement;
use table::Table;

/// Rewrites one statement (the text that would be sent) so that it keeps the rules. Without `columns`, as where no
/// server is asked, everything is checked that does not need them, and nothing is rewritten.
pub fn restrict(
    sql: &str,
    restrictions: &Restrictions<'_>,
    columns: Option<&dyn Columns>,
) -> Result<Option<Restricted>, Forbidden> {
    let tables = table::gather(restrictions, columns)?;
    let reading = match mysql::read(sql, Session::Own) {
        Ok(reading) => reading,
        Err(refusal) => return Err(all(&tables, &refusal.to_string())),
    };
    let statement = Statement::new(&reading, restrictions, &tables, columns);
    check(&statement)?;
    let parameters = target::check(&statement)?;
    source::check(&statement)?;
    names::check(&statement)?;
    if columns.is_none() {
        return Ok(None);
    }
    let mut edits = Edits::default();
    target::restrict(&statement, &mut edits)?;
    source::replace(&statement, &mut edits)?;
    let sql = if edits.is_empty() {
        reading.sql.clone()
    } else {
        let text = edits.apply(&reading.sql);
        let text = text.ok_or_else(|| all(&tables, "the rules cannot be added to it"))?;
        verified(&text, &statement)?
    };
    Ok(Some(Restricted { sql, parameters }))
}

fn all(tables: &[Table<'_>], reason: &str) -> Forbidden {
    Forbidden {
        objects: tables
            .iter()
            .flat_map(|table| table.objects.clone())
            .collect(),
        reason: reason.to_owned(),
    }
}

/// Refuses statements that are not rewritten at all, and tables that no text shows.
fn check(statement: &Statement<'_>) -> Result<(), Forbidden> {
    let shape = statement.shape();
    if shape.statements != 1 {
        return Err(statement.forbidden("several statements in one text; send them one by one"));
    }
    for table in statement.tables {
        let default = statement.restrictions.default_namespace;
        if shape.is_definition && (table.hides() || table.requires_where()) {
            return Err(table.forbidden(&format!(
                "`{}` has rules that a change of its definition, or TRUNCATE, would not keep",
                table.objects()
            )));
        }
        let is_named = shape
            .tables
            .iter()
            .any(|found| table.is(&found.table, default))
            || shape
                .shown
                .iter()
                .any(|(shown, _)| table.is(shown, default));
        if !is_named && table.hides() {
            return Err(table.forbidden(&format!(
                "`{}` has rules and is reached through a view, a trigger or a foreign key, where they cannot be kept",
                table.objects()
            )));
        }
    }
    Ok(())
}

/// The canonical text of a rewritten statement, if it touches what the original did.
fn verified(text: &str, statement: &Statement<'_>) -> Result<String, Forbidden> {
    let default = statement.restrictions.default_namespace;
    match mysql::classify(text, Session::Own) {
        Ok(found)
            if touches(&found, default) == touches(&statement.reading.classification, default)
                && found.functions == statement.reading.classification.functions =>
        {
            Ok(found.rewritten.unwrap_or_else(|| text.to_owned()))
        }
        Ok(_) | Err(_) => Err(statement
            .forbidden("the rules cannot be added to this statement; write it more simply")),
    }
}

/// What is touched, with each table's database.
fn touches(classification: &Classification, default: &str) -> Vec<Touch> {
    let named = |object: &Object| match object {
        Object::Named { namespace, name } => {
            Object::named(Some(namespace.as_deref().unwrap_or(default)), name)
        }
        Object::Key(_) | Object::Keys(_) => object.clone(),
    };
    let mut touches: Vec<Touch> = classification
        .touches
        .iter()
        .map(|touch| Touch {
            object: named(&touch.object),
            action: touch.action,
        })
        .collect();
    touches.sort();
    touches.dedup();
    touches
}
