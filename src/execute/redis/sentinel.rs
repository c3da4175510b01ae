//! Asking Sentinels where the primary is.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::Value;
use tokio::time::timeout;

use super::dial::Dial;

/// How long one Sentinel may take to answer, connecting included; the next one is asked then.
const SENTINEL_MS_MAX: u64 = 600;

pub(super) struct Sentinels {
    /// Where they are, and who we are to them.
    dials: Vec<Dial>,
    /// Under which name they know the primary.
    master: String,
    /// The one that answered last is asked first.
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(dials: Vec<Dial>, master: String) -> Self {
        Self {
            dials,
            master,
            first: AtomicUsize::new(0),
        }
    }

    /// The primary's address, from the first Sentinel that knows it. May be cancelled.
    pub(super) async fn primary(&self) -> io::Result<(String, u16)> {
        let first = self.first.load(Ordering::Relaxed);
        let count = self.dials.len();
        let mut last = io::Error::other("there is no Sentinel to ask");
        for index in (first..count).chain(0..first) {
            let Some(dial) = self.dials.get(index) else {
                continue;
            };
            let asking = timeout(Duration::from_millis(SENTINEL_MS_MAX), self.ask(dial));
            match asking.await {
                Ok(Ok(address)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(address);
                }
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let host = dial.host();
                    last = io::Error::other(format!(
                        "Sentinel {host}: no answer within {SENTINEL_MS_MAX} ms"
                    ));
                }
            }
        }
        Err(last)
    }

    async fn ask(&self, dial: &Dial) -> io::Result<(String, u16)> {
        let mut connection = dial.greeted().await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let unknown = || io::Error::other("the Sentinel does not know this primary");
        let Value::Array(parts) = connection.ask(&question).await? else {
            return Err(unknown());
        };
        match parts.as_slice() {
            [Value::BulkString(host), Value::BulkString(port)] => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
                let host = text(host).filter(|host| !host.is_empty());
                let port = text(port).and_then(|port| port.parse().ok());
                host.zip(port).ok_or_else(unknown)
            }
            _ => Err(unknown()),
        }
    }
}
