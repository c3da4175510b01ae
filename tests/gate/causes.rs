//! What is wrong with a database, or with the configuration, as `bulkhead check` and the operator's log tell it: enough
//! to mend it, and no secret.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use rustix::process::Signal;

use crate::certificates::Authority;
use crate::support::link::Link;
use crate::support::{Dev, Sidecar, eventually, shared};

type Table = toml::Table;

const STORES: [&str; 4] = ["postgres", "mysql", "mongodb", "redis"];

/// What is written where a password is wanted. No line may show it.
const WRONG_PASSWORD: &str = "not-the-password-4711";

/// An address to which no server's certificate is.
const NAMELESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn store<'c>(config: &'c mut Table, name: &str) -> &'c mut Table {
    config["stores"][name].as_table_mut().unwrap()
}

fn port(config: &Table, name: &str) -> u16 {
    let store = config["stores"][name].as_table().unwrap();
    let place = ["uri", "url"].map(|key| store.get(key).and_then(toml::Value::as_str));
    let Some(uri) = place.into_iter().flatten().next() else {
        return store["port"].as_integer().unwrap().try_into().unwrap();
    };
    let place = uri.split_once("127.0.0.1:").unwrap().1;
    place.split('/').next().unwrap().parse().unwrap()
}

/// Has the sidecar look for a store elsewhere.
fn lead(config: &mut Table, name: &str, host: &str, to: u16) {
    let from = format!("127.0.0.1:{}", port(config, name));
    let section = store(config, name);
    for key in ["uri", "url"] {
        if let Some(uri) = section.get(key).and_then(toml::Value::as_str) {
            let uri = uri.replace(&from, &format!("{host}:{to}"));
            section.insert(key.into(), uri.into());
            return;
        }
    }
    section.insert("host".into(), host.into());
    section.insert("port".into(), i64::from(to).into());
}

/// What `bulkhead check` says with this configuration.
fn check(sidecar: &Sidecar) -> String {
    let checked = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["check", "--config"])
        .arg(&sidecar.config)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    String::from_utf8(checked.stdout).unwrap()
}

/// Starts a sidecar for which nothing is right with its stores, and looks for what it and `check` say of each.
async fn told(dev: &Dev, fault: &str, words: [&str; 4], edit: impl FnOnce(&mut Table)) {
    let sidecar = Sidecar::start(dev, edit);
    let line_of = |checked: &str, store: &str| {
        let of_store = |line: &&str| line.starts_with(&format!("FAIL  {store} "));
        checked
            .lines()
            .find(of_store)
            .unwrap_or_default()
            .to_owned()
    };
    let is_told = |checked: &str| {
        let mut each = STORES.into_iter().zip(words);
        each.all(|(store, words)| line_of(checked, store).contains(words))
    };
    // On a busy machine an attempt may take longer than `check` waits for an answer.
    let mut checked = check(&sidecar);
    for _ in 0..10 {
        if is_told(&checked) {
            break;
        }
        checked = check(&sidecar);
    }
    for (store, words) in STORES.into_iter().zip(words) {
        let line = line_of(&checked, store);
        assert!(line.contains(words), "{fault}, {store}: {line}");
        let named = format!("\"store\":\"{store}\"");
        eventually("the log tells it", async || {
            sidecar.lines_with(&[&named, "\"WARN\"", words]) > 0
        })
        .await;
    }
    assert!(!checked.contains(WRONG_PASSWORD), "{checked}");
    assert!(!sidecar.has_logged(WRONG_PASSWORD));
}

/// The links are carried while `check` is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_database_is_not_reached() {
    let dev = shared();
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    told(dev, "nobody listens", ["onnection refused"; 4], |config| {
        for name in STORES {
            lead(config, name, "127.0.0.1", closed);
        }
    })
    .await;

    told(
        dev,
        "no such host",
        ["failed to lookup address"; 4],
        |config| {
            for name in STORES {
                lead(config, name, "nothing.invalid", port(config, name));
            }
        },
    )
    .await;

    let config: Table = std::fs::read_to_string(&dev.config)
        .unwrap()
        .parse()
        .unwrap();
    let mut links = Vec::new();
    for name in STORES {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&config, name)));
        links.push((name, Link::at(NAMELESS, target).await));
    }
    told(
        dev,
        "another's certificate",
        ["not valid for name"; 4],
        |config| {
            for (name, link) in &links {
                lead(config, name, &NAMELESS.to_string(), link.port);
            }
        },
    )
    .await;

    let others = Authority::new();
    told(dev, "an unknown CA", ["UnknownIssuer"; 4], |config| {
        for name in STORES {
            let tls = store(config, name)["tls"].as_table_mut().unwrap();
            tls.insert(
                "ca_file".into(),
                others.path("ca.pem").display().to_string().into(),
            );
        }
    })
    .await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, WRONG_PASSWORD).unwrap();
    let words = [
        "password authentication failed",
        "Access denied",
        "uthentication failed",
        "WRONGPASS: the user or the password is wrong",
    ];
    told(dev, "a wrong password", words, |config| {
        for name in STORES {
            let file = file.display().to_string();
            store(config, name).insert("password_file".into(), file.into());
        }
    })
    .await;
}

#[tokio::test]
async fn a_role_that_the_policy_lacks_is_told_with_its_mend() {
    let dev = shared();
    let authority = Authority::new();
    let path = |name: &str| authority.path(name).display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let policy = std::fs::read_to_string("policies/default.toml").unwrap();
    std::fs::write(&file, &policy).unwrap();
    let sidecar = Sidecar::start(dev, |config| {
        config["policy"]["path"] = file.to_str().unwrap().into();
        let tls = format!(
            "cert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'",
            path("cert.pem"),
            path("key.pem"),
            path("ca.pem")
        );
        let server = config["server"].as_table_mut().unwrap();
        server.insert("tls".into(), tls.parse::<Table>().unwrap().into());
        let auth = "[certificates]\n'ghost.internal' = 'ghost'\n'console.internal' = 'admin'";
        config.insert("auth".into(), auth.parse::<Table>().unwrap().into());
    });
    let ghost = "gives `ghost.internal` the role `ghost`";
    let console = "gives `console.internal` the role `admin`";
    let mend = |role| format!("add [roles.{role}] to the policy, or name another role");
    let warned = |words: &str, role| sidecar.lines_with(&["\"WARN\"", words, &mend(role)]);
    eventually("it is told at the start", async || {
        warned(ghost, "ghost") == 1
    })
    .await;
    assert_eq!(warned(console, "admin"), 0);
    let checked = check(&sidecar);
    assert!(
        checked.contains(ghost) && checked.contains(&mend("ghost")),
        "{checked}"
    );
    assert!(!checked.contains(console), "{checked}");
    // A policy that is taken and lacks one more.
    std::fs::write(&file, policy.replace("roles.admin", "roles.operator")).unwrap();
    eventually("it is told of a new policy", async || {
        warned(console, "admin") > 0
    })
    .await;
    let before = warned(ghost, "ghost");
    sidecar.signal(Signal::HUP);
    eventually("it is told again", async || warned(ghost, "ghost") > before).await;
    let checked = check(&sidecar);
    assert!(
        checked.contains(ghost) && checked.contains(console),
        "{checked}"
    );
}
