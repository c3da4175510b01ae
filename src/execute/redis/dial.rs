//! Opening a connection to Redis: the socket, TLS, and who we are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ConnectionAddr, Value};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::link::{CONNECT_MS_MAX, UNACKNOWLEDGED_MS_MAX};
use super::replies::{Replies, Reply};
use super::sentinel::Sentinels;
use super::settings::{ConnectError, Places, RedisSettings, Topology};
use crate::execute::settings::is_loopback;
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

/// Who we are to a server.
#[derive(Clone, Default)]
struct Login {
    user: Option<String>,
    password: Option<SecretString>,
    database: i64,
}

/// Where a server is.
#[derive(Clone)]
enum Place {
    At(ConnectionAddr),
    /// Wherever the Sentinels say that the primary is.
    Primary(Arc<Sentinels>),
}

/// Where Redis is, and with which credentials. Cheap to clone.
#[derive(Clone)]
pub struct Dial {
    place: Place,
    login: Login,
    /// One for all servers, so that a renewed certificate counts for each of them.
    tls: Option<Arc<Renewed<Arc<ClientConfig>>>>,
    /// Nothing is encrypted, and nobody has said that plaintext may leave this machine: servers that are announced
    /// elsewhere than on loopback are not dialled.
    stays_near: bool,
}

impl Dial {
    /// For a cluster, the first node that the settings name; [`Self::at`] leads to the others.
    pub(super) fn of(settings: &RedisSettings, places: &Places) -> Result<Self, ConnectError> {
        let first = places.infos.first().ok_or(ConnectError::ManyServers)?;
        let addresses = places.infos.iter().map(|info| info.addr().clone());
        let tls = if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            Renewed::new(&settings.tls, |files| Ok(Arc::new(files.config().clone())))?
        } else {
            None
        };
        let redis = first.redis_settings();
        let mut dial = Self {
            place: Place::At(first.addr().clone()),
            login: Login {
                user: redis.username().map(str::to_owned),
                password: redis.password().map(|text| text.to_owned().into()),
                database: redis.db(),
            },
            stays_near: tls.is_none() && !settings.tls.plaintext_over_network,
            tls: tls.map(Arc::new),
        };
        if let Topology::Sentinel { master } = &places.topology {
            let login = Login {
                user: settings.sentinel.user.clone(),
                password: settings.sentinel.password.clone(),
                database: 0,
            };
            let dials = addresses.map(|address| Self {
                login: login.clone(),
                ..dial.at(address)
            });
            let sentinels = Sentinels::new(dials.collect(), master.clone());
            dial.place = Place::Primary(Arc::new(sentinels));
        }
        Ok(dial)
    }

    /// The same for another server.
    pub(super) fn at(&self, address: ConnectionAddr) -> Self {
        Self {
            place: Place::At(address),
            ..self.clone()
        }
    }

    /// The same for a server that another one has announced.
    pub(super) fn announced(&self, host: &str, port: u16) -> Self {
        self.at(self.address(host, port))
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.to_owned();
        match &self.tls {
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
            None => ConnectionAddr::Tcp(host, port),
        }
    }

    /// The host of the one server that it leads to.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::At(ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => {
                host.clone()
            }
            Place::At(_) | Place::Primary(_) => String::new(),
        }
    }

    /// Whether the server may become another one while its address stays: a primary that Sentinels name.
    pub(super) fn follows(&self) -> bool {
        match self.place {
            Place::At(_) => false,
            Place::Primary(_) => true,
        }
    }

    /// A connection that speaks version 3 of the protocol. An error says which server it is of, and no secret. May be
    /// cancelled.
    pub async fn connect(&self) -> io::Result<Connection> {
        let patience = Duration::from_millis(CONNECT_MS_MAX);
        match timeout(patience, self.open()).await {
            Ok(connected) => connected,
            Err(_) => {
                let late = io::Error::other(format!("no answer within {CONNECT_MS_MAX} ms"));
                Err(match &self.place {
                    Place::At(address) => of(address, &late),
                    Place::Primary(_) => late,
                })
            }
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        let Place::Primary(sentinels) = &self.place else {
            return self.greeted().await;
        };
        let (host, port) = sentinels.primary().await?;
        let (connection, is_primary) = self.greet(&self.address(&host, port)).await?;
        // During a failover Sentinels may name one that is not, or not any more.
        if is_primary {
            Ok(connection)
        } else {
            let why = format!("{host}:{port}: the server is not the primary");
            Err(io::Error::other(why))
        }
    }

    /// A connection to the one server that is named.
    pub(super) async fn greeted(&self) -> io::Result<Connection> {
        match &self.place {
            Place::At(address) => {
                let greeted = self.greet(address).await;
                greeted.map(|(connection, _)| connection)
            }
            Place::Primary(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Connects and logs in; says as well whether the server is a primary.
    async fn greet(&self, address: &ConnectionAddr) -> io::Result<(Connection, bool)> {
        let entered = self.enter(address).await;
        entered.map_err(|error| of(address, &error))
    }

    async fn enter(&self, address: &ConnectionAddr) -> io::Result<(Connection, bool)> {
        if self.stays_near && !is_near(address) {
            let why =
                "the server was announced elsewhere than on loopback, and nothing is encrypted";
            return Err(io::Error::other(why));
        }
        let mut connection = Connection {
            stream: self.stream(address).await?,
            replies: Replies::default(),
        };
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = &self.login.password {
            let user = self.login.user.as_deref().unwrap_or("default");
            hello.arg("AUTH").arg(user).arg(password.expose_secret());
        }
        let told = granted(connection.ask(&hello).await?)?;
        if self.login.database != 0 {
            let select = redis::cmd("SELECT").arg(self.login.database).take();
            granted(connection.ask(&select).await?)?;
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
        Ok((connection, says(&told, "role", "master")))
    }

    async fn stream(&self, address: &ConnectionAddr) -> io::Result<Box<dyn Stream>> {
        match address {
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

/// Says as well which server an error is of.
fn of(address: &ConnectionAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// Of what a server says to a greeting only the code is told: old ones quote the command, and with it the password.
fn granted(answer: Value) -> io::Result<Value> {
    if let Value::ServerError(error) = &answer {
        let code = error.code();
        let meaning = match code {
            "WRONGPASS" => ": the user or the password is wrong",
            "NOAUTH" => ": it asks for a password",
            "NOPERM" => ": the user may not do this",
            _ => "",
        };
        return Err(io::Error::other(format!("{code}{meaning}")));
    }
    Ok(answer)
}

/// Whether `HELLO` has told this of the server.
fn says(told: &Value, name: &str, expected: &str) -> bool {
    let is = |value: &Value, word: &str| {
        matches!(value, Value::BulkString(bytes) if bytes == word.as_bytes())
            || matches!(value, Value::SimpleString(text) if text == word)
    };
    let Value::Map(pairs) = told else {
        return false;
    };
    pairs
        .iter()
        .any(|(key, value)| is(key, name) && is(value, expected))
}

fn is_near(address: &ConnectionAddr) -> bool {
    // No network carries what goes elsewhere: a Unix socket.
    let (ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) = address else {
        return true;
    };
    is_loopback(host)
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
        self.ask_for(command, OWN_REPLY_BYTES_MAX).await
    }

    /// The same, for a reply of so many bytes.
    pub(super) async fn ask_for(&mut self, command: &Cmd, bytes_max: u64) -> io::Result<Value> {
        self.send(&command.get_packed_command()).await?;
        match self.receive(|bytes| bytes <= bytes_max).await? {
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
