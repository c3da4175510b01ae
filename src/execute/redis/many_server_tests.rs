//! Against real Sentinels and a real cluster.

use std::time::{Duration, Instant};

use redis::Value;

use super::dial::Dial;
use super::link::Link;
use super::server_tests::{code, one, run, until_up, words};
use super::slots::slot_of;
use super::*;
use crate::error::{Code, PublicError as _};
use crate::execute::private_servers::{PlainRedis, free_port};
use crate::limit::gcra::Rate;
use crate::limit::shared::{Ask, KEY_PREFIX, Shared};

const PASSWORD: &str = "p@ss";

/// An administrator's question to one server.
async fn ask(port: u16, text: &str) -> Value {
    ask_as(port, PASSWORD, text).await
}

/// A server that changes its role drops its connections: then it is asked again.
async fn ask_as(port: u16, password: &str, text: &str) -> Value {
    let settings = PlainRedis::settings(format!("redis://127.0.0.1:{port}"), password);
    let places = Places::read(&settings).unwrap();
    let dial = Dial::of(&settings, &places).unwrap();
    let mut command = redis::Cmd::new();
    for word in words(text) {
        command.arg(word);
    }
    let start = Instant::now();
    loop {
        let asked = async { dial.connect().await?.ask(&command).await };
        match asked.await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{text}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until the answer is right, for a minute.
pub(super) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn role(port: u16) -> Option<String> {
    let Value::Array(parts) = ask(port, "ROLE").await else {
        return None;
    };
    parts.first().map(text_of)
}

/// Wherever the settings lead, the operator is told why nobody is there.
#[tokio::test]
async fn why_nobody_answers_is_told() {
    let place = format!("127.0.0.1:{}", free_port());
    for url in [
        format!("redis://{place}"),
        format!("redis+cluster://{place}"),
        format!("redis+sentinel://{place}/?master=main"),
    ] {
        let settings = PlainRedis::settings(url.clone(), PASSWORD);
        let store = RedisStore::connect(&settings).unwrap();
        let error = store.ping().await.unwrap_err().to_string();
        let told = format!("{place}: Connection refused");
        assert!(error.contains(&told), "{url}: {error}");
        assert!(!error.contains(PASSWORD), "{url}: {error}");
    }
}

fn text_of(value: &Value) -> String {
    if let Value::BulkString(bytes) = value {
        return String::from_utf8(bytes.clone()).unwrap();
    }
    let Value::VerbatimString { text, .. } = value else {
        panic!("{value:?}");
    };
    text.clone()
}

#[tokio::test]
async fn the_connection_follows_the_primary_that_sentinels_name() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let logins = format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}");
    let mut primary = PlainRedis::start(&logins);
    let port = primary.port;
    let replica = PlainRedis::start(&format!("{logins}\nreplicaof 127.0.0.1 {port}"));
    let sentinel = PlainRedis::sentinel(&format!(
        "requirepass watch\nsentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-pass main {PASSWORD}\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000"
    ));
    // The first Sentinel that is named is not there.
    let (gone, here) = (free_port(), sentinel.port);
    let url = format!("redis+sentinel://127.0.0.1:{gone},127.0.0.1:{here}/0?master=main");
    let mut settings = PlainRedis::settings(url, PASSWORD);
    settings.sentinel.password = Some("watch".to_owned().into());
    let store = RedisStore::connect(&settings).unwrap();
    let link = Link::open(&settings, Duration::MAX).unwrap();
    until_up(&store).await;
    assert_eq!(one(&store, "SET cache:x 1").await, "\"OK\"");
    eventually(
        "the replica has it, and the Sentinel knows the replica",
        async || {
            let replicas = ask_as(here, "watch", "SENTINEL REPLICAS main").await;
            ask(replica.port, "GET cache:x").await == Value::BulkString(b"1".to_vec())
                && matches!(replicas, Value::Array(replicas) if !replicas.is_empty())
        },
    )
    .await;

    // The primary goes away, and the replica takes its place.
    primary.process.kill();
    assert_eq!(
        code(&store, &["SET cache:x 2"], false).await,
        Code::StoreUnavailable
    );
    eventually("the other one takes writes", async || {
        run(&store, &["SET cache:x 2"], false)
            .await
            .is_ok_and(|replies| replies == ["\"OK\""])
    })
    .await;
    assert_eq!(role(replica.port).await.as_deref(), Some("master"));
    assert_eq!(one(&store, "GET cache:x").await, "\"2\"");
    eventually("the limiter's connection is there too", async || {
        link.is_up()
    })
    .await;

    // The first comes back as a replica, and is made the primary again while both live.
    primary.restart();
    eventually("it is a replica", async || {
        role(port).await.as_deref() == Some("slave")
    })
    .await;
    eventually("the Sentinel agrees to a failover", async || {
        ask_as(here, "watch", "SENTINEL FAILOVER main").await == Value::Okay
    })
    .await;
    eventually("writes go to the first", async || {
        let ran = run(&store, &["SET cache:x 3"], false).await;
        ran.is_ok() && ask(port, "GET cache:x").await == Value::BulkString(b"3".to_vec())
    })
    .await;
    eventually("the limiter's scripts go there as well", async || {
        let script = redis::Script::new("return redis.call('SET', KEYS[1], 'y')");
        let key = script.key("cache:y");
        let told = key.invoke_async::<Value>(&mut link.manager()).await;
        told.is_ok() && ask(port, "GET cache:y").await == Value::BulkString(b"y".to_vec())
    })
    .await;
}

/// The server says so itself, before any Sentinel does.
#[tokio::test]
async fn a_primary_that_has_become_a_replica_is_left() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let login = format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}");
    let (first, second) = (PlainRedis::start(&login), PlainRedis::start(&login));
    // One that stays with what it was told: nobody fails for it.
    let sentinel = PlainRedis::sentinel(&format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main {PASSWORD}",
        first.port
    ));
    let url = format!("redis+sentinel://127.0.0.1:{}?master=main", sentinel.port);
    let mut settings = PlainRedis::settings(url, PASSWORD);
    settings.sentinel.password = None;
    let store = RedisStore::connect(&settings).unwrap();
    until_up(&store).await;
    assert_eq!(one(&store, "SET cache:x 1").await, "\"OK\"");
    ask(first.port, &format!("REPLICAOF 127.0.0.1 {}", second.port)).await;
    for atomic in [false, true] {
        let code = code(&store, &["SET cache:x 2"], atomic).await;
        assert_eq!(code, Code::StoreUnavailable, "atomic: {atomic}");
    }
    ask(first.port, "REPLICAOF NO ONE").await;
    eventually("it is the primary again", async || {
        run(&store, &["SET cache:x 3"], false).await.is_ok()
    })
    .await;
}

/// Three primaries, each with a third of the slots.
struct Nodes(Vec<PlainRedis>);

impl Nodes {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let node = || {
            PlainRedis::start(&format!(
                "requirepass {PASSWORD}\nmasterauth {PASSWORD}\ncluster-enabled yes\ncluster-port {}\n\
                 cluster-require-full-coverage no\ncluster-node-timeout 2000",
                free_port()
            ))
        };
        let nodes = Self((0..3).map(|_| node()).collect());
        for (index, (first, last)) in [(0, 5_460), (5_461, 10_922), (10_923, 16_383)]
            .iter()
            .enumerate()
        {
            let added = nodes
                .ask(index, &format!("CLUSTER ADDSLOTSRANGE {first} {last}"))
                .await;
            assert_eq!(added, Value::Okay);
        }
        for index in [1, 2] {
            let told = nodes.ask(index, "CLUSTER MYID").await;
            assert!(matches!(told, Value::BulkString(_)));
            let (port, bus) = (nodes.0[index].port, nodes.bus(index).await);
            nodes
                .ask(0, &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"))
                .await;
        }
        for index in 0..3 {
            eventually("every node knows all slots", async || {
                let Value::Array(ranges) = nodes.ask(index, "CLUSTER SLOTS").await else {
                    return false;
                };
                let info = nodes.text(index, "CLUSTER INFO").await;
                ranges.len() == 3 && info.contains("cluster_state:ok")
            })
            .await;
        }
        nodes
    }

    async fn ask(&self, index: usize, text: &str) -> Value {
        ask(self.0[index].port, text).await
    }

    async fn text(&self, index: usize, text: &str) -> String {
        text_of(&self.ask(index, text).await)
    }

    async fn bus(&self, index: usize) -> String {
        let Value::Map(pairs) = self.ask(index, "CONFIG GET cluster-port").await else {
            panic!("it has no such setting");
        };
        text_of(&pairs[0].1)
    }

    fn settings(&self) -> RedisSettings {
        let url = format!("redis+cluster://127.0.0.1:{}", self.0[1].port);
        PlainRedis::settings(url, PASSWORD)
    }

    /// The node that has a key, as the slots were given out.
    fn of(key: &str) -> usize {
        match slot_of(key.as_bytes()) {
            0..=5_460 => 0,
            5_461..=10_922 => 1,
            _ => 2,
        }
    }
}

#[tokio::test]
async fn each_command_goes_to_the_node_that_has_its_key() {
    let nodes = Nodes::start().await;
    let store = RedisStore::connect(&nodes.settings()).unwrap();
    until_up(&store).await;
    let keys: Vec<String> = (0..60).map(|number| format!("cache:{number}")).collect();
    for key in &keys {
        assert_eq!(one(&store, &format!("SET {key} {key}")).await, "\"OK\"");
        let kept = nodes.ask(Nodes::of(key), &format!("GET {key}")).await;
        assert_eq!(kept, Value::BulkString(key.as_bytes().to_vec()));
    }
    // A pipeline over all nodes has its replies in its order.
    let gets: Vec<String> = keys.iter().map(|key| format!("GET {key}")).collect();
    let gets: Vec<&str> = gets.iter().map(String::as_str).collect();
    let expected: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    assert_eq!(run(&store, &gets, false).await.unwrap(), expected);
    // What must run together must be of one slot.
    let together = ["SET {t}a 1", "INCR {t}a", "GET {t}a"];
    assert_eq!(
        run(&store, &together, true).await.unwrap(),
        ["\"OK\"", "2", "\"2\""]
    );
    for (texts, atomic) in [
        (&["SET cache:1 a", "SET cache:2 b"][..], true),
        (&["MGET cache:1 cache:2"], false),
        (&["KEYS *"], false),
        (&["SCAN 0"], false),
    ] {
        let error = run(&store, texts, atomic).await.unwrap_err();
        let problem = error.problem();
        assert_eq!(problem.code, Code::RequestInvalid, "{texts:?}");
        assert!(problem.detail.contains("cluster"), "{}", problem.detail);
    }
    assert_eq!(
        one(&store, "GET cache:1").await,
        "\"cache:1\"",
        "nothing ran"
    );
    // Scripts are stored everywhere, and what waits waits at its node.
    let digest = one(&store, "SCRIPT LOAD return").await;
    let digest = digest.trim_matches('"');
    assert_eq!(one(&store, &format!("SCRIPT EXISTS {digest}")).await, "[1]");
    for key in ["cache:1", "cache:2", "cache:3"] {
        assert_eq!(
            one(&store, &format!("EVALSHA {digest} 1 {key}")).await,
            "null"
        );
    }
    nodes.ask(1, "SCRIPT FLUSH").await;
    assert_eq!(one(&store, &format!("SCRIPT EXISTS {digest}")).await, "[0]");
    for key in ["queue:1", "queue:2", "queue:3"] {
        let waiter = {
            let store = store.clone();
            tokio::spawn(async move { one(&store, &format!("BLPOP {key} 20")).await })
        };
        eventually("it waits", async || store.gauges().blocking_in_use == 1).await;
        one(&store, &format!("RPUSH {key} x")).await;
        assert_eq!(waiter.await.unwrap(), format!("[\"{key}\",\"x\"]"));
    }
    // The limiter's scripts are of one key each.
    let link = Link::open(&nodes.settings(), Duration::MAX).unwrap();
    eventually("the limiter's connection is there", async || link.is_up()).await;
    let script = redis::Script::new("return redis.call('INCR', KEYS[1])");
    for number in 0..9 {
        let key = format!("limit:{number}");
        let told = script
            .key(key)
            .invoke_async::<i64>(&mut link.manager())
            .await;
        assert_eq!(told.unwrap(), 1);
    }
    // Several limits are counted in one step.
    let shared = Shared::connect(&nodes.settings()).unwrap();
    let ask = |redis_key| Ask {
        redis_key,
        rate: Rate {
            interval_us: 1_000_000,
            capacity_us: 60_000_000,
        },
        need: 1,
        ahead: 0,
        shadow: false,
    };
    let asks = ["a:key:k", "b:role:r", "c:key:k"].map(|name| format!("{KEY_PREFIX}{name}"));
    let asks: Vec<_> = asks.iter().map(|key| ask(key)).collect();
    eventually("they are counted", async || {
        let answers = shared.step(&asks).await;
        answers.is_ok_and(|answers| {
            answers.len() == 3 && answers.iter().all(|one| one.outcome.allowed)
        })
    })
    .await;
}

#[tokio::test]
async fn slots_that_move_are_followed() {
    let mut nodes = Nodes::start().await;
    let store = RedisStore::connect(&nodes.settings()).unwrap();
    until_up(&store).await;
    let (key, other) = ("{moving}a", "{moving}b");
    let slot = slot_of(key.as_bytes());
    let from = Nodes::of(key);
    let to = (from + 1) % 3;
    one(&store, &format!("SET {key} 1")).await;
    let ids = [
        nodes.text(from, "CLUSTER MYID").await,
        nodes.text(to, "CLUSTER MYID").await,
    ];
    // On its way: a key that has arrived is asked for there, and so is one that is nowhere yet.
    nodes
        .ask(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]))
        .await;
    nodes
        .ask(
            from,
            &format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]),
        )
        .await;
    assert_eq!(one(&store, &format!("GET {key}")).await, "\"1\"");
    let port = nodes.0[to].port;
    let migrated = nodes
        .ask(
            from,
            &format!("MIGRATE 127.0.0.1 {port} {key} 0 5000 AUTH {PASSWORD}"),
        )
        .await;
    assert_eq!(migrated, Value::Okay);
    assert_eq!(one(&store, &format!("GET {key}")).await, "\"1\"");
    assert_eq!(one(&store, &format!("SET {other} 2")).await, "\"OK\"");
    let pipeline = [
        &*format!("INCR {key}"),
        "SET cache:far x",
        &*format!("INCR {key}"),
        &*format!("GET {other}"),
    ];
    assert_eq!(
        run(&store, &pipeline, false).await.unwrap(),
        ["2", "\"OK\"", "3", "\"2\""]
    );
    let atomic = [&*format!("INCR {key}"), &*format!("GET {other}")];
    assert_eq!(run(&store, &atomic, true).await.unwrap(), ["4", "\"2\""]);
    // There: whoever asks the old node is sent on.
    for index in [to, from] {
        nodes
            .ask(index, &format!("CLUSTER SETSLOT {slot} NODE {}", ids[1]))
            .await;
    }
    assert_eq!(one(&store, &format!("GET {key}")).await, "\"4\"");
    assert_eq!(run(&store, &atomic, true).await.unwrap(), ["5", "\"2\""]);
    // A node that is away is said at once for what it has, and the others serve.
    let away = 3 - from - to;
    let theirs = (0..)
        .map(|number| format!("gone:{number}"))
        .find(|key| Nodes::of(key) == away)
        .unwrap();
    let ours = (0..)
        .map(|number| format!("here:{number}"))
        .find(|key| Nodes::of(key) == from)
        .unwrap();
    nodes.0[away].process.kill();
    let get = format!("GET {theirs}");
    assert_eq!(code(&store, &[&get], false).await, Code::StoreUnavailable);
    assert!(store.ping().await.is_err());
    eventually("it is known to be away", async || {
        matches!(
            run(&store, &[&get], false).await,
            Err(Error::Unreached { .. })
        )
    })
    .await;
    // What the other node has done of the same request is done.
    let set = format!("SET {ours} 1");
    let in_part = run(&store, &[&set, &get], false).await;
    assert!(
        matches!(in_part, Err(Error::Unavailable { .. })),
        "{in_part:?}"
    );
    assert_eq!(one(&store, &format!("GET {ours}")).await, "\"1\"");
    nodes.0[away].restart();
    eventually("it serves again", async || {
        run(&store, &[&get], false).await.is_ok()
    })
    .await;
}
