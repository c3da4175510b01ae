//! Where everything lives: the compiled `[stores.*]` sections.

use std::collections::{HashMap, HashSet};

use super::fault::Faults;
use super::glob::Glob;
use super::patterns::PatternSet;
use super::raw::{RawStore, namespace_key, object_word, objects_key};
use super::source::{Span, Written};
use crate::operation::{Script, Store};

/// The schema that an unqualified name means in PostgreSQL where the policy does not say.
const POSTGRES_SCHEMA: &str = "public";

/// Longest name in bytes: PostgreSQL cuts longer ones (NAMEDATALEN), MySQL refuses more than 64 characters, and
/// MongoDB's whole namespace has 255 bytes.
const POSTGRES_NAME_BYTES_MAX: usize = 63;
const MYSQL_NAME_CHARS_MAX: usize = 64;
const MONGODB_NAME_BYTES_MAX: usize = 255;

/// Hexadecimal digits of a SHA-1, by which Redis names scripts.
const SHA1_DIGITS: usize = 40;

/// Most key patterns that are compared with each other for overlaps, which takes the square of their number.
const OVERLAP_PATTERNS_MAX: usize = 256;

/// One value for each store.
#[derive(Debug, Clone, Default)]
pub(super) struct PerStore<T> {
    postgres: T,
    mysql: T,
    mongodb: T,
    redis: T,
}

impl<T> PerStore<T> {
    pub(super) const fn get(&self, store: Store) -> &T {
        match store {
            Store::Postgres => &self.postgres,
            Store::Mysql => &self.mysql,
            Store::Mongodb => &self.mongodb,
            Store::Redis => &self.redis,
        }
    }

    pub(super) const fn get_mut(&mut self, store: Store) -> &mut T {
        match store {
            Store::Postgres => &mut self.postgres,
            Store::Mysql => &mut self.mysql,
            Store::Mongodb => &mut self.mongodb,
            Store::Redis => &mut self.redis,
        }
    }
}

/// The number of a named object within its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ObjectId(u32);

/// What lives in one store.
#[derive(Debug)]
pub(super) enum StoreObjects {
    Named(NamedObjects),
    Keys(KeySpace),
}

impl StoreObjects {
    /// Which of the functions that a statement calls the policy does not list.
    pub(super) fn unlisted_functions<'f>(&self, functions: &'f [String]) -> Vec<&'f str> {
        let is_unlisted = |function: &&str| match self {
            Self::Named(named) => {
                let (namespace, name) = match function.split_once('.') {
                    Some((namespace, name)) => (Some(namespace), name),
                    None => (None, *function),
                };
                named.functions.find(namespace, name).is_none()
            }
            Self::Keys(_) => true,
        };
        let functions = functions.iter().map(String::as_str);
        functions.filter(is_unlisted).collect()
    }

    /// Which of the scripts that are not understood the policy does not vouch for.
    pub(super) fn unlisted_scripts<'s>(&self, scripts: &'s [Script]) -> Vec<&'s Script> {
        let is_unlisted = |script: &&Script| match self {
            Self::Keys(space) => !space.scripts.contains(script.digest.as_str()),
            Self::Named(_) => true,
        };
        scripts.iter().filter(is_unlisted).collect()
    }
}

/// Tables or collections, and the functions that statements may call.
#[derive(Debug)]
pub(super) struct NamedObjects {
    pub(super) objects: Names,
    pub(super) functions: Names,
    /// Names as the policy writes them, in its order: what [`ObjectId`] counts.
    pub(super) written: Vec<String>,
    /// Functions as the policy writes them.
    pub(super) functions_written: Vec<String>,
    /// Objects by their name in small letters, to answer a name in the wrong case.
    folded: HashMap<String, ObjectId>,
}

impl NamedObjects {
    /// The object that has this name but for upper and lower case.
    pub(super) fn in_other_case(&self, name: &str) -> Option<(ObjectId, &str)> {
        let id = *self.folded.get(&name.to_lowercase())?;
        let written = self.written.get(id.0 as usize)?;
        Some((id, written))
    }
}

/// Redis keys.
#[derive(Debug, Default)]
pub(super) struct KeySpace {
    pub(super) patterns: PatternSet<()>,
    pub(super) globs: Vec<(String, Glob)>,
    /// Digests of the scripts that the policy vouches for, in small hexadecimal digits.
    pub(super) scripts: HashSet<Box<str>>,
}

/// A set of names in namespaces, found without building a qualified name.
#[derive(Debug, Default)]
pub(super) struct Names {
    default_namespace: String,
    own: HashMap<Box<str>, ObjectId>,
    other: HashMap<Box<str>, HashMap<Box<str>, ObjectId>>,
    count: u32,
}

impl Names {
    fn new(default_namespace: &str) -> Self {
        Self {
            default_namespace: default_namespace.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// No namespace means the default one.
    pub(super) fn find(&self, namespace: Option<&str>, name: &str) -> Option<ObjectId> {
        match namespace {
            Some(namespace) if namespace != self.default_namespace => {
                self.other.get(namespace)?.get(name).copied()
            }
            Some(_) | None => self.own.get(name).copied(),
        }
    }

    /// Every name.
    pub(super) fn ids(&self) -> impl Iterator<Item = ObjectId> {
        (0..self.count).map(ObjectId)
    }

    /// Whether names are listed in a namespace.
    pub(super) fn has_namespace(&self, namespace: Option<&str>) -> bool {
        namespace.is_none_or(|namespace| {
            namespace == self.default_namespace || self.other.contains_key(namespace)
        })
    }

    /// Adds a name; `None` where it is there already.
    fn insert(&mut self, namespace: Option<&str>, name: &str) -> Option<ObjectId> {
        if self.find(namespace, name).is_some() {
            return None;
        }
        let id = ObjectId(self.count);
        self.count += 1;
        let names = match namespace {
            Some(namespace) if namespace != self.default_namespace => {
                self.other.entry(namespace.into()).or_default()
            }
            Some(_) | None => &mut self.own,
        };
        names.insert(name.into(), id);
        Some(id)
    }
}

/// `schema.table` or `table` in the SQL stores; MongoDB's collections have dots of their own.
pub(super) fn split(store: Store, written: &str) -> (Option<&str>, &str) {
    match store {
        Store::Postgres | Store::Mysql => match written.split_once('.') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, written),
        },
        Store::Mongodb | Store::Redis => (None, written),
    }
}

/// All stores of a policy.
pub(super) fn compile(raw: &[RawStore], faults: &mut Faults) -> PerStore<Option<StoreObjects>> {
    let mut stores: PerStore<Option<StoreObjects>> = PerStore::default();
    let mut owners: HashMap<String, (Store, &Written<String>)> = HashMap::new();
    for store in Store::ALL {
        let sections: Vec<&RawStore> = raw.iter().filter(|raw| raw.store == store).collect();
        let Some(first) = sections.first() else {
            continue;
        };
        if sections.iter().all(|section| section.objects.is_empty()) {
            let message = format!("no {} lives in {store}", object_word(store));
            let help = format!("name them in `{} = [...]`", objects_key(store));
            faults.warning(&first.span, message, help);
        }
        *stores.get_mut(store) = Some(match store {
            Store::Redis => StoreObjects::Keys(key_space(&sections, faults)),
            Store::Postgres | Store::Mysql | Store::Mongodb => {
                StoreObjects::Named(named(store, &sections, &mut owners, faults))
            }
        });
    }
    stores
}

fn named<'r>(
    store: Store,
    sections: &[&'r RawStore],
    owners: &mut HashMap<String, (Store, &'r Written<String>)>,
    faults: &mut Faults,
) -> NamedObjects {
    let namespace = namespace(store, sections, faults);
    let mut named = NamedObjects {
        objects: Names::new(&namespace),
        functions: Names::new(&namespace),
        written: Vec::new(),
        functions_written: Vec::new(),
        folded: HashMap::new(),
    };
    for written in sections.iter().flat_map(|section| &section.objects) {
        if !is_name(store, written, faults) {
            continue;
        }
        let (space, name) = split(store, &written.value);
        // A name in the default namespace is known by its bare name wherever it is asked for.
        let qualified = space.is_some_and(|space| space != namespace);
        let known_as = if qualified { &written.value } else { name };
        let Some(id) = named.objects.insert(space, name) else {
            let message = format!("`{}` is listed twice in {store}", written.value);
            let first = owners.get(known_as).map(|(_, first)| &first.span);
            let see = first.map(|first| format!(" (see {})", faults.place(first)));
            let help = format!("remove one of the two{}", see.unwrap_or_default());
            faults.error(&written.span, message, help);
            continue;
        };
        named.written.push(written.value.clone());
        named.folded.entry(name.to_lowercase()).or_insert(id);
        if let Some((other, first)) = owners.get(known_as) {
            let message = format!("`{known_as}` is listed in {other} and in {store}");
            let place = faults.place(&first.span);
            let help = format!("a name lives in one store (see {place}): remove it from the other");
            faults.error(&written.span, message, help);
        } else {
            owners.insert(known_as.to_owned(), (store, written));
        }
    }
    for written in sections.iter().flat_map(|section| &section.functions) {
        if is_name(store, written, faults) {
            let (space, name) = split(store, &written.value);
            if named.functions.insert(space, name).is_none() {
                let message = format!("function `{}` is listed twice", written.value);
                faults.warning(&written.span, message, "remove one of the two");
            } else {
                named.functions_written.push(written.value.clone());
            }
        }
    }
    named
}

/// What an unqualified name means. Sections in several files must agree.
fn namespace(store: Store, sections: &[&RawStore], faults: &mut Faults) -> String {
    let key = namespace_key(store).unwrap_or_default();
    let mut given = sections.iter().filter_map(|s| s.namespace.as_ref());
    let Some(first) = given.next() else {
        match (store, sections.first()) {
            (Store::Postgres, _) => return POSTGRES_SCHEMA.to_owned(),
            (Store::Mysql | Store::Mongodb | Store::Redis, Some(section)) => {
                let message = format!("stores.{store} has no `{key}`");
                let help =
                    format!("write `{key} = \"NAME\"`: the {key} that an unqualified name means");
                faults.error(&section.span, message, help);
            }
            (Store::Mysql | Store::Mongodb | Store::Redis, None) => {}
        }
        return String::new();
    };
    for other in given {
        if other.value != first.value {
            let message = format!(
                "`{key}` is `{}` here and `{}` elsewhere",
                other.value, first.value
            );
            let help = format!(
                "it must be the same in every file (see {})",
                faults.place(&first.span)
            );
            faults.error(&other.span, message, help);
        }
    }
    if first.value.trim().is_empty() || first.value.contains(['"', '`', '.', '*']) {
        let message = format!("`{}` is not the name of a {key}", first.value);
        faults.error(
            &first.span,
            message,
            "write the name alone, without quotes or dots",
        );
    }
    first.value.clone()
}

/// Reports what cannot be the name of a table, collection or function.
fn is_name(store: Store, written: &Written<String>, faults: &mut Faults) -> bool {
    let text = written.value.as_str();
    let (namespace, name) = split(store, text);
    let fault = if text.contains('*') {
        Some("name each one: `*` is for grants")
    } else if name.is_empty() || namespace.is_some_and(str::is_empty) {
        Some("write a name")
    } else if text.contains(['"', '`', '\'']) {
        Some("write the name as the server stores it, without quotes")
    } else if text.trim() != text || text.contains(char::is_control) {
        Some("remove the white space around it")
    } else if namespace.is_some() && name.contains('.') {
        Some("write `table` or `schema.table`")
    } else if [Some(name), namespace]
        .into_iter()
        .flatten()
        .any(|part| is_too_long(store, part))
    {
        Some("no name in this store is that long")
    } else {
        None
    };
    if let Some(help) = fault {
        let message = format!("`{text}` is not a name in {store}");
        faults.error(&written.span, message, help);
    }
    fault.is_none()
}

fn is_too_long(store: Store, name: &str) -> bool {
    match store {
        Store::Postgres => name.len() > POSTGRES_NAME_BYTES_MAX,
        Store::Mysql => name.chars().count() > MYSQL_NAME_CHARS_MAX,
        Store::Mongodb | Store::Redis => name.len() > MONGODB_NAME_BYTES_MAX,
    }
}

fn key_space(sections: &[&RawStore], faults: &mut Faults) -> KeySpace {
    let mut space = KeySpace::default();
    let mut seen = HashSet::new();
    let mut spans = Vec::new();
    for written in sections.iter().flat_map(|section| &section.objects) {
        let Some(glob) = glob(written, faults) else {
            continue;
        };
        if !seen.insert(written.value.as_str()) {
            let message = format!("key pattern `{}` is listed twice", written.value);
            faults.error(&written.span, message, "remove one of the two");
            continue;
        }
        space.patterns.insert(&glob, ());
        space.globs.push((written.value.clone(), glob));
        spans.push(&written.span);
    }
    if space.globs.len() <= OVERLAP_PATTERNS_MAX {
        overlaps(&space, &spans, faults);
    }
    space.scripts = scripts(sections, faults);
    space
}

/// The listed scripts. Redis, too, takes capital digits for small ones.
fn scripts(sections: &[&RawStore], faults: &mut Faults) -> HashSet<Box<str>> {
    let mut scripts = HashSet::new();
    for written in sections.iter().flat_map(|section| &section.scripts) {
        let digest = written.value.as_str();
        if digest.len() != SHA1_DIGITS || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let message = format!("`{digest}` is not the digest of a script");
            let help = "write the SHA-1 of its text in 40 hexadecimal digits, as `sha1sum` and SCRIPT LOAD print it";
            faults.error(&written.span, message, help);
        } else if !scripts.insert(digest.to_ascii_lowercase().into_boxed_str()) {
            let message = format!("script `{digest}` is listed twice");
            faults.warning(&written.span, message, "remove one of the two");
        }
    }
    scripts
}

/// Which of two patterns a key lives in makes no difference, so an overlap is only worth a warning.
fn overlaps(space: &KeySpace, spans: &[&Span], faults: &mut Faults) {
    for (at, ((inner, glob), span)) in space.globs.iter().zip(spans).enumerate() {
        let mut others = space
            .globs
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        if let Some((_, (outer, _))) = others.find(|(_, (_, outer))| outer.contains(glob)) {
            let message = format!("key pattern `{inner}` lies within `{outer}`");
            faults.warning(span, message, "remove the narrower one");
        }
    }
}

/// A key pattern of the policy; a fault where it is odd.
pub(super) fn glob(written: &Written<String>, faults: &mut Faults) -> Option<Glob> {
    match Glob::strict(&written.value) {
        Ok(glob) => Some(glob),
        Err(fault) => {
            let (wrong, help) = fault.words();
            let message = format!("key pattern `{}` {wrong}", written.value);
            faults.error(&written.span, message, help);
            None
        }
    }
}
