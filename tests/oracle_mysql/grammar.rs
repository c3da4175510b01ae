//! Statements made from a grammar of MySQL's own, weighted towards what is easily misread: names of common tables
//! and aliases that are also names of tables, odd white space, quotes inside comments, nested parentheses.

use super::random::Random;
use super::schema::{DATABASE, TABLES, Table};

/// An alias or table, and its columns.
pub type Entry = (String, &'static [&'static str]);

/// Most entries of one generated `FROM` list.
const ENTRIES_MAX: usize = 6;

/// How deep a statement's subqueries nest.
const DEPTH_MAX: usize = 3;

/// What a derived table has, and a query that stands for a value.
pub const DERIVED: &[&str] = &["x"];

pub struct Grammar<'r> {
    pub random: &'r mut Random,
    common: Vec<String>,
    names: usize,
}

impl<'r> Grammar<'r> {
    pub fn new(random: &'r mut Random) -> Self {
        Self {
            random,
            common: Vec::new(),
            names: 0,
        }
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.random.chance(percent)
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.random.pick(from)
    }

    fn table(&mut self) -> &'static Table {
        &TABLES[self.random.below(TABLES.len())]
    }

    /// A table's name, perhaps with its database, each part perhaps in back quotes.
    fn spelled(&mut self, table: &Table) -> String {
        let mut parts = vec![table.name];
        if table.database != DATABASE || self.chance(15) {
            parts.insert(0, table.database);
        }
        let dot = self.pick(&[".", ".", ".", " . ", "/**/./*x*/"]);
        let parts: Vec<String> = parts
            .into_iter()
            .map(|part| match self.chance(40) {
                true => format!("`{part}`"),
                false => part.to_owned(),
            })
            .collect();
        parts.join(dot)
    }

    pub fn alias(&mut self) -> String {
        self.names += 1;
        let number = self.names;
        match self.random.below(20) {
            0..=2 => self.table().name.to_owned(),
            3..=5 => format!("`x y{number}`"),
            6 => format!("`{number}`"),
            _ => format!("a{number}"),
        }
    }

    fn reference(&mut self, scope: &mut Vec<Entry>, depth: usize) -> String {
        let dice = self.random.below(100);
        if !self.common.is_empty() && dice < 20 {
            let name = self.common[self.random.below(self.common.len())].clone();
            let alias = self.alias();
            scope.push((alias.clone(), DERIVED));
            return format!("{name}{}{alias}", self.pick(&[" ", " AS "]));
        }
        if depth > 0 && dice < 35 {
            let alias = self.alias();
            let mut body = self.query(&[], depth - 1, Some(DERIVED));
            if self.chance(20) {
                body = format!("({body})");
            }
            scope.push((alias.clone(), DERIVED));
            return format!("({body}) {}{alias}", self.pick(&["", "AS "]));
        }
        if depth > 0 && dice < 44 {
            return format!("({})", self.references(scope, depth - 1));
        }
        if dice < 46 {
            let alias = self.alias();
            scope.push((alias.clone(), DERIVED));
            return format!("JSON_TABLE('[1]', '$[*]' COLUMNS (x INT PATH '$')) AS {alias}");
        }
        self.real_table(scope)
    }

    fn real_table(&mut self, scope: &mut Vec<Entry>) -> String {
        let table = self.table();
        let mut text = self.spelled(table);
        if table.name == "audit_logs" && self.chance(20) {
            text.push_str(" PARTITION (p0)");
        }
        if self.chance(60) {
            let alias = self.alias();
            text.push_str(self.pick(&[" ", " AS "]));
            text.push_str(&alias);
            scope.push((alias, table.columns));
        } else {
            scope.push((table.name.to_owned(), table.columns));
        }
        if table.database == DATABASE && self.chance(8) {
            text.push_str(self.pick(&[
                " USE INDEX ()",
                " IGNORE INDEX FOR JOIN (PRIMARY)",
                " FORCE KEY (PRIMARY)",
            ]));
        }
        text
    }

    fn references(&mut self, scope: &mut Vec<Entry>, depth: usize) -> String {
        let mut text = self.reference(scope, depth);
        while self.chance(35) && scope.len() < ENTRIES_MAX {
            if self.chance(60) {
                text.push_str(self.pick(&[
                    ", ",
                    " JOIN ",
                    " CROSS JOIN ",
                    " INNER JOIN ",
                    " STRAIGHT_JOIN ",
                ]));
                text.push_str(&self.reference(scope, depth));
            } else {
                text.push_str(self.pick(&[" LEFT JOIN ", " RIGHT OUTER JOIN "]));
                text.push_str(&self.reference(scope, depth));
                let visible = scope.clone();
                text.push_str(" ON ");
                text.push_str(&self.expression(&visible, 1));
            }
        }
        text
    }

    fn block(&mut self, outer: &[Entry], depth: usize, columns: Option<&[&str]>) -> String {
        let mut scope = Vec::new();
        let from = match self.random.below(100) {
            0..=92 => format!(" FROM {}", self.references(&mut scope, depth)),
            93..=95 => " FROM DUAL".to_owned(),
            _ => String::new(),
        };
        scope.extend_from_slice(outer);
        let mut text = format!(
            "SELECT {}",
            self.pick(&["", "", "", "", "DISTINCT ", "ALL ", "DISTINCTROW ", "ALL "])
        );
        let items: Vec<String> = match columns {
            Some(columns) => columns
                .iter()
                .map(|name| format!("({}) AS {name}", self.expression(&scope, depth)))
                .collect(),
            None => (0..=self.random.below(3))
                .map(|_| self.item(&scope, depth))
                .collect(),
        };
        text.push_str(&items.join(", "));
        if from.is_empty() {
            return text;
        }
        text.push_str(&from);
        for (clause, percent, end) in [
            (" WHERE ", 50, &["", "", ""]),
            (" GROUP BY ", 15, &[" WITH ROLLUP", "", " DESC"]),
            (" HAVING ", 10, &["", "", ""]),
        ] {
            if self.chance(percent) {
                text.push_str(clause);
                text.push_str(&self.expression(&scope, depth));
                text.push_str(self.pick(end));
            }
        }
        text
    }

    fn item(&mut self, scope: &[Entry], depth: usize) -> String {
        let value = self.expression(scope, depth);
        match self.random.below(10) {
            0..=3 => format!("{value}{}{}", self.pick(&[" AS ", " "]), self.alias()),
            4 => format!("COUNT(*), SUM(DISTINCT {value})"),
            5 => format!("ROW_NUMBER() OVER (PARTITION BY {value} ORDER BY 1 DESC)"),
            6 => format!("GROUP_CONCAT({value} ORDER BY 1 SEPARATOR ';')"),
            _ => value,
        }
    }

    /// A query; with `columns`, it has just these.
    pub fn query(&mut self, outer: &[Entry], depth: usize, columns: Option<&[&str]>) -> String {
        let visible = self.common.clone();
        let mut text = String::new();
        if depth > 0 && self.chance(12) {
            text.push_str(&self.with(depth - 1));
        }
        text.push_str(&self.block(outer, depth, columns));
        if columns.is_some() && self.chance(15) {
            text.push_str(self.pick(&[" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT "]));
            let block = self.block(outer, depth.saturating_sub(1), columns);
            text.push_str(&match self.chance(60) {
                true => block,
                false => format!("({block})"),
            });
        }
        if self.chance(15) {
            let value = self.expression(&[], depth.saturating_sub(1));
            let order = self.pick(&["1", "NULL", &value]).to_owned();
            text.push_str(&format!(" ORDER BY {order}"));
        }
        if self.chance(20) {
            text.push_str(self.pick(&[
                " LIMIT 1",
                " LIMIT 1 OFFSET 2",
                " LIMIT 0, 5",
                " LIMIT ?",
                " FETCH FIRST 2 ROWS ONLY",
            ]));
        }
        self.common = visible;
        text
    }

    fn with(&mut self, depth: usize) -> String {
        let mut parts = Vec::new();
        for _ in 0..=self.random.below(2) {
            self.names += 1;
            let name = match self.random.below(3) {
                0 => format!("k{}", self.names),
                _ => self.table().name.to_owned(),
            };
            if self.common.contains(&name) {
                continue;
            }
            let body = self.query(&[], depth, Some(DERIVED));
            parts.push(format!("{name} AS ({body})"));
            if self.chance(80) {
                self.common.push(name);
            }
        }
        if parts.is_empty() {
            return String::new();
        }
        let recursive = self.pick(&["WITH ", "WITH ", "WITH ", "WITH RECURSIVE "]);
        format!("{recursive}{} ", parts.join(", "))
    }

    pub fn statement(&mut self) -> String {
        let depth = 1 + self.random.below(DEPTH_MAX);
        match self.random.below(100) {
            0..=44 => {
                let mut text = self.query(&[], depth, None);
                if self.chance(8) {
                    text.push_str(self.pick(&[
                        " FOR UPDATE",
                        " LOCK IN SHARE MODE",
                        " FOR UPDATE NOWAIT",
                    ]));
                }
                text
            }
            45..=47 => {
                let (first, second) = (self.query(&[], depth, None), self.expression(&[], depth));
                format!("({first}) ORDER BY {second} LIMIT 3")
            }
            48..=60 => self.insert(depth),
            61..=69 => self.update_one(depth),
            70..=79 => self.update_many(depth),
            80..=87 => self.delete_one(depth),
            88..=97 => self.delete_many(depth),
            _ => self.metadata(depth),
        }
    }

    fn insert(&mut self, depth: usize) -> String {
        let table = self.table();
        let columns = &table.columns[..1 + self.random.below(2)];
        let verb = self.pick(&[
            "INSERT INTO ",
            "INSERT ",
            "INSERT IGNORE INTO ",
            "REPLACE INTO ",
            "REPLACE ",
        ]);
        let mut text = format!("{verb}{}", self.spelled(table));
        let list = columns.join(", ");
        match self.random.below(5) {
            0 | 1 => {
                let rows: Vec<String> = (0..=self.random.below(2))
                    .map(|_| {
                        let row: Vec<String> = columns
                            .iter()
                            .map(|_| match self.chance(80) {
                                true => self.expression(&[], depth),
                                false => "DEFAULT".to_owned(),
                            })
                            .collect();
                        format!("({})", row.join(", "))
                    })
                    .collect();
                text.push_str(&format!(
                    " ({list}) {} {}",
                    self.pick(&["VALUES", "VALUE"]),
                    rows.join(", ")
                ));
            }
            2 => {
                let sets: Vec<String> = columns
                    .iter()
                    .map(|column| format!("{column} = {}", self.expression(&[], depth)))
                    .collect();
                text.push_str(&format!(" SET {}", sets.join(", ")));
            }
            3 => text.push_str(&format!(
                " ({list}) {}",
                self.query(&[], depth, Some(columns))
            )),
            _ => text.push_str(&format!(
                " ({list}) ({})",
                self.query(&[], depth, Some(columns))
            )),
        }
        if !verb.starts_with("REPLACE") && self.chance(30) {
            let value = match self.chance(40) {
                true => format!("VALUES({})", columns[0]),
                false => self.expression(&[], depth),
            };
            text.push_str(&format!(
                " ON DUPLICATE KEY UPDATE {} = {value}",
                columns[0]
            ));
        }
        if self.chance(15) {
            let scope = vec![(table.name.to_owned(), table.columns)];
            text.push_str(&format!(" RETURNING {}", self.expression(&scope, 1)));
        }
        text
    }

    fn update_one(&mut self, depth: usize) -> String {
        let table = self.table();
        let scope = vec![(table.name.to_owned(), table.columns)];
        let mut text = format!(
            "UPDATE {} SET {} = {}",
            self.spelled(table),
            self.pick(table.columns),
            self.expression(&scope, depth)
        );
        if self.chance(70) {
            text.push_str(&format!(" WHERE {}", self.expression(&scope, depth)));
        }
        if self.chance(20) {
            text.push_str(&format!(" ORDER BY {} LIMIT 1", self.pick(table.columns)));
        }
        text
    }

    fn update_many(&mut self, depth: usize) -> String {
        let mut scope = Vec::new();
        let tables = self.references(&mut scope, depth);
        let sets: Vec<String> = (0..=self.random.below(2))
            .map(|_| {
                let (alias, columns) = scope[self.random.below(scope.len())].clone();
                let value = self.expression(&scope, depth);
                let column = self.pick(columns);
                match self.chance(90) {
                    true => format!("{alias}.{column} = {value}"),
                    false => format!("{column} = {value}"),
                }
            })
            .collect();
        let mut text = format!("UPDATE {tables} SET {}", sets.join(", "));
        if self.chance(70) {
            text.push_str(&format!(" WHERE {}", self.expression(&scope, depth)));
        }
        text
    }

    fn delete_one(&mut self, depth: usize) -> String {
        let table = self.table();
        let scope = vec![(table.name.to_owned(), table.columns)];
        let mut text = format!("DELETE FROM {}", self.spelled(table));
        if self.chance(70) {
            text.push_str(&format!(" WHERE {}", self.expression(&scope, depth)));
        }
        text.push_str(self.pick(&["", "", "", " LIMIT 1", " RETURNING id"]));
        text
    }

    fn delete_many(&mut self, depth: usize) -> String {
        let mut scope = Vec::new();
        let tables = self.references(&mut scope, depth);
        let (target, _) = scope[self.random.below(scope.len())].clone();
        let star = self.pick(&["", ".*"]);
        let mut text = match self.chance(50) {
            true => format!("DELETE {target}{star} FROM {tables}"),
            false => format!("DELETE FROM {target}{star} USING {tables}"),
        };
        if self.chance(70) {
            text.push_str(&format!(" WHERE {}", self.expression(&scope, depth)));
        }
        text
    }

    fn metadata(&mut self, depth: usize) -> String {
        let table = self.table();
        let name = self.spelled(table);
        match self.random.below(4) {
            0 => format!("SHOW CREATE TABLE {name}"),
            1 => format!("EXPLAIN {}", self.query(&[], depth, None)),
            2 => format!("EXPLAIN FORMAT=JSON {}", self.update_one(depth)),
            _ => format!("EXPLAIN EXTENDED {}", self.delete_many(depth)),
        }
    }
}
