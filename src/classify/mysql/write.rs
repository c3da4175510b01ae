//! `INSERT`, `REPLACE`, `UPDATE`, `DELETE`.
//!
//! A target carries its verb alone, unless it is read as a source too. A target named through an alias is the table
//! behind the alias; where that could be several, all of them are counted.

use super::parser::{Parser, Source, TableName};
use super::tables::Joined;
use super::token::Kind;
use crate::classify::{Refusal, Result};
use crate::operation::Action;

/// Most targets that a multi-table `DELETE` may name.
const TARGETS_MAX: usize = 64;

impl Parser<'_> {
    /// After `INSERT` (`replace` false) or `REPLACE`.
    pub fn insert(&mut self, replace: bool) -> Result<()> {
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]) {}
        self.eat(&["INTO"]);
        let target = self.table_name()?;
        self.touch(&target, Action::Insert);
        if replace {
            self.touch(&target, Action::Delete);
        }
        self.partitions()?;
        if self.is_symbol(0, "(") && !self.is_query_in_parentheses() {
            self.expect_symbol("(")?;
            if !self.eat_symbol(")") {
                self.list(Self::column)?;
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
            self.list(|parser| parser.assignment().map(|_| ()))?;
        }
        self.returning(&target)
    }

    fn insert_source(&mut self) -> Result<()> {
        if self.eat(&["SET"]) {
            return self.list(|parser| parser.assignment().map(|_| ()));
        }
        if self.eat_any(&["VALUES", "VALUE"]) {
            return self.list(|parser| {
                parser.eat(&["ROW"]);
                parser.row()
            });
        }
        self.query().map(|_| ())
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
            self.list(Self::select_item)?;
        }
        Ok(())
    }

    /// `column = value`; the column's parts are returned.
    fn assignment(&mut self) -> Result<Vec<String>> {
        let column = self.column_name()?;
        if !self.eat_symbol(":=") {
            self.expect_symbol("=")?;
        }
        self.value()?;
        Ok(column)
    }

    /// After `UPDATE`.
    pub fn update(&mut self) -> Result<()> {
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "IGNORE"]) {}
        let joined = self.table_references()?;
        self.expect(&["SET"])?;
        let mut written = vec![false; joined.len()];
        let mut unqualified = false;
        self.list(|parser| {
            let column = parser.assignment()?;
            match column.iter().rev().nth(1) {
                Some(qualifier) => parser.mark(&joined, &mut written, qualifier),
                None => {
                    unqualified = true;
                    Ok(())
                }
            }
        })?;
        if unqualified {
            self.mark_unqualified(&joined, &mut written)?;
        }
        self.touch_written(&joined, &written, Action::Update)?;
        self.where_order_limit()
    }

    /// Marks the entries that `qualifier` may mean.
    fn mark(&self, joined: &[Joined], written: &mut [bool], qualifier: &str) -> Result<()> {
        let mut found = false;
        for (entry, written) in joined.iter().zip(written) {
            if entry.answers_to(qualifier) {
                *written = true;
                found = true;
            }
        }
        if found && qualifier.is_ascii() {
            return Ok(());
        }
        Err(Refusal::Unparsable(format!(
            "`{qualifier}` is none of the statement's tables"
        )))
    }

    /// The written entries are touched by `action`, the others are read.
    fn touch_written(&mut self, joined: &[Joined], written: &[bool], action: Action) -> Result<()> {
        for (entry, written) in joined.iter().zip(written) {
            match (&entry.source, written) {
                (Source::Table(table), true) => self.touch(table, action),
                (Source::Table(table), false) => {
                    if joined.len() > 1 {
                        self.touch(table, Action::Select);
                    }
                }
                (Source::Derived, true) => {
                    return Err(Refusal::Unparsable(
                        "a derived table or common table expression cannot be written".into(),
                    ));
                }
                (Source::Derived, false) => {}
            }
        }
        Ok(())
    }

    /// A column without a table's name: which table has it only the server knows, so each may be written, and
    /// where there are several each may be a source as well.
    fn mark_unqualified(&mut self, joined: &[Joined], written: &mut [bool]) -> Result<()> {
        let tables = || {
            joined
                .iter()
                .filter(|entry| matches!(entry.source, Source::Table(_)))
        };
        let several = tables().count() > 1;
        for (entry, written) in joined.iter().zip(written.iter_mut()) {
            if let Source::Table(table) = &entry.source {
                *written = true;
                if several {
                    self.touch(table, Action::Select);
                }
            }
        }
        if tables().next().is_some() {
            return Ok(());
        }
        Err(Refusal::Unparsable(
            "a derived table or common table expression cannot be written".into(),
        ))
    }

    fn where_order_limit(&mut self) -> Result<()> {
        if self.eat(&["WHERE"]) {
            self.expression()?;
        }
        if self.is_word(0, "ORDER") {
            self.order_by()?;
        }
        if self.is_word(0, "LIMIT") {
            self.limit()?;
        }
        Ok(())
    }

    /// After `DELETE`.
    pub fn delete(&mut self) -> Result<()> {
        self.eat_kind(Kind::Hint);
        while self.eat_any(&["LOW_PRIORITY", "QUICK", "IGNORE"]) {}
        if !self.eat(&["FROM"]) {
            let targets = self.delete_targets()?;
            self.expect(&["FROM"])?;
            return self.delete_joined(&targets);
        }
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
        self.partitions()?;
        self.table_alias()?;
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
        let mut written = vec![false; joined.len()];
        for target in targets {
            self.mark(&joined, &mut written, &target.name)?;
        }
        self.touch_written(&joined, &written, Action::Delete)?;
        if self.eat(&["WHERE"]) {
            self.expression()?;
        }
        Ok(())
    }
}
