//! Remembers what statements become under the rules, within a bound in bytes.
//!
//! It belongs to one policy, and ends with it. What a statement becomes also hangs on the tables that are touched and
//! their rules, on what the rules say of the caller, and on the columns of tables: an entry counts as long as all of
//! these are the same. What the parameters must be is remembered, and checked for every request.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::{Column, Columns, Forbidden, Index, ParameterRule, Restricted, Restrictions};
use crate::decide::rules::{Attribute, TableRules};
use crate::lock::Unpoisoned as _;
use crate::operation::{Object, Store};

/// What the cache of one policy may hold: texts, and what they become.
const CACHE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A longer statement is rewritten every time: it would push out many short ones, and is rarely repeated.
const CACHED_STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// What an entry costs beside its texts, roughly.
const ENTRY_BYTES: u64 = 768;

/// The statements of one policy. Refusals are not kept.
#[derive(Default)]
pub struct Rewritings(OnceLock<Cache<Key, Arc<Entry>, ByBytes>>);

/// Statements may hold secrets.
impl std::fmt::Debug for Rewritings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewritings(…)")
    }
}

/// A statement as it is to be sent.
#[derive(Clone)]
pub struct Rewritten {
    pub sql: Arc<str>,
    /// What must hold of the parameters.
    pub parameters: Arc<[ParameterRule]>,
}

struct Entry {
    rewritten: Rewritten,
    tables: Vec<(Object, Arc<TableRules>)>,
    answers: Vec<Answer>,
}

/// Whose statement.
#[derive(Hash, PartialEq, Eq)]
struct Asked<'a> {
    store: Store,
    role: &'a str,
    user_id: Option<&'a str>,
    key_id: Option<&'a str>,
    sql: &'a str,
}

struct Key {
    store: Store,
    role: Box<str>,
    user_id: Option<Box<str>>,
    key_id: Option<Box<str>>,
    sql: Arc<str>,
}

impl Key {
    fn asked(&self) -> Asked<'_> {
        Asked {
            store: self.store,
            role: &self.role,
            user_id: self.user_id.as_deref(),
            key_id: self.key_id.as_deref(),
            sql: &self.sql,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.asked() == other.asked()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.asked()
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        let answers = (entry.answers.len() + entry.tables.len()) * 128;
        (key.sql.len() + entry.rewritten.sql.len() + answers) as u64 + ENTRY_BYTES
    }
}

impl Rewritings {
    /// What a statement becomes: as remembered, or by `rewrite`, which gets the columns to ask.
    pub fn of(
        &self,
        store: Store,
        sql: &Arc<str>,
        rules: &Restrictions<'_>,
        columns: &dyn Columns,
        rewrite: impl FnOnce(&dyn Columns) -> Result<Option<Restricted>, Forbidden>,
    ) -> Result<Option<Rewritten>, Forbidden> {
        if sql.len() > CACHED_STATEMENT_BYTES_MAX {
            return rewrite(columns).map(|restricted| restricted.map(Into::into));
        }
        let cache = self.0.get_or_init(|| {
            let items = usize::try_from(CACHE_BYTES_MAX / ENTRY_BYTES / 2).unwrap_or(1024);
            Cache::with_weighter(items, CACHE_BYTES_MAX, ByBytes)
        });
        let asked = asked(store, sql, rules);
        if let Some(entry) = cache.get(&asked)
            && entry.holds(rules, columns)
        {
            return Ok(Some(entry.rewritten.clone()));
        }
        let noted = Noted {
            columns,
            answers: Mutex::default(),
        };
        let Some(restricted) = rewrite(&noted)? else {
            return Ok(None);
        };
        let rewritten = Rewritten::from(restricted);
        let entry = Entry {
            rewritten: rewritten.clone(),
            tables: rules
                .tables
                .iter()
                .map(|(object, rules)| ((*object).clone(), Arc::clone(rules)))
                .collect(),
            answers: noted.answers.into_inner().unpoisoned(),
        };
        let key = Key {
            store,
            role: asked.role.into(),
            user_id: asked.user_id.map(Into::into),
            key_id: asked.key_id.map(Into::into),
            sql: Arc::clone(sql),
        };
        cache.insert(key, Arc::new(entry));
        Ok(Some(rewritten))
    }
}

/// Of the caller, only what the rules ask for: what is alike for all keys of a role is remembered once.
fn asked<'a>(store: Store, sql: &'a str, rules: &Restrictions<'a>) -> Asked<'a> {
    let mentions = |attribute| {
        let mut tables = rules.tables.iter();
        tables.any(|(_, rules)| rules.rows.iter().any(|row| row.mentions(attribute)))
    };
    let of = |attribute: Attribute| {
        let value = attribute.of(rules.caller);
        value.filter(|_| mentions(attribute))
    };
    Asked {
        store,
        role: &rules.caller.role,
        user_id: of(Attribute::UserId),
        key_id: of(Attribute::KeyId),
        sql,
    }
}

impl Entry {
    fn holds(&self, rules: &Restrictions<'_>, columns: &dyn Columns) -> bool {
        let known = self.tables.iter();
        let are_same = self.tables.len() == rules.tables.len()
            && known
                .zip(&rules.tables)
                .all(|(known, now)| known.0 == *now.0 && Arc::ptr_eq(&known.1, &now.1));
        are_same && self.answers.iter().all(|answer| answer.holds(columns))
    }
}

impl From<Restricted> for Rewritten {
    fn from(restricted: Restricted) -> Self {
        Self {
            sql: restricted.sql.into(),
            parameters: restricted.parameters.into(),
        }
    }
}

/// What was said of a table when it was asked for.
enum Answer {
    Columns(Box<str>, Box<str>, Option<Arc<[Column]>>),
    Indexes(Box<str>, Box<str>, Option<Arc<[Index]>>),
}

impl Answer {
    /// A catalogue that was read again has other columns, be they equal.
    fn holds(&self, columns: &dyn Columns) -> bool {
        fn is_same<T>(known: Option<&Arc<[T]>>, now: Option<&Arc<[T]>>) -> bool {
            match (known, now) {
                (Some(known), Some(now)) => Arc::ptr_eq(known, now),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
        }
        match self {
            Self::Columns(namespace, table, known) => {
                is_same(known.as_ref(), columns.of(namespace, table).as_ref())
            }
            Self::Indexes(namespace, table, known) => {
                is_same(known.as_ref(), columns.indexes(namespace, table).as_ref())
            }
        }
    }
}

/// Columns that note what is asked of them.
struct Noted<'c> {
    columns: &'c dyn Columns,
    answers: Mutex<Vec<Answer>>,
}

impl Noted<'_> {
    fn note(&self, answer: Answer) {
        let mut answers = self.answers.lock().unpoisoned();
        answers.push(answer);
    }
}

impl Columns for Noted<'_> {
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>> {
        let columns = self.columns.of(namespace, table);
        self.note(Answer::Columns(
            namespace.into(),
            table.into(),
            columns.clone(),
        ));
        columns
    }

    fn indexes(&self, namespace: &str, table: &str) -> Option<Arc<[Index]>> {
        let indexes = self.columns.indexes(namespace, table);
        self.note(Answer::Indexes(
            namespace.into(),
            table.into(),
            indexes.clone(),
        ));
        indexes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authenticate::Principal;
    use crate::decide::rules::{Comparison, Condition, Constant};

    struct One(Arc<[Column]>);

    impl Columns for One {
        fn of(&self, _: &str, _: &str) -> Option<Arc<[Column]>> {
            Some(Arc::clone(&self.0))
        }
    }

    fn caller(user_id: &str, role: &str) -> Principal {
        Principal {
            key_id: "k".into(),
            user_id: Some(user_id.into()),
            role: role.into(),
        }
    }

    #[test]
    fn it_is_remembered_as_long_as_nothing_that_counts_has_changed() {
        let rewritings = Rewritings::default();
        let (one, other) = (One(Arc::from([])), One(Arc::from([])));
        let own = |attribute| Condition::Compare {
            column: "owner".into(),
            comparison: Comparison::Equal,
            value: Constant::Caller(attribute),
        };
        let rules = |rows| {
            Arc::new(TableRules {
                rows,
                ..TableRules::default()
            })
        };
        let (by_user, by_nothing) = (rules(vec![own(Attribute::UserId)]), rules(Vec::new()));
        let (object, ann) = (Object::named(None, "t"), caller("ann", "app"));
        let (bob, clerk) = (caller("bob", "app"), caller("ann", "clerk"));
        for (what, caller, rules, columns, sql, is_known) in [
            ("first", &ann, &by_user, &one, "SELECT 1", false),
            ("again", &ann, &by_user, &one, "SELECT 1", true),
            ("another text", &ann, &by_user, &one, "SELECT 2", false),
            ("another user", &bob, &by_user, &one, "SELECT 1", false),
            ("another role", &clerk, &by_user, &one, "SELECT 1", false),
            (
                "columns read again",
                &ann,
                &by_user,
                &other,
                "SELECT 1",
                false,
            ),
            ("the same columns", &ann, &by_user, &other, "SELECT 1", true),
            ("other rules", &ann, &by_nothing, &other, "SELECT 1", false),
            (
                "rules for all users",
                &bob,
                &by_nothing,
                &other,
                "SELECT 3",
                false,
            ),
            (
                "so for any user",
                &ann,
                &by_nothing,
                &other,
                "SELECT 3",
                true,
            ),
        ] {
            let restrictions = Restrictions {
                caller,
                default_namespace: "d",
                mask_salt: "",
                tables: vec![(&object, Arc::clone(rules))],
            };
            let mut was_made = false;
            let sql = Arc::from(sql);
            let found = rewritings.of(Store::Mysql, &sql, &restrictions, columns, |columns| {
                was_made = true;
                columns.of("d", "t");
                Ok(Some(Restricted {
                    sql: sql.to_string(),
                    parameters: Vec::new(),
                }))
            });
            assert_eq!(found.unwrap().unwrap().sql, sql);
            assert_eq!(was_made, !is_known, "{what}");
        }
    }
}
