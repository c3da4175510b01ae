//! Functions of the library: what a call of one costs, and what it must be given so that its cost is known.
//!
//! They run within C, where not even Redis' own limit on a script's time is looked at.

use full_moon::ast::{Call, Expression, FunctionArgs, Suffix};
use full_moon::tokenizer::{StringLiteralQuoteType, Symbol, TokenReference, TokenType};

use super::unproven;
use super::walk::{Value, Walk, returns_one, text};
use super::{globals, value::callbacks};
use crate::classify::Result;

/// Most bytes that `string.rep` may make.
const REPEATED_BYTES_MAX: usize = 64 * 1024;

/// Longest pattern, and longest text that `string.gsub` puts in the place of a match.
const PATTERN_BYTES_MAX: usize = 128;

/// Characters of a pattern that may be there or not: each doubles what is tried.
const OPTIONAL_MAX: usize = 3;

/// What a call costs, in statements, whose time grows with what it is given.
pub(super) const LINEAR_WORK: u64 = 1_000;
/// One that moves every element of a table, or joins them all.
const WHOLE_WORK: u64 = 10_000;
/// One that compares them with each other.
const SORT_WORK: u64 = 100_000;
/// Comparisons of an element when sorted.
const SORT_FACTOR: u64 = 20;
/// What a command costs.
pub(super) const COMMAND_WORK: u64 = 100;

/// Functions whose arguments are looked at where they are called, so that they are called by their own names.
const BY_NAME: [&str; 13] = [
    "cjson.encode",
    "cmsgpack.pack",
    "pcall",
    "string.find",
    "string.format",
    "string.gmatch",
    "string.gsub",
    "string.match",
    "string.rep",
    "struct.pack",
    "table.concat",
    "table.sort",
    "xpcall",
];

impl Walk {
    /// A function of the library, called or as a value; `at` is where its call would stand.
    pub(super) fn library_call<'a>(
        &mut self,
        name: &str,
        suffixes: &[&'a Suffix],
        at: usize,
    ) -> Result<(Value<'a>, usize)> {
        let Some(Suffix::Call(Call::AnonymousCall(arguments))) = suffixes.get(at).copied() else {
            return self.uncalled(name).map(|value| (value, at));
        };
        self.calls(self.costs(name, arguments));
        demands(name, arguments)?;
        let mut reads_keys = false;
        match arguments.as_ref() {
            FunctionArgs::Parentheses { arguments, .. } => {
                for (index, argument) in arguments.iter().enumerate() {
                    // Each argument is read once: what is nested in it would be read twice as often at each level.
                    let value = self.value(argument)?;
                    if (name, index, value) == ("pcall", 0, Value::Call) {
                        self.command_of(arguments.iter().skip(1))?;
                        return Ok((Value::Many, at + 1));
                    }
                    if matches!(name, "pcall" | "xpcall" | "table.insert") {
                        self.keep(argument)?;
                    }
                    if let (Value::Function(work), Some(times)) = (value, callbacks(name, index)) {
                        self.calls(work.saturating_mul(times));
                    } else if value == Value::Keys && globals::KEYS_READERS.contains(&name) {
                        reads_keys = true;
                    } else {
                        value.kept()?;
                        if callbacks(name, index).is_some() {
                            return Err(unproven(format_args!(
                                "gives `{name}` something that is not known to be a function"
                            )));
                        }
                    }
                }
            }
            other @ (FunctionArgs::String(_) | FunctionArgs::TableConstructor(_) | _) => {
                self.plain_call(other)?;
            }
        }
        let value = match name {
            "unpack" if reads_keys => Value::ManyKeys,
            _ if returns_one(name) => Value::Data,
            _ => Value::Many,
        };
        Ok((value, at + 1))
    }

    /// A member of the library that is not called here. A function may be called by another name, or not kept.
    fn uncalled(&self, name: &str) -> Result<Value<'static>> {
        if matches!(name, "cjson.null" | "math.huge" | "math.pi" | "next") {
            return Ok(Value::Data);
        }
        if BY_NAME.contains(&name) {
            return Err(unproven(format_args!(
                "uses `{name}` other than by calling it"
            )));
        }
        let moves = matches!(name, "table.insert" | "table.remove");
        Ok(Value::Function(if moves {
            WHOLE_WORK
        } else {
            LINEAR_WORK
        }))
    }

    fn costs(&self, name: &str, arguments: &FunctionArgs) -> u64 {
        match name {
            "table.sort" => SORT_WORK.max(self.assumed.saturating_mul(SORT_FACTOR)),
            "table.concat" => WHOLE_WORK.max(self.assumed),
            "table.insert" if count(arguments) > 2 => WHOLE_WORK.max(self.assumed),
            "table.remove" if count(arguments) > 1 => WHOLE_WORK.max(self.assumed),
            "string.gsub" => WHOLE_WORK,
            "table.insert" | "table.remove" | "tonumber" | "type" | "next" | "ipairs" | "pairs"
            | "select" | "assert" | "error" | "pcall" | "xpcall" | "rawequal" | "table.getn" => 1,
            _ if name.starts_with("math.") || name.starts_with("bit.") => 1,
            _ => LINEAR_WORK,
        }
    }

    /// A method: of a text, since no table holds a function.
    pub(super) fn method(&mut self, name: &str, arguments: &FunctionArgs) -> Result<()> {
        match name {
            "byte" | "len" | "lower" | "reverse" | "sub" | "upper" => {
                self.calls(LINEAR_WORK);
            }
            "find" | "match" | "gmatch" | "gsub" => {
                self.calls(if name == "gsub" {
                    WHOLE_WORK
                } else {
                    LINEAR_WORK
                });
                searches(name, arguments, 0)?;
            }
            _ => {
                return Err(unproven(format_args!(
                    "calls the method `{name}`, whose cost is not known"
                )));
            }
        }
        self.plain_call(arguments)
    }
}

fn count(arguments: &FunctionArgs) -> usize {
    match arguments {
        // What is spread may stand for more.
        FunctionArgs::Parentheses { arguments, .. } => {
            let spreads = arguments.iter().last().is_some_and(|last| {
                matches!(last, Expression::FunctionCall(_) | Expression::Symbol(_))
            });
            // `table.insert(t, f())` is given what `f` returns: one value, as a rule.
            arguments.len() + usize::from(spreads && arguments.len() < 2)
        }
        FunctionArgs::String(_) | FunctionArgs::TableConstructor(_) | _ => 1,
    }
}

pub(super) fn nth(arguments: &FunctionArgs, index: usize) -> Option<&Expression> {
    match arguments {
        FunctionArgs::Parentheses { arguments, .. } => arguments.iter().nth(index),
        FunctionArgs::String(_) | FunctionArgs::TableConstructor(_) | _ => None,
    }
}

/// What a function must be given.
fn demands(name: &str, arguments: &FunctionArgs) -> Result<()> {
    match name {
        "string.rep" => {
            let bytes = nth(arguments, 0).and_then(literal).map(|text| text.len());
            let times = match nth(arguments, 1) {
                Some(Expression::Number(token)) => text(token).parse::<usize>().ok(),
                Some(_) | None => None,
            };
            let made = bytes
                .zip(times)
                .and_then(|(bytes, times)| bytes.checked_mul(times));
            if made.is_none_or(|made| made > REPEATED_BYTES_MAX) {
                return Err(unproven(format_args!(
                    "has a `string.rep` that is not of a literal, by a number, to {REPEATED_BYTES_MAX} bytes at most"
                )));
            }
            Ok(())
        }
        "string.find" | "string.match" | "string.gmatch" | "string.gsub" => {
            searches(name.trim_start_matches("string."), arguments, 1)
        }
        "table.concat" if nth(arguments, 1).is_some_and(|by| literal(by).is_none()) => Err(
            unproven("has a `table.concat` whose separator is not a literal"),
        ),
        _ => Ok(()),
    }
}

/// A search, whose pattern stands at `at`.
fn searches(name: &str, arguments: &FunctionArgs, at: usize) -> Result<()> {
    let given = match arguments {
        FunctionArgs::String(token) if at == 0 => quoted(token),
        FunctionArgs::String(_)
        | FunctionArgs::Parentheses { .. }
        | FunctionArgs::TableConstructor(_)
        | _ => nth(arguments, at).and_then(literal),
    };
    let pattern = given.filter(|text| text.len() <= PATTERN_BYTES_MAX);
    let is_plain = name == "find"
        && nth(arguments, at + 2).is_some_and(
            |plain| matches!(plain, Expression::Symbol(token) if token.is_symbol(Symbol::True)),
        );
    if !pattern.is_some_and(|pattern| is_plain || is_linear(&pattern, name != "gmatch")) {
        return Err(unproven(
            "searches by a pattern whose time is not known: use a literal, with one of `*`, `+` and `-` at its end or after `^`",
        ));
    }
    let put = nth(arguments, at + 1).and_then(literal);
    if name == "gsub" && put.is_none_or(|put| put.len() > PATTERN_BYTES_MAX) {
        return Err(unproven(
            "has a `gsub` that puts in something other than a short literal",
        ));
    }
    Ok(())
}

/// How many times as large as what it is given a search's outcome may be.
pub(super) fn factor(name: &str, at: usize, arguments: &FunctionArgs) -> u32 {
    if name != "gsub" {
        return 1;
    }
    let lengths = (
        nth(arguments, at).and_then(literal),
        nth(arguments, at + 1).and_then(literal),
    );
    let (Some(pattern), Some(put)) = lengths else {
        return u32::MAX;
    };
    let put = u32::try_from(put.len()).unwrap_or(u32::MAX);
    let may_be_empty = pattern.is_empty() || pattern.contains(['*', '-', '?', '^', '$']);
    if may_be_empty {
        put.saturating_add(1)
    } else {
        put.max(1)
    }
}

/// A literal text, with `x` for what its escapes stand for; `None` where one may stand for a sign of patterns.
fn literal(expression: &Expression) -> Option<String> {
    if let Expression::String(token) = expression {
        quoted(token)
    } else {
        None
    }
}

fn quoted(token: &TokenReference) -> Option<String> {
    let TokenType::StringLiteral {
        literal,
        quote_type,
        ..
    } = token.token().token_type()
    else {
        return None;
    };
    if matches!(quote_type, StringLiteralQuoteType::Brackets) {
        return Some(literal.as_str().to_owned());
    }
    let (mut plain, mut chars) = (String::new(), literal.chars());
    while let Some(next) = chars.next() {
        match next {
            '\\' => match chars.next() {
                Some('n' | 'r' | 't' | '\\' | '"' | '\'') => plain.push('x'),
                Some(_) | None => return None,
            },
            other => plain.push(other),
        }
    }
    Some(plain)
}

/// Whether matching takes time in proportion to the text that is searched: where what is repeated is followed by
/// something that may fail, each repetition is tried in every length, and from every place.
fn is_linear(pattern: &str, may_be_anchored: bool) -> bool {
    let anchored = may_be_anchored && pattern.starts_with('^');
    let mut chars = pattern.chars().skip(usize::from(anchored)).peekable();
    let (mut repeated, mut followed, mut optional) = (0_usize, false, 0_usize);
    while let Some(next) = chars.next() {
        match next {
            '(' | ')' => continue,
            '%' => match chars.next() {
                None | Some('b' | 'f' | '0'..='9') => return false,
                Some(_) => {}
            },
            '[' => {
                if chars.peek() == Some(&'^') {
                    chars.next();
                }
                let mut is_first = true;
                loop {
                    match chars.next() {
                        None => return false,
                        Some(']') if !is_first => break,
                        Some('%') => drop(chars.next()),
                        Some(_) => {}
                    }
                    is_first = false;
                }
            }
            _ => {}
        }
        followed |= repeated > 0;
        match chars.peek() {
            Some('*' | '+' | '-') => {
                repeated += 1;
                chars.next();
            }
            Some('?') => {
                optional += 1;
                chars.next();
            }
            Some(_) | None => {}
        }
    }
    optional <= OPTIONAL_MAX && (repeated == 0 || (repeated == 1 && (anchored || !followed)))
}
