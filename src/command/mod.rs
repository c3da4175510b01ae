//! One file per subcommand.

pub mod audit;
pub mod certs;
pub mod check;
pub mod dev;
pub mod keys;
mod owner;
pub mod policy;
pub mod schema;
pub mod serve;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{Config, Faults};

/// What a command ends with: 0 done; 1 the answer is no; 2 usage or configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    No,
    Usage,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Usage => 2,
        })
    }
}

/// How a command prints its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BULKHEAD_CONFIG",
        default_value = "bulkhead.toml"
    )]
    pub config: PathBuf,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, Faults> {
        Config::load(&self.config)
    }
}

/// Prints why a command cannot go on.
fn fail(reason: impl std::fmt::Display) -> Exit {
    eprintln!("bulkhead: {reason}");
    Exit::Usage
}
