//! Loops: those whose end their text shows, and how often their bodies may run.
//!
//! Redis serves nobody else while a script runs, and a script that has written cannot be killed.

use full_moon::ast::{Block, Expression, GenericFor, Index, NumericFor, Suffix, Var};

use super::growth::Size;
use super::walk::{Binding, Walk, text};
use super::{Which, unproven};
use crate::classify::Result;

impl Walk {
    pub fn numeric_for(&mut self, body: &NumericFor) -> Result<()> {
        self.all_kept([body.start(), body.end()].into_iter().chain(body.step()))?;
        let ends = [body.start(), body.end()];
        if !ends.into_iter().all(is_bound) || !body.step().is_none_or(is_step) {
            return Err(unproven(format_args!(
                "has a `for` whose rounds are not bounded by a length (`#t`) or a number up to {ROUNDS_MAX}"
            )));
        }
        let counts = ends.map(rounds_to);
        let count = counts.into_iter().fold(0, |count: u64, end| {
            count.saturating_add(end.unwrap_or(self.assumed))
        });
        let names = [(text(body.index_variable()), Binding::Data)];
        let before = self.counted.now;
        if counts.iter().all(Option::is_some) {
            self.counted.now = before.saturating_mul(count);
            self.counted.most = self.counted.most.max(self.counted.now);
        }
        let walked = self.rounds(count, &names, Size::GIVEN, body.block());
        self.counted.now = before;
        walked
    }

    pub fn generic_for(&mut self, body: &GenericFor) -> Result<()> {
        let over_keys = self.iterates_keys(body.expressions().iter());
        if !over_keys {
            self.iterator(body)?;
            self.all_kept(body.expressions().iter())?;
        }
        let names: Vec<(&str, Binding)> = body
            .names()
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let element = over_keys && index == 1;
                let binding = if element {
                    Binding::Key(Which::Any)
                } else {
                    Binding::Data
                };
                (text(name), binding)
            })
            .collect();
        let size = self.elements(body);
        self.rounds(self.assumed, &names, size, body.block())
    }

    /// Lets through iterators that come to an end: `pairs(t)`, `ipairs(t)`, `next, t` and `string.gmatch(s, p)`, of
    /// the library itself: what a field or a method of data is, nobody knows.
    fn iterator(&self, body: &GenericFor) -> Result<()> {
        let ends = match body.expressions().iter().next() {
            Some(Expression::FunctionCall(call)) => {
                let suffixes: Vec<&Suffix> = call.suffixes().collect();
                match (self.global_name(call.prefix()), suffixes.as_slice()) {
                    (Some("pairs" | "ipairs"), [Suffix::Call(_)]) => true,
                    (Some("string"), [Suffix::Index(Index::Dot { name, .. }), Suffix::Call(_)]) => {
                        text(name) == "gmatch"
                    }
                    (_, _) => false,
                }
            }
            Some(Expression::Var(Var::Name(name))) => {
                text(name) == "next" && self.local("next").is_none()
            }
            Some(_) | None => false,
        };
        if ends {
            return Ok(());
        }
        Err(unproven(
            "has a `for` whose iterator may never end: use `pairs`, `ipairs`, `next` or `string.gmatch`",
        ))
    }

    /// Whether a `for` runs over `ipairs(KEYS)` or `pairs(KEYS)`, whose second variable is then an element.
    fn iterates_keys<'a>(&self, mut expressions: impl Iterator<Item = &'a Expression>) -> bool {
        let (Some(Expression::FunctionCall(call)), None) = (expressions.next(), expressions.next())
        else {
            return false;
        };
        let name = self.global_name(call.prefix());
        let mut suffixes = call.suffixes();
        let (Some(suffix), None) = (suffixes.next(), suffixes.next()) else {
            return false;
        };
        matches!(name, Some("ipairs" | "pairs")) && self.only_keys(suffix)
    }

    /// The body of a loop, in a scope with the loop's variables.
    fn rounds(
        &mut self,
        count: u64,
        names: &[(&str, Binding)],
        size: Size,
        body: &Block,
    ) -> Result<()> {
        let before = self.rounds;
        self.rounds = before.saturating_mul(count);
        self.scopes.push(Vec::new());
        for (name, binding) in names {
            self.declare(name, *binding, size);
        }
        let walked = self.block(body);
        self.scopes.pop();
        self.rounds = before;
        walked
    }
}

/// Most rounds of a loop that counts to a literal number.
const ROUNDS_MAX: f64 = 100_000.0;

/// Rounds that a loop over data is taken to have, at least.
pub(super) const ROUNDS_ASSUMED: u64 = 100;

/// How many rounds a bound is good for; `None` for a length.
fn rounds_to(expression: &Expression) -> Option<u64> {
    let text = expression.to_string();
    // The number was found small; a cast keeps its size.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    text.trim()
        .parse::<f64>()
        .map(|number| number.abs() as u64 + 1)
        .ok()
}

/// A length, or a small literal number.
fn is_bound(expression: &Expression) -> bool {
    let text = expression.to_string();
    let text = text.trim();
    text.starts_with('#')
        && text
            .chars()
            .skip(1)
            .all(|c| c.is_alphanumeric() || c == '_')
        || text
            .parse::<f64>()
            .is_ok_and(|number| number.abs() <= ROUNDS_MAX)
}

/// A whole number other than 0.
fn is_step(expression: &Expression) -> bool {
    let text = expression.to_string().replace(char::is_whitespace, "");
    text.parse::<i64>().is_ok_and(|number| number != 0)
}
