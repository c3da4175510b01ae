//! A TCP link that a test can cut: what passes between a client and a server is delayed, held, dropped, halved or reset.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does with what it carries, from now on and on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Open,
    /// Each piece passes so much later.
    Delay(Duration),
    /// Nothing passes and nothing is lost: it goes on when the mode changes.
    Hold,
    /// Bytes vanish; the connections stay.
    Drop,
    /// Of the next piece on each connection, half passes; then the connection is reset.
    Halve,
    /// Connections are reset, those that stand and those that come.
    Cut,
}

/// Listens on a free port of loopback for as long as it lives.
pub struct Link {
    pub port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    /// A link to `target`. Must be called within a Tokio runtime, which carries it.
    pub async fn to(target: SocketAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, target).await
    }

    /// The same, on another of loopback's addresses.
    pub async fn at(address: Ipv4Addr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, watched) = watch::channel(Mode::Open);
        tokio::spawn(accept(listener, target, watched));
        Self { port, mode }
    }

    /// Takes effect at once, also on connections that stand.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// Ends when the [`Link`] is dropped; so do its connections.
async fn accept(listener: TcpListener, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            () = dropped(&mut mode) => return,
        };
        let Ok((client, _)) = client else { continue };
        tokio::spawn(carry(client, target, mode.clone()));
    }
}

async fn dropped(mode: &mut watch::Receiver<Mode>) {
    while mode.changed().await.is_ok() {}
}

async fn carry(mut client: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::try_join!(
            pump(from_client, to_server, mode.clone()),
            pump(from_server, to_client, mode)
        )
    };
    if both.await.is_err() {
        for stream in [client, server] {
            let _ = stream.set_zero_linger();
        }
    }
}

/// Carries one direction until its end. An error resets the connection.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            length = from.read(&mut piece) => length?,
            // Also when the link is dropped.
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => return Err(reset()),
        };
        if length == 0 {
            return to.shutdown().await;
        }
        let passes = loop {
            let now = *mode.borrow_and_update();
            match now {
                Mode::Open => break length,
                Mode::Delay(time) => {
                    tokio::time::sleep(time).await;
                    break length;
                }
                Mode::Hold => mode.changed().await.map_err(|_| reset())?,
                Mode::Drop => break 0,
                Mode::Halve => {
                    to.write_all(&piece[..length / 2]).await?;
                    return Err(reset());
                }
                Mode::Cut => return Err(reset()),
            }
        };
        to.write_all(&piece[..passes]).await?;
    }
}
