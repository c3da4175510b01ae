//! The Markdown for `benches/README.md`.

use std::fmt::Write as _;

use bulkhead::operation::Store;

use crate::classification::Classified;
use crate::load::Round;
use crate::machine::Machine;
use crate::rounds::{Footprint, Measured, Target, Turn, Turns};
use crate::settings::Settings;
use crate::statistics::Spread;

/// Stands where nothing was measured.
const NOTHING: &str = "–";

pub fn render(
    settings: &Settings,
    machine: &Machine,
    versions: &[(Store, String)],
    measured: &Measured,
    classified: &[Classified],
) -> String {
    let mut text = String::new();
    heading(&mut text, settings, machine, versions);
    for count in &settings.callers {
        speed(&mut text, settings, &measured.turns, *count);
    }
    footprints(&mut text, measured);
    classification(&mut text, classified);
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
    let (rounds, round_ms) = (settings.rounds, settings.round.as_millis());
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

/// One table for one number of connections.
fn speed(text: &mut String, settings: &Settings, turns: &Turns, count: usize) {
    let connections = if count == 1 {
        "connection"
    } else {
        "connections"
    };
    line(text, format_args!("\n### {count} {connections}\n"));
    line(
        text,
        format_args!(
            "| store | target | p50 µs | p99 µs | p50 µs added | p99 µs added | requests/s | of direct | of bare | CPU µs a request |"
        ),
    );
    line(
        text,
        format_args!("|---|---|---|---|---|---|---|---|---|---|"),
    );
    for store in &settings.stores {
        for target in &settings.targets {
            let cells = cells(*target, |target| {
                let turns = turns.get(&(*store, count, target));
                turns.map_or(&[][..], Vec::as_slice)
            });
            let cells = cells.join(" | ");
            line(
                text,
                format_args!("| {store} | {} | {cells} |", title(*target)),
            );
        }
    }
}

/// One target's figures, in the order of the table's heading, beside those of the targets it is compared with.
fn cells<'a>(target: Target, turns: impl Fn(Target) -> &'a [Turn]) -> [String; 8] {
    let (own, direct, bare) = (turns(target), turns(Target::Direct), turns(Target::Bare));
    // Nothing is compared with itself, and the bare handler not with the sidecar.
    let direct = if target == Target::Direct {
        &[][..]
    } else {
        direct
    };
    let bare = match target {
        Target::Direct | Target::Bare => &[][..],
        Target::Bulkhead | Target::Unlimited => bare,
    };
    let each = |figure: fn(&Round) -> f64| Spread::of(own.iter().map(|turn| figure(&turn.round)));
    let added =
        |figure: fn(&Round) -> f64| paired(own, direct, |own, direct| figure(own) - figure(direct));
    let ratio = |base| paired(own, base, |own, base| own.per_second / base.per_second);
    [
        shown(each(|round| round.p50_us), 0),
        shown(each(|round| round.p99_us), 0),
        shown(added(|round| round.p50_us), 0),
        shown(added(|round| round.p99_us), 0),
        shown(each(|round| round.per_second), 0),
        shown(ratio(direct), 2),
        shown(ratio(bare), 2),
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
        Target::Bulkhead => "**bulkhead**",
        Target::Unlimited => "bulkhead, role without a limit",
    }
}

/// Compares round with round, so that what slowed both is not counted.
fn paired(own: &[Turn], base: &[Turn], compare: impl Fn(&Round, &Round) -> f64) -> Option<Spread> {
    let rounds = own.iter().zip(base);
    Spread::of(rounds.map(|(own, base)| compare(&own.round, &base.round)))
}

fn footprints(text: &mut String, measured: &Measured) {
    line(text, format_args!("\n### Start and memory\n"));
    line(
        text,
        format_args!("| | start to first row ms | resident idle MB | loaded MB | peak MB |"),
    );
    line(text, format_args!("|---|---|---|---|---|"));
    let servers = [
        (Target::Bare, measured.bare.as_ref()),
        (Target::Bulkhead, measured.bulkhead.as_ref()),
    ];
    for (target, footprint) in servers {
        let Some(Footprint {
            start_ms,
            idle,
            loaded,
        }) = footprint
        else {
            continue;
        };
        line(
            text,
            format_args!(
                "| {} | {} | {:.1} | {:.1} | {:.1} |",
                title(target),
                shown(*start_ms, 0),
                idle.now_mb,
                loaded.now_mb,
                loaded.peak_mb
            ),
        );
    }
}

fn classification(text: &mut String, classified: &[Classified]) {
    line(text, format_args!("\n### Classification, in process\n"));
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
