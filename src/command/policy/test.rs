//! `bulkhead policy test PATH`: the cases of the `*.test.toml` files beside a policy.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::coverage::Coverage;
use super::load::{read_all, test_files};
use super::report;
use super::request::{Body, caller, classify};
use super::{Exit, Format, LoadFault, TestArgs, load};
use crate::classify::Session;
use crate::decide::{Case, CaseRequest, Expectation, Policy, Question};
use crate::error::{Code, Problem};
use crate::operation::Operation;

pub(super) fn run(
    args: &TestArgs,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let (policy, cases) = match load_both(args) {
        Ok(both) => both,
        Err(fault) => return report::load_fault(&fault, args.format, output, errors),
    };
    let outcomes: Vec<Option<Problem>> = cases.iter().map(|case| judge(&policy, case)).collect();
    let failed = cases
        .iter()
        .zip(&outcomes)
        .filter(|(case, outcome)| !meets(case.expectation, outcome.as_ref()))
        .count();
    let coverage = coverage(&policy, &cases);
    match args.format {
        Format::Json => {
            let mut answer = as_json(&cases, &outcomes, failed);
            if let Some(members) = answer.as_object_mut() {
                members.insert("uncovered".into(), json!(coverage.left()));
            }
            report::json_line(output, &answer)?;
        }
        Format::Text => {
            for (case, outcome) in cases.iter().zip(&outcomes) {
                if !meets(case.expectation, outcome.as_ref()) {
                    write!(output, "{}", failure(case, outcome.as_ref()))?;
                }
            }
            let passed = cases.len() - failed;
            for part in coverage.left() {
                writeln!(output, "{part}")?;
            }
            writeln!(output, "{passed} passed, {failed} failed; {coverage}")?;
        }
    }
    if cases.is_empty() {
        writeln!(
            errors,
            "error: no case in a `*.test.toml` file beside `{}`",
            args.path.display()
        )?;
        return Ok(Exit::Usage);
    }
    let is_covered = coverage.left().is_empty() || !args.require_coverage;
    Ok(if failed == 0 && is_covered {
        Exit::Done
    } else {
        Exit::No
    })
}

fn load_both(args: &TestArgs) -> Result<(Policy, Vec<Case>), LoadFault> {
    let policy = load(&args.path)?;
    let cases = Case::read(&read_all(&test_files(&args.path)?)?)?;
    Ok((policy, cases))
}

/// Why a case's request is refused; `None` where it is allowed.
fn judge(policy: &Policy, case: &Case) -> Option<Problem> {
    match classified(policy, case) {
        Err(problem) => Some(problem),
        Ok(operation) => {
            let (_, outcome) = policy.explain(Question {
                caller: &caller(&case.role, case.user_id.as_deref()),
                operation: &operation,
                now: case.at.unwrap_or_else(Timestamp::now),
            });
            outcome.err().map(|refusal| refusal.0)
        }
    }
}

/// What the cases exercise.
fn coverage(policy: &Policy, cases: &[Case]) -> Coverage {
    let mut coverage = Coverage::new(policy);
    for case in cases {
        if let Ok(operation) = classified(policy, case) {
            coverage.note(policy, case, &operation);
        }
    }
    coverage
}

fn classified(policy: &Policy, case: &Case) -> Result<Operation, Problem> {
    let session = if case.session {
        Session::Own
    } else {
        Session::Shared
    };
    let body = match &case.request {
        CaseRequest::Text(text) => Body::Text(text),
        CaseRequest::Json(json) => Body::Json(json),
    };
    classify(policy, case.store, body, session)
}

fn meets(expected: Expectation, outcome: Option<&Problem>) -> bool {
    match (expected, outcome) {
        (Expectation::Allow, None) | (Expectation::Deny(None), Some(_)) => true,
        (Expectation::Deny(Some(code)), Some(problem)) => problem.code == code,
        (Expectation::Allow, Some(_)) | (Expectation::Deny(_), None) => false,
    }
}

fn words(code: Option<Code>, denied: bool) -> String {
    match (denied, code) {
        (false, _) => "allow".to_owned(),
        (true, None) => "deny".to_owned(),
        (true, Some(code)) => format!("deny ({})", code.as_str()),
    }
}

fn expected_words(expectation: Expectation) -> String {
    match expectation {
        Expectation::Allow => words(None, false),
        Expectation::Deny(code) => words(code, true),
    }
}

fn outcome_words(outcome: Option<&Problem>) -> String {
    words(outcome.map(|problem| problem.code), outcome.is_some())
}

fn request_text(case: &Case) -> &str {
    match &case.request {
        CaseRequest::Text(text) | CaseRequest::Json(text) => text,
    }
}

fn failure(case: &Case, outcome: Option<&Problem>) -> String {
    let name = case.name.as_deref().unwrap_or_else(|| request_text(case));
    let mut text = format!(
        "{}:{}: FAILED {name}\n  role {} in {}: {}\n  expected {}, got {}\n",
        case.place.file,
        case.place.line,
        case.role,
        case.store,
        request_text(case),
        expected_words(case.expectation),
        outcome_words(outcome),
    );
    if let Some(problem) = outcome {
        text += &format!("  {}\n", problem.detail);
    }
    text
}

fn as_json(cases: &[Case], outcomes: &[Option<Problem>], failed: usize) -> Value {
    let case = |(case, outcome): (&Case, &Option<Problem>)| {
        json!({
            "name": case.name,
            "place": case.place,
            "role": case.role,
            "store": case.store.as_str(),
            "request": request_text(case),
            "expected": expected_words(case.expectation),
            "got": outcome_words(outcome.as_ref()),
            "detail": outcome.as_ref().map(|problem| problem.detail.as_str()),
            "passed": meets(case.expectation, outcome.as_ref()),
        })
    };
    let list: Vec<Value> = cases.iter().zip(outcomes).map(case).collect();
    json!({ "passed": cases.len() - failed, "failed": failed, "cases": list })
}
