//! Connections for commands that wait: each command has one to itself, and there are few.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::Cmd;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::dial::{Connection, Dial};
use super::line::{Answer, Bounds, Got, Room};
use super::link::Away;

/// Commands that may wait at once; one more is refused.
pub const BLOCKING_CONNECTIONS_MAX: usize = 4;

pub struct Blocking {
    dial: Dial,
    bounds: Bounds,
    places: Semaphore,
    /// Connections that have answered their last command and are free.
    idle: Mutex<Vec<Connection>>,
}

impl Blocking {
    pub fn new(dial: Dial, bounds: Bounds) -> Self {
        Self {
            dial,
            bounds,
            places: Semaphore::new(BLOCKING_CONNECTIONS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// How many connections are in use.
    pub fn in_use(&self) -> usize {
        BLOCKING_CONNECTIONS_MAX.saturating_sub(self.places.available_permits())
    }

    /// Runs one command on a connection of its own; `None` where all are in use. When the future is dropped its
    /// connection is closed, and the server stops waiting; an element it had already taken is lost with it.
    pub async fn command(&self, command: &Cmd, timeout_ms: u64) -> Option<Result<Answer, Away>> {
        let _place = self.places.try_acquire().ok()?;
        Some(self.on_a_connection(command, timeout_ms).await)
    }

    async fn on_a_connection(&self, command: &Cmd, timeout_ms: u64) -> Result<Answer, Away> {
        let deadline = Duration::from_millis(timeout_ms);
        if let Some(mut connection) = self.take() {
            // One that was idle may have been closed by the server, which a quick question tells before the command
            // is sent.
            let ping = redis::cmd("PING");
            let alive = timeout(deadline, connection.ask(&ping)).await;
            if matches!(alive, Ok(Ok(_))) {
                return self.send(connection, command, deadline).await;
            }
        }
        let connection = self.dial.connect().await.map_err(|error| {
            tracing::debug!(%error, "no connection for a blocking command");
            Away::NotConnected
        })?;
        self.send(connection, command, deadline).await
    }

    async fn send(
        &self,
        mut connection: Connection,
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Answer, Away> {
        let mut room = Room::new(&self.bounds);
        let asking = async {
            connection.send(&command.get_packed_command()).await?;
            connection.receive(|bytes| room.has(bytes)).await
        };
        let reply: Result<io::Result<_>, _> = timeout(deadline, asking).await;
        match reply {
            Ok(Ok(value)) => {
                self.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(connection);
                let got = value.map_or(Got::TooLarge, Got::Value);
                Ok((vec![got], room.into_part()))
            }
            Ok(Err(error)) => Err(Away::Lost(error.into())),
            Err(_) => Err(Away::Slow),
        }
    }

    fn take(&self) -> Option<Connection> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }
}
