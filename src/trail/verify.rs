//! The verifier: what is known of a trail goes in, first what stands beside the rows, then the rows by chain and place; what
//! is wrong comes out. Its memory grows with chains and with what seals say of rows that are not retired, not with rows.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::chain::{Chain, Start};
use super::fault::{Fault, Faults, Kind};
use super::file::Line;
use super::row::Row;
use super::seal::{Head, PublicKey, Seal};
use super::sealed::Seals;
use super::text::{Hex, Micros};

/// The action of the row that says where chains begin after a month was retired.
pub const RETIRE: &str = "audit.retire";

/// The metadata of such a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    pub partition: String,
    /// The last row (chain, seq, hash) that each chain has lost, in this month or before.
    pub chains: Vec<(i64, i64, Hex)>,
}

/// How to verify.
#[derive(Debug, Default)]
pub struct Settings {
    /// Signatures are checked where there are any.
    pub keys: Vec<PublicKey>,
    /// The number of the first seal that must be signed.
    pub signed_from: i64,
    /// The rows are those of some time.
    pub is_part: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    pub rows: u64,
    pub chains: u64,
    /// Rows that no seal covers yet.
    pub unsealed: u64,
    pub seals: u64,
    pub signed: u64,
    pub last_sealed_at: Option<Micros>,
    /// Seals that were compared with those of the other file.
    pub seals_compared: u64,
    pub signatures_checked: bool,
    pub retired: Vec<Retired>,
    /// Of a part: chains whose rows before or after it were not there to be checked.
    pub open_beginnings: u64,
    pub open_ends: u64,
    pub fault_count: u64,
    /// The first of them.
    pub faults: Vec<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Retired {
    pub partition: String,
    pub at: Micros,
    pub account: String,
}

pub struct Verifier {
    is_part: bool,
    seals: Seals,
    heads: BTreeMap<i64, Head>,
    starts: BTreeMap<i64, Start>,
    /// Retirements that have not come as rows yet: the hash, by chain and place.
    retirements: BTreeMap<(i64, i64), (Hex, i64)>,
    retired: Vec<Retired>,
    current: Option<Chain>,
    has_rows: bool,
    rows: u64,
    chains: u64,
    unsealed: u64,
    open_beginnings: u64,
    open_ends: u64,
    faults: Faults,
}

impl Verifier {
    pub fn new(settings: Settings) -> Self {
        Self {
            is_part: settings.is_part,
            seals: Seals::new(settings.keys, settings.signed_from),
            heads: BTreeMap::new(),
            starts: BTreeMap::new(),
            retirements: BTreeMap::new(),
            retired: Vec::new(),
            current: None,
            has_rows: false,
            rows: 0,
            chains: 0,
            unsealed: 0,
            open_beginnings: 0,
            open_ends: 0,
            faults: Faults::default(),
        }
    }

    /// A seal of the file outside of the database; before those of the database.
    pub fn exported(&mut self, seal: &Seal) {
        self.seals.exported(seal, &mut self.faults);
    }

    /// A seal of the database; by number.
    pub fn seal(&mut self, seal: &Seal) {
        self.seals.seal(seal, &mut self.faults);
    }

    pub fn head(&mut self, head: Head) {
        self.heads.insert(head.chain, head);
    }

    /// A line of a trail, from the database or a file.
    pub fn line(&mut self, line: Line) {
        match line {
            Line::Header(_) | Line::End(_) => {}
            Line::Head(head) => self.head(head),
            Line::Retirement(row) => self.retirement(&row),
            Line::Seal(seal) => self.seal(&seal),
            Line::Row(row) => self.row(&row),
        }
    }

    /// A fault that the reader of a file has found.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.add(fault);
    }

    /// A row whose action is [`RETIRE`]; it comes among the rows, too.
    pub fn retirement(&mut self, row: &Row) {
        let text = row.metadata.as_deref().map_or("null", RawValue::get);
        let Ok(told) = serde_json::from_str::<Retirement>(text) else {
            let place = (row.chain, row.seq, row.id);
            let what = "its metadata does not say what was retired";
            return self
                .faults
                .add(Fault::of_row(Kind::Retirement, place, what));
        };
        for (chain, seq, hash) in told.chains {
            let known = self.starts.get(&chain);
            if known.is_none_or(|known| known.seq < seq) {
                self.starts.insert(chain, Start { seq, hash });
            }
        }
        self.retired.push(Retired {
            partition: told.partition,
            at: row.recorded_at,
            account: row.account.clone(),
        });
        let place = (row.chain, row.seq);
        self.retirements.insert(place, (row.hash.clone(), row.id));
    }

    /// A row; by chain and place. Nothing but rows may come after it.
    pub fn row(&mut self, row: &Row) {
        if !self.has_rows {
            self.has_rows = true;
            self.prepare();
        }
        self.rows += 1;
        let last = self.current.as_ref().map(Chain::number);
        if last != Some(row.chain) {
            self.end_chain();
            if last.is_some_and(|last| row.chain < last) {
                let place = (row.chain, row.seq, row.id);
                let what = "it comes after the rows of another chain";
                self.faults.add(Fault::of_row(Kind::Reordered, place, what));
            }
            self.chains += 1;
            let entries = self.seals.entries.remove(&row.chain).unwrap_or_default();
            let start = self.starts.remove(&row.chain);
            self.current = Some(Chain::begin(row.chain, start, entries, self.is_part));
        }
        let Some(chain) = &mut self.current else {
            return;
        };
        let is_consistent = chain.row(row, &mut self.faults);
        if row.action == RETIRE && is_consistent {
            let known = self.retirements.get(&(row.chain, row.seq));
            if known.is_some_and(|(hash, _)| *hash == row.hash) {
                self.retirements.remove(&(row.chain, row.seq));
            }
        }
    }

    /// What seals say of retired rows is of no use any more; what they say of the last of them must be the same.
    fn prepare(&mut self) {
        self.seals.end(&mut self.faults);
        for (chain, start) in &self.starts {
            let Some(entries) = self.seals.entries.get_mut(chain) else {
                continue;
            };
            while let Some(entry) = entries.front()
                && entry.seq <= start.seq
            {
                if entry.seq == start.seq && entry.hash != start.hash {
                    let what = format!(
                        "seal {} knows another row than the retirement does",
                        entry.seal
                    );
                    let fault = Fault::of_place(Kind::Retirement, *chain, start.seq, what);
                    self.faults.add(fault);
                }
                entries.pop_front();
            }
            if entries.is_empty() {
                self.seals.entries.remove(chain);
            }
        }
    }

    fn end_chain(&mut self) {
        let Some(mut chain) = self.current.take() else {
            return;
        };
        let head = self.heads.remove(&chain.number());
        let is_open = chain.end(head.as_ref(), &mut self.faults);
        self.unsealed += chain.unsealed;
        self.open_beginnings += u64::from(chain.began_open);
        self.open_ends += u64::from(self.is_part && is_open);
    }

    /// To be called when every row has come.
    pub fn finish(mut self) -> Report {
        if !self.has_rows {
            self.prepare();
        }
        self.end_chain();
        if !self.is_part {
            self.rowless_chains();
            for ((chain, seq), (_, id)) in std::mem::take(&mut self.retirements) {
                let what = "there is no such row in its chain";
                let fault = Fault::of_row(Kind::Retirement, (chain, seq, id), what);
                self.faults.add(fault);
            }
        }
        Report {
            rows: self.rows,
            chains: self.chains,
            unsealed: self.unsealed,
            seals: self.seals.count,
            signed: self.seals.signed,
            last_sealed_at: self.seals.last_at(),
            seals_compared: self.seals.compared,
            signatures_checked: self.seals.checks_signatures(),
            retired: self.retired,
            open_beginnings: self.open_beginnings,
            open_ends: self.open_ends,
            fault_count: self.faults.count,
            faults: self.faults.named,
        }
    }

    /// Chains that heads and seals know, and that have no rows.
    fn rowless_chains(&mut self) {
        for (chain, head) in std::mem::take(&mut self.heads) {
            let sealed = self.seals.entries.remove(&chain);
            let start = self.starts.remove(&chain);
            let sealed = sealed.as_ref().and_then(VecDeque::back);
            let what = match (start, sealed) {
                (Some(start), None) if start.seq == head.seq && start.hash == head.hash => continue,
                (Some(start), None) if start.seq == head.seq => {
                    "its head is not the last row that was retired".to_owned()
                }
                (_, Some(last)) => format!(
                    "its head is at seq {}, seal {} knows a row of seq {}, and it has no rows",
                    head.seq, last.seal, last.seq
                ),
                (_, None) => format!("its head is at seq {}, and it has no rows", head.seq),
            };
            self.faults
                .add(Fault::of_chain(Kind::ChainMissing, chain, what));
        }
        for (chain, entries) in std::mem::take(&mut self.seals.entries) {
            if let Some(last) = entries.back() {
                let what = format!("seal {} knows a row of seq {}", last.seal, last.seq);
                self.faults
                    .add(Fault::of_chain(Kind::ChainMissing, chain, what));
            }
        }
        for chain in std::mem::take(&mut self.starts).into_keys() {
            let what = "it was retired, and its head is gone";
            self.faults
                .add(Fault::of_chain(Kind::HeadMissing, chain, what));
        }
    }
}
