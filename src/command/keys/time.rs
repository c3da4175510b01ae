//! Times and spans on the command line.

use std::time::Duration;

use jiff::{Timestamp, Zoned};

/// A time in the future, as RFC 3339.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let at: Timestamp = text
        .parse()
        .map_err(|_| format!("`{text}` is not a time (2027-01-31T00:00:00Z)"))?;
    in_future(text, at, &Zoned::now())
}

/// The end of a span that begins now.
pub fn span(text: &str) -> Result<Timestamp, String> {
    let now = Zoned::now();
    in_future(text, end(text, &now)?, &now)
}

/// How long a span is that begins now; it may be empty.
pub fn overlap(text: &str) -> Result<Duration, String> {
    let now = Zoned::now();
    let lasts = end(text, &now)?.duration_since(now.timestamp());
    Duration::try_from(lasts).map_err(|_| format!("`{text}` is in the past"))
}

fn end(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let span: jiff::Span = text
        .parse()
        .map_err(|_| format!("`{text}` is not a span (90d, 12h)"))?;
    let end = now.checked_add(span).map_err(|error| error.to_string())?;
    Ok(end.timestamp())
}

fn in_future(text: &str, at: Timestamp, now: &Zoned) -> Result<Timestamp, String> {
    if at > now.timestamp() {
        Ok(at)
    } else {
        Err(format!("`{text}` is in the past"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_in_the_future() {
        for (is_right, text) in [
            (moment("2099-01-01T00:00:00Z").is_ok(), "a time"),
            (moment("90d").is_err(), "no time"),
            (
                moment("2001-01-01T00:00:00Z").is_err(),
                "a time that is over",
            ),
            (span("90d").is_ok(), "a span"),
            (span("2099-01-01T00:00:00Z").is_err(), "no span"),
            (span("-1d").is_err(), "a span back"),
            (span("0s").is_err(), "no span at all"),
            (span("soon").is_err(), "a word"),
            (span("").is_err(), "nothing"),
        ] {
            assert!(is_right, "{text}");
        }
    }

    #[test]
    fn an_overlap_may_be_empty() {
        assert_eq!(overlap("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(overlap("0s"), Ok(Duration::ZERO));
        for bad in ["-1h", "0", "soon", ""] {
            assert!(overlap(bad).is_err(), "{bad}");
        }
    }
}
