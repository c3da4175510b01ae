use super::check;

#[test]
fn inserts() {
    check(&[
        (
            "INSERT INTO a (x, y) VALUES (1, DEFAULT), (?, DEFAULT(y))",
            "a:insert",
        ),
        ("INSERT a () VALUES ()", "a:insert"),
        (
            "INSERT HIGH_PRIORITY IGNORE INTO db.a PARTITION (p) SET x = 1, y = DEFAULT",
            "db.a:insert",
        ),
        ("INSERT INTO a VALUE (1, 'value keyword')", "a:insert"),
        ("INSERT INTO a VALUES ROW(1, 2)", "a:insert"),
        (
            "INSERT INTO a (x) SELECT x FROM b WHERE x NOT IN (SELECT x FROM a)",
            "a:insert a:select b:select",
        ),
        ("INSERT INTO a (x) (SELECT x FROM b)", "a:insert b:select"),
        (
            "INSERT INTO a ((SELECT x FROM b) UNION TABLE c)",
            "a:insert b:select c:select",
        ),
        ("INSERT INTO a TABLE b", "a:insert b:select"),
        (
            "INSERT INTO a VALUES ((SELECT x FROM b LIMIT 1))",
            "a:insert b:select",
        ),
        (
            "INSERT INTO a SELECT * FROM b JOIN c ON DUPLICATE KEY UPDATE x = 1",
            "a:insert a:update b:select c:select",
        ),
        (
            "INSERT INTO a (x) VALUES (1) ON DUPLICATE KEY UPDATE x = VALUES(x), y = IF(VALUES(y) > y, VALUES(y), y)",
            "a:insert a:update",
        ),
        (
            "INSERT INTO a (x) VALUES (1) AS new(n) ON DUPLICATE KEY UPDATE x = new.n",
            "a:insert a:update",
        ),
        (
            "INSERT INTO a (x) VALUES (1) ON DUPLICATE KEY UPDATE x = (SELECT y FROM b)",
            "a:insert a:update b:select",
        ),
        (
            "INSERT INTO a (x) VALUES (1) RETURNING id, (SELECT y FROM b)",
            "a:insert a:select b:select",
        ),
        ("REPLACE INTO a SET x = 1", "a:delete a:insert"),
        (
            "REPLACE LOW_PRIORITY a (x) SELECT y FROM b",
            "a:delete a:insert b:select",
        ),
    ]);
}

#[test]
fn updates() {
    check(&[
        (
            "UPDATE a SET x = x + 1 WHERE y = ? ORDER BY z LIMIT 1",
            "a:update",
        ),
        (
            "UPDATE LOW_PRIORITY IGNORE `a` `t` SET t.x = DEFAULT",
            "a:update",
        ),
        ("UPDATE db.a SET db.a.x = 1", "db.a:update"),
        (
            "UPDATE a SET x = (SELECT MAX(y) FROM b)",
            "a:update b:select",
        ),
        (
            "UPDATE a t JOIN b s ON s.id = t.id SET s.x = 1",
            "a:select b:update",
        ),
        (
            "UPDATE a, b SET a.x = b.x, b.y = 2",
            "a:update b:select b:update",
        ),
        ("UPDATE a t, a s SET t.x = s.x", "a:select a:update"),
        (
            "UPDATE a JOIN (SELECT y FROM b) d SET x = d.y",
            "a:update b:select",
        ),
        // Which table has the column only the server knows.
        (
            "UPDATE a, b SET x = 1",
            "a:select a:update b:select b:update",
        ),
        (
            "UPDATE (a JOIN b) LEFT JOIN c ON 1 SET c.x = 1",
            "a:select b:select c:update",
        ),
        (
            "WITH t AS (SELECT id FROM c) UPDATE a JOIN t ON t.id = a.id SET a.x = 1",
            "a:update c:select",
        ),
    ]);
}

#[test]
fn deletes() {
    check(&[
        ("DELETE FROM a WHERE x = 1 ORDER BY y LIMIT 5", "a:delete"),
        (
            "DELETE QUICK IGNORE FROM db.a PARTITION (p) AS t WHERE t.x",
            "db.a:delete",
        ),
        (
            "DELETE FROM a WHERE x IN (SELECT y FROM b)",
            "a:delete b:select",
        ),
        ("DELETE FROM a RETURNING id", "a:delete a:select"),
        (
            "DELETE t FROM a t JOIN b ON 1 WHERE b.x",
            "a:delete b:select",
        ),
        (
            "DELETE t.*, s.* FROM a t JOIN b s JOIN c",
            "a:delete b:delete c:select",
        ),
        ("DELETE FROM users USING b AS users", "b:delete"),
        (
            "DELETE FROM t, b USING a AS t JOIN b JOIN c",
            "a:delete b:delete c:select",
        ),
        ("DELETE db.a FROM db.a JOIN b", "b:select db.a:delete"),
        // One name for two tables: both may be meant.
        (
            "DELETE a FROM a JOIN db.a JOIN c",
            "a:delete a:select c:select db.a:delete db.a:select",
        ),
        (
            "WITH a AS (SELECT 1 FROM c) DELETE FROM a",
            "a:delete c:select",
        ),
        (
            "WITH t AS (SELECT 1 FROM c) DELETE FROM a WHERE x IN (SELECT 1 FROM t)",
            "a:delete c:select",
        ),
    ]);
}

#[test]
fn definitions() {
    check(&[
        ("TRUNCATE a", "a:ddl"),
        ("TRUNCATE TABLE db.a", "db.a:ddl"),
        ("DROP TABLE IF EXISTS a, b CASCADE", "a:ddl b:ddl"),
        ("RENAME TABLE a TO b, b TO c", "a:ddl b:ddl c:ddl"),
        (
            "CREATE UNIQUE INDEX i ON a (x(10) DESC, (LOWER(y)))",
            "a:ddl",
        ),
        ("DROP INDEX i ON a", "a:ddl"),
        (
            "CREATE TABLE a (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, x VARCHAR(9) DEFAULT 'n', \
          y DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), z INT AS (id + 1) STORED, \
          KEY k (x), CHECK (id > 0)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='c'",
            "a:ddl",
        ),
        (
            "CREATE TABLE a (x INT, CONSTRAINT f FOREIGN KEY (x) REFERENCES b (id) ON DELETE CASCADE)",
            "a:ddl b:ddl b:select",
        ),
        ("CREATE TABLE a LIKE b", "a:ddl b:select"),
        ("CREATE TABLE a AS SELECT * FROM b", "a:ddl b:select"),
        (
            "CREATE TABLE a (x INT) IGNORE (SELECT * FROM b)",
            "a:ddl b:select",
        ),
        ("CREATE TABLE a (x INT DEFAULT (my_fn(1)))", "a:ddl my_fn()"),
        (
            "ALTER TABLE a ADD COLUMN x INT NULL AFTER y, DROP z, ADD INDEX i (x), RENAME TO b",
            "a:ddl b:ddl",
        ),
    ]);
}

/// What goes from one target into another is read; what stays in its own table is not.
#[test]
fn several_targets() {
    check(&[
        (
            "UPDATE a JOIN b ON a.i=b.i SET a.x=1, b.y=b.y+1",
            "a:update b:update",
        ),
        (
            "UPDATE a, b SET a.x=b.y, b.z=1",
            "a:update b:select b:update",
        ),
        (
            "UPDATE d.a, d.b SET d.a.x=CONCAT(d.b.y), d.b.z=1",
            "d.a:update d.b:select d.b:update",
        ),
        ("UPDATE a, b SET a.x=y, b.z=1", "a:update b:select b:update"),
        (
            "UPDATE a, b SET a.x=(SELECT b.y), b.z=1",
            "a:update b:select b:update",
        ),
        // One name, two tables: one of them is written and the other may be the source.
        (
            "UPDATE d.t, e.t SET d.t.x=e.t.y",
            "d.t:select d.t:update e.t:select e.t:update",
        ),
        (
            "DELETE t FROM d.t JOIN e.t",
            "d.t:delete d.t:select e.t:delete e.t:select",
        ),
        (
            "DELETE a FROM users a JOIN vault A",
            "users:delete users:select vault:delete vault:select",
        ),
        ("DELETE a, b FROM a JOIN b", "a:delete b:delete"),
    ]);
}
