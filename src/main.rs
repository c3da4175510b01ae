//! argv → command → exit code.

use std::process::ExitCode;

use bulkhead::command::{Exit, check, dev, keys, policy, schema, serve};
use bulkhead::config::{Config, LogFormat};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Data-access proxy sidecar: which table lives in which store, who may do what, how much, on record.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar
    Serve(serve::ServeArgs),
    /// Run private databases and the sidecar in front of them, until interrupted
    Dev(dev::DevArgs),
    /// Check the configuration, the policy and every store
    Check(check::CheckArgs),
    /// Check, explain and test policies
    Policy(policy::PolicyArgs),
    /// Create, list, rotate and revoke API keys
    Keys(keys::KeysArgs),
    /// Create or inspect the system tables in PostgreSQL
    Schema(schema::SchemaArgs),
}

fn main() -> ExitCode {
    // The one crypto provider of every TLS connection; it can be installed once, and this is the first use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve(args) => match Config::load(&args.config.config) {
            Ok(config) => {
                log_to_stdout(&config);
                block_on(config.server.threads, serve::run(config))
            }
            Err(faults) => {
                eprintln!("{faults}");
                Exit::Usage
            }
        },
        Command::Dev(args) => block_on(2, run_dev(args)),
        Command::Check(args) => block_on(1, check::run(args)),
        Command::Policy(args) => policy::run(&args),
        Command::Keys(args) => block_on(1, keys::run(args)),
        Command::Schema(args) => block_on(1, schema::run(args)),
    }
    .into()
}

fn block_on(threads: usize, command: impl Future<Output = Exit>) -> Exit {
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    match builder.worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("bulkhead: no runtime: {error}");
            Exit::Usage
        }
    }
}

async fn run_dev(args: dev::DevArgs) -> Exit {
    match dev::run(args).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("bulkhead: {error}");
            Exit::Usage
        }
    }
}

/// One line a record. `RUST_LOG` overrides the configured filter.
fn log_to_stdout(config: &Config) {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&config.log.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match config.log.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
}
