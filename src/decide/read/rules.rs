//! What a policy says beside stores, objects and actions: modes, salts, and the rules of a grant.

use crate::decide::fault::{Faults, did_you_mean};
use crate::decide::raw::{RawPolicy, RawRules};
use crate::decide::rules::{Audited, Mode};
use crate::decide::source::Written;
use crate::decide::toml_tree::TableReader;

/// The keys of a grant's rules.
pub(super) const KEYS: [&str; 9] = [
    "columns",
    "deny_columns",
    "mask_columns",
    "rows",
    "require_where",
    "max_rows",
    "timeout_ms",
    "audit",
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
    known(written, &Mode::ALL, Mode::as_str, "mode", faults)
}

/// `audit = "writes"`, of a role or of a grant.
pub(super) fn audited(
    table: &mut TableReader<'_, '_>,
    faults: &mut Faults,
) -> Option<Written<Audited>> {
    let written = table.string("audit", "audit = \"writes\"", faults)?;
    let what = "kind of `audit`";
    known(written, &Audited::WRITTEN, Audited::as_str, what, faults)
}

/// The one of `all` that is written.
fn known<T: Copy>(
    written: Written<String>,
    all: &[T],
    name: fn(T) -> &'static str,
    what: &str,
    faults: &mut Faults,
) -> Option<Written<T>> {
    match all.iter().find(|each| name(**each) == written.value) {
        Some(value) => Some(Written {
            value: *value,
            span: written.span,
        }),
        None => {
            let message = format!("unknown {what} `{}`", written.value);
            let names = all.iter().map(|each| name(*each));
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
        audited: audited(table, faults),
        hours: table.one_or_more(
            "hours",
            "hours = \"mon-fri 08:00-18:00 Europe/Zurich\"",
            faults,
        ),
    }
}
