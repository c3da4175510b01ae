//! `bulkhead policy explain --policy PATH --role ROLE --store STORE REQUEST`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::report::{self, PlaceJson};
use super::request::{Body, caller, classify};
use super::{Exit, ExplainArgs, Format};
use crate::classify::{STATEMENT_BYTES_MAX, Session};
use crate::decide::rules::Mode;
use crate::decide::{Grant, Policy, Question, TouchVerdict, Verdict};
use crate::error::Problem;
use crate::operation::{Action, Object, Operation, Payload, Store};

pub(super) fn run(
    policy: &Policy,
    args: &ExplainArgs,
    input: &mut impl Read,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let (Some(role), Some(store), Some(request)) = (&args.role, args.store, &args.request) else {
        writeln!(
            errors,
            "error: name the role, the store and the request, or use --batch"
        )?;
        return Ok(Exit::Usage);
    };
    let bytes;
    let body = if request == "-" {
        bytes = read_request(input)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Body::Text(text.trim_end_matches(['\r', '\n'])),
            Err(_) => Body::Bytes(&bytes),
        }
    } else {
        Body::Text(request)
    };
    let session = if args.session {
        Session::Own
    } else {
        Session::Shared
    };
    let caller = caller(role, args.user_id.as_deref());
    let (operation, unclassified) = match classify(policy, store, body, session) {
        Ok(operation) => (operation, None),
        Err(problem) => (nothing(store), Some(problem)),
    };
    let (verdicts, outcome) = policy.explain(Question {
        caller: &caller,
        operation: &operation,
        now: Timestamp::now(),
    });
    let mut rules: Vec<(&Object, &Grant)> = Vec::new();
    for touch in &operation.classification.touches {
        let ruling = policy.ruling(role, store, &touch.object).into_iter();
        rules.extend(ruling.map(|grant| (&touch.object, grant)));
    }
    rules.dedup_by_key(|(object, grant)| (*object, grant.place()));
    let decision = Decision {
        role,
        store,
        verdicts,
        rules,
        is_shadow: policy
            .role(role)
            .is_some_and(|role| role.mode() == Mode::Shadow),
        refusal: unclassified.or(outcome.err().map(|refusal| refusal.0)),
    };
    match args.format {
        Format::Text => {
            output.write_all(decision.text().as_bytes())?;
            if policy.role(role).is_none() {
                let names: Vec<&str> = policy.roles().iter().map(|role| role.name()).collect();
                writeln!(output, "\nroles of this policy\n  {}", names.join(", "))?;
            }
        }
        Format::Json => report::json_line(output, &decision.json(policy))?,
    }
    Ok(if decision.refusal.is_none() {
        Exit::Done
    } else {
        Exit::No
    })
}

/// The operation of a request that could not be classified.
fn nothing(store: Store) -> Operation {
    Operation {
        store,
        classification: Arc::default(),
        payload: Payload::Sql("".into()),
    }
}

/// Reads one byte more than a classifier would take, so that the classifier says that it is too large.
fn read_request(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input
        .take(STATEMENT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A decision with all its reasons.
struct Decision<'a> {
    role: &'a str,
    store: Store,
    verdicts: Vec<TouchVerdict<'a>>,
    /// The grants whose rules hold where an object is used.
    rules: Vec<(&'a Object, &'a Grant)>,
    is_shadow: bool,
    refusal: Option<Problem>,
}

impl Decision<'_> {
    fn text(&self) -> String {
        let mut text = match &self.refusal {
            None => format!(
                "allow: role `{}` may do this in {}\n",
                self.role, self.store
            ),
            Some(problem) => format!("deny: {}\n  {}\n", problem.code.as_str(), problem.detail),
        };
        if self.is_shadow {
            text += "  the role is in shadow mode: what only lacks a grant is recorded and let through\n";
        }
        if self.verdicts.is_empty() && self.refusal.is_none() {
            text += "  it touches nothing, and the role is granted something in this store\n";
        }
        if !self.verdicts.is_empty() {
            text += "\ntouches\n";
        }
        for TouchVerdict { touch, verdict } in &self.verdicts {
            let verdict = match verdict {
                Verdict::Allowed(grant) => format!("granted at {}", report::rule(grant)),
                Verdict::WrongStore(home) => format!("lives in {home}"),
                Verdict::Unknown { .. } => "lives nowhere".to_owned(),
                Verdict::Denied => "not granted".to_owned(),
                Verdict::OutsideHours(grant) => format!(
                    "granted within `{}` alone, at {}",
                    grant.hours_in_words(),
                    report::rule(grant)
                ),
                Verdict::DeniedBy(rule) => format!("denied at {}", report::rule(rule)),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {:<7} {}: {verdict}",
                touch.action.as_str(),
                touch.object
            );
        }
        if !self.rules.is_empty() {
            text += "\nrules\n";
        }
        for (object, grant) in &self.rules {
            let _ = writeln!(
                text,
                "  {object}: {} at {}",
                grant.rules_in_words(),
                report::rule(grant)
            );
        }
        let missing = self.missing_grants();
        if !missing.is_empty() {
            text += "\nwould have to be granted\n";
            for line in missing.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }

    /// The grants that the policy lacks, as TOML to paste. Only for what lives in this store: anything else is
    /// not a matter of grants.
    fn missing_grants(&self) -> String {
        let mut wanted: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for TouchVerdict { touch, verdict } in &self.verdicts {
            match (verdict, &touch.object) {
                (Verdict::Denied, Object::Named { .. } | Object::Key(_) | Object::Keys(_)) => {
                    wanted
                        .entry(touch.object.to_string())
                        .or_default()
                        .push(touch.action);
                }
                (
                    Verdict::Allowed(_)
                    | Verdict::WrongStore(_)
                    | Verdict::Unknown { .. }
                    | Verdict::OutsideHours(_)
                    | Verdict::DeniedBy(_),
                    _,
                ) => {}
            }
        }
        let key = match self.store {
            Store::Postgres | Store::Mysql => "tables",
            Store::Mongodb => "collections",
            Store::Redis => "keys",
        };
        let mut text = String::new();
        for (object, actions) in wanted {
            let actions: Vec<&str> = actions.into_iter().map(Action::as_str).collect();
            let _ = writeln!(text, "[[roles.{}.grants]]", self.role);
            let _ = writeln!(text, "store = \"{}\"", self.store);
            let _ = writeln!(text, "{key} = [{}]", toml::Value::String(object));
            let _ = writeln!(text, "actions = [\"{}\"]", actions.join("\", \""));
        }
        text
    }

    fn json(&self, policy: &Policy) -> Value {
        let touches: Vec<Value> = self.verdicts.iter().map(touch_json).collect();
        let refusal = self.refusal.as_ref();
        json!({
            "decision": if refusal.is_none() { "allow" } else { "deny" },
            "code": refusal.map(|problem| problem.code.as_str()),
            "detail": refusal.map(|problem| problem.detail.as_str()),
            "lives_in": refusal.and_then(|problem| problem.lives_in).map(Store::as_str),
            "objects": refusal.map_or(&[][..], |problem| &problem.objects),
            "role": self.role,
            "store": self.store.as_str(),
            "touches": touches,
            "rules": self.rules.iter().map(rule_json).collect::<Vec<_>>(),
            "mode": if self.is_shadow { Mode::Shadow } else { Mode::Enforce }.as_str(),
            "missing_grants": self.missing_grants(),
            "roles": policy.roles().iter().map(|role| role.name().to_owned()).collect::<Vec<_>>(),
            "policy_digest": policy.digest(),
        })
    }
}

fn rule_json((object, grant): &(&Object, &Grant)) -> Value {
    json!({
        "object": object.to_string(),
        "demands": grant.rules_in_words(),
        "rule": PlaceJson::from(grant.place()),
    })
}

fn touch_json(TouchVerdict { touch, verdict }: &TouchVerdict<'_>) -> Value {
    let (verdict, rule) = match verdict {
        Verdict::Allowed(grant) => ("granted", Some(PlaceJson::from(grant.place()))),
        Verdict::WrongStore(_) => ("wrong_store", None),
        Verdict::Unknown { .. } => ("unknown_object", None),
        Verdict::Denied => ("denied", None),
        Verdict::OutsideHours(grant) => ("outside_hours", Some(PlaceJson::from(grant.place()))),
        Verdict::DeniedBy(rule) => ("denied_by", Some(PlaceJson::from(rule.place()))),
    };
    json!({
        "object": touch.object.to_string(),
        "action": touch.action.as_str(),
        "verdict": verdict,
        "rule": rule,
    })
}
