//! What changes while the sidecar serves, besides the policy: the listeners' certificates when their files do, and on
//! SIGHUP what the configuration lets change. All of a change is taken, or nothing of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::accept::http::Door;
use crate::accept::tls::{Certificate, Contents};
use crate::certificates::{Held, WARN_BEFORE_S};
use crate::config::change::changes;
use crate::config::{ClientAuth, Config, ListenerTls};
use crate::record::audit::Audit;
use crate::record::metrics::Metrics;

/// Pause between two looks at the listeners' files: a change is in use after two or three of them.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the log repeats that a certificate expires soon.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the dates of expiry are read again where nothing is known to have been renewed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// What SIGHUP changes; anything else takes a restart.
const LIVE: [&str; 8] = [
    "[server] body_bytes_max",
    "[server] reply_bytes_max",
    "[server] rows_max",
    "[server] drain_grace_ms",
    "[server] drain_delay_ms",
    "[server] tls",
    "[admin] tls",
    "[log] filter",
];

/// Puts another filter on the log.
pub type SetFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Where the configuration is, and what of the process only `main` can change.
pub struct Origin {
    pub path: PathBuf,
    pub set_filter: SetFilter,
}

/// A listener's certificate and what is known of its files.
pub struct Watched {
    pub certificate: Arc<Certificate>,
    label: &'static str,
    /// What was last taken or refused, and what the last look has seen.
    settled: Option<State>,
    seen: Option<State>,
}

type State = ([u8; 32], ListenerTls);

impl Watched {
    pub fn new(label: &'static str, certificate: Arc<Certificate>, files: ListenerTls) -> Self {
        let settled = Some((certificate.digest(), files));
        Self {
            certificate,
            label,
            seen: settled.clone(),
            settled,
        }
    }

    /// Takes changed files into use, once two looks in a row have seen the same. Returns whether it did.
    fn look(&mut self, files: &ListenerTls, asked: bool, metrics: &Metrics) -> bool {
        let contents = Contents::read(self.certificate.section(), files);
        let found = contents
            .as_ref()
            .ok()
            .map(|contents| (contents.digest(), files.clone()));
        let is_new = found != self.settled && (asked || found == self.seen);
        self.seen.clone_from(&found);
        if !is_new {
            return false;
        }
        self.settled = found;
        let taken = contents.and_then(|contents| self.certificate.renew(files, &contents));
        metrics.tls.count_reload(self.label, taken.is_ok());
        match &taken {
            Ok(()) => tracing::info!(
                certificate = self.label,
                "a renewed certificate is in use for new connections"
            ),
            Err(error) => tracing::error!(
                certificate = self.label,
                %error,
                "the certificate is not valid; the one before stays in use"
            ),
        }
        taken.is_ok()
    }
}

/// The parts that change.
pub struct Upkeep {
    pub config: Arc<ArcSwap<Config>>,
    pub origin: Origin,
    pub door: Arc<ArcSwap<Door>>,
    pub metrics: Arc<Metrics>,
    pub audit: Audit,
    pub listener: Option<Watched>,
    pub admin: Option<Watched>,
}

impl Upkeep {
    /// Watches as long as the sidecar serves.
    pub async fn watch(mut self) {
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
            tracing::error!("no signals: SIGHUP will not reload the configuration");
            return;
        };
        let mut expiries = Expiries::default();
        let mut asked = false;
        loop {
            if asked {
                self.reconfigure();
            }
            let config = self.config.load_full();
            let parts = [
                (&mut self.listener, &config.server.tls),
                (&mut self.admin, &config.admin.tls),
            ];
            let mut renewed = false;
            for (watched, files) in parts {
                if let (Some(watched), Some(files)) = (watched, files) {
                    renewed |= watched.look(files, asked, &self.metrics);
                }
            }
            if renewed || asked {
                expiries.read_at = None;
            }
            expiries.look(&config, &self.metrics, Instant::now());
            asked = tokio::select! {
                signal = hang_up.recv() => signal.is_some(),
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
        }
    }

    /// Reads the configuration again and takes what may change.
    fn reconfigure(&self) {
        let new = match Config::load(&self.origin.path) {
            Ok(new) => new,
            Err(faults) => {
                tracing::error!(%faults, "the configuration is not valid; the one before stays in force");
                return;
            }
        };
        let old = self.config.load_full();
        let mut taken = (*old).clone();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for change in changes(&old, &new) {
            if self.take(&change, &mut taken, &new) {
                tracing::info!(%change, "the configuration changed");
                now.push(change);
            } else {
                tracing::warn!("{change} changed: takes a restart");
                later.push(change);
            }
        }
        let told = json!({"changed": now, "takes_a_restart": later});
        self.audit.act("config.reload", told);
        let mut door = Door::clone(&self.door.load());
        door.bound(&taken.server);
        self.door.store(Arc::new(door));
        self.config.store(Arc::new(taken));
    }

    /// Whether a changed key could be taken over.
    fn take(&self, change: &str, taken: &mut Config, new: &Config) -> bool {
        if !LIVE.contains(&change) {
            return false;
        }
        let (server, wanted) = (&mut taken.server, &new.server);
        match change {
            "[server] body_bytes_max" => server.body_bytes_max = wanted.body_bytes_max,
            "[server] reply_bytes_max" => server.reply_bytes_max = wanted.reply_bytes_max,
            "[server] rows_max" => server.rows_max = wanted.rows_max,
            "[server] drain_grace_ms" => server.drain_grace_ms = wanted.drain_grace_ms,
            "[server] drain_delay_ms" => server.drain_delay_ms = wanted.drain_delay_ms,
            "[server] tls" => return take_tls(&mut server.tls, &wanted.tls),
            "[admin] tls" => return take_tls(&mut taken.admin.tls, &new.admin.tls),
            "[log] filter" => match (self.origin.set_filter)(&new.log.filter) {
                Ok(()) => taken.log.filter.clone_from(&new.log.filter),
                Err(reason) => {
                    tracing::error!(%reason, "the log's filter cannot be changed");
                    return false;
                }
            },
            _ => return false,
        }
        true
    }
}

/// Other files and versions are taken by the next look at them; TLS itself is not switched on or off, and no client
/// gets in by a change that it could not have got in before, such as a file that was cut short.
fn take_tls(taken: &mut Option<ListenerTls>, new: &Option<ListenerTls>) -> bool {
    if taken.is_some() != new.is_some() {
        return false;
    }
    let asks = |tls: &Option<ListenerTls>| match tls.as_ref().map(|tls| &tls.clients) {
        None | Some(ClientAuth::Off) => 0,
        Some(ClientAuth::Optional { .. }) => 1,
        Some(ClientAuth::Require { .. }) => 2,
    };
    if asks(new) < asks(taken) {
        tracing::warn!(
            "`client_auth` or `client_ca_file` asks less of clients than before: nothing of this `tls` is taken without a restart"
        );
        return false;
    }
    taken.clone_from(new);
    true
}

/// When what expires, and what was said of it.
#[derive(Default)]
struct Expiries {
    read_at: Option<Instant>,
    ends: Vec<(&'static str, Timestamp)>,
    warned_at: Option<Instant>,
}

impl Expiries {
    fn look(&mut self, config: &Config, metrics: &Metrics, now: Instant) {
        let is_due =
            |at: Option<Instant>, interval| at.is_none_or(|at| now.duration_since(at) >= interval);
        if is_due(self.read_at, EXPIRY_INTERVAL) {
            self.read_at = Some(now);
            let held = Held::all(config).into_iter();
            self.ends = held
                .filter_map(|held| Some((held.label, held.expires().ok()?)))
                .collect();
        }
        let warns = is_due(self.warned_at, WARN_INTERVAL);
        let today = Timestamp::now().as_second();
        for (label, end) in &self.ends {
            let left = end.as_second() - today;
            metrics.tls.set_expiry(label, left);
            if warns && left < WARN_BEFORE_S {
                self.warned_at = Some(now);
                tracing::warn!(certificate = label, expires = %end, "a certificate expires soon: renew it");
            }
        }
    }
}
