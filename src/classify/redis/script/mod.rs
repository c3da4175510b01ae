//! Lua scripts (`EVAL`): what they touch, where their source proves it.
//!
//! A script passes when every command in it is a literal, every key comes from `KEYS`, and nothing in it can
//! change what `redis`, `KEYS` or a function of the library means. The proof rests on one invariant, kept by
//! [`walk`]: no value in the script ever refers to `redis`, to `KEYS` itself, to a library table, or to a
//! function that could reach one of them (`load`, `setmetatable`, `getfenv`, `rawset`, …). Whatever a value
//! then is, calling, indexing or storing it cannot lead to a key that is not in `KEYS`. Any other script the policy
//! may list by its digest ([`super::vouched`]).
//!
//! Redis serves nobody else while a script runs, so its time and memory are bounded as well: by the loops it may have
//! ([`loops`]), by what it gives to the library ([`library`]) and by how its values grow ([`growth`]).

mod globals;
mod growth;
mod library;
mod loops;
mod source;
mod value;
mod walk;

use super::arguments::Arguments;
use super::table::Access;
use super::{touch, vouched};
use crate::classify::{Refusal, Result, lanes};
use crate::operation::Classification;

/// Deepest nesting of a script that is read on the caller's own stack: a debug build takes 60 KiB for each level, of
/// the 2 MiB that a thread usually has.
const INLINE_NESTING_MAX: usize = 8;

/// What a script does to its keys, independent of which keys these are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Summary {
    uses: Vec<(Which, Access)>,
}

/// One element of `KEYS`, counted from 1, or some element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Nth(usize),
    Any,
}

/// `EVAL script numkeys key … argument …`. A script whose source proves nothing is left to the policy.
pub(super) fn touches(
    arguments: Arguments<'_, '_>,
    classification: &mut Classification,
) -> Result<()> {
    let script = arguments.one(1)?.bytes().unwrap_or_default();
    let keys = vouched::declared(arguments)?;
    let summary = match summary(script) {
        Ok(summary) => summary,
        Err(refusal) => return vouched::eval(arguments, refusal, classification),
    };
    // A key that is declared and not used counts as read: declaring it asks for it.
    for key in &keys {
        if !summary.uses(key, &keys) {
            touch(key, Access::Read, classification);
        }
    }
    for (which, access) in summary.uses {
        match which {
            // An element that is not there is nil, and no command takes nil.
            Which::Nth(number) => {
                if let Some(key) = number.checked_sub(1).and_then(|index| keys.get(index)) {
                    touch(key, access, classification);
                }
            }
            Which::Any => keys
                .iter()
                .for_each(|key| touch(key, access, classification)),
        }
    }
    Ok(())
}

/// What the script's source proves. One that nests deeply is read on a stack that is deep enough.
fn summary(script: &[u8]) -> Result<Summary> {
    let text = source::text(script)?;
    if source::nesting(text)? <= INLINE_NESTING_MAX {
        return prove(text);
    }
    let text = text.to_owned();
    lanes::begin(lanes::Length::Short, move || prove(&text))
        .and_then(|answer| answer.recv().ok())
        .unwrap_or_else(|| {
            Err(Refusal::Unparsable(
                "the script could not be read now".into(),
            ))
        })
}

fn prove(text: &str) -> Result<Summary> {
    walk::summarise(&source::parse(text)?)
}

impl Summary {
    /// Whether some command in the script is given this key.
    fn uses(&self, key: &[u8], keys: &[&[u8]]) -> bool {
        self.uses.iter().any(|(which, _)| match which {
            Which::Any => true,
            Which::Nth(number) => number
                .checked_sub(1)
                .and_then(|index| keys.get(index))
                .is_some_and(|used| *used == key),
        })
    }
}

fn unproven(what: impl std::fmt::Display) -> Refusal {
    Refusal::Forbidden(format!(
        "the script {what}, so its keys cannot be told: use literal commands on `KEYS[n]`, and `ARGV` for values"
    ))
}

#[cfg(test)]
mod tests;
