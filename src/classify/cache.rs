//! Remembers what statements touch, by their text, within a bound in bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::normal::TEXT_BYTES_MAX;
use super::{Refusal, Session, mysql, postgres};
use crate::operation::{Asked, Classification, Store};

/// What the cache may hold: statement texts and their classifications.
const CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A longer statement is classified every time: it would push out many short ones, and is rarely repeated.
const CACHED_STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// What an entry costs beside its text, roughly.
const ENTRY_BYTES: u64 = 512;

type Key = (Store, Arc<str>);

/// SQL statements already understood. Refusals are not kept: an attacker would fill the cache with them.
pub struct Classifications {
    known: Cache<Key, Arc<Classification>, ByBytes>,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Classification>> for ByBytes {
    fn weight(&self, (_, sql): &Key, known: &Arc<Classification>) -> u64 {
        let rewritten = known.rewritten.as_ref().map_or(0, String::len);
        let touches = known.touches.len() * 96;
        // About what audit rows tell of it, once they do.
        let normal = sql.len().min(TEXT_BYTES_MAX);
        (sql.len() + rewritten + touches + normal) as u64 + ENTRY_BYTES
    }
}

impl Default for Classifications {
    fn default() -> Self {
        let items = usize::try_from(CACHE_BYTES_MAX / ENTRY_BYTES / 2).unwrap_or(1024);
        Self {
            known: Cache::with_weighter(items, CACHE_BYTES_MAX, ByBytes),
        }
    }
}

impl Classifications {
    pub fn get(&self, store: Store, sql: &Arc<str>) -> Option<Arc<Classification>> {
        self.known.get(&(store, Arc::clone(sql)))
    }

    /// Classifies a statement for a pooled connection, and remembers it.
    pub fn classify(&self, store: Store, sql: &Arc<str>) -> super::Result<Arc<Classification>> {
        let mut known = match store {
            Store::Postgres => postgres::classify(sql, Session::Shared)?,
            Store::Mysql => mysql::classify(sql, Session::Shared)?,
            Store::Mongodb | Store::Redis => {
                return Err(Refusal::Unparsable(format!("{store} has no SQL")));
            }
        };
        known.asked = Some(Arc::new(Asked::new(Arc::clone(sql))));
        let known = Arc::new(known);
        if sql.len() <= CACHED_STATEMENT_BYTES_MAX {
            self.known
                .insert((store, Arc::clone(sql)), Arc::clone(&known));
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Operation, Payload};

    #[test]
    fn what_is_cached_is_told_once_and_from_the_callers_text() {
        let cache = Classifications::default();
        for store in [Store::Postgres, Store::Mysql] {
            let text: Arc<str> = "SELECT Id FROM users WHERE id = 5 -- secret".into();
            let operation = |payload: &str| Operation {
                store,
                classification: cache.classify(store, &text).unwrap(),
                payload: Payload::Sql(payload.into()),
            };
            let first = operation("rewritten");
            let again = Operation {
                classification: Arc::new((*first.classification).clone()),
                ..operation("otherwise")
            };
            assert!(Arc::ptr_eq(&first.normal(), &first.clone().normal()));
            assert_eq!(first.normal(), again.normal());
            let cached = cache.get(store, &text).unwrap();
            let cached = Operation {
                classification: cached,
                ..again
            };
            assert!(Arc::ptr_eq(&cached.normal(), &cached.normal()));
            assert!(cached.normal().text.ends_with("FROM users WHERE id = ?"));
            assert!(!format!("{:?}", cached.classification).contains("secret"));
        }
    }
}
