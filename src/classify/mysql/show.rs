//! `SHOW`, `DESCRIBE`, `EXPLAIN`: metadata of a table counts as reading it.

use super::parser::{Parser, TableName};
use super::session;
use super::shape::Shown;
use super::token::Kind;
use super::words;
use crate::classify::Result;
use crate::operation::Action;

/// What follows `SHOW` where it tells about the server, its accounts, or more than one table.
const FORBIDDEN: [&str; 52] = [
    "ALL",
    "ANALYZE",
    "AUTHORS",
    "BINARY",
    "BINLOG",
    "CLIENT_STATISTICS",
    "CONTRIBUTORS",
    "COUNT",
    "CREATE",
    "DATABASES",
    "ENGINE",
    "ENGINES",
    "EVENTS",
    "EXPLAIN",
    "FUNCTION",
    "GLOBAL",
    "GRANTS",
    "INDEX_STATISTICS",
    "INNODB",
    "LIBRARY",
    "LOCAL",
    "LOCALES",
    "MASTER",
    "MUTEX",
    "OPEN",
    "PACKAGE",
    "PARSE_TREE",
    "PLUGINS",
    "PRIVILEGES",
    "PROCEDURE",
    "PROCESSLIST",
    "PROFILE",
    "PROFILES",
    "QUERY_RESPONSE_TIME",
    "RELAYLOG",
    "REPLICA",
    "REPLICAS",
    "SCHEMAS",
    "SESSION",
    "SLAVE",
    "SLAVES",
    "STATUS",
    "STORAGE",
    "TABLE",
    "TABLES",
    "TABLE_STATISTICS",
    "TRIGGERS",
    "USER_STATISTICS",
    "USER_VARIABLES",
    "VARIABLES",
    "WSREP_MEMBERSHIP",
    "WSREP_STATUS",
];

/// What follows `SHOW` where it is understood, after `EXTENDED` and `FULL`.
const UNDERSTOOD: [&str; 10] = [
    "CHARACTER",
    "CHARSET",
    "COLLATION",
    "COLUMNS",
    "ERRORS",
    "FIELDS",
    "INDEX",
    "INDEXES",
    "KEYS",
    "WARNINGS",
];

/// Whether this kind of `SHOW` is understood or refused by name.
pub fn is_classified(words: &[&str]) -> bool {
    words
        .iter()
        .find(|word| !["EXTENDED", "FULL"].contains(*word))
        .is_some_and(|word| UNDERSTOOD.contains(word) || FORBIDDEN.contains(word))
}

impl Parser<'_> {
    /// After `SHOW`.
    pub fn show(&mut self) -> Result<()> {
        if self.eat(&["CREATE", "TABLE"]) {
            let table = self.table_name()?;
            self.touch(&table, Action::Select);
            self.note(|shape| shape.shown.push((table, Shown::Statistics)));
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
        let shown = match self.word(0).to_ascii_uppercase().as_str() {
            "COLUMNS" | "FIELDS" => Shown::Columns,
            _ => Shown::Statistics,
        };
        if self.eat_any(&["COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"]) {
            let table = self.shown_table()?;
            self.touch(&table, Action::Select);
            self.note(|shape| shape.shown.push((table, shown)));
            return self.like_or_where();
        }
        if !words::is_any(self.word(0), &FORBIDDEN) {
            return self.unexpected("a SHOW that is understood");
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
        // Both are also names of tables: `DESCRIBE partitions x` is about a column of one.
        let mut statement = self.eat_any(&["EXTENDED", "PARTITIONS"]);
        if self.is_word(0, "FORMAT") && self.is_symbol(1, "=") {
            self.expect(&["FORMAT"])?;
            self.expect_symbol("=")?;
            self.expect_any(&["TRADITIONAL", "JSON", "TREE", "DEFAULT"])?;
            self.eat(&["ANALYZE"]);
            statement = true;
        }
        if statement || self.is_explainable() {
            self.note(|shape| shape.is_explained = true);
            return self.data_statement();
        }
        let table = self.table_name()?;
        self.touch(&table, Action::Select);
        self.note(|shape| shape.shown.push((table, Shown::Columns)));
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
