//! Closed-loop load: each caller asks again as soon as it was answered, until time is up.
//!
//! An open loop (requests at fixed times, however slow the answers) would be another `pace` for `one_caller`:
//! it then measures from the time at which a request was due.

use std::time::{Duration, Instant};

use crate::callers::Caller;
use crate::questions::ROWS;
use crate::{Fallible, statistics};

/// What one round of one target gave.
#[derive(Clone, Copy)]
pub struct Round {
    pub p50_us: f64,
    pub p99_us: f64,
    pub per_second: f64,
    pub requests: usize,
}

/// Lets all callers loose for so long, and gives them back with what was seen.
pub async fn drive(callers: Vec<Caller>, length: Duration) -> Fallible<(Vec<Caller>, Round)> {
    let started = Instant::now();
    let until = started + length;
    let count = u32::try_from(callers.len())?.max(1);
    let running: Vec<_> = callers
        .into_iter()
        .zip(0_u32..)
        // Each starts at a place of its own among the rows.
        .map(|(caller, index)| tokio::spawn(one_caller(caller, index * (ROWS / count), until)))
        .collect();
    let mut callers = Vec::with_capacity(running.len());
    let mut latencies_us = Vec::new();
    for task in running {
        let (caller, seen) = task.await??;
        callers.push(caller);
        latencies_us.extend(seen);
    }
    let elapsed = started.elapsed();
    let requests = latencies_us.len();
    latencies_us.sort_by(f64::total_cmp);
    let round = Round {
        p50_us: statistics::quantile(&latencies_us, 0.50),
        p99_us: statistics::quantile(&latencies_us, 0.99),
        per_second: requests as f64 / elapsed.as_secs_f64(),
        requests,
    };
    Ok((callers, round))
}

async fn one_caller(
    mut caller: Caller,
    first: u32,
    until: Instant,
) -> Fallible<(Caller, Vec<f64>)> {
    let mut latencies_us = Vec::with_capacity(8_192);
    let mut number = first % ROWS;
    loop {
        let asked = Instant::now();
        caller.ask(number).await?;
        let answered = Instant::now();
        latencies_us.push((answered - asked).as_secs_f64() * 1e6);
        if answered >= until {
            return Ok((caller, latencies_us));
        }
        number = (number + 1) % ROWS;
    }
}
