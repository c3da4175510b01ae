//! The private servers of `bulkhead dev`, and where its ready file says they are.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bulkhead::operation::Store;
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::Fallible;
use crate::process::log_tail;
use crate::settings::Settings;

/// Four servers are made from nothing.
const READY_TIMEOUT_S: u64 = 180;
const STOP_TIMEOUT_S: u64 = 30;
const POLL_INTERVAL_MS: u64 = 50;

/// The ready file: the members that this benchmark reads. It holds passwords, so it has no `Debug`.
#[derive(Deserialize)]
pub struct Ready {
    pub config: PathBuf,
    pub ca: PathBuf,
    pub keys: Keys,
    stores: Urls,
}

#[derive(Deserialize)]
pub struct Keys {
    /// A key of the role `app`.
    pub app: String,
    /// A key of the role `admin`.
    pub admin: String,
}

#[derive(Deserialize)]
struct Urls {
    postgres: String,
    mysql: String,
    mongodb: String,
    redis: String,
}

/// The parts of `scheme://user:password@host:port/database?…`.
pub struct Endpoint<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
}

impl Ready {
    pub fn read(path: &Path) -> Fallible<Self> {
        let text = std::fs::read_to_string(path)?;
        let fault = |error| format!("cannot read the ready file `{}`: {error}", path.display());
        Ok(serde_json::from_str(&text).map_err(fault)?)
    }

    /// The address with administrator credentials.
    pub fn url(&self, store: Store) -> &str {
        match store {
            Store::Postgres => &self.stores.postgres,
            Store::Mysql => &self.stores.mysql,
            Store::Mongodb => &self.stores.mongodb,
            Store::Redis => &self.stores.redis,
        }
    }

    /// The address in its parts: each driver wants its TLS options in a way of its own, and none of them
    /// takes those of the others from the address.
    pub fn endpoint(&self, store: Store) -> Fallible<Endpoint<'_>> {
        endpoint(self.url(store))
            .ok_or_else(|| format!("the ready file's address of {store} is not understood").into())
    }
}

fn endpoint(url: &str) -> Option<Endpoint<'_>> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (account, address) = authority.rsplit_once('@')?;
    let (user, password) = account.split_once(':')?;
    let (host, port) = address.rsplit_once(':')?;
    Some(Endpoint {
        user,
        password,
        host,
        port: port.parse().ok()?,
        database,
    })
}

/// The servers for as long as this value lives.
pub struct Environment {
    pub ready: Ready,
    pub ready_file: PathBuf,
    /// For our own files: configuration, policy, logs.
    pub folder: tempfile::TempDir,
    /// `None` where the servers are someone else's.
    dev: Option<Child>,
}

impl Environment {
    /// Starts the servers, or takes those of a `bulkhead dev` that runs already.
    pub async fn open(settings: &Settings) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        if let Some(ready_file) = &settings.ready_file {
            return Ok(Self {
                ready: Ready::read(ready_file)?,
                ready_file: ready_file.clone(),
                folder,
                dev: None,
            });
        }
        eprintln!("gate: starting private servers");
        let ready_file = folder.path().join("ready.json");
        let log = folder.path().join("dev.log");
        let mut dev = start_dev(settings, &ready_file, &log)?;
        wait_for(&ready_file, &mut dev, &log).await?;
        Ok(Self {
            ready: Ready::read(&ready_file)?,
            ready_file,
            folder,
            dev: Some(dev),
        })
    }

    /// Ends the servers; their data goes with them.
    pub async fn close(mut self) -> Fallible {
        if let Some(mut dev) = self.dev.take() {
            // The end of its standard input ends it, in an orderly way.
            drop(dev.stdin.take());
            let patience = Duration::from_secs(STOP_TIMEOUT_S);
            tokio::time::timeout(patience, dev.wait())
                .await
                .map_err(|_| format!("`bulkhead dev` did not end within {STOP_TIMEOUT_S} s"))??;
        }
        Ok(())
    }
}

fn start_dev(settings: &Settings, ready_file: &Path, log: &Path) -> Fallible<Child> {
    let output = std::fs::File::create(log)?;
    // It is not killed on drop: it removes its servers and their data when its standard input ends.
    let dev = Command::new(&settings.binary)
        .arg("dev")
        .arg("--ready-file")
        .arg(ready_file)
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .map_err(|error| format!("cannot start `{}`: {error}", settings.binary.display()))?;
    Ok(dev)
}

async fn wait_for(ready_file: &Path, dev: &mut Child, log: &Path) -> Fallible {
    let deadline = Instant::now() + Duration::from_secs(READY_TIMEOUT_S);
    // The file appears whole.
    while !ready_file.exists() {
        if let Some(status) = dev.try_wait()? {
            return Err(format!("`bulkhead dev` ended ({status}):\n{}", log_tail(log)).into());
        }
        if Instant::now() > deadline {
            let tail = log_tail(log);
            return Err(
                format!("`bulkhead dev` is not ready after {READY_TIMEOUT_S} s:\n{tail}").into(),
            );
        }
        tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)).await;
    }
    Ok(())
}
