use super::*;

/// A policy with nothing wrong, to which the tables below add one fault each.
const SOUND: &str = r#"version = 1
[stores.postgres]
tables = ["sessions", "audit_logs", "reports.daily"]
functions = ["touch_session"]
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
store = "mysql"
tables = ["*"]
actions = ["select"]
"#;

fn file(path: &str, text: &str) -> PolicyFile {
    PolicyFile {
        path: path.into(),
        text: text.into(),
    }
}

fn faults(text: &str) -> Vec<Fault> {
    match Policy::compile(&[file("p.toml", text)]) {
        Ok(policy) => policy.warnings().to_vec(),
        Err(faults) => faults.0,
    }
}

/// Whether one of the faults stands on the line that holds `at`, at its first byte, and says so.
fn check(text: &str, at: &str, message: &str, help: &str) {
    let start = text
        .rfind(at)
        .unwrap_or_else(|| panic!("{at} is not in {text}"));
    let before = &text[..start];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let found = faults(text);
    assert!(
        found.iter().any(|fault| {
            (fault.place.line, fault.place.column) == (line, column)
                && fault.message.contains(message)
                && fault.help.as_deref().unwrap_or_default().contains(help)
        }),
        "expected {line}:{column} {message} ({help}) in\n{text}\n{found:#?}"
    );
}

#[test]
fn a_sound_policy_has_no_fault() {
    assert_eq!(faults(SOUND), []);
}

#[test]
#[rustfmt::skip]
fn faults_of_shape() {
    for (text, at, message, help) in [
        ("", "", "the policy has no `version`", "write `version = 1`"),
        ("version = 2", "2", "version `2` is not known", "version 1"),
        ("version = '1'", "'1'", "`version` cannot be of type string", "write `version = 1`"),
        ("version = 1\nx = [", "", "not valid TOML", ""),
        ("version = 1\nversion = 1", "version", "not valid TOML: duplicate key", ""),
        ("version = 1\nstore = 1", "store", "unknown key `store` in the policy", "`stores`?"),
        ("version = 1\n[redis]", "redis", "unknown key `redis`", "write `[stores.redis]`"),
        ("version = 1\nstores = 3", "3", "`stores` cannot be of type integer", "[stores.NAME]"),
        ("version = 1\n[stores]\nmysql = 3", "3", "`stores.mysql` cannot be", "[stores.mysql]"),
        ("version = 1\n[stores.mysqll]", "mysqll", "unknown store `mysqll`", "mean `mysql`?"),
        ("version = 1\n[stores.oracle]", "oracle", "unknown store", "`postgres`, `mysql`"),
    ] {
        check(text, at, message, help);
    }
}

#[test]
#[rustfmt::skip]
fn faults_of_stores() {
    for (add, at, message, help) in [
        ("[stores.redis]\ntables = []", "tables", "unknown key `tables`", "redis lists `keys`"),
        ("[stores.redis]\nschema = 'x'", "schema", "unknown key", "redis has no `schema`"),
        ("[stores.mysql]\nschema = 'x'", "schema", "unknown key", "mysql calls it `database`"),
        ("[stores.mysql]\ntable = []", "table", "unknown key `table`", "mysql lists `tables`"),
        ("[stores.mysql]\ntables = []", "mysql", "has no `database`", "write `database ="),
        ("[stores.mongodb]\nfunctions = ['f']", "functions", "unknown key", "no functions"),
        ("[stores.mysql]\ntables = 'users'", "'users'", "`tables` cannot be", "[\"NAME\"]"),
        ("[stores.mysql]\ntables = ['a', 4]", "4", "`tables` cannot be of type integer", ""),
        ("[stores.postgres]\ntables = ['a', 'a']", "'a'", "listed twice", "remove one"),
        ("[stores.postgres]\ntables = ['a', 'public.a']", "'public.a'", "listed twice", ""),
        ("[stores.postgres]\ntables = ['*']", "'*'", "is not a name", "`*` is for grants"),
        ("[stores.postgres]\ntables = ['a.b.c']", "'a.b.c'", "is not a name", "`schema.table`"),
        ("[stores.postgres]\ntables = ['']", "''", "is not a name", "write a name"),
        ("[stores.postgres]\ntables = ['.a']", "'.a'", "is not a name", "write a name"),
        ("[stores.postgres]\ntables = [' a']", "' a'", "is not a name", "white space"),
        ("[stores.postgres]\ntables = ['\"A\"']", "'\"A\"'", "is not a name", "without quotes"),
        ("[stores.postgres]\nschema = ''", "''", "is not the name of a schema", ""),
        ("[stores.redis]\nkeys = ['a[']", "'a['", "`[` without its `]`", "close the class"),
        ("[stores.redis]\nkeys = ['']", "''", "is empty", "cache:*"),
        ("[stores.redis]\nkeys = ['a', 'a']", "'a'", "listed twice", "remove one"),
        ("[stores.redis]\nkeys = ['a*', 'ab*']", "'ab*'", "lies within `a*`", "the narrower"),
        ("[stores.mysql]\nscripts = []", "scripts", "unknown key", "mysql has no scripts"),
        ("[stores.redis]\nscripts = ['x']", "'x'", "not the digest of a script", "40 hexadecimal"),
        ("[stores.redis]\nscripts = ['00000000000000000000000000000000000000000']", "'0000", "not the digest", ""),
        ("[stores.redis]\nscripts = ['g000000000000000000000000000000000000000']", "'g000", "not the digest", ""),
        ("[stores.redis]\nscripts = ['sha1:000000000000000000000000000000000000']", "'sha1", "not the digest", ""),
        ("[stores.redis]\nscripts = ['a000000000000000000000000000000000000000', 'A000000000000000000000000000000000000000']", "'A000", "listed twice", "remove one"),
        ("[stores.redis]\nscripts = 'x'", "'x'", "`scripts` cannot be", "[\"SHA-1\"]"),
        ("[stores.redis]\nkeys = []", "redis", "no key pattern lives in redis", "keys = [...]"),
        ("[stores.postgres]\ntables = ['u']\n[stores.mysql]\ndatabase = 'd'\ntables = ['u']", "'u'", "`u` is listed in postgres and in mysql", "(see p.toml:3:11)"),
        ("[stores.postgres]\ntables = ['a', 'r.u']\n[stores.mysql]\ndatabase = 'd'\ntables = ['d.a']", "'d.a'", "`a` is listed in postgres and in mysql", ""),
    ] {
        check(&format!("version = 1\n{add}\n"), at, message, help);
    }
    let long = format!(
        "version = 1\n[stores.postgres]\ntables = ['{}']",
        "x".repeat(64)
    );
    check(&long, "'xxx", "is not a name", "that long");
}

#[test]
#[rustfmt::skip]
fn faults_of_roles() {
    for (grant, at, message, help) in [
        ("store = 'mysq'", "'mysq'", "unknown store `mysq`", "mean `mysql`?"),
        ("actions = ['select']", "[[", "a grant has no `store`", "write `store = "),
        ("store = 'mysql'\nactions = ['select']", "[[", "a grant has no `tables`", "[\"*\"]"),
        ("store = 'mysql'\ntables = ['users']", "[[", "a grant has no `actions`", "[\"select\"]"),
        ("store = 'mysql'\ntables = []", "[]", "`tables` is empty", "[\"*\"]"),
        ("store = 'mysql'\nactions = []", "[]", "`actions` is empty", "[\"select\"]"),
        ("store = 'mysql'\ntables = ['user']", "'user'", "unknown table `user`", "mean `users`?"),
        ("store = 'mysql'\ntables = ['Users']", "'Users'", "unknown table", "mean `users`?"),
        ("store = 'mysql'\ntables = ['sessions']", "'sessions'", "unknown", "store = \"postgres\""),
        ("store = 'mysql'\ntables = ['zzzzzz']", "'zzzzzz'", "unknown", "`users`, `posts`"),
        ("store = 'mysql'\ntables = ['us*']", "'us*'", "unknown table", "`*` stands alone"),
        ("store = 'mysql'\ntables = ['*', 'users']", "'*'", "already grants", "remove the names"),
        ("store = 'mysql'\ncollections = ['*']", "collections", "unknown key", "lists `tables`"),
        ("store = 'mysql'\nacton = ['x']", "acton", "unknown key `acton` in a grant", "`actions`?"),
        ("store = 'mysql'\nactions = ['read']", "'read'", "not an action of mysql", "`select`"),
        ("store = 'mysql'\nactions = ['slect']", "'slect'", "not an action", "mean `select`?"),
        ("store = 'mysql'\nactions = ['write']", "'write'", "not an action", "`insert`, `update`"),
        ("store = 'mysql'\nactions = ['drop']", "'drop'", "not an action", "`ddl`"),
        ("store = 'mysql'\nactions = ['*']", "'*'", "not an action", "name each action"),
        ("store = 'mongodb'\nactions = ['select']", "'select'", "of mongodb", "calls it `find`"),
        ("store = 'redis'\nactions = ['delete']", "'delete'", "of redis", "calls it `write`"),
        ("store = 'redis'\nkeys = ['cach:*']", "'cach:*'", "do not live in redis", "`cache:*`?"),
        ("store = 'redis'\nkeys = ['*:x']", "'*:x'", "do not live in redis", "a wider pattern"),
        ("store = 'redis'\nkeys = ['q[']", "'q['", "`[` without its `]`", "close"),
    ] {
        let text = format!("{SOUND}[[roles.app.grants]]\n{grant}\n");
        check(&text, at, message, help);
    }
    for (add, at, message, help) in [
        ("[roles.x]", "x", "role `x` is granted nothing", "[[roles.x.grants]]"),
        ("[roles.x]\nrate_limit = 'slo'", "'slo'", "unknown rate limit `slo`", "mean `slow`?"),
        ("[roles.x]\nrate_limit = 'abc'", "'abc'", "unknown rate limit", "[rate_limits.abc]"),
        ("[roles.x]\nrate_limits = ['slo']", "'slo'", "unknown rate limit `slo`", "mean `slow`?"),
        ("[roles.x]\nrate_limits = ['slow', 'slow']", "'slow']", "`slow` is named twice", "remove one"),
        ("[roles.x]\nrate_limit = 'slow'\nrate_limits = ['slow']", "['slow']", "say the same", "into `rate_limits`"),
        ("[roles.x]\ngrants = 1", "1", "`grants` cannot be", "[[roles.x.grants]]"),
        ("[roles.x]\nactions = []", "actions", "unknown key", "put it under `[[roles.x.grants]]`"),
        ("[roles.x]\ndescripton = ''", "descripton", "unknown key", "`description`?"),
        ("[rate_limits.x]\nrequests = 1\nper = '1s'", "x]", "no role has", "rate_limit = \"x\""),
    ] {
        check(&format!("{SOUND}{add}\n"), at, message, help);
    }
    let bare = "version = 1\n[[roles.a.grants]]\nstore = 'redis'\nkeys = ['*']\nactions = ['read']";
    check(
        bare,
        "[[",
        "a grant on redis, where nothing lives",
        "[stores.redis]",
    );
}

#[test]
#[rustfmt::skip]
fn faults_of_rate_limits() {
    for (limit, at, message, help) in [
        ("requests = 0\nper = '1s'", "0", "`requests` is `0`", "from 1 to"),
        ("requests = -1\nper = '1s'", "-1", "`requests` is `-1`", "from 1 to"),
        ("requests = 99999999999\nper = '1s'", "99999999999", "`requests` is", "from 1 to"),
        ("requests = 1.5\nper = '1s'", "1.5", "`requests` cannot be of type float", "600"),
        ("per = '1s'", "x]", "rate_limits.x has no `requests`", "requests = 600"),
        ("requests = 1", "x]", "rate_limits.x has no `per`", "per = \"1m\""),
        ("requests = 1\nper = 60", "60", "`per` cannot be of type integer", "per = \"1m\""),
        ("requests = 1\nper = '60'", "'60'", "is not a length of time", "`1m`"),
        ("requests = 1\nper = '1 m'", "'1 m'", "is not a length of time", "`1m`"),
        ("requests = 1\nper = 'm'", "'m'", "is not a length of time", "`1m`"),
        ("requests = 1\nper = '0s'", "'0s'", "is no time at all", "`10s`"),
        ("requests = 1\nper = '25h'", "'25h'", "longer than a day", "`24h`"),
        ("requests = 9999\nper = '1ms'", "x]", "faster than one request a micro", "longer period"),
        ("requests = 1\nper = '1s'\nburst = 0", "0", "`burst` is `0`", "from 1 to"),
        ("requests = 1\nperiod = '1s'", "period", "unknown key", "write `per ="),
        ("request = 1", "request", "unknown key `request`", "mean `requests`?"),
        ("concurrent = 0", "0", "`concurrent` is `0`", "from 1 to"),
        ("concurrent = 2\nburst = 3", "x]", "`burst` is of a rate, and this limit has none", "requests = 600"),
        ("concurrent = 2\nrequests = 3", "x]", "rate_limits.x has no `per`", "per = \"1m\""),
        ("requests = 1\nper = '1s'\nmode = 'leasd'", "'leasd'", "`leasd` is not known here", "mean `leased`?"),
        ("requests = 1\nper = '1s'\nper_what = 'user'", "'user'", "`user` is not known here", "`key`, `role`"),
        ("requests = 1\nper = '1s'\non_redis_failure = 'close'", "'close'", "`close` is not known", "mean `closed`?"),
        ("requests = 1\nper = '1s'\non_redis_falure = 'open'", "on_redis_falure", "unknown key", "mean `on_redis_failure`?"),
        ("requests = 1\nper = '1s'\nshare = 0", "0", "`share` is `0`", "share = 4"),
        ("requests = 1\nper = '1s'\nshare = 1.5", "1.5", "`share` is `1.5`", "share = 0.25"),
        ("requests = 1\nper = '1s'\nshare = 'all'", "'all'", "not a number of use here", "share = 4"),
        ("requests = 1\nper = '1s'\nshare = nan", "nan", "`share` is `NaN`", "share = 4"),
        ("requests = 1\nper = '1s'\nshadow = 'yes'", "'yes'", "`shadow` cannot be of type string", "shadow = true"),
        ("requests = 1\nper = '1s'\nstores = ['mysq']", "'mysq'", "unknown store `mysq`", "mean `mysql`?"),
        ("requests = 1\nper = '1s'\nstores = []", "[]", "`stores` is empty, so nothing is counted", "leave it out"),
        ("requests = 1\nper = '1s'\nactions = []", "[]", "`actions` is empty", "leave it out"),
        ("requests = 1\nper = '1s'\nstores = ['mysql']\nactions = ['find']", "'find'", "not an action of what is counted", "`select`"),
        ("requests = 1\nper = '1s'\ncost = { insrt = 5 }", "insrt", "not an action", "mean `insert`?"),
        ("requests = 1\nper = '1s'\ncost = { insert = 0 }", "0", "`insert` is `0`", "from 1 to"),
        ("requests = 1\nper = '1s'\ncost = 5", "5", "`cost` cannot be of type integer", "insert = 5"),
        ("requests = 4\nper = '1s'\ncost = { insert = 5 }", "5", "costs 5, and no more than 4", "larger `burst`"),
    ] {
        check(
            &format!("version = 1\n[rate_limits.x]\n{limit}\n"),
            at,
            message,
            help,
        );
    }
}

#[test]
fn a_fault_is_reported_once() {
    let text = "version = 1\n[stores.redis]\nkeys = ['a']\n[rate_limits.x]\nrequests = 0\nper = '0s'\n\
                [roles.r]\nrate_limit = 'x'\n[[roles.r.grants]]\nstore = 'redis'\nkeys = [1]\nactions = [2]";
    let lines: Vec<usize> = faults(text).iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [5, 6, 11, 12]);
}

/// Compiling takes time in proportion to the policy; this would take minutes where it did not.
#[test]
fn a_large_policy() {
    let list = |prefix: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("\"{prefix}{at}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    let mut text = format!(
        "version = 1\n[stores.postgres]\ntables = {}\n[stores.redis]\nkeys = {}\n",
        list("t", 10_000),
        list("k", 10_000),
    );
    for role in 0..1000 {
        text += &format!(
            "[[roles.r{role}.grants]]\nstore = 'postgres'\ntables = ['t{role}', 't9999']\n"
        );
        text += &format!("actions = ['select']\n[[roles.r{role}.grants]]\nstore = 'redis'\n");
        text += "keys = ['*']\nactions = ['read']\n";
    }
    let policy = Policy::compile(&[file("p.toml", &text)]).unwrap();
    assert_eq!(
        (policy.roles().len(), policy.objects(Store::Postgres).len()),
        (1000, 10_000)
    );
}

#[test]
fn every_fault_is_reported_at_once_and_in_order() {
    let text = "version = 3\n[stores.redis]\nkeys = ['a[']\n[roles.r]\nx = 1\n[[roles.r.grants]]\n\
                store = 'redis'\nkeys = ['b[']\nactions = ['select', 'get']\n";
    let lines: Vec<usize> = faults(text).iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [1, 3, 5, 8, 9, 9]);
}

#[test]
fn broken_syntax_does_not_hide_other_faults() {
    let text = "version = 1\n[stores.redis]\nkeys = 'a\n[roles.r]\nx = 1\n";
    let found = faults(text);
    assert!(
        found
            .iter()
            .any(|f| f.message.starts_with("not valid TOML") && f.place.line == 3)
    );
    assert!(
        found
            .iter()
            .any(|f| f.message.contains("unknown key `x`") && f.place.line == 5)
    );
}

#[test]
#[rustfmt::skip]
fn rate_limits_say_what_they_count() {
    for (limit, expected, warnings) in [
        ("requests = 10\nper = '1s'", "requests = 10, per = \"1s\", burst = 10", 0),
        ("concurrent = 3", "concurrent = 3", 0),
        ("requests = 10\nper = '1s'\nconcurrent = 3\nshadow = true", "requests = 10, per = \"1s\", burst = 10, concurrent = 3, shadow = true", 0),
        ("requests = 10\nper = '1s'\nmode = 'exact'\nper_what = 'role'", "requests = 10, per = \"1s\", burst = 10, mode = \"exact\", per_what = \"role\"", 0),
        ("requests = 10\nper = '1s'\nmode = 'leased'\non_redis_failure = 'closed'", "requests = 10, per = \"1s\", burst = 10, on_redis_failure = \"closed\"", 0),
        ("requests = 10\nper = '1s'\nshare = 4", "requests = 10, per = \"1s\", burst = 10, share = 0.25", 0),
        ("requests = 10\nper = '1s'\nshare = 4\nactions = ['insert']\ncost = { insert = 2 }", "requests = 10, per = \"1s\", burst = 10, share = 0.25, actions = [\"insert\"], cost = { insert = 2 }", 0),
        ("requests = 10\nper = '1s'\nshare = 4\nactions = ['insert']\ncost = { insert = 3 }", "requests = 10, per = \"1s\", burst = 10, share = 0.25, actions = [\"insert\"], cost = { insert = 3 }", 1),
        ("requests = 10\nper = '1s'\nshare = 0.5", "requests = 10, per = \"1s\", burst = 10, share = 0.5", 0),
        ("requests = 10\nper = '1s'\nshare = 1\non_redis_failure = 'open'", "requests = 10, per = \"1s\", burst = 10, on_redis_failure = \"open\"", 1),
        ("requests = 10\nper = '1s'\nstores = ['mysql', 'mongodb']\nactions = ['find', 'insert']\ncost = { insert = 5 }",
         "requests = 10, per = \"1s\", burst = 10, stores = [\"mysql\", \"mongodb\"], actions = [\"find\", \"insert\"], cost = { insert = 5 }", 0),
        ("requests = 10\nper = '1s'\nactions = ['find']\ncost = { insert = 5 }", "requests = 10, per = \"1s\", burst = 10, actions = [\"find\"], cost = { insert = 5 }", 1),
    ] {
        let text = SOUND.replace("requests = 10\nper = \"1s\"", limit);
        let policy = Policy::compile(&[file("p", &text)]).unwrap();
        let limits = policy.role("app").unwrap().rate_limits();
        assert_eq!(limits[0].to_string(), expected);
        assert_eq!(policy.warnings().len(), warnings, "{limit}");
    }
}

#[test]
#[rustfmt::skip]
fn who_may_write_the_counts_is_warned_of() {
    for (keys, action, warned) in [
        ("'*'", "write", true),
        ("'ratelimit:*'", "write", true),
        ("'ratelimit:b*:app:key:k'", "write", true),
        ("'ratelimit:*'", "read", false),
        ("'ratelimit:mine:*'", "write", false),
        ("'cache:*'", "write", false),
    ] {
        let text = SOUND.replace("\"queue:*\"", "\"queue:*\", \"ratelimit:*\"");
        let text = format!("{text}[[roles.app.grants]]\nstore = 'redis'\nkeys = [{keys}]\nactions = ['{action}']\n");
        let found = faults(&text);
        assert_eq!(found.iter().any(|fault| fault.message.contains("write its own rate limits")), warned, "{keys}");
        assert_eq!(found.len(), usize::from(warned), "{found:?}");
    }
}

#[test]
fn a_role_names_several_limits() {
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("l{at}")).collect();
        let limits = names
            .iter()
            .map(|name| format!("[rate_limits.{name}]\nconcurrent = 1\n"));
        let limits: String = limits.collect();
        let text = SOUND.replace("rate_limit = \"slow\"", &format!("rate_limits = {names:?}"));
        text.replace("[roles.app]", &format!("{limits}[roles.app]"))
    };
    let policy = Policy::compile(&[file("p", &names(8))]).unwrap();
    assert_eq!(policy.role("app").unwrap().rate_limits().len(), 8);
    check(
        &names(9),
        "\"l8\"]",
        "more than 8 rate limits for one role",
        "fewer",
    );
}

#[test]
fn durations() {
    for (per, expected) in [
        ("500ms", 500),
        ("1s", 1000),
        ("1m", 60_000),
        ("24h", 86_400_000),
    ] {
        let text = SOUND.replace("1s", per);
        let policy = Policy::compile(&[file("p", &text)]).unwrap();
        let limit = policy.role("app").unwrap().rate_limits()[0].rate.unwrap();
        assert_eq!(
            (limit.period_ms, limit.requests, limit.burst),
            (expected, 10, 10)
        );
    }
}

#[test]
#[rustfmt::skip]
fn files_are_merged() {
    let team = "version = 1\n[stores.mysql]\ntables = ['orders']\n[roles.team]\n\
                [[roles.team.grants]]\nstore = 'mysql'\ntables = ['orders', 'users']\nactions = ['select']";
    let policy = Policy::compile(&[file("a.toml", SOUND), file("b.toml", team)]).unwrap();
    assert_eq!(policy.objects(Store::Mysql), ["users", "posts", "orders"]);
    assert_eq!(
        policy.role("team").unwrap().grants()[0].place().to_string(),
        "b.toml:5:1"
    );

    for (other, place, message, help) in [
        ("[roles.app]", "b.toml:2:8", "role `app` is in two files", "a.toml:16:8"),
        ("[rate_limits.slow]\nrequests = 1\nper = '1s'", "b.toml:2:14", "is in two files", ""),
        ("[stores.mysql]\ndatabase = 'x'", "b.toml:3:12", "`x` here and `shop`", "a.toml:6:12"),
        ("[stores.mysql]\ntables = ['posts']", "b.toml:3:11", "listed twice", ""),
    ] {
        let text = format!("version = 1\n{other}");
        let faults = Policy::compile(&[file("a.toml", SOUND), file("b.toml", &text)]).unwrap_err();
        assert!(
            faults.0.iter().any(|fault| fault.place.to_string() == place
                && fault.message.contains(message)
                && fault.help.as_deref().unwrap_or_default().contains(help)),
            "{faults:#?}"
        );
    }
    let versionless = Policy::compile(&[file("a.toml", SOUND), file("b.toml", "")]).unwrap_err();
    assert_eq!(
        versionless.to_string(),
        "b.toml:1:1: the policy has no `version` (write `version = 1`)"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// Whatever is cut out of a policy or put into it: an answer, and every fault with a place in the text.
    #[test]
    fn any_text_has_an_answer(at in 0..SOUND.len(), cut in 0..40_usize, put in r#"[\[\]"'=.*\n\\{}a1#é-]{0,6}"#) {
        let end = (at + cut).min(SOUND.len());
        let text = format!("{}{put}{}", &SOUND[..at], &SOUND[end..]);
        let lines = text.split('\n').count();
        for fault in faults(&text) {
            proptest::prop_assert!((1..=lines).contains(&fault.place.line), "{fault:?}");
        }
    }
}
