//! Checks the rows of one chain as they come, in the order of their places.

use std::collections::VecDeque;

use super::fault::{Fault, Faults, Kind};
use super::row::Row;
use super::seal::Head;
use super::sealed::Entry;
use super::text::Hex;

/// Rows of one place that are compared with each other; further ones are inserted, whatever they hold.
const RIVALS_MAX: usize = 16;

/// Where a chain's remaining rows begin: after this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub seq: i64,
    pub hash: Hex,
}

/// A row whose successor has not come yet.
struct Candidate {
    id: i64,
    hash: Hex,
    /// Its hash is that of its content.
    is_consistent: bool,
}

/// A chain under way. Its memory does not grow with its rows.
pub struct Chain {
    chain: i64,
    /// Only rows of some time were asked for, so that the chain may begin and end anywhere.
    is_part: bool,
    start: Option<Start>,
    entries: VecDeque<Entry>,
    sealed_to: i64,
    seq: i64,
    /// The rows that say they are at `seq`: one, unless somebody has put another one there.
    candidates: Vec<Candidate>,
    /// Seals that do not fit were reported once: what comes after has other hashes, too.
    is_rehashed: bool,
    pub unsealed: u64,
    pub began_open: bool,
}

impl Chain {
    pub fn begin(
        chain: i64,
        start: Option<Start>,
        entries: VecDeque<Entry>,
        is_part: bool,
    ) -> Self {
        Self {
            chain,
            is_part,
            start,
            sealed_to: entries.back().map_or(0, |entry| entry.seq),
            entries,
            seq: 0,
            candidates: Vec::with_capacity(1),
            is_rehashed: false,
            unsealed: 0,
            began_open: false,
        }
    }

    pub fn number(&self) -> i64 {
        self.chain
    }

    /// The next row. Returns whether its hash is that of its content.
    pub fn row(&mut self, row: &Row, faults: &mut Faults) -> bool {
        let is_consistent = row.digest() == row.hash;
        let before = self.candidates.last().map(|last| last.id);
        if !is_consistent {
            let is_late = before.is_some_and(|id| row.id < id);
            let (kind, what) = if is_late {
                let what = "it stands behind a later row, and its hash is not that of its content";
                (Kind::Reordered, what)
            } else {
                (Kind::Changed, "its hash is not that of its content")
            };
            faults.add(Fault::of_row(kind, place(row), what));
        }
        if before.is_none() {
            self.first(row, is_consistent, faults);
        } else if row.seq > self.seq {
            self.next(row, is_consistent, faults);
        } else if row.seq < self.seq {
            faults.add(Fault::of_row(
                Kind::Reordered,
                place(row),
                format!("it comes after the row of seq {}", self.seq),
            ));
            return is_consistent;
        }
        self.seq = row.seq;
        self.unsealed += u64::from(row.seq > self.sealed_to);
        if self.candidates.len() < RIVALS_MAX {
            self.candidates.push(Candidate {
                id: row.id,
                hash: row.hash.clone(),
                is_consistent,
            });
        } else {
            self.inserted(row.id, faults);
        }
        is_consistent
    }

    fn first(&mut self, row: &Row, is_consistent: bool, faults: &mut Faults) {
        let start = self.start.clone().unwrap_or_else(|| Start {
            seq: 0,
            hash: Hex::zeros(),
        });
        if row.seq <= start.seq {
            let what = format!("a retirement says that it begins after seq {}", start.seq);
            faults.add(Fault::of_row(Kind::Retirement, place(row), what));
        } else if row.seq > start.seq + 1 {
            self.began_open = self.is_part;
            if !self.is_part {
                self.missing(start.seq + 1, row.seq - 1, faults);
            }
        } else if row.prev_hash != start.hash && is_consistent {
            let what = if start.seq == 0 {
                "the first row of a chain, and it follows another one".to_owned()
            } else {
                format!("it does not follow the retired row of seq {}", start.seq)
            };
            faults.add(Fault::of_row(Kind::Replaced, place(row), what));
        }
    }

    fn next(&mut self, row: &Row, is_consistent: bool, faults: &mut Faults) {
        let is_next = row.seq == self.seq + 1;
        let known = (is_next && is_consistent).then_some(&row.prev_hash);
        let successor = format!("the row after it (id {}) follows another one", row.id);
        self.settle(known, Kind::Replaced, &successor, faults);
        if !is_next {
            self.missing(self.seq + 1, row.seq - 1, faults);
        }
    }

    fn missing(&self, from: i64, to: i64, faults: &mut Faults) {
        let what = if from == to {
            "there is no such row".to_owned()
        } else {
            format!("there are no rows from here to seq {to}")
        };
        faults.add(Fault::of_place(Kind::Missing, self.chain, from, what));
    }

    fn inserted(&self, id: i64, faults: &mut Faults) {
        let place = (self.chain, self.seq, id);
        let what = "another row has this place";
        faults.add(Fault::of_row(Kind::Inserted, place, what));
    }

    /// Says which of the rows at the last place belongs there: the one that its successor (or the head) and the seals know.
    fn settle(&mut self, known: Option<&Hex>, kind: Kind, what: &str, faults: &mut Faults) {
        let mut sealed: Option<Entry> = None;
        while let Some(entry) = self.entries.front()
            && entry.seq <= self.seq
        {
            sealed = self
                .entries
                .pop_front()
                .filter(|entry| entry.seq == self.seq);
            if let (Some(entry), [one]) = (&sealed, self.candidates.as_slice())
                && one.is_consistent
                && one.hash != entry.hash
                && !self.is_rehashed
            {
                self.is_rehashed = true;
                let what = format!(
                    "seal {} knows another one: it or a row before it was replaced, and what follows hashed anew",
                    entry.seal
                );
                let place = (self.chain, self.seq, one.id);
                faults.add(Fault::of_row(Kind::Replaced, place, what));
            }
        }
        let candidates = std::mem::take(&mut self.candidates);
        if let [one] = candidates.as_slice() {
            let is_unknown = known.is_some_and(|known| *known != one.hash);
            if is_unknown && one.is_consistent {
                let place = (self.chain, self.seq, one.id);
                faults.add(Fault::of_row(kind, place, what));
            }
            return;
        }
        let sealed = sealed.map(|entry| entry.hash);
        let belongs = |one: &&Candidate| Some(&one.hash) == sealed.as_ref().or(known);
        let genuine = candidates.iter().find(belongs).map(|one| one.id);
        for one in candidates.iter().filter(|one| Some(one.id) != genuine) {
            self.inserted(one.id, faults);
        }
    }

    /// Compares the end with the chain's head and with what seals say of later rows. Returns whether the end was open.
    pub fn end(&mut self, head: Option<&Head>, faults: &mut Faults) -> bool {
        let known = head.filter(|head| head.seq == self.seq);
        let what = "the head holds another hash than the last row: one of them was replaced";
        self.settle(
            known.map(|head| &head.hash),
            Kind::HeadAltered,
            what,
            faults,
        );
        let is_open = known.is_none();
        if self.is_part {
            return is_open;
        }
        let after = self.entries.back();
        match (head, after) {
            (None, _) => {
                let what = format!("it has rows up to seq {}, and no head", self.seq);
                faults.add(Fault::of_chain(Kind::HeadMissing, self.chain, what));
            }
            (Some(head), _) if head.seq > self.seq => {
                let what = format!("the head is at seq {}, and the rows end before", head.seq);
                faults.add(Fault::of_place(
                    Kind::Truncated,
                    self.chain,
                    self.seq + 1,
                    what,
                ));
                return is_open;
            }
            (Some(head), _) if head.seq < self.seq => {
                let what = format!("the head is at seq {}, and rows go on", head.seq);
                faults.add(Fault::of_place(
                    Kind::HeadAltered,
                    self.chain,
                    self.seq,
                    what,
                ));
            }
            (Some(_), _) => {}
        }
        if let Some(entry) = after {
            let what = format!("seal {} knows a row of seq {}", entry.seal, entry.seq);
            faults.add(Fault::of_place(
                Kind::Truncated,
                self.chain,
                self.seq + 1,
                what,
            ));
        }
        is_open
    }
}

fn place(row: &Row) -> (i64, i64, i64) {
    (row.chain, row.seq, row.id)
}
