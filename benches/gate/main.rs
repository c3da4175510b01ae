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
mod peers;

mod extras;
mod footprint;
mod load;
mod rounds;

mod classification;
mod counted;
mod machine;
mod report;
mod statistics;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use classification::Classified;
use extras::Extras;
use footprint::Footprint;
use rounds::{Peers, Target, Turns};
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
        [mode, name, calls] if mode == OsStr::new(counted::MODE) => count(name, calls),
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

fn count(name: &OsStr, calls: &OsStr) -> Fallible {
    counted::run(&name.to_string_lossy(), calls.to_string_lossy().parse()?)
}

/// One thread makes all the load: what it shares the machine's cores with is what is measured.
fn measure() -> Fallible {
    let settings = Settings::from_environment()?;
    extras::raise_open_files()?;
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

/// Everything that was seen.
struct Measured {
    turns: Turns,
    extras: Extras,
    /// The bare handler's and the sidecar's; `None` unless both are measured.
    footprints: Option<[Footprint; 2]>,
    classified: Vec<Classified>,
    counted: Vec<(&'static str, f64)>,
}

async fn run(settings: &Settings) -> Fallible {
    let before = machine::Busy::now()?;
    let environment = environment::Environment::open(settings).await?;
    let versions = seed::fill(&environment.ready).await?;
    let peers = Peers::start(settings, &environment).await?;
    let mut turns = Turns::new();
    for store in &settings.stores {
        for count in &settings.callers {
            let at = (*store, *count);
            peers
                .take_turns(&settings.targets, at, settings.pace, &mut turns)
                .await?;
        }
    }
    let extras = if settings.rounds_alone {
        Extras::default()
    } else {
        extras::measure(settings, &peers, &turns).await?
    };
    drop(peers);
    let both = [Target::Bare, Target::Bulkhead]
        .iter()
        .all(|target| settings.targets.contains(target));
    let footprints = if both && !settings.rounds_alone {
        Some(footprint::measure(settings, &environment).await?)
    } else {
        None
    };
    environment.close().await?;
    let (classified, counted) = if settings.rounds_alone {
        Default::default()
    } else {
        (classification::measure(settings), counted::measure()?)
    };
    let machine = machine::Machine::describe(&before)?;
    let measured = Measured {
        turns,
        extras,
        footprints,
        classified,
        counted,
    };
    print!(
        "{}",
        report::render(settings, &machine, &versions, &measured)
    );
    Ok(())
}
