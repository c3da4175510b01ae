//! Values through every layer: what the database's own driver writes is read the same through the sidecar, and the
//! reverse. Random values of every type stand beside the executors (`execute/*/live/random.rs`).

use bson::{Document, doc};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::isolation::{mysql, postgres};
use crate::support::{Dev, Reply, shared};

/// Every character below U+0250, and those that something on the way might change: joiners, marks, directions, line
/// ends, byte order marks, the ends of planes, characters that have two spellings.
fn odd_text() -> String {
    let first = (1_u32..0x250).filter_map(char::from_u32);
    let others = "e\u{301}\u{e9}\u{212b}\u{c5}\u{1e9e}\u{130}\u{200b}\u{200d}\u{200e}\u{202e}\u{2028}\u{2029}\u{feff}\
                  \u{d7ff}\u{e000}\u{fffd}\u{fffe}\u{ffff}\u{10000}\u{1f468}\u{200d}\u{1f9b2}\u{1f1e9}\u{10ffff}\
                  \\' \\\" '' -- /* */ $$ ? $1 %s :a \r\n\t";
    first.chain(others.chars()).collect()
}

async fn sql(dev: &Dev, store: &str, sql: &str, params: Value) -> Reply {
    let reply = dev.sql(store, sql, params).await;
    assert_eq!(reply.status, 200, "{sql}: {}", reply.text);
    reply
}

#[tokio::test]
async fn text_is_byte_exact_in_the_sql_stores() {
    let dev = shared();
    let text = odd_text();
    let doubled = text.replace('\'', "''");
    let insert = "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, '2099-01-01')";
    let select = "SELECT user_id AS t FROM sessions WHERE id = $1";
    let direct = postgres(dev).await;
    direct.execute(insert, &[&"odd-1", &text]).await.unwrap();
    let reply = sql(dev, "postgres", select, json!(["odd-1"])).await;
    assert_eq!(reply.body["rows"][0]["t"], text);
    sql(dev, "postgres", insert, json!(["odd-2", text])).await;
    let row = direct.query_one(select, &[&"odd-2"]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), text);
    let literal = format!("SELECT '{doubled}'::text AS t, length('{doubled}') AS n");
    let reply = sql(dev, "postgres", &literal, json!([])).await;
    assert_eq!(reply.body["rows"][0]["t"], text);
    assert_eq!(reply.body["rows"][0]["n"], text.chars().count());

    let insert = "INSERT INTO posts (user_id, title, content, status) VALUES (1, ?, ?, 'draft')";
    let select = "SELECT content AS t FROM posts WHERE title = ?";
    let mut direct = mysql(dev).await;
    direct.exec_drop(insert, ("odd-1", &text)).await.unwrap();
    let reply = sql(dev, "mysql", select, json!(["odd-1"])).await;
    assert_eq!(reply.body["rows"][0]["t"], text);
    sql(dev, "mysql", insert, json!(["odd-2", text])).await;
    let read: Option<String> = direct.exec_first(select, ("odd-2",)).await.unwrap();
    assert_eq!(read.unwrap(), text);
    let literal = format!("SELECT '{}' AS t", doubled.replace('\\', "\\\\"));
    let reply = sql(dev, "mysql", &literal, json!([])).await;
    assert_eq!(reply.body["rows"][0]["t"], text);

    // A NUL, which PostgreSQL's text cannot hold, is said and not dropped.
    let reply = dev
        .sql("postgres", "SELECT $1::text AS t", json!(["a\0b"]))
        .await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    let reply = sql(dev, "mysql", "SELECT ? AS t", json!(["a\0b"])).await;
    assert_eq!(reply.body["rows"][0]["t"], "a\0b");
}

#[tokio::test]
async fn text_is_byte_exact_in_mongodb_and_redis() {
    let dev = shared();
    let text = format!("{}\0", odd_text());
    let run = async |command| {
        let body = json!({"command": command});
        let reply = dev.post(&dev.app, "/v1/mongodb/command", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply
    };
    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb")).await;
    let database = client.unwrap().database("enterprise_db");
    let direct = database.collection::<Document>("activity_logs");
    let one = doc! {"_id": "odd-1", "text": &text};
    direct.insert_one(one).await.unwrap();
    let reply = run(json!({"find": "activity_logs", "filter": {"text": text}})).await;
    assert_eq!(reply.body["cursor"]["firstBatch"][0]["text"], text);
    run(json!({"insert": "activity_logs", "documents": [{"_id": "odd-2", "text": text}]})).await;
    let read = direct.find_one(doc! {"_id": "odd-2"}).await.unwrap();
    assert_eq!(read.unwrap().get_str("text").unwrap(), text);

    let commands = json!([
        ["SET", "cache:odd", text], ["GET", "cache:odd"], ["HSET", "session:odd", text, text], ["HGETALL", "session:odd"],
        ["SET", "cache:n", 1.5], ["GET", "cache:n"], ["SET", "cache:b", {"$base64": "/wA="}], ["GET", "cache:b"],
        ["SET", "cache:i", 9223372036854775806_i64], ["INCR", "cache:i"], ["GET", "cache:none"],
    ]);
    let body = json!({"commands": commands});
    let reply = dev.post(&dev.app, "/v1/redis/pipeline", &body).await;
    let results = json!([
        "OK", text, 1, {&text: text}, "OK", "1.5", "OK", {"$base64": "/wA="}, "OK", i64::MAX, null,
    ]);
    for (place, expected) in results.as_array().unwrap().iter().enumerate() {
        assert_eq!(&reply.body["results"][place]["result"], expected, "{place}");
    }
}

#[tokio::test]
async fn numbers_are_strings_unless_native_ones_are_asked_for() {
    let dev = shared();
    for (store, expression, exact, native) in [
        (
            "postgres",
            "(-9223372036854775808)::int8",
            "\"-9223372036854775808\"",
            "-9223372036854775808",
        ),
        ("postgres", "1.10::numeric", "\"1.10\"", "1.10"),
        ("postgres", "'NaN'::numeric", "\"NaN\"", "\"NaN\""),
        (
            "postgres",
            "'-Infinity'::float8",
            "\"-Infinity\"",
            "\"-Infinity\"",
        ),
        (
            "postgres",
            "ARRAY[9007199254740993]::int8[]",
            "[\"9007199254740993\"]",
            "[9007199254740993]",
        ),
        ("postgres", "7::int4", "7", "7"),
        (
            "mysql",
            "18446744073709551615",
            "\"18446744073709551615\"",
            "18446744073709551615",
        ),
        (
            "mysql",
            "CAST(1.10 AS DECIMAL(65,30))",
            "\"1.100000000000000000000000000000\"",
            "1.100000000000000000000000000000",
        ),
        (
            "mysql",
            "CAST(9007199254740993 AS SIGNED)",
            "\"9007199254740993\"",
            "9007199254740993",
        ),
    ] {
        for (numbers, expected) in [("exact", exact), ("native", native)] {
            let sql = format!("SELECT {expression} AS v");
            let body = json!({"sql": sql, "numbers": numbers});
            let reply = dev
                .post(&dev.app, &format!("/v1/{store}/query"), &body)
                .await;
            let row = format!("\"rows\":[{{\"v\":{expected}}}]");
            assert!(reply.text.contains(&row), "{sql}: {}", reply.text);
        }
    }
}

/// As objects one of the values would be lost; as arrays, and in a stream, none is.
#[tokio::test]
async fn two_columns_of_one_name_are_refused_as_objects_alone() {
    let dev = shared();
    for store in ["postgres", "mysql"] {
        let path = format!("/v1/{store}/query");
        let sql = "SELECT 1 AS a, 2 AS a";
        let reply = dev.post(&dev.app, &path, &json!({"sql": sql})).await;
        assert_eq!((reply.status, reply.code()), (400, "request.invalid"));
        assert!(reply.text.contains("alias"), "{}", reply.text);
        let body = json!({"sql": sql, "rows": "arrays"});
        let reply = dev.post(&dev.app, &path, &body).await;
        let native = reply.body["rows"][0].to_string().replace('"', "");
        assert_eq!(native, "[1,2]", "{}", reply.text);
        let path = format!("/v1/{store}/batch");
        let statements = json!({"statements": [{"sql": sql}]});
        let reply = dev.post(&dev.app, &path, &statements).await;
        assert_eq!(reply.code(), "request.invalid", "{}", reply.text);
    }
}
