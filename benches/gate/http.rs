//! The load's HTTP/1.1 client: one kept-alive connection, whole requests out, just enough of a parser in.
//!
//! It shares the processor with what it measures, so it does as little as will do; the bare handler and the
//! sidecar are asked with this same client.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Fallible, Fault};

/// A reply to one of our questions is a fraction of this.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// One request as it is sent, and a text that its reply must hold.
pub struct Exchange {
    request: Vec<u8>,
    expected: Vec<u8>,
}

impl Exchange {
    pub fn post(route: &str, api_key: &str, body: &Value, expected: String) -> Self {
        let body = body.to_string();
        let request = format!(
            "POST {route} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {api_key}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            request: request.into_bytes(),
            expected: expected.into_bytes(),
        }
    }

    /// Webdis has the command in the path.
    pub fn get(path: &str, expected: String) -> Self {
        Self {
            request: format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n").into_bytes(),
            expected: expected.into_bytes(),
        }
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct HttpClient {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl HttpClient {
    pub async fn open(address: SocketAddr, tls: Option<&TlsConnector>) -> Fallible<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::IpAddress(address.ip().into());
                Box::new(tls.connect(name, stream).await?)
            }
        };
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4_096),
        })
    }

    /// One request and its reply, which must be a 200 with the row that was asked for: a refusal is quick,
    /// and must never count as speed.
    pub async fn ask(&mut self, exchange: &Exchange) -> Fallible {
        self.stream.write_all(&exchange.request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        while !is_whole(&self.buffer)? {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(format!("the connection was closed: {}", self.shown()).into());
            }
            if self.buffer.len() > REPLY_BYTES_MAX {
                return Err(format!("a reply of more than {REPLY_BYTES_MAX} bytes").into());
            }
        }
        let is_ok = self.buffer.starts_with(b"HTTP/1.1 200 ");
        if is_ok && holds(&self.buffer, &exchange.expected) {
            Ok(())
        } else {
            Err(format!("not the reply that was expected: {}", self.shown()).into())
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Whether a whole reply is there. `Content-Length` or chunks; nothing else is expected.
fn is_whole(bytes: &[u8]) -> Fallible<bool> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let Some(head_len) = bytes
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)
    else {
        return Ok(false);
    };
    let head = bytes.get(..head_len).unwrap_or_default();
    let body = bytes.get(head_len + HEAD_END.len()..).unwrap_or_default();
    if let Some(length) = header(head, b"content-length:") {
        let length: usize = std::str::from_utf8(length)?.trim().parse()?;
        return Ok(body.len() >= length);
    }
    if header(head, b"transfer-encoding:").is_some() {
        return Ok(body.ends_with(b"\r\n0\r\n\r\n"));
    }
    Err(Fault::from(format!(
        "a reply without a length: {}",
        String::from_utf8_lossy(head)
    )))
}

/// The value of the header whose lower-case name, with its colon, is given.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
