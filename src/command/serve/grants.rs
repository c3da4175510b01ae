//! Compares what the databases grant the sidecar's accounts with the policy, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, NativeGrants};
use crate::gate::Gate;
use crate::native::target::Target;
use crate::operation::Store;
use crate::record::health::Grants;

/// How often a server that was found clean is asked again, and one that was not.
const CLEAN_INTERVAL: Duration = Duration::from_secs(30);
const DRIFT_INTERVAL: Duration = Duration::from_secs(3);

/// How often somebody looks whether the policy has changed.
const TICK: Duration = Duration::from_millis(250);

/// Differences of one store that the log names.
const LOGGED_MAX: usize = 20;

/// What `native_grants` means for a store before it was compared.
pub fn begin(gate: &Gate, config: &Config) {
    let held_back = match config.native_grants {
        NativeGrants::Off => return,
        NativeGrants::Warn => false,
        NativeGrants::Require => true,
    };
    for store in Store::ALL
        .into_iter()
        .filter(|store| gate.stores.is_configured(*store))
    {
        gate.health.set_grants(store, Grants::Unknown, held_back);
    }
}

/// Compares as long as the sidecar serves.
pub async fn watch(gate: Arc<Gate>, config: Config) {
    if config.native_grants == NativeGrants::Off {
        return;
    }
    let stores = Store::ALL
        .into_iter()
        .filter_map(|store| Some((store, Target::configured(&config.stores, store)?)));
    let watching = stores.map(|(store, target)| watch_one(&gate, &config, store, target));
    futures_util::future::join_all(watching).await;
}

async fn watch_one(gate: &Gate, config: &Config, store: Store, target: Target) {
    let mut said = None;
    loop {
        let policy = gate.policy.load_full();
        let compared = target.own_differences(&policy).await;
        let grants = match &compared {
            Ok(differences) if differences.is_empty() => Grants::Clean,
            Ok(differences) => Grants::Drift(differences.len()),
            Err(_) => Grants::Unknown,
        };
        let required = config.native_grants == NativeGrants::Require;
        gate.health
            .set_grants(store, grants, required && grants != Grants::Clean);
        let lines = match &compared {
            Ok(differences) => differences.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        if said.as_ref() != Some(&lines) {
            say(store, required, &lines);
            said = Some(lines);
        }
        let pause = if grants == Grants::Clean {
            CLEAN_INTERVAL
        } else {
            DRIFT_INTERVAL
        };
        let asked = Instant::now();
        while asked.elapsed() < pause && gate.policy.load().digest() == policy.digest() {
            tokio::time::sleep(TICK).await;
        }
    }
}

fn say(store: Store, required: bool, lines: &[String]) {
    if lines.is_empty() {
        tracing::info!(%store, "the database grants the sidecar's account what the policy does");
        return;
    }
    let shown = lines
        .get(..LOGGED_MAX.min(lines.len()))
        .unwrap_or_default()
        .join("; ");
    tracing::warn!(
        %store,
        differences = lines.len(),
        refused = required,
        %shown,
        "the database grants the sidecar's account other than the policy does: apply `bulkhead policy grants`"
    );
}
