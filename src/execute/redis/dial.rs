//! Opening a connection to Redis: the socket, TLS, and who we are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Cmd, ConnectionAddr, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::link;
use super::link::{CONNECT_MS_MAX, ConnectError, RedisSettings, UNACKNOWLEDGED_MS_MAX};
use super::replies::{Replies, Reply};
use crate::execute::tls::Renewed;

/// Bytes that are asked of the socket at once.
pub const READ_BYTES: usize = 64 * 1024;

/// What a reply to one of our own commands may take.
const OWN_REPLY_BYTES_MAX: u64 = 64 * 1024;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection, and what was read of it.
pub struct Connection {
    pub stream: Box<dyn Stream>,
    pub replies: Replies,
}

/// Where Redis is, and with which credentials.
#[derive(Clone)]
pub struct Dial {
    client: Client,
    tls: Option<Arc<Renewed<Arc<ClientConfig>>>>,
}

impl Dial {
    pub fn new(settings: &RedisSettings) -> Result<Self, ConnectError> {
        let client = link::client(settings)?;
        let encrypted = matches!(
            client.get_connection_info().addr(),
            ConnectionAddr::TcpTls { .. }
        );
        let tls = if encrypted {
            Renewed::new(&settings.tls, |files| Ok(Arc::new(files.config().clone())))?
        } else {
            None
        };
        Ok(Self {
            client,
            tls: tls.map(Arc::new),
        })
    }

    /// A connection that speaks version 3 of the protocol. May be cancelled.
    pub async fn connect(&self) -> io::Result<Connection> {
        let patience = Duration::from_millis(CONNECT_MS_MAX);
        timeout(patience, self.open())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn open(&self) -> io::Result<Connection> {
        let mut connection = Connection {
            stream: self.stream().await?,
            replies: Replies::default(),
        };
        let settings = self.client.get_connection_info().redis_settings();
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = settings.password() {
            let user = settings.username().unwrap_or("default");
            hello.arg("AUTH").arg(user).arg(password);
        }
        let mut commands = vec![hello];
        if settings.db() != 0 {
            commands.push(redis::cmd("SELECT").arg(settings.db()).take());
        }
        for command in commands {
            if let Value::ServerError(error) = connection.ask(&command).await? {
                return Err(io::Error::other(error.code().to_owned()));
            }
        }
        // Older servers do not know it, which is no fault.
        connection
            .ask(
                redis::cmd("CLIENT")
                    .arg("SETINFO")
                    .arg("LIB-NAME")
                    .arg("bulkhead"),
            )
            .await?;
        Ok(connection)
    }

    async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
            ConnectionAddr::TcpTls { host, port, .. } => {
                let tls = self.tls.as_ref().ok_or(io::ErrorKind::InvalidInput)?.get();
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tcp(host, *port).await?;
                let connector = tokio_rustls::TlsConnector::from(tls);
                Ok(Box::new(connector.connect(name, stream).await?))
            }
            ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX as u32)?;
    Ok(stream)
}

impl Connection {
    /// One of our own commands. Cancelled, it leaves the connection out of step.
    pub async fn ask(&mut self, command: &Cmd) -> io::Result<Value> {
        self.send(&command.get_packed_command()).await?;
        match self.receive(|bytes| bytes <= OWN_REPLY_BYTES_MAX).await? {
            Some(value) => Ok(value),
            None => Err(io::Error::other("the reply is too large")),
        }
    }

    pub async fn send(&mut self, packed: &[u8]) -> io::Result<()> {
        self.stream.write_all(packed).await?;
        self.stream.flush().await
    }

    /// The next reply; `None` where there was no room for it.
    pub async fn receive(
        &mut self,
        mut room: impl FnMut(u64) -> bool,
    ) -> io::Result<Option<Value>> {
        loop {
            let reply = self.replies.next(&mut room).map_err(io::Error::other)?;
            match reply {
                Some(Reply::Whole(bytes)) => {
                    let value = redis::parse_redis_value(&bytes);
                    return value.map(Some).map_err(io::Error::other);
                }
                Some(Reply::Dropped) => return Ok(None),
                Some(Reply::Push) => {}
                None => {
                    self.replies.buffer.reserve(READ_BYTES);
                    if self.stream.read_buf(&mut self.replies.buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}
