//! `bulkhead keys create|bootstrap|list|rotate|revoke`.

mod output;
mod text;
mod time;

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::Client;

use super::{ConfigArgs, Exit, Format, fail};
use crate::authenticate::keys::{self, Error, ListedKey, NewKey};
use crate::config::Config;
use crate::system;
use output::{Output, Shown};
use text::{KeyId, plain};

/// The name of a Kubernetes Secret where none is given.
const SECRET_NAME: &str = "bulkhead-key";

#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print the result [default: text]
    #[arg(long, value_enum, global = true)]
    format: Option<Format>,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make a key; its secret is shown once and stored nowhere
    Create {
        #[command(flatten)]
        new: NewArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Make the first key of an installation; where there is a key already, or was one, nothing is made, printed or wrong
    Bootstrap {
        #[command(flatten)]
        new: NewArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show every key, without secrets
    List,
    /// Replace a key's secret; the id stays, and the secret before opens for a while
    Rotate {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = text::id)]
        id: KeyId,
        /// How long the secret before opens, too: a span (`24h`, `7d`; `0s`: not at all)
        #[arg(long, default_value = "24h", value_parser = time::overlap)]
        overlap: Duration,
        /// Also where an earlier rotation's overlap lasts: the secret from before that ends at once
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take a key out of force
    Revoke {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = text::id)]
        id: KeyId,
    },
}

impl KeysCommand {
    fn fits(&self, format: Option<Format>) -> Result<(), &'static str> {
        match self {
            Self::Create { output, .. }
            | Self::Bootstrap { output, .. }
            | Self::Rotate { output, .. } => output.fit(format),
            Self::List | Self::Revoke { .. } => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
struct NewArgs {
    /// The policy role the key has
    #[arg(long)]
    role: String,
    /// What the key is for
    #[arg(long, value_parser = text::name)]
    name: String,
    /// The user the key belongs to
    #[arg(long, value_parser = text::name)]
    user: Option<String>,
    /// After which span it expires (`90d`, `12h`)
    #[arg(long, value_parser = time::span, conflicts_with = "expires_at")]
    expires_in: Option<Timestamp>,
    /// When it expires (`2027-01-31T00:00:00Z`)
    #[arg(long, value_parser = time::moment)]
    expires_at: Option<Timestamp>,
}

impl NewArgs {
    fn key(self) -> NewKey {
        NewKey {
            name: self.name,
            user_id: self.user,
            role: self.role,
            expires_at: self.expires_in.or(self.expires_at),
        }
    }
}

#[derive(Debug, Args)]
struct OutputArgs {
    /// How to print the key: for a shell (`BULKHEAD_KEY=…`), as JSON, or as a Kubernetes Secret
    #[arg(long, value_enum)]
    output: Option<Output>,
    /// The Secret's name [default: bulkhead-key]
    #[arg(long, value_parser = output::secret_name)]
    secret_name: Option<String>,
}

impl OutputArgs {
    /// Whether these and `--format` go together.
    fn fit(&self, format: Option<Format>) -> Result<(), &'static str> {
        if self.output.is_some() && format.is_some() {
            return Err("`--format` and `--output` both say how the key is printed: leave one out");
        }
        if self.secret_name.is_some() && self.output != Some(Output::Secret) {
            return Err("`--secret-name` names a Kubernetes Secret: add `--output secret`");
        }
        Ok(())
    }

    fn print(&self, shown: &Shown<'_>, format: Format) {
        let output = self.output.or(match format {
            Format::Text => None,
            Format::Json => Some(Output::Json),
        });
        let secret_name = self.secret_name.as_deref();
        shown.print(output, secret_name.unwrap_or(SECRET_NAME));
    }
}

/// Runs `bulkhead keys`.
pub async fn run(args: KeysArgs) -> Exit {
    if let Err(reason) = args.command.fits(args.format) {
        return fail(reason);
    }
    let config = match args.config.load() {
        Ok(config) => config,
        Err(faults) => return fail(faults),
    };
    let mut client = match system::connect(&config.system).await {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    let new = match &args.command {
        KeysCommand::Create { new, .. } | KeysCommand::Bootstrap { new, .. } => Some(new),
        KeysCommand::List | KeysCommand::Rotate { .. } | KeysCommand::Revoke { .. } => None,
    };
    if let Some(new) = new
        && let Err(reason) = check_role(&config, &new.role)
    {
        return fail(reason);
    }
    match carry_out(args.command, args.format.unwrap_or_default(), &mut client).await {
        Ok(()) => Exit::Done,
        Err(error) if error.is_refusal() => {
            eprintln!("bulkhead: {error}");
            Exit::No
        }
        Err(error) => fail(error),
    }
}

async fn carry_out(command: KeysCommand, format: Format, client: &mut Client) -> Result<(), Error> {
    match command {
        KeysCommand::Create { new, output } => {
            let new = new.key();
            let key = keys::create(client, &new).await?;
            output.print(&Shown::new(&key, &new.role), format);
        }
        KeysCommand::Bootstrap { new, output } => {
            let new = new.key();
            match keys::bootstrap(client, &new).await {
                Ok(key) => output.print(&Shown::new(&key, &new.role), format),
                // An installer runs it again and again.
                Err(error @ Error::NotFirst) => eprintln!("bulkhead: {error}"),
                Err(error) => return Err(error),
            }
        }
        KeysCommand::List => print(&keys::list(client).await?, format),
        KeysCommand::Rotate {
            id,
            overlap,
            force,
            output,
        } => {
            let rotated = keys::rotate(client, &id.0, overlap, force).await?;
            let mut shown = Shown::new(&rotated.key, &rotated.role);
            shown.previous_until = rotated.previous_until;
            output.print(&shown, format);
        }
        KeysCommand::Revoke { id } => {
            keys::revoke(client, &id.0).await?;
            println!(
                "key `{}` is revoked; running sidecars refuse it within a second",
                id.0
            );
        }
    }
    Ok(())
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

fn print(keys: &[ListedKey], format: Format) {
    if format == Format::Json {
        println!("{}", json!(keys));
        return;
    }
    println!(
        "{:<16}  {:<12}  {:<20}  {:<12}  {:<24}  STATE",
        "ID", "ROLE", "NAME", "USER", "LAST USED"
    );
    let now = Timestamp::now();
    for key in keys {
        let mut state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) if at <= now => format!("expired {at}"),
            (None, Some(at)) => format!("in force until {at}"),
            (None, None) => "in force".to_owned(),
        };
        if let (None, Some(until)) = (key.revoked_at, key.previous_expires_at) {
            state.push_str(&format!(
                ", the secret before the rotation until {until:.0}"
            ));
        }
        let last_used = key
            .last_used_at
            .map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
        println!(
            "{:<16}  {:<12}  {:<20}  {:<12}  {last_used:<24}  {state}",
            plain(Some(&key.id)),
            plain(key.role.as_deref()),
            plain(key.name.as_deref()),
            plain(key.user_id.as_deref()),
        );
    }
}
