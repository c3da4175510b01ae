//! A field that stands twice in a stored document comes through, both ways, on a real mongod.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocumentBuf, doc};

use super::*;
use crate::execute::private_servers::{MongoServer, ticket};
use crate::wire::extended_json::{Form, print_extended_json};

/// `{_id, a: 1, a: "two", within: {b: true, b: null}}`.
fn twice(id: i32) -> RawDocumentBuf {
    let mut within = RawDocumentBuf::new();
    within.append(cstr!("b"), true);
    within.append(cstr!("b"), bson::RawBson::Null);
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id);
    document.append(cstr!("a"), 1);
    document.append(cstr!("a"), "two");
    document.append(cstr!("within"), within);
    document
}

fn shown(id: i32) -> String {
    format!(r#"{{"_id":{id},"a":1,"a":"two","within":{{"b":true,"b":null}}}}"#)
}

async fn run(store: &MongoStore, command: RawDocumentBuf, cursors: Vec<i64>) -> RawDocumentBuf {
    let payload = Payload::Mongodb {
        database: "enterprise_db".into(),
        document: command.into_bytes(),
    };
    let ticket = ticket("k1", Store::Mongodb, payload, cursors);
    store.execute(ticket, None).await.unwrap()
}

fn raw(command: &bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(command).unwrap()
}

#[tokio::test]
async fn a_field_that_stands_twice_comes_through_both_ways() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    let mut documents = RawArrayBuf::new();
    for id in 0..5 {
        documents.push(twice(id));
    }
    let mut insert = RawDocumentBuf::new();
    insert.append(cstr!("insert"), "activity_logs");
    insert.append(cstr!("documents"), documents);
    run(&store, insert, vec![]).await;

    // Written through the sidecar, read by the database's own driver.
    let direct = store.client().await.unwrap().database("enterprise_db");
    let direct = direct.collection::<RawDocumentBuf>("activity_logs");
    let stored = direct.find_one(doc! {"_id": 3}).await.unwrap().unwrap();
    assert_eq!(stored.as_bytes(), twice(3).as_bytes());

    // And read through the sidecar: the first batch, and each that follows, to the cursor's end.
    for (open, more) in [
        (
            doc! {"find": "activity_logs", "sort": {"_id": 1}, "batchSize": 2},
            Some(2),
        ),
        (
            doc! {"aggregate": "activity_logs", "pipeline": [{"$sort": {"_id": 1}}], "cursor": {"batchSize": 2}},
            Some(2),
        ),
        (
            doc! {"find": "activity_logs", "sort": {"_id": 1}, "batchSize": 0},
            None,
        ),
    ] {
        let mut reply = run(&store, raw(&open), vec![]).await;
        let mut seen = String::new();
        while let Some((id, namespace)) = held::open_cursor(&reply) {
            seen += &print_extended_json(reply.as_bytes(), Form::Relaxed).unwrap();
            let mut get_more = doc! {"getMore": id, "collection": namespace.collection};
            get_more.extend(more.map(|size| ("batchSize".to_owned(), bson::Bson::Int32(size))));
            reply = run(&store, raw(&get_more), vec![id]).await;
        }
        seen += &print_extended_json(reply.as_bytes(), Form::Relaxed).unwrap();
        for id in 0..5 {
            assert!(seen.contains(&shown(id)), "{open}: {id}: {seen}");
        }
        assert_eq!(store.cursors_open(), 0);
    }
}

#[tokio::test]
async fn a_get_more_of_another_size_gets_what_it_asks_for() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    let documents: Vec<_> = (0..12).map(|n| doc! {"_id": n}).collect();
    let insert = doc! {"insert": "activity_logs", "documents": documents};
    run(&store, raw(&insert), vec![]).await;
    let find = doc! {"find": "activity_logs", "sort": {"_id": 1}, "batchSize": 2};
    let reply = run(&store, raw(&find), vec![]).await;
    let (id, _) = held::open_cursor(&reply).unwrap();
    // Through the driver's hold on the cursor, past it, and through it again.
    for (size, expected) in [(2, 2), (3, 3), (2, 2), (100, 3)] {
        let get_more = doc! {"getMore": id, "collection": "activity_logs", "batchSize": size};
        let reply = run(&store, raw(&get_more), vec![id]).await;
        let cursor = reply.get_document("cursor").unwrap();
        let batch = cursor.get_array("nextBatch").unwrap();
        assert_eq!(batch.into_iter().count(), expected, "{size}");
    }
    assert_eq!(store.cursors_open(), 0);
}
