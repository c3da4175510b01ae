//! The words of transactions, free of any protocol: their names, how they begin, and what controls them.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::operation::Store;

/// What every transaction's name begins with.
const PREFIX: &str = "tx_";

/// Names a transaction to the key that opened it. 128 random bits, so that nobody guesses one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId([u8; 16]);

impl TransactionId {
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The name of a transaction that its caller has named, in `parts`; no two lists of parts have the same.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 16];
        for (byte, hashed) in bytes.iter_mut().zip(hash.finalize()) {
            *byte = hashed;
        }
        Self(bytes)
    }

    /// Reads exactly what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_hex = digits.len() == 32
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Whoever knows the name and has the key may go on with the transaction, so logs do not show it.
impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionId(…)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

impl Isolation {
    /// `read_committed`, as members of JSON are written, or `READ COMMITTED`, as SQL is.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::ReadUncommitted,
            Self::ReadCommitted,
            Self::RepeatableRead,
            Self::Serializable,
        ];
        let words = text.replace('_', " ");
        all.into_iter()
            .find(|isolation| isolation.as_sql().eq_ignore_ascii_case(&words))
    }

    pub const fn as_sql(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "READ UNCOMMITTED",
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

/// How a transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The server's own default where it is not said: `READ COMMITTED` in PostgreSQL, `REPEATABLE READ` in MySQL.
    pub isolation: Option<Isolation>,
    pub read_only: bool,
    /// How long it may stand idle; the store's own limit holds too.
    pub idle_timeout_ms: Option<u64>,
}

/// What a failed statement has left of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on; only the statement failed.
    Open,
    /// PostgreSQL: it can only be rolled back, whole or to a savepoint.
    Failed,
    RolledBack,
    /// The server committed it before its time.
    Committed,
    /// The connection broke while the commit was under way.
    Unknown,
}

impl Fate {
    /// The member `transaction` of a problem.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Committed => "committed",
            Self::Unknown => "unknown",
        }
    }

    /// What a caller is told of it.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Open => "the transaction is still open",
            Self::Failed => {
                "the transaction has failed and can only be rolled back, whole or to a savepoint"
            }
            Self::RolledBack => "the transaction was rolled back",
            Self::Committed => "the server has committed what came before",
            Self::Unknown => {
                "whether the transaction was committed is not known: look before you try again"
            }
        }
    }
}

/// A statement that controls a transaction rather than touching data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    Begin(Options),
    Savepoint(Savepoint),
    Commit,
    RollBack,
}

/// A mark within a transaction, and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Savepoint {
    pub step: SavepointStep,
    /// Letters, digits, `_` and `-` alone, so that quoting it takes no escape.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavepointStep {
    Set,
    Release,
    RollBackTo,
}

impl Savepoint {
    /// The statement to send, made anew from what was understood.
    pub fn to_sql(&self, store: Store) -> String {
        let verb = match self.step {
            SavepointStep::Set => "SAVEPOINT",
            SavepointStep::Release => "RELEASE SAVEPOINT",
            SavepointStep::RollBackTo => "ROLLBACK TO SAVEPOINT",
        };
        let quote = match store {
            Store::Mysql => '`',
            Store::Postgres | Store::Mongodb | Store::Redis => '"',
        };
        format!("{verb} {quote}{}{quote}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let id = TransactionId::random().unwrap();
        assert_eq!(TransactionId::parse(&id.to_string()), Some(id));
        assert_ne!(TransactionId::random().unwrap(), id);
        assert!(!format!("{id:?}").contains(&id.to_string()));
        let parts: [&[&[u8]]; 3] = [&[b"a", b"bc"], &[b"ab", b"c"], &[b"abc"]];
        let [one, two, three] = parts.map(TransactionId::of);
        assert!(one != two && two != three && one != three);
        assert_eq!(TransactionId::of(parts[0]), one);
        let long = format!("tx_{}", "0".repeat(33));
        let upper = format!("tx_{}", "A".repeat(32));
        let signed = format!("tx_+{}", "0".repeat(31));
        for text in ["", "tx_", "tx_1", "1", &long, &upper, &signed] {
            assert_eq!(TransactionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn isolation_levels_have_two_spellings() {
        for (text, expected) in [
            ("serializable", Some(Isolation::Serializable)),
            ("repeatable_read", Some(Isolation::RepeatableRead)),
            ("READ COMMITTED", Some(Isolation::ReadCommitted)),
            ("read uncommitted", Some(Isolation::ReadUncommitted)),
            ("snapshot", None),
            ("", None),
        ] {
            assert_eq!(Isolation::parse(text), expected, "{text}");
        }
    }
}
