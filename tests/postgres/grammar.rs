//! Statements made from a grammar that loves what confuses classifiers: shadowing names, nested WITH, writes inside
//! reads, subqueries wherever an expression may stand, text that looks like SQL in strings and comments.

use crate::random::Random;

const TABLES: [&str; 8] = [
    "sessions",
    "api_keys",
    "system_config",
    "oauth2_tokens",
    "archive.sessions",
    "public.api_keys",
    "audit_logs",
    "\"Sessions\"",
];
const NAMES: [&str; 7] = [
    "sessions",
    "api_keys",
    "q",
    "r",
    "system_config",
    "\"Sessions\"",
    "sess",
];

pub struct Grammar<'r> {
    random: &'r mut Random,
    aliases: usize,
}

/// One statement.
pub fn statement(random: &mut Random) -> String {
    let mut grammar = Grammar { random, aliases: 0 };
    let depth = [1, 2, 2, 3][grammar.random.below(4)];
    match grammar.random.below(100) {
        0..35 => grammar.query(depth),
        35..50 => {
            let (list, from) = (grammar.expression(depth), grammar.source(depth));
            format!("SELECT {list} FROM {from}")
        }
        50..55 => {
            let from = grammar.table();
            format!("SELECT 1 FROM {from} AS t{}", grammar.locking())
        }
        55..70 => grammar.with(depth, true) + &grammar.one(depth),
        _ => grammar.change(depth, false),
    }
}

impl Grammar<'_> {
    fn table(&mut self) -> &'static str {
        self.random.pick(&TABLES)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        if self.random.percent(10) {
            return self.random.pick(&NAMES).to_owned();
        }
        format!("x{}", self.aliases)
    }

    fn locking(&mut self) -> &'static str {
        self.random.pick(&[
            "",
            "",
            "",
            " FOR UPDATE",
            " FOR SHARE OF t",
            " FOR NO KEY UPDATE SKIP LOCKED",
        ])
    }

    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 || self.random.percent(25) {
            let plain = [
                "1",
                "now()",
                "length($$a, api_keys$$)",
                "'x' /* FROM api_keys */",
                "current_date",
                "(ROW(1,2)).f1",
                "E'\\'' -- ' FROM api_keys\n",
            ];
            return self.random.pick(&plain).to_owned();
        }
        let one = self.one(depth - 1);
        match self.random.below(13) {
            0..3 => format!("({one} LIMIT 1)"),
            3 => format!("EXISTS ({})", self.query(depth - 1)),
            4 => format!(
                "CASE WHEN EXISTS({}) THEN 1 ELSE 2 END",
                self.query(depth - 1)
            ),
            5 => format!("coalesce(({one} LIMIT 1), 1)"),
            6 => format!("ARRAY({one})"),
            7 => format!("(1 = ANY ({one}))"),
            8 => format!("lookup_key(({one} LIMIT 1))"),
            9 => format!("(({one} LIMIT 1)::bigint ### 1::bigint)"),
            10 => "(1::bigint OPERATOR(public.###) 2::bigint)".to_owned(),
            11 => format!(
                "json_build_object($$a$$, ({one} LIMIT 1), 'b', count(*) FILTER (WHERE true))"
            ),
            _ => format!("greatest(({one} LIMIT 1), 2)"),
        }
    }

    fn source(&mut self, depth: usize) -> String {
        let alias = self.alias();
        if depth == 0 || self.random.percent(50) {
            let name = if self.random.percent(60) {
                self.table()
            } else {
                self.random.pick(&NAMES[..4])
            };
            return match self.random.below(5) {
                0 => format!("ONLY {} AS {alias}", self.table()),
                _ => format!("{name} AS {alias}"),
            };
        }
        match self.random.below(9) {
            0 | 1 => format!("({}) AS {alias}", self.query(depth - 1)),
            2 => format!("LATERAL ({}) AS {alias}", self.query(depth - 1)),
            3 | 4 => {
                let (left, right) = (self.source(depth - 1), self.source(depth - 1));
                let on = if self.random.percent(40) {
                    format!("EXISTS({})", self.query(depth - 1))
                } else {
                    "true".to_owned()
                };
                format!("({left} JOIN {right} ON {on})")
            }
            5 => format!(
                "generate_series(1, ({} LIMIT 1)) AS {alias}(n)",
                self.one(depth - 1)
            ),
            6 => format!(
                "(VALUES (1), (({} LIMIT 1))) AS {alias}(n)",
                self.one(depth - 1)
            ),
            7 => format!("{} AS {alias} TABLESAMPLE bernoulli (50)", self.table()),
            _ => format!(
                "ROWS FROM (unnest(ARRAY({}))) AS {alias}(n)",
                self.one(depth - 1)
            ),
        }
    }

    /// A query of one column and any number of rows.
    fn one(&mut self, depth: usize) -> String {
        let with = self.some_with(depth, 20);
        let from = self.source(depth);
        if self.random.percent(80) {
            format!("{with}SELECT 1 FROM {from}{}", self.condition(depth))
        } else {
            format!("{with}SELECT count(*)::int FROM {from}")
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth > 0 && self.random.percent(30) {
            return format!(" WHERE EXISTS ({})", self.query(depth - 1));
        }
        String::new()
    }

    fn query(&mut self, depth: usize) -> String {
        let with = self.some_with(depth, 25);
        let inner = depth.saturating_sub(1);
        if depth > 0 {
            match self.random.below(100) {
                0..12 => {
                    let (left, right) = (self.source(inner), self.one(inner));
                    return format!("{with}SELECT 1 FROM {left} UNION ALL ({right})");
                }
                12..17 => {
                    let (left, right) = (self.one(inner), self.source(inner));
                    return format!("{with}({left}) EXCEPT SELECT 1 FROM {right}");
                }
                17..22 => return format!("{with}VALUES (({} LIMIT 1))", self.one(inner)),
                _ => {}
            }
        }
        let sources = (0..1 + self.random.below(2)).map(|_| self.source(inner));
        let mut query = format!(
            "{with}SELECT 1 AS c FROM {}",
            sources.collect::<Vec<_>>().join(", ")
        );
        query += &self.condition(depth);
        if depth > 0 && self.random.percent(10) {
            query += &format!(" GROUP BY ROLLUP ({})", self.expression(inner));
        }
        if depth > 0 && self.random.percent(10) {
            query += &format!(" ORDER BY {}", self.expression(inner));
        }
        if depth > 0 && self.random.percent(10) {
            query += &format!(" LIMIT ({} LIMIT 1)", self.one(inner));
        }
        query
    }

    fn some_with(&mut self, depth: usize, percent: usize) -> String {
        if depth > 0 && self.random.percent(percent) {
            return self.with(depth - 1, false);
        }
        String::new()
    }

    fn with(&mut self, depth: usize, writes: bool) -> String {
        let recursive = self.random.percent(35);
        let first = self.random.below(NAMES.len());
        let count = [1, 1, 2, 2, 3][self.random.below(5)];
        let mut parts = Vec::new();
        for at in 0..count {
            let name = NAMES[(first + at * 2) % NAMES.len()];
            let inner = depth.saturating_sub(1);
            let query = if writes && self.random.percent(30) {
                self.change(inner, true)
            } else if recursive && self.random.percent(40) {
                format!(
                    "SELECT 1 AS c UNION ALL SELECT 1 FROM {name}, {}",
                    self.source(inner)
                )
            } else {
                self.query(depth)
            };
            let kept = self.random.pick(&["", "MATERIALIZED "]);
            parts.push(format!("{name} AS {kept}({query})"));
        }
        let recursive = if recursive { "RECURSIVE " } else { "" };
        format!("WITH {recursive}{} ", parts.join(", "))
    }

    fn change(&mut self, depth: usize, returning: bool) -> String {
        let inner = depth.saturating_sub(1);
        let with = self.some_with(depth, 30);
        let mut tail = String::new();
        if returning || self.random.percent(30) {
            tail = " RETURNING 1 AS c".to_owned();
            if depth > 0 && self.random.percent(40) {
                tail = format!(" RETURNING ({} LIMIT 1) AS c", self.one(inner));
            }
        }
        let (one, from) = (self.one(inner), self.source(inner));
        match self.random.below(100) {
            0..35 => {
                let conflict = match self.random.below(3) {
                    0 => String::new(),
                    1 => " ON CONFLICT DO NOTHING".to_owned(),
                    _ => format!(" ON CONFLICT (sid) DO UPDATE SET hits = ({one} LIMIT 1)"),
                };
                format!(
                    "{with}INSERT INTO sessions (sid, user_id) SELECT $$a$$, 1 FROM {from}{conflict}{tail}"
                )
            }
            35..65 => {
                let target =
                    self.random
                        .pick(&["sessions", "api_keys", "oauth2_tokens", "\"Sessions\""]);
                let from = if self.random.percent(50) {
                    format!(" FROM {from}")
                } else {
                    String::new()
                };
                let only = self.random.pick(&["", "ONLY "]);
                let condition = self.condition(depth);
                format!(
                    "{with}UPDATE {only}{target} AS tgt SET id = ({one} LIMIT 1){from}{condition}{tail}"
                )
            }
            65..90 => {
                let target = self.table();
                let using = if self.random.percent(50) {
                    format!(" USING {from}")
                } else {
                    String::new()
                };
                format!(
                    "{with}DELETE FROM {target} AS tgt{using}{}{tail}",
                    self.condition(depth)
                )
            }
            _ if returning => self.change(depth, returning),
            _ => {
                let on = self.query(inner);
                format!(
                    "{with}MERGE INTO sessions tgt USING {from} ON EXISTS({on}) \
                     WHEN MATCHED THEN UPDATE SET hits = ({one} LIMIT 1) WHEN NOT MATCHED THEN DO NOTHING"
                )
            }
        }
    }
}
