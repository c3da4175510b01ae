//! `bulkhead policy grants`: the policy as a store's own grants, and how a server differs from it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use secrecy::SecretString;
use serde_json::json;

use super::{Exit, Format, GrantsArgs, report};
use crate::config::Config;
use crate::decide::Policy;
use crate::native::mend::{self, Comparison};
use crate::native::target::Target;
use crate::native::{self, Difference, Subject};
use crate::operation::Store;

pub(super) fn run(
    policy: &Policy,
    args: &GrantsArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let Some(url) = &args.verify else {
        print(policy, args, output)?;
        return Ok(Exit::Done);
    };
    if args.fix && url.is_none() {
        writeln!(
            errors,
            "error: what mends a server takes its administrator: `--verify URL --fix`"
        )?;
        return Ok(Exit::Usage);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(differences(policy, args, url.as_deref())) {
        Ok(compared) if args.fix => fix(policy, args, &compared, output),
        Ok(compared) => answer(args, &compared.differences, output),
        Err(reason) => {
            writeln!(errors, "error: {reason}")?;
            Ok(Exit::Usage)
        }
    }
}

/// What is printed, and set anew where it is run.
fn scripted(policy: &Policy, args: &GrantsArgs) -> Vec<Subject> {
    let account = args.account.as_deref();
    let account = account.map(|name| native::account_name(args.store, name));
    native::subjects(policy, args.store, account.as_deref())
}

fn fix(
    policy: &Policy,
    args: &GrantsArgs,
    compared: &Comparison,
    output: &mut impl Write,
) -> io::Result<Exit> {
    let (text, commands) = mend::script(args.store, &scripted(policy, args), compared);
    let is_clean = compared.differences.is_empty();
    match args.format {
        Format::Text => write!(output, "{text}")?,
        Format::Json => {
            let answer = json!({
                "store": args.store.as_str(), "policy_digest": policy.digest(), "clean": is_clean,
                "commands": commands,
            });
            report::json_line(output, &answer)?;
        }
    }
    Ok(if is_clean { Exit::Done } else { Exit::No })
}

fn print(policy: &Policy, args: &GrantsArgs, output: &mut impl Write) -> io::Result<()> {
    let subjects = scripted(policy, args);
    let script = match args.store {
        Store::Postgres => native::postgres::script(&subjects),
        Store::Mysql => native::mysql::script(&subjects),
        Store::Mongodb => native::mongodb::script(&subjects),
        Store::Redis => native::redis::script(&subjects),
    };
    match args.format {
        Format::Text => write!(output, "{script}"),
        Format::Json => {
            let commands = match args.store {
                Store::Postgres | Store::Mysql => json!([script]),
                Store::Mongodb => json!(native::mongodb::commands(&subjects)),
                Store::Redis => json!(native::redis::words(&subjects)),
            };
            let answer = json!({
                "store": args.store.as_str(), "policy_digest": policy.digest(), "commands": commands,
            });
            report::json_line(output, &answer)
        }
    }
}

async fn differences(
    policy: &Policy,
    args: &GrantsArgs,
    url: Option<&str>,
) -> Result<Comparison, String> {
    let compared = match (url, &args.config) {
        (Some(url), _) => {
            let target = Target::from_url(args.store, url, args.ca_file.clone())
                .map_err(|error| error.to_string())?;
            let target = match &args.password_file {
                Some(path) => target.with_password(password(path)?),
                None => target,
            };
            target.differences(policy, args.account.as_deref()).await
        }
        (None, Some(path)) => {
            let config = Config::load(path).map_err(|faults| faults.to_string())?;
            let target = Target::configured(&config.stores, args.store)
                .ok_or_else(|| format!("`{}` does not configure {}", path.display(), args.store))?;
            let own = target.own_differences(policy).await;
            own.map(|differences| Comparison {
                differences,
                ..Comparison::default()
            })
        }
        (None, None) => {
            return Err("say which server: `--verify URL`, or `--verify --config FILE`".into());
        }
    };
    compared.map_err(|error| error.to_string())
}

/// The first line of a file.
fn password(path: &Path) -> Result<SecretString, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().into())
}

fn answer(
    args: &GrantsArgs,
    differences: &[Difference],
    output: &mut impl Write,
) -> io::Result<Exit> {
    match args.format {
        Format::Json => {
            let answer = json!({
                "store": args.store.as_str(), "clean": differences.is_empty(), "differences": differences,
            });
            report::json_line(output, &answer)?;
        }
        Format::Text if differences.is_empty() => {
            writeln!(
                output,
                "{}: the server grants what the policy does",
                args.store
            )?;
        }
        Format::Text => {
            for difference in differences {
                writeln!(output, "{difference}")?;
                if let Some(mend) = &difference.mend {
                    writeln!(output, "         mended by  {mend}")?;
                }
            }
            let s = if differences.len() == 1 { "" } else { "s" };
            writeln!(
                output,
                "{}: {} difference{s}; `--verify URL --fix` prints what mends them",
                args.store,
                differences.len()
            )?;
        }
    }
    Ok(if differences.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}
