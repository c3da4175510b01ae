//! Users' code that no statement's text and no relation's definition names: it comes with types, casts, operators,
//! operator classes and functions that have the name of a built-in one.

use bulkhead::catalogue::Catalogue;
use bulkhead::catalogue::postgres::Loader;

use crate::catalogue::told;
use crate::server;

const SCHEMA: &str = include_str!("catalogue_types.sql");

/// A statement, and everything that it reaches: touches, then functions.
const CASES: &[(&str, &str)] = &[
    // Names of built-in functions of newer servers.
    ("SELECT uuidv7()", " | uuidv7"),
    ("SELECT array_shuffle(ARRAY[1])", " | array_shuffle"),
    ("SELECT crc32('a')", " | crc32"),
    ("SELECT crc32c('a')", ""),
    // An alias of what returns no row.
    ("SELECT x.slug FROM unnest(ARRAY['a']) x", " | slug"),
    (
        "SELECT x.helper FROM generate_series(1, 2) AS x",
        " | helper",
    ),
    ("SELECT x.slug FROM current_user AS x", " | slug"),
    // Casts and operators of a type that others are made of.
    (
        "SELECT to_json(mood) FROM of_domain",
        "select of_domain | = mood_json",
    ),
    (
        "SELECT json_agg(moods) FROM of_array",
        "select of_array | = mood_json",
    ),
    (
        "SELECT to_json(moods) FROM of_view",
        "select of_array, select of_view | = mood_json",
    ),
    (
        "SELECT row_to_json(t) FROM of_pair t",
        "select of_pair | = mood_json",
    ),
    ("SELECT to_json(some_mood())", " | = mood_json some_mood"),
    (
        "SELECT v FROM called",
        "select called | = mood_json some_mood",
    ),
    ("SELECT to_json('a'::mood)", " | = mood mood_json"),
    (
        "SELECT x.evil FROM of_address, unnest(list) x",
        "select of_address | evil",
    ),
    (
        "SELECT x.street FROM of_address, unnest(list) x",
        "select of_address",
    ),
    (
        "SELECT y.evil FROM of_span x, lower(x.span) y",
        "select of_span | evil",
    ),
    (
        "SELECT id FROM of_hours WHERE hours @> '10:00'::time",
        "select of_hours | gap",
    ),
    // Domains.
    (
        "INSERT INTO of_given (id) VALUES (1)",
        "insert of_given | leak",
    ),
    (
        "UPDATE of_checked SET v = ROW(1, 'x')",
        "update of_checked | is_fine",
    ),
    (
        "SELECT id FROM of_checked WHERE v = '(1,x)'",
        "select of_checked | is_fine",
    ),
    (
        "SELECT jsonb_populate_record(NULL::other.x1, '{}')",
        "select other.x1 | is_fine",
    ),
    (
        "SELECT array_append(xs, '(1,x)') FROM of_x1",
        "select of_x1 | is_fine",
    ),
    ("SELECT takes_checked('x')", " | is_fine takes_checked"),
    // What the planner runs.
    ("SELECT 1 FROM indexed", "select indexed | is_fine"),
    ("DELETE FROM indexed", "delete indexed | is_fine"),
    ("SELECT 1 FROM measured", "select measured | is_fine"),
    (
        "SELECT 1 FROM checks WHERE id = 1",
        "select checks, select checks_child | is_fine",
    ),
    // Operator classes.
    (
        "SELECT DISTINCT at FROM of_sort",
        "select of_sort | sorted.< sorted.compare",
    ),
    (
        "SELECT greatest(at, at) FROM of_sort",
        "select of_sort | sorted.< sorted.compare",
    ),
];

/// What many schemas have is not users' code, and a table's own columns are not functions.
const ORDINARY: &[(&str, &str)] = &[
    (
        "SELECT u.id, u.slug, lower(u.name), u.calm FROM users u WHERE u.calm = 'a' ORDER BY u.made",
        "select users",
    ),
    (
        "INSERT INTO users (name, calm, plain) VALUES ('a', 'a', 'a') RETURNING users.slug",
        "insert users, select users",
    ),
    (
        "UPDATE users SET plain = 'ab', tags = ARRAY['a']",
        "update users",
    ),
    (
        "SELECT to_json(u), row_to_json(u) FROM users u",
        "select users",
    ),
    ("SELECT full_name FROM posts p", "select posts"),
    (
        "SELECT u.full_name FROM users u",
        "select users | full_name",
    ),
    ("INSERT INTO posts VALUES (1, NULL, 'a')", "insert posts"),
    (
        "SELECT id, mail FROM mails WHERE mail = 'a' ORDER BY mail",
        "select mails",
    ),
    ("INSERT INTO mails (mail) VALUES ('a')", "insert mails"),
    ("SELECT to_json(extra), place FROM mails", "select mails"),
    (
        "SELECT a.post FROM authors a",
        "select authors, select posts, select users",
    ),
    (
        "INSERT INTO newsletters (mail) VALUES ('a@b')",
        "insert newsletters | ~",
    ),
    (
        "UPDATE users SET name = 'a' FROM posts AS address_of_mail",
        "select posts, update users",
    ),
    (
        "SELECT n.mail FROM newsletters n WHERE n.mail = 'a@b'",
        "select newsletters",
    ),
    (
        "SELECT id FROM of_dates WHERE dates @> current_date",
        "select of_dates",
    ),
    ("SELECT 1 + 1, 'a' || 'b'", ""),
];

/// Code that any statement may set off, each with what it adds to one that touches no relation.
const EVERYWHERE: &[(&str, &str, &str, &str)] = &[
    (
        "CREATE FUNCTION point_json(point) RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
         CREATE CAST (point AS jsonb) WITH FUNCTION point_json(point) AS IMPLICIT",
        "SELECT jsonb_typeof('(1,2)'::point)",
        " | point_json",
        "DROP CAST (point AS jsonb)",
    ),
    (
        "CREATE FUNCTION other.cmp(json, json) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 0 $$;
         CREATE FUNCTION other.lt(json, json) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT true $$;
         CREATE OPERATOR other.< (LEFTARG = json, RIGHTARG = json, FUNCTION = other.lt);
         CREATE OPERATOR CLASS other.jsons DEFAULT FOR TYPE json USING btree
             AS OPERATOR 1 other.<, FUNCTION 1 other.cmp(json, json)",
        "SELECT greatest('1'::json, '2'::json)",
        " | other.< other.cmp",
        "DROP OPERATOR FAMILY other.jsons USING btree",
    ),
    (
        "CREATE DOMAIN other.dj AS json; CREATE FUNCTION dj_eq(other.dj, other.dj) RETURNS boolean LANGUAGE sql
             AS $$ SELECT true $$;
         CREATE OPERATOR = (LEFTARG = other.dj, RIGHTARG = other.dj, FUNCTION = dj_eq)",
        "SELECT '1'::json = '1'::json",
        " | =",
        "DROP OPERATOR = (other.dj, other.dj)",
    ),
    (
        "CREATE FUNCTION pg_catalog.lowest(text) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$;
         CREATE FUNCTION pg_catalog.upper(varchar) RETURNS text LANGUAGE sql AS $$ SELECT 'a' $$",
        "SELECT upper('a'::varchar)",
        " | pg_catalog.upper",
        "DROP FUNCTION pg_catalog.upper(varchar), pg_catalog.lowest(text)",
    ),
];

fn check(catalogue: &Catalogue, cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(sql, expected)| (sql, expected, told(catalogue, sql)))
        .filter(|(_, expected, told)| told != *expected)
        .map(|(sql, expected, told)| format!("{sql}\n  expected {expected}\n  found    {told}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_values_run_is_found() {
    let client = server::database("catalogue_types", SCHEMA).await;
    let loader = Loader::new(server::settings("catalogue_types"), "public");
    let catalogue = loader.load(false).await.unwrap();
    check(&catalogue, CASES);
    check(&catalogue, ORDINARY);
    let mut before = loader.fingerprint(false).await.unwrap();
    for (create, sql, expected, drop) in EVERYWHERE {
        client.batch_execute(create).await.unwrap();
        let after = loader.fingerprint(false).await.unwrap();
        assert_ne!(after, before, "{create}");
        check(&loader.load(false).await.unwrap(), &[(sql, expected)]);
        client.batch_execute(drop).await.unwrap();
        before = loader.fingerprint(false).await.unwrap();
    }
    check(&loader.load(false).await.unwrap(), ORDINARY);
}
