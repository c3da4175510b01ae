//! `bulkhead serve`: the sidecar.

mod grants;
mod reload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{ConfigArgs, Exit, fail};
use crate::accept::body::Bounds;
use crate::accept::http::Door;
use crate::accept::{Limits, Listener, admin, tls};
use crate::authenticate::{Authenticator, Settings};
use crate::catalogue::watch::Catalogues;
use crate::config::{self, Config};
use crate::decide::Policy;
use crate::execute::stores::Stores;
use crate::gate::Gate;
use crate::limit::Limiter;
use crate::memory::Memory;
use crate::operation::Store;
use crate::record::audit::{self, Writer};
use crate::record::health::{Health, PROBE_INTERVAL, PROBE_TIMEOUT};
use crate::record::metrics::Metrics;
use crate::record::requests::Requests;
use crate::system::changes::Changes;
use crate::system::{System, Unavailable};

/// Connections to the admin listener at once.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long replies already made may take to reach their callers once the listeners close.
const LAST_REPLIES_TIMEOUT: Duration = Duration::from_secs(1);

/// How long audit rows may take to be written after the last request.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT; [`Exit::No`] if requests in flight had to be cut.
pub async fn run(config: Config) -> Exit {
    match serve(config).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::No,
        Err(error) => fail(error),
    }
}

async fn serve(config: Config) -> Result<bool, Failure> {
    let (gate, writer) = assemble(&config).await?;
    let changes = Arc::new(Changes::new(config.system.clone()));
    let server = &config.server;
    let receive_timeout = Duration::from_millis(server.receive_timeout_ms);
    let acceptor = server.tls.as_ref().map(tls::acceptor).transpose()?;
    let send_timeout = Duration::from_millis(server.send_timeout_ms);
    let limits = |connections_max| Limits {
        connections_max,
        receive_timeout,
        send_timeout,
    };
    let data = Listener::bind(server.listen, acceptor, limits(server.connections_max))
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", server.listen))?;
    let operator = Listener::bind(config.admin.listen, None, limits(ADMIN_CONNECTIONS_MAX))
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.admin.listen))?;
    tracing::info!(
        data = %data.address()?,
        admin = %operator.address()?,
        tls = server.tls.is_some(),
        "listening"
    );

    let background = [
        tokio::spawn(probe(Arc::clone(&gate))),
        tokio::spawn(probe_system(
            Arc::clone(&gate),
            System::new(config.system.clone()),
        )),
        tokio::spawn(keep_last_used(Arc::clone(&gate))),
        tokio::spawn(reload::watch(Arc::clone(&gate), config.clone())),
        tokio::spawn(grants::watch(Arc::clone(&gate), config.clone())),
        tokio::spawn(keep_catalogues(Arc::clone(&gate))),
        tokio::spawn(keep_overrides(
            Arc::clone(&gate),
            config.clone(),
            Arc::clone(&changes),
        )),
        tokio::spawn(async move { changes.run().await }),
    ];
    let writer = tokio::spawn(writer.run());
    let (stop_data, data_stopped) = watch::channel(false);
    let (stop_admin, admin_stopped) = watch::channel(false);
    let grace = Duration::from_millis(server.drain_grace_ms);
    let door = Door {
        gate: Arc::clone(&gate),
        body: Bounds {
            bytes_max: server.body_bytes_max,
            timeout: receive_timeout,
            memory: Memory::new(server.memory_bytes_max),
        },
        rows_max: server.rows_max,
        reply_bytes_max: server.reply_bytes_max,
        send_timeout,
    };
    let data = tokio::spawn(data.serve(
        move |request| door.clone().handle(request),
        data_stopped,
        LAST_REPLIES_TIMEOUT,
    ));
    let operator_gate = Arc::clone(&gate);
    let operator = tokio::spawn(operator.serve(
        move |request| admin::handle(Arc::clone(&operator_gate), request),
        admin_stopped,
        LAST_REPLIES_TIMEOUT,
    ));

    stop_signal().await?;
    tracing::info!(grace_ms = server.drain_grace_ms, "draining");
    // The listener stays open meanwhile, so that new work is told to go elsewhere rather than refused.
    let finished = tokio::time::timeout(grace, gate.drain()).await.is_ok();
    gate.stores.roll_back_all().await;
    let _ = stop_data.send(true);
    data.await?;
    let _ = stop_admin.send(true);
    operator.await?;
    for task in background {
        task.abort();
        let _ = task.await;
    }
    gate.keys.flush_last_used().await;
    drop(gate);
    let flushed = tokio::time::timeout(FLUSH_TIMEOUT, writer).await.is_ok();
    tracing::info!(finished, flushed, "stopped");
    Ok(finished && flushed)
}

/// Puts the stages together. Nothing is connected yet: the databases may come later.
async fn assemble(config: &Config) -> Result<(Arc<Gate>, Writer), Failure> {
    let policy = super::policy::load(&config.policy)?;
    let metrics = Arc::new(Metrics::new()?);
    metrics.set_policy(&policy.version().to_string(), policy.digest());
    let system = Arc::new(System::new(config.system.clone()));
    let health = Arc::new(Health::default());
    agree(&policy, &config.stores)?;
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
    let (audit, writer) = audit::queue(audit_system, Arc::clone(&metrics));
    let settings = Settings {
        ttl: Duration::from_millis(config.auth.cache_ttl_ms),
        stale_max: Duration::from_secs(config.auth.stale_max_s),
    };
    let catalogues = Catalogues::new(&config.stores, &policy);
    let gate = Gate {
        keys: Authenticator::new(system, settings),
        policy: ArcSwap::from_pointee(policy),
        classifications: Arc::default(),
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
    Ok((Arc::new(gate), writer))
}

/// An unqualified name must mean the same to the policy and to the server.
pub(super) fn agree(policy: &Policy, stores: &config::Stores) -> Result<(), String> {
    let mysql = stores.mysql.as_ref().map(|store| store.database.as_str());
    let mongodb = stores.mongodb.as_ref().map(|store| store.database.as_str());
    for (store, configured) in [(Store::Mysql, mysql), (Store::Mongodb, mongodb)] {
        let (Some(configured), Some(named)) = (configured, policy.default_namespace(store)) else {
            continue;
        };
        if configured != named {
            return Err(format!(
                "[stores.{store}] `database` is `{configured}` in the configuration and `{named}` in the policy: make them the same"
            ));
        }
    }
    Ok(())
}

/// Asks every configured store, again and again, whether it answers.
async fn probe(gate: Arc<Gate>) {
    loop {
        let probes = Store::ALL
            .into_iter()
            .filter(|store| gate.stores.is_configured(*store))
            .map(|store| probe_one(&gate, store));
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

async fn probe_one(gate: &Gate, store: Store) {
    let began = Instant::now();
    let answered = tokio::time::timeout(PROBE_TIMEOUT, gate.stores.ping(store)).await;
    let up = matches!(answered, Ok(Ok(())));
    if up {
        gate.health.up(store, began.elapsed());
    } else {
        gate.health.down(store);
    }
    gate.metrics.set_up(store, up);
}

async fn keep_last_used(gate: Arc<Gate>) {
    gate.keys.keep_last_used().await;
}

async fn keep_catalogues(gate: Arc<Gate>) {
    gate.catalogues.keep_fresh().await;
}

async fn keep_overrides(gate: Arc<Gate>, config: Config, changes: Arc<Changes>) {
    let system = System::new(config.system);
    gate.limiter.overrides().keep(&system, &changes).await;
}

async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
