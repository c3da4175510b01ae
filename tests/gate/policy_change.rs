//! A policy that changes while something is open: cursors and transactions go on under the new one, a stream that is
//! under way ends under the one that it began with.

use std::path::{Path, PathBuf};

use bson::doc;
use http_body_util::BodyExt as _;
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stream::open;
use crate::support::{Dev, Reply, Sidecar, eventually, send};

/// What the role may do at first.
const BEFORE: &str = r#"
[[roles.app.grants]]
store = "mongodb"
collections = ["event_store", "activity_logs", "analytics_events"]
actions = ["find", "insert"]
[[roles.app.grants]]
store = "mysql"
tables = ["users"]
actions = ["select", "update"]
[[roles.app.grants]]
store = "postgres"
tables = ["system_config"]
actions = ["select", "insert"]
"#;

/// One collection and two actions less, and masks.
const AFTER: &str = r#"
[[roles.app.grants]]
store = "mongodb"
collections = ["event_store"]
actions = ["find", "insert"]
[[roles.app.grants]]
store = "mongodb"
collections = ["analytics_events"]
actions = ["find"]
mask_columns = { secret = "null" }
[[roles.app.grants]]
store = "mysql"
tables = ["users"]
actions = ["select"]
mask_columns = { email = "null" }
[[roles.app.grants]]
store = "postgres"
tables = ["system_config"]
actions = ["select"]
"#;

/// A sidecar whose policy can be changed.
struct Changing {
    sidecar: Sidecar,
    file: PathBuf,
    stores: toml::Table,
    _folder: tempfile::TempDir,
}

impl Changing {
    async fn start(dev: &Dev) -> Self {
        let mut stores = dev.policy();
        stores.remove("rate_limits");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        write(&file, &stores, BEFORE);
        let sidecar = Sidecar::start_under(dev, folder.path()).await;
        Self {
            sidecar,
            file,
            stores,
            _folder: folder,
        }
    }

    async fn digest(&self) -> Value {
        let url = format!("{}/health", self.sidecar.http);
        send(Method::GET, &url, &[], None).await.body["policy"]["digest"].clone()
    }

    /// Puts other grants in force.
    async fn become_with(&self, grants: &str) {
        let before = self.digest().await;
        write(&self.file, &self.stores, grants);
        self.sidecar.signal(Signal::HUP);
        eventually("the policy is in force", async || {
            self.digest().await != before
        })
        .await;
    }

    async fn mongodb(&self, dev: &Dev, command: Value) -> Reply {
        let body = json!({ "command": command });
        self.sidecar
            .post(&dev.app, "/v1/mongodb/command", &body)
            .await
    }

    /// Opens a cursor of which two documents have come.
    async fn cursor(&self, dev: &Dev, command: Value) -> i64 {
        let reply = self.mongodb(dev, command).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let id = &reply.body["cursor"]["id"];
        let text = id["$numberLong"].as_str().map(|text| text.parse().unwrap());
        let id = text.or_else(|| id.as_i64()).unwrap();
        assert_ne!(id, 0, "{}", reply.text);
        id
    }

    async fn more(&self, dev: &Dev, id: i64, collection: &str) -> Reply {
        let id = json!({"$numberLong": id.to_string()});
        let command = json!({"getMore": id, "collection": collection, "batchSize": 2});
        self.mongodb(dev, command).await
    }
}

fn write(file: &Path, stores: &toml::Table, grants: &str) {
    let mut policy = stores.clone();
    let roles: toml::Table = grants.parse().unwrap();
    policy.extend(roles);
    std::fs::write(file, policy.to_string()).unwrap();
}

async fn open_on_server(dev: &Dev) -> i64 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb"))
        .await
        .unwrap();
    let command = doc! {"serverStatus": 1};
    let status = client.database("admin").run_command(command).await.unwrap();
    let open = status.get_document("metrics").unwrap();
    let open = open.get_document("cursor").unwrap();
    open.get_document("open").unwrap().get_i64("total").unwrap()
}

#[tokio::test]
async fn a_cursor_goes_on_only_as_the_policy_in_force_would_open_it() {
    let dev = Dev::start();
    let at = Changing::start(&dev).await;
    for collection in ["event_store", "analytics_events"] {
        let documents: Vec<Value> = (0..9)
            .map(|n| json!({"n": n, "secret": "s", "stream": "s", "version": n}))
            .collect();
        let insert = json!({"insert": collection, "documents": documents});
        let reply = at.mongodb(&dev, insert).await;
        assert_eq!(reply.body["n"], 9, "{}", reply.text);
    }
    let find = |collection| json!({"find": collection, "filter": {"n": {"$gte": 0}}, "batchSize": 2, "sort": {"n": 1}});
    let joined = json!({"aggregate": "event_store", "cursor": {"batchSize": 2}, "pipeline": [
        {"$sort": {"n": 1}},
        {"$lookup": {"from": "activity_logs", "localField": "n", "foreignField": "n", "as": "found"}},
    ]});
    let long = json!({"find": "event_store", "batchSize": 2,
        "filter": {"n": {"$lt": 100}, "secret": {"$ne": "x".repeat(70_000)}}});

    let before = open_on_server(&dev).await;
    let plain = at.cursor(&dev, find("event_store")).await;
    let masked = at.cursor(&dev, find("analytics_events")).await;
    let joined = at.cursor(&dev, joined).await;
    let long = at.cursor(&dev, long).await;
    for id in [plain, joined, long] {
        let more = at.more(&dev, id, "event_store").await;
        assert_eq!(more.status, 200, "{}", more.text);
    }
    at.become_with(AFTER).await;

    // What the policy in force would open in the same way goes on, to its end.
    for (documents, ends) in [(2, false), (2, false), (1, true)] {
        let more = at.more(&dev, plain, "event_store").await;
        let batch = more.body["cursor"]["nextBatch"].as_array();
        assert_eq!(batch.map(Vec::len), Some(documents), "{}", more.text);
        let id = &more.body["cursor"]["id"];
        assert_eq!(id == &json!(0) || id["$numberLong"] == "0", ends, "{id}");
    }
    for (id, collection, told) in [
        (masked, "analytics_events", "open it anew"),
        (joined, "event_store", "activity_logs` in mongodb"),
        (long, "event_store", "open it anew"),
    ] {
        let more = at.more(&dev, id, collection).await;
        assert_eq!((more.status, more.code()), (403, "policy.denied"));
        assert!(more.text.contains(told), "{}", more.text);
        let gone = at.more(&dev, id, collection).await;
        assert!(gone.text.contains("no such cursor"), "{}", gone.text);
    }
    assert_eq!(open_on_server(&dev).await, before, "the server closed them");

    // Opened anew, it is masked, and goes on masked.
    let again = at.cursor(&dev, find("analytics_events")).await;
    let more = at.more(&dev, again, "analytics_events").await;
    assert_eq!(more.body["cursor"]["nextBatch"][0]["n"], 2, "{}", more.text);
    let hidden = &more.body["cursor"]["nextBatch"][0]["secret"];
    assert_eq!(hidden, &Value::Null, "{}", more.text);
}

#[tokio::test]
async fn each_statement_of_a_transaction_is_judged_by_the_policy_in_force() {
    let dev = Dev::start();
    let at = Changing::start(&dev).await;
    let stores = [
        (
            "mysql",
            "UPDATE users SET email = 'new@example.com' WHERE id = 1",
            "SELECT email FROM users WHERE id = 1",
        ),
        (
            "postgres",
            "INSERT INTO system_config (key, value) VALUES ('k', '1')",
            "SELECT value FROM system_config WHERE key = 'k'",
        ),
    ];
    let mut open = Vec::new();
    for (store, write, read) in stores {
        let path = format!("/v1/{store}/transactions");
        let begun = at.sidecar.post(&dev.app, &path, &json!({})).await;
        let id = begun.body["transaction"].as_str().unwrap();
        let path = format!("{path}/{id}");
        for sql in [write, read] {
            let body = json!({ "sql": sql });
            let url = format!("{path}/query");
            let reply = at.sidecar.post(&dev.app, &url, &body).await;
            assert_eq!(reply.status, 200, "{sql}: {}", reply.text);
        }
        open.push((path, write, read));
    }
    at.become_with(AFTER).await;
    for (path, write, read) in open {
        let ask = async |sql: &str| {
            let url = format!("{path}/query");
            at.sidecar.post(&dev.app, &url, &json!({"sql": sql})).await
        };
        let reply = ask(write).await;
        assert_eq!(reply.code(), "policy.denied", "{}", reply.text);
        let reply = ask(read).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(!reply.text.contains("new@example.com"), "{}", reply.text);
        let url = format!("{path}/commit");
        let ended = at.sidecar.post(&dev.app, &url, &json!({})).await;
        assert_eq!(ended.status, 200, "{}", ended.text);
    }
}

/// More than the buffers between the two ends hold, so that it is under way when the policy changes.
const ROWS_OF_STREAM: usize = 200_000;

#[tokio::test]
async fn a_stream_under_way_ends_under_the_policy_that_it_began_with() {
    let dev = Dev::start();
    let at = Changing::start(&dev).await;
    let ten: Vec<String> = (0..10).map(|n| format!("SELECT {n} AS i")).collect();
    let ten = ten.join(" UNION ALL ");
    let tables: Vec<String> = (0..6).map(|n| format!("({ten}) AS t{n}")).collect();
    let sql = format!(
        "SELECT users.email, REPEAT('x', 80) AS x FROM users CROSS JOIN {} LIMIT {ROWS_OF_STREAM}",
        tables.join(" CROSS JOIN ")
    );
    let headers = [("accept", "application/x-ndjson")];
    let body = json!({ "sql": sql });
    let path = "/v1/mysql/query";
    let reply = open(&at.sidecar.http, &dev.app, path, &headers, &body).await;
    let mut stream = reply.into_body();
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"{\"columns\""));

    at.become_with(AFTER).await;
    let body = json!({"sql": "SELECT email FROM users WHERE id = 1"});
    let now = at.sidecar.post(&dev.app, path, &body).await;
    assert_eq!(now.body["rows"], json!([{"email": null}]), "{}", now.text);

    let rest = stream.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&first).into_owned() + &String::from_utf8_lossy(&rest);
    let mut lines = text.lines().skip(1);
    let shown = lines.by_ref().take(ROWS_OF_STREAM);
    let hidden = shown.filter(|line| !line.contains("@example.com"));
    assert_eq!(hidden.count(), 0);
    let end = lines.next().unwrap();
    assert!(end.starts_with("{\"complete\":true"), "{end}");
}
