//! Checks seals one after the other, and keeps what they say of the chains until the chains' rows come.

use std::collections::{BTreeMap, VecDeque};

use super::fault::{Fault, Faults, Kind};
use super::seal::{PublicKey, Seal};
use super::text::{Hex, Micros};

/// What a seal says of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: i64,
    pub hash: Hex,
    pub seal: i64,
}

/// What was exported of a seal.
struct Exported {
    hash: Hex,
    key_id: Option<String>,
    signature: Option<Hex>,
}

/// Memory: what the seals say of rows that are not retired, and a hash and signature for each exported seal.
pub struct Seals {
    keys: Vec<PublicKey>,
    /// The first that must be signed, where there are keys.
    signed_from: i64,
    exported: BTreeMap<i64, Exported>,
    /// The first and the last number in the file of exported seals.
    reach: Option<(i64, i64)>,
    /// Seals that are in the file, too.
    pub compared: u64,
    last: Option<(i64, Hex)>,
    last_at: Option<Micros>,
    pub entries: BTreeMap<i64, VecDeque<Entry>>,
    pub count: u64,
    pub signed: u64,
}

impl Seals {
    pub fn new(keys: Vec<PublicKey>, signed_from: i64) -> Self {
        Self {
            keys,
            signed_from,
            exported: BTreeMap::new(),
            reach: None,
            compared: 0,
            last: None,
            last_at: None,
            entries: BTreeMap::new(),
            count: 0,
            signed: 0,
        }
    }

    pub fn checks_signatures(&self) -> bool {
        !self.keys.is_empty()
    }

    pub fn last_at(&self) -> Option<Micros> {
        self.last_at
    }

    /// A line of the file of exported seals, in the file's order.
    pub fn exported(&mut self, seal: &Seal, faults: &mut Faults) {
        if seal.digest() != seal.hash {
            let what = "the line in the file of exported seals was changed: its hash is not that of its content";
            return faults.add(Fault::of_seal(Kind::SealChanged, seal.seal, what));
        }
        let exported = Exported {
            hash: seal.hash.clone(),
            key_id: seal.key_id.clone(),
            signature: seal.signature.clone(),
        };
        let number = seal.seal;
        let (first, last) = self.reach.unwrap_or((number, number));
        self.reach = Some((first.min(number), last.max(number)));
        let known = self.exported.insert(number, exported);
        match known {
            Some(known) if known.hash != seal.hash => {
                let what = "the file of exported seals has two of this number";
                faults.add(Fault::of_seal(Kind::ExportDiffers, seal.seal, what));
            }
            // A line may be written twice by sidecars that share a file.
            Some(_) => {}
            None => {
                self.check_signature(seal, faults);
                self.note(seal);
            }
        }
    }

    /// A seal of the database, in the order of their numbers.
    pub fn seal(&mut self, seal: &Seal, faults: &mut Faults) {
        self.count += 1;
        self.signed += u64::from(seal.signature.is_some());
        self.last_at = Some(seal.sealed_at);
        self.check_place(seal, faults);
        let is_consistent = self.check_content(seal, faults);
        let exported = self.exported.remove(&seal.seal);
        let is_known = exported.is_some();
        let is_within = |(first, last): (i64, i64)| (first..=last).contains(&seal.seal);
        if !is_known && self.reach.is_some_and(is_within) {
            let what = "the file of exported seals lacks it, and has seals before and after it";
            faults.add(Fault::of_seal(Kind::ExportLacks, seal.seal, what));
        }
        if let Some(exported) = exported {
            self.compared += 1;
            let is_same = exported.hash == seal.hash
                && exported.key_id == seal.key_id
                && exported.signature == seal.signature;
            if !is_same {
                let what = "the database has another seal than the one that was exported";
                faults.add(Fault::of_seal(Kind::ExportDiffers, seal.seal, what));
            }
        }
        self.check_signature(seal, faults);
        if is_consistent && !is_known {
            self.note(seal);
        }
        self.last = Some((seal.seal, seal.hash.clone()));
    }

    fn check_place(&self, seal: &Seal, faults: &mut Faults) {
        let expected = self.last.as_ref().map_or(1, |(number, _)| number + 1);
        if seal.seal > expected {
            let what = match seal.seal - expected {
                1 => "it is missing".to_owned(),
                _ => format!("the seals up to {} are missing", seal.seal - 1),
            };
            faults.add(Fault::of_seal(Kind::SealMissing, expected, what));
        } else if seal.seal < expected {
            let what = format!("it stands where seal {expected} belongs");
            faults.add(Fault::of_seal(Kind::SealReordered, seal.seal, what));
        } else {
            let zeros = Hex::zeros();
            let before = self.last.as_ref().map_or(&zeros, |(_, hash)| hash);
            if *before != seal.prev_hash {
                let place = (seal.seal - 1).max(1);
                let what = format!("seal {} follows another one", seal.seal);
                faults.add(Fault::of_seal(Kind::SealReplaced, place, what));
            }
        }
    }

    fn check_content(&self, seal: &Seal, faults: &mut Faults) -> bool {
        let is_whole =
            seal.chains.len() == seal.seqs.len() && seal.chains.len() == seal.hashes.len();
        let is_consistent = is_whole && seal.digest() == seal.hash;
        if !is_consistent {
            let what = "its hash is not that of its content";
            faults.add(Fault::of_seal(Kind::SealChanged, seal.seal, what));
        }
        is_consistent
    }

    fn check_signature(&self, seal: &Seal, faults: &mut Faults) {
        if !self.checks_signatures() {
            return;
        }
        let mut add = |kind, what: String| faults.add(Fault::of_seal(kind, seal.seal, what));
        match (&seal.key_id, &seal.signature) {
            (None, None) if seal.seal < self.signed_from => {}
            (Some(id), Some(signature)) => match self.keys.iter().find(|key| key.id() == *id) {
                Some(key) if key.has_signed(&seal.hash, signature) => {}
                Some(_) => add(
                    Kind::BadSignature,
                    format!("key {id} has not signed this hash"),
                ),
                None => add(
                    Kind::UnknownKey,
                    format!("it names key {id}, which was not given"),
                ),
            },
            (None, _) | (_, None) => add(Kind::Unsigned, "it has no signature".into()),
        }
    }

    fn note(&mut self, seal: &Seal) {
        let heads = seal.chains.iter().zip(&seal.seqs).zip(&seal.hashes);
        for ((chain, seq), hash) in heads {
            self.entries.entry(*chain).or_default().push_back(Entry {
                seq: *seq,
                hash: hash.clone(),
                seal: seal.seal,
            });
        }
    }

    /// To be called when every seal has come.
    pub fn end(&mut self, faults: &mut Faults) {
        for seal in std::mem::take(&mut self.exported).into_keys() {
            let what = "it was exported, and the database lacks it";
            faults.add(Fault::of_seal(Kind::ExportMissing, seal, what));
        }
        for entries in self.entries.values_mut() {
            entries.make_contiguous().sort_by_key(|entry| entry.seq);
        }
    }
}
