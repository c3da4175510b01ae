//! Expressions: operands joined by operators.
//!
//! Precedence is not kept, because it cannot change which tables are read: an expression reaches tables through
//! subqueries alone, and those stand in parentheses. What matters is that every token is accounted for.

use super::parser::Parser;
use super::query::Parenthesised;
use super::shape::ColumnPlace;
use super::token::Kind;
use super::words;
use crate::classify::Result;

const PREFIXES: [&str; 4] = ["-", "+", "!", "~"];

const OPERATORS: [&str; 21] = [
    "=", "<", ">", "<=", ">=", "<>", "!=", "<=>", "+", "-", "*", "/", "%", "^", "&", "|", "<<",
    ">>", "&&", "||", ":=",
];

/// Words that join two operands and cannot fail, each perhaps after `NOT`.
const COMPARING_WORDS: [&str; 6] = ["AND", "OR", "XOR", "LIKE", "IN", "BETWEEN"];

/// Words that join two operands and may fail.
const COMPUTING_WORDS: [&str; 5] = ["DIV", "MOD", "RLIKE", "REGEXP", "ESCAPE"];

/// Functions that are called without parentheses.
const BARE_FUNCTIONS: [&str; 10] = [
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "CURRENT_ROLE",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "UTC_DATE",
    "UTC_TIME",
    "UTC_TIMESTAMP",
];

impl Parser<'_> {
    pub fn expression(&mut self) -> Result<()> {
        self.operand()?;
        self.operators()
    }

    /// An item of a select list, where `t.*` may stand too.
    pub fn expression_or_star(&mut self) -> Result<()> {
        self.operand()?;
        if self.is_symbol(0, ".") && self.is_symbol(1, "*") {
            self.expect_symbol(".")?;
            self.expect_symbol("*")?;
            self.note_place(ColumnPlace::Star);
            return Ok(());
        }
        self.operators()
    }

    /// Operators and their right-hand operands, as long as there are any. A loop, so that a chain of a million
    /// terms needs no stack.
    fn operators(&mut self) -> Result<()> {
        let mut chain = 0;
        while self.operator()? {
            self.operand()?;
            chain += 1;
        }
        self.chain_seen = self.chain_seen.max(chain);
        Ok(())
    }

    /// Takes an operator that needs a right-hand operand. Those that do not, it takes and goes on.
    fn operator(&mut self) -> Result<bool> {
        loop {
            if self.kind(0) == Some(Kind::Symbol) {
                let symbol = self.text(0);
                if symbol == ":=" {
                    self.own_session(
                        "`:=` assigns a variable",
                        "compute the value in the application",
                    )?;
                }
                if OPERATORS.contains(&symbol) {
                    self.note_operator(symbol);
                    self.expect_symbol(symbol)?;
                    self.eat_any(&["ANY", "ALL", "SOME"]);
                    return Ok(true);
                }
                return Ok(false);
            }
            if self.is_word(0, "NOT")
                && words::is_any(self.word(1), &["LIKE", "RLIKE", "REGEXP", "IN", "BETWEEN"])
            {
                self.expect(&["NOT"])?;
            }
            if self.eat_any(&COMPARING_WORDS) {
                return Ok(true);
            }
            if self.eat_any(&COMPUTING_WORDS) || self.eat(&["SOUNDS", "LIKE"]) {
                self.note_computes();
                return Ok(true);
            }
            if self.eat(&["MEMBER", "OF"]) || (self.is_symbol(1, "(") && self.eat(&["MEMBER"])) {
                self.note_computes();
                return Ok(true);
            }
            if self.eat(&["IS"]) {
                self.eat(&["NOT"]);
                self.expect_any(&["NULL", "TRUE", "FALSE", "UNKNOWN"])?;
            } else if self.eat(&["COLLATE"]) {
                self.note_computes();
                self.collation()?;
            } else if self.eat(&["AT", "TIME", "ZONE"]) {
                self.note_computes();
                self.eat(&["INTERVAL"]);
                self.expect_kind(Kind::Text, "a time zone")?;
            } else {
                return Ok(false);
            }
        }
    }

    /// The name of a collation, as a word or a string.
    pub fn collation(&mut self) -> Result<()> {
        if self.eat_kind(Kind::Text) || self.eat(&["BINARY"]) {
            return Ok(());
        }
        self.name("a collation").map(|_| ())
    }

    /// One operand, with its prefixes.
    pub fn operand(&mut self) -> Result<()> {
        loop {
            let prefix = PREFIXES.iter().find(|prefix| self.is_symbol(0, prefix));
            if let Some(prefix) = prefix {
                self.expect_symbol(prefix)?;
                if *prefix != "!" && self.kind(0) != Some(Kind::Number) {
                    self.note_computes();
                }
            } else if self.eat(&["BINARY"]) {
                self.note_computes();
            } else if !self.eat(&["NOT"]) {
                break;
            }
        }
        match self.kind(0) {
            Some(Kind::Text | Kind::National) => {
                // Adjacent strings are one.
                while self.eat_kind(Kind::Text) || self.eat_kind(Kind::National) {}
                Ok(())
            }
            Some(Kind::Number | Kind::Binary | Kind::Parameter) => {
                self.eat_kind(Kind::Number);
                self.eat_kind(Kind::Binary);
                self.eat_kind(Kind::Parameter);
                Ok(())
            }
            Some(Kind::UserVariable) => {
                self.own_session(
                    "user variables (`@name`) keep values",
                    "send the value as a parameter",
                )?;
                self.note_computes();
                self.expect_kind(Kind::UserVariable, "a variable")
            }
            Some(Kind::SystemVariable) => self.system_variable(),
            Some(Kind::Symbol) => self.symbol_operand(),
            Some(Kind::Word) => self.word_operand(),
            Some(Kind::Name | Kind::Quoted) => self.column_or_call(),
            Some(Kind::Hint) | None => self.unexpected("an expression"),
        }
    }

    fn symbol_operand(&mut self) -> Result<()> {
        if self.is_symbol(0, "(") {
            return self.parenthesised().map(|_| ());
        }
        if self.is_symbol(0, "{") {
            return self.odbc_escape();
        }
        self.unexpected("an expression")
    }

    /// `( query )`, `( expression, … )`, with any number of parentheses.
    fn parenthesised(&mut self) -> Result<Parenthesised> {
        self.nested(|parser| {
            parser.expect_symbol("(")?;
            if parser.is_query() {
                let tables = parser.query()?;
                parser.expect_symbol(")")?;
                return Ok(Parenthesised::Query(tables));
            }
            if parser.is_symbol(0, "(") {
                if let Parenthesised::Query(mut tables) = parser.parenthesised()?
                    && (parser.is_symbol(0, ")") || parser.is_query_tail())
                {
                    parser.query_tail(&mut tables)?;
                    parser.expect_symbol(")")?;
                    return Ok(Parenthesised::Query(tables));
                }
                parser.operators()?;
                if parser.eat_symbol(",") {
                    parser.list(Self::expression)?;
                }
            } else {
                parser.list(Self::expression)?;
            }
            parser.expect_symbol(")")?;
            Ok(Parenthesised::Other)
        })
    }

    /// `{d '…'}`, `{t '…'}`, `{ts '…'}`, `{fn expression}`.
    fn odbc_escape(&mut self) -> Result<()> {
        self.expect_symbol("{")?;
        self.note_computes();
        if self.eat_any(&["D", "T", "TS"]) {
            self.expect_kind(Kind::Text, "a string")?;
        } else if self.eat(&["FN"]) {
            self.nested(Self::expression)?;
        } else {
            return self
                .forbidden("an ODBC escape other than `{d …}`, `{t …}`, `{ts …}` and `{fn …}`");
        }
        self.expect_symbol("}")
    }

    fn word_operand(&mut self) -> Result<()> {
        let word = self.text(0);
        if word.starts_with('_') && matches!(self.kind(1), Some(Kind::Text | Kind::Binary)) {
            return self.introduced_literal();
        }
        if self.eat_any(&["NULL", "TRUE", "FALSE", "UNKNOWN"]) {
            return Ok(());
        }
        if self.eat(&["CASE"]) {
            self.note_computes();
            return self.nested(Self::case);
        }
        if self.is_word(0, "EXISTS") && self.is_symbol(1, "(") {
            self.expect(&["EXISTS"])?;
            return match self.parenthesised()? {
                Parenthesised::Query(_) => Ok(()),
                Parenthesised::Other => self.unexpected("a query in EXISTS"),
            };
        }
        if self.is_word(0, "ROW") && self.is_symbol(1, "(") {
            self.expect(&["ROW"])?;
            return self.nested(Self::row);
        }
        if self.is_word(0, "INTERVAL") && !self.is_interval_function() {
            self.expect(&["INTERVAL"])?;
            self.note_computes();
            self.nested(Self::expression)?;
            return self.expect_any(&words::UNITS);
        }
        if self.eat(&["MATCH"]) {
            self.note_computes();
            return self.nested(Self::match_against);
        }
        if words::is_any(word, &["DATE", "TIME", "TIMESTAMP"]) && self.kind(1) == Some(Kind::Text) {
            self.expect_any(&["DATE", "TIME", "TIMESTAMP"])?;
            return self.expect_kind(Kind::Text, "a string");
        }
        if words::is_any(word, &["NEXT", "PREVIOUS"])
            && self.is_word(1, "VALUE")
            && self.is_word(2, "FOR")
        {
            return self.forbidden("sequences change when they are read; use AUTO_INCREMENT");
        }
        if self.is_symbol(1, "(") {
            return self.call(None);
        }
        if self.eat_any(&BARE_FUNCTIONS) {
            return Ok(());
        }
        if self.is_word(0, "DEFAULT") || words::is_any(word, &["ANY", "ALL", "SOME"]) {
            return self.unexpected("an expression");
        }
        self.column_or_call()
    }

    /// `INTERVAL(n, a, b…)` has a comma at its own level; `INTERVAL (n) DAY` has none. Looked up in a bounded
    /// window; past it, the second meaning is tried, and a comma there is an error.
    fn is_interval_function(&self) -> bool {
        const WINDOW_TOKENS: usize = 256;
        let mut depth = 0_usize;
        for ahead in 1..WINDOW_TOKENS {
            if self.is_symbol(ahead, "(") {
                depth += 1;
            } else if self.is_symbol(ahead, ")") {
                depth = depth.saturating_sub(1);
            } else if depth == 1 && self.is_symbol(ahead, ",") {
                return true;
            }
            if depth == 0 {
                return false;
            }
        }
        false
    }

    /// `_utf8mb4'…'`, `_binary x'…'`.
    fn introduced_literal(&mut self) -> Result<()> {
        let set = self.text(0).trim_start_matches('_');
        if !words::is_any(set, &words::CHARACTER_SETS) {
            return self.forbidden(
                "a character set introducer other than `_utf8mb4`, `_utf8`, `_binary`, `_ascii` and `_latin1`",
            );
        }
        self.eat(&[self.text(0)]);
        if self.eat_kind(Kind::Binary) {
            return Ok(());
        }
        while self.eat_kind(Kind::Text) {}
        Ok(())
    }

    fn case(&mut self) -> Result<()> {
        if !self.is_word(0, "WHEN") {
            self.expression()?;
        }
        while self.eat(&["WHEN"]) {
            self.expression()?;
            self.expect(&["THEN"])?;
            self.expression()?;
        }
        if self.eat(&["ELSE"]) {
            self.expression()?;
        }
        self.expect(&["END"])
    }

    /// After `MATCH`: `(columns) AGAINST (expression [mode])`.
    fn match_against(&mut self) -> Result<()> {
        if self.eat_symbol("(") {
            self.list(Self::matched_column)?;
            self.expect_symbol(")")?;
        } else {
            self.list(Self::matched_column)?;
        }
        self.expect(&["AGAINST"])?;
        self.expect_symbol("(")?;
        self.operand()?;
        while self.operator_in_against()? {
            self.operand()?;
        }
        if self.eat(&["IN"]) && !self.eat(&["BOOLEAN", "MODE"]) {
            self.expect(&["NATURAL", "LANGUAGE", "MODE"])?;
        }
        self.eat(&["WITH", "QUERY", "EXPANSION"]);
        self.expect_symbol(")")
    }

    fn matched_column(&mut self) -> Result<()> {
        self.column()?;
        self.note_place(ColumnPlace::Matched);
        Ok(())
    }

    fn operator_in_against(&mut self) -> Result<bool> {
        if self.is_word(0, "IN") {
            return Ok(false);
        }
        self.operator()
    }

    /// `column`, `table.column`, `database.table.column`, or `database.function(…)`.
    fn column_or_call(&mut self) -> Result<()> {
        if matches!(self.kind(0), Some(Kind::Quoted | Kind::Name | Kind::Word))
            && self.is_symbol(1, "(")
        {
            return self.call(None);
        }
        let qualified = self.is_symbol(1, ".")
            && matches!(self.kind(2), Some(Kind::Quoted | Kind::Name | Kind::Word))
            && self.is_symbol(3, "(");
        if qualified {
            let schema = self.name("a database")?;
            self.expect_symbol(".")?;
            return self.call(Some(schema));
        }
        self.column()?;
        while self.eat_symbol("->") || self.eat_symbol("->>") {
            self.note_computes();
            self.expect_kind(Kind::Text, "a JSON path")?;
        }
        Ok(())
    }

    /// A column, perhaps qualified. A star after the last dot is left to the caller.
    pub fn column(&mut self) -> Result<()> {
        self.column_name().map(|_| ())
    }

    /// A column, perhaps qualified: its parts as written.
    pub fn column_name(&mut self) -> Result<Vec<String>> {
        if self.is_symbol(0, ".") {
            return self.forbidden("a name that begins with a dot; write the name alone");
        }
        let start = self.at;
        let mut parts = vec![self.column_part()?];
        while parts.len() < 3 && self.is_symbol(0, ".") && !self.is_symbol(1, "*") {
            self.expect_symbol(".")?;
            parts.push(self.column_part()?);
        }
        if let Some(qualifiers) = &mut self.qualifiers {
            qualifiers.insert(parts.iter().rev().nth(1).cloned());
        }
        self.note_column(start, &parts);
        Ok(parts)
    }
}
