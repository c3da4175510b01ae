//! Rows and seals as PostgreSQL sends them, in binary: nothing depends on a session's settings.

use std::error::Error;

use bytes::BytesMut;
use serde_json::value::RawValue;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::row::Row;
use super::seal::{Head, Seal};
use super::text::{Hex, Micros};

/// The columns of `audit_logs` that [`row`] reads, in its order.
pub const ROW: &str = "id, recorded_at, occurred_at, sidecar, account, user_id, key_id, role, action, resource_type,
    metadata::text, store, objects, decision, code, statement, fingerprint, rows_affected, duration_us, request_id,
    trace_id, event_id::text, phase, chain, seq, prev_hash, hash";

/// The columns of `audit_seals` that [`seal`] reads, in its order.
pub const SEAL: &str =
    "seal, sealed_at, sidecar, chains, seqs, hashes, prev_hash, hash, key_id, signature";

/// The columns of `audit_chains` that [`head`] reads, in its order.
pub const HEAD: &str = "chain, seq, hash";

/// PostgreSQL counts from the year 2000.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

type Failure = Box<dyn Error + Sync + Send>;

impl<'a> FromSql<'a> for Hex {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        Ok(Self(raw.to_vec()))
    }

    accepts!(BYTEA);
}

impl ToSql for Hex {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        self.0.to_sql(kind, out)
    }

    accepts!(BYTEA);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Micros {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let since_2000 = i64::from_sql(kind, raw)?;
        // Infinities stay at the ends; no row that was chained has one.
        Ok(Self(since_2000.saturating_add(POSTGRES_EPOCH_US)))
    }

    accepts!(TIMESTAMPTZ);
}

impl ToSql for Micros {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        self.0.saturating_sub(POSTGRES_EPOCH_US).to_sql(kind, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

/// A row of [`ROW`].
///
/// # Errors
/// When a column is not of the type that the migration gave it.
pub fn row(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    let metadata: Option<String> = row.try_get(10)?;
    Ok(Row {
        id: row.try_get(0)?,
        recorded_at: row.try_get(1)?,
        occurred_at: row.try_get(2)?,
        sidecar: row.try_get(3)?,
        account: row.try_get(4)?,
        user_id: row.try_get(5)?,
        key_id: row.try_get(6)?,
        role: row.try_get(7)?,
        action: row.try_get(8)?,
        resource_type: row.try_get(9)?,
        // What PostgreSQL prints of a jsonb value is JSON.
        metadata: metadata.and_then(|text| RawValue::from_string(text).ok()),
        store: row.try_get(11)?,
        objects: row.try_get(12)?,
        decision: row.try_get(13)?,
        code: row.try_get(14)?,
        statement: row.try_get(15)?,
        fingerprint: row.try_get(16)?,
        rows_affected: row.try_get(17)?,
        duration_us: row.try_get(18)?,
        request_id: row.try_get(19)?,
        trace_id: row.try_get(20)?,
        event_id: row.try_get(21)?,
        phase: row.try_get(22)?,
        chain: row.try_get(23)?,
        seq: row.try_get(24)?,
        prev_hash: row.try_get(25)?,
        hash: row.try_get(26)?,
    })
}

/// A row of [`SEAL`].
///
/// # Errors
/// As [`row`].
pub fn seal(row: &tokio_postgres::Row) -> Result<Seal, tokio_postgres::Error> {
    Ok(Seal {
        seal: row.try_get(0)?,
        sealed_at: row.try_get(1)?,
        sidecar: row.try_get(2)?,
        chains: row.try_get(3)?,
        seqs: row.try_get(4)?,
        hashes: row.try_get(5)?,
        prev_hash: row.try_get(6)?,
        hash: row.try_get(7)?,
        key_id: row.try_get(8)?,
        signature: row.try_get(9)?,
    })
}

/// A row of [`HEAD`].
///
/// # Errors
/// As [`row`].
pub fn head(row: &tokio_postgres::Row) -> Result<Head, tokio_postgres::Error> {
    Ok(Head {
        chain: row.try_get(0)?,
        seq: row.try_get(1)?,
        hash: row.try_get(2)?,
    })
}
