//! One client's connection: the handshake, then HTTP/1.1 or HTTP/2 until either side is done.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use prometheus::IntCounter;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::conduct::{self, Conduct};
use super::listener::Limits;
use super::patience::Patient;
use super::phase::{Phases, Spoken};
use crate::authenticate::Peer;
use crate::lock::Unpoisoned as _;

/// How long a client may take over its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often at most the log tells of handshakes that failed.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A listener's TLS handshakes that failed.
pub struct Handshakes {
    failed: IntCounter,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    at: Option<Instant>,
    /// Failures since then that the log does not tell each of.
    silent: u64,
}

impl Handshakes {
    pub fn new(failed: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            failed,
            told: Mutex::default(),
        })
    }

    fn fail(&self, peer: IpAddr, cause: &str, now: Instant) {
        self.failed.inc();
        if let Some(silent) = self.tell(now) {
            let peer = peer.to_canonical();
            tracing::info!(%peer, cause, silent, "a client's TLS handshake failed");
        }
    }

    /// Whether the log is to tell of a failure now: how many were not told of before it.
    fn tell(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unpoisoned();
        let is_soon = |at: Instant| now.saturating_duration_since(at) < TELL_INTERVAL;
        if told.at.is_some_and(is_soon) {
            told.silent += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.silent))
    }
}

/// A connection that was accepted, and all it takes to serve it.
pub struct Connection<H> {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub tls: Option<TlsAcceptor>,
    pub builder: Arc<Builder<TokioExecutor>>,
    pub limits: Limits,
    pub handshakes: Arc<Handshakes>,
    pub phases: Phases,
    pub handler: H,
}

impl<H, F, B> Connection<H>
where
    H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    /// Serves until the client leaves or the listener's phase ends it. Cancelled, it cuts what is under way.
    pub async fn serve(self) {
        let spoken = Arc::new(Spoken::default());
        let dropped = Arc::clone(&spoken).may_be_dropped(self.phases.clone());
        // Polled when it was woken, and not whenever the connection was.
        let mut dropped: FuturesUnordered<_> = [dropped].into_iter().collect();
        tokio::select! {
            biased;
            () = self.converse(spoken) => {}
            _ = dropped.next() => {}
        }
    }

    async fn converse(self, spoken: Arc<Spoken>) {
        let _ = self.stream.set_nodelay(true);
        // A client that says nothing must not hold its place for ever.
        let mut first = [0];
        let speaks =
            tokio::time::timeout(self.limits.receive_timeout, self.stream.peek(&mut first)).await;
        if !matches!(speaks, Ok(Ok(1..))) {
            return;
        }
        let stream = Patient::new(self.stream, self.limits.send_timeout);
        let (handler, phases) = (self.handler, self.phases.clone());
        let noting = Arc::clone(&spoken);
        let conduct = Arc::new(Conduct::default());
        let asks = Arc::clone(&conduct);
        let service = |certificates| {
            let peer = Arc::new(Peer::new(self.address.ip(), certificates));
            service_fn(move |request: Request<Incoming>| {
                let version = request.version();
                noting.note(version, &phases);
                let noted = Arc::clone(&noting);
                let asked = asks.begin(version >= Version::HTTP_2);
                // hyper and the block below would each have room for it, and copy it.
                let reply = Box::pin(handler(Arc::clone(&peer), request));
                async move {
                    let mut reply = reply.await;
                    noted.note_answer();
                    if version < Version::HTTP_2 && noted.is_leaving() {
                        let close = HeaderValue::from_static("close");
                        reply.headers_mut().insert(CONNECTION, close);
                    }
                    Ok::<_, Infallible>(reply.map(|body| asked.reply(body)))
                }
            })
        };
        let (limit, may_end) = (self.limits.receive_timeout, spoken.may_end(self.phases));
        let served = match self.tls {
            None => {
                let service = service(Vec::new());
                let stream = TokioIo::new(stream);
                let connection = Box::pin(self.builder.serve_connection(stream, service));
                conduct::serve(connection, &conduct, limit, may_end).await
            }
            Some(tls) => {
                let shaken = handshake(tls, stream).await;
                let failed = |cause: String| {
                    self.handshakes
                        .fail(self.address.ip(), &cause, Instant::now())
                };
                let Ok(stream) = shaken.map_err(failed) else {
                    return;
                };
                let service = service(certificates(&stream));
                let stream = TokioIo::new(stream);
                let connection = Box::pin(self.builder.serve_connection(stream, service));
                conduct::serve(connection, &conduct, limit, may_end).await
            }
        };
        if let Err(error) = served {
            tracing::debug!(error = %error, "a client connection ended early");
        }
    }
}

/// What the client proved to hold.
fn certificates<S>(stream: &TlsStream<S>) -> Vec<CertificateDer<'static>> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    chain.to_vec()
}

/// The error is for the log.
async fn handshake(
    tls: TlsAcceptor,
    stream: Patient<TcpStream>,
) -> Result<TlsStream<Patient<TcpStream>>, String> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(shaken) => shaken.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_a_line_a_second_and_all_are_counted() {
        let failed = IntCounter::new("failed", "failed").unwrap();
        let handshakes = Handshakes::new(failed.clone());
        let began = Instant::now();
        for (ms, told) in [
            (0, Some(0)),
            (10, None),
            (999, None),
            (1000, Some(2)),
            (1500, None),
            (2500, Some(1)),
        ] {
            assert_eq!(
                handshakes.tell(began + Duration::from_millis(ms)),
                told,
                "{ms}"
            );
        }
        handshakes.fail([127, 0, 0, 1].into(), "a cause", began);
        assert_eq!(failed.get(), 1);
    }
}
