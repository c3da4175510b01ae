//! One multiplexed connection for all callers, that reconnects by itself, says at once when it is away, and bounds
//! what replies take in memory.
//!
//! Replies come in the order of the commands. A request's replies are read into what it may take
//! ([`REPLIES_BYTES_MAX`]) and what all may take together ([`HELD_BYTES_MAX`]); what goes beyond is thrown away as it
//! arrives, and so is what nobody waits for any more.

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::dial::{Connection, Dial, READ_BYTES, Stream};
use super::link::{
    Away, PROBE_MS_MAX, PROBE_PAUSE_MS, RECONNECT_PAUSE_MS_MAX, RECONNECT_PAUSE_MS_MIN,
    RECONNECT_WAIT_MS_MAX, SUSPECT_MS_MIN, UNASKED_MS_MAX, UNASKED_PAUSE_MS, WRITE_QUEUE_MAX,
};
use super::replies::{Replies, Reply, plain};
use crate::memory::{Memory, Part};

/// Bytes of the replies to one request.
pub const REPLIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of replies that are held at once, over all requests.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Replies up to this size are not counted: there are many, and they are gone at once.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;
/// Commands that are written together.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What became of one command.
pub enum Got {
    Value(Value),
    /// It ran, and its reply was too large.
    TooLarge,
}

impl Got {
    /// Whether it is the word of a replica that was asked to write.
    pub fn is_of_the_wrong_server(&self) -> bool {
        match self {
            Self::Value(Value::ServerError(error)) => error.code() == "READONLY",
            Self::Value(_) | Self::TooLarge => false,
        }
    }
}

/// The replies to one request, and what they hold of the memory for all.
pub type Answer = (Vec<Got>, Part);

/// A request whose replies are to come.
struct Waiting {
    room: Room,
    left: usize,
    got: Vec<Got>,
    done: oneshot::Sender<Answer>,
}

struct Request {
    packed: Vec<u8>,
    waiting: Waiting,
}

/// What replies may take, of memory and of time.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Those to one request.
    pub replies_bytes_max: usize,
    /// All together.
    pub memory: Arc<Memory>,
    /// A server that takes longer to answer a probe is of no use, and counts as away. Where it is bounded, a new connection
    /// is probed before it is used, and an error is no answer.
    pub answers_within: Duration,
}

impl Bounds {
    fn are_kept(&self, took: Duration, got: &[Got]) -> bool {
        let is_error = matches!(got, [Got::Value(Value::ServerError(_)), ..]);
        self.answers_within == Duration::MAX || (took <= self.answers_within && !is_error)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            replies_bytes_max: REPLIES_BYTES_MAX,
            memory: Memory::new(HELD_BYTES_MAX),
            answers_within: Duration::MAX,
        }
    }
}

/// What the replies to one request may take.
pub struct Room {
    part: Part,
    bytes_max: usize,
    /// What those before this one took.
    taken: usize,
    /// What this one takes.
    reply: usize,
}

impl Room {
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            part: bounds.memory.part(),
            bytes_max: bounds.replies_bytes_max,
            taken: 0,
            reply: 0,
        }
    }

    pub fn has(&mut self, bytes: u64) -> bool {
        self.reply = usize::try_from(bytes).unwrap_or(usize::MAX);
        let total = self.taken.saturating_add(self.reply);
        total <= UNCOUNTED_BYTES_MAX || (total <= self.bytes_max && self.part.cover(total).is_ok())
    }

    pub fn into_part(self) -> Part {
        self.part
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    requests: mpsc::Sender<Request>,
    state: watch::Sender<State>,
    suspected: Arc<Notify>,
    /// The connection is to be given up for a new one.
    renewed: Arc<Notify>,
    bounds: Bounds,
}

/// Whether commands are answered, as far as is known.
enum State {
    Up,
    Away {
        since: Instant,
        /// What the last attempt came to; `None` while the first one is under way.
        cause: Option<Arc<str>>,
    },
}

impl Line {
    /// Starts connecting in the background; Redis may come later. Must be called inside a Tokio runtime.
    pub fn open(dial: Dial, bounds: Bounds) -> Self {
        let (requests, queue) = mpsc::channel(WRITE_QUEUE_MAX);
        let line = Self(Arc::new(Inner {
            requests,
            state: watch::Sender::new(State::Away {
                since: Instant::now(),
                cause: None,
            }),
            suspected: Arc::default(),
            renewed: Arc::default(),
            bounds,
        }));
        tokio::spawn(keep(Arc::downgrade(&line.0), dial, queue));
        line
    }

    /// Whether commands are answered, as far as is known.
    pub fn is_up(&self) -> bool {
        matches!(*self.0.state.borrow(), State::Up)
    }

    /// Waits until the first attempt to connect has ended, which [`CONNECT_MS_MAX`](super::link::CONNECT_MS_MAX) bounds.
    pub async fn tried(&self) {
        let mut state = self.0.state.subscribe();
        let has_ended = |state: &State| !matches!(state, State::Away { cause: None, .. });
        let _ = state.wait_for(has_ended).await;
    }

    /// Sends commands that bring `replies` replies. Dropping the future does not take back what has been written.
    pub async fn send(
        &self,
        packed: Vec<u8>,
        replies: usize,
        timeout_ms: u64,
    ) -> Result<Answer, Away> {
        self.ready().await?;
        let (done, answer) = oneshot::channel();
        let waiting = Waiting {
            room: Room::new(&self.0.bounds),
            left: replies,
            got: Vec::new(),
            done,
        };
        let asking = async {
            let sent = self.0.requests.send(Request { packed, waiting }).await;
            sent.map_err(|_| lost())?;
            answer.await.map_err(|_| lost())
        };
        match timeout(Duration::from_millis(timeout_ms), asking).await {
            Ok(answer) => answer,
            Err(_) => {
                // A caller in a hurry says nothing about the connection.
                if timeout_ms >= SUSPECT_MS_MIN {
                    self.suspect();
                }
                Err(Away::Slow)
            }
        }
    }

    /// Refuses commands until the connection has shown that it lives, or there is another.
    pub fn suspect(&self) {
        self.0.fell("no answer in time");
        self.0.suspected.notify_one();
    }

    /// Gives the connection up for a new one, since it leads to a server that is not the one to ask any more.
    pub fn renew(&self) {
        self.0.fell("the server is not the one to ask any more");
        self.0.renewed.notify_one();
    }

    /// Waits for a connection that has just gone, and for no other.
    async fn ready(&self) -> Result<(), Away> {
        let since = match *self.0.state.borrow() {
            State::Up => return Ok(()),
            State::Away { since, .. } => since,
        };
        let wait = Duration::from_millis(RECONNECT_WAIT_MS_MAX);
        if let Some(left) = wait.checked_sub(since.elapsed()) {
            let mut state = self.0.state.subscribe();
            let is_up = state.wait_for(|state| matches!(state, State::Up));
            if let Ok(Ok(_)) = timeout(left, is_up).await {
                return Ok(());
            }
        }
        match &*self.0.state.borrow() {
            State::Up => Ok(()),
            State::Away { cause, .. } => Err(Away::NotConnected(cause.clone())),
        }
    }
}

fn lost() -> Away {
    Away::Lost(io::Error::from(io::ErrorKind::ConnectionReset).into())
}

impl Inner {
    fn connected(&self) {
        if self.bounds.answers_within == Duration::MAX {
            self.state.send_replace(State::Up);
        } else {
            self.suspected.notify_one();
        }
    }

    /// Commands are not answered any more. Where they were not before, what is known of that holds.
    fn fell(&self, cause: &str) {
        if matches!(*self.state.borrow(), State::Up) {
            self.failed(cause);
        }
    }

    /// Commands are not answered, and why.
    fn failed(&self, why: &str) {
        self.state.send_modify(|state| {
            let since = match state {
                State::Up => Instant::now(),
                State::Away { since, .. } => *since,
            };
            let cause = Some(why.into());
            *state = State::Away { since, cause };
        });
    }
}

/// Connects, again and again, as long as somebody may ask.
async fn keep(inner: Weak<Inner>, dial: Dial, mut queue: mpsc::Receiver<Request>) {
    let mut pause_ms = RECONNECT_PAUSE_MS_MIN;
    loop {
        let connected = dial.connect().await;
        let Some(known) = inner.upgrade() else {
            return;
        };
        match connected {
            Ok(connection) => {
                pause_ms = RECONNECT_PAUSE_MS_MIN;
                known.connected();
                drop(known);
                let ended = drive(connection, &mut queue, &inner).await;
                let Some(known) = inner.upgrade() else {
                    return;
                };
                known.failed(&ended.map_or_else(|error| error.to_string(), |()| String::new()));
            }
            Err(error) => known.failed(&error.to_string()),
        }
        // They were not sent, and their callers are told so by being dropped.
        while queue.try_recv().is_ok() {}
        // Without randomness the pauses are merely less spread.
        let jitter = u64::from(getrandom::u32().unwrap_or(0)) % pause_ms;
        tokio::time::sleep(Duration::from_millis(pause_ms + jitter)).await;
        pause_ms = (pause_ms * 2).min(RECONNECT_PAUSE_MS_MAX);
    }
}

/// Moves bytes until the connection or the store ends. Whoever still waits then is told by being dropped.
async fn drive(
    connection: Connection,
    queue: &mut mpsc::Receiver<Request>,
    inner: &Weak<Inner>,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(connection.stream);
    let (sent, waiting) = mpsc::unbounded_channel();
    tokio::select! {
        ended = write(writer, queue, sent) => ended,
        ended = read(reader, connection.replies, waiting) => ended,
        ended = probe(inner) => ended,
        ended = renewed(inner) => ended,
    }
}

async fn renewed(inner: &Weak<Inner>) -> io::Result<()> {
    let Some(renewed) = inner.upgrade().map(|inner| Arc::clone(&inner.renewed)) else {
        return Ok(());
    };
    renewed.notified().await;
    Err(io::Error::other("given up for a new one"))
}

/// Ends well when nobody can ask any more. As many wait as `in_flight_max` lets in.
async fn write(
    mut writer: WriteHalf<Box<dyn Stream>>,
    queue: &mut mpsc::Receiver<Request>,
    sent: mpsc::UnboundedSender<Waiting>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    while let Some(request) = queue.recv().await {
        // What others ask for at the same moment goes out with it.
        yield_now().await;
        let mut next = Some(request);
        while let Some(Request { packed, waiting }) = next.take() {
            // Whoever has given up by now need not be asked for.
            if !waiting.done.is_closed() {
                let listening = sent.send(waiting);
                listening.map_err(|_| io::ErrorKind::BrokenPipe)?;
                if batch.is_empty() {
                    batch = packed;
                } else {
                    batch.extend_from_slice(&packed);
                }
            }
            if batch.len() < BATCH_BYTES_MAX {
                next = queue.try_recv().ok();
            }
        }
        writer.write_all(&batch).await?;
        writer.flush().await?;
        batch = Vec::new();
    }
    Ok(())
}

async fn read(
    mut reader: ReadHalf<Box<dyn Stream>>,
    mut replies: Replies,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
) -> io::Result<()> {
    let mut current: Option<Waiting> = None;
    loop {
        if current.is_none() {
            current = waiting.try_recv().ok();
        }
        let room = |bytes| match &mut current {
            Some(waiting) => !waiting.done.is_closed() && waiting.room.has(bytes),
            None => false,
        };
        let got = match replies.next(room).map_err(io::Error::other)? {
            None => {
                replies.buffer.reserve(READ_BYTES);
                if reader.read_buf(&mut replies.buffer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            Some(Reply::Push) => continue,
            Some(Reply::Dropped) => Got::TooLarge,
            // What the driver's parser does not take (it is nested too deep) is not shown.
            Some(Reply::Whole(bytes)) => plain(&bytes)
                .or_else(|| redis::parse_redis_value(&bytes).ok())
                .map_or(Got::TooLarge, Got::Value),
        };
        let Some(mut known) = current.take() else {
            return Err(io::Error::other("a reply that nobody asked for"));
        };
        if matches!(got, Got::Value(_)) {
            known.room.taken += known.room.reply;
        }
        known.got.push(got);
        known.left = known.left.saturating_sub(1);
        if known.left == 0 {
            // Whoever does not wait any more does not mind.
            let _ = known.done.send((known.got, known.room.into_part()));
        } else {
            current = Some(known);
        }
    }
}

/// Asks, when a caller has waited in vain, whether the connection still lives, until there is an answer in time; ends it
/// where there is none.
async fn probe(inner: &Weak<Inner>) -> io::Result<()> {
    let Some(suspected) = inner.upgrade().map(|inner| Arc::clone(&inner.suspected)) else {
        return Ok(());
    };
    loop {
        if !is_suspected(&suspected, inner).await {
            let Some(mut answer) = ask_for_life(inner) else {
                return Ok(());
            };
            let patience = Duration::from_millis(UNASKED_MS_MAX);
            // Whether it came soon enough to be of use is for requests to find out.
            if timeout(patience, &mut answer).await.is_ok() {
                continue;
            }
            if let Some(known) = inner.upgrade() {
                known.fell("no answer to a probe");
            }
        }
        loop {
            let asked_at = Instant::now();
            let Some(answer) = ask_for_life(inner) else {
                return Ok(());
            };
            let Ok(Ok((got, _))) = timeout(Duration::from_millis(PROBE_MS_MAX), answer).await
            else {
                return Err(io::ErrorKind::TimedOut.into());
            };
            let Some(known) = inner.upgrade() else {
                return Ok(());
            };
            if known.bounds.are_kept(asked_at.elapsed(), &got) {
                known.state.send_replace(State::Up);
                break;
            }
            drop(known);
            tokio::time::sleep(Duration::from_millis(PROBE_PAUSE_MS)).await;
        }
    }
}

/// Waits until somebody has waited in vain; false where it is time to look without that, on a line whose answers must
/// come soon to be of use.
async fn is_suspected(suspected: &Notify, inner: &Weak<Inner>) -> bool {
    let is_bounded = |inner: Arc<Inner>| inner.bounds.answers_within != Duration::MAX;
    if inner.upgrade().is_some_and(is_bounded) {
        let pause = Duration::from_millis(UNASKED_PAUSE_MS);
        return timeout(pause, suspected.notified()).await.is_ok();
    }
    suspected.notified().await;
    true
}

/// `None` where nobody can ask any more.
fn ask_for_life(inner: &Weak<Inner>) -> Option<oneshot::Receiver<Answer>> {
    let known = inner.upgrade()?;
    let (done, answer) = oneshot::channel();
    let request = Request {
        packed: redis::cmd("PING").get_packed_command(),
        waiting: Waiting {
            room: Room::new(&known.bounds),
            left: 1,
            got: Vec::new(),
            done,
        },
    };
    // A full queue is a sign of trouble too, and the answer stays away.
    let _ = known.requests.try_send(request);
    Some(answer)
}
