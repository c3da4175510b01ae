//! Open cursors: each belongs to the key that opened it, and to the server session it was opened in, and keeps the
//! command that opened it, so that another policy can judge it. Pure: the session is any type, time is an argument,
//! and what must be killed on the server is handed back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authenticate::Principal;
use crate::decide::Permit;
use crate::operation::{Operation, Payload};

/// Cursors that one API key may hold open at once.
pub const CURSORS_PER_KEY_MAX: usize = 16;
/// Cursors open at once, over all keys.
pub const CURSORS_MAX: usize = 256;
/// A cursor that is not continued for so long is killed.
pub const CURSOR_IDLE_MS_MAX: u64 = 60_000;
/// Longest command that is kept with its cursor. A cursor of a longer one ends with the policy that it was opened
/// under.
pub const CURSOR_COMMAND_BYTES_MAX: usize = 64 * 1024;

/// How a cursor came to be.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The digest of the policy that last allowed it.
    policy: Arc<str>,
    /// For whom it was decided.
    caller: Arc<Principal>,
    /// `None` where it is longer than [`CURSOR_COMMAND_BYTES_MAX`].
    pub command: Option<OpeningCommand>,
}

/// The command that opened a cursor.
#[derive(Debug, Clone)]
pub struct OpeningCommand {
    /// As it was asked and classified.
    pub asked: Operation,
    /// As it was sent to the server.
    pub sent: Payload,
}

impl Opening {
    pub fn of(permit: &Permit) -> Self {
        let operation = permit.operation();
        let (asked, sent) = (permit.asked(), &operation.payload);
        let is_kept = length(asked).max(length(sent)) <= CURSOR_COMMAND_BYTES_MAX;
        Self {
            policy: Arc::clone(permit.policy()),
            caller: Arc::clone(permit.caller()),
            command: is_kept.then(|| OpeningCommand {
                asked: Operation {
                    payload: asked.clone(),
                    ..operation.clone()
                },
                sent: sent.clone(),
            }),
        }
    }

    /// Whether another policy, or another role or user of the key, might judge it otherwise.
    fn differs(&self, caller: &Principal, policy: &str) -> bool {
        *self.policy != *policy || *self.caller != *caller
    }
}

/// The bytes of a command document.
fn length(payload: &Payload) -> usize {
    match payload {
        Payload::Mongodb { document, .. } => document.len(),
        Payload::Sql(_) | Payload::Control(_) | Payload::Redis { .. } => usize::MAX,
    }
}

/// `database` and `collection` of a cursor, as the server's reply names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub database: String,
    pub collection: String,
}

impl Namespace {
    /// Splits `database.collection`; a collection's own name may hold dots.
    pub fn parse(text: &str) -> Option<Self> {
        let (database, collection) = text.split_once('.')?;
        Some(Self {
            database: database.to_owned(),
            collection: collection.to_owned(),
        })
    }
}

/// Why a cursor cannot be continued. What belongs to another key looks like what does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoSuchCursor,
    Busy,
}

/// Why a cursor cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Key,
    Total,
}

/// A cursor to kill on the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Doomed<S> {
    pub id: i64,
    pub namespace: Namespace,
    pub session: S,
}

#[derive(Debug)]
enum State<S> {
    Idle {
        session: S,
        since: Instant,
    },
    /// A `getMore` holds the session.
    Busy,
}

#[derive(Debug)]
struct Open<S> {
    opening: Opening,
    namespace: Namespace,
    state: State<S>,
}

/// The registry. Every operation is short; a caller holds it behind a mutex that is never held across an await.
#[derive(Debug)]
pub struct Cursors<S> {
    open: HashMap<i64, Open<S>>,
}

impl<S> Default for Cursors<S> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
        }
    }
}

impl<S> Open<S> {
    fn key_id(&self) -> &str {
        &self.opening.caller.key_id
    }
}

impl<S> Cursors<S> {
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Keeps a cursor that the server has just opened. Where there is no room it is handed back, to be killed.
    pub fn open(
        &mut self,
        id: i64,
        opening: Opening,
        namespace: Namespace,
        session: S,
        now: Instant,
    ) -> Result<(), (Full, Doomed<S>)> {
        let key_id = &opening.caller.key_id;
        let of_key = self.open.values().filter(|open| open.key_id() == key_id);
        let full = if self.open.len() >= CURSORS_MAX {
            Some(Full::Total)
        } else if of_key.count() >= CURSORS_PER_KEY_MAX {
            Some(Full::Key)
        } else {
            None
        };
        if let Some(full) = full {
            let doomed = Doomed {
                id,
                namespace,
                session,
            };
            return Err((full, doomed));
        }
        let open = Open {
            opening,
            namespace,
            state: State::Idle {
                session,
                since: now,
            },
        };
        // A server gives an id out once, so what stands here under the same one is of a server that is gone.
        self.open.insert(id, open);
        Ok(())
    }

    /// Takes the session of a cursor for one `getMore`; [`Self::check_in`] or [`Self::close`] must follow.
    pub fn check_out(
        &mut self,
        id: i64,
        key_id: &str,
        namespace: &Namespace,
    ) -> Result<S, Refusal> {
        let open = self
            .open
            .get_mut(&id)
            .filter(|open| open.key_id() == key_id && open.namespace == *namespace)
            .ok_or(Refusal::NoSuchCursor)?;
        match std::mem::replace(&mut open.state, State::Busy) {
            State::Idle { session, .. } => Ok(session),
            State::Busy => Err(Refusal::Busy),
        }
    }

    /// Returns the session after a `getMore` that left the cursor open. A cursor that was closed meanwhile is
    /// handed back, to be killed.
    pub fn check_in(&mut self, id: i64, session: S, now: Instant) -> Result<(), S> {
        match self.open.get_mut(&id) {
            Some(open) => {
                open.state = State::Idle {
                    session,
                    since: now,
                };
                Ok(())
            }
            None => Err(session),
        }
    }

    /// Forgets a cursor that the server has closed.
    pub fn close(&mut self, id: i64) -> Option<S> {
        match self.open.remove(&id)?.state {
            State::Idle { session, .. } => Some(session),
            State::Busy => None,
        }
    }

    /// Whether this key opened the cursor, in this namespace.
    pub fn is_owned(&self, id: i64, key_id: &str, namespace: &Namespace) -> bool {
        self.open
            .get(&id)
            .is_some_and(|open| open.key_id() == key_id && open.namespace == *namespace)
    }

    /// What opened a cursor of this key, where another policy than this one or another role of the key decided it.
    pub fn opened_otherwise(&self, id: i64, caller: &Principal, policy: &str) -> Option<&Opening> {
        let open = self.open.get(&id)?;
        let is_own = open.key_id() == caller.key_id;
        (is_own && open.opening.differs(caller, policy)).then_some(&open.opening)
    }

    /// Notes that a cursor was judged again.
    pub fn judged(&mut self, id: i64, opening: Opening) {
        let open = self.open.get_mut(&id);
        if let Some(open) = open.filter(|open| open.key_id() == opening.caller.key_id) {
            open.opening = opening;
        }
    }

    /// Takes out a cursor of this key that no `getMore` is using.
    pub fn doom(&mut self, id: i64, key_id: &str) -> Option<Doomed<S>> {
        let is_own = self.open.get(&id)?.key_id() == key_id;
        if !is_own {
            return None;
        }
        self.take(|other, _| other == id).pop()
    }

    /// Takes out every cursor that has not been continued for [`CURSOR_IDLE_MS_MAX`].
    pub fn expire(&mut self, now: Instant) -> Vec<Doomed<S>> {
        self.take(|_, since| now.duration_since(since) >= Duration::from_millis(CURSOR_IDLE_MS_MAX))
    }

    /// Takes out every cursor that no `getMore` is using.
    pub fn drain(&mut self) -> Vec<Doomed<S>> {
        self.take(|_, _| true)
    }

    fn take(&mut self, mut doomed: impl FnMut(i64, Instant) -> bool) -> Vec<Doomed<S>> {
        self.open
            .extract_if(|id, open| match open.state {
                State::Idle { since, .. } => doomed(*id, since),
                State::Busy => false,
            })
            .filter_map(|(id, open)| match open.state {
                State::Idle { session, .. } => Some(Doomed {
                    id,
                    namespace: open.namespace,
                    session,
                }),
                State::Busy => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        Namespace::parse("db.logs.2026").unwrap()
    }

    fn caller(key_id: &str, role: &str) -> Principal {
        Principal {
            key_id: key_id.into(),
            user_id: None,
            role: role.into(),
        }
    }

    /// A cursor that a key of the role `app` has opened under the policy `one`.
    fn key(key_id: &str) -> Opening {
        Opening {
            policy: "one".into(),
            caller: Arc::new(caller(key_id, "app")),
            command: None,
        }
    }

    fn with_one(now: Instant) -> Cursors<&'static str> {
        let mut cursors = Cursors::default();
        cursors
            .open(7, key("a"), namespace(), "session", now)
            .unwrap();
        cursors
    }

    #[test]
    fn a_namespace_splits_at_its_first_dot() {
        let parsed = namespace();
        assert_eq!(
            (parsed.database.as_str(), parsed.collection.as_str()),
            ("db", "logs.2026")
        );
        assert_eq!(Namespace::parse("db"), None);
    }

    #[test]
    fn only_the_key_that_opened_it_continues_it() {
        let now = Instant::now();
        let elsewhere = Namespace::parse("db.other").unwrap();
        let cases = [
            (7, "a", namespace(), Ok("session")),
            (7, "b", namespace(), Err(Refusal::NoSuchCursor)),
            (8, "a", namespace(), Err(Refusal::NoSuchCursor)),
            (7, "a", elsewhere, Err(Refusal::NoSuchCursor)),
        ];
        for (id, key_id, namespace, expected) in cases {
            let mut cursors = with_one(now);
            assert_eq!(cursors.is_owned(id, key_id, &namespace), expected.is_ok());
            assert_eq!(cursors.check_out(id, key_id, &namespace), expected);
        }
    }

    #[test]
    fn another_policy_or_role_judges_a_cursor_anew() {
        let now = Instant::now();
        let mut cursors = with_one(now);
        for (id, key_id, role, policy, expected) in [
            (7, "a", "app", "one", false),
            (7, "a", "app", "two", true),
            (7, "a", "clerk", "one", true),
            (7, "b", "app", "two", false),
            (8, "a", "app", "two", false),
        ] {
            let found = cursors.opened_otherwise(id, &caller(key_id, role), policy);
            assert_eq!(found.is_some(), expected, "{id} {key_id} {role} {policy}");
        }
        let again = Opening {
            policy: "two".into(),
            ..key("a")
        };
        cursors.judged(7, again);
        let by_two = cursors.opened_otherwise(7, &caller("a", "app"), "two");
        assert!(by_two.is_none());
        assert!(cursors.doom(7, "b").is_none());
        assert_eq!(cursors.doom(7, "a").unwrap().session, "session");
        assert_eq!(cursors.len(), 0);
        let mut cursors = with_one(now);
        cursors.check_out(7, "a", &namespace()).unwrap();
        assert!(cursors.doom(7, "a").is_none(), "a request is using it");
    }

    #[test]
    fn a_cursor_in_use_is_not_used_twice_nor_reaped() {
        let now = Instant::now();
        let mut cursors = with_one(now);
        assert_eq!(cursors.check_out(7, "a", &namespace()), Ok("session"));
        assert_eq!(cursors.check_out(7, "a", &namespace()), Err(Refusal::Busy));
        let later = now + Duration::from_millis(CURSOR_IDLE_MS_MAX * 2);
        assert!(cursors.expire(later).is_empty());
        assert_eq!(cursors.check_in(7, "session", later), Ok(()));
        assert!(cursors.expire(later).is_empty());
    }

    #[test]
    fn an_idle_cursor_is_reaped_in_time() {
        let now = Instant::now();
        let limit = Duration::from_millis(CURSOR_IDLE_MS_MAX);
        let mut cursors = with_one(now);
        assert!(
            cursors
                .expire(now + limit - Duration::from_millis(1))
                .is_empty()
        );
        let doomed = cursors.expire(now + limit);
        assert_eq!(
            doomed,
            [Doomed {
                id: 7,
                namespace: namespace(),
                session: "session"
            }]
        );
        assert_eq!(cursors.len(), 0);
    }

    #[test]
    fn a_cursor_closed_during_a_get_more_is_handed_back() {
        let now = Instant::now();
        let mut cursors = with_one(now);
        assert_eq!(cursors.check_out(7, "a", &namespace()), Ok("session"));
        assert_eq!(cursors.close(7), None);
        assert_eq!(cursors.check_in(7, "session", now), Err("session"));
    }

    #[test]
    fn keys_and_the_whole_are_bounded() {
        let now = Instant::now();
        let mut cursors = Cursors::default();
        let mut id = 0;
        for holder in 0..CURSORS_MAX / CURSORS_PER_KEY_MAX {
            for _ in 0..CURSORS_PER_KEY_MAX {
                id += 1;
                let opened = cursors.open(id, key(&holder.to_string()), namespace(), (), now);
                assert!(opened.is_ok());
            }
        }
        assert_eq!(cursors.len(), CURSORS_MAX);
        let refused = cursors.open(0, key("new"), namespace(), (), now);
        assert_eq!(refused.unwrap_err().0, Full::Total);
        cursors.close(CURSORS_PER_KEY_MAX as i64 + 1);
        let refused = cursors.open(0, key("0"), namespace(), (), now);
        assert_eq!(refused.unwrap_err().0, Full::Key);
        assert!(cursors.open(0, key("new"), namespace(), (), now).is_ok());
    }
}
