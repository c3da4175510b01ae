//! What an operator reads: the log of requests that go no further, of the start, and on a terminal or not.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use hyper::Method;

use crate::support::{self, Sidecar, eventually, shared};

/// Whoever asks about a reply has its request id, and finds it in the log.
#[tokio::test]
async fn what_is_turned_away_at_the_door_is_logged() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| {});
    sidecar.ready().await;
    let key = ("x-api-key", dev.app.clone());
    let bearer = ("authorization", format!("Bearer {}", dev.app));
    for (id, path, headers, code) in [
        (
            "door-1",
            "/v1/whoami",
            vec![key.clone(), bearer],
            "request.invalid",
        ),
        ("door-2", "/v1/nowhere", vec![key.clone()], "route.unknown"),
        (
            "door-3",
            "/v1/mysql/query",
            vec![key],
            "route.method_not_allowed",
        ),
    ] {
        let mut headers = headers;
        headers.push(("x-request-id", id.to_owned()));
        let url = format!("{}{path}", sidecar.http);
        let reply = support::send(Method::GET, &url, &headers, None).await;
        assert_eq!(
            (reply.code(), &reply.body["request_id"]),
            (code, &id.into())
        );
        let (id, code) = (
            format!("\"request_id\":\"{id}\""),
            format!("\"code\":\"{code}\""),
        );
        eventually("it is logged", || async {
            sidecar.lines_with(&[&id, &code]) == 1
        })
        .await;
    }
    assert!(!sidecar.has_logged(&dev.app));
}

/// Redis is connected to while the sidecar starts: that it was not yet is no news before the first second is over.
#[tokio::test]
async fn a_start_is_no_reason_to_warn_of_the_limits() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let sidecar = Sidecar::start(shared(), |config| {
        let redis = config["stores"]["redis"].as_table_mut().unwrap();
        redis.insert("url".into(), format!("rediss://127.0.0.1:{port}/0").into());
    });
    let at = |words: &str| -> Option<jiff::Timestamp> {
        let line: serde_json::Value = serde_json::from_str(&sidecar.line(words)?).unwrap();
        line["timestamp"].as_str().unwrap().parse().ok()
    };
    let warning = "redis does not count the rate limits";
    eventually("it is told at last", || async { at(warning).is_some() }).await;
    let took = at(warning)
        .unwrap()
        .duration_since(at("\"listening\"").unwrap());
    assert!(took.as_millis() >= 1000, "{took}");
}

/// Colours are for terminals, and this is a pipe.
#[test]
fn a_log_in_text_has_no_colours_in_a_pipe() {
    let dev = shared();
    let text = std::fs::read_to_string(&dev.config).unwrap();
    let mut config: toml::Table = text.parse().unwrap();
    for section in ["server", "admin"] {
        let listen = toml::Table::from_iter([("listen".to_owned(), "127.0.0.1:0".into())]);
        config.insert(section.into(), listen.into());
    }
    let log = toml::Table::from_iter([("format".to_owned(), "text".into())]);
    config.insert("log".into(), log.into());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bulkhead.toml");
    std::fs::write(&path, config.to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args(["serve", "--config"])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines {
        seen.push(line.unwrap());
        if seen.last().is_some_and(|line| line.contains("listening")) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let last = seen.last().unwrap();
    assert!(
        last.contains("INFO") && last.contains("listening"),
        "{seen:?}"
    );
    assert!(seen.iter().all(|line| !line.contains('\u{1b}')), "{seen:?}");
}

#[test]
fn help_and_check_tell_what_there_is() {
    let said = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let words = String::from_utf8(output.stdout).unwrap();
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/default.toml");
    for (arguments, words) in [
        (
            &["dev", "--help"][..],
            "`kill STORE`, `stop STORE`, `start STORE` or `restart STORE`",
        ),
        (&["certs", "dev", "--help"], "common name and DNS name"),
        (&["policy", "check", policy], "`app` (requests = "),
    ] {
        let told = said(arguments);
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}
