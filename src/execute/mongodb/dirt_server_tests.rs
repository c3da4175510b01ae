//! What a caller leaves, however its request ends, is gone before anybody else meets it.

use bson::{Document, doc};

use super::server_tests::{run, run_as, with_logs};
use super::*;
use crate::execute::private_servers::MongoServer;

async fn open_cursors(store: &MongoStore) -> i64 {
    let status = run(store, doc! {"serverStatus": 1}).await;
    let metrics = status.get_document("metrics").unwrap();
    let open = metrics
        .get_document("cursor")
        .and_then(|cursor| cursor.get_document("open"));
    open.unwrap().get_i64("total").unwrap()
}

async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Callers leave at any moment, also in the middle of a reply: everybody else's replies are their own.
#[tokio::test]
async fn who_leaves_takes_nobody_elses_reply() {
    let server = MongoServer::start().await;
    let mut settings = server.settings();
    settings.pool.max = 2;
    let store = MongoStore::connect(settings).await.unwrap();
    let padding = "x".repeat(200_000);
    for number in 0..10 {
        let document = doc! {"_id": number, "padding": &padding};
        run(
            &store,
            doc! {"insert": "activity_logs", "documents": [document]},
        )
        .await;
    }
    for number in 0..100_i32 {
        let all = doc! {"find": "activity_logs", "batchSize": 5};
        let patience = Duration::from_micros(u64::try_from(number * 40).unwrap());
        let _ = tokio::time::timeout(patience, run_as(&store, "leaves", all)).await;
        let mine = doc! {"find": "activity_logs", "filter": {"_id": number % 10}, "projection": {"_id": 1}};
        let reply = run_as(&store, "stays", mine).await.unwrap();
        let batch = reply
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap();
        assert_eq!(batch, &vec![doc! {"_id": number % 10}.into()]);
    }
}

/// A cursor that is read half is its key's alone, and stays open nowhere when the store closes.
#[tokio::test]
async fn half_read_cursors_are_closed() {
    let server = MongoServer::start().await;
    let store = MongoStore::connect(server.settings()).await.unwrap();
    with_logs(&store, 50).await;
    let half = || doc! {"find": "activity_logs", "batchSize": 2};
    let reply = run_as(&store, "leaves", half()).await.unwrap();
    let id = reply.get_document("cursor").unwrap().get_i64("id").unwrap();
    assert_eq!(open_cursors(&store).await, 1);
    // Somebody else cannot go on with it.
    let more: Document = doc! {"getMore": id, "collection": "activity_logs"};
    assert!(run_as(&store, "another", more).await.is_err());
    store.close().await;
    becomes("no cursor is open", async || {
        open_cursors(&store).await == 0
    })
    .await;
}
