//! A row as it is printed.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{AuditError, Format};
use crate::trail::Row;

/// Prints a row as a line.
pub fn print(row: &Row, format: Format) -> Result<(), AuditError> {
    let line = match format {
        Format::Json => {
            serde_json::to_string(row).map_err(|error| AuditError::Output(error.into()))?
        }
        Format::Text => text(row),
    };
    writeln!(io::stdout(), "{line}").map_err(AuditError::Output)
}

/// Time, id, who, what, how it ended, and what it was about; what is not there is left out.
fn text(row: &Row) -> String {
    let mut line = format!("{}  {}", row.occurred_at, row.id);
    let who = row.key_id.as_deref().or(row.user_id.as_deref());
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(line, "  {name}{}", plain(value));
        }
    };
    add("", Some(who.unwrap_or(&row.account)));
    add("", row.role.as_deref());
    add("", row.store.as_deref());
    add("", Some(&row.action));
    add("", row.phase.as_deref());
    add("", row.decision.as_deref());
    add("", row.code.as_deref());
    let objects: Vec<&str> = row.objects.iter().flatten().map(String::as_str).collect();
    add(
        "",
        Some(objects.join(" ").as_str()).filter(|text| !text.is_empty()),
    );
    add("", row.resource_type.as_deref());
    add(
        "rows=",
        row.rows_affected.map(|rows| rows.to_string()).as_deref(),
    );
    add("us=", row.duration_us.map(|us| us.to_string()).as_deref());
    add("request=", row.request_id.as_deref());
    add("", row.statement.as_deref());
    add(
        "",
        row.metadata
            .as_deref()
            .map(serde_json::value::RawValue::get),
    );
    line
}

/// What a caller may have named must not move a terminal's cursor or begin a line.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        // Also what turns or breaks a line without being a control character.
        if character.is_control()
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_make_a_line() {
        assert_eq!(plain("a\n\u{1b}[2Jé"), "a\\n\\u{1b}[2Jé");
    }
}
