//! A batch: statements that were all admitted, in one transaction, all or nothing.

use std::time::{Duration, Instant};

use super::fault::{Broken, Fate};
use super::{RollBack as _, Statement, Transaction as _, Transactional};
use crate::execute::Error;
use crate::execute::request::{AuditRow, SqlRequest};
use crate::limit::Ticket;
use crate::reply::{RowSink, Summary};
use crate::transaction::Options;

/// Statements of one batch.
pub const BATCH_STATEMENTS_MAX: usize = 1_000;

/// What a batch consists of; each ticket has its request and its audit row.
pub(in crate::execute) struct Batched {
    pub(in crate::execute) tickets: Vec<Ticket>,
    pub(in crate::execute) requests: Vec<SqlRequest>,
    pub(in crate::execute) audits: Vec<Option<AuditRow>>,
    pub(in crate::execute) options: Options,
    pub(in crate::execute) timeout: Duration,
}

/// Runs a batch. The sink's `columns` is called once for each statement, in order. May be cancelled: what ran is then
/// rolled back, unless the commit was under way.
pub(in crate::execute) async fn batch<S: Transactional>(
    store: &S,
    batch: Batched,
    sink: &mut dyn RowSink,
) -> Result<Vec<Summary>, Error> {
    let deadline = Instant::now() + batch.timeout;
    let reads_only = batch.tickets.iter().all(is_read);
    // What only reads runs where the server lets nothing write, as a read on its own does.
    let options = Options {
        read_only: batch.options.read_only || reads_only,
        ..batch.options
    };
    let timeout_ms = u64::try_from(batch.timeout.as_millis()).unwrap_or(u64::MAX);
    let late = || Error::Timeout {
        store: S::STORE,
        timeout_ms,
    };
    let key_id = batch
        .tickets
        .first()
        .map_or("", |ticket| &ticket.permit().caller().key_id);
    let opening = tokio::time::timeout_at(deadline.into(), store.open(key_id, options, None));
    let mut transaction = opening.await.map_err(|_| late())??;
    let mut summaries = Vec::with_capacity(batch.tickets.len());
    let parts = batch.tickets.iter().zip(&batch.requests).zip(batch.audits);
    for (index, ((ticket, request), audit)) in parts.enumerate() {
        let statement = Statement {
            ticket,
            request,
            audit,
        };
        match transaction.run(statement, deadline, sink).await {
            Ok(summary) => summaries.push(summary),
            Err(broken) => {
                let fate = match broken.fate {
                    Fate::Open | Fate::Failed => {
                        transaction.roll_back().await;
                        Fate::RolledBack
                    }
                    Fate::RolledBack | Fate::Committed | Fate::Unknown => broken.fate,
                };
                return Err(Broken { fate, ..broken }.into_error(Some(index)));
            }
        }
    }
    match transaction.commit().await {
        Ok(()) => Ok(summaries),
        Err(broken) => Err(broken.into_error(None)),
    }
}

/// A listed function may change anything, whatever the statement around it does.
fn is_read(ticket: &Ticket) -> bool {
    let classification = &ticket.permit().operation().classification;
    classification.is_read() && classification.functions.is_empty()
}
