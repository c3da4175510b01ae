//! What applications send, under the rules.

use super::Databases;
use super::attacks::is_same;

/// Each gives, under the rules, what it gives where there is nothing but what the caller may see.
#[rustfmt::skip]
const STATEMENTS: &[&str] = &[
    r#"SELECT "accounts"."id", "accounts"."note" FROM "accounts" WHERE "accounts"."id" = 1 LIMIT 21"#,
    r#"SELECT COUNT(*) AS "__count" FROM "accounts" WHERE ("accounts"."amount" > 5 AND NOT ("accounts"."note" IS NULL))"#,
    r#"SELECT "public"."accounts"."id", "public"."accounts"."note" FROM "public"."accounts" WHERE ("public"."accounts"."id" = 1 AND 1=1) ORDER BY "public"."accounts"."id" ASC LIMIT 5 OFFSET 0"#,
    r#"SELECT public.accounts.id AS public_accounts_id FROM public.accounts JOIN plain ON plain.account_id = public.accounts.id WHERE plain.x IN (0, 1, 2)"#,
    r#"SELECT a0.id, a0.note FROM accounts AS a0 LEFT OUTER JOIN plain p1 ON p1.account_id = a0.id WHERE (a0.tier = 1) ORDER BY a0.id, p1.id"#,
    r#"SELECT 1 AS one FROM "accounts" WHERE "accounts"."note" = 'rent' LIMIT 1"#,
    r#"select "t".* from "accounts" as "t" where "t"."note" ilike '%o%' order by "t"."id" desc limit 10"#,
    r#"select distinct "tier" from "accounts""#,
    r#"SELECT t.id, (SELECT json_agg(x) FROM (SELECT p.id FROM plain p WHERE p.account_id = t.id ORDER BY p.id) x) AS plains FROM accounts t"#,
    r#"SELECT EXISTS(SELECT 1 FROM accounts WHERE id = 2) AS "exists""#,
    r#"SELECT date_trunc('month', opened) AS m, sum(amount) FROM accounts GROUP BY m HAVING count(*) > 0 ORDER BY m"#,
    r#"SELECT * FROM accounts WHERE (tier, id) > (1, 1) ORDER BY tier, id LIMIT 2"#,
    r#"SELECT id, note FROM accounts WHERE opened >= '2024-01-15' AND opened < '2025-01-01'"#,
    r#"SELECT id FROM accounts WHERE id = ANY('{1,2,4}'::bigint[]) ORDER BY id"#,
    r#"WITH ranked AS (SELECT *, row_number() OVER (PARTITION BY tier ORDER BY id) AS n FROM accounts) SELECT id FROM ranked WHERE n = 1 ORDER BY id"#,
    r#"SELECT p.name, count(b.id) FROM people p LEFT JOIN people b ON b.boss = p.id GROUP BY p.id, p.name ORDER BY p.id"#,
    r#"SELECT name FROM people WHERE email = encode(sha256(convert_to('s''a\lt' || 'bob@x', 'UTF8')), 'hex')"#,
    r#"INSERT INTO "accounts" ("id", "owner", "note", "amount") VALUES (10, 'alice', 'new', 1.5), (11, 'alice', NULL, NULL) RETURNING "id""#,
    r#"INSERT INTO accounts (id, owner, note) VALUES (1, 'alice', 'again') ON CONFLICT (id) DO UPDATE SET note = excluded.note RETURNING *"#,
    r#"INSERT INTO accounts VALUES (12, 'alice', 'n', 1, 1, '2024-01-01')"#,
    r#"INSERT INTO accounts (id, owner, note) SELECT id + 100, 'alice', note FROM accounts RETURNING id, note"#,
    r#"UPDATE "accounts" SET "note" = 'y', "owner" = 'alice' WHERE "accounts"."id" IN (1, 2) RETURNING id, note"#,
    r#"UPDATE accounts SET amount = amount + 1 WHERE id = 1 AND amount >= 1 RETURNING amount"#,
    r#"UPDATE accounts SET (note, tier) = ('q', 9) WHERE id = 1 RETURNING *"#,
    r#"UPDATE accounts SET (note, tier) = (SELECT name, 7 FROM people WHERE id = 1) WHERE id = 1 RETURNING *"#,
    r#"DELETE FROM accounts WHERE id = 3"#,
    r#"DELETE FROM "accounts" WHERE "id" IN (SELECT "account_id" FROM "plain" WHERE "x" = 1) RETURNING id"#,
    r#"SELECT * FROM accounts WHERE id = 1 FOR UPDATE"#,
    r#"SELECT id FROM accounts WHERE tier = 1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"#,
];

#[tokio::test]
async fn applications_work_with_what_they_may_see() {
    let databases = Databases::open().await;
    let mut wrong = Vec::new();
    for sql in STATEMENTS {
        let (ending, seen) = (databases.ending(sql).await, databases.on_seen(sql).await);
        if !is_same(&ending, &seen) || !matches!(ending, super::Ending::Rows(..)) {
            wrong.push(format!(
                "{sql}\n  {ending:?}\n  seen: {seen:?}\n  {:?}",
                super::rewrite(sql)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Masked columns may be written, and what comes back is masked.
#[tokio::test]
async fn masked_columns_are_written_and_come_back_masked() {
    let databases = Databases::open().await;
    for (sql, expected) in [
        (
            "INSERT INTO people (id, card, salary) VALUES (9, '1234567890', 7) RETURNING id, card, salary",
            vec![Some("9"), Some("****7890"), None],
        ),
        (
            "UPDATE people SET salary = 9, card = '12345678', name = upper(name) WHERE id = 2 RETURNING card, salary, name",
            vec![Some("****"), None, Some("BOB")],
        ),
        (
            "DELETE FROM people p WHERE id = 2 RETURNING p.card AS c, p.boss",
            vec![Some("****1234"), None],
        ),
    ] {
        let row = expected
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect();
        assert_eq!(
            databases.ending(sql).await,
            super::Ending::Rows(vec![row], 1),
            "{sql}"
        );
    }
}
