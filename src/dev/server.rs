//! One of the four private servers: the part of its life that all four share.
//!
//! What differs from store to store is in `postgres`, `mysql`, `mongodb` and `redis`: how the data folder is
//! made, how the program is called, how it is asked whether it is ready, and what is put into it first.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::certificates::{Authority, ServerCertificate};
use super::error::DevError;
use super::folder::{self, Account, Folder};
use super::guardian::Guardian;
use super::process::{Launch, Process};
use super::{mongodb, mysql, ports, postgres, redis};
use crate::operation::Store;

/// How long a server may take to answer after it was started, on a slow and busy machine.
const READY_TIMEOUT_S: u64 = 90;
/// How long one question to a starting server may take.
const ANSWER_TIMEOUT_S: u64 = 5;
const POLL_INTERVAL_MS: u64 = 20;
/// How often a start is tried again when the port, or what a killed server held, is still taken.
const START_ATTEMPTS_MAX: u32 = 40;
const START_RETRY_MS: u64 = 250;
/// In a server's log these mean: something is still held by another process; try again.
const TRANSIENT_FAULTS: [&str; 3] = [
    "ddress already in use",
    "shared memory block",
    "lock file \"postmaster.pid\" already exists",
];

/// A database account of this data folder.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub user: &'static str,
    pub password: SecretString,
    pub password_file: PathBuf,
}

/// What one store's server is made of; its module reads this and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub store: Store,
    /// The server's own folder, which only its account can enter.
    pub folder: PathBuf,
    pub log: PathBuf,
    pub account: Account,
    pub certificate: ServerCertificate,
    /// The authority's certificate where clients find it.
    pub ca: PathBuf,
    pub administrator: Credentials,
    /// Runs callers' statements.
    pub app: Credentials,
    /// The sidecar's own connection to PostgreSQL; the other stores have none.
    pub system: Option<Credentials>,
}

impl Site {
    pub(crate) fn prepare(
        store: Store,
        folder: &Folder,
        authority: &Authority,
    ) -> Result<Self, DevError> {
        let credentials = |user: &'static str| {
            let (password_file, password) = folder.password(&format!("{store}-{user}"))?;
            Ok::<_, DevError>(Credentials {
                user,
                password,
                password_file,
            })
        };
        let logs = folder.path.join("logs");
        folder::private_folder(&logs, &Account::Current)?;
        let own = folder.path.join(store.as_str());
        Ok(Self {
            store,
            log: logs.join(format!("{store}.log")),
            account: folder.account.clone(),
            certificate: ServerCertificate::within(&own),
            folder: own,
            ca: authority.certificate().to_owned(),
            administrator: credentials("bulkhead_admin")?,
            app: credentials("bulkhead_app")?,
            system: match store {
                Store::Postgres => Some(credentials("bulkhead_system")?),
                Store::Mysql | Store::Mongodb | Store::Redis => None,
            },
        })
    }

    /// Present once the data folder was made and filled; without it, it is made anew.
    fn complete_marker(&self) -> PathBuf {
        self.folder.join("complete")
    }

    /// An empty folder of the server's own, with its certificate in it.
    fn make_folder(&self, authority: &Authority) -> Result<(), DevError> {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)
                .map_err(DevError::file("remove", &self.folder))?;
        }
        folder::private_folder(&self.folder, &self.account)?;
        authority.issue(self.store.as_str(), &self.folder, &self.account)
    }
}

/// A private server that can be started, killed and restarted on the same port and data folder.
///
/// Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    site: Site,
    port: u16,
    /// The port is part of addresses that others know, so it must not change any more.
    port_is_known: bool,
    process: Option<Process>,
    guardian: Guardian,
}

impl Server {
    pub(crate) fn new(
        site: Site,
        authority: &Authority,
        kept_port: Option<u16>,
        guardian: &Guardian,
    ) -> Result<Self, DevError> {
        if !site.complete_marker().exists() {
            site.make_folder(authority)?;
        }
        let port = match kept_port.filter(|port| ports::is_free(*port)) {
            Some(port) => port,
            None => ports::free()?,
        };
        Ok(Self {
            site,
            port,
            port_is_known: false,
            process: None,
            guardian: guardian.clone(),
        })
    }

    pub fn store(&self) -> Store {
        self.site.store
    }

    /// The loopback port. It is settled once the first `start` has returned.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub fn log(&self) -> &Path {
        &self.site.log
    }

    pub fn administrator(&self) -> &Credentials {
        &self.site.administrator
    }

    pub fn app(&self) -> &Credentials {
        &self.site.app
    }

    /// The sidecar's own account, which PostgreSQL alone has.
    pub fn system(&self) -> Option<&Credentials> {
        self.site.system.as_ref()
    }

    /// The address with administrator credentials, as ordinary clients take it.
    pub fn url(&self) -> String {
        match self.site.store {
            Store::Postgres => postgres::url(&self.site, self.port),
            Store::Mysql => mysql::url(&self.site, self.port),
            Store::Mongodb => mongodb::url(&self.site, self.port),
            Store::Redis => redis::url(&self.site, self.port),
        }
    }

    /// Starts the server and returns when it answers, holds its accounts and its first data.
    ///
    /// Dropping the future kills what was started.
    pub async fn start(&mut self) -> Result<(), DevError> {
        if self.is_running() {
            return Err(DevError::Running {
                store: self.site.store,
            });
        }
        let first = !self.site.complete_marker().exists();
        if first {
            match self.site.store {
                Store::Postgres => postgres::initialise(&self.site, &self.guardian).await?,
                Store::Mysql => mysql::initialise(&self.site, &self.guardian).await?,
                Store::Mongodb => mongodb::initialise(&self.site)?,
                Store::Redis => redis::initialise(&self.site)?,
            }
        }
        self.launch_until_bound().await?;
        let (site, port) = (&self.site, self.port);
        match site.store {
            Store::Postgres => postgres::furnish(site, port, first).await?,
            Store::Mysql => mysql::furnish(site, port, first).await?,
            Store::Mongodb => mongodb::furnish(site, port, first).await?,
            Store::Redis => redis::furnish(site, port, first).await?,
        }
        if first {
            folder::write_private(&site.complete_marker(), b"", &site.account)?;
        }
        self.port_is_known = true;
        Ok(())
    }

    /// Stops in an orderly way, by force after a while.
    pub async fn stop(&mut self) -> Result<(), DevError> {
        match self.process.take() {
            Some(mut process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// What a crash of the server looks like: SIGKILL.
    pub async fn kill(&mut self) -> Result<(), DevError> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Err(DevError::NotRunning {
                store: self.site.store,
            }),
        }
    }

    /// Stops and starts again, on the same port with the same data.
    pub async fn restart(&mut self) -> Result<(), DevError> {
        self.stop().await?;
        self.start().await
    }

    /// Ends the server at once, for when its data is about to be removed.
    pub(crate) async fn discard(&mut self) -> Result<(), DevError> {
        match self.process.take() {
            Some(mut process) => process.abort().await,
            None => Ok(()),
        }
    }

    /// Whether the process is there; a server that ended by itself is not.
    pub fn is_running(&mut self) -> bool {
        let ended = self
            .process
            .as_mut()
            .is_none_or(|process| process.has_ended().is_some());
        if ended {
            self.process = None;
        }
        !ended
    }

    /// Returns when the server answers its administrator over TLS.
    pub async fn wait_ready(&mut self) -> Result<(), DevError> {
        let deadline = Instant::now() + Duration::from_secs(READY_TIMEOUT_S);
        let mut cause = "its port is closed".to_owned();
        loop {
            let Some(process) = self.process.as_mut() else {
                return Err(DevError::NotRunning {
                    store: self.site.store,
                });
            };
            if let Some(status) = process.has_ended() {
                let error = process.ended(status);
                self.process = None;
                return Err(error);
            }
            // A driver's own way of waiting for a closed port is slow; ours is not.
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .is_ok()
            {
                let patience = Duration::from_secs(ANSWER_TIMEOUT_S);
                match tokio::time::timeout(patience, self.answers()).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(said)) => cause = said,
                    Err(_) => cause = "it accepted a connection and said nothing".to_owned(),
                }
            }
            if Instant::now() > deadline {
                return Err(DevError::Silent {
                    what: self.site.store.to_string(),
                    seconds: READY_TIMEOUT_S,
                    log: self.site.log.clone(),
                    cause,
                });
            }
            tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
        }
    }

    async fn answers(&self) -> Result<(), String> {
        let (site, port) = (&self.site, self.port);
        match site.store {
            Store::Postgres => postgres::answers(site, port).await,
            Store::Mysql => mysql::answers(site, port).await,
            Store::Mongodb => mongodb::answers(site, port).await,
            Store::Redis => redis::answers(site, port).await,
        }
    }

    fn launch(&self) -> Result<Launch, DevError> {
        let (site, port) = (&self.site, self.port);
        match site.store {
            Store::Postgres => postgres::launch(site, port),
            Store::Mysql => mysql::launch(site, port),
            Store::Mongodb => mongodb::launch(site, port),
            Store::Redis => redis::launch(site, port),
        }
    }

    /// Between choosing a port and the server's bind another process may take it, and what a killed server
    /// held is not free at once: such starts are tried again, on another port if nobody knows this one yet.
    async fn launch_until_bound(&mut self) -> Result<(), DevError> {
        let mut attempts = 0;
        loop {
            self.process = Some(Process::start(self.launch()?, &self.guardian)?);
            match self.wait_ready().await {
                Err(DevError::Ended { tail, .. })
                    if attempts < START_ATTEMPTS_MAX
                        && TRANSIENT_FAULTS.iter().any(|fault| tail.contains(fault)) =>
                {
                    attempts += 1;
                    if !self.port_is_known {
                        self.port = ports::free()?;
                    }
                    tokio::time::sleep(Duration::from_millis(START_RETRY_MS)).await;
                }
                outcome => return outcome,
            }
        }
    }
}
