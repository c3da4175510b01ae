//! Connections for commands that wait: each command has one to itself, and there are few.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Cmd;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::dial::{Connection, Dial};
use super::line::{Answer, Bounds, Got, Room};
use super::link::Away;
use super::settings::BlockingSettings;
use crate::lock::Unpoisoned as _;

/// Which server a connection leads to; empty where there is but one.
pub type Whereto = Arc<str>;

pub struct Blocking {
    bounds: Bounds,
    settings: BlockingSettings,
    places: Semaphore,
    /// How many places each key has; none is not kept.
    keys: Mutex<HashMap<Arc<str>, usize>>,
    /// Connections that have answered their last command and are free. No more than there are places.
    idle: Mutex<Vec<(Whereto, Connection)>>,
}

/// A place among the commands that wait; given back when dropped.
pub struct Place<'b> {
    blocking: &'b Blocking,
    key: Arc<str>,
    _place: SemaphorePermit<'b>,
}

impl Blocking {
    pub fn new(settings: BlockingSettings, bounds: Bounds) -> Self {
        Self {
            bounds,
            places: Semaphore::new(settings.max),
            settings,
            keys: Mutex::default(),
            idle: Mutex::default(),
        }
    }

    /// How many connections are in use.
    pub fn in_use(&self) -> usize {
        self.settings
            .max
            .saturating_sub(self.places.available_permits())
    }

    pub fn max(&self) -> usize {
        self.settings.max
    }

    /// A place for a command of this key; `None` where all are taken, or as many by the key as one may have.
    pub fn place(&self, key_id: &str) -> Option<Place<'_>> {
        let place = self.places.try_acquire().ok()?;
        let mut keys = self.keys.lock().unpoisoned();
        let taken = keys.get(key_id).copied().unwrap_or(0);
        if taken >= self.settings.per_key_max {
            return None;
        }
        let key: Arc<str> = key_id.into();
        keys.insert(Arc::clone(&key), taken + 1);
        Some(Place {
            blocking: self,
            key,
            _place: place,
        })
    }
}

impl Place<'_> {
    /// Runs one command on a connection of its own. When the future is dropped the connection is closed, and the server
    /// stops waiting; an element it had already taken is lost with it.
    pub async fn command(
        &self,
        (whereto, dial): (&Whereto, &Dial),
        command: &Cmd,
        timeout_ms: u64,
    ) -> Result<Answer, Away> {
        let deadline = Duration::from_millis(timeout_ms);
        if let Some(mut connection) = self.take(whereto) {
            // One that was idle may have been closed by the server, which a quick question tells before the command
            // is sent.
            let ping = redis::cmd("PING");
            let alive = timeout(deadline, connection.ask(&ping)).await;
            if matches!(alive, Ok(Ok(_))) {
                return self.send(whereto, connection, command, deadline).await;
            }
        }
        let connected = dial.connect().await;
        let connection =
            connected.map_err(|error| Away::NotConnected(Some(error.to_string().into())))?;
        self.send(whereto, connection, command, deadline).await
    }

    async fn send(
        &self,
        whereto: &Whereto,
        mut connection: Connection,
        command: &Cmd,
        deadline: Duration,
    ) -> Result<Answer, Away> {
        let mut room = Room::new(&self.blocking.bounds);
        let asking = async {
            connection.send(&command.get_packed_command()).await?;
            connection.receive(|bytes| room.has(bytes)).await
        };
        let reply: Result<io::Result<_>, _> = timeout(deadline, asking).await;
        match reply {
            Ok(Ok(value)) => {
                let got = value.map_or(Got::TooLarge, Got::Value);
                // What a server says that is not the one to ask any more is not asked of it again.
                if !got.is_of_the_wrong_server() {
                    self.give_back(whereto, connection);
                }
                Ok((vec![got], room.into_part()))
            }
            Ok(Err(error)) => Err(Away::Lost(error.into())),
            Err(_) => Err(Away::Slow),
        }
    }

    fn take(&self, whereto: &Whereto) -> Option<Connection> {
        let mut idle = self.blocking.idle.lock().unpoisoned();
        let index = idle.iter().rposition(|(other, _)| other == whereto);
        if index.is_none() && idle.len() + self.blocking.in_use() > self.blocking.max() {
            // One that leads elsewhere makes room for the new one.
            idle.pop();
        }
        Some(idle.swap_remove(index?).1)
    }

    fn give_back(&self, whereto: &Whereto, connection: Connection) {
        self.blocking
            .idle
            .lock()
            .unpoisoned()
            .push((Arc::clone(whereto), connection));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut keys = self.blocking.keys.lock().unpoisoned();
        if let Some(taken) = keys.get_mut(&self.key) {
            *taken -= 1;
            if *taken == 0 {
                keys.remove(&self.key);
            }
        }
    }
}
