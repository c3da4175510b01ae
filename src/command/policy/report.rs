//! How faults and decisions are shown, to people and to machines.

use std::io::{self, IsTerminal as _, Write};

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use super::{Exit, Format, LoadFault};
use crate::decide::{Fault, Grant, Place, Severity};

/// Widest line of a report, in columns.
const REPORT_COLUMNS: usize = 100;

/// Reports why there is no policy.
pub(super) fn load_fault(
    fault: &LoadFault,
    format: Format,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    match (format, fault) {
        (Format::Json, LoadFault::Faults(faults)) => {
            let faults: Vec<_> = faults.0.iter().map(FaultJson::from).collect();
            json_line(
                output,
                &serde_json::json!({ "valid": false, "faults": faults }),
            )?;
        }
        (Format::Json, other) => {
            let fault = serde_json::json!({ "severity": "error", "message": other.to_string() });
            json_line(
                output,
                &serde_json::json!({ "valid": false, "faults": [fault] }),
            )?;
        }
        (Format::Text, LoadFault::Faults(faults)) => {
            self::faults(&faults.0, errors)?;
            let count = faults
                .0
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .count();
            let s = if count == 1 { "" } else { "s" };
            writeln!(errors, "the policy is refused: {count} fault{s}")?;
        }
        (Format::Text, other) => writeln!(errors, "error: {other}")?,
    }
    Ok(Exit::Usage)
}

/// Faults that are drawn; the others are a line each.
const FAULTS_DRAWN_MAX: usize = 50;

/// Shows faults with their lines and carets.
pub(super) fn faults(faults: &[Fault], errors: &mut impl Write) -> io::Result<()> {
    let theme = if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(REPORT_COLUMNS);
    let (drawn, listed) = faults.split_at(faults.len().min(FAULTS_DRAWN_MAX));
    for fault in drawn {
        let mut text = String::new();
        // A fault that cannot be drawn is still told.
        if handler.render_report(&mut text, fault).is_err() {
            text = format!("{}: {}", fault.place, fault.message);
        }
        writeln!(errors, "{}", text.trim_end())?;
        writeln!(errors)?;
    }
    for fault in listed {
        let help = fault.help.as_deref().unwrap_or_default();
        writeln!(errors, "{}: {} {help}", fault.place, fault.message)?;
    }
    Ok(())
}

pub(super) fn json_line(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

/// A fault for machines.
#[derive(Debug, Serialize)]
pub(super) struct FaultJson<'f> {
    severity: &'static str,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'f str>,
    #[serde(flatten)]
    place: &'f Place,
}

impl<'f> From<&'f Fault> for FaultJson<'f> {
    fn from(fault: &'f Fault) -> Self {
        Self {
            severity: match fault.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            message: &fault.message,
            help: fault.help.as_deref(),
            place: &fault.place,
        }
    }
}

/// `file:line` of a grant.
pub(super) fn rule(grant: &Grant) -> String {
    let place = grant.place();
    format!("{}:{}", place.file, place.line)
}
