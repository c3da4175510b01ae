//! What callers' commands go over: one connection, or one to each primary of a cluster.

use std::time::{Duration, Instant};

use redis::{Cmd, Pipeline, Value};

use super::blocking::{Place, Whereto};
use super::cluster::Cluster;
use super::dial::Dial;
use super::line::{Answer, Bounds, Got, Line};
use super::settings::{ConnectError, Places, RedisSettings, Topology};
use super::{not_answered, unavailable};
use crate::execute::Error;
use crate::memory::Part;
use crate::wire::redis_json;

/// A command's words, byte for byte.
pub type Words = Vec<Vec<u8>>;

/// The replies to a request, and what they hold of the memory for all until they are dropped.
pub type Replied = (Vec<Got>, Vec<Part>);

/// Cheap to clone.
#[derive(Clone)]
pub enum Lines {
    One(Line, Dial),
    Many(Cluster),
}

impl Lines {
    /// Starts connecting in the background; Redis may come later. Must be called inside a Tokio runtime.
    pub(super) fn open(
        settings: &RedisSettings,
        places: &Places,
        bounds: Bounds,
    ) -> Result<Self, ConnectError> {
        let dial = Dial::of(settings, places)?;
        Ok(match places.topology {
            Topology::Single | Topology::Sentinel { .. } => {
                Self::One(Line::open(dial.clone(), bounds), dial)
            }
            Topology::Cluster => {
                let seeds = places.infos.iter().map(|info| dial.at(info.addr().clone()));
                Self::Many(Cluster::open(seeds.collect(), dial, bounds))
            }
        })
    }

    /// Whether commands are answered, as far as is known.
    pub fn is_up(&self) -> bool {
        match self {
            Self::One(line, _) => line.is_up(),
            Self::Many(cluster) => cluster.is_up(),
        }
    }

    /// Refuses commands until the connections have shown that they live.
    pub fn suspect(&self) {
        match self {
            Self::One(line, _) => line.suspect(),
            Self::Many(cluster) => cluster.suspect(),
        }
    }

    /// Whether Redis serves, every part of a cluster.
    pub async fn ping(&self, timeout_ms: u64) -> Result<(), Error> {
        match self {
            Self::One(line, _) => ping(line, timeout_ms).await,
            Self::Many(cluster) => cluster.ping(timeout_ms).await,
        }
    }

    /// Commands each on its own, a reply for each. Dropping the future does not take back what has been written.
    pub async fn each(&self, commands: &[Words], timeout_ms: u64) -> Result<Replied, Error> {
        match self {
            Self::One(line, dial) => {
                let packed = match commands {
                    [command] => encode(command).get_packed_command(),
                    commands => pipeline(commands).get_packed_pipeline(),
                };
                let sent = line.send(packed, commands.len(), timeout_ms).await;
                one(line, dial, sent, timeout_ms)
            }
            Self::Many(cluster) => cluster.each(commands, timeout_ms).await,
        }
    }

    /// Commands between `MULTI` and `EXEC`: a reply to each of these two, and one to each command.
    pub async fn atomic(&self, commands: &[Words], timeout_ms: u64) -> Result<Replied, Error> {
        match self {
            Self::One(line, dial) => {
                let packed = pipeline(commands).atomic().get_packed_pipeline();
                let sent = line.send(packed, commands.len() + 2, timeout_ms).await;
                one(line, dial, sent, timeout_ms)
            }
            Self::Many(cluster) => cluster.atomic(commands, timeout_ms).await,
        }
    }

    /// A command that waits, on a connection of its own.
    pub async fn waiting(
        &self,
        place: &Place<'_>,
        command: &Words,
        timeout_ms: u64,
    ) -> Result<Replied, Error> {
        match self {
            Self::One(line, dial) => {
                let nowhere_else = (&Whereto::from(""), dial);
                let sent = place
                    .command(nowhere_else, &encode(command), timeout_ms)
                    .await;
                one(line, dial, sent, timeout_ms)
            }
            Self::Many(cluster) => cluster.waiting(place, command, timeout_ms).await,
        }
    }
}

/// The replies of the one server. One that has become a replica is left for the primary.
pub(super) fn one(
    line: &Line,
    dial: &Dial,
    sent: Result<Answer, super::link::Away>,
    timeout_ms: u64,
) -> Result<Replied, Error> {
    let (got, part) = sent.map_err(|away| not_answered(&away, timeout_ms))?;
    if dial.follows() && got.iter().any(Got::is_of_the_wrong_server) {
        line.renew();
        return Err(unavailable("the server is not the primary any more".into()));
    }
    Ok((got, vec![part]))
}

pub(super) async fn ping(line: &Line, timeout_ms: u64) -> Result<(), Error> {
    line.tried().await;
    let ping = redis::cmd("PING").get_packed_command();
    let answer = line.send(ping, 1, timeout_ms).await;
    let (got, _) = answer.map_err(|away| not_answered(&away, timeout_ms))?;
    if let Some(Got::Value(Value::ServerError(error))) = got.first() {
        return Err(unavailable(redis_json::error_text(error)));
    }
    Ok(())
}

/// When a request must have ended, redirects included.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(timeout_ms: u64) -> Self {
        Self(Instant::now() + Duration::from_millis(timeout_ms))
    }

    pub(super) fn left_ms(self) -> u64 {
        let left = self.0.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// The caller's words, byte for byte.
pub(super) fn encode(words: &[Vec<u8>]) -> Cmd {
    let bytes = words.iter().map(Vec::len).sum();
    let mut command = Cmd::with_capacity(words.len(), bytes);
    for word in words {
        command.arg(word.as_slice());
    }
    command
}

pub(super) fn pipeline(commands: &[Words]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for words in commands {
        pipeline.add_command(encode(words));
    }
    pipeline
}
