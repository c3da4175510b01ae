//! `bulkhead schema apply|status`: the system tables in PostgreSQL.

use clap::{Args, Subcommand};

use super::{ConfigArgs, Exit, fail};
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
    /// Create or update the system tables
    Apply,
    /// Say which migrations are applied; exit 1 if any is not
    Status,
}

/// Runs `bulkhead schema`.
pub async fn run(args: SchemaArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(faults) => return fail(faults),
    };
    let mut client = match system::connect(&config.system).await {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    match args.command {
        SchemaCommand::Apply => match schema::apply(&mut client).await {
            Ok(report) => {
                if report.applied.is_empty() {
                    println!("nothing to do: the system tables are current");
                }
                report
                    .applied
                    .iter()
                    .for_each(|name| println!("applied  {name}"));
                Exit::Done
            }
            Err(error) => fail(system::describe(&error)),
        },
        SchemaCommand::Status => match schema::status(&mut client).await {
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
        },
    }
}
