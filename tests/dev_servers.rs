//! The private servers themselves: encrypted, separate, restartable, and gone when they should be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod dev_clients;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use bulkhead::dev::{Options, Servers};
use bulkhead::operation::Store;
use dev_clients::{Refused, count, plaintext_is_refused, try_as_app, write_one};
use rustix::process::{Pid, Signal, kill_process};

const GONE_TIMEOUT_S: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_are_private() {
    let servers = Servers::start(&Options::default()).await.unwrap();
    for store in Store::ALL {
        plaintext_is_refused(&servers, store).await;
        let folder = servers.folder().join(store.as_str());
        assert_eq!(mode(&folder), 0o700, "{store}");
        // No server runs as root, and each can read its own folder alone.
        let pid = servers.get(store).pid().unwrap();
        let uid = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert_ne!(uid, 0, "{store}");
        assert_eq!(std::fs::metadata(&folder).unwrap().uid(), uid, "{store}");
        assert_ne!(mode(&folder.join("server.key")) & 0o077, 0o077, "{store}");
    }
    for secret in ["ca.key", "dev.json"] {
        assert_eq!(mode(&servers.folder().join(secret)), 0o600, "{secret}");
    }
    let mut passwords: Vec<String> = std::fs::read_dir(servers.folder().join("secrets"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let drawn = passwords.len();
    passwords.sort();
    passwords.dedup();
    assert_eq!((drawn, passwords.len()), (9, 9));

    let folder = servers.folder().to_owned();
    servers.stop().await.unwrap();
    assert!(!folder.exists());
    assert_eq!(processes_in(&folder), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_accounts_can_do_what_callers_may() {
    let servers = Servers::start(&Options::default()).await.unwrap();
    let cases = [
        (
            Store::Postgres,
            "INSERT INTO audit_logs (user_id, action, resource_type, metadata) VALUES ('1', 'user.update', 'user', '{}')",
            None,
        ),
        (
            Store::Postgres,
            "INSERT INTO audit_logs (action, user_id) VALUES ('user.created', '1')",
            None,
        ),
        (
            Store::Postgres,
            "INSERT INTO api_keys (id, hashed_key, user_id, name) VALUES ('k', 'h', '1', 'n')",
            None,
        ),
        (
            Store::Postgres,
            "SELECT * FROM sessions WHERE id = 'x' AND expires_at > NOW()",
            None,
        ),
        (
            Store::Postgres,
            "UPDATE system_config SET value = '1'",
            None,
        ),
        (
            Store::Postgres,
            "UPDATE audit_logs SET action = 'x'",
            Some(Refused),
        ),
        (Store::Postgres, "DELETE FROM audit_logs", Some(Refused)),
        (Store::Postgres, "TRUNCATE sessions", Some(Refused)),
        (
            Store::Postgres,
            "CREATE TABLE public.users (id int)",
            Some(Refused),
        ),
        (
            Store::Postgres,
            "CREATE TEMPORARY TABLE t (id int)",
            Some(Refused),
        ),
        (
            Store::Postgres,
            "SELECT * FROM refinery_schema_history",
            Some(Refused),
        ),
        (
            Store::Mysql,
            "INSERT INTO posts (user_id, title, content, status) VALUES (1, 't', 'c', 'draft')",
            None,
        ),
        (Store::Mysql, "SELECT * FROM users WHERE id = 1", None),
        (Store::Mysql, "CREATE TABLE t (id int)", Some(Refused)),
        (Store::Mysql, "SELECT * FROM mysql.user", Some(Refused)),
        (Store::Mysql, "SELECT 1 INTO OUTFILE 'x'", Some(Refused)),
        (
            Store::Mongodb,
            r#"{"find": "activity_logs", "$db": "enterprise_db"}"#,
            None,
        ),
        (
            Store::Mongodb,
            r#"{"insert": "event_store", "documents": [{"stream": "s", "version": 1}], "$db": "enterprise_db"}"#,
            None,
        ),
        (
            Store::Mongodb,
            r#"{"find": "system.users", "$db": "admin"}"#,
            Some(Refused),
        ),
        (
            Store::Mongodb,
            r#"{"find": "anything", "$db": "other"}"#,
            Some(Refused),
        ),
        (Store::Redis, "GET cache:greeting", None),
        (Store::Redis, "EVAL return{KEYS[1]} 1 ratelimit:x", None),
        (Store::Redis, "KEYS cache:*", None),
        (Store::Redis, "FLUSHALL", Some(Refused)),
        (Store::Redis, "CONFIG GET *", Some(Refused)),
        (Store::Redis, "ACL LIST", Some(Refused)),
    ];
    for (store, request, expected) in cases {
        let outcome = try_as_app(&servers, store, request).await;
        assert_eq!(outcome.err(), expected, "{store}: {request}");
    }
    servers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_survives_a_crash() {
    let mut servers = Servers::start(&Options::default()).await.unwrap();
    for store in Store::ALL {
        let before = count(&servers, store).await;
        write_one(&servers, store).await;
        let port = servers.get(store).port();
        let pid = servers.get(store).pid();

        servers.get_mut(store).kill().await.unwrap();
        assert!(!servers.get_mut(store).is_running(), "{store}");
        assert!(servers.get_mut(store).kill().await.is_err(), "{store}");

        servers.get_mut(store).start().await.unwrap();
        assert_eq!(servers.get(store).port(), port, "{store}");
        assert_ne!(servers.get(store).pid(), pid, "{store}");
        assert_eq!(count(&servers, store).await, before + 1, "{store}");

        servers.get_mut(store).restart().await.unwrap();
        assert_eq!(count(&servers, store).await, before + 1, "{store}");
    }
    servers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_folder_is_used_again() {
    let parent = folder();
    let options = Options {
        dir: Some(parent.path().join("data")),
        keep: true,
    };
    let servers = Servers::start(&options).await.unwrap();
    let ports = Store::ALL.map(|store| servers.get(store).port());
    let mut counts = Vec::new();
    for store in Store::ALL {
        write_one(&servers, store).await;
        counts.push(count(&servers, store).await);
    }
    let second = Servers::prepare(&options).unwrap_err().to_string();
    assert!(second.contains("another `bulkhead dev`"), "{second}");
    servers.stop().await.unwrap();

    let servers = Servers::start(&options).await.unwrap();
    assert_eq!(Store::ALL.map(|store| servers.get(store).port()), ports);
    servers.stop().await.unwrap();

    // Where another program has taken the ports, others do.
    for port in ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }
    let servers = Servers::start(&options).await.unwrap();
    for (store, expected) in Store::ALL.into_iter().zip(counts) {
        assert!(!ports.contains(&servers.get(store).port()), "{store}");
        assert_eq!(count(&servers, store).await, expected, "{store}");
        // It must also be writable: a replica set that does not know its address is not.
        write_one(&servers, store).await;
    }
    servers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_when_nobody_stops_the_servers() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    let (postgres, redis) = tokio::join!(servers.postgres.start(), servers.redis.start());
    postgres.and(redis).unwrap();
    let folder = servers.folder().to_owned();
    assert!(!processes_in(&folder).is_empty());
    drop(servers);
    wait_until_gone(&folder);
}

#[test]
fn a_test_commands_bulkhead_dev_through_its_input() {
    let mut dev = Dev::start();
    assert_eq!(
        dev.tell("kill redis"),
        r#"{"command":"kill redis","ok":true}"#
    );
    assert!(dev.tell("kill redis").contains(r#""ok":false"#));
    assert_eq!(
        dev.tell("start redis"),
        r#"{"command":"start redis","ok":true}"#
    );
    assert!(dev.tell("start redis").contains("running already"));
    assert!(dev.tell("burn redis").contains("is not a command"));

    drop(dev.input.take());
    assert!(dev.child.wait().unwrap().success());
    assert!(!dev.ready_file.exists());
    assert!(!dev.folder.exists());
    assert_eq!(processes_in(&dev.folder), Vec::<u32>::new());
}

#[test]
fn a_signal_ends_everything() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut dev = Dev::start();
        kill_process(Pid::from_child(&dev.child), signal).unwrap();
        assert!(dev.child.wait().unwrap().success());
        assert!(!dev.folder.exists() && !dev.ready_file.exists());
        assert_eq!(processes_in(&dev.folder), Vec::<u32>::new());
    }
}

#[test]
fn nothing_outlives_a_killed_bulkhead_dev() {
    let mut dev = Dev::start();
    dev.child.kill().unwrap();
    dev.child.wait().unwrap();
    wait_until_gone(&dev.folder);
}

/// A `bulkhead dev` as a test harness starts it, without the sidecar.
struct Dev {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    ready_file: PathBuf,
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl Dev {
    fn start() -> Self {
        let parent = folder();
        let ready_file = parent.path().join("ready.json");
        let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(["dev", "--stores-only", "--exit-with-stdin", "--ready-file"])
            .arg(&ready_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready_file.exists() {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(mode(&ready_file), 0o600);
        let text = std::fs::read_to_string(&ready_file).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
        let config = Path::new(ready["config"].as_str().unwrap());
        assert_eq!(mode(config), 0o600);
        let settings: toml::Table = std::fs::read_to_string(config).unwrap().parse().unwrap();
        assert!(settings.contains_key("system") && settings.contains_key("stores"));
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            folder: config.parent().unwrap().to_owned(),
            child,
            ready_file,
            _parent: parent,
        }
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        let mut reply = String::new();
        self.output.read_line(&mut reply).unwrap();
        reply.trim_end().to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // The guardian does the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder that the servers' account may pass through.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    dir
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

/// Every process that works in this folder, by its id.
fn processes_in(folder: &Path) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

fn wait_until_gone(folder: &Path) {
    let deadline = Instant::now() + Duration::from_secs(GONE_TIMEOUT_S);
    while folder.exists() || !processes_in(folder).is_empty() {
        assert!(Instant::now() < deadline, "{}", folder.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}
