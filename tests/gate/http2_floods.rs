//! HTTP/2 frames as no client means them: floods, streams that never end, bombs. Each ends its own connection, or
//! costs the sidecar nothing that is not bounded, while another caller is served.

use std::time::Duration;

use crate::memory::{forget_peak, grown_kib, peak_kib};
use crate::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, Neighbour, PING,
    RST_STREAM, SETTINGS, fields, frame, integer, request,
};
use crate::support::{Dev, Sidecar, eventually, send, shared};

/// How much memory an attack on one connection may cost, in KiB.
const GROWTH_KIB_MAX: u64 = 32 * 1024;

/// Frames of a flood; whoever is not stopped by then is not stopped.
const FLOOD: usize = 20_000;

/// Error codes (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

const INITIAL_WINDOW_SIZE: u16 = 4;

async fn quick(dev: &Dev) -> Sidecar {
    let sidecar = Sidecar::start(dev, |config| {
        let server = config["server"].as_table_mut().unwrap();
        server.insert("receive_timeout_ms".into(), 1_000.into());
        server.insert("send_timeout_ms".into(), 1_000.into());
    });
    sidecar.ready().await;
    sidecar
}

/// Runs an attack while somebody else is served, and bounds what it costs.
async fn withstands(dev: &Dev, sidecar: &Sidecar, name: &str, attack: impl Future<Output = ()>) {
    let neighbour = Neighbour::asks(&sidecar.http, &dev.admin_key, "SELECT 1 AS one");
    forget_peak(sidecar);
    let before = peak_kib(sidecar);
    attack.await;
    let grown = grown_kib(sidecar, before);
    assert!(grown < GROWTH_KIB_MAX, "{name}: {grown} KiB");
    neighbour.was_served(name).await;
}

/// CVE-2023-44487: streams that are opened and reset, as fast as can be, or a few at a time.
#[tokio::test]
async fn a_rapid_reset_ends_its_connection() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let bearer = format!("Bearer {}", dev.admin_key);
    let block = fields(&request("POST", "/v1/postgres/query", &bearer));
    for at_once in [200, 5] {
        let attack = async {
            let mut http2 = Http2::open(&sidecar.http, &[]).await;
            let mut stream = 1;
            for _ in 0..FLOOD / at_once {
                let mut bytes = Vec::new();
                for _ in 0..at_once {
                    bytes.extend(frame(HEADERS, END_HEADERS, stream, &block));
                    bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
                    stream += 2;
                }
                bytes.extend(frame(PING, 0, 0, &[0; 8]));
                if http2.send(&bytes).await.is_err() {
                    return;
                }
                // The sidecar has seen them when it answers.
                loop {
                    match http2.next().await {
                        Some(answer) if answer.kind == PING => break,
                        Some(answer) if answer.kind == GOAWAY => return,
                        Some(_) => {}
                        None => return,
                    }
                }
            }
            panic!("{at_once} at once: it is still served");
        };
        withstands(dev, &sidecar, "rapid reset", attack).await;
    }
    let url = format!("{}/metrics", sidecar.admin);
    eventually("what was taken back is over", || async {
        let text = send(hyper::Method::GET, &url, &[], None).await.text;
        text.contains("database_connection_pool_in_use{database=\"postgres\"} 0")
    })
    .await;
}

#[tokio::test]
async fn a_head_without_end_ends_its_connection() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let block = fields(&request("GET", "/livez", "Bearer x"));
    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        http2
            .send(&frame(HEADERS, END_STREAM, 1, &block))
            .await
            .unwrap();
        let mut part = Vec::new();
        for n in 0..100 {
            let name = format!("x-{n}");
            part.extend(fields(&[(&name, &"y".repeat(100))]));
        }
        let more = frame(CONTINUATION, 0, 1, &part);
        for _ in 0..FLOOD {
            if http2.send(&more).await.is_err() {
                return;
            }
        }
        panic!("the head goes on");
    };
    withstands(dev, &sidecar, "CONTINUATION flood", attack).await;

    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        http2
            .send(&frame(HEADERS, END_STREAM, 1, &block))
            .await
            .unwrap();
        // Nothing may follow but CONTINUATION, and nothing does.
        http2.goodbye().await;
    };
    withstands(dev, &sidecar, "a head that stops", attack).await;
}

#[tokio::test]
async fn floods_of_control_frames_cost_no_memory() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let window = [INITIAL_WINDOW_SIZE.to_be_bytes().as_slice(), &[0, 0, 1, 0]].concat();
    for (name, kind, payload) in [
        ("PING", PING, [7; 8].to_vec()),
        ("SETTINGS", SETTINGS, window),
        ("empty SETTINGS", SETTINGS, Vec::new()),
    ] {
        for reads in [true, false] {
            let attack = async {
                let http2 = Http2::open(&sidecar.http, &[]).await;
                let (mut incoming, mut outgoing) = http2.stream.into_split();
                let flood = frame(kind, 0, 0, &payload).repeat(1_000);
                let reading = tokio::spawn(async move {
                    let mut sink = tokio::io::sink();
                    if reads {
                        let _ = tokio::io::copy(&mut incoming, &mut sink).await;
                    } else {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                });
                let sending = async {
                    for _ in 0..FLOOD / 100 {
                        use tokio::io::AsyncWriteExt as _;
                        if outgoing.write_all(&flood).await.is_err() {
                            return;
                        }
                    }
                };
                let _ = tokio::time::timeout(Duration::from_secs(10), sending).await;
                reading.abort();
            };
            withstands(dev, &sidecar, &format!("{name}, read: {reads}"), attack).await;
        }
    }
}

/// Each reference to it costs the attacker a byte, and would cost the reader four thousand.
#[tokio::test]
async fn a_bomb_of_compressed_headers_is_refused() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        let mut block = fields(&request("GET", "/livez", "Bearer x"));
        // A literal that enters the dynamic table, and then its index, again and again.
        block.extend([0x40, 1, b'x']);
        integer(&mut block, 4_000);
        block.extend([b'y'; 4_000]);
        block.extend([0x80 | 62; 10_000]);
        let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        if http2.send(&bomb).await.is_err() {
            return;
        }
        let answer = http2.await_one(&[HEADERS, RST_STREAM]).await;
        let served = |kind: u8, payload: &[u8]| kind == HEADERS && payload.first() == Some(&0x88);
        assert!(answer.is_none_or(|answer| !served(answer.kind, &answer.payload)));
    };
    withstands(dev, &sidecar, "HPACK bomb", attack).await;
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_is_answered() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let bearer = format!("Bearer {}", dev.app);
    let block = fields(&request("POST", "/v1/postgres/query", &bearer));
    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        http2
            .send(&frame(HEADERS, END_HEADERS, 1, &block))
            .await
            .unwrap();
        let mut trickle = tokio::time::interval(Duration::from_millis(50));
        let answer = loop {
            tokio::select! {
                answer = http2.await_one(&[HEADERS, RST_STREAM]) => break answer,
                _ = trickle.tick() => {}
            }
            if http2.send(&frame(DATA, 0, 1, b" ")).await.is_err() {
                break None;
            }
        };
        let answer = answer.expect("an answer before the end");
        assert_eq!((answer.kind, answer.stream), (HEADERS, 1));
    };
    withstands(dev, &sidecar, "a body that trickles", attack).await;
}

/// A client that acknowledges every ping is alive, and does not keep its place for that.
#[tokio::test]
async fn a_connection_that_asks_or_takes_nothing_is_closed() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let bearer = format!("Bearer {}", dev.admin_key);
    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[]).await;
        assert_eq!(http2.goodbye().await, Some(0), "it is told why");
    };
    withstands(dev, &sidecar, "an idle connection", attack).await;

    // Replies wait for a window that never opens.
    let attack = async {
        let mut http2 = Http2::open(&sidecar.http, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        let block = fields(&request("GET", "/v1/whoami", &bearer));
        for n in 0..100 {
            let ask = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
            http2.send(&ask).await.unwrap();
        }
        http2.goodbye().await;
    };
    withstands(dev, &sidecar, "a window that stays shut", attack).await;
}

/// More streams than may be open are refused each by itself; those before them are served.
#[tokio::test]
async fn streams_beyond_the_bound_are_refused() {
    let dev = shared();
    let sidecar = quick(dev).await;
    let bearer = format!("Bearer {}", dev.app);
    let block = fields(&request("POST", "/v1/postgres/query", &bearer));
    let mut http2 = Http2::open(&sidecar.http, &[]).await;
    let mut bytes = frame(SETTINGS, ACK, 0, &[]);
    for n in 0..200 {
        bytes.extend(frame(HEADERS, END_HEADERS, 2 * n + 1, &block));
    }
    http2.send(&bytes).await.unwrap();
    let first = http2.await_one(&[RST_STREAM, GOAWAY]).await.unwrap();
    assert_eq!(first.kind, RST_STREAM, "{first:?}");
    assert!(first.stream > 2 * 128, "{first:?}");
    assert_ne!(first.payload, ENHANCE_YOUR_CALM.to_be_bytes());
}
