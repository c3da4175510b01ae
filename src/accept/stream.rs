//! A result as a stream: the gate runs in a task of its own and its rows go through a short channel to the reply's
//! body, so that a client that reads slowly slows the database down, and one that leaves ends its statement.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use super::http::Head;
use super::reply_body::{Chunk, ReplyBody};
use super::respond::{self, Reply};
use crate::authenticate::Principal;
use crate::error::Problem;
use crate::execute::stores::Answer;
use crate::gate::{Ask, Gate};
use crate::limit::Quota;
use crate::lock::Unpoisoned as _;
use crate::operation::Store;
use crate::reply::{Column, Gone, RowSink, SinkError, Summary, Value};
use crate::wire::ndjson::{Form, Ndjson};

/// Lines go out once there are so many bytes of them, or when the database has no more just now.
const CHUNK_BYTES: usize = 32 * 1024;

/// Chunks between the gate and the body. With those under way on both sides, a stream holds a few hundred
/// kilobytes, and one row where that is more.
const CHUNKS_MAX: usize = 2;

/// The media type of a stream.
pub const MEDIA_TYPE: &str = "application/x-ndjson";

/// What a stream is asked for with.
pub struct Streaming<R> {
    pub head: Head,
    pub store: Store,
    pub action: &'static str,
    /// How long the client may take nothing.
    pub patience: Duration,
    /// Reads the request's body, and says how the rows are to look.
    pub receive: R,
}

impl<R, F> Streaming<R>
where
    R: FnOnce(Arc<Principal>) -> F + Send + 'static,
    F: Future<Output = Result<(Ask, Form), Problem>> + Send + 'static,
{
    /// Answers once the first line is there: with the stream, or with what was wrong. May be cancelled: the
    /// statement under way is then cancelled on its server.
    pub async fn run(self, gate: Arc<Gate>, quota: &mut Option<Quota>) -> Result<Reply, Problem> {
        let (chunks, body) = mpsc::channel(CHUNKS_MAX);
        let (started, starts) = oneshot::channel();
        let lingering = gate.health.linger();
        let running = tokio::spawn(self.produce(gate, chunks, started));
        if let Ok(told) = starts.await {
            *quota = told;
            let mut body = ReplyBody::stream(body);
            body.linger(lingering);
            return Ok(respond::with_body(
                StatusCode::OK,
                HeaderValue::from_static(MEDIA_TYPE),
                body,
            ));
        }
        let (problem, told) = running.await.unwrap_or_default();
        *quota = told;
        Err(problem.unwrap_or_else(|| super::body::invalid("the request brought no result")))
    }

    async fn produce(
        self,
        gate: Arc<Gate>,
        chunks: mpsc::Sender<Chunk>,
        started: oneshot::Sender<Option<Quota>>,
    ) -> (Option<Problem>, Option<Quota>) {
        let home = Arc::new(Mutex::new(None));
        let (receive, patience) = (self.receive, self.patience);
        let place = Arc::clone(&home);
        let receive = |caller| async move {
            let (ask, form) = receive(caller).await?;
            let lines = Lines {
                rows: Ndjson::new(form),
                chunks,
                slot: None,
                patience,
                started: Some(started),
                quota: None,
            };
            let sink = StreamSink {
                lines: Some(Box::new(lines)),
                home: place,
            };
            Ok((ask, sink))
        };
        let asked = self.head.as_request(self.action);
        let (answer, quota) = gate.answer(&asked, self.store, receive).await;
        let ended = answer.map(|(answer, sink)| {
            drop(sink);
            answer
        });
        let lines = home.lock().unpoisoned().take();
        match (ended, lines) {
            (ended, Some(mut lines)) if lines.started.is_none() => {
                match ended {
                    Ok(answer) => lines.rows.complete(&summary(answer, lines.rows.rows())),
                    Err(problem) => {
                        let told = respond::problem_object(&problem, &self.head.request_id);
                        lines
                            .rows
                            .error(&serde_json::Value::Object(told).to_string());
                    }
                }
                lines.last().await;
                (None, quota)
            }
            (ended, _) => (ended.err(), quota),
        }
    }
}

fn summary(answer: Answer, rows: u64) -> Summary {
    match answer {
        Answer::Sql(summary) => summary,
        Answer::Transaction(_) | Answer::Mongodb(_) | Answer::Redis(_) => Summary {
            rows_affected: rows,
            last_insert_id: None,
        },
    }
}

type Slot = Pin<Box<dyn Future<Output = Result<mpsc::OwnedPermit<Chunk>, SinkError>> + Send>>;

/// The lines on their way to the body.
struct Lines {
    rows: Ndjson,
    chunks: mpsc::Sender<Chunk>,
    /// Waits for a place in the channel.
    slot: Option<Slot>,
    patience: Duration,
    /// Told once, when the first line is there.
    started: Option<oneshot::Sender<Option<Quota>>>,
    quota: Option<Quota>,
}

impl Lines {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        if self.rows.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let slot = self
            .slot
            .get_or_insert_with(|| Box::pin(place(self.chunks.clone(), self.patience)));
        let permit = ready!(slot.as_mut().poll(cx));
        self.slot = None;
        permit?.send(Chunk::Lines(Bytes::from(self.rows.take())));
        Poll::Ready(Ok(()))
    }

    /// Sends what is left, marked as the end. A client that does not take it has a stream that was cut.
    async fn last(mut self: Box<Self>) {
        self.slot = None;
        if let Ok(permit) = place(self.chunks, self.patience).await {
            permit.send(Chunk::Last(Bytes::from(self.rows.take())));
        }
    }
}

/// A place in the channel, if there is one in time.
async fn place(
    chunks: mpsc::Sender<Chunk>,
    patience: Duration,
) -> Result<mpsc::OwnedPermit<Chunk>, SinkError> {
    match tokio::time::timeout(patience, chunks.reserve_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(SinkError::Gone),
        Err(_) => {
            let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            Err(SinkError::Stalled(ms))
        }
    }
}

/// The gate's end. It leaves its lines in `home` when it is dropped, since the gate keeps the sink of a request
/// that failed, and the last line is yet to be written.
struct StreamSink {
    /// Taken when the sink is dropped, and only then.
    lines: Option<Box<Lines>>,
    home: Arc<Mutex<Option<Box<Lines>>>>,
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        *self.home.lock().unpoisoned() = self.lines.take();
    }
}

impl StreamSink {
    fn lines(&mut self) -> Result<&mut Lines, SinkError> {
        self.lines.as_deref_mut().ok_or(SinkError::Gone)
    }
}

impl RowSink for StreamSink {
    fn admitted(&mut self, quota: Option<&Quota>) {
        if let Some(lines) = &mut self.lines {
            lines.quota = quota.cloned();
        }
    }

    fn limit_rows(&mut self, rows_max: u64) {
        if let Some(lines) = &mut self.lines {
            lines.rows.limit_rows(rows_max);
        }
    }

    fn gone(&self) -> Option<Gone> {
        let chunks = self.lines.as_ref()?.chunks.clone();
        Some(Box::pin(async move { chunks.closed().await }))
    }

    fn is_streaming(&self) -> bool {
        true
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        let lines = self.lines()?;
        if lines.rows.len() < CHUNK_BYTES {
            return Poll::Ready(Ok(()));
        }
        lines.poll_flush(cx)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        self.lines()?.poll_flush(cx)
    }

    fn takes_documents(&self) -> bool {
        true
    }

    fn document(&mut self, bson: &[u8]) -> Result<(), SinkError> {
        self.lines()?.rows.document(bson)
    }

    fn columns(&mut self, columns: &[Column]) -> Result<(), SinkError> {
        let lines = self.lines()?;
        lines.rows.columns(columns);
        if let Some(started) = lines.started.take() {
            // A client that has left is noticed when it is to take the first chunk.
            let _ = started.send(lines.quota.clone());
        }
        Ok(())
    }

    fn start_row(&mut self) -> Result<(), SinkError> {
        self.lines()?.rows.start_row()
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), SinkError> {
        self.lines()?.rows.value(value)
    }

    fn end_row(&mut self) -> Result<(), SinkError> {
        self.lines()?.rows.end_row();
        Ok(())
    }
}
