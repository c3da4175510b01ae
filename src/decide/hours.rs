//! When a grant holds: `mon-fri 08:00-18:00 Europe/Zurich`.
//!
//! The time zones are those that were built in, so that a policy means the same on every machine.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::fault::nearest;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

const MINUTES_OF_DAY: u16 = 24 * 60;

/// How to write it.
const EXAMPLE: &str =
    "write days, times and a time zone, as in `mon-fri 08:00-18:00 Europe/Zurich`";

/// One span of time that comes back every week.
#[derive(Debug, Clone)]
pub(super) struct Hours {
    /// As the policy has it, between single blanks.
    written: Box<str>,
    /// Monday first.
    days: [bool; 7],
    /// Minutes of the day. One that ends before it begins goes on after midnight.
    from: u16,
    to: u16,
    zone: TimeZone,
}

/// What is wrong, and what to write.
pub(super) type HoursFault = (String, String);

impl Hours {
    /// Reads `[days] from-to zone`; without days it is every day.
    pub(super) fn parse(text: &str) -> Result<Self, HoursFault> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (days, times, zone) = match words.as_slice() {
            [days, times, zone] => (days_of(days)?, *times, *zone),
            [times, zone] if times.contains(':') => ([true; 7], *times, *zone),
            _ => return Err((format!("`{text}` is not a time window"), EXAMPLE.into())),
        };
        let (from, to) = times
            .split_once('-')
            .and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)))
            .filter(|(from, to)| from != to && *from < MINUTES_OF_DAY)
            .ok_or_else(|| {
                let help = "write two different times of day, as in `08:00-18:00`; midnight at the end is `24:00`";
                (format!("`{times}` is not a span of time"), help.to_owned())
            })?;
        Ok(Self {
            written: words.join(" ").into(),
            days,
            from,
            to,
            zone: zone_of(zone)?,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether `now` lies within; the end does not. What goes on after midnight belongs to the day on which it
    /// began.
    pub(super) fn contain(&self, now: Timestamp) -> bool {
        let here = now.to_zoned(self.zone.clone());
        let minute = i32::from(here.hour()) * 60 + i32::from(here.minute());
        let (from, to) = (i32::from(self.from), i32::from(self.to));
        let today = here.weekday();
        if from < to {
            return self.has(today) && (from..to).contains(&minute);
        }
        (self.has(today) && minute >= from) || (self.has(today.previous()) && minute < to)
    }

    fn has(&self, day: Weekday) -> bool {
        let at = usize::try_from(day.to_monday_zero_offset()).unwrap_or(usize::MAX);
        self.days.get(at).copied().unwrap_or(false)
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

/// `mon-fri`, `sat`, `mon,wed,fri`, `fri-mon`.
fn days_of(text: &str) -> Result<[bool; 7], HoursFault> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day_of(first)?, day_of(last)?);
        loop {
            if let Some(day) = days.get_mut(at) {
                *day = true;
            }
            if at == last {
                break;
            }
            at = (at + 1) % days.len();
        }
    }
    Ok(days)
}

fn day_of(text: &str) -> Result<usize, HoursFault> {
    let lower = text.to_ascii_lowercase();
    let at = DAYS.iter().position(|(name, _)| *name == lower);
    at.ok_or_else(|| {
        let known = DAYS.map(|(name, _)| name);
        let help = match nearest(&lower, known) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("write one of `{}`", known.join("`, `")),
        };
        (format!("`{text}` is not a day"), help)
    })
}

/// `08:00` to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let whole = hours * 60 + minutes;
    (minutes < 60 && whole <= MINUTES_OF_DAY).then_some(whole)
}

fn zone_of(name: &str) -> Result<TimeZone, HoursFault> {
    let zones = TimeZoneDatabase::bundled();
    zones.get(name).map_err(|_| {
        let known: Vec<String> = zones.available().map(|zone| zone.to_string()).collect();
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name of the IANA database, as `Europe/Zurich` or `UTC`".to_owned(),
        };
        (format!("unknown time zone `{name}`"), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        // 2024-03-31 is a Sunday, on which Zurich's clocks go forward.
        for (hours, now, expected) in [
            ("08:00-18:00 UTC", "2024-03-29T08:00:00Z", true),
            ("08:00-18:00 UTC", "2024-03-29T07:59:59Z", false),
            ("08:00-18:00 UTC", "2024-03-29T18:00:00Z", false),
            ("00:00-24:00 UTC", "2024-03-29T23:59:59Z", true),
            ("mon-fri 08:00-18:00 UTC", "2024-03-29T12:00:00Z", true),
            ("mon-fri 08:00-18:00 UTC", "2024-03-30T12:00:00Z", false),
            ("sat,sun 08:00-18:00 UTC", "2024-03-31T12:00:00Z", true),
            ("sat-mon 08:00-18:00 UTC", "2024-04-01T12:00:00Z", true),
            ("sat-mon 08:00-18:00 UTC", "2024-04-02T12:00:00Z", false),
            ("fri 22:00-06:00 UTC", "2024-03-29T23:00:00Z", true),
            ("fri 22:00-06:00 UTC", "2024-03-30T05:59:00Z", true),
            ("fri 22:00-06:00 UTC", "2024-03-30T06:00:00Z", false),
            ("fri 22:00-06:00 UTC", "2024-03-29T05:00:00Z", false),
            ("08:00-18:00 Europe/Zurich", "2024-03-30T07:00:00Z", true),
            ("08:00-18:00 Europe/Zurich", "2024-03-31T06:00:00Z", true),
            ("08:00-18:00 Europe/Zurich", "2024-03-30T06:00:00Z", false),
            (
                "Mon-Fri 08:00-18:00 America/New_York",
                "2024-03-29T12:30:00Z",
                true,
            ),
        ] {
            let parsed = Hours::parse(hours).unwrap();
            let now: Timestamp = now.parse().unwrap();
            assert_eq!(parsed.contain(now), expected, "{hours} at {now}");
        }
    }

    #[test]
    fn faults() {
        for (text, message, help) in [
            ("08:00-18:00", "is not a time window", "a time zone"),
            ("mon 08:00-18:00", "is not a time window", ""),
            ("always", "is not a time window", ""),
            ("mno 08:00-18:00 UTC", "`mno` is not a day", "`mon`"),
            ("mon-fry 08:00-18:00 UTC", "`fry` is not a day", "`fri`"),
            ("8:00-18:00 UTC", "is not a span of time", "08:00"),
            ("08:00-25:00 UTC", "is not a span of time", ""),
            ("08:00-08:00 UTC", "is not a span of time", ""),
            ("24:00-08:00 UTC", "is not a span of time", ""),
            (
                "08:00-18:00 Europe/Zürich",
                "unknown time zone",
                "`Europe/Zurich`",
            ),
            ("08:00-18:00 Moon/Base", "unknown time zone", "IANA"),
        ] {
            let (wrong, mend) = Hours::parse(text).unwrap_err();
            assert!(
                wrong.contains(message) && mend.contains(help),
                "{text}: {wrong} ({mend})"
            );
        }
    }
}
