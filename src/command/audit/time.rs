//! Times in the past on the command line.

use jiff::{Timestamp, Zoned};

use crate::trail::Micros;

/// A time (RFC 3339), or how long ago (`2h`, `7d`).
pub fn past(text: &str) -> Result<Micros, String> {
    past_of(text, &Zoned::now())
}

fn past_of(text: &str, now: &Zoned) -> Result<Micros, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Micros(at.as_microsecond()));
    }
    let fault =
        || format!("`{text}` is neither a time (2026-01-31T00:00:00Z) nor how long ago (2h, 7d)");
    let span: jiff::Span = text.parse().map_err(|_| fault())?;
    let at = now.checked_sub(span).map_err(|_| fault())?.timestamp();
    if at > now.timestamp() {
        return Err(fault());
    }
    Ok(Micros(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_how_long_ago() {
        let now: Zoned = "2026-03-02T12:00:00+00:00[UTC]".parse().unwrap();
        for (text, expected) in [
            ("2026-03-01T00:00:00Z", Some("2026-03-01T00:00:00Z")),
            ("2026-03-01T00:00:00+02:00", Some("2026-02-28T22:00:00Z")),
            ("2h", Some("2026-03-02T10:00:00Z")),
            ("7d", Some("2026-02-23T12:00:00Z")),
            ("-2h", None),
            ("yesterday", None),
            ("", None),
        ] {
            let found = past_of(text, &now).ok().map(|at| at.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
