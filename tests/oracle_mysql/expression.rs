//! Expressions of generated statements.

use super::grammar::{DERIVED, Entry, Grammar};

impl Grammar<'_> {
    fn literal(&mut self) -> &'static str {
        self.pick(&[
            "1",
            "2",
            "-3",
            "1.5",
            "1e0",
            ".5",
            "0x41",
            "x'41'",
            "b'1'",
            "'a'",
            "\"b\"",
            "'it''s'",
            "'\\''",
            "\"a\\\"b\"",
            "'*/'",
            "'-- x'",
            "NULL",
            "TRUE",
            "?",
            "_utf8mb4'x'",
            "N'y'",
            "'a' 'b'",
            "DATE '2020-01-01'",
            "{d '2020-01-01'}",
            "CURRENT_TIMESTAMP",
            "@@sql_mode",
            "NOW()",
            "VERSION()",
            "'#'",
            "'~'",
            "'\\\\'",
            "'/*! FROM api_keys */'",
            "PI()",
            "DATABASE()",
        ])
    }

    fn column(&mut self, scope: &[Entry]) -> String {
        if scope.is_empty() {
            return self.literal().to_owned();
        }
        let (alias, columns) = scope[self.random.below(scope.len())].clone();
        let column = self.pick(columns);
        match self.random.below(8) {
            0 => format!("{alias} . {column}"),
            1 => format!("{alias}.`{column}`"),
            2 if scope.len() == 1 => column.to_owned(),
            3 => format!("{alias}/**/.{column}"),
            _ => format!("{alias}.{column}"),
        }
    }

    pub fn expression(&mut self, scope: &[Entry], depth: usize) -> String {
        let dice = self.random.below(100);
        if depth == 0 || dice < 25 {
            return self.literal().to_owned();
        }
        if dice < 50 {
            return self.column(scope);
        }
        let deeper = depth - 1;
        match self.random.below(9) {
            0 => format!("EXISTS ({})", self.query(scope, deeper, None)),
            1 => format!("({})", self.query(scope, deeper, Some(DERIVED))),
            2 => {
                let query = self.query(scope, deeper, Some(DERIVED));
                let left = self.expression(scope, deeper);
                let operator =
                    self.pick(&["IN (", "NOT IN (", "= ANY (", "<> ALL (", "NOT IN (1, ("]);
                let close = if operator.ends_with(", (") { "))" } else { ")" };
                format!("{left} {operator}{query}{close}")
            }
            3 => format!("(({}) + 1)", self.query(scope, deeper, Some(DERIVED))),
            4 | 5 => {
                let (left, right) = (
                    self.expression(scope, deeper),
                    self.expression(scope, deeper),
                );
                format!("{left}{}{right}", self.operator())
            }
            6 => self.special(scope, deeper),
            _ => self.call(scope, deeper),
        }
    }

    fn operator(&mut self) -> &'static str {
        self.pick(&[
            " + ",
            " - ",
            "--",
            " * ",
            " / ",
            " AND ",
            " OR ",
            " = ",
            "<=>",
            " <> ",
            "!=",
            " DIV ",
            " MOD ",
            " XOR ",
            "||",
            "&&",
            " | ",
            " & ",
            "<<",
            " LIKE ",
            " NOT LIKE ",
            " REGEXP ",
            " SOUNDS LIKE ",
            ">=",
            "^",
            " % ",
        ])
    }

    /// Operators that are not between two operands.
    fn special(&mut self, scope: &[Entry], depth: usize) -> String {
        let one = self.expression(scope, depth);
        let two = self.expression(scope, depth);
        match self.random.below(12) {
            0 => format!("({one})"),
            1 => format!("-({one})"),
            2 => format!("NOT {one}"),
            3 => format!("!({one})"),
            4 => format!("CASE WHEN {one} THEN {two} ELSE 1 END"),
            5 => format!("CASE {one} WHEN {two} THEN 2 END"),
            6 => format!("{one} IS NOT NULL"),
            7 => format!("{one} BETWEEN {two} AND 3"),
            8 => format!("{one} COLLATE utf8mb4_bin"),
            9 => format!("BINARY {one}"),
            10 => format!("(1, 2) = ({one}, {two})"),
            _ => format!("ROW({one}, 2) <> ROW(1, {two})"),
        }
    }

    fn call(&mut self, scope: &[Entry], depth: usize) -> String {
        let one = self.expression(scope, depth);
        let two = self.expression(scope, depth);
        match self.random.below(20) {
            0 => format!("IF({one},{two},1)"),
            1 => format!("COALESCE ({one}, {two})"),
            2 => format!(
                "CAST({one} AS {})",
                self.pick(&[
                    "CHAR",
                    "SIGNED",
                    "DECIMAL(10,2)",
                    "DATETIME",
                    "UNSIGNED INTEGER",
                    "CHAR(10) CHARACTER SET utf8mb4"
                ])
            ),
            3 => format!("CONVERT({one} USING utf8mb4)"),
            4 => format!("TRIM(LEADING 'a' FROM {one})"),
            5 => format!("SUBSTRING({one} FROM 1 FOR 2)"),
            6 => format!("EXTRACT(YEAR FROM {one})"),
            7 => format!(
                "DATE_ADD({one}, INTERVAL {})",
                self.pick(&["1 DAY", "? SECOND", "(1) HOUR", "'1:1' MINUTE_SECOND"])
            ),
            8 => format!("POSITION('@' IN {one})"),
            9 => "CHAR(77 USING utf8mb4)".to_owned(),
            10 => format!("GREATEST({one},{two})"),
            11 => format!("INTERVAL({one},1,{two})"),
            12 => format!("JSON_OBJECT('a', {one})"),
            13 => format!("JSON_EXTRACT({one}, '$.a')"),
            14 => format!("REPLACE({one}, 'FROM api_keys', {two})"),
            15 => format!("LEFT({one}, 2)"),
            16 => format!("TIMESTAMPDIFF(DAY, {one}, {two})"),
            17 => format!("CONCAT_WS(',', {one}, {two})"),
            18 => format!("INSERT({one}, 1, 2, {two})"),
            _ => format!("MOD({one}, 2)"),
        }
    }
}
