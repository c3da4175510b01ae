//! What is refused, and the words that say why.

use super::run;

#[test]
fn statements_that_cannot_keep_the_rules_are_refused() {
    let mut wrong = Vec::new();
    for (sql, reason) in [
        // Denied columns, by name.
        (
            "SELECT password FROM people",
            "`password` of `people` may not be named",
        ),
        ("SELECT p.password FROM people p", "may not be named"),
        (
            "SELECT 1 FROM plain p WHERE p.id IN (SELECT id FROM people WHERE password = 'x')",
            "may not be named",
        ),
        (
            "SELECT hidden FROM listed",
            "`hidden` of `listed` may not be named",
        ),
        (
            "SELECT * FROM people JOIN (SELECT 'x' AS password) y USING (password)",
            "may not be named",
        ),
        (
            "SELECT public.people.password FROM people",
            "may not be named",
        ),
        (
            "UPDATE people SET password = 'x' WHERE id = 1",
            "cannot be written",
        ),
        (
            "INSERT INTO people (id, password) VALUES (1, 'x')",
            "cannot be written",
        ),
        (
            "INSERT INTO people VALUES (1, 'a', 'b', 'c', 1, 'x')",
            "cannot be written",
        ),
        (
            "INSERT INTO listed SELECT * FROM plain",
            "must list the columns",
        ),
        (
            "DELETE FROM people WHERE id = 1 RETURNING password",
            "may not be named",
        ),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (password) DO NOTHING",
            "may not be named",
        ),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.password",
            "may not be named",
        ),
        // Masked columns of a target.
        (
            "UPDATE people SET name = email WHERE id = 1",
            "`email` of `people` is masked",
        ),
        (
            "UPDATE people SET name = 'x' WHERE email = 'a'",
            "is masked",
        ),
        (
            "UPDATE people AS p SET name = 'x' WHERE p.salary > 5",
            "is masked",
        ),
        (
            "UPDATE people SET salary = salary + 1 WHERE id = 1",
            "is masked",
        ),
        ("DELETE FROM people WHERE 1 / salary > 0", "is masked"),
        (
            "DELETE FROM people WHERE EXISTS (SELECT 1 FROM plain WHERE salary = x)",
            "is masked",
        ),
        (
            "DELETE FROM people WHERE id = 1 RETURNING upper(email)",
            "is masked",
        ),
        (
            "DELETE FROM people WHERE id = 1 RETURNING people",
            "the whole row",
        ),
        (
            "DELETE FROM people WHERE id = 1 RETURNING row_to_json(people)",
            "the whole row",
        ),
        (
            "DELETE FROM people WHERE id = 1 RETURNING row_to_json(people.*)",
            "the whole row",
        ),
        (
            "DELETE FROM people WHERE people::text LIKE '%x%'",
            "the whole row",
        ),
        ("DELETE FROM people p WHERE (p).salary = 5", "the whole row"),
        (
            "DELETE FROM people p WHERE p.to_json::text LIKE '%x%'",
            "the whole row",
        ),
        (
            "UPDATE people SET name = old.email FROM people old WHERE people.id = 1 RETURNING people.card || 'x'",
            "is masked",
        ),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = people.email",
            "is masked",
        ),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE email = 'a'",
            "is masked",
        ),
        // Rows that would not be the caller's.
        ("INSERT INTO own (id) VALUES (1)", "needs `owner` = 'u'"),
        (
            "INSERT INTO own (id, owner) VALUES (1, 'u'), (2, 'v')",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, lower('U'))",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, DEFAULT)",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, NULL)",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, 'uv'::varchar(1))",
            "needs `owner` = 'u'",
        ),
        ("INSERT INTO own DEFAULT VALUES", "needs `owner` = 'u'"),
        (
            "INSERT INTO own (id, owner) SELECT id, note FROM mixed",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own SELECT * FROM plain",
            "must list the columns",
        ),
        (
            "INSERT INTO own (owner, id) SELECT 'u', 1 UNION SELECT 'v', 2",
            "needs `owner` = 'u'",
        ),
        (
            "UPDATE own SET owner = 'v' WHERE id = 1",
            "needs `owner` = 'u'",
        ),
        (
            "UPDATE own SET owner = note WHERE id = 1",
            "needs `owner` = 'u'",
        ),
        (
            "UPDATE own SET (owner, note) = ('v', 'x') WHERE id = 1",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, 'u') ON CONFLICT (id) DO UPDATE SET owner = 'v'",
            "needs `owner` = 'u'",
        ),
        (
            "INSERT INTO state (id, level, status) VALUES (1, 5, 'open')",
            "a constant for `level`",
        ),
        (
            "INSERT INTO state (id, level, status) VALUES (1, '4.6', 'open')",
            "a constant for `level`",
        ),
        (
            "INSERT INTO state (id, level, status) VALUES (1, 4, 'gone')",
            "a constant for `status`",
        ),
        (
            "INSERT INTO state (id, level, status) VALUES (1, 4, $1)",
            "a constant for `status`",
        ),
        (
            "INSERT INTO state (level, status) VALUES (4, 'open')",
            "a constant for `id`",
        ),
        // Statements that reach the table otherwise.
        (
            "MERGE INTO own USING plain ON own.id = plain.id WHEN MATCHED THEN DELETE",
            "`MERGE` into `own`",
        ),
        ("COPY own TO STDOUT", "`COPY`"),
        ("COPY (SELECT * FROM own) TO STDOUT", "`COPY`"),
        ("EXPLAIN SELECT * FROM own", "`EXPLAIN`"),
        ("TRUNCATE own", "`TRUNCATE`"),
        ("TRUNCATE careful", "`TRUNCATE`"),
        (
            "ALTER TABLE people RENAME COLUMN email TO e",
            "by an administrator",
        ),
        ("DROP TABLE own", "by an administrator"),
        ("CREATE INDEX ON own ((1 / id))", "by an administrator"),
        ("CREATE TABLE copy (LIKE own)", "by an administrator"),
        ("LOCK TABLE own", "cannot keep the rules"),
        ("PREPARE p AS SELECT * FROM own", "`PREPARE`"),
        ("SELECT 1; SELECT * FROM own", "several statements"),
        ("SELECT * FROM own TABLESAMPLE SYSTEM (50)", "`TABLESAMPLE`"),
        (
            "SELECT * FROM own WHERE id + 1 = 2 FOR UPDATE",
            "`FOR UPDATE` on `own`",
        ),
        ("SELECT current_query() FROM people", "`current_query`"),
        ("SELECT ctid FROM own", ""),
        ("SELECT own.xmin FROM own", "a column of the system"),
        (
            "SELECT public.own.id FROM public.own, (SELECT 1 AS id) own",
            "",
        ),
        (
            "SELECT (SELECT public.own.id FROM plain AS own) FROM public.own",
            "is not clear here",
        ),
        // A WHERE that chooses nothing.
        ("DELETE FROM careful", "need a `WHERE`"),
        ("DELETE FROM careful WHERE true", "need a `WHERE`"),
        ("DELETE FROM careful WHERE 1 = 1", "need a `WHERE`"),
        ("DELETE FROM careful WHERE id = id", "need a `WHERE`"),
        (
            "DELETE FROM careful WHERE id = 1 OR 1 = 1",
            "need a `WHERE`",
        ),
        ("UPDATE careful SET id = 1", "need a `WHERE`"),
        (
            "WITH x AS (DELETE FROM careful RETURNING 1) SELECT * FROM x",
            "need a `WHERE`",
        ),
        ("EXPLAIN ANALYZE DELETE FROM careful", "need a `WHERE`"),
    ] {
        match run(sql, Some("u"), true) {
            Err(forbidden) => {
                assert!(!forbidden.objects.is_empty(), "{sql}");
                if !forbidden.reason.contains(reason) {
                    wrong.push(format!("{sql}: {forbidden}"));
                }
            }
            // The server refuses what names a column that the derived table lacks.
            Ok(_) if reason.is_empty() => {}
            Ok(restricted) => wrong.push(format!("{sql}: {restricted:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Without a server, what the text alone tells is refused, and nothing is rewritten.
#[test]
fn checks_need_no_server() {
    for (sql, reason) in [
        ("SELECT password FROM people", Some("may not be named")),
        (
            "SELECT p.password FROM people p, plain",
            Some("may not be named"),
        ),
        ("SELECT hidden FROM listed", Some("may not be named")),
        (
            "SELECT l.hidden FROM listed l, plain",
            Some("may not be named"),
        ),
        ("SELECT lower(name) AS n FROM listed ORDER BY n", None),
        ("SELECT hidden FROM listed, plain", None),
        (
            "UPDATE listed SET hidden = 'x' WHERE id = 1",
            Some("cannot be written"),
        ),
        ("UPDATE people SET name = email", Some("is masked")),
        ("SELECT * FROM people", None),
        ("INSERT INTO own (id) VALUES (1)", Some("needs `owner`")),
        ("INSERT INTO own (owner) VALUES ('u')", None),
        ("EXPLAIN SELECT * FROM own", Some("`EXPLAIN`")),
        ("DELETE FROM careful", Some("need a `WHERE`")),
    ] {
        match (run(sql, Some("u"), false), reason) {
            (Err(forbidden), Some(reason)) => {
                assert!(forbidden.reason.contains(reason), "{sql}: {forbidden}");
            }
            (result, None) => assert_eq!(result, Ok(None), "{sql}"),
            (Ok(_), Some(reason)) => panic!("{sql}: {reason}"),
        }
    }
}

/// A view or a cascade reaches a table that the statement does not name, and a table may be unknown.
#[test]
fn what_is_not_named_is_not_reached() {
    use crate::decide::restrict::Restrictions;
    use crate::operation::Object;
    let caller = crate::authenticate::Principal {
        key_id: "key".into(),
        user_id: None,
        role: "app".into(),
    };
    for (sql, table, reason) in [
        ("SELECT * FROM some_view", "own", "reached through a view"),
        (
            "DELETE FROM parent WHERE id = 1",
            "own",
            "reached through a view",
        ),
        (
            "WITH own AS (SELECT 1) SELECT * FROM own",
            "own",
            "reached through a view",
        ),
        ("SELECT * FROM unknown", "unknown", "are not known yet"),
    ] {
        let object = Object::named(None, table);
        let rules = std::sync::Arc::new(super::rules_of("own"));
        let restrictions = Restrictions {
            caller: &caller,
            default_namespace: "public",
            mask_salt: "",
            tables: vec![(&object, rules)],
        };
        let result = super::restrict(sql, &restrictions, Some(&super::Schema));
        assert!(result.unwrap_err().reason.contains(reason), "{sql}");
    }
}
