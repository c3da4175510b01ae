//! Query expressions: `WITH`, `SELECT`, `TABLE`, `VALUES`, set operations, ordering, limits, locks, windows.

use super::parser::{Parser, Source, TableName};
use super::shape::ColumnPlace;
use super::tables::Joined;
use super::token::Kind;
use crate::classify::Result;
use crate::operation::Action;

/// What stands between `SELECT` and the list.
const SELECT_MODIFIERS: [&str; 11] = [
    "ALL",
    "DISTINCT",
    "DISTINCTROW",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
    "SQL_SMALL_RESULT",
    "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT",
    "SQL_CACHE",
    "SQL_NO_CACHE",
    "SQL_CALC_FOUND_ROWS",
];

/// What opening parentheses led to.
pub enum Parenthesised {
    /// A query expression, with the tables that a lock after it would lock.
    Query(Vec<TableName>),
    Other,
}

impl Parser<'_> {
    /// Whether a query expression begins here (not counting parentheses).
    pub fn is_query(&self) -> bool {
        ["SELECT", "WITH", "TABLE"]
            .iter()
            .any(|word| self.is_word(0, word))
            || self.is_values_statement()
    }

    /// `VALUES ROW(` and `VALUES (`, not the function `VALUES(column)`, which never begins an operand's parentheses
    /// with a list of rows.
    fn is_values_statement(&self) -> bool {
        self.is_word(0, "VALUES")
            && (self.is_word(1, "ROW") || (self.is_symbol(1, "(") && !self.is_values_function()))
    }

    fn is_values_function(&self) -> bool {
        let mut ahead = 2;
        while matches!(
            self.kind(ahead),
            Some(Kind::Word | Kind::Name | Kind::Quoted)
        ) || self.is_symbol(ahead, ".")
        {
            ahead += 1;
        }
        ahead > 2 && self.is_symbol(ahead, ")")
    }

    /// Whether a query expression begins here, perhaps in parentheses.
    pub fn is_query_in_parentheses(&self) -> bool {
        let mut ahead = 0;
        while self.is_symbol(ahead, "(") {
            ahead += 1;
        }
        ["SELECT", "WITH", "TABLE", "VALUES"]
            .iter()
            .any(|word| self.is_word(ahead, word))
    }

    /// `[WITH …] body [ORDER BY] [LIMIT] [FOR UPDATE]`. Every table in it is touched; those of its outermost blocks
    /// are returned, since a lock written after it locks them.
    pub fn query(&mut self) -> Result<Vec<TableName>> {
        self.nested(|parser| {
            let outer = parser.common_tables();
            parser.with_clause()?;
            let mut tables = Vec::new();
            parser.query_term(&mut tables)?;
            parser.query_tail(&mut tables)?;
            parser.forget_common_tables(outer);
            Ok(tables)
        })
    }

    /// What may follow a first query term: set operations, then ordering, limit and locks.
    pub fn query_tail(&mut self, tables: &mut Vec<TableName>) -> Result<()> {
        loop {
            if self.eat_any(&["UNION", "EXCEPT", "INTERSECT"]) {
                self.eat_any(&["ALL", "DISTINCT"]);
                self.query_term(tables)?;
            } else if !self.order_limit_lock(tables)? {
                break;
            }
        }
        if self.is_word(0, "INTO") {
            return self
                .forbidden("SELECT … INTO writes a file or a variable; read the rows instead");
        }
        if self.is_word(0, "PROCEDURE") {
            return self.forbidden("PROCEDURE ANALYSE is not understood");
        }
        Ok(())
    }

    /// Whether a query goes on after a closing parenthesis.
    pub fn is_query_tail(&self) -> bool {
        [
            "UNION",
            "EXCEPT",
            "INTERSECT",
            "ORDER",
            "LIMIT",
            "FOR",
            "LOCK",
            "INTO",
            "FETCH",
            "OFFSET",
        ]
        .iter()
        .any(|word| self.is_word(0, word))
    }

    fn order_limit_lock(&mut self, tables: &[TableName]) -> Result<bool> {
        if self.is_word(0, "ORDER") {
            self.order_by()?;
        } else if self.is_word(0, "LIMIT") || self.is_word(0, "FETCH") || self.is_word(0, "OFFSET")
        {
            self.limit()?;
        } else if self.is_word(0, "FOR") || self.is_word(0, "LOCK") {
            self.lock(tables)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn query_term(&mut self, tables: &mut Vec<TableName>) -> Result<()> {
        if self.is_symbol(0, "(") {
            self.expect_symbol("(")?;
            tables.extend(self.query()?);
            return self.expect_symbol(")");
        }
        if self.eat(&["SELECT"]) {
            return self.select(tables);
        }
        if self.eat(&["TABLE"]) {
            let start = self.at - 1;
            let name = self.table_name()?;
            if let Source::Table(table) = self.resolve(name)? {
                self.touch(&table, Action::Select);
                self.note_table_statement(&table, start);
                tables.push(table);
            }
            return Ok(());
        }
        if self.is_values_statement() {
            self.expect(&["VALUES"])?;
            return self.list(|parser| {
                parser.eat(&["ROW"]);
                parser.row()
            });
        }
        self.unexpected("SELECT")
    }

    /// `( [expression | DEFAULT] , … )`, perhaps empty.
    pub fn row(&mut self) -> Result<()> {
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(());
        }
        self.list(Self::value)?;
        self.expect_symbol(")")
    }

    /// An expression, or `DEFAULT` or MariaDB's `IGNORE` alone.
    pub fn value(&mut self) -> Result<()> {
        let ends = self.is_symbol(1, ",") || self.is_symbol(1, ")") || self.is_symbol(1, ";");
        let bare = self.is_word(0, "DEFAULT") && !self.is_symbol(1, "(");
        if bare || (self.is_word(0, "IGNORE") && ends) {
            return self.expect_any(&["DEFAULT", "IGNORE"]);
        }
        self.expression()
    }

    /// `WITH [RECURSIVE] name [(columns)] AS (query), …`. The caller forgets the names.
    pub fn with_clause(&mut self) -> Result<()> {
        if !self.eat(&["WITH"]) {
            return Ok(());
        }
        let recursive = self.eat(&["RECURSIVE"]);
        let since = recursive.then(|| self.position());
        let list = self.common_tables();
        self.list(|parser| {
            let name = parser.name("a common table's name")?;
            if parser.is_symbol(0, "(") {
                parser.list_in_parentheses(|parser| parser.name("a column").map(|_| ()))?;
            }
            parser.expect(&["AS"])?;
            parser.expect_symbol("(")?;
            if recursive {
                parser.declare_common_table(name.clone(), since)?;
            }
            parser.common_table_body(list, Self::query)?;
            parser.expect_symbol(")")?;
            if recursive && parser.is_word(0, "CYCLE") {
                parser.expect(&["CYCLE"])?;
                parser.list(|parser| parser.name("a column").map(|_| ()))?;
                parser.expect(&["RESTRICT"])?;
            }
            if !recursive {
                parser.declare_common_table(name, None)?;
            }
            Ok(())
        })
    }

    /// After `SELECT`.
    fn select(&mut self, tables: &mut Vec<TableName>) -> Result<()> {
        self.eat_kind(Kind::Hint);
        while self.eat_any(&SELECT_MODIFIERS) {}
        self.list(Self::select_item)?;
        if self.is_word(0, "INTO") {
            return self
                .forbidden("SELECT … INTO writes a file or a variable; read the rows instead");
        }
        if self.eat(&["FROM"]) {
            if self.eat(&["DUAL"]) {
                self.known.insert("dual".to_owned());
            } else {
                let joined = self.table_references()?;
                self.touch_all(&joined, Action::Select);
                tables.extend(joined.into_iter().filter_map(Joined::into_table));
            }
        }
        if self.eat(&["WHERE"]) {
            self.condition()?;
        }
        if self.eat(&["GROUP", "BY"]) {
            self.list(Self::order_item)?;
            self.eat(&["WITH", "ROLLUP"]);
        }
        if self.eat(&["HAVING"]) {
            self.condition()?;
        }
        if self.eat(&["WINDOW"]) {
            self.list(|parser| {
                parser.name("a window's name")?;
                parser.expect(&["AS"])?;
                parser.window()
            })?;
        }
        Ok(())
    }

    pub fn select_item(&mut self) -> Result<()> {
        if self.is_symbol(0, "*") {
            let start = self.at;
            self.expect_symbol("*")?;
            self.note_column(start, &[]);
            self.note_place(ColumnPlace::Star);
            return Ok(());
        }
        self.expression_or_star()?;
        self.column_alias()
    }

    pub fn column_alias(&mut self) -> Result<()> {
        if self.eat(&["AS"]) {
            if self.eat_kind(Kind::Text) {
                return Ok(());
            }
            return self.alias_of_item();
        }
        if self.is_alias() {
            return self.alias_of_item();
        }
        self.eat_kind(Kind::Text);
        Ok(())
    }

    fn alias_of_item(&mut self) -> Result<()> {
        let alias = self.name("an alias")?;
        self.note(|shape| shape.aliases.push(alias));
        Ok(())
    }

    pub fn order_by(&mut self) -> Result<()> {
        self.expect(&["ORDER", "BY"])?;
        self.list(Self::order_item)
    }

    fn order_item(&mut self) -> Result<()> {
        self.expression()?;
        self.eat_any(&["ASC", "DESC"]);
        Ok(())
    }

    /// `LIMIT n [, n | OFFSET n]`, `OFFSET n ROWS`, `FETCH FIRST n ROWS ONLY`.
    pub fn limit(&mut self) -> Result<()> {
        if self.eat(&["LIMIT"]) {
            if !self.is_word(0, "ROWS") {
                self.limit_number()?;
                if self.eat_symbol(",") || self.eat(&["OFFSET"]) {
                    self.limit_number()?;
                }
            }
            if self.eat(&["ROWS", "EXAMINED"]) {
                self.note(|shape| shape.counts_examined = true);
                self.limit_number()?;
            }
            return Ok(());
        }
        if self.eat(&["OFFSET"]) {
            self.limit_number()?;
            self.expect_any(&["ROW", "ROWS"])?;
        }
        if self.eat(&["FETCH"]) {
            self.expect_any(&["FIRST", "NEXT"])?;
            if !self.is_word(0, "ROW") && !self.is_word(0, "ROWS") {
                self.limit_number()?;
            }
            self.expect_any(&["ROW", "ROWS"])?;
            if !self.eat(&["WITH", "TIES"]) {
                self.expect(&["ONLY"])?;
            }
        }
        Ok(())
    }

    fn limit_number(&mut self) -> Result<()> {
        if self.eat_kind(Kind::Parameter) {
            return Ok(());
        }
        self.expect_kind(Kind::Number, "a number or `?`")
    }

    /// `FOR UPDATE`, `FOR SHARE`, `LOCK IN SHARE MODE`: an update of every table it may lock.
    fn lock(&mut self, tables: &[TableName]) -> Result<()> {
        if !self.eat(&["LOCK", "IN", "SHARE", "MODE"]) {
            self.expect(&["FOR"])?;
            self.expect_any(&["UPDATE", "SHARE"])?;
            if self.eat(&["OF"]) {
                // The names are aliases of this query's tables; all of them are counted.
                self.list(|parser| parser.table_name().map(|_| ()))?;
            }
        }
        if self.eat(&["WAIT"]) {
            self.limit_number()?;
        } else if !self.eat(&["NOWAIT"]) {
            self.eat(&["SKIP", "LOCKED"]);
        }
        for table in tables {
            self.touch(table, Action::Update);
            self.note(|shape| shape.locked.push(table.clone()));
        }
        Ok(())
    }

    /// `( [name] [PARTITION BY …] [ORDER BY …] [frame] )`.
    pub fn window(&mut self) -> Result<()> {
        self.nested(|parser| {
            parser.expect_symbol("(")?;
            if parser.is_alias() && !parser.is_symbol(0, ")") {
                parser.name("a window's name")?;
            }
            if parser.eat(&["PARTITION", "BY"]) {
                parser.list(Self::expression)?;
            }
            if parser.is_word(0, "ORDER") {
                parser.order_by()?;
            }
            if parser.eat_any(&["ROWS", "RANGE", "GROUPS"]) {
                if parser.eat(&["BETWEEN"]) {
                    parser.frame_bound()?;
                    parser.expect(&["AND"])?;
                }
                parser.frame_bound()?;
                if parser.eat(&["EXCLUDE"]) {
                    parser.frame_exclusion()?;
                }
            }
            parser.expect_symbol(")")
        })
    }

    fn frame_exclusion(&mut self) -> Result<()> {
        if self.eat(&["NO", "OTHERS"]) || self.eat(&["CURRENT", "ROW"]) {
            return Ok(());
        }
        self.expect_any(&["GROUP", "TIES"])
    }

    fn frame_bound(&mut self) -> Result<()> {
        if self.eat(&["CURRENT", "ROW"]) {
            return Ok(());
        }
        if !self.eat(&["UNBOUNDED"]) {
            // Bounds are literals, parameters and intervals; an operator would swallow the frame's AND.
            self.operand()?;
        }
        self.expect_any(&["PRECEDING", "FOLLOWING"])
    }
}
