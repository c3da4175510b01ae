//! Load. In a closed loop each caller asks again as soon as it was answered; in an open one requests are due at a constant
//! rate, however slow the answers, and are measured from when they were due.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::callers::Caller;
use crate::questions::ROWS;
use crate::{Fallible, statistics};

/// What one round of one target gave.
#[derive(Clone, Copy)]
pub struct Round {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
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
    Ok((callers, Round::of(latencies_us, started.elapsed())))
}

impl Round {
    fn of(mut latencies_us: Vec<f64>, elapsed: Duration) -> Self {
        let requests = latencies_us.len();
        latencies_us.sort_by(f64::total_cmp);
        let quantile = |part| statistics::quantile(&latencies_us, part);
        Self {
            p50_us: quantile(0.50),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            per_second: requests as f64 / elapsed.as_secs_f64(),
            requests,
        }
    }
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

/// When the requests were due that nobody has asked yet.
#[derive(Default)]
struct Due(Mutex<VecDeque<Instant>>);

/// `per_second` requests for so long, by whichever caller is free; late ones wait in a line.
pub async fn drive_openly(
    callers: Vec<Caller>,
    per_second: f64,
    length: Duration,
) -> Fallible<Round> {
    let due = Arc::<Due>::default();
    let ready = Arc::new(Semaphore::new(0));
    let started = Instant::now();
    let running: Vec<_> = callers
        .into_iter()
        .zip(0_u32..)
        .map(|(caller, index)| {
            tokio::spawn(on_time(caller, index, Arc::clone(&due), Arc::clone(&ready)))
        })
        .collect();
    tick(per_second, length, &due, &ready).await?;
    // What was due is asked, too, however late; then those who wait for a turn end.
    while ready.available_permits() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ready.close();
    let mut latencies_us = Vec::new();
    for task in running {
        latencies_us.extend(task.await??);
    }
    Ok(Round::of(latencies_us, started.elapsed()))
}

/// The runtime's own clock counts in milliseconds, which is too coarse.
async fn tick(per_second: f64, length: Duration, due: &Due, ready: &Semaphore) -> Fallible {
    let period = Duration::from_secs_f64(1.0 / per_second);
    let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let every = Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(period.as_nanos())?,
    };
    let times = Itimerspec {
        it_interval: every,
        it_value: every,
    };
    timerfd_settime(&clock, TimerfdTimerFlags::empty(), &times)?;
    // A file of the standard library keeps its descriptor, which is what the newer constructor has one vouch for.
    #[allow(deprecated)]
    let clock = AsyncFd::new(std::fs::File::from(clock))?;
    let started = Instant::now();
    let mut next = started + period;
    while started.elapsed() < length {
        let mut readable = clock.readable().await?;
        let mut count = [0; 8];
        let Ok(read) = readable.try_io(|clock| clock.get_ref().read(&mut count)) else {
            continue;
        };
        read?;
        for _ in 0..u64::from_ne_bytes(count) {
            due.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(next);
            next += period;
            ready.add_permits(1);
        }
    }
    Ok(())
}

async fn on_time(
    mut caller: Caller,
    index: u32,
    due: Arc<Due>,
    ready: Arc<Semaphore>,
) -> Fallible<Vec<f64>> {
    let mut latencies_us = Vec::with_capacity(8_192);
    let mut number = index * 7 % ROWS;
    while let Ok(turn) = ready.acquire().await {
        turn.forget();
        let at = due
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let at = at.ok_or("a turn without a request")?;
        caller.ask(number).await?;
        latencies_us.push(at.elapsed().as_secs_f64() * 1e6);
        number = (number + 1) % ROWS;
    }
    Ok(latencies_us)
}
