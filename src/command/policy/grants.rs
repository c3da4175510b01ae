//! `bulkhead policy grants`: the policy as a store's own grants, and how a server differs from it.

use std::io::{self, Write};

use serde_json::json;

use super::{Exit, Format, GrantsArgs, report};
use crate::config::Config;
use crate::decide::Policy;
use crate::native::target::Target;
use crate::native::{self, Difference};
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match runtime.block_on(differences(policy, args, url.as_deref())) {
        Ok(differences) => answer(args, &differences, output),
        Err(reason) => {
            writeln!(errors, "error: {reason}")?;
            Ok(Exit::Usage)
        }
    }
}

fn print(policy: &Policy, args: &GrantsArgs, output: &mut impl Write) -> io::Result<()> {
    let account = args.account.as_deref().map(|name| match args.store {
        Store::Mysql if !name.contains('@') => format!("{name}@%"),
        Store::Postgres | Store::Mysql | Store::Mongodb | Store::Redis => name.to_owned(),
    });
    let mut subjects = native::subjects(policy, args.store, account.as_deref());
    if args.store == Store::Mongodb {
        // An account of MongoDB's has roles and nothing of its own.
        subjects.retain(|subject| Some(&subject.name) != account.as_ref());
    }
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
) -> Result<Vec<Difference>, String> {
    let compared = match (url, &args.config) {
        (Some(url), _) => {
            let target = Target::from_url(args.store, url, args.ca_file.clone())
                .map_err(|error| error.to_string())?;
            target.differences(policy, args.account.as_deref()).await
        }
        (None, Some(path)) => {
            let config = Config::load(path).map_err(|faults| faults.to_string())?;
            let target = Target::configured(&config.stores, args.store)
                .ok_or_else(|| format!("`{}` does not configure {}", path.display(), args.store))?;
            target.own_differences(policy).await
        }
        (None, None) => {
            return Err("say which server: `--verify URL`, or `--verify --config FILE`".into());
        }
    };
    compared.map_err(|error| error.to_string())
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
            }
            let s = if differences.len() == 1 { "" } else { "s" };
            writeln!(
                output,
                "{}: {} difference{s}",
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
