//! `bulkhead dev`: four private databases and the sidecar in front of them, until interrupted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::authenticate::keys::{self, NewKey};
use crate::dev::ready::{Keys, Ready};
use crate::dev::sidecar::{self, Choice, Sidecar};
use crate::dev::{DevError, Options, Servers, control, settings};
use crate::operation::Store;

/// How many commands may wait while something else is done.
const EARLY_LINES_MAX: usize = 1_000;
/// How often it is checked that what was started still runs.
const WATCH_INTERVAL_MS: u64 = 1_000;

/// Start private databases and the sidecar in front of them, until interrupted.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Folder for data, certificates, configuration and logs [default: a new one under /tmp].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write addresses, keys and administrator credentials to FILE as JSON once everything is ready.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Leave the folder in place at the end, and use it again at the next start.
    #[arg(long)]
    pub keep: bool,
    /// End when standard input ends; a line there is a command for tests, answered by a line of JSON: `kill STORE`, `stop
    /// STORE`, `start STORE` or `restart STORE`, of `postgres`, `mysql`, `mongodb` and `redis`.
    #[arg(long)]
    pub exit_with_stdin: bool,
    /// Start the databases alone, for a sidecar that you start yourself.
    #[arg(long)]
    pub stores_only: bool,
}

/// Runs until interrupted, terminated, or standard input ends where that was asked for.
///
/// # Errors
/// When something cannot be started, or the sidecar ends by itself. What was started is ended first.
pub async fn run(args: DevArgs) -> Result<(), DevError> {
    let mut ends = Ends::listen(args.exit_with_stdin)?;
    let ready_file = args.ready_file.as_deref().map(absolute).transpose()?;
    // A file left by a run that was killed must not be taken for ours.
    remove_ready_file(ready_file.as_deref());
    let started = Instant::now();
    let options = Options {
        dir: args.dir.clone(),
        keep: args.keep,
    };
    let mut servers = Servers::prepare(&options)?;
    let mut sidecar = None;
    let outcome = tokio::select! {
        outcome = bring_up(&args, ready_file.as_deref(), &mut servers, &mut sidecar) => outcome.map(Some),
        () = ends.interrupted() => Ok(None),
    };
    let outcome = match outcome {
        Ok(Some(keys)) => {
            announce(&args, &servers, sidecar.as_ref(), started.elapsed());
            drop(keys);
            watch(&mut ends, &mut servers, &mut sidecar).await
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    remove_ready_file(ready_file.as_deref());
    // The first error is the one to show.
    let stopped = match sidecar {
        Some(sidecar) => sidecar.stop().await,
        None => Ok(()),
    };
    outcome.and(stopped).and(servers.stop().await)
}

async fn bring_up(
    args: &DevArgs,
    ready_file: Option<&Path>,
    servers: &mut Servers,
    sidecar: &mut Option<Sidecar>,
) -> Result<Keys, DevError> {
    servers.start_all().await?;
    let keys = api_keys(servers).await?;
    let choice = match ready_file {
        Some(_) => Choice::Free,
        None => Choice::Default,
    };
    let config = if args.stores_only {
        settings::write(servers, sidecar::choose(servers, choice)?)?
    } else {
        let started = Sidecar::start(servers, choice).await?;
        sidecar.insert(started).config.clone()
    };
    if let Some(path) = ready_file {
        let ready = Ready {
            listeners: sidecar.as_ref().map(|sidecar| sidecar.listeners),
            config: &config,
            ca: &servers.ca_file(),
            keys: &keys,
            stores: Store::ALL.map(|store| (store, servers.get(store).url())),
        };
        ready.write(path)?;
    }
    Ok(keys)
}

/// Waits for the end, carrying out commands, and watching that nothing ends by itself.
async fn watch(
    ends: &mut Ends,
    servers: &mut Servers,
    sidecar: &mut Option<Sidecar>,
) -> Result<(), DevError> {
    let mut missing = Vec::new();
    loop {
        let line = tokio::select! {
            event = ends.next() => match event {
                Event::End => return Ok(()),
                Event::Line(line) => Some(line),
            },
            () = tokio::time::sleep(Duration::from_millis(WATCH_INTERVAL_MS)) => None,
        };
        let is_commanded = line.is_some();
        if let Some(line) = line {
            let reply = tokio::select! {
                reply = control::obey(&line, servers) => reply,
                () = ends.interrupted() => return Ok(()),
            };
            println!("{reply}");
        }
        if let Some(error) = sidecar.as_mut().and_then(Sidecar::has_ended) {
            return Err(error);
        }
        for store in Store::ALL {
            let server = servers.get_mut(store);
            let is_missing = missing.contains(&store);
            if server.is_running() {
                missing.retain(|other| *other != store);
            } else if !is_missing {
                if !is_commanded {
                    eprintln!("{store} has ended; its log is {}", server.log().display());
                }
                missing.push(store);
            }
        }
    }
}

/// The keys of an earlier start in this folder, or two new ones.
async fn api_keys(servers: &Servers) -> Result<Keys, DevError> {
    let mut client = servers.system_client().await?;
    // Where the data had to be made anew, keys of former data open nothing.
    let failed = |error: tokio_postgres::Error| DevError::Key(error.to_string());
    let any = client
        .query_one("SELECT EXISTS (SELECT FROM api_keys)", &[])
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(failed)?;
    let mut secrets = Vec::new();
    for role in ["app", "admin"] {
        let secret = match servers.kept_key(role).filter(|_| any) {
            Some(kept) => kept,
            None => {
                let made = create_key(&mut client, role).await?;
                servers.keep_key(role, &made)?;
                made
            }
        };
        secrets.push(secret);
    }
    match <[SecretString; 2]>::try_from(secrets) {
        Ok([app, admin]) => Ok(Keys { app, admin }),
        Err(_) => Err(DevError::Key("two keys were wanted".into())),
    }
}

async fn create_key(
    client: &mut tokio_postgres::Client,
    role: &str,
) -> Result<SecretString, DevError> {
    let new = NewKey {
        name: format!("bulkhead dev {role}"),
        user_id: None,
        role: role.to_owned(),
        expires_at: None,
    };
    let created = keys::create(client, &new).await;
    created
        .map(|key| key.secret)
        .map_err(|error| DevError::Key(error.to_string()))
}

/// What is running, where the keys are, how to stop. A test that reads our standard output expects replies only.
fn announce(args: &DevArgs, servers: &Servers, sidecar: Option<&Sidecar>, took: Duration) {
    let folder = servers.folder().display();
    let mut text = format!(
        "bulkhead dev is ready after {:.1} s\n\n",
        took.as_secs_f64()
    );
    match sidecar {
        Some(sidecar) => text.push_str(&format!(
            "  sidecar    http://127.0.0.1:{}, its admin listener http://127.0.0.1:{}\n",
            sidecar.listeners.http, sidecar.listeners.admin
        )),
        None => text.push_str(&format!(
            "  sidecar    not started: bulkhead serve --config {folder}/bulkhead.toml\n"
        )),
    }
    for store in Store::ALL {
        let server = servers.get(store);
        let pid = server.pid().unwrap_or_default();
        text.push_str(&format!(
            "  {:<10} 127.0.0.1:{}, TLS required, process {pid}\n",
            store.as_str(),
            server.port()
        ));
    }
    text.push_str(&format!(
        "\n  API keys   {folder}/secrets/key-app, {folder}/secrets/key-admin\n\
         \x20 settings   {folder}/bulkhead.toml, {folder}/policy.toml\n\
         \x20 logs       {folder}/logs\n\n"
    ));
    let fate = if servers.is_kept() {
        "keeps the folder"
    } else {
        "removes the folder"
    };
    let how = if args.exit_with_stdin {
        "The end of standard input"
    } else {
        "Ctrl-C"
    };
    text.push_str(&format!("{how} stops everything and {fate}.\n"));
    if args.exit_with_stdin {
        eprint!("{text}");
    } else {
        print!("{text}");
    }
}

fn remove_ready_file(path: Option<&Path>) {
    if let Some(path) = path {
        // It need not be there; if it cannot be removed, writing it will say why.
        let _ = std::fs::remove_file(path);
    }
}

fn absolute(path: &Path) -> Result<PathBuf, DevError> {
    std::path::absolute(path).map_err(|source| DevError::File {
        action: "find",
        path: path.to_owned(),
        source,
    })
}

enum Event {
    End,
    Line(String),
}

/// Everything that ends `bulkhead dev`, and the lines that command it meanwhile.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    lines: Option<mpsc::Receiver<String>>,
    /// Lines that came while something else was being waited for.
    early: std::collections::VecDeque<String>,
}

impl Ends {
    fn listen(with_stdin: bool) -> Result<Self, DevError> {
        let on = |kind| {
            signal(kind).map_err(|source| DevError::File {
                action: "listen for signals as",
                path: PathBuf::from("bulkhead dev"),
                source,
            })
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            lines: with_stdin.then(control::lines),
            early: std::collections::VecDeque::new(),
        })
    }

    async fn next(&mut self) -> Event {
        match self.early.pop_front() {
            Some(line) => Event::Line(line),
            None => self.arrived().await,
        }
    }

    /// Returns at the end; lines that come before it are kept. A flood of them is an end too.
    async fn interrupted(&mut self) {
        while let Event::Line(line) = self.arrived().await {
            if self.early.len() == EARLY_LINES_MAX {
                return;
            }
            self.early.push_back(line);
        }
    }

    async fn arrived(&mut self) -> Event {
        let line = async {
            match self.lines.as_mut() {
                Some(lines) => lines.recv().await.map_or(Event::End, Event::Line),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Event::End,
            _ = self.terminate.recv() => Event::End,
            _ = self.hangup.recv() => Event::End,
            event = line => event,
        }
    }
}
