//! What is sent in place of a statement.

use super::run;

const OWN: &str =
    "(SELECT t.id, t.owner, t.note, t.amount FROM public.own t WHERE t.owner = 'u''1')";
const OWN_FENCED: &str =
    "(SELECT t.id, t.owner, t.note, t.amount FROM public.own t WHERE t.owner = 'u''1' OFFSET 0)";
const HASH: &str = "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(E's''alt\\\\' || ";
const PEOPLE: &str = "(SELECT t.id, t.name, {HASH}t.email::text, 'UTF8')), 'hex') AS email, \
    CASE WHEN pg_catalog.length(t.card::text) > 8 THEN '****' || pg_catalog.\"right\"(t.card::text, 4) \
    WHEN t.card IS NOT NULL THEN '****' END AS card, NULL::numeric(12, 2) AS salary FROM public.people t)";

#[test]
fn statements_see_what_their_caller_may_see() {
    let mut wrong = Vec::new();
    for (sql, expected) in [
        ("SELECT * FROM own", "SELECT * FROM {OWN} own"),
        (
            "SELECT note FROM own x WHERE id = $1",
            "SELECT note FROM {OWN} x WHERE id = $1",
        ),
        (
            "SELECT public.own.note FROM public.own",
            "SELECT own.note FROM {OWN} own",
        ),
        (
            "SELECT * FROM own WHERE id = 5 AND (note = 'a' OR note IS NULL) ORDER BY amount / 0 LIMIT 3",
            "SELECT * FROM {OWN} own WHERE id = 5 AND (note = 'a' OR note IS NULL) ORDER BY amount / 0 LIMIT 3",
        ),
        (
            "SELECT * FROM own WHERE id IN (1, 2) AND amount > 5 FOR UPDATE",
            "SELECT * FROM {OWN} own WHERE id IN (1, 2) AND amount > 5 FOR UPDATE",
        ),
        (
            "SELECT * FROM own JOIN plain ON plain.own_id = own.id",
            "SELECT * FROM {OWN} own JOIN plain ON plain.own_id = own.id",
        ),
        // What could fail on a hidden row keeps behind the fence.
        (
            "SELECT * FROM own WHERE 1 / (id - 5) = 0",
            "SELECT * FROM {OWN_FENCED} own WHERE 1 / (id - 5) = 0",
        ),
        (
            "SELECT * FROM own WHERE note LIKE 'a%'",
            "SELECT * FROM {OWN_FENCED} own WHERE note LIKE 'a%'",
        ),
        (
            "SELECT * FROM own WHERE amount = 1.5::float8",
            "SELECT * FROM {OWN_FENCED} own WHERE amount = (1.5)::float8",
        ),
        (
            "SELECT id FROM own WHERE id = 1 UNION SELECT 2",
            "SELECT id FROM {OWN_FENCED} own WHERE id = 1 UNION SELECT 2",
        ),
        (
            "WITH x AS (SELECT * FROM own) SELECT * FROM x",
            "WITH x AS (SELECT * FROM {OWN_FENCED} own) SELECT * FROM x",
        ),
        (
            "WITH own AS (SELECT 1 AS id) SELECT * FROM own, public.own o",
            "WITH own AS (SELECT 1 AS id) SELECT * FROM own, {OWN_FENCED} o",
        ),
        (
            "SELECT * FROM plain p WHERE EXISTS (SELECT 1 FROM own WHERE own.id = p.own_id)",
            "SELECT * FROM plain p WHERE EXISTS (SELECT 1 FROM {OWN_FENCED} own WHERE own.id = p.own_id)",
        ),
        (
            "SELECT * FROM state",
            "SELECT * FROM (SELECT t.id, t.level, t.status FROM public.state t WHERE t.level < '5' AND t.status IN ('open', 'paid') AND NOT t.id IS NULL) state",
        ),
        (
            "SELECT 1 FROM own, public.own o",
            "SELECT 1 FROM {OWN} own, {OWN} o",
        ),
        // Columns.
        ("SELECT * FROM people", "SELECT * FROM {PEOPLE} people"),
        (
            "SELECT p.email FROM ONLY people p (a, b)",
            "SELECT p.email FROM {ONLY_PEOPLE} p(a, b)",
        ),
        (
            "SELECT count(*) FROM people WHERE lower(email) LIKE 'a%'",
            "SELECT count(*) FROM {PEOPLE} people WHERE lower(email) LIKE 'a%'",
        ),
        (
            "SELECT * FROM listed",
            "SELECT * FROM (SELECT t.id, t.name FROM public.listed t) listed",
        ),
        (
            "SELECT hidden FROM plain, (SELECT 1 AS hidden) h",
            "SELECT hidden FROM plain, (SELECT 1 AS hidden) h",
        ),
        // Writes.
        (
            "UPDATE own SET note = 'x' WHERE id = 1",
            "UPDATE own SET note = 'x' WHERE own.owner = 'u''1' AND id = 1",
        ),
        (
            "UPDATE own SET note = 'x'",
            "UPDATE own SET note = 'x' WHERE own.owner = 'u''1'",
        ),
        (
            "UPDATE own o SET note = 'x' WHERE id = 1 AND 1 / (amount - 5) = 0",
            "UPDATE own o SET note = 'x' WHERE o.owner = 'u''1' AND id = 1 AND CASE WHEN o.owner = 'u''1' THEN 1 / (amount - 5) = 0 ELSE false END",
        ),
        (
            "UPDATE own SET owner = 'u''1', note = 'x' WHERE id = 1",
            "UPDATE own SET owner = 'u''1', note = 'x' WHERE own.owner = 'u''1' AND id = 1",
        ),
        (
            "DELETE FROM own USING plain p WHERE p.own_id = own.id AND p.x = 1",
            "DELETE FROM own USING plain p WHERE own.owner = 'u''1' AND p.own_id = own.id AND p.x = 1",
        ),
        (
            "DELETE FROM own WHERE id IN (SELECT own_id FROM plain)",
            "DELETE FROM own WHERE own.owner = 'u''1' AND CASE WHEN own.owner = 'u''1' THEN id IN (SELECT own_id FROM plain) ELSE false END",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, 'u''1'), (2, 'u''1'::varchar)",
            "INSERT INTO own (id, owner) VALUES (1, 'u''1'), (2, 'u''1'::varchar)",
        ),
        (
            "INSERT INTO own VALUES (1, 'u''1')",
            "INSERT INTO own VALUES (1, 'u''1')",
        ),
        (
            "INSERT INTO own (owner, note) SELECT 'u''1', x::text FROM plain",
            "INSERT INTO own (owner, note) SELECT 'u''1', x::text FROM plain",
        ),
        (
            "INSERT INTO own (id, owner) VALUES (1, 'u''1') ON CONFLICT (id) DO UPDATE SET note = excluded.note",
            "INSERT INTO own (id, owner) VALUES (1, 'u''1') ON CONFLICT (id) DO UPDATE SET note = excluded.note WHERE own.owner = 'u''1'",
        ),
        (
            "INSERT INTO state (id, level, status) VALUES (1, 4, 'open')",
            "INSERT INTO state (id, level, status) VALUES (1, 4, 'open')",
        ),
        (
            "UPDATE people SET salary = 5, email = 'x' WHERE id = 1",
            "UPDATE people SET salary = 5, email = 'x' WHERE id = 1",
        ),
        (
            "UPDATE people SET name = 'x' WHERE id = 1 RETURNING id, salary, name || 'y' AS z",
            "UPDATE people SET name = 'x' WHERE id = 1 RETURNING id, NULL::numeric(12, 2) AS salary, name || 'y' AS z",
        ),
        (
            "DELETE FROM listed USING plain WHERE plain.id = listed.id RETURNING *",
            "DELETE FROM listed USING plain WHERE plain.id = listed.id RETURNING listed.id, listed.name, plain.*",
        ),
        (
            "INSERT INTO mixed (id, owner, note) VALUES (1, 'u''1', 'n') RETURNING mixed.*",
            "INSERT INTO mixed (id, owner, note) VALUES (1, 'u''1', 'n') RETURNING mixed.id, mixed.owner, {HASH}mixed.note::text, 'UTF8')), 'hex') AS note",
        ),
        (
            "DELETE FROM careful WHERE id = $1",
            "DELETE FROM careful WHERE id = $1",
        ),
        (
            "INSERT INTO plain (x) SELECT salary FROM people",
            "INSERT INTO plain (x) SELECT salary FROM {PEOPLE} people",
        ),
    ] {
        let written = match run(sql, Some("u'1"), true) {
            Ok(restricted) => restricted.unwrap().sql,
            Err(forbidden) => format!("refused: {forbidden}"),
        };
        let people = PEOPLE.replace("{HASH}", HASH);
        let expected = expected
            .replace("{OWN}", OWN)
            .replace("{OWN_FENCED}", OWN_FENCED)
            .replace(
                "{ONLY_PEOPLE}",
                &people.replace("FROM public", "FROM ONLY public"),
            )
            .replace("{PEOPLE}", &people)
            .replace("{HASH}", HASH);
        if written != expected {
            wrong.push(format!(
                "{sql}\n  became   {written}\n  expected {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn parameters_of_filtered_columns_have_rules() {
    for (sql, expected) in [
        (
            "INSERT INTO own (id, owner) VALUES ($1, $2), ($3, $4::varchar)",
            vec![(1, "owner", "u"), (3, "owner", "u")],
        ),
        (
            "UPDATE own SET owner = $2 WHERE id = $1",
            vec![(1, "owner", "u")],
        ),
        (
            "INSERT INTO own (owner) VALUES ($1) ON CONFLICT (id) DO UPDATE SET owner = $2",
            vec![(0, "owner", "u"), (1, "owner", "u")],
        ),
        (
            "INSERT INTO own (owner, note) SELECT $1, note FROM people p(a, note)",
            vec![(0, "owner", "u")],
        ),
        ("SELECT * FROM own WHERE owner = $1", vec![]),
    ] {
        let restricted = run(sql, Some("u"), true).unwrap().unwrap();
        let found: Vec<_> = restricted
            .parameters
            .iter()
            .map(|rule| (rule.index, &*rule.column, rule.value.as_str()))
            .collect();
        assert_eq!(found, expected, "{sql}");
    }
}

#[test]
fn a_key_without_a_user_sees_no_row() {
    let written = run("SELECT id FROM own", None, true).unwrap().unwrap().sql;
    assert!(written.contains("WHERE false"), "{written}");
    let written = run("DELETE FROM own", None, true).unwrap().unwrap().sql;
    assert_eq!(written, "DELETE FROM own WHERE false");
}
