//! The Markdown for `benches/README.md`.

use std::fmt::Write as _;

use bulkhead::operation::Store;

use crate::Measured;
use crate::classification::Classified;
use crate::extras::{Extras, Streams};
use crate::footprint::Footprint;
use crate::load::Round;
use crate::machine::Machine;
use crate::rounds::{Target, Turn, Turns};
use crate::settings::Settings;
use crate::statistics::Spread;

/// Stands where nothing was measured.
const NOTHING: &str = "–";

pub fn render(
    settings: &Settings,
    machine: &Machine,
    versions: &[(Store, String)],
    measured: &Measured,
) -> String {
    let mut text = String::new();
    heading(&mut text, settings, machine, versions);
    title_of(&mut text, "Closed loop");
    speed(&mut text, settings, &measured.turns, &settings.targets);
    extras(&mut text, settings, &measured.extras);
    if let Some(footprints) = &measured.footprints {
        footprint(&mut text, footprints);
    }
    classification(&mut text, &measured.classified);
    counted(&mut text, &measured.counted);
    text
}

fn heading(
    text: &mut String,
    settings: &Settings,
    machine: &Machine,
    versions: &[(Store, String)],
) {
    let Machine {
        model,
        cores,
        memory_gb,
        kernel,
        date,
        load_before,
        stolen_percent,
    } = machine;
    let versions: Vec<String> = versions
        .iter()
        .map(|(store, version)| format!("{store} {version}"))
        .collect();
    let (rounds, round_ms) = (settings.pace.rounds, settings.pace.round.as_millis());
    line(
        text,
        format_args!(
            "{date}, bulkhead {}; {model}, {cores} cores, {memory_gb:.1} GB, Linux {kernel}; {}.",
            env!("CARGO_PKG_VERSION"),
            versions.join(", ")
        ),
    );
    line(
        text,
        format_args!(
            "{rounds} rounds of {round_ms} ms a target, median (least–greatest of the rounds). Load average before the run {load_before}; {stolen_percent:.1} % of the processors' time went to other guests of the host."
        ),
    );
    if settings.is_quick || cfg!(debug_assertions) {
        line(
            text,
            format_args!(
                "\n**A trial of the harness (quick, or not a release build): these figures say nothing.**"
            ),
        );
    }
}

/// One line for each store, number of connections and target.
fn speed(text: &mut String, settings: &Settings, turns: &Turns, targets: &[Target]) {
    row(
        text,
        "| store | connections | target | p50 µs | p99 µs | requests/s | of direct | of bare | of pooler | CPU µs a request |",
    );
    row(text, "|---|---|---|---|---|---|---|---|---|---|");
    let mut counts: Vec<(Store, usize)> = turns
        .keys()
        .map(|(store, count, _)| (*store, *count))
        .collect();
    counts.dedup();
    for store in &settings.stores {
        for (_, count) in counts.iter().filter(|(asked, _)| asked == store) {
            for target in targets {
                let of = |target| {
                    let turns = turns.get(&(*store, *count, target));
                    turns.map_or(&[][..], Vec::as_slice)
                };
                if of(*target).is_empty() {
                    continue;
                }
                let cells = cells(*target, of).join(" | ");
                line(
                    text,
                    format_args!("| {store} | {count} | {} | {cells} |", title(*target)),
                );
            }
        }
    }
}

/// One target's figures, in the order of the table's heading, beside those of the targets it is compared with.
fn cells<'a>(target: Target, turns: impl Fn(Target) -> &'a [Turn]) -> [String; 7] {
    let own = turns(target);
    let each = |figure: fn(&Round) -> f64| Spread::of(own.iter().map(|turn| figure(&turn.round)));
    // Nothing is compared with itself, nor the bare handler and the poolers with what comes after them.
    let is_ours = !matches!(
        target,
        Target::Direct | Target::Bare | Target::Pgbouncer | Target::Webdis
    );
    let ratio = |base: &[Turn], compares: bool| {
        let base = if compares { base } else { &[] };
        shown(
            paired(own, base, |own, base| own.per_second / base.per_second),
            2,
        )
    };
    let pooler = [Target::Pgbouncer, Target::Webdis].map(&turns).concat();
    [
        shown(each(|round| round.p50_us), 0),
        shown(each(|round| round.p99_us), 0),
        shown(each(|round| round.per_second), 0),
        ratio(turns(Target::Direct), target != Target::Direct),
        ratio(turns(Target::Bare), is_ours),
        ratio(&pooler, is_ours || target == Target::Bare),
        cpu_us_a_request(own).map_or_else(|| NOTHING.to_owned(), |us| format!("{us:.1}")),
    ]
}

/// All rounds together: the kernel counts in steps of 10 ms, too coarse for one round.
fn cpu_us_a_request(turns: &[Turn]) -> Option<f64> {
    let cpu_us: Vec<f64> = turns.iter().filter_map(|turn| turn.cpu_us).collect();
    let requests: usize = turns.iter().map(|turn| turn.round.requests).sum();
    (!cpu_us.is_empty()).then(|| cpu_us.iter().sum::<f64>() / requests as f64)
}

const fn title(target: Target) -> &'static str {
    match target {
        Target::Direct => "driver, direct",
        Target::Bare => "bare handler",
        Target::Pgbouncer => "PgBouncer",
        Target::Webdis => "Webdis",
        Target::Bulkhead => "**bulkhead**",
        Target::Unlimited => "bulkhead, role without a limit",
        Target::Tls => "bulkhead, TLS on the listener",
        Target::LargePolicy => "bulkhead, 10,000 tables, 1,000 roles and 10,000 keys",
    }
}

/// Compares round with round, so that what slowed both is not counted.
fn paired(own: &[Turn], base: &[Turn], compare: impl Fn(&Round, &Round) -> f64) -> Option<Spread> {
    let rounds = own.iter().zip(base);
    Spread::of(rounds.map(|(own, base)| compare(&own.round, &base.round)))
}

fn extras(text: &mut String, settings: &Settings, extras: &Extras) {
    title_of(
        text,
        "Open loop, 64 connections, half of the sidecar's best",
    );
    row(
        text,
        "| store | target | requests/s | p50 µs | p99 µs | p99.9 µs |",
    );
    row(text, "|---|---|---|---|---|---|");
    for (store, target, rate, round) in &extras.open {
        let Round {
            p50_us,
            p99_us,
            p999_us,
            ..
        } = round;
        line(
            text,
            format_args!(
                "| {store} | {} | {rate:.0} | {p50_us:.0} | {p99_us:.0} | {p999_us:.0} |",
                title(*target)
            ),
        );
    }
    title_of(text, "From 1 to 1,024 connections");
    sweep(text, &extras.sweep);
    title_of(text, "TLS on the listener, a large policy");
    speed(text, settings, &extras.variants, &Target::VARIANTS);
    title_of(text, "Pipelines and streams");
    row(text, "| what | a second | beside |");
    row(text, "|---|---|---|");
    if let Some((many, one)) = &extras.pipeline {
        line(
            text,
            format_args!(
                "| Redis commands in pipelines of 100, 8 connections | {many} | one by one {one}: {:.1} times |",
                many.median / one.median
            ),
        );
    }
    if let Some(Streams {
        rows,
        bulkhead,
        psql,
        resident_mb: (before, most),
    }) = &extras.streams
    {
        let beside = psql.map_or_else(
            || NOTHING.to_owned(),
            |psql| {
                format!(
                    "`psql` COPY {psql}: {:.2} of it",
                    bulkhead.median / psql.median
                )
            },
        );
        line(
            text,
            format_args!(
                "| rows of ten columns as NDJSON, {rows} rows; resident {before:.1} MB before, {most:.1} MB at most | {bulkhead} | {beside} |"
            ),
        );
    }
}

/// Requests a second by the number of connections, a line for each store.
fn sweep(text: &mut String, turns: &Turns) {
    let mut counts: Vec<usize> = turns.keys().map(|(_, count, _)| *count).collect();
    counts.sort_unstable();
    counts.dedup();
    let numbers: Vec<String> = counts.iter().map(ToString::to_string).collect();
    line(
        text,
        format_args!("| store | {} | last of best |", numbers.join(" | ")),
    );
    line(
        text,
        format_args!("|---|{}---|", "---|".repeat(counts.len())),
    );
    for store in Store::ALL {
        let medians: Vec<f64> = counts
            .iter()
            .filter_map(|count| turns.get(&(store, *count, Target::Bulkhead)))
            .filter_map(|turns| Spread::of(turns.iter().map(|turn| turn.round.per_second)))
            .map(|spread| spread.median)
            .collect();
        let best = medians.iter().copied().fold(0.0, f64::max);
        let Some(last) = medians.last() else { continue };
        let shown: Vec<String> = medians.iter().map(|rate| format!("{rate:.0}")).collect();
        line(
            text,
            format_args!("| {store} | {} | {:.2} |", shown.join(" | "), last / best),
        );
    }
}

fn footprint(text: &mut String, footprints: &[Footprint; 2]) {
    title_of(text, "Start and memory");
    row(
        text,
        "| | start to first row ms | resident idle MB | 64 connections | 1,000 and full caches | peak | program's file MB |",
    );
    row(text, "|---|---|---|---|---|---|---|");
    for (target, one) in [Target::Bare, Target::Bulkhead].into_iter().zip(footprints) {
        let Footprint {
            start_ms,
            idle_mb,
            few_mb,
            many_mb,
            peak_mb,
            binary_mb,
        } = one;
        line(
            text,
            format_args!(
                "| {} | {} | {idle_mb:.1} | {few_mb:.1} | {many_mb:.1} | {peak_mb:.1} | {binary_mb:.1} |",
                title(target),
                shown(*start_ms, 0),
            ),
        );
    }
}

fn counted(text: &mut String, counted: &[(&str, f64)]) {
    if counted.is_empty() {
        return;
    }
    title_of(text, "Counted instructions");
    row(text, "| call | instructions |");
    row(text, "|---|---|");
    for (name, instructions) in counted {
        line(text, format_args!("| {name} | {instructions:.0} |"));
    }
}

fn title_of(text: &mut String, title: &str) {
    line(text, format_args!("\n### {title}\n"));
}

fn row(text: &mut String, cells: &str) {
    line(text, format_args!("{cells}"));
}

fn classification(text: &mut String, classified: &[Classified]) {
    title_of(text, "Classification, in process");
    line(
        text,
        format_args!("| store | statement | bytes | classified anew µs | found in the cache µs |"),
    );
    line(text, format_args!("|---|---|---|---|---|"));
    for Classified {
        store,
        size,
        bytes,
        fresh_us,
        cached_us,
    } in classified
    {
        let fresh = match fresh_us {
            Ok(spread) => shown(*spread, 2),
            Err(refusal) => format!("refused: {refusal}").replace('|', "\\|"),
        };
        line(
            text,
            format_args!(
                "| {store} | {size} | {bytes} | {fresh} | {} |",
                shown(*cached_us, 2)
            ),
        );
    }
}

fn shown(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| NOTHING.to_owned(), |spread| format!("{spread:.digits$}"))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{arguments}");
}
