//! Ending on the server what nobody waits for any more.
//!
//! The driver's own `abortTransaction` swallows its failure, so the server is told by `killSessions`, which does not. A
//! transaction that is not ended holds its locks for a minute and more, until the server's own limit.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::transactions::TRANSACTIONS;
use super::{CONTROL_MS_MAX, Session};

/// Kills under way at once: the pool keeps one connection for them and for health checks.
const KILLS_MAX: usize = 4;
/// Transactions whose end the server is asked for again and again, at once. Those beyond are left to its own limit, by
/// default a minute.
const DOUBTFUL_MAX: usize = TRANSACTIONS.max as usize;
/// How long after the one before each attempt comes; the server's own limit has come when all are spent.
const PAUSES_MS: [u64; 6] = [0, 500, 2_000, 6_000, 15_000, 30_000];

/// What a store has to end.
#[derive(Debug, Clone)]
pub(super) struct Abandoned {
    kills: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
}

impl Default for Abandoned {
    fn default() -> Self {
        Self {
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL_MAX)),
        }
    }
}

impl Abandoned {
    /// A turn to kill something.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.kills).acquire_owned().await.ok()
    }

    /// Ends what the session has under way, its transaction included. False where the server did not say so.
    pub(super) async fn kill(&self, session: &Session) -> bool {
        let _turn = self.turn().await;
        kill(session).await
    }

    /// Ends a session's command in the background, if there is a turn for it now. Otherwise the server does, by `maxTimeMS` at
    /// the latest.
    pub(super) fn kill_soon(&self, session: Session) {
        let turn = Arc::clone(&self.kills).try_acquire_owned();
        if let (Ok(runtime), Ok(turn)) = (Handle::try_current(), turn) {
            runtime.spawn(async move {
                kill(&session).await;
                drop((session, turn));
            });
        }
    }

    /// Ends a session's transaction in the background. The session is kept meanwhile, so that the driver gives it to nobody
    /// else. `is_underway`: a command may still be on its way to the server, and begin the transaction anew after a
    /// first kill.
    pub(super) fn end(&self, session: Session, is_underway: bool) {
        let place = Arc::clone(&self.doubtful).try_acquire_owned();
        let (Ok(runtime), Ok(place)) = (Handle::try_current(), place) else {
            return;
        };
        let abandoned = self.clone();
        runtime.spawn(async move {
            let mut kills = if is_underway { 2 } else { 1 };
            for pause in PAUSES_MS {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                kills -= u32::from(abandoned.kill(&session).await);
                if kills == 0 {
                    break;
                }
            }
            drop((session, place));
        });
    }
}

async fn kill(session: &Session) -> bool {
    let (client, lsid) = {
        let session = session.lock().await;
        (session.client(), session.id().clone())
    };
    let admin = client.database("admin");
    let kill = admin.run_command(doc! {"killSessions": [lsid]});
    match timeout(Duration::from_millis(CONTROL_MS_MAX), kill).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(%error, "what was abandoned was not killed");
            false
        }
        Err(_) => {
            tracing::debug!("what was abandoned was not killed in time");
            false
        }
    }
}
