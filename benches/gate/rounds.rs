//! The rounds: all targets take turns, so that what slows the machine for a while slows all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead::operation::Store;
use tokio_rustls::TlsConnector;

use crate::callers::{self, Caller};
use crate::environment::Environment;
use crate::load::{self, Round};
use crate::peers::{self, Webdis};
use crate::process::Process;
use crate::questions::{exchange, exchanges, webdis_exchanges};
use crate::seed;
use crate::settings::Settings;
use crate::sidecar::{self, Variant};
use crate::{Fallible, bare};

const MANY_KEYS: usize = 10_000;

/// More connections than this are not opened to a database itself.
const DIRECT_MAX: usize = 64;

/// Whom the load asks. Another peer is another variant, and a way to make its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The driver, in the load's own process.
    Direct,
    /// A hyper handler on the same drivers, in a process of its own.
    Bare,
    Pgbouncer,
    Webdis,
    /// The sidecar, with a rate limit in Redis.
    Bulkhead,
    /// The sidecar, for a role without a rate limit.
    Unlimited,
    /// The sidecar behind TLS.
    Tls,
    /// The sidecar with a policy of 10,000 tables and 1,000 roles, asked by [`MANY_KEYS`] keys.
    LargePolicy,
}

impl Target {
    /// Those of the tables; the others stand beside the sidecar alone.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::Bare,
        Self::Pgbouncer,
        Self::Webdis,
        Self::Bulkhead,
        Self::Unlimited,
    ];
    pub const VARIANTS: [Self; 3] = [Self::Bulkhead, Self::Tls, Self::LargePolicy];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bare => "bare",
            Self::Pgbouncer => "pgbouncer",
            Self::Webdis => "webdis",
            Self::Bulkhead => "bulkhead",
            Self::Unlimited => "unlimited",
            Self::Tls => "tls",
            Self::LargePolicy => "large-policy",
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

/// How long and how often.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub round: Duration,
    pub warm_up: Duration,
}

pub struct Peers<'a> {
    pub environment: &'a Environment,
    bare: Option<Process>,
    pub bulkhead: Option<Process>,
    tls: Option<(Process, TlsConnector)>,
    large_policy: Option<Process>,
    /// What the callers of that one show.
    many_keys: Vec<String>,
    pgbouncer: Option<Process>,
    webdis: Option<Webdis>,
}

impl<'a> Peers<'a> {
    pub async fn start(settings: &Settings, environment: &'a Environment) -> Fallible<Self> {
        let wants = |target: Target| settings.targets.contains(&target);
        let first = exchange(Store::Postgres, &environment.ready.keys.app);
        let mut started = Self {
            environment,
            bare: None,
            bulkhead: None,
            tls: None,
            large_policy: None,
            many_keys: Vec::new(),
            pgbouncer: None,
            webdis: None,
        };
        if wants(Target::Bare) {
            let launch = bare::prepare(settings, environment)?;
            started.bare = Some(launch.start(&first).await?.0);
        }
        if wants(Target::Bulkhead) || wants(Target::Unlimited) {
            let sidecar = |variant| sidecar::prepare(settings, environment, variant);
            started.bulkhead = Some(sidecar(Variant::Plain)?.start(&first).await?.0);
            let large = sidecar(Variant::LargePolicy)?;
            started.large_policy = Some(large.start(&first).await?.0);
            started.many_keys = seed::keys(environment, MANY_KEYS).await?;
            let tls = sidecar(Variant::Tls)?.listening().await?;
            started.tls = Some((tls, sidecar::connector(environment)?));
        }
        if wants(Target::Pgbouncer) && settings.stores.contains(&Store::Postgres) {
            started.pgbouncer = peers::pgbouncer(environment).await?;
        }
        if wants(Target::Webdis) && settings.stores.contains(&Store::Redis) {
            started.webdis = peers::webdis(environment).await?;
        }
        Ok(started)
    }

    /// Whether a target can be asked this.
    pub fn serves(&self, target: Target, store: Store, count: usize) -> bool {
        match target {
            Target::Direct => count <= DIRECT_MAX,
            Target::Pgbouncer => store == Store::Postgres && self.pgbouncer.is_some(),
            Target::Webdis => store == Store::Redis && self.webdis.is_some(),
            Target::Bare
            | Target::Bulkhead
            | Target::Unlimited
            | Target::Tls
            | Target::LargePolicy => self.process(target).is_some(),
        }
    }

    /// All rounds of one store with one number of callers. Connections stay open from round to round.
    pub async fn take_turns(
        &self,
        targets: &[Target],
        (store, count): (Store, usize),
        pace: Pace,
        turns: &mut Turns,
    ) -> Fallible {
        eprintln!("gate: {store}, {count} connections");
        let asked = targets.iter().copied();
        let mut waiting = Vec::with_capacity(targets.len());
        for target in asked.filter(|target| self.serves(*target, store, count)) {
            let callers = self.callers(target, store, count).await?;
            let (callers, _) = load::drive(callers, pace.warm_up)
                .await
                .map_err(|fault| format!("{}, {store}: {fault}", target.name()))?;
            waiting.push((target, callers));
        }
        for _ in 0..pace.rounds {
            let mut next = Vec::with_capacity(waiting.len());
            for (target, callers) in waiting {
                let (callers, turn) = self.turn(target, callers, pace.round).await?;
                turns.entry((store, count, target)).or_default().push(turn);
                next.push((target, callers));
            }
            // Back and forth, so that nobody always follows on the same one, whose caches it would find.
            next.reverse();
            waiting = next;
        }
        Ok(())
    }

    pub async fn turn(
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

    pub async fn callers(
        &self,
        target: Target,
        store: Store,
        count: usize,
    ) -> Fallible<Vec<Caller>> {
        let ready = &self.environment.ready;
        // The bare handler asks for no key, and is sent one all the same: both read equal requests.
        let key = match target {
            Target::Unlimited => &ready.keys.admin,
            Target::Direct
            | Target::Bare
            | Target::Pgbouncer
            | Target::Webdis
            | Target::Bulkhead
            | Target::Tls
            | Target::LargePolicy => &ready.keys.app,
        };
        let keys = match target {
            Target::LargePolicy => self.many_keys.as_slice(),
            Target::Direct
            | Target::Bare
            | Target::Pgbouncer
            | Target::Webdis
            | Target::Bulkhead
            | Target::Unlimited
            | Target::Tls => std::slice::from_ref(key),
        };
        if target == Target::Direct {
            return callers::direct(ready, store, count).await;
        }
        let address = self.process(target).ok_or("it was not started")?.address;
        let asks = match target {
            Target::Pgbouncer => return callers::pgbouncer(address, count).await,
            Target::Webdis => webdis_exchanges(),
            Target::Direct
            | Target::Bare
            | Target::Bulkhead
            | Target::Unlimited
            | Target::Tls
            | Target::LargePolicy => exchanges(store, keys),
        };
        let tls = self.tls.as_ref().filter(|_| target == Target::Tls);
        callers::http(address, asks, count, tls.map(|(_, connector)| connector)).await
    }

    fn process(&self, target: Target) -> Option<&Process> {
        match target {
            Target::Direct => None,
            Target::Bare => self.bare.as_ref(),
            Target::Pgbouncer => self.pgbouncer.as_ref(),
            Target::Webdis => self.webdis.as_ref().map(|webdis| &webdis.process),
            Target::Bulkhead | Target::Unlimited => self.bulkhead.as_ref(),
            Target::Tls => self.tls.as_ref().map(|(process, _)| process),
            Target::LargePolicy => self.large_policy.as_ref(),
        }
    }
}
