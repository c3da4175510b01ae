//! How much is measured, and against which binary.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead::operation::Store;

use crate::Fallible;
use crate::rounds::Target;

/// A round long enough for thousands of requests, and rounds enough for a median: the whole run stays under
/// five minutes.
const ROUNDS: usize = 7;
const ROUND_MS: u64 = 500;
const WARM_UP_MS: u64 = 300;
const STARTS: usize = 5;
/// How long a started process is left alone before its memory is called idle.
const IDLE_MS: u64 = 2_000;
/// On two cores that the load and the server share, one thread serves faster than two.
const BARE_THREADS: usize = 1;
const CALLERS: [usize; 3] = [1, 8, 32];
/// How long one statement is classified over and over.
const CLASSIFY_MS: u64 = 200;

pub struct Settings {
    /// The product: `BENCH_BULKHEAD`, or the binary that Cargo built for this benchmark.
    pub binary: PathBuf,
    /// `BENCH_READY_FILE`: a `bulkhead dev` that runs already, in place of one of our own.
    pub ready_file: Option<PathBuf>,
    /// `BENCH_QUICK`: too short to measure anything; shows that everything works.
    pub is_quick: bool,
    /// `BENCH_TARGETS` and `BENCH_STORES`: names with commas between; all of them where unset.
    pub targets: Vec<Target>,
    pub stores: Vec<Store>,
    /// `BENCH_BARE_THREADS`: of the bare handler's runtime.
    pub bare_threads: usize,
    /// `BENCH_BULKHEAD_THREADS`: of the sidecar's; where unset, what the sidecar does by default.
    pub bulkhead_threads: Option<usize>,
    /// Connections at once, one pass for each.
    pub callers: Vec<usize>,
    pub rounds: usize,
    pub round: Duration,
    pub warm_up: Duration,
    pub starts: usize,
    pub idle: Duration,
    pub classify: Duration,
}

impl Settings {
    pub fn from_environment() -> Fallible<Self> {
        let is_quick = std::env::var_os("BENCH_QUICK").is_some();
        // A quick run passes every line of the harness, twice where there are rounds.
        let duration = |ms: u64| Duration::from_millis(if is_quick { ms / 10 } else { ms });
        let count = |full: usize| if is_quick { 2 } else { full };
        Ok(Self {
            binary: path("BENCH_BULKHEAD").unwrap_or_else(|| env!("CARGO_BIN_EXE_bulkhead").into()),
            ready_file: path("BENCH_READY_FILE"),
            is_quick,
            targets: chosen("BENCH_TARGETS", &Target::ALL, Target::name)?,
            stores: chosen("BENCH_STORES", &Store::ALL, Store::as_str)?,
            bare_threads: number("BENCH_BARE_THREADS")?.unwrap_or(BARE_THREADS),
            bulkhead_threads: number("BENCH_BULKHEAD_THREADS")?,
            callers: CALLERS.to_vec(),
            rounds: count(ROUNDS),
            round: duration(ROUND_MS),
            warm_up: duration(WARM_UP_MS),
            starts: count(STARTS),
            idle: duration(IDLE_MS),
            classify: duration(CLASSIFY_MS),
        })
    }
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

fn number(variable: &str) -> Fallible<Option<usize>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    let number = text.parse();
    Ok(Some(number.map_err(|error| {
        format!("{variable}: `{text}`: {error}")
    })?))
}

/// Those of `all` that the variable names, in the order of `all`.
fn chosen<T: Copy>(variable: &str, all: &[T], name: fn(T) -> &'static str) -> Fallible<Vec<T>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(all.to_vec());
    };
    let wanted: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|wanted| !all.iter().any(|one| name(*one) == **wanted))
    {
        return Err(format!("{variable}: `{unknown}` is not one of them").into());
    }
    Ok(all
        .iter()
        .copied()
        .filter(|one| wanted.contains(&name(*one)))
        .collect())
}
