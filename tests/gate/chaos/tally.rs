//! What came back, and what was wrong with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Complaints that are kept; a run that goes wrong has many of the same.
const WRONG_MAX: usize = 40;

#[derive(Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: u64,
    by_code: BTreeMap<String, u64>,
    by_fault: BTreeMap<String, u64>,
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
    slowest: Duration,
    slowest_was: String,
    checked_writes: u64,
    unknown_writes: u64,
    unknown_made: u64,
    wrong: Vec<String>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }

    pub fn reply(&self, store: &str, told: &str, took: Duration) {
        let mut counts = self.counts();
        counts.requests += 1;
        *counts.by_code.entry(format!("{store} {told}")).or_default() += 1;
        if took > counts.slowest {
            counts.slowest = took;
            counts.slowest_was = format!("{store} {told}");
        }
    }

    pub fn fault(&self, store: &str, fault: &str) {
        let mut counts = self.counts();
        *counts
            .by_fault
            .entry(format!("{fault} {store}"))
            .or_default() += 1;
    }

    /// How long after a link's reopening the first request succeeded.
    pub fn recovered(&self, store: &'static str, after: Duration) {
        self.counts()
            .recoveries
            .entry(store)
            .or_default()
            .push(after);
    }

    /// A write that was read back; `unknown`: whether it was made had not been said.
    pub fn write(&self, unknown: bool, made: bool) {
        let mut counts = self.counts();
        counts.checked_writes += 1;
        counts.unknown_writes += u64::from(unknown);
        counts.unknown_made += u64::from(unknown && made);
    }

    pub fn complain(&self, what: String) {
        let mut counts = self.counts();
        if counts.wrong.len() < WRONG_MAX {
            counts.wrong.push(what);
        }
    }

    pub fn wrong(&self) -> Vec<String> {
        self.counts().wrong.clone()
    }

    pub fn slowest(&self) -> Duration {
        self.counts().slowest
    }

    pub fn report(&self, peaks_kib: &[u64]) {
        let mut counts = self.counts();
        println!("requests {}", counts.requests);
        for (told, count) in &counts.by_code {
            println!("reply {told} {count}");
        }
        for (fault, count) in &counts.by_fault {
            println!("fault {fault} {count}");
        }
        for (store, times) in &mut counts.recoveries {
            times.sort();
            let at = |part: usize| times[(times.len() - 1) * part / 100].as_millis();
            println!(
                "recovery {store} count={} p50_ms={} p90_ms={} max_ms={}",
                times.len(),
                at(50),
                at(90),
                at(100)
            );
        }
        println!(
            "writes checked={} unknown={} of_these_made={}",
            counts.checked_writes, counts.unknown_writes, counts.unknown_made
        );
        println!(
            "slowest_ms {} ({})",
            counts.slowest.as_millis(),
            counts.slowest_was
        );
        println!("peak_kib {peaks_kib:?}");
        println!("wrong_or_lost {}", counts.wrong.len());
    }
}
