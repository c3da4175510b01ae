//! As whom the system tables are defined: an account that the sidecar does not use.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::execute::settings::SqlStoreSettings;
use crate::schema::identifier;
use crate::system;

#[derive(Debug, Args)]
pub struct OwnerArgs {
    /// Log in as this account, in place of [system]'s, which should not own the tables
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The file with its password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Act as this role, which is to own the tables
    #[arg(long, value_name = "ROLE")]
    owner: Option<String>,
}

impl OwnerArgs {
    /// Connects to the system database as the tables' owner.
    ///
    /// # Errors
    /// In the operator's words: the password file cannot be read, or PostgreSQL refuses.
    pub async fn connect(&self, system: &SqlStoreSettings) -> Result<Client, String> {
        let mut settings = system.clone();
        if let Some(user) = &self.user {
            settings.user.clone_from(user);
            let password = match &self.password_file {
                Some(file) => std::fs::read_to_string(file)
                    .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?,
                None => String::new(),
            };
            settings.password = SecretString::from(password.trim_end_matches(['\r', '\n']));
        }
        let client = system::connect(&settings).await;
        let client = client.map_err(|error| error.to_string())?;
        if let Some(owner) = &self.owner {
            let acting = format!("SET ROLE {}", identifier(owner));
            let acting = client.batch_execute(&acting).await;
            acting.map_err(|error| {
                format!("cannot act as `{owner}`: {}", system::describe(&error))
            })?;
        }
        Ok(client)
    }
}
