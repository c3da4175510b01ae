//! Whether the configuration and the policy speak of the same databases and roles.

use crate::config;
use crate::decide::Policy;
use crate::operation::Store;

/// An unqualified name must mean the same to the policy and to the server.
pub(in crate::command) fn agree(policy: &Policy, stores: &config::Stores) -> Result<(), String> {
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

/// Names in the configuration that stand for roles which the policy lacks, and what to do: who comes with one is refused
/// everything.
pub(in crate::command) fn unknown_roles(policy: &Policy, auth: &config::Auth) -> Vec<String> {
    let unknown = auth.certificates.iter();
    let unknown = unknown.filter(|(_, role)| policy.role(role).is_none());
    unknown
        .map(|(name, role)| {
            format!(
                "[auth.certificates] gives `{name}` the role `{role}`, which the policy does not have, so that it is refused everything: add [roles.{role}] to the policy, or name another role"
            )
        })
        .collect()
}

pub(super) fn warn_of_roles(policy: &Policy, auth: &config::Auth) {
    for fault in unknown_roles(policy, auth) {
        tracing::warn!("{fault}");
    }
}
