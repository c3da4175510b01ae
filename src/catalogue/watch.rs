//! Keeps each SQL store's catalogue fresh: read when first needed, asked for changes every few seconds, and read
//! again after a change of the schema that went through here.
//!
//! A change that somebody else makes takes effect within [`POLL_INTERVAL`]. While the catalogue cannot be read, what
//! was read last holds for [`STALE_MAX`]; after that statements are refused, since nobody knows what they reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::{Catalogue, mysql, postgres};
use crate::classify::Refusal;
use crate::config;
use crate::decide::Policy;
use crate::error::{Code, Problem, PublicError};
use crate::operation::{Action, Classification, Object, Store};
use crate::system::Unavailable;

/// How often the server is asked whether its catalogue has changed.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How long a catalogue holds that could not be asked for changes since.
pub const STALE_MAX: Duration = Duration::from_secs(30);

/// How long a request may wait for the catalogue to be read.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a failure to read it is remembered, so that an outage does not cost every request an attempt.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Why a statement could not be judged by what it reaches.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the catalogue of {store} cannot be read: {cause}")]
    Unavailable { store: Store, cause: Unavailable },
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(refusal) => refusal.problem(),
            Self::Unavailable { store, .. } => {
                let detail = format!(
                    "{store}'s catalogue could not be read just now, so what the statement reaches is not known; try again"
                );
                let mut problem = Problem::new(Code::StoreUnavailable, detail);
                problem.retry_after_ms = Some(1000);
                problem
            }
        }
    }
}

/// Where a catalogue is read from.
pub enum Source {
    Postgres(postgres::Loader),
    Mysql(mysql::Loader),
}

impl Source {
    async fn fingerprint(&self, with_columns: bool) -> Result<String, Unavailable> {
        match self {
            Self::Postgres(loader) => loader.fingerprint(with_columns).await,
            Self::Mysql(loader) => loader.fingerprint(with_columns).await,
        }
    }

    async fn load(&self, with_columns: bool) -> Result<Catalogue, Unavailable> {
        match self {
            Self::Postgres(loader) => loader.load(with_columns).await,
            Self::Mysql(loader) => loader.load(with_columns).await,
        }
    }
}

/// The catalogues of the SQL stores that are configured.
#[derive(Default)]
pub struct Catalogues {
    postgres: Option<Watched>,
    mysql: Option<Watched>,
}

impl Catalogues {
    /// Nothing is connected yet: each catalogue is read when first needed.
    pub fn new(stores: &config::Stores, policy: &Policy) -> Self {
        let schema = policy
            .default_namespace(Store::Postgres)
            .unwrap_or("public");
        let postgres = stores.postgres.clone();
        Self {
            postgres: postgres
                .map(|settings| Source::Postgres(postgres::Loader::new(settings, schema)))
                .map(|source| Watched::new(Store::Postgres, source)),
            mysql: stores.mysql.clone().map(|settings| {
                let database = policy
                    .default_namespace(Store::Mysql)
                    .unwrap_or(&settings.database)
                    .to_owned();
                let loader = mysql::Loader::new(settings, &database);
                Watched::new(Store::Mysql, Source::Mysql(loader))
            }),
        }
    }

    fn of(&self, store: Store) -> Option<&Watched> {
        match store {
            Store::Postgres => self.postgres.as_ref(),
            Store::Mysql => self.mysql.as_ref(),
            Store::Mongodb | Store::Redis => None,
        }
    }

    /// Adds what a SQL statement reaches beyond its text. Waits for the catalogue where it has to be read first.
    ///
    /// May be cancelled.
    pub async fn expand(
        &self,
        store: Store,
        classification: Arc<Classification>,
        sql: &str,
        is_listed: impl Fn(&Object) -> bool,
    ) -> Result<Arc<Classification>, Error> {
        let Some(watched) = self.of(store) else {
            return Ok(classification);
        };
        let known = watched.current(false).await?;
        Ok(known.catalogue.expand(&classification, sql, is_listed)?)
    }

    /// The catalogue of a SQL store with the columns of its tables; from now on they are kept fresh, too. `None` for
    /// the other stores.
    ///
    /// May be cancelled.
    pub async fn with_columns(&self, store: Store) -> Result<Option<Arc<Catalogue>>, Error> {
        let Some(watched) = self.of(store) else {
            return Ok(None);
        };
        let known = watched.current(true).await?;
        Ok(Some(Arc::clone(&known.catalogue)))
    }

    /// To be held while a statement runs: if it changes the schema, the catalogue is read again before the next.
    pub fn while_running(&self, store: Store, classification: &Classification) -> Running<'_> {
        let touches = &classification.touches;
        let is_ddl = touches.iter().any(|touch| touch.action == Action::Ddl);
        Running(self.of(store).filter(|_| is_ddl))
    }

    /// Asks all servers for changes, side by side.
    pub async fn refresh(&self) {
        let known = [&self.postgres, &self.mysql].into_iter().flatten();
        for refreshed in join_all(known.map(Watched::refresh)).await {
            if let Err(error) = refreshed {
                tracing::debug!(%error, "catalogue");
            }
        }
    }

    /// Asks all servers for changes, again and again, after the first time.
    pub async fn keep_fresh(&self) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.refresh().await;
        }
    }
}

/// A statement under way that may change the schema. However it ends, also by being dropped, the catalogue is then
/// out of date.
pub struct Running<'c>(Option<&'c Watched>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(watched) = self.0 {
            watched.changes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// One store's catalogue.
struct Watched {
    store: Store,
    source: Source,
    /// How many changes of the schema went through here.
    changes: AtomicU64,
    /// Whether columns are read besides: since rules were first met that need them.
    with_columns: AtomicBool,
    known: ArcSwapOption<Known>,
    /// Held while the server is asked, with the last failure.
    asking: Mutex<Option<(Instant, Unavailable)>>,
}

/// What was read, and until when it holds.
struct Known {
    catalogue: Arc<Catalogue>,
    fingerprint: String,
    /// When the server was last asked.
    asked: Instant,
    /// [`Watched::changes`] before that.
    changes: u64,
    with_columns: bool,
}

impl Watched {
    fn new(store: Store, source: Source) -> Self {
        Self {
            store,
            source,
            changes: AtomicU64::new(0),
            with_columns: AtomicBool::new(false),
            known: ArcSwapOption::empty(),
            asking: Mutex::default(),
        }
    }

    /// The catalogue, if it holds; else it is asked for.
    async fn current(&self, with_columns: bool) -> Result<Arc<Known>, Error> {
        if with_columns && !self.with_columns.load(Ordering::SeqCst) {
            self.with_columns.store(true, Ordering::SeqCst);
        }
        if let Some(known) = self.holds(with_columns) {
            return Ok(known);
        }
        let waiting = async {
            let mut asking = self.asking.lock().await;
            match self.holds(with_columns) {
                Some(known) => Ok(known),
                None => self.ask(&mut asking).await,
            }
        };
        // Boxed: it is rare, and large, and every request has room for what is not.
        let cause = match Box::pin(tokio::time::timeout(WAIT_MAX, waiting)).await {
            Ok(Ok(known)) => return Ok(known),
            Ok(Err(cause)) => cause,
            Err(_) => Unavailable("it takes too long".into()),
        };
        Err(Error::Unavailable {
            store: self.store,
            cause,
        })
    }

    fn holds(&self, with_columns: bool) -> Option<Arc<Known>> {
        let known = self.known.load_full()?;
        let is_current = known.changes == self.changes.load(Ordering::SeqCst)
            && (known.with_columns || !with_columns);
        (is_current && known.asked.elapsed() < STALE_MAX).then_some(known)
    }

    async fn refresh(&self) -> Result<(), Error> {
        let mut asking = self.asking.lock().await;
        let asked = self.ask(&mut asking).await;
        asked.map(drop).map_err(|cause| Error::Unavailable {
            store: self.store,
            cause,
        })
    }

    /// Asks the server whether anything has changed, and reads it again if so.
    async fn ask(
        &self,
        failure: &mut Option<(Instant, Unavailable)>,
    ) -> Result<Arc<Known>, Unavailable> {
        if let Some((at, cause)) = failure
            && at.elapsed() < RETRY_AFTER
        {
            return Err(cause.clone());
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let with_columns = self.with_columns.load(Ordering::SeqCst);
        let asked = Instant::now();
        match self.read(with_columns).await {
            Ok((catalogue, fingerprint)) => {
                *failure = None;
                let known = Arc::new(Known {
                    catalogue,
                    fingerprint,
                    asked,
                    changes,
                    with_columns,
                });
                self.known.store(Some(Arc::clone(&known)));
                Ok(known)
            }
            Err(cause) => {
                *failure = Some((Instant::now(), cause.clone()));
                Err(cause)
            }
        }
    }

    async fn read(&self, with_columns: bool) -> Result<(Arc<Catalogue>, String), Unavailable> {
        // Asked first: a change that comes between the two is found the next time.
        let fingerprint = self.source.fingerprint(with_columns).await?;
        if let Some(known) = self.known.load_full()
            && known.with_columns == with_columns
            && known.fingerprint == fingerprint
        {
            return Ok((Arc::clone(&known.catalogue), fingerprint));
        }
        let catalogue = self.source.load(with_columns).await?;
        tracing::info!(store = %self.store, reaching = catalogue.len(), "read the catalogue");
        Ok((Arc::new(catalogue), fingerprint))
    }
}
