//! Which names mean common table expressions, and which reach the real table.

use super::{Session, check};

#[test]
fn common_table_expressions() {
    check(
        &[
            ("WITH t AS (SELECT 1) SELECT * FROM t", ""),
            ("WITH t AS (SELECT * FROM t) SELECT * FROM t", "t:select"),
            (
                "WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t",
                "",
            ),
            (
                "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b",
                "b:select",
            ),
            (
                "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
                "",
            ),
            (
                "WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b",
                "",
            ),
            (
                "WITH t AS (SELECT 1) SELECT * FROM public.t",
                "public.t:select",
            ),
            ("WITH \"T\" AS (SELECT 1) SELECT * FROM t", "t:select"),
            ("WITH t AS (SELECT 1) DELETE FROM t", "t:delete"),
            (
                "WITH t AS (SELECT 1) INSERT INTO t SELECT * FROM t",
                "t:insert",
            ),
            (
                "WITH t AS (SELECT 1) UPDATE t SET a = 1 FROM t AS x",
                "t:update",
            ),
            (
                "WITH t AS (SELECT 1) MERGE INTO t USING t AS x ON true WHEN MATCHED THEN DELETE",
                "t:delete",
            ),
            (
                "SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t) q, t",
                "t:select",
            ),
            (
                "WITH t AS (SELECT 1) SELECT (SELECT a FROM t) FROM (SELECT * FROM t) q",
                "",
            ),
            (
                "WITH t AS (WITH t AS (SELECT * FROM t) SELECT * FROM t) SELECT * FROM t",
                "t:select",
            ),
            (
                "(WITH t AS (SELECT 1) SELECT * FROM t) UNION SELECT * FROM t",
                "t:select",
            ),
            (
                "WITH t AS (SELECT 1) SELECT * FROM t UNION SELECT * FROM t",
                "",
            ),
            (
                "INSERT INTO u WITH t AS (SELECT 1) SELECT * FROM t",
                "u:insert",
            ),
            (
                "INSERT INTO u VALUES ((WITH t AS (SELECT 1) SELECT * FROM t)) RETURNING (SELECT a FROM t)",
                "t:select u:select u:insert",
            ),
            (
                "WITH t AS (SELECT 1) INSERT INTO u VALUES (1) ON CONFLICT (a) DO UPDATE SET a = (SELECT * FROM t)",
                "u:insert u:update",
            ),
            (
                "WITH t AS (SELECT 1), t2 AS (INSERT INTO u SELECT * FROM t RETURNING *) TABLE t2",
                "u:select u:insert",
            ),
            ("WITH pg_class AS (SELECT 1) SELECT * FROM pg_class", ""),
            (
                "WITH a AS (SELECT 1) SELECT * FROM (WITH b AS (SELECT * FROM a) SELECT * FROM b) q, b",
                "b:select",
            ),
            (
                "WITH RECURSIVE t(a) AS (SELECT 1 UNION ALL SELECT 2 FROM t, u) SEARCH DEPTH FIRST BY a SET o CYCLE a SET c USING p SELECT * FROM t",
                "u:select",
            ),
            ("SELECT * FROM t AS u, u AS t", "t:select u:select"),
            ("SELECT * FROM (SELECT 1) FOR UPDATE", ""),
            (
                "SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t, u) q FOR UPDATE",
                "u:select u:update",
            ),
        ],
        Session::Shared,
    );
}
