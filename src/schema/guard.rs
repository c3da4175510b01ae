//! Whether the database keeps audit rows as they are: triggers in force and unchanged, accounts that may add rows alone.

use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

/// The migration that makes the triggers' functions.
const CHAIN: &str = include_str!("../../migrations/postgres/V4__audit_chain.sql");

/// Tables of the trail whose triggers are not all in force, always.
const LACKING: &str = "WITH RECURSIVE trail AS (
        SELECT 'public.audit_logs'::regclass::oid AS oid
        UNION SELECT 'public.audit_seals'::regclass::oid
        UNION SELECT i.inhrelid FROM pg_inherits i JOIN trail t ON t.oid = i.inhparent),
    wanted (name, of_seals) AS (VALUES ('bulkhead_audit_chain', false), ('bulkhead_audit_refuse', true),
        ('bulkhead_audit_refuse_truncate', true))
    SELECT t.oid::regclass::text FROM trail t CROSS JOIN wanted w
    WHERE (w.of_seals OR t.oid <> 'public.audit_seals'::regclass)
        AND NOT EXISTS (SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
            WHERE g.tgrelid = t.oid AND g.tgname = w.name AND g.tgenabled = 'A'
                AND p.pronamespace = 'public'::regnamespace
                AND p.proname = replace(w.name, '_truncate', ''))
    GROUP BY t.oid";

/// The texts of the functions behind them.
const FUNCTIONS: &str = "SELECT proname::text, prosrc FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND proname IN ('bulkhead_audit_chain', 'bulkhead_audit_refuse')";

/// Which of the accounts $1 may do more than add rows, and what.
const ACCOUNTS: &str = "SELECT a.rolname::text,
        CASE WHEN a.rolsuper THEN 'is a superuser'
             WHEN pg_has_role(a.oid, c.relowner, 'MEMBER') THEN 'may act as the owner of ' || c.oid::regclass
             ELSE 'may ' || lower(p.word) || ' ' || c.oid::regclass END
    FROM pg_roles a CROSS JOIN pg_class c
    CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('TRIGGER'), ('INSERT')) AS p(word)
    WHERE a.rolname = ANY ($1)
        AND (c.oid IN ('public.audit_logs'::regclass, 'public.audit_seals'::regclass, 'public.audit_chains'::regclass)
            OR c.relispartition AND c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'public.audit_logs'::regclass))
        AND (a.rolsuper OR pg_has_role(a.oid, c.relowner, 'MEMBER')
            OR (p.word <> 'INSERT' OR c.oid = 'public.audit_chains'::regclass) AND (has_table_privilege(a.oid, c.oid, p.word)
                OR p.word IN ('UPDATE', 'INSERT') AND has_any_column_privilege(a.oid, c.oid, p.word)))
    GROUP BY 1, 2 ORDER BY 1, 2";

/// Which of the accounts $1 may not add rows.
const WRITERS: &str = "SELECT rolname::text FROM pg_roles
    WHERE rolname = ANY ($1) AND NOT has_table_privilege(oid, 'public.audit_logs', 'INSERT') ORDER BY 1";

/// Faults of accounts that are told; the others are counted.
const FAULTS_MAX: usize = 8;

/// What lets audit rows be changed or go unchained, each with its mend; nothing, where all is well. `accounts` are those
/// that the sidecar uses.
///
/// # Errors
/// When PostgreSQL cannot be asked.
pub async fn faults(
    client: &Client,
    accounts: &[String],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut faults = Vec::new();
    for row in client.query(LACKING, &[]).await? {
        let table: String = row.try_get(0)?;
        faults.push(format!(
            "the triggers of `{table}` are not all in force: see migrations V4, and find out who disabled them"
        ));
    }
    for row in client.query(FUNCTIONS, &[]).await? {
        let (name, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if body(&name).map(Sha256::digest) != Some(Sha256::digest(&text)) {
            faults.push(format!(
                "the function `{name}` is not as `bulkhead schema apply` made it: find out who replaced it"
            ));
        }
    }
    let mut told = 0;
    for row in client.query(ACCOUNTS, &[&accounts]).await? {
        let (account, may): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        told += 1;
        if told <= FAULTS_MAX {
            faults.push(format!(
                "`{account}` {may}: give the tables an owner of their own, and the sidecar's accounts what `bulkhead schema apply --user OWNER` gives them"
            ));
        }
    }
    if told > FAULTS_MAX {
        faults.push(format!("and {} more of this kind", told - FAULTS_MAX));
    }
    for row in client.query(WRITERS, &[&accounts]).await? {
        let account: String = row.try_get(0)?;
        faults.push(format!(
            "`{account}` may not add rows to audit_logs, and changes in postgres would fail: run `bulkhead schema apply` as the tables' owner"
        ));
    }
    Ok(faults)
}

/// The text of a function in the migration.
fn body(name: &str) -> Option<&'static str> {
    let (_, rest) = CHAIN.split_once(&format!("CREATE FUNCTION {name}()"))?;
    let (_, rest) = rest.split_once("AS $$")?;
    rest.split_once("$$").map(|(body, _)| body)
}
