//! The protocol-free question: which store, which objects, which actions, and what will run.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::classify::normal::{self, Normal};
use crate::transaction::Control;

/// One of the four databases behind the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Store {
    Postgres,
    Mysql,
    Mongodb,
    Redis,
}

impl Store {
    pub const ALL: [Self; 4] = [Self::Postgres, Self::Mysql, Self::Mongodb, Self::Redis];

    /// The name used in routes, policies, metrics and errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.as_str() == name)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a statement does to an object. SQL knows the first five; MongoDB has `Find` for `Select`;
/// Redis has `Read` and `Write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Select,
    Find,
    Read,
    Insert,
    Update,
    Delete,
    Ddl,
    Write,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Find => "find",
            Self::Read => "read",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Ddl => "ddl",
            Self::Write => "write",
        }
    }

    /// The actions that mean something in a store, in the order a policy lists them.
    pub const fn of(store: Store) -> &'static [Self] {
        match store {
            Store::Postgres | Store::Mysql => &[
                Self::Select,
                Self::Insert,
                Self::Update,
                Self::Delete,
                Self::Ddl,
            ],
            Store::Mongodb => &[
                Self::Find,
                Self::Insert,
                Self::Update,
                Self::Delete,
                Self::Ddl,
            ],
            Store::Redis => &[Self::Read, Self::Write],
        }
    }

    /// Whether the action leaves the data as it was.
    pub const fn is_read(self) -> bool {
        match self {
            Self::Select | Self::Find | Self::Read => true,
            Self::Insert | Self::Update | Self::Delete | Self::Ddl | Self::Write => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something a statement touches, named as the statement names it (after the server's own case folding).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// A table, view, sequence or collection. `namespace` is its schema (PostgreSQL) or database (MySQL,
    /// MongoDB); `None` means the store's default.
    Named {
        namespace: Option<String>,
        name: String,
    },
    /// One Redis key, byte for byte.
    Key(Vec<u8>),
    /// Every Redis key that this glob matches (`KEYS`, `SCAN … MATCH`).
    Keys(Vec<u8>),
}

impl Object {
    pub fn named(namespace: Option<&str>, name: &str) -> Self {
        Self::Named {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named {
                namespace: Some(namespace),
                name,
            } => write!(f, "{namespace}.{name}"),
            Self::Named {
                namespace: None,
                name,
            } => f.write_str(name),
            Self::Key(key) | Self::Keys(key) => f.write_str(&String::from_utf8_lossy(key)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Touch {
    pub object: Object,
    pub action: Action,
}

/// What a classifier understood of one statement, command or pipeline. Independent of the caller, so it may
/// be cached by statement text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Classification {
    /// Every object read or written, each with its action; sorted, without repeats.
    pub touches: Vec<Touch>,
    /// Functions called that are not known to be pure computation; the policy must list each
    /// (`functions = [...]` on the store). `schema.name` or `name`, folded as the server folds it.
    pub functions: Vec<String>,
    /// Redis: scripts that are not shown to stay within their keys; the policy must list the digest of each
    /// (`scripts = [...]` on the store).
    pub scripts: Vec<Script>,
    /// For SQL, the text to send where it differs from the text received (canonical rendering).
    pub rewritten: Option<String>,
    /// The objects among those touched that are reached through others: behind a view, by a trigger or a foreign
    /// key. The text may name them besides.
    pub reached: Vec<Object>,
    /// MongoDB: the cursor a `getMore` or `killCursors` continues; the executor checks who opened it.
    pub cursors: Vec<i64>,
    /// The SQL text that was classified, where it is remembered by it. Every copy shares it.
    pub asked: Option<Arc<Asked>>,
}

/// A SQL text as its caller sent it, and what audit rows tell of it once somebody wants to know.
pub struct Asked {
    sql: Arc<str>,
    normal: OnceLock<Arc<Normal>>,
}

impl Asked {
    pub const fn new(sql: Arc<str>) -> Self {
        Self {
            sql,
            normal: OnceLock::new(),
        }
    }

    fn normal(&self, store: Store) -> Arc<Normal> {
        let made = || Arc::new(normal::of_sql(store, &self.sql));
        Arc::clone(self.normal.get_or_init(made))
    }
}

/// What is told follows from the text.
impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        self.sql == other.sql
    }
}

impl Eq for Asked {}

/// Values may stand in it, so Debug says its size alone.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({} bytes)", self.sql.len())
    }
}

/// A Lua script that only the policy's writer can vouch for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Script {
    /// The SHA-1 of its text, in small hexadecimal digits, as Redis names it.
    pub digest: String,
    /// Why the classifier cannot vouch for it.
    pub why: String,
}

impl Classification {
    pub fn touch(&mut self, object: Object, action: Action) {
        self.touches.push(Touch { object, action });
    }

    /// Sorts and removes repeats, so that equal statements classify equally.
    pub fn finish(mut self) -> Self {
        self.touches.sort();
        self.touches.dedup();
        self.reached.sort();
        self.reached.dedup();
        self.functions.sort();
        self.functions.dedup();
        self.scripts.sort();
        self.scripts.dedup();
        self
    }

    /// What was asked, without any value, where it is SQL.
    pub fn normal(&self, store: Store) -> Option<Arc<Normal>> {
        self.asked.as_ref().map(|asked| asked.normal(store))
    }

    /// Whether something may be written. A listed function may change anything, whatever the statement around it does.
    pub fn may_change(&self) -> bool {
        !self.is_read() || !self.functions.is_empty()
    }

    /// Whether nothing is written by what it names.
    pub fn is_read(&self) -> bool {
        self.touches.iter().all(|touch| touch.action.is_read())
    }
}

/// What runs, exactly as it was classified.
#[derive(Clone)]
pub enum Payload {
    /// One SQL statement, with the placeholders its server knows (`$1` or `?`).
    Sql(Arc<str>),
    /// The beginning or end of a SQL transaction, or a mark in it.
    Control(Control),
    /// One command document (BSON bytes), without `$db`, and the database it runs in.
    Mongodb { database: String, document: Vec<u8> },
    /// Redis commands, run as one pipeline; `atomic` wraps them in MULTI/EXEC.
    Redis {
        commands: Vec<Vec<Vec<u8>>>,
        atomic: bool,
    },
}

/// Values may stand in a payload, so Debug says its kind and size alone.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(text) => write!(f, "Sql({} bytes)", text.len()),
            Self::Control(control) => write!(f, "{control:?}"),
            Self::Mongodb { database, document } => {
                write!(f, "Mongodb({database}, {} bytes)", document.len())
            }
            Self::Redis { commands, atomic } => {
                write!(f, "Redis({} commands, atomic: {atomic})", commands.len())
            }
        }
    }
}

/// A classified request: what `decide` judges and `execute` runs.
#[derive(Debug, Clone)]
pub struct Operation {
    pub store: Store,
    pub classification: Arc<Classification>,
    pub payload: Payload,
}

impl Operation {
    /// The statement without its values, for audit rows.
    ///
    /// Of SQL it is the caller's own text, also where a classifier's rendering or the rules of columns and rows put
    /// another in its place, and is made once. A document is made into words each time, and as it stands: ask before
    /// the rules rewrite it.
    pub fn normal(&self) -> Arc<Normal> {
        match (&self.classification.asked, &self.payload) {
            (Some(asked), Payload::Sql(_)) => asked.normal(self.store),
            (_, payload) => Arc::new(normal::normal(self.store, payload)),
        }
    }

    /// What stands for a request that no classifier understood, where one is explained.
    pub fn unclassified(store: Store) -> Self {
        Self {
            store,
            classification: Arc::default(),
            payload: Payload::Sql("".into()),
        }
    }
}
