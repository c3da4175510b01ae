//! Creating, listing, rotating and revoking API keys: rows in `api_keys`, each change with its audit row.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::key::{self, Generated, Presented};
use super::row::time;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For people: what the key is for.
    pub name: String,
    pub user_id: Option<String>,
    pub role: String,
    pub expires_at: Option<Timestamp>,
}

/// A key just made. The secret is nowhere else: it is stored hashed.
#[derive(Debug)]
pub struct CreatedKey {
    pub id: String,
    pub secret: SecretString,
}

/// A key whose secret was just replaced.
#[derive(Debug)]
pub struct RotatedKey {
    pub key: CreatedKey,
    pub role: String,
    /// Until when the secret before it opens, too; `None`: it does not any more.
    pub previous_until: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct ListedKey {
    pub id: String,
    pub name: Option<String>,
    pub user_id: Option<String>,
    pub role: Option<String>,
    pub created_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub rotated_at: Option<Timestamp>,
    /// Until when the secret before the last rotation opens, too.
    pub previous_expires_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no random numbers from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    #[error("{}", crate::system::describe(.0))]
    Database(tokio_postgres::Error),
    #[error(
        "the system tables are not there, or of an earlier version: run `bulkhead schema apply`"
    )]
    NoTables,
    #[error("there is no key `{0}` that is still in force; `bulkhead keys list` shows them all")]
    NotFound(String),
    #[error(
        "key `{id}` was rotated before, and its secret of then opens until {until}: whoever has not taken the new one yet would be shut out. Wait, or say `--force`"
    )]
    Overlaps { id: String, until: Timestamp },
    #[error(
        "there is a key already, or there was one: a first one is made once. `bulkhead keys create` makes others"
    )]
    NotFirst,
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.code() {
            Some(code)
                if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN =>
            {
                Self::NoTables
            }
            Some(_) | None => Self::Database(error),
        }
    }
}

impl Error {
    /// Whether the answer is no, rather than that something went wrong.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::Overlaps { .. } | Self::NotFirst => true,
            Self::Random(_) | Self::Database(_) | Self::NoTables => false,
        }
    }
}

const INSERT: &str = "INSERT INTO api_keys (id, hashed_key, user_id, name, role, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6)";

const LIST: &str = concat!(
    "SELECT id, name, user_id, role, ",
    time!("created_at"),
    ", ",
    time!("expires_at"),
    ", ",
    time!("revoked_at"),
    ", ",
    time!("last_used_at"),
    ", ",
    time!("rotated_at"),
    ", CASE WHEN previous_expires_at > now() THEN ",
    time!("previous_expires_at"),
    " END FROM api_keys ORDER BY api_keys.created_at, id"
);

const WITHOUT_ROLE: &str = "SELECT id, role, count(*) OVER () FROM api_keys
    WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND (role = ANY($1)) IS NOT TRUE
    ORDER BY created_at, id LIMIT 5";

const REVOKE: &str = "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";

/// The row is locked until the end, so that two rotations do not each replace the same secret.
const OVERLAP: &str = concat!(
    "SELECT CASE WHEN previous_expires_at > now() THEN ",
    time!("previous_expires_at"),
    " END FROM api_keys
    WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR UPDATE"
);

const ROTATE: &str = "UPDATE api_keys SET hashed_key = $2, rotated_at = now(),
        previous_hashed_key = CASE WHEN $3::float8 > 0 THEN hashed_key END,
        previous_expires_at = CASE WHEN $3::float8 > 0 THEN now() + make_interval(secs => $3::float8) END
    WHERE id = $1 RETURNING role, previous_expires_at, user_id";

const AUDIT: &str = "INSERT INTO audit_logs (user_id, action, resource_type, metadata)
    VALUES ($1, $2, 'api_key', jsonb_build_object('key_id', $3::text, 'role', $4::text))";

/// Nobody else makes a key, or a first key, meanwhile; reading goes on.
const LOCK: &str = "LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE";

/// Rows of `audit_logs` stay when keys are deleted, so that an emptied table does not open this door again.
const ANY_YET: &str = "SELECT EXISTS (SELECT FROM api_keys)
    OR EXISTS (SELECT FROM audit_logs WHERE action = 'keys.bootstrap')";

/// Makes a key; its row and the audit row commit together.
pub async fn create(client: &mut Client, new: &NewKey) -> Result<CreatedKey, Error> {
    let transaction = client.transaction().await?;
    let made = insert(&transaction, new, "keys.create").await?;
    transaction.commit().await?;
    Ok(made)
}

/// Makes the first key of an installation: only while there is none and has been no first one, however many try at
/// once.
pub async fn bootstrap(client: &mut Client, new: &NewKey) -> Result<CreatedKey, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK).await?;
    if transaction
        .query_one(ANY_YET, &[])
        .await?
        .try_get::<_, bool>(0)?
    {
        return Err(Error::NotFirst);
    }
    let made = insert(&transaction, new, "keys.bootstrap").await?;
    transaction.commit().await?;
    Ok(made)
}

async fn insert(
    transaction: &Transaction<'_>,
    new: &NewKey,
    action: &str,
) -> Result<CreatedKey, Error> {
    let Generated { id, key, hash } = key::generate()?;
    let stored = hash.to_stored();
    transaction
        .execute(
            INSERT,
            &[
                &id,
                &stored,
                &new.user_id,
                &new.name,
                &new.role,
                &new.expires_at,
            ],
        )
        .await?;
    transaction
        .execute(AUDIT, &[&new.user_id, &action, &id, &new.role])
        .await?;
    Ok(CreatedKey { id, secret: key })
}

/// Every key, oldest first.
pub async fn list(client: &Client) -> Result<Vec<ListedKey>, Error> {
    let rows = client.query(LIST, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(ListedKey {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                user_id: row.try_get(2)?,
                role: row.try_get(3)?,
                created_at: row.try_get(4)?,
                expires_at: row.try_get(5)?,
                revoked_at: row.try_get(6)?,
                last_used_at: row.try_get(7)?,
                rotated_at: row.try_get(8)?,
                previous_expires_at: row.try_get(9)?,
            })
        })
        .collect()
}

/// Keys in force whose role is none of `roles`: how many, and the first ids with their roles.
pub async fn without_role(
    client: &Client,
    roles: &[&str],
) -> Result<(i64, Vec<(String, Option<String>)>), Error> {
    let rows = client.query(WITHOUT_ROLE, &[&roles]).await?;
    let count = rows.first().map_or(Ok(0), |row| row.try_get(2))?;
    let named = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    Ok((count, named.collect::<Result<_, Error>>()?))
}

/// Replaces a key's secret; the id stays, and the secret before opens for `overlap` more. Row and audit row commit
/// together.
///
/// # Errors
/// Where an earlier rotation's overlap lasts, unless `force`: the secret from before that one would end at once.
pub async fn rotate(
    client: &mut Client,
    id: &str,
    overlap: Duration,
    force: bool,
) -> Result<RotatedKey, Error> {
    let Generated { key, hash, .. } = key::generate_for(id)?;
    // An id that somebody else made up has no key of our form.
    if Presented::parse(key.expose_secret()).is_none() {
        return Err(Error::NotFound(id.to_owned()));
    }
    let transaction = client.transaction().await?;
    let found = transaction.query_opt(OVERLAP, &[&id]).await?;
    let found = found.ok_or_else(|| Error::NotFound(id.to_owned()))?;
    if let Some(until) = found.try_get::<_, Option<Timestamp>>(0)?.filter(|_| !force) {
        return Err(Error::Overlaps {
            id: id.to_owned(),
            until,
        });
    }
    let row = transaction
        .query_one(ROTATE, &[&id, &hash.to_stored(), &overlap.as_secs_f64()])
        .await?;
    let (role, user_id) = (
        row.try_get::<_, Option<String>>(0)?,
        row.try_get::<_, Option<String>>(2)?,
    );
    transaction
        .execute(AUDIT, &[&user_id, &"keys.rotate", &id, &role])
        .await?;
    transaction.commit().await?;
    Ok(RotatedKey {
        key: CreatedKey {
            id: id.to_owned(),
            secret: key,
        },
        role: role.unwrap_or_default(),
        previous_until: row.try_get(1)?,
    })
}

/// Takes a key out of force; its row and the audit row commit together.
pub async fn revoke(client: &mut Client, id: &str) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    if transaction.execute(REVOKE, &[&id]).await? == 0 {
        return Err(Error::NotFound(id.to_owned()));
    }
    let (nobody, role) = (None::<String>, None::<String>);
    transaction
        .execute(AUDIT, &[&nobody, &"keys.revoke", &id, &role])
        .await?;
    transaction.commit().await?;
    Ok(())
}
