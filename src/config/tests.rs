use std::path::Path;

use super::*;
use crate::execute::settings::{SessionAttrs, TlsMode};

const MINIMAL: &str = r#"
[policy]
path = "policy.toml"
[system]
user = "bulkhead_system"
password = "s"
"#;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::parse(Path::new("b.toml"), text, &environment)
        .map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
}

#[test]
fn the_defaults_are_the_patterns_pools() {
    let text = format!(
        "{MINIMAL}[stores.postgres]\nuser='u'\npassword='p'\n[stores.mysql]\nuser='u'\npassword='p'\n[stores.mongodb]\nuri='mongodb://127.0.0.1'\n"
    );
    let config = parse(&text, &[]).unwrap();
    let (postgres, mysql) = (
        config.stores.postgres.unwrap().pool,
        config.stores.mysql.unwrap().pool,
    );
    assert_eq!((postgres.min, postgres.max), (2, 10));
    assert_eq!((mysql.min, mysql.max), (5, 20));
    let mongodb = config.stores.mongodb.unwrap().pool;
    assert_eq!((mongodb.min, mongodb.max), (2, 10));
    assert!(config.stores.redis.is_none());
}

#[test]
fn variables_override_the_file_and_configure_a_store_it_does_not_name() {
    let variables = [
        ("MYSQL_HOST", "127.0.0.1"),
        ("MYSQL_PORT", "3307"),
        ("MYSQL_USER", "mysql"),
        ("MYSQL_PASSWORD", "pw"),
        ("BULKHEAD_SYSTEM_USER", "other"),
        ("REDIS_URL", "redis://localhost:6379"),
    ];
    let config = parse(MINIMAL, &variables).unwrap();
    assert_eq!(config.system.user, "other");
    let mysql = config.stores.mysql.unwrap();
    assert_eq!(
        (mysql.port, mysql.database.as_str()),
        (3307, "enterprise_app_db")
    );
    assert_eq!(mysql.tls.mode, TlsMode::Disable);
    assert!(config.stores.redis.is_some());
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let text = "[server]\nlisten = 'x'\nbody_bytes_mx = 3\n[stores.mysql]\nhost = 'db.example'\nport = 0\ntls = { mode = 'off' }\n[stores.postgres]\nhost='pg.example'\nuser='u'\npassword='${NO}'\ntls={mode='disable'}\n";
    let faults = parse(text, &[]).unwrap_err();
    for expected in [
        "b.toml:1:1: `listen` is `x`",
        "b.toml:3:1: unknown key `body_bytes_mx` in [server]; did you mean `body_bytes_max`?",
        "no policy is named",
        "b.toml:6:8: `port` must be a whole number from 1 to 65535",
        "b.toml:7:16: `mode` is `off`; it must be `verify-full` or `disable`",
        "`user` is missing (or set MYSQL_USER)",
        "`password_file` or `password` is missing (or set MYSQL_PASSWORD)",
        "b.toml:11:10: the environment variable `NO` is not set",
        "`pg.example` is not on loopback, so the connection must be encrypted",
        "no [system] section",
    ] {
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{expected} is not among {faults:#?}"
        );
    }
}

#[test]
fn several_servers_are_one_that_takes_writes() {
    let sql = |lines: &str| {
        let text = format!("{MINIMAL}[stores.mysql]\nuser='u'\npassword='p'\n{lines}");
        parse(&text, &[]).map(|config| {
            let settings = config.stores.mysql.unwrap();
            let addresses = settings.addresses();
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let writes = settings.failover.target == SessionAttrs::ReadWrite;
            (addresses.join(" "), writes)
        })
    };
    for (lines, addresses, writes) in [
        ("", "localhost:3306", false),
        ("target_session_attrs='read-write'", "localhost:3306", true),
        (
            "hosts=['127.0.0.1:1', '[::1]:2', 'localhost']",
            "127.0.0.1:1 ::1:2 localhost:3306",
            true,
        ),
        (
            "hosts=['localhost', '127.0.0.1']\nport=9\ntarget_session_attrs='any'",
            "localhost:9 127.0.0.1:9",
            false,
        ),
    ] {
        assert_eq!(sql(lines), Ok((addresses.to_owned(), writes)), "{lines}");
    }
    for (lines, expected) in [
        ("hosts=['a:b']", "`a:b` is not a server"),
        ("hosts=[]", "`hosts` must be a list of strings"),
        ("hosts='a'", "`hosts` must be a list of strings"),
        ("hosts=[1]", "`hosts` holds strings alone"),
        (
            "host='localhost'\nhosts=['localhost']",
            "`host` and `hosts` are both there",
        ),
        (
            "hosts=['localhost']\ntarget_session_attrs='standby'",
            "must be `any` or `read-write`",
        ),
        (
            "hosts=['localhost', 'far.example']\ntls={mode='disable'}",
            "`far.example` is not on loopback",
        ),
    ] {
        let faults = sql(lines).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{lines}: {faults:?}"
        );
    }
    // Any server of a list that is not on loopback wants encryption, not the first alone.
    let text = format!(
        "{MINIMAL}[stores.mongodb]\nuri='mongodb://127.0.0.1:1,far.example/'\ntls={{mode='disable'}}\n\
         [stores.redis]\nurl='redis+sentinel://127.0.0.1:1,other.example:2/0?master=m'\ntls={{mode='disable'}}\n"
    );
    let faults = parse(&text, &[]).unwrap_err().join("\n");
    for host in ["far.example", "other.example"] {
        assert!(
            faults.contains(&format!("`{host}` is not on loopback")),
            "{faults}"
        );
    }
}

#[test]
fn redis_is_plain_on_loopback_alone() {
    for (url, mode) in [
        ("redis://localhost", TlsMode::Disable),
        ("redis+unix:///run/redis.sock", TlsMode::Disable),
        ("redis+cluster://127.0.0.1:1,[::1]:2", TlsMode::Disable),
        ("redis://far.example", TlsMode::VerifyFull),
        (
            "redis+cluster://127.0.0.1:1,far.example:2",
            TlsMode::VerifyFull,
        ),
        ("rediss://localhost", TlsMode::VerifyFull),
    ] {
        let config = parse(&format!("{MINIMAL}[stores.redis]\nurl='{url}'\n"), &[]);
        assert_eq!(
            config.unwrap().stores.redis.unwrap().tls.mode,
            mode,
            "{url}"
        );
    }
}

#[test]
fn secrets_do_not_print() {
    let config = parse(&MINIMAL.replace("\"s\"", "\"hunter2\""), &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
