//! HTTP as an attacker speaks it: bytes on a TCP connection, and HTTP/2 frames made by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{Reply, send};

/// What must come back at all comes back within this, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn connect(http: &str) -> TcpStream {
    let stream = TcpStream::connect(http.strip_prefix("http://").unwrap()).await;
    let stream = stream.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends bytes and reads until the other end closes, however it does.
pub async fn exchange(http: &str, bytes: &[u8]) -> String {
    let stream = connect(http).await;
    let (mut incoming, mut outgoing) = stream.into_split();
    let sent = bytes.to_vec();
    let sending = tokio::spawn(async move {
        let _ = outgoing.write_all(&sent).await;
        outgoing
    });
    let text = read_to_end(&mut incoming).await;
    let _ = sending.await;
    text
}

pub async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut received = Vec::new();
    let reading = async {
        let mut piece = [0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            received.extend_from_slice(&piece[..length]);
        }
    };
    let ended = tokio::time::timeout(PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&received).into_owned();
    assert!(ended.is_ok(), "the connection stayed open after: {text}");
    text
}

/// The statuses of the replies in `text`, in order.
pub fn statuses(text: &str) -> Vec<u16> {
    let mut found = Vec::new();
    for part in text.split("HTTP/1.").skip(1) {
        found.extend(part.get(2..5).and_then(|digits| digits.parse::<u16>().ok()));
    }
    found
}

/// A caller who does nothing wrong, one request after another, while something else goes on.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Served>,
}

/// How a neighbour was served.
#[derive(Debug, Default)]
pub struct Served {
    pub requests: u64,
    /// What was not answered with 200.
    pub failures: Vec<String>,
    pub waits: Vec<Duration>,
}

impl Served {
    pub fn worst(&self) -> Duration {
        self.waits.iter().copied().max().unwrap_or_default()
    }

    pub fn p99(&self) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort();
        waits
            .get(waits.len() * 99 / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl Neighbour {
    pub fn asks(http: &str, key: &str, sql: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let url = format!("{http}/v1/postgres/query");
        let headers = [("authorization", format!("Bearer {key}"))];
        let body = json!({ "sql": sql }).to_string();
        let asking = tokio::spawn(async move {
            let mut served = Served::default();
            // Once more after the end, so that it is served afterwards, too.
            let mut is_last = false;
            while !is_last {
                is_last = stopped.load(Ordering::Relaxed);
                let began = Instant::now();
                let asked = send(hyper::Method::POST, &url, &headers, Some(body.clone()));
                let reply: Reply = tokio::time::timeout(PATIENCE, asked).await.unwrap();
                served.waits.push(began.elapsed());
                served.requests += 1;
                if reply.status != 200 {
                    served.failures.push(reply.text);
                }
            }
            served
        });
        Self { stop, asking }
    }

    pub async fn stop(self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }

    /// It was served, always.
    pub async fn was_served(self, what: &str) {
        let served = self.stop().await;
        let count = served.failures.len();
        assert_eq!(count, 0, "{what}: {:?}", served.failures.first());
        assert!(served.requests > 0);
    }
}

/// Types of frames (RFC 9113 section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of fields, each a literal without indexing (RFC 7541 section 6.2.2).
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
pub fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        block.push(u8::try_from(number).unwrap());
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap());
}

/// The fields of a request with a key.
pub fn request<'f>(method: &'f str, path: &'f str, bearer: &'f str) -> Vec<(&'f str, &'f str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("authorization", bearer),
        ("content-type", "application/json"),
    ]
}

/// An HTTP/2 connection.
pub struct Http2 {
    pub stream: TcpStream,
    received: Vec<u8>,
}

impl Http2 {
    /// Greets with settings of the attacker's choice: identifiers and values.
    pub async fn open(http: &str, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut opened = Self {
            stream: connect(http).await,
            received: Vec::new(),
        };
        let preface = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
            &frame(SETTINGS, 0, 0, &payload),
        ];
        opened.send(&preface.concat()).await.unwrap();
        opened
    }

    /// Writes; an error where the other end has closed, or takes nothing for long.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let sending = self.stream.write_all(bytes);
        let sent = tokio::time::timeout(PATIENCE, sending).await;
        sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// The next frame; nothing at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let reading = self.stream.read_buf(&mut self.received);
            let read = tokio::time::timeout(PATIENCE, reading).await;
            let Ok(read) = read else {
                panic!("the connection says nothing and stays open");
            };
            match read {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.received.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.received.get(9..9 + length)?.to_vec();
        self.received.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// The next frame of these kinds; settings and pings are acknowledged on the way, as any client does.
    pub async fn await_one(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let next = self.next().await?;
            if kinds.contains(&next.kind) && next.flags & ACK == 0 || next.kind == GOAWAY {
                return Some(next);
            }
            if kinds.contains(&next.kind) && ![SETTINGS, PING].contains(&next.kind) {
                return Some(next);
            }
            if [SETTINGS, PING].contains(&next.kind) && next.flags & ACK == 0 {
                let payload = if next.kind == PING {
                    next.payload
                } else {
                    Vec::new()
                };
                let _ = self.send(&frame(next.kind, ACK, 0, &payload)).await;
            }
        }
    }

    /// Reads to the end; the last GOAWAY's error, if one came.
    pub async fn goodbye(&mut self) -> Option<u32> {
        let mut error = None;
        while let Some(next) = self.await_one(&[GOAWAY]).await {
            let code = next.payload.get(4..8).map(|code| code.try_into().unwrap());
            error = code.map(u32::from_be_bytes);
        }
        error
    }
}
