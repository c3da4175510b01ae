//! What applications and their object-relational mappers send.

use mysql_async::Value;

pub struct Statement {
    pub sql: &'static str,
    pub parameters: Vec<Value>,
    /// How many rows it adds, where the tables of what may be seen lack the defaults for it.
    pub affected: Option<u64>,
}

pub fn all() -> Vec<Statement> {
    let values = ["n", "e"].map(Value::from);
    let adding = [
        (
            "INSERT INTO people (owner, name, email) VALUES (7, 'x', 'x@x'), ('7', 'y', 'y@y')",
            Vec::new(),
            2,
        ),
        (
            "INSERT INTO people (name, email, owner, score) VALUES (?, ?, ?, ?)",
            [values.to_vec(), vec![Value::Int(7), Value::Int(5)]].concat(),
            1,
        ),
    ];
    let adding = adding.map(|(sql, parameters, affected)| Statement {
        sql,
        parameters,
        affected: Some(affected),
    });
    let others = others().into_iter().map(|(sql, parameters)| Statement {
        sql,
        parameters,
        affected: None,
    });
    others.chain(adding).collect()
}

fn others() -> Vec<(&'static str, Vec<Value>)> {
    let text = |text: &str| Value::from(text);
    let plain = [
        "SELECT * FROM people ORDER BY id",
        "SELECT `people`.`id`, `people`.`name`, `people`.`email` FROM `people` ORDER BY `people`.`name`, id LIMIT 5",
        "SELECT `{db}`.`people`.`id`, `{db}`.`people`.`name` FROM `{db}`.`people` WHERE (`{db}`.`people`.`id` = 3 AND 1=1)",
        "SELECT COUNT(*) AS `count` FROM `people` AS `People`",
        "SELECT p.id, n.body FROM people p INNER JOIN notes n ON n.person = p.id WHERE n.n > 10 ORDER BY p.id",
        "SELECT n.id, p.name FROM notes n LEFT OUTER JOIN people p ON (p.id = n.person) ORDER BY n.id",
        "SELECT name, COUNT(*) c FROM people GROUP BY name HAVING COUNT(*) > 1 ORDER BY c DESC",
        "SELECT DISTINCT team FROM staff ORDER BY team",
        "SELECT s.*, n.body FROM staff s JOIN notes n ON n.id = s.id ORDER BY s.id",
        "SELECT email, COUNT(*) FROM people GROUP BY email ORDER BY email",
        "SELECT a.id FROM people a JOIN people b ON a.email = b.email ORDER BY a.id",
        "SELECT id FROM people WHERE phone = '****4321' ORDER BY id",
        "SELECT id FROM people WHERE phone IS NULL",
        "SELECT id, LOWER(name), DATE(created) FROM people WHERE created >= '2024-01-01 00:00:00' ORDER BY id",
        "SELECT id FROM people WHERE name IN ('same', 'name 1') AND NOT (score < 50) ORDER BY id DESC",
        "SELECT (SELECT MAX(score) FROM people) m, id FROM notes ORDER BY id LIMIT 2",
        "WITH best AS (SELECT id, score FROM people ORDER BY score DESC, id LIMIT 3) SELECT * FROM best ORDER BY id",
        "SELECT id, ROW_NUMBER() OVER (PARTITION BY name ORDER BY id) FROM people ORDER BY id",
        "SELECT 1 AS one FROM people WHERE people.id = 5 LIMIT 1",
        "SELECT SUM(score) FROM people WHERE JSON_VALUE(doc, '$.a') = 1",
        "SELECT id FROM people UNION ALL SELECT id FROM staff ORDER BY id",
        "SELECT id FROM parts ORDER BY id",
        "UPDATE people SET name = 'new' WHERE id = 3",
        "UPDATE `people` SET `score` = `score` + 1, `owner` = 7 WHERE `people`.`id` IN (1, 2, 3)",
        "UPDATE people SET name = UPPER(name) WHERE score > 100 AND LENGTH(name) > 2",
        "UPDATE people p SET p.age = 4 WHERE p.id = 1",
        "DELETE FROM people WHERE id = 3",
        "DELETE FROM people WHERE id BETWEEN 1 AND 10",
        "UPDATE staff SET salary = 5 WHERE id = 3",
        "INSERT INTO notes SELECT id + 1000, id, name, id FROM people",
        "INSERT INTO staff (id, name, team, salary) VALUES (1, 'x', 'red', 1) ON DUPLICATE KEY UPDATE name = VALUES(name)",
        "DELETE FROM notes WHERE person IN (SELECT id FROM people WHERE name = 'same')",
        "UPDATE notes n JOIN people p ON p.id = n.person SET n.body = p.name WHERE p.score > 50",
    ];
    let mut all: Vec<(&str, Vec<Value>)> = plain.map(|sql| (sql, Vec::new())).to_vec();
    all.extend([
        ("SELECT * FROM people WHERE id = ?", vec![Value::Int(3)]),
        ("SELECT * FROM people WHERE id = ?", vec![Value::Int(4)]),
        (
            "SELECT id FROM people WHERE name = ? AND score >= ? ORDER BY id",
            vec![text("same"), Value::Int(60)],
        ),
        (
            "SELECT id FROM people WHERE name IN (?, ?) ORDER BY id LIMIT ?",
            vec![text("same"), text("name 1"), Value::Int(3)],
        ),
        (
            "SELECT id FROM people WHERE created > ? ORDER BY id",
            vec![text("2023-01-01")],
        ),
        (
            "SELECT id FROM people WHERE name LIKE ? ORDER BY id",
            vec![text("NAME %")],
        ),
        (
            "UPDATE people SET name = ?, owner = ? WHERE id = ?",
            vec![text("n"), Value::Int(7), Value::Int(5)],
        ),
        ("DELETE FROM people WHERE name = ?", vec![text("same")]),
    ]);
    all
}
