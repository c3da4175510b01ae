//! Rate limits end to end: what a policy may say of them, what callers are told, overrides.

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};

use crate::isolation::postgres;
use crate::stream::open;
use crate::support::{self, Dev, Reply, Sidecar, eventually, shared};

/// The example policy with these limits in place of its own, and the role `app` as `role` says.
pub fn policy(dev: &Dev, limits: &str, role: &str) -> tempfile::TempDir {
    let mut policy = dev.policy();
    let limits: toml::Table = limits.parse().unwrap();
    policy.insert("rate_limits".into(), limits.into());
    let app = policy["roles"]["app"].as_table_mut().unwrap();
    app.remove("rate_limit");
    app.extend(role.parse::<toml::Table>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), policy.to_string()).unwrap();
    folder
}

/// A sidecar under such a policy.
pub async fn sidecar(dev: &Dev, limits: &str, role: &str) -> (Sidecar, tempfile::TempDir) {
    let folder = policy(dev, limits, role);
    let sidecar = Sidecar::start_under(dev, folder.path()).await;
    (sidecar, folder)
}

pub async fn get_key(sidecar: &Sidecar, key: &str) -> Reply {
    let body = json!({"command": ["GET", "cache:limits"]});
    sidecar.post(key, "/v1/redis/command", &body).await
}

async fn sql(sidecar: &Sidecar, key: &str, sql: &str, params: Value) -> Reply {
    let body = json!({"sql": sql, "params": params});
    sidecar.post(key, "/v1/mysql/query", &body).await
}

pub async fn whoami(sidecar: &Sidecar, key: &str) -> Reply {
    let headers = [("x-api-key", key.to_owned())];
    support::send(
        Method::GET,
        &format!("{}/v1/whoami", sidecar.http),
        &headers,
        None,
    )
    .await
}

pub fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply
        .headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn statements_cost_by_what_they_do_and_where() {
    let dev = shared();
    // Slow enough that nothing comes back while the test runs.
    let (sidecar, _folder) = sidecar(
        dev,
        "[all]\nrequests = 1\nper = '1h'\nburst = 40\nmode = 'exact'\non_redis_failure = 'closed'\n\
         [writes]\nrequests = 1\nper = '1h'\nburst = 10\nmode = 'exact'\nstores = ['mysql']\n\
         actions = ['update', 'delete']\ncost = { delete = 5 }\non_redis_failure = 'closed'\n",
        "rate_limits = ['all', 'writes']",
    )
    .await;
    // On a busy machine Redis may answer too late, and may have counted what was refused: another key then.
    for attempt in 0..10 {
        let key = dev.new_key(&format!("limits-cost-{attempt}"));
        if costs(&sidecar, &key).await {
            return;
        }
    }
    panic!("Redis never answers in time");
}

/// Whether Redis has always answered in time.
async fn costs(sidecar: &Sidecar, key: &str) -> bool {
    let delete = "DELETE FROM posts WHERE id = ?";
    let update = "UPDATE posts SET title = 'x' WHERE id = ?";
    let select = "SELECT id FROM posts WHERE id = ?";
    // What is left of each limit afterwards; what is refused costs neither of them anything.
    let cases = [
        (select, 200, 39, None),
        (delete, 200, 38, Some(5)),
        (update, 200, 37, Some(4)),
        (delete, 429, 37, Some(4)),
        (delete, 429, 37, Some(4)),
        (update, 200, 36, Some(3)),
        (select, 200, 35, None),
    ];
    for (statement, status, all, writes) in cases {
        let reply = sql(sidecar, key, statement, json!([-1])).await;
        if reply.code() == "rate_limit.unavailable" {
            return false;
        }
        assert_eq!(reply.status, status, "{statement}: {}", reply.text);
        let left = header(&reply, "ratelimit");
        let all = format!("\"all\";r={all};");
        let writes = writes.map(|writes: u32| format!("\"writes\";r={writes};"));
        let expected: Vec<String> = [all].into_iter().chain(writes).collect();
        for part in &expected {
            assert!(left.contains(part), "{part} is not in {left}");
        }
        assert_eq!(left.split(", ").count(), expected.len(), "{left}");
        if status == 429 {
            assert!(reply.text.contains("rate limit `writes`"), "{}", reply.text);
            assert!(!header(&reply, "retry-after").is_empty());
            assert!(header(&reply, "ratelimit-policy").contains("\"writes\";q=1;w=3600"));
        }
    }
    true
}

#[tokio::test]
async fn streams_and_whoami_tell_the_limits_and_the_role_shares_one() {
    let dev = shared();
    let (sidecar, _folder) = sidecar(
        dev,
        "[each]\nrequests = 1000\nper = '1h'\nmode = 'exact'\nconcurrent = 7\n\
         [together]\nrequests = 1\nper = '1h'\nburst = 6\nper_what = 'role'\nmode = 'exact'\n",
        "rate_limits = ['each', 'together']",
    )
    .await;
    let keys = [dev.new_key("limits-one"), dev.new_key("limits-other")];
    let body = json!({"sql": "SELECT 1 AS n"});
    let accept = [("accept", "application/x-ndjson")];
    let reply = open(&sidecar.http, &keys[0], "/v1/mysql/query", &accept, &body).await;
    let policy = reply.headers()["ratelimit-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    for part in [
        "\"each\";q=1000;w=3600",
        "\"each:concurrent\";q=7;qu=\"concurrent-requests\"",
        "\"together\";q=1;w=3600",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(reply.headers().contains_key("ratelimit"));
    reply.into_body().collect().await.unwrap();

    eventually("the limits are told", || async {
        whoami(&sidecar, &keys[1]).await.body["limits"][0]["remaining"] == 1000
    })
    .await;
    let told = whoami(&sidecar, &keys[1]).await;
    assert_eq!(told.body["limits"][0]["policy"], "each", "{}", told.text);
    assert_eq!(
        told.body["limits"][1],
        json!({"policy": "each", "per": "key", "concurrent": 7, "in_flight": 0})
    );
    assert_eq!(told.body["limits"][2]["per"], "role");
    // Where Redis was late, what is left is not known, and not told.
    eventually("what is left is told in the header, too", || async {
        let told = whoami(&sidecar, &keys[1]).await;
        header(&told, "ratelimit").contains("\"each\";r=1000;")
    })
    .await;

    // The role's limit is used up by both keys together; a few may be counted here where Redis was late.
    let mut admitted = 0;
    for round in 0..30 {
        admitted += u32::from(get_key(&sidecar, &keys[round % 2]).await.status == 200);
    }
    assert!((3..=10).contains(&admitted), "{admitted}");
    for key in &keys {
        assert_eq!(get_key(&sidecar, key).await.status, 429);
    }
}

#[tokio::test]
async fn what_is_in_flight_is_bounded_for_streams_too() {
    let dev = shared();
    let (sidecar, _folder) = sidecar(
        dev,
        "[few]\nconcurrent = 2\n[quiet]\nconcurrent = 1\nshadow = true\n",
        "rate_limits = ['few', 'quiet']",
    )
    .await;
    let (key, other) = (
        dev.new_key("limits-flight"),
        dev.new_key("limits-flight-other"),
    );
    // Larger than what waits in sockets, so that the streams stay open while nobody reads them.
    let body =
        json!({"sql": "SELECT repeat('x', 1000) AS t, i FROM generate_series(1, 2000000) AS i"});
    let accept = [("accept", "application/x-ndjson")];
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(open(&sidecar.http, &key, "/v1/postgres/query", &accept, &body).await);
    }
    let refused = get_key(&sidecar, &key).await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "rate_limit.exceeded"),
        "{}",
        refused.text
    );
    assert!(header(&refused, "ratelimit").contains("\"few:concurrent\";r=0"));
    assert_eq!(header(&refused, "retry-after"), "1");
    let stream = open(
        &sidecar.http,
        &key,
        "/v1/mysql/query",
        &accept,
        &json!({"sql": "SELECT 1"}),
    )
    .await;
    assert_eq!(stream.status(), 429);
    assert!(stream.headers().contains_key("ratelimit-policy"));
    assert_eq!(get_key(&sidecar, &other).await.status, 200);
    // The end of a stream gives its place up, also where it is the client that leaves.
    streams.pop();
    eventually("there is room again", || async {
        get_key(&sidecar, &key).await.status == 200
    })
    .await;
    let series = |outcome: &str| format!("bulkhead_rate_limit_total{{outcome=\"{outcome}\"}}");
    let counted = sidecar.metric(&series("concurrent_refused")).await;
    assert!(counted >= 2.0, "{counted}");
    let spared = sidecar.metric(&series("shadow_refused")).await;
    assert!(spared >= 1.0, "{spared}");
    drop(streams);
}

#[tokio::test]
async fn a_limit_in_shadow_mode_refuses_nothing_and_counts() {
    let dev = shared();
    let (sidecar, _folder) = sidecar(
        dev,
        "[trial]\nrequests = 1\nper = '1h'\nburst = 3\nmode = 'exact'\nshadow = true\n",
        "rate_limit = 'trial'",
    )
    .await;
    let key = dev.new_key("limits-shadow");
    for _ in 0..20 {
        let reply = get_key(&sidecar, &key).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let spared = sidecar
        .metric("bulkhead_rate_limit_total{outcome=\"shadow_refused\"}")
        .await;
    assert!((14.0..=17.0).contains(&spared), "{spared}");
}

/// Waits until what is told of the first limit has so many requests.
async fn until_limit(sidecar: &Sidecar, key: &str, requests: u32) -> std::time::Duration {
    let began = std::time::Instant::now();
    eventually("the override is in force", || async {
        whoami(sidecar, key).await.body["limits"][0]["limit"] == requests
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn overrides_hold_for_keys_users_and_roles_until_they_expire() {
    let dev = Dev::start();
    let (sidecar, _folder) = sidecar(
        &dev,
        "[base]\nrequests = 100\nper = '1m'\n[second]\nrequests = 7\nper = '1m'\n",
        "rate_limits = ['base', 'second']",
    )
    .await;
    let key = dev.new_key("limits-override");
    let id = whoami(&sidecar, &key).await.body["key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let client = postgres(&dev).await;
    let user = format!("UPDATE api_keys SET user_id = 'ada' WHERE id = '{id}'");
    client.batch_execute(&user).await.unwrap();
    until_limit(&sidecar, &key, 100).await;
    let insert = |subject: &str, requests: u32, rest: &str| {
        let (columns, values) = rest.split_once('=').unwrap_or_default();
        format!(
            "INSERT INTO rate_limit_overrides (requests, per_ms, {subject}{columns}) \
             SELECT {requests}, 60000, '{}'{values}",
            match subject {
                "key_id" => id.as_str(),
                "user_id" => "ada",
                _ => "app",
            }
        )
    };
    let mut took = Vec::new();
    for (sql, expected) in [
        (insert("role", 11, ""), 11),
        (insert("user_id", 12, ""), 12),
        (insert("key_id", 13, ""), 13),
        (
            "UPDATE rate_limit_overrides SET requests = 14 WHERE key_id IS NOT NULL".into(),
            14,
        ),
        (
            "DELETE FROM rate_limit_overrides WHERE key_id IS NOT NULL".into(),
            12,
        ),
        (
            insert("key_id", 15, ", expires_at=, now() + interval '2 s'"),
            15,
        ),
    ] {
        client.batch_execute(&sql).await.unwrap();
        took.push(until_limit(&sidecar, &key, expected).await);
    }
    println!("overrides took effect within {took:?}");
    // It expires by itself, and the other limit is as the policy says.
    until_limit(&sidecar, &key, 12).await;
    let told = whoami(&sidecar, &key).await;
    assert_eq!(told.body["limits"][1]["limit"], 7, "{}", told.text);
    client
        .batch_execute(&insert("role", 3, ", rate_limit=, 'second'"))
        .await
        .unwrap();
    eventually("the second limit is another", || async {
        whoami(&sidecar, &key).await.body["limits"][1]["limit"] == 3
    })
    .await;

    // While PostgreSQL is away the last known stay in force, and expire.
    let late = insert("key_id", 16, ", expires_at=, now() + interval '6 s'");
    client
        .batch_execute("DELETE FROM rate_limit_overrides WHERE key_id IS NOT NULL")
        .await
        .unwrap();
    until_limit(&sidecar, &key, 12).await;
    client.batch_execute(&late).await.unwrap();
    until_limit(&sidecar, &key, 16).await;
    dev.tell("kill postgres");
    until_limit(&sidecar, &key, 16).await;
    until_limit(&sidecar, &key, 12).await;
    dev.tell("start postgres");
    let client = postgres(&dev).await;
    client
        .batch_execute("DELETE FROM rate_limit_overrides")
        .await
        .unwrap();
    until_limit(&sidecar, &key, 100).await;
}
