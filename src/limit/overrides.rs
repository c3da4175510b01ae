//! `rate_limit_overrides`: other numbers than the policy's, for one key, a user's keys or a role, until they expire.
//!
//! The whole table is held in memory and read anew when PostgreSQL tells of a change, or every [`POLL_INTERVAL`] while
//! it tells none. While PostgreSQL is away what was read last holds until it expires.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_postgres::Row;

use super::quota::Numbers;
use crate::authenticate::Principal;
use crate::decide::RateLimit;
use crate::decide::limits::Per;
use crate::system::changes::{Change, Changes, Table};
use crate::system::{STATEMENT_TIMEOUT, System, Unavailable};

/// Overrides that are held; of more, those that were made first.
pub const OVERRIDES_MAX: usize = 10_000;

/// How often the table is read while PostgreSQL does not tell its changes: they take effect within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// After a change, how long others are waited for before the table is read.
const GATHER_INTERVAL: Duration = Duration::from_millis(50);

/// How often it is read all the same, so that a mistake in telling is not for ever.
const REREAD_INTERVAL: Duration = Duration::from_secs(60);

/// Expiry is told as a length of time, so that only PostgreSQL's clock counts. One row more than are held shows that
/// there are too many.
const READ: &str = "SELECT key_id, user_id, role, rate_limit, requests, per_ms, burst,
        (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8
    FROM rate_limit_overrides
    WHERE expires_at IS NULL OR expires_at > clock_timestamp()
    ORDER BY id LIMIT 10001";

/// The overrides in force.
#[derive(Debug, Default)]
pub struct Overrides(ArcSwap<Rows>);

/// By whom they are for.
#[derive(Debug, Default)]
struct Rows {
    keys: HashMap<String, Vec<Override>>,
    users: HashMap<String, Vec<Override>>,
    roles: HashMap<String, Vec<Override>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Override {
    /// The limit that it is about; `None`: the first that the role names.
    limit: Option<String>,
    numbers: Numbers,
    until: Option<Instant>,
}

/// Whom an override is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Key(String),
    User(String),
    Role(String),
}

impl Overrides {
    /// The numbers in force for a caller's limit, where they are not the policy's. Of several, the key's go before the
    /// user's, and these before the role's. A limit that the whole role shares has the role's alone. `is_first`: the
    /// caller's role names this limit first.
    pub fn find(
        &self,
        limit: &RateLimit,
        is_first: bool,
        caller: &Principal,
        now: Instant,
    ) -> Option<Numbers> {
        let known = self.0.load();
        if known.is_empty() {
            return None;
        }
        let among = |subjects: &HashMap<String, Vec<Override>>, name: &str| {
            let some = subjects.get(name)?.iter();
            let in_force = some.filter(|one| one.until.is_none_or(|until| now < until));
            let fitting = in_force.filter(|one| one.is_about(&limit.name, is_first));
            // One that names the limit goes before one that does not.
            fitting
                .max_by_key(|one| one.limit.is_some())
                .map(|one| one.numbers)
        };
        let role = || among(&known.roles, &caller.role);
        match limit.per {
            Per::Key => {
                let user = || among(&known.users, caller.user_id.as_deref()?);
                among(&known.keys, &caller.key_id)
                    .or_else(user)
                    .or_else(role)
            }
            Per::Role => role(),
        }
    }

    /// Follows the table for as long as it is polled.
    pub async fn keep(&self, system: &System, changes: &Changes) {
        let mut subscription = changes.subscribe();
        let mut told = false;
        loop {
            let read = self.read(system).await;
            if let Err(error) = &read {
                tracing::debug!(%error, "the last known rate limit overrides stay in force");
            }
            let pause = if told && read.is_ok() {
                REREAD_INTERVAL
            } else {
                POLL_INTERVAL
            };
            let first = async {
                loop {
                    if let Some(tells) = relevant(&subscription.next().await, told) {
                        return tells;
                    }
                }
            };
            let Ok(tells) = tokio::time::timeout(pause, first).await else {
                continue;
            };
            told = tells;
            // Many rows may change at once: they are read together.
            let gathered = tokio::time::Instant::now() + GATHER_INTERVAL;
            while let Ok(change) = tokio::time::timeout_at(gathered, subscription.next()).await {
                told = relevant(&change, told).unwrap_or(told);
            }
        }
    }

    async fn read(&self, system: &System) -> Result<(), Unavailable> {
        let client = system.client().await?;
        // Before the question, so that nothing lasts longer here than there.
        let asked = Instant::now();
        let rows = tokio::time::timeout(STATEMENT_TIMEOUT, client.query_typed(READ, &[])).await??;
        if rows.len() > OVERRIDES_MAX {
            tracing::error!(
                max = OVERRIDES_MAX,
                "there are more rate limit overrides than are held: the newest are not in force"
            );
        }
        let mut table = Rows::default();
        for row in rows.iter().take(OVERRIDES_MAX) {
            match read_row(row, asked) {
                Ok((subject, one)) => table.add(subject, one),
                Err(error) => tracing::error!(%error, "a rate limit override cannot be read"),
            }
        }
        self.0.store(Arc::new(table));
        Ok(())
    }
}

/// Whether changes are told from now on, where this one calls for reading the table.
const fn relevant(change: &Change, told: bool) -> Option<bool> {
    match change {
        Change::Connected => Some(true),
        Change::Lost => Some(false),
        Change::Row {
            table: Table::RateLimitOverrides,
            ..
        } => Some(told),
        Change::Row {
            table: Table::ApiKeys,
            ..
        } => None,
    }
}

impl Override {
    fn is_about(&self, limit: &str, is_first: bool) -> bool {
        self.limit.as_deref().map_or(is_first, |name| name == limit)
    }
}

impl Rows {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.users.is_empty() && self.roles.is_empty()
    }

    fn add(&mut self, subject: Subject, one: Override) {
        let (subjects, name) = match subject {
            Subject::Key(name) => (&mut self.keys, name),
            Subject::User(name) => (&mut self.users, name),
            Subject::Role(name) => (&mut self.roles, name),
        };
        subjects.entry(name).or_default().push(one);
    }
}

fn read_row(row: &Row, asked: Instant) -> Result<(Subject, Override), Unavailable> {
    let key: Option<String> = row.try_get(0)?;
    let user: Option<String> = row.try_get(1)?;
    let role: Option<String> = row.try_get(2)?;
    let subject = match (key, user, role) {
        (Some(key), None, None) => Subject::Key(key),
        (None, Some(user), None) => Subject::User(user),
        (None, None, Some(role)) => Subject::Role(role),
        _ => return Err(Unavailable("it is for nobody, or for several".into())),
    };
    let requests = u32::try_from(row.try_get::<_, i32>(4)?).unwrap_or(0);
    let period_ms = u64::try_from(row.try_get::<_, i64>(5)?).unwrap_or(0);
    let burst = row.try_get::<_, Option<i32>>(6)?;
    let burst = burst.map_or(requests, |burst| u32::try_from(burst).unwrap_or(0));
    let left_ms: Option<f64> = row.try_get(7)?;
    let one = Override {
        limit: row.try_get(3)?,
        numbers: Numbers {
            requests,
            period_ms,
            burst,
        },
        // More than the clock can count is for ever.
        until: left_ms.and_then(|ms| {
            let left = Duration::try_from_secs_f64((ms / 1000.0).max(0.0)).ok()?;
            asked.checked_add(left)
        }),
    };
    Ok((subject, one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::limits::Scope;

    const fn numbers(requests: u32) -> Numbers {
        Numbers {
            requests,
            period_ms: 1_000,
            burst: requests,
        }
    }

    fn limit(name: &str, per: Per) -> RateLimit {
        RateLimit {
            name: name.into(),
            rate: None,
            concurrent: None,
            per,
            scope: Scope::default(),
            shadow: false,
        }
    }

    #[test]
    fn the_key_goes_before_the_user_and_the_user_before_the_role() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let mut table = Rows::default();
        let mut add = |subject, requests, limit: Option<&str>, until| {
            table.add(
                subject,
                Override {
                    limit: limit.map(str::to_owned),
                    numbers: numbers(requests),
                    until,
                },
            );
        };
        let key = || Subject::Key("k".into());
        let user = || Subject::User("u".into());
        let role = || Subject::Role("app".into());
        add(key(), 1, Some("inserts"), None);
        add(key(), 2, None, Some(later));
        add(user(), 3, None, None);
        add(role(), 4, None, None);
        add(role(), 5, Some("app"), None);
        add(role(), 6, Some("shared"), None);
        let overrides = Overrides(ArcSwap::from_pointee(table));
        let caller = |key_id: &str, user_id: Option<&str>, role: &str| Principal {
            key_id: key_id.into(),
            user_id: user_id.map(str::to_owned),
            role: role.into(),
        };
        let cases = [
            (
                "app",
                Per::Key,
                true,
                caller("k", Some("u"), "app"),
                now,
                Some(2),
            ),
            (
                "app",
                Per::Key,
                true,
                caller("k", Some("u"), "app"),
                later,
                Some(3),
            ),
            (
                "inserts",
                Per::Key,
                false,
                caller("k", Some("u"), "app"),
                now,
                Some(1),
            ),
            (
                "inserts",
                Per::Key,
                false,
                caller("x", Some("u"), "app"),
                now,
                None,
            ),
            (
                "app",
                Per::Key,
                true,
                caller("x", Some("u"), "app"),
                now,
                Some(3),
            ),
            (
                "app",
                Per::Key,
                true,
                caller("x", None, "app"),
                now,
                Some(5),
            ),
            (
                "other",
                Per::Key,
                true,
                caller("x", None, "app"),
                now,
                Some(4),
            ),
            (
                "other",
                Per::Key,
                true,
                caller("x", None, "admin"),
                now,
                None,
            ),
            (
                "shared",
                Per::Role,
                false,
                caller("k", Some("u"), "app"),
                now,
                Some(6),
            ),
            (
                "first",
                Per::Role,
                true,
                caller("k", Some("u"), "app"),
                now,
                Some(4),
            ),
        ];
        for (name, per, is_first, caller, at, expected) in cases {
            let found = overrides.find(&limit(name, per), is_first, &caller, at);
            assert_eq!(found, expected.map(numbers), "{name} {caller:?}");
        }
    }
}
