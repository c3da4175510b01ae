//! Statements made by damaging the corpus' statements, token by token.

use serde_json::Value;

use crate::grammar;
use crate::random::Random;

const REPLACEMENTS: [&str; 24] = [
    "sessions",
    "api_keys",
    "system_config",
    "\"Sessions\"",
    "public",
    "archive",
    "id",
    "sid",
    "1",
    "NULL",
    "*",
    ",",
    "(",
    ")",
    ".",
    "=",
    "AND",
    "SELECT",
    "FROM",
    "WHERE",
    "AS",
    "ONLY",
    "LATERAL",
    "UNION",
];

const TABLES: [&str; 6] = [
    "sessions",
    "api_keys",
    "system_config",
    "oauth2_tokens",
    "audit_logs",
    "Sessions",
];

/// The PostgreSQL statements of the corpus.
pub fn corpus() -> Vec<String> {
    let folder = std::env::var("BULKHEAD_CORPUS").unwrap_or_else(|_| "tests/corpus".into());
    let text = std::fs::read_to_string(format!("{folder}/known.jsonl")).unwrap();
    let cases = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    cases
        .filter(|case| case["store"] == "postgres")
        .filter_map(|case| case["request"].as_str().map(str::to_owned))
        .collect()
}

/// One statement of the corpus, changed.
pub fn statement(random: &mut Random, corpus: &[String]) -> String {
    let chosen = &corpus[random.below(corpus.len())];
    match random.below(10) {
        0..5 => renamed(random, chosen),
        5..8 => around(random, chosen, corpus),
        _ => damaged(random, chosen, corpus),
    }
}

/// Other tables, other cases, values that are queries: most of these are valid.
fn renamed(random: &mut Random, sql: &str) -> String {
    let mut tokens = tokens(sql);
    for token in &mut tokens {
        let is_table = TABLES.contains(&token.trim_matches('"'));
        let is_value = token.starts_with('\'') || token.bytes().all(|byte| byte.is_ascii_digit());
        match random.below(8) {
            0 | 1 if is_table => *token = random.pick(&TABLES).to_owned(),
            2 if is_table => *token = format!("\"{}\"", random.pick(&TABLES)),
            0 if is_value => {
                let table = random.pick(&TABLES);
                *token = format!("(SELECT {token} FROM {table} LIMIT 1)");
            }
            0 if !token.contains(['\'', '"', '$']) => *token = token.to_uppercase(),
            1 => token.push_str(" /* FROM api_keys */"),
            _ => {}
        }
    }
    tokens.join(" ")
}

/// The statement inside another, or under names that shadow its tables.
fn around(random: &mut Random, sql: &str, corpus: &[String]) -> String {
    let sql = sql.trim_end_matches([';', ' ', '\n']);
    let (name, other) = (random.pick(&TABLES), random.pick(&TABLES));
    match random.below(7) {
        0 => format!("SELECT 1 FROM ({sql}\n) AS {name}"),
        1 => format!("WITH {name} AS (SELECT * FROM {other}) {sql}"),
        2 => format!("WITH RECURSIVE {name} AS (SELECT * FROM {name}) {sql}"),
        3 => format!("WITH {name} AS ({sql}\n) SELECT 1 FROM {name}, {other} AS o"),
        4 => format!("SELECT EXISTS ({sql}\n), (SELECT count(*) FROM {name})"),
        5 => format!("{sql}\nUNION ALL {}", corpus[random.below(corpus.len())]),
        _ => format!("EXPLAIN {sql}"),
    }
}

/// One or two tokens removed, doubled, exchanged or replaced by anything.
fn damaged(random: &mut Random, sql: &str, corpus: &[String]) -> String {
    let mut tokens = tokens(sql);
    for _ in 0..1 + random.below(2) {
        if tokens.is_empty() {
            break;
        }
        let at = random.below(tokens.len());
        match random.below(7) {
            0 => drop(tokens.remove(at)),
            1 => tokens.insert(at, tokens[at].clone()),
            2 => tokens[at] = random.pick(&REPLACEMENTS).to_owned(),
            3 => tokens.insert(at, "/* , api_keys */".to_owned()),
            4 => tokens[at] = format!("({} LIMIT 1)", grammar::statement(random)),
            5 => {
                let other = random.below(tokens.len());
                tokens.swap(at, other);
            }
            _ => {
                let donor = self::tokens(&corpus[random.below(corpus.len())]);
                if !donor.is_empty() {
                    tokens[at] = donor[random.below(donor.len())].clone();
                }
            }
        }
    }
    tokens.join(" ")
}

/// The tokens of a text as the server's lexer cuts them; the text itself where it cannot.
fn tokens(sql: &str) -> Vec<String> {
    let Ok(scanned) = pg_query::scan(sql) else {
        return vec![sql.to_owned()];
    };
    let ranges = scanned
        .tokens
        .iter()
        .map(|token| token.start as usize..token.end as usize);
    ranges
        .filter_map(|range| sql.get(range).map(str::to_owned))
        .filter(|token| !token.starts_with("--"))
        .collect()
}
