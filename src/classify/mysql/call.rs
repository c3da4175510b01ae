//! Function calls, and the built-in functions whose arguments have a grammar of their own.

use super::functions::{self, Verdict};
use super::parser::Parser;
use super::shape::ColumnPlace;
use super::token::Kind;
use super::words;
use crate::classify::{Refusal, Result};

impl Parser<'_> {
    /// `name(…)`, `schema.name(…)`; the schema and its dot have been taken.
    pub fn call(&mut self, schema: Option<String>) -> Result<()> {
        let builtin = schema.is_none() && self.kind(0) == Some(Kind::Word);
        let name = self.text(0);
        // Without IGNORE_SPACE, some built-in names followed by a space are stored functions, and so is every name
        // in back quotes or after a schema.
        let touching = self
            .peek(0)
            .zip(self.peek(1))
            .is_some_and(|(name, parenthesis)| name.end() == parenthesis.start());
        let verdict = functions::verdict(name, schema.as_deref());
        self.note_call(name);
        match verdict {
            Verdict::Forbidden(reason) => {
                return Err(Refusal::Forbidden(format!(
                    "the function `{name}` {reason}"
                )));
            }
            Verdict::Computes if builtin && (touching || !functions::needs_touching(name)) => {
                if functions::tells_of_last_statement(name) {
                    self.own_session(
                        &format!("`{name}` tells of whatever statement ran last"),
                        "the reply has `last_insert_id` and `rows_affected`",
                    )?;
                }
                self.eat(&[name]);
                return self.nested(|parser| parser.builtin_arguments(name));
            }
            Verdict::Computes | Verdict::Unknown => {}
        }
        let spelled = self.name("a function")?;
        if !spelled.is_ascii() {
            return Err(Refusal::Forbidden(format!(
                "the function `{spelled}`: names of functions must be ASCII"
            )));
        }
        let spelled = spelled.to_ascii_lowercase();
        self.function(match schema {
            Some(schema) => format!("{schema}.{spelled}"),
            None => spelled,
        });
        self.nested(Self::plain_arguments)
    }

    fn plain_arguments(&mut self) -> Result<()> {
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(());
        }
        self.list(Self::expression)?;
        self.expect_symbol(")")
    }

    fn builtin_arguments(&mut self, name: &str) -> Result<()> {
        let upper = name.to_ascii_uppercase();
        self.expect_symbol("(")?;
        match upper.as_str() {
            "CAST" => {
                self.expression()?;
                self.expect(&["AS"])?;
                self.data_type()?;
            }
            "CONVERT" => self.convert()?,
            "EXTRACT" => {
                self.expect_any(&words::UNITS)?;
                self.expect(&["FROM"])?;
                self.expression()?;
            }
            "TIMESTAMPADD" | "TIMESTAMPDIFF" => {
                self.expect_any(&words::UNITS)?;
                self.expect_symbol(",")?;
                self.list(Self::expression)?;
            }
            "TRIM" => self.trim()?,
            "SUBSTRING" | "SUBSTR" | "MID" => self.substring()?,
            "GET_FORMAT" => {
                self.expect_any(&["DATE", "TIME", "DATETIME", "TIMESTAMP"])?;
                self.expect_symbol(",")?;
                self.expression()?;
            }
            "CHAR" => {
                self.list(Self::expression)?;
                if self.eat(&["USING"]) {
                    self.character_set()?;
                }
            }
            "WEIGHT_STRING" => self.weight_string()?,
            "JSON_VALUE" => {
                self.list(Self::expression)?;
                if self.eat(&["RETURNING"]) {
                    self.data_type()?;
                }
                self.json_fallbacks()?;
            }
            "VALUES" | "VALUE" => {
                self.column()?;
                self.note_place(ColumnPlace::Inserted);
            }
            "DEFAULT" => self.column()?,
            _ => self.common_arguments()?,
        }
        self.expect_symbol(")")?;
        self.after_call()
    }

    /// What most functions take: nothing, `*`, or expressions, with what aggregates add.
    fn common_arguments(&mut self) -> Result<()> {
        if self.is_symbol(0, ")") || self.eat_symbol("*") {
            return Ok(());
        }
        if self.is_query() {
            return self.unexpected("an expression; put the subquery in parentheses of its own");
        }
        self.eat_any(&["DISTINCT", "ALL"]);
        self.list(Self::expression)?;
        if self.is_word(0, "ORDER") {
            self.order_by()?;
        }
        if self.eat(&["SEPARATOR"]) {
            self.expect_kind(Kind::Text, "a string")?;
        }
        if self.is_word(0, "LIMIT") {
            self.limit()?;
        }
        Ok(())
    }

    /// `WITHIN GROUP (…)`, `IGNORE NULLS`, `OVER …`.
    fn after_call(&mut self) -> Result<()> {
        if self.eat(&["WITHIN", "GROUP"]) {
            self.expect_symbol("(")?;
            self.order_by()?;
            self.expect_symbol(")")?;
        }
        if !self.eat(&["RESPECT", "NULLS"]) {
            self.eat(&["IGNORE", "NULLS"]);
        }
        if !self.is_word(0, "OVER") {
            return Ok(());
        }
        self.expect(&["OVER"])?;
        if self.is_symbol(0, "(") {
            return self.window();
        }
        self.name("a window's name").map(|_| ())
    }

    fn convert(&mut self) -> Result<()> {
        self.expression()?;
        if self.eat(&["USING"]) {
            return self.character_set();
        }
        self.expect_symbol(",")?;
        self.data_type()
    }

    fn trim(&mut self) -> Result<()> {
        if self.eat_any(&["BOTH", "LEADING", "TRAILING"]) && self.eat(&["FROM"]) {
            return self.expression();
        }
        self.list(Self::expression)?;
        if self.eat(&["FROM"]) {
            self.expression()?;
        }
        Ok(())
    }

    fn substring(&mut self) -> Result<()> {
        self.list(Self::expression)?;
        if self.eat(&["FROM"]) {
            self.expression()?;
            if self.eat(&["FOR"]) {
                self.expression()?;
            }
        }
        Ok(())
    }

    /// `WEIGHT_STRING(s [AS {CHAR | BINARY}(n)] [LEVEL n])`.
    fn weight_string(&mut self) -> Result<()> {
        self.expression()?;
        if self.eat(&["AS"]) {
            self.expect_any(&["CHAR", "BINARY"])?;
            self.lengths()?;
        }
        if self.eat(&["LEVEL"]) {
            self.expect_kind(Kind::Number, "a number")?;
            self.eat_any(&["ASC", "DESC"]);
        }
        Ok(())
    }

    /// The name of a character set that is ASCII below 0x80.
    pub fn character_set(&mut self) -> Result<()> {
        let quoted = matches!(self.kind(0), Some(Kind::Text | Kind::Quoted));
        let set = self.text(0).trim_matches(['\'', '"', '`']);
        if !words::is_any(set, &words::CHARACTER_SETS) {
            return Err(Refusal::Forbidden(format!(
                "the character set `{set}`; use utf8mb4"
            )));
        }
        if quoted {
            if !self.eat_kind(Kind::Text) {
                self.eat_kind(Kind::Quoted);
            }
            return Ok(());
        }
        if self.eat_any(&words::CHARACTER_SETS) {
            return Ok(());
        }
        self.unexpected("a character set")
    }

    /// A data type, with lengths, attributes, character set and collation.
    pub fn data_type(&mut self) -> Result<()> {
        self.expect_any(&words::TYPES)?;
        loop {
            if self.is_symbol(0, "(") {
                self.lengths()?;
            } else if self.eat(&["CHARACTER", "SET"]) || self.eat(&["CHARSET"]) {
                self.character_set()?;
            } else if self.eat(&["COLLATE"]) {
                self.collation()?;
            } else if !self.eat_any(&words::TYPE_ATTRIBUTES) {
                return Ok(());
            }
        }
    }

    /// `(n)`, `(n, m)`, `('a', 'b')`.
    fn lengths(&mut self) -> Result<()> {
        self.list_in_parentheses(|parser| {
            if parser.eat_kind(Kind::Text) || parser.eat_kind(Kind::Parameter) {
                return Ok(());
            }
            parser.expect_kind(Kind::Number, "a length")
        })
    }
}
