//! Redis commands, by a complete table.
//!
//! Every command of Redis 7.0 to 8 is in the table, as understood or as never allowed; one that is not there
//! (a module's, a newer server's) is refused. The server's own parser is followed word by word where options
//! hold keys. Scripts are in [`script`].

mod arguments;
mod options;
mod routing;
mod script;
mod table;
mod vouched;

use super::{Refusal, Result, Session};
use crate::operation::{Action, Classification, Object};
use arguments::{Argument, Arguments, Found};
pub use routing::{Routing, routing};
use table::{Access, Grammar, Row, Standing};
pub use table::{Needs, allowed};

/// Most arguments of one command, its name included (Redis' own limit on a multibulk request).
pub const ARGUMENTS_MAX: usize = 1024 * 1024;

/// Classifies one command: its name and arguments, byte for byte.
pub fn classify(command: &[Vec<u8>], session: Session) -> Result {
    let name = command.first().ok_or_else(|| {
        Refusal::Unparsable("the command is empty: send its name and arguments".to_owned())
    })?;
    if command.len() > ARGUMENTS_MAX {
        return Err(Refusal::TooLarge(format!(
            "a command has at most {ARGUMENTS_MAX} arguments"
        )));
    }
    let row = lookup(name, command.get(1).map(Vec::as_slice))?;
    if let Standing::Never(why) = row.standing {
        return Err(refused(row.name, why));
    }
    if !row.takes(command.len()) {
        return Err(Refusal::Unparsable(format!(
            "`{}` does not take {} arguments",
            row.name,
            command.len() - 1
        )));
    }
    connection(row, session)?;
    let all: Vec<Argument<'_>> = command.iter().map(|part| Argument::Bytes(part)).collect();
    let arguments = Arguments {
        name: row.name,
        all: &all,
    };
    let mut classification = Classification::default();
    match row.standing {
        Standing::Special(Grammar::Eval) => script::touches(arguments, &mut classification)?,
        Standing::Special(Grammar::Evalsha) => {
            vouched::evalsha(arguments, &mut classification)?;
        }
        Standing::Special(Grammar::ScriptLoad) => vouched::load(arguments, &mut classification)?,
        Standing::Special(Grammar::ScriptExists) => {
            vouched::exists(arguments, &mut classification)?;
        }
        Standing::Special(Grammar::Hello) => options::hello(arguments)?,
        Standing::Special(Grammar::Info) => options::info(arguments)?,
        Standing::Special(Grammar::Select) => select(arguments)?,
        Standing::Special(_) | Standing::Data(_) | Standing::Own(_) => {
            for found in arguments::keys(row, arguments)? {
                record(found, &mut classification)?;
            }
        }
        Standing::Free | Standing::Never(_) => {}
    }
    Ok(classification.finish())
}

/// Whether the command may wait in the server (`BLPOP`, `XREAD BLOCK`, `WAIT`): on a shared connection it would
/// make everyone else wait too.
pub fn blocks(command: &[Vec<u8>]) -> bool {
    const ALWAYS: [&str; 10] = [
        "blpop",
        "brpop",
        "brpoplpush",
        "blmove",
        "blmpop",
        "bzpopmin",
        "bzpopmax",
        "bzmpop",
        "wait",
        "waitaof",
    ];
    let Some(name) = command.first() else {
        return false;
    };
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    if is("xread") || is("xreadgroup") {
        return command
            .iter()
            .take_while(|word| !word.eq_ignore_ascii_case(b"streams"))
            .any(|word| word.eq_ignore_ascii_case(b"block"))
            // A group or consumer may be called `STREAMS`; then the word says nothing.
            || is("xreadgroup") && command.iter().any(|word| word.eq_ignore_ascii_case(b"block"));
    }
    ALWAYS.into_iter().any(is)
}

/// Whether a command of a live server is classified: understood, or refused by name. Subcommands are written
/// as `COMMAND` lists them, `container|subcommand`.
pub fn is_classified(name: &str) -> bool {
    table::knows(name)
}

/// The table's name of a command, `container|subcommand` where it has two words, and its arity; nothing where it is not
/// in the table.
pub fn named(command: &[Vec<u8>]) -> Option<(&'static str, i8)> {
    let (name, arguments) = command.split_first()?;
    match table::find(name, arguments.first().map(Vec::as_slice)) {
        table::Found::Row(row) => Some((row.name, row.arity)),
        table::Found::Container | table::Found::Unknown => None,
    }
}

fn lookup(name: &[u8], subcommand: Option<&[u8]>) -> Result<&'static Row> {
    match table::find(name, subcommand) {
        table::Found::Row(row) => Ok(row),
        table::Found::Container => Err(Refusal::Unparsable(format!(
            "`{}` needs a subcommand",
            shown(name)
        ))),
        table::Found::Unknown => Err(Refusal::Forbidden(format!(
            "`{}` is not a command that is known here, so its keys cannot be told",
            shown(name)
        ))),
    }
}

/// Refuses, on a shared connection, what would change it for everyone.
fn connection(row: &Row, session: Session) -> Result<()> {
    let own = match row.standing {
        Standing::Own(_) | Standing::Special(Grammar::Hello | Grammar::Info | Grammar::Select) => {
            true
        }
        Standing::Data(_) | Standing::Special(_) | Standing::Free | Standing::Never(_) => false,
    };
    match session {
        Session::Own => Ok(()),
        Session::Shared if !own => Ok(()),
        Session::Shared => Err(refused(
            row.name,
            "needs a connection of its own: send a pipeline with \"atomic\": true instead of MULTI and EXEC, \
             a script instead of WATCH, and leave set-up to Bulkhead",
        )),
    }
}

/// `SELECT 0` is what drivers send when no database is configured; it means the store's own database, which a
/// session answers itself. Any other number leads where the policy does not.
fn select(arguments: Arguments<'_, '_>) -> Result<()> {
    if arguments.one(1)?.bytes() == Some(b"0") {
        return Ok(());
    }
    Err(refused(
        "select",
        "reaches another database, which the policy does not know",
    ))
}

fn record(found: Found<'_>, classification: &mut Classification) -> Result<()> {
    match found {
        Found::Pattern(glob) => classification.touch(Object::Keys(glob), Action::Read),
        Found::Key(Argument::Bytes(key), access) => touch(key, access, classification),
        // Only scripts have other arguments, and these never come here.
        Found::Key(
            Argument::Key(_)
            | Argument::AnyKey
            | Argument::Unknown
            | Argument::Rest
            | Argument::RestOfKeys,
            _,
        ) => return Err(Refusal::Unparsable("a key is not known".to_owned())),
    }
    Ok(())
}

fn touch(key: &[u8], access: Access, classification: &mut Classification) {
    let (reads, writes) = match access {
        Access::Read => (true, false),
        Access::Write => (false, true),
        Access::Both => (true, true),
    };
    if reads {
        classification.touch(Object::Key(key.to_vec()), Action::Read);
    }
    if writes {
        classification.touch(Object::Key(key.to_vec()), Action::Write);
    }
}

fn refused(name: &str, why: &str) -> Refusal {
    Refusal::Forbidden(format!(
        "`{}` {why}",
        name.replace('|', " ").to_ascii_uppercase()
    ))
}

/// A caller's bytes, short and printable, for a message.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    String::from_utf8_lossy(bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests;
