//! The product: the real binary with the development configuration, on ports and with a policy of our own.

use crate::Fallible;
use crate::environment::Environment;
use crate::process::{Launch, free_address};
use crate::settings::Settings;

/// `app` has a limit that is never reached, so that the limiter works for every request and refuses none.
const POLICY: &str = include_str!("policy.toml");

/// Writes configuration and policy: those of `bulkhead dev` but for the two listeners and the policy.
pub fn prepare(settings: &Settings, environment: &Environment) -> Fallible<Launch> {
    let folder = environment.folder.path();
    let policy = folder.join("policy.toml");
    std::fs::write(&policy, POLICY)?;
    let address = free_address()?;

    let text = std::fs::read_to_string(&environment.ready.config)?;
    let mut config: toml::Table = text.parse()?;
    set(&mut config, "server", "listen", address.to_string())?;
    set(&mut config, "admin", "listen", free_address()?.to_string())?;
    set(&mut config, "policy", "path", policy.display().to_string())?;
    if let Some(threads) = settings.bulkhead_threads {
        set(&mut config, "server", "threads", i64::try_from(threads)?)?;
    }
    let config_file = folder.join("bulkhead.toml");
    std::fs::write(&config_file, config.to_string())?;
    Ok(Launch {
        program: settings.binary.clone(),
        arguments: vec!["serve".into(), "--config".into(), config_file.into()],
        address,
        log: folder.join("sidecar.log"),
    })
}

fn set(
    config: &mut toml::Table,
    section: &str,
    key: &str,
    value: impl Into<toml::Value>,
) -> Fallible {
    config
        .entry(section)
        .or_insert_with(|| toml::Table::new().into())
        .as_table_mut()
        .ok_or_else(|| format!("`{section}` in the configuration is not a table"))?
        .insert(key.to_owned(), value.into());
    Ok(())
}
