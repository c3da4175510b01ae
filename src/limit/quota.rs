//! What a caller is told about its limit: the header fields of the IETF's draft "RateLimit header fields for HTTP"
//! (draft-ietf-httpapi-ratelimit-headers, version 10).

use super::gcra::Outcome;
use crate::decide::RateLimit;

const US_PER_S: u64 = 1_000_000;

/// A limit, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name in the policy.
    pub name: String,
    /// Requests in each window.
    pub limit: u32,
    pub window_s: u64,
    /// Requests that would be admitted at this moment; never more than the burst.
    pub remaining: u32,
    /// Until the whole burst is available again.
    pub reset_ms: u64,
}

impl Quota {
    pub(super) fn of(limit: &RateLimit, outcome: &Outcome) -> Self {
        Self {
            name: limit.name.clone(),
            limit: limit.requests,
            window_s: limit.period_ms.div_ceil(1_000).max(1),
            remaining: u32::try_from(outcome.remaining).unwrap_or(u32::MAX),
            reset_ms: outcome.reset_after_us.div_ceil(1_000),
        }
    }

    /// `RateLimit-Policy: "app";q=600;w=60`
    pub fn policy_header(&self) -> String {
        format!(
            "{};q={};w={}",
            sf_string(&self.name),
            self.limit,
            self.window_s
        )
    }

    /// `RateLimit: "app";r=50;t=30`: the time is when the burst is whole again.
    pub fn header(&self) -> String {
        let seconds = self.reset_ms.div_ceil(US_PER_S / 1_000);
        format!("{};r={};t={seconds}", sf_string(&self.name), self.remaining)
    }
}

/// A string of RFC 9651: printable ASCII, with `"` and `\` escaped. Anything else becomes `?`.
fn sf_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_follow_the_draft() {
        let cases = [
            (
                "app",
                50,
                29_001,
                r#""app";q=600;w=60"#,
                r#""app";r=50;t=30"#,
            ),
            (
                "a\"b\\",
                0,
                0,
                r#""a\"b\\";q=600;w=60"#,
                r#""a\"b\\";r=0;t=0"#,
            ),
            (
                "käse\r\n",
                1,
                1_000,
                r#""k?se??";q=600;w=60"#,
                r#""k?se??";r=1;t=1"#,
            ),
        ];
        for (name, remaining, reset_ms, policy, header) in cases {
            let quota = Quota {
                name: name.into(),
                limit: 600,
                window_s: 60,
                remaining,
                reset_ms,
            };
            assert_eq!(quota.policy_header(), policy);
            assert_eq!(quota.header(), header);
        }
    }
}
