//! argv → command → exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use bulkhead::command::{Exit, audit, certs, check, dev, keys, policy, schema, serve};
use bulkhead::config::{Config, LogFormat};
use bulkhead::record::output;
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
    /// Make certificates for development
    Certs(certs::CertsArgs),
    /// Check the configuration, the policy and every store
    Check(check::CheckArgs),
    /// Check, explain and test policies
    Policy(policy::PolicyArgs),
    /// Create, list, rotate and revoke API keys
    Keys(keys::KeysArgs),
    /// Read, check, export and retire the audit trail
    Audit(audit::AuditArgs),
    /// Create or inspect the system tables in PostgreSQL
    Schema(schema::SchemaArgs),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The one crypto provider of every TLS connection; it can be installed once, and this is the first use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve(args) => match Config::load(&args.config.config) {
            Ok(config) => {
                let set_filter = log_to_stdout(&config);
                let threads = config.server.threads;
                block_on(threads, serve::run(config, args.config.config, set_filter))
            }
            Err(faults) => {
                eprintln!("{faults}");
                Exit::Usage
            }
        },
        Command::Dev(args) => block_on(2, run_dev(args)),
        Command::Certs(args) => certs::run(&args),
        Command::Check(args) => block_on(1, check::run(args)),
        Command::Policy(args) => policy::run(&args),
        Command::Keys(args) => block_on(1, keys::run(args)),
        Command::Audit(args) => block_on(1, audit::run(args)),
        Command::Schema(args) => block_on(1, schema::run(args)),
    }
    .into()
}

/// Even one worker is of the kind that hands its tasks to another thread when it has long work to do.
fn block_on(threads: usize, command: impl Future<Output = Exit>) -> Exit {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    match builder.worker_threads(threads).enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(command);
            // Whoever ends at once waits for no thread that still computes.
            runtime.shutdown_background();
            output::flush();
            exit
        }
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

/// One line a record. `RUST_LOG` overrides the configured filter, for as long as the process lives. Returns what puts
/// another filter in its place.
fn log_to_stdout(config: &Config) -> serve::SetFilter {
    let overridden = EnvFilter::try_from_default_env();
    let is_overridden = overridden.is_ok();
    let filter = overridden
        .or_else(|_| EnvFilter::try_new(&config.log.filter))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_writer(output::Output)
        .with_env_filter(filter);
    match config.log.format {
        LogFormat::Json => {
            output::set_json();
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |text| set_filter(is_overridden, text, |filter| handle.reload(filter)))
        }
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stdout().is_terminal());
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |text| set_filter(is_overridden, text, |filter| handle.reload(filter)))
        }
    }
}

fn set_filter<E: std::fmt::Display>(
    is_overridden: bool,
    text: &str,
    reload: impl FnOnce(EnvFilter) -> Result<(), E>,
) -> Result<(), String> {
    if is_overridden {
        return Err("RUST_LOG is set, and overrides it".into());
    }
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    reload(filter).map_err(|error| error.to_string())
}
