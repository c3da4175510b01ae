//! Open cursors: each belongs to the key that opened it, and to the server session it was opened in. Pure: the
//! session is any type, time is an argument, and what must be killed on the server is handed back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cursors that one API key may hold open at once.
pub const CURSORS_PER_KEY_MAX: usize = 16;
/// Cursors open at once, over all keys.
pub const CURSORS_MAX: usize = 256;
/// A cursor that is not continued for so long is killed.
pub const CURSOR_IDLE_MS_MAX: u64 = 60_000;

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
    key_id: Arc<str>,
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

impl<S> Cursors<S> {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Keeps a cursor that the server has just opened. Where there is no room it is handed back, to be killed.
    pub fn open(
        &mut self,
        id: i64,
        key_id: &Arc<str>,
        namespace: Namespace,
        session: S,
        now: Instant,
    ) -> Result<(), (Full, Doomed<S>)> {
        let of_key = self.open.values().filter(|open| open.key_id == *key_id);
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
            key_id: Arc::clone(key_id),
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
            .filter(|open| &*open.key_id == key_id && open.namespace == *namespace)
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
            .is_some_and(|open| &*open.key_id == key_id && open.namespace == *namespace)
    }

    /// Takes out every cursor that has not been continued for [`CURSOR_IDLE_MS_MAX`].
    pub fn expire(&mut self, now: Instant) -> Vec<Doomed<S>> {
        self.take(|since| now.duration_since(since) >= Duration::from_millis(CURSOR_IDLE_MS_MAX))
    }

    /// Takes out every cursor that no `getMore` is using.
    pub fn drain(&mut self) -> Vec<Doomed<S>> {
        self.take(|_| true)
    }

    fn take(&mut self, mut doomed: impl FnMut(Instant) -> bool) -> Vec<Doomed<S>> {
        self.open
            .extract_if(|_, open| match open.state {
                State::Idle { since, .. } => doomed(since),
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

    fn key(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn with_one(now: Instant) -> Cursors<&'static str> {
        let mut cursors = Cursors::default();
        cursors
            .open(7, &key("a"), namespace(), "session", now)
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
                let opened = cursors.open(id, &key(&holder.to_string()), namespace(), (), now);
                assert!(opened.is_ok());
            }
        }
        assert_eq!(cursors.len(), CURSORS_MAX);
        let refused = cursors.open(0, &key("new"), namespace(), (), now);
        assert_eq!(refused.unwrap_err().0, Full::Total);
        cursors.close(CURSORS_PER_KEY_MAX as i64 + 1);
        let refused = cursors.open(0, &key("0"), namespace(), (), now);
        assert_eq!(refused.unwrap_err().0, Full::Key);
        assert!(cursors.open(0, &key("new"), namespace(), (), now).is_ok());
    }
}
