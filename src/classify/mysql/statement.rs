//! Which statement it is, and the statements that are never allowed.

use super::parser::Parser;
use crate::classify::{Refusal, Result};

/// Statements refused by their first word, whoever asks, with the reason.
const FORBIDDEN: [(&str, &str); 40] = [
    (
        "ANALYZE",
        "ANALYZE maintains a table or runs the statement it analyses; use EXPLAIN",
    ),
    ("BACKUP", "server administration"),
    ("BINLOG", "server administration"),
    ("CACHE", "server administration"),
    (
        "CALL",
        "a stored procedure runs statements that no text shows",
    ),
    (
        "CASE",
        "compound statements are not understood; send the statements one by one",
    ),
    ("CHANGE", "server administration"),
    ("CHECK", "table maintenance"),
    ("CHECKSUM", "table maintenance"),
    ("CLONE", "server administration"),
    (
        "DEALLOCATE",
        "prepared statements in SQL text hide what runs; use parameters",
    ),
    (
        "DECLARE",
        "compound statements are not understood; send the statements one by one",
    ),
    (
        "DO",
        "DO evaluates expressions for their effect; use SELECT",
    ),
    (
        "EXECUTE",
        "prepared statements in SQL text hide what runs; use parameters",
    ),
    ("FLUSH", "server administration"),
    (
        "FOR",
        "compound statements are not understood; send the statements one by one",
    ),
    ("GET", "diagnostics belong to the connection"),
    (
        "GRANT",
        "accounts and privileges are not managed through the sidecar",
    ),
    (
        "HANDLER",
        "HANDLER reads a table past the optimiser; use SELECT",
    ),
    ("HELP", "the help tables belong to the server"),
    (
        "IF",
        "compound statements are not understood; send the statements one by one",
    ),
    ("IMPORT", "reads files of the server's machine"),
    ("INSTALL", "loads code into the server"),
    ("KILL", "server administration"),
    ("LOAD", "reads files or server keys; send rows with INSERT"),
    (
        "LOCK",
        "table locks stop other callers; use a row lock (`FOR UPDATE`)",
    ),
    (
        "LOOP",
        "compound statements are not understood; send the statements one by one",
    ),
    ("OPTIMIZE", "table maintenance"),
    (
        "PREPARE",
        "prepared statements in SQL text hide what runs; use parameters",
    ),
    ("PURGE", "server administration"),
    ("REPAIR", "table maintenance"),
    (
        "REPEAT",
        "compound statements are not understood; send the statements one by one",
    ),
    ("RESET", "server administration"),
    (
        "REVOKE",
        "accounts and privileges are not managed through the sidecar",
    ),
    ("SHUTDOWN", "server administration"),
    ("UNINSTALL", "server administration"),
    (
        "UNLOCK",
        "table locks stop other callers; use a row lock (`FOR UPDATE`)",
    ),
    (
        "USE",
        "the database of a connection is fixed; write `database.table`",
    ),
    (
        "WHILE",
        "compound statements are not understood; send the statements one by one",
    ),
    ("XA", "distributed transactions are not supported"),
];

impl Parser<'_> {
    /// Statements separated by semicolons; more than one only on a connection of the caller's own.
    pub fn statements(&mut self) -> Result<()> {
        loop {
            self.statement()?;
            if self.is_end() {
                return Ok(());
            }
            self.expect_symbol(";")?;
            if self.is_end() {
                return Ok(());
            }
            self.own_session(
                "several statements in one text run without a transaction",
                "send them one by one, or as a batch",
            )?;
        }
    }

    fn statement(&mut self) -> Result<()> {
        let first = self.word(0).to_ascii_uppercase();
        if let Some((word, reason)) = FORBIDDEN.iter().find(|(word, _)| *word == first) {
            return Err(Refusal::Forbidden(format!("{word}: {reason}")));
        }
        match first.as_str() {
            "SHOW" => {
                self.expect(&["SHOW"])?;
                self.show()
            }
            "EXPLAIN" | "DESCRIBE" | "DESC" => {
                self.expect_any(&["EXPLAIN", "DESCRIBE", "DESC"])?;
                self.explain()
            }
            "SET" => {
                self.expect(&["SET"])?;
                self.set()
            }
            "START" if !self.is_word(1, "TRANSACTION") => {
                self.forbidden("START of anything but a transaction is server administration")
            }
            "START" | "BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE" => {
                self.transaction_control()
            }
            "CREATE" | "ALTER" | "DROP" | "TRUNCATE" | "RENAME" => self.definition(),
            "SELECT" | "WITH" | "TABLE" | "VALUES" | "INSERT" | "REPLACE" | "UPDATE" | "DELETE" => {
                self.data_statement()
            }
            "" if self.is_symbol(0, "(") => self.data_statement(),
            _ => {
                if self.is_end() {
                    return Err(Refusal::Unparsable("the statement is empty".into()));
                }
                self.unexpected("a statement that is understood")
            }
        }
    }

    /// A statement that reads or writes rows, perhaps after `WITH`.
    pub fn data_statement(&mut self) -> Result<()> {
        if self.is_word(0, "WITH") {
            return self.statement_after_with();
        }
        if self.eat(&["INSERT"]) {
            return self.insert(false);
        }
        if self.eat(&["REPLACE"]) {
            return self.insert(true);
        }
        if self.eat(&["UPDATE"]) {
            return self.update();
        }
        if self.eat(&["DELETE"]) {
            return self.delete();
        }
        self.query().map(|_| ())
    }

    /// `WITH … SELECT`, and MySQL's `WITH … UPDATE` and `WITH … DELETE`.
    fn statement_after_with(&mut self) -> Result<()> {
        self.nested(|parser| {
            let outer = parser.common_tables();
            parser.with_clause()?;
            if parser.eat(&["UPDATE"]) {
                parser.update()?;
            } else if parser.eat(&["DELETE"]) {
                parser.delete()?;
            } else {
                parser.query()?;
            }
            parser.forget_common_tables(outer);
            Ok(())
        })
    }
}
