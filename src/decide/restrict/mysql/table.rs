//! One table that has rules: what its columns are, and what may be seen of them.

use std::sync::Arc;

use super::super::computed::{misses, missing, with_computed};
use super::super::{Column, Columns, Forbidden, Index, Restrictions};
use super::columns::{Family, masked, quoted, same_name};
use super::condition::Writer;
use crate::classify::mysql::TableName;
use crate::decide::rules::{Comparison, Condition, Constant, Mask, TableRules};
use crate::operation::Object;

/// A table that has rules.
pub struct Table<'a> {
    pub objects: Vec<Object>,
    pub namespace: &'a str,
    pub name: &'a str,
    rules: Vec<Arc<TableRules>>,
    /// `None` where no server is asked.
    columns: Option<Arc<[Column]>>,
    indexes: Option<Arc<[Index]>>,
}

/// Gathers the tables; the same one may have been touched under two names.
pub fn gather<'a>(
    restrictions: &Restrictions<'a>,
    columns: Option<&dyn Columns>,
) -> Result<Vec<Table<'a>>, Forbidden> {
    let mut tables: Vec<Table<'a>> = Vec::new();
    for (object, rules) in &restrictions.tables {
        let Object::Named { namespace, name } = object else {
            return Err(Forbidden {
                objects: vec![(*object).clone()],
                reason: format!("`{object}` is not a table"),
            });
        };
        let namespace = namespace
            .as_deref()
            .unwrap_or(restrictions.default_namespace);
        if let Some(known) = tables
            .iter_mut()
            .find(|table| table.namespace == namespace && table.name == name)
        {
            known.objects.push((*object).clone());
            let rules = with_computed(rules, known.columns().unwrap_or_default(), same_name);
            if !known.rules.contains(&rules) {
                known.rules.push(rules);
            }
            continue;
        }
        let mut table = Table {
            objects: vec![(*object).clone()],
            namespace,
            name,
            rules: vec![Arc::clone(rules)],
            columns: None,
            indexes: None,
        };
        if let Some(columns) = columns {
            let Some(known) = columns.of(namespace, name) else {
                return Err(table.forbidden(&format!(
                    "the columns of `{object}` are not known, so that its rules cannot be kept"
                )));
            };
            if let Some(column) = missing(rules, &known, same_name) {
                return Err(table.forbidden(&misses(column)));
            }
            table.rules = vec![with_computed(rules, &known, same_name)];
            table.columns = Some(known);
            table.indexes = columns.indexes(namespace, name);
        }
        tables.push(table);
    }
    Ok(tables)
}

impl<'a> Table<'a> {
    pub fn forbidden(&self, reason: &str) -> Forbidden {
        Forbidden {
            objects: self.objects.clone(),
            reason: reason.to_owned(),
        }
    }

    pub fn is(&self, table: &TableName, default: &str) -> bool {
        table.name == self.name && table.namespace.as_deref().unwrap_or(default) == self.namespace
    }

    pub fn columns(&self) -> Option<&[Column]> {
        self.columns.as_deref()
    }

    pub fn has_column(&self, name: &str) -> Option<bool> {
        let columns = self.columns.as_ref()?;
        Some(columns.iter().any(|column| same_name(&column.name, name)))
    }

    pub fn family(&self, name: &str) -> Option<Family> {
        let columns = self.columns.as_ref()?;
        let column = columns.iter().find(|known| same_name(&known.name, name))?;
        Some(Family::of(&column.type_name))
    }

    /// Whether a name is exactly that of a column. The servers fold letters beyond ASCII each in its own way.
    pub fn spells(&self, name: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| {
            name.is_ascii() || columns.iter().any(|column| *column.name == *name)
        })
    }

    /// Names of columns are compared as the servers do, so that the policy's spelling does not matter.
    pub fn may_name(&self, column: &str) -> bool {
        self.rules.iter().all(|rules| {
            let listed = rules
                .columns
                .as_ref()
                .is_none_or(|listed| listed.iter().any(|name| same_name(name, column)));
            listed && !rules.denied.iter().any(|name| same_name(name, column))
        })
    }

    /// Whether a rule denies the column by its name, and not for want of being listed.
    pub fn denies(&self, column: &str) -> bool {
        self.rules
            .iter()
            .any(|rules| rules.denied.iter().any(|name| same_name(name, column)))
    }

    /// The mask of a column; of several the one that shows least.
    pub fn mask(&self, column: &str) -> Option<Mask> {
        let of_all = self.rules.iter().flat_map(|rules| &rules.masked);
        of_all
            .filter(|(name, _)| same_name(name, column))
            .map(|(_, mask)| *mask)
            .min()
    }

    /// Whether the caller may not see what is stored in the column.
    pub fn hides_column(&self, column: &str) -> bool {
        !self.may_name(column) || self.mask(column).is_some()
    }

    /// Whether some column is hidden, as far as is known.
    pub fn hides_columns(&self) -> bool {
        match &self.columns {
            Some(columns) => columns.iter().any(|column| self.hides_column(&column.name)),
            None => self.rules.iter().any(|rules| {
                rules.columns.is_some() || !rules.denied.is_empty() || !rules.masked.is_empty()
            }),
        }
    }

    /// The row filter: every condition must hold.
    pub fn conditions(&self) -> Vec<Condition> {
        self.rules
            .iter()
            .flat_map(|rules| rules.rows.clone())
            .collect()
    }

    pub fn hides_rows(&self) -> bool {
        self.rules.iter().any(|rules| !rules.rows.is_empty())
    }

    /// Whether what is read of it must differ from what is stored.
    pub fn hides(&self) -> bool {
        self.hides_rows() || self.hides_columns()
    }

    pub fn requires_where(&self) -> bool {
        self.rules.iter().any(|rules| rules.requires_where)
    }

    /// The row filter as text; `None` where there is none.
    pub fn row_condition(
        &self,
        restrictions: &Restrictions<'_>,
        prefix: String,
    ) -> Result<Option<String>, Forbidden> {
        let conditions = self.conditions();
        if conditions.is_empty() {
            return Ok(None);
        }
        let writer = Writer {
            caller: restrictions.caller,
            prefix,
            family: &|column| self.family(column),
        };
        match writer.all(&conditions) {
            Ok(text) => Ok(Some(text)),
            Err(reason) => Err(self.forbidden(&format!("of `{}`, {reason}", self.objects()))),
        }
    }

    pub fn objects(&self) -> String {
        match self.objects.first() {
            Some(object) => object.to_string(),
            None => self.name.to_owned(),
        }
    }

    /// The columns that may be seen, masked, as a select list.
    pub fn select_list(&self, salt: &str) -> Option<String> {
        let mut list = String::new();
        for column in self.columns()? {
            if let Some(item) = self.select_item(column, salt) {
                if !list.is_empty() {
                    list.push_str(", ");
                }
                list.push_str(&item);
            }
        }
        (!list.is_empty()).then_some(list)
    }

    fn select_item(&self, column: &Column, salt: &str) -> Option<String> {
        if !self.may_name(&column.name) {
            return None;
        }
        let name = quoted(&column.name);
        Some(match self.mask(&column.name) {
            Some(mask) => {
                let family = Family::of(&column.type_name);
                format!("{} AS {name}", masked(mask, &name, family, salt))
            }
            None => name,
        })
    }

    /// The mask of one column, spelled.
    pub fn masked(&self, column: &str, salt: &str) -> Option<String> {
        let mask = self.mask(column)?;
        Some(masked(mask, &quoted(column), self.family(column)?, salt))
    }

    /// The columns that the row filter wants to be one value, each with it; `None` if it wants anything else.
    pub fn demands(&self) -> Option<Vec<(Box<str>, Constant)>> {
        let mut demands = Vec::new();
        self.conditions()
            .iter()
            .all(|condition| demanded(condition, &mut demands))
            .then_some(demands)
    }

    /// The columns that the row filter compares.
    pub fn filtered_columns(&self) -> Vec<Box<str>> {
        let mut columns = Vec::new();
        for condition in self.conditions() {
            compared(&condition, &mut columns);
        }
        columns
    }

    /// The indexes that must not be read, lest the order of rows show a hidden column's: those that have one,
    /// unless the row filter leaves it one value. `None` where that does not help.
    pub fn revealing_indexes(&self) -> Option<Vec<&str>> {
        let indexes = self.indexes.as_ref()?;
        let fixed: Vec<Box<str>> = self
            .conditions()
            .iter()
            .flat_map(|condition| {
                let mut demands = Vec::new();
                demanded(condition, &mut demands);
                demands
            })
            .map(|(column, _)| column)
            .collect();
        let reveals = |index: &Index| {
            index.columns.iter().any(|column| {
                let is_fixed = fixed.iter().any(|name| same_name(name, column));
                column.is_empty() || (self.hides_column(column) && !is_fixed)
            })
        };
        let found: Vec<&str> = indexes
            .iter()
            .filter(|index| reveals(index))
            .map(|index| &*index.name)
            .collect();
        // Without a primary key, a table is stored in the order of another.
        let stored = indexes.iter().any(|index| &*index.name == "PRIMARY");
        let is_safe = found.is_empty() || (stored && !found.contains(&"PRIMARY"));
        is_safe.then_some(found)
    }
}

/// Adds the equalities that must hold whenever the condition does; false if it says anything more.
fn demanded(condition: &Condition, demands: &mut Vec<(Box<str>, Constant)>) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().fold(true, |all, part| {
            let only = demanded(part, demands);
            all && only
        }),
        Condition::Compare {
            column,
            comparison: Comparison::Equal,
            value,
        } => {
            demands.push((column.clone(), value.clone()));
            true
        }
        Condition::Compare { .. }
        | Condition::Any(_)
        | Condition::Not(_)
        | Condition::In { .. }
        | Condition::IsNull { .. } => false,
    }
}

fn compared(condition: &Condition, columns: &mut Vec<Box<str>>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            for part in parts {
                compared(part, columns);
            }
        }
        Condition::Not(part) => compared(part, columns),
        Condition::Compare { column, .. }
        | Condition::In { column, .. }
        | Condition::IsNull { column } => columns.push(column.clone()),
    }
}
