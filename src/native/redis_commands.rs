//! Which commands a user of Redis is given, each by its name: what has no name here stays out, whatever a later
//! server has.

use std::collections::BTreeSet;

use super::access::Access;
use crate::classify::redis::{Needs, allowed};
use crate::limit::shared::KEY_PREFIX;

/// What Redis' own lists cannot hold to the policy: a destination that escapes the check of keys, and other databases.
const LEFT_OUT: [&str; 4] = ["copy", "georadius", "georadiusbymember", "select"];

/// Commands that change what they read, and that Redis lets anybody send who may read.
const READ_THAT_WRITES: [&str; 3] = ["xautoclaim", "xclaim", "xreadgroup"];

/// What the sidecar itself sends: its rate limits are a script, and it asks what it may do.
const SIDECAR: [&str; 3] = ["acl|dryrun", "evalsha", "script|load"];

/// What Redis 7.0 does not have; a server that lacks one refuses the line that grants it, and nothing else.
const NEWER: [&str; 34] = [
    "client|no-touch",
    "client|setinfo",
    "delex",
    "digest",
    "hexpire",
    "hexpireat",
    "hexpiretime",
    "hgetdel",
    "hgetex",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hpexpiretime",
    "hpttl",
    "hsetex",
    "httl",
    "msetex",
    "vadd",
    "vcard",
    "vdim",
    "vemb",
    "vgetattr",
    "vinfo",
    "vismember",
    "vlinks",
    "vrandmember",
    "vrange",
    "vrem",
    "vsetattr",
    "vsim",
    "waitaof",
    "xackdel",
    "xcfgset",
    "xdelex",
];

/// The key patterns that an access means, for reading and for writing.
pub(super) fn keys(access: &Access) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut reads, mut writes) = (access.reads.clone(), access.writes.clone());
    if access.for_sidecar {
        let own = format!("{KEY_PREFIX}*");
        reads.insert(own.clone());
        writes.insert(own);
    }
    (reads, writes)
}

/// The commands, in order.
pub(super) fn commands(access: &Access) -> BTreeSet<&'static str> {
    let (reads, writes) = keys(access);
    let mut commands = BTreeSet::new();
    if reads.is_empty() && writes.is_empty() {
        return commands;
    }
    let every_key = access.reads.contains("*");
    for (name, needs) in allowed() {
        let given = match needs {
            Needs::Nothing => true,
            Needs::Reads => !reads.is_empty(),
            Needs::Writes => !writes.is_empty(),
            Needs::Names => access.for_sidecar || every_key && name != "info",
        };
        let wrongly_read = READ_THAT_WRITES.contains(&name) && !reads.is_subset(&writes);
        if given && !wrongly_read && !LEFT_OUT.contains(&name) {
            commands.insert(name);
        }
    }
    if access.for_sidecar {
        commands.extend(SIDECAR);
    }
    commands
}

pub(super) fn is_newer(command: &str) -> bool {
    NEWER.contains(&command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(reads: &[&str], writes: &[&str], for_sidecar: bool) -> Access {
        let set = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        Access {
            reads: set(reads),
            writes: set(writes),
            for_sidecar,
            ..Access::default()
        }
    }

    #[test]
    fn commands_follow_what_is_granted() {
        let reader = commands(&access(&["a:*"], &[], false));
        let writer = commands(&access(&["a:*"], &["a:*"], false));
        let mixed = commands(&access(&["a:*", "b:*"], &["a:*"], false));
        let sidecar = commands(&access(&["a:*"], &[], true));
        for (command, expected) in [
            ("get", [true, true, true, true]),
            ("set", [false, true, true, true]),
            ("xreadgroup", [false, true, false, false]),
            ("scan", [false, false, false, true]),
            ("eval", [true, true, true, true]),
            ("evalsha", [true; 4]),
            ("flushall", [false; 4]),
            ("georadius", [false; 4]),
            ("config|get", [false; 4]),
            ("acl|setuser", [false; 4]),
            ("publish", [false; 4]),
        ] {
            let found = [&reader, &writer, &mixed, &sidecar].map(|set| set.contains(command));
            assert_eq!(found, expected, "{command}");
        }
        assert!(commands(&access(&[], &[], false)).is_empty());
    }

    #[test]
    fn what_is_newer_is_known() {
        for name in NEWER {
            assert!(allowed().any(|(known, _)| known == name), "{name}");
        }
    }
}
