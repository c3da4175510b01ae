//! What a policy says beside stores, objects and actions: modes, salts, and the rules of a grant.

use crate::decide::fault::{Faults, did_you_mean};
use crate::decide::raw::{RawPolicy, RawRules};
use crate::decide::rules::Mode;
use crate::decide::source::Written;
use crate::decide::toml_tree::TableReader;

/// The keys of a grant's rules.
pub(super) const KEYS: [&str; 8] = [
    "columns",
    "deny_columns",
    "mask_columns",
    "rows",
    "require_where",
    "max_rows",
    "timeout_ms",
    "hours",
];

/// `mode` and `mask_salt`, each of which may stand in one file.
pub(super) fn of_policy(
    reader: &mut TableReader<'_, '_>,
    policy: &mut RawPolicy,
    faults: &mut Faults,
) {
    let mode = mode(reader, faults);
    once("mode", mode, &mut policy.mode, faults);
    let salt = reader.string("mask_salt", "mask_salt = \"…\"", faults);
    once("mask_salt", salt, &mut policy.mask_salt, faults);
}

fn once<T>(
    key: &str,
    found: Option<Written<T>>,
    kept: &mut Option<Written<T>>,
    faults: &mut Faults,
) {
    let Some(found) = found else {
        return;
    };
    match kept {
        Some(first) => {
            let help = format!("keep it in one (see {})", faults.place(&first.span));
            faults.error(&found.span, format!("`{key}` is in two files"), help);
        }
        None => *kept = Some(found),
    }
}

/// `mode = "shadow"`, of the policy or of one role.
pub(super) fn mode(table: &mut TableReader<'_, '_>, faults: &mut Faults) -> Option<Written<Mode>> {
    let written = table.string("mode", "mode = \"shadow\"", faults)?;
    let names = Mode::ALL.map(Mode::as_str);
    let mode = Mode::ALL
        .into_iter()
        .find(|mode| mode.as_str() == written.value);
    match mode {
        Some(value) => Some(Written {
            value,
            span: written.span,
        }),
        None => {
            let message = format!("unknown mode `{}`", written.value);
            faults.error(&written.span, message, did_you_mean(&written.value, names));
            None
        }
    }
}

/// The rules of a grant, as written.
pub(super) fn of_grant(table: &mut TableReader<'_, '_>, faults: &mut Faults) -> RawRules {
    RawRules {
        columns: table.strings("columns", "columns = [\"id\", \"name\"]", faults),
        deny_columns: table.strings("deny_columns", "deny_columns = [\"password\"]", faults),
        mask_columns: table.string_table(
            "mask_columns",
            "mask_columns = { email = \"partial\" }",
            faults,
        ),
        rows: table.string("rows", "rows = \"user_id = :caller.user_id\"", faults),
        require_where: table.flag("require_where", faults),
        max_rows: table.positive("max_rows", "max_rows = 1000", faults),
        timeout_ms: table.positive("timeout_ms", "timeout_ms = 2000", faults),
        hours: table.one_or_more(
            "hours",
            "hours = \"mon-fri 08:00-18:00 Europe/Zurich\"",
            faults,
        ),
    }
}
