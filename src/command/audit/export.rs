//! `bulkhead audit export`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio_postgres::Client;

use super::source::{self, Times};
use super::{AuditError, ConfigArgs, Exit, time};
use crate::trail::Micros;
use crate::trail::file::Line;

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Rows recorded since then: a time (RFC 3339), or how long ago (`2h`, `7d`)
    #[arg(long, value_parser = time::past)]
    since: Option<Micros>,
    /// Rows recorded before then
    #[arg(long, value_parser = time::past)]
    until: Option<Micros>,
    /// A file that does not exist yet; without it, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(args: ExportArgs, config: &ConfigArgs) -> Result<Exit, AuditError> {
    let client = super::connect(config).await?;
    client.batch_execute(source::SNAPSHOT).await?;
    let times = Times {
        since: args.since,
        until: args.until,
    };
    match &args.output {
        Some(path) => {
            let rows = to_file(&client, times, path).await?;
            eprintln!("{rows} rows in `{}`", path.display());
        }
        None => {
            // Not locked: the connection's own task may write there, too.
            write(&client, times, io::stdout()).await?;
        }
    }
    Ok(Exit::Done)
}

/// Writes a file that was not there, and syncs it. Returns how many rows it holds.
pub async fn to_file(client: &Client, times: Times, path: &Path) -> Result<u64, AuditError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(AuditError::file(path))?;
    let rows = write(client, times, &file).await?;
    let synced = file.sync_all().and_then(|()| sync_folder(path));
    synced.map_err(AuditError::file(path))?;
    Ok(rows)
}

/// A new file's name is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

async fn write(client: &Client, times: Times, out: impl Write) -> Result<u64, AuditError> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut rows = 0;
    source::read(client, times, &mut |line| {
        rows += u64::from(matches!(line, Line::Row(_)));
        serde_json::to_writer(&mut out, &line).map_err(|error| AuditError::Output(error.into()))?;
        out.write_all(b"\n").map_err(AuditError::Output)
    })
    .await?;
    out.flush().map_err(AuditError::Output)?;
    Ok(rows)
}
