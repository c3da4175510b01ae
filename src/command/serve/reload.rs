//! Takes a changed policy into force: all of it or nothing.
//!
//! The files are read every quarter of a second and compared by their digest. That also sees what notifications of
//! the file system do not: the swap of a symbolic link by which Kubernetes updates a mounted ConfigMap, a change on a
//! network share, a file replaced by another. A change counts once two looks in a row have seen the same, so that a
//! file half written is not taken for a policy. SIGHUP looks at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::command::policy::{LoadFault, PolicyText};
use crate::config::Config;
use crate::decide::{Policy, Severity};
use crate::gate::Gate;
use crate::operation::Store;
use crate::record::health::Rejected;

/// Pause between two looks at the files: a change is in force after two or three of them.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Faults that the log tells.
const FAULTS_LOGGED_MAX: usize = 50;

/// Places of faults that health shows.
const PLACES_MAX: usize = 8;

/// Watches as long as the sidecar serves.
pub async fn watch(gate: Arc<Gate>, config: Config) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        tracing::error!("no signals: SIGHUP will not reload the policy");
        return;
    };
    // What was last taken or refused, and what the last look has seen.
    let mut settled = Some(gate.policy.load().digest().to_owned());
    let mut seen = settled.clone();
    loop {
        let asked = tokio::select! {
            signal = hang_up.recv() => signal.is_some(),
            () = tokio::time::sleep(POLL_INTERVAL) => false,
        };
        let path = config.policy.clone();
        let Ok(text) = tokio::task::spawn_blocking(move || PolicyText::read(&path)).await else {
            continue;
        };
        let found = text.as_ref().ok().map(PolicyText::digest);
        let is_new = asked || (found != settled && found == seen);
        seen.clone_from(&found);
        if is_new {
            settled = found;
            take(&gate, &config, text).await;
        }
    }
}

/// Puts a policy in force, or says why not.
async fn take(gate: &Gate, config: &Config, text: Result<PolicyText, LoadFault>) {
    let in_force = gate.policy.load_full();
    let path = config.policy.clone();
    let told = move |fault: LoadFault| (shortened(&fault), places(&fault, &path));
    // A large policy takes a while to compile, and its faults to tell; requests do not wait for it.
    let compiling =
        tokio::task::spawn_blocking(move || text.and_then(PolicyText::compile).map_err(told));
    let failed = |_| Err(("the compiler failed on it".to_owned(), Vec::new()));
    let outcome = compiling.await.unwrap_or_else(failed);
    let outcome = outcome.and_then(|policy| {
        super::agree(&policy, &config.stores)
            .and_then(|()| same_schema(&in_force, &policy))
            .map(|()| policy)
            .map_err(|reason| (reason, Vec::new()))
    });
    match outcome {
        Ok(policy) => {
            tracing::info!(
                digest = policy.digest(),
                before = in_force.digest(),
                "the policy is reloaded"
            );
            gate.metrics
                .set_policy(&policy.version().to_string(), policy.digest());
            gate.metrics.count_reload(true);
            super::warn_of_roles(&policy, &config.auth);
            gate.audit.policy("policy.reload", policy.digest());
            gate.health.policy_accepted();
            gate.policy.store(Arc::new(policy));
        }
        Err((faults, places)) => {
            gate.metrics.count_reload(false);
            gate.health.policy_refused(Rejected { places });
            tracing::error!(
                %faults,
                in_force = in_force.digest(),
                "the policy is not valid; the one before stays in force"
            );
        }
    }
}

/// The first faults, a line each; `bulkhead policy check` tells all.
fn shortened(fault: &LoadFault) -> String {
    let all = fault.to_string();
    let mut lines = all.lines();
    let mut some: Vec<&str> = lines.by_ref().take(FAULTS_LOGGED_MAX).collect();
    let more = lines.count();
    let rest = format!("and {more} more");
    if more > 0 {
        some.push(&rest);
    }
    some.join("\n")
}

/// Connections have their search path from the policy that they were opened under.
fn same_schema(old: &Policy, new: &Policy) -> Result<(), String> {
    let schema = |policy: &Policy| {
        let schema = policy.default_namespace(Store::Postgres);
        schema.unwrap_or("public").to_owned()
    };
    if schema(old) == schema(new) {
        return Ok(());
    }
    Err(format!(
        "[stores.postgres] `schema` changes from `{}` to `{}`, which takes a restart",
        schema(old),
        schema(new)
    ))
}

/// Where the faults are; what they are stands in the log, since health may be read by anybody.
fn places(fault: &LoadFault, path: &Path) -> Vec<String> {
    match fault {
        LoadFault::Faults(faults) => {
            let errors = faults
                .0
                .iter()
                .filter(|fault| fault.severity == Severity::Error);
            let places = errors.map(|fault| {
                let file = Path::new(&fault.place.file).file_name().unwrap_or_default();
                format!("{}:{}", file.to_string_lossy(), fault.place.line)
            });
            places.take(PLACES_MAX).collect()
        }
        LoadFault::Read { .. }
        | LoadFault::TooLarge(_)
        | LoadFault::NotText(_)
        | LoadFault::NoFile(_)
        | LoadFault::TooManyFiles(_) => {
            vec![
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            ]
        }
    }
}
