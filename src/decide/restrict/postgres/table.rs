//! The tables that have rules, and what may be seen of them.

use std::sync::Arc;

use pg_query::protobuf::RangeVar;

use super::{Result, objects};
use crate::classify::postgres as parser;
use crate::decide::restrict::computed::{misses, missing, telling, with_computed};
use crate::decide::restrict::{Column, Columns, Forbidden, Restrictions};
use crate::decide::rules::{Mask, TableRules};
use crate::operation::Object;

/// Every ordinary column that a row has besides its own. They are not part of `*`.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

pub fn is_system_column(name: &str) -> bool {
    SYSTEM_COLUMNS.contains(&name)
}

/// All tables with rules that the statement touches.
pub struct Tables<'a> {
    pub rules: &'a Restrictions<'a>,
    pub columns: Option<&'a dyn Columns>,
    pub all: Vec<Table<'a>>,
}

/// One of them.
pub struct Table<'a> {
    pub object: &'a Object,
    pub namespace: &'a str,
    pub name: &'a str,
    pub rules: Arc<TableRules>,
    /// `None` where no server is asked.
    pub columns: Option<Arc<[Column]>>,
}

impl<'a> Tables<'a> {
    pub fn new(rules: &'a Restrictions<'a>, columns: Option<&'a dyn Columns>) -> Result<Self> {
        let mut all: Vec<Table<'a>> = Vec::with_capacity(rules.tables.len());
        for (object, table_rules) in &rules.tables {
            let Object::Named { namespace, name } = *object else {
                return Err(Forbidden {
                    objects: objects(rules),
                    reason: format!("`{object}` is no table, and has rules for one"),
                });
            };
            let namespace = namespace.as_deref().unwrap_or(rules.default_namespace);
            let known_columns = columns.and_then(|columns| columns.of(namespace, name));
            if let Some(columns) = &known_columns
                && let Some(column) = missing(table_rules, columns, |one, other| one == other)
                && !is_system_column(column)
            {
                return Err(Forbidden {
                    objects: vec![(*object).clone()],
                    reason: format!("`{object}`: {}", misses(column)),
                });
            }
            let table_rules = match &known_columns {
                Some(columns) => with_computed(table_rules, columns, |one, other| one == other),
                None => Arc::clone(table_rules),
            };
            // A statement may name a table with its schema and without.
            let known = all
                .iter()
                .find(|table| table.namespace == namespace && table.name == name);
            match known {
                Some(table) if table.rules == table_rules => continue,
                Some(table) => {
                    let reason = format!("`{object}` has rules that differ by how it is named");
                    return Err(table.forbid(reason));
                }
                None => {}
            }
            all.push(Table {
                object,
                namespace,
                name,
                rules: table_rules,
                columns: known_columns,
            });
        }
        Ok(Self {
            rules,
            columns,
            all,
        })
    }

    /// The schema and name that a relation's name means, as the classifier resolves it.
    pub fn resolve<'r>(&'r self, relation: &'r RangeVar) -> (&'r str, &'r str) {
        let name = relation.relname.as_str();
        let namespace = match relation.schemaname.as_str() {
            "" if parser::is_catalog(name) => "pg_catalog",
            "" => self.rules.default_namespace,
            schema => schema,
        };
        (namespace, name)
    }

    /// The table with rules that a relation's name means, by its place in `all`.
    pub fn find(&self, relation: &RangeVar) -> Option<usize> {
        let (namespace, name) = self.resolve(relation);
        self.find_named(namespace, name)
    }

    pub fn find_named(&self, namespace: &str, name: &str) -> Option<usize> {
        self.all
            .iter()
            .position(|table| table.namespace == namespace && table.name == name)
    }

    /// A refusal that concerns them all.
    pub fn forbid(&self, reason: impl Into<String>) -> Forbidden {
        Forbidden {
            objects: objects(self.rules),
            reason: reason.into(),
        }
    }

    /// Whether anything is hidden anywhere.
    pub fn hide(&self) -> bool {
        self.all.iter().any(|table| table.rules.hides())
    }
}

impl Table<'_> {
    pub fn forbid(&self, reason: impl Into<String>) -> Forbidden {
        Forbidden {
            objects: vec![self.object.clone()],
            reason: reason.into(),
        }
    }

    /// Its columns; `None` where no server is asked, and a refusal where it does not know the table.
    pub fn known(&self, tables: &Tables<'_>) -> Result<Option<&Arc<[Column]>>> {
        match (&self.columns, tables.columns) {
            (Some(columns), _) => Ok(Some(columns)),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(self.forbid(format!(
                "the columns of `{}` are not known yet, so its rules cannot be kept; try again shortly",
                self.object
            ))),
        }
    }

    pub fn has(&self, column: &str) -> bool {
        self.column(column).is_some()
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        let columns = self.columns.as_ref()?;
        columns.iter().find(|column| &*column.name == name)
    }

    /// Whether a name is certainly that of a column which may not be named, wherever the name could also be that
    /// of something else.
    pub fn denies(&self, name: &str) -> bool {
        match &self.columns {
            Some(_) => self.has(name) && !self.rules.may_name(name),
            None => self.rules.denied.contains(name),
        }
    }

    pub fn mask(&self, column: &str) -> Option<Mask> {
        self.rules.masked.get(column).copied()
    }

    /// Whether a row has more than the caller may see.
    pub fn hides_columns(&self) -> bool {
        self.rules.columns.is_some()
            || !self.rules.denied.is_empty()
            || !self.rules.masked.is_empty()
    }

    pub fn hides_rows(&self) -> bool {
        !self.rules.rows.is_empty()
    }

    /// Refuses a change of columns that the database checks together with hidden ones.
    pub fn tells_nothing(&self, changed: &[&str]) -> Result<()> {
        let hides = |name: &str| !self.rules.may_name(name) || self.mask(name).is_some();
        let columns = self.columns.as_deref().unwrap_or_default();
        match telling(columns, |name| changed.contains(&name), hides) {
            None => Ok(()),
            Some((written, _)) => Err(self.forbid(format!(
                "`{written}` of `{}` is checked together with a column that its rules hide, so that a change of it \
                 alone would tell of that one",
                self.object
            ))),
        }
    }

    pub fn denied(&self, column: &str) -> Forbidden {
        self.forbid(format!(
            "the column `{column}` of `{}` may not be named; qualify it if you mean another table's",
            self.object
        ))
    }

    pub fn reads_masked(&self, column: &str) -> Forbidden {
        self.forbid(format!(
            "the column `{column}` of `{}` is masked, so what is changed cannot depend on it; qualify it if you \
             mean another table's",
            self.object
        ))
    }
}
