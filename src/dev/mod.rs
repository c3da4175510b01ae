//! Private real servers for development, tests, the demo and benchmarks: one machinery for all of them.
//!
//! [`Servers`] makes a data folder with a certificate authority of its own, and in it PostgreSQL, MariaDB or
//! MySQL, MongoDB and Redis, each on a free loopback port, with TLS required, under an unprivileged account, with
//! separate passwords. `bulkhead dev` (see `command::dev`) puts the sidecar in front of them.
//!
//! ```text
//! DIR/                   0711 when the servers run under another account, else 0700
//!   bulkhead.toml        0600  the sidecar's configuration
//!   policy.toml                the example policy
//!   dev.json             0600  ports and API keys, for the next start
//!   ca.pem  ca.key       0600  the authority; its key never leaves the folder
//!   secrets/STORE-USER   0600  one password each
//!   logs/STORE.log       0600
//!   postgres/ mysql/ mongodb/ redis/   0700, of the servers' account
//! ```
//!
//! Nothing is left behind: not when a start is interrupted, and not when this process is killed (see `guardian`).

mod binaries;
pub(crate) mod certificates;
pub mod control;
pub mod error;
mod folder;
mod guardian;
mod mongodb;
mod mysql;
mod ports;
mod postgres;
mod process;
pub mod ready;
mod redis;
mod server;
pub mod settings;
pub mod sidecar;

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use certificates::Authority;
use folder::Folder;
use guardian::{AtEnd, Guardian};

pub use error::DevError;
pub use ready::State;
pub use server::{Credentials, Server};

use crate::operation::Store;

/// Where the data is and whether it stays.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `None`: a new folder under the system's temporary one.
    pub dir: Option<PathBuf>,
    /// Keep a folder that we made; one that an earlier `keep` left is always kept.
    pub keep: bool,
}

/// The four servers of one data folder.
///
/// Dropping it kills what runs and removes what should not stay, a moment later; [`Servers::stop`] does it now.
#[derive(Debug)]
pub struct Servers {
    pub postgres: Server,
    pub mysql: Server,
    pub mongodb: Server,
    pub redis: Server,
    state: State,
    // Fields drop in this order: servers first, then the guardian's pipe, then the folder's lock.
    guardian: Guardian,
    folder: Folder,
}

impl Servers {
    /// Makes the folder, certificates and passwords, and starts nothing: for those who want only some stores.
    ///
    /// # Errors
    /// When the folder cannot be made or used, or holds something else.
    pub fn prepare(options: &Options) -> Result<Self, DevError> {
        // Some of the drivers use the process' default provider. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guardian = Guardian::start()?;
        let folder = Folder::open(options.dir.as_deref(), options.keep)?;
        guardian.at_end(&folder.path, folder.at_end);
        let state = State::read(&folder.path)?;
        let authority = Authority::open(&folder.path)?;
        let server = |store: Store| {
            let site = server::Site::prepare(store, &folder, &authority)?;
            Server::new(site, &authority, state.port(store), &guardian)
        };
        Ok(Self {
            postgres: server(Store::Postgres)?,
            mysql: server(Store::Mysql)?,
            mongodb: server(Store::Mongodb)?,
            redis: server(Store::Redis)?,
            state,
            guardian,
            folder,
        })
    }

    /// Prepares the folder and starts all four, side by side.
    ///
    /// # Errors
    /// When a server cannot be found or started. What had been started is ended again.
    pub async fn start(options: &Options) -> Result<Self, DevError> {
        let mut servers = Self::prepare(options)?;
        match servers.start_all().await {
            Ok(()) => Ok(servers),
            Err(error) => {
                // The first error is the one to show.
                let _ = servers.stop().await;
                Err(error)
            }
        }
    }

    /// Starts all four, side by side, and records their ports for the next start.
    ///
    /// # Errors
    /// When one of them cannot be started; the others are killed.
    pub async fn start_all(&mut self) -> Result<(), DevError> {
        tokio::try_join!(
            self.postgres.start(),
            self.mysql.start(),
            self.mongodb.start(),
            self.redis.start(),
        )?;
        for store in Store::ALL {
            let port = self.get(store).port();
            self.state.set_port(store, port);
        }
        self.state.write(&self.folder.path)
    }

    pub fn get(&self, store: Store) -> &Server {
        match store {
            Store::Postgres => &self.postgres,
            Store::Mysql => &self.mysql,
            Store::Mongodb => &self.mongodb,
            Store::Redis => &self.redis,
        }
    }

    pub fn get_mut(&mut self, store: Store) -> &mut Server {
        match store {
            Store::Postgres => &mut self.postgres,
            Store::Mysql => &mut self.mysql,
            Store::Mongodb => &mut self.mongodb,
            Store::Redis => &mut self.redis,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// The certificate of the authority that signed every server's.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path.join("ca.pem")
    }

    pub fn is_kept(&self) -> bool {
        self.folder.at_end == AtEnd::Keep
    }

    /// A connection with the sidecar's own account, which may make API keys.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn system_client(&self) -> Result<tokio_postgres::Client, DevError> {
        let failed = || DevError::set_up(Store::Postgres, "connect as the system account");
        let system = self
            .postgres
            .system()
            .ok_or_else(|| failed()("it has no such account".to_owned()))?;
        postgres::connect(
            &self.ca_file(),
            self.postgres.port(),
            system,
            postgres::DATABASE,
        )
        .await
        .map_err(failed())
    }

    /// The API key that an earlier start in this folder made for this role.
    pub fn kept_key(&self, role: &str) -> Option<SecretString> {
        self.folder.kept_secret(&format!("key-{role}"))
    }

    /// Keeps an API key beside the passwords, for the next start and for a developer's `curl`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_key(&self, role: &str, secret: &SecretString) -> Result<(), DevError> {
        self.folder
            .keep_secret(&format!("key-{role}"), secret)
            .map(drop)
    }

    /// Ends all four, and removes the folder if it is not to stay.
    ///
    /// # Errors
    /// When a process could not be waited for; everything else is done first.
    pub async fn stop(mut self) -> Result<(), DevError> {
        let outcomes = if self.is_kept() {
            tokio::join!(
                self.postgres.stop(),
                self.mysql.stop(),
                self.mongodb.stop(),
                self.redis.stop(),
            )
        } else {
            tokio::join!(
                self.postgres.discard(),
                self.mysql.discard(),
                self.mongodb.discard(),
                self.redis.discard(),
            )
        };
        let Self { guardian, .. } = self;
        guardian.finish().await;
        let (postgres, mysql, mongodb, redis) = outcomes;
        postgres.and(mysql).and(mongodb).and(redis)
    }
}
