//! One client's connection: the handshake, then HTTP/1.1 or HTTP/2 until either side is done.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::conduct::{self, Conduct};
use super::listener::Limits;
use super::patience::Patient;
use super::phase::{Phases, Spoken};
use crate::authenticate::Peer;

/// How long a client may take over its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was accepted, and all it takes to serve it.
pub struct Connection<H> {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub tls: Option<TlsAcceptor>,
    pub builder: Arc<Builder<TokioExecutor>>,
    pub limits: Limits,
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
        tokio::select! {
            biased;
            () = self.converse(spoken) => {}
            () = dropped => {}
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
                let asked = asks.begin();
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
                let Some(stream) = handshake(tls, stream).await else {
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
