//! Statements, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{Column, Columns, Index, Restrictions};
use super::restrict;
use crate::authenticate::Principal;
use crate::classify::{Session, mysql};
use crate::decide::rules::{Attribute, Comparison, Condition, Constant, Mask, TableRules};
use crate::operation::Object;

struct Shop;

fn columns(list: &[(&str, &str)]) -> Option<Arc<[Column]>> {
    let column = |(name, type_name): &(&str, &str)| Column::new(name, type_name);
    Some(list.iter().map(column).collect())
}

impl Columns for Shop {
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>> {
        match (namespace, table) {
            ("shop", "users") => columns(&[
                ("id", "bigint(20) unsigned"),
                ("Email", "varchar(255)"),
                ("name", "varchar(64)"),
                ("secret", "varchar(64)"),
            ]),
            ("shop", "orders") => columns(&[
                ("id", "int(11)"),
                ("user_id", "varchar(36)"),
                ("total", "decimal(10,2)"),
                ("status", "enum('open','paid')"),
                ("made", "datetime"),
            ]),
            ("shop", "plain") => columns(&[("id", "int(11)"), ("user_id", "int(11)")]),
            _ => None,
        }
    }

    fn indexes(&self, _: &str, table: &str) -> Option<Arc<[Index]>> {
        let index = |name: &str, column: &str| Index {
            name: name.into(),
            columns: vec![column.into()],
        };
        Some(match table {
            "users" => [index("PRIMARY", "id"), index("by_email", "email")].into(),
            _ => [index("PRIMARY", "id")].into(),
        })
    }
}

fn equal(column: &str, value: Constant) -> Condition {
    Condition::Compare {
        column: column.into(),
        comparison: Comparison::Equal,
        value,
    }
}

fn users() -> TableRules {
    TableRules {
        denied: ["secret".into()].into(),
        masked: BTreeMap::from([("email".into(), Mask::Null)]),
        requires_where: true,
        ..TableRules::default()
    }
}

fn orders(rows: Condition) -> TableRules {
    TableRules {
        rows: vec![rows],
        ..TableRules::default()
    }
}

fn own_orders() -> TableRules {
    orders(equal("user_id", Constant::Caller(Attribute::UserId)))
}

/// `Ok` with the text and the parameters' rules, or why not.
fn outcome(
    sql: &str,
    rules: &[(&str, TableRules)],
    user: Option<&str>,
    known: Option<&dyn Columns>,
) -> Result<String, String> {
    let found = mysql::classify(sql, Session::Own).unwrap();
    let sent = found.rewritten.clone().unwrap_or_else(|| sql.to_owned());
    let caller = Principal {
        key_id: "k".into(),
        user_id: user.map(Into::into),
        role: "app".into(),
    };
    let mut objects: Vec<&Object> = found.touches.iter().map(|touch| &touch.object).collect();
    objects.dedup();
    let of = |object: &&Object| match object {
        Object::Named { name, .. } => rules.iter().find(|(table, _)| table == name),
        Object::Key(_) | Object::Keys(_) => None,
    };
    let tables = objects
        .iter()
        .filter_map(|object| Some((*object, Arc::new(of(object)?.1.clone()))))
        .collect();
    let restrictions = Restrictions {
        caller: &caller,
        default_namespace: "shop",
        mask_salt: "it's",
        tables,
    };
    match restrict(&sent, &restrictions, known) {
        Ok(None) => Ok("checked".into()),
        Ok(Some(restricted)) => {
            let rules = restricted.parameters.iter();
            let rules: Vec<String> = rules
                .map(|rule| format!(" [{} {}={}]", rule.index, rule.column, rule.value))
                .collect();
            Ok(format!("{}{}", restricted.sql, rules.concat()))
        }
        Err(forbidden) => Err(forbidden.reason),
    }
}

const USERS: &str = "(SELECT `id`, IF(FALSE, `Email`, NULL) AS `Email`, `name` FROM `shop`.`users` \
                     IGNORE INDEX (`by_email`))";
const MINE: &str =
    "(`user_id` = 'bob' AND CAST(CONVERT(`user_id` USING utf8mb4) AS BINARY) = 'bob')";
const ALL: &str = "`id`, `user_id`, `total`, `status`, `made`";

/// Spells out the parts that the expected texts share.
fn spelled(expected: &str) -> String {
    let of_orders = MINE.replace("`user_id`", "`orders`.`user_id`");
    expected
        .replace("{users}", USERS)
        .replace("{orders.mine}", &of_orders)
        .replace("{o.mine}", &MINE.replace("`user_id`", "`o`.`user_id`"))
        .replace(
            "{orders}",
            &format!("(SELECT {ALL} FROM `shop`.`orders` WHERE {MINE})"),
        )
        .replace(
            "{orders!}",
            &format!("(SELECT {ALL} FROM `shop`.`orders` WHERE {MINE} LIMIT 18446744073709551615)"),
        )
}

fn rewritten(sql: &str) -> Result<String, String> {
    let rules = [("users", users()), ("orders", own_orders())];
    outcome(sql, &rules, Some("bob"), Some(&Shop))
}

#[test]
fn what_is_read_is_replaced() {
    for (sql, expected) in [
        ("SELECT * FROM users", "SELECT * FROM {users} AS `users`"),
        (
            "SELECT u.* FROM shop.users AS u",
            "SELECT u.* FROM {users} AS `u`",
        ),
        (
            "SELECT `shop`.`users`.`id` FROM `shop`.`users` WHERE shop.users.email = ?",
            "SELECT `users`.`id` FROM {users} AS `users` WHERE users.email = ?",
        ),
        ("TABLE users", "SELECT * FROM {users} AS `users`"),
        (
            "WITH users AS (SELECT * FROM shop.users) SELECT * FROM users",
            "WITH `users` AS (SELECT * FROM {users} AS `users`) SELECT * FROM `users`",
        ),
        (
            "SELECT id FROM orders WHERE id = ?",
            "SELECT id FROM {orders} AS `orders` WHERE id = ?",
        ),
        (
            "SELECT id FROM orders o WHERE status = ? AND NOT (total > 5 OR made < '2024-01-01')",
            "SELECT id FROM {orders} AS `o` WHERE status = CONCAT(?) AND NOT (total > 5 OR made < '2024-01-01')",
        ),
        (
            "SELECT id FROM orders WHERE status IN (?, 'paid') AND total BETWEEN 1 AND ? AND made IS NULL",
            "SELECT id FROM {orders} AS `orders` WHERE status IN (CONCAT(?), 'paid') AND total BETWEEN 1 AND ? AND made IS NULL",
        ),
        // Not harmless: a conversion, a function, a date that may be none.
        (
            "SELECT id FROM orders WHERE status = 5",
            "SELECT id FROM {orders!} AS `orders` WHERE status = 5",
        ),
        (
            "SELECT id FROM orders WHERE made > ?",
            "SELECT id FROM {orders!} AS `orders` WHERE made > ?",
        ),
        (
            "SELECT ABS(id) FROM orders",
            "SELECT ABS(id) FROM {orders!} AS `orders`",
        ),
        (
            "SELECT id = 5 FROM orders",
            "SELECT id = 5 FROM {orders!} AS `orders`",
        ),
        (
            "SELECT o.id FROM orders o JOIN plain p ON p.id = o.id",
            "SELECT o.id FROM {orders} AS `o` JOIN `plain` AS `p` ON p.id = o.id",
        ),
        (
            "SELECT o.id FROM orders o JOIN plain p ON p.user_id = o.user_id",
            "SELECT o.id FROM {orders!} AS `o` JOIN `plain` AS `p` ON p.user_id = o.user_id",
        ),
        (
            "INSERT INTO plain SELECT id, 1 FROM orders",
            "INSERT INTO `plain` SELECT id, 1 FROM {orders} AS `orders`",
        ),
        ("SHOW COLUMNS FROM users", "SHOW COLUMNS FROM `users`"),
    ] {
        let found = rewritten(sql).map(|found| found.replace("` `p`", "` AS `p`"));
        assert_eq!(found, Ok(spelled(expected)), "{sql}");
    }
}

#[test]
fn what_is_written_stays_within_the_rules() {
    for (sql, expected) in [
        (
            "DELETE FROM orders",
            "DELETE FROM `orders` WHERE {orders.mine}",
        ),
        (
            "DELETE FROM orders WHERE id = 1 OR TRUE LIMIT 1",
            "DELETE FROM `orders` WHERE {orders.mine} AND (id = 1 OR TRUE) LIMIT 1",
        ),
        (
            "UPDATE orders o SET total = total + 1 WHERE EXP(total) > 1 ORDER BY id",
            "UPDATE `orders` `o` SET total = total + 1 WHERE {o.mine} AND IF({o.mine}, (EXP(total) > 1), FALSE) ORDER BY id",
        ),
        (
            "UPDATE orders SET user_id = ?, total = ? WHERE status = ?",
            "UPDATE `orders` SET user_id = ?, total = ? WHERE {orders.mine} AND (status = CONCAT(?)) [0 user_id=bob]",
        ),
        (
            "INSERT INTO orders (total, user_id) VALUES (?, 'bob'), (2, ?)",
            "INSERT INTO `orders` (total, user_id) VALUES (?, 'bob'), (2, ?) [1 user_id=bob]",
        ),
        (
            "INSERT INTO orders SET user_id = 'bob'",
            "INSERT INTO `orders` SET user_id = 'bob'",
        ),
        (
            "UPDATE users SET email = ? WHERE id = 1",
            "UPDATE `users` IGNORE INDEX (`by_email`) SET email = ? WHERE id = 1",
        ),
        (
            "UPDATE users AS u SET name = UUID() WHERE id > 5 LIMIT 1",
            "UPDATE `users` AS `u` IGNORE INDEX (`by_email`) SET name = UUID() WHERE id > 5 LIMIT 1",
        ),
        (
            "INSERT INTO users (id, email) VALUES (1, 'x') RETURNING *, id, email, email AS e",
            "INSERT INTO `users` (id, email) VALUES (1, 'x') RETURNING `id`, IF(FALSE, `Email`, NULL) AS `Email`, `name`, \
             id, IF(FALSE, `email`, NULL) AS `email`, IF(FALSE, `email`, NULL) AS `e`",
        ),
        (
            "UPDATE plain SET id = (SELECT COUNT(*) FROM users) WHERE id = 1",
            "UPDATE `plain` SET id = (SELECT COUNT(*) FROM {users} AS `users`) WHERE id = 1",
        ),
    ] {
        assert_eq!(rewritten(sql), Ok(spelled(expected)), "{sql}");
    }
}

#[test]
fn what_cannot_be_rewritten_is_refused() {
    for (reason, statements) in [
        (
            "may not be named",
            &[
                "SELECT secret FROM users",
                "SELECT u.SECRET FROM users u",
                "SELECT id FROM users ORDER BY secret",
                "SELECT * FROM users a JOIN users b USING (secret)",
                "DELETE FROM plain WHERE id IN (SELECT secret FROM users)",
                "UPDATE users SET secret = 1 WHERE id = 1",
                "INSERT INTO users (id, secret) VALUES (1, 2)",
            ][..],
        ),
        (
            "hidden",
            &[
                "UPDATE users SET name = email WHERE id = 1",
                "UPDATE users u SET name = 'x' WHERE u.`EMAIL` = 'x'",
                "DELETE FROM users WHERE id IN (SELECT id FROM plain WHERE email = 1)",
                "INSERT INTO users (id, name) VALUES (1, email)",
                "INSERT INTO users (id) VALUES (1) RETURNING LOWER(email)",
            ],
        ),
        (
            "another spelling",
            &[
                "UPDATE users SET `\u{15b}ecret` = 1 WHERE id = 1",
                "INSERT INTO users (id) VALUES (1) RETURNING `emai\u{142}`",
            ],
        ),
        (
            "list the columns",
            &["INSERT INTO users VALUES (1, 2, 3, 4)"],
        ),
        (
            "names a column",
            &[
                "DELETE FROM users",
                "UPDATE users SET name = 'x'",
                "DELETE FROM users WHERE TRUE",
                "DELETE FROM users WHERE (1 = 1)",
                "DELETE FROM users WHERE id = 1 OR ? = ?",
                "DELETE FROM users WHERE (id = 1 OR (TRUE)) OR id = 2",
                "DELETE FROM users WHERE id = users.id",
            ],
        ),
        (
            "row filter demands",
            &[
                "INSERT INTO orders (total) VALUES (1)",
                "INSERT INTO orders (user_id) VALUES ('BOB')",
                "INSERT INTO orders (user_id) VALUES ('bob ')",
                "INSERT INTO orders (user_id) VALUES (CONCAT('b', 'ob'))",
                "INSERT INTO orders (user_id) VALUES ('bob'), ('eve')",
                "INSERT INTO orders (user_id, user_id) VALUES ('bob', 'eve')",
                "INSERT INTO orders VALUES (1, 'bob', 1, 'open', NULL)",
                "UPDATE orders SET user_id = 'eve'",
                "UPDATE orders SET user_id = DEFAULT",
            ],
        ),
        (
            "INSERT … VALUES",
            &["INSERT INTO orders (user_id) SELECT 'bob'"],
        ),
        (
            "may overwrite",
            &[
                "REPLACE INTO orders (user_id) VALUES ('bob')",
                "INSERT INTO orders (user_id) VALUES ('bob') ON DUPLICATE KEY UPDATE total = 1",
            ],
        ),
        (
            "tells whether",
            &["INSERT INTO users (id, email) VALUES (1, 'x') ON DUPLICATE KEY UPDATE email = 'x'"],
        ),
        (
            "several tables",
            &[
                "UPDATE orders o, plain p SET o.total = 1",
                "UPDATE orders o JOIN plain p ON o.id = p.id SET total = 1",
                "DELETE o FROM orders o JOIN plain p ON o.id = p.id",
            ],
        ),
        (
            "EXPLAIN tells",
            &["EXPLAIN SELECT * FROM orders", "EXPLAIN DELETE FROM orders"],
        ),
        (
            "cannot be locked",
            &[
                "SELECT * FROM orders FOR UPDATE",
                "SELECT * FROM orders, plain LOCK IN SHARE MODE",
            ],
        ),
        (
            "of its definition",
            &["TRUNCATE orders", "ALTER TABLE users DROP COLUMN name"],
        ),
        (
            "index hint",
            &["SELECT id FROM users FORCE INDEX (by_email)"],
        ),
        ("PARTITION", &["SELECT id FROM users PARTITION (p0)"]),
        (
            "FOR SYSTEM_TIME",
            &["SELECT * FROM orders FOR SYSTEM_TIME ALL"],
        ),
        (
            "ROWS EXAMINED",
            &["SELECT * FROM orders LIMIT ROWS EXAMINED 5"],
        ),
        (
            "SHOW COLUMNS",
            &["SHOW INDEX FROM orders", "SHOW CREATE TABLE users"],
        ),
        (
            "full-text",
            &["SELECT id FROM orders WHERE MATCH (status) AGAINST ('x')"],
        ),
        (
            "is not clear",
            &["SELECT shop.users.id FROM users JOIN other.plain AS users ON TRUE"],
        ),
        (
            "LIMIT, RETURNING and variables",
            &[
                "DELETE FROM users WHERE id > 1 LIMIT 1",
                "DELETE FROM users WHERE id > 1 RETURNING id",
                "DELETE FROM users WHERE id > 1 AND (@seen := id) > 0",
            ],
        ),
        ("_rowid", &["UPDATE users SET name = 'x' WHERE _rowid > 5"]),
        ("send them one by one", &["SELECT 1; SELECT * FROM orders"]),
        ("not known", &["SELECT * FROM other.orders"]),
    ] {
        for sql in statements {
            match rewritten(sql) {
                Ok(found) => panic!("{sql}: {found}"),
                Err(told) => assert!(told.contains(reason), "{sql}: {told}"),
            }
        }
    }
}

#[test]
fn without_columns_the_text_alone_is_checked() {
    let rules = [("users", users()), ("orders", own_orders())];
    for (sql, expected) in [
        ("SELECT * FROM users", "checked"),
        ("SELECT secret FROM users", "may not be named"),
        ("SELECT secret FROM plain JOIN users", "may not be named"),
        ("DELETE FROM users", "names a column"),
        ("UPDATE users SET name = email WHERE id = 1", "hidden"),
        ("INSERT INTO orders (user_id) VALUES ('eve')", "demands"),
        ("SELECT * FROM orders FOR UPDATE", "locked"),
    ] {
        let told = outcome(sql, &rules, Some("bob"), None).unwrap_or_else(|told| told);
        assert!(told.contains(expected), "{sql}: {told}");
    }
    let listed = TableRules {
        columns: Some(["id".into()].into()),
        ..TableRules::default()
    };
    let rules = [("users", listed)];
    for (sql, is_refused) in [
        ("SELECT id FROM users", false),
        ("SELECT name FROM users", true),
        ("SELECT COUNT(*) AS name FROM users ORDER BY name", false),
        ("SELECT name FROM users JOIN plain", false),
        ("SELECT users.name FROM users JOIN plain", true),
    ] {
        let found = outcome(sql, &rules, None, None);
        assert_eq!(found.is_err(), is_refused, "{sql}: {found:?}");
    }
}

#[test]
fn conditions_are_typed_by_their_columns() {
    let compare = |column: &str, comparison, value| Condition::Compare {
        column: column.into(),
        comparison,
        value,
    };
    let text = |text: &str| Constant::Text(text.into());
    let caller = || Constant::Caller(Attribute::UserId);
    let of_text = "CAST(CONVERT(`status` USING utf8mb4) AS BINARY)";
    for (condition, user, expected) in [
        (equal("id", caller()), Some("7"), "(`id` = 7)".to_owned()),
        (equal("id", caller()), Some("007"), "NULL".to_owned()),
        (equal("id", caller()), Some("7 OR 1=1"), "NULL".to_owned()),
        (equal("id", caller()), None, "NULL".to_owned()),
        (
            Condition::Not(Box::new(equal("user_id", caller()))),
            None,
            "(NOT NULL)".to_owned(),
        ),
        (
            equal("status", text("it's\\")),
            None,
            format!("(`status` = 'it''s\\\\' AND {of_text} = 'it''s\\\\')"),
        ),
        (
            compare("status", Comparison::NotEqual, text("x")),
            None,
            format!("({of_text} <> 'x')"),
        ),
        (
            Condition::In {
                column: "status".into(),
                values: vec![text("a"), caller()],
            },
            None,
            format!("(`status` IN ('a', NULL) AND {of_text} IN ('a', NULL))"),
        ),
        (
            Condition::Any(vec![
                Condition::IsNull {
                    column: "made".into(),
                },
                compare("made", Comparison::Less, text("2024-02-28")),
                equal("total", Constant::Number("1.50".into())),
                equal("id", Constant::Boolean(true)),
                equal("made", text("2024-02-31")),
            ]),
            None,
            "((`made` IS NULL) OR (`made` < '2024-02-28') OR (`total` = 1.50) OR (`id` = 1) OR NULL)".to_owned(),
        ),
    ] {
        let rules = [("orders", orders(condition.clone()))];
        let found = outcome("SELECT id FROM orders", &rules, user, Some(&Shop));
        let expected = format!("SELECT id FROM (SELECT {ALL} FROM `shop`.`orders` WHERE {expected}) AS `orders`");
        assert_eq!(found, Ok(expected), "{condition:?}");
    }
    let rules = [("orders", orders(equal("nothing", text("x"))))];
    let told = outcome("SELECT id FROM orders", &rules, None, Some(&Shop)).unwrap_err();
    assert!(told.contains("which it has not"), "{told}");
    let mut misspelled = TableRules::default();
    misspelled.denied.insert("custmoer".into());
    misspelled.expected.insert("custmoer".into());
    let rules = [("orders", misspelled)];
    let told = outcome("SELECT id FROM orders", &rules, None, Some(&Shop)).unwrap_err();
    assert!(
        told.contains("hide the column `custmoer`, which it has not"),
        "{told}"
    );
}

#[test]
fn a_hash_keeps_the_salt_away_from_what_an_error_quotes() {
    let masked = TableRules {
        masked: BTreeMap::from([("email".into(), Mask::Hash), ("name".into(), Mask::Partial)]),
        ..TableRules::default()
    };
    let found = outcome(
        "SELECT id FROM users",
        &[("users", masked)],
        None,
        Some(&Shop),
    )
    .unwrap();
    let before = found.split("'it''s'").next().unwrap();
    assert!(before.ends_with(&" ".repeat(90)), "{found}");
    assert!(
        found.contains("'it''s', CONVERT(`Email` USING utf8mb4)), 256) AS `Email`"),
        "{found}"
    );
    assert!(found.contains("ELSE '****' END AS `name`"), "{found}");
}
