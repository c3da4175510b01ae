//! What was written, as far as the replies told.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// What a reply said of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Made,
    NotMade,
    Unknown,
}

/// Where a row is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Sessions,
    Posts,
    Events,
    Cache,
}

#[derive(Default)]
pub struct Ledger {
    entries: Mutex<BTreeMap<(Place, String), Outcome>>,
    /// Rows of one transaction: all of them are there, or none.
    together: Mutex<Vec<(Place, Vec<String>)>>,
    /// Counters: the least and the most that they may stand at.
    counters: Mutex<BTreeMap<String, (i64, i64)>>,
}

impl Ledger {
    pub fn note(&self, place: Place, id: &str, outcome: Outcome) {
        let mut entries = self.entries.lock().unwrap();
        entries.insert((place, id.to_owned()), outcome);
    }

    pub fn note_together(&self, place: Place, ids: &[String], outcome: Outcome) {
        for id in ids {
            self.note(place, id, outcome);
        }
        self.together.lock().unwrap().push((place, ids.to_vec()));
    }

    pub fn note_counter(&self, name: &str, least: i64, most: i64) {
        let mut counters = self.counters.lock().unwrap();
        counters.insert(name.to_owned(), (least, most));
    }

    pub fn entries(&self) -> BTreeMap<(Place, String), Outcome> {
        self.entries.lock().unwrap().clone()
    }

    pub fn together(&self) -> Vec<(Place, Vec<String>)> {
        self.together.lock().unwrap().clone()
    }

    pub fn counters(&self) -> BTreeMap<String, (i64, i64)> {
        self.counters.lock().unwrap().clone()
    }
}
