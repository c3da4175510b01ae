//! The tables, what is in them, and the rules.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bulkhead::decide::rules::{Attribute, Comparison, Condition, Constant, Mask, TableRules};

pub const SALT: &str = "pepper'\\ and salt";

/// Tables that have rules, and one that has none.
pub const TABLES: [&str; 6] = ["people", "tickets", "staff", "parts", "pay", "notes"];

fn masks(columns: &[(&str, Mask)]) -> BTreeMap<Box<str>, Mask> {
    columns
        .iter()
        .map(|(name, mask)| ((*name).into(), *mask))
        .collect()
}

fn names(columns: &[&str]) -> std::collections::BTreeSet<Box<str>> {
    columns.iter().map(|name| (*name).into()).collect()
}

/// `people` has a row filter and hidden columns, `tickets` a filter that no index serves, so that the server sooner
/// looks at what the caller asks; `staff`, `parts` and `pay` hidden columns alone, of which other columns of `pay` are
/// made.
pub fn rules() -> HashMap<&'static str, Arc<TableRules>> {
    let own = Condition::Compare {
        column: "owner".into(),
        comparison: Comparison::Equal,
        value: Constant::Caller(Attribute::UserId),
    };
    let tickets = TableRules {
        // An equality would be looked at first, whatever stands beside it.
        rows: vec![Condition::In {
            column: "owner".into(),
            values: vec![
                Constant::Caller(Attribute::UserId),
                Constant::Number("-1".into()),
            ],
        }],
        ..TableRules::default()
    };
    let people = TableRules {
        denied: names(&["secret", "level"]),
        masked: masks(&[
            ("email", Mask::Hash),
            ("phone", Mask::Partial),
            ("age", Mask::Null),
            ("birth", Mask::Null),
        ]),
        rows: vec![own],
        ..TableRules::default()
    };
    let staff = TableRules {
        columns: Some(names(&["id", "name", "team", "salary"])),
        masked: masks(&[("salary", Mask::Null)]),
        ..TableRules::default()
    };
    let parts = TableRules {
        masked: masks(&[("year", Mask::Null)]),
        ..TableRules::default()
    };
    let pay = TableRules {
        denied: names(&["pin"]),
        masked: masks(&[("gross", Mask::Null)]),
        ..TableRules::default()
    };
    HashMap::from([
        ("pay", Arc::new(pay)),
        ("people", Arc::new(people)),
        ("staff", Arc::new(staff)),
        ("parts", Arc::new(parts)),
        ("tickets", Arc::new(tickets)),
    ])
}

/// A table of the numbers from 1, as `seq`.
fn upto(last: u32) -> String {
    format!(
        "(WITH RECURSIVE s (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < {last}) SELECT seq FROM s) q"
    )
}

/// What makes and fills the databases. In `b`, what is hidden is something else.
pub fn statements() -> Vec<String> {
    let mut statements = vec!["CREATE DATABASE rules_shown CHARACTER SET utf8mb4".to_owned()];
    for (database, other) in [("rules_a", false), ("rules_b", true)] {
        let b = i32::from(other);
        let (upto_20, upto_30, upto_110) = (upto(20), upto(30), upto(110));
        statements.push(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"));
        statements.push(format!(
            "CREATE TABLE {database}.people (
               id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, owner BIGINT UNSIGNED NOT NULL,
               name VARCHAR(64) NOT NULL, email VARCHAR(120) NOT NULL, phone VARCHAR(20) NULL, age INT NULL,
               birth DATE NULL, secret VARCHAR(64) NULL, level INT NOT NULL DEFAULT 0,
               score DECIMAL(10,2) NOT NULL DEFAULT 0, doc LONGTEXT NULL,
               created DATETIME NOT NULL DEFAULT '2024-01-01', KEY by_owner (owner), KEY by_age (age),
               KEY by_level (level), KEY by_name (name), KEY by_name_level (name, level), UNIQUE KEY by_email (email),
               KEY by_secret (secret), KEY by_owner_age (owner, age)
             ) ENGINE=InnoDB AUTO_INCREMENT=1000"
        ));
        statements.push(format!(
            "CREATE TABLE {database}.staff (
               id INT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, team VARCHAR(20) NOT NULL, salary INT NULL,
               ssn VARCHAR(20) NULL, KEY by_salary (salary), KEY by_team (team), KEY by_team_salary (team, salary),
               UNIQUE KEY by_ssn (ssn)
             ) ENGINE=InnoDB"
        ));
        statements.push(format!(
            "CREATE TABLE {database}.parts (id INT NOT NULL, year INT NOT NULL, label VARCHAR(20), PRIMARY KEY (year, id))
             ENGINE=InnoDB PARTITION BY RANGE (year)
             (PARTITION old VALUES LESS THAN (2000), PARTITION young VALUES LESS THAN MAXVALUE)"
        ));
        statements.push(format!(
            "CREATE TABLE {database}.pay (
               id INT NOT NULL PRIMARY KEY, note VARCHAR(20) NOT NULL, gross INT NULL, pin VARCHAR(10) NOT NULL DEFAULT '',
               tax INT AS (gross * 2) STORED, twice INT AS (tax + tax) VIRTUAL, code VARCHAR(10) AS (UPPER(`PIN`)) VIRTUAL,
               label VARCHAR(40) AS (CONCAT(note, '!')) VIRTUAL, copied VARCHAR(40) NOT NULL DEFAULT (CONCAT(pin, '?')),
               is_high INT NULL, bonus INT NOT NULL DEFAULT 0, CHECK (bonus <= gross), at TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP(6),
               KEY by_tax (tax)
             ) ENGINE=InnoDB"
        ));
        statements.push(format!(
            "CREATE TRIGGER {database}.mark BEFORE UPDATE ON {database}.pay FOR EACH ROW SET NEW.is_high = NEW.gross > 105"
        ));
        statements.push(format!(
            "INSERT INTO {database}.pay (id, note, gross, pin, is_high)
             SELECT seq, CONCAT('n', seq), IF({b}, 100 - seq, 100 + seq), CONCAT(IF({b}, 'b', 'a'), seq),
               IF({b}, 100 - seq, 100 + seq) > 105 FROM {upto_20}"
        ));
        statements.push(format!(
            "CREATE TABLE {database}.notes (id INT NOT NULL PRIMARY KEY, person BIGINT UNSIGNED NOT NULL,
               body VARCHAR(100) NOT NULL, n INT NOT NULL, KEY by_person (person)) ENGINE=InnoDB"
        ));
        // Visible rows: the odd numbers to 39.
        statements.push(format!(
            "INSERT INTO {database}.people (id, owner, name, email, phone, age, birth, secret, level, score, doc)
             SELECT seq * 2 - 1, 7, IF(seq % 3 = 0, 'same', CONCAT('name ', seq)), CONCAT('p', seq, '@example.com'),
               IF(seq = 4, NULL, CONCAT(IF({b}, '+47', '+358'), '-99', seq, '-4321')),
               IF({b}, 100 - seq, 20 + seq * 7 % 11), IF({b}, '1990-01-01', '2001-01-01') + INTERVAL seq DAY,
               CONCAT(IF({b}, 'zeta', 'alpha'), seq * 7 % 11), IF({b}, 50 - seq, seq), seq * 10, '{{\"a\": 1}}'
             FROM {upto_20}"
        ));
        // Hidden rows: the even numbers, with values that make mistakes.
        let (hidden, name) = if other { (35, "ok") } else { (60, "boom") };
        let numbers = upto(hidden);
        statements.push(format!(
            "INSERT INTO {database}.people (id, owner, name, email, phone, age, birth, secret, level, score, doc)
             SELECT seq * 2, 8 + seq % 2, CONCAT('{name}', seq % 5), CONCAT('{name}', seq, '@hidden.example'), '12345678',
               seq, '1980-01-01', 'hidden', seq, IF({b}, 1, 99999999), IF({b}, '{{}}', '{{broken') FROM {numbers}"
        ));
        statements.push(format!(
            "INSERT INTO {database}.staff SELECT seq, CONCAT('s', seq), IF(seq % 2, 'red', 'blue'),
               IF({b}, 9000 - seq * 13, 1000 + seq * 37 % 101), CONCAT(IF({b}, 100 - seq, 100 + seq), '-1') FROM {upto_30}"
        ));
        statements.push(format!(
            "CREATE TABLE {database}.tickets (id INT NOT NULL PRIMARY KEY, owner BIGINT NOT NULL, name VARCHAR(64) NOT NULL,
               score DECIMAL(10,2) NOT NULL, KEY by_name (name), KEY by_score (score)) ENGINE=InnoDB"
        ));
        statements.push(format!(
            "INSERT INTO {database}.tickets SELECT seq * 2 - 1, 7, CONCAT(seq), seq FROM {upto_20}"
        ));
        statements.push(format!(
            "INSERT INTO {database}.tickets SELECT seq * 2, 8, CONCAT('{name}', seq), IF({b}, 1, 99999999) FROM {numbers}"
        ));
        statements.push(format!(
            "INSERT INTO {database}.parts SELECT seq, IF({b}, 2010 - seq, 1990 + seq), CONCAT('part ', seq) FROM {upto_20}"
        ));
        statements.push(format!(
            "INSERT INTO {database}.notes SELECT seq, seq, CONCAT('note ', seq), seq * 3 FROM {upto_110}"
        ));
        statements.push(format!(
            "ANALYZE TABLE {database}.people, {database}.tickets, {database}.staff, {database}.parts, {database}.pay, {database}.notes"
        ));
    }
    statements
}
