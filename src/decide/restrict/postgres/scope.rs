//! Which names mean what where: common table expressions, and what FROM and the targets bring into sight.

use std::collections::{HashMap, HashSet};

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef, Node, RangeVar, String as Name};

use super::Result;
use super::statement::Rewriter;
use super::table::is_system_column;

/// The names in sight.
#[derive(Default)]
pub struct Sight {
    /// How many common table expressions of each name are in sight, and which each `WITH` around brought.
    ctes: HashMap<String, usize>,
    withs: Vec<Vec<String>>,
    /// What each query around has in FROM or as its target, innermost last.
    pub levels: Vec<Vec<Range>>,
    /// The names that the queries around give to what they return.
    pub outputs: Vec<HashSet<String>>,
}

/// Something with columns, under the name by which they are qualified.
#[derive(Debug, Clone)]
pub struct Range {
    pub name: String,
    pub is_aliased: bool,
    /// Whether its alias gives its columns other names.
    pub renames: bool,
    pub of: Of,
}

/// What it is; the number is the place of a table with rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Replaced by what may be seen: reading it is harmless.
    Read(usize),
    /// Written, so not replaced.
    Target(usize),
    /// The row that `INSERT` proposed, in `ON CONFLICT`.
    Proposed(usize),
    Other,
}

impl Sight {
    pub fn is_cte(&self, relation: &RangeVar) -> bool {
        relation.schemaname.is_empty() && self.ctes.contains_key(&relation.relname)
    }

    pub fn has_ctes(&self) -> bool {
        !self.ctes.is_empty()
    }

    pub fn enter_with(&mut self) {
        self.withs.push(Vec::new());
    }

    pub fn name_cte(&mut self, name: &str) {
        if let Some(with) = self.withs.last_mut() {
            with.push(name.to_owned());
            *self.ctes.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub fn leave_with(&mut self) {
        for name in self.withs.pop().unwrap_or_default() {
            match self.ctes.get_mut(&name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.ctes.remove(&name)),
            }
        }
    }

    pub fn add(&mut self, range: Range) {
        if let Some(level) = self.levels.last_mut() {
            level.push(range);
        }
    }

    /// Hides what the innermost query has in sight; `reveal` brings it back in front of what came since.
    pub fn hide(&mut self) -> Vec<Range> {
        self.levels
            .last_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub fn reveal(&mut self, mut hidden: Vec<Range>) {
        if let Some(level) = self.levels.last_mut() {
            hidden.append(level);
            *level = hidden;
        }
    }

    fn find(&self, name: &str) -> Option<&Range> {
        let levels = self.levels.iter().rev();
        levels
            .flat_map(|level| level.iter().rev())
            .find(|range| range.name == name)
    }

    fn is_alone(&self) -> bool {
        self.levels.iter().map(Vec::len).sum::<usize>() == 1
    }

    fn is_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|names| names.contains(name))
    }
}

impl Rewriter<'_, '_> {
    /// A column, a row or all columns: refused where it would read what is hidden. A name with a schema loses it,
    /// since a derived table has none.
    pub fn column(&mut self, column: &mut ColumnRef) -> Result<()> {
        self.columns_met += 1;
        let parts = names(&column.fields);
        let parts: Vec<Option<&str>> = parts.iter().map(Option::as_deref).collect();
        match parts.as_slice() {
            [None] => Ok(()),
            [Some(name)] => self.unqualified(name),
            [Some(qualifier), name] => self.qualified(qualifier, *name),
            [Some(schema), Some(table), name] => {
                let Some(found) = self.tables.find_named(schema, table) else {
                    return Ok(());
                };
                let of_it = self.sight.find(table).is_some_and(|range| {
                    !range.is_aliased
                        && matches!(range.of, Of::Read(at) | Of::Target(at) if at == found)
                });
                if !of_it {
                    let reason =
                        format!("`{schema}.{table}` is not clear here; give the table an alias");
                    return Err(self.forbid(found, reason));
                }
                self.qualified(table, *name)?;
                column.fields.remove(0);
                self.is_changed = true;
                Ok(())
            }
            _ => Err(self
                .tables
                .forbid("a column's name has more parts than `schema.table.column`")),
        }
    }

    /// `qualifier.name`, or `qualifier.*`.
    fn qualified(&self, qualifier: &str, name: Option<&str>) -> Result<()> {
        let Some(range) = self.sight.find(qualifier) else {
            return Ok(());
        };
        match (range.of, name) {
            (Of::Read(at), Some(name)) => {
                let table = self.table(at);
                if self.is_denied_to(at, name) {
                    return Err(table.denied(name));
                }
                if is_system_column(name) && table.rules.hides() && !table.has(name) {
                    return Err(table.forbid(format!(
                        "`{name}` is a column of the system, which `{}` does not show under its rules",
                        table.object
                    )));
                }
                Ok(())
            }
            (Of::Target(at), Some(name)) => {
                let table = self.table(at);
                if self.is_denied_to(at, name) {
                    return Err(table.denied(name));
                }
                if table.mask(name).is_some() {
                    return Err(table.reads_masked(name));
                }
                // `t.name` calls the function `name(t)`, with all columns, where there is no such column.
                let is_column =
                    table.columns.is_none() || table.has(name) || is_system_column(name);
                if table.hides_columns() && !is_column {
                    return Err(self.whole_row(at));
                }
                Ok(())
            }
            (Of::Proposed(at), Some(name)) if self.is_denied_to(at, name) => {
                Err(self.table(at).denied(name))
            }
            (Of::Target(at) | Of::Proposed(at), None) if self.table(at).hides_columns() => {
                Err(self.whole_row(at))
            }
            (Of::Read(_) | Of::Target(_) | Of::Proposed(_) | Of::Other, _) => Ok(()),
        }
    }

    /// A name alone: the innermost query that certainly has such a column has it; until then it may be anybody's.
    /// A row's name counts for nothing, since PostgreSQL looks for a column everywhere before it takes one for a row.
    pub fn unqualified(&self, name: &str) -> Result<()> {
        for level in self.sight.levels.iter().rev() {
            let mut is_found = false;
            for range in level {
                let (at, is_target) = match range.of {
                    Of::Read(at) => (at, false),
                    Of::Target(at) => (at, true),
                    // Its columns are always qualified.
                    Of::Proposed(_) => continue,
                    Of::Other => continue,
                };
                let table = self.table(at);
                if table.denies(name) || self.is_unlisted_alone(at, name) {
                    return Err(table.denied(name));
                }
                if is_target && table.mask(name).is_some() {
                    return Err(table.reads_masked(name));
                }
                if is_target && range.name == name && table.hides_columns() && !table.has(name) {
                    return Err(self.whole_row(at));
                }
                is_found |= table.has(name) && !range.renames;
            }
            if is_found {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a name that certainly means this table may not be named.
    pub fn is_denied_to(&self, at: usize, name: &str) -> bool {
        let table = self.table(at);
        match &table.columns {
            Some(_) => table.denies(name),
            None => !table.rules.may_name(name) && !is_system_column(name),
        }
    }

    /// Where the columns are not known: a name that is not listed, and that can mean nothing else.
    fn is_unlisted_alone(&self, at: usize, name: &str) -> bool {
        let table = self.table(at);
        table.columns.is_none()
            && self.sight.is_alone()
            && !self.sight.is_output(name)
            && self.sight.find(name).is_none()
            && self.is_denied_to(at, name)
    }

    fn whole_row(&self, at: usize) -> super::Forbidden {
        let table = self.table(at);
        table.forbid(format!(
            "the whole row of `{}` has columns that are hidden or masked; name the columns",
            table.object
        ))
    }
}

/// The parts of a name; `None` for `*`.
pub fn names(fields: &[Node]) -> Vec<Option<String>> {
    fields
        .iter()
        .map(|field| match &field.node {
            Some(NodeEnum::String(Name { sval })) => Some(sval.clone()),
            _ => None,
        })
        .collect()
}
