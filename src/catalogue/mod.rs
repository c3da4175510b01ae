//! What the relations of a SQL store reach that no statement's text shows.
//!
//! A statement names a view and reads its tables; it deletes a row, and a foreign key deletes others; it inserts,
//! and a trigger runs a function. The server's catalogue knows. A [`Catalogue`] is what was read from it, as plain
//! data: for each relation the [`Reach`]es that using it sets off. [`Catalogue::expand`] adds them to what the
//! text showed, so that `decide` judges all of it.
//!
//! Only relations that reach something are kept: the usual statement costs one look-up for each thing it touches
//! and allocates nothing. This file is pure; `postgres` and `mysql` read the servers, `watch` keeps what they read
//! fresh.

mod expand;
pub mod mysql;
pub mod postgres;
#[cfg(test)]
mod tests;
pub mod watch;
mod words;

use std::collections::HashMap;
use std::sync::Arc;

use crate::decide::restrict::{Column, Columns, Index};
use crate::operation::{Action, Object};

/// Most things that one statement may reach. A real schema stays far below.
pub const REACHED_MAX: usize = 10_000;

/// A set of SQL actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions(u8);

impl Actions {
    pub const SELECT: Self = Self::of(Action::Select);
    pub const INSERT: Self = Self::of(Action::Insert);
    pub const UPDATE: Self = Self::of(Action::Update);
    pub const DELETE: Self = Self::of(Action::Delete);
    pub const DDL: Self = Self::of(Action::Ddl);
    /// What computes new rows: defaults, checks and generated columns run.
    pub const STORE: Self = Self::INSERT.and(Self::UPDATE);
    pub const ALL: Self = Self::SELECT
        .and(Self::STORE)
        .and(Self::DELETE)
        .and(Self::DDL);

    pub const fn of(action: Action) -> Self {
        Self(match action {
            Action::Select | Action::Find | Action::Read => 1,
            Action::Insert => 2,
            Action::Update => 4,
            Action::Delete => 8,
            Action::Ddl => 16,
            // Not a SQL action; whatever it may do is among all of them.
            Action::Write => 31,
        })
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A relation or routine, always with its schema or database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Name {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// When a reach is set off, beside the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only by a text that has this word in it: `alias.name` and overloads of a built-in function.
    Word(Box<str>),
    /// Only by a text that has these characters in it: overloads of a built-in operator.
    Symbol(Box<str>),
    /// Only by a text that has `alias.` before this word, where the alias may be a function's: then the name is the
    /// column of that name or, failing that, the function of that name.
    Field(Box<str>),
    /// Only by a text that meets each of these.
    All(Box<[When]>),
}

/// What is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Another relation in this way: a view reads its tables, a foreign key deletes.
    Relation(Name, Action),
    /// Another relation in the way in which this one is used: the table behind an updatable view, the child that
    /// inherits.
    Same(Name),
    /// The same for a piece of the relation, such as a partition. A piece that the policy lists is an object of
    /// its own; one that it does not is no more than a piece, and only what lies behind it counts.
    Piece(Name),
    /// Code that is not known to compute only: a trigger's function, a default's. The policy must list it.
    ///
    /// An object whose own definition is not understood counts as a function of its own name.
    Function(Name),
}

/// One thing that using a relation sets off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    pub on: Actions,
    pub when: When,
    pub target: Target,
}

impl Reach {
    pub const fn new(on: Actions, target: Target) -> Self {
        Self {
            on,
            when: When::Always,
            target,
        }
    }

    pub const fn when(on: Actions, when: When, target: Target) -> Self {
        Self { on, when, target }
    }
}

/// How a store compares the names of its relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Exact,
    /// As small letters (MySQL with `lower_case_table_names` 1 or 2).
    Folded,
}

/// What the relations of one store reach.
#[derive(Debug)]
pub struct Catalogue {
    /// What an unqualified name means.
    default_namespace: Box<str>,
    case: Case,
    /// By name, then namespace: a look-up needs no key of its own.
    relations: HashMap<Box<str>, Vec<Relation>>,
    /// What any statement may set off; `on` all actions also counts where nothing is touched.
    everywhere: Vec<Reach>,
    /// The columns of each relation; empty unless they were asked for.
    columns: HashMap<Name, Arc<[Column]>>,
    /// Its indexes, where they matter.
    indexes: HashMap<Name, Arc<[Index]>>,
}

#[derive(Debug)]
struct Relation {
    namespace: Box<str>,
    reaches: Vec<Reach>,
}

impl Catalogue {
    /// A catalogue in which nothing reaches anything.
    pub fn new(default_namespace: &str, case: Case) -> Self {
        Self {
            default_namespace: default_namespace.into(),
            case,
            relations: HashMap::new(),
            everywhere: Vec::new(),
            columns: HashMap::new(),
            indexes: HashMap::new(),
        }
    }

    /// Sets the columns of a relation, in their order.
    pub fn set_columns(&mut self, relation: &Name, columns: Vec<Column>) {
        let folded = self.folded_name(&relation.namespace, &relation.name);
        self.columns.insert(folded, columns.into());
    }

    /// Sets the indexes of a relation whose columns are known.
    pub fn set_indexes(&mut self, relation: &Name, indexes: Vec<Index>) {
        let folded = self.folded_name(&relation.namespace, &relation.name);
        self.indexes.insert(folded, indexes.into());
    }

    /// Adds what using `relation` sets off.
    pub fn add(&mut self, relation: &Name, reach: Reach) {
        let name = self.folded(&relation.name);
        let namespace = self.folded(&relation.namespace);
        let namesakes = self.relations.entry(name).or_default();
        let at = namesakes
            .iter()
            .position(|known| known.namespace == namespace);
        match at.and_then(|at| namesakes.get_mut(at)) {
            Some(known) => {
                if !known.reaches.contains(&reach) {
                    known.reaches.push(reach);
                }
            }
            None => namesakes.push(Relation {
                namespace,
                reaches: vec![reach],
            }),
        }
    }

    /// Adds what any statement may set off.
    pub fn add_everywhere(&mut self, reach: Reach) {
        if !self.everywhere.contains(&reach) {
            self.everywhere.push(reach);
        }
    }

    /// How many relations reach something.
    pub fn len(&self) -> usize {
        self.relations.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.relations.is_empty() && self.everywhere.is_empty()
    }

    fn folded(&self, name: &str) -> Box<str> {
        match self.case {
            Case::Exact => name.into(),
            Case::Folded => name.to_lowercase().into(),
        }
    }

    fn folded_name(&self, namespace: &str, name: &str) -> Name {
        Name {
            namespace: self.folded(namespace),
            name: self.folded(name),
        }
    }

    /// What using a relation sets off; nothing for most.
    fn reaches(&self, namespace: &str, name: &str) -> &[Reach] {
        let found = match self.case {
            Case::Exact => self.find(namespace, name),
            Case::Folded if is_small(namespace) && is_small(name) => self.find(namespace, name),
            Case::Folded => self.find(&namespace.to_lowercase(), &name.to_lowercase()),
        };
        found.map_or(&[], |relation| relation.reaches.as_slice())
    }

    fn find(&self, namespace: &str, name: &str) -> Option<&Relation> {
        let namesakes = self.relations.get(name)?;
        namesakes
            .iter()
            .find(|relation| *relation.namespace == *namespace)
    }

    /// A touched object's namespace and name.
    fn named<'o>(&'o self, object: &'o Object) -> Option<(&'o str, &'o str)> {
        match object {
            Object::Named { namespace, name } => {
                let namespace = namespace.as_deref().unwrap_or(&self.default_namespace);
                Some((namespace, name))
            }
            Object::Key(_) | Object::Keys(_) => None,
        }
    }

    /// The object as a statement would name it.
    fn object(&self, name: &Name) -> Object {
        let namespace = (name.namespace != self.default_namespace).then_some(&*name.namespace);
        Object::named(namespace, &name.name)
    }

    /// A function as a classification names it. A dot within the name must not be read as the one after the
    /// schema, so such a name is always written in full; no policy can list it.
    fn function(&self, name: &Name) -> String {
        if name.namespace == self.default_namespace && !name.name.contains('.') {
            name.name.to_string()
        } else {
            format!("{}.{}", name.namespace, name.name)
        }
    }
}

impl Columns for Catalogue {
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>> {
        let name = self.folded_name(namespace, table);
        self.columns.get(&name).map(Arc::clone)
    }

    fn indexes(&self, namespace: &str, table: &str) -> Option<Arc<[Index]>> {
        let name = self.folded_name(namespace, table);
        self.indexes.get(&name).map(Arc::clone)
    }
}

/// Whether folding would change nothing.
fn is_small(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}
