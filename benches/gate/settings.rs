//! How much is measured, and against which binary.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead::operation::Store;

use crate::Fallible;
use crate::rounds::{Pace, Target};

/// A round long enough for thousands of requests, and rounds enough for a median: the whole run stays under ten minutes.
const ROUNDS: usize = 5;
const ROUND_MS: u64 = 500;
const WARM_UP_MS: u64 = 300;
const STARTS: usize = 5;
/// How long a started process is left alone before its memory is called idle.
const IDLE_MS: u64 = 2_000;
/// On two cores that the load and the server share, one thread serves faster than two.
const BARE_THREADS: usize = 1;
const CALLERS: [usize; 4] = [1, 8, 32, 256];
/// Rounds of each number of connections from one to a thousand.
const SWEEP_ROUNDS: usize = 3;
const SWEEP_MS: u64 = 300;
/// How long requests are due at a constant rate.
const OPEN_MS: u64 = 3_000;
const STREAM_ROWS: u64 = 1_000_000;
const STREAMS: usize = 3;
/// Statements that fill the cache of what statements touch.
const STATEMENTS: usize = 45_000;
/// How long one statement is classified over and over.
const CLASSIFY_MS: u64 = 200;

pub struct Settings {
    /// The product: `BENCH_BULKHEAD`, or the binary that Cargo built for this benchmark.
    pub binary: PathBuf,
    /// `BENCH_READY_FILE`: a `bulkhead dev` that runs already, in place of one of our own.
    pub ready_file: Option<PathBuf>,
    /// `BENCH_QUICK`: too short to measure anything; shows that everything works.
    pub is_quick: bool,
    /// `BENCH_ROUNDS_ALONE`: the first table, and nothing else.
    pub rounds_alone: bool,
    /// `BENCH_TARGETS` and `BENCH_STORES`: names with commas between; all of them where unset.
    pub targets: Vec<Target>,
    pub stores: Vec<Store>,
    /// `BENCH_BARE_THREADS`: of the bare handler's runtime.
    pub bare_threads: usize,
    /// `BENCH_BULKHEAD_THREADS`: of the sidecar's; where unset, what the sidecar does by default.
    pub bulkhead_threads: Option<usize>,
    /// `BENCH_CONNECTIONS`: at once, one pass for each.
    pub callers: Vec<usize>,
    pub pace: Pace,
    pub sweep: Pace,
    pub open: Duration,
    pub stream_rows: u64,
    pub streams: usize,
    pub statements: usize,
    pub starts: usize,
    pub idle: Duration,
    pub classify: Duration,
}

impl Settings {
    pub fn from_environment() -> Fallible<Self> {
        let is_quick = is_on("BENCH_QUICK");
        // A quick run passes every line of the harness, twice where there are rounds.
        let duration = |ms: u64| Duration::from_millis(if is_quick { ms / 10 } else { ms });
        let count = |full: usize| if is_quick { 2 } else { full };
        Ok(Self {
            binary: path("BENCH_BULKHEAD").unwrap_or_else(|| env!("CARGO_BIN_EXE_bulkhead").into()),
            ready_file: path("BENCH_READY_FILE"),
            is_quick,
            rounds_alone: is_on("BENCH_ROUNDS_ALONE"),
            targets: chosen("BENCH_TARGETS", &Target::ALL, Target::name)?,
            stores: chosen("BENCH_STORES", &Store::ALL, Store::as_str)?,
            bare_threads: number("BENCH_BARE_THREADS")?.unwrap_or(BARE_THREADS),
            bulkhead_threads: number("BENCH_BULKHEAD_THREADS")?,
            callers: match std::env::var("BENCH_CONNECTIONS") {
                Ok(counts) => counts
                    .split(',')
                    .map(|count| {
                        let told = |error: std::num::ParseIntError| {
                            format!("BENCH_CONNECTIONS: `{count}`: {error}")
                        };
                        Ok(count.trim().parse().map_err(told)?)
                    })
                    .collect::<Fallible<_>>()?,
                Err(_) => CALLERS.to_vec(),
            },
            pace: Pace {
                rounds: count(ROUNDS),
                round: duration(ROUND_MS),
                warm_up: duration(WARM_UP_MS),
            },
            sweep: Pace {
                rounds: count(SWEEP_ROUNDS),
                round: duration(SWEEP_MS),
                warm_up: duration(SWEEP_MS) / 3,
            },
            open: duration(OPEN_MS),
            stream_rows: if is_quick {
                STREAM_ROWS / 100
            } else {
                STREAM_ROWS
            },
            streams: count(STREAMS),
            statements: if is_quick {
                STATEMENTS / 100
            } else {
                STATEMENTS
            },
            starts: count(STARTS),
            idle: duration(IDLE_MS),
            classify: duration(CLASSIFY_MS),
        })
    }
}

/// A switch; `0` is off.
fn is_on(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value != "0")
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
        let known: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        let known = known.join(", ");
        return Err(format!("{variable}: `{unknown}` is none of {known}").into());
    }
    Ok(all
        .iter()
        .copied()
        .filter(|one| wanted.contains(&name(*one)))
        .collect())
}
