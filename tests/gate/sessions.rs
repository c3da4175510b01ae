//! MongoDB's sessions and transactions, each its key's own; and what Redis has in place of `WATCH`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chaos::faults::Links;
use super::transactions::{Caller, told};
use crate::support::link::Mode;
use crate::support::{self, Reply, Sidecar, shared};

/// Half of the life that the server gives a transaction, as it is set by default.
const LOCKED_MAX: Duration = Duration::from_secs(30);

/// The id of a session, as any driver makes one; callers may well choose the same.
fn lsid(byte: u8) -> Value {
    let text = uuid::Uuid::from_bytes([byte; 16]).to_string();
    json!({"id": {"$uuid": text}})
}

/// `command` in transaction `number` of a session.
fn within(mut command: Value, session: u8, number: i64) -> Value {
    command["lsid"] = lsid(session);
    command["txnNumber"] = json!(number);
    command["autocommit"] = json!(false);
    command
}

fn first(command: Value, session: u8, number: i64) -> Value {
    let mut command = within(command, session, number);
    command["startTransaction"] = json!(true);
    command
}

fn insert(name: &str) -> Value {
    json!({"insert": "event_store", "documents": [{"_id": name, "stream": name, "version": 1}]})
}

async fn ask(caller: &Caller, command: Value) -> Reply {
    caller
        .post("mongodb/command", &json!({"command": command}))
        .await
}

/// A command that is expected to work.
async fn run(caller: &Caller, command: Value) -> Reply {
    let reply = ask(caller, command).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// A caller with a key of its own. The collection is made first: transactions that make the same one conflict.
async fn caller(name: &str) -> Caller {
    let caller = Caller::new(shared(), name);
    run(&caller, insert(name)).await;
    caller
}

async fn there(caller: &Caller, name: &str) -> bool {
    let command = json!({"find": "event_store", "filter": {"_id": name}});
    let reply = run(caller, command).await;
    !reply.body["cursor"]["firstBatch"]
        .as_array()
        .unwrap()
        .is_empty()
}

#[tokio::test]
async fn a_commit_shows_all_and_an_abort_nothing() {
    let caller = caller("mongo-both").await;
    for (number, end, expected) in [
        (1, "abortTransaction", false),
        (2, "commitTransaction", true),
    ] {
        let mut begin = first(insert("mb-1"), 1, number);
        begin["readConcern"] = json!({"level": "snapshot"});
        run(&caller, begin).await;
        run(&caller, within(insert("mb-2"), 1, number)).await;
        let find = json!({"find": "event_store", "filter": {"_id": "mb-1"}});
        let inside = run(&caller, within(find, 1, number)).await;
        assert_eq!(inside.body["cursor"]["firstBatch"][0]["_id"], "mb-1");
        assert!(!there(&caller, "mb-1").await);
        run(&caller, within(json!({end: 1, "$db": "admin"}), 1, number)).await;
        assert_eq!(there(&caller, "mb-1").await, expected);
        assert_eq!(there(&caller, "mb-2").await, expected);
    }
    let again = ask(&caller, within(json!({"commitTransaction": 1}), 1, 2)).await;
    assert_eq!(told(&again), (410, "transaction.expired", "committed"));
    let again = ask(&caller, first(insert("mb-3"), 1, 2)).await;
    assert_eq!(again.code(), "request.invalid", "{}", again.text);
    // A session without a transaction is the sidecar's own affair.
    run(&caller, json!({"ping": 1, "lsid": lsid(1)})).await;
}

/// All callers are one user to the server: what keeps them apart is here.
#[tokio::test]
async fn a_session_belongs_to_the_key_that_opened_it() {
    let caller = caller("mongo-mine").await;
    let neighbour = Caller::new(shared(), "mongo-neighbour");
    run(&caller, first(insert("mm-1"), 2, 7)).await;
    for command in [
        within(insert("mm-2"), 2, 7),
        within(json!({"find": "event_store"}), 2, 7),
        within(json!({"commitTransaction": 1}), 2, 7),
        within(json!({"abortTransaction": 1}), 2, 7),
    ] {
        let reply = ask(&neighbour, command).await;
        assert_eq!(
            told(&reply),
            (404, "transaction.not_found", ""),
            "{}",
            reply.text
        );
    }
    // The same name begins one of its own, which sees and ends nothing of the other.
    run(&neighbour, first(insert("mm-3"), 2, 7)).await;
    let find = json!({"find": "event_store", "filter": {"_id": "mm-1"}});
    let inside = run(&neighbour, within(find, 2, 7)).await;
    assert_eq!(inside.body["cursor"]["firstBatch"], json!([]));
    run(
        &neighbour,
        within(json!({"abortTransaction": 1, "$db": "admin"}), 2, 7),
    )
    .await;
    run(
        &caller,
        within(json!({"commitTransaction": 1, "$db": "admin"}), 2, 7),
    )
    .await;
    assert!(there(&caller, "mm-1").await && !there(&caller, "mm-3").await);
}

#[tokio::test]
async fn every_command_inside_is_judged_and_errors_say_what_became_of_it() {
    let caller = caller("mongo-judged").await;
    run(&caller, first(insert("mj-1"), 3, 1)).await;
    for (command, code) in [
        (json!({"find": "users"}), "policy.wrong_store"),
        (
            json!({"aggregate": "event_store", "pipeline": [{"$out": "elsewhere"}], "cursor": {}}),
            "policy.unknown_object",
        ),
        (json!({"create": "event_store_2"}), "policy.unknown_object"),
        (json!({"endSessions": []}), "policy.forbidden_statement"),
        (json!({"killSessions": []}), "policy.forbidden_statement"),
    ] {
        let reply = ask(&caller, within(command, 3, 1)).await;
        assert_eq!(reply.code(), code, "{}", reply.text);
    }
    let mut retried = insert("mj-2");
    retried["lsid"] = lsid(3);
    retried["txnNumber"] = json!(9);
    let reply = ask(&caller, retried).await;
    assert!(reply.text.contains("retryable writes"), "{}", reply.text);
    // A cursor that was opened inside is read on inside.
    run(&caller, within(insert("mj-3"), 3, 1)).await;
    let find = json!({"find": "event_store", "filter": {"_id": {"$in": ["mj-1", "mj-3"]}}, "batchSize": 1});
    let found = run(&caller, within(find, 3, 1)).await;
    let id = found.body["cursor"]["id"].clone();
    let id = id
        .as_i64()
        .map_or(id, |id| json!({"$numberLong": id.to_string()}));
    let more = json!({"getMore": id, "collection": "event_store"});
    let more = run(&caller, within(more, 3, 1)).await;
    assert_eq!(more.body["cursor"]["nextBatch"][0]["_id"], "mj-3");
    // A write that fails aborts it.
    let clash = ask(&caller, within(insert("mj-1"), 3, 1)).await;
    assert_eq!(
        told(&clash),
        (409, "store.conflict", "rolled_back"),
        "{}",
        clash.text
    );
    let reply = ask(
        &caller,
        within(json!({"commitTransaction": 1, "$db": "admin"}), 3, 1),
    )
    .await;
    assert_eq!(
        told(&reply),
        (410, "transaction.expired", "rolled_back"),
        "{}",
        reply.text
    );
    assert!(!there(&caller, "mj-1").await);
}

#[tokio::test]
async fn two_that_write_the_same_document_conflict() {
    let caller = caller("mongo-conflict").await;
    run(&caller, insert("mc-1")).await;
    let update = json!({"update": "event_store", "updates": [{"q": {"_id": "mc-1"}, "u": {"$inc": {"n": 1}}}]});
    run(&caller, first(update.clone(), 4, 1)).await;
    let second = ask(&caller, first(update.clone(), 5, 1)).await;
    assert_eq!(
        told(&second),
        (409, "store.conflict", "rolled_back"),
        "{}",
        second.text
    );
    let second = ask(&caller, within(update, 5, 1)).await;
    assert_eq!(told(&second), (410, "transaction.expired", "rolled_back"));
    run(
        &caller,
        within(json!({"commitTransaction": 1, "$db": "admin"}), 4, 1),
    )
    .await;
}

/// What it has changed is as before, and locked no more.
#[tokio::test]
async fn who_leaves_in_a_transaction_takes_it_along() {
    let caller = caller("mongo-leaves").await;
    run(&caller, insert("ml-1")).await;
    let update = json!({"update": "event_store", "updates": [{"q": {"_id": "ml-1"}, "u": {"$inc": {"version": 1}}}]});
    run(&caller, first(update.clone(), 7, 1)).await;
    let thousand = json!({"$project": {"i": {"$range": [0, 1000]}}});
    let each = json!({"$unwind": "$i"});
    let endless = json!({
        "aggregate": "event_store",
        "pipeline": [{"$match": {"_id": "ml-1"}}, thousand, each, thousand, each, thousand, each, {"$count": "n"}],
        "cursor": {}
    });
    let cut = ask(&caller, within(endless, 7, 1));
    let cut = tokio::time::timeout(Duration::from_millis(500), cut).await;
    assert!(cut.is_err(), "{cut:?}");
    support::eventually("the transaction is gone", || async {
        let end = within(json!({"commitTransaction": 1, "$db": "admin"}), 7, 1);
        let reply = ask(&caller, end).await;
        assert!(matches!(reply.status, 409 | 410), "{}", reply.text);
        reply.status == 410
    })
    .await;
    // Waits as long as the document is locked.
    run(&caller, update).await;
    let find = json!({"find": "event_store", "filter": {"_id": "ml-1"}});
    let found = run(&caller, find).await;
    assert_eq!(found.body["cursor"]["firstBatch"][0]["version"], 2);
}

/// Its locks would stand for the minute and more after which the server ends it by itself.
#[tokio::test]
async fn a_transaction_whose_link_fails_is_ended_when_it_is_back() {
    let dev = shared();
    let links = Links::before(dev).await;
    let sidecar = Sidecar::start(dev, |config| {
        links.put_into(config);
        let mongodb = config["stores"]["mongodb"].as_table_mut().unwrap();
        mongodb.insert("statement_timeout_ms".into(), 1_000.into());
    });
    sidecar.ready().await;
    let direct = caller("mongo-direct").await;
    let caller = Caller::at(dev, &sidecar, "mongo-cut");
    let link = links.link("mongodb");
    let abort = json!({"abortTransaction": 1, "$db": "admin"});
    for (number, fault, last) in [
        (1, Mode::Cut, abort),
        (2, Mode::Cut, insert("mf-more")),
        (3, Mode::Hold, insert("mf-more")),
    ] {
        let name = format!("mf-{number}");
        support::eventually("it begins", || async {
            let begun = ask(&caller, first(insert(&name), 9, number)).await;
            begun.status == 200
        })
        .await;
        link.set(fault);
        ask(&caller, within(last, 9, number)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        link.set(Mode::Open);
        let began = Instant::now();
        support::eventually("the document is not locked", || async {
            ask(&direct, insert(&name)).await.status == 200
        })
        .await;
        let took = began.elapsed();
        assert!(took < LOCKED_MAX, "{fault:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_key_has_few_transactions_and_idle_ones_are_aborted() {
    let dev = shared();
    let caller = caller("mongo-many").await;
    for number in 0..8 {
        run(&caller, first(insert(&format!("mk-{number}")), 6, number)).await;
    }
    let reply = ask(&caller, first(insert("mk-8"), 6, 8)).await;
    assert_eq!(
        (reply.status, reply.code()),
        (429, "rate_limit.exceeded"),
        "{}",
        reply.text
    );
    let metric = "bulkhead_transactions_open{database=\"mongodb\"}";
    assert!(dev.metric(metric).await >= 8.0);
    // Outside of a transaction the write waits until the idle one is gone.
    run(&caller, insert("mk-0")).await;
    support::eventually("they expire", || async {
        let end = within(json!({"commitTransaction": 1, "$db": "admin"}), 6, 0);
        ask(&caller, end).await.status == 410
    })
    .await;
}

#[tokio::test]
async fn redis_has_atomic_pipelines_and_says_so() {
    let caller = Caller::new(shared(), "redis-atomic");
    for command in [
        json!(["WATCH", "cache:w"]),
        json!(["MULTI"]),
        json!(["EXEC"]),
    ] {
        let reply = caller
            .post("redis/command", &json!({"command": command}))
            .await;
        assert_eq!(reply.code(), "policy.forbidden_statement", "{}", reply.text);
        assert!(
            reply.text.contains("a script instead of WATCH"),
            "{}",
            reply.text
        );
    }
    let body = json!({"commands": [["SET", "cache:w", "1"], ["INCR", "cache:w"]], "atomic": true});
    let reply = caller.post("redis/pipeline", &body).await;
    assert_eq!(
        reply.body["results"],
        json!([{"result": "OK"}, {"result": 2}]),
        "{}",
        reply.text
    );
    // What WATCH is for: set only what has not changed.
    let script = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('SET', KEYS[1], ARGV[2]) end return false";
    for (seen, expected) in [("2", json!("OK")), ("2", Value::Null)] {
        let command = json!({"command": ["EVAL", script, "1", "cache:w", seen, "3"]});
        let reply = caller.post("redis/command", &command).await;
        assert_eq!(reply.body["result"], expected, "{}", reply.text);
    }
}
