//! Redis: commands in, one value or error for each out.
//!
//! All callers share one multiplexed connection (in a cluster, one to each primary), on which replies come in the order of the commands. What is sent is
//! what was classified, argument by argument, byte for byte.

mod blocking;
mod cluster;
mod command;
mod dial;
mod line;
mod lines;
pub mod link;
mod replies;
mod sentinel;
mod settings;
mod slots;

#[cfg(test)]
mod many_server_tests;
#[cfg(test)]
mod reach_server_tests;
#[cfg(test)]
mod server_tests;

use std::sync::Arc;

use redis::Value;

pub use command::{BLOCK_MS_MAX, PIPELINE_COMMANDS_MAX};
pub use settings::{
    BlockingSettings, ConnectError, RedisSettings, SentinelLogin, addresses, driver,
};

use crate::execute::Error;
use crate::execute::pool::{Slot, Turns};
use crate::limit::Ticket;
use crate::operation::{Payload, Store};
use crate::wire::redis_json;
use blocking::Blocking;
use command::Kind;
use line::{Bounds, Got};
use lines::{Lines, Words};
use link::Away;
use settings::Places;

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
    /// Requests that wait until others have their replies.
    pub requests_waiting: usize,
    /// How many had to, since the start, and how long altogether, in microseconds.
    pub waits_total: u64,
    pub waited_us_total: u64,
    pub blocking_in_use: usize,
    pub blocking_max: usize,
}

/// The Redis executor. Cheap to clone.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    lines: Lines,
    blocking: Blocking,
    /// As many as may wait for a reply; as many again may wait for that.
    in_flight: Arc<Turns>,
    in_flight_max: usize,
    command_timeout_ms: u64,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore")
            .field("up", &self.0.lines.is_up())
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
        let places = Places::read(settings)?;
        Ok(Self(Arc::new(Inner {
            lines: Lines::open(settings, &places, bounds.clone())?,
            blocking: Blocking::new(settings.blocking, bounds),
            in_flight: Turns::new(
                settings.in_flight_max,
                settings.in_flight_max,
                settings.command_timeout_ms,
            ),
            in_flight_max: settings.in_flight_max,
            command_timeout_ms: settings.command_timeout_ms,
        })))
    }

    pub fn gauges(&self) -> Gauges {
        let waiting = self.0.in_flight.lines();
        Gauges {
            up: self.0.lines.is_up(),
            requests_in_flight: self.0.in_flight_max.saturating_sub(waiting.free),
            requests_waiting: waiting.waiting,
            waits_total: waiting.waits_total,
            waited_us_total: waiting.waited_us_total,
            blocking_in_use: self.0.blocking.in_use(),
            blocking_max: self.0.blocking.max(),
        }
    }

    /// Asks the server whether it serves. May be cancelled.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.lines.ping(self.0.command_timeout_ms).await
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
        let key_id = &ticket.permit().caller().key_id;
        match (commands.as_slice(), *atomic) {
            ([], _) => Ok(Vec::new()),
            ([command], false) => Ok(vec![self.single(key_id, command, timeout_ms).await?]),
            (commands, false) => {
                let _slot = self.slot(key_id).await?;
                self.pipeline(commands, timeout_ms).await
            }
            (commands, true) => {
                let _slot = self.slot(key_id).await?;
                self.transaction(commands, timeout_ms).await
            }
        }
    }

    /// A place among the requests that are under way, in the key's turn.
    async fn slot(&self, key_id: &str) -> Result<Slot, Error> {
        let slot = self.0.in_flight.take(key_id).await;
        slot.map_err(|exhausted| Error::PoolExhausted {
            store: Store::Redis,
            waited_ms: exhausted.waited_ms,
        })
    }

    async fn single(
        &self,
        key_id: &str,
        words: &Words,
        timeout_ms: u64,
    ) -> Result<RedisReply, Error> {
        let (got, _parts) = match command::kind(words)? {
            Kind::Plain => {
                let _slot = self.slot(key_id).await?;
                let commands = std::slice::from_ref(words);
                self.0.lines.each(commands, timeout_ms).await?
            }
            Kind::Blocking { wait_ms } => {
                let exhausted = Error::PoolExhausted {
                    store: Store::Redis,
                    waited_ms: 0,
                };
                let place = self.0.blocking.place(key_id).ok_or(exhausted)?;
                let timeout_ms = wait_ms + BLOCK_GRACE_MS;
                Box::pin(self.0.lines.waiting(&place, words, timeout_ms)).await?
            }
        };
        serving(got.first())?;
        match got.into_iter().next() {
            Some(Got::Value(value)) => Ok(RedisReply::of(value)),
            Some(Got::TooLarge) | None => Err(Error::Invalid(too_large())),
        }
    }

    async fn pipeline(
        &self,
        commands: &[Words],
        timeout_ms: u64,
    ) -> Result<Vec<RedisReply>, Error> {
        for words in commands {
            if let Kind::Blocking { .. } = command::kind(words)? {
                return Err(Error::Invalid(
                    "a command that waits cannot stand in a pipeline: send it alone".into(),
                ));
            }
        }
        let (got, _parts) = self.0.lines.each(commands, timeout_ms).await?;
        serving(got.first())?;
        Ok(got.into_iter().map(RedisReply::of_got).collect())
    }

    /// `MULTI` … `EXEC`. Where one command cannot even be queued, none runs; where one fails while running, the
    /// others stand, as Redis has it. Commands that wait do not wait here.
    async fn transaction(
        &self,
        commands: &[Words],
        timeout_ms: u64,
    ) -> Result<Vec<RedisReply>, Error> {
        for words in commands {
            command::queueable(words)?;
        }
        // A reply to `MULTI`, one to each command that says it is queued, and one to `EXEC` with all results.
        let (mut got, _parts) = self.0.lines.atomic(commands, timeout_ms).await?;
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

/// Nothing was sent.
fn unreached(cause: String) -> Error {
    Error::Unreached {
        store: Store::Redis,
        cause,
    }
}

/// A command that was not sent says nothing of the request's others, which another node may have run.
fn in_part(error: Error, begun: bool) -> Error {
    match error {
        Error::Unreached { cause, .. } if begun => unavailable(cause),
        error @ (Error::Parameter { .. }
        | Error::Server { .. }
        | Error::Unavailable { .. }
        | Error::Unreached { .. }
        | Error::PoolExhausted { .. }
        | Error::Timeout { .. }
        | Error::Sink(_)
        | Error::Transaction(_)
        | Error::Invalid(_)) => error,
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
        Away::NotConnected(_) => unreached(away.to_string()),
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
