//! Which statement it is, and the statements that are never allowed.

use super::parser::Parser;
use super::{define, show};
use crate::classify::{Refusal, Result};

const COMPOUND: &str = "compound statements are not understood; send the statements one by one";
const ADMINISTRATION: &str = "server administration";
const MAINTENANCE: &str = "table maintenance";
const PREPARED: &str = "prepared statements in SQL text hide what runs; use parameters";
const ACCOUNTS: &str = "accounts and privileges are not managed through the sidecar";
const LOCKS: &str = "table locks stop other callers; use a row lock (`FOR UPDATE`)";

/// Statements refused by their first word, whoever asks, with the reason.
const FORBIDDEN: [(&str, &str); 53] = [
    (
        "ANALYZE",
        "ANALYZE maintains a table or runs the statement it analyses; use EXPLAIN",
    ),
    ("BACKUP", ADMINISTRATION),
    ("BINLOG", ADMINISTRATION),
    ("CACHE", ADMINISTRATION),
    (
        "CALL",
        "a stored procedure runs statements that no text shows",
    ),
    ("CASE", COMPOUND),
    ("CHANGE", ADMINISTRATION),
    ("CHECK", MAINTENANCE),
    ("CHECKSUM", MAINTENANCE),
    ("CLONE", ADMINISTRATION),
    ("CLOSE", COMPOUND),
    ("DEALLOCATE", PREPARED),
    ("DECLARE", COMPOUND),
    (
        "DO",
        "DO evaluates expressions for their effect; use SELECT",
    ),
    ("EXECUTE", PREPARED),
    ("FETCH", COMPOUND),
    ("FLUSH", ADMINISTRATION),
    ("FOR", COMPOUND),
    ("GET", "diagnostics belong to the connection"),
    ("GOTO", COMPOUND),
    ("GRANT", ACCOUNTS),
    (
        "HANDLER",
        "HANDLER reads a table past the optimiser; use SELECT",
    ),
    ("HELP", "the help tables belong to the server"),
    ("IF", COMPOUND),
    ("IMPORT", "reads files of the server's machine"),
    ("INSTALL", "loads code into the server"),
    ("ITERATE", COMPOUND),
    ("KILL", ADMINISTRATION),
    ("LEAVE", COMPOUND),
    ("LOAD", "reads files or server keys; send rows with INSERT"),
    ("LOCK", LOCKS),
    ("LOOP", COMPOUND),
    ("OPEN", COMPOUND),
    ("OPTIMIZE", MAINTENANCE),
    ("PREPARE", PREPARED),
    ("PURGE", ADMINISTRATION),
    ("REPAIR", MAINTENANCE),
    ("REPEAT", COMPOUND),
    ("RESET", ADMINISTRATION),
    ("RESIGNAL", COMPOUND),
    ("RESTART", ADMINISTRATION),
    ("RESTORE", ADMINISTRATION),
    ("RETURN", COMPOUND),
    ("REVOKE", ACCOUNTS),
    ("SHUTDOWN", ADMINISTRATION),
    ("SIGNAL", COMPOUND),
    ("SLAVE", ADMINISTRATION),
    ("STOP", ADMINISTRATION),
    ("UNINSTALL", ADMINISTRATION),
    ("UNLOCK", LOCKS),
    (
        "USE",
        "the database of a connection is fixed; write `database.table`",
    ),
    ("WHILE", COMPOUND),
    ("XA", "distributed transactions are not supported"),
];

/// The first words of statements that are understood, at least in some forms.
const UNDERSTOOD: [&str; 16] = [
    "BEGIN",
    "COMMIT",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "EXPLAIN",
    "INSERT",
    "RELEASE",
    "REPLACE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "START",
    "UPDATE",
    "WITH",
];

/// Whether the kind of statement that `words` begin is understood or refused by name: `SHOW BINARY LOGS`.
pub fn is_classified(words: &str) -> bool {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    match *first {
        "SHOW" => show::is_classified(rest),
        "CREATE" | "ALTER" | "DROP" | "RENAME" | "TRUNCATE" => define::is_classified(rest),
        _ => {
            ["TABLE", "VALUES"].contains(first)
                || UNDERSTOOD.contains(first)
                || FORBIDDEN.iter().any(|(word, _)| word == first)
        }
    }
}

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
        self.note(|shape| shape.statements += 1);
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
            "CREATE" | "ALTER" | "DROP" | "TRUNCATE" | "RENAME" => {
                self.note(|shape| shape.is_definition = true);
                self.definition()
            }
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
