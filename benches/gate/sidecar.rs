//! The product: the real binary with the development configuration, on ports and with a policy of our own.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::TlsConnector;

use crate::environment::Environment;
use crate::process::{Launch, free_address};
use crate::settings::Settings;
use crate::{Fallible, connect};

/// `app` has a limit that is never reached, so that the limiter works for every request and refuses none.
const POLICY: &str = include_str!("policy.toml");
const LARGE_TABLES: usize = 10_000;
const LARGE_ROLES: usize = 1_000;

/// What is else about a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Plain,
    Tls,
    LargePolicy,
}

/// Writes configuration and policy: those of `bulkhead dev` but for the two listeners and the policy.
pub fn prepare(
    settings: &Settings,
    environment: &Environment,
    variant: Variant,
) -> Fallible<Launch> {
    let name = match variant {
        Variant::Plain => "plain",
        Variant::Tls => "tls",
        Variant::LargePolicy => "large-policy",
    };
    let folder = environment.folder.path().join(name);
    std::fs::create_dir_all(&folder)?;
    let policy = folder.join("policy.toml");
    let text = match variant {
        Variant::Plain | Variant::Tls => POLICY.to_owned(),
        Variant::LargePolicy => large_policy(),
    };
    std::fs::write(&policy, text)?;
    let address = free_address()?;

    let text = std::fs::read_to_string(&environment.ready.config)?;
    let mut config: toml::Table = text.parse()?;
    set(&mut config, "server", "listen", address.to_string())?;
    set(&mut config, "admin", "listen", free_address()?.to_string())?;
    set(&mut config, "policy", "path", policy.display().to_string())?;
    if let Some(threads) = settings.bulkhead_threads {
        set(&mut config, "server", "threads", i64::try_from(threads)?)?;
    }
    if variant == Variant::Tls {
        let certificates = certificates(settings, environment)?;
        let file = |name| certificates.join(name).display().to_string();
        let tls: toml::Table = [
            ("cert_file".to_owned(), file("server.pem").into()),
            ("key_file".to_owned(), file("server.key").into()),
        ]
        .into_iter()
        .collect();
        set(&mut config, "server", "tls", tls)?;
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

/// Trusts the listener's certificate.
pub fn connector(environment: &Environment) -> Fallible<TlsConnector> {
    let ca = environment.folder.path().join("certificates/ca.pem");
    Ok(TlsConnector::from(Arc::new(connect::client_tls(&ca)?)))
}

fn certificates(settings: &Settings, environment: &Environment) -> Fallible<PathBuf> {
    let folder = environment.folder.path().join("certificates");
    let made = Command::new(&settings.binary)
        .args(["certs", "dev", "--dir"])
        .arg(&folder)
        .output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    Ok(folder)
}

/// The same for our two roles, with as many tables and roles around them as a large company has.
fn large_policy() -> String {
    let mut tables = String::from("\"transactions\"");
    for table in 0..LARGE_TABLES {
        let _ = write!(tables, ", \"t{table}\"");
    }
    let mut policy = POLICY.replace("\"transactions\"", &tables);
    let each = LARGE_TABLES / LARGE_ROLES;
    for role in 0..LARGE_ROLES {
        let own: Vec<String> = (role * each..(role + 1) * each)
            .map(|table| format!("\"t{table}\""))
            .collect();
        let _ = write!(
            policy,
            "\n[roles.r{role}]\n[[roles.r{role}.grants]]\nstore = \"mysql\"\ntables = [{}]\nactions = [\"select\"]\n",
            own.join(", ")
        );
    }
    policy
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
