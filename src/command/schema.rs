//! `bulkhead schema apply|status`: the system tables in PostgreSQL.

use clap::{Args, Subcommand};

use super::owner::OwnerArgs;
use super::{ConfigArgs, Exit, fail};
use crate::config::Config;
use crate::{schema, system};

#[derive(Debug, Args)]
pub struct SchemaArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: SchemaCommand,
}

#[derive(Debug, Subcommand)]
enum SchemaCommand {
    /// Create or update the system tables, and give the sidecar's accounts what they need of them
    Apply(OwnerArgs),
    /// Say which migrations are applied; exit 1 if any is not
    Status,
}

/// Runs `bulkhead schema`.
pub async fn run(args: SchemaArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(faults) => return fail(faults),
    };
    match args.command {
        SchemaCommand::Apply(owner) => match apply(&config, &owner).await {
            Ok(report) => {
                if report.applied.is_empty() {
                    println!("the system tables were current");
                }
                report
                    .applied
                    .iter()
                    .for_each(|name| println!("applied  {name}"));
                Exit::Done
            }
            Err(error) => fail(error),
        },
        SchemaCommand::Status => status(&config).await,
    }
}

async fn apply(config: &Config, owner: &OwnerArgs) -> Result<schema::Report, String> {
    let mut client = owner.connect(&config.system).await?;
    let report = schema::apply(&mut client).await;
    let report = report.map_err(|error| system::describe(&error))?;
    let callers = config.stores.postgres.as_ref();
    let callers = callers.map(|store| store.user.as_str());
    let granted = schema::grant(&client, &config.system.user, callers).await;
    granted.map_err(|error| system::describe(&error))?;
    Ok(report)
}

async fn status(config: &Config) -> Exit {
    let mut client = match system::connect(&config.system).await {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    match schema::status(&mut client).await {
        Ok(status) => {
            status
                .applied
                .iter()
                .for_each(|name| println!("applied  {name}"));
            status
                .pending
                .iter()
                .for_each(|name| println!("pending  {name}"));
            if status.is_current() {
                Exit::Done
            } else {
                Exit::No
            }
        }
        Err(error) => fail(system::describe(&error)),
    }
}
