//! Which parts of a policy its test cases exercise: an action of a grant is exercised where it allows a touch of some
//! case that is allowed, a deny rule where it refuses a touch of some case.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::request::caller;
use crate::decide::{Case, Grant, Policy, Question, Verdict};
use crate::operation::{Action, Operation};

/// One action of one grant, or one deny rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Part {
    file: String,
    line: usize,
    role: String,
    store: &'static str,
    objects: Vec<String>,
    /// `None` for a deny rule.
    action: Option<&'static str>,
}

impl Part {
    fn of_grant(role: &str, grant: &Grant, action: Action) -> Self {
        Self {
            action: Some(action.as_str()),
            ..Self::of_denial(role, grant)
        }
    }

    fn of_denial(role: &str, denial: &Grant) -> Self {
        Self {
            file: denial.place().file.clone(),
            line: denial.place().line,
            role: role.to_owned(),
            store: denial.store().as_str(),
            objects: denial.objects().to_vec(),
            action: None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            role,
            store,
            objects,
            action,
        } = self;
        let objects = objects.join(", ");
        match action {
            Some(action) => write!(
                f,
                "no case is allowed by {file}:{line}: role {role} may {action} {objects} in {store}"
            ),
            None => write!(
                f,
                "no case is refused by {file}:{line}: role {role} is denied {objects} in {store}"
            ),
        }
    }
}

/// Every part, and those that are still without a case.
pub(super) struct Coverage {
    grants: usize,
    denials: usize,
    left: BTreeSet<Part>,
}

impl Coverage {
    pub(super) fn new(policy: &Policy) -> Self {
        let (mut left, mut denials) = (BTreeSet::new(), 0);
        for role in policy.roles() {
            for grant in role.grants() {
                let actions = grant.actions().iter();
                left.extend(actions.map(|action| Part::of_grant(role.name(), grant, *action)));
            }
            denials += role.denials().len();
            let denied = role.denials().iter();
            left.extend(denied.map(|denial| Part::of_denial(role.name(), denial)));
        }
        Self {
            grants: left.len() - denials,
            denials,
            left,
        }
    }

    /// Takes off what a case exercises; one that is refused exercises no grant.
    pub(super) fn note(&mut self, policy: &Policy, case: &Case, operation: &Operation) {
        let caller = caller(&case.role, case.user_id.as_deref());
        let (verdicts, outcome) = policy.explain(Question {
            caller: &caller,
            operation,
            now: case.at.unwrap_or_else(Timestamp::now),
        });
        for verdict in verdicts {
            let part = match verdict.verdict {
                Verdict::Allowed(grant) if outcome.is_ok() => {
                    Part::of_grant(&case.role, grant, verdict.touch.action)
                }
                Verdict::DeniedBy(denial) => Part::of_denial(&case.role, denial),
                Verdict::Allowed(_)
                | Verdict::WrongStore(_)
                | Verdict::Unknown { .. }
                | Verdict::OutsideHours(_)
                | Verdict::Denied => continue,
            };
            self.left.remove(&part);
        }
    }

    pub(super) const fn left(&self) -> &BTreeSet<Part> {
        &self.left
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denials = self
            .left
            .iter()
            .filter(|part| part.action.is_none())
            .count();
        let grants = self.left.len() - denials;
        let (all, covered) = (self.grants, self.grants - grants);
        write!(f, "{covered} of {all} grants of an action are exercised")?;
        if self.denials > 0 {
            let (all, covered) = (self.denials, self.denials - denials);
            write!(f, ", {covered} of {all} deny rules")?;
        }
        Ok(())
    }
}
