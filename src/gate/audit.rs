//! What the gate has audited: refusals, statements that the policy names, and changes in PostgreSQL.

use std::sync::Arc;

use super::{Gate, aside, is_read};
use crate::classify::normal::{self, Normal};
use crate::decide::Permit;
use crate::error::Problem;
use crate::execute::request::AuditRow;
use crate::limit::Ticket;
use crate::operation::{Payload, Store};
use crate::record::audit::{Intent, bounded};
use crate::record::{Record, objects};

impl Gate {
    /// Records what is about to run, where the policy wants that.
    pub(super) async fn declare(
        &self,
        tickets: &[Ticket],
        record: &mut Record<'_>,
    ) -> Result<Option<Box<Intent>>, Problem> {
        // Also of a change in PostgreSQL: what it returned was seen, and its own row goes with a rollback.
        if !tickets.iter().any(|ticket| ticket.permit().is_audited()) {
            return Ok(None);
        }
        let statements = tickets.iter().map(|ticket| normal_of(ticket.permit()));
        let event = record.declared(&normal::joined(statements));
        // Seldom and large: see the bound on a request's future.
        let declared = Box::pin(Intent::declare(&self.audit, event)).await;
        declared
            .map(|intent| Some(Box::new(intent)))
            .map_err(|error| record.cause(&error))
    }

    /// A refusal is answered once its record is durable.
    pub(super) async fn audited(
        &self,
        refused: Option<&Problem>,
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        if let Some(event) = record.spared() {
            self.audit.note(&event);
        }
        if let Some(event) = refused.and_then(|problem| record.refused(problem)) {
            let kept = Box::pin(async move { self.audit.keep(&event).await }).await;
            kept.map_err(|error| record.cause(&error))?;
        }
        Ok(())
    }
}

/// What was asked, without any value. Remembered with a SQL text; long ones take a while once.
fn normal_of(permit: &Permit) -> Arc<Normal> {
    let bytes = match permit.asked() {
        Payload::Sql(text) => text.len(),
        Payload::Mongodb { document, .. } => document.len(),
        Payload::Control(_) | Payload::Redis { .. } => 0,
    };
    aside(bytes, || permit.normal())
}

/// Whether its audit row commits with it: a change in PostgreSQL.
fn has_row(ticket: &Ticket) -> bool {
    ticket.permit().operation().store == Store::Postgres && !is_read(ticket)
}

/// The row that commits with a change in PostgreSQL; `None` for everything else.
pub(super) fn row(ticket: &Ticket, record: &Record<'_>) -> Option<AuditRow> {
    if !has_row(ticket) {
        return None;
    }
    let permit = ticket.permit();
    let operation = permit.operation();
    let normal = normal_of(permit);
    let touches = &operation.classification.touches;
    let mut actions: Vec<_> = touches.iter().map(|touch| touch.action.as_str()).collect();
    actions.sort_unstable();
    actions.dedup();
    let caller = permit.caller();
    Some(AuditRow {
        user_id: caller.user_id.clone(),
        key_id: caller.key_id.clone(),
        role: caller.role.clone(),
        action: actions.join(","),
        resource_type: "table".into(),
        objects: objects(&operation.classification),
        request_id: bounded(record.request_id),
        trace_id: record.trace_id(),
        statement: normal.text.clone(),
        fingerprint: normal.fingerprint.clone(),
    })
}
