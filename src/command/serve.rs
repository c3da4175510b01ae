//! `bulkhead serve`: the sidecar.

mod agree;
mod grants;
mod reload;
mod stop;
mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clap::Args;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{ConfigArgs, Exit, fail};
use crate::accept::body::Bounds;
use crate::accept::http::Door;
use crate::accept::tls::Certificate;
use crate::accept::{Bound, Limits, Listener, Phase, admin};
use crate::authenticate::tokens::Tokens;
use crate::authenticate::{Authenticator, Certificates, Settings};
use crate::catalogue::watch::Catalogues;
use crate::config::{self, Config, ListenerTls};
use crate::execute::Error;
use crate::execute::settings::SqlStoreSettings;
use crate::execute::stores::Stores;
use crate::gate::{Gate, Understandings};
use crate::limit::Limiter;
use crate::memory::Memory;
use crate::operation::Store;
use crate::record::audit::{self, Writer};
use crate::record::health::{Health, PROBE_INTERVAL, PROBE_TIMEOUT};
use crate::record::metrics::Metrics;
use crate::record::output;
use crate::record::requests::Requests;
use crate::record::seal::SealSettings;
use crate::record::spool::SpoolSettings;
use crate::system::changes::{Changes, Subscription};
use crate::system::{System, Unavailable};
use agree::warn_of_roles;
pub(super) use agree::{agree, unknown_roles};
use stop::{LAST_REPLIES_TIMEOUT, Serving, Signals, Trail};
pub use upkeep::SetFilter;
use upkeep::{Origin, Upkeep, Watched};

/// Connections to the admin listener at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long after the start the log tells nothing of a Redis that does not count the limits yet.
const REDIS_CONNECTS_WITHIN: Duration = Duration::from_secs(1);

/// How long what may come later waits for what a first request needs.
const PREPARED_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Ends once a request has all that it needs, or [`PREPARED_WITHIN`] after it was begun.
type Prepared = Shared<BoxFuture<'static, ()>>;

struct Assembled {
    gate: Arc<Gate>,
    writer: Writer,
    system: Arc<System>,
    prepared: Prepared,
}

/// Serves until SIGTERM or SIGINT; [`Exit::No`] if requests in flight had to be cut. `set_filter` puts another filter
/// on the log.
pub async fn run(config: Config, path: PathBuf, set_filter: SetFilter) -> Exit {
    match serve(config, Origin { path, set_filter }).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::No,
        Err(error) => fail(error),
    }
}

/// Lets the process open as many files as it may, since every connection is one. Many systems begin with 1024.
fn raise_open_files() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn serve(config: Config, origin: Origin) -> Result<bool, Failure> {
    raise_open_files();
    let mut signals = Signals::new()?;
    let Assembled {
        gate,
        writer,
        system,
        prepared,
    } = assemble(&config).await?;
    let server = &config.server;
    let certificate = open_certificate("server.tls", server.tls.as_ref())?;
    let admin_certificate = open_certificate("admin.tls", config.admin.tls.as_ref())?;
    let certificates = [certificate.as_ref(), admin_certificate.as_ref()];
    let (data, operator) = bind(&config, certificates, &gate.metrics)?;
    let (data_address, admin_address) = (data.address()?, operator.address()?);
    let operator = operator.listen()?;
    // On a shared port another sidecar serves until this one can.
    let data = if server.reuse_port {
        gate.health.set_deaf(true);
        Err(data)
    } else {
        Ok(data.listen()?)
    };
    tracing::info!(
        data = %data_address,
        admin = %admin_address,
        tls = server.tls.is_some(),
        "listening"
    );

    let door = Arc::new(ArcSwap::from_pointee(door(&gate, server)));
    let upkeep = Upkeep {
        config: Arc::new(ArcSwap::from_pointee(config.clone())),
        origin,
        door: Arc::clone(&door),
        metrics: Arc::clone(&gate.metrics),
        audit: gate.audit.clone(),
        listener: watched("listener", certificate, server.tls.as_ref()),
        admin: watched("admin", admin_certificate, config.admin.tls.as_ref()),
    };
    let current = Arc::clone(&upkeep.config);
    let background = background(&gate, &config, upkeep, &prepared);
    let trail = Trail::start(
        after(&prepared, writer.run()),
        SealSettings::read(&config.audit)?,
        &config,
        &gate.metrics,
    );
    let (phase, phases) = watch::channel(Phase::Serving);
    let waiting = Arc::clone(&gate);
    let task = tokio::spawn(async move {
        let listener = match data {
            Ok(listener) => Some(listener),
            Err(bound) => stop::listen_in_turn(bound, &waiting, &system, phases.clone()).await?,
        };
        drop((waiting, system));
        let handler = move |peer, request| Door::clone(&door.load()).handle(peer, request);
        match listener {
            Some(listener) => Ok(listener.serve(handler, phases, LAST_REPLIES_TIMEOUT).await),
            None => Ok(true),
        }
    });
    let mut data = Serving { phase, task };
    let operator = operate(operator, Arc::clone(&gate));

    tokio::select! {
        () = signals.next() => {}
        ended = &mut data.task => return Ok(ended??),
    }
    let current = current.load_full();
    tokio::select! {
        ended = stop::end(gate, data, operator, background, trail, &current.server) => ended,
        () = signals.next() => {
            tracing::warn!("a second signal: stopped at once");
            Ok(false)
        }
    }
}

/// The data listener's port and the admin listener's, which take no connections yet.
fn bind(
    config: &Config,
    [certificate, admin_certificate]: [Option<&Arc<Certificate>>; 2],
    metrics: &Metrics,
) -> Result<(Bound, Bound), String> {
    let server = &config.server;
    let limits = |connections_max, connections_per_peer_max| Limits {
        connections_max,
        connections_per_peer_max,
        receive_timeout: Duration::from_millis(server.receive_timeout_ms),
        send_timeout: Duration::from_millis(server.send_timeout_ms),
    };
    let bind = |section, address, reuse_port, certificate: Option<&Arc<Certificate>>, limits| {
        let label = if section == "server" { "data" } else { section };
        let counts = metrics.listener(label);
        Bound::bind(address, reuse_port, certificate.cloned(), limits, counts)
            .map_err(|error| cannot_listen(section, address, &error))
    };
    let data = bind(
        "server",
        server.listen,
        server.reuse_port,
        certificate,
        limits(server.connections_max, server.connections_per_peer_max),
    )?;
    let operator = bind(
        "admin",
        config.admin.listen,
        config.admin.reuse_port,
        admin_certificate,
        limits(ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX),
    )?;
    Ok((data, operator))
}

fn cannot_listen(section: &str, address: SocketAddr, error: &std::io::Error) -> String {
    let way_out = if error.kind() == std::io::ErrorKind::AddrInUse {
        ": another process has it; stop that one, choose another `listen`, or, to follow a sidecar without a gap, set \
         `reuse_port = true` for both"
    } else {
        ""
    };
    format!("[{section}] cannot listen on {address}: {error}{way_out}")
}

/// Serves the admin listener.
fn operate(listener: Listener, gate: Arc<Gate>) -> Serving {
    let (phase, phases) = watch::channel(Phase::Serving);
    let handler = move |_peer, request| admin::handle(Arc::clone(&gate), request);
    let task =
        tokio::spawn(
            async move { Ok(listener.serve(handler, phases, LAST_REPLIES_TIMEOUT).await) },
        );
    Serving { phase, task }
}

/// What runs beside the listeners.
type Background = [JoinHandle<()>; 14];

fn background(
    gate: &Arc<Gate>,
    config: &Config,
    upkeep: Upkeep,
    prepared: &Prepared,
) -> Background {
    let system = System::new(config.system.clone());
    let changes = Arc::new(Changes::new(config.system.clone()));
    [
        tokio::spawn(probe(Arc::clone(gate))),
        tokio::spawn(after(prepared, probe_system(Arc::clone(gate), system))),
        tokio::spawn(after(prepared, keep_audit_months(config.system.clone()))),
        tokio::spawn(keep_last_used(Arc::clone(gate))),
        tokio::spawn(follow_keys(Arc::clone(gate), changes.subscribe())),
        tokio::spawn(keep_token_keys(Arc::clone(gate))),
        tokio::spawn(keep_overrides(
            Arc::clone(gate),
            config.clone(),
            Arc::clone(&changes),
        )),
        tokio::spawn(after(prepared, async move { changes.run().await })),
        tokio::spawn(tell_modes(Arc::clone(gate))),
        tokio::spawn(reload::watch(Arc::clone(gate), config.clone())),
        tokio::spawn(grants::watch(Arc::clone(gate), config.clone())),
        tokio::spawn(keep_catalogues(Arc::clone(gate))),
        tokio::spawn(upkeep.watch()),
        tokio::spawn(output::keep()),
    ]
}

fn open_certificate(
    section: &'static str,
    files: Option<&ListenerTls>,
) -> Result<Option<Arc<Certificate>>, Failure> {
    let certificate = files.map(|files| Certificate::open(section, files));
    Ok(certificate.transpose()?.map(Arc::new))
}

fn watched(
    label: &'static str,
    certificate: Option<Arc<Certificate>>,
    files: Option<&ListenerTls>,
) -> Option<Watched> {
    Some(Watched::new(label, certificate?, files?.clone()))
}

fn door(gate: &Arc<Gate>, server: &config::Server) -> Door {
    Door {
        gate: Arc::clone(gate),
        body: Bounds {
            bytes_max: server.body_bytes_max,
            timeout: Duration::from_millis(server.receive_timeout_ms),
            memory: Arc::clone(&gate.understandings.memory),
        },
        rows_max: server.rows_max,
        reply_bytes_max: server.reply_bytes_max,
        send_timeout: Duration::from_millis(server.send_timeout_ms),
    }
}

/// Puts the stages together. Connecting has begun at most: the databases may come later.
async fn assemble(config: &Config) -> Result<Assembled, Failure> {
    let policy = super::policy::load(&config.policy)?;
    let metrics = Arc::new(Metrics::new()?);
    metrics.set_policy(&policy.version().to_string(), policy.digest());
    let system = Arc::new(System::new(config.system.clone()));
    let health = Arc::new(Health::default());
    agree(&policy, &config.stores)?;
    warn_of_roles(&policy, &config.auth);
    let catalogues = Arc::new(Catalogues::new(&config.stores, &policy));
    let prepared = prepare_for_requests(&system, &catalogues);
    let schema = policy
        .default_namespace(Store::Postgres)
        .unwrap_or("public");
    let stores = Stores::open(&config.stores, schema).await?;
    for store in Store::ALL {
        if stores.is_configured(store) {
            health.configure(store);
        }
    }
    // A connection of its own, so that a batch of rows does not hold up the look-up of a key.
    let audit_system = Arc::new(System::new(config.system.clone()));
    let spool = SpoolSettings {
        dir: config.audit.spool_dir.clone(),
        bytes_max: config.audit.spool_bytes_max,
    };
    let when_full = config.audit.when_full;
    let (audit, writer) = audit::open(spool, when_full, audit_system, Arc::clone(&metrics))?;
    let settings = Settings {
        ttl: Duration::from_millis(config.auth.cache_ttl_ms),
        stale_max: Duration::from_secs(config.auth.stale_max_s),
    };
    let now = Instant::now();
    let certificates = Certificates::new(&config.auth.certificates);
    let tokens = config.auth.tokens.clone();
    let tokens = tokens.map(|tokens| Tokens::open(tokens, config.stores.redis.as_ref(), now));
    let tokens = tokens.transpose()?;
    let gate = Gate {
        keys: Authenticator::new(Arc::clone(&system), settings, certificates, tokens, now),
        policy: ArcSwap::from_pointee(policy),
        classifications: Arc::default(),
        understandings: Understandings::new(Memory::new(config.server.memory_bytes_max)),
        catalogues,
        limiter: Limiter::new(config.stores.redis.as_ref(), Instant::now())?,
        stores,
        metrics,
        health,
        audit,
        requests: config.record.clone().map(Requests::start),
    };
    gate.audit
        .policy("policy.load", gate.policy.load().digest());
    grants::begin(&gate, config);
    Ok(Assembled {
        gate: Arc::new(gate),
        writer,
        system,
        prepared,
    })
}

/// Begins what a first request would wait for, before anything else takes up the servers.
fn prepare_for_requests(system: &Arc<System>, catalogues: &Arc<Catalogues>) -> Prepared {
    let (system, catalogues) = (Arc::clone(system), Arc::clone(catalogues));
    let read = tokio::spawn(async move { catalogues.refresh().await });
    // Whoever needs the connection is told why there is none.
    let connected = tokio::spawn(async move { drop(system.client().await) });
    let both = async { tokio::join!(read, connected) };
    let prepared = tokio::time::timeout(PREPARED_WITHIN, both).map(drop);
    prepared.boxed().shared()
}

/// What may come a little later, as it opens connections of its own.
fn after<F: Future>(prepared: &Prepared, task: F) -> impl Future<Output = F::Output> + use<F> {
    let prepared = Prepared::clone(prepared);
    prepared.then(|()| task)
}

/// Asks every configured store, again and again, whether it answers.
async fn probe(gate: Arc<Gate>) {
    let configured = Store::ALL
        .into_iter()
        .filter(|store| gate.stores.is_configured(*store));
    let mut probed: Vec<_> = configured.map(|store| (store, None)).collect();
    loop {
        let probes = probed
            .iter_mut()
            .map(|(store, fault)| probe_one(&gate, *store, fault));
        futures_util::future::join_all(probes).await;
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// Asks the sidecar's own database, on a connection of its own, and says so when that changes.
async fn probe_system(gate: Arc<Gate>, system: System) {
    loop {
        let asked = async {
            system
                .client()
                .await?
                .check_connection()
                .await
                .map_err(Into::into)
        };
        let answered = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
        let fault = match answered {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Unavailable("no answer".into())),
        };
        if gate.health.system(fault.is_none()) {
            match fault {
                None => tracing::info!("the system connection works"),
                Some(error) => tracing::warn!(%error, "keys and audit need the system connection"),
            }
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// Asks one store, and says in the log when what is wrong with it has changed. `known` is what was wrong before.
async fn probe_one(gate: &Gate, store: Store, known: &mut Option<String>) {
    let began = Instant::now();
    let answered = tokio::time::timeout(PROBE_TIMEOUT, gate.stores.ping(store)).await;
    let fault = match answered {
        Ok(Ok(())) => {
            gate.health.answered(store);
            None
        }
        // Which says nothing of the server.
        Ok(Err(Error::PoolExhausted { .. })) if gate.health.is_silent(store) => return,
        Ok(Err(Error::PoolExhausted { .. })) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => {
            gate.health.unanswered(store);
            Some(format!("no answer within {} ms", PROBE_TIMEOUT.as_millis()))
        }
    };
    match &fault {
        None => gate.health.up(store, began.elapsed()),
        Some(_) => gate.health.down(store),
    }
    gate.metrics.set_up(store, fault.is_none());
    if fault == *known {
        return;
    }
    let store = store.as_str();
    match &fault {
        None => tracing::info!(store, "the database answers again"),
        Some(cause) => tracing::warn!(store, cause, "the database does not answer"),
    }
    *known = fault;
}

async fn keep_audit_months(settings: SqlStoreSettings) {
    audit::partitions::keep(&System::new(settings)).await;
}

async fn keep_last_used(gate: Arc<Gate>) {
    gate.keys.keep_last_used().await;
}

async fn follow_keys(gate: Arc<Gate>, changes: Subscription) {
    gate.keys.follow(changes).await;
}

async fn keep_overrides(gate: Arc<Gate>, config: Config, changes: Arc<Changes>) {
    let system = System::new(config.system);
    let overrides = gate.limiter.overrides();
    overrides.keep(&system, &changes, &gate.policy).await;
}

/// Redis is connected to meanwhile: that it was not yet is no news.
async fn tell_modes(gate: Arc<Gate>) {
    tokio::time::sleep(REDIS_CONNECTS_WITHIN).await;
    gate.limiter.tell_modes(&gate.policy).await;
}

async fn keep_token_keys(gate: Arc<Gate>) {
    let telling = async {
        while let Some(state) = gate.keys.token_keys(Instant::now()) {
            gate.health.set_token_keys(state);
            gate.metrics.set_token_keys(state);
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    };
    tokio::join!(gate.keys.keep_token_keys(), telling);
}

async fn keep_catalogues(gate: Arc<Gate>) {
    gate.catalogues.keep_fresh().await;
}
