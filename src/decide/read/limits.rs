//! `[rate_limits.NAME]` as written.

use super::{PERIOD_MS_MAX, duration_ms, unknown_store};
use crate::decide::fault::{Faults, did_you_mean, nearest};
use crate::decide::limits::{
    CountMode, OnRedisFailure, Per, PolicyRate, RateLimit, Scope, WHOLE_SHARE_PPM, share_of,
};
use crate::decide::raw::RawRateLimit;
use crate::decide::source::Written;
use crate::decide::toml_tree::TableReader;
use crate::operation::{Action, Store};

/// Sidecars that a share may be divided among.
const SHARE_SIDECARS_MAX: u32 = 10_000;

/// The keys that say something of a rate, and nothing of a bound on what is in flight.
const OF_RATE: [&str; 5] = ["burst", "mode", "cost", "on_redis_failure", "share"];

pub(super) fn read(
    name: Written<String>,
    mut table: TableReader<'_, '_>,
    faults: &mut Faults,
) -> RawRateLimit {
    let concurrent = table.positive("concurrent", "concurrent = 20", faults);
    let rate = rate(&mut table, concurrent.is_some(), faults);
    let scope = scope(&mut table, rate.as_ref(), faults);
    let per_what = table.string("per_what", "per_what = \"key\"", faults);
    let per = one_of(per_what, Per::ALL, Per::as_str, faults);
    let shadow = table.boolean("shadow", faults);
    table.finish(faults, |key| {
        let words = ["period", "interval", "window", "every"];
        nearest(key, words).map(|_| "write `per = \"1m\"`".to_owned())
    });
    RawRateLimit {
        limit: RateLimit {
            name: name.value.clone(),
            rate,
            concurrent: concurrent.map(|concurrent| concurrent.value),
            per: per.unwrap_or(Per::Key),
            scope,
            shadow: shadow.unwrap_or(false),
        },
        name,
    }
}

/// `requests`, `per` and what belongs to them; `None` where only what is in flight is bounded.
fn rate(
    table: &mut TableReader<'_, '_>,
    bounds_flight: bool,
    faults: &mut Faults,
) -> Option<PolicyRate> {
    let requests = table.positive("requests", "requests = 600", faults);
    let has_rate = !bounds_flight || table.has("requests") || table.has("per");
    if has_rate && !table.has("requests") {
        table.missing("requests", "requests = 600", faults);
    }
    let period = if has_rate {
        table.required("per", "per = \"1m\"", faults)
    } else {
        table.ignore("per");
        for key in OF_RATE.into_iter().filter(|key| table.has(key)) {
            let message = format!("`{key}` is of a rate, and this limit has none");
            faults.error(
                &table.span,
                message,
                "write `requests = 600` and `per = \"1m\"`, or remove it",
            );
        }
        None
    };
    let burst = table.positive("burst", "burst = 100", faults);
    let mode = table.string("mode", "mode = \"leased\"", faults);
    let mode = one_of(mode, CountMode::ALL, CountMode::as_str, faults);
    let failure = table.string("on_redis_failure", "on_redis_failure = \"local\"", faults);
    let failure = one_of(failure, OnRedisFailure::ALL, OnRedisFailure::as_str, faults);
    let failure = failure.unwrap_or(OnRedisFailure::Local);
    let share = share(table, failure, faults);
    if !has_rate {
        return None;
    }
    // What could not be read was reported, so no policy comes of it; the limit stays, with values that raise no
    // further fault, so that roles which name it are not reported as well.
    let requests = requests.map_or(1, |requests| requests.value);
    let period_ms = period.and_then(|written| duration_ms(&written, faults));
    Some(PolicyRate {
        requests,
        period_ms: period_ms.unwrap_or(PERIOD_MS_MAX),
        burst: burst.map_or(requests, |burst| burst.value),
        mode: mode.unwrap_or(CountMode::Leased),
        on_redis_failure: failure,
        share_ppm: share.unwrap_or(WHOLE_SHARE_PPM),
    })
}

/// How many sidecars share the limit, or the part of it that is this one's, as millionths.
fn share(
    table: &mut TableReader<'_, '_>,
    failure: OnRedisFailure,
    faults: &mut Faults,
) -> Option<u32> {
    const HELP: &str = "write how many sidecars there are, as in `share = 4`, or this one's part, as in `share = 0.25`";
    let written = table.number("share", HELP, faults)?;
    if failure != OnRedisFailure::Local {
        let message = format!(
            "`share` does nothing beside `on_redis_failure = \"{}\"`",
            failure.as_str()
        );
        faults.warning(&written.span, message, "remove it");
    }
    let value = written.value;
    let whole = f64::from(WHOLE_SHARE_PPM);
    let ppm = if (1.0..=f64::from(SHARE_SIDECARS_MAX)).contains(&value) && value.fract() == 0.0 {
        whole / value
    } else {
        value * whole
    };
    // A share of nothing would be a limit that admits nothing.
    if (1.0..=whole).contains(&ppm) {
        return Some(ppm as u32);
    }
    faults.error(&written.span, format!("`share` is `{value}`"), HELP);
    None
}

fn scope(table: &mut TableReader<'_, '_>, rate: Option<&PolicyRate>, faults: &mut Faults) -> Scope {
    let mut scope = Scope::default();
    let mut stores = Store::ALL.to_vec();
    if let Some(list) = some_strings(table, "stores", "stores = [\"mysql\"]", faults) {
        stores = Vec::new();
        for name in &list {
            match Store::parse(&name.value) {
                Some(store) => stores.push(store),
                None => unknown_store(name, faults),
            }
        }
        scope.only_stores(&stores);
        if stores.is_empty() {
            stores = Store::ALL.to_vec();
        }
    }
    let known = actions_of(&stores);
    let mut covered = known.clone();
    if let Some(list) = some_strings(table, "actions", "actions = [\"insert\"]", faults) {
        let found = list.iter().filter_map(|name| action(name, &known, faults));
        covered = found.collect();
        scope.only_actions(&covered);
    }
    let costs = table.positive_table("cost", "cost = { select = 1, insert = 5 }", faults);
    for (name, cost) in costs {
        let Some(action) = action(&name, &known, faults) else {
            continue;
        };
        if !covered.contains(&action) {
            let message = format!("`{action}` has a cost, and this limit does not count it");
            faults.warning(&name.span, message, "add it to `actions`, or remove it");
        }
        if let Some(rate) = rate
            && cost.value > rate.burst
        {
            let message = format!(
                "`{action}` costs {}, and no more than {} are admitted at once",
                cost.value, rate.burst
            );
            faults.error(
                &cost.span,
                message,
                "write a smaller cost or a larger `burst`",
            );
        }
        warn_of_share(&action, &cost, rate, faults);
        scope.set_cost(action, cost.value);
    }
    scope
}

/// A share that is smaller than what a statement costs is raised to that, which somebody may not expect.
fn warn_of_share(
    action: &Action,
    cost: &Written<u32>,
    rate: Option<&PolicyRate>,
    faults: &mut Faults,
) {
    let local = rate.filter(|rate| rate.on_redis_failure == OnRedisFailure::Local);
    let burst = local.map_or(u64::MAX, |rate| share_of(rate.burst.into(), rate.share_ppm));
    if u64::from(cost.value) > burst {
        let message = format!(
            "`{action}` costs {}, and this sidecar's share of the burst is {burst}: while Redis is away it admits {} at once, so that `{action}` stays possible",
            cost.value, cost.value
        );
        let help = "write a smaller cost, a larger `burst` or a larger `share`";
        faults.warning(&cost.span, message, help);
    }
}

/// A list that has members, where it is there.
fn some_strings(
    table: &mut TableReader<'_, '_>,
    key: &'static str,
    example: &str,
    faults: &mut Faults,
) -> Option<Vec<Written<String>>> {
    let list = table.strings(key, example, faults)?;
    if list.value.is_empty() && faults.is_untouched(&list.span) {
        let message = format!("`{key}` is empty, so nothing is counted");
        let help = format!("write `{example}`, or leave it out for all");
        faults.error(&list.span, message, help);
    }
    Some(list.value)
}

fn actions_of(stores: &[Store]) -> Vec<Action> {
    let mut known: Vec<Action> = Vec::new();
    for action in stores.iter().flat_map(|store| Action::of(*store)) {
        if !known.contains(action) {
            known.push(*action);
        }
    }
    known
}

fn action(name: &Written<String>, known: &[Action], faults: &mut Faults) -> Option<Action> {
    let found = known.iter().find(|action| action.as_str() == name.value);
    if found.is_none() {
        let message = format!("`{}` is not an action of what is counted", name.value);
        let names: Vec<&str> = known.iter().map(|action| action.as_str()).collect();
        faults.error(&name.span, message, did_you_mean(&name.value, names));
    }
    found.copied()
}

/// A word of a closed set.
fn one_of<T: Copy, const N: usize>(
    written: Option<Written<String>>,
    all: [T; N],
    name: fn(T) -> &'static str,
    faults: &mut Faults,
) -> Option<T> {
    let written = written?;
    let found = all.into_iter().find(|one| name(*one) == written.value);
    if found.is_none() {
        let message = format!("`{}` is not known here", written.value);
        faults.error(
            &written.span,
            message,
            did_you_mean(&written.value, all.map(name)),
        );
    }
    found
}
