//! How the sidecar takes over from another one, and how it ends: it says so first, then lets what is under way finish,
//! and loses nothing of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};

use super::Failure;
use crate::accept::phase::Phases;
use crate::accept::{Bound, Listener, Phase};
use crate::config::{Config, Server};
use crate::gate::Gate;
use crate::record::metrics::Metrics;
use crate::record::seal::{self, SealSettings};
use crate::system::System;

/// How long replies already made may take to reach their callers once the listeners close, and transactions to be rolled
/// back meanwhile.
pub const LAST_REPLIES_TIMEOUT: Duration = Duration::from_secs(1);

/// How long audit records may take to be written and sealed after the last request.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(1);

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

/// How a listener's task ended.
type Ended = Result<std::io::Result<bool>, JoinError>;

/// A listener, as it serves.
pub struct Serving {
    pub phase: watch::Sender<Phase>,
    pub task: JoinHandle<std::io::Result<bool>>,
}

impl Serving {
    /// Ends the service of callers. Returns whether everything under way finished within the grace period, and how the
    /// listener ended if it did.
    ///
    /// 1. `readyz` fails, and each client is told to come back on another connection, while everything is still done:
    ///    whoever distributes requests has `drain_delay_ms` to learn where to send them.
    /// 2. On a shared port the listener closes, without a loss, since another sidecar takes what comes; what is asked on
    ///    connections that are open is done. On a port of its own it stays open, so that new work is answered with 503
    ///    `draining` rather than by silence.
    /// 3. What is under way has the rest of the grace period.
    async fn drain(&mut self, gate: &Arc<Gate>, server: &Server) -> (bool, Option<Ended>) {
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
            let _ = timeout_at(end, gate.stores.roll_back_all()).await;
        }
        let finished = timeout_at(end, gate.drain()).await.is_ok();
        (finished, ended)
    }
}

/// Lets what is under way finish, then stops everything in the order in which nothing is lost: transactions are rolled
/// back while replies reach their callers, what is still under way is cut, and records are written. After the grace
/// period this takes [`LAST_REPLIES_TIMEOUT`] and [`RECORDS_TIMEOUT`] at most. Cancelled, it leaves all of it to the end
/// of the process.
pub async fn end(
    gate: Arc<Gate>,
    mut data: Serving,
    operator: Serving,
    background: impl IntoIterator<Item = JoinHandle<()>>,
    trail: Trail,
    server: &Server,
) -> Result<bool, Failure> {
    let (finished, ended) = data.drain(&gate, server).await;
    data.phase.send_replace(Phase::Stopped);
    operator.phase.send_replace(Phase::Stopped);
    let last = async {
        match ended {
            Some(ended) => ended,
            None => data.task.await,
        }
    };
    let (_, _, data_ended, operator_ended) = tokio::join!(
        timeout(LAST_REPLIES_TIMEOUT, gate.stores.roll_back_all()),
        timeout(LAST_REPLIES_TIMEOUT, gate.keys.flush_last_used()),
        last,
        operator.task,
    );
    for task in background {
        task.abort();
        let _ = task.await;
    }
    drop(gate);
    let flushed = trail.end().await;
    tracing::info!(finished, flushed, "stopped");
    data_ended??;
    operator_ended??;
    Ok(finished)
}

/// What writes and seals the audit trail.
pub struct Trail {
    writer: JoinHandle<()>,
    sealer: JoinHandle<()>,
    /// Dropped, it has the sealer seal once more and end.
    seals_on: oneshot::Sender<()>,
}

impl Trail {
    pub fn start(
        writer: impl Future<Output = ()> + Send + 'static,
        settings: SealSettings,
        config: &Config,
        metrics: &Metrics,
    ) -> Self {
        let (seals_on, ended) = oneshot::channel::<()>();
        let ended = async { drop(ended.await) };
        let (system, counts) = (config.system.clone(), metrics.seals.clone());
        Self {
            writer: tokio::spawn(writer),
            sealer: tokio::spawn(seal::run(system, settings, counts, ended)),
            seals_on,
        }
    }

    /// Returns whether all is in PostgreSQL. What is not is safe in the spool, for the next sidecar.
    async fn end(mut self) -> bool {
        let end = Instant::now() + RECORDS_TIMEOUT;
        let flushed = timeout_at(end, &mut self.writer).await.is_ok();
        if !flushed {
            tracing::warn!(
                "audit records are not all in postgres: they are kept in [audit] spool_dir, for the next sidecar to write"
            );
        }
        drop(self.seals_on);
        let _ = timeout_at(end, self.sealer).await;
        flushed
    }
}
