//! A MongoDB cursor that was opened under another policy, or for a caller who is another by now, is judged anew.
//!
//! A `getMore` names a number and a collection; what the cursor reads besides, and with which masks and row filter,
//! stands in the command that opened it. That command is decided again by the policy in force, and must come out as
//! what the server is running. Under the policy that opened the cursor nothing is done.

use std::sync::Arc;

use jiff::Timestamp;

use super::Gate;
use crate::authenticate::Principal;
use crate::decide::Policy;
use crate::error::{Code, Problem};
use crate::execute::mongodb::Opening;
use crate::operation::{Operation, Payload};
use crate::record::Record;

impl Gate {
    /// Refuses to go on with a cursor that the policy in force would not open as it is. Such a cursor is closed, also
    /// where it was only asked to explain: it can be of no use.
    pub(super) async fn judge_cursor(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        operation: &Operation,
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        let Some(id) = continued(operation) else {
            return Ok(());
        };
        let Some(opening) = self.stores.opened_otherwise(id, caller, policy.digest()) else {
            return Ok(());
        };
        let judged = self.judge_opening(policy, caller, opening, record).await;
        match judged {
            Ok(opening) => {
                self.stores.cursor_judged(id, opening);
                Ok(())
            }
            Err(problem) => {
                if problem.code != Code::StoreUnavailable {
                    self.stores.close_cursor(id, caller).await;
                }
                Err(problem)
            }
        }
    }

    async fn judge_opening(
        &self,
        policy: &Policy,
        caller: &Arc<Principal>,
        opening: Opening,
        record: &mut Record<'_>,
    ) -> Result<Opening, Problem> {
        let Some(command) = opening.command else {
            return Err(anew("its command was too long to be kept"));
        };
        let now = Timestamp::now();
        let permit = self
            .decide_whole(policy, caller, command.asked, (now, &[]), record)
            .await?;
        if !is_same(&permit.operation().payload, &command.sent) {
            return Err(anew("it shows other fields or rows than may be seen now"));
        }
        Ok(Opening::of(&permit))
    }
}

fn anew(why: &str) -> Problem {
    let detail = format!(
        "the policy, or the key's role, has changed since this cursor was opened, and {why}: open it anew"
    );
    Problem::new(Code::PolicyDenied, detail)
}

/// The cursor that a `getMore` continues.
fn continued(operation: &Operation) -> Option<i64> {
    let id = *operation.classification.cursors.first()?;
    let Payload::Mongodb { document, .. } = &operation.payload else {
        return None;
    };
    let command = bson::RawDocument::from_bytes(document).ok()?;
    let (name, _) = command.iter().next()?.ok()?;
    (name == "getMore").then_some(id)
}

/// Whether both are the same command in the same database.
fn is_same(one: &Payload, other: &Payload) -> bool {
    match (one, other) {
        (
            Payload::Mongodb { database, document },
            Payload::Mongodb {
                database: other_database,
                document: other_document,
            },
        ) => database == other_database && document == other_document,
        (
            Payload::Sql(_) | Payload::Control(_) | Payload::Mongodb { .. } | Payload::Redis { .. },
            _,
        ) => false,
    }
}
