use super::*;
use crate::error::Code;
use crate::operation::{Action, Classification, Object, Payload, Script, Touch};
use Action::{Ddl, Delete, Find, Insert, Read, Select, Update, Write};
use Store::{Mongodb, Mysql, Postgres, Redis};

const POLICY: &str = r#"version = 1
[stores.postgres]
tables = ["sessions", "api_keys", "reports.daily"]
functions = ["touch_session", "reports.total"]
[stores.mysql]
database = "shop"
tables = ["users", "posts"]
[stores.mongodb]
database = "docs"
collections = ["events", "fs.files"]
[stores.redis]
keys = ["cache:*", "queue:*"]

[rate_limits.slow]
requests = 10
per = "1s"

[roles.app]
rate_limit = "slow"
[[roles.app.grants]]
store = "postgres"
tables = ["sessions", "reports.daily"]
actions = ["select"]
[[roles.app.grants]]
store = "postgres"
tables = ["sessions"]
actions = ["update"]
[[roles.app.grants]]
store = "mysql"
tables = ["*"]
actions = ["select", "insert"]
[[roles.app.grants]]
store = "mongodb"
collections = ["events", "fs.files"]
actions = ["find"]
[[roles.app.grants]]
store = "redis"
keys = ["cache:*"]
actions = ["read", "write"]
[[roles.app.grants]]
store = "redis"
keys = ["queue:a", "queue:b:*"]
actions = ["read"]

[roles.reader]
[[roles.reader.grants]]
store = "mysql"
tables = ["users"]
actions = ["select"]
"#;

pub(super) fn compile(text: &str) -> Policy {
    Policy::compile(&[PolicyFile {
        path: "p.toml".into(),
        text: text.into(),
    }])
    .unwrap()
}

fn policy() -> Policy {
    compile(POLICY)
}

pub(super) fn decide(
    policy: &Policy,
    role: &str,
    store: Store,
    class: Classification,
) -> Result<Permit, Problem> {
    let caller = Arc::new(Principal {
        key_id: "k".into(),
        user_id: None,
        role: role.into(),
    });
    let operation = Operation {
        store,
        classification: Arc::new(class.finish()),
        payload: Payload::Sql("".into()),
    };
    policy
        .decide(
            &caller,
            operation,
            &Circumstances::at(Timestamp::UNIX_EPOCH),
        )
        .map_err(|refusal| refusal.0)
}

/// `schema.table` in the SQL stores and MongoDB; in Redis a key, or with `KEYS ` before it a glob.
fn object(store: Store, text: &str) -> Object {
    match (
        store,
        text.split_once(if store == Mongodb { '/' } else { '.' }),
    ) {
        (Redis, _) => match text.strip_prefix("KEYS ") {
            Some(glob) => Object::Keys(glob.into()),
            None => Object::Key(text.into()),
        },
        (_, Some((namespace, name))) => Object::named(Some(namespace), name),
        (_, None) => Object::named(None, text),
    }
}

pub(super) fn touching(store: Store, touches: &[(&str, Action)]) -> Classification {
    let touches = touches.iter().map(|(text, action)| Touch {
        object: object(store, text),
        action: *action,
    });
    Classification {
        touches: touches.collect(),
        ..Classification::default()
    }
}

#[test]
fn one_touch() {
    let policy = policy();
    let denied = Err(Code::PolicyDenied);
    let unknown = Err(Code::PolicyUnknownObject);
    for (store, text, action, expected) in [
        (Postgres, "sessions", Select, Ok(Some(20))),
        (Postgres, "public.sessions", Select, Ok(Some(20))),
        (Postgres, "sessions", Update, Ok(Some(24))),
        (Postgres, "sessions", Delete, denied),
        (Postgres, "reports.daily", Select, Ok(Some(20))),
        (Postgres, "daily", Select, unknown),
        (Postgres, "archive.sessions", Select, unknown),
        (Postgres, "Sessions", Select, unknown),
        (Postgres, "api_keys", Select, denied),
        (Postgres, "nothing", Select, unknown),
        (Postgres, "pg_catalog.pg_authid", Select, unknown),
        (Postgres, "*", Select, unknown),
        (Mysql, "users", Select, Ok(Some(28))),
        (Mysql, "shop.posts", Insert, Ok(Some(28))),
        (Mysql, "users", Update, denied),
        (Mysql, "users", Ddl, denied),
        (Mysql, "users", Read, denied),
        (Mysql, "USERS", Select, unknown),
        (Mysql, "mysql.user", Select, unknown),
        (Mongodb, "events", Find, Ok(Some(32))),
        (Mongodb, "docs/fs.files", Find, Ok(Some(32))),
        (Mongodb, "admin/events", Find, unknown),
        (Mongodb, "fs", Find, unknown),
        (Mongodb, "events", Select, denied),
        (Redis, "cache:1", Read, Ok(Some(36))),
        (Redis, "cache:1", Write, Ok(Some(36))),
        (Redis, "queue:a", Read, Ok(Some(40))),
        (Redis, "queue:b:1", Read, Ok(Some(40))),
        (Redis, "queue:b:1", Write, denied),
        (Redis, "queue:c", Read, denied),
        (Redis, "cache:1", Select, denied),
        (Redis, "other", Read, unknown),
        (Redis, "KEYS cache:*", Read, Ok(Some(36))),
        (Redis, "KEYS cache:u[12]*", Read, Ok(Some(36))),
        (Redis, "KEYS queue:a", Read, Ok(Some(40))),
        (Redis, "KEYS queue:b:*", Read, Ok(Some(40))),
        (Redis, "KEYS queue:*", Read, denied),
        (Redis, "KEYS *", Read, unknown),
        (Redis, "KEYS cache*", Read, unknown),
        (Redis, "KEYS ?ache:*", Read, unknown),
    ] {
        let got = decide(&policy, "app", store, touching(store, &[(text, action)]));
        let got = got
            .map(|permit| permit.rule().map(|grant| grant.place().line))
            .map_err(|problem| problem.code);
        assert_eq!(got, expected, "{store} {text} {action}");
    }
}

#[test]
fn wrong_store_names_the_right_one() {
    let policy = policy();
    for (asked, text, home) in [
        (Postgres, "users", Some(Mysql)),
        (Postgres, "public.users", Some(Mysql)),
        (Postgres, "shop.users", Some(Mysql)),
        (Postgres, "archive.users", None),
        (Postgres, "events", Some(Mongodb)),
        (Mysql, "api_keys", Some(Postgres)),
        (Mysql, "shop.api_keys", Some(Postgres)),
        (Mysql, "public.api_keys", Some(Postgres)),
        (Mysql, "reports.daily", Some(Postgres)),
        (Mysql, "daily", None),
        (Mongodb, "users", Some(Mysql)),
        (Mongodb, "docs/users", Some(Mysql)),
        (Mongodb, "admin/users", None),
        (Redis, "users", None),
    ] {
        let problem =
            decide(&policy, "app", asked, touching(asked, &[(text, Select)])).unwrap_err();
        assert_eq!(problem.lives_in, home, "{asked} {text}");
        let expected = match home {
            Some(_) => Code::PolicyWrongStore,
            None => Code::PolicyUnknownObject,
        };
        assert_eq!(problem.code, expected, "{asked} {text}");
    }
    let problem = decide(
        &policy,
        "app",
        Postgres,
        touching(Postgres, &[("users", Select)]),
    );
    assert_eq!(
        problem.unwrap_err().detail,
        "`users` lives in mysql, not in postgres: send what touches it to `POST /v1/mysql/query`"
    );
}

#[test]
fn of_several_refusals_the_one_that_no_grant_can_mend_leads() {
    let policy = policy();
    let touches = [
        ("api_keys", Select),
        ("nothing", Select),
        ("users", Select),
        ("sessions", Select),
    ];
    for (touches, functions, code, objects) in [
        (
            &touches[..],
            &["f"][..],
            Code::PolicyForbiddenStatement,
            &[][..],
        ),
        (
            &touches,
            &[],
            Code::PolicyWrongStore,
            &["api_keys", "nothing", "users"],
        ),
        (
            &touches[..2],
            &[],
            Code::PolicyUnknownObject,
            &["api_keys", "nothing"],
        ),
        (&touches[..1], &[], Code::PolicyDenied, &["api_keys"]),
        (
            &[("api_keys", Select), ("api_keys", Update)],
            &[],
            Code::PolicyDenied,
            &["api_keys"],
        ),
    ] {
        let class = Classification {
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
            ..touching(Postgres, touches)
        };
        let problem = decide(&policy, "app", Postgres, class).unwrap_err();
        assert_eq!(problem.code, code);
        assert_eq!(problem.objects, objects);
    }
    let problem = decide(&policy, "app", Postgres, touching(Postgres, &touches)).unwrap_err();
    assert_eq!(
        problem.detail,
        "`users` lives in mysql, not in postgres: send what touches it to `POST /v1/mysql/query`; \
         role `app` is not granted `select` on `api_keys` in postgres; \
         `nothing` is not known: the policy lists no such table in postgres or elsewhere"
    );
}

#[test]
fn functions_must_be_listed() {
    let policy = policy();
    for (store, function, allowed) in [
        (Postgres, "touch_session", true),
        (Postgres, "public.touch_session", true),
        (Postgres, "reports.total", true),
        (Postgres, "total", false),
        (Postgres, "pg_catalog.touch_session", false),
        (Postgres, "pg_read_file", false),
        (Mysql, "touch_session", false),
        (Redis, "touch_session", false),
    ] {
        let class = Classification {
            functions: vec![function.to_owned()],
            ..Classification::default()
        };
        let got = decide(&policy, "app", store, class).map_err(|problem| problem.code);
        assert_eq!(got.is_ok(), allowed, "{store} {function}");
        if let Err(code) = got {
            assert_eq!(code, Code::PolicyForbiddenStatement);
        }
    }
}

#[test]
fn scripts_must_be_listed_and_their_keys_granted() {
    const LISTED: &str = "A0FF000000000000000000000000000000000001";
    let list = format!("keys = [\"cache:*\", \"queue:*\"]\nscripts = [\"{LISTED}\"]");
    let policy = compile(&POLICY.replace("keys = [\"cache:*\", \"queue:*\"]", &list));
    let listed = LISTED.to_ascii_lowercase();
    let other = listed.replace('1', "2");
    let denied = Err(Code::PolicyDenied);
    let forbidden = Err(Code::PolicyForbiddenStatement);
    for (role, store, key, digests, expected) in [
        ("app", Redis, "cache:a", &[&listed][..], Ok(())),
        ("app", Redis, "queue:a", &[&listed], denied),
        (
            "app",
            Redis,
            "other:a",
            &[&listed],
            Err(Code::PolicyUnknownObject),
        ),
        ("app", Redis, "cache:a", &[&other], forbidden),
        ("app", Redis, "cache:a", &[&listed, &other], forbidden),
        ("app", Postgres, "sessions", &[&listed], forbidden),
        ("reader", Redis, "cache:a", &[&listed], denied),
        ("reader", Redis, "", &[&listed], denied),
        ("app", Redis, "", &[&listed], Ok(())),
    ] {
        let script = |digest: &&String| Script {
            digest: (**digest).clone(),
            why: "its keys cannot be told".to_owned(),
        };
        let touches = [(key, Read), (key, Write)];
        let class = Classification {
            scripts: digests.iter().map(script).collect(),
            ..touching(store, if key.is_empty() { &[] } else { &touches })
        };
        let got = decide(&policy, role, store, class);
        let code = got.as_ref().map(|_| ()).map_err(|problem| problem.code);
        assert_eq!(code, expected, "{role} {store} {key} {digests:?}");
        if let (Err(Code::PolicyForbiddenStatement), Err(problem), Redis) = (code, got, store) {
            assert!(
                problem.detail.contains(other.as_str()),
                "{}",
                problem.detail
            );
            assert!(
                problem.detail.contains("`scripts = [...]`"),
                "{}",
                problem.detail
            );
            assert!(
                !problem.detail.contains(listed.as_str()),
                "{}",
                problem.detail
            );
        }
    }
}

#[test]
fn a_statement_that_touches_nothing_needs_some_grant_in_the_store() {
    let policy = policy();
    for (role, store, allowed) in [
        ("app", Postgres, true),
        ("app", Redis, true),
        ("reader", Mysql, true),
        ("reader", Postgres, false),
        ("reader", Redis, false),
        ("nobody", Mysql, false),
        ("", Mysql, false),
    ] {
        let got = decide(&policy, role, store, Classification::default());
        assert_eq!(got.is_ok(), allowed, "{role} {store}");
        if let Err(problem) = got {
            assert_eq!(problem.code, Code::PolicyDenied);
        }
    }
}

#[test]
fn a_store_or_role_that_the_policy_does_not_name_is_denied() {
    let small = compile("version = 1\n[stores.redis]\nkeys = ['a']\n[roles.r]\n");
    for (role, store, words) in [
        ("r", Mysql, "the policy has no section for mysql"),
        ("r", Redis, "role `r` is not granted `read` on `a`"),
        ("x", Redis, "the policy has no role `x`"),
    ] {
        let problem = decide(&small, role, store, touching(store, &[("a", Read)])).unwrap_err();
        assert_eq!(problem.code, Code::PolicyDenied);
        assert!(problem.detail.contains(words), "{}", problem.detail);
    }
}

#[test]
fn a_name_in_the_wrong_case_is_told_to_whom_it_is_granted() {
    let policy = policy();
    for (role, store, text, told) in [
        ("app", Postgres, "Sessions", true),
        ("app", Postgres, "API_KEYS", false),
        ("app", Mysql, "Posts", true),
        ("reader", Mysql, "Posts", false),
    ] {
        let problem = decide(&policy, role, store, touching(store, &[(text, Select)])).unwrap_err();
        assert_eq!(
            problem.detail.contains("case-sensitive"),
            told,
            "{role} {text}"
        );
    }
}

#[test]
fn a_permit_carries_the_limit_the_rule_and_the_operation() {
    let policy = policy();
    let permit = decide(&policy, "app", Mysql, touching(Mysql, &[("users", Select)])).unwrap();
    let limits = permit.rate_limits().iter();
    let requests: Vec<_> = limits
        .filter_map(|limit| limit.rate)
        .map(|rate| rate.requests)
        .collect();
    assert_eq!(requests, [10]);
    assert_eq!(
        permit.rule().map(Grant::objects),
        Some(&["*".to_owned()][..])
    );
    assert_eq!(permit.caller().role, "app");
    assert_eq!(permit.into_operation().store, Mysql);
    let permit = decide(&policy, "reader", Mysql, Classification::default()).unwrap();
    assert!(permit.rate_limits().is_empty() && permit.rule().is_none());
}

#[test]
fn a_permit_made_for_tests_has_a_limit_and_no_rule() {
    let made = decide(&policy(), "reader", Mysql, Classification::default()).unwrap();
    let limits = policy().role("app").unwrap().rate_limits().to_vec();
    let caller = Arc::clone(made.caller());
    let permit = Permit::for_tests(made.into_operation(), caller, limits.clone());
    assert_eq!(
        (permit.rate_limits(), permit.rule().is_none()),
        (limits.as_slice(), true)
    );
}

#[test]
fn default_namespaces() {
    let policy = policy();
    for (store, expected) in [
        (Postgres, Some("public")),
        (Mysql, Some("shop")),
        (Mongodb, Some("docs")),
        (Redis, None),
    ] {
        assert_eq!(policy.default_namespace(store), expected);
    }
}

#[test]
fn a_refusal_names_a_bounded_number_of_objects() {
    let names: Vec<String> = (0..1000).map(|at| format!("k{at:04}")).collect();
    let touches: Vec<(&str, Action)> = names.iter().map(|name| (name.as_str(), Read)).collect();
    let problem = decide(&policy(), "app", Redis, touching(Redis, &touches)).unwrap_err();
    assert_eq!(problem.objects.len(), 256);
    assert!(
        problem.detail.ends_with("and 995 more"),
        "{}",
        problem.detail
    );
}
