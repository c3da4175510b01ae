use super::{check, check_refused};

#[test]
fn common_tables() {
    check(&[
        ("WITH t AS (SELECT 1 FROM a) SELECT * FROM t", "a:select"),
        (
            "WITH t AS (SELECT 1 FROM a), s AS (SELECT * FROM t) SELECT * FROM s JOIN t",
            "a:select",
        ),
        (
            "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9) SELECT n FROM t",
            "",
        ),
        ("WITH a AS (SELECT 1 FROM b) SELECT * FROM a", "b:select"),
        (
            "WITH t AS (SELECT 1) SELECT (SELECT 1 FROM t) FROM (SELECT * FROM t) d WHERE EXISTS (SELECT 1 FROM t)",
            "",
        ),
        // Its own name and a later one are real tables.
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", "a:select"),
        (
            "WITH t AS (SELECT * FROM s), s AS (SELECT 1) SELECT * FROM t",
            "s:select",
        ),
        // A qualified name is a real table.
        ("WITH a AS (SELECT 1) SELECT * FROM db.a", "db.a:select"),
        // So is every name out of scope.
        (
            "SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) d, a",
            "a:select",
        ),
        (
            "(WITH a AS (SELECT 1) SELECT * FROM a) UNION SELECT * FROM a",
            "a:select",
        ),
        (
            "INSERT INTO a WITH a AS (SELECT 1) SELECT * FROM a",
            "a:insert",
        ),
        (
            "INSERT INTO b WITH a AS (SELECT 1) SELECT * FROM a ON DUPLICATE KEY UPDATE x = (SELECT 1 FROM a)",
            "a:select b:insert b:update",
        ),
        (
            "WITH t AS (WITH s AS (SELECT 1 FROM a) SELECT * FROM s) SELECT * FROM t, s",
            "a:select s:select",
        ),
    ]);
}

#[test]
fn where_the_servers_part() {
    check_refused(
        "one server and not on the other",
        &[
            "WITH Users AS (SELECT 1) SELECT * FROM users",
            "WITH users AS (SELECT 1) SELECT * FROM USERS",
        ],
    );
    check_refused(
        "before it is declared",
        &[
            "WITH RECURSIVE t AS (SELECT * FROM s), s AS (SELECT 1) SELECT * FROM t",
            "WITH RECURSIVE t AS (SELECT * FROM S), s AS (SELECT 1) SELECT * FROM t",
        ],
    );
    check_refused(
        "outer WITH",
        &[
            "WITH a AS (SELECT 1) SELECT * FROM (WITH t AS (SELECT * FROM a) SELECT * FROM t) d",
            "WITH a AS (SELECT 1) SELECT * FROM (WITH t AS (SELECT (SELECT 1 FROM a)) SELECT * FROM t) d",
            "WITH a AS (SELECT 1), b AS (WITH t AS (SELECT * FROM a) SELECT * FROM t) SELECT * FROM b",
        ],
    );
    check_refused(
        "declared twice",
        &[
            "WITH t AS (SELECT 1), T AS (SELECT 2) SELECT 1",
            "WITH t AS (SELECT 1) SELECT * FROM (WITH t AS (SELECT 2) SELECT * FROM t) d",
        ],
    );
    check_refused("fold", &["WITH \u{212a}eys AS (SELECT 1) SELECT 1"]);
    check_refused(
        "not ASCII",
        &["WITH k AS (SELECT 1) SELECT * FROM \u{212a}"],
    );
    check_refused(
        "cannot be written",
        &[
            "WITH a AS (SELECT 1) UPDATE a SET x = 1",
            "UPDATE (SELECT * FROM a) t SET t.x = 1",
            "DELETE t FROM (SELECT * FROM a) t",
        ],
    );
    check_refused(
        "none of the statement's tables",
        &["DELETE users FROM users AS u", "UPDATE a, b SET c.x = 1"],
    );
}

#[test]
fn names_are_as_written() {
    check(&[
        ("SELECT * FROM Users", "Users:select"),
        ("SELECT * FROM api_\u{212a}eys", "api_\u{212a}eys:select"),
        ("SELECT * FROM `a``b`", "a`b:select"),
        ("SELECT * FROM db . /* x */ `a`", "db.a:select"),
        (
            "SELECT * FROM mysql.user, information_schema.TABLES",
            "information_schema.TABLES:select mysql.user:select",
        ),
        ("SELECT * FROM 2fa", "2fa:select"),
        ("SELECT * FROM db.1e5", "db.1e5:select"),
        ("SELECT * FROM `from`", "from:select"),
        ("SELECT 1 FROM first", "first:select"),
        ("SELECT COUNT(*) FROM first", "first:select"),
    ]);
    check_refused(
        "dot",
        &[
            "SELECT * FROM .a",
            "SELECT * FROM `a.b`",
            "SELECT * FROM `a `",
        ],
    );
}
