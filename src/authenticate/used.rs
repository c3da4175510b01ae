//! When keys were last used, written in batches and off the requests' path.

use std::collections::HashSet;
use std::sync::Mutex;

use tokio_postgres::types::ToSql;

use crate::lock::Unpoisoned as _;
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Keys whose use waits to be written; beyond them it is not noted.
const NOTED_MAX: usize = 10_000;

/// Several sidecars note the same keys: a row that another has under way is left to it, or they would wait for each
/// other in a circle.
const NOTE_USE: &str = "UPDATE api_keys SET last_used_at = now() WHERE id IN
    (SELECT id FROM api_keys WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED)";

#[derive(Default)]
pub struct LastUsed {
    ids: Mutex<HashSet<String>>,
}

impl LastUsed {
    pub fn note(&self, id: &str) {
        let mut ids = self.ids.lock().unpoisoned();
        if ids.len() < NOTED_MAX && !ids.contains(id) {
            ids.insert(id.to_owned());
        }
    }

    /// Takes what is noted, to be written.
    pub fn take(&self) -> Vec<String> {
        let mut ids = self.ids.lock().unpoisoned();
        std::mem::take(&mut *ids).into_iter().collect()
    }

    /// Writes `ids`. What cannot be written is noted again.
    pub async fn write(&self, system: &System, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let written = async {
            let client = system.client().await?;
            let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
            let update = client.execute(NOTE_USE, &parameters);
            Ok::<_, Unavailable>(tokio::time::timeout(STATEMENT_TIMEOUT, update).await??)
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "last_used_at was not written");
            ids.iter().for_each(|id| self.note(id));
        }
    }
}
