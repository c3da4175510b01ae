//! `docs/rules-attacks.md`: what the suites of attacks on column rules and row filters try, and how it ends. Each suite
//! checks its own part of the page; with `BULKHEAD_WRITE_DOCS=1` in the environment it writes it.

use std::fmt::Write as _;
use std::path::Path;

/// Longest example, in characters.
const EXAMPLE_CHARS_MAX: usize = 110;

/// A name, and what the text of such an attack has in it: one of these, in which `%` is anything.
pub type Class = (&'static str, &'static [&'static str]);

/// Classes of attacks in SQL. The texts are compared in capitals.
#[allow(dead_code)]
pub const SQL: &[Class] = &[
    (
        "`*`, whole rows",
        &[
            "SELECT *",
            ".*",
            "TO_JSON",
            "::TEXT",
            "TABLE ",
            "SELECT P FROM",
            "SELECT PEOPLE FROM",
        ],
    ),
    ("aliases", &[" AS "]),
    ("`WHERE`", &["WHERE"]),
    (
        "`CASE`, `IF`, `COALESCE`, `NULLIF`",
        &["CASE ", "IF(", "COALESCE", "NULLIF"],
    ),
    (
        "casts that may fail",
        &["::INT", "::BIGINT", "::FLOAT", "::BOOLEAN", "CAST("],
    ),
    ("division by zero, overflow", &[" / ", "EXP("]),
    (
        "comparing unlike types",
        &[
            "NAME = 5",
            "NAME > 10",
            "WHERE NAME)",
            "BETWEEN 1 AND 5",
            "NAME = ?",
            "ID = ?",
        ],
    ),
    ("joins", &[" JOIN "]),
    ("`USING`, `NATURAL`", &["USING (", "NATURAL"]),
    ("`LATERAL`", &["LATERAL"]),
    ("subqueries", &["(SELECT"]),
    ("common table expressions", &["WITH "]),
    ("set operations", &[" UNION ", " INTERSECT ", " EXCEPT "]),
    ("comparing rows", &["ROW(", ") IN ((", "ID) > ("]),
    (
        "aggregates",
        &[
            "COUNT(",
            "SUM(",
            "MAX(",
            "MIN(",
            "AVG(",
            "_AGG(",
            "CONCAT(AGE)",
        ],
    ),
    ("`GROUP BY`, `HAVING`", &["GROUP BY", "HAVING"]),
    ("window functions", &["OVER (", "OVER W"]),
    ("`ORDER BY`", &["ORDER BY"]),
    (
        "order without `ORDER BY`",
        &[
            "SELECT ID FROM STAFF",
            "SELECT ID FROM PARTS",
            "GROUP_CONCAT(ID)",
        ],
    ),
    ("`DISTINCT`", &["DISTINCT"]),
    (
        "`LIMIT`, `OFFSET`, ties",
        &["LIMIT", "OFFSET", "FETCH FIRST"],
    ),
    ("JSON", &["JSON"]),
    ("text search", &["MATCH (", "TO_TSVECTOR"]),
    ("patterns", &["LIKE", "REGEXP", " ~ ", "SIMILAR TO"]),
    ("parameters", &["?"]),
    ("variables", &["@"]),
    ("`UPDATE`", &["UPDATE % SET"]),
    (
        "`UPDATE` with another table",
        &[
            "UPDATE % JOIN % SET",
            "UPDATE % SET % FROM ",
            "UPDATE PEOPLE, NOTES",
        ],
    ),
    ("`DELETE`", &["DELETE "]),
    (
        "`DELETE` with another table",
        &["DELETE FROM % USING", "DELETE % FROM % JOIN"],
    ),
    ("`INSERT … SELECT`", &["INSERT % SELECT"]),
    (
        "`ON CONFLICT`, `ON DUPLICATE KEY`, `REPLACE`",
        &["ON CONFLICT", "ON DUPLICATE KEY", "REPLACE INTO"],
    ),
    ("`MERGE`", &["MERGE INTO"]),
    ("`RETURNING`", &["RETURNING"]),
    (
        "rows outside of the filter",
        &[
            "OWNER = 'BO",
            "'BOB')",
            "OWNER = 8",
            "VALUES (8",
            "SELECT 8",
            "OWNER + ",
        ],
    ),
    (
        "generated columns, defaults, triggers, `ON UPDATE`",
        &[" PAY", "DEFAULT"],
    ),
    (
        "columns of the system",
        &["CTID", "XMIN", "_ROWID", "ROW_START"],
    ),
    (
        "index hints, partitions",
        &[" INDEX (", "PARTITION (P", "PARTITION (O", "/*+"],
    ),
    (
        "locks",
        &[
            "FOR UPDATE",
            "FOR SHARE",
            "LOCK IN SHARE",
            "LOCK TABLE",
            "HANDLER",
        ],
    ),
    (
        "`EXPLAIN`, statistics",
        &[
            "EXPLAIN",
            "SHOW ",
            "TABLESAMPLE",
            "EXAMINED",
            "PROCEDURE",
            "FOUND_ROWS",
        ],
    ),
    (
        "copies and definitions",
        &[
            "COPY ",
            "CREATE ",
            "ALTER ",
            "DROP ",
            "TRUNCATE ",
            "PREPARE ",
        ],
    ),
];

/// Classes of attacks on MongoDB.
#[allow(dead_code)]
pub const MONGODB: &[Class] = &[
    ("filters", &["\"filter\"", "$match", "\"query\"", "\"q\""]),
    ("`$expr`", &["$expr"]),
    ("`$regex`", &["$regex"]),
    ("`$jsonSchema`", &["$jsonschema"]),
    (
        "`$where`, `$function`, `mapReduce`",
        &["$where", "$function", "mapreduce"],
    ),
    ("`$or`, `$nor`, `$in`", &["$or", "$nor", "$in\""]),
    ("types and presence", &["$type", "$exists"]),
    ("projections", &["\"projection\"", "$project", "\"fields\""]),
    ("whole documents", &["$$root", "$$current"]),
    ("sorting", &["\"sort\"", "$sort", "sortby"]),
    ("grouping", &["$group", "$bucket", "$sortbycount"]),
    ("`$facet`", &["$facet"]),
    (
        "`$setWindowFields`, `$fill`",
        &["$setwindowfields", "$fill"],
    ),
    (
        "`$redact`, `$replaceWith`, `$set`",
        &[
            "$redact",
            "$replacewith",
            "{\"$set\":{\"email",
            "{\"$set\":{\"x\"",
        ],
    ),
    ("errors of hidden values", &["$divide", "$toint"]),
    ("`$lookup`", &["$lookup"]),
    ("`$graphLookup`", &["$graphlookup"]),
    ("`$unionWith`", &["$unionwith"]),
    ("`$out`, `$merge`", &["$out", "$merge\""]),
    ("`count`", &["{\"count\""]),
    ("`distinct`", &["{\"distinct\""]),
    ("text search", &["$text"]),
    (
        "`hint`, `min`, `returnKey`, `collation`, `let`",
        &[
            "\"hint\"",
            "\"min\"",
            "returnkey",
            "indexkey",
            "collation",
            "{\"find\":\"people\",\"let\"",
        ],
    ),
    ("statistics, `explain`", &["\"explain\"", "stats"]),
    ("views", &["shown"]),
    ("`insert`", &["{\"insert\""]),
    ("`update`", &["{\"update\""]),
    ("upserts", &["\"upsert\":true"]),
    ("`delete`", &["{\"delete\""]),
    ("`findAndModify`", &["{\"findandmodify\""]),
];

/// How the attacks of one store ended.
pub struct Table {
    store: &'static str,
    classes: &'static [Class],
    ends: Vec<(String, bool)>,
}

impl Table {
    pub fn new(store: &'static str, classes: &'static [Class]) -> Self {
        Self {
            store,
            classes,
            ends: Vec::new(),
        }
    }

    /// Notes an attack that told nothing: it was refused, or ended alike whatever is hidden.
    pub fn note(&mut self, attack: &str, is_refused: bool) {
        self.ends.push((attack.to_owned(), is_refused));
    }

    /// Compares the page's part with what was noted.
    pub fn check(&self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules-attacks.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let begin = format!("<!-- {} -->\n", self.store);
        let end = format!("<!-- end of {} -->\n", self.store);
        let (before, rest) = page.split_once(&begin).unwrap();
        let (told, after) = rest.split_once(&end).unwrap();
        let found = self.text();
        if std::env::var_os("BULKHEAD_WRITE_DOCS").is_some() {
            let page = format!("{before}{begin}{found}{end}{after}");
            std::fs::write(path, page).unwrap();
            return;
        }
        assert_eq!(
            told, found,
            "write the page anew with BULKHEAD_WRITE_DOCS=1"
        );
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "| class | tried | alike | refused | an example |\n|---|---:|---:|---:|---|\n",
        );
        let all: Vec<&(String, bool)> = self.ends.iter().collect();
        let mut shown: Vec<&str> = Vec::new();
        for (name, needles) in self.classes {
            let of_class: Vec<_> = (all.iter().copied())
                .filter(|(attack, _)| needles.iter().any(|needle| has(attack, needle)))
                .collect();
            if let Some(example) = example(&of_class, &shown) {
                shown.push(example);
                let example = example.replace('|', "\\|");
                line(&mut text, name, &of_class, &format!("`{example}`"));
            }
        }
        line(&mut text, "all", &all, "");
        text
    }
}

/// One that fits, and that was not shown, if there is such a one.
fn example<'e>(ends: &[&'e (String, bool)], shown: &[&str]) -> Option<&'e str> {
    let all = || ends.iter().map(|(attack, _)| attack.as_str());
    let fits = |attack: &&str| attack.chars().count() <= EXAMPLE_CHARS_MAX;
    let is_new = |attack: &&str| !shown.contains(attack);
    let longest = |attack: &&str| attack.len();
    (all().filter(fits).filter(is_new).max_by_key(longest))
        .or_else(|| all().filter(fits).max_by_key(longest))
        .or_else(|| all().min_by_key(longest))
}

fn line(text: &mut String, name: &str, ends: &[&(String, bool)], example: &str) {
    let refused = ends.iter().filter(|(_, is_refused)| *is_refused).count();
    let (tried, alike) = (ends.len(), ends.len() - refused);
    let _ = writeln!(
        text,
        "| {name} | {tried} | {alike} | {refused} | {example} |"
    );
}

/// Whether the parts between `%` stand in the text in this order. Needles are in one case, the text is brought to it.
fn has(text: &str, needle: &str) -> bool {
    let is_small = needle.chars().any(char::is_lowercase);
    let text = if is_small {
        text.to_lowercase()
    } else {
        text.to_uppercase()
    };
    let mut rest = text.as_str();
    needle.split('%').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
