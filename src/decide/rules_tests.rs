use super::decide_tests::{compile, touching};
use super::rules::{Condition, Mask, TableRules};
use super::*;
use crate::error::Code;
use crate::operation::{Action, Classification, Payload};
use Action::{Delete, Find, Insert, Read, Select, Update, Write};
use Store::{Mongodb, Mysql, Postgres, Redis};

/// Monday noon.
const NOON: &str = "2026-01-05T12:00:00Z";
/// Monday night.
const NIGHT: &str = "2026-01-05T23:00:00Z";

const POLICY: &str = r#"version = 1
mask_salt = "pepper"
[stores.postgres]
tables = ["orders", "people", "notes", "reports.daily"]
functions = ["listed"]
[stores.mysql]
database = "shop"
tables = ["users"]
[stores.mongodb]
database = "docs"
collections = ["events"]
[stores.redis]
keys = ["cache:*", "queue:*"]

[roles.app]
timeout_ms = 5000
[[roles.app.grants]]
store = "postgres"
tables = ["*"]
actions = ["select", "insert", "update", "delete"]
timeout_ms = 3000
[[roles.app.grants]]
store = "postgres"
tables = ["people"]
actions = ["select"]
columns = ["id", "name", "email", "ssn"]
mask_columns = { email = "partial", ssn = "hash" }
max_rows = 100
[[roles.app.grants]]
store = "postgres"
tables = ["people"]
actions = ["select", "update"]
columns = ["id", "email", "ssn"]
mask_columns = { ssn = "partial" }
rows = "owner = :caller.user_id"
max_rows = 10
timeout_ms = 4000
[[roles.app.grants]]
store = "postgres"
tables = ["notes"]
actions = ["update", "delete"]
require_where = true
[[roles.app.grants]]
store = "redis"
keys = ["*"]
actions = ["read", "write"]
[[roles.app.deny]]
store = "redis"
keys = ["cache:secret:*"]
[[roles.app.deny]]
store = "postgres"
tables = ["orders"]
actions = ["delete"]

[roles.clerk]
[[roles.clerk.grants]]
store = "postgres"
tables = ["orders"]
actions = ["select", "update"]
hours = ["mon-fri 08:00-18:00 UTC", "sat 10:00-12:00 UTC"]
[[roles.clerk.grants]]
store = "postgres"
tables = ["notes"]
actions = ["select"]
[[roles.clerk.grants]]
store = "redis"
keys = ["cache:*"]
actions = ["read"]
hours = "08:00-18:00 UTC"

[roles.new]
mode = "shadow"
timeout_ms = 10
[[roles.new.grants]]
store = "postgres"
tables = ["orders"]
actions = ["select"]
max_rows = 1
[[roles.new.grants]]
store = "postgres"
tables = ["people"]
actions = ["select"]
deny_columns = ["ssn"]
[[roles.new.deny]]
store = "postgres"
tables = ["notes"]
"#;

fn ask(
    policy: &Policy,
    role: &str,
    store: Store,
    class: Classification,
    at: &str,
) -> Result<Permit, Problem> {
    let caller = Arc::new(Principal {
        key_id: "k".into(),
        user_id: Some("7".into()),
        role: role.into(),
    });
    let operation = Operation {
        store,
        classification: Arc::new(class.finish()),
        payload: Payload::Sql("SELECT 1".into()),
    };
    policy
        .decide(&caller, operation, &Circumstances::at(at.parse().unwrap()))
        .map_err(|refusal| refusal.0)
}

/// The rules on a table, as the role's grants add up to them.
fn rules(policy: &Policy, role: &str, table: &str) -> Option<Arc<TableRules>> {
    let Some(StoreObjects::Named(named)) = policy.stores.get(Postgres) else {
        return None;
    };
    let id = named.objects.find(None, table)?;
    let demands = policy.role(role)?.demands(Postgres).get(&id)?;
    Some(Arc::clone(&demands.rules))
}

#[test]
fn the_rules_of_several_grants_add_up() {
    let policy = compile(POLICY);
    let people = rules(&policy, "app", "people").unwrap();
    let columns: Vec<&str> = people.columns.iter().flatten().map(|c| &**c).collect();
    assert_eq!(columns, ["email", "id", "ssn"]);
    // Two masks of one column leave nothing of it.
    assert_eq!(people.masked.get("ssn"), Some(&Mask::Null));
    assert_eq!(people.masked.get("email"), Some(&Mask::Partial));
    assert!(
        matches!(people.rows.as_slice(), [Condition::Compare { column, .. }] if &**column == "owner")
    );
    assert!(!people.may_name("name") && people.may_name("id"));
    let notes = rules(&policy, "app", "notes").unwrap();
    assert!(notes.requires_where && !notes.hides());
    assert!(rules(&policy, "app", "orders").unwrap().is_empty());
    assert!(rules(&policy, "clerk", "notes").is_none());
}

#[test]
fn the_most_restrictive_bounds_hold() {
    let policy = compile(POLICY);
    for (role, table, rows_max, timeout_ms) in [
        ("app", "orders", None, Some(3000)),
        ("clerk", "notes", None, None),
        // Not in force.
        ("new", "orders", None, None),
    ] {
        let permit = ask(
            &policy,
            role,
            Postgres,
            touching(Postgres, &[(table, Select)]),
            NOON,
        );
        let bounds = permit.unwrap().bounds();
        assert_eq!(
            (bounds.rows_max, bounds.timeout_ms),
            (rows_max, timeout_ms),
            "{role} {table}"
        );
    }
    let permit = ask(
        &policy,
        "app",
        Redis,
        touching(Redis, &[("cache:1", Read)]),
        NOON,
    );
    assert_eq!(permit.unwrap().bounds().timeout_ms, Some(5000));
}

#[test]
fn deny_rules_override_and_grants_hold_within_their_hours() {
    let policy = compile(POLICY);
    let denied = Err(Code::PolicyDenied);
    for (role, store, object, action, at, expected) in [
        ("app", Redis, "cache:1", Write, NOON, Ok(())),
        ("app", Redis, "cache:secret:1", Read, NOON, denied),
        ("app", Redis, "KEYS cache:*", Read, NOON, denied),
        ("app", Redis, "KEYS cache:[r-t]*", Read, NOON, denied),
        ("app", Redis, "KEYS cache:user:*", Read, NOON, Ok(())),
        ("app", Postgres, "orders", Delete, NOON, denied),
        ("app", Postgres, "public.orders", Delete, NOON, denied),
        ("app", Postgres, "orders", Update, NOON, Ok(())),
        ("app", Postgres, "reports.daily", Insert, NOON, Ok(())),
        ("clerk", Postgres, "orders", Select, NOON, Ok(())),
        ("clerk", Postgres, "orders", Select, NIGHT, denied),
        (
            "clerk",
            Postgres,
            "orders",
            Select,
            "2026-01-10T11:00:00Z",
            Ok(()),
        ),
        (
            "clerk",
            Postgres,
            "orders",
            Select,
            "2026-01-11T11:00:00Z",
            denied,
        ),
        ("clerk", Postgres, "orders", Delete, NOON, denied),
        ("clerk", Postgres, "notes", Select, NIGHT, Ok(())),
        ("clerk", Redis, "cache:1", Read, NOON, Ok(())),
        ("clerk", Redis, "cache:1", Read, NIGHT, denied),
        ("clerk", Redis, "KEYS cache:a*", Read, NOON, Ok(())),
    ] {
        let got = ask(
            &policy,
            role,
            store,
            touching(store, &[(object, action)]),
            at,
        );
        let got = got.map(drop).map_err(|problem| problem.code);
        assert_eq!(got, expected, "{role} {store} {object} {action} {at}");
    }
    let nothing = Classification::default();
    assert!(ask(&policy, "clerk", Redis, nothing.clone(), NOON).is_ok());
    assert!(ask(&policy, "clerk", Redis, nothing, NIGHT).is_err());
    let told = ask(
        &policy,
        "app",
        Postgres,
        touching(Postgres, &[("orders", Delete)]),
        NOON,
    );
    assert_eq!(
        told.unwrap_err().detail,
        "role `app` is denied `delete` on `orders` in postgres, whatever else it is granted"
    );
}

/// Who is refused because of the time learns which times would do.
#[test]
fn a_refusal_for_the_time_names_the_hours() {
    let policy = compile(POLICY);
    let weekly = "`mon-fri 08:00-18:00 UTC, sat 10:00-12:00 UTC`";
    for (store, object, action, expected) in [
        (
            Postgres,
            "orders",
            Select,
            format!(
                "role `clerk` is granted `select` on `orders` in postgres at certain times alone, and it is none of them: {weekly}"
            ),
        ),
        (
            Redis,
            "cache:1",
            Read,
            "role `clerk` is granted `read` on `cache:1` in redis at certain times alone, and it is none of them: `08:00-18:00 UTC`"
                .to_owned(),
        ),
        (
            Postgres,
            "orders",
            Delete,
            "role `clerk` is not granted `delete` on `orders` in postgres".to_owned(),
        ),
    ] {
        let touches = touching(store, &[(object, action)]);
        let told = ask(&policy, "clerk", store, touches, NIGHT);
        assert_eq!(told.unwrap_err().detail, expected, "{object} {action}");
    }
    let caller = Principal {
        key_id: "k".into(),
        user_id: None,
        role: "clerk".into(),
    };
    let operation = Operation {
        store: Postgres,
        classification: Arc::new(touching(Postgres, &[("orders", Select)]).finish()),
        payload: Payload::Sql("SELECT 1".into()),
    };
    let (verdicts, outcome) = policy.explain(Question {
        caller: &caller,
        operation: &operation,
        now: NIGHT.parse().unwrap(),
    });
    let Verdict::OutsideHours(grant) = verdicts[0].verdict else {
        panic!("{verdicts:?}");
    };
    assert_eq!(format!("`{}`", grant.hours_in_words()), weekly);
    assert!(outcome.unwrap_err().0.detail.contains(weekly));
    let nothing = ask(&policy, "clerk", Redis, Classification::default(), NIGHT);
    let detail = nothing.unwrap_err().detail.clone();
    assert!(detail.ends_with(": `08:00-18:00 UTC`"), "{detail}");
}

#[test]
fn shadow_mode_lets_through_what_only_lacks_a_grant() {
    let policy = compile(POLICY);
    let refused = |code| Ok(Some(Some(code)));
    let cases = [
        (Postgres, "orders", Select, Ok(None)),
        (Postgres, "orders", Delete, refused(Code::PolicyDenied)),
        (Postgres, "notes", Select, refused(Code::PolicyDenied)),
        (Postgres, "people", Select, refused(Code::PolicyDenied)),
        (
            Postgres,
            "unlisted",
            Select,
            refused(Code::PolicyUnknownObject),
        ),
        (
            Postgres,
            "reports.weekly",
            Select,
            refused(Code::PolicyUnknownObject),
        ),
        (
            Postgres,
            "pg_catalog.pg_authid",
            Select,
            Err(Code::PolicyUnknownObject),
        ),
        (Postgres, "users", Select, Err(Code::PolicyWrongStore)),
        (
            Mongodb,
            "admin/system.users",
            Find,
            Err(Code::PolicyUnknownObject),
        ),
        (Mongodb, "events", Find, refused(Code::PolicyDenied)),
        (Redis, "other:1", Write, refused(Code::PolicyUnknownObject)),
        (Mysql, "mysql.user", Select, Err(Code::PolicyUnknownObject)),
    ];
    for (store, object, action, expected) in cases {
        let got = ask(
            &policy,
            "new",
            store,
            touching(store, &[(object, action)]),
            NOON,
        );
        let got = got
            .map(|permit| permit.shadow().map(Shadow::code))
            .map_err(|problem| problem.code);
        assert_eq!(got, expected, "{store} {object} {action}");
    }
    let unlisted = Classification {
        functions: vec!["pg_read_file".into()],
        ..touching(Postgres, &[("orders", Select)])
    };
    let problem = ask(&policy, "new", Postgres, unlisted, NOON).unwrap_err();
    assert_eq!(problem.code, Code::PolicyForbiddenStatement);
}

#[test]
fn the_mode_of_a_role_is_its_own() {
    let text = |policy: &str, role: &str| {
        format!(
            "version = 1\n{policy}\n[stores.redis]\nkeys = ['a', 'b']\n[roles.r]\n{role}\n\
             [[roles.r.grants]]\nstore = 'redis'\nkeys = ['a']\nactions = ['read']\n"
        )
    };
    for (policy, role, passes) in [
        ("", "", false),
        ("mode = 'shadow'", "", true),
        ("mode = 'shadow'", "mode = 'enforce'", false),
        ("mode = 'enforce'", "mode = 'shadow'", true),
    ] {
        let policy = compile(&text(policy, role));
        let got = ask(&policy, "r", Redis, touching(Redis, &[("b", Read)]), NOON);
        assert_eq!(got.is_ok(), passes, "{policy:?}");
    }
}

/// A table with rules that is reached through another, or of which no column is known.
#[test]
fn rules_that_cannot_be_kept_refuse() {
    let policy = compile(POLICY);
    let reached = Classification {
        reached: vec![Object::named(None, "people")],
        ..touching(Postgres, &[("people", Select), ("notes", Select)])
    };
    let problem = ask(&policy, "app", Postgres, reached, NOON).unwrap_err();
    assert_eq!(problem.code, Code::PolicyDenied);
    assert_eq!(problem.objects, ["people"]);
    assert!(
        problem.detail.contains("name the table itself"),
        "{}",
        problem.detail
    );
    let named = touching(Postgres, &[("people", Select), ("notes", Select)]);
    assert!(ask(&policy, "app", Postgres, named, NOON).is_err());
    let none = touching(Postgres, &[("notes", Select), ("notes", Insert)]);
    assert!(ask(&policy, "app", Postgres, none, NOON).is_ok());
}

#[test]
fn secrets_do_not_print() {
    assert!(!format!("{:?}", compile(POLICY)).contains("pepper"));
}
