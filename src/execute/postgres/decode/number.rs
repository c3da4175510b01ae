//! Numbers whose binary form is not a machine's: `numeric`, `money`, and floats as text.

use std::fmt::Write as _;

use super::reader::{Malformed, Reader};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// `numeric` digits are in base 10,000: four decimal digits each.
const GROUP_DIGITS: usize = 4;

/// The decimal text that PostgreSQL itself prints (`numeric_out`).
pub(super) fn numeric(bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let count = usize::from(reader.u16()?);
    let weight = i32::from(reader.i16()?);
    let sign = reader.u16()?;
    let scale = usize::from(reader.u16()?);
    match sign {
        NAN => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Ok("-Infinity".to_owned()),
        POSITIVE | NEGATIVE => {}
        _ => return Err(Malformed),
    }
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        let group = reader.u16()?;
        if group > 9_999 {
            return Err(Malformed);
        }
        groups.push(group);
    }
    reader.end()?;
    let group_at = |position: i32| {
        usize::try_from(position)
            .ok()
            .and_then(|position| groups.get(position).copied())
            .unwrap_or(0)
    };

    let mut out = String::with_capacity(count * GROUP_DIGITS + scale + 3);
    if sign == NEGATIVE {
        out.push('-');
    }
    if weight < 0 {
        out.push('0');
    } else {
        push_number(&mut out, group_at(0), 1);
        for position in 1..=weight {
            push_number(&mut out, group_at(position), GROUP_DIGITS);
        }
    }
    if scale > 0 {
        out.push('.');
        let end = out.len() + scale;
        let mut position = weight + 1;
        while out.len() < end {
            push_number(&mut out, group_at(position), GROUP_DIGITS);
            position += 1;
        }
        out.truncate(end);
    }
    Ok(out)
}

/// Writes `value` with at least `width` digits, of which there are never more than 20.
pub(super) fn push_number(out: &mut String, value: impl Into<i64>, width: usize) {
    const DIGITS_MAX: usize = 20;
    let value = value.into();
    if value < 0 {
        out.push('-');
    }
    let mut digits = [b'0'; DIGITS_MAX];
    let (mut rest, mut shown) = (value.unsigned_abs(), 0);
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        (rest, shown) = (rest / 10, shown + 1);
        if rest == 0 && shown >= width {
            break;
        }
    }
    let digits = digits.get(DIGITS_MAX - shown..).unwrap_or_default();
    out.extend(digits.iter().copied().map(char::from));
}

/// `money` counts hundredths: the session's `lc_monetary` is `C`.
pub(super) fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

/// A float inside a geometric value, shortest text that reads back the same, with PostgreSQL's exponents.
pub(super) fn push_float(out: &mut String, value: f64) {
    const EXPONENT_PLAIN_MAX: f64 = 15.0;
    let exponent = value.abs().log10().floor();
    if is_plain(value, exponent, EXPONENT_PLAIN_MAX) {
        let _ = write!(out, "{value}");
    } else {
        push_exponent(out, value, &format!("{value:e}"));
    }
}

/// The same for 32 bits.
pub(super) fn push_float4(out: &mut String, value: f32) {
    const EXPONENT_PLAIN_MAX: f64 = 6.0;
    let exponent = f64::from(value.abs().log10().floor());
    if is_plain(value.into(), exponent, EXPONENT_PLAIN_MAX) {
        let _ = write!(out, "{value}");
    } else {
        push_exponent(out, value.into(), &format!("{value:e}"));
    }
}

fn is_plain(value: f64, exponent: f64, plain_max: f64) -> bool {
    value.is_finite() && (value == 0.0 || (-5.0..plain_max).contains(&exponent))
}

fn push_exponent(out: &mut String, value: f64, scientific: &str) {
    let _ = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        match scientific.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                write!(out, "{digits}e+{exponent:0>2}")
            }
            Some((digits, exponent)) => {
                write!(out, "{digits}e-{:0>2}", exponent.trim_start_matches('-'))
            }
            None => out.write_str(scientific),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `numeric_send` gives: count, weight, sign, scale, groups.
    fn check(fields: &[u16], expected: Result<&str, Malformed>) {
        let bytes: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_be_bytes())
            .collect();
        assert_eq!(numeric(&bytes), expected.map(str::to_owned), "{fields:?}");
    }

    #[test]
    fn numeric_is_exact() {
        check(&[0, 0, 0, 0], Ok("0"));
        check(&[0, 0, 0, 2], Ok("0.00"));
        check(&[1, 0, 0, 0, 1], Ok("1"));
        check(&[1, 1, 0, 0, 1], Ok("10000"));
        check(&[2, 1, 0x4000, 0, 123, 4567], Ok("-1234567"));
        check(&[2, 0, 0, 3, 12, 3450], Ok("12.345"));
        check(&[1, 0xFFFF, 0, 4, 1], Ok("0.0001"));
        check(&[1, 0xFFFE, 0, 8, 42], Ok("0.00000042"));
        check(&[1, 0, 0, 5, 7], Ok("7.00000"));
        check(&[0, 0, 0xC000, 0], Ok("NaN"));
        check(&[0, 0, 0xD000, 0], Ok("Infinity"));
        check(&[0, 0, 0xF000, 0], Ok("-Infinity"));
        check(&[0, 0, 0x1234, 0], Err(Malformed));
        check(&[1, 0, 0, 0, 10_000], Err(Malformed));
        check(&[2, 0, 0, 0, 1], Err(Malformed));
        check(&[0, 0, 0, 0, 1], Err(Malformed));
    }

    #[test]
    fn money_has_two_places() {
        for (cents, expected) in [(0, "0.00"), (5, "0.05"), (-105, "-1.05")] {
            assert_eq!(money(cents), expected);
        }
        assert_eq!(money(i64::MIN), "-92233720368547758.08");
    }

    #[test]
    fn floats_read_as_postgresql_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e-7, "1.5e-07"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            let mut out = String::new();
            push_float(&mut out, value);
            assert_eq!(out, expected);
        }
    }
}
