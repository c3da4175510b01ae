//! A view reads what its definition names, with the rights of whoever made it; the gate asks for these too.

use std::time::Duration;

use bson::{Document, doc};
use bulkhead::execute::mongodb::VIEWS_FRESH_MS;
use serde_json::{Value, json};

use crate::support::{Dev, Reply};

async fn find(dev: &Dev, command: &Value) -> Reply {
    dev.post(
        &dev.app,
        "/v1/mongodb/command",
        &json!({ "command": command }),
    )
    .await
}

async fn make_view(database: &mongodb::Database, name: &str, on: &str, pipeline: Vec<Document>) {
    let _ = database.run_command(doc! {"drop": name}).await;
    let create = doc! {"create": name, "viewOn": on, "pipeline": pipeline};
    database.run_command(create).await.unwrap();
    tokio::time::sleep(Duration::from_millis(VIEWS_FRESH_MS + 100)).await;
}

/// The views take the names of collections that the role may read, so that the policy alone would allow them.
#[tokio::test]
async fn a_view_over_a_collection_that_the_role_may_not_read_is_refused() {
    let dev = Dev::start();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb"))
        .await
        .unwrap();
    let database = client.database("enterprise_db");
    let secret = database.collection::<Document>("salaries");
    secret.insert_one(doc! {"_id": "s3cret"}).await.unwrap();

    let question = json!({"find": "event_store"});
    assert_eq!(find(&dev, &question).await.status, 200);

    make_view(&database, "event_store", "salaries", vec![]).await;
    let join = doc! {"$lookup": {"from": "event_store", "pipeline": [], "as": "x"}};
    make_view(&database, "analytics_events", "activity_logs", vec![join]).await;
    // It is there for whoever asks the server.
    let reached = database.collection::<Document>("event_store");
    let reached = reached.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(reached.get_str("_id").unwrap(), "s3cret");

    for command in [
        json!({"find": "event_store"}),
        json!({"count": "event_store"}),
        json!({"distinct": "event_store", "key": "_id"}),
        json!({"aggregate": "event_store", "pipeline": [], "cursor": {}}),
        json!({"aggregate": "activity_logs", "pipeline": [{"$unionWith": "event_store"}], "cursor": {}}),
        json!({"explain": {"find": "event_store"}, "verbosity": "executionStats"}),
        // A view over a view over the collection.
        json!({"find": "analytics_events"}),
    ] {
        let reply = find(&dev, &command).await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "policy.unknown_object"),
            "{command}: {}",
            reply.text
        );
        assert!(reply.text.contains("salaries"), "{}", reply.text);
        assert!(!reply.text.contains("s3cret"), "{}", reply.text);
    }
    let explain = json!({"store": "mongodb", "request": {"find": "event_store"}});
    let reply = dev.post(&dev.app, "/v1/explain", &explain).await;
    assert_eq!(reply.body["decision"], "deny", "{}", reply.text);

    // Over what the role may read, a view is as good as any collection.
    make_view(
        &database,
        "event_store",
        "activity_logs",
        vec![doc! {"$match": {"user_id": 1}}],
    )
    .await;
    let reply = find(&dev, &question).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.body["cursor"]["firstBatch"].as_array().unwrap().len(),
        1
    );

    // What is not understood in a definition is not guessed at.
    make_view(
        &database,
        "event_store",
        "activity_logs",
        vec![doc! {"$indexStats": {}}],
    )
    .await;
    let reply = find(&dev, &question).await;
    assert_eq!(
        (reply.status, reply.code()),
        (403, "policy.forbidden_statement"),
        "{}",
        reply.text
    );
}
