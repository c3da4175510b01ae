//! Recorded requests (`record` in a sidecar's configuration), decided under two policies.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::diff::Change;
use super::request::caller;
use crate::decide::{Clause, Policy};
use crate::operation::{Classification, Operation, Payload, Store};
use crate::record::requests::Recorded;

/// Kinds of requests that are shown.
const KINDS_MAX: usize = 1000;

/// Longest line of a record, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A kind of recorded request that the two policies decide otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Turned {
    change: Change,
    count: u64,
    role: String,
    store: String,
    touches: Vec<String>,
    before: &'static str,
    after: &'static str,
}

/// What came of a replay.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) turned: Vec<Turned>,
    /// Lines that were decided.
    pub(super) read: u64,
    /// Lines that this program does not understand, or that were cut off.
    pub(super) not_understood: u64,
    /// Requests that turned and are of more kinds than are shown.
    pub(super) left_out: u64,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for turned in &self.turned {
            writeln!(
                f,
                "{} {} recorded: role {} in {}, {}: {} before, {} after",
                turned.change.sign(),
                turned.count,
                turned.role,
                turned.store,
                turned.touches.join(" "),
                turned.before,
                turned.after
            )?;
        }
        if self.left_out > 0 {
            writeln!(f, "and {} more requests of other kinds", self.left_out)?;
        }
        if self.turned.is_empty() {
            let read = self.read;
            writeln!(
                f,
                "none of {read} recorded requests would be decided otherwise"
            )?;
        }
        if self.not_understood > 0 {
            let lines = self.not_understood;
            writeln!(f, "{lines} lines were not understood, and not decided")?;
        }
        Ok(())
    }
}

/// Decides every recorded request of some files under both policies.
pub(super) fn all(old: &Policy, new: &Policy, paths: &[PathBuf]) -> Result<Replayed, String> {
    let mut replay = Replay {
        policies: (old, new),
        now: Timestamp::now(),
        turned: BTreeMap::new(),
        answer: Replayed::default(),
    };
    for path in paths {
        replay.file(path)?;
    }
    let mut answer = replay.answer;
    answer.turned = replay.turned.into_values().collect();
    Ok(answer)
}

/// Role, store, touches, and the decision before and after.
type Kind = (String, String, Vec<String>, &'static str, &'static str);

struct Replay<'p> {
    policies: (&'p Policy, &'p Policy),
    now: Timestamp,
    turned: BTreeMap<Kind, Turned>,
    answer: Replayed,
}

impl Replay<'_> {
    fn file(&mut self, path: &Path) -> Result<(), String> {
        let unread = |error| format!("cannot read `{}`: {error}", path.display());
        let mut file = BufReader::new(fs::File::open(path).map_err(unread)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut limited = file.by_ref().take(LINE_BYTES_MAX);
            if limited.read_until(b'\n', &mut line).map_err(unread)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Recorded>(&line) {
                Ok(recorded) => self.decide(recorded),
                // A sidecar that was killed may have left the last line unfinished.
                Err(error) if error.is_eof() && number > 1 && line.last() != Some(&b'\n') => {
                    self.answer.not_understood += 1;
                }
                Err(error) => return Err(format!("{}:{number}: {error}", path.display())),
            }
        }
        Ok(())
    }

    fn decide(&mut self, recorded: Recorded) {
        let Some((store, classification)) = recorded.classification() else {
            self.answer.not_understood += 1;
            return;
        };
        self.answer.read += 1;
        let touches: Vec<String> = classification
            .touches
            .iter()
            .map(|touch| format!("{}:{}", touch.action, touch.object))
            .collect();
        let asked = Operation {
            store,
            classification: Arc::new(classification),
            payload: Payload::Sql("".into()),
        };
        let caller = caller(&recorded.role, None);
        let at = recorded.at.unwrap_or(self.now);
        let decide = |policy: &Policy| {
            let outcome = policy.allows(&caller, &asked, at);
            outcome
                .err()
                .map_or("allow", |refusal| refusal.0.code.as_str())
        };
        let (old, new) = self.policies;
        let (before, mut after) = (decide(old), decide(new));
        if (before, after) == ("allow", "allow") {
            let rules = |policy| rules(policy, &recorded.role, store, &asked.classification);
            if rules(old) == rules(new) {
                return;
            }
            after = "allow under other rules";
        }
        if before == after {
            return;
        }
        let change = match (before, after) {
            ("allow", "allow under other rules") => Change::Changed,
            (_, "allow") => Change::Allowed,
            ("allow", _) => Change::Denied,
            _ => Change::Changed,
        };
        let Recorded {
            role, store: name, ..
        } = recorded;
        let kind = (role.clone(), name.clone(), touches.clone(), before, after);
        if self.turned.len() >= KINDS_MAX && !self.turned.contains_key(&kind) {
            self.answer.left_out += 1;
            return;
        }
        let turned = self.turned.entry(kind).or_insert(Turned {
            change,
            count: 0,
            role,
            store: name,
            touches,
            before,
            after,
        });
        turned.count += 1;
    }
}

/// What is demanded of the objects that a request touches.
fn rules(
    policy: &Policy,
    role: &str,
    store: Store,
    classification: &Classification,
) -> Vec<Vec<Clause>> {
    let touches = classification.touches.iter();
    let of = |touch: &crate::operation::Touch| policy.demanded_of(role, store, &touch.object).0;
    touches.map(of).collect()
}
