//! The rounds: all targets take turns, so that what slows the machine for a while slows all of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use bulkhead::operation::Store;

use crate::callers::{self, Caller};
use crate::environment::Environment;
use crate::load::{self, Round};
use crate::process::{Launch, Process, Resident};
use crate::questions::{exchange, exchanges};
use crate::settings::Settings;
use crate::statistics::Spread;
use crate::{Fallible, bare, sidecar};

/// Whom the load asks. Another peer is another variant, and a way to make its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The driver, in the load's own process.
    Direct,
    /// A hyper handler on the same drivers, in a process of its own.
    Bare,
    /// The sidecar, with a rate limit in Redis.
    Bulkhead,
    /// The sidecar, for a role without a rate limit.
    Unlimited,
}

impl Target {
    pub const ALL: [Self; 4] = [Self::Direct, Self::Bare, Self::Bulkhead, Self::Unlimited];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bare => "bare",
            Self::Bulkhead => "bulkhead",
            Self::Unlimited => "unlimited",
        }
    }
}

/// A round with the processor time that the target's process took meanwhile.
#[derive(Clone, Copy)]
pub struct Turn {
    pub round: Round,
    /// `None` for the drivers: their time is part of the load's.
    pub cpu_us: Option<f64>,
}

/// Store, callers, target; one turn for each round, in the rounds' order.
pub type Turns = BTreeMap<(Store, usize, Target), Vec<Turn>>;

/// What is known of a server process besides its speed.
pub struct Footprint {
    /// From the process' start to the first row served, in milliseconds.
    pub start_ms: Option<Spread>,
    pub idle: Resident,
    /// After the last round.
    pub loaded: Resident,
}

pub struct Measured {
    pub turns: Turns,
    pub bare: Option<Footprint>,
    pub bulkhead: Option<Footprint>,
}

/// A process that was started, timed and left alone for a moment.
struct Started {
    process: Process,
    start_ms: Option<Spread>,
    idle: Resident,
}

impl Started {
    async fn finish(self) -> Fallible<Footprint> {
        let loaded = self.process.resident()?;
        self.process.stop().await?;
        Ok(Footprint {
            start_ms: self.start_ms,
            idle: self.idle,
            loaded,
        })
    }
}

struct Peers<'a> {
    environment: &'a Environment,
    bare: Option<Started>,
    bulkhead: Option<Started>,
}

pub async fn measure(settings: &Settings, environment: &Environment) -> Fallible<Measured> {
    let wants = |target: Target| settings.targets.contains(&target);
    let mut peers = Peers {
        environment,
        bare: None,
        bulkhead: None,
    };
    if wants(Target::Bare) {
        let launch = bare::prepare(settings, environment)?;
        peers.bare = Some(start(settings, environment, &launch).await?);
    }
    if wants(Target::Bulkhead) || wants(Target::Unlimited) {
        let launch = sidecar::prepare(settings, environment)?;
        peers.bulkhead = Some(start(settings, environment, &launch).await?);
    }
    let mut turns = Turns::new();
    for store in &settings.stores {
        for count in &settings.callers {
            eprintln!("gate: {store}, {count} connections");
            peers
                .take_turns(settings, *store, *count, &mut turns)
                .await?;
        }
    }
    let Peers { bare, bulkhead, .. } = peers;
    let footprint = async |started: Option<Started>| match started {
        Some(started) => started.finish().await.map(Some),
        None => Ok(None),
    };
    Ok(Measured {
        turns,
        bare: footprint(bare).await?,
        bulkhead: footprint(bulkhead).await?,
    })
}

impl Peers<'_> {
    /// All rounds of one store with one number of callers. Connections stay open from round to round.
    async fn take_turns(
        &self,
        settings: &Settings,
        store: Store,
        count: usize,
        turns: &mut Turns,
    ) -> Fallible {
        let mut waiting = Vec::with_capacity(settings.targets.len());
        for target in &settings.targets {
            let callers = self.callers(*target, store, count).await?;
            let (callers, _) = load::drive(callers, settings.warm_up)
                .await
                .map_err(|fault| format!("{}, {store}: {fault}", target.name()))?;
            waiting.push((*target, callers));
        }
        for _ in 0..settings.rounds {
            let mut next = Vec::with_capacity(waiting.len());
            for (target, callers) in waiting {
                let (callers, turn) = self.turn(target, callers, settings.round).await?;
                turns.entry((store, count, target)).or_default().push(turn);
                next.push((target, callers));
            }
            waiting = next;
        }
        Ok(())
    }

    async fn turn(
        &self,
        target: Target,
        callers: Vec<Caller>,
        length: Duration,
    ) -> Fallible<(Vec<Caller>, Turn)> {
        let cpu_us = || self.process(target).map(Process::cpu_us).transpose();
        let before = cpu_us()?;
        let (callers, round) = load::drive(callers, length).await?;
        let after = cpu_us()?;
        let cpu_us = before.zip(after).map(|(before, after)| after - before);
        Ok((callers, Turn { round, cpu_us }))
    }

    async fn callers(&self, target: Target, store: Store, count: usize) -> Fallible<Vec<Caller>> {
        let ready = &self.environment.ready;
        let key = match target {
            Target::Direct => return callers::direct(ready, store, count).await,
            // The bare handler asks for no key, and is sent one all the same: both read equal requests.
            Target::Bare | Target::Bulkhead => &ready.keys.app,
            Target::Unlimited => &ready.keys.admin,
        };
        let process = self.process(target).ok_or("it was not started")?;
        callers::http(process.address, exchanges(store, key), count).await
    }

    fn process(&self, target: Target) -> Option<&Process> {
        let started = match target {
            Target::Direct => None,
            Target::Bare => self.bare.as_ref(),
            Target::Bulkhead | Target::Unlimited => self.bulkhead.as_ref(),
        };
        started.map(|started| &started.process)
    }
}

/// Starts a server several times; the last one stays.
async fn start(
    settings: &Settings,
    environment: &Environment,
    launch: &Launch,
) -> Fallible<Started> {
    let mode = launch
        .arguments
        .first()
        .map(OsString::as_os_str)
        .unwrap_or_default();
    eprintln!(
        "gate: starting `{}` {} times",
        mode.display(),
        settings.starts
    );
    let first = exchange(Store::Postgres, &environment.ready.keys.app);
    let mut start_ms = Vec::with_capacity(settings.starts);
    loop {
        let (process, took) = launch.start(&first).await?;
        start_ms.push(took.as_secs_f64() * 1e3);
        if start_ms.len() < settings.starts {
            process.stop().await?;
            continue;
        }
        tokio::time::sleep(settings.idle).await;
        return Ok(Started {
            idle: process.resident()?,
            start_ms: Spread::of(start_ms),
            process,
        });
    }
}
