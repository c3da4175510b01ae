//! The rate limiter's connection: it reconnects by itself, says at once when it is away, and follows Sentinels and
//! clusters as callers' commands do. The limiter's scripts come from the driver, so that this is a connection to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};

use super::line::{Bounds, Got};
use super::lines::{self, Lines, Replied, Words};
use super::settings::Places;
pub use super::settings::{ConnectError, RedisSettings};
use crate::execute::Error;

/// How long opening the connection may take, TLS and authentication included.
pub const CONNECT_MS_MAX: u64 = 2_000;
/// How long a command waits for a connection that has just gone; later ones are refused at once.
pub const RECONNECT_WAIT_MS_MAX: u64 = 500;
/// Bounds of the pause between attempts to reconnect, before jitter.
pub(super) const RECONNECT_PAUSE_MS_MIN: u64 = 20;
pub(super) const RECONNECT_PAUSE_MS_MAX: u64 = 1_000;
/// How long a connection that is suspected may take to answer `PING`.
pub(super) const PROBE_MS_MAX: u64 = 1_000;
/// The limiter's connection is looked at so often although nobody has waited in vain, and how long an answer may take then
/// before Redis counts as away: together well below half a second.
pub(super) const UNASKED_PAUSE_MS: u64 = 200;
pub(super) const UNASKED_MS_MAX: u64 = 200;
/// The pause after an answer that came too late to be of use.
pub(super) const PROBE_PAUSE_MS: u64 = 50;
/// A command that waited so long in vain has it looked at whether the connection still lives.
pub(super) const SUSPECT_MS_MIN: u64 = 500;
/// How long the kernel keeps data that nobody acknowledges, before it gives the connection up.
pub(super) const UNACKNOWLEDGED_MS_MAX: u64 = 10_000;
/// Commands that may wait inside the driver to be written.
pub(super) const WRITE_QUEUE_MAX: usize = 1_024;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// It was not sent. Why there is no connection, once that is known.
    #[error("{}", .0.as_deref().unwrap_or("not connected yet"))]
    NotConnected(Option<Arc<str>>),
    /// It may have been carried out.
    #[error("connection lost: {0}")]
    Lost(RedisError),
    /// It may still be carried out.
    #[error("no reply in time")]
    Slow,
}

/// The connection. Cheap to clone.
#[derive(Clone)]
pub struct Link(Lines);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Starts connecting in the background; Redis may come later. Must be called inside a Tokio runtime.
    ///
    /// A probe that is answered later than `answers_within` finds Redis too slow to be of use.
    pub fn open(settings: &RedisSettings, answers_within: Duration) -> Result<Self, ConnectError> {
        let bounds = Bounds {
            answers_within,
            ..Bounds::default()
        };
        Lines::open(settings, &Places::read(settings)?, bounds).map(Self)
    }

    /// Whether commands are answered, as far as is known.
    pub fn is_up(&self) -> bool {
        self.0.is_up()
    }

    /// Whether the keys of one script must have a slot in common.
    pub fn is_cluster(&self) -> bool {
        match self.0 {
            Lines::One(..) => false,
            Lines::Many(_) => true,
        }
    }

    /// For the driver's scripts, and a caller with a deadline of its own who has asked [`Self::is_up`].
    pub fn manager(&self) -> Conversation {
        Conversation(self.0.clone())
    }

    /// Reports that a caller's own deadline has passed or its connection failed: commands are refused until the
    /// server has answered, or there is a new connection.
    pub fn suspect(&self) {
        self.0.suspect();
    }
}

/// What the driver's commands and scripts are sent through.
#[derive(Clone)]
pub struct Conversation(Lines);

impl ConnectionLike for Conversation {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let asked = match &self.0 {
                // As it is packed already, without taking it apart.
                Lines::One(line, dial) => {
                    let packed = command.get_packed_command();
                    let sent = line.send(packed, 1, SUSPECT_MS_MIN).await;
                    lines::one(line, dial, sent, SUSPECT_MS_MIN)
                }
                Lines::Many(cluster) => cluster.each(&[words(command)], SUSPECT_MS_MIN).await,
            };
            let value = values(asked)?.into_iter().next().unwrap_or(Value::Nil);
            value.extract_error()
        })
    }

    /// Each command on its own, whatever the pipeline says: nobody here needs more.
    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let commands: Vec<_> = pipeline.cmd_iter().map(words).collect();
            let asked = self.0.each(&commands, SUSPECT_MS_MIN).await;
            Ok(values(asked)?
                .into_iter()
                .skip(offset)
                .take(count)
                .collect())
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn values(asked: Result<Replied, Error>) -> RedisResult<Vec<Value>> {
    let (got, _parts) = asked.map_err(|error| io::Error::other(error.to_string()))?;
    let value = |got| match got {
        Got::Value(value) => Ok(value),
        Got::TooLarge => Err(io::Error::other("the reply is too large").into()),
    };
    got.into_iter().map(value).collect()
}

fn words(command: &Cmd) -> Words {
    let word = |argument: Arg<&[u8]>| {
        if let Arg::Simple(bytes) = argument {
            bytes.to_vec()
        } else {
            // The driver's placeholder for a cursor, which begins at 0.
            b"0".to_vec()
        }
    };
    command.args_iter().map(word).collect()
}
