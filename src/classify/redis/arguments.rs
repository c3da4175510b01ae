//! Finds the keys among a command's arguments, whether these are bytes or what a script's source shows of them.

use super::table::{Access, Grammar, KeySpec, Row, Standing};
use super::{options, refused};
use crate::classify::{Refusal, Result};

/// One argument, as far as it is known before the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    /// These bytes: sent by the caller, or a literal in a script.
    Bytes(&'a [u8]),
    /// `KEYS[n]`, counted from 1.
    Key(usize),
    /// Some element of `KEYS`.
    AnyKey,
    /// One value that only the running script knows.
    Unknown,
    /// Any number of unknown values; always last.
    Rest,
    /// Any number of elements of `KEYS`; always last.
    RestOfKeys,
}

impl<'a> Argument<'a> {
    /// Whether this may stand for any number of values.
    pub fn is_open(self) -> bool {
        match self {
            Self::Rest | Self::RestOfKeys => true,
            Self::Bytes(_) | Self::Key(_) | Self::AnyKey | Self::Unknown => false,
        }
    }

    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Key(_) | Self::AnyKey | Self::Unknown | Self::Rest | Self::RestOfKeys => None,
        }
    }

    /// Whether this is the given keyword, in any case.
    pub fn is(self, keyword: &str) -> bool {
        self.bytes()
            .is_some_and(|bytes| bytes.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// What a command does to which argument, or to which keys that no argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Key(Argument<'a>, Access),
    /// Every key that this glob matches is read.
    Pattern(Vec<u8>),
}

/// The arguments of one command, its name first (for a container, its subcommand second).
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments<'a, 'b> {
    pub name: &'b str,
    pub all: &'b [Argument<'a>],
}

impl<'a> Arguments<'a, '_> {
    pub fn get(&self, index: usize) -> Option<Argument<'a>> {
        self.all.get(index).copied()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nobody knows how many arguments there are.
    pub fn is_open(&self) -> bool {
        self.all.last().is_some_and(|last| last.is_open())
    }

    /// The argument at `index`, where one value must stand whose place is certain.
    pub fn one(&self, index: usize) -> Result<Argument<'a>> {
        match self.get(index) {
            Some(argument) if !argument.is_open() => Ok(argument),
            Some(_) => Err(self.uncertain()),
            None => Err(self.short()),
        }
    }

    pub fn short(&self) -> Refusal {
        Refusal::Unparsable(format!("`{}` has too few arguments", self.name))
    }

    pub fn syntax(&self, index: usize) -> Refusal {
        let shown = match self.get(index).and_then(Argument::bytes) {
            Some(bytes) => String::from_utf8_lossy(bytes.get(..40).unwrap_or(bytes)).into_owned(),
            None => "a computed value".to_owned(),
        };
        Refusal::Unparsable(format!(
            "`{}` has no option `{shown}` at argument {index}",
            self.name
        ))
    }

    fn uncertain(&self) -> Refusal {
        refused(
            self.name,
            "has keys whose place the script computes: pass each key as `KEYS[n]`",
        )
    }

    /// A count that Redis reads: decimal digits without sign or leading zero.
    pub fn count(&self, index: usize) -> Result<usize> {
        let argument = self.one(index)?;
        let digits = argument.bytes().ok_or_else(|| self.uncertain())?;
        let canonical = digits == b"0" || !digits.starts_with(b"0");
        std::str::from_utf8(digits)
            .ok()
            .filter(|text| canonical && text.len() <= 9)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                Refusal::Unparsable(format!(
                    "`{}` needs the number of its keys at argument {index}",
                    self.name
                ))
            })
    }
}

/// Every key of a command that holds data, with what is done to it.
pub(super) fn keys<'a>(row: &Row, arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    match row.standing {
        Standing::Data(specs) | Standing::Own(specs) => by_position(specs, arguments),
        Standing::Special(grammar) => by_grammar(grammar, arguments),
        Standing::Free => Ok(Vec::new()),
        Standing::Never(why) => Err(refused(row.name, why)),
    }
}

fn by_position<'a>(specs: &[KeySpec], arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    let mut found = Vec::with_capacity(specs.len());
    for spec in specs {
        match *spec {
            KeySpec::At(index, access) => found.push(at(arguments, index, access)?),
            KeySpec::From {
                first,
                tail,
                step,
                access,
            } => range(arguments, first, (tail, step), access, &mut found)?,
            KeySpec::Counted {
                count_at,
                step,
                after,
                access,
            } => counted(arguments, count_at, (step, after), access, &mut found)?,
        }
    }
    Ok(found)
}

/// The key at one place; `unpack(KEYS)` may reach up to it and then stands for some element.
pub(super) fn at<'a>(
    arguments: Arguments<'a, '_>,
    index: usize,
    access: Access,
) -> Result<Found<'a>> {
    match (arguments.get(index), arguments.all.last()) {
        (Some(argument), _) if !argument.is_open() => Ok(Found::Key(argument, access)),
        (_, Some(Argument::RestOfKeys)) => Ok(Found::Key(Argument::AnyKey, access)),
        (_, Some(Argument::Rest)) => Err(arguments.uncertain()),
        (_, _) => Err(arguments.short()),
    }
}

fn range<'a>(
    arguments: Arguments<'a, '_>,
    first: usize,
    (tail, step): (usize, usize),
    access: Access,
    found: &mut Vec<Found<'a>>,
) -> Result<()> {
    let end = arguments.len().saturating_sub(tail);
    if first >= end {
        return Err(arguments.short());
    }
    let open = arguments.all.last().copied().filter(|last| last.is_open());
    match open {
        None if (end - first).is_multiple_of(step) => {}
        None => {
            return Err(Refusal::Unparsable(format!(
                "`{}` needs a value for each key",
                arguments.name
            )));
        }
        // `DEL` with `unpack(KEYS)`: all that is unknown is how many.
        Some(Argument::RestOfKeys) if tail == 0 && step == 1 => {}
        Some(_) => return Err(arguments.uncertain()),
    }
    for argument in arguments.all.iter().take(end).skip(first).step_by(step) {
        let key = if argument.is_open() {
            Argument::AnyKey
        } else {
            *argument
        };
        found.push(Found::Key(key, access));
    }
    Ok(())
}

fn counted<'a>(
    arguments: Arguments<'a, '_>,
    count_at: usize,
    (step, after): (usize, usize),
    access: Access,
    found: &mut Vec<Found<'a>>,
) -> Result<()> {
    let count = arguments.count(count_at)?;
    let first = count_at + 1;
    let end = count
        .checked_mul(step)
        .and_then(|span| span.checked_add(first))
        .filter(|end| *end <= arguments.len().saturating_sub(after));
    let (Some(end), true) = (end, count > 0) else {
        return Err(Refusal::Unparsable(format!(
            "`{}` says {count} keys, which its arguments do not hold",
            arguments.name
        )));
    };
    for index in (first..end).step_by(step) {
        found.push(Found::Key(arguments.one(index)?, access));
    }
    Ok(())
}

fn by_grammar<'a>(grammar: Grammar, arguments: Arguments<'a, '_>) -> Result<Vec<Found<'a>>> {
    // Where options hold keys, one value more or less moves them all.
    let tolerant = matches!(grammar, Grammar::Set | Grammar::Bitfield);
    if !tolerant && arguments.is_open() {
        return Err(arguments.uncertain());
    }
    match grammar {
        Grammar::Set => options::set(arguments),
        Grammar::Bitfield => options::bitfield(arguments),
        Grammar::Copy => options::copy(arguments),
        Grammar::Sort => options::sort(arguments),
        Grammar::Georadius(options_at) => options::georadius(arguments, options_at),
        Grammar::Xread => options::xread(arguments, false),
        Grammar::Xreadgroup => options::xread(arguments, true),
        Grammar::Keys => {
            let pattern = arguments.one(1)?.bytes();
            Ok(vec![Found::Pattern(
                pattern.ok_or_else(|| arguments.uncertain())?.to_vec(),
            )])
        }
        Grammar::Scan => options::scan(arguments),
        Grammar::Everything => Ok(vec![Found::Pattern(b"*".to_vec())]),
        Grammar::Eval
        | Grammar::Evalsha
        | Grammar::ScriptLoad
        | Grammar::ScriptExists
        | Grammar::Hello
        | Grammar::Info
        | Grammar::Select => Err(refused(arguments.name, "cannot be called from a script")),
    }
}
