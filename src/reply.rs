//! The protocol-free answer: columns, rows, values.
//!
//! An executor decodes a driver's row into borrowed [`Value`]s and hands them to a [`RowSink`], which writes
//! the front door's format; no tree of values stands between the two.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::limit::Quota;

/// One result column. `database_type` is the server's own name for it (`int8`, `DECIMAL`, `timestamptz`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub database_type: Cow<'static, str>,
}

/// One value, exact. Borrowed from the driver's row wherever that is possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// Integers of at most 32 bits.
    Int(i64),
    /// 64-bit integers, which JSON numbers cannot be trusted with.
    BigInt(i64),
    BigUint(u64),
    Float(f32),
    Double(f64),
    /// `numeric` or `DECIMAL` in its canonical decimal text (also `NaN`, `Infinity`, `-Infinity`).
    Decimal(Cow<'a, str>),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// RFC 3339 text; without a zone no `Z`.
    Temporal(Cow<'a, str>),
    /// JSON text as the server holds it, put into the reply as it is.
    Json(Cow<'a, str>),
    Array(Vec<Self>),
}

/// Why a sink takes no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    #[error("two columns are called `{0}`")]
    DuplicateColumn(String),
    #[error("the result has more than {0} rows")]
    RowsMax(u64),
    /// The bound that the policy sets for the role.
    #[error("the result has more than the {0} rows that the policy allows")]
    RowsAllowed(u64),
    #[error("the result is larger than {0} bytes")]
    BytesMax(usize),
    #[error("a row of the stream is larger than {0} bytes")]
    RowBytesMax(usize),
    /// Requests and replies under way hold all the memory that they may.
    #[error("no memory is left for the result")]
    Memory,
    #[error("the client went away")]
    Gone,
    #[error("the client took nothing for {0} ms")]
    Stalled(u64),
    #[error("a document cannot be shown: {0}")]
    Document(String),
    /// A front door that has no form for documents.
    #[error("the sink takes no documents")]
    NoDocuments,
}

/// Resolves when nobody waits for the result any more.
pub type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes a result as it arrives. `columns` is called once, before the first row.
///
/// A sink that hands rows on while they come may be full: an executor asks [`room`] before each row, and
/// fetches rows through [`unless_waiting`], so that what was taken goes out while the server is at work.
pub trait RowSink: Send {
    /// The request was admitted; what is left of the caller's rate limit.
    fn admitted(&mut self, _quota: Option<&Quota>) {}
    /// For a sink whose reader may leave before the end: when it has.
    fn gone(&self) -> Option<Gone> {
        None
    }
    /// Whether rows go out as they come, so that a slow reader holds the statement up.
    fn is_streaming(&self) -> bool {
        false
    }
    /// Whether another row may come. A sink that keeps the whole result always has room.
    fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }
    /// Hands on what was taken so far.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }
    /// Whether [`Self::document`] may be called.
    fn takes_documents(&self) -> bool {
        false
    }
    /// A row that is one document (BSON bytes), of a store that has no columns.
    fn document(&mut self, _bson: &[u8]) -> Result<(), SinkError> {
        Err(SinkError::NoDocuments)
    }
    /// Takes no more rows than this, nor than it would otherwise: the policy says so.
    fn limit_rows(&mut self, rows_max: u64);
    fn columns(&mut self, columns: &[Column]) -> Result<(), SinkError>;
    /// Starts a row; `value` follows once for each column, in order.
    fn start_row(&mut self) -> Result<(), SinkError>;
    fn value(&mut self, value: &Value<'_>) -> Result<(), SinkError>;
    fn end_row(&mut self) -> Result<(), SinkError>;
}

/// Waits until `sink` takes another row. May be cancelled.
pub async fn room(sink: &mut dyn RowSink) -> Result<(), SinkError> {
    poll_fn(|cx| sink.poll_room(cx)).await
}

/// Waits for the server, and hands on what the sink has while there is nothing else to do. A sink that fails
/// meanwhile says so when it is next asked for room. May be cancelled where `server` may.
pub async fn unless_waiting<F: Future>(server: F, sink: &mut dyn RowSink) -> F::Output {
    let mut server = pin!(server);
    poll_fn(|cx| {
        let polled = server.as_mut().poll(cx);
        if polled.is_pending() {
            let _ = sink.poll_flush(cx);
        }
        polled
    })
    .await
}

/// The sink of a request that brings no rows: the other stores answer whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRows;

impl RowSink for NoRows {
    fn limit_rows(&mut self, _rows_max: u64) {}

    fn columns(&mut self, _columns: &[Column]) -> Result<(), SinkError> {
        Ok(())
    }

    fn start_row(&mut self) -> Result<(), SinkError> {
        Err(SinkError::RowsMax(0))
    }

    fn value(&mut self, _value: &Value<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// What is known when a SQL statement has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows inserted, updated or deleted; for a query, rows returned.
    pub rows_affected: u64,
    /// MySQL's AUTO_INCREMENT value, where there is one.
    pub last_insert_id: Option<u64>,
}
