//! What is wrong with a trail.

use std::fmt;

use serde::Serialize;

/// Faults that a report names; the others are counted.
pub const NAMED_MAX: usize = 100;

/// How something differs from what was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A row's hash is not that of its content.
    Changed,
    /// A row is consistent, but another one was hashed or sealed in its place.
    Replaced,
    /// Rows are missing at a chain's beginning or in its middle.
    Missing,
    /// A row stands where another one belongs.
    Inserted,
    /// A row stands out of order.
    Reordered,
    /// A chain ends before its head, or before what a seal knows.
    Truncated,
    /// A chain's head is not its last row.
    HeadAltered,
    /// A chain has rows and no head.
    HeadMissing,
    /// A chain that has a head, or that a seal knows, has no rows.
    ChainMissing,
    /// What a retirement says does not fit.
    Retirement,
    /// A seal's hash is not that of its content.
    SealChanged,
    /// A seal is consistent, but its successor knows another one.
    SealReplaced,
    SealMissing,
    SealReordered,
    /// A seal has no signature, and a key was given.
    Unsigned,
    BadSignature,
    UnknownKey,
    /// A seal that was exported is not there.
    ExportMissing,
    /// A seal stands between two that were exported, and was not.
    ExportLacks,
    /// A seal that was exported is there with other content.
    ExportDiffers,
    /// A file has a line that is none of its own, or ends too early.
    File,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Replaced => "replaced",
            Self::Missing => "missing",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Truncated => "truncated",
            Self::HeadAltered => "head altered",
            Self::HeadMissing => "head missing",
            Self::ChainMissing => "chain missing",
            Self::Retirement => "retirement",
            Self::SealChanged => "seal changed",
            Self::SealReplaced => "seal replaced",
            Self::SealMissing => "seal missing",
            Self::SealReordered => "seal reordered",
            Self::Unsigned => "seal unsigned",
            Self::BadSignature => "bad signature",
            Self::UnknownKey => "unknown key",
            Self::ExportMissing => "exported seal missing",
            Self::ExportLacks => "seal not exported",
            Self::ExportDiffers => "exported seal differs",
            Self::File => "file",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The row's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<i64>,
    pub what: String,
}

impl Fault {
    pub fn of_row(kind: Kind, (chain, seq, id): (i64, i64, i64), what: impl Into<String>) -> Self {
        Self {
            id: Some(id),
            ..Self::of_place(kind, chain, seq, what)
        }
    }

    /// Where there is no row.
    pub fn of_place(kind: Kind, chain: i64, seq: i64, what: impl Into<String>) -> Self {
        Self {
            seq: Some(seq),
            ..Self::of_chain(kind, chain, what)
        }
    }

    pub fn of_chain(kind: Kind, chain: i64, what: impl Into<String>) -> Self {
        Self {
            kind,
            chain: Some(chain),
            seq: None,
            id: None,
            seal: None,
            what: what.into(),
        }
    }

    pub fn of_seal(kind: Kind, seal: i64, what: impl Into<String>) -> Self {
        Self {
            kind,
            chain: None,
            seq: None,
            id: None,
            seal: Some(seal),
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [
            ("seal", self.seal),
            ("chain", self.chain),
            ("seq", self.seq),
            ("id", self.id),
        ];
        for (name, place) in places {
            if let Some(place) = place {
                write!(f, "{name} {place} ")?;
            }
        }
        write!(f, "{}: {}", self.kind.as_str(), self.what)
    }
}

/// The first of all faults, and how many there are.
#[derive(Debug, Default)]
pub struct Faults {
    pub named: Vec<Fault>,
    pub count: u64,
}

impl Faults {
    pub fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(fault);
        }
    }
}
