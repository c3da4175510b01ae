//! `bulkhead policy explain --policy PATH --role ROLE --store STORE REQUEST`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};

use serde_json::{Value, json};

use super::report::{self, PlaceJson};
use super::request::{Body, classify};
use super::{Exit, ExplainArgs, Format};
use crate::classify::{STATEMENT_BYTES_MAX, Session};
use crate::decide::{Policy, TouchVerdict, Verdict};
use crate::error::Problem;
use crate::operation::{Action, Classification, Object, Store};

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
    let (classification, unclassified) = match classify(policy, store, body, session) {
        Ok(classification) => (classification, None),
        Err(problem) => (Classification::default(), Some(problem)),
    };
    let (verdicts, outcome) = policy.explain(role, store, &classification);
    let decision = Decision {
        role,
        store,
        verdicts,
        refusal: unclassified.or(outcome.err().map(|refusal| refusal.0)),
    };
    match args.format {
        Format::Text => output.write_all(decision.text().as_bytes())?,
        Format::Json => report::json_line(output, &decision.json(policy))?,
    }
    Ok(if decision.refusal.is_none() {
        Exit::Done
    } else {
        Exit::No
    })
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
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {:<7} {}: {verdict}",
                touch.action.as_str(),
                touch.object
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
                (Verdict::Allowed(_) | Verdict::WrongStore(_) | Verdict::Unknown { .. }, _) => {}
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
            "missing_grants": self.missing_grants(),
            "policy_digest": policy.digest(),
        })
    }
}

fn touch_json(TouchVerdict { touch, verdict }: &TouchVerdict<'_>) -> Value {
    let (verdict, rule) = match verdict {
        Verdict::Allowed(grant) => ("granted", Some(PlaceJson::from(grant.place()))),
        Verdict::WrongStore(_) => ("wrong_store", None),
        Verdict::Unknown { .. } => ("unknown_object", None),
        Verdict::Denied => ("denied", None),
    };
    json!({
        "object": touch.object.to_string(),
        "action": touch.action.as_str(),
        "verdict": verdict,
        "rule": rule,
    })
}
