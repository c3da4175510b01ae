//! Whether a row that is written meets the conditions, as far as its text tells.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, a_const};

use super::Result;
use super::render::{lacks_attribute, text_of};
use super::table::{Table, Tables};
use crate::decide::restrict::ParameterRule;
use crate::decide::rules::{Comparison, Condition, Constant};

/// What a row's column will hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    /// A constant, by its text.
    Constant(String),
    /// A parameter, by its place from 0.
    Parameter(usize),
    /// A cast of either, to a type that may be the column's own.
    Cast,
    Unknown,
}

impl Value {
    /// What an expression certainly is, as a value for this column.
    #[allow(clippy::wildcard_enum_match_arm)] // All else is unknown.
    pub fn of(node: Option<&Node>, table: &Table<'_>, column: &str) -> Self {
        match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::AConst(constant)) if constant.isnull => Self::Null,
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(a_const::Val::Ival(number)) => Self::Constant(number.ival.to_string()),
                Some(a_const::Val::Fval(number)) => Self::Constant(number.fval.clone()),
                Some(a_const::Val::Boolval(truth)) => Self::Constant(truth.boolval.to_string()),
                Some(a_const::Val::Sval(text)) => Self::Constant(text.sval.clone()),
                Some(a_const::Val::Bsval(_)) | None => Self::Unknown,
            },
            Some(NodeEnum::ParamRef(parameter)) => usize::try_from(parameter.number)
                .ok()
                .and_then(|number| number.checked_sub(1))
                .map_or(Self::Unknown, Self::Parameter),
            Some(NodeEnum::TypeCast(_)) if table.columns.is_none() => Self::Cast,
            // A cast to the column's own type changes nothing.
            Some(NodeEnum::TypeCast(cast))
                if is_own_type(cast.type_name.as_ref(), table, column) =>
            {
                Self::of(cast.arg.as_deref(), table, column)
            }
            _ => Self::Unknown,
        }
    }
}

fn is_own_type(
    cast: Option<&pg_query::protobuf::TypeName>,
    table: &Table<'_>,
    column: &str,
) -> bool {
    let (Some(cast), Some(column)) = (cast, table.column(column)) else {
        return false;
    };
    let own = super::kind::kind_of_type(&column.type_name);
    own.is_some() && super::kind::kind_of_cast(cast) == own && cast.typmods.is_empty()
}

/// Proves that every condition holds for a row, or says which column must be what. `value` tells what a column
/// will hold. The conditions that mention none of `columns` are not asked, where it is given: they held before.
pub fn row(
    table: &Table<'_>,
    tables: &Tables<'_>,
    changed: Option<&[&str]>,
    value: &dyn Fn(&str) -> Value,
) -> Result<Vec<ParameterRule>> {
    let mut rules = Vec::new();
    for condition in &table.rules.rows {
        let prover = Prover {
            table,
            tables,
            changed,
            value,
        };
        prover.condition(condition, &mut rules)?;
    }
    Ok(rules)
}

struct Prover<'p, 'a> {
    table: &'p Table<'a>,
    tables: &'p Tables<'a>,
    changed: Option<&'p [&'p str]>,
    value: &'p dyn Fn(&str) -> Value,
}

impl Prover<'_, '_> {
    fn condition(&self, condition: &Condition, rules: &mut Vec<ParameterRule>) -> Result<()> {
        if let Condition::All(parts) = condition {
            return parts
                .iter()
                .try_for_each(|part| self.condition(part, rules));
        }
        let columns = columns_of(condition);
        let is_changed = self
            .changed
            .is_none_or(|changed| columns.iter().any(|column| changed.contains(column)));
        if !is_changed {
            return Ok(());
        }
        if lacks_attribute(condition, self.tables) {
            return Err(self.table.forbid(format!(
                "the rows of `{}` belong to callers with an attribute that this key lacks",
                self.table.object
            )));
        }
        if let Condition::Compare {
            column,
            comparison: Comparison::Equal,
            value,
        } = condition
            && let Value::Parameter(index) = (self.value)(column)
        {
            rules.push(ParameterRule {
                index,
                column: column.clone(),
                value: text_of(value, self.tables).unwrap_or_default().into(),
            });
            return Ok(());
        }
        // Without the columns' types only a value that is not in the text is certainly no proof.
        let is_open = self.table.columns.is_none()
            && columns
                .iter()
                .all(|column| matches!((self.value)(column), Value::Constant(_) | Value::Cast));
        match self.truth(condition) {
            Some(true) => Ok(()),
            None if is_open => Ok(()),
            Some(false) | None => Err(self.unproven(condition, &columns)),
        }
    }

    fn unproven(&self, condition: &Condition, columns: &[&str]) -> super::Forbidden {
        let table = self.table;
        let name = columns.first().copied().unwrap_or_default();
        let reason = match condition {
            Condition::Compare {
                comparison: Comparison::Equal,
                value,
                ..
            } => {
                let value = text_of(value, self.tables).unwrap_or_default();
                format!(
                    "a row that is written to `{}` needs `{name}` = '{value}', as a constant or a parameter",
                    table.object
                )
            }
            Condition::Compare { .. }
            | Condition::All(_)
            | Condition::Any(_)
            | Condition::Not(_)
            | Condition::In { .. }
            | Condition::IsNull { .. } => format!(
                "a row that is written to `{}` needs a constant for `{name}` that meets the row filter",
                table.object
            ),
        };
        table.forbid(reason)
    }

    /// Whether the condition certainly holds, or certainly not.
    fn truth(&self, condition: &Condition) -> Option<bool> {
        match condition {
            Condition::All(parts) => {
                let truths: Vec<_> = parts.iter().map(|part| self.truth(part)).collect();
                match truths.contains(&Some(false)) {
                    true => Some(false),
                    false if truths.contains(&None) => None,
                    false => Some(true),
                }
            }
            Condition::Any(parts) => {
                let truths: Vec<_> = parts.iter().map(|part| self.truth(part)).collect();
                match truths.contains(&Some(true)) {
                    true => Some(true),
                    false if truths.contains(&None) => None,
                    false => Some(false),
                }
            }
            Condition::Not(part) => self.truth(part).map(|truth| !truth),
            Condition::Compare {
                column,
                comparison,
                value,
            } => self.compare(column, *comparison, value),
            Condition::In { column, values } => {
                let truths: Vec<_> = values
                    .iter()
                    .map(|value| self.compare(column, Comparison::Equal, value))
                    .collect();
                match truths.contains(&Some(true)) {
                    true => Some(true),
                    false if truths.contains(&None) => None,
                    false => Some(false),
                }
            }
            Condition::IsNull { column } => match (self.value)(column) {
                Value::Null => Some(true),
                Value::Constant(_) => Some(false),
                Value::Parameter(_) | Value::Cast | Value::Unknown => None,
            },
        }
    }

    /// A comparison with NULL is neither true nor false, and a row that it decides is none of the caller's.
    fn compare(&self, column: &str, comparison: Comparison, demanded: &Constant) -> Option<bool> {
        let Value::Constant(given) = (self.value)(column) else {
            return None;
        };
        let type_name = match &self.table.columns {
            Some(_) => &*self.table.column(column)?.type_name,
            None => "text",
        };
        let demanded = text_of(demanded, self.tables)?;
        if !is_stored_as_given(type_name, &given) {
            return None;
        }
        let ordering = order(type_name, &given, demanded);
        match comparison {
            Comparison::Equal if given == demanded => Some(true),
            Comparison::Equal => match ordering {
                Some(ordering) => Some(ordering.is_eq()),
                None => differ(type_name, &given, demanded).then_some(false),
            },
            Comparison::NotEqual if given == demanded => Some(false),
            Comparison::NotEqual => match ordering {
                Some(ordering) => Some(ordering.is_ne()),
                None => differ(type_name, &given, demanded).then_some(true),
            },
            Comparison::Less => Some(ordering?.is_lt()),
            Comparison::LessOrEqual => Some(ordering?.is_le()),
            Comparison::Greater => Some(ordering?.is_gt()),
            Comparison::GreaterOrEqual => Some(ordering?.is_ge()),
        }
    }
}

/// Whether a column keeps the value: those of whole numbers, or of a limited length or precision, round numbers and
/// times, and cut blanks.
fn is_stored_as_given(type_name: &str, given: &str) -> bool {
    if matches!(type_name, "smallint" | "integer" | "bigint") {
        return given.parse::<i64>().is_ok();
    }
    !type_name.contains('(')
        || given.bytes().all(|byte| byte.is_ascii_digit())
        || type_name.starts_with("character") && !given.ends_with(' ')
}

/// Whole numbers are ordered as numbers in columns of whole numbers, and of decimals.
fn order(type_name: &str, given: &str, demanded: &str) -> Option<std::cmp::Ordering> {
    if !matches!(type_name, "smallint" | "integer" | "bigint") && !type_name.starts_with("numeric")
    {
        return None;
    }
    let (given, demanded) = (given.parse::<i64>().ok()?, demanded.parse::<i64>().ok()?);
    Some(given.cmp(&demanded))
}

/// Whether two texts differ under every collation that is used for text: not only in case or blanks.
fn differ(type_name: &str, given: &str, demanded: &str) -> bool {
    let is_text = type_name == "text" || type_name.starts_with("character varying");
    is_text
        && given.is_ascii()
        && demanded.is_ascii()
        && !given.trim().eq_ignore_ascii_case(demanded.trim())
}

/// The columns that a condition mentions.
pub fn columns_of(condition: &Condition) -> Vec<&str> {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().flat_map(columns_of).collect()
        }
        Condition::Not(part) => columns_of(part),
        Condition::Compare { column, .. }
        | Condition::In { column, .. }
        | Condition::IsNull { column } => vec![column],
    }
}
