use super::*;
use crate::decide::PolicyFile;

fn policy(text: &str) -> Policy {
    let file = PolicyFile {
        path: "p.toml".into(),
        text: text.into(),
    };
    Policy::compile(&[file]).unwrap()
}

/// Names that break every quoting mistake, and one role whose name cannot be the server's.
const ODD: &str = r#"version = 1
[stores.postgres]
tables = ["a$bulkhead$b", "x%s;--", "other.t"]
[stores.mysql]
database = "shop"
tables = ["x%;\\ y", "plain"]
[stores.mongodb]
database = "docs"
collections = ["e${1}"]
[stores.redis]
keys = ["a:*", "b c:*"]
[roles.'odd role; DROP']
[[roles.'odd role; DROP'.grants]]
store = "postgres"
tables = ["*"]
actions = ["select", "insert"]
[[roles.'odd role; DROP'.grants]]
store = "mysql"
tables = ["*"]
actions = ["select", "ddl"]
[[roles.'odd role; DROP'.grants]]
store = "redis"
keys = ["*"]
actions = ["read"]
"#;

#[test]
fn names_are_quoted() {
    let policy = policy(ODD);
    let postgres = postgres::script(&subjects(&policy, Store::Postgres, None));
    for expected in [
        "DO $bulkhead_$ ",
        "GRANT SELECT ON TABLE \"public\".\"x%s;--\" TO \"bulkhead_role_odd_role__DROP_",
        "'\"public\".\"x%s;--\"'::regclass",
        "GRANT USAGE ON SCHEMA \"other\" TO ",
    ] {
        assert!(
            postgres.contains(expected),
            "{expected} is not in {postgres}"
        );
    }
    let mysql = mysql::script(&subjects(&policy, Store::Mysql, Some("o'x@%")));
    for expected in [
        "GRANT SELECT ON `shop`.`x%;\\ y` TO `bulkhead_role_odd_role_",
        "GRANT INDEX ON `shop`.`plain` TO",
        "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'o''x'@'%';",
    ] {
        assert!(mysql.contains(expected), "{expected} is not in {mysql}");
    }
    let redis = redis::script(&subjects(&policy, Store::Redis, None));
    for expected in ["Redis' lists cannot hold b c:*", "\"%R~a:*\"", " +get "] {
        assert!(redis.contains(expected), "{expected} is not in {redis}");
    }
    assert!(!redis.contains("~b c"), "{redis}");
}

#[test]
fn two_long_roles_stay_two() {
    let long = "r".repeat(60);
    for store in Store::ALL {
        let (a, b) = (
            role_name(store, &format!("{long}a")),
            role_name(store, &format!("{long}b")),
        );
        assert_ne!(a, b);
        assert!(store != Store::Mysql || a.len() <= 32, "{a}");
    }
    assert_eq!(role_name(Store::Redis, "app"), "bulkhead_role_app");
    assert_ne!(
        role_name(Store::Redis, "a b"),
        role_name(Store::Redis, "a_b")
    );
}

#[test]
fn columns_add_up() {
    use super::access::Columns;
    use crate::decide::rules::{Comparison, Condition, Constant, TableRules};
    let set = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
    let rows = vec![Condition::Compare {
        column: "owner".into(),
        comparison: Comparison::Equal,
        value: Constant::Boolean(true),
    }];
    let listed = TableRules {
        columns: Some(set(&["a", "b"])),
        denied: set(&["b"]),
        rows: rows.clone(),
        ..TableRules::default()
    };
    assert_eq!(
        Columns::left_by(&listed),
        Columns::Only(set(&["a", "owner"]))
    );
    let denied = TableRules {
        denied: set(&["secret", "owner"]),
        rows,
        ..TableRules::default()
    };
    let denied = Columns::left_by(&denied);
    assert_eq!(denied, Columns::Except(set(&["secret"])));
    let all: Vec<String> = ["a", "secret"].map(str::to_owned).into();
    assert_eq!(denied.among(&all), Some(vec!["a".to_owned()]));
    assert_eq!(Columns::left_by(&TableRules::default()), Columns::All);
}

#[test]
fn differences_go_both_ways() {
    let privilege = |what: &str| Privilege::new(what, "table t");
    let wanted = [privilege("SELECT"), privilege("INSERT")].into();
    let held = Held {
        privileges: [privilege("SELECT"), privilege("DELETE")].into(),
        exists: true,
    };
    let found = compare("s", &wanted, &held, |_, _| false);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "missing  s: INSERT on table t",
            "extra    s: DELETE on table t"
        ]
    );
    let absent = compare("s", &wanted, &Held::default(), |_, _| true);
    assert_eq!(absent.len(), 1);
}
