//! Reads a trail from the database as the lines of an exported file: for the verifier, and for the file.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::AuditError;
use crate::trail::file::{End, Header, Line, VERSION};
use crate::trail::verify::RETIRE;
use crate::trail::{Micros, sql};

/// One state of the database for all that is read, however long that takes.
pub const SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

/// The rows of some time, by when they were recorded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub since: Option<Micros>,
    pub until: Option<Micros>,
}

/// Reads all within the transaction that is open. Nothing is kept: a reader that is slow makes the server wait.
pub async fn read(
    client: &Client,
    times: Times,
    each: &mut impl FnMut(Line) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let now = client.query_one("SELECT now()", &[]).await?;
    let header = Header {
        version: VERSION,
        exported_at: now.try_get(0)?,
        since: times.since,
        until: times.until,
    };
    let is_part = header.is_part();
    each(Line::Header(header))?;
    let heads = format!(
        "SELECT {} FROM public.audit_chains ORDER BY chain",
        sql::HEAD
    );
    stream(client, &heads, &[], |row| each(Line::Head(sql::head(row)?))).await?;
    let retirements = format!(
        "SELECT {} FROM public.audit_logs WHERE action = $1 ORDER BY id",
        sql::ROW
    );
    stream(client, &retirements, &[&RETIRE], |row| {
        each(Line::Retirement(Box::new(sql::row(row)?)))
    })
    .await?;
    let seals = format!(
        "SELECT {} FROM public.audit_seals ORDER BY audit_seals.seal",
        sql::SEAL
    );
    stream(client, &seals, &[], |row| each(Line::Seal(sql::seal(row)?))).await?;
    let mut rows = 0;
    let mut each_row = |row: &tokio_postgres::Row| {
        rows += 1;
        each(Line::Row(Box::new(sql::row(row)?)))
    };
    if is_part {
        let limits: [&(dyn ToSql + Sync); 2] = [&times.since, &times.until];
        stream(client, &part(), &limits, &mut each_row).await?;
    } else {
        let all = format!(
            "SELECT {} FROM public.audit_logs ORDER BY chain, seq, recorded_at",
            sql::ROW
        );
        stream(client, &all, &[], &mut each_row).await?;
    }
    each(Line::End(End { rows }))
}

/// From each chain all between its first and its last row of that time, so that a clock that was set back leaves no gap.
fn part() -> String {
    format!(
        "SELECT {} FROM public.audit_logs JOIN (SELECT chain, min(seq), max(seq) FROM public.audit_logs
            WHERE recorded_at >= coalesce($1::timestamptz, '-infinity')
                AND recorded_at < coalesce($2::timestamptz, 'infinity')
            GROUP BY chain) AS part (part_chain, first, last)
            ON chain = part_chain AND seq BETWEEN first AND last
        ORDER BY chain, seq, recorded_at",
        sql::ROW
    )
}

/// Runs a query and hands its rows on as they come.
pub async fn stream(
    client: &Client,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
    mut each: impl FnMut(&tokio_postgres::Row) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    let parameters = parameters.iter().copied();
    let mut rows = pin!(client.query_raw(statement, parameters).await?);
    while let Some(row) = rows.try_next().await? {
        each(&row)?;
    }
    Ok(())
}
