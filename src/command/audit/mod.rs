//! `bulkhead audit verify|tail|export|query|retire|public-key`: the audit trail, read and checked.

mod export;
mod public_key;
mod query;
mod retire;
mod show;
mod source;
mod tail;
mod time;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio_postgres::Client;

use super::{ConfigArgs, Exit, Format, fail};
use crate::system::{self, Unavailable};

#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Find rows and seals that were changed, removed, reordered, inserted or cut off; exit 1 if there are any
    Verify(verify::VerifyArgs),
    /// Show the newest rows, and those that come
    Tail(tail::TailArgs),
    /// Write rows, heads and seals as JSON lines that `verify --file` can check without the database
    Export(export::ExportArgs),
    /// Find rows: who did what, to which table, and what was refused
    Query(query::QueryArgs),
    /// Drop whole months of rows, on record, so that `verify` knows
    Retire(retire::RetireArgs),
    /// Show the public half of the key that signs seals
    PublicKey(public_key::PublicKeyArgs),
}

/// Why an `audit` command cannot go on.
#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("postgres: {}", system::describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("`{}`: {error}", path.display())]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    #[error("{0}")]
    Usage(String),
    /// What was asked for must not be done.
    #[error("{0}")]
    Refused(String),
}

impl AuditError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}

/// Runs `bulkhead audit`.
pub async fn run(args: AuditArgs) -> Exit {
    let (config, format) = (args.config, args.format);
    let done = match args.command {
        AuditCommand::Verify(args) => verify::run(args, &config, format).await,
        AuditCommand::Tail(args) => tail::run(args, &config, format).await,
        AuditCommand::Export(args) => export::run(args, &config).await,
        AuditCommand::Query(args) => query::run(args, &config, format).await,
        AuditCommand::Retire(args) => retire::run(args, &config, format).await,
        AuditCommand::PublicKey(args) => public_key::run(&args, format),
    };
    match done {
        Ok(exit) => exit,
        Err(AuditError::Refused(reason)) => {
            eprintln!("bulkhead: {reason}");
            Exit::No
        }
        // `… | head` has seen enough.
        Err(AuditError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Exit::Done
        }
        Err(error) => fail(error),
    }
}

async fn connect(config: &ConfigArgs) -> Result<Client, AuditError> {
    let config = config
        .load()
        .map_err(|faults| AuditError::Usage(faults.to_string()))?;
    Ok(system::connect(&config.system).await?)
}
