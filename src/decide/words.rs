//! What a compiled policy says, in the words of its file: for explanations and differences.
//!
//! Every structure is taken apart whole, so that a new kind of rule does not compile until it has its words here.

use std::fmt;

use toml::{Table, Value};

use super::rules::{Audited, Bounds, Comparison, Condition, Constant, TableRules};

/// One key of a policy with its value: `max_rows = 1000`.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    pub key: &'static str,
    pub value: Value,
}

impl Clause {
    pub(super) fn new(key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            key,
            value: value.into(),
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}

/// What the rules of one table or collection, and bounds, would be written as in a single grant.
pub(super) fn of_rules(rules: &TableRules, bounds: Bounds) -> Vec<Clause> {
    let TableRules {
        columns,
        denied,
        masked,
        rows,
        requires_where,
        expected: _,
    } = rules;
    let list = |names: &mut dyn Iterator<Item = &Box<str>>| -> Value {
        let names = names.map(|name| Value::from(name.as_ref()));
        names.collect::<Vec<Value>>().into()
    };
    let mut clauses = Vec::new();
    if let Some(columns) = columns {
        clauses.push(Clause::new("columns", list(&mut columns.iter())));
    }
    if !denied.is_empty() {
        clauses.push(Clause::new("deny_columns", list(&mut denied.iter())));
    }
    if !masked.is_empty() {
        let masks = masked.iter();
        let masks = masks.map(|(column, mask)| (column.to_string(), mask.as_str().into()));
        clauses.push(Clause::new("mask_columns", Table::from_iter(masks)));
    }
    if !rows.is_empty() {
        clauses.push(Clause::new("rows", joined(rows, " AND ")));
    }
    if *requires_where {
        clauses.push(Clause::new("require_where", true));
    }
    clauses.extend(of_bounds(bounds));
    clauses
}

pub(super) fn of_bounds(bounds: Bounds) -> Vec<Clause> {
    let Bounds {
        rows_max,
        timeout_ms,
        audited,
    } = bounds;
    // A policy's numbers have 32 bits.
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let rows = rows_max.map(|rows| Clause::new("max_rows", number(rows)));
    let timeout = timeout_ms.map(|ms| Clause::new("timeout_ms", number(ms)));
    let is_audited = audited != Audited::Nothing;
    let audit = is_audited.then(|| Clause::new("audit", audited.as_str()));
    rows.into_iter().chain(timeout).chain(audit).collect()
}

/// Words that are not columns unless they stand in quotes.
const RESERVED: [&str; 8] = ["and", "or", "not", "in", "is", "null", "true", "false"];

fn column(name: &str) -> String {
    let mut letters = name.chars();
    let begins = letters
        .next()
        .is_some_and(|c| c.is_alphabetic() || c == '_');
    let is_plain = begins && letters.all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    if is_plain && !RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Conditions as operands of `AND`, `OR` or `NOT`.
fn joined(conditions: &[Condition], word: &str) -> String {
    if let [only] = conditions {
        return only.to_string();
    }
    let operands: Vec<String> = conditions.iter().map(operand).collect();
    operands.join(word)
}

fn operand(condition: &Condition) -> String {
    match condition {
        Condition::All(_) | Condition::Any(_) => format!("({condition})"),
        Condition::Not(_)
        | Condition::Compare { .. }
        | Condition::In { .. }
        | Condition::IsNull { .. } => condition.to_string(),
    }
}

impl fmt::Display for Condition {
    /// The row filter as a policy writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(conditions) => f.write_str(&joined(conditions, " AND ")),
            Self::Any(conditions) => f.write_str(&joined(conditions, " OR ")),
            Self::Not(inner) => write!(f, "NOT {}", operand(inner)),
            Self::Compare {
                column: name,
                comparison,
                value,
            } => write!(f, "{} {} {value}", column(name), comparison.as_str()),
            Self::In {
                column: name,
                values,
            } => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "{} IN ({})", column(name), values.join(", "))
            }
            Self::IsNull { column: name } => write!(f, "{} IS NULL", column(name)),
        }
    }
}

impl Comparison {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Number(number) => f.write_str(number),
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Caller(attribute) => write!(f, ":caller.{}", attribute.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::parse;
    use super::*;

    #[test]
    fn a_row_filter_is_written_as_it_is_read() {
        for text in [
            "a = 1",
            "user_id = :caller.user_id",
            "a <> 'it''s' AND b <> -1.50",
            "a < 1 OR (b <= 2 AND c > 3)",
            "(a < 1 OR b >= 2) AND c = TRUE",
            "NOT a IS NULL AND NOT (b = FALSE OR NOT c = 1)",
            "a IN ('x', 2, :caller.role)",
            "NOT a IN (1)",
            "\"In\" = :caller.key_id AND \"a b\" = 1 AND \"q\"\"q\" = 1",
            "größe = 1",
        ] {
            let condition = parse(text).unwrap();
            assert_eq!(condition.to_string(), text);
            assert_eq!(parse(&condition.to_string()), Ok(condition));
        }
    }

    #[test]
    fn rules_are_written_as_a_grant() {
        let rules = TableRules {
            columns: Some(["id".into(), "email".into()].into()),
            denied: ["password".into()].into(),
            masked: [("email".into(), super::super::rules::Mask::Partial)].into(),
            rows: vec![parse("a = 1 OR b = 2").unwrap(), parse("c = 'x'").unwrap()],
            requires_where: true,
            expected: std::collections::BTreeSet::new(),
        };
        let bounds = Bounds {
            rows_max: Some(5),
            timeout_ms: Some(7),
            audited: Audited::All,
        };
        let written: Vec<String> = of_rules(&rules, bounds)
            .iter()
            .map(Clause::to_string)
            .collect();
        assert_eq!(
            written,
            [
                r#"columns = ["email", "id"]"#,
                r#"deny_columns = ["password"]"#,
                r#"mask_columns = { email = "partial" }"#,
                r#"rows = "(a = 1 OR b = 2) AND c = 'x'""#,
                "require_where = true",
                "max_rows = 5",
                "timeout_ms = 7",
                "audit = \"all\"",
            ]
        );
        assert!(of_rules(&TableRules::default(), Bounds::default()).is_empty());
    }
}
