//! What a caller is told about its limits: the header fields of the IETF's draft "RateLimit header fields for HTTP"
//! (draft-ietf-httpapi-ratelimit-headers, version 10), lists of quoted names with parameters (RFC 9651).

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use super::gcra::Rate;
use crate::decide::RateLimit;
use crate::decide::limits::PolicyRate;

const MS_PER_S: u64 = 1_000;

/// The numbers of a rate in force: the policy's, or those of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Requests in each `period_ms`.
    pub requests: u32,
    pub period_ms: u64,
    /// How many requests may come at once.
    pub burst: u32,
}

impl Numbers {
    /// Of a limit without a rate, which has none.
    pub(super) const NONE: Self = Self {
        requests: 0,
        period_ms: 0,
        burst: 0,
    };

    pub const fn of(rate: &PolicyRate) -> Self {
        Self {
            requests: rate.requests,
            period_ms: rate.period_ms,
            burst: rate.burst,
        }
    }

    pub fn window_s(self) -> u64 {
        self.period_ms.div_ceil(MS_PER_S).max(1)
    }
}

/// Every limit that counted a request, and what is left of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota(pub Vec<Standing>);

/// One limit, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub limit: Arc<RateLimit>,
    pub left: Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Rate {
        numbers: Numbers,
        /// Requests that would be admitted at this moment, never more than the burst, and until the whole burst is
        /// available again, in milliseconds. `None` where nobody knows: Redis is away.
        now: Option<(u32, u64)>,
    },
    /// Requests in flight, of so many.
    Flight { max: u32, in_flight: u32 },
}

impl Left {
    /// What is left of a rate of which `debt_us` stands in Redis, `held` of it taken ahead and not used.
    pub(super) fn with_debt(self, rate: Rate, debt_us: u64, held: u32) -> Self {
        let debt_us = debt_us.saturating_sub(rate.interval_us.saturating_mul(held.into()));
        let remaining = rate.capacity_us.saturating_sub(debt_us) / rate.interval_us;
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        match self {
            Self::Rate { numbers, .. } => Self::Rate {
                numbers,
                now: Some((remaining.min(numbers.burst), debt_us.div_ceil(1_000))),
            },
            Self::Flight { .. } => self,
        }
    }
}

impl Standing {
    /// `"app";q=600;w=60`, or `"app:concurrent";q=20;qu="concurrent-requests"`
    fn write_policy(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = match self.left {
            Left::Rate { numbers, .. } => {
                sf_string(out, &self.limit.name, "");
                write!(out, ";q={};w={}", numbers.requests, numbers.window_s())
            }
            Left::Flight { max, .. } => {
                sf_string(out, &self.limit.name, CONCURRENT);
                write!(out, ";q={max};qu=\"concurrent-requests\"")
            }
        };
    }

    /// `"app";r=50;t=30`: the time is when the burst is whole again. Nothing where it is not known.
    fn write_left(&self, out: &mut String) {
        // Writing to a string does not fail.
        let _ = match self.left {
            Left::Rate { now: None, .. } => return,
            Left::Rate {
                now: Some((remaining, reset_ms)),
                ..
            } => {
                separate(out);
                sf_string(out, &self.limit.name, "");
                write!(out, ";r={remaining};t={}", reset_ms.div_ceil(MS_PER_S))
            }
            Left::Flight { max, in_flight } => {
                separate(out);
                sf_string(out, &self.limit.name, CONCURRENT);
                write!(out, ";r={}", max.saturating_sub(in_flight))
            }
        };
    }

    /// For `whoami`.
    fn to_json(&self) -> Value {
        match self.left {
            Left::Rate { numbers, now } => json!({
                "policy": self.limit.name,
                "per": self.limit.per.as_str(),
                "limit": numbers.requests,
                "window_s": numbers.window_s(),
                "burst": numbers.burst,
                "remaining": now.map(|(remaining, _)| remaining),
                "reset_ms": now.map(|(_, reset_ms)| reset_ms),
            }),
            Left::Flight { max, in_flight } => json!({
                "policy": self.limit.name,
                "per": self.limit.per.as_str(),
                "concurrent": max,
                "in_flight": in_flight,
            }),
        }
    }
}

/// About what one limit takes in a header.
const HEADER_BYTES: usize = 48;

/// Behind a limit's name where what is in flight is told.
const CONCURRENT: &str = ":concurrent";

impl Quota {
    /// The field `RateLimit-Policy`; empty where there is nothing to tell.
    pub fn policy_header(&self) -> String {
        let mut out = String::with_capacity(HEADER_BYTES * self.0.len());
        for standing in &self.0 {
            separate(&mut out);
            standing.write_policy(&mut out);
        }
        out
    }

    /// The field `RateLimit`; empty where there is nothing to tell.
    pub fn header(&self) -> String {
        let mut out = String::with_capacity(HEADER_BYTES * self.0.len());
        for standing in &self.0 {
            standing.write_left(&mut out);
        }
        out
    }

    /// For `whoami`.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(Standing::to_json).collect()
    }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push_str(", ");
    }
}

/// A string of RFC 9651: printable ASCII, with `"` and `\` escaped. Anything else becomes `?`.
fn sf_string(out: &mut String, text: &str, suffix: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    out.push('"');
    if text.bytes().all(is_plain) {
        out.extend([text, suffix, "\""]);
        return;
    }
    for character in text.chars().chain(suffix.chars()) {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::limits::{Per, Scope};

    fn standing(name: &str, left: Left) -> Standing {
        let limit = RateLimit {
            name: name.into(),
            rate: None,
            concurrent: None,
            per: Per::Key,
            scope: Scope::default(),
            shadow: false,
        };
        Standing {
            limit: Arc::new(limit),
            left,
        }
    }

    const NUMBERS: Numbers = Numbers {
        requests: 600,
        period_ms: 60_000,
        burst: 100,
    };

    fn rate(now: Option<(u32, u64)>) -> Left {
        Left::Rate {
            numbers: NUMBERS,
            now,
        }
    }

    #[test]
    fn headers_follow_the_draft() {
        let flight = Left::Flight {
            max: 20,
            in_flight: 5,
        };
        let cases = [
            (
                vec![standing("app", rate(Some((50, 29_001))))],
                r#""app";q=600;w=60"#,
                r#""app";r=50;t=30"#,
            ),
            (
                vec![standing("a\"b\\", rate(Some((0, 0))))],
                r#""a\"b\\";q=600;w=60"#,
                r#""a\"b\\";r=0;t=0"#,
            ),
            (
                vec![standing("käse\r\n", rate(None))],
                r#""k?se??";q=600;w=60"#,
                "",
            ),
            (
                vec![
                    standing("a", rate(None)),
                    standing("b", flight),
                    standing("c", rate(Some((1, 1_000)))),
                ],
                r#""a";q=600;w=60, "b:concurrent";q=20;qu="concurrent-requests", "c";q=600;w=60"#,
                r#""b:concurrent";r=15, "c";r=1;t=1"#,
            ),
        ];
        for (standings, policy, header) in cases {
            let quota = Quota(standings);
            assert_eq!(quota.policy_header(), policy);
            assert_eq!(quota.header(), header);
        }
    }
}
