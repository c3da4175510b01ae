//! Whom connections are opened to and with what, against real servers: plaintext, certificates, answers in time.

use std::time::Duration;

use redis::Value;

use super::dial::Dial;
use super::link::Link;
use super::many_server_tests::eventually;
use super::server_tests::{code, run, until_up};
use super::*;
use crate::error::Code;
use crate::execute::private_servers::{Folder, PlainRedis, free_port};
use crate::execute::settings::IdentityFiles;

const PASSWORD: &str = "p@ss";

/// What is announced elsewhere than on loopback is not told the password in plaintext, unless somebody has said so.
#[tokio::test]
async fn announced_servers_are_reached_in_plaintext_on_this_machine_alone() {
    let server = PlainRedis::start(&format!("requirepass {PASSWORD}"));
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    let mut settings = PlainRedis::settings(url, PASSWORD);
    for (may_leave, host, expected) in [
        (false, "127.0.0.1", true),
        (false, "localhost", true),
        // It leads here, which its name does not say.
        (false, "0.0.0.0", false),
        (true, "0.0.0.0", true),
    ] {
        settings.tls.plaintext_over_network = may_leave;
        let dial = Dial::of(&settings, &Places::read(&settings).unwrap()).unwrap();
        let connected = dial.announced(host, server.port).connect().await;
        let refused = connected.err().map(|error| error.to_string());
        assert_eq!(refused.is_none(), expected, "{host}: {refused:?}");
        assert!(refused.is_none_or(|why| why.contains("nothing is encrypted")));
    }
}

/// Directly, through Sentinel and in a cluster, for callers and for the limiter.
#[tokio::test]
async fn a_renewed_certificate_is_shown_to_every_server() {
    let (folder, others) = (Folder::new(), Folder::new());
    let tls = format!(
        "port 0\ntls-port $PORT\ntls-cert-file {pem}\ntls-key-file {pem}\ntls-ca-cert-file {ca}\n\
         tls-auth-clients yes\ntls-replication yes",
        pem = folder.path("server.pem"),
        ca = folder.path("ca.pem"),
    );
    let login = format!("requirepass {PASSWORD}\nmasterauth {PASSWORD}\n{tls}");
    let primary = PlainRedis::start(&login);
    let sentinel = PlainRedis::sentinel(&format!(
        "{tls}\nsentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main {PASSWORD}",
        primary.port
    ));
    let bus = free_port();
    let node = PlainRedis::start(&format!(
        "{login}\ncluster-enabled yes\ncluster-port {bus}\ntls-cluster yes"
    ));
    let with = |url: String, pem: String| {
        let mut settings = PlainRedis::settings(url, PASSWORD);
        settings.tls = folder.tls();
        settings.tls.identity = Some(IdentityFiles {
            cert_file: pem.clone().into(),
            key_file: pem.into(),
        });
        settings
    };
    let node_url = format!("127.0.0.1:{}", node.port);
    let settings = with(format!("rediss://{node_url}"), folder.path("server.pem"));
    let dial = Dial::of(&settings, &Places::read(&settings).unwrap()).unwrap();
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("ADDSLOTSRANGE").arg(0).arg(16_383);
    let added = dial.connect().await.unwrap().ask(&slots).await;
    assert_eq!(added.unwrap(), Value::Okay);

    let shown = others.path("shown.pem");
    std::fs::copy(others.path("server.pem"), &shown).unwrap();
    let urls = [
        format!("rediss://127.0.0.1:{}", primary.port),
        format!("rediss+sentinel://127.0.0.1:{}?master=main", sentinel.port),
        format!("rediss+cluster://{node_url}"),
    ];
    let all: Vec<_> = urls
        .iter()
        .map(|url| {
            let settings = with(url.clone(), shown.clone());
            let link = Link::open(&settings, Duration::from_secs(10)).unwrap();
            (url, RedisStore::connect(&settings).unwrap(), link)
        })
        .collect();
    for (url, store, link) in &all {
        assert_eq!(
            code(store, &["PING"], false).await,
            Code::StoreUnavailable,
            "{url}"
        );
        assert!(!link.is_up(), "{url}");
    }
    std::fs::copy(folder.path("server.pem"), &shown).unwrap();
    for (_, store, link) in &all {
        until_up(store).await;
        eventually("it takes writes, as a whole cluster does", async || {
            run(store, &["SET cache:x 1"], false).await.is_ok()
        })
        .await;
        eventually("the limiter's connection is there", async || link.is_up()).await;
    }
}

/// As for the limiter, which has no use for an answer that comes late.
#[tokio::test]
async fn a_server_that_answers_late_is_away() {
    let server = PlainRedis::start(&format!("requirepass {PASSWORD}"));
    let settings = PlainRedis::settings(format!("redis://127.0.0.1:{}", server.port), PASSWORD);
    // No answer is that quick.
    let strict = Link::open(&settings, Duration::ZERO).unwrap();
    let patient = Link::open(&settings, Duration::from_secs(10)).unwrap();
    eventually("it is there", async || patient.is_up()).await;
    let mut probed = redis::cmd("INFO");
    probed.arg("commandstats");
    eventually("both were probed", async || {
        let told: String = probed.query_async(&mut patient.manager()).await.unwrap();
        let calls = told.split("cmdstat_ping:calls=").nth(1);
        let calls = calls.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
        calls.is_some_and(|calls| calls > 3)
    })
    .await;
    assert!(!strict.is_up());
    patient.suspect();
    assert!(!patient.is_up());
    eventually("it is there again", async || patient.is_up()).await;
}
