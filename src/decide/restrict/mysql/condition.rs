//! A row filter as MySQL's text, typed by the columns that it compares.
//!
//! What no row can meet, such as an absent attribute of the caller or a word for an integer column, compares as
//! unknown, so that `NOT` does not turn it into a yes. Text compares by its bytes: under the column's collation
//! `'bob'` would meet `'BOB'` and `'bob '` as well. The collation's comparison stands beside it, for the index.

use super::columns::{Family, literal, quoted};
use crate::authenticate::Principal;
use crate::decide::rules::{Comparison, Condition, Constant};

/// Writes a condition over the columns of one table.
pub struct Writer<'a> {
    pub caller: &'a Principal,
    /// What stands before each column, with its dot; perhaps nothing.
    pub prefix: String,
    pub family: &'a dyn Fn(&str) -> Option<Family>,
}

/// Why a condition cannot be written.
pub type Unwritable = String;

/// A constant as a column holds it.
enum Value {
    Unknown,
    /// SQL for it.
    Known(String),
}

impl Writer<'_> {
    pub fn all(&self, conditions: &[Condition]) -> Result<String, Unwritable> {
        match conditions {
            [one] => self.write(one),
            _ => self.joined(conditions, " AND ", "TRUE"),
        }
    }

    fn joined(
        &self,
        conditions: &[Condition],
        operator: &str,
        none: &str,
    ) -> Result<String, Unwritable> {
        if conditions.is_empty() {
            return Ok(none.to_owned());
        }
        let parts: Result<Vec<String>, Unwritable> =
            conditions.iter().map(|part| self.write(part)).collect();
        Ok(format!("({})", parts?.join(operator)))
    }

    fn write(&self, condition: &Condition) -> Result<String, Unwritable> {
        match condition {
            Condition::All(parts) => self.joined(parts, " AND ", "TRUE"),
            Condition::Any(parts) => self.joined(parts, " OR ", "FALSE"),
            Condition::Not(part) => Ok(format!("(NOT {})", self.write(part)?)),
            Condition::IsNull { column } => {
                self.family(column)?;
                Ok(format!("({} IS NULL)", self.named(column)))
            }
            Condition::Compare {
                column,
                comparison,
                value,
            } => self.compare(column, *comparison, value),
            Condition::In { column, values } => self.among(column, values),
        }
    }

    fn named(&self, column: &str) -> String {
        format!("{}{}", self.prefix, quoted(column))
    }

    fn family(&self, column: &str) -> Result<Family, Unwritable> {
        (self.family)(column)
            .ok_or_else(|| format!("its row filter names the column `{column}`, which it has not"))
    }

    fn compare(
        &self,
        column: &str,
        comparison: Comparison,
        constant: &Constant,
    ) -> Result<String, Unwritable> {
        let family = self.family(column)?;
        let Value::Known(value) = self.value(column, family, constant)? else {
            return Ok("NULL".to_owned());
        };
        let named = self.named(column);
        let operator = match comparison {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        };
        Ok(match (family, comparison) {
            (Family::Text, Comparison::Equal) => {
                format!("({named} = {value} AND {} = {value})", bytes_of(&named))
            }
            (Family::Text | Family::Native, _) => {
                format!("({} {operator} {value})", bytes_of(&named))
            }
            _ => format!("({named} {operator} {value})"),
        })
    }

    fn among(&self, column: &str, constants: &[Constant]) -> Result<String, Unwritable> {
        let family = self.family(column)?;
        let mut values = Vec::new();
        for constant in constants {
            values.push(match self.value(column, family, constant)? {
                Value::Known(value) => value,
                Value::Unknown => "NULL".to_owned(),
            });
        }
        if values.is_empty() {
            return Ok("FALSE".to_owned());
        }
        let (named, values) = (self.named(column), values.join(", "));
        Ok(match family {
            Family::Text => format!(
                "({named} IN ({values}) AND {} IN ({values}))",
                bytes_of(&named)
            ),
            Family::Native => format!("({} IN ({values}))", bytes_of(&named)),
            Family::Integer
            | Family::Decimal
            | Family::Binary
            | Family::Moment
            | Family::Instant
            | Family::Time
            | Family::Other => format!("({named} IN ({values}))"),
        })
    }

    fn value(
        &self,
        column: &str,
        family: Family,
        constant: &Constant,
    ) -> Result<Value, Unwritable> {
        let Some(text) = text_of(constant, self.caller) else {
            return Ok(Value::Unknown);
        };
        let known = |fits: bool, sql: String| {
            if fits {
                Value::Known(sql)
            } else {
                Value::Unknown
            }
        };
        let is_boolean = matches!(constant, Constant::Boolean(_));
        Ok(match family {
            Family::Integer | Family::Decimal => known(is_number(&text), text),
            Family::Text | Family::Native | Family::Binary => known(!is_boolean, literal(&text)),
            Family::Moment => known(is_moment(&text), literal(&text)),
            Family::Instant => match instant(&text) {
                Some(instant) => Value::Known(instant),
                None => Value::Unknown,
            },
            Family::Time | Family::Other => {
                return Err(format!(
                    "its row filter compares `{column}`, which is neither text, a number nor a date"
                ));
            }
        })
    }
}

/// Compared as bytes, whatever the column's character set and collation.
fn bytes_of(column: &str) -> String {
    format!("CAST(CONVERT({column} USING utf8mb4) AS BINARY)")
}

/// What the constant spells; `None` where the caller has no such attribute.
pub fn text_of(constant: &Constant, caller: &Principal) -> Option<String> {
    match constant {
        Constant::Text(text) => Some(text.to_string()),
        Constant::Number(number) => Some(number.to_string()),
        Constant::Boolean(value) => Some(if *value { "1" } else { "0" }.to_owned()),
        Constant::Caller(attribute) => attribute.of(caller).map(str::to_owned),
    }
}

/// Whether a row can say of a column of the family that it is the constant `text`.
pub fn fits(text: &str, family: Family, constant: &Constant) -> bool {
    match family {
        Family::Integer | Family::Decimal => is_number(text),
        Family::Text | Family::Native | Family::Binary => !matches!(constant, Constant::Boolean(_)),
        Family::Moment => is_moment(text),
        Family::Instant | Family::Time | Family::Other => false,
    }
}

/// A decimal number with nothing to spare: `007` is not the caller `7`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && text != "-0"
        && text.len() <= NUMBER_BYTES_MAX
}

/// The servers' exact numbers have no more digits.
const NUMBER_BYTES_MAX: usize = 60;

/// A moment of UTC, whatever the session's time zone.
fn instant(text: &str) -> Option<String> {
    if !is_moment(text) {
        return None;
    }
    let civil: jiff::civil::DateTime = match text.parse() {
        Ok(civil) => civil,
        Err(_) => text.parse::<jiff::civil::Date>().ok()?.into(),
    };
    let moment = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    let (seconds, micros) = (moment.as_second(), moment.subsec_microsecond());
    (seconds >= 0).then(|| format!("FROM_UNIXTIME({seconds}.{micros:06})"))
}

/// `2024-01-31`, a day that is there in every year, perhaps with `12:00:00.000000` after a space or `T`.
pub fn is_moment(text: &str) -> bool {
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let number = |part: Option<&str>, digits: usize| {
        part.filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|part| part.parse::<u32>().ok())
    };
    let mut days = date.split('-');
    let (year, month, day) = (
        number(days.next(), 4),
        number(days.next(), 2),
        number(days.next(), 2),
    );
    let days_max = match month {
        Some(2) => 28,
        Some(4 | 6 | 9 | 11) => 30,
        Some(1..=12) => 31,
        Some(_) | None => 0,
    };
    let is_date = year.is_some_and(|year| year >= 1000)
        && day.is_some_and(|day| (1..=days_max).contains(&day))
        && days.next().is_none();
    let is_time = time.is_none_or(|time| {
        let (clock, fraction) = match time.split_once('.') {
            Some((clock, fraction)) => (clock, Some(fraction)),
            None => (time, None),
        };
        let mut parts = clock.split(':');
        number(parts.next(), 2).is_some_and(|hour| hour < 24)
            && number(parts.next(), 2).is_some_and(|minute| minute < 60)
            && number(parts.next(), 2).is_some_and(|second| second < 60)
            && parts.next().is_none()
            && fraction.is_none_or(|fraction| {
                (1..=6).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit())
            })
    });
    is_date && is_time
}
