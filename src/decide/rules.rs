//! What a policy demands of a statement that it allows: which columns, shown how; which rows; within what bounds.

use std::collections::{BTreeMap, BTreeSet};

use crate::authenticate::Principal;

/// What the grants of a role demand wherever one table or collection is used. Rules of several grants add up: the
/// columns of every list, the denied and masked ones of all, rows that meet every condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableRules {
    /// The only columns that may be named; `None` where no grant lists any.
    pub columns: Option<BTreeSet<Box<str>>>,
    /// Columns that may not be named.
    pub denied: BTreeSet<Box<str>>,
    /// Columns of which a mask is seen in place of the value; they may still be written.
    pub masked: BTreeMap<Box<str>, Mask>,
    /// What each row that is read or written must meet.
    pub rows: Vec<Condition>,
    /// Whether `UPDATE` and `DELETE` must say which rows.
    pub requires_where: bool,
    /// Denied and masked columns of grants that name the table: where it has no such column, the rule is misspelled, or
    /// the column was renamed and would be seen. A grant on `*` is for tables that have them and tables that do not.
    pub expected: BTreeSet<Box<str>>,
}

impl TableRules {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the rules of another grant.
    pub fn add(&mut self, other: Self) {
        self.columns = match (self.columns.take(), other.columns) {
            (Some(own), Some(other)) => Some(&own & &other),
            (own, other) => own.or(other),
        };
        self.denied.extend(other.denied);
        for (column, mask) in other.masked {
            let kept = self.masked.entry(column).or_insert(mask);
            if *kept != mask {
                // Two masks have nothing in common but this.
                *kept = Mask::Null;
            }
        }
        for condition in other.rows {
            if !self.rows.contains(&condition) {
                self.rows.push(condition);
            }
        }
        self.requires_where |= other.requires_where;
        self.expected.extend(other.expected);
    }

    /// Whether a column may be named at all; `false` for those not in `columns`, and the denied.
    pub fn may_name(&self, column: &str) -> bool {
        let listed = self
            .columns
            .as_ref()
            .is_none_or(|columns| columns.contains(column));
        listed && !self.denied.contains(column)
    }

    /// Whether what is read differs from what is stored: some column is hidden or masked, or some row.
    pub fn hides(&self) -> bool {
        self.columns.is_some()
            || !self.denied.is_empty()
            || !self.masked.is_empty()
            || !self.rows.is_empty()
    }
}

/// Whether a policy, or one role's part of it, is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What is not granted is refused.
    #[default]
    Enforce,
    /// What is not granted is recorded and let through. A statement for the wrong store, or one that is never
    /// allowed, is refused all the same.
    Shadow,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Shadow];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Which statements that run are audited. Refusals, and changes of PostgreSQL's tables, always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Audited {
    #[default]
    Nothing,
    /// Those that may change something.
    Writes,
    All,
}

impl Audited {
    /// Those that a policy may write.
    pub const WRITTEN: [Self; 2] = [Self::Writes, Self::All];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Writes => "writes",
            Self::All => "all",
        }
    }
}

/// What its role and grants set for one request; the most restrictive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub rows_max: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub audited: Audited,
}

impl Bounds {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<u64>, two: Option<u64>| match (one, two) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self {
            rows_max: least(self.rows_max, other.rows_max),
            timeout_ms: least(self.timeout_ms, other.timeout_ms),
            audited: self.audited.max(other.audited),
        }
    }
}

/// What is seen in place of a masked column's value. NULL stays NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mask {
    /// NULL, of the column's type.
    Null,
    /// The SHA-256 of the policy's `mask_salt` and the value's text, in hexadecimal: equal values stay equal.
    Hash,
    /// `****`, and the last four characters of a value of more than eight.
    Partial,
}

impl Mask {
    pub const ALL: [Self; 3] = [Self::Null, Self::Hash, Self::Partial];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Hash => "hash",
            Self::Partial => "partial",
        }
    }
}

/// A row filter: `user_id = :caller.user_id AND status IN ('open', 'paid')`. It compares columns with constants
/// and cannot fail, so that its meaning is the same in every store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        column: Box<str>,
        comparison: Comparison,
        value: Constant,
    },
    In {
        column: Box<str>,
        values: Vec<Constant>,
    },
    IsNull {
        column: Box<str>,
    },
}

impl Condition {
    /// Every column that the condition compares.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().flat_map(Self::columns).collect()
            }
            Self::Not(condition) => condition.columns(),
            Self::Compare { column, .. } | Self::In { column, .. } | Self::IsNull { column } => {
                vec![&**column]
            }
        }
    }
}

impl Condition {
    /// Whether it compares something with an attribute of the caller.
    pub fn mentions(&self, attribute: Attribute) -> bool {
        let is_it = |value: &Constant| matches!(value, Constant::Caller(of) if *of == attribute);
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().any(|one| one.mentions(attribute))
            }
            Self::Not(condition) => condition.mentions(attribute),
            Self::Compare { value, .. } => is_it(value),
            Self::In { values, .. } => values.iter().any(is_it),
            Self::IsNull { .. } => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    Text(Box<str>),
    /// A decimal number as written.
    Number(Box<str>),
    Boolean(bool),
    Caller(Attribute),
}

/// What a condition may know about who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    UserId,
    KeyId,
    Role,
}

impl Attribute {
    pub const ALL: [Self; 3] = [Self::UserId, Self::KeyId, Self::Role];

    /// As a policy writes it after `:caller.`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::KeyId => "key_id",
            Self::Role => "role",
        }
    }

    /// `None` where the key belongs to no user: then no row meets the condition.
    pub fn of(self, caller: &Principal) -> Option<&str> {
        match self {
            Self::UserId => caller.user_id.as_deref(),
            Self::KeyId => Some(&caller.key_id),
            Self::Role => Some(&caller.role),
        }
    }
}
