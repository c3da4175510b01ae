//! `policy diff`: every kind of rule has its words, and a replay tells which requests turn.

use std::collections::BTreeSet;

use bulkhead::command::Exit;
use serde_json::Value;

use super::policy;

/// Runs `policy diff` on two texts.
fn diff(old: &str, new: &str, more: &[&str]) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (old, new) = (path("old.toml", old), path("new.toml", new));
    let mut arguments = vec!["diff", &old, &new];
    arguments.extend(more);
    policy(&arguments, "")
}

/// Two policies that differ in each way.
pub const OLD: &str = "version = 1\n[stores.mysql]\ndatabase = 'd'\ntables = ['a', 'b']\n[stores.redis]\nkeys = ['k:*']\n\
    [rate_limits.l]\nrequests = 1\nper = '1s'\n\
    [roles.app]\nrate_limit = 'l'\n[[roles.app.grants]]\nstore = 'mysql'\ntables = ['a']\nactions = ['select', 'update']\n\
    [roles.gone]\n[[roles.gone.grants]]\nstore = 'redis'\nkeys = ['*']\nactions = ['read']\n";
const NEW: &str = "version = 1\n[stores.mysql]\ndatabase = 'd'\ntables = ['a', 'b', 'c']\nfunctions = ['f']\n[stores.redis]\nkeys = ['k:*']\n\
    [roles.app]\n[[roles.app.grants]]\nstore = 'mysql'\ntables = ['a', 'c']\nactions = ['select']\ndeny_columns = ['secret']\n\
    [[roles.app.deny]]\nstore = 'mysql'\ntables = ['b']\n";

#[test]
fn a_difference_is_told_by_role_object_and_action() {
    let (outcome, output, errors) = diff(OLD, OLD, &[]);
    assert_eq!((outcome, errors.as_str()), (Exit::Done, ""), "{output}");
    let (outcome, output, _) = diff(OLD, NEW, &[]);
    assert_eq!(outcome, Exit::No);
    for expected in [
        "every role\n",
        "  + mysql c: lives here\n",
        "  + mysql f: may be called\n",
        "role app\n",
        "  + mysql c: select\n",
        "  - mysql a: update\n",
        "  ~ mysql a: deny_columns = [\"secret\"], before nothing\n",
        "  ~ no rate_limits, before \"l\" (requests = 1, per = \"1s\", burst = 1)\n",
        "  - mysql b: deny select insert update delete ddl, before nothing\n",
        "role gone\n",
        "  - the role is removed\n",
        "  - redis k:*: read\n",
    ] {
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
}

/// Says something with every key that the format has.
const WHOLE: &str = r#"version = 1
mode = "enforce"
mask_salt = "old pepper"
[stores.postgres]
schema = "public"
tables = ["p", "app.q"]
functions = ["pf"]
[stores.mysql]
database = "shop"
tables = ["a", "b"]
functions = ["mf"]
[stores.mongodb]
database = "docs"
collections = ["c", "d"]
[stores.redis]
keys = ["k:*", "l:*"]
scripts = ["5332031c6b470dc5a0dd9b4bf2030dea6d65de91"]
[rate_limits.slow]
requests = 10
per = "1m"
burst = 2
[rate_limits.fast]
requests = 10
per = "1s"
[roles.other]
rate_limit = "fast"
[[roles.other.grants]]
store = "postgres"
tables = ["p"]
actions = ["select"]
[roles.r]
description = "r"
rate_limit = "slow"
mode = "enforce"
timeout_ms = 100
audit = "writes"
[[roles.r.grants]]
store = "mysql"
tables = ["a"]
actions = ["select", "update"]
columns = ["id", "x", "y"]
deny_columns = ["z"]
mask_columns = { x = "hash" }
rows = "id = :caller.user_id"
require_where = true
max_rows = 10
timeout_ms = 50
audit = "all"
[[roles.r.grants]]
store = "mongodb"
collections = ["c"]
actions = ["find"]
hours = "mon-fri 08:00-18:00 UTC"
[[roles.r.grants]]
store = "redis"
keys = ["k:*"]
actions = ["read"]
[[roles.r.deny]]
store = "mysql"
tables = ["b"]
actions = ["delete"]
[[roles.r.deny]]
store = "mongodb"
collections = ["d"]
[[roles.r.deny]]
store = "redis"
keys = ["l:*"]
"#;

/// For each key of the format: what stands there, what replaces it, and the line that tells so.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    (
        "mode",
        "mode = \"enforce\"\nmask_salt",
        "mode = \"shadow\"\nmask_salt",
        "role other\n  + mode = shadow, before enforce",
    ),
    (
        "mask_salt",
        "old pepper",
        "new pepper",
        "~ mask_salt changed: columns masked",
    ),
    (
        "mask_salt",
        "mask_salt = \"old pepper\"\n",
        "",
        "~ mask_salt removed: columns masked",
    ),
    (
        "stores.postgres.schema",
        "schema = \"public\"",
        "schema = \"app\"",
        "~ postgres: schema = app, before public",
    ),
    (
        "stores.postgres.tables",
        "\"p\", ",
        "\"p\", \"z\", ",
        "+ postgres z: lives here",
    ),
    (
        "stores.postgres.functions",
        "\"pf\"",
        "",
        "- postgres pf: may be called no more",
    ),
    (
        "stores.mysql.database",
        "\"shop\"",
        "\"mall\"",
        "~ mysql: database = mall, before shop",
    ),
    (
        "stores.mysql.tables",
        "tables = [\"a\", \"b\"]",
        "tables = [\"a\", \"b\", \"z\"]",
        "+ mysql z: lives here",
    ),
    (
        "stores.mysql.functions",
        "\"mf\"",
        "\"mf\", \"mg\"",
        "+ mysql mg: may be called",
    ),
    (
        "stores.mongodb.database",
        "\"docs\"",
        "\"papers\"",
        "~ mongodb: database = papers, before docs",
    ),
    (
        "stores.mongodb.collections",
        "\"c\", \"d\"",
        "\"c\", \"d\", \"e\"",
        "+ mongodb e: lives here",
    ),
    (
        "stores.redis.keys",
        "\"k:*\", ",
        "\"k:*\", \"n:*\", ",
        "+ redis n:*: lives here",
    ),
    (
        "stores.redis.scripts",
        "5332",
        "6332",
        "+ redis 6332031c6b470dc5a0dd9b4bf2030dea6d65de91: may be called",
    ),
    (
        "roles.rate_limit",
        "rate_limit = \"slow\"\n",
        "",
        "~ no rate_limits, before \"slow\" (requests = 10, per = \"1m\", burst = 2)",
    ),
    (
        "roles.mode",
        "rate_limit = \"slow\"\nmode = \"enforce\"",
        "rate_limit = \"slow\"\nmode = \"shadow\"",
        "+ mode = shadow, before enforce",
    ),
    (
        "roles.timeout_ms",
        "timeout_ms = 100",
        "timeout_ms = 99",
        "~ timeout_ms = 99, before 100",
    ),
    (
        "roles.audit",
        "audit = \"writes\"\n",
        "",
        "~ no audit, before \"writes\"",
    ),
    (
        "roles.grants",
        "[\"find\"]",
        "[\"find\", \"insert\"]",
        "+ mongodb c: insert mon-fri 08:00-18:00 UTC",
    ),
    (
        "roles.deny",
        "[[roles.r.deny]]\nstore = \"redis\"\nkeys = [\"l:*\"]\n",
        "",
        "+ redis l:*: no deny, before read write",
    ),
    (
        "grants.store",
        "store = \"postgres\"\ntables = [\"p\"]",
        "store = \"mysql\"\ntables = [\"b\"]",
        "+ mysql b: select",
    ),
    (
        "grants.tables",
        "tables = [\"a\"]",
        "tables = [\"a\", \"b\"]",
        "+ mysql b: select",
    ),
    (
        "grants.collections",
        "collections = [\"c\"]\nactions",
        "collections = [\"d\"]\nactions",
        "- mongodb c: find mon-fri 08:00-18:00 UTC",
    ),
    (
        "grants.keys",
        "keys = [\"k:*\"]",
        "keys = [\"k:1:*\"]",
        "~ redis k:1:*: read as before within k:*",
    ),
    (
        "grants.actions",
        "[\"select\", \"update\"]",
        "[\"select\", \"update\", \"insert\"]",
        "+ mysql a: insert",
    ),
    (
        "grants.columns",
        "columns = [\"id\", \"x\", \"y\"]\n",
        "",
        "~ mysql a: no columns, before [\"id\", \"x\", \"y\"]",
    ),
    (
        "grants.deny_columns",
        "deny_columns = [\"z\"]",
        "deny_columns = [\"w\"]",
        "~ mysql a: deny_columns = [\"w\"], before [\"z\"]",
    ),
    (
        "grants.mask_columns",
        "x = \"hash\"",
        "x = \"partial\"",
        "~ mysql a: mask_columns = { x = \"partial\" }, before { x = \"hash\" }",
    ),
    (
        "grants.rows",
        ":caller.user_id\"",
        ":caller.user_id OR x IS NULL\"",
        "~ mysql a: rows = \"id = :caller.user_id OR x IS NULL\", before \"id = :caller.user_id\"",
    ),
    (
        "grants.require_where",
        "require_where = true\n",
        "",
        "~ mysql a: no require_where, before true",
    ),
    (
        "grants.max_rows",
        "max_rows = 10",
        "max_rows = 11",
        "~ mysql a: max_rows = 11, before 10",
    ),
    (
        "grants.timeout_ms",
        "timeout_ms = 50",
        "timeout_ms = 51",
        "~ mysql a: timeout_ms = 51, before 50",
    ),
    (
        "grants.audit",
        "audit = \"all\"",
        "audit = \"writes\"",
        "~ mysql a: audit = \"writes\", before \"all\"",
    ),
    (
        "grants.hours",
        "hours = \"mon-fri 08:00-18:00 UTC\"\n",
        "",
        "+ mongodb c: find always, before mon-fri 08:00-18:00 UTC",
    ),
    (
        "grants.hours",
        "08:00-18:00",
        "09:00-18:00",
        "~ mongodb c: find mon-fri 09:00-18:00 UTC, before mon-fri 08:00-18:00 UTC",
    ),
    (
        "deny.store",
        "[[roles.r.deny]]\nstore = \"redis\"\nkeys = [\"l:*\"]",
        "[[roles.r.deny]]\nstore = \"postgres\"\ntables = [\"p\"]",
        "- postgres p: deny select insert update delete ddl, before nothing",
    ),
    (
        "deny.tables",
        "tables = [\"b\"]\nactions = [\"delete\"]",
        "tables = [\"a\"]\nactions = [\"delete\"]",
        "- mysql a: deny delete, before nothing",
    ),
    (
        "deny.collections",
        "collections = [\"d\"]\n[[",
        "collections = [\"c\"]\n[[",
        "- mongodb c: find mon-fri 08:00-18:00 UTC",
    ),
    (
        "deny.keys",
        "keys = [\"l:*\"]",
        "keys = [\"k:*\"]",
        "- redis k:*: read",
    ),
    (
        "deny.actions",
        "[\"delete\"]",
        "[\"delete\", \"ddl\"]",
        "- mysql b: deny delete ddl, before delete",
    ),
    (
        "rate_limits.requests",
        "requests = 10\nper = \"1m\"",
        "requests = 20\nper = \"1m\"",
        "(requests = 20, per = \"1m\", burst = 2), before \"slow\"",
    ),
    (
        "rate_limits.per",
        "\"1m\"",
        "\"90s\"",
        "(requests = 10, per = \"90s\", burst = 2), before \"slow\"",
    ),
    (
        "rate_limits.burst",
        "burst = 2",
        "burst = 3",
        "burst = 3), before \"slow\"",
    ),
    (
        "rate_limits.mode",
        "burst = 2",
        "burst = 2\nmode = \"exact\"",
        "burst = 2, mode = \"exact\"), before \"slow\"",
    ),
    (
        "rate_limits.on_redis_failure",
        "burst = 2",
        "burst = 2\non_redis_failure = \"closed\"",
        "burst = 2, on_redis_failure = \"closed\"), before \"slow\"",
    ),
    (
        "rate_limits.share",
        "burst = 2",
        "burst = 2\nshare = 4",
        "burst = 2, share = 0.25), before \"slow\"",
    ),
    (
        "rate_limits.concurrent",
        "burst = 2",
        "burst = 2\nconcurrent = 7",
        "burst = 2, concurrent = 7), before \"slow\"",
    ),
    (
        "rate_limits.per_what",
        "burst = 2",
        "burst = 2\nper_what = \"role\"",
        "burst = 2, per_what = \"role\"), before \"slow\"",
    ),
    (
        "rate_limits.stores",
        "burst = 2",
        "burst = 2\nstores = [\"mysql\"]",
        "burst = 2, stores = [\"mysql\"]), before \"slow\"",
    ),
    (
        "rate_limits.actions",
        "burst = 2",
        "burst = 2\nactions = [\"select\", \"read\"]",
        "burst = 2, actions = [\"select\", \"read\"]), before \"slow\"",
    ),
    (
        "rate_limits.cost",
        "burst = 2",
        "burst = 2\ncost = { read = 2 }",
        "burst = 2, cost = { read = 2 }), before \"slow\"",
    ),
    (
        "rate_limits.shadow",
        "burst = 2",
        "burst = 2\nshadow = true",
        "burst = 2, shadow = true), before \"slow\"",
    ),
    (
        "roles.rate_limits",
        "rate_limit = \"slow\"",
        "rate_limits = [\"slow\", \"fast\"]",
        "rate_limits = \"slow\" (requests = 10, per = \"1m\", burst = 2) and \"fast\"",
    ),
];

/// What a policy says without effect.
const WITHOUT_EFFECT: [&str; 2] = ["version", "roles.description"];

/// Every key of the format, from its schema: `stores.mysql.tables`, `grants.rows`.
fn keys() -> BTreeSet<String> {
    let (_, schema, _) = policy(&["schema"], "");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut keys = BTreeSet::new();
    let mut add = |section: &str, of: &Value| {
        let names = of["properties"].as_object().unwrap().keys();
        keys.extend(names.map(|name| format!("{section}{name}")));
    };
    add("", &schema);
    let roles = &schema["properties"]["roles"]["additionalProperties"];
    add("roles.", roles);
    for (section, key) in [("grants.", "grants"), ("deny.", "deny")] {
        for kind in roles["properties"][key]["items"]["anyOf"]
            .as_array()
            .unwrap()
        {
            add(section, kind);
        }
    }
    let stores = schema["properties"]["stores"]["properties"]
        .as_object()
        .unwrap();
    for (store, of) in stores {
        add(&format!("stores.{store}."), of);
    }
    add(
        "rate_limits.",
        &schema["properties"]["rate_limits"]["additionalProperties"],
    );
    for section in ["stores", "roles", "rate_limits"] {
        assert!(keys.remove(section), "{section}");
    }
    keys
}

#[test]
fn every_key_of_the_format_has_its_words() {
    let (outcome, output, errors) = diff(WHOLE, WHOLE, &[]);
    assert_eq!(outcome, Exit::Done, "{output}{errors}");
    let tried = CHANGES.iter().map(|(key, ..)| (*key).to_owned());
    let tried: BTreeSet<String> = tried.chain(WITHOUT_EFFECT.map(str::to_owned)).collect();
    assert_eq!(tried, keys(), "each key of the format needs a change here");
    for &(key, from, to, expected) in CHANGES {
        assert_eq!(WHOLE.matches(from).count(), 1, "{key}: {from}");
        let new = WHOLE.replace(from, to);
        let (outcome, output, errors) = diff(WHOLE, &new, &[]);
        assert_eq!(outcome, Exit::No, "{key}: {output}{errors}");
        assert!(
            output.contains(expected),
            "{key}: {expected} is not in\n{output}"
        );
        let (_, json, _) = diff(WHOLE, &new, &["--format", "json"]);
        for secret in ["pepper", "Debug", "Some("] {
            assert!(
                !(output.clone() + &json).contains(secret),
                "{key}: {output}"
            );
        }
        let answer: Value = serde_json::from_str(&json).unwrap();
        for line in answer["differences"].as_array().unwrap() {
            assert!(
                line["about"].is_string() && line["change"].is_string(),
                "{line}"
            );
        }
    }
}

#[test]
fn a_replay_tells_which_requests_turn() {
    let directory = tempfile::tempdir().unwrap();
    let recorded = directory.path().join("requests.jsonl");
    let line = |touch: &str, more: &str| {
        format!(
            "{{{more}\"role\":\"app\",\"store\":\"mysql\",\"touches\":[{{\"action\":\"{}\",\"name\":\"{}\"}}],\
             \"decision\":\"allow\",\"policy\":\"d\"}}\n",
            touch.split_once(' ').unwrap().0,
            touch.split_once(' ').unwrap().1,
        )
    };
    let lines = [
        line("update a", ""),
        line("select a", "\"at\":\"2026-01-05T09:00:00.042Z\","),
        line("update a", ""),
        "\n".to_owned(),
        line("select c", ""),
        line("conjure a", ""),
        "{\"role\":\"ap".to_owned(),
    ];
    std::fs::write(&recorded, lines.concat()).unwrap();
    let recorded = recorded.to_str().unwrap();
    let (outcome, output, _) = diff(OLD, NEW, &["--replay", recorded]);
    assert_eq!(outcome, Exit::No);
    for expected in [
        "- 2 recorded: role app in mysql, update:a: allow before, policy.denied after\n",
        "+ 1 recorded: role app in mysql, select:c: policy.unknown_object before, allow after\n",
        "~ 1 recorded: role app in mysql, select:a: allow before, allow under other rules after\n",
        "2 lines were not understood, and not decided\n",
    ] {
        assert!(output.contains(expected), "{expected} is not in {output}");
    }
    let twice = [
        "--replay", recorded, "--replay", recorded, "--format", "json",
    ];
    let (_, output, _) = diff(OLD, NEW, &twice);
    let answer: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(answer["requests"].as_array().unwrap().len(), 3, "{answer}");
    assert_eq!(
        (&answer["replayed"], &answer["not_understood"]),
        (&8.into(), &4.into())
    );
    let (outcome, _, errors) = diff(OLD, NEW, &["--replay", super::DEFAULT]);
    assert_eq!(outcome, Exit::Usage);
    assert!(errors.contains("default.toml:1: "), "{errors}");
}

/// A grant for certain hours is judged at the time of the request.
#[test]
fn a_replay_knows_the_time_of_a_request() {
    let timed = WHOLE.replace(
        "hours = \"mon-fri 08:00-18:00 UTC\"",
        "hours = \"mon 08:00-10:00 UTC\"",
    );
    let directory = tempfile::tempdir().unwrap();
    let recorded = directory.path().join("requests.jsonl");
    // A Monday and a Tuesday.
    let lines = ["2026-01-05T09:00:00Z", "2026-01-06T09:00:00.5Z"].map(|at| {
        format!(
            "{{\"at\":\"{at}\",\"role\":\"r\",\"store\":\"mongodb\",\"touches\":[{{\"action\":\"find\",\"name\":\"c\"}}],\
             \"decision\":\"allow\",\"policy\":\"d\"}}\n"
        )
    });
    std::fs::write(&recorded, lines.concat()).unwrap();
    let (_, output, _) = diff(WHOLE, &timed, &["--replay", recorded.to_str().unwrap()]);
    let expected = "- 1 recorded: role r in mongodb, find:c: allow before, policy.denied after\n";
    assert!(output.contains(expected), "{output}");
}
