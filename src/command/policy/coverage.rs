//! Which parts of a policy's grants its test cases exercise: an action of a grant is exercised where it allows a touch
//! of some case that is allowed.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::request::caller;
use crate::decide::{Case, Grant, Policy, Question, Verdict};
use crate::operation::{Action, Operation};

/// One action of one grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    file: String,
    line: usize,
    role: String,
    action: Action,
    store: &'static str,
    objects: Vec<String>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: role {} may {} {} in {}",
            self.file,
            self.line,
            self.role,
            self.action,
            self.objects.join(", "),
            self.store
        )
    }
}

/// Every part of every grant.
pub(super) fn parts(policy: &Policy) -> BTreeSet<Part> {
    let mut parts = BTreeSet::new();
    for role in policy.roles() {
        for grant in role.grants() {
            parts.extend(
                grant
                    .actions()
                    .iter()
                    .map(|action| part(role.name(), grant, *action)),
            );
        }
    }
    parts
}

fn part(role: &str, grant: &Grant, action: Action) -> Part {
    Part {
        file: grant.place().file.clone(),
        line: grant.place().line,
        role: role.to_owned(),
        action,
        store: grant.store().as_str(),
        objects: grant.objects().to_vec(),
    }
}

/// What is still without a case.
pub(super) struct Coverage(BTreeSet<Part>);

impl Coverage {
    pub(super) fn new(policy: &Policy) -> Self {
        Self(parts(policy))
    }

    /// Takes off what a case exercises; one that is refused exercises nothing.
    pub(super) fn note(&mut self, policy: &Policy, case: &Case, operation: &Operation) {
        let caller = caller(&case.role, case.user_id.as_deref());
        let (verdicts, outcome) = policy.explain(Question {
            caller: &caller,
            operation,
            now: case.at.unwrap_or_else(Timestamp::now),
        });
        if outcome.is_err() {
            return;
        }
        for verdict in verdicts {
            if let Verdict::Allowed(grant) = verdict.verdict {
                self.0
                    .remove(&part(&case.role, grant, verdict.touch.action));
            }
        }
    }

    pub(super) fn left(self) -> Vec<Part> {
        self.0.into_iter().collect()
    }
}
