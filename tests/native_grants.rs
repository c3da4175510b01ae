//! The policy as native grants, on real servers: what is printed is applied, found clean, and every change that
//! somebody makes beside the policy is named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write as _;
use std::process::Command;

use bson::{Document, doc};
use bulkhead::dev::{Options, Servers};
use mysql_async::prelude::Queryable;
use serde_json::Value;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml");

struct Bench {
    servers: Servers,
    policy: String,
}

impl Bench {
    fn new(servers: Servers) -> Self {
        Self {
            servers,
            policy: POLICY.to_owned(),
        }
    }

    /// Goes on with the policy without one of its roles.
    fn without(&mut self, role: &str) -> tempfile::TempDir {
        let mut policy: toml::Table = std::fs::read_to_string(POLICY).unwrap().parse().unwrap();
        policy["roles"]
            .as_table_mut()
            .unwrap()
            .remove(role)
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, policy.to_string()).unwrap();
        self.policy = path.display().to_string();
        folder
    }

    fn grants(&self, store: &str, more: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args([
                "policy",
                "grants",
                "--policy",
                &self.policy,
                "--store",
                store,
            ])
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text + &errors)
    }

    fn url(&self, store: &str) -> String {
        match store {
            "postgres" => self.servers.postgres.url(),
            "mysql" => self.servers.mysql.url(),
            "mongodb" => self.servers.mongodb.url(),
            "redis" => self.servers.redis.url(),
            other => panic!("{other}"),
        }
    }

    fn verify(&self, store: &str) -> (i32, String) {
        self.verify_and(store, &[])
    }

    /// What mends the server, and that this is all.
    fn fix(&self, store: &str) -> String {
        let (code, text) = self.verify_and(store, &["--fix"]);
        assert_eq!(code, 1, "{text}");
        text
    }

    fn verify_and(&self, store: &str, and: &[&str]) -> (i32, String) {
        let (url, ca) = (self.url(store), self.servers.ca_file());
        let ca = ca.display().to_string();
        // The password comes from a file, as it should.
        let (scheme, rest) = url.split_once("://").unwrap();
        let (account, place) = rest.rsplit_once('@').unwrap();
        let (user, password) = account.split_once(':').unwrap();
        let (url, mut file) = (
            format!("{scheme}://{user}@{place}"),
            tempfile::NamedTempFile::new().unwrap(),
        );
        writeln!(file, "{password}").unwrap();
        let file_path = file.path().display().to_string();
        let account = if store == "mysql" {
            "bulkhead_app@%"
        } else {
            "bulkhead_app"
        };
        let mut more = vec![
            "--verify",
            &url,
            "--ca-file",
            &ca,
            "--password-file",
            &file_path,
        ];
        if store != "redis" {
            more.extend(["--account", account]);
        }
        more.extend(and);
        self.grants(store, &more)
    }

    /// A role that the policy has no more is named with what drops it.
    fn names_the_leftover(&self, store: &str, role: &str, drop: &str) {
        let (code, text) = self.verify(store);
        assert_eq!(code, 1, "{text}");
        let line = format!("extra    {role}: existence");
        assert!(text.contains(&line) && text.contains(drop), "{text}");
    }

    fn is_clean(&self, store: &str) {
        let (code, text) = self.verify(store);
        assert_eq!(code, 0, "{text}");
        let (code, text) = self.verify_and(store, &["--fix"]);
        assert_eq!((code, text.as_str()), (0, ""));
    }

    /// Clean, then with each change of the table its line, then clean again when it is applied once more.
    async fn walk<F: AsyncFnMut(&str)>(&self, store: &str, changes: &[(&str, &str)], mut run: F) {
        for (change, expected) in changes {
            run(change).await;
            let (code, text) = self.verify(store);
            assert_eq!(code, 1, "{change}: {text}");
            assert!(
                text.contains(expected),
                "{change}: {expected} is not in\n{text}"
            );
        }
    }
}

async fn postgres(url: &str) -> tokio_postgres::Client {
    let (plain, _) = url.split_once('?').unwrap();
    let mut config: tokio_postgres::Config = plain.parse().unwrap();
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let ca = url.split_once("sslrootcert=").unwrap().1;
    let tls = bulkhead::execute::settings::TlsSettings {
        ca_file: Some(ca.into()),
        ..Default::default()
    };
    let tls = bulkhead::execute::tls::client_config(&tls)
        .unwrap()
        .unwrap();
    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
    let (client, connection) = config.connect(tls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn mysql(url: &str) -> mysql_async::Conn {
    let (plain, options) = url.split_once('?').unwrap();
    let ca = options.split_once("ssl-ca=").unwrap().1.to_owned();
    let ca = std::path::PathBuf::from(ca);
    let tls = mysql_async::SslOpts::default().with_root_certs(vec![ca.into()]);
    let options = mysql_async::Opts::from_url(plain).unwrap();
    let options = mysql_async::OptsBuilder::from_opts(options).ssl_opts(tls);
    mysql_async::Conn::new(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_applied_and_every_change_is_named() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.postgres.start().await.unwrap();
    let mut bench = Bench::new(servers);
    let client = postgres(&bench.url("postgres")).await;
    let (code, text) = bench.verify("postgres");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("missing  bulkhead_role_app: existence"),
        "{text}"
    );
    assert!(
        text.contains("extra    bulkhead_app: DELETE on table public.api_keys"),
        "{text}"
    );

    let (_, script) = bench.grants("postgres", &["--account", "bulkhead_app"]);
    // Twice, since it must be idempotent.
    for _ in 0..2 {
        client.batch_execute(&script).await.unwrap();
        let (code, text) = bench.verify("postgres");
        assert_eq!(code, 0, "{text}");
    }
    let changes = [
        (
            "GRANT UPDATE ON api_keys TO bulkhead_role_app",
            "extra    bulkhead_role_app: UPDATE on table public.api_keys",
        ),
        (
            "REVOKE SELECT ON sessions FROM bulkhead_callers",
            "missing  bulkhead_callers: SELECT on table public.sessions",
        ),
        (
            "GRANT SELECT (hashed_key) ON api_keys TO PUBLIC",
            "extra    bulkhead_role_app: SELECT on column public.api_keys.hashed_key",
        ),
        (
            "GRANT INSERT ON sessions TO bulkhead_app WITH GRANT OPTION",
            "extra    bulkhead_app: INSERT WITH GRANT OPTION on table public.sessions",
        ),
        (
            "CREATE FUNCTION leak() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "EXECUTE on function public.leak()",
        ),
        (
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO bulkhead_app",
            "EXECUTE on function pg_catalog.pg_read_file(text)",
        ),
        (
            "GRANT SELECT ON pg_authid TO bulkhead_app",
            "SELECT on table pg_catalog.pg_authid",
        ),
        (
            "GRANT pg_read_all_data TO bulkhead_app",
            "extra    bulkhead_app: MEMBER on role pg_read_all_data",
        ),
        (
            "CREATE ROLE other; GRANT DELETE ON oauth2_tokens TO other; GRANT other TO bulkhead_app",
            "extra    bulkhead_app: DELETE on table public.oauth2_tokens",
        ),
        (
            "ALTER ROLE bulkhead_app CREATEDB",
            "extra    bulkhead_app: CREATEDB on the server",
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bulkhead_app",
            "SELECT on future tables of ",
        ),
        (
            "CREATE SCHEMA own AUTHORIZATION bulkhead_app",
            "OWNER on schema own",
        ),
        (
            "CREATE TABLE owned (); ALTER TABLE owned OWNER TO bulkhead_app",
            "OWNER on table public.owned",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "CREATE on schema public",
        ),
        (
            "GRANT TEMPORARY ON DATABASE enterprise_system_db TO PUBLIC",
            "TEMPORARY on database enterprise_system_db",
        ),
        (
            "CREATE ROLE bulkhead_role_gone",
            "extra    bulkhead_role_gone: existence",
        ),
        (
            "CREATE ROLE holder LOGIN; GRANT bulkhead_role_app TO holder; GRANT DELETE ON api_keys TO holder",
            "extra    holder: DELETE on table public.api_keys",
        ),
        (
            "ALTER ROLE bulkhead_app SUPERUSER",
            "extra    bulkhead_app: SUPERUSER on the server",
        ),
    ];
    bench
        .walk("postgres", &changes, async |sql: &str| {
            client.batch_execute(sql).await.unwrap()
        })
        .await;
    client.batch_execute(&bench.fix("postgres")).await.unwrap();
    bench.is_clean("postgres");

    let _folder = bench.without("admin");
    bench.names_the_leftover(
        "postgres",
        "bulkhead_role_admin",
        "DROP ROLE \"bulkhead_role_admin\";",
    );
    // What a leftover role owns is kept.
    let owns = "ALTER TABLE owned OWNER TO bulkhead_role_admin";
    client.batch_execute(owns).await.unwrap();
    let fix = bench.fix("postgres");
    client.batch_execute(&fix).await.unwrap();
    client.batch_execute("SELECT FROM owned").await.unwrap();
    bench.is_clean("postgres");
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_is_applied_and_every_change_is_named() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.mysql.start().await.unwrap();
    let mut bench = Bench::new(servers);
    let mut conn = mysql(&bench.url("mysql")).await;
    let (_, text) = bench.verify("mysql");
    assert!(
        text.contains("extra    bulkhead_app@%: SELECT on databases like enterprise_app_db"),
        "{text}"
    );
    assert!(!text.contains("missing  bulkhead_app@%: SELECT"), "{text}");

    let (_, script) = bench.grants("mysql", &["--account", "bulkhead_app@%"]);
    for _ in 0..2 {
        conn.query_drop(&script).await.unwrap();
        let (code, text) = bench.verify("mysql");
        assert_eq!(code, 0, "{text}");
    }
    let changes = [
        (
            "GRANT DELETE ON enterprise_app_db.users TO bulkhead_role_admin",
            "extra    bulkhead_role_admin: DELETE on table enterprise_app_db.users",
        ),
        (
            "REVOKE UPDATE ON enterprise_app_db.posts FROM bulkhead_app@'%'",
            "missing  bulkhead_app@%: UPDATE on table enterprise_app_db.posts",
        ),
        (
            "GRANT SELECT ON mysql.* TO bulkhead_app@'%'",
            "extra    bulkhead_app@%: SELECT on databases like mysql",
        ),
        (
            "GRANT SELECT ON `enter%`.* TO bulkhead_role_app",
            "extra    bulkhead_role_app: SELECT on databases like enter%",
        ),
        (
            "GRANT UPDATE (email) ON enterprise_app_db.users TO bulkhead_role_admin",
            "extra    bulkhead_role_admin: UPDATE on column enterprise_app_db.users.email",
        ),
        (
            "GRANT SELECT ON enterprise_app_db.users TO bulkhead_app@'%' WITH GRANT OPTION",
            "GRANT OPTION on table enterprise_app_db.users",
        ),
        (
            "CREATE ROLE other; GRANT FILE ON *.* TO other; GRANT other TO bulkhead_app@'%'",
            "extra    bulkhead_app@%: FILE on the server",
        ),
        (
            "CREATE ROLE bulkhead_role_gone",
            "extra    bulkhead_role_gone: existence",
        ),
        (
            "CREATE USER holder@'%'; GRANT bulkhead_role_app TO holder@'%'; GRANT EVENT ON enterprise_app_db.* TO holder@'%'",
            "extra    holder@%: EVENT on databases like enterprise_app_db",
        ),
        (
            "GRANT ALL PRIVILEGES ON *.* TO bulkhead_app@'%'",
            "extra    bulkhead_app@%: ALL PRIVILEGES on the server",
        ),
    ];
    let conn = tokio::sync::Mutex::new(conn);
    bench
        .walk("mysql", &changes, async |sql: &str| {
            conn.lock().await.query_drop(sql).await.unwrap()
        })
        .await;
    let run = async |sql: &str| conn.lock().await.query_drop(sql).await.unwrap();
    run(&bench.fix("mysql")).await;
    bench.is_clean("mysql");

    let _folder = bench.without("admin");
    bench.names_the_leftover(
        "mysql",
        "bulkhead_role_admin",
        "DROP ROLE `bulkhead_role_admin`;",
    );
    run(&bench.fix("mysql")).await;
    bench.is_clean("mysql");
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_is_applied_and_every_change_is_named() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.mongodb.start().await.unwrap();
    let mut bench = Bench::new(servers);
    let client = mongodb::Client::with_uri_str(bench.url("mongodb"))
        .await
        .unwrap();
    let admin = client.database("admin");
    let run = async |command: &str| {
        let command: Document = serde_json::from_str(command).unwrap();
        admin.run_command(command).await.unwrap();
    };
    let (code, printed) = bench.grants("mongodb", &["--format", "json"]);
    assert_eq!(code, 0, "{printed}");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    for command in printed["commands"].as_array().unwrap() {
        run(&command.to_string()).await;
    }
    admin
        .run_command(doc! {"updateUser": "bulkhead_app", "roles": ["bulkhead_callers"]})
        .await
        .unwrap();
    bench.is_clean("mongodb");
    let changes = [
        (
            r#"{"grantPrivilegesToRole": "bulkhead_role_app", "privileges": [{"resource": {"db": "enterprise_db", "collection": "activity_logs"}, "actions": ["dropCollection"]}]}"#,
            "extra    bulkhead_role_app: dropCollection on collection enterprise_db.activity_logs",
        ),
        (
            r#"{"revokePrivilegesFromRole": "bulkhead_role_admin", "privileges": [{"resource": {"db": "enterprise_db", "collection": "event_store"}, "actions": ["find"]}]}"#,
            "missing  bulkhead_role_admin: find on collection enterprise_db.event_store",
        ),
        (
            r#"{"grantRolesToRole": "bulkhead_role_admin", "roles": [{"role": "read", "db": "config"}]}"#,
            "extra    bulkhead_role_admin: find on database config",
        ),
        (
            r#"{"createRole": "bulkhead_role_gone", "privileges": [], "roles": []}"#,
            "extra    bulkhead_role_gone: existence",
        ),
        (
            r#"{"grantRolesToUser": "bulkhead_app", "roles": [{"role": "clusterMonitor", "db": "admin"}]}"#,
            "extra    bulkhead_app@admin: serverStatus on the cluster",
        ),
    ];
    bench.walk("mongodb", &changes, run).await;
    let apply = async |bench: &Bench| {
        let (_, fix) = bench.verify_and("mongodb", &["--fix", "--format", "json"]);
        let fix: Value = serde_json::from_str(&fix).unwrap();
        for command in fix["commands"].as_array().unwrap() {
            run(&command.to_string()).await;
        }
    };
    // What a new role lacks is created, what it has is updated.
    run(r#"{"dropRole": "bulkhead_role_app"}"#).await;
    apply(&bench).await;
    bench.is_clean("mongodb");

    let _folder = bench.without("admin");
    bench.names_the_leftover(
        "mongodb",
        "bulkhead_role_admin",
        "dropRole(\"bulkhead_role_admin\")",
    );
    apply(&bench).await;
    bench.is_clean("mongodb");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_applied_and_every_change_is_named() {
    let mut servers = Servers::prepare(&Options::default()).unwrap();
    servers.redis.start().await.unwrap();
    let mut bench = Bench::new(servers);
    let settings = bulkhead::execute::redis::RedisSettings {
        url: bench.url("redis").into(),
        user: None,
        password: None,
        tls: bulkhead::execute::settings::TlsSettings {
            ca_file: Some(bench.servers.ca_file()),
            ..Default::default()
        },
        command_timeout_ms: 5_000,
        limit_timeout_ms: 5,
        in_flight_max: 16,
        blocking: Default::default(),
        sentinel: Default::default(),
    };
    let client = bulkhead::execute::redis::driver(&settings).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let send = async |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut connection.clone()).await
    };
    let send_all = async |told: &Value| {
        for command in told["commands"].as_array().unwrap() {
            let words: Vec<&str> = command
                .as_array()
                .unwrap()
                .iter()
                .map(|w| w.as_str().unwrap())
                .collect();
            let outcome = send(&words).await;
            // The lines of newer commands are one word each, and may be refused.
            assert!(
                outcome.is_ok() || words.len() == 4,
                "{words:?}: {outcome:?}"
            );
        }
    };
    let (code, printed) = bench.grants("redis", &["--format", "json"]);
    assert_eq!(code, 0, "{printed}");
    let printed: Value = serde_json::from_str(&printed).unwrap();
    send_all(&printed).await;
    let (code, text) = bench.verify("redis");
    assert_eq!(code, 0, "{text}");
    let changes = [
        (
            "ACL SETUSER bulkhead_role_app +flushall",
            "extra    bulkhead_role_app: run on command flushall",
        ),
        (
            "ACL SETUSER bulkhead_callers -get",
            "missing  bulkhead_callers: run on command get",
        ),
        (
            "ACL SETUSER bulkhead_role_admin %W~cache:*",
            "extra    bulkhead_role_admin: write on keys cache:*",
        ),
        (
            "ACL SETUSER bulkhead_role_admin allkeys",
            "extra    bulkhead_role_admin: read on keys *",
        ),
        (
            "ACL SETUSER bulkhead_role_app allchannels",
            "extra    bulkhead_role_app: publish and subscribe on channels *",
        ),
        (
            "ACL SETUSER bulkhead_callers nopass",
            "extra    bulkhead_callers: no password on logging in",
        ),
        (
            "ACL SETUSER bulkhead_callers (+@all)",
            "(selectors) on the server",
        ),
        (
            "ACL SETUSER bulkhead_role_app allcommands",
            "extra    bulkhead_role_app: run on command config|set",
        ),
        (
            "ACL SETUSER bulkhead_role_gone on",
            "extra    bulkhead_role_gone: existence",
        ),
        (
            "ACL SETUSER default on nopass",
            "extra    default: whatever it may do",
        ),
    ];
    let run = async |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        send(&words).await.unwrap();
    };
    bench.walk("redis", &changes, run).await;
    let apply = async |bench: &Bench| {
        let (_, fix) = bench.verify_and("redis", &["--fix", "--format", "json"]);
        let fix: Value = serde_json::from_str(&fix).unwrap();
        send_all(&fix).await;
    };
    apply(&bench).await;
    // Whether anybody needs a password to be the default user is the operator's.
    let left = bench.fix("redis");
    assert_eq!(left.lines().count(), 1, "{left}");
    assert!(
        left.starts_with("# left to you: extra    default: "),
        "{left}"
    );
    send(&["ACL", "SETUSER", "default", "off"]).await.unwrap();
    bench.is_clean("redis");

    let _folder = bench.without("admin");
    bench.names_the_leftover(
        "redis",
        "bulkhead_role_admin",
        "ACL DELUSER bulkhead_role_admin",
    );
    apply(&bench).await;
    bench.is_clean("redis");
}
