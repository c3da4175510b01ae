//! The catalogue of views, as fresh as [`VIEWS_FRESH_MS`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, doc};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::failure::{self, unavailable};
use super::{CONTROL_MS_MAX, MongoStore};
use crate::classify::Refusal;
use crate::classify::mongodb::Views;
use crate::error::{Problem, PublicError};
use crate::execute::Error;
use crate::operation::{Classification, Object};

/// How old the catalogue may be: for so long, a view that an administrator makes or changes is not seen.
pub const VIEWS_FRESH_MS: u64 = 1_000;
/// Most views in one database.
pub const VIEWS_MAX: usize = 10_000;
/// Databases whose views are remembered.
const DATABASES_MAX: usize = 64;

/// What is known, and since when, by database.
pub(super) type Known = HashMap<String, (Instant, Arc<Views>)>;

/// Why nothing can be said of the views behind a command.
#[derive(Debug, thiserror::Error)]
pub enum ViewsError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the views cannot be listed: {0}")]
    Unlisted(#[from] Error),
}

impl PublicError for ViewsError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(refusal) => refusal.problem(),
            Self::Unlisted(error) => error.problem(),
        }
    }
}

impl MongoStore {
    /// The classification with everything that the views in it read, however deep; `None` if it names no view.
    ///
    /// # Errors
    /// When a view's definition is not understood, or the catalogue cannot be read: nothing may run then.
    pub async fn behind_views(
        &self,
        classification: &Classification,
    ) -> Result<Option<Classification>, ViewsError> {
        if !self.names_a_view(classification).await? {
            return Ok(None);
        }
        let mut whole = classification.clone();
        let mut seen: HashSet<Object> = HashSet::new();
        let mut next = 0;
        while let Some(touch) = whole.touches.get(next).cloned() {
            next += 1;
            let Object::Named {
                namespace: Some(database),
                name,
            } = &touch.object
            else {
                continue;
            };
            if seen.insert(touch.object.clone()) {
                let views = self.views(database).await?;
                let behind = views.behind(name)?;
                let objects = behind.iter().map(|touch| touch.object.clone());
                whole.reached.extend(objects);
                whole.touches.extend_from_slice(behind);
            }
        }
        let grown = whole.touches.len() > classification.touches.len();
        Ok(grown.then(|| whole.finish()))
    }

    /// Whether something stands behind a name: most commands name collections alone, and nothing is copied for them.
    async fn names_a_view(&self, classification: &Classification) -> Result<bool, ViewsError> {
        for touch in &classification.touches {
            if let Object::Named {
                namespace: Some(database),
                name,
            } = &touch.object
                && !self.views(database).await?.behind(name)?.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One request lists them; the others wait for it.
    async fn views(&self, database: &str) -> Result<Arc<Views>, Error> {
        let mut known = self.0.views.lock().await;
        let now = Instant::now();
        let fresh = Duration::from_millis(VIEWS_FRESH_MS);
        if let Some((since, views)) = known.get(database)
            && now.duration_since(*since) < fresh
        {
            return Ok(Arc::clone(views));
        }
        known.remove(database);
        if known.len() >= DATABASES_MAX {
            known.clear();
        }
        let limit = Duration::from_millis(CONTROL_MS_MAX);
        let views = Box::pin(timeout(limit, self.list_views(database)))
            .await
            .map_err(|_| unavailable(format!("no list of views in {CONTROL_MS_MAX} ms")))??;
        let views = Arc::new(views);
        // As old as the question, not as the answer.
        known.insert(database.to_owned(), (now, Arc::clone(&views)));
        Ok(views)
    }

    async fn list_views(&self, database: &str) -> Result<Views, Error> {
        let client = self
            .client()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let list = doc! {"listCollections": 1, "filter": {"type": "view"}};
        let database_handle = client.database(database);
        let cursor = database_handle.run_cursor_command(list).await;
        let cursor = cursor.map_err(|error| unlisted(&error))?;
        let mut entries = cursor.with_type::<RawDocumentBuf>();
        let mut views = Views::default();
        let mut count = 0;
        while let Some(entry) = entries.next().await {
            count += 1;
            if count > VIEWS_MAX {
                return Err(unavailable(format!(
                    "`{database}` has more than {VIEWS_MAX} views"
                )));
            }
            let entry = entry.map_err(|error| unlisted(&error))?;
            views
                .add(database, entry.as_bytes())
                .map_err(|refusal| unavailable(refusal.to_string()))?;
        }
        Ok(views)
    }
}

/// An account that may not list collections is a fault of the set-up, which the operator's log shall name.
fn unlisted(error: &mongodb::error::Error) -> Error {
    let error = failure::from_driver(error, CONTROL_MS_MAX);
    if let Error::Server { message, .. } = error {
        return unavailable(format!(
            "`listCollections`, which the store's account needs (as in the role `readWrite`): {message}"
        ));
    }
    error
}
