//! A key's row in `api_keys`, as PostgreSQL says it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::types::{ToSql, Type};

use super::key::Hash;
use super::{Error, Principal};
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// The times of `api_keys` as a [`Timestamp`] can hold them: `infinity` and years beyond are the last such time, which
/// does not come, and `-infinity` is long ago.
macro_rules! time {
    ($column:literal) => {
        concat!(
            "CASE WHEN ",
            $column,
            " IS NOT NULL THEN greatest(least(",
            $column,
            ", '9999-12-30 00:00:00Z'), '0001-01-01 00:00:00Z') END"
        )
    };
}
pub(super) use time;

const LOOK_UP: &str = concat!(
    "SELECT hashed_key, previous_hashed_key, ",
    time!("previous_expires_at"),
    ", user_id, role, ",
    time!("expires_at"),
    ", revoked_at IS NOT NULL FROM api_keys WHERE id = $1"
);

/// What is known of one key.
#[derive(Debug)]
pub struct Row {
    pub hash: Option<Hash>,
    /// The secret before the last rotation, and until when it still opens.
    pub previous: Option<(Option<Hash>, Timestamp)>,
    pub principal: Arc<Principal>,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
}

/// Which of a key's secrets was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    Current,
    Previous { until: Timestamp },
}

/// Which of the secrets of `row` hashes to `presented`; `None` if none does, or there is no row. Two comparisons,
/// whatever the row, so that the time taken does not tell a wrong id from a wrong secret.
pub fn secret_of(row: Option<&Row>, presented: &Hash) -> Option<Secret> {
    let previous = row.and_then(|row| row.previous.as_ref());
    let is_current = presented.is(row.and_then(|row| row.hash.as_ref()));
    let is_previous = presented.is(previous.and_then(|(hash, _)| hash.as_ref()));
    match (is_current, is_previous, previous) {
        (true, _, _) => Some(Secret::Current),
        (false, true, Some((_, until))) => Some(Secret::Previous { until: *until }),
        (false, _, _) => None,
    }
}

impl Row {
    /// Whether the holder of `secret` may go in. Only a holder learns that a key has expired or was revoked.
    pub fn admit(&self, secret: Secret, clock: Timestamp) -> Result<Arc<Principal>, Error> {
        let key_id = || self.principal.key_id.clone();
        if self.revoked {
            return Err(Error::Revoked { key_id: key_id() });
        }
        let until = match secret {
            Secret::Current => None,
            Secret::Previous { until } => Some(until),
        };
        let ends = self.expires_at.into_iter().chain(until).min();
        if ends.is_some_and(|at| at <= clock) {
            return Err(Error::Expired { key_id: key_id() });
        }
        Ok(Arc::clone(&self.principal))
    }
}

/// Asks PostgreSQL; `None`: there is no such key. May be cancelled.
pub async fn look_up(system: &System, id: &str) -> Result<Option<Row>, Unavailable> {
    let client = system.client().await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&id, Type::TEXT)];
    let query = client.query_typed(LOOK_UP, &parameters);
    let rows = tokio::time::timeout(STATEMENT_TIMEOUT, query).await??;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let previous = row.try_get::<_, Option<&str>>(1)?.map(Hash::parse);
    Ok(Some(Row {
        hash: row.try_get::<_, &str>(0).ok().and_then(Hash::parse),
        previous: previous.zip(row.try_get(2)?),
        principal: Arc::new(Principal {
            key_id: id.to_owned(),
            user_id: row.try_get(3)?,
            role: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
        }),
        expires_at: row.try_get(5)?,
        revoked: row.try_get(6)?,
    }))
}

#[cfg(test)]
pub mod tests {
    use super::super::key::{COMPARED, Presented, generate};
    use super::*;
    use secrecy::ExposeSecret;

    pub fn row(id: &str, hash: Hash) -> Row {
        Row {
            hash: Some(hash),
            previous: None,
            principal: Arc::new(Principal {
                key_id: id.into(),
                user_id: None,
                role: "app".into(),
            }),
            expires_at: None,
            revoked: false,
        }
    }

    #[test]
    fn a_wrong_id_takes_the_comparisons_of_a_wrong_secret() {
        let (one, two, three) = (
            generate().unwrap(),
            generate().unwrap(),
            generate().unwrap(),
        );
        let digest = Presented::parse(one.key.expose_secret()).unwrap().digest();
        let until = Timestamp::MAX;
        let rotated = Row {
            previous: Some((Some(three.hash.clone()), until)),
            ..row("x", two.hash.clone())
        };
        let unreadable = Row {
            hash: None,
            ..row("x", two.hash.clone())
        };
        let previous = Row {
            previous: Some((Some(one.hash.clone()), until)),
            ..row("x", two.hash.clone())
        };
        let plain = row("x", two.hash);
        let right = row("x", one.hash);
        for (row, expected) in [
            (None, None),
            (Some(&plain), None),
            (Some(&rotated), None),
            (Some(&unreadable), None),
            (Some(&right), Some(Secret::Current)),
            (Some(&previous), Some(Secret::Previous { until })),
        ] {
            COMPARED.set(0);
            assert_eq!(secret_of(row, &digest), expected);
            assert_eq!(COMPARED.get(), 2);
        }
    }

    #[test]
    fn whoever_holds_the_secret_learns_how_the_key_ended() {
        let made = generate().unwrap();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let admit = |edit: &dyn Fn(&mut Row), secret| {
            let mut row = row("x", made.hash.clone());
            edit(&mut row);
            row.admit(secret, at(100)).map(drop)
        };
        let key_id = || "x".to_owned();
        let expired = Err(Error::Expired { key_id: key_id() });
        let revoked = Err(Error::Revoked { key_id: key_id() });
        let previous = |second| Secret::Previous { until: at(second) };
        assert_eq!(admit(&|_| {}, Secret::Current), Ok(()));
        assert_eq!(admit(&|row| row.revoked = true, Secret::Current), revoked);
        assert_eq!(
            admit(&|row| row.expires_at = Some(at(100)), Secret::Current),
            expired
        );
        assert_eq!(
            admit(&|row| row.expires_at = Some(at(101)), Secret::Current),
            Ok(())
        );
        assert_eq!(admit(&|_| {}, previous(101)), Ok(()));
        assert_eq!(admit(&|_| {}, previous(100)), expired);
        assert_eq!(
            admit(&|row| row.expires_at = Some(at(99)), previous(200)),
            expired
        );
        assert_eq!(admit(&|row| row.revoked = true, previous(200)), revoked);
    }
}
