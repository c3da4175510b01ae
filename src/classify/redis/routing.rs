//! Which keys tell the node of a cluster that a command goes to.

use super::arguments::{self, Argument, Arguments, Found};
use super::table::{Grammar, Standing};
use super::{lookup, refused, vouched};
use crate::classify::Result;

/// Where a command leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing<'c> {
    /// To the node that has these keys.
    Keys(Vec<&'c [u8]>),
    /// To every node alike, since each keeps scripts of its own.
    Scripts,
    /// To all nodes together: it looks through all keys there are.
    KeySpace,
    /// To any node.
    Anywhere,
}

/// The routing of a command that was classified.
pub fn routing(command: &[Vec<u8>]) -> Result<Routing<'_>> {
    let (Some(name), subcommand) = (command.first(), command.get(1)) else {
        return Ok(Routing::Anywhere);
    };
    let row = lookup(name, subcommand.map(Vec::as_slice))?;
    let all: Vec<Argument<'_>> = command.iter().map(|part| Argument::Bytes(part)).collect();
    let arguments = Arguments {
        name: row.name,
        all: &all,
    };
    let keys = match row.standing {
        Standing::Special(Grammar::Eval | Grammar::Evalsha) => vouched::declared(arguments)?,
        Standing::Special(Grammar::ScriptLoad | Grammar::ScriptExists) => {
            return Ok(Routing::Scripts);
        }
        Standing::Special(Grammar::Hello | Grammar::Info | Grammar::Select) | Standing::Free => {
            return Ok(Routing::Anywhere);
        }
        Standing::Special(_) | Standing::Data(_) | Standing::Own(_) => {
            let found = arguments::keys(row, arguments)?;
            let mut keys = Vec::with_capacity(found.len());
            let mut patterns = false;
            for found in found {
                match found {
                    Found::Key(key, _) => keys.extend(key.bytes()),
                    Found::Pattern(_) => patterns = true,
                }
            }
            if keys.is_empty() && patterns {
                return Ok(Routing::KeySpace);
            }
            keys
        }
        Standing::Never(why) => return Err(refused(row.name, why)),
    };
    Ok(if keys.is_empty() {
        Routing::Anywhere
    } else {
        Routing::Keys(keys)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_routed_by_their_keys() {
        let check = |text: &str, expected: Routing<'_>| {
            let words: Vec<Vec<u8>> = text.split(' ').map(|word| word.into()).collect();
            assert_eq!(routing(&words), Ok(expected), "{text}");
        };
        let keys =
            |keys: &[&'static str]| Routing::Keys(keys.iter().map(|key| key.as_bytes()).collect());
        check("GET a", keys(&["a"]));
        check("mget a b", keys(&["a", "b"]));
        check("XREAD BLOCK 5 STREAMS a b 0 0", keys(&["a", "b"]));
        check("BLPOP a b 1", keys(&["a", "b"]));
        check("EVAL x 2 a b c", keys(&["a", "b"]));
        check("EVAL x 0", Routing::Anywhere);
        check("PING", Routing::Anywhere);
        check("SCRIPT LOAD x", Routing::Scripts);
        check("SORT a BY w_*", keys(&["a"]));
        for everything in ["KEYS *", "SCAN 0", "DBSIZE", "RANDOMKEY"] {
            check(everything, Routing::KeySpace);
        }
    }
}
