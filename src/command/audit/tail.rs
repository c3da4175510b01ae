//! `bulkhead audit tail`.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use tokio_postgres::Client;

use super::source::{self, stream};
use super::{AuditError, ConfigArgs, Exit, Format, show};
use crate::trail::{Head, sql};

/// How often new rows are asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct TailArgs {
    /// How many of the newest rows
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(0..=100_000))]
    lines: i64,
    /// Go on with rows as they come, until interrupted
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(args: TailArgs, config: &ConfigArgs, format: Format) -> Result<Exit, AuditError> {
    let client = super::connect(config).await?;
    client.batch_execute(source::SNAPSHOT).await?;
    let mut shown = Shown::default();
    shown.moved(heads(&client).await?);
    let newest = format!(
        "SELECT {} FROM public.audit_logs ORDER BY id DESC LIMIT $1",
        sql::ROW
    );
    let rows = client.query(&newest, &[&args.lines]).await?;
    client.batch_execute("COMMIT").await?;
    for row in rows.iter().rev() {
        show::print(&sql::row(row)?, format)?;
    }
    if args.follow {
        follow(&client, shown, format).await?;
    }
    Ok(Exit::Done)
}

/// Until something fails, or nobody takes the output any more.
async fn follow(client: &Client, mut shown: Shown, format: Format) -> Result<(), AuditError> {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let (chains, seqs) = shown.moved(heads(client).await?);
        if !chains.is_empty() {
            client.batch_execute(source::SNAPSHOT).await?;
            let limits = shown.limits(&chains);
            stream(client, &after(), &[&chains, &seqs, &limits], |row| {
                show::print(&sql::row(row)?, format)
            })
            .await?;
            client.batch_execute("COMMIT").await?;
        }
    }
}

/// Ids are not given in the order of commits, so the chains' heads tell what is new: a chain has one transaction at a time.
fn after() -> String {
    format!(
        "SELECT {} FROM public.audit_logs JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[])
            AS moved (moved_chain, shown, head) ON chain = moved_chain AND seq > shown AND seq <= head
        ORDER BY id",
        sql::ROW
    )
}

async fn heads(client: &Client) -> Result<Vec<Head>, AuditError> {
    let all = format!("SELECT {} FROM public.audit_chains", sql::HEAD);
    let rows = client.query(&all, &[]).await?;
    Ok(rows.iter().map(sql::head).collect::<Result<_, _>>()?)
}

/// Up to which row each chain was shown.
#[derive(Debug, Default)]
struct Shown(HashMap<i64, i64>);

impl Shown {
    /// Takes heads, and returns the chains that moved, and up to which row each was shown before.
    fn moved(&mut self, heads: Vec<Head>) -> (Vec<i64>, Vec<i64>) {
        let mut moved = (Vec::new(), Vec::new());
        for head in heads {
            let before = self.0.insert(head.chain, head.seq).unwrap_or(0);
            if head.seq > before {
                moved.0.push(head.chain);
                moved.1.push(before);
            }
        }
        moved
    }

    fn limits(&self, chains: &[i64]) -> Vec<i64> {
        let limit = |chain| self.0.get(chain).copied().unwrap_or(0);
        chains.iter().map(limit).collect()
    }
}
