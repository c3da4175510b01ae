//! A decision with all its reasons, for people and machines: what is touched, the grant or rule that decided, what
//! restricts the answer, and what would have to be granted.
//!
//! It tells of the caller's own role alone, and nothing of the salt of masks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use toml::Value;

use super::fault::nearest;
use super::judge::{TouchVerdict, Verdict};
use super::raw::objects_key;
use super::restrict::Shadow;
use super::rules::Mode;
use super::stores::StoreObjects;
use super::words::{self, Clause};
use super::{Grant, Place, Policy, Question};
use crate::error::Problem;
use crate::operation::{Action, Classification, Object, Store};

/// Who reads an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Who has the policy's files.
    Operator,
    /// Who holds a key: files are named without their folder.
    Caller,
}

/// One decision, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Of the refusal, as all that follows up to `objects`.
    pub code: Option<&'static str>,
    pub detail: Option<String>,
    pub lives_in: Option<&'static str>,
    pub objects: Vec<String>,
    pub role: String,
    pub store: &'static str,
    /// `enforce` or `shadow`; in the latter, neither `rules` nor `bounds` are applied.
    pub mode: &'static str,
    /// What the role would be told, were it not in shadow mode; `None` where that would be the same.
    pub spared: Option<Spared>,
    pub touches: Vec<TouchExplained>,
    /// What restricts the touched tables and collections that have rules, whichever grant allows the statement.
    pub rules: Vec<RulesExplained>,
    /// `max_rows` and `timeout_ms` that hold for the request as a whole.
    pub bounds: BTreeMap<&'static str, Value>,
    /// What the policy lacks, as TOML to paste; empty where nothing would help.
    pub missing_grants: String,
    pub policy_digest: String,
}

/// What shadow mode lets pass.
#[derive(Debug, Clone, Serialize)]
pub struct Spared {
    /// `None` where columns or rows would have been restricted.
    pub code: Option<&'static str>,
    pub detail: String,
}

/// What became of a touch; a [`Verdict`] without what it borrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    Granted,
    Denied,
    /// By a deny rule.
    DeniedBy,
    WrongStore,
    UnknownObject,
}

/// One touch and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct TouchExplained {
    pub object: String,
    pub action: &'static str,
    pub verdict: Judgement,
    /// Where the object lives, if that is another store.
    pub lives_in: Option<&'static str>,
    /// The grant, or the deny rule; where it is granted at other times, that grant.
    pub rule: Option<Place>,
    /// When it is granted, where it is not now.
    pub hours: Vec<String>,
    /// A known name that may have been meant, for the operator alone: it may be of what the role may not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
    /// Whether it is reached through a view, a trigger or a foreign key.
    pub reached: bool,
}

/// The rules of one table or collection.
#[derive(Debug, Clone, Serialize)]
pub struct RulesExplained {
    pub object: String,
    /// `columns`, `deny_columns`, `mask_columns`, `rows`, `require_where`, `max_rows`, `timeout_ms`, as a policy has them.
    #[serde(flatten)]
    pub clauses: BTreeMap<&'static str, Value>,
    /// The grants that they come from.
    pub at: Vec<Place>,
}

impl Policy {
    /// Explains what was decided: a refusal, or what shadow mode spared.
    pub fn explanation(
        &self,
        question: Question<'_>,
        decided: Result<Option<&Shadow>, &Problem>,
        audience: Audience,
    ) -> Explanation {
        let Question {
            caller, operation, ..
        } = question;
        let (store, classification) = (operation.store, &operation.classification);
        let (verdicts, _) = self.explain(question);
        let role = self.role(&caller.role);
        let refused = decided.err();
        let place = |place: &Place| match audience {
            Audience::Operator => place.clone(),
            Audience::Caller => place.without_folder(),
        };
        let mut rules: Vec<RulesExplained> = Vec::new();
        let mut bounds = role.map(|role| role.bounds()).unwrap_or_default();
        for touch in &classification.touches {
            let object = touch.object.to_string();
            let (clauses, grants) = self.demanded_of(&caller.role, store, &touch.object);
            if clauses.is_empty() || rules.iter().any(|known| known.object == object) {
                continue;
            }
            for grant in &grants {
                bounds = bounds.and(grant.bounds());
            }
            rules.push(RulesExplained {
                object,
                clauses: by_key(clauses),
                at: grants.iter().map(|grant| place(grant.place())).collect(),
            });
        }
        let touches = verdicts.iter();
        let touches = touches.map(|verdict| TouchExplained {
            did_you_mean: match audience {
                Audience::Operator => self.meant(store, verdict),
                Audience::Caller => None,
            },
            ..self.touch(verdict, question, &place)
        });
        Explanation {
            decision: if refused.is_none() { "allow" } else { "deny" },
            code: refused.map(|problem| problem.code.as_str()),
            detail: refused.map(|problem| problem.detail.clone()),
            lives_in: refused.and_then(|problem| problem.lives_in.map(Store::as_str)),
            objects: refused.map_or_else(Vec::new, |problem| problem.objects.clone()),
            role: caller.role.clone(),
            store: store.as_str(),
            mode: role.map_or(Mode::Enforce, |role| role.mode()).as_str(),
            spared: decided.ok().flatten().map(spared),
            touches: touches.collect(),
            rules,
            bounds: by_key(words::of_bounds(bounds)),
            missing_grants: self.missing(&caller.role, store, &verdicts, classification),
            policy_digest: self.digest().to_owned(),
        }
    }

    fn touch(
        &self,
        TouchVerdict { touch, verdict }: &TouchVerdict<'_>,
        question: Question<'_>,
        place: &impl Fn(&Place) -> Place,
    ) -> TouchExplained {
        let at = |grant: &Grant| Some(place(grant.place()));
        let (verdict, lives_in, rule, timed) = match verdict {
            Verdict::Allowed(grant) => (Judgement::Granted, None, at(grant), None),
            Verdict::WrongStore(home) => (Judgement::WrongStore, Some(home.as_str()), None, None),
            Verdict::Unknown { .. } => (Judgement::UnknownObject, None, None, None),
            Verdict::DeniedBy(rule) => (Judgement::DeniedBy, None, at(rule), None),
            Verdict::OutsideHours(grant) => (Judgement::Denied, None, at(grant), Some(*grant)),
            Verdict::Denied => (Judgement::Denied, None, None, None),
        };
        let hours = timed.into_iter().flat_map(Grant::hours).map(str::to_owned);
        TouchExplained {
            object: touch.object.to_string(),
            action: touch.action.as_str(),
            verdict,
            lives_in,
            rule,
            hours: hours.collect(),
            did_you_mean: None,
            reached: question
                .operation
                .classification
                .reached
                .contains(&touch.object),
        }
    }

    /// The known name that is nearest to one that lives nowhere.
    fn meant(&self, store: Store, verdict: &TouchVerdict<'_>) -> Option<String> {
        match (verdict.verdict, &verdict.touch.object) {
            (Verdict::Unknown { .. }, Object::Named { name, .. }) => {
                nearest(name, self.objects(store)).map(str::to_owned)
            }
            (
                Verdict::Unknown { .. }
                | Verdict::Allowed(_)
                | Verdict::WrongStore(_)
                | Verdict::OutsideHours(_)
                | Verdict::Denied
                | Verdict::DeniedBy(_),
                _,
            ) => None,
        }
    }

    /// What the policy lacks, as TOML to paste. Only for what lives in this store: anything else is not a matter of
    /// grants.
    fn missing(
        &self,
        role: &str,
        store: Store,
        verdicts: &[TouchVerdict<'_>],
        classification: &Classification,
    ) -> String {
        let mut text = String::new();
        let (Some(_), Some(objects)) = (self.role(role), self.stores.get(store)) else {
            return text;
        };
        text += &unlisted(store, objects, classification);
        let mut wanted: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for TouchVerdict { touch, verdict } in verdicts {
            match (verdict, &touch.object) {
                (
                    Verdict::Denied | Verdict::OutsideHours(_),
                    Object::Named { .. } | Object::Key(_) | Object::Keys(_),
                ) => {
                    wanted
                        .entry(touch.object.to_string())
                        .or_default()
                        .push(touch.action);
                }
                (
                    Verdict::Allowed(_)
                    | Verdict::WrongStore(_)
                    | Verdict::Unknown { .. }
                    | Verdict::DeniedBy(_),
                    _,
                ) => {}
            }
        }
        let key = objects_key(store);
        for (object, actions) in wanted {
            let actions = names(actions.into_iter().map(Action::as_str));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "[[roles.{}.grants]]\nstore = \"{store}\"\n{key} = {}\nactions = {actions}",
                bare(role),
                names([object.as_str()])
            );
        }
        text
    }
}

/// The functions and scripts that the policy would have to list.
fn unlisted(store: Store, objects: &StoreObjects, classification: &Classification) -> String {
    let functions = objects.unlisted_functions(&classification.functions);
    let scripts = objects.unlisted_scripts(&classification.scripts);
    let mut text = String::new();
    if !functions.is_empty() {
        let _ = writeln!(text, "[stores.{store}]\nfunctions = {}", names(functions));
    }
    if !scripts.is_empty() {
        let digests = scripts.iter().map(|script| script.digest.as_str());
        let _ = writeln!(text, "[stores.{store}]\nscripts = {}", names(digests));
    }
    text
}

fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> Value {
    let names = names.into_iter().map(Value::from);
    names.collect::<Vec<Value>>().into()
}

/// A key of a table, in quotes where it needs them.
fn bare(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(is_bare) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

fn by_key(clauses: Vec<Clause>) -> BTreeMap<&'static str, Value> {
    let pairs = clauses.into_iter().map(|clause| (clause.key, clause.value));
    pairs.collect()
}

fn spared(shadow: &Shadow) -> Spared {
    match shadow {
        Shadow::Refused(refusal) => Spared {
            code: Some(refusal.0.code.as_str()),
            detail: refusal.0.detail.clone(),
        },
        Shadow::Restricted => Spared {
            code: None,
            detail: "columns or rows would be restricted".to_owned(),
        },
    }
}
