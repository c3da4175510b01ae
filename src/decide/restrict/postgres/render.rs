//! What the rewriting adds, as text, and its tree.
//!
//! Text that the server's own grammar parses is easier to read and to check than a tree made by hand.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, RangeVar, SelectStmt};

use super::Result;
use super::table::{Table, Tables};
use crate::classify::postgres as parser;
use crate::decide::rules::{Comparison, Condition, Constant, Mask};

/// What a restricted table is called inside its derived table.
const INSIDE: &str = "t";

pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant; the session pins `standard_conforming_strings`.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The table as its caller may see it, in place of the table: its visible columns in their order, and the rows
/// that meet its conditions.
pub fn derived(
    table: &Table<'_>,
    tables: &Tables<'_>,
    relation: &RangeVar,
    is_fenced: bool,
) -> Result<Node> {
    let columns = table.known(tables)?.map(|columns| &**columns);
    let columns: Vec<String> = columns
        .unwrap_or_default()
        .iter()
        .filter(|column| table.rules.may_name(&column.name))
        .map(|column| {
            let name = identifier(&column.name);
            match masked(table, tables, &column.name, INSIDE) {
                Some(mask) => format!("{mask} AS {name}"),
                None => format!("{INSIDE}.{name}"),
            }
        })
        .collect();
    let mut text = format!(
        "SELECT {} FROM {}{}.{} {INSIDE}",
        columns.join(", "),
        if relation.inh { "" } else { "ONLY " },
        identifier(table.namespace),
        identifier(table.name),
    );
    if let Some(condition) = rows(table, tables, INSIDE)? {
        text.push_str(" WHERE ");
        text.push_str(&condition);
    }
    if is_fenced && table.hides_rows() {
        text.push_str(" OFFSET 0");
    }
    let select = parse(table, &format!("SELECT FROM ({text}) {INSIDE}"))?;
    let mut item = select.from_clause.into_iter().next();
    if let Some(NodeEnum::RangeSubselect(subselect)) =
        item.as_mut().and_then(|item| item.node.as_mut())
    {
        let alias = relation.alias.clone().unwrap_or_else(|| Alias {
            aliasname: relation.relname.clone(),
            colnames: Vec::new(),
        });
        subselect.alias = Some(alias);
    }
    item.ok_or_else(|| table.forbid("its columns cannot be written"))
}

/// What is seen in place of a masked column; `None` where it is not masked.
pub fn masked(
    table: &Table<'_>,
    tables: &Tables<'_>,
    column: &str,
    qualifier: &str,
) -> Option<String> {
    let value = format!("{}.{}", identifier(qualifier), identifier(column));
    Some(match table.mask(column)? {
        Mask::Null => {
            let type_name = table.column(column).map(|column| &*column.type_name);
            format!("NULL::{}", type_name.unwrap_or("text"))
        }
        Mask::Hash => format!(
            "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to({} || {value}::text, 'UTF8')), 'hex')",
            literal(tables.rules.mask_salt)
        ),
        Mask::Partial => format!(
            "CASE WHEN pg_catalog.length({value}::text) > 8 THEN '****' || pg_catalog.\"right\"({value}::text, 4) \
             WHEN {value} IS NOT NULL THEN '****' END"
        ),
    })
}

/// The mask of a column as an expression.
pub fn mask(
    table: &Table<'_>,
    tables: &Tables<'_>,
    column: &str,
    qualifier: &str,
) -> Result<Option<Node>> {
    let Some(text) = masked(table, tables, column, qualifier) else {
        return Ok(None);
    };
    let select = parse(table, &format!("SELECT {text}"))?;
    match select
        .target_list
        .into_iter()
        .next()
        .and_then(|target| target.node)
    {
        Some(NodeEnum::ResTarget(target)) => Ok(target.val.map(|value| *value)),
        _ => Err(table.forbid("a mask cannot be written")),
    }
}

/// What each row must meet, as an expression; `None` where every row may be seen.
pub fn row_condition(
    table: &Table<'_>,
    tables: &Tables<'_>,
    qualifier: &str,
) -> Result<Option<Node>> {
    let Some(text) = rows(table, tables, &identifier(qualifier))? else {
        return Ok(None);
    };
    let select = parse(table, &format!("SELECT WHERE {text}"))?;
    Ok(select.where_clause.map(|condition| *condition))
}

fn parse(table: &Table<'_>, text: &str) -> Result<SelectStmt> {
    let failed = || table.forbid(format!("the rules of `{}` cannot be written", table.object));
    let mut tree = parser::tree(text).map_err(|_| failed())?;
    match (
        tree.stmts.pop().and_then(|raw| raw.stmt),
        tree.stmts.is_empty(),
    ) {
        (Some(node), true) => match node.node {
            Some(NodeEnum::SelectStmt(select)) => Ok(*select),
            _ => Err(failed()),
        },
        _ => Err(failed()),
    }
}

/// All conditions of a table. `qualifier` is written as it is: without one, a column that the table lacks could
/// become one of a query around it.
fn rows(table: &Table<'_>, tables: &Tables<'_>, qualifier: &str) -> Result<Option<String>> {
    if !table.hides_rows() {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for rule in &table.rules.rows {
        if lacks_attribute(rule, tables) {
            return Ok(Some("false".into()));
        }
        parts.push(condition(table, tables, rule, qualifier)?);
    }
    Ok(Some(parts.join(" AND ")))
}

/// Whether the condition asks for something of the caller that is not there: then no row meets it, however the
/// comparison is nested.
pub fn lacks_attribute(rule: &Condition, tables: &Tables<'_>) -> bool {
    match rule {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().any(|part| lacks_attribute(part, tables))
        }
        Condition::Not(part) => lacks_attribute(part, tables),
        Condition::Compare { value, .. } => text_of(value, tables).is_none(),
        Condition::In { values, .. } => values.iter().any(|value| text_of(value, tables).is_none()),
        Condition::IsNull { .. } => false,
    }
}

/// A constant's text; `None` where the caller has no such attribute.
pub fn text_of<'v>(value: &'v Constant, tables: &'v Tables<'_>) -> Option<&'v str> {
    match value {
        Constant::Text(text) | Constant::Number(text) => Some(text),
        Constant::Boolean(true) => Some("true"),
        Constant::Boolean(false) => Some("false"),
        Constant::Caller(attribute) => attribute.of(tables.rules.caller),
    }
}

fn condition(
    table: &Table<'_>,
    tables: &Tables<'_>,
    rule: &Condition,
    qualifier: &str,
) -> Result<String> {
    let name = |column: &str| -> Result<String> {
        if table.known(tables)?.is_some() && !table.has(column) {
            return Err(table.forbid(format!(
                "the row filter of `{}` needs its column `{column}`, which it does not have",
                table.object
            )));
        }
        Ok(format!("{qualifier}.{}", identifier(column)))
    };
    let all = |parts: &[Condition], word: &str, empty: &str| -> Result<String> {
        let parts = parts
            .iter()
            .map(|part| condition(table, tables, part, qualifier))
            .collect::<Result<Vec<_>>>()?;
        Ok(if parts.is_empty() {
            empty.to_owned()
        } else {
            format!("({})", parts.join(word))
        })
    };
    let constant = |value: &Constant| literal(text_of(value, tables).unwrap_or_default());
    Ok(match rule {
        Condition::All(parts) => all(parts, " AND ", "true")?,
        Condition::Any(parts) => all(parts, " OR ", "false")?,
        Condition::Not(part) => format!("(NOT {})", condition(table, tables, part, qualifier)?),
        Condition::Compare {
            column,
            comparison,
            value,
        } => format!(
            "{} {} {}",
            name(column)?,
            operator(*comparison),
            number(table, column, value).unwrap_or_else(|| constant(value))
        ),
        Condition::In { column, values } if values.is_empty() => {
            name(column)?;
            "false".into()
        }
        Condition::In { column, values } => {
            let values: Vec<String> = values
                .iter()
                .map(|value| number(table, column, value).unwrap_or_else(|| constant(value)))
                .collect();
            format!("{} IN ({})", name(column)?, values.join(", "))
        }
        Condition::IsNull { column } => format!("{} IS NULL", name(column)?),
    })
}

/// A fraction compared with a column of integers is written as a number. All else is written as a string, which
/// the server reads as a value of the column's own type: `0.1` as a `real` where the column is one. A cast to the
/// type would cut what is too long for the column, and `abcdef` would mean the rows of `abc`.
fn number(table: &Table<'_>, column: &str, value: &Constant) -> Option<String> {
    let Constant::Number(number) = value else {
        return None;
    };
    let is_integer = matches!(
        &*table.column(column)?.type_name,
        "smallint" | "integer" | "bigint"
    );
    let is_plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    (is_integer && is_plain && number.contains('.')).then(|| format!("({number})"))
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}
