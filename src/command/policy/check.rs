//! `bulkhead policy check PATH`.

use std::io::{self, Write};

use serde_json::json;

use super::report::{self, FaultJson};
use super::{CheckArgs, Exit, Format, load};
use crate::decide::Policy;
use crate::operation::Store;

pub(super) fn run(
    args: &CheckArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let policy = match load(&args.path) {
        Ok(policy) => policy,
        Err(fault) => return report::load_fault(&fault, args.format, output, errors),
    };
    match args.format {
        Format::Json => {
            let faults: Vec<_> = policy.warnings().iter().map(FaultJson::from).collect();
            let roles: Vec<_> = policy
                .roles()
                .iter()
                .map(|role| role.name().to_owned())
                .collect();
            let answer = json!({
                "valid": true, "faults": faults, "version": policy.version(),
                "digest": policy.digest(), "roles": roles,
            });
            report::json_line(output, &answer)?;
        }
        Format::Text => {
            report::faults(policy.warnings(), errors)?;
            write!(
                output,
                "{}",
                summary(&args.path.display().to_string(), &policy)
            )?;
        }
    }
    Ok(Exit::Done)
}

fn summary(path: &str, policy: &Policy) -> String {
    let mut text = format!("{path}: valid, version {}\n", policy.version());
    for store in Store::ALL {
        let objects = policy.objects(store);
        if !objects.is_empty() {
            text += &format!("  {:<9} {}\n", store.as_str(), listed(&objects));
        }
    }
    for role in policy.roles() {
        let limits: Vec<_> = role
            .rate_limits()
            .iter()
            .map(|limit| format!("`{}` ({limit})", limit.name))
            .collect();
        let limit = match limits.as_slice() {
            [] => "no rate limit".to_owned(),
            some => some.join("; "),
        };
        let grants = role.grants().len();
        let s = if grants == 1 { "" } else { "s" };
        text += &format!("  role {}: {grants} grant{s}, {limit}\n", role.name());
    }
    text + &format!("  digest {}\n", policy.digest())
}

/// The first names, and how many more there are.
fn listed(names: &[&str]) -> String {
    const NAMES_MAX: usize = 8;
    let shown = names.get(..NAMES_MAX.min(names.len())).unwrap_or_default();
    let more = names.len() - shown.len();
    let mut text = shown.join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}
