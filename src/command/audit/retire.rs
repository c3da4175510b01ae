//! `bulkhead audit retire`: drops whole months of rows, and leaves a row that says where each chain begins now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;

use super::source::Times;
use super::{AuditError, ConfigArgs, Exit, Format, export, verify};
use crate::command::owner::OwnerArgs;
use crate::trail::verify::{RETIRE, Retirement, Settings};
use crate::trail::{Head, Hex, Micros, sql};

/// How often the partition is tried to be dropped; while it is tried, who writes rows waits for [`LOCK_TIMEOUT_MS`] at most.
const DROP_ATTEMPTS_MAX: u32 = 20;
const LOCK_TIMEOUT_MS: u32 = 500;
const DROP_RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub struct RetireArgs {
    /// Months before this one (`2026-01`), the current one at the most
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    before: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Write the rows to this new file first, as `audit export` does
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Also where the trail does not verify
    #[arg(long)]
    unverified: bool,
}

fn month(text: &str) -> Result<String, String> {
    match format!("{text}-01").parse::<jiff::civil::Date>() {
        Ok(_) if text.len() == 7 => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a month (2026-01)")),
    }
}

pub async fn run(
    args: RetireArgs,
    config: &ConfigArgs,
    format: Format,
) -> Result<Exit, AuditError> {
    let config = config
        .load()
        .map_err(|faults| AuditError::Usage(faults.to_string()))?;
    let client = args.owner.connect(&config.system).await;
    let client = client.map_err(AuditError::Usage)?;
    client.batch_execute("SET statement_timeout = 0").await?;
    let months = months(&client, &args.before).await?;
    if months.is_empty() {
        return Err(AuditError::Refused(format!(
            "there is no month before {}",
            args.before
        )));
    }
    // In one transaction: of the first statement's locks, and not of a state before them.
    client
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    for month in &months {
        lock(&client, month).await?;
    }
    let retired = retire(&client, &months, &args).await?;
    client.batch_execute("COMMIT").await?;
    match format {
        Format::Json => println!("{}", json!({"retired": months, "rows": retired})),
        Format::Text => println!("retired  {} ({retired} rows)", months.join(", ")),
    }
    Ok(Exit::Done)
}

/// The partitions of whole months before that one, the oldest first.
async fn months(client: &Client, before: &str) -> Result<Vec<String>, AuditError> {
    let known = client
        .query_one(
            "SELECT $1 <= to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), coalesce(array_agg(relname::text ORDER BY relname)
                FILTER (WHERE relname ~ '^audit_logs_\\d{4}_\\d{2}$' AND relname < 'audit_logs_' || replace($1, '-', '_')), '{}')
            FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent = 'public.audit_logs'::regclass",
            &[&before],
        )
        .await?;
    if known.try_get(0)? {
        return Ok(known.try_get(1)?);
    }
    let reason = format!("{before} is in the future: rows of this month and later ones are kept");
    Err(AuditError::Refused(reason))
}

/// Nothing is added to a month that is locked, not even by a transaction that began in it.
async fn lock(client: &Client, month: &str) -> Result<(), AuditError> {
    let lock = format!("SET LOCAL lock_timeout = '5s'; LOCK TABLE public.{month} IN SHARE MODE");
    client.batch_execute(&lock).await.map_err(|error| {
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            AuditError::Refused(format!(
                "a transaction that is open has rows in `{month}`: try again"
            ))
        } else {
            error.into()
        }
    })
}

/// Returns how many rows are gone.
async fn retire(client: &Client, months: &[String], args: &RetireArgs) -> Result<i64, AuditError> {
    let ends = ends(client, months).await?;
    refuse_split(client, months, &ends).await?;
    refuse_unsealed(client, &ends).await?;
    if !args.unverified {
        let report = verify::online(client, Settings::default(), &[]).await?;
        if let Some(first) = report.faults.first() {
            return Err(AuditError::Refused(format!(
                "the trail does not verify ({} faults; {first}); `bulkhead audit verify` tells more, `--unverified` retires all the same",
                report.fault_count
            )));
        }
    }
    match &args.export {
        Some(path) => {
            let until = until(client, &args.before).await?;
            let times = Times {
                since: None,
                until: Some(until),
            };
            export::to_file(client, times, path).await?;
        }
        None => eprintln!("the rows are not exported: `--export FILE` keeps them"),
    }
    note(client, months, ends).await?;
    let mut rows = 0;
    for month in months {
        let count = format!("SELECT count(*) FROM public.{month}");
        let count = client.query_one(&count, &[]).await?;
        rows += count.try_get::<_, i64>(0)?;
        drop_partition(client, month).await?;
    }
    Ok(rows)
}

async fn until(client: &Client, before: &str) -> Result<Micros, AuditError> {
    let first = format!("{before}-01 00:00:00+00");
    let row = client
        .query_one("SELECT $1::text::timestamptz", &[&first])
        .await?;
    Ok(row.try_get(0)?)
}

/// Each chain's last row in these months.
async fn ends(client: &Client, months: &[String]) -> Result<Vec<Head>, AuditError> {
    let all: Vec<String> = months
        .iter()
        .map(|month| format!("SELECT chain, seq, hash FROM public.{month}"))
        .collect();
    let last = format!(
        "SELECT DISTINCT ON (chain) {} FROM ({}) AS gone ORDER BY chain, seq DESC",
        sql::HEAD,
        all.join(" UNION ALL ")
    );
    let rows = client.query(&last, &[]).await?;
    Ok(rows.iter().map(sql::head).collect::<Result<_, _>>()?)
}

/// What goes must be the beginning of its chain, or the rest would have holes.
async fn refuse_split(client: &Client, months: &[String], ends: &[Head]) -> Result<(), AuditError> {
    let (chains, seqs) = columns(ends);
    let split = client
        .query_opt(
            "SELECT chain, seq, audit_logs.tableoid::regclass::text FROM public.audit_logs
            JOIN unnest($1::bigint[], $2::bigint[]) AS gone (gone_chain, last) ON chain = gone_chain AND seq < last
            WHERE audit_logs.tableoid <> ALL ($3::text[]::regclass[]::oid[]) LIMIT 1",
            &[&chains, &seqs, &months],
        )
        .await?;
    let Some(row) = split else { return Ok(()) };
    let (chain, seq, table): (i64, i64, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Err(AuditError::Refused(format!(
        "chain {chain} would have a hole: its row {seq}, in `{table}`, comes before rows that would go"
    )))
}

/// Once its rows are gone, a seal is all that vouches for a chain's beginning.
async fn refuse_unsealed(client: &Client, ends: &[Head]) -> Result<(), AuditError> {
    let (chains, seqs) = columns(ends);
    let unsealed = client
        .query_one(
            "SELECT count(*), min(chain) FROM unnest($1::bigint[], $2::bigint[]) AS gone (chain, seq)
            LEFT JOIN (SELECT sealed_chain, max(sealed_seq) AS sealed
                FROM public.audit_seals, unnest(chains, seqs) AS head (sealed_chain, sealed_seq) GROUP BY sealed_chain) AS seals
                ON sealed_chain = chain
            WHERE sealed IS NULL OR sealed < seq",
            &[&chains, &seqs],
        )
        .await?;
    let (count, first): (i64, Option<i64>) = (unsealed.try_get(0)?, unsealed.try_get(1)?);
    match first {
        None => Ok(()),
        Some(first) => Err(AuditError::Refused(format!(
            "no seal covers the last rows of {count} chains (of {first} for one): let a sidecar seal them first"
        ))),
    }
}

/// The row tells of all that was ever retired, since those before it go with their own month.
async fn note(client: &Client, months: &[String], ends: Vec<Head>) -> Result<(), AuditError> {
    let mut gone: BTreeMap<i64, (i64, Hex)> = BTreeMap::new();
    let before = client
        .query(
            "SELECT metadata FROM public.audit_logs WHERE action = $1",
            &[&RETIRE],
        )
        .await?;
    let mut told = Vec::new();
    for row in &before {
        let Json(retirement): Json<Retirement> = row.try_get(0)?;
        let heads = retirement.chains.into_iter();
        told.extend(heads.map(|(chain, seq, hash)| Head { chain, seq, hash }));
    }
    for head in told.into_iter().chain(ends) {
        let known = gone.get(&head.chain).map_or(0, |(seq, _)| *seq);
        if head.seq > known {
            gone.insert(head.chain, (head.seq, head.hash));
        }
    }
    let retirement = Retirement {
        partition: months.join(", "),
        chains: gone
            .into_iter()
            .map(|(chain, (seq, hash))| (chain, seq, hash))
            .collect(),
    };
    client
        .execute(
            "INSERT INTO public.audit_logs (action, resource_type, metadata) VALUES ($1, 'audit_logs', $2)",
            &[&RETIRE, &Json(retirement)],
        )
        .await?;
    Ok(())
}

/// Tries for short times: whoever writes an audit row waits behind it.
async fn drop_partition(client: &Client, month: &str) -> Result<(), AuditError> {
    let attempt = format!(
        "SAVEPOINT dropping; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; DROP TABLE public.{month}; RELEASE dropping"
    );
    for _ in 0..DROP_ATTEMPTS_MAX {
        match client.batch_execute(&attempt).await {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                client.batch_execute("ROLLBACK TO dropping").await?;
                tokio::time::sleep(DROP_RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let reason = format!("`{month}` is in use by transactions that do not end: try again");
    Err(AuditError::Refused(reason))
}

fn columns(heads: &[Head]) -> (Vec<i64>, Vec<i64>) {
    heads.iter().map(|head| (head.chain, head.seq)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_a_year_and_a_number() {
        for (text, expected) in [
            ("2026-01", true),
            ("2026-13", false),
            ("2026-1", false),
            ("2026", false),
            ("2026-01-01", false),
            ("x", false),
        ] {
            assert_eq!(month(text).is_ok(), expected, "{text}");
        }
    }
}
