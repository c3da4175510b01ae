//! Connections for commands that wait: each command has one to itself, and there are few.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::link::{Away, CONNECT_MS_MAX};

/// Commands that may wait at once; one more is refused.
pub const BLOCKING_CONNECTIONS_MAX: usize = 4;

pub struct Blocking {
    client: Client,
    places: Semaphore,
    /// Connections that have answered their last command and are free.
    idle: Mutex<Vec<MultiplexedConnection>>,
}

impl Blocking {
    pub fn new(client: Client) -> Self {
        Self {
            client,
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
    pub async fn command(&self, command: &Cmd, timeout_ms: u64) -> Option<Result<Value, Away>> {
        let _place = self.places.try_acquire().ok()?;
        Some(self.on_a_connection(command, timeout_ms).await)
    }

    async fn on_a_connection(&self, command: &Cmd, timeout_ms: u64) -> Result<Value, Away> {
        let deadline = Duration::from_millis(timeout_ms);
        if let Some(mut connection) = self.take() {
            // One that was idle may have been closed by the server, which a quick question tells before the command
            // is sent.
            let ping = redis::cmd("PING");
            let alive = timeout(deadline, connection.req_packed_command(&ping)).await;
            if matches!(alive, Ok(Ok(_))) {
                return self.send(connection, command, deadline).await;
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)))
            .set_response_timeout(None);
        let opened = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let connection = opened.map_err(|error| {
            tracing::debug!(%error, "no connection for a blocking command");
            Away::NotConnected
        })?;
        self.send(connection, command, deadline).await
    }

    async fn send(
        &self,
        mut connection: MultiplexedConnection,
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Value, Away> {
        let reply = timeout(deadline, connection.req_packed_command(command)).await;
        match reply {
            Ok(Ok(value)) => {
                self.idle
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(connection);
                Ok(value)
            }
            Ok(Err(error)) => Err(Away::Lost(error)),
            Err(_) => Err(Away::Slow),
        }
    }

    fn take(&self) -> Option<MultiplexedConnection> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }
}
