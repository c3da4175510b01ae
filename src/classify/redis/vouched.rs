//! Scripts that nothing here can vouch for, named by their digest, so that the policy can.
//!
//! A script's source may not prove that it stays within its keys (see [`super::script`]), and `EVALSHA` sends no
//! source at all. Such a script is reported by its digest, which the policy must list, and touches every key that
//! the command declares; what it does beyond these, whoever listed it vouched for. Only listed scripts can be stored
//! with `SCRIPT LOAD`, so that no caller fills the server with others.

use sha1::{Digest as _, Sha1};

use super::arguments::{Argument, Arguments};
use super::table::Access;
use super::touch;
use crate::classify::{Refusal, Result};
use crate::operation::{Classification, Script};

/// Hexadecimal digits of a SHA-1.
const DIGEST_DIGITS: usize = 40;

const NOT_SENT: &str = "the script is not in the request, so its keys cannot be told: send the script itself with EVAL";

/// The keys that `EVAL` and its kin declare: `numkeys` at index 2, then the keys.
pub(super) fn declared<'a>(arguments: Arguments<'a, '_>) -> Result<Vec<&'a [u8]>> {
    let count = arguments.count(2)?;
    let keys = count
        .checked_add(3)
        .and_then(|end| arguments.all.get(3..end))
        .ok_or_else(|| {
            Refusal::Unparsable(format!(
                "`{}` says {count} keys, which its arguments do not hold",
                arguments.name
            ))
        })?;
    Ok(keys
        .iter()
        .filter_map(|key| Argument::bytes(*key))
        .collect())
}

/// `EVAL` of a script that is not understood, for this reason.
pub(super) fn eval(
    arguments: Arguments<'_, '_>,
    refusal: Refusal,
    classification: &mut Classification,
) -> Result<()> {
    let digest = digest(arguments.one(1)?.bytes().unwrap_or_default());
    runs(arguments, digest, refusal.into_detail(), classification)
}

/// `EVALSHA digest numkeys key …`.
pub(super) fn evalsha(
    arguments: Arguments<'_, '_>,
    classification: &mut Classification,
) -> Result<()> {
    let digest = named(arguments, 1)?;
    runs(arguments, digest, NOT_SENT.to_owned(), classification)
}

/// `SCRIPT LOAD script`.
pub(super) fn load(
    arguments: Arguments<'_, '_>,
    classification: &mut Classification,
) -> Result<()> {
    let digest = digest(arguments.one(2)?.bytes().unwrap_or_default());
    let why =
        "a stored script runs by its digest alone: send the script itself with EVAL".to_owned();
    classification.scripts.push(Script { digest, why });
    Ok(())
}

/// `SCRIPT EXISTS digest …`: whether a listed script is stored is no secret.
pub(super) fn exists(
    arguments: Arguments<'_, '_>,
    classification: &mut Classification,
) -> Result<()> {
    for index in 2..arguments.len() {
        let digest = named(arguments, index)?;
        let why = NOT_SENT.to_owned();
        classification.scripts.push(Script { digest, why });
    }
    Ok(())
}

fn runs(
    arguments: Arguments<'_, '_>,
    digest: String,
    why: String,
    classification: &mut Classification,
) -> Result<()> {
    // The server lets no command that writes run under `EVAL_RO` and `EVALSHA_RO`.
    let access = if arguments.name.ends_with("_ro") {
        Access::Read
    } else {
        Access::Both
    };
    for key in declared(arguments)? {
        touch(key, access, classification);
    }
    classification.scripts.push(Script { digest, why });
    Ok(())
}

/// The digest that a command names; Redis takes capital digits for small ones, and nothing else for a digest.
fn named(arguments: Arguments<'_, '_>, index: usize) -> Result<String> {
    let bytes = arguments.one(index)?.bytes().unwrap_or_default();
    let digits = std::str::from_utf8(bytes).unwrap_or_default();
    if digits.len() == DIGEST_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits.to_ascii_lowercase());
    }
    Err(Refusal::Unparsable(format!(
        "`{}` needs a script's digest, {DIGEST_DIGITS} hexadecimal digits, at argument {index}",
        arguments.name.replace('|', " ")
    )))
}

fn digest(script: &[u8]) -> String {
    Sha1::digest(script)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
