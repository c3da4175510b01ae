//! The policy as the databases' own grants: what a parser might miss, the database then refuses.
//!
//! For each role of the policy there is a native role (in Redis a user), `bulkhead_role_NAME`, that may do what the
//! policy grants it and no more. `bulkhead_callers` may do what any of them may, and what the sidecar itself needs
//! beside that: it is for the one account with which a sidecar runs its callers' statements. Conditions that no
//! grant can say (masks, row filters, bounds, rate limits) stay the sidecar's.
//!
//! Every store speaks of a [`Privilege`], a word on something; [`compare`] tells how what a server grants differs
//! from what the policy does, both ways.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::decide::Policy;
use crate::operation::Store;

pub mod access;
pub mod mend;
pub mod mongodb;
pub mod mysql;
mod mysql_grants;
pub mod postgres;
pub mod redis;
mod redis_commands;
pub mod target;

use access::Access;

/// The native role of a policy's role begins with this, so that it is never the name of an account of the sidecar's.
pub const ROLE_PREFIX: &str = "bulkhead_role_";

/// What any caller may do, and the sidecar.
pub const CALLERS: &str = "bulkhead_callers";

/// One thing that somebody may do: `SELECT` on `table public.users`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Privilege {
    pub on: String,
    pub what: String,
}

impl Privilege {
    pub fn new(what: impl Into<String>, on: impl Into<String>) -> Self {
        Self {
            on: on.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.what, self.on)
    }
}

/// What a server grants to one subject: its privileges, and whether these include more than they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    pub privileges: BTreeSet<Privilege>,
    /// `false` where there is no such role or account.
    pub exists: bool,
}

/// Somebody whose privileges are made and compared.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The native name.
    pub name: String,
    pub access: Access,
}

/// Which way a server differs from the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The policy allows it and the server does not.
    Missing,
    /// The server allows it and the policy does not.
    Extra,
}

/// One difference between a server and the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    pub subject: String,
    pub side: Side,
    pub what: String,
    pub on: String,
    /// The statement that undoes it, where running the printed grants again does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Difference {
    fn new(subject: &str, side: Side, what: &str, on: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            side,
            what: what.to_owned(),
            on: on.to_owned(),
            mend: None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, what, on) = (&self.subject, &self.what, &self.on);
        match self.side {
            Side::Missing => write!(f, "missing  {subject}: {what} on {on}"),
            Side::Extra => write!(f, "extra    {subject}: {what} on {on}"),
        }
    }
}

/// Why a server cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("cannot read what the server grants: {0}")]
    Read(String),
    #[error("{0}")]
    Target(String),
}

/// The subjects of a policy in one store: its roles, then the one for all of them. `account` is compared as the
/// sidecar's own.
pub fn subjects(policy: &Policy, store: Store, account: Option<&str>) -> Vec<Subject> {
    let roles = policy.roles();
    let mut subjects: Vec<Subject> = roles
        .iter()
        .map(|role| Subject {
            name: role_name(store, role.name()),
            access: access::of(policy, &[role], store, false),
        })
        .collect();
    for name in std::iter::once(CALLERS).chain(account) {
        subjects.push(Subject {
            name: name.to_owned(),
            access: access::of(policy, &roles, store, true),
        });
    }
    subjects
}

/// An account's name as the store has it: MySQL's have a host, MongoDB's a database.
pub fn account_name(store: Store, name: &str) -> String {
    match store {
        Store::Mysql if !name.contains('@') => format!("{name}@%"),
        Store::Mongodb if !name.contains('@') => format!("{name}@{}", mongodb::ROLES_DATABASE),
        Store::Postgres | Store::Mysql | Store::Mongodb | Store::Redis => name.to_owned(),
    }
}

/// The sidecar's own account, whatever its name is.
pub fn sidecar(policy: &Policy, store: Store, name: &str) -> Subject {
    Subject {
        name: name.to_owned(),
        access: access::of(policy, &policy.roles(), store, true),
    }
}

/// The native role of a policy's role. Where the server's names are shorter, the end is a digest, so that two long
/// names stay two.
pub fn role_name(store: Store, role: &str) -> String {
    let bytes_max = match store {
        Store::Postgres => 63,
        Store::Mysql => 32,
        Store::Mongodb | Store::Redis => 128,
    };
    // Redis' names and MySQL's hold no white space, and no shell or list splits at these.
    let plain: String = role
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let name = format!("{ROLE_PREFIX}{plain}");
    if plain == role && name.len() <= bytes_max {
        return name;
    }
    let digest = crc32fast::hash(role.as_bytes());
    let room = bytes_max.saturating_sub(9);
    let kept = name
        .get(..name.floor_char_boundary(room))
        .unwrap_or(ROLE_PREFIX);
    format!("{kept}_{digest:08x}")
}

/// How what is held differs from what is wanted. `covers` says whether something held, which is wider, gives a
/// wanted privilege.
pub fn compare(
    subject: &str,
    wanted: &BTreeSet<Privilege>,
    held: &Held,
    covers: impl Fn(&Held, &Privilege) -> bool,
) -> Vec<Difference> {
    let difference = |side, privilege: &Privilege| {
        Difference::new(subject, side, &privilege.what, &privilege.on)
    };
    if !held.exists {
        let absent = Privilege::new("existence", "the server: run what `policy grants` prints");
        return vec![difference(Side::Missing, &absent)];
    }
    let missing = wanted
        .difference(&held.privileges)
        .filter(|privilege| !covers(held, privilege))
        .map(|privilege| difference(Side::Missing, privilege));
    let extra = held
        .privileges
        .difference(wanted)
        .map(|privilege| difference(Side::Extra, privilege));
    let mut all: Vec<Difference> = missing.chain(extra).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests;
