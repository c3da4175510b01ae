//! Data definition: tables and their indexes. Everything else that can be created is forbidden by name.
//!
//! Each table that a definition names is touched by `ddl`; a foreign key's other table too, since the key tells
//! which of its rows exist and keeps them from being deleted.

use super::parser::Parser;
use super::token::Kind;
use super::words;
use crate::classify::{Refusal, Result};
use crate::operation::Action;

/// Options of a table that stay inside it. Storage engines other than InnoDB can reach files and servers.
const TABLE_OPTIONS: [&str; 10] = [
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "COMMENT",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "ROW_FORMAT",
    "STATS_PERSISTENT",
];

/// What can be created, altered or dropped, and is not through the sidecar: it runs later, elsewhere or for others.
const FORBIDDEN: [&str; 35] = [
    "AGGREGATE",
    "ALGORITHM",
    "DATABASE",
    "DEFINER",
    "EVENT",
    "EXTERNAL",
    "FUNCTION",
    "IGNORE",
    "INSTANCE",
    "JSON",
    "LIBRARY",
    "LOGFILE",
    "MATERIALIZED",
    "OFFLINE",
    "ONLINE",
    "OR",
    "PACKAGE",
    "PREPARE",
    "PROCEDURE",
    "RESOURCE",
    "ROLE",
    "SCHEMA",
    "SECURITY",
    "SEQUENCE",
    "SERVER",
    "SQL",
    "TABLES",
    "TABLESPACE",
    "TEMPORARY",
    "TRIGGER",
    "UNDO",
    "USER",
    "VECTOR",
    "VIEW",
    "SPATIAL",
];

/// What can be defined.
const UNDERSTOOD: [&str; 4] = ["TABLE", "INDEX", "UNIQUE", "FULLTEXT"];

/// Whether a definition of this is understood or refused by name.
pub fn is_classified(words: &[&str]) -> bool {
    words
        .first()
        .is_none_or(|word| UNDERSTOOD.contains(word) || FORBIDDEN.contains(word))
}

impl Parser<'_> {
    /// `CREATE`, `ALTER`, `DROP`, `TRUNCATE`, `RENAME`.
    pub fn definition(&mut self) -> Result<()> {
        if self.eat(&["TRUNCATE"]) {
            self.eat(&["TABLE"]);
            return self.defined_table();
        }
        if self.eat(&["DROP", "TABLE"]) {
            self.eat(&["IF", "EXISTS"]);
            self.list(Self::defined_table)?;
            self.eat_any(&["RESTRICT", "CASCADE"]);
            return Ok(());
        }
        if self.eat(&["DROP", "INDEX"]) {
            self.eat(&["IF", "EXISTS"]);
            self.name("an index")?;
            self.expect(&["ON"])?;
            return self.defined_table();
        }
        if self.eat(&["RENAME", "TABLE"]) {
            return self.list(|parser| {
                parser.defined_table()?;
                parser.expect(&["TO"])?;
                parser.defined_table()
            });
        }
        if self.eat(&["ALTER", "TABLE"]) {
            self.defined_table()?;
            return self.list(Self::alteration);
        }
        if self.eat(&["CREATE", "TABLE"]) {
            return self.create_table();
        }
        if self.create_index()? {
            return Ok(());
        }
        if !words::is_any(self.word(1), &FORBIDDEN) {
            return self.unexpected("a definition that is understood");
        }
        Err(Refusal::Forbidden(format!(
            "{} {}: only tables and their indexes can be defined through the sidecar",
            self.word(0).to_ascii_uppercase(),
            self.word(1).to_ascii_uppercase()
        )))
    }

    fn defined_table(&mut self) -> Result<()> {
        let table = self.table_name()?;
        self.touch(&table, Action::Ddl);
        Ok(())
    }

    /// `CREATE [UNIQUE | FULLTEXT | SPATIAL] INDEX name ON table (parts)`.
    fn create_index(&mut self) -> Result<bool> {
        let index = self.eat(&["CREATE", "INDEX"])
            || self.eat(&["CREATE", "UNIQUE", "INDEX"])
            || self.eat(&["CREATE", "FULLTEXT", "INDEX"])
            || self.eat(&["CREATE", "SPATIAL", "INDEX"]);
        if !index {
            return Ok(false);
        }
        self.eat(&["IF", "NOT", "EXISTS"]);
        self.name("an index")?;
        self.index_type()?;
        self.expect(&["ON"])?;
        self.defined_table()?;
        self.key_parts()?;
        self.index_type()?;
        Ok(true)
    }

    fn index_type(&mut self) -> Result<()> {
        if self.eat(&["USING"]) {
            self.expect_any(&["BTREE", "HASH"])?;
        }
        Ok(())
    }

    /// `( column [(length)] [ASC | DESC], (expression), … )`.
    fn key_parts(&mut self) -> Result<()> {
        self.list_in_parentheses(|parser| {
            if parser.is_symbol(0, "(") {
                parser.operand()?;
            } else {
                parser.name("a column")?;
                if parser.eat_symbol("(") {
                    parser.expect_kind(Kind::Number, "a length")?;
                    parser.expect_symbol(")")?;
                }
            }
            parser.eat_any(&["ASC", "DESC"]);
            Ok(())
        })
    }

    fn create_table(&mut self) -> Result<()> {
        self.eat(&["IF", "NOT", "EXISTS"]);
        self.defined_table()?;
        if self.eat(&["LIKE"]) {
            let model = self.table_name()?;
            self.touch(&model, Action::Select);
            return Ok(());
        }
        if self.is_symbol(0, "(") && !self.is_query_in_parentheses() {
            if self.is_word(1, "LIKE") {
                self.expect_symbol("(")?;
                self.expect(&["LIKE"])?;
                let model = self.table_name()?;
                self.touch(&model, Action::Select);
                return self.expect_symbol(")");
            }
            self.list_in_parentheses(Self::table_element)?;
        }
        self.table_options()?;
        self.eat_any(&["IGNORE", "REPLACE"]);
        self.eat(&["AS"]);
        if self.is_symbol(0, "(") || self.is_query() {
            self.query()?;
        }
        Ok(())
    }

    fn table_options(&mut self) -> Result<()> {
        loop {
            self.eat_symbol(",");
            if self.eat(&["ENGINE"]) {
                self.eat_symbol("=");
                self.expect(&["InnoDB"])?;
                continue;
            }
            self.eat(&["DEFAULT"]);
            if self.eat(&["CHARACTER", "SET"]) || self.eat(&["CHARSET"]) {
                self.eat_symbol("=");
                self.character_set()?;
            } else if self.eat(&["COLLATE"]) {
                self.eat_symbol("=");
                self.collation()?;
            } else if self.eat_any(&TABLE_OPTIONS) {
                self.eat_symbol("=");
                if !self.eat_kind(Kind::Number) && !self.eat_kind(Kind::Text) {
                    self.expect_any(&[
                        "DEFAULT",
                        "DYNAMIC",
                        "FIXED",
                        "COMPRESSED",
                        "COMPACT",
                        "REDUNDANT",
                    ])?;
                }
            } else {
                return Ok(());
            }
        }
    }

    /// A column, a key or a constraint.
    fn table_element(&mut self) -> Result<()> {
        if self.key_or_constraint()? {
            return Ok(());
        }
        self.column_definition()
    }

    fn key_or_constraint(&mut self) -> Result<bool> {
        let constraint = self.eat(&["CONSTRAINT"]);
        if constraint && self.is_alias() {
            self.name("a constraint")?;
        }
        if self.eat(&["PRIMARY", "KEY"]) {
            self.index_type()?;
            self.key_parts()?;
        } else if self.eat(&["FOREIGN", "KEY"]) {
            if !self.is_symbol(0, "(") {
                self.name("a key")?;
            }
            self.key_parts()?;
            self.references()?;
        } else if self.is_word(0, "CHECK") && self.is_symbol(1, "(") {
            self.expect(&["CHECK"])?;
            self.operand()?;
        } else if self.eat_any(&["UNIQUE", "FULLTEXT", "SPATIAL"]) {
            self.eat_any(&["INDEX", "KEY"]);
            self.named_key()?;
        } else if self.eat_any(&["INDEX", "KEY"]) {
            self.named_key()?;
        } else if constraint {
            return self.unexpected("a constraint");
        } else {
            return Ok(false);
        }
        self.index_type()?;
        Ok(true)
    }

    fn named_key(&mut self) -> Result<()> {
        if !self.is_symbol(0, "(") && !self.is_word(0, "USING") {
            self.name("a key")?;
        }
        self.index_type()?;
        self.key_parts()
    }

    /// `REFERENCES table (columns) [ON DELETE …] [ON UPDATE …]`.
    fn references(&mut self) -> Result<()> {
        self.expect(&["REFERENCES"])?;
        let other = self.table_name()?;
        self.touch(&other, Action::Select);
        self.touch(&other, Action::Ddl);
        self.key_parts()?;
        while self.eat(&["ON", "DELETE"]) || self.eat(&["ON", "UPDATE"]) {
            let taken = self.eat_any(&["RESTRICT", "CASCADE"])
                || self.eat(&["SET", "NULL"])
                || self.eat(&["SET", "DEFAULT"])
                || self.eat(&["NO", "ACTION"]);
            if !taken {
                return self.unexpected("RESTRICT, CASCADE, SET NULL or NO ACTION");
            }
        }
        Ok(())
    }

    fn column_definition(&mut self) -> Result<()> {
        self.name("a column")?;
        if !self.eat(&["SERIAL"]) {
            self.data_type()?;
        }
        while self.column_attribute()? {}
        Ok(())
    }

    fn column_attribute(&mut self) -> Result<bool> {
        if self.eat(&["NOT", "NULL"]) || self.eat(&["NULL"]) || self.eat(&["AUTO_INCREMENT"]) {
            return Ok(true);
        }
        if self.eat(&["PRIMARY", "KEY"]) || self.eat(&["UNIQUE", "KEY"]) || self.eat(&["UNIQUE"]) {
            return Ok(true);
        }
        if self.eat(&["DEFAULT"]) || self.eat(&["ON", "UPDATE"]) {
            self.operand()?;
        } else if self.eat(&["COMMENT"]) {
            self.expect_kind(Kind::Text, "a comment")?;
        } else if self.is_word(0, "CHECK") && self.is_symbol(1, "(") {
            self.expect(&["CHECK"])?;
            self.operand()?;
        } else if self.eat(&["GENERATED", "ALWAYS", "AS"]) || self.eat(&["AS"]) {
            self.operand()?;
            self.eat_any(&["VIRTUAL", "STORED", "PERSISTENT"]);
        } else if self.is_word(0, "REFERENCES") {
            self.references()?;
        } else {
            return Ok(self.eat_any(&["INVISIBLE", "VISIBLE"]));
        }
        Ok(true)
    }

    /// One change of `ALTER TABLE`.
    fn alteration(&mut self) -> Result<()> {
        if self.eat(&["ADD"]) {
            if self.eat(&["COLUMN"]) {
                self.eat(&["IF", "NOT", "EXISTS"]);
                self.column_definition()?;
                return self.column_place();
            }
            self.table_element()?;
            return self.column_place();
        }
        if self.eat(&["MODIFY"]) {
            self.eat(&["COLUMN"]);
            self.column_definition()?;
            return self.column_place();
        }
        if self.eat(&["CHANGE"]) {
            self.eat(&["COLUMN"]);
            self.name("a column")?;
            self.column_definition()?;
            return self.column_place();
        }
        if self.eat(&["RENAME", "COLUMN"]) || self.eat(&["RENAME", "INDEX"]) {
            self.name("a column")?;
            self.expect(&["TO"])?;
            return self.name("a column").map(|_| ());
        }
        if self.eat(&["RENAME", "TO"]) {
            return self.defined_table();
        }
        self.expect(&["DROP"])?;
        if self.eat(&["PRIMARY", "KEY"]) {
            return Ok(());
        }
        if !self.eat(&["FOREIGN", "KEY"]) {
            self.eat_any(&["COLUMN", "INDEX", "KEY", "CONSTRAINT"]);
        }
        self.eat(&["IF", "EXISTS"]);
        self.name("what to drop").map(|_| ())
    }

    fn column_place(&mut self) -> Result<()> {
        if self.eat(&["AFTER"]) {
            return self.name("a column").map(|_| ());
        }
        self.eat(&["FIRST"]);
        Ok(())
    }
}
