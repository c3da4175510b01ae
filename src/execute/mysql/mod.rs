//! Runs a classified statement on MySQL or MariaDB.
//!
//! Every statement is prepared (`COM_STMT_PREPARE`), which takes a single statement whatever the connection's
//! capabilities are: the driver always announces `CLIENT_MULTI_STATEMENTS`, and the server ignores it there.
//! The driver has no handler for `LOCAL INFILE`, so no file of the sidecar's is ever sent.

mod decode;
mod encode;
mod fault;
mod session;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinaryProtocol, Conn, Params, QueryResult, Row, Statement};
use mysql_common::named_params::ParsedNamedParams;
use tokio::time::Instant;

use self::decode::Codec;
use self::session::{Opener, Session};
pub(crate) use self::session::{connect, takes_writes};
use self::transaction::OpenTransaction;
use super::Error;
use super::pool::{Pool, PoolState};
use super::request::SqlRequest;
use super::settings::SqlStoreSettings;
use super::tls::TlsError;
use super::transaction::Desk;
use crate::limit::Ticket;
use crate::operation::{Action, Classification, Payload, Store, Touch};
use crate::reply::{self, Column, RowSink, Summary, Value};

/// Longer texts (rows spelt out in an INSERT, mostly) are prepared for one use.
const STATEMENT_KEPT_BYTES_MAX: usize = 16 * 1024;
/// How long pinning a session anew may take.
const RESET_TIMEOUT_MS: u64 = 2_000;

/// MySQL or MariaDB, behind a pool.
pub struct MysqlStore {
    opener: Arc<Opener>,
    pool: Pool<Arc<Opener>>,
    transactions: Desk<OpenTransaction>,
    statement_timeout_ms: u64,
}

impl MysqlStore {
    /// Starts connecting in the background, within the current tokio runtime; fails only where the settings
    /// themselves are wrong. rustls' default provider must be installed before.
    pub fn new(settings: &SqlStoreSettings) -> Result<Self, TlsError> {
        let opener = Arc::new(Opener::new(settings, Some(Store::Mysql))?);
        let pool = Pool::start(Store::Mysql, Arc::clone(&opener), settings.pool.clone());
        Ok(Self {
            opener,
            pool,
            transactions: Desk::new(Store::Mysql, &settings.transactions),
            statement_timeout_ms: settings.statement_timeout_ms,
        })
    }

    /// Runs the admitted statement and hands its rows to `sink`. Dropping the future kills the statement on
    /// the server.
    pub async fn execute(
        &self,
        ticket: Ticket,
        request: &SqlRequest,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Error> {
        let operation = ticket.permit().operation();
        let Payload::Sql(sql) = &operation.payload else {
            return Err(Error::Invalid(
                "the operation is not a SQL statement".to_owned(),
            ));
        };
        let asked = Asked {
            sql,
            touches_session: touches_session(&operation.classification),
            request,
            caller: &ticket.permit().caller().key_id,
        };
        self.run(asked, sink).await
    }

    /// Whether the server answers. `PoolExhausted` means that every connection is busy.
    pub async fn ping(&self) -> Result<(), Error> {
        let patience = Duration::from_millis(self.statement_timeout_ms.min(super::PING_TIMEOUT_MS));
        let checking = async {
            let mut session = self.pool.try_acquire().await?;
            session.set_busy();
            conn(&mut session)?
                .ping()
                .await
                .map_err(|error| fault::into_error(&error, 0))?;
            session.set_clean();
            Ok(())
        };
        match tokio::time::timeout(patience, checking).await {
            Ok(checked) => checked,
            Err(_) => Err(unavailable("no answer to a ping")),
        }
    }

    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Below the ticket: what `execute` does once it knows the statement.
    async fn run(&self, asked: Asked<'_>, sink: &mut dyn RowSink) -> Result<Summary, Error> {
        let Asked {
            sql,
            touches_session,
            request,
            caller,
        } = asked;
        refuse_named_parameters(sql)?;
        let timeout_ms = request
            .timeout_ms
            .unwrap_or(u64::MAX)
            .min(self.statement_timeout_ms);
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let timed_out = || Error::Timeout {
            store: Store::Mysql,
            timeout_ms,
        };
        let acquiring = tokio::time::timeout_at(deadline, self.pool.acquire(caller));
        let mut session = acquiring.await.map_err(|_| timed_out())??;

        // From here on, whatever drops this future closes the connection and kills its statement.
        session.set_busy();
        let running = statement(conn(&mut session)?, sql, request, sink, Retry::Once);
        let result = match tokio::time::timeout_at(deadline, running).await {
            Ok(result) => result,
            Err(_) => return Err(timed_out()),
        };
        // A server that has ceased to take writes is left, and the caller may try again on the one that does.
        let result = match result {
            Err(failure) if self.opener.wants_writes() && failure.is_read_only() => {
                return Err(unavailable(&failure.into_error(timeout_ms).to_string()));
            }
            result => result,
        };
        let is_in_step = match &result {
            Ok(_) => true,
            Err(failure) => failure.is_in_step(),
        };
        if is_in_step && !is_in_transaction(conn(&mut session)?) {
            let is_restored = !touches_session || {
                let resetting = self.opener.reset(&mut session);
                let patience = Duration::from_millis(RESET_TIMEOUT_MS);
                matches!(tokio::time::timeout(patience, resetting).await, Ok(Ok(())))
            };
            if is_restored {
                session.set_clean();
            }
        }
        result.map_err(|failure| failure.into_error(timeout_ms))
    }
}

/// A statement that was admitted, and for whom.
struct Asked<'a> {
    sql: &'a str,
    /// It may leave something behind in its session.
    touches_session: bool,
    request: &'a SqlRequest,
    /// The id of the caller's key, in whose turn a connection is taken.
    caller: &'a str,
}

/// Whether a statement may leave something behind in its session.
fn touches_session(classification: &Classification) -> bool {
    let is_ddl = |touch: &Touch| touch.action == Action::Ddl;
    !classification.functions.is_empty() || classification.touches.iter().any(is_ddl)
}

/// The driver rewrites `:name` to `?` where it sees a named parameter, and it may see one within a literal,
/// since it does not read comments as the server does. What was checked must be what runs.
fn refuse_named_parameters(sql: &str) -> Result<(), Error> {
    if !sql.contains(':') {
        return Ok(());
    }
    match ParsedNamedParams::parse(sql.as_bytes()) {
        Ok(parsed) if parsed.params().is_empty() => Ok(()),
        Ok(_) | Err(_) => Err(Error::Invalid(
            "`:name` in the statement could be taken for a named parameter: use `?` and `params`"
                .to_owned(),
        )),
    }
}

/// How a statement ended without a result.
enum Failure {
    /// The server or the connection to it.
    Driver(mysql_async::Error),
    /// The server can no longer run the statement as it was prepared. Nothing has run, and nothing was delivered.
    Stale(mysql_async::Error),
    /// Refused here while nothing was under way: the connection is untouched.
    Refused(Error),
    /// Given up here in the middle of a result: the connection is not in step.
    Abandoned(Error),
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Abandoned(error)
    }
}

impl Failure {
    fn is_in_step(&self) -> bool {
        match self {
            Self::Driver(error) | Self::Stale(error) => fault::is_answer(error),
            Self::Refused(_) => true,
            Self::Abandoned(_) => false,
        }
    }

    fn is_read_only(&self) -> bool {
        match self {
            Self::Driver(error) => fault::is_read_only(error),
            Self::Stale(_) | Self::Refused(_) | Self::Abandoned(_) => false,
        }
    }

    fn into_error(self, timeout_ms: u64) -> Error {
        match self {
            Self::Driver(error) | Self::Stale(error) => fault::into_error(&error, timeout_ms),
            Self::Refused(error) | Self::Abandoned(error) => error,
        }
    }
}

/// Whether a statement that the server can no longer run as it was prepared is tried once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Once,
    /// Within a transaction, where the caller judges what to do.
    Never,
}

/// Prepares (where this connection has not), executes, and delivers.
async fn statement(
    conn: &mut Conn,
    sql: &str,
    request: &SqlRequest,
    sink: &mut dyn RowSink,
    retry: Retry,
) -> Result<Summary, Failure> {
    let mut retry = retry;
    loop {
        let statement = conn.prep(sql).await?;
        let result = execute(conn, &statement, request, sink).await;
        let is_stale = matches!(&result, Err(Failure::Stale(_)));
        let is_in_step = result.as_ref().err().is_none_or(Failure::is_in_step);
        if is_in_step && (is_stale || sql.len() > STATEMENT_KEPT_BYTES_MAX) {
            // Has no answer, so it costs no round trip.
            conn.close(statement).await?;
        }
        if !is_stale || retry == Retry::Never {
            return result;
        }
        retry = Retry::Never;
    }
}

async fn execute(
    conn: &mut Conn,
    statement: &Statement,
    request: &SqlRequest,
    sink: &mut dyn RowSink,
) -> Result<Summary, Failure> {
    let params = encode::parameters(&request.params, statement.num_params().into())
        .map_err(Failure::Refused)?;
    let result = match conn.exec_iter(statement, Params::Positional(params)).await {
        Err(error) if fault::is_stale(&error) => return Err(Failure::Stale(error)),
        result => result?,
    };
    let rows = deliver(result, sink).await?;
    Ok(Summary {
        rows_affected: rows.unwrap_or_else(|| conn.affected_rows()),
        last_insert_id: conn.last_insert_id(),
    })
}

/// Hands the rows to the sink as they come. Returns their number; `None` for a statement that has none.
async fn deliver(
    mut result: QueryResult<'_, 'static, BinaryProtocol>,
    sink: &mut dyn RowSink,
) -> Result<Option<u64>, Failure> {
    let (columns, codecs): (Vec<Column>, Vec<Codec>) =
        result.columns_ref().iter().map(decode::column).unzip();
    sink.columns(&columns).map_err(Error::Sink)?;
    let mut rows = 0;
    while let Some(row) = reply::unless_waiting(result.next(), sink).await? {
        reply::room(sink).await.map_err(Error::Sink)?;
        deliver_row(&row, &columns, &codecs, sink)?;
        rows += 1;
    }
    // A procedure may have more results; one reply has room for one.
    if !result.is_empty() {
        return Err(Failure::Abandoned(Error::Invalid(
            "the statement has more than one result".to_owned(),
        )));
    }
    result.drop_result().await?;
    Ok((!columns.is_empty()).then_some(rows))
}

fn deliver_row(
    row: &Row,
    columns: &[Column],
    codecs: &[Codec],
    sink: &mut dyn RowSink,
) -> Result<(), Error> {
    sink.start_row()?;
    for (index, codec) in codecs.iter().enumerate() {
        let value = match row.as_ref(index) {
            None => Ok(Value::Null),
            Some(value) => decode::decode(*codec, value),
        };
        let value = value.map_err(|cause| {
            let (name, database_type) = columns.get(index).map_or(("?", "?"), |column| {
                (column.name.as_str(), column.database_type.as_ref())
            });
            Error::Invalid(format!(
                "column `{name}` of type `{database_type}` cannot be returned ({cause}): cast it to text"
            ))
        })?;
        sink.value(&value)?;
    }
    sink.end_row()?;
    Ok(())
}

/// A session with an open transaction is never handed on.
fn is_in_transaction(conn: &Conn) -> bool {
    conn.last_ok_packet().is_some_and(|packet| {
        packet
            .status_flags()
            .contains(StatusFlags::SERVER_STATUS_IN_TRANS)
    })
}

fn conn(session: &mut Session) -> Result<&mut Conn, Error> {
    session
        .conn()
        .ok_or_else(|| unavailable("the connection closed"))
}

fn unavailable(cause: &str) -> Error {
    Error::Unavailable {
        store: Store::Mysql,
        cause: cause.to_owned(),
    }
}

/// The decoder of values, for its fuzz target: a row's bytes as a value of a column of this type.
#[cfg(fuzzing)]
pub fn fuzz_decode(kind: u8, flags: u8, bytes: &[u8]) {
    use mysql_common::constants::{ColumnFlags, ColumnType};
    use mysql_common::io::ParseBuf;
    use mysql_common::value::{BinValue, ValueDeserializer};
    let Ok(type_) = ColumnType::try_from(kind) else {
        return;
    };
    // The driver panics at types that servers keep to themselves.
    if matches!(
        type_,
        ColumnType::MYSQL_TYPE_UNKNOWN
            | ColumnType::MYSQL_TYPE_TYPED_ARRAY
            | ColumnType::MYSQL_TYPE_TIMESTAMP2
            | ColumnType::MYSQL_TYPE_DATETIME2
            | ColumnType::MYSQL_TYPE_TIME2
    ) {
        return;
    }
    let flags = ColumnFlags::from_bits_truncate(u16::from(flags));
    let mut rest = ParseBuf(bytes);
    if let Ok(value) = rest.parse::<ValueDeserializer<BinValue>>((type_, flags)) {
        decode::fuzz(type_, flags, &value.0);
    }
}

#[cfg(test)]
mod live;
