//! `bulkhead policy …`: a policy checked, explained and tested, without a database.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Exit, Format};

mod load;
pub use load::{LoadFault, PolicyText, load};

mod report;
mod request;

mod batch;
mod check;
mod coverage;
mod diff;
mod explain;
mod grants;
mod help;
mod replay;
mod says;
mod schema;
mod test;

#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check a policy: every fault with its file, line and mend
    #[command(after_help = help::CHECK)]
    Check(CheckArgs),
    /// Say what a policy decides about a request, and why; nothing is executed
    #[command(after_help = help::EXPLAIN)]
    Explain(ExplainArgs),
    /// Run the cases of the `*.test.toml` files beside a policy
    #[command(after_help = help::TEST)]
    Test(TestArgs),
    /// Print the policy as a store's own grants, or say where a server differs from it
    #[command(after_help = help::GRANTS)]
    Grants(GrantsArgs),
    /// Say what a change of a policy allows or denies, to whom, on what
    #[command(after_help = help::DIFF)]
    Diff(DiffArgs),
    /// Print the JSON Schema of the policy format, for editors
    #[command(after_help = help::SCHEMA)]
    Schema,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A policy file, or a directory whose `*.toml` files are merged
    path: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A policy file, or a directory whose `*.toml` files are merged
    #[arg(long)]
    policy: PathBuf,
    /// Who asks: a role of the policy
    #[arg(long, required_unless_present = "batch")]
    role: Option<String>,
    /// postgres, mysql, mongodb or redis
    #[arg(long, value_parser = store, required_unless_present = "batch")]
    store: Option<crate::operation::Store>,
    /// Judge as on a connection of the caller's own, where transaction control is legal
    #[arg(long)]
    session: bool,
    /// The user to whom the caller's key belongs, for row filters
    #[arg(long)]
    user_id: Option<String>,
    /// Judge as at this time (RFC 3339), for grants with `hours`; now, where left out
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    /// Judge JSON lines from standard input, a JSON line each (their form: policies/README.md)
    #[arg(long, conflicts_with_all = ["role", "store", "session", "user_id", "at", "request"])]
    batch: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// SQL, a MongoDB command as Extended JSON, or a Redis command; `-` reads standard input
    #[arg(required_unless_present = "batch")]
    request: Option<String>,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// A policy file, or a directory whose `*.toml` files are merged
    path: PathBuf,
    /// Fail, too, where a grant or a deny rule is exercised by no case
    #[arg(long)]
    require_coverage: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy before: a file or a directory
    old: PathBuf,
    /// The policy after
    new: PathBuf,
    /// Decide the requests that a sidecar recorded (`record` in its configuration) under both; may be repeated
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub struct GrantsArgs {
    /// A policy file, or a directory whose `*.toml` files are merged
    #[arg(long)]
    policy: PathBuf,
    /// postgres, mysql, mongodb or redis
    #[arg(long, value_parser = store)]
    store: crate::operation::Store,
    /// Compare a server, as an administrator of it; without a URL, as the account of --config's sidecar
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    verify: Option<Option<String>>,
    /// With --verify URL: print the statements that make the server grant what the policy does, in place of the
    /// differences; 1 where there are any
    #[arg(long, requires = "verify")]
    fix: bool,
    /// With --verify: the sidecar's configuration
    #[arg(long, value_name = "FILE", env = "BULKHEAD_CONFIG")]
    config: Option<PathBuf>,
    /// With --verify URL: the certificate of the authority that signed the server's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// With --verify URL: a file with the password, so that the command line does not show it
    #[arg(long, value_name = "FILE", requires = "verify")]
    password_file: Option<PathBuf>,
    /// The sidecar's own account, which is given, or compared with, what all callers may do (MySQL: `user@host`)
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn store(name: &str) -> Result<crate::operation::Store, String> {
    use crate::operation::Store;
    Store::parse(name)
        .ok_or_else(|| format!("write one of {}", Store::ALL.map(Store::as_str).join(", ")))
}

/// Runs a subcommand on the process's own streams.
pub fn run(args: &PolicyArgs) -> Exit {
    let mut output = io::BufWriter::new(io::stdout().lock());
    let result = run_on(
        &args.command,
        &mut io::stdin().lock(),
        &mut output,
        &mut io::stderr().lock(),
    );
    match result.and_then(|outcome| output.flush().map(|()| outcome)) {
        Ok(outcome) => outcome,
        // Whoever read the output has gone: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Usage,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: {error}");
            Exit::Usage
        }
    }
}

/// Runs a subcommand. Answers go to `output`, faults of the policy to `errors` (in JSON to `output`).
pub fn run_on(
    command: &PolicyCommand,
    input: &mut impl BufRead,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    match command {
        PolicyCommand::Check(args) => check::run(args, output, errors),
        PolicyCommand::Explain(args) => {
            let policy = match load(&args.policy) {
                Ok(policy) => policy,
                Err(fault) => return report::load_fault(&fault, args.format, output, errors),
            };
            if args.batch {
                batch::run(&policy, input, output)
            } else {
                explain::run(&policy, args, input, output, errors)
            }
        }
        PolicyCommand::Test(args) => test::run(args, output, errors),
        PolicyCommand::Schema => schema::run(output),
        PolicyCommand::Diff(args) => match (load(&args.old), load(&args.new)) {
            (Ok(old), Ok(new)) => diff::run(&old, &new, args, output, errors),
            (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => {
                report::load_fault(&fault, args.format, output, errors)
            }
            (Err(old), Err(new)) => {
                report::load_fault(&old, args.format, output, errors)?;
                report::load_fault(&new, args.format, output, errors)
            }
        },
        PolicyCommand::Grants(args) => match load(&args.policy) {
            Ok(policy) => grants::run(&policy, args, output, errors),
            Err(fault) => report::load_fault(&fault, args.format, output, errors),
        },
    }
}
