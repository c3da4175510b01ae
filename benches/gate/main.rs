//! `make bench`: what the gate costs, beside the drivers used directly and a bare handler on the same drivers.
//!
//! One run measures everything, in rounds that take turns, against the private servers of `bulkhead dev`. The
//! Markdown for `benches/README.md` goes to standard output, progress to standard error. `benches/README.md`
//! says how it is measured and how to read it.
//!
//! The same executable, called with `bare READY-FILE ADDRESS THREADS`, is the bare handler in a process of its own.

mod settings;

mod environment;
mod process;
mod sidecar;

mod connect;
mod questions;
mod seed;

mod bare;
mod callers;
mod http;

mod load;
mod rounds;

mod classification;
mod machine;
mod report;
mod statistics;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use settings::Settings;

/// Whatever went wrong ends the run; its text is for the person who started it.
type Fault = Box<dyn std::error::Error + Send + Sync>;
type Fallible<T = ()> = Result<T, Fault>;

fn main() -> ExitCode {
    // redis and mysql_async use the process' default provider. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [mode, ready_file, address, threads] if mode == OsStr::new(bare::MODE) => {
            bare_handler(Path::new(ready_file), address, threads)
        }
        // `cargo test --all-targets` runs benchmarks without `--bench`, and wants no measurement.
        arguments
            if arguments
                .iter()
                .any(|argument| argument == OsStr::new("--bench")) =>
        {
            measure()
        }
        _ => {
            eprintln!("gate: not measuring; run `make bench`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("gate: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn bare_handler(ready_file: &Path, address: &OsStr, threads: &OsStr) -> Fallible {
    let text = |argument: &OsStr| argument.to_string_lossy().into_owned();
    bare::run(ready_file, text(address).parse()?, text(threads).parse()?)
}

/// One thread makes all the load: what it shares the machine's cores with is what is measured.
fn measure() -> Fallible {
    let settings = Settings::from_environment()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = run(&settings) => outcome,
            // Returning drops, and so ends, every process that was started.
            signal = tokio::signal::ctrl_c() => {
                signal?;
                Err("interrupted".into())
            }
        }
    })
}

async fn run(settings: &Settings) -> Fallible {
    let before = machine::Busy::now()?;
    let environment = environment::Environment::open(settings).await?;
    let versions = seed::fill(&environment.ready).await?;
    let measured = rounds::measure(settings, &environment).await?;
    environment.close().await?;
    let classified = classification::measure(settings);
    let machine = machine::Machine::describe(&before)?;
    print!(
        "{}",
        report::render(settings, &machine, &versions, &measured, &classified)
    );
    Ok(())
}
