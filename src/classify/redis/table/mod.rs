//! The complete command table: what each command needs, and where its keys stand.
//!
//! Which half of [`Access`] a key needs follows the flags of Redis' own key specifications (`ACCESS` reads;
//! `INSERT`, `UPDATE` and `DELETE` write), so that the table says what Redis' ACLs (`%R~`, `%W~`) say. Where
//! those flags are laxer than what a command does (`XREADGROUP`, `XCLAIM`), the table is stricter.

mod collections;
mod keyspace;
mod server;
mod streams;
mod strings;

/// Longest command or `container|subcommand` name in the table, in bytes.
const NAME_BYTES_MAX: usize = 40;

/// What a command does with one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// Changes the key and returns (part of) what was in it.
    Both,
}

/// Where keys stand among the arguments; index 0 is the command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySpec {
    At(usize, Access),
    /// Every `step`-th argument from `first` on, except the last `tail`.
    From {
        first: usize,
        tail: usize,
        step: usize,
        access: Access,
    },
    /// The argument at `count_at` says how many keys follow it; at least `after` arguments follow the keys.
    Counted {
        count_at: usize,
        step: usize,
        after: usize,
        access: Access,
    },
}

/// Commands whose keys only their options tell; each has a parser of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// `SET`: returns the old value with `GET` and compares with it with `IFEQ` and its kin.
    Set,
    /// `BITFIELD`: reads unless it has `SET` or `INCRBY`.
    Bitfield,
    /// `COPY`: refused with `DB`.
    Copy,
    /// `SORT` and `SORT_RO`: `BY` and `GET` patterns, `STORE`.
    Sort,
    /// `GEORADIUS` and `GEORADIUSBYMEMBER`: options from this index on, `STORE` and `STOREDIST` among them.
    Georadius(usize),
    Xread,
    Xreadgroup,
    /// `KEYS pattern`.
    Keys,
    /// `SCAN cursor [MATCH pattern] …`.
    Scan,
    /// Touches the whole key space (`RANDOMKEY`, `DBSIZE`).
    Everything,
    /// `EVAL` and `EVAL_RO`.
    Eval,
    /// `EVALSHA` and `EVALSHA_RO`.
    Evalsha,
    ScriptLoad,
    ScriptExists,
    Hello,
    Info,
    Select,
}

/// What Bulkhead makes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Data(&'static [KeySpec]),
    Special(Grammar),
    /// Touches no key and leaves the connection as it was.
    Free,
    /// Alters the connection, or speaks about it: only on a connection of the caller's own.
    Own(&'static [KeySpec]),
    /// Never allowed; the reason follows the command's name in the refusal.
    Never(&'static str),
}

/// One command. `arity` is Redis' own: exact, or the minimum when negative; the name counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub name: &'static str,
    pub arity: i8,
    pub standing: Standing,
}

impl Row {
    pub fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            arguments >= wanted
        } else {
            arguments == wanted
        }
    }
}

const fn data(name: &'static str, arity: i8, keys: &'static [KeySpec]) -> Row {
    Row {
        name,
        arity,
        standing: Standing::Data(keys),
    }
}

const fn special(name: &'static str, arity: i8, grammar: Grammar) -> Row {
    Row {
        name,
        arity,
        standing: Standing::Special(grammar),
    }
}

const fn free(name: &'static str, arity: i8) -> Row {
    Row {
        name,
        arity,
        standing: Standing::Free,
    }
}

const fn own(name: &'static str, arity: i8) -> Row {
    Row {
        name,
        arity,
        standing: Standing::Own(&[]),
    }
}

const fn never(name: &'static str, why: &'static str) -> Row {
    Row {
        name,
        arity: -1,
        standing: Standing::Never(why),
    }
}

/// The key is the first argument.
const R: &[KeySpec] = &[KeySpec::At(1, Access::Read)];
const W: &[KeySpec] = &[KeySpec::At(1, Access::Write)];
const RW: &[KeySpec] = &[KeySpec::At(1, Access::Both)];
/// The key follows a subcommand.
const SUB_R: &[KeySpec] = &[KeySpec::At(2, Access::Read)];
const SUB_W: &[KeySpec] = &[KeySpec::At(2, Access::Write)];
/// Every argument is a key.
const ALL_R: &[KeySpec] = &[from(1, 0, 1, Access::Read)];
const ALL_W: &[KeySpec] = &[from(1, 0, 1, Access::Write)];
/// A destination, then sources to the end.
const STORE_ALL: &[KeySpec] = &[KeySpec::At(1, Access::Write), from(2, 0, 1, Access::Read)];
/// A destination, then one source.
const STORE_ONE: &[KeySpec] = &[KeySpec::At(1, Access::Write), KeySpec::At(2, Access::Read)];
/// A source that loses what the destination gets.
const MOVE: &[KeySpec] = &[KeySpec::At(1, Access::Both), KeySpec::At(2, Access::Write)];

const fn from(first: usize, tail: usize, step: usize, access: Access) -> KeySpec {
    KeySpec::From {
        first,
        tail,
        step,
        access,
    }
}

const fn counted(count_at: usize, after: usize, access: Access) -> KeySpec {
    KeySpec::Counted {
        count_at,
        step: 1,
        after,
        access,
    }
}

/// What the name of a command leads to.
pub(super) enum Found {
    /// A command, or a container's subcommand.
    Row(&'static Row),
    /// A container whose subcommand is missing.
    Container,
    Unknown,
}

/// Looks a command up, case-insensitively; `subcommand` is its first argument, where there is one.
pub(super) fn find(name: &[u8], subcommand: Option<&[u8]>) -> Found {
    let Some(lower) = lower(name) else {
        return Found::Unknown;
    };
    let container = CONTAINERS.contains(&lower.as_str());
    if !container {
        return row(&lower).map_or(Found::Unknown, Found::Row);
    }
    let Some(subcommand) = subcommand else {
        // `COMMAND` alone is a command too.
        return row(&lower).map_or(Found::Container, Found::Row);
    };
    let Some(subcommand) = self::lower(subcommand) else {
        return Found::Unknown;
    };
    row(&format!("{lower}|{subcommand}")).map_or(Found::Unknown, Found::Row)
}

/// Whether a command, or a subcommand written `container|subcommand` as `COMMAND` lists it, is in the table.
pub(super) fn knows(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CONTAINERS.contains(&name.as_str()) || row(&name).is_some()
}

/// What a command that may be allowed asks of whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// Its keys are read.
    Reads,
    /// A key of it is written, perhaps beside others that are read.
    Writes,
    /// It tells of keys that it does not name, or of the server.
    Names,
}

/// Every command that may be allowed, as `COMMAND` lists it: `get`, `object|encoding`.
pub fn allowed() -> impl Iterator<Item = (&'static str, Needs)> {
    let rows = SECTIONS.into_iter().flatten();
    rows.filter_map(|row| Some((row.name, needs(row.standing)?)))
}

fn needs(standing: Standing) -> Option<Needs> {
    match standing {
        Standing::Never(_) => None,
        Standing::Free | Standing::Own([]) | Standing::Data([]) => Some(Needs::Nothing),
        Standing::Data(specs) | Standing::Own(specs) => {
            let reads = specs.iter().all(|spec| match spec {
                KeySpec::At(_, access)
                | KeySpec::From { access, .. }
                | KeySpec::Counted { access, .. } => *access == Access::Read,
            });
            Some(if reads { Needs::Reads } else { Needs::Writes })
        }
        Standing::Special(grammar) => Some(match grammar {
            Grammar::Sort | Grammar::Xread => Needs::Reads,
            Grammar::Set
            | Grammar::Bitfield
            | Grammar::Copy
            | Grammar::Georadius(_)
            | Grammar::Xreadgroup => Needs::Writes,
            Grammar::Keys | Grammar::Scan | Grammar::Everything | Grammar::Info => Needs::Names,
            Grammar::Eval
            | Grammar::Evalsha
            | Grammar::ScriptLoad
            | Grammar::ScriptExists
            | Grammar::Hello
            | Grammar::Select => Needs::Nothing,
        }),
    }
}

fn lower(name: &[u8]) -> Option<String> {
    if name.len() > NAME_BYTES_MAX || !name.is_ascii() {
        return None;
    }
    std::str::from_utf8(name).ok().map(str::to_ascii_lowercase)
}

fn row(name: &str) -> Option<&'static Row> {
    SECTIONS.into_iter().find_map(|section| {
        section
            .binary_search_by(|row| row.name.cmp(name))
            .ok()
            .and_then(|index| section.get(index))
    })
}

/// Commands that are nothing without a subcommand.
const CONTAINERS: [&str; 16] = [
    "acl", "client", "cluster", "command", "config", "function", "hotkeys", "latency", "memory",
    "module", "object", "pubsub", "script", "slowlog", "xgroup", "xinfo",
];

/// Each sorted by name.
const SECTIONS: [&[Row]; 6] = [
    strings::ROWS,
    collections::ROWS,
    keyspace::ROWS,
    streams::ROWS,
    server::ROWS,
    server::SUBCOMMANDS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_sorted_and_no_name_stands_twice() {
        let mut names = std::collections::BTreeSet::new();
        for section in SECTIONS {
            assert!(section.is_sorted_by(|a, b| a.name < b.name));
            for row in section {
                assert!(names.insert(row.name), "{} stands twice", row.name);
                assert!(row.name.len() <= NAME_BYTES_MAX);
                assert_eq!(row.name, row.name.to_ascii_lowercase());
                if let Some((container, _)) = row.name.split_once('|') {
                    assert!(CONTAINERS.contains(&container), "{}", row.name);
                }
            }
        }
    }
}
