//! How much larger than what it is made of a value may be, so that no script doubles its way to all memory.
//!
//! What a script is given (a literal, an argument, an element of `KEYS`, what a command returns) counts as one. What
//! passes through a variable that is assigned to, through a table or through a function is as large as anything that
//! did: one measure of what *grows*. Joining two such values and keeping the outcome doubles that measure; a script may
//! do so a few times, and not in a loop. Adding to it what was given is no doubling, and may be done as often as work
//! of its kind.

use std::collections::{HashMap, HashSet};

use full_moon::ast::{
    Assignment, BinOp, Call, Expression, Field, FunctionArgs, FunctionCall, GenericFor, Index,
    Prefix, Suffix, UnOp, Var, VarExpression,
};
use full_moon::tokenizer::Symbol;
use full_moon::visitors::Visitor;

use super::walk::{Binding, WORK_MAX, Walk, text};
use super::{library, unproven};
use crate::classify::Result;

/// Most parts that a value may be made of, without anything that grows.
const GIVEN_MAX: u32 = 256;

/// Doublings that use up all the work that a script may do.
const DOUBLINGS_MAX: u64 = 8;

/// What it costs to make a longer text of one that grows.
const APPEND_WORK: u64 = 1_000;

/// Globals whose functions change nothing that they are given.
const READERS: [&str; 9] = [
    "cjson", "cmsgpack", "ipairs", "pairs", "redis", "string", "tonumber", "tostring", "unpack",
];

/// An upper bound of a value, in sizes of what grows and of what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub grown: u32,
    pub given: u32,
}

impl Size {
    pub const GIVEN: Self = Self { grown: 0, given: 1 };
    /// As large as anything that the script has kept.
    pub const GROWN: Self = Self { grown: 1, given: 1 };
    /// Of several such.
    pub const MANY: Self = Self { grown: 2, given: 2 };

    const fn plus(self, other: Self) -> Self {
        Self {
            grown: self.grown.saturating_add(other.grown),
            given: self.given.saturating_add(other.given),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            grown: self.grown.max(other.grown),
            given: self.given.max(other.given),
        }
    }

    pub const fn times(self, factor: u32) -> Self {
        Self {
            grown: self.grown.saturating_mul(factor),
            given: self.given.saturating_mul(factor),
        }
    }

    /// As an operand of `..`, where a number has digits.
    fn written(self) -> Self {
        self.or(Self::GIVEN)
    }
}

/// How often each name is used, and how often only to read what it holds.
#[derive(Default)]
pub(super) struct Reads {
    uses: HashMap<String, u32>,
    reads: HashMap<String, u32>,
    written: HashSet<String>,
}

impl Reads {
    /// Whether the table that a name holds stays as it was made.
    fn only(&self, name: &str) -> bool {
        !self.written.contains(name) && self.uses.get(name) == self.reads.get(name)
    }

    fn read(&mut self, expression: &Expression) {
        if let Expression::Var(Var::Name(name)) = expression {
            *self.reads.entry(text(name).to_owned()).or_default() += 1;
        }
    }
}

impl Visitor for Reads {
    fn visit_prefix(&mut self, prefix: &Prefix) {
        if let Prefix::Name(name) = prefix {
            *self.uses.entry(text(name).to_owned()).or_default() += 1;
        }
    }

    fn visit_var(&mut self, variable: &Var) {
        if let Var::Name(name) = variable {
            *self.uses.entry(text(name).to_owned()).or_default() += 1;
        }
    }

    fn visit_var_expression(&mut self, variable: &VarExpression) {
        if let (Prefix::Name(name), Some(Suffix::Index(_))) =
            (variable.prefix(), variable.suffixes().next())
        {
            *self.reads.entry(text(name).to_owned()).or_default() += 1;
        }
    }

    fn visit_assignment(&mut self, assignment: &Assignment) {
        for variable in assignment.variables() {
            match variable {
                Var::Name(name) => drop(self.written.insert(text(name).to_owned())),
                Var::Expression(target) => {
                    if let Prefix::Name(name) = target.prefix() {
                        self.written.insert(text(name).to_owned());
                    }
                }
                _ => {}
            }
        }
    }

    fn visit_expression(&mut self, expression: &Expression) {
        if let Expression::UnaryOperator { expression, .. } = expression {
            self.read(expression);
        } else if let Expression::BinaryOperator { lhs, binop, rhs } = expression
            && !matches!(binop, BinOp::And(_) | BinOp::Or(_))
        {
            self.read(lhs);
            self.read(rhs);
        }
    }

    fn visit_function_call(&mut self, call: &FunctionCall) {
        let Prefix::Name(name) = call.prefix() else {
            return;
        };
        if !READERS.contains(&text(name)) {
            return;
        }
        for suffix in call.suffixes() {
            if let Suffix::Call(Call::AnonymousCall(arguments)) = suffix
                && let FunctionArgs::Parentheses { arguments, .. } = arguments.as_ref()
            {
                arguments.iter().for_each(|argument| self.read(argument));
            }
        }
    }
}

impl Walk {
    /// A local was given this name: what is said of a global of this name no longer holds.
    pub fn hides(&mut self, name: &str) {
        self.hides_readers |= READERS.contains(&name);
    }

    /// Keeps a value of this expression where anything may read it.
    pub(super) fn keep(&mut self, expression: &Expression) -> Result<()> {
        let size = self.bounded(expression)?;
        if size.grown > 1 {
            let doublings = u64::from(u32::BITS - (size.grown - 1).leading_zeros());
            self.calls(doublings.saturating_mul(WORK_MAX / DOUBLINGS_MAX));
        } else if size.grown == 1 && !is_plain(expression) {
            self.calls(APPEND_WORK);
        }
        Ok(())
    }

    /// The size of an expression that a local is to hold.
    pub(super) fn bounded(&self, expression: &Expression) -> Result<Size> {
        let size = self.size(expression);
        if size.given > GIVEN_MAX || size.grown > GIVEN_MAX {
            return Err(unproven(
                "joins values over and over, so that they may take all memory",
            ));
        }
        Ok(size)
    }

    fn size(&self, expression: &Expression) -> Size {
        match expression {
            Expression::BinaryOperator { lhs, binop, rhs } => {
                let (lhs, rhs) = (self.size(lhs), self.size(rhs));
                if matches!(binop, BinOp::TwoDots(_)) {
                    lhs.written().plus(rhs.written())
                } else if matches!(binop, BinOp::And(_) | BinOp::Or(_)) {
                    lhs.or(rhs)
                } else {
                    Size::default()
                }
            }
            Expression::UnaryOperator { unop, .. } => match unop {
                UnOp::Minus(_) | UnOp::Not(_) | UnOp::Hash(_) => Size::default(),
                _ => Size::MANY,
            },
            Expression::Parentheses { expression, .. } => self.size(expression),
            Expression::Function(_) => Size::default(),
            Expression::FunctionCall(call) => self.call_size(call),
            Expression::TableConstructor(table) => table
                .fields()
                .iter()
                .map(|field| match field {
                    Field::ExpressionKey { key, value, .. } => {
                        self.size(key).plus(self.size(value))
                    }
                    Field::NameKey { value, .. } => self.size(value),
                    Field::NoKey(value) => self.size(value),
                    _ => Size::MANY,
                })
                .fold(Size::default(), Size::plus),
            Expression::Number(_) | Expression::String(_) => Size::GIVEN,
            Expression::Symbol(token) if token.is_symbol(Symbol::Ellipsis) => Size::MANY,
            Expression::Symbol(_) => Size::default(),
            Expression::Var(Var::Name(name)) => self.name_size(text(name)),
            Expression::Var(Var::Expression(variable)) => match variable.prefix() {
                Prefix::Name(name) => self.element_size(text(name)),
                Prefix::Expression(expression) => self.size(expression).or(Size::GROWN),
                _ => Size::GROWN,
            },
            Expression::Var(_) | _ => Size::MANY,
        }
    }

    fn name_size(&self, name: &str) -> Size {
        match self.local_size(name) {
            Some(size) => size,
            None if matches!(name, "KEYS" | "ARGV") => Size::GIVEN,
            None => Size::GROWN,
        }
    }

    /// What a field of a name's table may be.
    fn element_size(&self, name: &str) -> Size {
        if self.global_is(name, "KEYS") || self.global_is(name, "redis") {
            return Size::GIVEN;
        }
        if !self.hides_readers && self.reads.only(name) {
            return self.name_size(name);
        }
        self.name_size(name).or(Size::GROWN)
    }

    fn global_is(&self, name: &str, global: &str) -> bool {
        name == global && self.local(name).is_none()
    }

    fn call_size(&self, call: &FunctionCall) -> Size {
        let suffixes: Vec<&Suffix> = call.suffixes().collect();
        let global = self.global_name(call.prefix());
        if let Prefix::Name(name) = call.prefix()
            && self.local(text(name)) == Some(Binding::Call)
        {
            return Size::GIVEN;
        }
        match (global, suffixes.as_slice()) {
            (Some("redis"), _) => Size::GIVEN,
            (Some(name), [Suffix::Call(Call::AnonymousCall(arguments))]) => {
                self.made_by(name, arguments)
            }
            (
                Some(name),
                [
                    Suffix::Index(Index::Dot { name: member, .. }),
                    Suffix::Call(Call::AnonymousCall(arguments)),
                ],
            ) => self.made_by(&format!("{name}.{}", text(member)), arguments),
            (_, [.., Suffix::Call(Call::MethodCall(method))]) => {
                let factor = library::factor(text(method.name()), 0, method.args());
                let on = match call.prefix() {
                    Prefix::Name(name) => self.name_size(text(name)),
                    Prefix::Expression(expression) => self.size(expression),
                    _ => Size::MANY,
                };
                let on = if suffixes.len() > 1 {
                    on.or(Size::GROWN)
                } else {
                    on
                };
                on.plus(self.arguments_size(method.args())).times(factor)
            }
            (_, _) => Size::GROWN,
        }
    }

    fn made_by(&self, name: &str, arguments: &FunctionArgs) -> Size {
        let given = self.arguments_size(arguments);
        match name.split_once('.') {
            Some(("math" | "bit" | "os", _))
            | Some(("string", "len" | "byte"))
            | Some(("struct", "size"))
            | Some(("table", "getn" | "maxn" | "insert" | "sort")) => Size::default(),
            Some(("string", "rep")) => Size::GIVEN,
            Some(("string", member)) => given.times(library::factor(member, 1, arguments)),
            Some(("cjson", "decode") | ("cmsgpack", _) | ("struct", "unpack"))
                if name != "cmsgpack.pack" =>
            {
                given
            }
            Some(("table", "remove")) => given.or(Size::GROWN),
            Some(_) => given.or(Size::MANY),
            None => match name {
                "tonumber" | "type" | "rawequal" => Size::default(),
                // What the function returns was kept there.
                "pcall" | "xpcall" => given.or(Size::GROWN),
                "tostring" | "assert" | "ipairs" | "pairs" => given,
                "unpack" | "next" | "select" if given.grown == 0 && self.reads_only(arguments) => {
                    given
                }
                _ => given.or(Size::MANY),
            },
        }
    }

    fn reads_only(&self, arguments: &FunctionArgs) -> bool {
        let FunctionArgs::Parentheses { arguments, .. } = arguments else {
            return false;
        };
        let first = arguments.iter().next();
        if let Some(Expression::Var(Var::Name(name))) = first {
            return !self.hides_readers && self.reads.only(text(name));
        }
        matches!(first, Some(Expression::FunctionCall(_)))
    }

    fn arguments_size(&self, arguments: &FunctionArgs) -> Size {
        match arguments {
            FunctionArgs::Parentheses { arguments, .. } => arguments
                .iter()
                .map(|argument| self.size(argument))
                .fold(Size::default(), Size::plus),
            FunctionArgs::String(_) => Size::GIVEN,
            FunctionArgs::TableConstructor(_) | _ => Size::MANY,
        }
    }

    /// What the variables of a `for` hold.
    pub(super) fn elements(&self, body: &GenericFor) -> Size {
        let first = body.expressions().iter().next();
        let Some(Expression::FunctionCall(call)) = first else {
            return Size::GROWN;
        };
        let over = match (self.global_name(call.prefix()), call.suffixes().next()) {
            (Some("pairs" | "ipairs"), Some(Suffix::Call(Call::AnonymousCall(arguments)))) => {
                library::nth(arguments, 0)
            }
            (_, _) => None,
        };
        match over {
            Some(Expression::Var(Var::Name(name))) => self.element_size(text(name)),
            Some(Expression::FunctionCall(call)) => self.call_size(call),
            Some(_) => Size::GROWN,
            None => self.call_size(call),
        }
    }
}

/// Whether an expression makes nothing new.
const fn is_plain(expression: &Expression) -> bool {
    matches!(expression, Expression::Var(_))
}
