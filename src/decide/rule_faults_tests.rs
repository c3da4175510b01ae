use super::*;

/// One grant of a role, to which the table below gives its rules.
fn faults(store: &str, actions: &str, rules: &str) -> Vec<Fault> {
    let key = match store {
        "mongodb" => "collections",
        "redis" => "keys",
        _ => "tables",
    };
    let text = format!(
        r#"version = 1
[stores.postgres]
tables = ["a"]
[stores.mysql]
database = "shop"
tables = ["b"]
[stores.mongodb]
database = "docs"
collections = ["c"]
[stores.redis]
keys = ["d:*"]
[roles.app]
[[roles.app.grants]]
store = "{store}"
{key} = ["*"]
actions = [{actions}]
{rules}
"#
    );
    let files = [PolicyFile {
        path: "p.toml".into(),
        text,
    }];
    match Policy::compile(&files) {
        Ok(policy) => policy.warnings().to_vec(),
        Err(faults) => faults.0,
    }
}

#[test]
fn what_a_grant_may_not_demand() {
    let cases = [
        (
            "postgres",
            "'select'",
            "columns = ['id']\nrows = \"x = 1\"",
            "",
            "",
        ),
        (
            "postgres",
            "'select'",
            "columns = []",
            "`columns` is empty",
            "name those",
        ),
        (
            "postgres",
            "'select'",
            "columns = ['*']",
            "`*` is not the name of a column",
            "name each",
        ),
        (
            "postgres",
            "'select'",
            "colums = ['id']",
            "unknown key `colums`",
            "`columns`",
        ),
        (
            "postgres",
            "'select'",
            "columns = 'id'",
            "`columns` cannot be of type string",
            "[",
        ),
        (
            "postgres",
            "'ddl'",
            "columns = ['id']",
            "`columns` does nothing",
            "`select`",
        ),
        (
            "postgres",
            "'insert'",
            "mask_columns = { a = 'null' }",
            "`mask_columns` does nothing",
            "`select`",
        ),
        (
            "postgres",
            "'select'",
            "mask_columns = { a = 'nul' }",
            "unknown mask `nul`",
            "`null`",
        ),
        (
            "postgres",
            "'select'",
            "mask_columns = { a = 1 }",
            "`a` cannot be of type integer",
            "partial",
        ),
        (
            "postgres",
            "'select'",
            "mask_columns = ['a']",
            "`mask_columns` cannot be of type array",
            "{",
        ),
        (
            "postgres",
            "'select'",
            "mask_columns = { a = 'hash' }",
            "the hash of `a` has no salt",
            "mask_salt",
        ),
        (
            "postgres",
            "'select'",
            "deny_columns = ['a']\nmask_columns = { a = 'null' }",
            "may not be named",
            "",
        ),
        (
            "postgres",
            "'select'",
            "columns = ['b']\nmask_columns = { a = 'null' }",
            "may not be named",
            "`columns`",
        ),
        (
            "postgres",
            "'select'",
            "columns = ['a']\ndeny_columns = ['a']",
            "both in",
            "remove",
        ),
        (
            "postgres",
            "'select'",
            "rows = 'a = b'",
            "`b` stands in the row filter",
            "constants",
        ),
        (
            "postgres",
            "'select'",
            "rows = 'a = :caller.user'",
            "unknown value",
            "`:caller.user_id`",
        ),
        (
            "postgres",
            "'select'",
            "rows = 'a < :caller.role'",
            "has no order",
            "`=`",
        ),
        (
            "postgres",
            "'select'",
            "rows = ['a = 1']",
            "`rows` cannot be of type array",
            "rows =",
        ),
        (
            "postgres",
            "'select', 'ddl'",
            "rows = 'a = 1'",
            "may change the definition",
            "`ddl`",
        ),
        ("postgres", "'select', 'ddl'", "max_rows = 1", "", ""),
        (
            "postgres",
            "'select'",
            "require_where = true",
            "`require_where` does nothing",
            "`update`",
        ),
        (
            "postgres",
            "'update'",
            "require_where = 1",
            "`require_where` cannot be",
            "true",
        ),
        (
            "postgres",
            "'insert'",
            "max_rows = 5",
            "`max_rows` does nothing",
            "`select`",
        ),
        (
            "postgres",
            "'select'",
            "max_rows = 0",
            "`max_rows` is `0`",
            "from 1",
        ),
        (
            "postgres",
            "'select'",
            "timeout_ms = '1s'",
            "`timeout_ms` cannot be",
            "2000",
        ),
        (
            "postgres",
            "'select'",
            "hours = 'always'",
            "is not a time window",
            "Zurich",
        ),
        (
            "postgres",
            "'select'",
            "hours = ['mon 08:00-09:00 UTC', 'x']",
            "`x` is not a time",
            "",
        ),
        ("mysql", "'select'", "max_rows = 5\ntimeout_ms = 5", "", ""),
        (
            "mongodb",
            "'find'",
            "mask_columns = { a = 'partial' }\nrows = 'x = 1'",
            "",
            "",
        ),
        (
            "mongodb",
            "'find'",
            "mask_columns = { a = 'hash' }",
            "mongodb cannot hash",
            "`partial`",
        ),
        (
            "mongodb",
            "'find'",
            "deny_columns = ['a.b']",
            "`a.b` is not the name",
            "at the top",
        ),
        (
            "mongodb",
            "'find'",
            "max_rows = 5",
            "`max_rows` means nothing",
            "leave it out",
        ),
        (
            "redis",
            "'read'",
            "columns = ['a']",
            "`columns` means nothing in redis",
            "`keys`",
        ),
        (
            "redis",
            "'read'",
            "rows = 'a = 1'",
            "`rows` means nothing in redis",
            "`keys`",
        ),
        (
            "redis",
            "'read'",
            "timeout_ms = 5",
            "`timeout_ms` means nothing in redis",
            "on the role",
        ),
        ("redis", "'read'", "hours = '08:00-09:00 UTC'", "", ""),
        (
            "redis",
            "'read'",
            "[[roles.app.deny]]\nstore = 'redis'\nkeys = ['d:1']\nrows = 'a = 1'",
            "unknown key `rows`",
            "no rules",
        ),
        (
            "redis",
            "'read'",
            "[[roles.app.deny]]\nstore = 'mysql'\ntables = ['B']",
            "unknown table `B`",
            "`b`",
        ),
        (
            "redis",
            "'read'",
            "[[roles.app.deny]]\nstore = 'mysql'\ntables = ['b']\nactions = ['find']",
            "not an action",
            "`select`",
        ),
        (
            "redis",
            "'read'",
            "[roles.x]\nmode = 'shadwo'",
            "unknown mode `shadwo`",
            "`shadow`",
        ),
        (
            "redis",
            "'read'",
            "[roles.x]\nrows = 'a = 1'",
            "unknown key `rows`",
            "[[roles.x.grants]]",
        ),
    ];
    for (store, actions, rules, message, help) in cases {
        let found = faults(store, actions, rules);
        let told: Vec<String> = found
            .iter()
            .map(|fault| format!("{fault} ({})", fault.help.as_deref().unwrap_or_default()))
            .collect();
        if message.is_empty() {
            assert!(told.is_empty(), "{rules}: {told:?}");
            continue;
        }
        let meets = |told: &&String| told.contains(message) && told.contains(help);
        assert!(told.iter().any(|told| meets(&told)), "{rules}: {told:?}");
    }
}

#[test]
fn modes_and_salts_stand_in_one_file() {
    let file = |path: &str, text: &str| PolicyFile {
        path: path.into(),
        text: format!("version = 1\n{text}"),
    };
    let both = [
        file("a.toml", "mode = 'shadow'\nmask_salt = 'x'\n"),
        file("b.toml", "mode = 'shadow'\nmask_salt = 'x'\n"),
    ];
    let faults = Policy::compile(&both).unwrap_err();
    let told = faults.to_string();
    assert!(
        told.contains("b.toml:2:8: `mode` is in two files (keep it in one (see a.toml:2:8))"),
        "{told}"
    );
    assert!(told.contains("`mask_salt` is in two files"), "{told}");
}
