//! `rate_limit_overrides`: other numbers than the policy's, for one key, a user's keys or a role, until they expire.
//!
//! The whole table is held in memory and read anew when PostgreSQL tells of a change, or every [`POLL_INTERVAL`] while
//! it tells none. While PostgreSQL is away what was read last holds until it expires.

mod fault;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_postgres::{Client, Row};

use super::quota::Numbers;
use crate::authenticate::Principal;
use crate::decide::limits::Per;
use crate::decide::{Policy, RateLimit};
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

/// Expiry is told as a length of time, so that only PostgreSQL's clock counts; `infinity` has none, and never comes. One
/// row more than are held shows that there are too many.
const READ: &str =
    "SELECT o.key_id, o.user_id, o.role, o.rate_limit, o.requests, o.per_ms, o.burst,
        CASE WHEN isfinite(o.expires_at)
            THEN (extract(epoch FROM o.expires_at) - extract(epoch FROM clock_timestamp()))::float8 * 1000 END,
        o.id, k.role
    FROM rate_limit_overrides AS o LEFT JOIN api_keys AS k ON k.id = o.key_id
    WHERE o.expires_at IS NULL OR o.expires_at > clock_timestamp()
    ORDER BY o.id LIMIT 10001";

/// Faulty overrides that one look at the table tells of; of more, how many there are.
const FAULTS_TOLD_MAX: usize = 100;

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

/// A row as it stands in the table.
struct OverrideRow {
    subject: Subject,
    one: Override,
    /// The role of the key that it is for.
    key_role: Option<String>,
}

/// Rows that are at fault, by their ids, and what is told of each: also what the row says, so that a change is told.
type Faults = BTreeMap<i64, String>;

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
    /// caller's role names this limit first. Numbers that cannot stand in for the limit's count for nothing.
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
        let found = match limit.per {
            Per::Key => {
                let user = || among(&known.users, caller.user_id.as_deref()?);
                among(&known.keys, &caller.key_id)
                    .or_else(user)
                    .or_else(role)
            }
            Per::Role => role(),
        };
        found.filter(|numbers| numbers.fit(limit).is_ok())
    }

    /// Follows the table for as long as it is polled, and tells the log once of each row that `policy` makes useless.
    pub async fn keep(&self, system: &System, changes: &Changes, policy: &ArcSwap<Policy>) {
        let mut subscription = changes.subscribe();
        let (mut told, mut faults) = (false, Faults::new());
        let mut is_failing = false;
        loop {
            let read = self.read(system, &policy.load_full(), &mut faults).await;
            match &read {
                Err(error) if !is_failing => tracing::warn!(
                    %error,
                    "the rate limit overrides cannot be read: those known last stay in force"
                ),
                Ok(()) if is_failing => tracing::info!("the rate limit overrides are read again"),
                Ok(()) | Err(_) => {}
            }
            is_failing = read.is_err();
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

    async fn read(
        &self,
        system: &System,
        policy: &Policy,
        told: &mut Faults,
    ) -> Result<(), Unavailable> {
        let client = system.client().await?;
        let (rows, faults) = ask(&client, policy).await?;
        let mut table = Rows::default();
        rows.into_iter().for_each(|row| table.add(row));
        self.0.store(Arc::new(table));
        let is_new = |(id, fault): &(&i64, &String)| told.get(id) != Some(fault);
        let new: Vec<_> = faults.iter().filter(is_new).collect();
        for (id, fault) in new.iter().take(FAULTS_TOLD_MAX) {
            tracing::error!(
                id,
                "a rate limit override is not in force, what it would replace is as in the policy: {fault}"
            );
        }
        if new.len() > FAULTS_TOLD_MAX {
            tracing::error!(
                faults = new.len(),
                "more rate limit overrides are not in force: `bulkhead check` lists them"
            );
        }
        *told = faults;
        Ok(())
    }
}

/// How many overrides there are, and what is wrong with which, for people.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn faults(client: &Client, policy: &Policy) -> Result<(usize, Vec<String>), Unavailable> {
    let (rows, faults) = ask(client, policy).await?;
    let faults = faults
        .into_iter()
        .map(|(id, fault)| format!("override {id}: {fault}"));
    Ok((rows.len(), faults.collect()))
}

/// The rows that can be read, and the faults of all.
async fn ask(client: &Client, policy: &Policy) -> Result<(Vec<OverrideRow>, Faults), Unavailable> {
    // Before the question, so that nothing lasts longer here than there.
    let asked = Instant::now();
    let rows = tokio::time::timeout(STATEMENT_TIMEOUT, client.query_typed(READ, &[])).await??;
    let (mut read, mut faults) = (Vec::new(), Faults::new());
    for (at, row) in rows.iter().enumerate() {
        let id = row.try_get(8)?;
        if at == OVERRIDES_MAX {
            let fault = format!(
                "there are more than {OVERRIDES_MAX}: this one and all that follow are not held"
            );
            faults.insert(id, fault);
            break;
        }
        match read_row(row, asked) {
            Ok(row) => {
                if let Err(fault) = row.check(policy) {
                    faults.insert(id, format!("{}: {fault}", row.says()));
                }
                read.push(row);
            }
            Err(Unavailable(fault)) => drop(faults.insert(id, fault)),
        }
    }
    Ok((read, faults))
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

    fn add(&mut self, row: OverrideRow) {
        let (subjects, name) = match row.subject {
            Subject::Key(name) => (&mut self.keys, name),
            Subject::User(name) => (&mut self.users, name),
            Subject::Role(name) => (&mut self.roles, name),
        };
        subjects.entry(name).or_default().push(row.one);
    }
}

impl OverrideRow {
    /// Whom it is for and its numbers.
    fn says(&self) -> String {
        let subject = match &self.subject {
            Subject::Key(name) => format!("key `{name}`"),
            Subject::User(name) => format!("user `{name}`"),
            Subject::Role(name) => format!("role `{name}`"),
        };
        let Numbers {
            requests,
            period_ms,
            burst,
        } = self.one.numbers;
        format!("for {subject}, {requests} in {period_ms} ms, {burst} at once")
    }
}

fn read_row(row: &Row, asked: Instant) -> Result<OverrideRow, Unavailable> {
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
    Ok(OverrideRow {
        subject,
        one,
        key_role: row.try_get(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::PolicyFile;
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
            table.add(OverrideRow {
                subject,
                one: Override {
                    limit: limit.map(str::to_owned),
                    numbers: numbers(requests),
                    until,
                },
                key_role: None,
            });
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

    /// What the policy makes useless is told and has no effect; what it can use is in force.
    #[test]
    fn what_the_policy_makes_useless_is_told() {
        let text = "version = 1\n[stores.redis]\nkeys = ['a']\n[rate_limits.base]\nrequests = 9\nper = '1s'\ncost = { write = 5 }\n\
            [rate_limits.whole]\nrequests = 9\nper = '1s'\nper_what = 'role'\n[rate_limits.flight]\nconcurrent = 2\n\
            [roles.app]\nrate_limits = ['base', 'whole', 'flight']\n[[roles.app.grants]]\nstore = 'redis'\nkeys = ['a']\n\
            actions = ['read', 'write']\n[roles.free]\n[[roles.free.grants]]\nstore = 'redis'\nkeys = ['a']\nactions = ['read']";
        let policy = Policy::compile(&[PolicyFile {
            path: "p".into(),
            text: text.into(),
        }])
        .unwrap();
        let key = || Subject::Key("k".into());
        let role = |name: &str| Subject::Role(name.into());
        let user = || Subject::User("u".into());
        let of = |requests, period_ms, burst| Numbers {
            requests,
            period_ms,
            burst,
        };
        let good = of(5, 1_000, 5);
        let cases = [
            (key(), Some("app"), None, good, ""),
            (key(), Some("app"), Some("base"), good, ""),
            (key(), None, None, good, ""),
            (user(), None, None, good, ""),
            (role("app"), None, Some("whole"), of(1, 1_000, 1), ""),
            (role("ap"), None, None, good, "has no role `ap`"),
            (key(), Some("ap"), None, good, "has no role `ap`"),
            (role("free"), None, None, good, "has a rate limit"),
            (
                key(),
                Some("free"),
                Some("base"),
                good,
                "has a rate limit `base`",
            ),
            (user(), None, Some("bass"), good, "has a rate limit `bass`"),
            (
                key(),
                Some("app"),
                Some("whole"),
                good,
                "`whole` is of the whole role",
            ),
            (
                role("app"),
                None,
                Some("flight"),
                good,
                "`flight` has no rate",
            ),
            (
                role("app"),
                None,
                None,
                of(100, 1_000, 4),
                "may cost 5, and no more than 4",
            ),
            (user(), None, None, of(4, 1_000, 4), "may cost 5"),
            (role("app"), None, None, of(0, 1_000, 5), "must be positive"),
            (
                role("app"),
                None,
                None,
                of(5_001, 5, 9),
                "faster than one request a microsecond",
            ),
            (
                role("app"),
                None,
                None,
                of(1, 1 << 40, 9),
                "longer than 35 years",
            ),
            (
                role("app"),
                None,
                None,
                of(1, u64::MAX, u32::MAX),
                "longer than 35 years",
            ),
        ];
        let caller = Principal {
            key_id: "k".into(),
            user_id: Some("u".into()),
            role: "app".into(),
        };
        for (subject, key_role, name, numbers, fault) in cases {
            let row = OverrideRow {
                subject,
                one: Override {
                    limit: name.map(str::to_owned),
                    numbers,
                    until: None,
                },
                key_role: key_role.map(str::to_owned),
            };
            let (says, found) = (row.says(), row.check(&policy));
            let has_limits = row.key_role.as_deref().is_none_or(|role| role == "app");
            let found = found
                .err()
                .map_or_else(String::new, |fault| fault.to_string());
            assert!(
                found.contains(fault) && found.is_empty() == fault.is_empty(),
                "{says}: {found}"
            );
            let mut table = Rows::default();
            table.add(row);
            let overrides = Overrides(ArcSwap::from_pointee(table));
            if !has_limits {
                continue;
            }
            let limits = policy.role("app").unwrap().rate_limits();
            let rates = limits
                .iter()
                .enumerate()
                .filter(|(_, limit)| limit.rate.is_some());
            let mut in_force = rates
                .filter_map(|(at, limit)| overrides.find(limit, at == 0, &caller, Instant::now()));
            let expected = fault.is_empty().then_some(numbers);
            assert_eq!(in_force.next(), expected, "{says} {fault}");
        }
    }
}
