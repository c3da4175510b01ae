use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bson::{Bson, Document, doc};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::transaction::{Isolation, Savepoint, SavepointStep};

/// Stands in literals alone, so that it shows where one is told.
const WORD: &str = "qzsecretzq";
const DIGITS: &str = "98712345";

fn sql(store: Store, text: &str) -> Normal {
    normal(store, &Payload::Sql(text.into()))
}

fn mongodb(document: &Document) -> Normal {
    let document = bson::RawDocumentBuf::try_from(document)
        .unwrap()
        .into_bytes();
    let database = "d".to_owned();
    normal(Store::Mongodb, &Payload::Mongodb { database, document })
}

fn redis(commands: &[&str], atomic: bool) -> Normal {
    let words = |command: &&str| command.split(' ').map(|word| word.into()).collect();
    let commands = commands.iter().map(words).collect();
    normal(Store::Redis, &Payload::Redis { commands, atomic })
}

fn tells_nothing(normal: &Normal, of: &str) {
    for marker in [WORD, DIGITS] {
        assert!(!normal.text.contains(marker), "{} of {of}", normal.text);
    }
}

/// Longer than PostgreSQL's names.
const LONG_NAME: &str =
    "abcdefghij_abcdefghij_abcdefghij_abcdefghij_abcdefghij_abcdefghij_abcdefghij";

#[test]
fn postgres_is_told_without_values() {
    for (text, expected) in [
        ("", ""),
        (" \n", ""),
        ("-- a\n", ""),
        (
            "select  A, \"B\" from T -- c\n where x=1;",
            "SELECT a, \"B\" FROM t WHERE x = ?",
        ),
        (
            "SELECT a.value, t . * FROM s.t",
            "SELECT a.value, t.* FROM s.t",
        ),
        (
            "SELECT E'a\\'b', U&'\\0061', B'1', X'ff', N'x', $t$ a $t$, 1.5e3, 0xff, true, FALSE",
            "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
        ),
        ("SELECT 'a'\n'b'", "SELECT ?"),
        (
            "SELECT -5, a - 5, a -5, (a) - -5, 2 * - 3",
            "SELECT ?, a - ?, a - ?, (a) - ?, ? * ?",
        ),
        (
            "SELECT 1 WHERE a IN (1, 2,3) AND b IN ('x')",
            "SELECT ? WHERE a IN (?, …) AND b IN (?, …)",
        ),
        (
            "SELECT 1 WHERE a IN ($1, $2, $3) AND b = $4 AND c = $1",
            "SELECT ? WHERE a IN ($1, …) AND b = $2 AND c = $1",
        ),
        (
            "SELECT 1 WHERE a IN (SELECT b FROM t WHERE c = 1)",
            "SELECT ? WHERE a IN (SELECT b FROM t WHERE c = ?)",
        ),
        (
            "INSERT INTO t(a, b) VALUES (1, 'x'), (2, NULL) RETURNING a",
            "INSERT INTO t(a, b) VALUES (?, …), … RETURNING a",
        ),
        (
            "INSERT INTO t VALUES ($1, now()), ($2, now()) ON CONFLICT (a) DO NOTHING",
            "INSERT INTO t VALUES ($1, now()), … ON CONFLICT (a) DO NOTHING",
        ),
        (
            "VALUES (1), ((SELECT 2 FROM a)), (3)",
            "VALUES (?), …, ((SELECT ? FROM a)), …, (?), …",
        ),
        (
            "SELECT ARRAY[1,2], a[1], '{}'::int[], f(1, 2)",
            "SELECT ARRAY[?, …], a[?], ?::INT[], f(?, …)",
        ),
        (
            "SELECT 1 WHERE (a, b) IN ((1, 2), (3, 4))",
            "SELECT ? WHERE (a, b) IN ((?, …), …)",
        ),
        (
            "CREATE TABLE t (a text DEFAULT 'x' NOT NULL, b int NULL)",
            "CREATE TABLE t(a TEXT DEFAULT ? NOT NULL, b INT NULL)",
        ),
        ("COMMENT ON TABLE t IS 'x'", "COMMENT ON TABLE t IS ?"),
        (LONG_NAME, LONG_NAME),
        ("DO $$ BEGIN x; END $$", "DO ?"),
        ("ALTER ROLE r PASSWORD 'x'", "ALTER ROLE r PASSWORD ?"),
        (
            "SET application_name TO some_word, other; SELECT a",
            "SET application_name TO ?, ?; SELECT a",
        ),
        ("SET x = 'a'", "SET x = ?"),
        (
            "SELECT a FROM t WHERE d ?| $1 AND e @> '{}' AND f IS NOT NULL",
            "SELECT a FROM t WHERE d ?| $1 AND e @> ? AND f IS NOT NULL",
        ),
        ("/* a /* b */ */ SELECT 'x' /* c", "unreadable"),
        ("SELECT 'x", "unreadable"),
        ("SELECT 1a", "unreadable"),
        ("SELECT '\0'", "unreadable"),
        (")]) 'x' ((", ")]) ? (("),
    ] {
        assert_eq!(sql(Store::Postgres, text).text, expected, "{text}");
    }
}

#[test]
fn mysql_is_told_without_values() {
    for (text, expected) in [
        ("", ""),
        ("# a\n-- b\n/* c */", ""),
        (
            "select `A b`, Name from Users where x=1;",
            "SELECT `A b`, name FROM Users WHERE x = ?",
        ),
        (
            "SELECT 'a' 'b' \"c\", N'd', _utf8mb4'e', x'ff', b'1', 0xff, .5, 1e5, TRUE",
            "SELECT ?, …",
        ),
        ("SELECT a, 'b', c, \"it\\\"s\"", "SELECT a, ?, c, ?"),
        (
            "SELECT DATE '2020-01-01', INTERVAL -1 DAY, COUNT(*), t.Name",
            "SELECT DATE ?, INTERVAL ? DAY, count(*), t.Name",
        ),
        (
            "SELECT ? WHERE a IN (?, ?) AND b = -? LIMIT 5 OFFSET 10",
            "SELECT ? WHERE a IN (?, …) AND b = ? LIMIT ? OFFSET ?",
        ),
        (
            "INSERT INTO t (a) VALUES (1), (2) ON DUPLICATE KEY UPDATE a = VALUES(a), b = 1",
            "INSERT INTO t(a) VALUES (?), … ON DUPLICATE KEY UPDATE a = VALUES (a), b = ?",
        ),
        (
            "VALUES ROW(1, 2), ROW(3, 4) ORDER BY 1",
            "VALUES ROW (?, …), … ORDER BY ?",
        ),
        (
            "SET @a = 'x', @'b' = 1, @@SESSION.sql_mode = ''",
            "SET @a = ?, @? = ?, @@session.sql_mode = ?",
        ),
        (
            "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t",
            "SELECT a FROM t",
        ),
        ("SELECT 1 /*!50000 + 'x' */", "unreadable"),
        ("SELECT 'x", "unreadable"),
        ("SELECT '\0'", "unreadable"),
    ] {
        let expected = expected.replace("SELECT ?, …", "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?");
        assert_eq!(sql(Store::Mysql, text).text, expected, "{text}");
    }
}

#[test]
fn mongodb_is_told_without_values() {
    for (document, expected) in [
        (
            doc! {"find": "event_store", "filter": {"_id": 5}, "limit": 1},
            "{find: event_store, filter: {_id: ?}, limit: ?}",
        ),
        (
            doc! {"find": "c", "filter": {"$or": [{"a": {"$in": [1, 2]}}, {"a": {"$in": [3]}}], "b": {"x": 1}, "c": {"$elemMatch": {"$gt": 1}}}},
            "{find: c, filter: {$or: [{a: {$in: [?, …]}}, …], b: ?, c: {$elemMatch: {$gt: ?}}}}",
        ),
        (
            doc! {"insert": "c", "documents": [{"secret": 1}, {"other": 2}]},
            "{insert: c, documents: [?, …]}",
        ),
        (
            doc! {"update": "c", "updates": [{"q": {"a": 1}, "u": {"$set": {"b": {"x": 1}}}}, {"q": {}, "u": {"secret": 1}}]},
            "{update: c, updates: [{q: {a: ?}, u: {$set: {b: ?}}}, …, {q: {}, u: ?}, …]}",
        ),
        (
            doc! {"aggregate": "c", "pipeline": [
                {"$match": {"a": 1}},
                {"$lookup": {"from": "d", "localField": "x", "as": "y", "pipeline": [{"$match": {"z": 1}}]}},
                {"$unionWith": "e"}, {"$unwind": "$y"}, {"$unwind": "$z"},
                {"$project": {"p": {"$cond": {"if": {"$eq": ["$a", "b"]}, "then": 1, "else": {"k": 1}}}, "q": {"$literal": {"if": 1}}}},
                {"$out": "f"},
            ], "cursor": {}},
            "{aggregate: c, pipeline: [{$match: {a: ?}}, {$lookup: {from: d, localField: ?, as: ?, pipeline: [{$match: {z: ?}}]}}, \
             {$unionWith: e}, {$unwind: ?}, {$unwind: ?}, {$project: {p: {$cond: {if: {$eq: [?, …]}, then: ?, else: ?}}, q: {$literal: ?}}}, \
             {$out: f}], cursor: {}}",
        ),
        (
            doc! {"explain": {"count": "c", "query": {"a": 1}}},
            "{explain: {count: c, query: {a: ?}}}",
        ),
        (
            doc! {"bulkWrite": 1, "ops": [{"insert": 0, "document": {"secret": 1}}], "nsInfo": [{"ns": "d.c"}]},
            "{bulkWrite: ?, ops: [{insert: ?, document: ?}, …], nsInfo: [{ns: d.c}, …]}",
        ),
        (
            doc! {"createUser": "secret", "pwd": "x"},
            "{createUser: ?, pwd: ?}",
        ),
        (doc! {"what is this": "x"}, "{?: ?}"),
        (
            doc! {"find": "a\0\n", "filter": {"x y": 1}},
            "{find: \"a\\0\\n\", filter: {\"x y\": ?}}",
        ),
    ] {
        assert_eq!(mongodb(&document).text, expected);
    }
    let mut deep = doc! {"a": 1};
    for _ in 0..200 {
        deep = doc! {"$and": [deep]};
    }
    assert_eq!(
        mongodb(&doc! {"find": "c", "filter": deep}).text,
        UNREADABLE
    );
    let whole =
        bson::RawDocumentBuf::try_from(&doc! {"find": "c", "filter": {"secret": 1}}).unwrap();
    for end in 0..whole.as_bytes().len() {
        let document = whole.as_bytes()[..end].to_vec();
        let database = String::new();
        let told = normal(Store::Mongodb, &Payload::Mongodb { database, document });
        assert_eq!(told.text, UNREADABLE);
    }
}

#[test]
fn redis_is_told_without_values() {
    for (commands, atomic, expected) in [
        (&["get a"][..], false, "GET ?"),
        (&["set a EX ex 60 nx"], false, "SET ? ? EX ? NX"),
        (&["set a b secret 60"], false, "SET ? ? …"),
        (&["mget a", "MGET b c"], false, "MGET ? …; …"),
        (
            &["hset a b c", "del x", "del y"],
            true,
            "MULTI; HSET ? ? ? …; DEL ? …; …; EXEC",
        ),
        (
            &["scan 0 match secret* count 5"],
            false,
            "SCAN ? MATCH ? COUNT ?",
        ),
        (&["scan 0 match"], false, "SCAN ? MATCH ?"),
        (&["object encoding a"], false, "OBJECT ENCODING ?"),
        (&["object secret"], false, "? …"),
        (&["secret a b"], false, "? …"),
        (&["ping"], false, "PING"),
        (
            &["zrange a 0 -1 rev limit 0 5"],
            false,
            "ZRANGE ? ? ? REV LIMIT ? ?",
        ),
        (&["eval return 1 k"], false, "EVAL ? ? …"),
        (&["get"], false, "GET"),
        (&["get a b"], false, "GET ? …"),
        (&[], true, "MULTI; EXEC"),
        (&[], false, ""),
    ] {
        assert_eq!(redis(commands, atomic).text, expected);
    }
}

#[test]
fn transactions_are_told_in_words() {
    let begin = Options {
        isolation: Some(Isolation::Serializable),
        read_only: true,
        idle_timeout_ms: Some(5),
    };
    let mark = Savepoint {
        step: SavepointStep::RollBackTo,
        name: "a".to_owned(),
    };
    for (control, expected) in [
        (
            Control::Begin(begin),
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        ),
        (Control::Begin(Options::default()), "BEGIN"),
        (Control::Commit, "COMMIT"),
        (Control::RollBack, "ROLLBACK"),
        (Control::Savepoint(mark), "ROLLBACK TO SAVEPOINT \"a\""),
    ] {
        assert_eq!(
            normal(Store::Postgres, &Payload::Control(control)).text,
            expected
        );
    }
}

#[test]
fn long_texts_are_cut_and_hashed_whole() {
    let names = |last: &str| {
        let names: Vec<String> = (0..3_000).map(|n| format!("größe{n}")).collect();
        format!("SELECT {}, {last}", names.join(", "))
    };
    for store in [Store::Postgres, Store::Mysql] {
        let (one, two) = (sql(store, &names("a")), sql(store, &names("b")));
        assert!(one.text.len() <= TEXT_BYTES_MAX && one.text.len() > TEXT_BYTES_MAX - 8);
        assert!(one.text.ends_with('…'));
        assert_eq!(one.text, two.text);
        assert_ne!(one.fingerprint, two.fingerprint);
        assert_eq!(one.fingerprint.len(), 32);
    }
    let whole = Sha256::digest("COMMIT");
    let expected: String = whole[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let commit = normal(Store::Mysql, &Payload::Control(Control::Commit));
    assert_eq!(commit.fingerprint, expected);
}

/// What nests or repeats to the limit of its size is told, or is not, and ends.
#[test]
fn large_texts_end() {
    let many = 100_000;
    for text in [
        "(".repeat(many),
        "((1),".repeat(many / 2),
        format!("{}1{}", "VALUES ((".repeat(20_000), "))".repeat(20_000)),
        format!("{}a{}", "(".repeat(many), ",1)".repeat(many / 2)),
        "- ".repeat(many) + "1",
        ["'x'"; 50_000].join("\n"),
        format!("SELECT '{}'", "x".repeat(20_000_000)),
        format!(
            "INSERT INTO t VALUES {}",
            ["(1, 'a', NULL)"; 30_000].join(",")
        ),
        "'a' ".repeat(many),
        "a.".repeat(many),
        "/*".repeat(many),
    ] {
        for store in [Store::Postgres, Store::Mysql] {
            assert!(sql(store, &text).text.len() <= TEXT_BYTES_MAX);
        }
    }
}

/// No noise may end its literal: it has neither quotes, dollars, backslashes nor the tag's letter.
fn postgres_literal() -> impl Strategy<Value = String> {
    (0..12_usize, "[a-z0-9 ,()é;-]{0,6}").prop_map(|(form, noise)| match form {
        0 => format!("'{WORD}{noise}'"),
        1 => format!("E'\\'{WORD}\\\\{noise}''x'"),
        2 => format!("U&'{noise}{WORD}'"),
        3 => format!("$${WORD}{noise}'$$"),
        4 => format!("$éT${WORD}$ $${noise}$éT$"),
        5 => DIGITS.to_owned(),
        6 => format!("-{DIGITS}.{DIGITS}"),
        7 => format!("1.{DIGITS}e-7"),
        8 => format!("X'{DIGITS}'"),
        9 => format!("'{WORD}'\n  '{noise}{WORD}'"),
        10 => "TRUE".to_owned(),
        _ => format!("0x{DIGITS}"),
    })
}

fn mysql_literal() -> impl Strategy<Value = String> {
    (0..11_usize, "[a-z0-9 ,()é;#-]{0,6}").prop_map(|(form, noise)| match form {
        0 => format!("'{WORD}{noise}'"),
        1 => format!("'\\'{WORD}\\\\{noise}''x'"),
        2 => format!("\"{noise}{WORD}\"\"'\""),
        3 => format!("N'{WORD}'"),
        4 => format!("_utf8mb4'{WORD}'"),
        5 => DIGITS.to_owned(),
        6 => format!("-{DIGITS}.{DIGITS}"),
        7 => format!("x'{DIGITS}'"),
        8 => format!("0x{DIGITS}"),
        9 => format!("'{WORD}' \"{WORD}{noise}\""),
        _ => "false".to_owned(),
    })
}

const TEMPLATES: [&str; 8] = [
    "SELECT a, {} FROM t WHERE b = {} AND c BETWEEN {} AND {} ORDER BY d LIMIT {}",
    "INSERT INTO t (a, b, c) VALUES ({}, {}, {}), ({}, {}, {})",
    "UPDATE t SET a = {}, b = b + {}, c = CASE WHEN d = {} THEN {} ELSE {} END WHERE e IN ({}, {})",
    "DELETE FROM t WHERE a LIKE {} OR b >= {} OR c <> {}",
    "CREATE TABLE t (a text DEFAULT {}, b int CHECK (b > {}))",
    "SELECT coalesce(a, {}), f({}, b) /* {} */ FROM t -- {}",
    "WITH x AS (SELECT {} AS a) SELECT * FROM x WHERE NOT (a = {}) AND b IS NULL",
    "SELECT a FROM t WHERE a = {} UNION ALL SELECT {} FROM t GROUP BY a HAVING max(a) > {}",
];

fn filled(template: &str, literals: &[String]) -> String {
    let mut each = literals.iter().cycle();
    let mut parts = template.split("{}");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + each.next().unwrap() + part)
}

fn differ_in_literals_alone(store: Store, literals: &[String], rows: usize) {
    let plain = ["'a'".to_owned()];
    for template in TEMPLATES {
        // In a comment, a literal may end it.
        let literals = if template.contains("/*") {
            &literals[..1]
        } else {
            literals
        };
        let text = filled(template, literals);
        let told = sql(store, &text);
        tells_nothing(&told, &text);
        if !template.contains("/*") {
            assert_ne!(told.text, UNREADABLE, "{text}");
            assert_eq!(told, sql(store, &filled(template, &plain)), "{text}");
        }
    }
    let list = format!("SELECT a FROM t WHERE b IN ({})", literals.join(", "));
    assert_eq!(
        sql(store, &list),
        sql(store, "SELECT a FROM t WHERE b IN (1)")
    );
    let row = |literals: &[String]| format!("({}, now())", literals.join(","));
    let insert = |rows: Vec<String>| format!("INSERT INTO t VALUES {}", rows.join(", "));
    let many = sql(store, &insert(vec![row(literals); rows]));
    assert_eq!(
        many,
        sql(
            store,
            &insert(vec![row(&vec!["2".to_owned(); literals.len()])])
        )
    );
}

proptest! {
    #[test]
    fn postgres_literals_are_never_told(literals in prop::collection::vec(postgres_literal(), 1..9), rows in 1..4_usize) {
        differ_in_literals_alone(Store::Postgres, &literals, rows);
    }

    #[test]
    fn mysql_literals_are_never_told(literals in prop::collection::vec(mysql_literal(), 1..9), rows in 1..4_usize) {
        differ_in_literals_alone(Store::Mysql, &literals, rows);
    }

    #[test]
    fn any_text_and_bytes_are_told(text in "\\PC{0,60}", marks in "[a-c0-1'\"`$@#*/\\\\ ,().;:?E_-]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for store in Store::ALL {
            sql(store, &text);
            sql(store, &marks);
        }
        let database = String::new();
        normal(Store::Mongodb, &Payload::Mongodb { database, document: bytes.clone() });
        normal(Store::Redis, &Payload::Redis { commands: vec![vec![bytes], vec![]], atomic: true });
    }
}

/// A request of the corpora.
fn requests(path: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn recorded() -> Vec<Value> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".jsonl"))
        .collect();
    names.sort();
    names
        .iter()
        .flat_map(|name| requests(&format!("tests/recordings/{name}")))
        .collect()
}

fn bson_of(request: &Value) -> Option<Document> {
    let bytes = crate::wire::extended_json::parse_extended_json(&request.to_string()).ok()?;
    Document::from_reader(bytes.as_slice()).ok()
}

fn words_of(request: &Value) -> Vec<Vec<u8>> {
    let words = request.as_array().unwrap().iter();
    words
        .map(|word| word.as_str().unwrap_or_default().into())
        .collect()
}

/// The same text with another literal in the place of each; nothing where it cannot be read.
fn with_other_literals(store: Store, text: &str) -> Option<String> {
    let mut places = Vec::new();
    if store == Store::Postgres {
        use pg_query::protobuf::Token;
        for token in crate::classify::postgres::tokens(text)? {
            let kind = Token::try_from(token.token).unwrap();
            let is_string = matches!(
                kind,
                Token::Sconst | Token::Usconst | Token::Bconst | Token::Xconst
            );
            let is_number = matches!(kind, Token::Iconst | Token::Fconst);
            places.push((
                token.start as usize,
                token.end as usize,
                is_string,
                is_number,
            ));
        }
    } else {
        use crate::classify::mysql::{Kind, tokens};
        for token in tokens(text).ok()? {
            let is_string = matches!(token.kind, Kind::Text | Kind::National | Kind::Binary);
            let is_number = token.kind == Kind::Number;
            places.push((token.start(), token.end(), is_string, is_number));
        }
    }
    let mut made = String::new();
    let mut at = 0;
    for (start, end, is_string, is_number) in places {
        made.push_str(&text[at..start]);
        if is_string {
            made.push_str(&format!("'{WORD}'"));
        } else if is_number {
            made.push_str(DIGITS);
        } else {
            made.push_str(&text[start..end]);
        }
        at = end;
    }
    made.push_str(&text[at..]);
    Some(made)
}

#[allow(clippy::wildcard_enum_match_arm)] // Other values are left as they are.
fn with_other_values(value: &mut Bson, is_name: bool) {
    const NAMES: [&str; 10] = [
        "from",
        "coll",
        "db",
        "into",
        "$out",
        "$unionWith",
        "$merge",
        "collection",
        "ns",
        "viewOn",
    ];
    match value {
        Bson::String(text) if !is_name => *text = WORD.to_owned(),
        Bson::Int32(number) => *number = 98_712_345,
        Bson::Int64(number) => *number = 98_712_345,
        Bson::Double(number) => *number = 98_712_345.0,
        Bson::Array(array) => array
            .iter_mut()
            .for_each(|value| with_other_values(value, is_name)),
        Bson::Document(document) => {
            for (index, (key, value)) in document.iter_mut().enumerate() {
                // The command that is explained names its collection, too.
                let names = NAMES.contains(&key.as_str()) || is_name && index == 0;
                with_other_values(value, names);
            }
        }
        _ => {}
    }
}

#[test]
fn no_literal_of_the_corpora_is_told() {
    let mut told = BTreeMap::<Store, (usize, usize)>::new();
    for line in requests("tests/corpus/known.jsonl")
        .into_iter()
        .chain(recorded())
    {
        let store = Store::parse(line["store"].as_str().unwrap()).unwrap();
        let request = &line["request"];
        let count = told.entry(store).or_default();
        count.0 += 1;
        match store {
            Store::Postgres | Store::Mysql => {
                let text = request.as_str().unwrap();
                let Some(other) = with_other_literals(store, text) else {
                    assert_eq!(sql(store, text).text, UNREADABLE);
                    continue;
                };
                let changed = sql(store, &other);
                tells_nothing(&changed, &other);
                if changed.text != UNREADABLE {
                    assert_eq!(changed, sql(store, text), "{text}");
                    count.1 += 1;
                }
            }
            Store::Mongodb => {
                let Some(mut document) = bson_of(request) else {
                    continue;
                };
                let before = mongodb(&document);
                for (index, (key, value)) in document.iter_mut().enumerate() {
                    let named = index == 0 || ["collection", "viewOn"].contains(&key.as_str());
                    with_other_values(value, named);
                }
                let changed = mongodb(&document);
                tells_nothing(&changed, &document.to_string());
                assert_eq!(changed, before);
                count.1 += usize::from(changed.text != UNREADABLE);
            }
            Store::Redis => {
                let words = words_of(request);
                let Some((name, _)) = crate::classify::redis::named(&words) else {
                    continue;
                };
                let kept = 1 + name.matches('|').count();
                let mut other = words.clone();
                other
                    .iter_mut()
                    .skip(kept)
                    .for_each(|word| *word = WORD.into());
                let one = |command| Payload::Redis {
                    commands: vec![command],
                    atomic: false,
                };
                let changed = normal(store, &one(other));
                tells_nothing(&changed, &request.to_string());
                let before = normal(store, &one(words));
                assert_eq!(
                    changed.text.split(' ').next(),
                    before.text.split(' ').next()
                );
                count.1 += 1;
            }
        }
    }
    for (store, (all, readable)) in told {
        println!("{store}: {readable} of {all} are readable");
        assert!(readable * 10 > all * 8, "{store}: {readable} of {all}");
    }
}

fn recorded_normal(line: &Value) -> Option<Normal> {
    let request = &line["request"];
    Some(match Store::parse(line["store"].as_str()?)? {
        store @ (Store::Postgres | Store::Mysql) => sql(store, request.as_str()?),
        Store::Mongodb => mongodb(&bson_of(request)?),
        Store::Redis => {
            let commands = vec![words_of(request)];
            normal(
                Store::Redis,
                &Payload::Redis {
                    commands,
                    atomic: false,
                },
            )
        }
    })
}

#[test]
fn fingerprints_group_what_libraries_send() {
    let mut groups: BTreeMap<String, (usize, BTreeMap<String, BTreeSet<String>>)> = BTreeMap::new();
    for line in recorded() {
        let told = recorded_normal(&line).unwrap();
        let (count, texts) = groups
            .entry(line["store"].as_str().unwrap().to_owned())
            .or_default();
        *count += 1;
        texts.entry(told.fingerprint).or_default().insert(told.text);
    }
    for (store, (count, texts)) in &groups {
        println!("{store}: {count} statements, {} groups", texts.len());
        assert!(texts.len() < *count);
        assert!(texts.values().all(|texts| texts.len() == 1));
        if std::env::var_os("SHOW_GROUPS").is_some() {
            texts
                .values()
                .flatten()
                .for_each(|text| println!("  {text}"));
        }
    }
}

/// Prints what it costs: `cargo test --lib normal::tests::costs -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing"]
fn costs() {
    let rows = |n: usize| vec!["('1', '{\"row\": 1}', 'the text of row number 1')"; n].join(", ");
    let joins: String = (1..=10)
        .map(|n| {
            format!(
                " JOIN s t{n} ON t{n}.id = t{}.id AND t{n}.created_at > t0.created_at",
                n - 1
            )
        })
        .collect();
    let words = |text: String| text.split(' ').map(Into::into).collect::<Vec<Vec<u8>>>();
    let mut cases = Vec::new();
    for (store, parameter) in [(Store::Postgres, "$1"), (Store::Mysql, "?")] {
        for text in [
            format!("SELECT id, user_id, expires_at FROM s WHERE id = {parameter}"),
            format!(
                "SELECT t0.id, count(*) FROM s t0{joins} WHERE t0.id = {parameter} GROUP BY t0.id LIMIT 50"
            ),
            format!("INSERT INTO s (a, b, c) VALUES {}", rows(1_000)),
        ] {
            cases.push((store, text.len(), Payload::Sql(text.into())));
        }
    }
    let stages = vec![Bson::from(doc! {"$match": {"a": {"$gte": 1, "$lt": 100}}}); 8];
    let documents =
        vec![Bson::from(doc! {"a": "user-1", "v": 1, "data": {"text": "event 1"}}); 1_000];
    for document in [
        doc! {"find": "event_store", "filter": {"_id": 5}, "limit": 1},
        doc! {"aggregate": "event_store", "pipeline": stages, "cursor": {"batchSize": 50}},
        doc! {"insert": "event_store", "documents": documents},
    ] {
        let document = bson::RawDocumentBuf::try_from(&document)
            .unwrap()
            .into_bytes();
        let database = String::new();
        cases.push((
            Store::Mongodb,
            document.len(),
            Payload::Mongodb { database, document },
        ));
    }
    for text in [
        "get a".to_owned(),
        "mget a b c d e f g h i j".to_owned(),
        "mset".to_owned() + &" key value".repeat(1_000),
    ] {
        let commands = vec![words(text.clone())];
        cases.push((
            Store::Redis,
            text.len(),
            Payload::Redis {
                commands,
                atomic: false,
            },
        ));
    }
    for (store, bytes, payload) in cases {
        let mut best = f64::MAX;
        for _ in 0..50 {
            let started = Instant::now();
            std::hint::black_box(normal(store, &payload));
            best = best.min(started.elapsed().as_secs_f64() * 1e6);
        }
        println!("{store}: {bytes} bytes, {best:.1} µs at best of 50");
    }
}
