//! `bulkhead policy explain --policy PATH --role ROLE --store STORE REQUEST`.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::report;
use super::request::{Body, caller, classify};
use super::{Exit, ExplainArgs, Format};
use crate::classify::{STATEMENT_BYTES_MAX, Session};
use crate::decide::rules::Mode;
use crate::decide::{Audience, Explanation, Judgement, Place, Policy, Question, TouchExplained};
use crate::operation::Operation;

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
        Err(problem) => (Operation::unclassified(store), Some(problem)),
    };
    let question = Question {
        caller: &caller,
        operation: &operation,
        now: args.at.unwrap_or_else(Timestamp::now),
    };
    let (_, outcome) = policy.explain(question);
    let refusal = unclassified.or(outcome.err().map(|refusal| refusal.0));
    let decided = refusal.as_ref().map_or(Ok(None), Err);
    let explanation = policy.explanation(question, decided, Audience::Operator);
    match args.format {
        Format::Text => {
            output.write_all(text(&explanation).as_bytes())?;
            if policy.role(role).is_none() {
                let names: Vec<&str> = policy.roles().iter().map(|role| role.name()).collect();
                writeln!(output, "\nroles of this policy\n  {}", names.join(", "))?;
            }
        }
        Format::Json => report::json_line(output, &explanation)?,
    }
    Ok(if refusal.is_none() {
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

/// An explanation for people. Writing to a string cannot fail.
fn text(explained: &Explanation) -> String {
    let (role, store) = (&explained.role, explained.store);
    let mut text = match (explained.code, &explained.detail) {
        (Some(code), Some(detail)) => format!("deny: {code}\n  {detail}\n"),
        (_, _) => format!("allow: role `{role}` may do this in {store}\n"),
    };
    if explained.mode == Mode::Shadow.as_str() {
        text += "  the role is in shadow mode: what only lacks a grant is recorded and let through, and no rules are \
                 applied\n";
    }
    if explained.touches.is_empty() && explained.code.is_none() {
        text += "  it touches nothing, and the role is granted something in this store\n";
    }
    if !explained.touches.is_empty() {
        text += "\ntouches\n";
    }
    for touch in &explained.touches {
        let (action, object) = (touch.action, &touch.object);
        let _ = writeln!(text, "  {action:<7} {object}: {}", verdict(touch));
    }
    if !explained.rules.is_empty() {
        text += "\nrules\n";
    }
    for rules in &explained.rules {
        let at: Vec<String> = rules.at.iter().map(line).collect();
        let _ = writeln!(text, "  {}, from {}", rules.object, at.join(", "));
        for (key, value) in &rules.clauses {
            let _ = writeln!(text, "    {key} = {value}");
        }
    }
    let is_understood = explained.code.is_none() || !explained.touches.is_empty();
    if is_understood && !explained.bounds.is_empty() {
        text += "\nbounds of the request\n";
    }
    for (key, value) in explained.bounds.iter().filter(|_| is_understood) {
        let _ = writeln!(text, "  {key} = {value}");
    }
    if !explained.missing_grants.is_empty() {
        text += "\nwould have to be granted\n";
    }
    for line in explained.missing_grants.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn verdict(touch: &TouchExplained) -> String {
    let at = touch.rule.as_ref().map(line).unwrap_or_default();
    match touch.verdict {
        Judgement::Granted => format!("granted at {at}"),
        Judgement::DeniedBy => format!("denied at {at}, whatever else is granted"),
        Judgement::WrongStore => format!("lives in {}", touch.lives_in.unwrap_or_default()),
        Judgement::UnknownObject => match &touch.did_you_mean {
            Some(name) => format!("lives nowhere; did you mean `{name}`?"),
            None => "lives nowhere".to_owned(),
        },
        Judgement::Denied if touch.hours.is_empty() => "not granted".to_owned(),
        Judgement::Denied => format!("not granted now, but {} at {at}", touch.hours.join(", ")),
    }
}

fn line(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}
