use std::path::Path;

use super::*;
use crate::execute::settings::{SessionAttrs, TlsMode, TlsVersion};

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
    let place = |fault: &String| {
        fault
            .strip_prefix("b.toml:")?
            .split(':')
            .next()?
            .parse()
            .ok()
    };
    let lines: Vec<u32> = faults.iter().filter_map(place).collect();
    assert!(lines.len() > 4 && lines.is_sorted(), "{faults:#?}");
}

#[test]
fn one_source_of_an_issuers_keys() {
    let jwt = "[auth.jwt]\nissuer='i'\naudience='a'\nalgorithms=['ES256']\nblacklist_unavailable='allow'\n";
    for (keys, words) in [
        (
            "jwks_file='/f'\njwks_url='https://i/k'",
            "has both `jwks_file` and `jwks_url`",
        ),
        ("", "needs one of `jwks_file` and `jwks_url`"),
    ] {
        let faults = parse(&format!("{MINIMAL}{jwt}{keys}\n"), &[]).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(words), "{faults:?}");
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
fn plaintext_over_a_network_takes_so_many_words() {
    const RISK: &str = "allow_plaintext_over_network = 'yes, I accept the risk'";
    let account = "user='u'\npassword='p'";
    let sql = |store: &str, host: &str| format!("[stores.{store}]\nhost='{host}'\n{account}\n");
    let system = |host: &str| MINIMAL.replace("[system]", &format!("[system]\nhost='{host}'"));
    let uri = |uri: &str| format!("[stores.mongodb]\nuri='{uri}'\n");
    let url = |url: &str| format!("[stores.redis]\nurl='{url}'\n");
    // The section, and whether it is encrypted where nothing more is said.
    let cases = [
        (sql("postgres", "db.example"), true),
        (sql("postgres", "10.1.2.3"), true),
        (sql("postgres", "127.0.0.1"), false),
        (sql("postgres", "/run/postgresql"), false),
        (sql("mysql", "db.example"), true),
        (sql("mysql", "localhost"), false),
        (sql("mysql", "/run/mysqld/mysqld.sock"), false),
        (uri("mongodb://db.example/"), true),
        (uri("mongodb://localhost,db.example/?tls=false"), true),
        (uri("mongodb://localhost/?tls=true"), true),
        (uri("mongodb://localhost/"), false),
        (uri("mongodb://%2Frun%2Fmongodb.sock"), false),
        (url("redis://redis.example"), true),
        (url("rediss://localhost"), true),
        (url("redis://localhost"), false),
        (url("redis+unix:///run/redis.sock"), false),
        (url("redis+sentinel://localhost,s.example?master=m"), true),
        (url("redis+sentinel://localhost,127.0.0.1?master=m"), false),
        (url("redis+cluster://127.0.0.1:1,db.example:2"), true),
        (url("redis+cluster://127.0.0.1:1,127.0.0.1:2"), false),
        (url("rediss+cluster://127.0.0.1:1,127.0.0.1:2"), true),
        (url("rediss+sentinel://localhost?master=m"), true),
    ];
    for (section, encrypted) in &cases {
        let config = parse(&format!("{MINIMAL}{section}"), &[]);
        let stores = config
            .unwrap_or_else(|faults| panic!("{section}: {faults:?}"))
            .stores;
        let modes = [
            stores.postgres.map(|store| store.tls.mode),
            stores.mysql.map(|store| store.tls.mode),
            stores.mongodb.map(|store| store.tls.mode),
            stores.redis.map(|store| store.tls.mode),
        ];
        let mode = modes.into_iter().flatten().next().unwrap();
        assert_eq!(mode == TlsMode::VerifyFull, *encrypted, "{section}");
    }
    assert_eq!(
        parse(&system("db.example"), &[]).unwrap().system.tls.mode,
        TlsMode::VerifyFull
    );

    // Switched off, in a word and in so many.
    let off = |risk: &str| format!("tls = {{ mode = 'disable'{risk} }}\n");
    for (section, _) in &cases {
        let near = !section.contains("example") && !section.contains("10.1.2.3");
        let asks = section.contains("tls=true") || section.contains("rediss");
        let plain = parse(&format!("{MINIMAL}{section}{}", off("")), &[]);
        assert_eq!(plain.is_ok(), near && !asks, "{section}: {plain:?}");
        let risky = parse(
            &format!("{MINIMAL}{section}{}", off(&format!(", {RISK}"))),
            &[],
        );
        assert_eq!(risky.is_ok(), !asks, "{section}: {risky:?}");
    }
    let text = |risk: &str| {
        let tls = off(risk);
        MINIMAL.replace("[system]", &format!("[system]\nhost='db.example'\n{tls}"))
    };
    assert!(parse(&text(""), &[]).is_err());
    assert!(parse(&text(&format!(", {RISK}")), &[]).is_ok());
}

#[test]
fn clients_certificates_and_versions_of_the_stores() {
    let store = |tls: &str| {
        format!("{MINIMAL}[stores.postgres]\nuser='u'\npassword='p'\ntls={{ {tls} }}\n")
    };
    let config = parse(
        &store("cert_file='/c', key_file='/k', min_version='1.3'"),
        &[],
    )
    .unwrap();
    let tls = config.stores.postgres.unwrap().tls;
    assert_eq!(tls.min_version, TlsVersion::V1_3);
    assert_eq!(tls.identity.unwrap().key_file, Path::new("/k"));
    for (tls, expected) in [
        ("cert_file='/c'", "go together"),
        ("key_file='/k'", "go together"),
        (
            "mode='disable', cert_file='/c', key_file='/k'",
            "has no use",
        ),
        ("min_version='1.1'", "`1.2` or `1.3`"),
    ] {
        let faults = parse(&store(tls), &[]).unwrap_err();
        assert!(
            faults.len() == 1 && faults[0].contains(expected),
            "{faults:?}"
        );
    }
    let text = format!("{MINIMAL}[stores.mongodb]\nuri='mongodb://db'\ntls={{min_version='1.3'}}");
    assert!(parse(&text, &[]).unwrap_err()[0].contains("driver"));
}

#[test]
fn a_filter_of_the_log_that_would_silence_it_unmeant_is_refused() {
    for (filter, is_taken) in [
        ("info", true),
        ("WARN", true),
        ("off", true),
        ("info,bulkhead::record=debug", true),
        ("info,hyper=warn", true),
        ("info, hyper=warn", false),
        ("loud", false),
        ("info,[[[", false),
        ("bulkhead=loud", false),
        ("", false),
    ] {
        let parsed = parse(&format!("{MINIMAL}[log]\nfilter='{filter}'"), &[]);
        assert_eq!(parsed.is_ok(), is_taken, "{filter}");
        if let Err(faults) = parsed {
            assert!(faults[0].contains("must be a level"), "{faults:?}");
        }
    }
}

#[test]
fn changes_are_named_key_by_key() {
    let base = format!(
        "{MINIMAL}[stores.postgres]\nuser='u'\npassword='p'\n[stores.redis]\nurl='redis://localhost'\n"
    );
    let check = |text: &str, expected: &[&str]| {
        let (old, new) = (parse(&base, &[]).unwrap(), parse(text, &[]).unwrap());
        assert_eq!(change::changes(&old, &new), expected);
    };
    check(&base, &[]);
    let with = |more: &str| format!("{more}\n{base}");
    check(
        &with("[server]\nthreads=3\nrows_max=1"),
        &["[server] threads", "[server] rows_max"],
    );
    check(&with("[log]\nfilter='debug'"), &["[log] filter"]);
    // What follows from another key is not named beside it.
    let per_peer = "[server] connections_per_peer_max";
    check(
        &with("[server]\nconnections_max=10"),
        &["[server] connections_max"],
    );
    check(
        &with("[server]\nconnections_max=10\nconnections_per_peer_max=4"),
        &["[server] connections_max", per_peer],
    );
    check(&with("[server]\nconnections_per_peer_max=4"), &[per_peer]);
    check(&with("[admin]\nlisten='127.0.0.1:1'"), &["[admin] listen"]);
    check(
        &base.replace("password = \"s\"", "password = \"t\""),
        &["[system] password"],
    );
    check(
        &base.replace("url='redis://localhost'", "url='redis://localhost/1'"),
        &["[stores.redis] url"],
    );
    check(
        &base.replace("[stores.redis]\nurl='redis://localhost'\n", ""),
        &["[stores.redis]"],
    );
    for (line, keys) in [
        ("blocking_per_key_max=1", "blocking_per_key_max"),
        ("sentinel_password='s'", "sentinel_password"),
        ("sentinel_user='s'", "sentinel_user"),
    ] {
        let text = format!("{base}{line}\n");
        check(&text, &[&format!("[stores.redis] {keys}")]);
    }
    check(
        &base.replace(
            "[stores.postgres]",
            "[stores.postgres]\nhosts=['localhost', '[::1]']",
        ),
        &[
            "[stores.postgres] hosts",
            "[stores.postgres] target_session_attrs",
        ],
    );
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
