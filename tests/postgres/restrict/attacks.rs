//! Ways to learn what the rules hide, or to change it, and how each ends.

use super::super::attack_table::{SQL, Table};
use super::{Databases, Ending, Filter};

/// How an attack ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With what the statement gives where there is nothing but what the caller may see.
    AsSeen,
    /// With the same, whatever is hidden.
    Same,
    Refused,
}

use End::{AsSeen, Refused, Same};

#[rustfmt::skip]
const ATTACKS: &[(End, &str)] = &[
    // Plain reading, and what stands for all columns.
    (AsSeen, "SELECT * FROM accounts"),
    (AsSeen, "TABLE accounts"),
    (AsSeen, "SELECT a.* FROM public.accounts AS a WHERE owner = 'bob'"),
    (AsSeen, "SELECT * FROM people"),
    (AsSeen, "SELECT people FROM people WHERE id < 3"),
    (AsSeen, "SELECT row_to_json(p) FROM people p"),
    (AsSeen, "SELECT to_jsonb(p.*) FROM people p"),
    (AsSeen, "SELECT p::text FROM people p"),
    (AsSeen, "SELECT (p).salary, (p).card FROM people p"),
    (AsSeen, "SELECT (p).* FROM people p"),
    (AsSeen, "SELECT json_agg(p ORDER BY p.id) FROM people p"),
    (AsSeen, "SELECT xmlforest(p.salary AS s, p.card AS c)::text FROM people p"),
    (Same, "SELECT (p).password FROM people p"),
    (Same, "SELECT p.to_json FROM people p"),
    (Refused, "SELECT password FROM people"),
    (Refused, "SELECT count(password) FROM people"),
    (Refused, "SELECT 1 FROM people ORDER BY password"),
    (Refused, "SELECT * FROM plain WHERE EXISTS (SELECT 1 FROM people p WHERE p.password = 'p1')"),
    (Refused, "SELECT public.people.password FROM public.people"),
    (Same, "SELECT a FROM people AS p (a, b, c, d, e, f, g)"),
    (AsSeen, "SELECT f FROM people AS p (a, b, c, d, e, f)"),
    // Conditions.
    (AsSeen, "SELECT id FROM people WHERE salary = 100"),
    (AsSeen, "SELECT id FROM people WHERE salary > 50"),
    (AsSeen, "SELECT id FROM people WHERE salary IS NOT NULL"),
    (AsSeen, "SELECT id FROM people WHERE card LIKE '4%'"),
    (AsSeen, "SELECT id FROM people WHERE card ~ '^4'"),
    (AsSeen, "SELECT id FROM people WHERE email = 'ann@x'"),
    (AsSeen, "SELECT id FROM people WHERE substr(email, 1, 1) = 'a'"),
    (AsSeen, "SELECT id FROM people WHERE coalesce(salary, 0) > 50"),
    (AsSeen, "SELECT id FROM people WHERE CASE WHEN salary > 50 THEN true ELSE false END"),
    (AsSeen, "SELECT id FROM people WHERE NULLIF(salary, 100) IS NULL"),
    (AsSeen, "SELECT id FROM people WHERE (salary, id) > (50, 0)"),
    (AsSeen, "SELECT id FROM people WHERE salary = ANY (ARRAY[100, 200])"),
    (AsSeen, "SELECT id FROM people WHERE salary BETWEEN 50 AND 150"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE amount = 5"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE owner = 'bob' OR true"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE owner <> 'alice' OR id > 0"),
    // Errors that hidden values would raise.
    (AsSeen, "SELECT count(*) FROM accounts WHERE 1 / (amount - 5) <> 0"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE 1 / tier > 0"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE note::int = 12"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE note::int > 0 AND id = 4"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE note LIKE 'x\\'"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE id = 4 AND 1 / (id - 4) = 0"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE sqrt(tier - 3) > 0"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE amount::float4 > 1 AND tier::boolean"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE (opened + 1000000000) IS NULL"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE chr(tier) = 'x'"),
    (AsSeen, "SELECT count(*) FROM accounts WHERE repeat('x', (amount * 1000)::int) = ''"),
    (AsSeen, "SELECT id FROM accounts WHERE (ARRAY[1, 2])[tier] / (tier - 5) = 0"),
    (AsSeen, "SELECT 1 FROM accounts WHERE amount = 1e300::float8"),
    (AsSeen, "SELECT 1 FROM people WHERE 1 / (salary - 100) = 0"),
    (AsSeen, "SELECT 1 FROM people WHERE salary::int / 0 = 1"),
    (AsSeen, "SELECT 1 / (salary - 7) FROM people"),
    (AsSeen, "SELECT card::bigint FROM people WHERE id = 1"),
    (AsSeen, "SELECT x FROM plain JOIN accounts a ON 1 / (a.amount - 5) > x"),
    (AsSeen, "SELECT x FROM plain LEFT JOIN accounts a ON a.id = plain.id AND 1 / a.tier > 0"),
    (AsSeen, "SELECT tier, count(*) FROM accounts GROUP BY tier HAVING 1 / tier > 0"),
    (AsSeen, "SELECT * FROM (SELECT 1 / (amount - 5) AS q FROM accounts) s WHERE q > 0"),
    (AsSeen, "WITH s AS NOT MATERIALIZED (SELECT 1 / tier AS q FROM accounts) SELECT * FROM s WHERE q = 1"),
    (AsSeen, "SELECT id FROM accounts a WHERE EXISTS (SELECT 1 FROM plain WHERE 1 / (a.tier - 5) = x)"),
    (AsSeen, "SELECT id FROM accounts WHERE id = 4 AND (SELECT 1 / (tier - 5) FROM plain LIMIT 1) = 1"),
    // Order, groups, aggregates, windows.
    (AsSeen, "SELECT id FROM people ORDER BY salary, id"),
    (AsSeen, "SELECT id FROM people ORDER BY salary DESC NULLS LAST, id LIMIT 1"),
    (AsSeen, "SELECT count(*) FROM people GROUP BY salary"),
    (AsSeen, "SELECT count(DISTINCT salary) FROM people"),
    (AsSeen, "SELECT DISTINCT ON (salary) id FROM people ORDER BY salary, id"),
    (AsSeen, "SELECT DISTINCT salary, card FROM people"),
    (AsSeen, "SELECT sum(salary), max(salary), avg(salary), min(card) FROM people"),
    (AsSeen, "SELECT max(amount), count(*), string_agg(note, ',' ORDER BY id) FROM accounts"),
    (AsSeen, "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY salary) FROM people"),
    (AsSeen, "SELECT id, rank() OVER (ORDER BY salary) FROM people"),
    (AsSeen, "SELECT id, lag(salary) OVER w, sum(salary) OVER w FROM people WINDOW w AS (ORDER BY id)"),
    (AsSeen, "SELECT id, count(*) OVER () FROM accounts"),
    (AsSeen, "SELECT id, row_number() OVER (ORDER BY amount) FROM accounts WHERE 1 / tier > 0"),
    (AsSeen, "SELECT count(*) FILTER (WHERE salary > 50) FROM people"),
    (AsSeen, "SELECT id FROM people GROUP BY id HAVING max(salary) > 50"),
    (AsSeen, "SELECT salary, grouping(salary) FROM people GROUP BY ROLLUP (salary)"),
    (AsSeen, "SELECT max(id) FROM accounts"),
    // Joins.
    (AsSeen, "SELECT a.id, b.id FROM people a JOIN people b USING (salary)"),
    (AsSeen, "SELECT count(*) FROM people a NATURAL JOIN people b"),
    (AsSeen, "SELECT p.id FROM people p JOIN (VALUES (100), (200)) v (salary) ON v.salary = p.salary"),
    (AsSeen, "SELECT p.id FROM people p, generate_series(1, 300) g WHERE p.salary = g"),
    (AsSeen, "SELECT plain.id FROM plain LEFT JOIN accounts ON accounts.id = plain.account_id WHERE accounts.id IS NULL"),
    (AsSeen, "SELECT plain.id FROM plain FULL JOIN accounts a ON a.id = plain.id WHERE a.tier IS NULL"),
    (AsSeen, "SELECT plain.id, l.amount FROM plain, LATERAL (SELECT amount FROM accounts a WHERE a.id = plain.id AND 1 / (amount - 5) <> 0) l"),
    (AsSeen, "SELECT b.id, b.salary FROM people a JOIN people b ON a.boss = b.id"),
    (Refused, "SELECT id FROM people JOIN (SELECT 'p1' AS password) v USING (password)"),
    (Same, "SELECT id FROM people NATURAL JOIN (SELECT 'p1'::text AS password) v"),
    // Set operations, subqueries, common table expressions.
    (AsSeen, "SELECT salary FROM people INTERSECT VALUES (100::numeric), (7), (200)"),
    (AsSeen, "SELECT id FROM accounts EXCEPT SELECT id FROM plain"),
    (AsSeen, "SELECT note FROM accounts UNION ALL SELECT card FROM people"),
    (AsSeen, "SELECT id FROM plain WHERE id IN (SELECT id FROM accounts)"),
    (AsSeen, "SELECT id FROM plain WHERE id NOT IN (SELECT id FROM accounts WHERE 1 / tier >= 0)"),
    (AsSeen, "SELECT id FROM plain WHERE x < ALL (SELECT tier FROM accounts)"),
    (AsSeen, "SELECT (SELECT salary FROM people WHERE people.id = plain.person_id) FROM plain"),
    (AsSeen, "SELECT EXISTS (SELECT FROM people WHERE salary > 150)"),
    (AsSeen, "SELECT ARRAY(SELECT amount FROM accounts ORDER BY id)"),
    (AsSeen, "WITH accounts AS (SELECT * FROM public.accounts) SELECT * FROM accounts"),
    (AsSeen, "WITH RECURSIVE r AS (SELECT id, boss, salary FROM people WHERE id = 4 UNION SELECT p.id, p.boss, p.salary FROM people p JOIN r ON r.boss = p.id) SELECT * FROM r"),
    (AsSeen, "WITH x AS (SELECT 1) SELECT * FROM x, (WITH x AS (SELECT * FROM accounts) SELECT * FROM x) y"),
    (AsSeen, "SELECT * FROM accounts WHERE id IN (WITH people AS (SELECT 4 AS id) SELECT id FROM people)"),
    (AsSeen, "SELECT * FROM json_to_recordset((SELECT json_agg(p) FROM people p)) AS x (id int, salary numeric)"),
    (Same, "SELECT * FROM json_populate_recordset(NULL::people, (SELECT json_agg(p) FROM people p))"),
    (Same, "SELECT tableoid::regclass, ctid FROM ONLY plain LIMIT 1"),
    (Refused, "SELECT p.ctid, p.xmin FROM people p"),
    (Same, "SELECT ctid FROM accounts"),
    (Refused, "SELECT * FROM accounts TABLESAMPLE BERNOULLI (50)"),
    (Refused, "SELECT current_query() FROM people"),
    (Refused, "EXPLAIN SELECT * FROM accounts WHERE amount < 5"),
    (Refused, "EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM people"),
    (Refused, "COPY accounts TO STDOUT"),
    (Refused, "COPY (SELECT * FROM people) TO STDOUT"),
    (AsSeen, "SELECT * FROM accounts WHERE id = 4 FOR UPDATE"),
    (Refused, "SELECT * FROM accounts WHERE 1 / (amount - 5) = 0 FOR UPDATE"),
    (Same, "SELECT id FROM people WHERE salary > 5 FOR SHARE"),
    (AsSeen, "DECLARE c CURSOR FOR SELECT * FROM accounts"),
    (Same, "SELECT pg_typeof(salary), pg_column_size(card) FROM people"),
    // Changes that would tell by their count, their rows or an error.
    (AsSeen, "UPDATE accounts SET note = 'x'"),
    (AsSeen, "UPDATE accounts SET note = 'x' WHERE amount = 5"),
    (AsSeen, "UPDATE accounts SET note = 'x' WHERE 1 / (amount - 5) > 0"),
    (AsSeen, "UPDATE accounts SET note = 'x' WHERE note::int > 0 OR true"),
    (AsSeen, "UPDATE accounts SET amount = 1 / (tier - 5) RETURNING *"),
    (AsSeen, "UPDATE accounts a SET note = b.note FROM accounts b WHERE b.id = 4 AND a.id = 1 RETURNING a.*, b.*"),
    (AsSeen, "UPDATE accounts a SET note = p.x FROM plain p WHERE p.id = a.id AND 1 / (a.tier - 5) <= p.x RETURNING a.id, a.note, p.x"),
    (AsSeen, "UPDATE accounts SET note = (SELECT max(note) FROM accounts) WHERE id = 1 RETURNING note"),
    (AsSeen, "DELETE FROM accounts RETURNING *"),
    (AsSeen, "DELETE FROM accounts WHERE 1 / tier = 1"),
    (AsSeen, "DELETE FROM accounts WHERE owner = 'bob' OR 1 / (amount - 7) = 1 RETURNING id"),
    (AsSeen, "DELETE FROM accounts USING plain WHERE accounts.id = plain.id AND 1 / (amount - 5) < 9 RETURNING accounts.id, plain.x"),
    (AsSeen, "DELETE FROM plain USING accounts a WHERE a.id = plain.id RETURNING plain.id, a.note"),
    (AsSeen, "UPDATE plain SET x = a.tier FROM accounts a WHERE a.id = plain.id RETURNING plain.id, x"),
    (AsSeen, "WITH d AS (DELETE FROM accounts WHERE 1 / (tier - 5) <= 0 RETURNING *) SELECT * FROM d"),
    (AsSeen, "WITH u AS (UPDATE accounts SET tier = 1 WHERE id > 0 RETURNING id) SELECT count(*) FROM u, accounts"),
    (AsSeen, "WITH i AS (INSERT INTO plain SELECT 100 + id, id, tier, 1 FROM accounts RETURNING *) SELECT * FROM i"),
    (AsSeen, "INSERT INTO plain (id, x) SELECT 100 + id, salary FROM people RETURNING id, x"),
    (AsSeen, "INSERT INTO accounts (id, owner) VALUES (50, 'alice') RETURNING *"),
    (Refused, "INSERT INTO accounts (id, owner) VALUES (50, 'bob')"),
    (Refused, "INSERT INTO accounts SELECT 50, 'bob'"),
    (Refused, "INSERT INTO accounts (id, owner) SELECT id + 50, owner FROM accounts"),
    (Refused, "UPDATE accounts SET owner = 'bob' WHERE id = 1"),
    (Refused, "UPDATE accounts SET owner = 'bo' || 'b'"),
    (Same, "INSERT INTO accounts (id, owner) VALUES (4, 'alice') ON CONFLICT (id) DO UPDATE SET note = 'mine', amount = 1 RETURNING *"),
    (Same, "INSERT INTO accounts (id, owner) VALUES (4, 'alice') ON CONFLICT (id) DO UPDATE SET note = 'x' WHERE 1 / (accounts.amount - 5) = 0"),
    (Same, "INSERT INTO accounts (id, owner) VALUES (4, 'alice') ON CONFLICT (id) DO UPDATE SET amount = 1 / (accounts.tier - 5)"),
    (Refused, "INSERT INTO accounts (id, owner) VALUES (4, 'alice') ON CONFLICT (id) DO UPDATE SET owner = 'alice2'"),
    (Refused, "UPDATE people SET name = card"),
    (Refused, "UPDATE people SET name = 'x' WHERE salary > 50"),
    (Refused, "UPDATE people SET salary = salary * 2 WHERE id = 1"),
    (Refused, "UPDATE people p SET name = (SELECT p.card) WHERE id = 1"),
    (Refused, "UPDATE people p SET name = p::text WHERE id = 1"),
    (Refused, "DELETE FROM people WHERE 1 / (salary - 100) = 1"),
    (Refused, "DELETE FROM people p WHERE to_json(p)::text LIKE '%100%'"),
    (Refused, "DELETE FROM people p USING plain WHERE plain.x = p.salary"),
    // Names that mean the target's column, though something nearer has the name.
    (Refused, "DELETE FROM people WHERE EXISTS (SELECT 1 FROM accounts salary WHERE salary::text = '100.00')"),
    (Refused, "DELETE FROM people WHERE EXISTS (SELECT 1 FROM people AS q (a, b, c, d, e, f) WHERE salary = 100)"),
    (Refused, "DELETE FROM people q WHERE EXISTS (SELECT 1 FROM (people q JOIN plain p ON true) AS j WHERE q.salary = 100)"),
    (Refused, "DELETE FROM people WHERE EXISTS (SELECT 1 FROM (people q JOIN plain p ON true) AS j (a, b, c, d, e) WHERE salary = 100)"),
    (Refused, "DELETE FROM people q WHERE EXISTS (SELECT 1 FROM people q, (plain p JOIN plain p2 ON q.salary = 100))"),
    (Refused, "DELETE FROM people WHERE EXISTS (SELECT 1 FROM people b, plain p JOIN plain p2 ON salary = 100)"),
    (Refused, "DELETE FROM people q WHERE EXISTS (SELECT 1 FROM people q, (SELECT 1 WHERE q.salary = 100) s)"),
    (Refused, "INSERT INTO people AS excluded (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' RETURNING excluded.card || 'x'"),
    (AsSeen, "DELETE FROM people WHERE EXISTS (SELECT 1 FROM people q WHERE q.salary > 5 OR q.card LIKE '4%') RETURNING id"),
    (Refused, "DELETE FROM people WHERE id = 1 RETURNING salary + 1"),
    (Refused, "DELETE FROM people WHERE id = 1 RETURNING password"),
    (AsSeen, "DELETE FROM people WHERE id = 1 RETURNING *"),
    (AsSeen, "DELETE FROM people WHERE id IN (SELECT id FROM people q WHERE q.salary > 5) RETURNING id"),
    (AsSeen, "UPDATE people SET name = q.card FROM people q WHERE q.id = people.id RETURNING people.id, people.name, q.salary"),
    (AsSeen, "UPDATE people SET name = 'z' WHERE id = 2 RETURNING people.card, email AS e, salary, name"),
    (Refused, "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = people.card"),
    (Refused, "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE people.salary = 100"),
    (Same, "INSERT INTO people (id, salary) VALUES (1, 5) ON CONFLICT (id) DO UPDATE SET salary = excluded.salary RETURNING *"),
    (Refused, "MERGE INTO accounts a USING plain p ON a.id = p.id AND 1 / (a.amount - 5) = 0 WHEN MATCHED THEN DELETE"),
    (Refused, "MERGE INTO people p USING plain ON p.salary = plain.x WHEN MATCHED THEN UPDATE SET name = 'x'"),
    (AsSeen, "MERGE INTO plain USING accounts a ON a.id = plain.id AND 1 / (a.amount - 5) < 1 WHEN MATCHED THEN DELETE"),
    // What is computed from hidden columns.
    (AsSeen, "SELECT * FROM pay"),
    (AsSeen, "SELECT id, tax, label FROM pay"),
    (AsSeen, "SELECT p FROM pay p"),
    (AsSeen, "SELECT to_json(p)::text, p::text FROM pay p"),
    (Refused, "SELECT code FROM pay"),
    (Refused, "SELECT id FROM pay WHERE code LIKE 'A%'"),
    (Same, "SELECT (p).code FROM pay p"),
    (AsSeen, "SELECT id FROM pay WHERE tax > 210"),
    (AsSeen, "SELECT id FROM pay WHERE gross + 1 = 108"),
    (AsSeen, "SELECT id FROM pay ORDER BY tax DESC, id"),
    (AsSeen, "SELECT sum(tax), count(DISTINCT tax), max(label) FROM pay"),
    (AsSeen, "SELECT a.id, b.id FROM pay a JOIN pay b USING (tax)"),
    (Refused, "UPDATE pay SET note = code WHERE id = 1"),
    (Refused, "UPDATE pay SET note = tax::text WHERE id = 1"),
    (Refused, "DELETE FROM pay WHERE tax > 210"),
    (Same, "UPDATE pay SET gross = 107 WHERE id = 7 RETURNING id, gross, tax, label"),
    (Refused, "UPDATE pay SET note = 'x' WHERE id = 7 RETURNING code"),
    (Same, "INSERT INTO pay (id, tax) VALUES (99, DEFAULT) RETURNING id, tax"),
    (Refused, "INSERT INTO pay (id) VALUES (7) ON CONFLICT (id) DO UPDATE SET note = pay.tax::text"),
    // Whether a check or an index' expression takes the value.
    (Refused, "UPDATE pay SET bonus = 60 WHERE id = 7"),
    (Refused, "UPDATE pay SET id = 43 WHERE id = 7"),
    (Refused, "INSERT INTO pay (id) VALUES (7) ON CONFLICT (id) DO UPDATE SET bonus = 60"),
    (Same, "UPDATE pay SET bonus = 60, gross = 61 WHERE id = 7 RETURNING id, bonus"),
    (Same, "UPDATE pay SET gross = 99 WHERE id = 7 RETURNING id, bonus"),
    // Rows, JSON, text search, patterns, ties, counts.
    (AsSeen, "SELECT id FROM people WHERE (salary, boss) IN ((100, 2), (0, 2))"),
    (AsSeen, "SELECT id FROM people WHERE ROW(salary, card) IS DISTINCT FROM ROW(100, '4111111111111234')"),
    (AsSeen, "SELECT jsonb_path_query(to_jsonb(p), '$.salary')::text FROM people p"),
    (AsSeen, "SELECT json_object_agg(id, salary)::text FROM people"),
    (AsSeen, "SELECT id FROM people WHERE to_tsvector('simple', coalesce(card, '')) @@ to_tsquery('simple', '4111111111111234')"),
    (AsSeen, "SELECT id, regexp_replace(card, '[0-9]', '#', 'g'), substring(card from '^(.)') FROM people"),
    (AsSeen, "SELECT id FROM people WHERE card SIMILAR TO '(4|9)%'"),
    (AsSeen, "SELECT count(*) FROM (SELECT id FROM people ORDER BY salary FETCH FIRST 1 ROW WITH TIES) t"),
    (AsSeen, "SELECT id FROM accounts ORDER BY id OFFSET (SELECT count(*) FROM accounts) - 1"),
    (AsSeen, "SELECT id FROM plain ORDER BY id LIMIT (SELECT max(tier) FROM accounts)"),
    (AsSeen, "SELECT count(*) FROM plain, generate_series(1, (SELECT sum(tier)::int FROM accounts)) g"),
    (AsSeen, "SELECT max(salary) OVER (PARTITION BY boss ORDER BY id) FROM people"),
    (AsSeen, "SELECT CASE WHEN EXISTS (SELECT 1 FROM people WHERE salary > 150) THEN 1 / 0 ELSE 1 END"),
    (AsSeen, "SELECT * FROM ONLY accounts"),
    (AsSeen, "UPDATE plain SET x = (SELECT count(*) FROM people WHERE salary > 5) RETURNING id, x"),
    (AsSeen, "SELECT id FROM people UNION SELECT tier FROM accounts"),
    (Refused, "TRUNCATE accounts"),
    (Refused, "ALTER TABLE people RENAME COLUMN salary TO pay"),
    (Refused, "CREATE INDEX ON accounts ((1 / (amount - 5)))"),
    (Refused, "LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE"),
    (Refused, "PREPARE p AS SELECT * FROM accounts"),
];

#[tokio::test]
async fn attacks_learn_nothing() {
    let databases = Databases::open().await;
    let mut wrong = Vec::new();
    let mut counts = [0_usize; 3];
    let mut table = Table::new("PostgreSQL", SQL);
    for (expected, sql) in ATTACKS {
        let costly = databases.ending_under(Filter::Costly, sql).await;
        let ending = databases.ending(sql).await;
        if costly != ending && !matches!(costly, Ending::Refused(_)) {
            wrong.push(format!("{sql}\n  costly: {costly:?}"));
        }
        let is_refused = matches!(ending, Ending::Refused(_));
        let is_right = match expected {
            Refused => is_refused,
            Same => !is_refused && !matches!(ending, Ending::Leak(_)),
            AsSeen => {
                let seen = databases.on_seen(sql).await;
                is_same(&ending, &seen) || {
                    wrong.push(format!("seen: {seen:?}"));
                    false
                }
            }
        };
        counts[*expected as usize] += 1;
        table.note(sql, is_refused);
        if !is_right {
            wrong.push(format!("{sql}\n  {ending:?}\n  {:?}", super::rewrite(sql)));
        }
    }
    println!("as seen, same, refused: {counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    table.check();
}

/// The same attacks without the rules, and with the rules but without the fence, do learn something: the databases
/// differ in what the attacks look for.
#[tokio::test]
async fn without_the_rules_attacks_do_learn() {
    let databases = Databases::open().await;
    let (mut bare, mut unfenced) = (0, 0);
    for (_, sql) in ATTACKS {
        bare += usize::from(databases.differ(sql).await);
        if let Ok(rewritten) = super::rewrite_under(Filter::Costly, sql)
            && rewritten.contains(" OFFSET 0)")
        {
            let without = rewritten.replace(" OFFSET 0)", ")");
            unfenced += usize::from(databases.differ(&without).await);
        }
    }
    println!(
        "of {}: {bare} learn without rules, {unfenced} without the fence",
        ATTACKS.len()
    );
    assert!(bare > 100, "{bare}");
    assert!(unfenced > 5, "{unfenced}");
}

/// What a unique key tells, here as everywhere: a row with this key exists, whoever's it is.
#[tokio::test]
async fn a_unique_key_tells_that_it_is_taken() {
    let databases = Databases::open().await;
    for sql in [
        "INSERT INTO accounts (id, owner) VALUES (4, 'alice')",
        "UPDATE accounts SET id = 4 WHERE id = 1",
    ] {
        let Ending::Failed(code, message) = databases.ending(sql).await else {
            panic!("{sql}");
        };
        assert_eq!(code, "23505", "{message}");
    }
}

/// Errors are the same where their kind is: the caller's types have other names in the third database.
pub fn is_same(ending: &Ending, seen: &Ending) -> bool {
    match (ending, seen) {
        (Ending::Failed(code, _), Ending::Failed(seen, _)) => code == seen,
        _ => ending == seen,
    }
}
