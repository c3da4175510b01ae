//! Makes a permitted statement keep the policy's rules: what it reads is replaced by what the caller may see of it.
//!
//! A table that is read becomes a derived table of the columns and rows that the caller may see, masks applied, so
//! that no clause around it (`WHERE`, `GROUP BY`, `ORDER BY`, a function, a join) can learn more. A target of
//! `UPDATE` or `DELETE` gets the rows' condition beside its own. What cannot be rewritten soundly is refused.

use std::sync::Arc;

use super::rules::TableRules;
use crate::authenticate::Principal;
use crate::operation::Object;

mod apply;
mod cache;
mod computed;
pub mod mongodb;
pub mod mysql;
pub mod postgres;

pub(super) use apply::Kept;
pub use apply::{Circumstances, NoColumns, Shadow};
pub(super) use cache::Rewritings;

/// The rules that one statement must keep. Exists only where a touched table has some.
#[derive(Debug, Clone)]
pub struct Restrictions<'a> {
    pub caller: &'a Principal,
    /// What an unqualified name means.
    pub default_namespace: &'a str,
    /// Salts [`Mask::Hash`](super::rules::Mask::Hash).
    pub mask_salt: &'a str,
    /// The touched tables that have rules, as the classification names them.
    pub tables: Vec<(&'a Object, Arc<TableRules>)>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: Box<str>,
    /// As the server prints it: `bigint`, `character varying(20)`, `int(11) unsigned`.
    pub type_name: Box<str>,
    pub source: Source,
    /// The other columns that a `CHECK` or an index' expression looks at together with this one.
    pub checked_with: Box<[Box<str>]>,
    /// Whether a change of another column sets it to the time of the change (MySQL's `ON UPDATE CURRENT_TIMESTAMP`).
    pub is_touched: bool,
}

impl Column {
    /// A column that holds what is written to it.
    pub fn new(name: &str, type_name: &str) -> Self {
        Self {
            name: name.into(),
            type_name: type_name.into(),
            source: Source::Written,
            checked_with: Box::default(),
            is_touched: false,
        }
    }
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// They are written, or a constant by default.
    Written,
    /// They are, or may be, computed from these columns of the same row.
    Columns(Box<[Box<str>]>),
    /// They are computed, nobody knows from what.
    Unknown,
}

/// The columns of a store's tables, in their order.
pub trait Columns: Send + Sync {
    /// `None` where the table is not known (yet).
    fn of(&self, namespace: &str, table: &str) -> Option<Arc<[Column]>>;

    /// `None` where they are not known. The order in which rows come shows the order of an index's columns, so that
    /// an index of a hidden column must not be read; where none is known, each table is sorted at a cost.
    fn indexes(&self, namespace: &str, table: &str) -> Option<Arc<[Index]>> {
        let _ = (namespace, table);
        None
    }
}

/// An index of a table. MySQL names the primary key's `PRIMARY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub name: Box<str>,
    /// In their order; empty for a part that is an expression.
    pub columns: Vec<Box<str>>,
}

/// What becomes of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restricted {
    /// The text to send.
    pub sql: String,
    /// What must hold of the parameters, by their place from 0: an inserted row's filtered column.
    pub parameters: Vec<ParameterRule>,
}

/// A parameter must be this constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterRule {
    pub index: usize,
    pub column: Box<str>,
    pub value: String,
}

/// Why a statement cannot be run under the rules, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Forbidden {
    /// The tables whose rules it breaks, as the classification names them.
    pub objects: Vec<Object>,
    pub reason: String,
}
