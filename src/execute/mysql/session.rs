//! One connection to MySQL or MariaDB: how it is opened, pinned, killed and closed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, SslOpts};
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;

use super::fault::describe;
use crate::execute::hosts::{Hosts, Seat, Verdict};
use crate::execute::pool::{Connector, Link};
use crate::execute::settings::{Address, SqlStoreSettings, TlsVersion};
use crate::execute::tls::{Files, Renewed, TlsError};
use crate::operation::Store;

/// Statements kept prepared on each connection; the driver evicts the least recently used.
pub(super) const STATEMENTS_MAX: usize = 256;
/// A server that vanished without a word is noticed after so long.
const TCP_KEEPALIVE_MS: u32 = 30_000;
/// A connection that has been idle for longer is asked whether it is alive before it is used.
const PING_AFTER_IDLE_MS: u64 = 1_000;
const PING_TIMEOUT_MS: u64 = 1_000;
/// How long connecting may take as a whole where there are several servers to try.
const CONNECT_TIMEOUT_MS: u64 = 4_500;
/// How many kills may be under way; beyond it a connection is closed without one, and the server's own
/// time-out ends the statement.
const KILLS_MAX: usize = 16;
const KILL_TIMEOUT_MS: u64 = 5_000;
/// The server's time-out comes so much later than ours, which tells the caller more.
const SERVER_TIMEOUT_SLACK_MS: u64 = 2_000;

/// The session state that every statement was classified under. Without `ANSI_QUOTES` and
/// `NO_BACKSLASH_ESCAPES`, quotes and backslashes mean what the classifier takes them to mean.
const PINS: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, \
    sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    time_zone = '+00:00', sql_auto_is_null = 0, foreign_key_checks = 1, unique_checks = 1";
/// Apart, since within a transaction it has no place; no stored function may change it.
const PIN_AUTOCOMMIT: &str = "autocommit = 1";

const TLS_VERSION: &str = "SHOW SESSION STATUS LIKE 'Ssl_version'";

/// Opens connections. Cheap to share.
pub(super) struct Opener {
    /// One for each server.
    opts: Arc<[Opts]>,
    /// The same with TLS, where it is on.
    encrypted: Option<Renewed<Arc<[Opts]>>>,
    tls_min: TlsVersion,
    hosts: Arc<Hosts>,
    statement_timeout_ms: u64,
    kills: Arc<Semaphore>,
}

/// The driver builds its own configuration of the same files, whose faults ours has found.
fn encryption(files: &Files) -> SslOpts {
    let roots = files.roots.iter();
    let identity = files.identity().map(|(certificate, key)| {
        ClientIdentity::new(certificate.to_vec().into(), key.to_vec().into())
    });
    SslOpts::default()
        .with_root_certs(roots.map(|root| root.to_vec().into()).collect())
        .with_disable_built_in_roots(true)
        .with_client_identity(identity)
}

/// How to connect to one server, without TLS.
fn plain_options(settings: &SqlStoreSettings, address: &Address) -> OptsBuilder {
    let opts = OptsBuilder::default()
        .user(Some(settings.user.clone()))
        .pass(Some(settings.password.expose_secret()))
        .db_name(Some(settings.database.clone()).filter(|name| !name.is_empty()))
        .stmt_cache_size(STATEMENTS_MAX)
        // Rows matched by an UPDATE, as PostgreSQL and most MySQL drivers for applications count.
        .client_found_rows(true)
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_millis(TCP_KEEPALIVE_MS.into())))
        .connect_attribute("program_name", "bulkhead");
    if address.host.starts_with('/') {
        opts.socket(Some(address.host.clone()))
    } else {
        opts.ip_or_hostname(address.host.clone())
            .tcp_port(address.port)
    }
}

/// A connection to the first server that may be used, for the sidecar's own questions.
pub(crate) async fn connect(settings: &SqlStoreSettings) -> Result<Conn, String> {
    let opener = Opener::new(settings, None).map_err(|error| error.to_string())?;
    let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let opened = opener
        .hosts
        .connect(patience, |host| opener.open_at(host))
        .await;
    opened.map(|(_, (conn, _))| conn)
}

/// Fails where the server takes no writes, whatever this account might do there all the same.
pub(crate) async fn takes_writes(conn: &mut Conn) -> Result<(), String> {
    // A number, or a word where the server has more than two ways to be read-only.
    let asked = "SELECT CAST(@@global.read_only AS CHAR) IN ('0', 'OFF')";
    match conn.query_first(asked).await {
        Ok(Some(1_i64)) => Ok(()),
        Ok(_) => Err("the server takes no writes".to_owned()),
        Err(error) => Err(describe(&error)),
    }
}

impl Opener {
    /// `store` is named where the log is to tell of a switch to another server.
    pub(super) fn new(settings: &SqlStoreSettings, store: Option<Store>) -> Result<Self, TlsError> {
        let addresses = settings.addresses();
        let plain: Vec<OptsBuilder> = addresses
            .iter()
            .map(|address| plain_options(settings, address))
            .collect();
        let opts = plain.iter().cloned().map(Opts::from).collect();
        let encrypted = Renewed::new(&settings.tls, move |files| {
            let ssl = encryption(files);
            let with_tls = |opts: &OptsBuilder| opts.clone().ssl_opts(Some(ssl.clone())).into();
            Ok(plain.iter().map(with_tls).collect())
        })?;
        Ok(Self {
            opts,
            encrypted,
            tls_min: settings.tls.min_version,
            hosts: Arc::new(Hosts::new(settings, store)),
            statement_timeout_ms: settings
                .statement_timeout_ms
                .saturating_add(SERVER_TIMEOUT_SLACK_MS),
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
        })
    }

    /// Connects to a server that may be used.
    async fn open_at(&self, host: usize) -> Result<(Conn, Opts), String> {
        let encrypted = self.encrypted.as_ref().map(Renewed::get);
        let all = encrypted.as_ref().unwrap_or(&self.opts);
        let opts = all.get(host).ok_or("no such server")?;
        let opened = Conn::new(opts.clone()).await;
        let mut conn = opened.map_err(|error| describe(&error))?;
        if self.tls_min == TlsVersion::V1_3 && self.encrypted.is_some() {
            // The driver takes no version to insist on, so the server is asked which one it is.
            let spoken = conn.query_first(TLS_VERSION).await;
            let spoken: Option<(String, String)> = spoken.map_err(|error| describe(&error))?;
            if spoken.is_none_or(|(_, version)| version != "TLSv1.3") {
                return Err("the server speaks no TLS 1.3".to_owned());
            }
        }
        if self.hosts.wants_writes() {
            takes_writes(&mut conn).await?;
        }
        Ok((conn, opts.clone()))
    }

    pub(super) fn wants_writes(&self) -> bool {
        self.hosts.wants_writes()
    }

    /// What pins a session, and the server's own time-out, which the two servers spell differently (MySQL
    /// has one for SELECT alone).
    async fn pin(&self, conn: &mut Conn) -> Result<(), mysql_async::Error> {
        let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
        let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        let timeout_ms = self.statement_timeout_ms;
        let timeout = if is_mariadb {
            format!(
                "max_statement_time = {}.{:03}",
                timeout_ms / 1_000,
                timeout_ms % 1_000
            )
        } else {
            format!("max_execution_time = {timeout_ms}")
        };
        conn.query_drop(format!("{PINS}, {PIN_AUTOCOMMIT}, {timeout}"))
            .await
    }

    /// Pins a session anew within a transaction, after a statement that may have changed it.
    pub(super) async fn pin_within(&self, conn: &mut Conn) -> Result<(), mysql_async::Error> {
        conn.query_drop(PINS).await
    }

    /// Undoes whatever a statement may have left behind in its session, and pins it anew.
    pub(super) async fn reset(&self, session: &mut Session) -> Result<(), mysql_async::Error> {
        let Some(conn) = session.conn.as_mut() else {
            return Ok(());
        };
        if conn.reset().await? {
            self.pin(conn).await
        } else {
            Err(std::io::Error::other("the server cannot reset a session").into())
        }
    }
}

impl Connector for Opener {
    type Link = Session;

    async fn connect(&self) -> Result<Session, String> {
        let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
        let opened = self
            .hosts
            .connect(patience, |host| self.open_at(host))
            .await;
        let (seat, (mut conn, opts)) = opened?;
        self.pin(&mut conn)
            .await
            .map_err(|error| format!("cannot pin the session: {}", describe(&error)))?;
        Ok(Session {
            killer: Killer {
                opts,
                id: conn.id(),
                slots: Arc::clone(&self.kills),
            },
            conn: Some(conn),
            busy: false,
            idle_since: Instant::now(),
            hosts: Arc::clone(&self.hosts),
            seat,
        })
    }
}

/// One connection.
pub(super) struct Session {
    /// Taken when the session is dropped, and only then.
    conn: Option<Conn>,
    killer: Killer,
    busy: bool,
    idle_since: Instant,
    hosts: Arc<Hosts>,
    seat: Seat,
}

impl Session {
    /// `None` never comes while the session is in use.
    pub(super) fn conn(&mut self) -> Option<&mut Conn> {
        self.conn.as_mut()
    }

    /// From here until [`Session::set_clean`] the connection cannot be handed to anybody else.
    pub(super) fn set_busy(&mut self) {
        self.busy = true;
    }

    /// The last statement was read to its end, and no transaction is open.
    pub(super) fn set_clean(&mut self) {
        self.busy = false;
        self.idle_since = Instant::now();
    }
}

impl Link for Session {
    fn is_clean(&self) -> bool {
        !self.busy
            && self
                .conn
                .as_ref()
                .is_some_and(|conn| !conn.is_disconnected())
    }

    async fn check(&mut self) -> Result<(), String> {
        if !self.is_clean() {
            return Err("the connection is closed".to_owned());
        }
        let verdict = self.hosts.check(self.seat, Instant::now());
        let is_fresh = self.idle_since.elapsed() < Duration::from_millis(PING_AFTER_IDLE_MS);
        let asks_for_writes = match verdict {
            Verdict::Leave => return Err("another server is used now".to_owned()),
            Verdict::Use if is_fresh => return Ok(()),
            Verdict::Use => false,
            Verdict::Ask => true,
        };
        // A question that is cut short must not leave its answer for the next statement to read.
        self.busy = true;
        if let Some(conn) = self.conn.as_mut() {
            let asking = async {
                if asks_for_writes {
                    takes_writes(conn).await
                } else {
                    conn.ping().await.map_err(|error| describe(&error))
                }
            };
            match tokio::time::timeout(Duration::from_millis(PING_TIMEOUT_MS), asking).await {
                Ok(answer) => answer?,
                Err(_) => return Err("no answer to a ping".to_owned()),
            }
        }
        if asks_for_writes {
            self.seat.takes_writes(Instant::now());
        }
        self.set_clean();
        Ok(())
    }
}

impl Drop for Session {
    /// A busy session is killed on the server, in the background, and only then closed: the driver reads a
    /// pending result to its end before it closes, and a killed connection has an end.
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else {
            return;
        };
        if !self.busy {
            return;
        }
        let slot = Arc::clone(&self.killer.slots).try_acquire_owned();
        if let (Ok(slot), Ok(runtime)) = (slot, tokio::runtime::Handle::try_current()) {
            let killer = self.killer.clone();
            runtime.spawn(async move {
                killer.kill().await;
                drop(conn);
                drop(slot);
            });
        }
    }
}

/// What it takes to kill a session's connection from another one.
#[derive(Clone)]
struct Killer {
    opts: Opts,
    id: u32,
    slots: Arc<Semaphore>,
}

impl Killer {
    async fn kill(self) {
        let killing = async {
            let mut conn = Conn::new(self.opts).await?;
            conn.query_drop(format!("KILL {}", self.id)).await?;
            conn.disconnect().await
        };
        match tokio::time::timeout(Duration::from_millis(KILL_TIMEOUT_MS), killing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    cause = describe(&error),
                    "a connection was gone before its kill"
                );
            }
            Err(_) => tracing::warn!(store = "mysql", "cannot kill a statement: no answer"),
        }
    }
}
