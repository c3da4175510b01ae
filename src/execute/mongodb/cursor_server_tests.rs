//! Cursors on a real mongod.

use std::sync::Arc;

use bson::{Document, doc};

use super::server_tests::{refusal, run, run_as, with_logs};
use super::*;
use crate::error::{Code, PublicError as _};
use crate::execute::private_servers::MongoServer;

pub async fn open(store: &MongoStore, key_id: &str) -> i64 {
    let find = doc! {"find": "activity_logs", "batchSize": 2};
    let reply = run_as(store, key_id, find).await.unwrap();
    reply.get_document("cursor").unwrap().get_i64("id").unwrap()
}

pub fn get_more(id: i64) -> Document {
    doc! {"getMore": id, "collection": "activity_logs", "batchSize": 2}
}

#[tokio::test]
async fn a_cursor_is_continued_by_its_key_alone() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 5).await;
    let id = open(&store, "k1").await;
    let unknown = (Code::RequestInvalid, format!("no such cursor: `{id}`"));
    assert_eq!(refusal(&store, "k2", get_more(id)).await, unknown);
    let kill = doc! {"killCursors": "activity_logs", "cursors": [id]};
    assert_eq!(refusal(&store, "k2", kill.clone()).await, unknown);
    let elsewhere = doc! {"getMore": id, "collection": "event_store"};
    assert_eq!(refusal(&store, "k1", elsewhere).await, unknown);

    let reply = run(&store, get_more(id)).await;
    let cursor = reply.get_document("cursor").unwrap();
    assert_eq!(cursor.get_array("nextBatch").unwrap().len(), 2);
    assert_eq!(store.cursors_open(), 1);
    let reply = run(&store, get_more(id)).await;
    assert_eq!(
        reply.get_document("cursor").unwrap().get_i64("id").unwrap(),
        0
    );
    assert_eq!(store.cursors_open(), 0);
    assert_eq!(refusal(&store, "k1", get_more(id)).await, unknown);

    let id = open(&store, "k1").await;
    let reply = run(
        &store,
        doc! {"killCursors": "activity_logs", "cursors": [id]},
    )
    .await;
    assert_eq!(reply.get_array("cursorsKilled").unwrap().len(), 1);
    assert_eq!(store.cursors_open(), 0);
}

async fn open_on_server(store: &MongoStore) -> i64 {
    let status = run(store, doc! {"serverStatus": 1}).await;
    let cursor = status
        .get_document("metrics")
        .unwrap()
        .get_document("cursor")
        .unwrap();
    cursor
        .get_document("open")
        .unwrap()
        .get_i64("total")
        .unwrap()
}

#[tokio::test]
async fn cursors_are_bounded_and_killed_on_the_server() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 5).await;
    for _ in 0..CURSORS_PER_KEY_MAX {
        open(&store, "k1").await;
    }
    let find = doc! {"find": "activity_logs", "batchSize": 2};
    assert_eq!(refusal(&store, "k1", find).await.0, Code::RequestInvalid);
    open(&store, "k2").await;
    let kept = CURSORS_PER_KEY_MAX as i64 + 1;
    assert_eq!(open_on_server(&store).await, kept);
    let later = Instant::now() + Duration::from_millis(CURSOR_IDLE_MS_MAX);
    let doomed = store.cursors().expire(later);
    assert_eq!(doomed.len() as i64, kept);
    store.kill_cursor(&doomed[0]).await;
    assert_eq!(open_on_server(&store).await, kept - 1);
    open(&store, "k1").await;
    store.close().await;
    assert_eq!(store.cursors_open(), 0);
}

#[tokio::test]
async fn a_cursor_serves_one_request_at_a_time() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 500).await;
    let id = open(&store, "k1").await;
    let store = Arc::new(store);
    let both: Vec<_> = (0..2)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { run_as(&store, "k1", get_more(id)).await })
        })
        .collect();
    let mut served = 0;
    for one in both {
        match one.await.unwrap() {
            Ok(_) => served += 1,
            Err(error) => assert_eq!(
                error.problem().detail,
                format!("cursor `{id}` is in use by another request")
            ),
        }
    }
    assert!(served >= 1);
    run(&store, get_more(id)).await;
}
