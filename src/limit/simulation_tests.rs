//! What `docs/limits.md` promises of leased limits, tried against sidecars, loads and outages by chance. The leases, the
//! local count and the arithmetic are the product's; Redis is the model that the script is held to; time is simulated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::gcra::Rate;
use super::lease::{LEASE_MS_MAX, Lease, Receipt, Taken, slice_max};
use super::local::{HandedClock, Local};
use super::shared::SHARED_MS_MAX;
use crate::decide::limits::OnRedisFailure;

const MS: u64 = 1_000;
const LATENCY_US_MAX: u64 = 3 * MS;
const PROBE_PAUSE_US: u64 = 50 * MS;

/// One run.
#[derive(Debug, Clone)]
struct Plan {
    rate: Rate,
    sidecars: usize,
    failure: OnRedisFailure,
    /// How far each sidecar's clock is ahead of the first, in microseconds.
    skews_us: Vec<u64>,
    /// When requests come, to which sidecar, and what they cost.
    requests: Vec<(u64, usize, u32)>,
    /// When Redis stands still, and for how long.
    stalls: Vec<(u64, u64)>,
    seed: u64,
}

struct Sidecar {
    lease: Lease,
    local: Local,
    clock: Instant,
    /// Until when Redis counts as away.
    away_until_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    /// A call reaches Redis.
    Execute(usize),
    /// Its answer, or the end of patience.
    Settle(usize),
}

#[derive(Debug, Clone, Copy)]
struct Call {
    sidecar: usize,
    need: u32,
    ahead: u32,
    asked_us: u64,
    /// Whether the answer comes in time.
    in_time: bool,
    answer: Option<(bool, u32)>,
}

struct World {
    plan: Plan,
    sidecars: Vec<Sidecar>,
    tat_us: u64,
    calls: Vec<Call>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    /// When something was admitted, how much, and whether by Redis' count.
    admitted: Vec<(u64, u32, bool)>,
    held_max: u32,
    random: u64,
    slices: usize,
}

impl World {
    fn new(plan: Plan) -> Self {
        let base = Instant::now();
        let sidecars = (0..plan.sidecars).map(|at| {
            let clock = base + Duration::from_micros(plan.skews_us[at]);
            Sidecar {
                lease: Lease::default(),
                local: Local::new(
                    plan.rate.share(1_000_000 / plan.sidecars as u32, 1),
                    &HandedClock::new(clock),
                ),
                clock,
                away_until_us: 0,
            }
        });
        let mut world = Self {
            sidecars: sidecars.collect(),
            tat_us: 0,
            calls: Vec::new(),
            events: BinaryHeap::new(),
            admitted: Vec::new(),
            held_max: 0,
            random: plan.seed | 1,
            slices: 0,
            plan,
        };
        for at in 0..world.plan.requests.len() {
            world.schedule(world.plan.requests[at].0, Event::Arrive(at));
        }
        world
    }

    fn schedule(&mut self, at_us: u64, event: Event) {
        let order = self.events.len();
        self.events.push(Reverse((at_us, order, event)));
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn run(mut self) -> Self {
        while let Some(Reverse((now_us, _, event))) = self.events.pop() {
            match event {
                Event::Arrive(at) => self.arrive(at, now_us),
                Event::Execute(at) => {
                    let call = &mut self.calls[at];
                    let (outcome, ahead, tat) =
                        self.plan
                            .rate
                            .step(self.tat_us, now_us, call.need, call.ahead);
                    self.tat_us = tat.unwrap_or(self.tat_us);
                    call.answer = Some((outcome.allowed, ahead));
                }
                Event::Settle(at) => self.settle(at, now_us),
            }
            let held: u32 = (0..self.sidecars.len())
                .map(|at| {
                    let now = self.local_time(at, now_us);
                    self.sidecars[at].lease.left(now)
                })
                .max()
                .unwrap_or(0);
            self.held_max = self.held_max.max(held);
        }
        self
    }

    fn local_time(&self, sidecar: usize, now_us: u64) -> Instant {
        self.sidecars[sidecar].clock + Duration::from_micros(now_us)
    }

    fn arrive(&mut self, at: usize, now_us: u64) {
        let (_, sidecar, cost) = self.plan.requests[at];
        if u64::from(cost) > self.plan.rate.burst() {
            return;
        }
        let slice_max = slice_max(self.plan.rate);
        let now = self.local_time(sidecar, now_us);
        let taken = if slice_max == 0 {
            Taken::Short { ahead: 0 }
        } else {
            self.sidecars[sidecar].lease.take(cost, slice_max, now)
        };
        match taken {
            Taken::Held { receipt, renew } => {
                // One in ten is refused by another limit, and gives back what it took.
                if self.chance(10) == 0 {
                    self.give_back(sidecar, receipt);
                } else {
                    self.admit(sidecar, cost, now_us, true);
                    self.slices += 1;
                }
                if renew > 0 {
                    self.call(sidecar, 0, renew, now_us);
                }
            }
            Taken::Short { ahead } => self.call(sidecar, cost, ahead, now_us),
        }
    }

    fn give_back(&mut self, sidecar: usize, receipt: Receipt) {
        let slice_max = slice_max(self.plan.rate);
        self.sidecars[sidecar].lease.give_back(receipt, slice_max);
    }

    fn admit(&mut self, sidecar: usize, cost: u32, now_us: u64, by_redis: bool) {
        self.admitted.push((now_us, cost, by_redis));
        if by_redis {
            let now = self.local_time(sidecar, now_us);
            self.sidecars[sidecar]
                .local
                .take(NonZeroU32::new(cost).unwrap(), now);
        }
    }

    fn call(&mut self, sidecar: usize, need: u32, ahead: u32, now_us: u64) {
        let number = self.calls.len();
        let mut call = Call {
            sidecar,
            need,
            ahead,
            asked_us: now_us,
            in_time: false,
            answer: None,
        };
        if now_us < self.sidecars[sidecar].away_until_us {
            self.calls.push(call);
            return self.settle(number, now_us);
        }
        let (there, back) = (self.chance(LATENCY_US_MAX), self.chance(LATENCY_US_MAX));
        let mut executes_us = now_us + there;
        for (start, length) in &self.plan.stalls {
            // What reaches a Redis that stands still is carried out when it goes on.
            if (*start..start + length).contains(&executes_us) {
                executes_us = start + length;
            }
        }
        let answered_us = executes_us + back;
        let patience_us = now_us + SHARED_MS_MAX * MS;
        call.in_time = answered_us <= patience_us;
        self.calls.push(call);
        self.schedule(executes_us, Event::Execute(number));
        self.schedule(answered_us.min(patience_us), Event::Settle(number));
    }

    fn settle(&mut self, number: usize, now_us: u64) {
        let call = self.calls[number];
        let (asked, now) = (
            self.local_time(call.sidecar, call.asked_us),
            self.local_time(call.sidecar, now_us),
        );
        let answer = call.answer.filter(|_| call.in_time);
        let sidecar = &mut self.sidecars[call.sidecar];
        let given = answer.map_or(0, |(_, given)| given);
        sidecar.lease.answered(call.ahead, given, asked, now);
        match answer {
            Some((true, _)) if call.need > 0 => self.admit(call.sidecar, call.need, now_us, true),
            Some(_) => {}
            None => {
                sidecar.away_until_us = sidecar.away_until_us.max(now_us + PROBE_PAUSE_US);
                if self.plan.failure == OnRedisFailure::Local && call.need > 0 {
                    let units = NonZeroU32::new(call.need).unwrap();
                    if sidecar.local.take(units, now).allowed {
                        self.admit(call.sidecar, call.need, now_us, false);
                    }
                }
            }
        }
    }
}

/// The most that any window has admitted beyond what time alone would allow it: a bucket of that size would have
/// admitted all, and no smaller one.
fn burst_needed(admitted: &[(u64, u32)], interval_us: u64) -> u64 {
    let (mut level_us, mut last_us, mut most_us) = (0_u64, 0, 0);
    for (at_us, units) in admitted {
        level_us = level_us.saturating_sub(at_us - last_us) + u64::from(*units) * interval_us;
        last_us = *at_us;
        most_us = most_us.max(level_us);
    }
    most_us.div_ceil(interval_us)
}

fn check(plan: Plan) -> Result<(usize, u64), TestCaseError> {
    let (rate, sidecars, failure) = (plan.rate, plan.sidecars as u64, plan.failure);
    let world = World::new(plan).run();
    let slice = u64::from(slice_max(rate));
    prop_assert!(u64::from(world.held_max) <= slice);
    let by_redis = world.admitted.iter().filter(|(_, _, by_redis)| *by_redis);
    let by_redis: Vec<_> = by_redis.map(|(at, units, _)| (*at, *units)).collect();
    let needed = burst_needed(&by_redis, rate.interval_us);
    // A request is admitted when its answer comes, so much later than it was counted.
    let round_trip = (SHARED_MS_MAX * MS).div_ceil(rate.interval_us);
    let lease = (LEASE_MS_MAX * MS).div_ceil(rate.interval_us);
    let overshoot = (sidecars * slice + round_trip).min(lease);
    prop_assert!(
        needed <= rate.burst() + overshoot,
        "{needed} of {} + {overshoot}",
        rate.burst()
    );
    let beyond = needed.saturating_sub(rate.burst());
    if failure == OnRedisFailure::Local {
        // What sidecars admit alone is at most a share each, which together is the limit once more.
        let alone = world.admitted.iter().filter(|(_, _, by_redis)| !by_redis);
        let alone: Vec<_> = alone.map(|(at, units, _)| (*at, *units)).collect();
        let needed = burst_needed(&alone, rate.interval_us);
        prop_assert!(needed <= rate.burst().max(sidecars), "{needed} alone");
    }
    Ok((world.slices, beyond * 100 / overshoot.max(1)))
}

/// A stretch of a load.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// Requests one after another, so that sidecars take slices.
    steady: usize,
    /// Between two of them, in hundredths of the limit's interval.
    gap_percent: u64,
    /// Silence, in which the bucket fills and slices are held.
    pause_us: u64,
    /// Then as many at once as so many hundredths of the burst.
    storm_percent: u64,
    cost: u32,
}

fn stretch() -> impl Strategy<Value = Stretch> {
    (
        1_usize..120,
        20_u64..300,
        0_u64..700 * MS,
        0_u64..150,
        1_u32..4,
    )
        .prop_map(
            |(steady, gap_percent, pause_us, storm_percent, cost)| Stretch {
                steady,
                gap_percent,
                pause_us,
                storm_percent,
                cost,
            },
        )
}

/// When requests come, to which of the sidecars, and what they cost.
fn requests(
    stretches: &[Stretch],
    rate: Rate,
    sidecars: usize,
    seed: u64,
) -> Vec<(u64, usize, u32)> {
    let mut requests = Vec::new();
    let mut now_us = 10_000 * MS;
    let mut turn = usize::try_from(seed % 97).unwrap();
    for stretch in stretches {
        for _ in 0..stretch.steady {
            now_us += (rate.interval_us * stretch.gap_percent / 100).max(1);
            turn = (turn * 31 + 7) % 1_009;
            requests.push((now_us, turn % sidecars, stretch.cost));
        }
        now_us += stretch.pause_us;
        for _ in 0..rate.burst() * stretch.storm_percent / 100 {
            turn = (turn * 31 + 7) % 1_009;
            requests.push((now_us, turn % sidecars, 1));
        }
    }
    requests
}

fn plans() -> impl Strategy<Value = Plan> {
    let rate = (100_u64..200_000, 1_u64..1_000).prop_map(|(interval_us, burst)| Rate {
        interval_us,
        capacity_us: interval_us * burst,
    });
    let failure = prop_oneof![Just(OnRedisFailure::Closed), Just(OnRedisFailure::Local)];
    let load = prop::collection::vec(stretch(), 1..6);
    let skews = prop::collection::vec(0_u64..3_600_000 * MS, 8);
    let stalls = prop::collection::vec((0_u64..10_000 * MS, MS..2_000 * MS), 0..4);
    let parts = (rate, 1_usize..9, failure, load, skews, stalls, any::<u64>());
    parts.prop_map(
        |(rate, sidecars, failure, load, skews_us, stalls, seed)| Plan {
            requests: requests(&load, rate, sidecars, seed),
            stalls: stalls
                .into_iter()
                .map(|(at, length)| (10_000 * MS + at, length))
                .collect(),
            rate,
            sidecars,
            failure,
            skews_us,
            seed,
        },
    )
}

/// `BULKHEAD_SIMULATIONS=10000` makes it longer.
#[test]
fn no_window_admits_more_than_the_formula_says() {
    let cases = std::env::var("BULKHEAD_SIMULATIONS").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(800);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    // The same plans each time, so that it is known that some of them press the bound; more cases are other plans, too.
    let choices = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, choices);
    let totals = std::cell::Cell::new((0, 0));
    runner
        .run(&plans(), |plan| {
            let (slices, over) = check(plan)?;
            let (all, most) = totals.get();
            totals.set((all + slices, over.max(most)));
            Ok(())
        })
        .unwrap();
    let (slices, most) = totals.get();
    println!("{slices} admitted from slices; at most {most} % of the overshoot that is allowed");
    assert!(
        slices > 0 && most > 0,
        "the simulation tries nothing: {slices} {most}"
    );
}
