use std::path::Path;

use super::*;
use crate::execute::settings::TlsMode;

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
fn who_names_a_ca_for_clients_asks_for_their_certificates() {
    let check = |keys: &str, expected: Result<ClientAuth, &str>| {
        let text = format!("{MINIMAL}[server.tls]\ncert_file='/c'\nkey_file='/k'\n{keys}");
        let text = text.replace("'ca'", "'/ca'");
        match (parse(&text, &[]), expected) {
            (Ok(config), Ok(expected)) => assert_eq!(config.server.tls.unwrap().clients, expected),
            (Err(faults), Err(expected)) => {
                assert!(
                    faults.len() == 1 && faults[0].contains(expected),
                    "{faults:?}"
                );
            }
            (found, expected) => panic!("{keys}: {found:?}, not {expected:?}"),
        }
    };
    let ca_file: PathBuf = "/ca".into();
    check("", Ok(ClientAuth::Off));
    check("client_auth = 'off'", Ok(ClientAuth::Off));
    let required = ClientAuth::Require {
        ca_file: ca_file.clone(),
    };
    check("client_ca_file = 'ca'", Ok(required.clone()));
    check(
        "client_ca_file = 'ca'\nclient_auth = 'require'",
        Ok(required),
    );
    check(
        "client_ca_file = 'ca'\nclient_auth = 'optional'",
        Ok(ClientAuth::Optional { ca_file }),
    );
    check("client_auth = 'require'", Err("needs `client_ca_file`"));
    check("client_auth = 'optional'", Err("needs `client_ca_file`"));
    check("client_ca_file = 'ca'\nclient_auth = 'off'", Err("no use"));
    check(
        "client_auth = 'yes'",
        Err("`off` or `optional` or `require`"),
    );
}

#[test]
fn secrets_do_not_print() {
    let config = parse(&MINIMAL.replace("\"s\"", "\"hunter2\""), &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
