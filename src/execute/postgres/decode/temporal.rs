//! Dates and times: RFC 3339 where it can say them, PostgreSQL's own words where it cannot (years beyond
//! 9999, ` BC`, `infinity`, `-infinity`). All of it is text that PostgreSQL reads back.

use super::number::push_number;
use super::reader::{Malformed, Reader};

const DAY_US: i64 = 86_400_000_000;
/// Days from 0000-03-01 (where the civil calendar's arithmetic is simplest) to 2000-01-01.
const EPOCH_DAYS: i64 = 730_425;

/// `date`: days from 2000-01-01.
pub(super) fn date(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let days = reader.i32()?;
    reader.end()?;
    let mut out = String::with_capacity(16);
    match days {
        i32::MAX => out.push_str("infinity"),
        i32::MIN => out.push_str("-infinity"),
        _ => {
            let era = push_date(&mut out, days.into());
            out.push_str(era);
        }
    }
    Ok(out)
}

/// `time`: microseconds from midnight; 24:00:00 is a value.
pub(super) fn time(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::with_capacity(16);
    push_time(&mut out, reader.i64()?)?;
    reader.end()?;
    Ok(out)
}

/// `timetz`: the time and the zone, in seconds west of Greenwich.
pub(super) fn timetz(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let mut out = String::with_capacity(24);
    push_time(&mut out, reader.i64()?)?;
    let east = i64::from(reader.i32()?).checked_neg().ok_or(Malformed)?;
    reader.end()?;
    out.push(if east < 0 { '-' } else { '+' });
    let east = east.abs();
    push_number(&mut out, east / 3_600, 2);
    out.push(':');
    push_number(&mut out, east / 60 % 60, 2);
    if east % 60 != 0 {
        out.push(':');
        push_number(&mut out, east % 60, 2);
    }
    Ok(out)
}

/// `timestamp` (`zone` empty) and `timestamptz` (`zone` `Z`): microseconds from 2000-01-01.
pub(super) fn timestamp(bytes: &[u8], zone: &str) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let microseconds = reader.i64()?;
    reader.end()?;
    let mut out = String::with_capacity(32);
    match microseconds {
        i64::MAX => out.push_str("infinity"),
        i64::MIN => out.push_str("-infinity"),
        _ => {
            let era = push_date(&mut out, microseconds.div_euclid(DAY_US));
            out.push('T');
            push_time(&mut out, microseconds.rem_euclid(DAY_US))?;
            out.push_str(zone);
            out.push_str(era);
        }
    }
    Ok(out)
}

/// `interval` as an ISO 8601 duration, as PostgreSQL writes it with `IntervalStyle = iso_8601`.
pub(super) fn interval(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let (microseconds, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
    reader.end()?;
    match (microseconds, days, months) {
        (0, 0, 0) => return Ok("PT0S".to_owned()),
        (i64::MAX, i32::MAX, i32::MAX) => return Ok("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let mut out = String::from("P");
    let part = |out: &mut String, value: i64, unit: char| {
        if value != 0 {
            push_number(out, value, 1);
            out.push(unit);
        }
    };
    part(&mut out, (months / 12).into(), 'Y');
    part(&mut out, (months % 12).into(), 'M');
    part(&mut out, days.into(), 'D');
    if microseconds != 0 {
        out.push('T');
        part(&mut out, microseconds / 3_600_000_000, 'H');
        part(&mut out, microseconds / 60_000_000 % 60, 'M');
        let seconds = microseconds % 60_000_000;
        if seconds != 0 {
            if seconds < 0 {
                out.push('-');
            }
            push_number(&mut out, seconds.abs() / 1_000_000, 1);
            let fraction = seconds.abs() % 1_000_000;
            if fraction != 0 {
                out.push('.');
                push_number(&mut out, fraction, 6);
                out.truncate(out.trim_end_matches('0').len());
            }
            out.push('S');
        }
    }
    Ok(out)
}

/// Writes the civil date so many days from 2000-01-01 and returns what must follow it (` BC` or nothing).
/// The algorithm is Howard Hinnant's `civil_from_days`.
fn push_date(out: &mut String, days: i64) -> &'static str {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (shown, suffix) = if year <= 0 {
        (1 - year, " BC")
    } else {
        (year, "")
    };
    push_number(out, shown, 4);
    out.push('-');
    push_number(out, month, 2);
    out.push('-');
    push_number(out, day, 2);
    suffix
}

fn push_time(out: &mut String, microseconds: i64) -> Result<(), Malformed> {
    if !(0..=DAY_US).contains(&microseconds) {
        return Err(Malformed);
    }
    let seconds = microseconds / 1_000_000;
    push_number(out, seconds / 3_600, 2);
    out.push(':');
    push_number(out, seconds / 60 % 60, 2);
    out.push(':');
    push_number(out, seconds % 60, 2);
    let fraction = microseconds % 1_000_000;
    if fraction != 0 {
        out.push('.');
        push_number(out, fraction, 6);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_at_every_limit() {
        for (days, expected) in [
            (0, "2000-01-01"),
            (-1, "1999-12-31"),
            (59, "2000-02-29"),
            (8_767, "2024-01-02"),
            (-730_119, "0001-01-01"),
            (-730_120, "0001-12-31 BC"),
            (-2_451_545, "4714-11-24 BC"),
            (2_921_940, "10000-01-01"),
            (2_145_031_948, "5874897-12-31"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(date(&days.to_be_bytes()).as_deref(), Ok(expected), "{days}");
        }
        assert_eq!(date(&[0, 0, 0]), Err(Malformed));
    }

    #[test]
    fn timestamps_keep_their_microseconds() {
        for (microseconds, expected) in [
            (0, "2000-01-01T00:00:00"),
            (-1, "1999-12-31T23:59:59.999999"),
            (757_479_845_678_901, "2024-01-02T03:04:05.678901"),
            (-211_813_488_000_000_000, "4714-11-24T00:00:00 BC"),
            (9_223_371_331_199_999_999, "294276-12-31T23:59:59.999999"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(
                timestamp(&i64::to_be_bytes(microseconds), "").as_deref(),
                Ok(expected)
            );
        }
        assert_eq!(
            timestamp(&0_i64.to_be_bytes(), "Z").as_deref(),
            Ok("2000-01-01T00:00:00Z")
        );
    }

    #[test]
    fn times_have_zones() {
        let bytes = |microseconds: i64, west: i32| {
            let mut bytes = microseconds.to_be_bytes().to_vec();
            bytes.extend(west.to_be_bytes());
            bytes
        };
        for (microseconds, west, expected) in [
            (0, 0, "00:00:00+00:00"),
            (DAY_US, -19_800, "24:00:00+05:30"),
            (1, 3_661, "00:00:00.000001-01:01:01"),
        ] {
            assert_eq!(timetz(&bytes(microseconds, west)).as_deref(), Ok(expected));
        }
        assert_eq!(time(&(DAY_US + 1).to_be_bytes()), Err(Malformed));
        assert_eq!(
            timetz(&bytes(0, i32::MIN)),
            Ok("00:00:00+596523:14:08".to_owned())
        );
    }

    #[test]
    fn intervals_are_durations() {
        for (microseconds, days, months, expected) in [
            (0, 0, 0, "PT0S"),
            (14_706_789_000, 3, 14, "P1Y2M3DT4H5M6.789S"),
            (-1, 0, 0, "PT-0.000001S"),
            (-3_600_000_000, -1, -1, "P-1M-1DT-1H"),
            (0, 0, 12, "P1Y"),
            (i64::MIN, i32::MIN, i32::MIN, "-infinity"),
        ] {
            let mut bytes = i64::to_be_bytes(microseconds).to_vec();
            bytes.extend(i32::to_be_bytes(days));
            bytes.extend(i32::to_be_bytes(months));
            assert_eq!(interval(&bytes).as_deref(), Ok(expected));
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = (date(&bytes), time(&bytes), timetz(&bytes), interval(&bytes));
            let _ = timestamp(&bytes, "Z");
        }

        #[test]
        fn no_number_panics(microseconds: i64, days: i32, months: i32) {
            let _ = timestamp(&microseconds.to_be_bytes(), "Z");
            let _ = date(&days.to_be_bytes());
            let mut bytes = microseconds.to_be_bytes().to_vec();
            bytes.extend(days.to_be_bytes());
            bytes.extend(months.to_be_bytes());
            let _ = interval(&bytes);
        }
    }
}
