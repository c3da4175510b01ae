//! Creating, listing and revoking API keys: rows in `api_keys`, each change with its audit row.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use tokio_postgres::Client;

use super::key;

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
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no random numbers from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    #[error("{}", crate::system::describe(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("there is no key `{0}` that is still in force; `bulkhead keys list` shows them all")]
    NotFound(String),
}

const INSERT: &str = "INSERT INTO api_keys (id, hashed_key, user_id, name, role, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6)";

const LIST: &str =
    "SELECT id, name, user_id, role, created_at, expires_at, revoked_at, last_used_at
    FROM api_keys ORDER BY created_at, id";

const REVOKE: &str = "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";

const AUDIT: &str = "INSERT INTO audit_logs (user_id, action, resource_type, metadata)
    VALUES ($1, $2, 'api_key', jsonb_build_object('key_id', $3::text, 'role', $4::text))";

/// Makes a key; its row and the audit row commit together.
pub async fn create(client: &mut Client, new: &NewKey) -> Result<CreatedKey, Error> {
    let made = key::generate()?;
    let stored = made.hash.to_stored();
    let transaction = client.transaction().await?;
    transaction
        .execute(
            INSERT,
            &[
                &made.id,
                &stored,
                &new.user_id,
                &new.name,
                &new.role,
                &new.expires_at,
            ],
        )
        .await?;
    transaction
        .execute(AUDIT, &[&new.user_id, &"keys.create", &made.id, &new.role])
        .await?;
    transaction.commit().await?;
    Ok(CreatedKey {
        id: made.id,
        secret: made.key,
    })
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
            })
        })
        .collect()
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
