//! Requests whose end two readers may see in two places. Each is refused, or read in the one way that the standard
//! has and its connection closed; what is hidden in it is never answered.

use crate::raw::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, RST_STREAM, fields};
use crate::raw::{Neighbour, exchange, frame, statuses};
use crate::support::{Sidecar, shared};

const BODY: &str = r#"{"sql": "SELECT 1 AS one"}"#;

/// What would be answered 200 with this id, if it were read as a request.
fn hidden(key: &str) -> String {
    format!(
        "GET /v1/whoami HTTP/1.1\r\nhost: x\r\nx-request-id: smuggled\r\nx-api-key: {key}\r\n\r\n"
    )
}

/// A proper last request, so that a connection that stays open ends.
const LAST: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// Sends `request` and what hides behind it; the statuses that came, none of them to what was hidden.
async fn attempt(http: &str, request: &str) -> (Vec<u16>, String) {
    let text = exchange(http, request.as_bytes()).await;
    assert!(!text.contains("smuggled"), "{request:?}: {text}");
    (statuses(&text), text)
}

#[tokio::test]
async fn framing_that_can_be_read_in_two_ways_hides_nothing() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("receive_timeout_ms".into(), 3_000.into());
    });
    sidecar.ready().await;
    let neighbour = Neighbour::asks(&sidecar.http, &dev.admin_key, "SELECT 1 AS one");
    let hidden = hidden(&dev.app);
    let length = BODY.len();
    let chunked = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    let short = "content-length: 4\r\n";
    let exact = format!("content-length: {length}\r\n");
    let te = "transfer-encoding: chunked\r\n";
    let huge = format!("1;{}\r\n", "x".repeat(64 * 1024));
    let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(20_000));
    for (name, headers, body, expected) in [
        // Transfer-Encoding wins, and the connection is closed (RFC 9112 section 6.1).
        (
            "CL, then TE",
            format!("{short}{te}"),
            chunked.clone(),
            &[200][..],
        ),
        (
            "TE, then CL",
            format!("{te}{short}"),
            chunked.clone(),
            &[200],
        ),
        (
            "two lengths",
            format!("{exact}{short}"),
            BODY.into(),
            &[400],
        ),
        (
            "a list of lengths",
            format!("content-length: {length}, 4\r\n"),
            BODY.into(),
            &[400],
        ),
        (
            "a signed length",
            format!("content-length: +{length}\r\n"),
            BODY.into(),
            &[400],
        ),
        (
            "a negative length",
            "content-length: -1\r\n".into(),
            BODY.into(),
            &[400],
        ),
        (
            "a length in hex",
            "content-length: 0x1a\r\n".into(),
            BODY.into(),
            &[400],
        ),
        (
            "an empty length",
            "content-length: \r\n".into(),
            BODY.into(),
            &[400],
        ),
        (
            "a huge length",
            "content-length: 18446744073709551616\r\n".into(),
            BODY.into(),
            &[400],
        ),
        (
            "xchunked",
            "transfer-encoding: xchunked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "chunked, not last",
            "transfer-encoding: chunked, identity\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "two TE, the last another",
            format!("{te}transfer-encoding: identity\r\n"),
            chunked.clone(),
            &[400],
        ),
        (
            "a packed body, then chunked",
            "transfer-encoding: gzip, chunked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "two TE, the first another",
            format!("transfer-encoding: gzip\r\n{te}"),
            chunked.clone(),
            &[400],
        ),
        (
            "chunked twice",
            "transfer-encoding: chunked, chunked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "chunked after nothing",
            "transfer-encoding: , chunked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "TE with a tab inside",
            "transfer-encoding: chun\tked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "TE with a vertical tab",
            "transfer-encoding: \x0bchunked\r\n".into(),
            chunked.clone(),
            &[400],
        ),
        (
            "a folded line",
            format!("x-a: b\r\n c\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a folded TE",
            format!("transfer-encoding:\r\n chunked\r\n{short}"),
            chunked.clone(),
            &[400],
        ),
        (
            "a space before the colon",
            format!("content-length : 4\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a space before TE's colon",
            format!("transfer-encoding : chunked\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a line that begins with space",
            format!(" {exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a NUL in a value",
            format!("x-a: b\0c\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a NUL in a name",
            format!("x\0a: b\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a CR in a value",
            format!("x-a: b\rc: d\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a line without a colon",
            format!("x-a\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
        (
            "a chunk too large to count",
            te.into(),
            "fffffffffffffffff\r\n".into(),
            &[400],
        ),
        (
            "a chunk as large as can be",
            te.into(),
            "ffffffffffffffff\r\n".into(),
            &[400],
        ),
        ("a negative chunk", te.into(), "-1\r\n".into(), &[400]),
        ("a chunk in 0x", te.into(), format!("0x{chunked}"), &[400]),
        (
            "a chunk that ends late",
            te.into(),
            format!("1\r\n{BODY}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a chunk size with a bare LF",
            te.into(),
            chunked.replacen("\r\n", "\n", 1),
            &[400],
        ),
        ("a huge chunk extension", te.into(), huge, &[400]),
        ("endless trailers", te.into(), trailers, &[400]),
        (
            "two hosts",
            format!("host: y\r\n{exact}"),
            BODY.into(),
            &[400],
        ),
    ] {
        let key = &dev.app;
        let head = format!(
            "POST /v1/postgres/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-api-key: {key}\r\n{headers}\r\n"
        );
        let (got, text) = attempt(&sidecar.http, &format!("{head}{body}{hidden}{LAST}")).await;
        // What is behind it is not read.
        assert_eq!(got, expected, "{name}: {text}");
    }
    neighbour.was_served("smuggling").await;
}

#[tokio::test]
async fn heads_that_are_not_understood_end_their_connection() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x-a: {}\r\n", "y".repeat(80 * 1024));
    let long = format!("/{}", "a".repeat(70 * 1024));
    for (name, request, expected) in [
        ("no host", "GET /livez HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("another host in the target", "GET http://y/livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("the same host in the target", "GET http://x/livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 200),
        ("a user in the target", "GET http://u@x/livez HTTP/1.1\r\nhost: u@x\r\n\r\n".into(), 400),
        ("TE in HTTP/1.0", "POST /v1/postgres/query HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("HTTP/0.9", "GET /livez\r\n\r\n".into(), 400),
        ("HTTP/1.2", "GET /livez HTTP/1.2\r\nhost: x\r\n\r\n".into(), 400),
        ("HTTP/2.0 in words", "GET /livez HTTP/2.0\r\nhost: x\r\n\r\n".into(), 400),
        ("a NUL in the target", "GET /live\0z HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("a space in the target", "GET /livez x HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("two spaces", "GET  /livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 400),
        ("CONNECT", "CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n".into(), 404),
        ("too many headers", format!("GET /livez HTTP/1.1\r\nhost: x\r\n{many}\r\n"), 431),
        ("a head too large", format!("GET /livez HTTP/1.1\r\nhost: x\r\n{large}\r\n"), 431),
        ("a target too long", format!("GET {long} HTTP/1.1\r\nhost: x\r\n\r\n"), 431),
        ("a TLS greeting", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(), 400),
    ] {
        let hidden = hidden(&dev.app);
        let tail = if expected == 200 { LAST } else { &hidden };
        let (got, text) = attempt(&sidecar.http, &format!("{request}{tail}")).await;
        // What is behind one that was refused is not read.
        let all = if expected == 200 { vec![200, 200] } else { vec![expected] };
        assert_eq!(got, all, "{name}: {text}");
    }
    // A bare LF ends a line, as the standard allows; it does not end a request twice.
    let (got, text) = attempt(
        &sidecar.http,
        &format!("GET /livez HTTP/1.1\nhost: x\n\n{LAST}"),
    )
    .await;
    assert_eq!(got, [200, 200], "{text}");
    // A change of protocol is not offered: the request is answered in HTTP/1.1.
    let upgrade =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let request = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{upgrade}\r\n{LAST}");
    let (got, text) = attempt(&sidecar.http, &request).await;
    assert_eq!(got, [200, 200], "{text}");
}

/// A refused request's body is a body, whoever it looks like.
#[tokio::test]
async fn the_body_of_a_refused_request_is_not_the_next_request() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let hidden = hidden(&dev.app);
    let length = hidden.len();
    let key = format!("x-api-key: {}\r\n", dev.app);
    let json = "content-type: application/json\r\n";
    for (name, line, headers, status) in [
        ("no key", "POST /v1/postgres/query", json.to_owned(), 401),
        ("no route", "POST /v1/nothing", format!("{key}{json}"), 404),
        ("a GET with a body", "GET /livez", String::new(), 200),
        (
            "not JSON",
            "POST /v1/postgres/query",
            format!("{key}{json}"),
            400,
        ),
        ("no media type", "POST /v1/postgres/query", key.clone(), 415),
        (
            "two keys",
            "POST /v1/postgres/query",
            format!("{key}{key}{json}"),
            400,
        ),
    ] {
        for chunked in [false, true] {
            let framing = if chunked {
                format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n")
            } else {
                format!("content-length: {length}\r\n\r\n{hidden}")
            };
            let request = format!("{line} HTTP/1.1\r\nhost: x\r\n{headers}{framing}{LAST}");
            let (got, text) = attempt(&sidecar.http, &request).await;
            // The next request is answered, or the connection was closed before it.
            let fits = got == [status] || got == [status, 200];
            assert!(fits, "{name}: {got:?} {text}");
        }
    }
}

/// The same shapes in HTTP/2, where a reader that translates to HTTP/1.1 would be fooled.
#[tokio::test]
async fn http2_requests_that_would_be_two_in_http1_are_refused() {
    let dev = shared();
    let sidecar = Sidecar::start(dev, |_| ());
    sidecar.ready().await;
    let bearer = format!("Bearer {}", dev.app);
    let proper = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/postgres/query"),
        (":authority", "x"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let with = |extra: &[(&'static str, &'static str)]| {
        let mut all: Vec<(&str, &str)> = proper.to_vec();
        all.extend_from_slice(extra);
        fields(&all)
    };
    let mut late = proper.to_vec();
    late.rotate_left(1);
    for (name, block, accepted) in [
        ("a proper one", fields(&proper), true),
        ("TE", with(&[("transfer-encoding", "chunked")]), false),
        ("Connection", with(&[("connection", "keep-alive")]), false),
        ("Upgrade", with(&[("upgrade", "h2c")]), false),
        (
            "a length that is too short",
            with(&[("content-length", "4")]),
            false,
        ),
        (
            "a length that is too long",
            with(&[("content-length", "400")]),
            false,
        ),
        (
            "two lengths",
            with(&[("content-length", "26"), ("content-length", "4")]),
            false,
        ),
        (
            "a CR and LF in a value",
            with(&[("x-a", "b\r\nx-c: d")]),
            false,
        ),
        ("a NUL in a value", with(&[("x-a", "b\0c")]), false),
        ("a capital in a name", with(&[("X-A", "b")]), false),
        ("a colon in a name", with(&[("x:a", "b")]), false),
        ("another host", with(&[("host", "y")]), false),
        ("two paths", with(&[(":path", "/livez")]), false),
        ("an unknown pseudo field", with(&[(":x", "y")]), false),
        ("a pseudo field after others", fields(&late), false),
        ("no method", fields(&proper[1..]), false),
        (
            "no path",
            fields(&[&proper[..2], &proper[3..]].concat()),
            false,
        ),
    ] {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        let request = [
            frame(HEADERS, END_HEADERS, 1, &block),
            frame(DATA, END_STREAM, 1, BODY.as_bytes()),
        ];
        http2.send(&request.concat()).await.unwrap();
        let answer = http2.await_one(&[HEADERS, RST_STREAM]).await;
        // 0x88 is `:status: 200` of the static table.
        let is_ok = answer
            .as_ref()
            .is_some_and(|answer| answer.kind == HEADERS && answer.payload.first() == Some(&0x88));
        assert_eq!(is_ok, accepted, "{name}: {answer:?}");
    }
}
