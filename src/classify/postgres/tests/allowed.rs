//! Statements that are understood, and exactly what they touch.

use super::{Session, check};

#[test]
fn queries() {
    check(
        &[
            ("SELECT 1", ""),
            ("SELECT * FROM t;", "t:select"),
            (
                "SELECT a FROM s.t AS x JOIN u USING (id)",
                "u:select s.t:select",
            ),
            ("TABLE t", "t:select"),
            (
                "SELECT a FROM ONLY t, LATERAL (SELECT b FROM u) q",
                "t:select u:select",
            ),
            ("VALUES (1), ((SELECT max(a) FROM t))", "t:select"),
            (
                "SELECT a FROM t UNION ALL TABLE u EXCEPT (SELECT b FROM v)",
                "t:select u:select v:select",
            ),
            ("SELECT DISTINCT a FROM t", "t:select"),
            (
                "SELECT DISTINCT ON (a, (SELECT 1 FROM u)) a FROM t",
                "t:select u:select",
            ),
            (
                "SELECT count(*) FILTER (WHERE a > 1) OVER (PARTITION BY b ORDER BY c) FROM t",
                "t:select",
            ),
            (
                "SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY (SELECT 1 FROM u))",
                "t:select u:select",
            ),
            (
                "SELECT a FROM t GROUP BY ROLLUP (a, (SELECT 1 FROM u)) HAVING exists(SELECT 1 FROM v)",
                "t:select u:select v:select",
            ),
            (
                "SELECT a FROM t ORDER BY (SELECT 1 FROM u) LIMIT (SELECT 1 FROM v) OFFSET (SELECT 1 FROM w)",
                "t:select u:select v:select w:select",
            ),
            (
                "SELECT a FROM t TABLESAMPLE system ((SELECT 1 FROM u))",
                "t:select u:select",
            ),
            (
                "SELECT * FROM generate_series(1, (SELECT max(a) FROM t)) WITH ORDINALITY AS g(n, o)",
                "t:select",
            ),
            (
                "SELECT * FROM ROWS FROM (json_to_recordset($1) AS (a int, b text), unnest($2::int[])) AS r",
                "",
            ),
            (
                "SELECT * FROM XMLTABLE('/a' PASSING (SELECT x FROM t) COLUMNS b text PATH 'b' DEFAULT (SELECT c FROM u))",
                "t:select u:select",
            ),
            (
                "SELECT * FROM JSON_TABLE((SELECT j FROM t), '$[*]' PASSING (SELECT 1 FROM u) AS v COLUMNS (a int PATH '$.a' DEFAULT (SELECT 2 FROM w) ON EMPTY))",
                "t:select u:select w:select",
            ),
            (
                "SELECT JSON_OBJECT('a': (SELECT 1 FROM t) RETURNING jsonb), JSON_ARRAY(SELECT b FROM u)",
                "t:select u:select",
            ),
            (
                "SELECT JSON_ARRAYAGG(a ORDER BY (SELECT 1 FROM u)) FILTER (WHERE b) FROM t",
                "t:select u:select",
            ),
            (
                "SELECT JSON_VALUE(j, '$.a' PASSING (SELECT 1 FROM u) AS x DEFAULT (SELECT 2 FROM v) ON ERROR) FROM t",
                "t:select u:select v:select",
            ),
            (
                "SELECT a[(SELECT 1 FROM u)], b[1:(SELECT 2 FROM v)] FROM t",
                "t:select u:select v:select",
            ),
            (
                "SELECT CASE a WHEN (SELECT 1 FROM u) THEN 2 ELSE (SELECT 3 FROM v) END FROM t",
                "t:select u:select v:select",
            ),
            (
                "SELECT (SELECT 1 FROM u) = ANY (SELECT 2 FROM v), a OPERATOR(pg_catalog.=) ALL (ARRAY[1]) FROM t",
                "t:select u:select v:select",
            ),
            (
                "SELECT a::numeric(10, 2), CAST(b AS timestamptz), c::int[], d COLLATE \"C\", '{}'::jsonb FROM t",
                "t:select",
            ),
            (
                "SELECT a AT TIME ZONE 'UTC', EXTRACT(epoch FROM b), OVERLAY(c PLACING 'x' FROM 1), TRIM(d), NORMALIZE(e), POSITION('a' IN f) FROM t",
                "t:select",
            ),
            (
                "SELECT a LIKE 'x' ESCAPE '!', a SIMILAR TO 'y', (a, b) OVERLAPS (c, d), e IS DISTINCT FROM f, XMLELEMENT(name x, g) FROM t",
                "t:select",
            ),
            (
                "SELECT to_tsvector('english'::regconfig, a) @@ plainto_tsquery('b') FROM t ORDER BY c USING >",
                "t:select",
            ),
            (
                "SELECT current_user, current_date, localtime(0), current_schema, version(), now(), gen_random_uuid()",
                "",
            ),
            ("SELECT current_setting('server_version_num')::int", ""),
            ("SHOW server_version", ""),
            (
                "SELECT (json_each(a)).key, (ROW(1, 2)).f2, (t).* FROM t",
                "t:select",
            ),
            (
                "SELECT tableoid::regclass, t.tableoid::regclass FROM t",
                "t:select",
            ),
            (
                "SELECT * FROM json_populate_recordset(NULL::t, $1)",
                "t:select",
            ),
            (
                "EXPLAIN (ANALYZE, FORMAT JSON) DELETE FROM t WHERE a IN (TABLE u)",
                "t:delete u:select",
            ),
        ],
        Session::Shared,
    );
}

#[test]
fn writes() {
    check(
        &[
            ("INSERT INTO t DEFAULT VALUES", "t:insert"),
            ("INSERT INTO t (a) SELECT b FROM t", "t:select t:insert"),
            (
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO NOTHING",
                "t:insert",
            ),
            (
                "INSERT INTO t VALUES (1) ON CONFLICT (lower(a) text_pattern_ops) WHERE b DO UPDATE SET c = (SELECT 1 FROM u) WHERE exists (SELECT 1 FROM v)",
                "t:insert t:update u:select v:select",
            ),
            (
                "INSERT INTO t VALUES (1) RETURNING id, (SELECT 1 FROM u)",
                "t:select t:insert u:select",
            ),
            (
                "UPDATE t SET a = 1, (b, c) = (SELECT 2, 3 FROM u) WHERE d = $1",
                "t:update u:select",
            ),
            (
                "UPDATE t SET a = u.a FROM u JOIN v ON u.b = v.b WHERE t.c = u.c",
                "t:update u:select v:select",
            ),
            ("UPDATE t AS x SET a = 1 RETURNING x.*", "t:select t:update"),
            (
                "UPDATE t SET a = 1 WHERE b IN (SELECT b FROM t)",
                "t:select t:update",
            ),
            (
                "DELETE FROM s.t USING u WHERE t.a = u.a",
                "u:select s.t:delete",
            ),
            (
                "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES ((SELECT 1 FROM v))",
                "t:insert t:delete u:select v:select",
            ),
            (
                "MERGE INTO t USING (SELECT 1 FROM u) q ON true WHEN MATCHED THEN DO NOTHING",
                "t:select u:select",
            ),
            (
                "SELECT a FROM t FOR UPDATE SKIP LOCKED",
                "t:select t:update",
            ),
            (
                "SELECT a FROM t JOIN u AS x ON true FOR SHARE OF x",
                "t:select u:select u:update",
            ),
            (
                "SELECT a FROM (SELECT b FROM t) q, u FOR KEY SHARE OF q",
                "t:select t:update u:select",
            ),
            (
                "WITH q AS (SELECT a FROM t FOR UPDATE) DELETE FROM u USING q WHERE u.a = q.a",
                "t:select t:update u:delete",
            ),
            (
                "WITH q AS (SELECT a FROM t) SELECT a FROM q FOR UPDATE",
                "t:select",
            ),
            (
                "WITH q AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM q",
                "t:select t:delete u:insert",
            ),
            (
                "SELECT nextval('t_id_seq'), setval('s.\"Seq\"', 1)",
                "t_id_seq:update s.Seq:update",
            ),
            (
                "INSERT INTO t (a) VALUES (nextval('public.t_seq'::regclass))",
                "t:insert public.t_seq:update",
            ),
            ("SELECT currval('T_Seq')", "t_seq:select"),
        ],
        Session::Shared,
    );
}

#[test]
fn what_a_policy_must_list() {
    check(
        &[
            ("SELECT f(a), s.g(1) FROM t", "t:select f() s.g()"),
            ("SELECT * FROM f((SELECT 1 FROM t)) AS x", "t:select f()"),
            ("CALL s.p((SELECT 1 FROM t))", "t:select s.p()"),
            (
                "SELECT (x).f, (g(1)).key FROM t x",
                "t:select f() g() key()",
            ),
            (
                "SELECT a <%> b, a OPERATOR(s.+) b FROM t ORDER BY a USING OPERATOR(s.<)",
                "t:select <%>() s.+() s.<()",
            ),
            (
                "SELECT a = ANY (ARRAY[1]), a OPERATOR(s.=) ANY (SELECT 1) FROM t",
                "t:select s.=()",
            ),
            (
                "SELECT $1::mood, 'a'::s.mood[], CAST(a AS \"Mood\") FROM t",
                "t:select Mood() mood() s.mood()",
            ),
            ("SELECT * FROM t TABLESAMPLE tsm((1))", "t:select tsm()"),
            (
                "SELECT information_schema._pg_truetypid(NULL, NULL)",
                "information_schema._pg_truetypid()",
            ),
        ],
        Session::Shared,
    );
}

#[test]
fn names_mean_what_the_server_means() {
    check(
        &[
            (
                "SELECT * FROM Tab, \"Tab\", U&\"t\\0061b\"",
                "Tab:select tab:select",
            ),
            (
                "SELECT * FROM pg_class, s.pg_class",
                "pg_catalog.pg_class:select s.pg_class:select",
            ),
            (
                "SELECT * FROM information_schema.tables",
                "information_schema.tables:select",
            ),
            (
                "SELECT 'a' -- FROM u\n 'b', $$ FROM v $$, E'\\'', '\\' FROM t",
                "t:select",
            ),
            ("SELECT 1 /* /* */ FROM u */ FROM t", "t:select"),
            ("SELECT NULL::pg_class", "pg_catalog.pg_class:select"),
        ],
        Session::Shared,
    );
}

#[test]
fn definitions() {
    check(
        &[
            (
                "CREATE TABLE t (a bigserial PRIMARY KEY, b text NOT NULL DEFAULT now() CHECK (f(b)), c int REFERENCES u (id))",
                "t:ddl u:ddl f()",
            ),
            (
                "CREATE TABLE s.t (LIKE u INCLUDING ALL)",
                "u:select s.t:ddl",
            ),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY i ON t USING gin (a jsonb_path_ops, lower(b)) WHERE g(c)",
                "t:ddl g()",
            ),
            (
                "ALTER TABLE t ADD COLUMN a int, ALTER b TYPE text USING h(b), ALTER c SET DEFAULT f(), DROP COLUMN d",
                "t:ddl f() h()",
            ),
            ("ALTER TABLE t RENAME TO u", "t:ddl u:ddl"),
            ("ALTER TABLE t RENAME COLUMN a TO b", "t:ddl"),
            ("DROP TABLE IF EXISTS t, s.u", "t:ddl s.u:ddl"),
            ("TRUNCATE t, u RESTART IDENTITY", "t:ddl u:ddl"),
        ],
        Session::Shared,
    );
}

#[test]
fn on_a_connection_of_ones_own() {
    check(
        &[
            ("", ""),
            ("-- ping", ""),
            ("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", ""),
            ("SAVEPOINT a; ROLLBACK TO a; RELEASE a; END", ""),
            (
                "SET LOCAL statement_timeout = '5s'; SET TIME ZONE 'UTC'; SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE; SET NAMES 'utf8'",
                "",
            ),
            (
                "SET DateStyle = ISO, MDY; SET client_min_messages TO warning; SET jit = off",
                "",
            ),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED",
                "",
            ),
            ("RESET statement_timeout; SET lock_timeout TO DEFAULT", ""),
            (
                "DECLARE c CURSOR WITH HOLD FOR SELECT a FROM t; FETCH 10 FROM c; MOVE c; CLOSE ALL",
                "t:select",
            ),
            ("UPDATE t SET a = 1 WHERE CURRENT OF c", "t:update"),
            (
                "PREPARE p (int) AS DELETE FROM t WHERE a = $1; EXECUTE p((SELECT 1 FROM u)); DEALLOCATE p",
                "t:delete u:select",
            ),
            (
                "COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER, ENCODING 'utf-8')",
                "t:insert",
            ),
            ("COPY (SELECT a FROM t) TO STDOUT", "t:select"),
            ("COPY t TO STDOUT BINARY", "t:select"),
            (
                "LOCK TABLE t IN ACCESS SHARE MODE; LOCK u",
                "t:select u:update",
            ),
            ("SELECT lastval()", ""),
        ],
        Session::Own,
    );
}

#[test]
fn columns_of_functions_in_from() {
    check(
        &[
            ("SELECT g, g.g FROM generate_series(1, 3) g", ""),
            (
                "SELECT generate_series.generate_series FROM generate_series(1, 3)",
                "",
            ),
            (
                "SELECT g.n, g.ordinality FROM generate_series(1, 3) WITH ORDINALITY AS g (n)",
                "",
            ),
            (
                "SELECT e.key, e.value, i.value FROM t, jsonb_each(t.a) e, jsonb_array_elements(t.b) AS i",
                "t:select",
            ),
            (
                "SELECT r.a FROM json_to_recordset($1) AS r (a int, b text)",
                "",
            ),
            (
                "SELECT r.a FROM ROWS FROM (json_to_recordset($1) AS (a int), unnest($2)) AS r",
                "",
            ),
            ("SELECT x.upper FROM lower('A') x", ""),
            // Whether these are columns or users' functions, the catalogue tells.
            ("SELECT r.total FROM report($1) r", "report()"),
            ("SELECT r.total FROM report($1) r (total)", "report()"),
            ("SELECT f.f FROM report($1) f", "report()"),
            ("SELECT e.e FROM jsonb_array_elements($1) e", ""),
        ],
        Session::Shared,
    );
}
