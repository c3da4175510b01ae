//! Everything that the live server, and the grammar's library, know by name has been decided.

use std::collections::BTreeSet;

use bulkhead::classify::{Refusal, Session, postgres};

use crate::server;

async fn names(query: &str) -> BTreeSet<String> {
    let client = server::connect("template1").await;
    let rows = client.query(query, &[]).await.unwrap();
    assert!(rows.len() > 50, "the server lists too little");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_function_is_classified() {
    let query = "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace";
    let mut functions = names(query).await;
    functions.retain(|name| !postgres::is_classified(name));
    assert_eq!(functions, BTreeSet::new(), "not in functions.txt");
}

/// An operator or type that we do not know would count as a user's, and be refused: a false denial, no bypass.
#[tokio::test]
async fn every_operator_is_known() {
    let query = "SELECT DISTINCT oprname::text FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace";
    let mut unknown = Vec::new();
    for operator in names(query).await {
        let sql = format!("SELECT $1 OPERATOR(pg_catalog.{operator}) $2");
        match postgres::classify(&sql, Session::Shared) {
            Ok(found) if found.functions.is_empty() => {}
            Ok(_) | Err(_) => unknown.push(operator),
        }
    }
    assert_eq!(unknown, Vec::<String>::new(), "not in names.txt");
}

/// A type is one that values may be cast to, or refused by name; none counts as a user's.
#[tokio::test]
async fn every_type_is_decided() {
    let query = "SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typrelid = 0 \
                 AND NOT EXISTS (SELECT FROM pg_type e WHERE e.oid = pg_type.typelem AND e.typrelid <> 0)";
    let mut undecided = Vec::new();
    for name in names(query).await {
        let sql = format!("SELECT $1::pg_catalog.\"{name}\"");
        match postgres::classify(&sql, Session::Shared) {
            Ok(found) if found.functions.is_empty() => {}
            Err(Refusal::Forbidden(_)) => {}
            Ok(_) | Err(_) => undecided.push(name),
        }
    }
    assert_eq!(undecided, Vec::<String>::new());
}

/// A relation of pg_catalog that we do not know by name would be looked for in the default schema.
#[tokio::test]
async fn every_system_relation_is_known() {
    let query = "SELECT relname::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace \
                 AND relkind IN ('r', 'v', 'm')";
    let mut unknown = Vec::new();
    for name in names(query).await {
        let found = postgres::classify(&format!("SELECT 1 FROM {name}"), Session::Shared).unwrap();
        if found.touches[0].object.to_string() != format!("pg_catalog.{name}") {
            unknown.push(name);
        }
    }
    assert_eq!(unknown, Vec::<String>::new(), "not in names.txt");
}
