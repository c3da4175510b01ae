//! `bulkhead audit verify`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tokio_postgres::Client;

use super::show::plain;
use super::source::{self, Times};
use super::{AuditError, ConfigArgs, Exit, Format};
use crate::trail::file::{Header, Offline, SealLines};
use crate::trail::verify::Settings;
use crate::trail::{PublicKey, Report, Seal, Verifier};

#[derive(Debug, Default, Args)]
pub struct VerifyArgs {
    /// Seals that a sidecar has kept outside of the database
    #[arg(long, value_name = "FILE")]
    seals: Option<PathBuf>,
    /// The public key that seals must be signed with; several after a change of keys
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// The first seal that must be signed, where sealing began without a key
    #[arg(
        long,
        value_name = "SEAL",
        default_value_t = 1,
        requires = "public_key"
    )]
    signed_from: i64,
    /// Check an exported file; no database is needed
    #[arg(long, value_name = "EXPORT")]
    file: Option<PathBuf>,
}

pub async fn run(
    args: VerifyArgs,
    config: &ConfigArgs,
    format: Format,
) -> Result<Exit, AuditError> {
    let keys: Result<Vec<_>, _> = args
        .public_key
        .iter()
        .map(|path| public_key(path))
        .collect();
    let settings = Settings {
        keys: keys?,
        signed_from: args.signed_from,
        is_part: false,
    };
    let exported = match &args.seals {
        Some(path) => seals(path)?,
        None => Vec::new(),
    };
    let (report, header) = match &args.file {
        Some(path) => {
            let (report, header) = offline(path, settings, exported)?;
            (report, Some(header))
        }
        None => {
            let client = super::connect(config).await?;
            client.batch_execute(source::SNAPSHOT).await?;
            (online(&client, settings, &exported).await?, None)
        }
    };
    let header = header.filter(Header::is_part);
    match format {
        Format::Json => println!("{}", json!(report)),
        Format::Text => print(&report, header.as_ref()),
    }
    Ok(if report.fault_count == 0 {
        Exit::Done
    } else {
        Exit::No
    })
}

/// Verifies all that the open transaction sees.
pub async fn online(
    client: &Client,
    settings: Settings,
    exported: &[Seal],
) -> Result<Report, AuditError> {
    let mut verifier = Verifier::new(settings);
    exported.iter().for_each(|seal| verifier.exported(seal));
    source::read(client, Times::default(), &mut |line| {
        verifier.line(line);
        Ok(())
    })
    .await?;
    Ok(verifier.finish())
}

fn offline(
    path: &Path,
    settings: Settings,
    exported: Vec<Seal>,
) -> Result<(Report, Header), AuditError> {
    let mut offline = Offline::new(settings, exported);
    lines(path, |number, line| offline.line(number, line))?;
    let header = offline.header.clone();
    match (offline.finish(), header) {
        (Some(report), Some(header)) => Ok((report, header)),
        (None, _) | (_, None) => Err(AuditError::Usage(format!("`{}` is empty", path.display()))),
    }
}

fn seals(path: &Path) -> Result<Vec<Seal>, AuditError> {
    let (mut reader, mut seals) = (SealLines::default(), Vec::new());
    lines(path, |number, line| {
        seals.extend(reader.line(number, line)?);
        Ok(())
    })?;
    if seals.is_empty() {
        let reason = format!("`{}` has no seal: is it the `seals_file`?", path.display());
        return Err(AuditError::Usage(reason));
    }
    Ok(seals)
}

fn lines(
    path: &Path,
    mut each: impl FnMut(u64, &str) -> Result<(), String>,
) -> Result<(), AuditError> {
    let file = File::open(path).map_err(AuditError::file(path))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(AuditError::file(path))?;
        each(number, &line)
            .map_err(|reason| AuditError::Usage(format!("`{}`: {reason}", path.display())))?;
    }
    Ok(())
}

fn public_key(path: &Path) -> Result<PublicKey, AuditError> {
    let pem = std::fs::read(path).map_err(AuditError::file(path))?;
    PublicKey::from_pem(&pem)
        .map_err(|fault| AuditError::Usage(format!("`{}`: {fault}", path.display())))
}

fn print(report: &Report, part: Option<&Header>) {
    println!("rows     {} in {} chains", report.rows, report.chains);
    println!("unsealed {} rows that no seal covers yet", report.unsealed);
    let signed = match (report.signatures_checked, report.signed) {
        (true, signed) => format!("{signed} signed, checked"),
        (false, 0) => "none signed".to_owned(),
        (false, signed) => format!("{signed} signed, not checked: no --public-key"),
    };
    let last = report.last_sealed_at;
    let last = last.map_or_else(String::new, |at| format!("; the last of {at}"));
    println!("seals    {} ({signed}){last}", report.seals);
    if report.seals_compared > 0 {
        println!(
            "compared {} of them with the file of exported seals",
            report.seals_compared
        );
    }
    for retired in &report.retired {
        println!(
            "retired  {} by {} at {}",
            plain(&retired.partition),
            plain(&retired.account),
            retired.at
        );
    }
    if let Some(header) = part {
        let side =
            |at: Option<crate::trail::Micros>| at.map_or("…".to_owned(), |at| at.to_string());
        println!(
            "part     rows of {} to {}: of {} chains what comes before, and of {} what comes after, was not there to be checked",
            side(header.since),
            side(header.until),
            report.open_beginnings,
            report.open_ends
        );
    }
    for fault in &report.faults {
        println!("fault    {}", plain(&fault.to_string()));
    }
    match report.fault_count {
        0 => println!("clean"),
        1 => println!("1 fault"),
        count if count as usize > report.faults.len() => {
            println!(
                "{count} faults, of which the first {} are shown",
                report.faults.len()
            );
        }
        count => println!("{count} faults"),
    }
}
