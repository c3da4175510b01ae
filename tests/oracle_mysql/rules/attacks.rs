//! Attacks on what the rules hide. Each stands for a class.

use mysql_async::Value;

pub struct Attack {
    pub sql: &'static str,
    pub parameters: Vec<Value>,
    /// Whether it tells something where there are no rules.
    pub tells: bool,
    /// Whether it must succeed where it is not refused.
    pub runs: bool,
}

impl Attack {
    /// Whether it may change rows.
    pub fn writes(&self) -> bool {
        let words = ["INSERT", "REPLACE", "UPDATE", "DELETE"];
        words.iter().any(|word| self.sql.starts_with(word))
    }

    /// Whether it changes a table's definition, which cannot be undone.
    pub fn defines(&self) -> bool {
        let words = ["CREATE", "ALTER", "DROP", "TRUNCATE"];
        words.iter().any(|word| self.sql.starts_with(word))
    }
}

fn attack(sql: &'static str) -> Attack {
    Attack {
        sql,
        parameters: Vec::new(),
        tells: true,
        runs: false,
    }
}

fn with(sql: &'static str, parameters: Vec<Value>) -> Attack {
    Attack {
        parameters,
        ..attack(sql)
    }
}

/// Only where rows are filtered or an error is provoked does the server's answer matter.
fn runs(sql: &'static str) -> Attack {
    Attack {
        runs: true,
        ..attack(sql)
    }
}

/// What tells nothing on this server or with this data, and must not tell anything under rules either.
fn moot(sql: &'static str) -> Attack {
    Attack {
        tells: false,
        ..attack(sql)
    }
}

pub fn all() -> Vec<Attack> {
    let mut all = reading();
    all.extend(provoking());
    all.extend(sooner());
    all.extend(ordering());
    all.extend(writing());
    all.extend(parameters());
    all.extend(computed());
    all
}

/// What is computed from hidden columns, copied from them, or set when they change.
fn computed() -> Vec<Attack> {
    vec![
        runs("SELECT * FROM pay ORDER BY id"),
        runs("SELECT id, tax, twice, is_high FROM pay ORDER BY id"),
        attack("SELECT id, code FROM pay ORDER BY id"),
        attack("SELECT id, copied FROM pay ORDER BY id"),
        runs("SELECT id FROM pay WHERE tax > 210 ORDER BY id"),
        attack("SELECT id FROM pay WHERE code LIKE 'A%' ORDER BY id"),
        runs("SELECT id FROM pay ORDER BY twice DESC, id"),
        moot("SELECT id FROM pay WHERE tax BETWEEN 0 AND 1000"),
        attack("SELECT id FROM pay FORCE INDEX (by_tax) WHERE tax > 0"),
        runs("SELECT SUM(twice), MAX(is_high) FROM pay"),
        runs("SELECT a.id, b.id FROM pay a JOIN notes b ON a.tax = b.n ORDER BY 1, 2"),
        moot("SELECT DEFAULT(copied) FROM pay LIMIT 1"),
        moot("SELECT DEFAULT(gross), DEFAULT(note) FROM pay LIMIT 1"),
        // Whether the new value is the old one.
        runs("UPDATE pay SET gross = 107 WHERE id = 7"),
        runs("UPDATE pay SET gross = 107"),
        runs("UPDATE pay p SET p.gross = 93 WHERE p.id = 7"),
        moot("UPDATE pay SET gross = 107, note = 'x' WHERE id = 7 ORDER BY id LIMIT 1"),
        moot("UPDATE pay SET gross = 107, at = '2021-01-01' WHERE id = 7"),
        moot("UPDATE pay SET note = 'n7' WHERE id > 5"),
        moot("UPDATE pay SET pin = 'a7' WHERE id = 7"),
        attack("UPDATE pay SET note = 'x' WHERE tax > 210"),
        attack("UPDATE pay SET note = code WHERE id = 7"),
        attack("UPDATE pay SET note = is_high"),
        moot("UPDATE pay SET copied = DEFAULT WHERE id = 7"),
        attack("DELETE FROM pay WHERE is_high = 1"),
        attack("DELETE FROM pay WHERE id = 7 RETURNING code"),
        runs("DELETE FROM pay WHERE id = 7 RETURNING id, tax, twice"),
        attack(
            "REPLACE INTO pay (id, note, gross, pin, copied, is_high, at) VALUES (7, 'n7', 107, 'a7', 'a7?', 1, '2020-01-01')",
        ),
        attack(
            "INSERT INTO pay (id, note, gross) VALUES (7, 'n7', 107) ON DUPLICATE KEY UPDATE gross = 107",
        ),
        attack(
            "INSERT INTO pay (id, note, gross) VALUES (7, 'n7', 107) ON DUPLICATE KEY UPDATE note = tax",
        ),
        moot(
            "INSERT INTO pay (id, note) VALUES (7, 'n7') ON DUPLICATE KEY UPDATE note = VALUES(pin)",
        ),
        runs(
            "INSERT INTO notes (id, person, body, n) SELECT id + 5000, id, 'x', COALESCE(twice, 0) FROM pay",
        ),
        // Whether a check or an expression takes the value.
        attack("UPDATE pay SET bonus = 97 WHERE id = 7"),
        attack("INSERT INTO pay (id, note) VALUES (7, 'x') ON DUPLICATE KEY UPDATE bonus = 97"),
        moot("UPDATE pay SET bonus = 97, gross = 98 WHERE id = 7"),
        moot("UPDATE pay SET gross = 98 WHERE id = 7"),
        moot("UPDATE pay SET note = 'x' WHERE row_start > '2020-01-01'"),
    ]
}

/// Reading what is hidden, or choosing by it.
fn reading() -> Vec<Attack> {
    vec![
        runs("SELECT * FROM people ORDER BY id"),
        runs("SELECT p.* FROM people AS p ORDER BY p.id"),
        runs("SELECT COUNT(*) FROM people"),
        runs("SELECT id, age, birth, phone FROM people ORDER BY id"),
        runs("SELECT `{db}`.`people`.`age` FROM `{db}`.`people` ORDER BY `{db}`.`people`.`id`"),
        runs("SELECT id, age AS name, name AS age FROM people ORDER BY id"),
        attack("SELECT secret FROM people"),
        attack("SELECT p.`SECRET` FROM people p"),
        attack("SELECT id FROM people WHERE secret LIKE 'a%'"),
        attack("SELECT MAX(level) FROM people"),
        attack("SELECT ssn FROM staff"),
        attack("SELECT MAX(ssn) FROM staff"),
        runs("SELECT id FROM people WHERE age > 50 ORDER BY id"),
        runs("SELECT id FROM people WHERE age IS NOT NULL ORDER BY id"),
        runs("SELECT id FROM people WHERE phone LIKE '+47%' ORDER BY id"),
        runs("SELECT id FROM people WHERE phone BETWEEN '+3' AND '+4' ORDER BY id"),
        runs("SELECT id FROM people WHERE SUBSTRING(phone, 2, 1) = '4' ORDER BY id"),
        runs("SELECT id FROM people WHERE birth < '2000-01-01' ORDER BY id"),
        runs("SELECT id, CASE WHEN age > 50 THEN 'old' ELSE 'young' END FROM people ORDER BY id"),
        runs("SELECT id, IF(phone REGEXP '^.47', 1, 0) FROM people ORDER BY id"),
        runs("SELECT id, ASCII(SUBSTRING(phone, 2, 1)) FROM people ORDER BY id"),
        runs("SELECT SUM(age), AVG(age), MIN(birth), MAX(phone), GROUP_CONCAT(age) FROM people"),
        runs("SELECT age, COUNT(*) FROM people GROUP BY age"),
        runs("SELECT MAX(id) FROM people GROUP BY phone HAVING MAX(phone) > '+4'"),
        runs("SELECT COUNT(DISTINCT age) FROM people"),
        runs("SELECT DISTINCT YEAR(birth) FROM people"),
        runs("SELECT id, RANK() OVER (ORDER BY age) FROM people ORDER BY id"),
        runs("SELECT id, LAG(id) OVER (ORDER BY phone, id) FROM people ORDER BY id"),
        runs("SELECT id, FIRST_VALUE(id) OVER (ORDER BY birth DESC, id) FROM people ORDER BY id"),
        runs("SELECT id FROM people WHERE (age, id) > (50, 0) ORDER BY id"),
        runs("SELECT id FROM people WHERE (age, id) IN ((27, 1), (23, 7)) ORDER BY id"),
        runs("SELECT id FROM people WHERE ROW(phone, age) = ROW('+47-991-4321', 99) ORDER BY id"),
        runs("SELECT id, JSON_OBJECT('a', age, 'p', phone) FROM people ORDER BY id"),
        runs(
            "SELECT id, REGEXP_REPLACE(phone, '[0-9]', '#'), REGEXP_SUBSTR(phone, '^.[0-9]') FROM people ORDER BY id",
        ),
        runs("SELECT age, COUNT(*) FROM people GROUP BY age WITH ROLLUP"),
        runs("SELECT id FROM people ORDER BY id LIMIT 100 OFFSET 15"),
        runs(
            "SELECT p.id FROM people p NATURAL JOIN (SELECT 27 AS age UNION SELECT 99) v ORDER BY p.id",
        ),
        runs("SELECT id FROM notes WHERE n <= (SELECT COUNT(*) FROM people) ORDER BY id"),
        runs(
            "SELECT id FROM people WHERE NULLIF(age, 99) IS NULL OR COALESCE(age, 0) = 27 ORDER BY id",
        ),
        runs("SELECT id FROM people ORDER BY age, id"),
        runs("SELECT id FROM people ORDER BY age DESC LIMIT 3"),
        runs("SELECT id FROM people ORDER BY FIELD(age, 23, 27, 31), id"),
        runs("SELECT a.id FROM people a JOIN notes b ON a.age = b.n ORDER BY a.id"),
        runs("SELECT a.id, b.id FROM people a JOIN people b USING (birth) ORDER BY 1, 2"),
        runs("SELECT COUNT(*) FROM people a NATURAL JOIN people b"),
        runs(
            "SELECT n.id FROM notes n WHERE EXISTS (SELECT 1 FROM people p WHERE p.id = n.id AND p.age > 50) ORDER BY 1",
        ),
        runs(
            "SELECT n.id, (SELECT age FROM people p WHERE p.id = n.id) FROM notes n ORDER BY n.id",
        ),
        runs("SELECT n.id FROM notes n WHERE n.n IN (SELECT age FROM people) ORDER BY n.id"),
        runs(
            "SELECT n.id FROM notes n WHERE n.n > ALL (SELECT age FROM people WHERE age IS NOT NULL) ORDER BY 1",
        ),
        runs(
            "SELECT n.id FROM notes n LEFT JOIN people p ON p.id = n.person WHERE p.id IS NULL ORDER BY n.id",
        ),
        runs("SELECT age FROM people UNION SELECT n FROM notes WHERE FALSE"),
        runs("SELECT n FROM notes EXCEPT SELECT age FROM people ORDER BY 1"),
        runs("SELECT id FROM people INTERSECT SELECT id FROM notes ORDER BY 1"),
        runs("WITH p AS (SELECT * FROM people) SELECT id, age FROM p ORDER BY id"),
        runs("WITH people AS (SELECT * FROM {db}.people) SELECT COUNT(*) FROM people"),
        runs(
            "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < (SELECT COUNT(*) FROM people)) SELECT COUNT(*) FROM r",
        ),
        runs("SELECT x.age FROM (SELECT * FROM people) AS x ORDER BY x.id"),
        runs("SELECT (SELECT COUNT(*) FROM people), (SELECT MAX(salary) FROM staff)"),
        runs("SELECT id FROM people PARTITION (p0)"),
        attack("SELECT id FROM parts PARTITION (old) ORDER BY id"),
        attack("TABLE people"),
        runs("SELECT @seen := COUNT(*), @old := MAX(age) FROM people"),
        moot("SELECT COUNT(*) INTO @seen FROM people"),
        attack("SELECT * FROM people PROCEDURE ANALYSE()"),
        moot("SELECT DEFAULT(age) FROM people LIMIT 1"),
        attack("SELECT JSON_ARRAYAGG(secret) FROM people"),
        runs("SELECT JSON_OBJECTAGG(id, phone) FROM people"),
        attack("SELECT p.id FROM people p, LATERAL (SELECT p.age AS a) x WHERE x.a > 50"),
        runs(
            "SELECT p.id, j.x FROM people p, JSON_TABLE(CONCAT('[', COALESCE(p.age, 0), ']'), '$[*]' COLUMNS (x INT PATH '$')) j ORDER BY p.id",
        ),
        moot("SELECT SQL_CALC_FOUND_ROWS id FROM people ORDER BY id LIMIT 1"),
        attack("SELECT id FROM people LIMIT ROWS EXAMINED 30"),
        moot("SELECT id FROM people WHERE name = 'same' LIMIT 5 ROWS EXAMINED 10"),
        attack("EXPLAIN SELECT id FROM people WHERE age > 50"),
        moot("EXPLAIN EXTENDED SELECT * FROM staff"),
        attack("SHOW INDEX FROM people"),
        moot("SHOW CREATE TABLE people"),
        moot("SHOW COLUMNS FROM people"),
        attack("SELECT id FROM people ORDER BY id FOR UPDATE"),
        attack("SELECT id FROM people ORDER BY id LOCK IN SHARE MODE"),
        moot("HANDLER people OPEN"),
        attack("SELECT id FROM people WHERE MATCH (name) AGAINST ('same')"),
        attack("CREATE TABLE taken AS SELECT * FROM people"),
    ]
}

/// Errors and warnings that would tell of a row that is filtered out.
fn provoking() -> Vec<Attack> {
    vec![
        runs("SELECT id FROM people WHERE EXP(score) > 0 ORDER BY id"),
        runs("SELECT id FROM people WHERE score * 1 = 1 OR CAST(name AS SIGNED) = 5 ORDER BY id"),
        runs("SELECT COUNT(*) FROM people WHERE name = 5"),
        runs("SELECT COUNT(*) FROM people WHERE name BETWEEN 1 AND 5"),
        runs("SELECT COUNT(*) FROM people WHERE name"),
        runs("SELECT COUNT(*) FROM people WHERE CAST(name AS DATE) = '2024-01-01'"),
        runs("SELECT COUNT(*) FROM people WHERE JSON_EXTRACT(doc, '$.a') = 1"),
        moot("SELECT COUNT(*) FROM people p JOIN notes n ON JSON_VALUE(p.doc, '$.a') = n.id"),
        runs("SELECT COUNT(*) FROM people WHERE 1000 / (score - 1) > 0"),
        runs("SELECT COUNT(*) FROM people p JOIN notes n ON p.name = n.id"),
        runs("SELECT COUNT(*) FROM people p JOIN notes n USING (id) WHERE p.name = n.n"),
        runs("SELECT id FROM people WHERE id IN (2, 4) AND name = 3"),
        moot("SELECT EXP(score) FROM people WHERE id = 2"),
        moot("SELECT id FROM people WHERE id = 2 GROUP BY EXP(score)"),
        moot("SELECT DISTINCT EXP(score) FROM people WHERE id = 2 ORDER BY EXP(score)"),
        runs("SELECT id, score FROM people HAVING EXP(score) > 0 ORDER BY id"),
        moot("SELECT owner, COUNT(*) FROM people GROUP BY owner HAVING owner = 'x'"),
        attack("SELECT (SELECT id FROM people WHERE id IN (2, 3, 80)) FROM notes LIMIT 1"),
        moot("SELECT (SELECT id FROM people WHERE name LIKE 'boom%') FROM notes LIMIT 1"),
        attack(
            "SELECT COUNT(*) FROM notes WHERE EXP(1000) IN (SELECT id FROM people WHERE name = 'boom1')",
        ),
        runs(
            "SELECT COUNT(*) FROM notes n WHERE EXISTS (SELECT 1 FROM people p WHERE p.id = n.id AND EXP(p.score) > 0)",
        ),
        runs(
            "SELECT COUNT(p.name) FROM notes n LEFT JOIN people p ON p.id = n.id AND EXP(p.score) > 0",
        ),
        runs("SELECT COUNT(*) FROM (SELECT * FROM people) x WHERE EXP(x.score) > 0"),
        runs("WITH x AS (SELECT * FROM people) SELECT COUNT(*) FROM x WHERE EXP(x.score) > 0"),
        moot("SELECT COUNT(*) FROM people WHERE name REGEXP CONCAT('(', SUBSTRING(name, 1, 4))"),
        runs(
            "SELECT COUNT(*) FROM people WHERE (SELECT COUNT(*) FROM notes n WHERE EXP(people.score) > n.n) > 0",
        ),
        moot("SELECT COUNT(*) FROM people WHERE ROWNUM() <= 30"),
        runs("SELECT COUNT(*) FROM people WHERE (@n := COALESCE(@n, 0) + 1) > 0"),
        runs("SELECT /*+ NO_MERGE(people) */ COUNT(*) FROM people WHERE name = 5"),
        runs(
            "INSERT INTO notes SELECT id + 1000, id, name, id FROM people WHERE CAST(score AS SIGNED) >= 0",
        ),
        attack(
            "INSERT INTO notes SELECT id + 1000, id, name, CAST(name AS SIGNED) FROM people WHERE CAST(name AS SIGNED) = 0",
        ),
        attack("UPDATE notes n JOIN people p ON p.id = n.id SET n.n = EXP(p.score) WHERE n.id = 2"),
        attack("DELETE n FROM notes n JOIN people p ON p.id = n.id WHERE EXP(p.score) > 0"),
        attack("UPDATE notes SET n = 0 WHERE id IN (SELECT id FROM people WHERE EXP(score) > 0)"),
    ]
}

/// The same where the server looks at the caller's condition sooner than at the row filter.
fn sooner() -> Vec<Attack> {
    vec![
        runs("SELECT COUNT(*) FROM tickets WHERE EXP(score) > 0"),
        runs("SELECT COUNT(*) FROM tickets WHERE name = 5"),
        runs("SELECT COUNT(*) FROM tickets WHERE name"),
        runs("SELECT COUNT(*) FROM tickets WHERE CAST(name AS SIGNED) = 5"),
        runs("SELECT COUNT(*) FROM tickets t JOIN notes n ON t.name = n.id"),
        runs("SELECT COUNT(*) FROM tickets t JOIN notes n ON n.id = t.id AND EXP(t.score) > n.n"),
        runs("SELECT COUNT(*) FROM tickets WHERE score > 0 AND name BETWEEN 1 AND 5"),
        runs("SELECT COUNT(*) FROM (SELECT * FROM tickets) t WHERE EXP(t.score) > 0"),
        runs(
            "SELECT score, name + 0 AS n FROM tickets GROUP BY name, score HAVING EXP(score) > 0 ORDER BY score",
        ),
        runs(
            "INSERT INTO notes SELECT id + 4000, id, name, 0 FROM tickets WHERE CAST(name AS SIGNED) >= 0",
        ),
        runs("UPDATE tickets SET name = 'x' WHERE EXP(score) > 0"),
        runs("UPDATE tickets SET name = 'x' WHERE CAST(name AS SIGNED) > 10"),
        runs("UPDATE tickets SET score = 1 WHERE name > 10"),
        runs("DELETE FROM tickets WHERE EXP(score) > 0"),
        runs("DELETE FROM tickets WHERE name = 5"),
        runs("DELETE FROM tickets WHERE EXP(score) > 0 ORDER BY EXP(score) LIMIT 2"),
        runs("UPDATE notes SET n = 0 WHERE id IN (SELECT id FROM tickets WHERE EXP(score) > 0)"),
        runs("UPDATE notes n JOIN tickets t ON t.id = n.id SET n.n = 0 WHERE EXP(t.score) > 0"),
        Attack {
            parameters: vec![Value::Int(5)],
            ..runs("SELECT COUNT(*) FROM tickets WHERE name = ?")
        },
        Attack {
            parameters: vec![Value::Int(5)],
            ..runs("DELETE FROM tickets WHERE name = ?")
        },
    ]
}

/// The order in which rows come.
fn ordering() -> Vec<Attack> {
    vec![
        runs("SELECT id FROM staff"),
        runs("SELECT id FROM staff LIMIT 5"),
        moot("SELECT id FROM staff WHERE team = 'red'"),
        runs("SELECT id FROM staff WHERE salary IS NULL OR salary > 0"),
        runs("SELECT GROUP_CONCAT(id) FROM staff"),
        moot("SELECT id, ROW_NUMBER() OVER () FROM staff"),
        runs("SELECT JSON_ARRAYAGG(id) FROM (SELECT id FROM staff LIMIT 4) x"),
        attack("SELECT id FROM staff FORCE INDEX (by_salary) WHERE salary > 0"),
        attack("SELECT id FROM staff USE INDEX (by_ssn)"),
        moot("SELECT id, team FROM staff GROUP BY team"),
        runs("SELECT id FROM parts"),
        moot("SELECT id FROM people WHERE owner = 7"),
        moot("SELECT id FROM people WHERE name = 'same'"),
        runs("SELECT id FROM people LIMIT 3"),
    ]
}

/// Changes that choose, compute or return by what is hidden, or leave the filter.
fn writing() -> Vec<Attack> {
    vec![
        runs("UPDATE people SET score = score + 1"),
        runs("UPDATE people SET score = 0 WHERE id < 100"),
        runs("UPDATE people SET score = 0 WHERE id < 100 OR TRUE"),
        runs("UPDATE people SET score = 1 WHERE EXP(score) > 0 OR TRUE"),
        attack("UPDATE people SET score = 1 WHERE name = 5"),
        attack("UPDATE people SET score = 1 WHERE age > 50"),
        attack("UPDATE people SET score = 1 WHERE id = 1 AND people.phone LIKE '+47%'"),
        attack("UPDATE people p SET score = 1 WHERE p.secret LIKE 'a%'"),
        attack("UPDATE people SET name = phone"),
        attack("UPDATE people SET name = (SELECT secret) WHERE id = 1"),
        attack("UPDATE people SET score = IF(age > 50, 1, 2)"),
        moot("UPDATE staff SET name = (@order := COALESCE(@order, 0) + 1) WHERE team = 'red'"),
        moot("UPDATE staff SET name = RAND(5) WHERE team = 'red' LIMIT 3"),
        moot("DELETE FROM staff WHERE team = 'red' AND (@last := id) > 0"),
        moot("UPDATE staff SET name = 'x' WHERE _rowid < 5"),
        attack("UPDATE people SET score = -1 ORDER BY age DESC LIMIT 1"),
        moot("UPDATE people SET score = -1 WHERE name = 'same' LIMIT 1"),
        moot("UPDATE staff SET name = 'x' ORDER BY id LIMIT 1"),
        moot("UPDATE people SET level = 5 WHERE id = 1"),
        moot("UPDATE people SET age = 5 WHERE id = 2"),
        moot("UPDATE people SET owner = 8 WHERE id = 1"),
        moot("UPDATE people SET owner = owner + 1"),
        moot("UPDATE people SET owner = 7 WHERE id = 2"),
        attack("UPDATE people p JOIN notes n ON n.id = p.id SET p.score = 1 WHERE p.age > 50"),
        attack("UPDATE people, notes SET n = age WHERE people.id = notes.id"),
        runs("UPDATE notes SET n = (SELECT COUNT(*) FROM people)"),
        runs("UPDATE notes n JOIN people p ON p.id = n.id SET n.n = COALESCE(p.age, 5)"),
        runs("DELETE FROM people"),
        runs("DELETE FROM people WHERE id < 100"),
        runs("DELETE FROM people WHERE EXP(score) > 0 OR TRUE"),
        attack("DELETE FROM people WHERE age > 50"),
        attack("DELETE FROM people WHERE id IN (SELECT p.id FROM people p WHERE secret LIKE 'a%')"),
        attack("DELETE FROM people WHERE id = 1 RETURNING secret"),
        attack("DELETE FROM people WHERE id = 1 RETURNING *"),
        attack("DELETE FROM people WHERE id = 1 RETURNING CONCAT(age, '')"),
        attack("DELETE FROM people WHERE id = 1 RETURNING (SELECT age)"),
        attack("DELETE p FROM people p JOIN notes n ON n.id = p.id"),
        attack("DELETE FROM people ORDER BY age DESC LIMIT 1"),
        moot("INSERT INTO people (owner, name, email) VALUES (8, 'x', 'x')"),
        moot("INSERT INTO people (name, email) VALUES ('x', 'x')"),
        moot("INSERT INTO people VALUES (999, 7, 'x', 'x', NULL, 1, NULL, 's', 1, 1, NULL, NOW())"),
        moot("INSERT INTO people (owner, name, email, level) VALUES (7, 'x', 'x', 3)"),
        moot("INSERT INTO people (owner, name, email) VALUES (7 + 0, 'x', 'x')"),
        moot("INSERT INTO people (owner, name, email) SELECT 8, name, name FROM notes"),
        moot("INSERT INTO people SET owner = 8, name = 'x', email = 'x'"),
        moot(
            "INSERT INTO people (id, owner, name, email) VALUES (2, 7, 'x', 'x') ON DUPLICATE KEY UPDATE name = 'x'",
        ),
        moot("REPLACE INTO people (id, owner, name, email) VALUES (2, 7, 'x', 'x')"),
        attack(
            "INSERT INTO staff (id, name, team, salary) VALUES (1, 'x', 'red', 1) ON DUPLICATE KEY UPDATE name = CONCAT(salary, '')",
        ),
        attack(
            "INSERT INTO staff (id, name, team, salary) VALUES (1, 'x', 'red', 1037) ON DUPLICATE KEY UPDATE salary = VALUES(salary)",
        ),
        runs(
            "INSERT INTO notes SELECT id + 2000, id, COALESCE(phone, ''), COALESCE(age, 0) FROM people",
        ),
        runs(
            "INSERT INTO notes (id, person, body, n) VALUES (3000, 1, 'x', (SELECT COUNT(*) FROM people))",
        ),
        moot("TRUNCATE TABLE people"),
        moot("ALTER TABLE people RENAME COLUMN secret TO plain"),
        moot("DROP TABLE people"),
        moot(
            "INSERT INTO people (id, owner, name, email, age) VALUES (999, 7, 'x', 'x', 5) RETURNING id, age",
        ),
    ]
}

/// Parameters of another kind than the column's.
fn parameters() -> Vec<Attack> {
    let text = |text: &str| Value::from(text);
    vec![
        with(
            "SELECT COUNT(*) FROM people WHERE name = ?",
            vec![Value::Int(5)],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE name = ?",
            vec![Value::Double(0.5)],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE name IN (?, ?)",
            vec![Value::Int(5), Value::Int(6)],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE name LIKE ?",
            vec![text("boom%")],
        ),
        with("SELECT id FROM people WHERE id = ?", vec![text("abc")]),
        with("SELECT id FROM people WHERE id = ?", vec![text("2abc")]),
        with(
            "SELECT COUNT(*) FROM people WHERE id > ?",
            vec![text("abc")],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE score >= ?",
            vec![text("1x")],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE score BETWEEN ? AND ?",
            vec![text("a"), text("99999999")],
        ),
        with(
            "SELECT COUNT(*) FROM people WHERE created > ?",
            vec![text("abc")],
        ),
        with(
            "UPDATE people SET score = 1 WHERE name = ?",
            vec![Value::Int(5)],
        ),
        with("DELETE FROM people WHERE id = ?", vec![text("abc")]),
        with("UPDATE people SET score = 1 WHERE id > ?", vec![text("1x")]),
    ]
    .into_iter()
    .map(|attack| Attack {
        tells: false,
        ..attack
    })
    .collect()
}
