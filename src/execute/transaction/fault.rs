//! How a statement or a transaction fails, and what a caller is told has become of the transaction.

use crate::error::{Code, Problem, PublicError};
use crate::execute::Error;
use crate::operation::Store;
pub use crate::transaction::Fate;

/// How a transaction that is no longer open ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    ByItsCaller(Fate),
    /// A statement left it so.
    ByAStatement(Fate),
    IdleTooLong,
    LivedTooLong,
    /// A request in it was cut off before its answer.
    CutOff,
    /// The sidecar shut down.
    Drained,
}

impl Ended {
    const fn fate(self) -> Fate {
        match self {
            Self::ByItsCaller(fate) | Self::ByAStatement(fate) => fate,
            Self::IdleTooLong | Self::LivedTooLong | Self::CutOff | Self::Drained => {
                Fate::RolledBack
            }
        }
    }

    const fn told(self) -> &'static str {
        match self {
            Self::ByItsCaller(Fate::Committed) => "the transaction was committed by its caller",
            Self::ByItsCaller(Fate::Unknown) => {
                "the connection broke while the transaction was being committed"
            }
            Self::ByItsCaller(_) => "the transaction was rolled back by its caller",
            Self::ByAStatement(_) => "a statement before ended the transaction",
            Self::IdleTooLong => "the transaction stood idle for too long",
            Self::LivedTooLong => "the transaction was open for too long",
            Self::Drained => "the sidecar shut down",
            Self::CutOff => "a request in the transaction was cut off before its answer",
        }
    }
}

/// A statement's failure, with what it left of its transaction.
#[derive(Debug)]
pub(in crate::execute) struct Broken {
    pub(in crate::execute) cause: Error,
    pub(in crate::execute) fate: Fate,
}

impl Broken {
    pub(in crate::execute) fn new(cause: impl Into<Error>, fate: Fate) -> Self {
        Self {
            cause: cause.into(),
            fate,
        }
    }

    /// `statement` is its place in a batch.
    pub(in crate::execute) fn into_error(self, statement: Option<usize>) -> Error {
        Error::Transaction(Fault::Broken {
            cause: Box::new(self.cause),
            fate: self.fate,
            statement,
        })
    }
}

/// What can go wrong with a transaction itself.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{cause}; transaction {}", .fate.as_str())]
    Broken {
        cause: Box<Error>,
        fate: Fate,
        statement: Option<usize>,
    },
    #[error("no such transaction")]
    NotFound,
    #[error("transaction ended: {0:?}")]
    Ended(Ended),
    #[error("another request is running in the transaction")]
    Busy,
    #[error("the key has {max} transactions open")]
    KeyFull { store: Store, max: u32 },
    #[error("{max} transactions are open")]
    StoreFull { store: Store, max: u32 },
    #[error("the session has had a transaction of this number")]
    Known,
}

/// When to come back to a store whose transactions are all taken.
const RETRY_AFTER_MS: u64 = 1_000;

impl PublicError for Fault {
    fn problem(&self) -> Problem {
        match self {
            Self::Broken {
                cause,
                fate,
                statement,
            } => {
                let mut problem = cause.problem();
                problem.detail = format!("{}; {}", problem.detail, fate.told());
                problem.transaction = Some(*fate);
                problem.statement = statement.and_then(|place| u16::try_from(place).ok());
                if *fate == Fate::Unknown {
                    // An invitation to send it again could do the work twice.
                    problem.retry_after_ms = None;
                }
                problem
            }
            Self::NotFound => Problem::new(
                Code::TransactionNotFound,
                "this key has no transaction of that name here: begin one with POST …/transactions",
            ),
            Self::Ended(ended) => {
                let mut problem = Problem::new(
                    Code::TransactionExpired,
                    format!("{}; {}", ended.told(), ended.fate().told()),
                );
                problem.transaction = Some(ended.fate());
                problem
            }
            Self::Busy => {
                let mut problem = Problem::new(
                    Code::StoreConflict,
                    "another request is running in this transaction: send them one after another",
                );
                problem.transaction = Some(Fate::Open);
                problem
            }
            Self::Known => Problem::new(
                Code::RequestInvalid,
                "this session has had a transaction of this `txnNumber`: count on, or begin a new session",
            ),
            Self::KeyFull { store, max } => full(
                Code::RateLimitExceeded,
                format!(
                    "this key has {max} {store} transactions open, as many as a key may: end one, or use `batch`"
                ),
            ),
            Self::StoreFull { store, max } => full(
                Code::PoolExhausted,
                format!(
                    "{max} {store} transactions are open, as many as may be at once: try again, or use `batch`"
                ),
            ),
        }
    }
}

fn full(code: Code, detail: String) -> Problem {
    let mut problem = Problem::new(code, detail);
    problem.retry_after_ms = Some(RETRY_AFTER_MS);
    problem
}
