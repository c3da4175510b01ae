//! What the rules leave to the planner.

use tokio_postgres::Client;

use super::{PEOPLE, TABLES, rewrite};
use crate::server;

/// Conditions that cannot fail keep their indexes; what could fail stays outside of the fence.
#[tokio::test]
async fn plain_conditions_use_their_indexes() {
    let client = server::database("rules_plans", &format!("{TABLES}{PEOPLE}")).await;
    client
        .batch_execute(
            "INSERT INTO accounts SELECT n, CASE n % 10 WHEN 0 THEN 'alice' ELSE 'u' || n END, 'n' || n, n, n % 7 \
             FROM generate_series(1000, 30000) n; CREATE INDEX by_owner ON accounts (owner); ANALYZE accounts, plain",
        )
        .await
        .unwrap();
    for (sql, has, has_not) in [
        (
            "SELECT * FROM accounts WHERE id = 5000",
            "Index Cond: (id = 5000)",
            "Subquery Scan",
        ),
        (
            "SELECT * FROM accounts WHERE id IN (5000, 5010) FOR UPDATE",
            "Index Cond: (id = ANY",
            "Subquery Scan",
        ),
        (
            "SELECT a.note FROM plain p JOIN accounts a ON a.id = p.account_id WHERE p.id = 1",
            "accounts_pkey",
            "Subquery Scan",
        ),
        (
            "UPDATE accounts SET note = 'x' WHERE id = 5000 AND note LIKE 'n%'",
            "Index Cond: (id = 5000)",
            "Seq Scan",
        ),
        (
            "DELETE FROM accounts WHERE id = 5000",
            "Index Cond: (id = 5000)",
            "Seq Scan",
        ),
        (
            "SELECT * FROM accounts WHERE id + 0 = 5000",
            "Subquery Scan",
            "Index Cond: (id",
        ),
        (
            "SELECT * FROM accounts WHERE id + 0 = 5000",
            "by_owner",
            "Seq Scan",
        ),
    ] {
        let rewritten = rewrite(sql).unwrap();
        let rows = client
            .query(&format!("EXPLAIN {rewritten}"), &[])
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains(has) && !plan.contains(has_not),
            "{sql}\n{plan}"
        );
    }
    if std::env::var_os("BULKHEAD_MEASURE").is_some() {
        measure(&client).await;
    }
}

/// What the rules add, where `BULKHEAD_MEASURE` asks for it; the figures are not asserted.
async fn measure(client: &Client) {
    for sql in [
        "SELECT * FROM accounts WHERE id = 5000",
        "SELECT * FROM people WHERE id = 1",
        "UPDATE accounts SET note = 'x' WHERE id = 5000",
    ] {
        let rewritten = rewrite(sql).unwrap();
        let start = std::time::Instant::now();
        for _ in 0..500 {
            rewrite(sql).unwrap();
        }
        let per_rewriting = start.elapsed().as_secs_f64() * 1e6 / 500.0;
        let mut best = [f64::MAX; 2];
        for _ in 0..5 {
            for (place, text) in [sql, rewritten.as_str()].into_iter().enumerate() {
                let statement = client.prepare(text).await.unwrap();
                let start = std::time::Instant::now();
                for _ in 0..400 {
                    client.execute(&statement, &[]).await.unwrap();
                }
                let took = start.elapsed().as_secs_f64() * 1e6 / 400.0;
                best[place] = best[place].min(took);
            }
        }
        println!(
            "{sql}: rewriting {per_rewriting:.0} us; execution {:.0} us without, {:.0} us with",
            best[0], best[1]
        );
    }
}
