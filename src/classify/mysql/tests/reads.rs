use super::check;
use crate::classify::mysql::classify;
use crate::classify::{Refusal, Session};

#[test]
fn selects() {
    check(&[
        ("SELECT 1", ""),
        ("SELECT 1 + 1 AS result FROM DUAL", ""),
        ("SELECT id FROM users", "users:select"),
        ("select `u`.`id` from `app`.`users` `u`", "app.users:select"),
        (
            "SELECT COUNT(*) FROM (SELECT DISTINCT user_id FROM posts) t",
            "posts:select",
        ),
        (
            "SELECT u.*, p.title FROM users u, posts p",
            "posts:select users:select",
        ),
        (
            "SELECT * FROM a JOIN b USING (x) LEFT JOIN c ON c.x = b.x",
            "a:select b:select c:select",
        ),
        (
            "SELECT * FROM a NATURAL RIGHT OUTER JOIN b STRAIGHT_JOIN c",
            "a:select b:select c:select",
        ),
        (
            "SELECT * FROM a LEFT JOIN (b, c JOIN d) ON 1",
            "a:select b:select c:select d:select",
        ),
        ("SELECT * FROM ((a)) JOIN (b x) ON 1", "a:select b:select"),
        (
            "SELECT * FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x, d",
            "a:select b:select c:select d:select",
        ),
        (
            "SELECT * FROM a USE INDEX (), IGNORE KEY FOR ORDER BY (PRIMARY, i), b",
            "a:select b:select",
        ),
        (
            "SELECT * FROM a PARTITION (p0, p1) AS x FORCE INDEX (i) WHERE x.id",
            "a:select",
        ),
        (
            "SELECT * FROM ((SELECT 1 FROM a) UNION (SELECT 2 FROM b)) AS t",
            "a:select b:select",
        ),
        (
            "SELECT * FROM ((SELECT 1 FROM a) AS x JOIN b)",
            "a:select b:select",
        ),
        (
            "SELECT * FROM a, LATERAL (SELECT 1 FROM b WHERE b.x = a.x) t",
            "a:select b:select",
        ),
        (
            "SELECT j.x FROM a, JSON_TABLE(a.d, '$[*]' COLUMNS (n FOR ORDINALITY, x INT PATH '$.x' \
          DEFAULT '0' ON EMPTY NULL ON ERROR, NESTED PATH '$.y' COLUMNS (y CHAR(3) PATH '$'))) j",
            "a:select",
        ),
        ("TABLE a ORDER BY x LIMIT 5", "a:select"),
        ("SELECT 1 IN (TABLE a)", "a:select"),
        ("VALUES ROW((SELECT 1 FROM a), 2), ROW(3, 4)", "a:select"),
        (
            "SELECT * FROM (VALUES (1), ((SELECT 1 FROM a))) v",
            "a:select",
        ),
        (
            "(SELECT 1 FROM a LIMIT 1) UNION ALL (SELECT 2 FROM b ORDER BY 1) ORDER BY 1 LIMIT 3, 4",
            "a:select b:select",
        ),
        (
            "SELECT 1 FROM a EXCEPT SELECT 1 FROM b INTERSECT SELECT 1 FROM c",
            "a:select b:select c:select",
        ),
        ("SELECT 1 FROM a UNION TABLE b", "a:select b:select"),
        (
            "SELECT x FROM a ORDER BY x OFFSET 5 ROWS FETCH NEXT 5 ROWS ONLY",
            "a:select",
        ),
        ("SELECT * FROM a FOR SYSTEM_TIME AS OF NOW() x", "a:select"),
    ]);
}

/// A subquery in every place that takes an expression.
#[test]
fn subqueries() {
    for place in [
        "SELECT # FROM a",
        "SELECT 1 FROM a WHERE x = #",
        "SELECT 1 FROM a WHERE (x, 1) IN (#, (1, 2))",
        "SELECT 1 FROM a GROUP BY # HAVING 1",
        "SELECT 1 FROM a GROUP BY 1 HAVING #",
        "SELECT 1 FROM a ORDER BY # DESC",
        "SELECT 1 FROM a JOIN a y ON #",
        "SELECT CASE # WHEN 1 THEN 2 END FROM a",
        "SELECT CASE WHEN 1 THEN # ELSE 2 END FROM a",
        "SELECT CASE WHEN 1 THEN 2 ELSE # END FROM a",
        "SELECT IF(1, #, 2), COALESCE(NULL, 1) FROM a",
        "SELECT SUM(1) OVER (PARTITION BY # ORDER BY 1) FROM a",
        "SELECT SUM(1) OVER w FROM a WINDOW w AS (ORDER BY #)",
        "SELECT GROUP_CONCAT(DISTINCT x ORDER BY # SEPARATOR ',') FROM a",
        "SELECT CAST(# AS CHAR), CONVERT(1 USING utf8mb4) FROM a",
        "SELECT TRIM(LEADING 'x' FROM #) FROM a",
        "SELECT SUBSTRING('x' FROM # FOR 2) FROM a",
        "SELECT EXTRACT(YEAR FROM #) FROM a",
        "SELECT DATE_ADD(x, INTERVAL # DAY) FROM a",
        "SELECT x + INTERVAL (#) HOUR FROM a",
        "SELECT INTERVAL(1, #, 3) FROM a",
        "SELECT POSITION('x' IN #) FROM a",
        "SELECT CHAR(#, 65 USING utf8mb4) FROM a",
        "SELECT ROW(1, #) = ROW(1, 2) FROM a",
        "SELECT ((((#)) + 1)) FROM a",
        "SELECT -# , !#, ~#, NOT #, BINARY # FROM a",
        "SELECT x BETWEEN # AND 3 FROM a",
        "SELECT x LIKE # ESCAPE '!' FROM a",
        "SELECT x = ANY (#) FROM a",
        "SELECT {fn ABS(#)} FROM a",
        "SELECT MATCH (x) AGAINST (#) FROM a",
        "SELECT # IS NOT NULL COLLATE utf8mb4_bin FROM a",
        "SELECT 1 FROM JSON_TABLE(#, '$' COLUMNS (x INT PATH '$')) j, a",
        "SELECT 1 FROM a LIMIT 1 UNION SELECT #",
    ] {
        let sql = place.replace('#', "(SELECT y FROM b LIMIT 1)");
        check(&[(&sql, "a:select b:select")]);
    }
    check(&[
        (
            "SELECT EXISTS(SELECT 1 FROM a), NOT EXISTS ((SELECT 1 FROM b))",
            "a:select b:select",
        ),
        (
            "SELECT ((SELECT 1 FROM a) UNION SELECT 2 FROM b)",
            "a:select b:select",
        ),
        (
            "SELECT 1 WHERE 1 NOT IN ((SELECT 1 FROM a) LIMIT 5)",
            "a:select",
        ),
    ]);
}

#[test]
fn expressions_that_only_compute() {
    for expression in [
        "a->'$.x', a->>'$.y'",
        "1 <=> 2, 1 <> 2, 1 != 2, 1 || 0, 1 && 1, 1 XOR 0, 5 DIV 2, 5 MOD 2, 1 << 2, 3 ^ 1, 3 | 1, 3 & 1",
        "x IS NOT TRUE, x IS UNKNOWN, x NOT BETWEEN 1 AND 2, x NOT LIKE 'a', x NOT REGEXP 'b', x RLIKE 'c'",
        "'a' MEMBER OF (tags), x SOUNDS LIKE 'y'",
        "NOW(6), CURRENT_TIMESTAMP, CURRENT_TIMESTAMP(3), UTC_DATE, LOCALTIME, SYSDATE(), CURRENT_USER",
        "DATE '2020-01-01', TIME '10:00', TIMESTAMP '2020-01-01 00:00:00', {d '2020-01-01'}, {ts '2020-01-01'}",
        "TIMESTAMPDIFF(MINUTE, x, y), TIMESTAMPADD(DAY, 1, x), GET_FORMAT(DATE, 'ISO'), ADDDATE(x, 5)",
        "LEFT(x, 1), RIGHT(x, 1), REPLACE(x, 'a', 'b'), INSERT(x, 1, 1, 'z'), REPEAT(x, 2), MOD(5, 2)",
        "COUNT(DISTINCT x, y), COUNT(*), STDDEV(x), BIT_OR(x), JSON_ARRAYAGG(JSON_OBJECT('k', x))",
        "CAST(x AS DECIMAL(10, 2)), CAST(x AS UNSIGNED INTEGER), CAST(x AS CHAR(5) CHARACTER SET utf8mb4)",
        "JSON_VALUE(x, '$.a' RETURNING SIGNED DEFAULT 0 ON EMPTY ERROR ON ERROR), WEIGHT_STRING(x AS CHAR(3))",
        "LAG(x, 1, 0) OVER (ORDER BY y RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND CURRENT ROW)",
        "SUM(x) OVER (w ROWS UNBOUNDED PRECEDING), ROW_NUMBER() OVER w",
        "_utf8mb4'x' COLLATE utf8mb4_bin, _binary x'41', N'y', 'a' 'b' \"c\", 0x41, b'1', 1e5, .5, 5.",
        "BIN_TO_UUID(UUID_TO_BIN(UUID())), INET6_ATON('::1'), SHA2('a', 256), ST_AsText(POINT(1, 2))",
        "VERSION(), DATABASE(), CONNECTION_ID(), @@version_comment, @@session.sql_mode",
        "MATCH (title, body) AGAINST (? IN BOOLEAN MODE), MATCH title AGAINST ('x' WITH QUERY EXPANSION)",
        "u.status, u.key, u.order, u.`from`, role, type, value, date, text, user, year, end, first",
        "x 'alias', y \"other\", z AS `select`, 1 AS größe",
    ] {
        check(&[(&format!("SELECT {expression} FROM users"), "users:select")]);
    }
}

#[test]
fn locks_are_updates() {
    check(&[
        (
            "SELECT * FROM a JOIN b FOR UPDATE",
            "a:select a:update b:select b:update",
        ),
        ("SELECT * FROM a LOCK IN SHARE MODE", "a:select a:update"),
        ("SELECT * FROM a FOR SHARE SKIP LOCKED", "a:select a:update"),
        (
            "SELECT * FROM a FOR UPDATE OF a NOWAIT",
            "a:select a:update",
        ),
        ("SELECT * FROM a FOR UPDATE WAIT 5", "a:select a:update"),
        ("(SELECT * FROM a) FOR UPDATE", "a:select a:update"),
        (
            "SELECT * FROM (SELECT * FROM b) t JOIN a FOR UPDATE",
            "a:select a:update b:select",
        ),
    ]);
}

#[test]
fn metadata_is_reading() {
    check(&[
        ("SHOW FULL COLUMNS FROM `users`", "users:select"),
        (
            "SHOW FIELDS IN users FROM app LIKE 'e%'",
            "app.users:select",
        ),
        ("SHOW INDEX FROM app.users", "app.users:select"),
        (
            "SHOW KEYS FROM users WHERE Key_name = 'PRIMARY'",
            "users:select",
        ),
        (
            "SHOW KEYS FROM users WHERE 1 IN (SELECT 1 FROM b)",
            "b:select users:select",
        ),
        ("SHOW CREATE TABLE users", "users:select"),
        ("SHOW COLLATION WHERE Charset = 'utf8mb4'", ""),
        ("SHOW VARIABLES LIKE 'sql\\_mode'", ""),
        (
            "SHOW VARIABLES WHERE Variable_name = 'sql_mode' OR Variable_name IN ('time_zone', 'version')",
            "",
        ),
        ("DESCRIBE users", "users:select"),
        ("DESC app.users email", "app.users:select"),
        ("EXPLAIN users 'e%'", "users:select"),
        ("EXPLAIN SELECT * FROM a JOIN b", "a:select b:select"),
        (
            "EXPLAIN FORMAT=JSON UPDATE a SET x = (SELECT 1 FROM b)",
            "a:update b:select",
        ),
        ("EXPLAIN ANALYZE DELETE FROM a", "a:delete"),
    ]);
}

/// On a shared connection the last statement was another caller's.
#[test]
fn what_the_last_statement_did_is_for_a_connection_of_ones_own() {
    for sql in [
        "SELECT LAST_INSERT_ID()",
        "SELECT last_insert_id(5)",
        "SELECT ROW_COUNT(), id FROM users",
        "SELECT FOUND_ROWS()",
    ] {
        let shared = classify(sql, Session::Shared);
        assert!(
            matches!(shared, Err(Refusal::Forbidden(_))),
            "{sql}: {shared:?}"
        );
        assert!(classify(sql, Session::Own).is_ok(), "{sql}");
    }
    for variable in ["@@identity", "@@last_insert_id", "@@warning_count"] {
        let sql = format!("SELECT {variable}");
        assert!(classify(&sql, Session::Shared).is_err(), "{sql}");
    }
}
