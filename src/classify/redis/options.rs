//! Commands whose keys stand behind options. Each is read as the server's own parser reads it, word by word;
//! a word that it would not take is refused.

use super::arguments::{Argument, Arguments, Found, at};
use super::refused;
use super::table::Access;
use crate::classify::{Refusal, Result};

/// `SET key value [NX | XX | IFEQ … ] [GET] [EX …]`.
pub(super) fn set<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    const READING: [&str; 5] = ["get", "ifeq", "ifne", "ifdeq", "ifdne"];
    let reads = |argument: &Argument<'_>| match argument.bytes() {
        Some(_) => READING.into_iter().any(|word| argument.is(word)),
        None => true,
    };
    let access = if arguments.is_open() || arguments.all.iter().skip(3).any(reads) {
        Access::Both
    } else {
        Access::Write
    };
    Ok(vec![at(arguments, 1, access)?])
}

/// `BITFIELD key [GET …] [SET …] [INCRBY …] [OVERFLOW …]`.
pub(super) fn bitfield<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    let mut access = if arguments.is_open() {
        Access::Both
    } else {
        Access::Read
    };
    let mut index = 2;
    while let Some(word) = arguments.get(index) {
        if word.is("get") {
            // An unfinished `GET` counts as a write for the server's own list of keys.
            arguments.one(index + 2)?;
            index += 3;
        } else if word.is("overflow") {
            arguments.one(index + 1)?;
            index += 2;
        } else if word.is("set") || word.is("incrby") || word.bytes().is_none() {
            access = Access::Both;
            index += 4;
        } else {
            return Err(arguments.syntax(index));
        }
    }
    Ok(vec![at(arguments, 1, access)?])
}

/// `COPY source destination [DB n] [REPLACE]`.
pub(super) fn copy<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    for index in 3..arguments.len() {
        let word = arguments.one(index)?;
        if word.is("db") {
            return Err(refused(
                "copy … db",
                "reaches another database, which the policy does not know",
            ));
        }
        if !word.is("replace") {
            return Err(arguments.syntax(index));
        }
    }
    Ok(vec![
        at(arguments, 1, Access::Read)?,
        at(arguments, 2, Access::Write)?,
    ])
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`.
pub(super) fn sort<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    let mut found = vec![at(arguments, 1, Access::Read)?];
    let mut index = 2;
    while index < arguments.len() {
        let word = arguments.one(index)?;
        if ["asc", "desc", "alpha"]
            .into_iter()
            .any(|flag| word.is(flag))
        {
            index += 1;
        } else if word.is("limit") {
            arguments.one(index + 2)?;
            index += 3;
        } else if word.is("store") && arguments.name != "sort_ro" {
            found.push(at(arguments, index + 1, Access::Write)?);
            index += 2;
        } else if word.is("by") || word.is("get") {
            found.extend(sort_pattern(arguments, index + 1)?);
            index += 2;
        } else {
            return Err(arguments.syntax(index));
        }
    }
    Ok(found)
}

/// The keys that a `BY` or `GET` pattern reaches: its first `*` is replaced by an element, the rest is taken as
/// it stands, and what follows `->` names a field. Without `*` no key is read.
fn sort_pattern<'a>(arguments: Arguments<'a, '_>, index: usize) -> Result<Option<Found<'a>>> {
    let Some(pattern) = arguments.one(index)?.bytes() else {
        return Err(refused(
            arguments.name,
            "has a pattern that the script computes, which reaches keys that nobody named",
        ));
    };
    if pattern.contains(&0) {
        return Err(Refusal::Unparsable(format!(
            "`{}` has a NUL byte in its pattern",
            arguments.name
        )));
    }
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else {
        return Ok(None);
    };
    let (before, rest) = pattern.split_at(star);
    let rest = rest.get(1..).unwrap_or_default();
    // An arrow at the very end is part of the key.
    let arrow = rest
        .windows(2)
        .position(|pair| pair == b"->")
        .filter(|arrow| arrow + 2 < rest.len());
    let after = arrow.and_then(|arrow| rest.get(..arrow)).unwrap_or(rest);
    let mut glob = literal_glob(before);
    glob.push(b'*');
    glob.extend(literal_glob(after));
    Ok(Some(Found::Pattern(glob)))
}

/// A glob that matches these bytes alone.
fn literal_glob(bytes: &[u8]) -> Vec<u8> {
    let mut glob = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if b"*?[]\\^".contains(byte) {
            glob.push(b'\\');
        }
        glob.push(*byte);
    }
    glob
}

/// `GEORADIUS … [WITHCOORD] … [COUNT n [ANY]] [STORE key] [STOREDIST key]`; the last `STORE` wins in the server,
/// and each one counts here.
pub(super) fn georadius<'a>(
    arguments: Arguments<'a, '_>,
    options_at: usize,
) -> Result<Vec<Found<'a>>> {
    const FLAGS: [&str; 6] = ["withcoord", "withdist", "withhash", "any", "asc", "desc"];
    let mut found = vec![at(arguments, 1, Access::Read)?];
    let mut index = options_at;
    while index < arguments.len() {
        let word = arguments.one(index)?;
        if FLAGS.into_iter().any(|flag| word.is(flag)) {
            index += 1;
        } else if word.is("count") {
            number(arguments, index + 1)?;
            index += 2;
        } else if word.is("store") || word.is("storedist") {
            found.push(at(arguments, index + 1, Access::Write)?);
            index += 2;
        } else {
            return Err(arguments.syntax(index));
        }
    }
    Ok(found)
}

/// A number behind an option. The server refuses the command without it, and where it only lists keys it may
/// take the word for another option.
fn number(arguments: Arguments<'_, '_>, index: usize) -> Result<()> {
    match arguments.one(index)?.bytes() {
        Some(bytes) => {
            let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
            if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
                Ok(())
            } else {
                Err(arguments.syntax(index))
            }
        }
        None => Ok(()),
    }
}

/// `XREAD [COUNT n] [BLOCK ms] STREAMS key … id …`, and `XREADGROUP GROUP g c [COUNT n] [BLOCK ms] [NOACK]
/// [CLAIM ms] STREAMS …`, which moves entries into the group's list of pending ones.
pub(super) fn xread<'a>(arguments: Arguments<'a, '_>, group: bool) -> Result<Vec<Found<'a>>> {
    let mut index = 1;
    let mut grouped = false;
    loop {
        let word = arguments.one(index)?;
        if word.is("streams") {
            break;
        }
        if word.is("count") || word.is("block") || (group && word.is("claim")) {
            number(arguments, index + 1)?;
            index += 2;
        } else if group && word.is("group") {
            grouped = true;
            index += 3;
        } else if group && word.is("noack") {
            index += 1;
        } else {
            return Err(arguments.syntax(index));
        }
    }
    // Without it the server refuses the command, and its own list of keys looks for a later `GROUP`.
    if group && !grouped {
        return Err(Refusal::Unparsable(format!(
            "`{}` needs `GROUP` before `STREAMS`",
            arguments.name
        )));
    }
    let first = index + 1;
    let remaining = arguments.len().saturating_sub(first);
    if remaining == 0 || !remaining.is_multiple_of(2) {
        return Err(Refusal::Unparsable(format!(
            "`{}` needs an id for each stream",
            arguments.name
        )));
    }
    let access = if group { Access::Both } else { Access::Read };
    (first..first + remaining / 2)
        .map(|index| at(arguments, index, access))
        .collect()
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]`. The last `MATCH` wins in the server, so that a second one
/// only serves to mislead.
pub(super) fn scan<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    arguments.one(1)?;
    let mut pattern = None;
    let mut index = 2;
    while index < arguments.len() {
        let word = arguments.one(index)?;
        let value = arguments.one(index + 1)?;
        if word.is("match") && pattern.is_none() {
            pattern = Some(value.bytes().ok_or_else(|| arguments.syntax(index))?);
        } else if !word.is("count") && !word.is("type") {
            return Err(arguments.syntax(index));
        }
        index += 2;
    }
    Ok(vec![Found::Pattern(pattern.unwrap_or(b"*").to_vec())])
}

/// `HELLO [version [SETNAME name]]`; `AUTH` would change who the connection is.
pub(super) fn hello(arguments: Arguments<'_, '_>) -> Result<()> {
    let mut index = 2;
    while index < arguments.len() {
        if arguments.one(index)?.is("auth") {
            return Err(refused(
                "hello … auth",
                "changes who the connection is: authenticate to Bulkhead instead",
            ));
        }
        if !arguments.one(index)?.is("setname") {
            return Err(arguments.syntax(index));
        }
        arguments.one(index + 1)?;
        index += 2;
    }
    Ok(())
}

/// The sections of `INFO` that clients look at when they connect; the others tell what other clients do.
pub(super) fn info(arguments: Arguments<'_, '_>) -> Result<()> {
    const SECTIONS: [&str; 7] = [
        "default",
        "server",
        "replication",
        "cluster",
        "memory",
        "persistence",
        "cpu",
    ];
    for index in 1..arguments.len() {
        let section = arguments.one(index)?;
        if !SECTIONS.into_iter().any(|name| section.is(name)) {
            return Err(refused(
                "info",
                "shows this section to administrators alone",
            ));
        }
    }
    Ok(())
}
