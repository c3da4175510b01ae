//! Where a statement's tables, columns and clauses stand, for whoever rewrites it.
//!
//! The parser takes these notes only when it is asked to, so that ordinary classification pays for none of them.
//! Places are indices of tokens.

use std::ops::Range;

use super::parser::{Parser, Source, TableName};
use super::words;

/// A stretch of tokens.
pub type Span = Range<usize>;

/// A table, or view, that a statement names.
#[derive(Debug, Clone)]
pub struct TableUse {
    pub table: TableName,
    pub alias: Option<String>,
    pub tokens: TableTokens,
    /// Whether it is written, and not read as a source.
    pub is_target: bool,
    /// Whether it stands alone after `TABLE`, in the place of a `SELECT`.
    pub is_statement: bool,
}

impl TableUse {
    /// The name by which the rest of the statement refers to it.
    pub fn exposed(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.table.name)
    }
}

/// `name [PARTITION …] [FOR SYSTEM_TIME …] [AS alias] [hints]`.
#[derive(Debug, Clone, Default)]
pub struct TableTokens {
    pub whole: Span,
    pub partition: Span,
    pub system_time: Span,
    pub hints: Span,
}

/// What a column is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnPlace {
    Read,
    /// In an `INSERT`'s list, or before the `=` of an assignment.
    Written,
    /// In `VALUES(column)`: what the row that is being inserted has there.
    Inserted,
    /// In `MATCH (…) AGAINST`.
    Matched,
    /// `*` or `table.*`.
    Star,
}

/// A column as the statement names it, or a star.
#[derive(Debug, Clone)]
pub struct ColumnUse {
    pub tokens: Span,
    /// Of a star, what stands before it.
    pub parts: Vec<String>,
    pub place: ColumnPlace,
}

impl ColumnUse {
    pub fn name(&self) -> Option<&str> {
        match self.place {
            ColumnPlace::Star => None,
            ColumnPlace::Read
            | ColumnPlace::Written
            | ColumnPlace::Inserted
            | ColumnPlace::Matched => self.parts.last().map(String::as_str),
        }
    }

    /// The table's name or alias before the column.
    pub fn qualifier(&self) -> Option<&str> {
        self.parts
            .iter()
            .rev()
            .nth(usize::from(self.place != ColumnPlace::Star))
            .map(String::as_str)
    }

    /// The database before the table.
    pub fn database(&self) -> Option<&str> {
        self.parts
            .iter()
            .rev()
            .nth(1 + usize::from(self.place != ColumnPlace::Star))
            .map(String::as_str)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Replace,
    Update,
    Delete,
}

/// `column = value`; the column as an index into [`Shape::columns`].
#[derive(Debug, Clone)]
pub struct Assignment {
    pub column: usize,
    pub value: Span,
}

/// What a statement that changes rows says about them. It cannot stand inside of another.
#[derive(Debug, Clone)]
pub struct Write {
    pub verb: Verb,
    /// Whether it is the form that names several tables.
    pub is_joined: bool,
    /// The columns of an `INSERT`'s list, as indices into [`Shape::columns`].
    pub columns: Option<Vec<usize>>,
    pub rows: Vec<Vec<Span>>,
    /// The query that an `INSERT` takes its rows from.
    pub source: Option<Span>,
    /// `SET`, in an `UPDATE` or `INSERT`.
    pub assignments: Vec<Assignment>,
    /// `ON DUPLICATE KEY UPDATE`.
    pub on_duplicate: Vec<Assignment>,
    pub condition: Option<Span>,
    /// Before which token a `WHERE` would stand.
    pub condition_at: usize,
    pub has_limit: bool,
    /// The items of `RETURNING`: the expression, and the item with its alias.
    pub returning: Vec<(Span, Span)>,
}

impl Write {
    fn new(verb: Verb) -> Self {
        Self {
            verb,
            is_joined: false,
            columns: None,
            rows: Vec::new(),
            source: None,
            assignments: Vec::new(),
            on_duplicate: Vec::new(),
            condition: None,
            condition_at: 0,
            has_limit: false,
            returning: Vec::new(),
        }
    }
}

/// Metadata of one table that a statement shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Columns,
    /// `SHOW INDEX`, `SHOW CREATE TABLE`: they tell how many rows there are, and how many values.
    Statistics,
}

#[derive(Debug, Default)]
pub struct Shape {
    pub tables: Vec<TableUse>,
    /// The names of derived tables and common table expressions, as references to them expose them.
    pub derived: Vec<String>,
    pub columns: Vec<ColumnUse>,
    /// The aliases of select items.
    pub aliases: Vec<String>,
    /// What stands after each `WHERE`, `ON` and `HAVING`.
    pub conditions: Vec<Span>,
    pub shown: Vec<(TableName, Shown)>,
    /// The tables that `FOR UPDATE` and the like lock.
    pub locked: Vec<TableName>,
    pub write: Option<Write>,
    pub statements: usize,
    pub is_explained: bool,
    pub is_definition: bool,
    /// `LIMIT ROWS EXAMINED`, which counts rows that are read and not shown.
    pub counts_examined: bool,
    /// Whether an operator, a conversion or a function occurs that may fail or warn.
    pub computes: bool,
    /// `USING` and `NATURAL`.
    pub joins_by_name: bool,
}

impl Shape {
    /// The statement's writing part. Made when it begins.
    fn write(&mut self, verb: Verb) -> &mut Write {
        self.write.get_or_insert_with(|| Write::new(verb))
    }
}

/// Functions that neither fail nor warn, whatever they are given.
const HARMLESS: [&str; 19] = [
    "AVG",
    "COALESCE",
    "COUNT",
    "CURDATE",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DENSE_RANK",
    "GROUP_CONCAT",
    "IFNULL",
    "LCASE",
    "LOWER",
    "MAX",
    "MIN",
    "NOW",
    "RANK",
    "ROW_NUMBER",
    "SUM",
    "UCASE",
    "UPPER",
];

impl Parser<'_> {
    /// Takes a note, if notes are wanted.
    pub fn note(&mut self, take: impl FnOnce(&mut Shape)) {
        if let Some(shape) = self.shape.as_deref_mut() {
            take(shape);
        }
    }

    /// Takes a note of the writing part of a statement.
    pub fn note_write(&mut self, verb: Verb, take: impl FnOnce(&mut Write)) {
        self.note(|shape| take(shape.write(verb)));
    }

    /// Takes a note of what stands from `start` to here in the writing part that was begun.
    pub fn note_written(&mut self, take: impl FnOnce(&mut Write)) {
        self.note(|shape| {
            if let Some(write) = &mut shape.write {
                take(write);
            }
        });
    }

    /// Notes a reference in a `FROM` list, and gives the place of the note.
    pub fn note_source(
        &mut self,
        source: &Source,
        alias: Option<&str>,
        tokens: TableTokens,
    ) -> Option<usize> {
        match source {
            Source::Table(table) => self.note_table(table, alias, tokens),
            Source::Derived => None,
        }
    }

    pub fn note_table(
        &mut self,
        table: &TableName,
        alias: Option<&str>,
        tokens: TableTokens,
    ) -> Option<usize> {
        let shape = self.shape.as_deref_mut()?;
        shape.tables.push(TableUse {
            table: table.clone(),
            alias: alias.map(str::to_owned),
            tokens,
            is_target: false,
            is_statement: false,
        });
        Some(shape.tables.len() - 1)
    }

    /// Notes `TABLE name`, which began at `start`.
    pub fn note_table_statement(&mut self, table: &TableName, start: usize) {
        let tokens = TableTokens {
            whole: start..self.at,
            ..TableTokens::default()
        };
        let at = self.note_table(table, None, tokens);
        self.note(|shape| {
            if let Some(table) = at.and_then(|at| shape.tables.get_mut(at)) {
                table.is_statement = true;
            }
        });
    }

    pub fn note_derived(&mut self, name: Option<&str>) {
        self.note(|shape| shape.derived.push(name.unwrap_or_default().to_owned()));
    }

    pub fn note_target(&mut self, at: Option<usize>) {
        self.note(|shape| {
            if let Some(table) = at.and_then(|at| shape.tables.get_mut(at)) {
                table.is_target = true;
            }
        });
    }

    pub fn note_column(&mut self, start: usize, parts: &[String]) {
        let tokens = start..self.at;
        self.note(|shape| {
            shape.columns.push(ColumnUse {
                tokens,
                parts: parts.to_vec(),
                place: ColumnPlace::Read,
            });
        });
    }

    /// Says of the column noted last what it is for.
    pub fn note_place(&mut self, place: ColumnPlace) {
        let end = self.at;
        self.note(|shape| {
            if let Some(column) = shape.columns.last_mut() {
                column.place = place;
                column.tokens.end = end;
            }
        });
    }

    /// The place of the column noted last.
    pub fn last_column(&self) -> usize {
        self.shape
            .as_deref()
            .map_or(0, |shape| shape.columns.len().saturating_sub(1))
    }

    pub fn note_condition(&mut self, start: usize) {
        let tokens = start..self.at;
        self.note(|shape| shape.conditions.push(tokens));
    }

    pub fn note_computes(&mut self) {
        self.note(|shape| shape.computes = true);
    }

    pub fn note_call(&mut self, name: &str) {
        if self.shape.is_some() && !words::is_any(name, &HARMLESS) {
            self.note_computes();
        }
    }

    /// Whether the operator that comes next only compares.
    pub fn note_operator(&mut self, symbol: &str) {
        const COMPARE: [&str; 10] = ["=", "<", ">", "<=", ">=", "<>", "!=", "<=>", "&&", "||"];
        if !COMPARE.contains(&symbol) {
            self.note_computes();
        }
    }
}
