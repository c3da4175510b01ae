//! Redis: commands in, one value or error for each out.
//!
//! All callers share one multiplexed connection, on which replies come in the order of the commands. What is sent is
//! what was classified, argument by argument, byte for byte.

mod blocking;
mod command;
mod dial;
mod line;
pub mod link;
mod replies;

#[cfg(test)]
mod server_tests;

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use blocking::BLOCKING_CONNECTIONS_MAX;
pub use command::{BLOCK_MS_MAX, PIPELINE_COMMANDS_MAX};
pub use link::{ConnectError, RedisSettings};

use crate::execute::Error;
use crate::limit::Ticket;
use crate::operation::{Payload, Store};
use crate::wire::redis_json;
use blocking::Blocking;
use command::Kind;
use dial::Dial;
use line::{Bounds, Got, Line};
use link::Away;

/// How much longer than its own wait a blocking command may take.
const BLOCK_GRACE_MS: u64 = 1_000;

/// What one command came to.
#[derive(Debug, Clone, PartialEq)]
pub enum RedisReply {
    Value(Value),
    /// The server's error in its own words.
    Error(String),
}

impl RedisReply {
    fn of(value: Value) -> Self {
        if let Value::ServerError(error) = value {
            Self::Error(redis_json::error_text(&error))
        } else {
            Self::Value(value)
        }
    }

    fn of_got(got: Got) -> Self {
        match got {
            Got::Value(value) => Self::of(value),
            Got::TooLarge => Self::Error(too_large()),
        }
    }
}

/// What the caller of a command is told whose reply was not kept.
fn too_large() -> String {
    format!(
        "the command ran, but its reply, with those before it, is larger than the {} MiB of one request or what all \
         callers' replies may hold: ask for part of it (GETRANGE, LRANGE, HSCAN)",
        line::REPLIES_BYTES_MAX >> 20
    )
}

/// The connections, as the metrics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// Whether the shared connection is up.
    pub up: bool,
    pub requests_in_flight: usize,
    pub blocking_in_use: usize,
}

/// The Redis executor. Cheap to clone.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    line: Line,
    blocking: Blocking,
    in_flight: Semaphore,
    in_flight_max: usize,
    command_timeout_ms: u64,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("up", &self.0.line.is_up())
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Checks the settings and starts connecting in the background; Redis may come later. Must be called inside a
    /// Tokio runtime.
    pub fn connect(settings: &RedisSettings) -> Result<Self, ConnectError> {
        Self::bounded(settings, Bounds::default())
    }

    fn bounded(settings: &RedisSettings, bounds: Bounds) -> Result<Self, ConnectError> {
        let dial = Dial::new(settings)?;
        Ok(Self(Arc::new(Inner {
            line: Line::open(dial.clone(), bounds.clone()),
            blocking: Blocking::new(dial, bounds),
            in_flight: Semaphore::new(settings.in_flight_max),
            in_flight_max: settings.in_flight_max,
            command_timeout_ms: settings.command_timeout_ms,
        })))
    }

    pub fn gauges(&self) -> Gauges {
        let free = self.0.in_flight.available_permits();
        Gauges {
            up: self.0.line.is_up(),
            requests_in_flight: self.0.in_flight_max.saturating_sub(free),
            blocking_in_use: self.0.blocking.in_use(),
        }
    }

    /// Asks the server whether it serves. May be cancelled.
    pub async fn ping(&self) -> Result<(), Error> {
        let timeout_ms = self.0.command_timeout_ms;
        let ping = redis::cmd("PING").get_packed_command();
        let answer = self.0.line.send(ping, 1, timeout_ms).await;
        let (got, _) = answer.map_err(|away| not_answered(&away, timeout_ms))?;
        if let Some(Got::Value(Value::ServerError(error))) = got.first() {
            return Err(unavailable(redis_json::error_text(error)));
        }
        Ok(())
    }

    /// Runs the ticket's commands and returns a reply for each, in their order.
    ///
    /// `timeout_ms` may lower the store's limit, not raise it. Cancelling does not take back a command that has been
    /// written, and neither does a time-out.
    pub async fn execute(
        &self,
        ticket: Ticket,
        timeout_ms: Option<u64>,
    ) -> Result<Vec<RedisReply>, Error> {
        let Payload::Redis { commands, atomic } = &ticket.permit().operation().payload else {
            return Err(Error::Invalid("these are not Redis commands".into()));
        };
        if commands.len() > PIPELINE_COMMANDS_MAX {
            return Err(Error::Invalid(format!(
                "the pipeline has more than {PIPELINE_COMMANDS_MAX} commands: send several"
            )));
        }
        let limit_ms = self.0.command_timeout_ms;
        let timeout_ms = timeout_ms.map_or(limit_ms, |asked| asked.clamp(1, limit_ms));
        let _slot = self.slot()?;
        match (commands.as_slice(), *atomic) {
            ([], _) => Ok(Vec::new()),
            ([command], false) => Ok(vec![self.single(command, timeout_ms).await?]),
            (commands, false) => self.pipeline(commands, timeout_ms).await,
            (commands, true) => self.transaction(commands, timeout_ms).await,
        }
    }

    fn slot(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.0
            .in_flight
            .try_acquire()
            .map_err(|_| Error::PoolExhausted {
                store: Store::Redis,
                waited_ms: 0,
            })
    }

    async fn single(&self, words: &[Vec<u8>], timeout_ms: u64) -> Result<RedisReply, Error> {
        let command = encode(words);
        let reply = match command::kind(words)? {
            Kind::Plain => {
                let packed = command.get_packed_command();
                self.0.line.send(packed, 1, timeout_ms).await
            }
            Kind::Blocking { wait_ms } => {
                let timeout_ms = wait_ms + BLOCK_GRACE_MS;
                let Some(reply) = self.0.blocking.command(&command, timeout_ms).await else {
                    return Err(Error::PoolExhausted {
                        store: Store::Redis,
                        waited_ms: 0,
                    });
                };
                reply
            }
        };
        let (got, _part) = reply.map_err(|away| not_answered(&away, timeout_ms))?;
        serving(got.first())?;
        match got.into_iter().next() {
            Some(Got::Value(value)) => Ok(RedisReply::of(value)),
            Some(Got::TooLarge) | None => Err(Error::Invalid(too_large())),
        }
    }

    async fn pipeline(
        &self,
        commands: &[Vec<Vec<u8>>],
        timeout_ms: u64,
    ) -> Result<Vec<RedisReply>, Error> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for words in commands {
            if let Kind::Blocking { .. } = command::kind(words)? {
                return Err(Error::Invalid(
                    "a command that waits cannot stand in a pipeline: send it alone".into(),
                ));
            }
            pipeline.add_command(encode(words));
        }
        let packed = pipeline.get_packed_pipeline();
        let answer = self.0.line.send(packed, commands.len(), timeout_ms).await;
        let (got, _part) = answer.map_err(|away| not_answered(&away, timeout_ms))?;
        serving(got.first())?;
        Ok(got.into_iter().map(RedisReply::of_got).collect())
    }

    /// `MULTI` … `EXEC`. Where one command cannot even be queued, none runs; where one fails while running, the
    /// others stand, as Redis has it. Commands that wait do not wait here.
    async fn transaction(
        &self,
        commands: &[Vec<Vec<u8>>],
        timeout_ms: u64,
    ) -> Result<Vec<RedisReply>, Error> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.atomic();
        for words in commands {
            command::queueable(words)?;
            pipeline.add_command(encode(words));
        }
        let packed = pipeline.get_packed_pipeline();
        // A reply to `MULTI`, one to each command that says it is queued, and one to `EXEC` with all results.
        let count = commands.len() + 2;
        let answer = self.0.line.send(packed, count, timeout_ms).await;
        let (mut got, _part) = answer.map_err(|away| not_answered(&away, timeout_ms))?;
        serving(got.first())?;
        match got.pop() {
            Some(Got::Value(Value::Array(values))) => {
                Ok(values.into_iter().map(RedisReply::of).collect())
            }
            Some(Got::Value(Value::ServerError(error))) => Err(aborted(&got, &error)),
            Some(Got::TooLarge) => Err(Error::Invalid(too_large())),
            Some(Got::Value(_)) | None => Err(refused("the transaction was aborted".into())),
        }
    }
}

/// The caller's words, byte for byte.
fn encode(words: &[Vec<u8>]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(word.as_slice());
    }
    command
}

/// A server that is loading its data, or has lost its primary, is away for every caller.
fn serving(got: Option<&Got>) -> Result<(), Error> {
    if let Some(Got::Value(Value::ServerError(error))) = got
        && matches!(error.code(), "LOADING" | "MASTERDOWN" | "CLUSTERDOWN")
    {
        return Err(unavailable(redis_json::error_text(error)));
    }
    Ok(())
}

fn unavailable(cause: String) -> Error {
    Error::Unavailable {
        store: Store::Redis,
        cause,
    }
}

fn refused(message: String) -> Error {
    Error::Server {
        store: Store::Redis,
        sqlstate: None,
        errno: None,
        message,
        conflict: false,
    }
}

fn not_answered(away: &Away, timeout_ms: u64) -> Error {
    match away {
        Away::NotConnected => Error::Unreached {
            store: Store::Redis,
            cause: away.to_string(),
        },
        Away::Lost(_) => unavailable(away.to_string()),
        Away::Slow => Error::Timeout {
            store: Store::Redis,
            timeout_ms,
        },
    }
}

/// A transaction whose commands the server would not queue. `queued` begins with the reply to `MULTI`.
fn aborted(queued: &[Got], error: &redis::ServerError) -> Error {
    let cause = queued
        .iter()
        .enumerate()
        .find_map(|(place, got)| match got {
            Got::Value(Value::ServerError(error)) => Some((place, error)),
            Got::Value(_) | Got::TooLarge => None,
        });
    refused(match cause {
        Some((place, cause)) => format!(
            "nothing was run, since command {place} was refused: {}",
            redis_json::error_text(cause)
        ),
        None => redis_json::error_text(error),
    })
}
