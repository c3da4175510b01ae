//! The hostile requests again, put straight to the databases by an account that holds the policy's native role and
//! nothing else: how many of them the databases refuse without the gate.

use std::collections::BTreeMap;

use bson::{Document, doc};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::corpus::{Case, folder};
use crate::direct::{Databases, NATIVE, Outcome, Who};
use crate::sidecar::{PRISTINE, mysql, postgres, reload_mysql};
use crate::support::Dev;

#[derive(Debug, Default)]
struct Count {
    refused: usize,
    failed: usize,
    not_here: usize,
    kept_back: usize,
    succeeded: Vec<String>,
}

pub async fn the_databases_refuse_by_themselves(dev: &Dev, cases: &[Case]) {
    apply(dev).await;
    let mut databases = Databases::open(dev, Who::Native).await;
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    let mut bypasses = Vec::new();
    for case in cases.iter().filter(|case| case.is_hostile) {
        let outcome = databases.put(case).await;
        let count = counts.entry(&case.store).or_default();
        match outcome {
            Outcome::Refused(_) => count.refused += 1,
            Outcome::Failed(_) => count.failed += 1,
            Outcome::NotHere(_) => count.not_here += 1,
            Outcome::KeptBack => count.kept_back += 1,
            Outcome::Succeeded => {
                count.succeeded.push(case.id.clone());
                if !case.is_always && !case.touches.iter().all(|touch| is_granted(case, touch)) {
                    bypasses.push(format!("{}: {:?} {}", case.id, case.touches, case.request));
                }
            }
        }
    }
    for (store, count) in &counts {
        println!(
            "{store}: hostile, by native grants alone: {} refused by the database, {} succeeded, {} failed otherwise, \
             {} not applicable here, {} kept back",
            count.refused,
            count.succeeded.len(),
            count.failed,
            count.not_here,
            count.kept_back,
        );
        println!("  succeeded: {}", count.succeeded.join(" "));
    }
    assert!(
        bypasses.is_empty(),
        "the grants let through:\n{}",
        bypasses.join("\n")
    );
    for (store, count) in &counts {
        assert!(count.refused > count.succeeded.len(), "{store}: {count:?}");
    }
}

/// Whether the corpus' policy grants `app` this touch.
fn is_granted(case: &Case, (action, object): &(String, String)) -> bool {
    // Every account may read the server's own catalogue, which no grant can forbid; it shows the rest by name alone.
    if object.starts_with("information_schema.") || object.starts_with("pg_") {
        return action == "select";
    }
    match case.store.as_str() {
        "postgres" => match object.trim_start_matches("public.") {
            "sessions" => action != "ddl",
            "system_config" => action == "select",
            _ => false,
        },
        "mysql" => {
            let tables = [
                "users",
                "user_profiles",
                "user_preferences",
                "posts",
                "transactions",
            ];
            tables.contains(&object.trim_start_matches("corpus.")) && action != "ddl"
        }
        "mongodb" => {
            let collections = ["activity_logs", "analytics_events", "event_store"];
            collections.contains(&object.trim_start_matches("enterprise_db.")) && action != "ddl"
        }
        "redis" => ["cache:", "session:", "queue:"]
            .iter()
            .any(|prefix| object.starts_with(prefix)),
        other => panic!("{other}"),
    }
}

fn printed(dev: &Dev, store: &str) -> Value {
    let policy = folder().join("policy.toml").display().to_string();
    let arguments = [
        "policy", "grants", "--policy", &policy, "--store", store, "--format", "json",
    ];
    let output = dev.bulkhead(&arguments);
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    printed["commands"].clone()
}

/// Makes the roles and the one account, on each server.
async fn apply(dev: &Dev) {
    let (user, password) = NATIVE;
    let pristine = postgres(dev, PRISTINE).await;
    let script = printed(dev, "postgres")[0].as_str().unwrap().to_owned();
    pristine.batch_execute(&script).await.unwrap();
    let login = format!(
        "CREATE ROLE {user} LOGIN PASSWORD '{password}'; GRANT bulkhead_role_app TO {user}"
    );
    pristine.batch_execute(&login).await.unwrap();
    drop(pristine);

    reload_mysql(dev).await;
    let mut conn = mysql(dev, None).await;
    let script = printed(dev, "mysql")[0].as_str().unwrap().to_owned();
    let login = format!(
        "CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'; GRANT bulkhead_role_app TO '{user}'@'%'"
    );
    for statements in [script, login] {
        conn.query_drop(statements).await.unwrap();
    }
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.unwrap();
    let word = if version.unwrap().contains("MariaDB") {
        "FOR"
    } else {
        "TO"
    };
    let default = format!("SET DEFAULT ROLE bulkhead_role_app {word} '{user}'@'%'");
    conn.query_drop(default).await.unwrap();

    let client = mongodb::Client::with_uri_str(dev.store_url("mongodb"))
        .await
        .unwrap();
    let admin = client.database("admin");
    for command in printed(dev, "mongodb").as_array().unwrap() {
        let command: Document = serde_json::from_value(command.clone()).unwrap();
        admin.run_command(command).await.unwrap();
    }
    let login = doc! {"createUser": user, "pwd": password, "roles": ["bulkhead_role_app"]};
    admin.run_command(login).await.unwrap();

    let client = crate::direct::administrator(dev);
    let mut conn = client.get_multiplexed_async_connection().await.unwrap();
    for command in printed(dev, "redis").as_array().unwrap() {
        let words: Vec<&str> = command
            .as_array()
            .unwrap()
            .iter()
            .map(|w| w.as_str().unwrap())
            .collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        // A line that an older server refuses.
        let _ = command.exec_async(&mut conn).await;
    }
    let mut on = redis::cmd("ACL");
    on.arg("SETUSER")
        .arg("bulkhead_role_app")
        .arg("on")
        .arg(format!(">{password}"));
    on.exec_async(&mut conn).await.unwrap();
}
