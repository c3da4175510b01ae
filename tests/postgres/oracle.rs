//! The server says what a statement touches, and the classifier must have said the same, or refused.
//!
//! Relations and functions: the statement becomes the body of a function in the SQL standard's form, whose
//! dependencies the server records. Actions: a role that was granted exactly what the classifier said must pass the
//! server's own permission check (`EXPLAIN` makes it and runs nothing), and must fail it with any write left out.
//! Other statements are run, and may lock nothing that was not named; the transaction is rolled back.
//!
//! `BULKHEAD_ORACLE_COUNT` says how many statements to make, `BULKHEAD_ORACLE_SEED` which ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bulkhead::catalogue::{Catalogue, postgres::Loader};
use bulkhead::classify::{Session, postgres};
use bulkhead::operation::{Action, Classification, Object};
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState, types::Type};

use crate::random::Random;
use crate::{grammar, mutation, server};

const COUNT: usize = 2_000;
const SEED: u64 = 7;

/// Which relations, and which functions, operators and types of users, the scratch function depends on. What an
/// extension brought may overload a built-in name.
const DEPENDS: &str = "
SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'relation' END, n.nspname, c.relname
FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_proc'::regclass AND d.objid = 'scratch.probe'::regproc AND d.refclassid = 'pg_class'::regclass
UNION ALL SELECT 'function', n.nspname, p.proname FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE d.classid = 'pg_proc'::regclass AND d.objid = 'scratch.probe'::regproc AND d.refclassid = 'pg_proc'::regclass
  AND NOT (EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
  AND EXISTS (SELECT FROM pg_proc b WHERE b.proname = p.proname AND b.pronamespace = 'pg_catalog'::regnamespace))
UNION ALL SELECT 'function', n.nspname, o.oprname FROM pg_depend d JOIN pg_operator o ON o.oid = d.refobjid
JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE d.classid = 'pg_proc'::regclass AND d.objid = 'scratch.probe'::regproc AND d.refclassid = 'pg_operator'::regclass
  AND NOT (EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_operator'::regclass AND e.objid = o.oid AND e.deptype = 'e')
  AND EXISTS (SELECT FROM pg_operator b WHERE b.oprname = o.oprname AND b.oprnamespace = 'pg_catalog'::regnamespace))
UNION ALL SELECT CASE WHEN t.typrelid = 0 THEN 'function' ELSE 'row' END, n.nspname, t.typname
FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE d.classid = 'pg_proc'::regclass AND d.objid = 'scratch.probe'::regproc AND d.refclassid = 'pg_type'::regclass";

const LOCKS: &str = "
SELECT 'relation', n.nspname, c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND c.relkind IN ('r', 'v', 'p', 'm', 'f') AND n.nspname !~ '^pg_'";

/// How a statement came out.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The server does not take it.
    Invalid,
    Exact,
    Refused(String),
    Wrong(String),
}

#[tokio::test]
async fn postgresql_touches_what_the_classifier_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let count = number("BULKHEAD_ORACLE_COUNT").map_or(COUNT, |n: u64| usize::try_from(n).unwrap());
    let mut random = Random::new(number("BULKHEAD_ORACLE_SEED").unwrap_or(SEED));
    let corpus = mutation::corpus();
    let mut statements: Vec<(&str, String)> =
        corpus.iter().map(|sql| ("corpus", sql.clone())).collect();
    for _ in 0..count / 2 {
        statements.push(("grammar", grammar::statement(&mut random)));
        statements.push(("mutation", mutation::statement(&mut random, &corpus)));
    }
    let oracle = Oracle::start().await;
    let mut tally: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (origin, sql) in &statements {
        let outcome = oracle.judge(sql).await;
        let name = match outcome {
            Outcome::Invalid => "invalid",
            Outcome::Exact => "exact",
            Outcome::Refused(reason) => {
                *reasons.entry(reason).or_default() += 1;
                "refused"
            }
            Outcome::Wrong(how) => {
                wrong.push(format!("{how}: {sql}"));
                "wrong"
            }
        };
        *tally.entry((origin, name)).or_default() += 1;
    }
    for ((origin, outcome), count) in &tally {
        println!("{origin} {outcome}: {count}");
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in reasons {
        println!("refused {count}: {reason}");
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        tally[&("grammar", "exact")] * 3 > count / 2,
        "the grammar makes too little"
    );
}

struct Oracle {
    client: Client,
    catalogue: Catalogue,
}

impl Oracle {
    async fn start() -> Self {
        let schema = std::fs::read_to_string("tests/corpus/schema_postgres.sql").unwrap();
        let client = server::database("oracle", &schema).await;
        client
            .batch_execute(
                "CREATE SCHEMA scratch; CREATE ROLE probe; \
                 GRANT USAGE ON SCHEMA public, archive, scratch TO probe; \
                 SET statement_timeout = '5s'; SET check_function_bodies = on; SET jit = off",
            )
            .await
            .unwrap();
        let loader = Loader::new(server::settings("oracle"), "public");
        let catalogue = loader.load(false).await.unwrap();
        Self { client, catalogue }
    }

    async fn judge(&self, sql: &str) -> Outcome {
        let Ok(prepared) = self.client.prepare(sql).await else {
            return Outcome::Invalid;
        };
        let found = match postgres::classify(sql, Session::Shared) {
            Ok(found) => Arc::new(found),
            Err(refusal) => return Outcome::Refused(reason(&refusal.to_string())),
        };
        let whole = match self.catalogue.expand(&found, sql, |_| false) {
            Ok(whole) => whole,
            Err(refusal) => return Outcome::Refused(reason(&refusal.to_string())),
        };
        let types: Vec<String> = prepared.params().iter().map(type_name).collect();
        let told = match self.depends(sql, &types).await {
            Ok(told) => told,
            // Only what changes data can be a function's body.
            Err(_) if !whole.functions.is_empty() => {
                return Outcome::Refused("calls a function that the policy must list".into());
            }
            Err(_) => return self.locks(sql, &whole).await,
        };
        if let Some(how) = compare(&told, &found, &whole) {
            return Outcome::Wrong(how);
        }
        match self.permissions(sql, &types, &found, &whole, &told).await {
            Some(how) => Outcome::Wrong(how),
            None => Outcome::Exact,
        }
    }

    async fn depends(&self, sql: &str, types: &[String]) -> Result<Told, tokio_postgres::Error> {
        let body = format!(
            "BEGIN; CREATE FUNCTION scratch.probe({}) RETURNS void LANGUAGE sql BEGIN ATOMIC {sql}\n; END; {DEPENDS}; \
             ROLLBACK",
            types.join(", ")
        );
        self.told(&body).await
    }

    /// Runs some statements, and a `ROLLBACK` of whatever is left of them.
    async fn told(&self, text: &str) -> Result<Told, tokio_postgres::Error> {
        let answer = self.client.simple_query(text).await;
        if answer.is_err() {
            self.client.batch_execute("ROLLBACK").await?;
        }
        let mut told = Told::default();
        for message in answer? {
            if let SimpleQueryMessage::Row(row) = message
                && row.len() == 3
            {
                let (Some(kind), Some(schema), Some(name)) = (row.get(0), row.get(1), row.get(2))
                else {
                    continue;
                };
                let name = written(Some(schema), name);
                match kind {
                    "relation" => told.relations.insert(name),
                    "sequence" => told.sequences.insert(name),
                    "function" => told.functions.insert(name),
                    "row" => told.rows.insert(name),
                    _ => continue,
                };
            }
        }
        Ok(told)
    }

    /// A statement that is no query: it may lock what was named, or what the catalogue added, and nothing else.
    async fn locks(&self, sql: &str, whole: &Classification) -> Outcome {
        let Ok(told) = self
            .told(&format!("BEGIN; {sql}\n; {LOCKS}; ROLLBACK"))
            .await
        else {
            return Outcome::Invalid;
        };
        let named = relations(whole);
        let missed: Vec<&String> = told.relations.difference(&named).collect();
        if missed.is_empty() {
            return Outcome::Exact;
        }
        Outcome::Wrong(format!("locks {missed:?}"))
    }

    /// Whether the server's permission check agrees with the actions.
    async fn permissions(
        &self,
        sql: &str,
        types: &[String],
        found: &Classification,
        whole: &Classification,
        told: &Told,
    ) -> Option<String> {
        if found
            .touches
            .iter()
            .any(|touch| touch.action == Action::Ddl)
        {
            return None;
        }
        if let Some(refused) = self.check(sql, types, &grants(whole, None)).await {
            return Some(format!("needs more than was said ({refused})"));
        }
        for touch in found.touches.iter().filter(|touch| !touch.action.is_read()) {
            // A sequence is checked when it is advanced, not before.
            let Object::Named { namespace, name } = &touch.object else {
                continue;
            };
            if told
                .sequences
                .contains(&written(namespace.as_deref(), name))
            {
                continue;
            }
            let without = grants(found, Some((&touch.object, touch.action)));
            if self.check(sql, types, &without).await.is_none() {
                return Some(format!(
                    "does not need {} on {}",
                    touch.action, touch.object
                ));
            }
        }
        None
    }

    /// The server's refusal of a role that has these grants.
    async fn check(&self, sql: &str, types: &[String], grants: &str) -> Option<String> {
        let question = if types.is_empty() {
            format!("EXPLAIN {sql}\n;")
        } else {
            let nulls = vec!["NULL"; types.len()].join(", ");
            format!(
                "PREPARE probed({}) AS {sql}\n; EXPLAIN EXECUTE probed({nulls}); DEALLOCATE probed;",
                types.join(", ")
            )
        };
        let text = format!("BEGIN; {grants} SET LOCAL ROLE probe; {question} ROLLBACK");
        let error = self.client.simple_query(&text).await.err()?;
        // A prepared statement outlives its transaction.
        let restored = self.client.batch_execute("ROLLBACK; DEALLOCATE ALL").await;
        restored.unwrap();
        let refused = error.as_db_error()?;
        // Views of PostgreSQL's own may call functions that only an administrator may.
        let is_refused = *refused.code() == SqlState::INSUFFICIENT_PRIVILEGE
            && !refused.message().contains("for function pg_");
        is_refused.then(|| refused.message().to_owned())
    }
}

/// What the server says, as `name` or `schema.name`.
#[derive(Debug, Default)]
struct Told {
    relations: BTreeSet<String>,
    sequences: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// Row types: whoever names one may count it as its table.
    rows: BTreeSet<String>,
}

fn compare(told: &Told, found: &Classification, whole: &Classification) -> Option<String> {
    let said = relations(found);
    let used: BTreeSet<String> = told.relations.union(&told.sequences).cloned().collect();
    let missed: Vec<&String> = used.difference(&said).collect();
    if !missed.is_empty() {
        return Some(format!("missed {missed:?}"));
    }
    let mut excess = said.difference(&used);
    // No dependency on PostgreSQL's own tables is recorded; the permission check tells of them.
    let is_untold = |name: &String| told.rows.contains(name) || name.starts_with("pg_catalog.");
    if let Some(excess) = excess.find(|name| !is_untold(name)) {
        return Some(format!("does not touch {excess}"));
    }
    let functions: BTreeSet<String> = whole
        .functions
        .iter()
        .map(|name| name.strip_prefix("public.").unwrap_or(name).to_owned())
        .collect();
    let missed: Vec<&String> = told.functions.difference(&functions).collect();
    (!missed.is_empty()).then(|| format!("missed the functions {missed:?}"))
}

fn relations(found: &Classification) -> BTreeSet<String> {
    let objects = found.touches.iter().map(|touch| &touch.object);
    objects
        .filter_map(|object| match object {
            Object::Named { namespace, name } => Some(written(namespace.as_deref(), name)),
            Object::Key(_) | Object::Keys(_) => None,
        })
        .collect()
}

fn written(schema: Option<&str>, name: &str) -> String {
    match schema {
        None | Some("public") => name.to_owned(),
        Some(schema) => format!("{schema}.{name}"),
    }
}

/// `GRANT`s of what was said. By our convention a write carries its verb alone, where the server also wants to read
/// the row that it finds or returns.
fn grants(found: &Classification, without: Option<(&Object, Action)>) -> String {
    let mut grants = String::new();
    for touch in &found.touches {
        let Object::Named { namespace, name } = &touch.object else {
            continue;
        };
        let schema = namespace.as_deref().unwrap_or("public");
        let table = format!("{}.{}", quoted(schema), quoted(name));
        grants += &format!("GRANT SELECT ON {table} TO probe; ");
        if without != Some((&touch.object, touch.action)) {
            grants += &format!("GRANT {} ON {table} TO probe; ", touch.action);
        }
    }
    grants
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn type_name(of: &Type) -> String {
    match of.name() {
        "unknown" => "text".to_owned(),
        name => format!("{}.{}", quoted(of.schema()), quoted(name)),
    }
}

/// A refusal without the names that it quotes, to count by.
fn reason(refusal: &str) -> String {
    let parts = refusal.split('`').enumerate();
    let kept = parts.map(|(at, part)| if at % 2 == 0 { part } else { "…" });
    kept.collect::<String>().chars().take(90).collect()
}
