//! Against a real Redis, over TLS.

use std::time::{Duration, Instant};

use super::*;
use crate::error::{Code, PublicError as _};
use crate::execute::private_servers::{RedisServer, ticket};

pub(super) fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

pub(super) fn commands(texts: &[&str], atomic: bool) -> Payload {
    Payload::Redis {
        commands: texts.iter().map(|text| words(text)).collect(),
        atomic,
    }
}

pub(super) async fn run(
    store: &RedisStore,
    texts: &[&str],
    atomic: bool,
) -> Result<Vec<String>, Error> {
    let ticket = ticket("k1", Store::Redis, commands(texts, atomic), Vec::new());
    let replies = store.execute(ticket, None).await?;
    Ok(replies.iter().map(json).collect())
}

/// A store whose first connection, which a busy machine may take a while to make, is there.
async fn connected(settings: &RedisSettings) -> RedisStore {
    let store = RedisStore::connect(settings).unwrap();
    until_up(&store).await;
    store
}

pub(super) async fn until_up(store: &RedisStore) {
    let start = Instant::now();
    while store.ping().await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "no connection");
        // An answer that waits for nothing would keep this thread from connecting.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn one(store: &RedisStore, text: &str) -> String {
    match run(store, &[text], false).await {
        Ok(replies) => replies[0].clone(),
        Err(error) => panic!("{text}: {error}"),
    }
}

pub(super) fn json(reply: &RedisReply) -> String {
    match reply {
        RedisReply::Value(value) => {
            let mut out = Vec::new();
            redis_json::write(&mut out, value, usize::MAX).unwrap();
            String::from_utf8(out).unwrap()
        }
        RedisReply::Error(error) => format!("error {error}"),
    }
}

pub(super) async fn code(store: &RedisStore, texts: &[&str], atomic: bool) -> Code {
    run(store, texts, atomic).await.unwrap_err().problem().code
}

#[tokio::test]
async fn replies_have_their_types() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    let cases = [
        ("SET cache:x 1", r#""OK""#),
        ("INCR cache:x", "2"),
        ("GET cache:x", r#""2""#),
        ("GET cache:none", "null"),
        ("HSET session:1 a 1 b 2", "2"),
        ("HGETALL session:1", r#"{"a":"1","b":"2"}"#),
        ("SADD cache:s m", "1"),
        ("SMEMBERS cache:s", r#"["m"]"#),
        ("ZADD cache:z 1.5 m inf n", "2"),
        (
            "ZRANGE cache:z 0 -1 WITHSCORES",
            r#"[["m",1.5],["n","inf"]]"#,
        ),
        ("EXISTS cache:x cache:none", "1"),
        ("XADD queue:s 1-1 f v", r#""1-1""#),
        (
            "XREAD STREAMS queue:s 0",
            r#"{"queue:s":[["1-1",["f","v"]]]}"#,
        ),
        (
            "LPUSH cache:x y",
            "error WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "NOSUCH",
            "error ERR unknown command 'NOSUCH', with args beginning with: ",
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(one(&store, command).await, expected, "{command}");
    }
    store.ping().await.unwrap();
    assert!(store.gauges().up);
}

#[tokio::test]
async fn bytes_go_and_come_as_they_are() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    let all: Vec<u8> = (0..=255).chain(*b"\r\n$5\r\n*1\r\n").collect();
    let set = Payload::Redis {
        commands: vec![vec![b"SET".to_vec(), all.clone(), all.clone()]],
        atomic: false,
    };
    store
        .execute(ticket("k1", Store::Redis, set, Vec::new()), None)
        .await
        .unwrap();
    let get = Payload::Redis {
        commands: vec![vec![b"GET".to_vec(), all.clone()]],
        atomic: false,
    };
    let replies = store
        .execute(ticket("k1", Store::Redis, get, Vec::new()), None)
        .await
        .unwrap();
    assert_eq!(replies, [RedisReply::Value(Value::BulkString(all))]);
}

#[tokio::test]
async fn a_pipeline_answers_each_command() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    let texts = ["SET cache:a 1", "HGET cache:a f", "GET cache:a"];
    let wrong = "error WRONGTYPE Operation against a key holding the wrong kind of value";
    for atomic in [false, true] {
        let replies = run(&store, &texts, atomic).await.unwrap();
        assert_eq!(replies, ["\"OK\"", wrong, "\"1\""], "atomic: {atomic}");
    }
    // What cannot be queued stops an atomic pipeline before anything runs.
    let error = run(&store, &["SET cache:b 1", "GET"], true)
        .await
        .unwrap_err();
    assert_eq!(
        error.problem().detail,
        "nothing was run, since command 2 was refused: ERR wrong number of arguments for 'get' command"
    );
    assert_eq!(one(&store, "EXISTS cache:b").await, "0");
    assert!(run(&store, &[], true).await.unwrap().is_empty());
    // The connection is as it was.
    assert_eq!(one(&store, "GET cache:a").await, "\"1\"");
}

#[tokio::test]
async fn a_waiting_command_holds_up_nobody() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    one(&store, "PING").await;
    let max = server.settings().blocking.max;
    let waiting: Vec<_> = (0..max)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { run(&store, &["BLPOP queue:q 5"], false).await })
        })
        .collect();
    while store.gauges().blocking_in_use < max {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    assert_eq!(one(&store, "PING").await, "\"PONG\"");
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(
        code(&store, &["BLPOP queue:q 5"], false).await,
        Code::PoolExhausted
    );
    for number in 0..max {
        one(&store, &format!("RPUSH queue:q {number}")).await;
    }
    for waiter in waiting {
        let replies = waiter.await.unwrap().unwrap();
        assert!(replies[0].starts_with(r#"["queue:q","#), "{replies:?}");
    }
    assert_eq!(one(&store, "BLPOP queue:q 0.01").await, "null");
    assert_eq!(store.gauges().blocking_in_use, 0);
}

/// One key does not take all the connections that wait, and what is abandoned is free again.
#[tokio::test]
async fn a_key_has_its_part_of_the_waiting_connections() {
    let server = RedisServer::start();
    let mut settings = server.settings();
    settings.blocking = BlockingSettings {
        max: 3,
        per_key_max: 2,
    };
    let store = connected(&settings).await;
    let wait = |key_id: &'static str| {
        let store = store.clone();
        tokio::spawn(async move {
            let payload = commands(&["BLPOP queue:q 20"], false);
            let ticket = ticket(key_id, Store::Redis, payload, Vec::new());
            store.execute(ticket, None).await
        })
    };
    let taken = async |count| {
        while store.gauges().blocking_in_use != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let many = [wait("many"), wait("many")];
    taken(2).await;
    let refused = wait("many").await.unwrap();
    assert!(
        matches!(refused, Err(Error::PoolExhausted { .. })),
        "{refused:?}"
    );
    let single = wait("single");
    taken(3).await;
    let refused = wait("another").await.unwrap();
    assert!(
        matches!(refused, Err(Error::PoolExhausted { .. })),
        "{refused:?}"
    );
    for waiter in many {
        waiter.abort();
    }
    taken(1).await;
    let again = wait("many");
    taken(2).await;
    one(&store, "RPUSH queue:q a b").await;
    for waiter in [single, again] {
        assert!(waiter.await.unwrap().is_ok());
    }
    taken(0).await;
}

/// Commands of callers who leave at any moment, whole or in the middle: everybody else's replies are their own.
#[tokio::test]
async fn who_leaves_takes_nobody_elses_reply() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    for number in 0..200_u64 {
        let value = format!("SET cache:{number} {number}");
        one(&store, &value).await;
        let get = format!("GET cache:{number}");
        let leaving = [&*value, "LPUSH cache:0 x", &*get];
        let leaves = run(&store, &leaving, number % 2 == 0);
        let patience = Duration::from_micros(number * 5 % 400);
        let _ = tokio::time::timeout(patience, leaves).await;
        assert_eq!(one(&store, &get).await, format!("\"{number}\""));
        // One that cannot be queued leaves no transaction open.
        let unqueued = ["SET cache:astray x", "GET"];
        assert!(run(&store, &unqueued, true).await.is_err());
        assert_eq!(one(&store, &get).await, format!("\"{number}\""));
    }
    assert_eq!(one(&store, "EXISTS cache:astray").await, "0");
    // A script that changes the connection's database changes that of no other command.
    let script = Payload::Redis {
        commands: vec![vec![
            b"EVAL".to_vec(),
            b"redis.call('SELECT', 1); return redis.call('SET', KEYS[1], 'astray')".to_vec(),
            b"1".to_vec(),
            b"cache:1".to_vec(),
        ]],
        atomic: false,
    };
    let ticket = ticket("k1", Store::Redis, script, Vec::new());
    store.execute(ticket, None).await.unwrap();
    assert_eq!(one(&store, "GET cache:1").await, "\"1\"");
}

#[tokio::test]
async fn an_abandoned_wait_takes_nothing() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    one(&store, "PING").await;
    let abandoned = tokio::time::timeout(
        Duration::from_millis(200),
        run(&store, &["BLPOP queue:q 20"], false),
    );
    assert!(abandoned.await.is_err());
    tokio::time::sleep(Duration::from_millis(100)).await;
    one(&store, "RPUSH queue:q x").await;
    assert_eq!(one(&store, "LLEN queue:q").await, "1");
}

#[tokio::test]
async fn away_is_said_at_once_and_return_is_noticed() {
    let mut server = RedisServer::start();
    let store = connected(&server.settings()).await;
    one(&store, "PING").await;
    server.process.kill();
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
    tokio::time::sleep(Duration::from_millis(link::RECONNECT_WAIT_MS_MAX)).await;
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
    let start = Instant::now();
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
    assert!(
        start.elapsed() < Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    assert!(!store.gauges().up);
    server.restart();
    let back = Instant::now();
    while run(&store, &["PING"], false).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_starts_before_its_server() {
    let mut server = RedisServer::start();
    server.process.kill();
    let store = RedisStore::connect(&server.settings()).unwrap();
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
    server.restart();
    let back = Instant::now();
    while run(&store, &["PING"], false).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_stalled_server_times_out_and_replies_do_not_mix() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    one(&store, "SET cache:a mine").await;
    server.process.signal("STOP");
    assert_eq!(
        code(&store, &["GET cache:a"], false).await,
        Code::StoreTimeout
    );
    let start = Instant::now();
    // The stall is known now: others do not wait for it as long.
    assert_eq!(
        code(&store, &["GET cache:a"], false).await,
        Code::StoreUnavailable
    );
    assert!(start.elapsed() < Duration::from_millis(link::RECONNECT_WAIT_MS_MAX + 200));
    server.process.signal("CONT");
    let back = Instant::now();
    while run(&store, &["GET cache:none"], false).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(one(&store, "GET cache:a").await, "\"mine\"");
}

#[tokio::test]
async fn too_many_at_once_are_refused() {
    let server = RedisServer::start();
    let mut settings = server.settings();
    settings.in_flight_max = 1;
    settings.command_timeout_ms = 200;
    let store = connected(&settings).await;
    let slot = store.0.in_flight.try_take().unwrap();
    assert_eq!(code(&store, &["PING"], false).await, Code::PoolExhausted);
    // What waits in Redis, on a connection of its own, is not counted.
    assert_eq!(one(&store, "BLPOP queue:q 0.01").await, "null");
    drop(slot);
    one(&store, "PING").await;
}

#[tokio::test]
async fn a_wrong_name_or_password_is_unavailable() {
    let server = RedisServer::start();
    let mut settings = server.settings();
    settings.password = Some("wrong".to_owned().into());
    let store = RedisStore::connect(&settings).unwrap();
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
    // The certificate names loopback's address and `localhost`, not its other spellings.
    let mut settings = server.settings();
    settings.url = format!("rediss://127.0.0.2:{}", server.port).into();
    let store = RedisStore::connect(&settings).unwrap();
    assert_eq!(code(&store, &["PING"], false).await, Code::StoreUnavailable);
}

/// A reply beyond its bound is thrown away while it comes, and nobody else notices.
#[tokio::test]
async fn a_reply_that_is_too_large_costs_itself_alone() {
    let server = RedisServer::start();
    let mib = 1 << 20;
    let bounds = Bounds {
        replies_bytes_max: 2 * mib,
        ..Bounds::default()
    };
    let store = RedisStore::bounded(&server.settings(), bounds).unwrap();
    until_up(&store).await;
    one(&store, &format!("SETRANGE cache:small {} x", mib / 10 * 9)).await;
    one(&store, &format!("SETRANGE cache:large {} x", 20 * mib)).await;
    one(&store, "SET cache:a mine").await;
    let error = run(&store, &["GET cache:large"], false).await.unwrap_err();
    let problem = error.problem();
    assert_eq!(problem.code, Code::RequestInvalid);
    assert!(problem.detail.contains("GETRANGE"), "{}", problem.detail);
    for atomic in [false, true] {
        let texts = ["GET cache:small"; 3];
        let seen = run(&store, &texts, atomic).await;
        match seen {
            // Two fit, and the third says that it does not.
            Ok(replies) => {
                let large: Vec<_> = replies.iter().map(|reply| reply.len() > mib / 2).collect();
                assert_eq!(large, [true, true, false], "atomic: {atomic}");
                assert!(replies[2].starts_with("error the command ran"));
            }
            // All of a transaction's results are one reply.
            Err(error) => assert!(atomic, "{error}"),
        }
    }
    assert_eq!(one(&store, "GET cache:a").await, "\"mine\"");
    assert!(store.gauges().up);
}

/// Every type that a script can return, as version 3 of the protocol has it.
#[tokio::test]
async fn every_type_of_the_protocol_is_shown() {
    let server = RedisServer::start();
    let store = connected(&server.settings()).await;
    for (script, expected) in [
        ("return false", "null"),
        ("return 9007199254740993", "9007199254740992"),
        ("redis.setresp(3); return true", "true"),
        ("return {double=0.1}", "0.1"),
        ("return {double=1e300}", "1e300"),
        ("return {double=1/0}", "\"inf\""),
        ("return {double=-1/0}", "\"-inf\""),
        ("return {double=0/0}", "\"nan\""),
        (
            "return {big_number='123456789012345678901234567890'}",
            "\"123456789012345678901234567890\"",
        ),
        (
            "return {verbatim_string={format='txt',string='as is'}}",
            "\"as is\"",
        ),
        ("return {map={a=1}}", "{\"a\":1}"),
        ("return {set={m=true}}", "[\"m\"]"),
        ("return {1,{'x',{ok='fine'}}}", "[1,[\"x\",\"fine\"]]"),
        ("return {err='ERR of mine'}", "error ERR of mine"),
        ("return '\\255\\0'", "{\"$base64\":\"/wA=\"}"),
    ] {
        let payload = Payload::Redis {
            commands: vec![vec![b"EVAL".to_vec(), script.into(), b"0".to_vec()]],
            atomic: false,
        };
        let ticket = ticket("k1", Store::Redis, payload, Vec::new());
        let replies = store.execute(ticket, None).await.unwrap();
        let seen = json(&replies[0]).replace("-nan", "nan");
        assert_eq!(seen, expected, "{script}");
    }
}
