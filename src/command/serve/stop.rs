//! How the sidecar takes over from another one, and how it ends: it says so first, then lets what is under way finish,
//! and loses nothing of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::accept::phase::Phases;
use crate::accept::{Bound, Listener, Phase};
use crate::config::Server;
use crate::gate::Gate;
use crate::system::System;

/// How long a sidecar on a shared port waits to be ready before it takes connections.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// How often it looks whether it is.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Listens on a shared port once the sidecar is ready, or has waited long enough for a database that may be away.
/// `None` if it is to end before that.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn listen_in_turn(
    bound: Bound,
    gate: &Gate,
    system: &System,
    mut phases: Phases,
) -> std::io::Result<Option<Listener>> {
    let ready = async {
        while !gate.health.has_reached_all() || system.client().await.is_err() {
            tokio::time::sleep(READY_POLL_INTERVAL).await;
        }
    };
    let waited = tokio::select! {
        waited = tokio::time::timeout(READY_TIMEOUT, ready) => waited,
        _ = phases.wait_for(|phase| *phase >= Phase::Leaving) => return Ok(None),
    };
    if waited.is_err() {
        tracing::warn!("not ready yet, and taking its part of the shared port all the same");
    }
    let listener = bound.listen()?;
    gate.health.set_deaf(false);
    Ok(Some(listener))
}

/// The data listener, as it serves.
pub struct Serving {
    pub phase: watch::Sender<Phase>,
    pub task: JoinHandle<std::io::Result<bool>>,
}

impl Serving {
    /// Ends the service of callers. Returns whether everything under way finished within the grace period.
    ///
    /// 1. `readyz` fails, and each client is told to come back on another connection, while everything is still done:
    ///    whoever distributes requests has `drain_delay_ms` to learn where to send them.
    /// 2. On a shared port the listener closes, without a loss, since another sidecar takes what comes; what is asked on
    ///    connections that are open is done. On a port of its own it stays open, so that new work is answered with 503
    ///    `draining` rather than by silence.
    /// 3. What is under way has the rest of the grace period. Then transactions are rolled back and connections cut.
    pub async fn drain(
        mut self,
        gate: &Arc<Gate>,
        server: &Server,
    ) -> Result<bool, super::Failure> {
        let (delay_ms, grace_ms) = (server.drain_delay_ms, server.drain_grace_ms);
        tracing::info!(delay_ms, grace_ms, "draining");
        gate.health.announce_end();
        self.phase.send_replace(Phase::Leaving);
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        let end = Instant::now() + Duration::from_millis(grace_ms);
        let mut ended = None;
        if server.reuse_port {
            self.phase.send_replace(Phase::Closing);
            ended = timeout_at(end, &mut self.task).await.ok();
            // Nobody can reach them any more.
            gate.stores.roll_back_all().await;
        }
        let finished = timeout_at(end, gate.drain()).await.is_ok();
        gate.stores.roll_back_all().await;
        self.phase.send_replace(Phase::Stopped);
        match ended {
            Some(ended) => ended??,
            None => self.task.await??,
        };
        Ok(finished)
    }
}
