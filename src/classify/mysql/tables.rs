//! Table references: what may stand in a `FROM` list, and what each name there stands for.

use super::parser::{JOINED_TABLES_MAX, Parser, Source, TableName};
use super::query::Parenthesised;
use super::shape::TableTokens;
use super::token::Kind;
use crate::classify::{Refusal, Result};
use crate::operation::Action;

/// One entry of a `FROM` list, joins flattened.
#[derive(Debug)]
pub struct Joined {
    pub source: Source,
    /// The name by which the rest of the statement refers to it.
    pub alias: Option<String>,
    /// The place of the note about it.
    pub noted: Option<usize>,
}

impl Joined {
    pub fn into_table(self) -> Option<TableName> {
        match self.source {
            Source::Table(table) => Some(table),
            Source::Derived => None,
        }
    }

    /// Whether `qualifier`, before a column or as the target of a multi-table statement, may mean this entry. Case
    /// is ignored, as one of the servers may do.
    pub fn answers_to(&self, qualifier: &str) -> bool {
        let named = match (&self.alias, &self.source) {
            (Some(alias), _) => alias,
            (None, Source::Table(table)) => &table.name,
            (None, Source::Derived) => return false,
        };
        named.eq_ignore_ascii_case(qualifier)
    }
}

impl Parser<'_> {
    pub fn touch_all(&mut self, joined: &[Joined], action: Action) {
        for entry in joined {
            if let Source::Table(table) = &entry.source {
                self.touch(table, action);
            }
        }
    }

    /// A `FROM` list: references by comma, each with its joins.
    pub fn table_references(&mut self) -> Result<Vec<Joined>> {
        let mut joined = Vec::new();
        self.list(|parser| parser.joined_table(&mut joined))?;
        Ok(joined)
    }

    fn joined_table(&mut self, joined: &mut Vec<Joined>) -> Result<()> {
        self.table_factor(joined)?;
        loop {
            if self.is_word(0, "ON") && !self.is_on_duplicate() {
                self.expect(&["ON"])?;
                self.condition()?;
            } else if self.is_word(0, "USING") && self.is_symbol(1, "(") {
                self.expect(&["USING"])?;
                self.using()?;
            } else if self.eat_join() {
                self.table_factor(joined)?;
            } else {
                return Ok(());
            }
        }
    }

    fn is_on_duplicate(&self) -> bool {
        self.is_word(1, "DUPLICATE") && self.is_word(2, "KEY")
    }

    fn eat_join(&mut self) -> bool {
        const JOINS: [&[&str]; 14] = [
            &["JOIN"],
            &["INNER", "JOIN"],
            &["CROSS", "JOIN"],
            &["STRAIGHT_JOIN"],
            &["LEFT", "JOIN"],
            &["LEFT", "OUTER", "JOIN"],
            &["RIGHT", "JOIN"],
            &["RIGHT", "OUTER", "JOIN"],
            &["NATURAL", "JOIN"],
            &["NATURAL", "INNER", "JOIN"],
            &["NATURAL", "LEFT", "JOIN"],
            &["NATURAL", "RIGHT", "JOIN"],
            &["NATURAL", "LEFT", "OUTER", "JOIN"],
            &["NATURAL", "RIGHT", "OUTER", "JOIN"],
        ];
        let natural = self.is_word(0, "NATURAL");
        let found = JOINS.iter().any(|join| self.eat(join));
        if natural && found {
            self.note(|shape| shape.joins_by_name = true);
        }
        self.joins_seen += usize::from(found);
        found
    }

    fn push(&mut self, joined: &mut Vec<Joined>, entry: Joined) -> Result<()> {
        if joined.len() >= JOINED_TABLES_MAX {
            return Err(Refusal::TooLarge(format!(
                "more than {JOINED_TABLES_MAX} tables are joined"
            )));
        }
        joined.push(entry);
        Ok(())
    }

    fn table_factor(&mut self, joined: &mut Vec<Joined>) -> Result<()> {
        if self.is_symbol(0, "{") {
            return self.forbidden("the ODBC join escape `{OJ …}`; write the join without it");
        }
        if self.is_word(0, "LATERAL") && self.is_symbol(1, "(") {
            self.expect(&["LATERAL"])?;
            self.note_computes();
            self.expect_symbol("(")?;
            self.query()?;
            self.expect_symbol(")")?;
            return self.derived_alias(joined);
        }
        if self.is_word(0, "JSON_TABLE") && self.is_symbol(1, "(") {
            self.json_table()?;
            return self.derived_alias(joined);
        }
        if self.is_symbol(0, "(") {
            return match self.parenthesised_tables(joined)? {
                Parenthesised::Query(_) => self.derived_alias(joined),
                Parenthesised::Other => Ok(()),
            };
        }
        let mut tokens = TableTokens::default();
        let start = self.at;
        let name = self.table_name()?;
        let exposed = name.name.clone();
        let source = self.resolve(name)?;
        let partition = self.at;
        self.partitions()?;
        tokens.partition = partition..self.at;
        if self.is_word(0, "FOR") && self.is_word(1, "SYSTEM_TIME") {
            self.system_time()?;
        }
        tokens.system_time = tokens.partition.end..self.at;
        let alias = self.table_alias()?;
        let hints = self.at;
        self.index_hints()?;
        tokens.hints = hints..self.at;
        tokens.whole = start..self.at;
        if matches!(source, Source::Derived) {
            self.note_derived(Some(alias.as_deref().unwrap_or(&exposed)));
        }
        let noted = self.note_source(&source, alias.as_deref(), tokens);
        let entry = Joined {
            source,
            alias,
            noted,
        };
        self.push(joined, entry)
    }

    /// `[AS] alias [(columns)]` after a derived table.
    fn derived_alias(&mut self, joined: &mut Vec<Joined>) -> Result<()> {
        let alias = self.table_alias()?;
        if alias.is_some() && self.is_symbol(0, "(") {
            self.list_in_parentheses(|parser| parser.name("a column").map(|_| ()))?;
        }
        self.note_derived(alias.as_deref());
        let entry = Joined {
            source: Source::Derived,
            alias,
            noted: None,
        };
        self.push(joined, entry)
    }

    /// `( query )`, `( tables )`, with any number of parentheses; both begin alike, so it is read once and the
    /// answer comes from inside.
    fn parenthesised_tables(&mut self, joined: &mut Vec<Joined>) -> Result<Parenthesised> {
        self.nested(|parser| {
            parser.expect_symbol("(")?;
            if parser.is_query() {
                let tables = parser.query()?;
                parser.expect_symbol(")")?;
                return Ok(Parenthesised::Query(tables));
            }
            if parser.is_symbol(0, "(") {
                if let Parenthesised::Query(mut tables) = parser.parenthesised_tables(joined)? {
                    if parser.is_symbol(0, ")") || parser.is_query_tail() {
                        parser.query_tail(&mut tables)?;
                        parser.expect_symbol(")")?;
                        return Ok(Parenthesised::Query(tables));
                    }
                    parser.derived_alias(joined)?;
                }
                parser.joins_after_factor(joined)?;
            } else {
                parser.joined_table(joined)?;
            }
            while parser.eat_symbol(",") {
                parser.joined_table(joined)?;
            }
            parser.expect_symbol(")")?;
            Ok(Parenthesised::Other)
        })
    }

    fn joins_after_factor(&mut self, joined: &mut Vec<Joined>) -> Result<()> {
        loop {
            if self.eat(&["ON"]) {
                self.condition()?;
            } else if self.eat(&["USING"]) {
                self.using()?;
            } else if self.eat_join() {
                self.table_factor(joined)?;
            } else {
                return Ok(());
            }
        }
    }

    /// The columns of `USING (…)`.
    fn using(&mut self) -> Result<()> {
        self.note(|shape| shape.joins_by_name = true);
        self.list_in_parentheses(|parser| {
            let start = parser.at;
            let column = parser.name("a column")?;
            parser.note_column(start, &[column]);
            Ok(())
        })
    }

    /// What stands after `WHERE`, `ON` and `HAVING`.
    pub fn condition(&mut self) -> Result<()> {
        let start = self.at;
        self.expression()?;
        self.note_condition(start);
        Ok(())
    }

    /// `PARTITION (p0, …)`.
    pub fn partitions(&mut self) -> Result<()> {
        if self.eat(&["PARTITION"]) {
            self.list_in_parentheses(|parser| parser.name("a partition").map(|_| ()))?;
        }
        Ok(())
    }

    /// MariaDB's `FOR SYSTEM_TIME {ALL | AS OF point | BETWEEN … AND … | FROM … TO …}`: older rows of the same
    /// table.
    fn system_time(&mut self) -> Result<()> {
        self.expect(&["FOR", "SYSTEM_TIME"])?;
        if self.eat(&["ALL"]) {
            return Ok(());
        }
        if self.eat(&["BETWEEN"]) {
            self.point_in_time()?;
            self.expect(&["AND"])?;
        } else if self.eat(&["FROM"]) {
            self.point_in_time()?;
            self.expect(&["TO"])?;
        } else {
            self.expect(&["AS", "OF"])?;
        }
        self.point_in_time()
    }

    fn point_in_time(&mut self) -> Result<()> {
        self.eat_any(&["TIMESTAMP", "TRANSACTION"]);
        self.operand()
    }

    /// `USE INDEX (a, b)` and the like, any number.
    fn index_hints(&mut self) -> Result<()> {
        loop {
            let hint = ["USE", "IGNORE", "FORCE"]
                .iter()
                .any(|word| self.is_word(0, word))
                && ["INDEX", "KEY"].iter().any(|word| self.is_word(1, word));
            if !hint {
                return Ok(());
            }
            self.expect_any(&["USE", "IGNORE", "FORCE"])?;
            self.expect_any(&["INDEX", "KEY"])?;
            if self.eat(&["FOR"])
                && !self.eat(&["JOIN"])
                && !self.eat(&["ORDER", "BY"])
                && !self.eat(&["GROUP", "BY"])
            {
                return self.unexpected("JOIN, ORDER BY or GROUP BY");
            }
            self.expect_symbol("(")?;
            if !self.eat_symbol(")") {
                self.list(|parser| {
                    if parser.eat(&["PRIMARY"]) {
                        return Ok(());
                    }
                    parser.name("an index").map(|_| ())
                })?;
                self.expect_symbol(")")?;
            }
            // Hints may be separated by commas; a comma before anything else separates tables.
            if self.is_symbol(0, ",")
                && ["USE", "IGNORE", "FORCE"]
                    .iter()
                    .any(|word| self.is_word(1, word))
                && ["INDEX", "KEY"].iter().any(|word| self.is_word(2, word))
            {
                self.expect_symbol(",")?;
            }
        }
    }

    /// `JSON_TABLE(document, path COLUMNS (…))`.
    fn json_table(&mut self) -> Result<()> {
        self.expect(&["JSON_TABLE"])?;
        self.note_computes();
        self.expect_symbol("(")?;
        self.nested(Self::expression)?;
        self.expect_symbol(",")?;
        self.expect_kind(Kind::Text, "a JSON path")?;
        self.json_columns()?;
        self.expect_symbol(")")
    }

    fn json_columns(&mut self) -> Result<()> {
        self.nested(|parser| {
            parser.expect(&["COLUMNS"])?;
            parser.list_in_parentheses(Self::json_column)
        })
    }

    fn json_column(&mut self) -> Result<()> {
        if self.is_word(0, "NESTED")
            && (self.is_word(1, "PATH") || self.kind(1) == Some(Kind::Text))
        {
            self.expect(&["NESTED"])?;
            self.eat(&["PATH"]);
            self.expect_kind(Kind::Text, "a JSON path")?;
            return self.json_columns();
        }
        self.name("a column")?;
        if self.eat(&["FOR", "ORDINALITY"]) {
            return Ok(());
        }
        self.data_type()?;
        self.eat(&["EXISTS"]);
        if self.eat(&["PATH"]) {
            self.expect_kind(Kind::Text, "a JSON path")?;
        }
        self.json_fallbacks()
    }

    /// `{NULL | ERROR | DEFAULT literal} ON {EMPTY | ERROR}`, any number.
    pub fn json_fallbacks(&mut self) -> Result<()> {
        while ["NULL", "ERROR", "DEFAULT"]
            .iter()
            .any(|word| self.is_word(0, word))
        {
            if self.eat(&["DEFAULT"]) {
                self.operand()?;
            } else {
                self.expect_any(&["NULL", "ERROR"])?;
            }
            self.expect(&["ON"])?;
            self.expect_any(&["EMPTY", "ERROR"])?;
        }
        Ok(())
    }
}
