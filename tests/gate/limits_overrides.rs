//! Overrides that the policy makes useless: told to the operator, and without effect.

use bulkhead::authenticate::keys::{self, NewKey};
use secrecy::ExposeSecret;

use crate::changes::own_database;
use crate::limits::{policy, whoami};
use crate::support::{Sidecar, eventually, shared};

#[tokio::test]
async fn an_override_that_the_policy_makes_useless_is_told_once_and_has_no_effect() {
    let dev = shared();
    let settings = own_database(dev, "limits_overrides").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let folder = policy(
        dev,
        "[app]\nrequests = 100\nper = '1m'\ncost = { insert = 5 }\n\
         [second]\nrequests = 7\nper = '1m'\n",
        "rate_limits = ['app', 'second']",
    );
    let sidecar = Sidecar::start(dev, |config| {
        config["policy"]["path"] = folder.path().to_str().unwrap().into();
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), settings.database.clone().into());
    });
    let new = NewKey {
        name: "overridden".into(),
        user_id: None,
        role: "app".into(),
        expires_at: None,
    };
    let made = keys::create(&mut client, &new).await.unwrap();
    let key = made.secret.expose_secret();
    let insert = "INSERT INTO rate_limit_overrides (role, rate_limit, requests, per_ms, burst) VALUES
        ('nobody', NULL, 9, 60000, NULL), ('app', 'bass', 9, 60000, NULL), ('app', NULL, 200, 60000, 3)";
    client.batch_execute(insert).await.unwrap();
    let faults = [
        "the policy has no role `nobody`",
        "has a rate limit `bass`",
        "may cost 5, and no more than 3",
    ];
    for fault in faults {
        eventually(fault, || async { sidecar.has_logged(fault) }).await;
    }
    // The table is read again, and what is told does not come again; what is changed does.
    let until_second = async |requests: u32| {
        eventually("a good one is in force", || async {
            whoami(&sidecar, key).await.body["limits"][1]["limit"] == requests
        })
        .await;
    };
    let good = "INSERT INTO rate_limit_overrides (role, rate_limit, requests, per_ms)
        VALUES ('app', 'second', 8, 60000)";
    client.batch_execute(good).await.unwrap();
    until_second(8).await;
    for fault in faults {
        assert_eq!(sidecar.lines_with(&[fault]), 1, "{fault}");
    }
    let changed = "UPDATE rate_limit_overrides SET requests = 10 WHERE role = 'nobody' OR rate_limit = 'second'";
    client.batch_execute(changed).await.unwrap();
    until_second(10).await;
    eventually("the changed one is told", || async {
        sidecar.lines_with(&[faults[0]]) == 2
    })
    .await;
    assert_eq!(
        [
            sidecar.lines_with(&[faults[1]]),
            sidecar.lines_with(&[faults[2]])
        ],
        [1, 1]
    );
    // The policy's own limit holds.
    let told = whoami(&sidecar, key).await;
    let first = &told.body["limits"][0];
    assert_eq!(
        (&first["limit"], &first["burst"]),
        (&100.into(), &100.into()),
        "{}",
        told.text
    );

    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["check", "--config"])
        .arg(&sidecar.config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(
        said.contains("FAIL  overrides      3 are not in force"),
        "{said}"
    );
    for fault in faults {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}

/// A row that never ends holds up no other; what cannot be read is told once, and what was read last stays in force.
#[tokio::test]
async fn an_override_without_an_end_holds_and_a_table_that_cannot_be_read_is_told() {
    let dev = shared();
    let settings = own_database(dev, "limits_infinity").await;
    let mut client = bulkhead::system::connect(&settings).await.unwrap();
    let limits = "[app]\nrequests = 100\nper = '1m'\n[second]\nrequests = 7\nper = '1m'\n";
    let folder = policy(dev, limits, "rate_limits = ['app', 'second']");
    let sidecar = Sidecar::start(dev, |config| {
        config["policy"]["path"] = folder.path().to_str().unwrap().into();
        let system = config["system"].as_table_mut().unwrap();
        system.insert("database".into(), settings.database.clone().into());
    });
    let new = NewKey {
        name: "for ever".into(),
        user_id: None,
        role: "app".into(),
        expires_at: None,
    };
    let made = keys::create(&mut client, &new).await.unwrap();
    let key = made.secret.expose_secret();
    let are = async |what: &str, first: u32, second: u32| {
        eventually(what, || async {
            let limits = &whoami(&sidecar, key).await.body["limits"];
            limits[0]["limit"] == first && limits[1]["limit"] == second
        })
        .await;
    };
    let insert =
        "INSERT INTO rate_limit_overrides (role, rate_limit, requests, per_ms, expires_at) VALUES
        ('app', 'app', 200, 60000, 'infinity'), ('app', 'second', 8, 60000, '290000-01-01'),
        ('admin', NULL, 9, 60000, '-infinity')";
    client.batch_execute(insert).await.unwrap();
    are("both are in force", 200, 8).await;
    let rename = |from: &str, to: &str| {
        format!("ALTER TABLE rate_limit_overrides RENAME COLUMN {from} TO {to}")
    };
    client
        .batch_execute(&rename("requests", "renamed"))
        .await
        .unwrap();
    client
        .batch_execute("UPDATE rate_limit_overrides SET per_ms = 60000")
        .await
        .unwrap();
    let told = "the rate limit overrides cannot be read";
    eventually("it is told", || async { sidecar.has_logged(told) }).await;
    are("what was read last is in force", 200, 8).await;
    client
        .batch_execute(&rename("renamed", "requests"))
        .await
        .unwrap();
    eventually("they are read again", || async {
        sidecar.has_logged("the rate limit overrides are read again")
    })
    .await;
    assert_eq!(sidecar.lines_with(&[told]), 1);
}
