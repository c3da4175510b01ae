//! `bulkhead audit public-key`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{AuditError, Exit, Format};
use crate::trail::SealKey;

#[derive(Debug, Args)]
pub struct PublicKeyArgs {
    /// The private key that signs seals (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// The key goes to standard output, so that it can be a file; its id beside it to standard error.
pub fn run(args: &PublicKeyArgs, format: Format) -> Result<Exit, AuditError> {
    let pem = std::fs::read(&args.key).map_err(AuditError::file(&args.key))?;
    let key = SealKey::from_pem(&pem)
        .map_err(|fault| AuditError::Usage(format!("`{}`: {fault}", args.key.display())))?
        .public();
    match format {
        Format::Text => {
            print!("{}", key.pem());
            eprintln!("key id {}", key.id());
        }
        Format::Json => println!("{}", json!({"key_id": key.id(), "public_key": key.pem()})),
    }
    Ok(Exit::Done)
}
