//! The `bulkhead.toml` with which the sidecar finds the private servers, and the example policy beside it.

use std::path::{Path, PathBuf};

use super::error::DevError;
use super::folder::{self, Account};
use super::ready::Listeners;
use super::server::{Credentials, Server};
use super::{Servers, mongodb, mysql, postgres};
use crate::operation::Store;

const POLICY: &str = include_str!("../../policies/default.toml");

/// Writes both files into the data folder, over those of an earlier start, and returns the configuration's path.
///
/// # Errors
/// When a file cannot be written.
pub fn write(servers: &Servers, listeners: Listeners) -> Result<PathBuf, DevError> {
    let policy = servers.folder().join("policy.toml");
    // A policy that was changed in a kept folder is the developer's own.
    if !policy.exists() {
        folder::write_private(&policy, POLICY.as_bytes(), &Account::Current)?;
    }
    let path = servers.folder().join("bulkhead.toml");
    let text = render(servers, listeners, &policy);
    folder::write_private(&path, text.as_bytes(), &Account::Current)?;
    Ok(path)
}

fn render(servers: &Servers, listeners: Listeners, policy: &Path) -> String {
    let ca = servers.ca_file();
    let tls = format!(
        "tls = {{ mode = \"verify-full\", ca_file = {} }}\n",
        quoted(&ca)
    );
    let mut text = format!(
        "# Written by `bulkhead dev`, over any changes, at every start.\n\n\
         [server]\nlisten = \"127.0.0.1:{}\"\n\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n\n\
         [policy]\npath = {}\n",
        listeners.http,
        listeners.admin,
        quoted(policy)
    );
    if let Some(system) = servers.postgres.system() {
        text.push_str("\n# The sidecar's own connection: keys, audit, overrides.\n[system]\n");
        text.push_str(&endpoint(
            servers.postgres.port(),
            postgres::DATABASE,
            system,
        ));
        text.push_str(&tls);
    }
    for store in Store::ALL {
        text.push_str(&format!("\n[stores.{store}]\n"));
        text.push_str(&store_section(servers.get(store)));
        text.push_str(&tls);
    }
    text
}

fn store_section(server: &Server) -> String {
    let (port, app) = (server.port(), server.app());
    match server.store() {
        Store::Postgres => endpoint(port, postgres::DATABASE, app),
        Store::Mysql => endpoint(port, mysql::DATABASE, app),
        Store::Mongodb => format!(
            "uri = \"mongodb://{}@127.0.0.1:{port}/?authSource=admin&directConnection=true\"\n\
             password_file = {}\ndatabase = \"{}\"\n",
            app.user,
            quoted(&app.password_file),
            mongodb::DATABASE
        ),
        Store::Redis => format!(
            "url = \"rediss://127.0.0.1:{port}/0\"\nuser = \"{}\"\npassword_file = {}\n",
            app.user,
            quoted(&app.password_file)
        ),
    }
}

fn endpoint(port: u16, database: &str, credentials: &Credentials) -> String {
    format!(
        "host = \"127.0.0.1\"\nport = {port}\ndatabase = \"{database}\"\nuser = \"{}\"\npassword_file = {}\n",
        credentials.user,
        quoted(&credentials.password_file)
    )
}

fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}
