//! Against a real mongod, over TLS and with authentication.

use bson::{Bson, Document, doc};

use super::cursor_server_tests::{get_more, open};
use super::*;
use crate::error::{Code, PublicError as _};
use crate::execute::private_servers::{MongoServer, ticket};

const DATABASE: &str = "enterprise_db";

fn cursors_of(command: &Document) -> Vec<i64> {
    if let Ok(id) = command.get_i64("getMore") {
        return vec![id];
    }
    let ids = command.get_array("cursors").cloned().unwrap_or_default();
    ids.iter().filter_map(Bson::as_i64).collect()
}

pub async fn run_as(
    store: &MongoStore,
    key_id: &str,
    command: Document,
) -> Result<Document, Error> {
    let cursors = cursors_of(&command);
    let payload = Payload::Mongodb {
        database: DATABASE.into(),
        document: bson::serialize_to_vec(&command).unwrap(),
    };
    let reply = store
        .execute(ticket(key_id, Store::Mongodb, payload, cursors), None)
        .await?;
    Ok(Document::try_from(reply.as_ref()).unwrap())
}

pub async fn run(store: &MongoStore, command: Document) -> Document {
    let text = command.to_string();
    run_as(store, "k1", command)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub async fn refusal(store: &MongoStore, key_id: &str, command: Document) -> (Code, String) {
    let problem = run_as(store, key_id, command).await.unwrap_err().problem();
    (problem.code, problem.detail.clone())
}

pub async fn with_logs(store: &MongoStore, count: i32) {
    let documents: Vec<Document> = (0..count).map(|n| doc! {"_id": n}).collect();
    let reply = run(
        store,
        doc! {"insert": "activity_logs", "documents": documents},
    )
    .await;
    assert_eq!(reply.get_i32("n").unwrap(), count);
}

#[tokio::test]
async fn commands_of_every_kind_run() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 3).await;
    let commands = [
        doc! {"ping": 1},
        doc! {"find": "activity_logs", "filter": {"_id": 1}},
        doc! {"aggregate": "activity_logs", "pipeline": [{"$count": "n"}], "cursor": {}},
        doc! {"count": "activity_logs"},
        doc! {"distinct": "activity_logs", "key": "_id"},
        doc! {"update": "activity_logs", "updates": [{"q": {"_id": 1}, "u": {"$set": {"a": 1}}}]},
        doc! {"findAndModify": "activity_logs", "query": {"_id": 1}, "update": {"$set": {"a": 2}}},
        doc! {"delete": "activity_logs", "deletes": [{"q": {"_id": 2}, "limit": 1}]},
        doc! {"createIndexes": "activity_logs", "indexes": [{"key": {"a": 1}, "name": "a"}]},
        doc! {"listIndexes": "activity_logs"},
        doc! {"listCollections": 1},
        doc! {"collStats": "activity_logs"},
        doc! {"dbStats": 1},
        doc! {"explain": {"find": "activity_logs"}},
        doc! {"drop": "activity_logs"},
        doc! {"create": "event_store"},
        doc! {"buildInfo": 1},
        doc! {"find": "event_store", "lsid": {"id": 1}, "$db": "other", "$readPreference": {"mode": "secondary"}},
    ];
    for command in commands {
        let reply = run(&store, command.clone()).await;
        assert_eq!(reply.get_f64("ok").unwrap(), 1.0, "{command}");
    }
    store.ping().await.unwrap();
    // The driver takes a connection back a moment after the reply.
    while store.gauges().in_use > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let gauges = store.gauges();
    assert_eq!((gauges.in_use, gauges.waiting, gauges.max), (0, 0, 10));
    assert!((1..=10).contains(&gauges.size), "{gauges:?}");
}

#[tokio::test]
async fn nothing_but_the_documented_fields_is_added() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    run(&store, doc! {"profile": 2}).await;
    let command =
        doc! {"find": "activity_logs", "filter": {"a": 1}, "comment": "seen", "lsid": {"id": 1}};
    run(&store, command).await;
    let seen = doc! {"find": "system.profile", "filter": {"command.comment": "seen"}};
    let reply = run(&store, seen).await;
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap()
        .clone();
    let mut ran = batch[0]
        .as_document()
        .unwrap()
        .get_document("command")
        .unwrap()
        .clone();
    let lsid = ran.remove("lsid").unwrap();
    let id = lsid.as_document().unwrap().get("id").unwrap();
    assert!(matches!(id, Bson::Binary(_)), "{lsid}");
    assert_eq!(
        ran,
        doc! {
            "find": "activity_logs",
            "filter": {"a": 1},
            "comment": "seen",
            "maxTimeMS": 20_000_i64,
            "$db": DATABASE,
        }
    );
}

#[tokio::test]
async fn every_value_comes_back_as_it_went() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    let regex = bson::Regex {
        pattern: "^a".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    let values = doc! {
        "_id": bson::oid::ObjectId::new(),
        "long": i64::MAX,
        "int": i32::MIN,
        "nan": f64::NAN,
        "inf": f64::NEG_INFINITY,
        "decimal": "1.000000000000000000000000000000001".parse::<bson::Decimal128>().unwrap(),
        "date": bson::DateTime::from_millis(-62_135_596_800_001),
        "bytes": bson::Binary { subtype: bson::spec::BinarySubtype::UserDefined(0x80), bytes: vec![0, 255] },
        "regex": Bson::RegularExpression(regex),
        "code": Bson::JavaScriptCode("x".into()),
        "timestamp": bson::Timestamp { time: 1, increment: u32::MAX },
        "min": Bson::MinKey,
        "max": Bson::MaxKey,
        "null": Bson::Null,
        "nested": {"array": [1, "käse", {"deep": [[]]}]},
        "": "an empty name",
    };
    run(
        &store,
        doc! {"insert": "event_store", "documents": [values.clone()]},
    )
    .await;
    let reply = run(&store, doc! {"find": "event_store"}).await;
    let batch = reply
        .get_document("cursor")
        .unwrap()
        .get_array("firstBatch")
        .unwrap()
        .clone();
    let found = bson::serialize_to_vec(batch[0].as_document().unwrap()).unwrap();
    assert_eq!(found, bson::serialize_to_vec(&values).unwrap());
}

/// Runs for minutes unless something ends it.
fn endless() -> Document {
    doc! {
        "aggregate": "activity_logs",
        "pipeline": [{"$match": {"$expr": {"$function": {
            "body": "function() { while (true) {} }", "args": [], "lang": "js"
        }}}}],
        "cursor": {},
        "comment": "endless",
    }
}

async fn running(store: &MongoStore) -> usize {
    let payload = Payload::Mongodb {
        database: "admin".into(),
        document: bson::serialize_to_vec(&doc! {"currentOp": 1, "command.comment": "endless"})
            .unwrap(),
    };
    let reply = store
        .execute(ticket("k1", Store::Mongodb, payload, Vec::new()), None)
        .await
        .unwrap();
    let reply = Document::try_from(reply.as_ref()).unwrap();
    reply.get_array("inprog").unwrap().len()
}

/// Waits until the server says that nothing endless runs there any more.
async fn ended(store: &MongoStore) {
    let start = Instant::now();
    while running(store).await > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "it still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_takes_too_long_ends_on_the_server() {
    let server = MongoServer::start().await;
    // The first statements on a cold server may take longer than the limit that is tried here.
    let patient = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&patient, 1).await;
    let mut settings = server.settings();
    settings.statement_timeout_ms = 300;
    let store = MongoStore::connect(settings).await.unwrap();
    assert_eq!(refusal(&store, "k1", endless()).await.0, Code::StoreTimeout);
    let mut asked = endless();
    asked.insert("maxTimeMS", 60_000);
    assert_eq!(refusal(&store, "k1", asked).await.0, Code::StoreTimeout);
    ended(&patient).await;
}

#[tokio::test]
async fn what_is_abandoned_ends_on_the_server() {
    let server = MongoServer::start().await;
    let mut settings = server.settings();
    settings.statement_timeout_ms = 60_000;
    let store = MongoStore::connect(settings).await.unwrap();
    with_logs(&store, 1).await;
    let abandoned =
        tokio::time::timeout(Duration::from_millis(300), run_as(&store, "k1", endless()));
    assert!(abandoned.await.is_err());
    ended(&store).await;
}

#[tokio::test]
async fn errors_are_the_servers_words() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 1).await;
    // A write error is part of the reply.
    let again = doc! {"insert": "activity_logs", "documents": [{"_id": 0}]};
    let reply = run(&store, again).await;
    let errors = reply.get_array("writeErrors").unwrap();
    assert_eq!(
        errors[0].as_document().unwrap().get_i32("code").unwrap(),
        11_000
    );
    let cases = [
        (doc! {"nonesuch": 1}, Code::StoreError),
        (
            doc! {"find": "activity_logs", "filter": {"$nonesuch": 1}},
            Code::StoreError,
        ),
        (
            doc! {"findAndModify": "activity_logs", "query": {"_id": 9}, "update": {"$set": {"_id": 0}}, "upsert": true},
            Code::StoreError,
        ),
        (
            doc! {"getMore": 1_i64, "collection": "activity_logs"},
            Code::RequestInvalid,
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(
            refusal(&store, "k1", command.clone()).await.0,
            expected,
            "{command}"
        );
    }
    run(&store, doc! {"createIndexes": "activity_logs", "indexes": [{"key": {"u": 1}, "name": "u", "unique": true}]})
        .await;
    let upsert = |id: i32| doc! {"findAndModify": "activity_logs", "query": {"_id": id}, "update": {"$set": {"u": 1}}, "upsert": true};
    run(&store, upsert(1)).await;
    let (code, detail) = refusal(&store, "k1", upsert(2)).await;
    assert_eq!(code, Code::StoreConflict);
    assert!(detail.contains("E11000"), "{detail}");
}

#[tokio::test]
async fn a_full_pool_is_said_in_time() {
    let server = MongoServer::start().await;
    let patient = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&patient, 1).await;
    let mut settings = server.settings();
    settings.statement_timeout_ms = 2_000;
    settings.pool.max = 2;
    settings.pool.min = 1;
    settings.pool.acquire_timeout_ms = 100;
    let store = MongoStore::connect(settings).await.unwrap();
    let busy = {
        let store = store.clone();
        tokio::spawn(async move { run_as(&store, "k1", endless()).await })
    };
    while store.0.slots.try_take().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        refusal(&store, "k1", doc! {"ping": 1}).await.0,
        Code::PoolExhausted
    );
    store.ping().await.unwrap();
    busy.await.unwrap().unwrap_err();
    run(&store, doc! {"ping": 1}).await;
}

#[tokio::test]
async fn away_is_said_at_once_and_return_is_noticed() {
    let mut server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 5).await;
    let id = open(&store, "k1").await;
    server.process.kill();
    let start = Instant::now();
    while !store.0.watch.is_down() {
        assert_eq!(
            refusal(&store, "k1", doc! {"ping": 1}).await.0,
            Code::StoreUnavailable
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    let start = Instant::now();
    assert_eq!(
        refusal(&store, "k1", doc! {"ping": 1}).await.0,
        Code::StoreUnavailable
    );
    assert!(
        start.elapsed() < Duration::from_millis(20),
        "{:?}",
        start.elapsed()
    );
    assert!(store.ping().await.is_err());
    server.restart();
    let back = Instant::now();
    while run_as(&store, "k1", doc! {"ping": 1}).await.is_err() {
        assert!(
            back.elapsed() < Duration::from_secs(10),
            "it was not found again"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The server has forgotten the cursor, and so does the sidecar.
    assert_eq!(
        refusal(&store, "k1", get_more(id)).await.0,
        Code::StoreError
    );
    assert_eq!(store.cursors_open(), 0);
}

#[tokio::test]
async fn a_wrong_password_or_authority_is_unavailable() {
    let server = MongoServer::start().await;
    let mut settings = server.settings();
    settings.password = Some("wrong".to_owned().into());
    let store = MongoStore::connect(settings).await.unwrap();
    assert_eq!(
        refusal(&store, "k1", doc! {"ping": 1}).await.0,
        Code::StoreUnavailable
    );
    let mut settings = server.settings();
    settings.tls.ca_file = None;
    let store = MongoStore::connect(settings).await.unwrap();
    assert_eq!(
        refusal(&store, "k1", doc! {"ping": 1}).await.0,
        Code::StoreUnavailable
    );
}
