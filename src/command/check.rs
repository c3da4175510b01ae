//! `bulkhead check`: configuration, policy, and every store, each fault with its place and its mend.

use clap::Args;
use jiff::Timestamp;

use super::{ConfigArgs, Exit, fail};
use crate::accept::tls::Certificate;
use crate::authenticate::keys;
use crate::authenticate::tokens::{self, TokenSettings};
use crate::certificates::{Held, WARN_BEFORE_S};
use crate::config::{Config, NativeGrants};
use crate::decide::Policy;
use crate::execute::stores::Stores;
use crate::limit::overrides;
use crate::native::target::Target;
use crate::operation::Store;
use crate::record::seal::SealSettings;
use crate::record::spool;
use crate::{schema, system};

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `bulkhead check`.
pub async fn run(args: CheckArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(faults) => return fail(faults),
    };
    let mut checks = Checks::default();
    checks.note(
        "configuration",
        Ok(args.config.config.display().to_string()),
    );
    let policy = super::policy::load(&config.policy);
    let is_valid = policy.is_ok();
    let native = match &policy {
        Ok(policy) => native_grants(policy, &config).await,
        Err(_) => Vec::new(),
    };
    let schema = policy
        .as_ref()
        .ok()
        .and_then(|policy| policy.default_namespace(Store::Postgres));
    let schema = schema.unwrap_or("public").to_owned();
    let (keys, overrides) = match &policy {
        Ok(policy) => (
            Some(keys_check(policy, &config).await),
            Some(overrides_check(policy, &config).await),
        ),
        Err(_) => (None, None),
    };
    checks.note(
        "policy",
        policy
            .map_err(|faults| faults.to_string())
            .and_then(|policy| {
                super::serve::agree(&policy, &config.stores)?;
                let unknown = super::serve::unknown_roles(&policy, &config.auth);
                if !unknown.is_empty() {
                    return Err(unknown.join("\n      "));
                }
                Ok(format!(
                    "version {}, digest {}",
                    policy.version(),
                    policy.digest()
                ))
            }),
    );
    listeners(&config, &mut checks);
    for held in Held::all(&config) {
        checks.note(&format!("{} cert", held.label), expiry(&held));
    }
    checks.note("system", system_check(&config).await);
    if let Some(tokens) = &config.auth.tokens {
        checks.note("token issuer", issuer_check(tokens).await);
    }
    if let Some(outcome) = keys {
        checks.note("keys", outcome);
    }
    if let Some(outcome) = overrides {
        checks.note("overrides", outcome);
    }
    checks.note("audit", audit_check(&config).await);
    match Stores::open(&config.stores, &schema).await {
        Ok(stores) => {
            for store in Store::ALL
                .into_iter()
                .filter(|store| stores.is_configured(*store))
            {
                let answer = stores.ping(store).await;
                checks.note(
                    store.as_str(),
                    answer
                        .map(|()| "reachable".into())
                        .map_err(|error| error.to_string()),
                );
            }
        }
        Err(error) => checks.note("stores", Err(error.to_string())),
    }
    for (store, outcome) in native {
        checks.note(&format!("{store} grants"), outcome);
    }
    if is_valid { checks.end() } else { Exit::Usage }
}

fn listeners(config: &Config, checks: &mut Checks) {
    for (listener, section, files) in [
        ("listener", "server.tls", &config.server.tls),
        ("admin", "admin.tls", &config.admin.tls),
    ] {
        if let Some(files) = files {
            let opened = Certificate::open(section, files);
            let outcome = opened.map(|_| "certificate and key belong together".to_owned());
            checks.note(
                &format!("{listener} tls"),
                outcome.map_err(|error| error.to_string()),
            );
        }
    }
}

/// How long a certificate holds.
fn expiry(held: &Held) -> Result<String, String> {
    let end = held.expires()?;
    let left = end.as_second() - Timestamp::now().as_second();
    let days = left / (24 * 60 * 60);
    let file = held.file.display();
    if left <= 0 {
        Err(format!("`{file}` expired at {end}: renew it"))
    } else if left < WARN_BEFORE_S {
        Ok(format!(
            "warning: `{file}` expires in {days} days, at {end}: renew it"
        ))
    } else {
        Ok(format!("expires in {days} days"))
    }
}

/// What each database grants the sidecar's account beside the policy, or fails to; nothing where nobody asks.
async fn native_grants(policy: &Policy, config: &Config) -> Vec<(Store, Result<String, String>)> {
    let mut found = Vec::new();
    if config.native_grants == NativeGrants::Off {
        return found;
    }
    for store in Store::ALL {
        let Some(target) = Target::configured(&config.stores, store) else {
            continue;
        };
        let outcome = match target.own_differences(policy).await {
            Ok(differences) if differences.is_empty() => Ok("as the policy has them".to_owned()),
            Ok(differences) => {
                let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
                let (count, lines) = (lines.len(), lines.join("\n      "));
                let text = format!(
                    "{count} differences, mended by `bulkhead policy grants --store {store}`\n      {lines}"
                );
                match config.native_grants {
                    NativeGrants::Require => Err(text),
                    NativeGrants::Warn | NativeGrants::Off => Ok(format!("warning: {text}")),
                }
            }
            Err(error) => Err(error.to_string()),
        };
        found.push((store, outcome));
    }
    found
}

/// The system account can log in and the tables are as this version needs them.
async fn system_check(config: &Config) -> Result<String, String> {
    let mut client = system::connect(&config.system)
        .await
        .map_err(|error| error.to_string())?;
    let status = schema::status(&mut client)
        .await
        .map_err(|error| system::describe(&error))?;
    if status.is_current() {
        Ok("reachable, system tables current".into())
    } else {
        Err(format!(
            "the system tables lack {}: run `bulkhead schema apply`",
            status.pending.join(", ")
        ))
    }
}

/// The keys of the tokens' issuer can be read, and some verify by the algorithms that are allowed.
async fn issuer_check(settings: &TokenSettings) -> Result<String, String> {
    tokens::check(settings).await.map_err(|cause| {
        format!(
            "[auth.jwt] the issuer's keys cannot be used, so that no token is honoured: {cause}"
        )
    })
}

/// Keys in force with a role that the policy lacks: they are refused everything.
async fn keys_check(policy: &Policy, config: &Config) -> Result<String, String> {
    let client = system::connect(&config.system).await;
    let client = client.map_err(|error| error.to_string())?;
    let roles: Vec<&str> = policy.roles().iter().map(|role| role.name()).collect();
    let found = keys::without_role(&client, &roles).await;
    let (count, first) = found.map_err(|error| error.to_string())?;
    if count == 0 {
        return Ok("each has a role of the policy".into());
    }
    let first = first.iter().map(|(id, role)| match role {
        Some(role) => format!("`{}` (`{}`)", id.escape_debug(), role.escape_debug()),
        None => format!("`{}` (none)", id.escape_debug()),
    });
    let first = first.collect::<Vec<_>>().join(", ");
    let more = if count > 5 { ", …" } else { "" };
    Ok(format!(
        "warning: {count} with a role that the policy does not have, so that they are refused everything: {first}{more}"
    ))
}

/// Overrides of rate limits that the policy makes useless.
async fn overrides_check(policy: &Policy, config: &Config) -> Result<String, String> {
    let client = system::connect(&config.system).await;
    let client = client.map_err(|error| error.to_string())?;
    let found = overrides::faults(&client, policy).await;
    let (count, faults) = found.map_err(|error| error.to_string())?;
    if faults.is_empty() {
        Ok(format!("{count} in force"))
    } else {
        let (bad, lines) = (faults.len(), faults.join("\n      "));
        Err(format!(
            "{bad} are not in force: change or delete these rows of rate_limit_overrides\n      {lines}"
        ))
    }
}

/// Nobody that the sidecar logs in as may change an audit row, and there is room for those to come.
async fn audit_check(config: &Config) -> Result<String, String> {
    let client = system::connect(&config.system)
        .await
        .map_err(|error| error.to_string())?;
    let mut accounts = vec![config.system.user.clone()];
    accounts.extend(
        config
            .stores
            .postgres
            .iter()
            .map(|store| store.user.clone()),
    );
    let faults = schema::guard::faults(&client, &accounts)
        .await
        .map_err(|error| system::describe(&error))?;
    let folder = spool::check(&config.audit.spool_dir);
    let faults: Vec<String> = faults
        .into_iter()
        .chain(folder.err().map(|error| error.to_string()))
        .chain(SealSettings::read(&config.audit).err())
        .collect();
    if faults.is_empty() {
        Ok("rows can be added alone, and waited for in the spool".into())
    } else {
        Err(faults.join("\n                     "))
    }
}

#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn note(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(detail) => println!("ok    {what:<14} {detail}"),
            Err(reason) => {
                self.failed += 1;
                println!("FAIL  {what:<14} {reason}");
            }
        }
    }

    fn end(self) -> Exit {
        if self.failed == 0 {
            Exit::Done
        } else {
            Exit::No
        }
    }
}
