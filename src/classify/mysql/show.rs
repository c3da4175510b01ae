//! `SHOW`, `DESCRIBE`, `EXPLAIN`: metadata of a table counts as reading it.

use super::parser::{Parser, TableName};
use super::session;
use super::token::Kind;
use super::words;
use crate::classify::Result;
use crate::operation::Action;

impl Parser<'_> {
    /// After `SHOW`.
    pub fn show(&mut self) -> Result<()> {
        if self.eat(&["CREATE", "TABLE"]) {
            let table = self.table_name()?;
            self.touch(&table, Action::Select);
            return Ok(());
        }
        if self.eat(&["WARNINGS"]) || self.eat(&["ERRORS"]) {
            self.own_session(
                "SHOW WARNINGS and SHOW ERRORS tell of the last statement",
                "use a transaction",
            )?;
            if self.is_word(0, "LIMIT") {
                self.limit()?;
            }
            return Ok(());
        }
        if self.eat(&["COLLATION"]) || self.eat(&["CHARACTER", "SET"]) || self.eat(&["CHARSET"]) {
            return self.like_or_where();
        }
        if self.is_word(0, "VARIABLES")
            || (self.is_word(0, "SESSION") && self.is_word(1, "VARIABLES"))
        {
            return self.show_variables();
        }
        self.eat(&["EXTENDED"]);
        self.eat(&["FULL"]);
        if self.eat_any(&["COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"]) {
            let table = self.shown_table()?;
            self.touch(&table, Action::Select);
            return self.like_or_where();
        }
        self.forbidden(
            "this SHOW tells about the server or about every table; \
             SHOW COLUMNS, INDEX and CREATE TABLE of one table are allowed",
        )
    }

    /// `{FROM | IN} table [{FROM | IN} database]`.
    fn shown_table(&mut self) -> Result<TableName> {
        self.expect_any(&["FROM", "IN"])?;
        let table = self.table_name()?;
        if !self.eat_any(&["FROM", "IN"]) {
            return Ok(table);
        }
        let database = TableName {
            namespace: Some(self.name("a database")?),
            name: table.name,
        };
        database.check()?;
        Ok(database)
    }

    fn like_or_where(&mut self) -> Result<()> {
        if self.eat(&["LIKE"]) {
            return self.expect_kind(Kind::Text, "a string");
        }
        if self.eat(&["WHERE"]) {
            return self.expression();
        }
        Ok(())
    }

    /// `[SESSION] VARIABLES {LIKE 'name' | WHERE Variable_name = 'name' [OR …]}`, for the variables that may be read
    /// as `@@name`.
    fn show_variables(&mut self) -> Result<()> {
        self.eat(&["SESSION"]);
        self.expect(&["VARIABLES"])?;
        if self.eat(&["LIKE"]) {
            return self.variable_pattern();
        }
        if !self.eat(&["WHERE"]) {
            return self.forbidden(
                "SHOW VARIABLES tells about the server; read one variable with SELECT @@name",
            );
        }
        loop {
            if !self.eat(&["Variable_name"]) {
                self.expect_kind(Kind::Quoted, "Variable_name")?;
            }
            if self.eat(&["IN"]) {
                self.list_in_parentheses(Self::variable_pattern)?;
            } else {
                if !self.eat(&["LIKE"]) {
                    self.expect_symbol("=")?;
                }
                self.variable_pattern()?;
            }
            if !self.eat(&["OR"]) {
                return Ok(());
            }
        }
    }

    /// A readable variable's name as a string, or the names of all character sets or collations.
    fn variable_pattern(&mut self) -> Result<()> {
        let pattern = self.text(0).trim_matches(['\'', '"']).replace("\\_", "_");
        let prefix = pattern.strip_suffix('%').unwrap_or(&pattern);
        let prefixes = ["character_set", "character_set_", "collation", "collation_"];
        if session::is_readable_variable(&pattern) || words::is_any(prefix, &prefixes) {
            return self.expect_kind(Kind::Text, "a string");
        }
        self.forbidden(
            "SHOW VARIABLES tells about the server; read one variable with SELECT @@name",
        )
    }

    /// After `DESCRIBE`, `DESC` or `EXPLAIN`: a table, or a statement, which counts as what it explains.
    pub fn explain(&mut self) -> Result<()> {
        if self.is_word(0, "FOR") || self.is_word(0, "INTO") {
            return self.forbidden("EXPLAIN of another connection or into a variable");
        }
        if self.eat(&["ANALYZE"]) && self.is_word(0, "INTO") {
            return self.forbidden("EXPLAIN of another connection or into a variable");
        }
        self.eat_any(&["EXTENDED", "PARTITIONS"]);
        if self.is_word(0, "FORMAT") && self.is_symbol(1, "=") {
            self.expect(&["FORMAT"])?;
            self.expect_symbol("=")?;
            self.expect_any(&["TRADITIONAL", "JSON", "TREE", "DEFAULT"])?;
            self.eat(&["ANALYZE"]);
        }
        if self.is_explainable() {
            return self.data_statement();
        }
        let table = self.table_name()?;
        self.touch(&table, Action::Select);
        if matches!(self.kind(0), Some(Kind::Word | Kind::Quoted)) {
            self.name("a column")?;
        } else {
            self.eat_kind(Kind::Text);
        }
        Ok(())
    }

    fn is_explainable(&self) -> bool {
        self.is_symbol(0, "(")
            || words::is_any(
                self.word(0),
                &[
                    "SELECT", "WITH", "TABLE", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE",
                ],
            )
    }
}
