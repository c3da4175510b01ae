//! Accepts connections, within a cap, and serves HTTP/1.1 and HTTP/2 on each until the listener's life ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::caps::Caps;
use super::connection::{Connection, Handshakes};
use super::phase::{Phase, Phases};
use super::tls::Certificate;
use crate::authenticate::Peer;
use crate::record::metrics::ListenerCounts;

/// Pause after `accept` failed (too many open files), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Requests under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// How long handshakes that have begun may take to end before a shared port's listener closes. Less than the second
/// after which clients send anew the first segments that were dropped meanwhile.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(300);

/// How long connections that are cut may take to be gone.
const CUT_TIMEOUT: Duration = Duration::from_millis(200);

/// What bounds a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections_max: usize,
    /// Connections from one address.
    pub connections_per_peer_max: usize,
    /// How long a client may take to send a request's head or body.
    pub receive_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub send_timeout: Duration,
}

/// A socket that has its port but takes no connection yet.
pub struct Bound {
    socket: TcpSocket,
    tls: Option<Arc<Certificate>>,
    limits: Limits,
    counts: ListenerCounts,
}

impl Bound {
    /// Binds `address`. Port 0 takes a free one. With `reuse_port`, others of this user may bind it, too.
    pub fn bind(
        address: SocketAddr,
        reuse_port: bool,
        tls: Option<Arc<Certificate>>,
        limits: Limits,
        counts: ListenerCounts,
    ) -> std::io::Result<Self> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(reuse_port)?;
        socket.bind(address)?;
        Ok(Self {
            socket,
            tls,
            limits,
            counts,
        })
    }

    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// From now on the kernel takes connections; of a shared port's, its part.
    pub fn listen(self) -> std::io::Result<Listener> {
        Ok(Listener {
            socket: self.socket.listen(BACKLOG)?,
            tls: self.tls,
            limits: self.limits,
            handshakes: Handshakes::new(self.counts.handshakes_failed.clone()),
            counts: self.counts,
        })
    }
}

/// A listening socket and what it takes to serve it.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Certificate>>,
    limits: Limits,
    handshakes: Arc<Handshakes>,
    counts: ListenerCounts,
}

impl Listener {
    /// Serves until `phases` says to stop; `handler` gets each request and who is at the other end of its connection.
    /// From [`Phase::Closing`] on it waits for the connections to end, from [`Phase::Stopped`] on for `grace` at most;
    /// what is open then is cut. Returns whether all of them ended by themselves.
    pub async fn serve<H, F, B>(self, handler: H, mut phases: Phases, grace: Duration) -> bool
    where
        H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        // Knows when the last connection has ended, and tells them that they are cut.
        let (open, _) = watch::channel(false);
        self.accept(handler, &open, phases.clone()).await;
        drop(self.socket);
        let mut ended = std::pin::pin!(open.closed());
        tokio::select! {
            () = ended.as_mut() => return true,
            _ = phases.wait_for(|phase| *phase >= Phase::Stopped) => {}
        }
        if tokio::time::timeout(grace, ended.as_mut()).await.is_ok() {
            return true;
        }
        open.send_replace(true);
        let _ = tokio::time::timeout(CUT_TIMEOUT, ended).await;
        false
    }

    /// Accepts until the socket may be closed.
    async fn accept<H, F, B>(&self, handler: H, open: &watch::Sender<bool>, phases: Phases)
    where
        H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        let limits = self.limits;
        let caps = Caps::new(
            limits.connections_max,
            limits.connections_per_peer_max,
            self.counts.clone(),
        );
        let builder = Arc::new(self.builder());
        let mut closed = std::pin::pin!(self.may_close(phases.clone()));
        loop {
            let accepted = tokio::select! {
                // What stands in the queue is taken before the socket is closed.
                biased;
                accepted = self.socket.accept() => accepted,
                () = closed.as_mut() => return,
            };
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let Some(place) = caps.enter(address.ip()) else {
                caps.refuse(stream, self.tls.is_some());
                continue;
            };
            let connection = self.connection(stream, address, &builder, &phases, handler.clone());
            let mut open = open.subscribe();
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = connection.serve() => {}
                    _ = open.wait_for(|is_cut| *is_cut) => {}
                }
            });
        }
    }

    fn connection<H>(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        builder: &Arc<Builder<TokioExecutor>>,
        phases: &Phases,
        handler: H,
    ) -> Connection<H> {
        Connection {
            stream,
            address,
            tls: self.tls.as_ref().map(|certificate| certificate.acceptor()),
            builder: Arc::clone(builder),
            limits: self.limits,
            handshakes: Arc::clone(&self.handshakes),
            phases: phases.clone(),
            handler,
        }
    }

    /// Ends when the socket can be closed without a loss, or must be.
    ///
    /// The kernel resets connections that wait to be accepted, and handshakes that have begun, when their socket
    /// closes. So the socket first lets no more handshakes begin: their first segments are dropped in silence, clients
    /// send them again after a second, and by then they reach another sidecar that listens on the port. Those that
    /// have begun end meanwhile.
    async fn may_close(&self, mut phases: Phases) {
        let _ = phases.wait_for(|phase| *phase >= Phase::Closing).await;
        if *phases.borrow() == Phase::Closing
            && let Err(error) = SockRef::from(&self.socket).attach_filter(&NO_SYN)
        {
            tracing::warn!(%error, "connections that begin now may be reset");
        }
        tokio::select! {
            () = tokio::time::sleep(SETTLE_TIMEOUT) => {}
            _ = phases.wait_for(|phase| *phase >= Phase::Stopped) => {}
        }
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

/// A program of the classic Berkeley packet filter, run on each TCP segment for the listening socket: drops one that
/// has SYN and not ACK among its flags.
const NO_SYN: [SockFilter; 5] = {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

#[cfg(test)]
mod tests;
