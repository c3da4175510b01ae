//! `INSERT`, `REPLACE`, `UPDATE`, `DELETE`.
//!
//! A target carries its verb alone, unless it is read as a source too. A target named through an alias is the table
//! behind the alias; where that could be several, all of them are counted, as targets and as sources.

use std::collections::BTreeSet;

use super::parser::{Parser, Source, TableName};
use super::shape::{self, ColumnPlace, TableTokens, Verb};
use super::tables::Joined;
use super::token::Kind;
use crate::classify::{Refusal, Result};
use crate::operation::Action;

/// Most targets that a multi-table `DELETE` may name.
const TARGETS_MAX: usize = 64;

/// `column = value`.
struct Assignment {
    /// What stands before the column.
    qualifier: Option<String>,
    /// What stands before the columns in the value.
    sources: BTreeSet<Option<String>>,
}

/// What a multi-table statement does with each entry of its list.
struct Uses {
    written: Vec<bool>,
    read: Vec<bool>,
}

impl Uses {
    fn none(joined: &[Joined]) -> Self {
        Self {
            written: vec![false; joined.len()],
            read: vec![false; joined.len()],
        }
    }
}

impl Parser<'_> {
    /// After `INSERT` (`replace` false) or `REPLACE`.
    pub fn insert(&mut self, replace: bool) -> Result<()> {
        let verb = if replace { Verb::Replace } else { Verb::Insert };
        self.note_write(verb, |_| ());
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]) {}
        self.eat(&["INTO"]);
        let start = self.at;
        let target = self.table_name()?;
        self.touch(&target, Action::Insert);
        if replace {
            self.touch(&target, Action::Delete);
        }
        self.note_single_target(&target, start)?;
        if self.is_symbol(0, "(") && !self.is_query_in_parentheses() {
            self.note_written(|write| write.columns = Some(Vec::new()));
            self.expect_symbol("(")?;
            if !self.eat_symbol(")") {
                self.list(Self::inserted_column)?;
                self.expect_symbol(")")?;
            }
        }
        self.insert_source()?;
        self.row_alias()?;
        if self.eat(&["ON", "DUPLICATE", "KEY", "UPDATE"]) {
            if replace {
                return self.unexpected("no ON DUPLICATE KEY UPDATE in REPLACE");
            }
            self.touch(&target, Action::Update);
            self.list(|parser| parser.assignment(true).map(drop))?;
        }
        self.returning(&target)
    }

    fn inserted_column(&mut self) -> Result<()> {
        self.column()?;
        self.note_place(ColumnPlace::Written);
        let at = self.last_column();
        self.note_written(|write| write.columns.get_or_insert_default().push(at));
        Ok(())
    }

    /// Notes the one table that is written, whose name began at `start`, and takes its partitions.
    fn note_single_target(&mut self, target: &TableName, start: usize) -> Result<()> {
        let partition = self.at;
        self.partitions()?;
        let tokens = TableTokens {
            whole: start..self.at,
            partition: partition..self.at,
            ..TableTokens::default()
        };
        let at = self.note_table(target, None, tokens);
        self.note_target(at);
        Ok(())
    }

    fn insert_source(&mut self) -> Result<()> {
        if self.eat(&["SET"]) {
            return self.list(|parser| parser.assignment(false).map(drop));
        }
        if self.eat_any(&["VALUES", "VALUE"]) {
            return self.list(|parser| {
                parser.eat(&["ROW"]);
                parser.inserted_row()
            });
        }
        let start = self.at;
        self.query()?;
        let source = start..self.at;
        self.note_written(|write| write.source = Some(source));
        Ok(())
    }

    /// `( [expression | DEFAULT] , … )`, perhaps empty.
    fn inserted_row(&mut self) -> Result<()> {
        self.note_written(|write| write.rows.push(Vec::new()));
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(());
        }
        self.list(|parser| {
            let start = parser.at;
            parser.value()?;
            let value = start..parser.at;
            parser.note_written(|write| {
                if let Some(row) = write.rows.last_mut() {
                    row.push(value);
                }
            });
            Ok(())
        })?;
        self.expect_symbol(")")
    }

    /// MySQL's `AS new [(columns)]` after the rows of an `INSERT`.
    fn row_alias(&mut self) -> Result<()> {
        if !self.is_word(0, "AS") {
            return Ok(());
        }
        self.table_alias()?;
        if self.is_symbol(0, "(") {
            self.list_in_parentheses(|parser| parser.name("a column").map(|_| ()))?;
        }
        Ok(())
    }

    /// MariaDB's `RETURNING`, which reads the table.
    fn returning(&mut self, target: &TableName) -> Result<()> {
        if self.eat(&["RETURNING"]) {
            self.touch(target, Action::Select);
            self.list(Self::returned_item)?;
        }
        Ok(())
    }

    fn returned_item(&mut self) -> Result<()> {
        let start = self.at;
        let expression = if self.is_symbol(0, "*") {
            self.select_item()?;
            start..self.at
        } else {
            self.expression_or_star()?;
            let expression = start..self.at;
            self.column_alias()?;
            expression
        };
        let whole = start..self.at;
        self.note_written(|write| write.returning.push((expression, whole)));
        Ok(())
    }

    fn assignment(&mut self, on_duplicate: bool) -> Result<Assignment> {
        let column = self.column_name()?;
        self.note_place(ColumnPlace::Written);
        let place = self.last_column();
        if !self.eat_symbol(":=") {
            self.expect_symbol("=")?;
        }
        self.qualifiers = Some(BTreeSet::new());
        let start = self.at;
        self.value()?;
        let noted = shape::Assignment {
            column: place,
            value: start..self.at,
        };
        self.note_written(|write| {
            if on_duplicate {
                write.on_duplicate.push(noted);
            } else {
                write.assignments.push(noted);
            }
        });
        Ok(Assignment {
            qualifier: column.into_iter().rev().nth(1),
            sources: self.qualifiers.take().unwrap_or_default(),
        })
    }

    /// After `UPDATE`.
    pub fn update(&mut self) -> Result<()> {
        self.note_write(Verb::Update, |_| ());
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "IGNORE"]) {}
        let joined = self.table_references()?;
        self.expect(&["SET"])?;
        let mut uses = Uses::none(&joined);
        self.list(|parser| {
            let assignment = parser.assignment(false)?;
            let targets = match &assignment.qualifier {
                Some(qualifier) => parser.answering(&joined, qualifier)?,
                None => parser.any_table(&joined)?,
            };
            mark_sources(&joined, &assignment.sources, &targets, &mut uses);
            mark_targets(&targets, &mut uses);
            Ok(())
        })?;
        self.touch_uses(&joined, &uses, Action::Update)?;
        let is_joined = joined.len() > 1;
        self.note_written(|write| write.is_joined = is_joined);
        self.where_order_limit()
    }

    /// The entries that `qualifier` may mean.
    fn answering(&self, joined: &[Joined], qualifier: &str) -> Result<Vec<usize>> {
        let found: Vec<usize> = positions(joined, |entry| entry.answers_to(qualifier));
        if found.is_empty() || !qualifier.is_ascii() {
            return Err(Refusal::Unparsable(format!(
                "`{qualifier}` is none of the statement's tables"
            )));
        }
        Ok(found)
    }

    /// The entries that a column without a table's name may belong to: only the server knows which has it.
    fn any_table(&self, joined: &[Joined]) -> Result<Vec<usize>> {
        let found = positions(joined, |entry| matches!(entry.source, Source::Table(_)));
        if found.is_empty() {
            return self.cannot_be_written();
        }
        Ok(found)
    }

    fn cannot_be_written<T>(&self) -> Result<T> {
        Err(Refusal::Unparsable(
            "a derived table or common table expression cannot be written".into(),
        ))
    }

    /// The written entries are touched by `action`; the others are read, and so are those whose columns go into
    /// another table.
    fn touch_uses(&mut self, joined: &[Joined], uses: &Uses, action: Action) -> Result<()> {
        for ((entry, written), read) in joined.iter().zip(&uses.written).zip(&uses.read) {
            let table = match &entry.source {
                Source::Table(table) => table,
                Source::Derived if *written => return self.cannot_be_written(),
                Source::Derived => continue,
            };
            if *written {
                self.touch(table, action);
                self.note_target(entry.noted);
            }
            if *read || !*written {
                self.touch(table, Action::Select);
            }
        }
        Ok(())
    }

    fn where_order_limit(&mut self) -> Result<()> {
        self.written_where()?;
        if self.is_word(0, "ORDER") {
            self.order_by()?;
        }
        if self.is_word(0, "LIMIT") {
            self.note_written(|write| write.has_limit = true);
            self.limit()?;
        }
        Ok(())
    }

    fn written_where(&mut self) -> Result<()> {
        let at = self.at;
        self.note_written(|write| write.condition_at = at);
        if self.eat(&["WHERE"]) {
            let start = self.at;
            self.condition()?;
            let condition = start..self.at;
            self.note_written(|write| write.condition = Some(condition));
        }
        Ok(())
    }

    /// After `DELETE`.
    pub fn delete(&mut self) -> Result<()> {
        self.note_write(Verb::Delete, |_| ());
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "QUICK", "IGNORE"]) {}
        if !self.eat(&["FROM"]) {
            let targets = self.delete_targets()?;
            self.expect(&["FROM"])?;
            return self.delete_joined(&targets);
        }
        let start = self.at;
        let first = self.delete_target()?;
        if self.is_symbol(0, ",") || self.is_word(0, "USING") {
            let mut targets = vec![first];
            if self.eat_symbol(",") {
                targets.extend(self.delete_targets()?);
            }
            self.expect(&["USING"])?;
            return self.delete_joined(&targets);
        }
        self.touch(&first, Action::Delete);
        self.note_single_target(&first, start)?;
        let alias = self.table_alias()?;
        self.note(|shape| {
            if let Some(target) = shape.tables.last_mut() {
                target.alias = alias;
            }
        });
        self.where_order_limit()?;
        self.returning(&first)
    }

    fn delete_targets(&mut self) -> Result<Vec<TableName>> {
        let mut targets = Vec::new();
        self.list(|parser| {
            if targets.len() >= TARGETS_MAX {
                return Err(Refusal::TooLarge(format!(
                    "more than {TARGETS_MAX} tables to delete from"
                )));
            }
            targets.push(parser.delete_target()?);
            Ok(())
        })?;
        Ok(targets)
    }

    /// `table`, `table.*`, `database.table.*`.
    fn delete_target(&mut self) -> Result<TableName> {
        let starred = |parser: &Self| parser.is_symbol(0, ".") && parser.is_symbol(1, "*");
        let first = self.name("a table")?;
        let target = if self.is_symbol(0, ".") && !starred(self) {
            self.expect_symbol(".")?;
            TableName {
                namespace: Some(first),
                name: self.name("a table")?,
            }
        } else {
            TableName {
                namespace: None,
                name: first,
            }
        };
        if starred(self) {
            self.expect_symbol(".")?;
            self.expect_symbol("*")?;
        }
        target.check()?;
        self.known.insert(target.name.to_lowercase());
        Ok(target)
    }

    /// The `FROM` or `USING` list of a multi-table `DELETE`, and the rest.
    fn delete_joined(&mut self, targets: &[TableName]) -> Result<()> {
        let joined = self.table_references()?;
        let mut uses = Uses::none(&joined);
        for target in targets {
            mark_targets(&self.answering(&joined, &target.name)?, &mut uses);
        }
        self.touch_uses(&joined, &uses, Action::Delete)?;
        self.note_written(|write| write.is_joined = true);
        self.written_where()
    }
}

fn positions(joined: &[Joined], is: impl Fn(&Joined) -> bool) -> Vec<usize> {
    let entries = joined.iter().enumerate();
    entries
        .filter_map(|(at, entry)| is(entry).then_some(at))
        .collect()
}

/// Where several entries may be meant, one of them is written and the others may be sources.
fn mark_targets(targets: &[usize], uses: &mut Uses) {
    for at in targets {
        if let Some(written) = uses.written.get_mut(*at) {
            *written = true;
        }
        if let Some(read) = uses.read.get_mut(*at) {
            *read |= targets.len() > 1;
        }
    }
}

/// A column that goes into another table than its own is read.
fn mark_sources(
    joined: &[Joined],
    sources: &BTreeSet<Option<String>>,
    targets: &[usize],
    uses: &mut Uses,
) {
    for ((at, entry), read) in joined.iter().enumerate().zip(&mut uses.read) {
        let named = sources.iter().any(|source| match source {
            Some(qualifier) => entry.answers_to(qualifier),
            None => joined.len() > 1,
        });
        *read |= named && targets != [at].as_slice();
    }
}
