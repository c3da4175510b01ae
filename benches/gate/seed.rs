//! The rows that are asked for, the same number in every store, and the servers' versions.

use bson::{Document, doc};
use bulkhead::authenticate::key as api_key;
use bulkhead::operation::Store;
use mysql_async::prelude::Queryable;
use secrecy::ExposeSecret as _;

use crate::environment::{Environment, Ready};
use crate::questions::{MONGODB_COLLECTION, ROWS, email, key, mysql_id, redis_key, text};
use crate::{Fallible, connect};

/// Puts the rows in (again, if they are there) and returns each server's version.
pub async fn fill(ready: &Ready) -> Fallible<[(Store, String); 4]> {
    eprintln!("gate: {ROWS} rows into each store");
    Ok([
        (Store::Postgres, postgres(ready).await?),
        (Store::Mysql, mysql(ready).await?),
        (Store::Mongodb, mongodb(ready).await?),
        (Store::Redis, redis(ready).await?),
    ])
}

async fn postgres(ready: &Ready) -> Fallible<String> {
    let client = connect::postgres(ready).await?;
    let keys: Vec<String> = (0..ROWS).map(key).collect();
    let texts: Vec<String> = (0..ROWS).map(text).collect();
    client
        .execute(
            "INSERT INTO system_config (key, value, description) \
             SELECT key, 'null', description FROM unnest($1::text[], $2::text[]) AS row (key, description) \
             ON CONFLICT (key) DO NOTHING",
            &[&keys, &texts],
        )
        .await?;
    client.batch_execute("ANALYZE system_config").await?;
    Ok(client
        .query_one("SHOW server_version", &[])
        .await?
        .try_get(0)?)
}

async fn mysql(ready: &Ready) -> Fallible<String> {
    let mut conn = mysql_async::Conn::new(connect::mysql(ready)?).await?;
    let rows = (0..ROWS).map(|number| (mysql_id(number), email(number), text(number)));
    conn.exec_batch(
        "INSERT IGNORE INTO users (id, email, name) VALUES (?, ?, ?)",
        rows,
    )
    .await?;
    conn.query_drop("ANALYZE TABLE users").await?;
    let version: Option<String> = conn.query_first("SELECT version()").await?;
    conn.disconnect().await?;
    version.ok_or_else(|| "MySQL does not say its version".into())
}

async fn mongodb(ready: &Ready) -> Fallible<String> {
    let database = connect::mongodb(ready, (0, 1)).await?;
    let collection = database.collection::<Document>(MONGODB_COLLECTION);
    collection
        .delete_many(doc! {"_id": {"$regex": "^bench-"}})
        .await?;
    let documents = (0..ROWS).map(|number| {
        doc! {"_id": key(number), "stream": key(number), "version": 1_i64, "type": "bench", "text": text(number)}
    });
    collection.insert_many(documents).await?;
    let build = database.run_command(doc! {"buildInfo": 1}).await?;
    let version = build.get_str("version")?.to_owned();
    database.client().clone().shutdown().immediate(true).await;
    Ok(version)
}

async fn redis(ready: &Ready) -> Fallible<String> {
    let mut connection = connect::redis(ready).await?;
    let mut command = redis::cmd("MSET");
    for number in 0..ROWS {
        command.arg(redis_key(number)).arg(text(number));
    }
    command.exec_async(&mut connection).await?;
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query_async(&mut connection)
        .await?;
    info.lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .map(|version| version.trim().to_owned())
        .ok_or_else(|| "Redis does not say its version".into())
}

/// What is streamed: ten columns of the usual types.
pub const STREAM_SQL: &str =
    "SELECT id, code, amount, name, email, active, at, ratio, note, parent FROM bench_rows";

/// Makes the rows that are streamed, and lets the sidecar's account read them.
pub async fn rows(environment: &Environment, count: u64) -> Fallible {
    let text = std::fs::read_to_string(&environment.ready.config)?;
    let config: toml::Table = text.parse()?;
    let store = config
        .get("stores")
        .and_then(|stores| stores.get("postgres"));
    let account = store
        .and_then(|store| store.get("user"))
        .and_then(toml::Value::as_str);
    let account = account.ok_or("the configuration names no account for PostgreSQL")?;
    let client = connect::postgres(&environment.ready).await?;
    let sql = format!(
        "DROP TABLE IF EXISTS bench_rows;
         CREATE UNLOGGED TABLE bench_rows AS SELECT
             g AS id, (g % 1000)::int AS code, (g * 1.25)::numeric(14, 2) AS amount, 'customer ' || g AS name,
             'customer' || g || '@example.com' AS email, g % 2 = 0 AS active,
             timestamptz '2026-01-01' + g * interval '1 second' AS at, g / 7.0::float8 AS ratio,
             'a note of the length that notes have, number ' || g AS note, NULLIF(g % 10, 0) AS parent
         FROM generate_series(1::bigint, {count}) AS g;
         ANALYZE bench_rows;
         GRANT SELECT ON bench_rows TO \"{account}\""
    );
    Ok(client.batch_execute(&sql).await?)
}

/// Makes API keys of the role `app`, in place of those of an earlier run.
pub async fn keys(environment: &Environment, count: usize) -> Fallible<Vec<String>> {
    let made: Vec<_> = (0..count)
        .map(|_| api_key::generate())
        .collect::<Result<_, _>>()?;
    let ids: Vec<&str> = made.iter().map(|one| one.id.as_str()).collect();
    let hashes: Vec<String> = made.iter().map(|one| one.hash.to_stored()).collect();
    let client = connect::postgres(&environment.ready).await?;
    client
        .execute("DELETE FROM api_keys WHERE name = 'bench'", &[])
        .await?;
    client
        .execute(
            "INSERT INTO api_keys (id, hashed_key, name, role) \
             SELECT id, hash, 'bench', 'app' FROM unnest($1::text[], $2::text[]) AS row (id, hash)",
            &[&ids, &hashes],
        )
        .await?;
    let texts = made.iter().map(|one| one.key.expose_secret().to_owned());
    Ok(texts.collect())
}
