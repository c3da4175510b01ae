//! What front doors ask of the gate.

use std::sync::Arc;

use super::understanding::Understanding;
use crate::execute::request::SqlRequest;
use crate::execute::stores::Place;
use crate::operation::Store;
use crate::transaction::{Options, TransactionId};

/// What is asked of which store.
pub enum Ask {
    Sql {
        store: Store,
        sql: Arc<str>,
        request: SqlRequest,
    },
    /// Statements in one transaction, all or nothing.
    Batch {
        store: Store,
        statements: Vec<Statement>,
        options: Options,
        timeout_ms: Option<u64>,
    },
    /// A statement in a transaction that the caller holds open.
    Within {
        store: Store,
        id: TransactionId,
        statement: Statement,
    },
    Begin {
        store: Store,
        options: Options,
    },
    End {
        store: Store,
        id: TransactionId,
        commits: bool,
    },
    /// A command document (BSON bytes) and the database to run it in, unless it says so itself.
    Mongodb {
        document: Vec<u8>,
        database: Option<String>,
    },
    Redis {
        commands: Vec<Vec<Vec<u8>>>,
        atomic: bool,
    },
}

/// A SQL statement of several, and what travels along with it.
pub struct Statement {
    pub sql: Arc<str>,
    pub request: SqlRequest,
}

/// What does not need judging: where the statements run, and with what.
#[derive(Default)]
pub(super) struct Rest {
    pub(super) place: Place,
    /// One for each operation.
    pub(super) requests: Vec<SqlRequest>,
    /// What the statements take of the memory for all, until they have been decided upon.
    pub(super) understanding: Understanding,
}

impl Rest {
    /// The statements have been decided upon: their trees are gone.
    pub(super) fn understood(&mut self) {
        self.understanding = Understanding::default();
    }

    /// Gives a statement, and the batch that it may be in, no more time than the policy allows it.
    pub(super) fn limit_time(&mut self, index: usize, allowed_ms: u64) {
        let limit = |asked: &mut Option<u64>| {
            *asked = Some(asked.unwrap_or(allowed_ms).min(allowed_ms));
        };
        if let Some(request) = self.requests.get_mut(index) {
            limit(&mut request.timeout_ms);
        }
        if let Place::Batch { timeout_ms, .. } = &mut self.place {
            limit(timeout_ms);
        }
    }
}

impl Ask {
    /// The same query, in a transaction that its caller holds open.
    pub fn within(self, id: TransactionId) -> Self {
        match self {
            Self::Sql {
                store,
                sql,
                request,
            } => Self::Within {
                store,
                id,
                statement: Statement { sql, request },
            },
            other @ (Self::Batch { .. }
            | Self::Within { .. }
            | Self::Begin { .. }
            | Self::End { .. }
            | Self::Mongodb { .. }
            | Self::Redis { .. }) => other,
        }
    }

    pub const fn store(&self) -> Store {
        match self {
            Self::Sql { store, .. }
            | Self::Batch { store, .. }
            | Self::Within { store, .. }
            | Self::Begin { store, .. }
            | Self::End { store, .. } => *store,
            Self::Mongodb { .. } => Store::Mongodb,
            Self::Redis { .. } => Store::Redis,
        }
    }
}
