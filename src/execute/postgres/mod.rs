//! Runs a classified statement on PostgreSQL.
//!
//! A read is one statement, in one round trip when it was seen before; quick ones share connections (see
//! `lanes.rs`). A change is a transaction that also holds its row in `audit_logs` (see `change.rs`). Either way what runs is a single prepared statement: the
//! extended protocol takes no second one after a semicolon.

mod change;
mod decode;
mod encode;
mod fault;
mod lanes;
mod session;
mod statements;
mod transaction;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::time::Instant;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, RowStream};

use self::fault::Fault;
use self::lanes::{Lanes, Pace, Read, Shared};
pub(crate) use self::session::takes_writes;
use self::session::{Opener, Session};
use self::statements::{PrepareError, Prepared};
use self::transaction::OpenTransaction;
use super::Error;
use super::pool::{Pool, PoolState};
use super::request::{AuditRow, SqlRequest};
use super::settings::SqlStoreSettings;
use super::tls::TlsError;
use super::transaction::Desk;
use crate::limit::Ticket;
use crate::operation::{Action, Operation, Payload, Store};
use crate::reply::{self, RowSink, Summary, Value};

/// How long pinning a session anew may take.
const RESET_TIMEOUT_MS: u64 = 2_000;

/// PostgreSQL, behind a pool.
pub struct PostgresStore {
    opener: Arc<Opener>,
    audit_insert: Arc<str>,
    pool: Pool<Arc<Opener>>,
    lanes: Lanes,
    transactions: Desk<OpenTransaction>,
    statement_timeout_ms: u64,
}

impl PostgresStore {
    /// `schema` is what an unqualified name means. Starts connecting in the background, within the current
    /// tokio runtime; fails only where the settings themselves are wrong.
    pub fn new(settings: &SqlStoreSettings, schema: &str) -> Result<Self, TlsError> {
        let opener = Arc::new(Opener::new(settings, schema)?);
        let pool = Pool::start(Store::Postgres, Arc::clone(&opener), settings.pool.clone());
        Ok(Self {
            opener,
            audit_insert: change::audit_insert(schema),
            pool,
            lanes: Lanes::new(&settings.pool),
            transactions: Desk::new(Store::Postgres, &settings.transactions),
            statement_timeout_ms: settings.statement_timeout_ms,
        })
    }

    /// Runs the admitted statement and hands its rows to `sink`. A change needs `audit`, and commits
    /// together with that row or not at all. Dropping the future cancels the statement on the server.
    pub async fn execute(
        &self,
        ticket: Ticket,
        request: &SqlRequest,
        audit: Option<&AuditRow>,
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
            effect: Effect::of(operation),
            request,
            audit,
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
            client(&session)?
                .check_connection()
                .await
                .map_err(|error| Fault::from(error).into_error(0))?;
            session.set_clean();
            Ok(())
        };
        match tokio::time::timeout(patience, checking).await {
            Ok(checked) => checked,
            Err(_) => Err(unavailable("no answer to a ping")),
        }
    }

    /// Who waits for a seat waits for a connection.
    pub fn pool_state(&self) -> PoolState {
        let mut state = self.pool.state();
        state.add(self.lanes.lines());
        state
    }

    /// Below the ticket: what `execute` does once it knows the statement.
    async fn run(&self, asked: Asked<'_>, sink: &mut dyn RowSink) -> Result<Summary, Error> {
        let timeout_ms = asked
            .request
            .timeout_ms
            .unwrap_or(u64::MAX)
            .min(self.statement_timeout_ms);
        let began = Instant::now();
        let deadline = began + Duration::from_millis(timeout_ms);
        let pace = self.pace(&asked, &*sink);
        if pace.as_ref().is_some_and(|pace| pace.is_quick()) {
            let read = Read {
                sql: asked.sql,
                request: asked.request,
                caller: asked.caller,
                deadline,
            };
            match self.lanes.read(&self.pool, &read, sink).await? {
                Shared::Done(result) => {
                    note(pace, began, &result);
                    return result.map_err(|failure| failure.into_error(timeout_ms));
                }
                Shared::Apart => {}
            }
        }
        // Boxed, as it is several times as long as what a shared read needs.
        Box::pin(self.apart(asked, timeout_ms, deadline, pace, sink)).await
    }

    /// The pace of a read that may share a connection: its rows are kept, so that it never holds others up by a reader
    /// of its own who is slow.
    fn pace(&self, asked: &Asked<'_>, sink: &dyn RowSink) -> Option<Arc<Pace>> {
        let may_share = asked.effect == Effect::Read && !sink.is_streaming();
        may_share.then(|| self.lanes.pace(asked.sql, asked.request))?
    }

    /// Runs the statement on a connection that nobody else has meanwhile.
    async fn apart(
        &self,
        asked: Asked<'_>,
        timeout_ms: u64,
        deadline: Instant,
        pace: Option<Arc<Pace>>,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Error> {
        let Asked {
            sql,
            effect,
            request,
            audit,
            caller,
        } = asked;
        let timed_out = || Error::Timeout {
            store: Store::Postgres,
            timeout_ms,
        };
        let acquiring = tokio::time::timeout_at(deadline, self.pool.acquire(caller));
        let mut session = acquiring.await.map_err(|_| timed_out())??;

        // From here on, whatever drops this future closes the connection and cancels its statement.
        session.set_busy();
        session.carries(request.sent_bytes(sql));
        let began = Instant::now();
        let result = match (effect, audit) {
            (Effect::Read, _) => {
                let reading = read(&session, sql, request, sink);
                match tokio::time::timeout_at(deadline, reading).await {
                    Ok(result) => result,
                    Err(_) => Err(Failure::TimedOut),
                }
            }
            (Effect::Change { .. }, None) => Err(Failure::Refused(Error::Invalid(
                "a change of a system table needs its audit row".to_owned(),
            ))),
            (Effect::Change { .. }, Some(audit)) => {
                let change = change::Change {
                    sql,
                    request,
                    audit,
                    audit_insert: &self.audit_insert,
                    deadline,
                };
                change.run(&mut session, sink).await
            }
        };
        note(pace, began, &result);
        let is_in_step = match &result {
            Ok(_) => true,
            Err(failure) => failure.is_in_step(),
        };
        if is_in_step && self.restore(&mut session, effect).await {
            session.set_clean();
        }
        result.map_err(|failure| failure.into_error(timeout_ms))
    }

    /// Pins the session anew where the statement may have changed it; false when that failed, and the
    /// connection is to be closed.
    async fn restore(&self, session: &mut Session, effect: Effect) -> bool {
        match effect {
            Effect::Read
            | Effect::Change {
                touches_session: false,
            } => true,
            Effect::Change {
                touches_session: true,
            } => {
                let resetting = session.reset(self.opener.pins());
                let patience = Duration::from_millis(RESET_TIMEOUT_MS);
                matches!(
                    tokio::time::timeout(patience, resetting).await,
                    Ok(Ok(true))
                )
            }
        }
    }
}

/// How long a read took decides whether it may share the next time. One that failed has shown nothing good.
fn note(pace: Option<Arc<Pace>>, began: Instant, result: &Result<Summary, Failure>) {
    if let Some(pace) = pace {
        let rows = result.as_ref().map_or(u64::MAX, |done| done.rows_affected);
        pace.note(began.elapsed(), rows);
    }
}

/// A statement that was admitted, and for whom.
struct Asked<'a> {
    sql: &'a Arc<str>,
    effect: Effect,
    request: &'a SqlRequest,
    audit: Option<&'a AuditRow>,
    /// The id of the caller's key, in whose turn a connection is taken.
    caller: &'a str,
}

/// What a statement may do, as far as its classification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read,
    /// `touches_session`: it may leave something behind in its session, too.
    Change {
        touches_session: bool,
    },
}

impl Effect {
    /// A function that is not known to be pure may write, whatever the statement around it does.
    fn of(operation: &Operation) -> Self {
        let classification = &operation.classification;
        if classification.is_read() && classification.functions.is_empty() {
            return Self::Read;
        }
        let is_ddl = classification
            .touches
            .iter()
            .any(|touch| touch.action == Action::Ddl);
        Self::Change {
            touches_session: is_ddl || !classification.functions.is_empty(),
        }
    }
}

/// One statement on its own, tried once more where it had been prepared under another shape of its tables.
async fn read(
    session: &Session,
    sql: &Arc<str>,
    request: &SqlRequest,
    sink: &mut dyn RowSink,
) -> Result<Summary, Failure> {
    let (statement, was_kept) = prepared(session, sql).await?;
    match bind(client(session)?, &statement, request).await {
        Ok(rows) => deliver(rows, &statement, sink).await,
        Err(Failure::Fault(fault)) if was_kept && fault.is_stale() => {
            session.statements.forget(sql);
            client(session)?.clear_type_cache();
            let (statement, _) = prepared(session, sql).await?;
            let rows = bind(client(session)?, &statement, request).await?;
            deliver(rows, &statement, sink).await
        }
        Err(failure) => Err(failure),
    }
}

/// How a statement ended without a result.
enum Failure {
    /// The server or the connection to it.
    Fault(Fault),
    /// Refused here while nothing was under way: the connection is untouched.
    Refused(Error),
    /// Given up here in the middle of a result: the connection is not in step.
    Abandoned(Error),
    /// Not ended when its time was up.
    TimedOut,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Fault(Fault::from(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Abandoned(error)
    }
}

impl Failure {
    /// Whether the connection is in step with the server.
    fn is_in_step(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.is_answer(),
            Self::Refused(_) => true,
            Self::Abandoned(_) | Self::TimedOut => false,
        }
    }

    fn into_error(self, timeout_ms: u64) -> Error {
        match self {
            Self::Fault(fault) => fault.into_error(timeout_ms),
            Self::Refused(error) | Self::Abandoned(error) => error,
            Self::TimedOut => Error::Timeout {
                store: Store::Postgres,
                timeout_ms,
            },
        }
    }
}

/// The statement, prepared on this connection, and whether it was so before.
async fn prepared(session: &Session, sql: &Arc<str>) -> Result<(Arc<Prepared>, bool), Failure> {
    if let Some(prepared) = session.statements.get(sql) {
        return Ok((prepared, true));
    }
    let prepared = match statements::prepare(client(session)?, sql).await {
        Ok(prepared) => Arc::new(prepared),
        Err(PrepareError::Driver(error)) => return Err(error.into()),
        Err(PrepareError::Refused(error)) => return Err(Failure::Refused(error)),
    };
    session.statements.keep(sql, &prepared);
    Ok((prepared, false))
}

/// Sends Bind, Execute and Sync in one write, and returns when the server has accepted the parameters.
async fn bind(
    client: &Client,
    prepared: &Prepared,
    request: &SqlRequest,
) -> Result<RowStream, Failure> {
    let params = encode::parameters(&request.params, prepared.statement.params())
        .map_err(Failure::Refused)?;
    Ok(client.query_raw(&prepared.statement, &params).await?)
}

/// Hands the rows to the sink as they come.
async fn deliver(
    rows: RowStream,
    prepared: &Prepared,
    sink: &mut dyn RowSink,
) -> Result<Summary, Failure> {
    sink.columns(&prepared.columns).map_err(Error::Sink)?;
    let mut rows = pin!(rows);
    while let Some(row) = reply::unless_waiting(rows.try_next(), sink).await? {
        reply::room(sink).await.map_err(Error::Sink)?;
        sink.start_row().map_err(Error::Sink)?;
        for (index, codec) in prepared.codecs.iter().enumerate() {
            let Raw(bytes) = row.try_get(index)?;
            let value = match bytes {
                None => Value::Null,
                Some(bytes) => decode::decode(codec, bytes)
                    .map_err(|cause| undecodable(prepared, index, cause))?,
            };
            sink.value(&value).map_err(Error::Sink)?;
        }
        sink.end_row().map_err(Error::Sink)?;
    }
    Ok(Summary {
        rows_affected: rows.rows_affected().unwrap_or(0),
        last_insert_id: None,
    })
}

fn undecodable(prepared: &Prepared, index: usize, cause: decode::Malformed) -> Error {
    let (name, database_type) = prepared.columns.get(index).map_or(("?", "?"), |column| {
        (column.name.as_str(), column.database_type.as_ref())
    });
    Error::Invalid(format!(
        "column `{name}` of type `{database_type}` cannot be returned ({cause}): cast it to text"
    ))
}

/// A column's bytes, whatever its type.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn client(session: &Session) -> Result<&Client, Error> {
    session
        .client()
        .ok_or_else(|| unavailable("the connection closed"))
}

fn unavailable(cause: &str) -> Error {
    Error::Unavailable {
        store: Store::Postgres,
        cause: cause.to_owned(),
    }
}

/// The decoder of values, for its fuzz target: bytes as a value of the built-in type with this number.
#[cfg(fuzzing)]
pub fn fuzz_decode(oid: u32, bytes: &[u8]) {
    if let Some(codec) = Type::from_oid(oid).and_then(|type_| decode::Codec::of(&type_)) {
        let _ = decode::decode(&codec, bytes);
    }
}

#[cfg(test)]
mod live;
