//! The catalogue of views, as fresh as [`VIEWS_FRESH_MS`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
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
use crate::execute::pool::Circuit;
use crate::lock::Unpoisoned as _;
use crate::operation::{Classification, Object};

/// How old the catalogue may be: for so long, a view that an administrator makes or changes is not seen.
pub const VIEWS_FRESH_MS: u64 = 1_000;
/// Most views in one database.
pub const VIEWS_MAX: usize = 10_000;
/// Databases whose views are remembered.
const DATABASES_MAX: usize = 64;

/// What is known of each database.
pub(super) type Databases = Mutex<HashMap<String, Arc<Database>>>;

/// The views of one database, and how they are asked for: by one request at a time, and while that fails only after a
/// pause.
#[derive(Debug, Default)]
pub(super) struct Database {
    /// Since when they are known.
    known: Mutex<Option<(Instant, Arc<Views>)>>,
    circuit: Circuit,
    /// Held by who asks; when and why the last attempt failed.
    failure: tokio::sync::Mutex<Option<(Instant, Arc<str>)>>,
}

impl Database {
    fn fresh(&self, now: Instant) -> Option<Arc<Views>> {
        let known = self.known.lock().unpoisoned();
        let (since, views) = known.as_ref()?;
        let is_fresh =
            now.saturating_duration_since(*since) < Duration::from_millis(VIEWS_FRESH_MS);
        is_fresh.then(|| Arc::clone(views))
    }
}

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

    /// One request lists them; the others wait for it, and what it comes to is the answer to all of them. While that
    /// fails, one request tries again after each pause, and the others are told at once.
    async fn views(&self, database: &str) -> Result<Arc<Views>, Error> {
        let of = self.database(database);
        let came = Instant::now();
        if let Some(views) = of.fresh(came) {
            return Ok(views);
        }
        self.may_serve()?;
        let admitted = of.circuit.admit(came);
        admitted.map_err(|cause| unavailable(&*cause))?;
        let mut failure = of.failure.lock().await;
        if let Some(views) = of.fresh(Instant::now()) {
            return Ok(views);
        }
        if let Some((failed_at, cause)) = failure.as_ref()
            && *failed_at >= came
        {
            return Err(unavailable(&**cause));
        }
        // As old as the question, not as the answer.
        let asked_at = Instant::now();
        let limit = Duration::from_millis(CONTROL_MS_MAX);
        let listed = Box::pin(timeout(limit, self.list_views(database))).await;
        let listed = listed.unwrap_or_else(|_| {
            Err(unavailable(format!(
                "no list of views in {CONTROL_MS_MAX} ms"
            )))
        });
        match listed {
            Ok(views) => {
                let views = Arc::new(views);
                *of.known.lock().unpoisoned() = Some((asked_at, Arc::clone(&views)));
                of.circuit.record_success();
                Ok(views)
            }
            Err(error) => {
                let (now, cause) = (Instant::now(), cause_of(&error));
                of.circuit.record_failure(now, &cause);
                *failure = Some((now, cause.into()));
                Err(error)
            }
        }
    }

    fn database(&self, name: &str) -> Arc<Database> {
        let mut databases = self.0.views.lock().unpoisoned();
        if let Some(known) = databases.get(name) {
            return Arc::clone(known);
        }
        if databases.len() >= DATABASES_MAX {
            databases.clear();
        }
        let database = Arc::default();
        databases.insert(name.to_owned(), Arc::clone(&database));
        database
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

fn cause_of(error: &Error) -> String {
    if let Error::Unavailable { cause, .. } | Error::Unreached { cause, .. } = error {
        cause.clone()
    } else {
        error.to_string()
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
