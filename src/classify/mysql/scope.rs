//! Common table expressions: which are visible, and what a name in a `FROM` list stands for.
//!
//! MySQL compares their names byte by byte, MariaDB ignores case. In `WITH RECURSIVE`, MariaDB lets a body refer to a
//! later table. In the body of an inner `WITH`, MariaDB (10.11) takes the name of an outer common table for a real
//! table. Wherever that makes a difference the statement is refused. Both agree that a common table of a plain `WITH`
//! is not visible in its own body or before it, that a qualified name is a real table, and that the target of an
//! `INSERT` or of a single-table `DELETE` is one.

use super::parser::{Parser, Source, TableName};
use crate::classify::{Refusal, Result};

/// Most common table expressions visible at one place.
pub const COMMON_TABLES_MAX: usize = 200;

impl Parser<'_> {
    pub fn common_tables(&self) -> usize {
        self.common_tables.len()
    }

    /// Leaves the scope in which common tables beyond `count` were declared.
    pub fn forget_common_tables(&mut self, count: usize) {
        self.common_tables.truncate(count);
    }

    /// Makes a common table visible. `since` is where its list began when the list is recursive: a reference from
    /// there on, before the declaration, is where the servers part.
    pub fn declare_common_table(&mut self, name: String, since: Option<usize>) -> Result<()> {
        let plain = |c: char| c.is_ascii_graphic() || c == ' ';
        if !name.chars().all(plain) || name.ends_with(' ') {
            return Err(Refusal::Forbidden(format!(
                "the common table `{name}` has characters that the servers fold differently"
            )));
        }
        if self.common_tables.len() >= COMMON_TABLES_MAX {
            return Err(Refusal::TooLarge(format!(
                "more than {COMMON_TABLES_MAX} common table expressions"
            )));
        }
        let repeated = |declared: &String| declared.eq_ignore_ascii_case(&name);
        if self.common_tables.iter().any(repeated) {
            return Err(Refusal::Forbidden(format!(
                "the common table `{name}` is declared twice where both are visible; rename one"
            )));
        }
        let folded = name.to_lowercase();
        let referred = self.referred.get(&folded).copied();
        if since.is_some_and(|since| referred.is_some_and(|referred| referred >= since)) {
            return Err(Refusal::Forbidden(format!(
                "`{name}` is referred to before it is declared in WITH RECURSIVE, which the servers read \
                 differently; declare it first"
            )));
        }
        self.known.insert(folded);
        self.common_tables.push(name);
        Ok(())
    }

    /// Reads the body of a common table whose list begins at `list`.
    pub fn common_table_body<T>(
        &mut self,
        list: usize,
        rule: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let outer = self.body_of.replace(list);
        let result = rule(self);
        self.body_of = outer;
        result
    }

    /// What a name in a `FROM` list stands for. Where MySQL (which compares bytes) and MariaDB (which folds case)
    /// would answer differently, the statement is refused.
    pub fn resolve(&mut self, table: TableName) -> Result<Source> {
        if table.namespace.is_some() {
            return Ok(Source::Table(table));
        }
        if !table.name.is_ascii() && !self.common_tables.is_empty() {
            return Err(Refusal::Forbidden(format!(
                "`{}` is not ASCII and stands beside common table expressions; rename one",
                table.name
            )));
        }
        let found = self
            .common_tables
            .iter()
            .enumerate()
            .rfind(|(_, declared)| declared.eq_ignore_ascii_case(&table.name));
        let Some((index, declared)) = found else {
            self.referred.insert(table.name.to_lowercase(), self.at);
            return Ok(Source::Table(table));
        };
        if *declared != table.name {
            return Err(Refusal::Forbidden(format!(
                "`{}` matches the common table `{declared}` on one server and not on the other; write both alike",
                table.name
            )));
        }
        if self.body_of.is_some_and(|list| index < list) {
            return Err(Refusal::Forbidden(format!(
                "`{declared}` is a common table of an outer WITH, and MariaDB reads a real table of that name in \
                 the body of an inner one; move the inner WITH's tables to the outer one"
            )));
        }
        Ok(Source::Derived)
    }
}
