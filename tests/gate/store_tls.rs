//! Client certificates to all four databases, each of which asks for one.

use std::path::Path;

use bson::doc;
use mysql_async::prelude::Queryable as _;
use serde_json::json;

use crate::isolation::{mysql, postgres};
use crate::support::tls::{Certificates, make};
use crate::support::{Dev, Sidecar, eventually, send};

/// The subject of the client certificate that MongoDB is shown.
const MONGODB_CLIENT: &str = "mongodb-client";

type Table = toml::Table;

fn account(config: &Table, store: &str) -> String {
    let user = config["stores"][store]["user"].as_str();
    user.unwrap().to_owned()
}

/// From now on, no database takes the sidecar's accounts without a certificate of this authority.
async fn insist(dev: &Dev, config: &Table, folder: &Path) {
    let admin = postgres(dev).await;
    let row = admin.query_one("SHOW hba_file", &[]).await.unwrap();
    let rules_file: String = row.get(0);
    let rules = std::fs::read_to_string(&rules_file).unwrap();
    let user = account(config, "postgres");
    let rule = format!("hostssl all {user} 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n");
    std::fs::write(&rules_file, rule + &rules).unwrap();
    let ca = folder.join("ca.pem").display().to_string();
    let set = format!("ALTER SYSTEM SET ssl_ca_file = '{ca}'");
    admin.batch_execute(&set).await.unwrap();
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();

    let mut admin = mysql(dev).await;
    let user = account(config, "mysql");
    let find = "SELECT host FROM mysql.user WHERE user = ?";
    let hosts: Vec<String> = admin.exec(find, (&user,)).await.unwrap();
    assert!(!hosts.is_empty());
    for host in hosts {
        let alter = format!("ALTER USER '{user}'@'{host}' REQUIRE X509");
        admin.query_drop(alter).await.unwrap();
    }

    let settings = bulkhead::config::Config::load(&dev.config).unwrap();
    let mut settings = settings.stores.redis.unwrap();
    settings.url = dev.store_url("redis").to_owned().into();
    (settings.user, settings.password) = (None, None);
    let client = bulkhead::execute::redis::driver(&settings).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("tls-auth-clients").arg("yes");
    set.query_async::<()>(&mut admin).await.unwrap();

    let admin = mongodb::Client::with_uri_str(dev.store_url("mongodb"))
        .await
        .unwrap();
    let user = doc! {
        "createUser": format!("CN={MONGODB_CLIENT}"),
        "roles": [{"role": "readWrite", "db": "enterprise_db"}],
    };
    admin.database("$external").run_command(user).await.unwrap();
}

/// Has the stores show the certificates in `folder`; those whose drivers can be told speak TLS 1.3 alone.
fn show(config: &mut Table, clients: &[(&str, String)], folder: &Path) {
    let uri = config["stores"]["mongodb"]["uri"].as_str().unwrap();
    let place = uri.rsplit('@').next().unwrap().split('/').next().unwrap();
    let uri = format!(
        "mongodb://{place}/?directConnection=true&authMechanism=MONGODB-X509&authSource=%24external&tls=false"
    );
    let mongodb = config["stores"]["mongodb"].as_table_mut().unwrap();
    mongodb.insert("uri".into(), uri.into());
    mongodb.remove("password_file");
    for (store, client) in clients {
        let tls = config["stores"][store]["tls"].as_table_mut().unwrap();
        let path = |ending| {
            folder
                .join(format!("{client}.{ending}"))
                .display()
                .to_string()
        };
        tls.insert("cert_file".into(), path("pem").into());
        tls.insert("key_file".into(), path("key").into());
        if *store != "mongodb" {
            tls.insert("min_version".into(), "1.3".into());
        }
    }
}

#[tokio::test]
async fn each_database_is_shown_a_certificate_and_a_renewed_one_counts_for_the_next_connection() {
    let dev = Dev::start();
    let folder = dev.config.parent().unwrap();
    let config: Table = std::fs::read_to_string(&dev.config)
        .unwrap()
        .parse()
        .unwrap();
    let clients = [
        ("postgres", account(&config, "postgres")),
        ("mysql", account(&config, "mysql")),
        ("mongodb", MONGODB_CLIENT.to_owned()),
        ("redis", "redis-client".to_owned()),
    ];
    let mut names: Vec<_> = clients.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    make(folder, &names);
    insist(&dev, &config, folder).await;

    // Without certificates, and with those of another authority, nothing is reached.
    let others = Certificates::new(&names);
    let shown = Certificates::new(&names);
    let without = Sidecar::start(&dev, |_| ());
    let sidecar = Sidecar::start(&dev, |config| show(config, &clients, &shown.path("")));
    let status = async |sidecar: &Sidecar, store: &str| {
        let url = format!("{}/health", sidecar.admin);
        let health = send(hyper::Method::GET, &url, &[], None).await.body;
        health[store]["status"].as_str().unwrap_or("").to_owned()
    };
    for store in ["postgres", "mysql", "mongodb", "redis"] {
        eventually("it is refused", async || {
            status(&sidecar, store).await == "down"
        })
        .await;
    }
    for store in ["postgres", "mysql", "redis"] {
        eventually("none is refused", async || {
            status(&without, store).await == "down"
        })
        .await;
    }

    // The right ones, put into place while it runs.
    let copy = |from: &Path| {
        for name in &names {
            for ending in ["key", "pem"] {
                let file = format!("{name}.{ending}");
                std::fs::copy(from.join(&file), shown.path(&file)).unwrap();
            }
        }
    };
    copy(folder);
    sidecar.ready().await;
    works(&dev, &sidecar).await;
    let mode = async || {
        let url = format!("{}/health", sidecar.admin);
        let health = send(hyper::Method::GET, &url, &[], None).await.body;
        health["rate_limit"].as_str().unwrap_or("").to_owned()
    };
    eventually("the limits are shared", async || {
        works(&dev, &sidecar).await;
        mode().await == "shared"
    })
    .await;

    // A key that is not the certificate's is refused, and what works goes on.
    std::fs::copy(
        others.path("server.key"),
        shown.path(&format!("{}.key", names[0])),
    )
    .unwrap();
    works(&dev, &sidecar).await;

    // A server that speaks TLS 1.2 alone is no server for who insists on 1.3.
    copy(folder);
    let admin = postgres(&dev).await;
    let set = "ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'";
    admin.batch_execute(set).await.unwrap();
    admin
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let strict = Sidecar::start(&dev, |config| show(config, &clients, &shown.path("")));
    eventually("1.2 is refused", async || {
        status(&strict, "postgres").await == "down"
    })
    .await;
    eventually("1.3 is spoken", async || {
        status(&strict, "mysql").await == "up"
    })
    .await;
}

async fn works(dev: &Dev, sidecar: &Sidecar) {
    let sql = json!({"sql": "SELECT 1 AS one"});
    let find = json!({"command": {"count": "activity_logs"}});
    let get = json!({"command": ["GET", "cache:x"]});
    for (path, body) in [
        ("/v1/postgres/query", &sql),
        ("/v1/mysql/query", &sql),
        ("/v1/mongodb/command", &find),
        ("/v1/redis/command", &get),
    ] {
        let reply = sidecar.post(&dev.admin_key, path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
}
