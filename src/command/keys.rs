//! `bulkhead keys create|list|revoke`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{ConfigArgs, Exit, Format, fail};
use crate::authenticate::keys::{self, ListedKey, NewKey};
use crate::config::Config;
use crate::system;

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key; its secret is shown once and stored nowhere
    Create {
        /// The policy role the key has
        #[arg(long)]
        role: String,
        /// What the key is for
        #[arg(long)]
        name: String,
        /// The user the key belongs to
        #[arg(long)]
        user: Option<String>,
        /// When it expires: a date and time (`2027-01-31T00:00:00Z`) or a span from now (`90d`)
        #[arg(long, value_parser = expiry)]
        expires: Option<Timestamp>,
    },
    /// Show every key, without secrets
    List,
    /// Take a key out of force
    Revoke {
        /// The key's id, as `keys list` shows it
        id: String,
    },
}

/// Runs `bulkhead keys`.
pub async fn run(args: KeysArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(faults) => return fail(faults),
    };
    let mut client = match system::connect(&config.system).await {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    let done = match args.command {
        KeysCommand::Create {
            role,
            name,
            user,
            expires,
        } => {
            if let Err(reason) = check_role(&config, &role) {
                return fail(reason);
            }
            let new = NewKey {
                name,
                user_id: user,
                role,
                expires_at: expires,
            };
            keys::create(&mut client, &new)
                .await
                .map(|key| match args.format {
                    Format::Text => {
                        eprintln!(
                            "key `{}` for role `{}`; its secret is shown this once:",
                            key.id, new.role
                        );
                        println!("{}", key.secret.expose_secret());
                    }
                    Format::Json => println!(
                        "{}",
                        json!({"id": key.id, "role": new.role, "key": key.secret.expose_secret()})
                    ),
                })
        }
        KeysCommand::List => keys::list(&client)
            .await
            .map(|keys| print(&keys, args.format)),
        KeysCommand::Revoke { id } => keys::revoke(&mut client, &id).await.map(|()| {
            println!("key `{id}` is revoked; running sidecars refuse it within a second");
        }),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(error @ keys::Error::NotFound(_)) => {
            eprintln!("bulkhead: {error}");
            Exit::No
        }
        Err(error) => fail(error),
    }
}

/// A key for a role that the policy lacks would be refused everything; say so before it is handed out.
fn check_role(config: &Config, role: &str) -> Result<(), String> {
    let policy = super::policy::load(&config.policy).map_err(|faults| faults.to_string())?;
    if policy.role(role).is_some() {
        return Ok(());
    }
    let known: Vec<_> = policy.roles().iter().map(|role| role.name()).collect();
    let known = known.join("`, `");
    Err(format!("the policy has no role `{role}`; it has `{known}`"))
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let hint =
        || format!("`{text}` is neither a time (2027-01-31T00:00:00Z) nor a span (90d, 12h)");
    let span: jiff::Span = text.parse().map_err(|_| hint())?;
    let now = jiff::Zoned::now();
    let at = now
        .checked_add(span)
        .map_err(|error| error.to_string())?
        .timestamp();
    if at <= now.timestamp() {
        return Err(format!("`{text}` is in the past"));
    }
    Ok(at)
}

fn print(keys: &[ListedKey], format: Format) {
    if format == Format::Json {
        println!("{}", json!(keys));
        return;
    }
    println!(
        "{:<16}  {:<12}  {:<20}  {:<24}  STATE",
        "ID", "ROLE", "NAME", "LAST USED"
    );
    let now = Timestamp::now();
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) if at <= now => format!("expired {at}"),
            (None, Some(at)) => format!("in force until {at}"),
            (None, None) => "in force".to_owned(),
        };
        let last_used = key
            .last_used_at
            .map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
        println!(
            "{:<16}  {:<12}  {:<20}  {last_used:<24}  {state}",
            key.id,
            key.role.as_deref().unwrap_or("-"),
            key.name.as_deref().unwrap_or("-"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_or_a_span() {
        assert!(expiry("2099-01-01T00:00:00Z").is_ok());
        assert!(expiry("90d").is_ok());
        for bad in ["soon", "-1d", ""] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }
}
