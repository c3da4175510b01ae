//! Expressions and calls: what a value is, and what a command in the script is given.

use full_moon::ast::{
    Call, Expression, Field, FunctionArgs, Index, Prefix, Suffix, TableConstructor, UnOp, Var,
};
use full_moon::tokenizer::{StringLiteralQuoteType, Symbol, TokenReference, TokenType};

use super::super::arguments::{self, Argument, Arguments, Found};
use super::super::lookup;
use super::super::table::{Grammar, Standing};
use super::library::{COMMAND_WORK, LINEAR_WORK};
use super::loops::ROUNDS_ASSUMED;
use super::walk::{Binding, Value, Walk, text};
use super::{Which, globals, unproven};
use crate::classify::{Refusal, Result};

impl Walk {
    /// An expression whose value the script keeps.
    pub(super) fn kept<'a>(&mut self, expression: &'a Expression) -> Result<Value<'a>> {
        self.value(expression)?.kept()
    }

    /// An expression's value. `KEYS` and `redis.call` themselves are for the caller to judge.
    pub(super) fn value<'a>(&mut self, expression: &'a Expression) -> Result<Value<'a>> {
        match expression {
            Expression::BinaryOperator { lhs, rhs, .. } => {
                self.kept(lhs)?;
                self.kept(rhs)?;
                Ok(Value::Data)
            }
            Expression::Parentheses { expression, .. } => Ok(match self.value(expression)? {
                Value::Many => Value::Data,
                Value::ManyKeys => Value::Key(Which::Any),
                value @ Value::Function(_) => value,
                value @ (Value::Literal(_)
                | Value::Key(_)
                | Value::Keys
                | Value::Call
                | Value::Data) => value.kept()?,
            }),
            Expression::UnaryOperator { unop, expression } => {
                let value = self.value(expression)?;
                if !(matches!(unop, UnOp::Hash(_)) && value == Value::Keys) {
                    value.kept()?;
                }
                Ok(Value::Data)
            }
            Expression::Function(function) => Ok(Value::Function(self.function(function.body())?)),
            Expression::FunctionCall(call) => {
                let suffixes: Vec<&Suffix> = call.suffixes().collect();
                self.chain(call.prefix(), &suffixes)
            }
            Expression::TableConstructor(table) => {
                self.table(table)?;
                Ok(Value::Data)
            }
            Expression::Number(token) => Ok(number(token)),
            Expression::String(token) => Ok(string(token)),
            Expression::Symbol(token) if token.is_symbol(Symbol::Ellipsis) => Ok(Value::Many),
            Expression::Symbol(_) => Ok(Value::Data),
            Expression::Var(Var::Name(name)) => self.name(text(name)),
            Expression::Var(Var::Expression(variable)) => {
                let suffixes: Vec<&Suffix> = variable.suffixes().collect();
                self.chain(variable.prefix(), &suffixes)
            }
            Expression::Var(_) | _ => Err(unproven("has an expression that is not Lua 5.1")),
        }
    }

    fn name(&mut self, name: &str) -> Result<Value<'static>> {
        match self.local(name) {
            Some(Binding::Data) => Ok(Value::Data),
            Some(Binding::Key(which)) => Ok(Value::Key(which)),
            Some(Binding::Call) => Ok(Value::Call),
            Some(Binding::Function(work)) => Ok(Value::Function(work)),
            Some(Binding::Itself) => Err(recursive()),
            None => self.global(name, &[]).map(|(value, _)| value),
        }
    }

    /// The global that a prefix names, unless a local hides it.
    pub(super) fn global_name<'a>(&self, prefix: &'a Prefix) -> Option<&'a str> {
        match prefix {
            Prefix::Name(name) => Some(text(name)).filter(|name| self.local(name).is_none()),
            Prefix::Expression(_) | _ => None,
        }
    }

    /// Whether a suffix is `(KEYS)`.
    pub(super) fn only_keys(&self, suffix: &Suffix) -> bool {
        let Suffix::Call(Call::AnonymousCall(arguments)) = suffix else {
            return false;
        };
        let FunctionArgs::Parentheses { arguments, .. } = arguments.as_ref() else {
            return false;
        };
        let mut arguments = arguments.iter();
        match (arguments.next(), arguments.next()) {
            (Some(Expression::Var(Var::Name(name))), None) => {
                text(name) == "KEYS" && self.local("KEYS").is_none()
            }
            (_, _) => false,
        }
    }

    fn table(&mut self, table: &TableConstructor) -> Result<()> {
        for field in table.fields() {
            match field {
                Field::ExpressionKey { key, value, .. } => {
                    self.kept(key)?;
                    self.kept(value)?;
                    self.keep(key)?;
                    self.keep(value)?;
                }
                Field::NameKey { value, .. } => {
                    self.kept(value)?;
                    self.keep(value)?;
                }
                Field::NoKey(value) => {
                    self.kept(value)?;
                    self.keep(value)?;
                }
                _ => return Err(unproven("has a table that is not Lua 5.1")),
            }
        }
        Ok(())
    }

    /// `prefix` followed by calls and indices.
    pub(super) fn chain<'a>(
        &mut self,
        prefix: &'a Prefix,
        suffixes: &[&'a Suffix],
    ) -> Result<Value<'a>> {
        let (mut value, taken) = match prefix {
            Prefix::Expression(expression) => (self.value(expression)?, 0),
            Prefix::Name(name) => match self.local(text(name)) {
                Some(Binding::Data) => (Value::Data, 0),
                Some(Binding::Key(which)) => (Value::Key(which), 0),
                Some(Binding::Function(work)) => (Value::Function(work), 0),
                Some(Binding::Itself) => return Err(recursive()),
                Some(Binding::Call) => match suffixes.first() {
                    Some(Suffix::Call(Call::AnonymousCall(arguments))) => {
                        self.command(arguments)?;
                        (Value::Data, 1)
                    }
                    Some(_) => return Err(unproven("takes `redis.call` apart")),
                    None => (Value::Call, 0),
                },
                None => self.global(text(name), suffixes)?,
            },
            _ => return Err(unproven("has an expression that is not Lua 5.1")),
        };
        for suffix in suffixes.iter().skip(taken) {
            match (value, suffix) {
                (Value::Function(work), Suffix::Call(Call::AnonymousCall(arguments))) => {
                    self.calls(work);
                    if let FunctionArgs::Parentheses { arguments, .. } = arguments.as_ref() {
                        for argument in arguments.iter() {
                            self.keep(argument)?;
                        }
                    }
                }
                // A text has the functions of `string` as its fields.
                (_, Suffix::Call(Call::AnonymousCall(_))) => {
                    value.kept()?;
                    return Err(unproven("calls a value that is not known to be a function"));
                }
                (_, _) => {
                    value.kept()?;
                }
            }
            match suffix {
                Suffix::Index(index) => {
                    self.index(index)?;
                    value = Value::Data;
                }
                Suffix::Call(Call::AnonymousCall(arguments)) => {
                    self.plain_call(arguments)?;
                    value = Value::Many;
                }
                Suffix::Call(Call::MethodCall(method)) => {
                    self.method(text(method.name()), method.args())?;
                    value = Value::Many;
                }
                Suffix::Call(_) | _ => {
                    return Err(unproven("has an expression that is not Lua 5.1"));
                }
            }
        }
        Ok(value)
    }

    pub(super) fn index(&mut self, index: &Index) -> Result<()> {
        match index {
            Index::Brackets { expression, .. } => self.kept(expression).map(drop),
            Index::Dot { .. } => Ok(()),
            _ => Err(unproven("has an expression that is not Lua 5.1")),
        }
    }

    /// The arguments of a call that is not a command; each must be a value the script may keep.
    pub(super) fn plain_call(&mut self, arguments: &FunctionArgs) -> Result<()> {
        match arguments {
            FunctionArgs::Parentheses { arguments, .. } => self.all_kept(arguments.iter()),
            FunctionArgs::String(_) => Ok(()),
            FunctionArgs::TableConstructor(table) => self.table(table),
            _ => Err(unproven("has a call that is not Lua 5.1")),
        }
    }

    /// What a global means with what follows it, and how many suffixes that takes.
    fn global<'a>(&mut self, name: &str, suffixes: &[&'a Suffix]) -> Result<(Value<'a>, usize)> {
        match name {
            "KEYS" => match suffixes.first() {
                None => Ok((Value::Keys, 0)),
                Some(Suffix::Index(Index::Brackets { expression, .. })) => {
                    Ok((Value::Key(self.which(expression)?), 1))
                }
                Some(_) => Err(unproven("uses `KEYS` other than by `KEYS[n]`")),
            },
            "ARGV" => Ok((Value::Data, 0)),
            "redis" => self.redis(suffixes),
            _ if globals::FUNCTIONS.contains(&name) => self.library_call(name, suffixes, 0),
            _ => match globals::library(name) {
                Some(members) => match suffixes.first() {
                    Some(Suffix::Index(Index::Dot { name: member, .. }))
                        if members.contains(&text(member)) =>
                    {
                        self.library_call(&format!("{name}.{}", text(member)), suffixes, 1)
                    }
                    _ => Err(unproven(format_args!(
                        "uses `{name}` in a way that is not known"
                    ))),
                },
                None => Err(unproven(format_args!("uses the global `{name}`"))),
            },
        }
    }

    fn which(&mut self, index: &Expression) -> Result<Which> {
        let Value::Literal(digits) = self.kept(index)? else {
            return Ok(Which::Any);
        };
        if !matches!(index, Expression::Number(_)) {
            return Ok(Which::Any);
        }
        Ok(digits.parse().map_or(Which::Any, Which::Nth))
    }

    fn redis<'a>(&mut self, suffixes: &[&'a Suffix]) -> Result<(Value<'a>, usize)> {
        let Some(Suffix::Index(Index::Dot { name, .. })) = suffixes.first().copied() else {
            return Err(unproven("uses `redis` other than by `redis.call(…)`"));
        };
        let member = text(name);
        let call = match suffixes.get(1).copied() {
            Some(Suffix::Call(Call::AnonymousCall(arguments))) => Some(arguments),
            _ => None,
        };
        match (member, call) {
            ("call" | "pcall", Some(arguments)) => {
                self.command(arguments)?;
                Ok((Value::Data, 2))
            }
            ("call" | "pcall", None) if suffixes.len() == 1 => Ok((Value::Call, 1)),
            (_, Some(arguments)) if globals::REDIS_FUNCTIONS.contains(&member) => {
                self.calls(LINEAR_WORK);
                self.plain_call(arguments)?;
                Ok((Value::Data, 2))
            }
            (_, None) if globals::REDIS_CONSTANTS.contains(&member) => Ok((Value::Data, 1)),
            (_, _) => Err(unproven(format_args!("uses `redis.{member}`"))),
        }
    }

    /// `redis.call(…)`.
    fn command(&mut self, arguments: &FunctionArgs) -> Result<()> {
        match arguments {
            FunctionArgs::Parentheses { arguments, .. } => self.command_of(arguments.iter()),
            FunctionArgs::String(name) => self.run(&[string(name).as_argument(false)?]),
            FunctionArgs::TableConstructor(_) | _ => {
                Err(unproven("calls a command whose name is not a literal"))
            }
        }
    }

    pub(super) fn command_of<'a>(
        &mut self,
        expressions: impl Iterator<Item = &'a Expression>,
    ) -> Result<()> {
        let values = expressions
            .map(|expression| self.value(expression))
            .collect::<Result<Vec<_>>>()?;
        let count = values.len();
        let arguments = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| value.as_argument(index + 1 == count))
            .collect::<Result<Vec<_>>>()?;
        self.run(&arguments)
    }

    /// Records what one command does to the script's keys.
    fn run(&mut self, given: &[Argument<'_>]) -> Result<()> {
        self.calls(COMMAND_WORK);
        let name = given
            .first()
            .and_then(|name| name.bytes())
            .ok_or_else(|| unproven("calls a command whose name is not a literal"))?;
        let row = lookup(name, given.get(1).and_then(|word| word.bytes()))?;
        match row.standing {
            Standing::Free
            | Standing::Data(_)
            | Standing::Special(
                Grammar::Set
                | Grammar::Bitfield
                | Grammar::Copy
                | Grammar::Sort
                | Grammar::Georadius(_)
                | Grammar::Xread
                | Grammar::Xreadgroup,
            ) => {}
            Standing::Own(_) | Standing::Never(_) | Standing::Special(_) => {
                return Err(Refusal::Forbidden(format!(
                    "the script calls `{}`, which is not for scripts",
                    row.name
                )));
            }
        }
        let arguments = Arguments {
            name: row.name,
            all: given,
        };
        if !arguments.is_open() && !row.takes(given.len()) {
            return Err(Refusal::Unparsable(format!(
                "the script calls `{}` with {} arguments, which it does not take",
                row.name,
                given.len() - 1
            )));
        }
        for found in arguments::keys(row, arguments)? {
            match found {
                Found::Key(Argument::Key(number), access) => self.uses(Which::Nth(number), access),
                Found::Key(Argument::AnyKey | Argument::RestOfKeys, access) => {
                    self.uses(Which::Any, access);
                }
                Found::Key(Argument::Bytes(_), _) => {
                    return Err(unproven("names a key that is not in `KEYS`"));
                }
                Found::Key(Argument::Unknown | Argument::Rest, _) => {
                    return Err(unproven("computes a key"));
                }
                Found::Pattern(_) => return Err(unproven("reaches keys by a pattern")),
            }
        }
        Ok(())
    }
}

/// A whole number as Redis is given it; any other number is data.
fn number(token: &TokenReference) -> Value<'_> {
    const DIGITS_MAX: usize = 9;
    let digits = text(token);
    let whole = digits.len() <= DIGITS_MAX
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if whole {
        Value::Literal(digits)
    } else {
        Value::Data
    }
}

/// How often a function of the library calls the function that it is given in this place.
pub(super) fn callbacks(name: &str, index: usize) -> Option<u64> {
    match (name, index) {
        ("pcall", 0) | ("xpcall", 0 | 1) => Some(1),
        ("table.sort", 1) => Some(ROUNDS_ASSUMED),
        _ => None,
    }
}

fn recursive() -> Refusal {
    unproven("has a function that calls itself, which may never end")
}

/// A quoted string without escapes stands for its own bytes; any other is data.
fn string(token: &TokenReference) -> Value<'_> {
    if let TokenType::StringLiteral {
        literal,
        quote_type: StringLiteralQuoteType::Double | StringLiteralQuoteType::Single,
        ..
    } = token.token().token_type()
        && !literal.contains('\\')
    {
        return Value::Literal(literal.as_str());
    }
    Value::Data
}
