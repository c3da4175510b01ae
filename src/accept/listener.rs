//! Accepts connections, within a cap, and serves HTTP/1.1 and HTTP/2 on each until drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::patience::Patient;
use crate::authenticate::Peer;

/// How long a client may take over its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after `accept` failed (too many open files), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Requests under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Tells every listener that no more connections are to be accepted.
pub type Shutdown = watch::Receiver<bool>;

/// What bounds a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections_max: usize,
    /// How long a client may take to send a request's head or body.
    pub receive_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub send_timeout: Duration,
}

/// A bound socket and what it takes to serve it.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
}

impl Listener {
    /// Binds `address`. Port 0 takes a free one.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        Ok(Self {
            socket: TcpListener::bind(address).await?,
            tls,
            limits,
        })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`; `handler` gets each request and who is at the other end of its connection. It then waits for the requests in flight. Returns whether all of them ended within `grace`.
    /// Must not be cancelled before it returns, or requests in flight are cut.
    pub async fn serve<H, F, B>(self, handler: H, mut shutdown: Shutdown, grace: Duration) -> bool
    where
        H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let connections = Arc::new(Semaphore::new(self.limits.connections_max));
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(self.builder());
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let (handler, builder, tls) = (handler.clone(), Arc::clone(&builder), self.tls.clone());
            let watcher = graceful.watcher();
            let limits = self.limits;
            tokio::spawn(async move {
                let _permit = permit;
                let _ = stream.set_nodelay(true);
                // A client that says nothing must not hold its place for ever.
                let mut first = [0];
                let speaks =
                    tokio::time::timeout(limits.receive_timeout, stream.peek(&mut first)).await;
                if !matches!(speaks, Ok(Ok(1..))) {
                    return;
                }
                let stream = Patient::new(stream, limits.send_timeout);
                let service = |certificates| {
                    let peer = Arc::new(Peer::new(address.ip(), certificates));
                    service_fn(move |request| {
                        let reply = handler(Arc::clone(&peer), request);
                        async move { Ok::<_, std::convert::Infallible>(reply.await) }
                    })
                };
                let served = match tls {
                    None => {
                        let service = service(Vec::new());
                        let connection = builder.serve_connection(TokioIo::new(stream), service);
                        watcher.watch(connection).await
                    }
                    Some(tls) => {
                        let Some(stream) = handshake(tls, stream).await else {
                            return;
                        };
                        let service = service(certificates(&stream));
                        let connection = builder.serve_connection(TokioIo::new(stream), service);
                        watcher.watch(connection).await
                    }
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a client connection ended early");
                }
            });
        }
        drop(self.socket);
        tokio::time::timeout(grace, graceful.shutdown())
            .await
            .is_ok()
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.receive_timeout)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .keep_alive_interval(self.limits.receive_timeout);
        builder
    }
}

/// What the client proved to hold.
fn certificates<S>(stream: &TlsStream<S>) -> Vec<CertificateDer<'static>> {
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    chain.to_vec()
}

async fn handshake(
    tls: TlsAcceptor,
    stream: Patient<TcpStream>,
) -> Option<TlsStream<Patient<TcpStream>>> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}
