//! Redis: the command's name, from the table alone, and what its arguments are for.

use crate::classify::redis::named;

/// An option, and how many values follow it.
type Choice = (&'static str, usize);

/// Options that are told. They may begin where the command's required arguments end, so that no key or value is taken
/// for one.
const OPTIONS: [(&[&str], &[Choice]); 5] = [
    (
        &["set", "getex"],
        &[
            ("EX", 1),
            ("EXAT", 1),
            ("GET", 0),
            ("KEEPTTL", 0),
            ("NX", 0),
            ("PERSIST", 0),
            ("PX", 1),
            ("PXAT", 1),
            ("XX", 0),
        ],
    ),
    (
        &["expire", "expireat", "pexpire", "pexpireat"],
        &[("GT", 0), ("LT", 0), ("NX", 0), ("XX", 0)],
    ),
    (
        &["scan", "hscan", "sscan", "zscan"],
        &[("COUNT", 1), ("MATCH", 1), ("NOVALUES", 0), ("TYPE", 1)],
    ),
    (
        &["zrange"],
        &[
            ("BYLEX", 0),
            ("BYSCORE", 0),
            ("LIMIT", 2),
            ("REV", 0),
            ("WITHSCORES", 0),
        ],
    ),
    (&["xread"], &[("BLOCK", 1), ("COUNT", 1)]),
];

/// Most options of a command that are told.
const OPTIONS_MAX: usize = 8;

/// The pipeline, like commands that follow one another told once.
pub(super) fn text(commands: &[Vec<Vec<u8>>], atomic: bool) -> String {
    let mut text = String::new();
    if atomic {
        text.push_str("MULTI; ");
    }
    let mut before = String::new();
    let mut is_more = false;
    for (index, command) in commands.iter().enumerate() {
        let told = one(command);
        if index > 0 && told == before {
            if !is_more {
                text.push_str("; …");
            }
            is_more = true;
            continue;
        }
        if index > 0 {
            text.push_str("; ");
        }
        text.push_str(&told);
        before = told;
        is_more = false;
    }
    if atomic {
        text.push_str(if commands.is_empty() {
            "EXEC"
        } else {
            "; EXEC"
        });
    }
    text
}

fn one(command: &[Vec<u8>]) -> String {
    let Some((name, arity)) = named(command) else {
        return "? …".to_owned();
    };
    let words = 1 + name.matches('|').count();
    let required = usize::from(arity.unsigned_abs()).min(command.len());
    let mut text = name.replace('|', " ").to_ascii_uppercase();
    for _ in words..required {
        text.push_str(" ?");
    }
    let options = OPTIONS.iter().find(|(names, _)| names.contains(&name));
    match options {
        Some((_, options)) => push_options(&mut text, options, command.get(required..)),
        // As many as one likes, so that their number is not told.
        None if (arity < 0 && command.len() > words) || command.len() > required => {
            text.push_str(" …");
        }
        None => {}
    }
    text
}

fn push_options(text: &mut String, options: &[Choice], given: Option<&[Vec<u8>]>) {
    let mut rest = given.unwrap_or_default();
    for _ in 0..OPTIONS_MAX {
        let Some((word, after)) = rest.split_first() else {
            return;
        };
        let option = options
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        let Some((name, values)) = option else {
            break;
        };
        text.push(' ');
        text.push_str(name);
        text.push_str(&" ?".repeat(*values));
        rest = after.get(*values..).unwrap_or_default();
    }
    if !rest.is_empty() {
        text.push_str(" …");
    }
}
