//! Statements and scopes: which name means what, where.

use std::collections::HashSet;

use full_moon::ast::{
    Assignment, Ast, Block, Expression, FunctionBody, FunctionCall, FunctionDeclaration, If,
    LastStmt, LocalAssignment, LocalFunction, Parameter, Stmt, Suffix, Var,
};
use full_moon::tokenizer::{TokenReference, TokenType};
use full_moon::visitors::Visitor;

use super::super::arguments::Argument;
use super::super::table::Access;
use super::growth::{Reads, Size};
use super::loops::ROUNDS_ASSUMED;
use super::{Summary, Which, globals, unproven};
use crate::classify::Result;

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A literal without escapes, or a whole number.
    Literal(&'a str),
    Key(Which),
    /// `KEYS` itself: it may be indexed, counted and read, and never stored or passed on.
    Keys,
    /// `redis.call` or `redis.pcall` itself: it may be called.
    Call,
    /// A function of the script, and what one call of it costs. It may be called, and never stored or passed on but to
    /// the library: what data holds is then never a function of the script, so that none can come to call itself.
    Function(u64),
    /// Something that cannot lead to a key of its own accord.
    Data,
    /// Any number of such values.
    Many,
    /// Any number of elements of `KEYS`.
    ManyKeys,
}

impl<'a> Value<'a> {
    /// As an argument of a command; `last` arguments may stand for several.
    pub fn as_argument(self, last: bool) -> Result<Argument<'a>> {
        Ok(match self {
            Self::Literal(text) => Argument::Bytes(text.as_bytes()),
            Self::Key(Which::Nth(number)) => Argument::Key(number),
            Self::Key(Which::Any) => Argument::AnyKey,
            Self::ManyKeys if last => Argument::RestOfKeys,
            Self::ManyKeys => Argument::AnyKey,
            Self::Many if last => Argument::Rest,
            Self::Many | Self::Data => Argument::Unknown,
            Self::Keys | Self::Call | Self::Function(_) => return Err(self.escapes()),
        })
    }

    /// Refuses what must not become a value of the script.
    pub fn kept(self) -> Result<Self> {
        match self {
            Self::Keys | Self::Call | Self::Function(_) => Err(self.escapes()),
            Self::Literal(_) | Self::Key(_) | Self::Data | Self::Many | Self::ManyKeys => Ok(self),
        }
    }

    fn escapes(self) -> crate::classify::Refusal {
        match self {
            Self::Keys => unproven("passes `KEYS` itself on"),
            Self::Function(_) => unproven(
                "stores a function or passes it on, which could come to call itself for ever",
            ),
            Self::Call
            | Self::Literal(_)
            | Self::Key(_)
            | Self::Data
            | Self::Many
            | Self::ManyKeys => unproven("passes `redis.call` itself on"),
        }
    }

    /// What a local that is set once holds.
    fn bound(self) -> Binding {
        match self {
            Self::Key(which) => Binding::Key(which),
            Self::Call => Binding::Call,
            Self::Function(work) => Binding::Function(work),
            Self::ManyKeys => Binding::Key(Which::Any),
            Self::Literal(_) | Self::Keys | Self::Data | Self::Many => Binding::Data,
        }
    }
}

/// What a local variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Data,
    Key(Which),
    Call,
    Function(u64),
    /// The function in whose body this is.
    Itself,
}

/// What the commands of a script do to its keys.
pub(super) fn summarise(ast: &Ast) -> Result<Summary> {
    let mut assigned = Assigned::default();
    assigned.visit_ast(ast);
    let mut reads = Reads::default();
    reads.visit_ast(ast);
    let mut walk = Walk {
        scopes: Vec::new(),
        assigned: assigned.names,
        reads,
        hides_readers: false,
        uses: Vec::new(),
        work: 0,
        rounds: 1,
        counted: Counted::default(),
        assumed: ROUNDS_ASSUMED,
        in_function: false,
    };
    walk.block(ast.nodes())?;
    // What the loops that count may have put into a table, loops over data may find there; and what is hidden
    // further down is hidden further up, where a loop comes round.
    let made = walk.counted.most.saturating_mul(walk.counted.in_functions);
    if made > ROUNDS_ASSUMED || walk.hides_readers {
        walk.assumed = made.max(ROUNDS_ASSUMED);
        walk.work = 0;
        walk.block(ast.nodes())?;
    }
    if walk.work > WORK_MAX {
        return Err(unproven(
            "calls functions or counts within loops so often that it may run for very long",
        ));
    }
    Ok(Summary { uses: walk.uses })
}

/// Every name that is assigned to anywhere; a local of that name is never taken for what it was declared as.
#[derive(Default)]
struct Assigned {
    names: HashSet<String>,
}

impl Visitor for Assigned {
    fn visit_assignment(&mut self, assignment: &Assignment) {
        for variable in assignment.variables() {
            if let Var::Name(name) = variable {
                self.names.insert(text(name).to_owned());
            }
        }
    }

    fn visit_function_declaration(&mut self, declaration: &FunctionDeclaration) {
        if let Some(name) = declaration.name().names().iter().next() {
            self.names.insert(text(name).to_owned());
        }
    }
}

/// How often a statement runs by the loops that count alone.
pub(super) struct Counted {
    /// The one that is being read.
    pub now: u64,
    /// The one that runs most often, in this function.
    pub most: u64,
    /// The product of those in other functions.
    in_functions: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            now: 1,
            most: 1,
            in_functions: 1,
        }
    }
}

pub(super) struct Walk {
    pub scopes: Vec<Vec<(String, Binding, Size)>>,
    assigned: HashSet<String>,
    pub reads: Reads,
    /// A local has the name of a global that [`Reads`] counts on.
    pub hides_readers: bool,
    uses: Vec<(Which, Access)>,
    /// How many statements one call of the function that is being read may run, roughly.
    work: u64,
    /// How often the statement that is being read runs.
    pub rounds: u64,
    pub counted: Counted,
    /// Rounds that a loop over data is taken to have.
    pub assumed: u64,
    in_function: bool,
}

impl Walk {
    /// The local that a name means here, if it is one.
    pub fn local(&self, name: &str) -> Option<Binding> {
        self.find(name).map(|(binding, _)| binding)
    }

    /// How large what a local holds may be.
    pub fn local_size(&self, name: &str) -> Option<Size> {
        self.find(name).map(|(_, size)| size)
    }

    fn find(&self, name: &str) -> Option<(Binding, Size)> {
        self.scopes
            .iter()
            .rev()
            .flat_map(|scope| scope.iter().rev())
            .find(|(local, _, _)| local == name)
            .map(|(_, binding, size)| (*binding, *size))
    }

    pub fn uses(&mut self, which: Which, access: Access) {
        if !self.uses.contains(&(which, access)) {
            self.uses.push((which, access));
        }
    }

    pub fn declare(&mut self, name: &str, binding: Binding, size: Size) {
        self.hides(name);
        let (binding, size) = if self.assigned.contains(name) {
            (Binding::Data, Size::GROWN)
        } else {
            (binding, size)
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((name.to_owned(), binding, size));
        }
    }

    /// Counts a call of something that costs so much.
    pub fn calls(&mut self, work: u64) {
        let work = self.rounds.saturating_mul(work);
        self.work = self.work.saturating_add(work);
    }

    pub fn block(&mut self, block: &Block) -> Result<()> {
        self.scopes.push(Vec::new());
        let walked = self.statements(block);
        self.scopes.pop();
        walked
    }

    fn statements(&mut self, block: &Block) -> Result<()> {
        for statement in block.stmts() {
            self.statement(statement)?;
        }
        match block.last_stmt() {
            None | Some(LastStmt::Break(_)) => Ok(()),
            Some(LastStmt::Return(values)) => {
                self.all_kept(values.returns().iter())?;
                if self.in_function {
                    for value in values.returns() {
                        self.keep(value)?;
                    }
                }
                Ok(())
            }
            Some(_) => Err(unproven("ends a block in a way that is not known")),
        }
    }

    /// Walks expressions whose values the script keeps.
    pub fn all_kept<'a>(
        &mut self,
        expressions: impl Iterator<Item = &'a Expression>,
    ) -> Result<()> {
        for expression in expressions {
            self.kept(expression)?;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt) -> Result<()> {
        self.calls(1);
        match statement {
            Stmt::Assignment(assignment) => self.assignment(assignment),
            Stmt::Do(body) => self.block(body.block()),
            Stmt::FunctionCall(call) => self.call(call).map(drop),
            Stmt::FunctionDeclaration(declaration) => self.declaration(declaration),
            Stmt::GenericFor(body) => self.generic_for(body),
            Stmt::If(branches) => self.branches(branches),
            Stmt::LocalAssignment(locals) => self.locals(locals),
            Stmt::LocalFunction(function) => self.local_function(function),
            Stmt::NumericFor(body) => self.numeric_for(body),
            // Redis serves nobody else while a script runs, and a script that has written cannot be killed.
            Stmt::Repeat(_) => Err(unproven(
                "has a `repeat`, which may never end: use a counted `for`",
            )),
            Stmt::While(_) => Err(unproven(
                "has a `while`, which may never end: use a counted `for`",
            )),
            _ => Err(unproven("has a statement that is not Lua 5.1")),
        }
    }

    fn assignment(&mut self, assignment: &Assignment) -> Result<()> {
        self.all_kept(assignment.expressions().iter())?;
        for expression in assignment.expressions() {
            self.keep(expression)?;
        }
        for variable in assignment.variables() {
            match variable {
                Var::Name(name) if self.local(text(name)).is_some() => {}
                Var::Name(name) => {
                    return Err(unproven(format_args!(
                        "assigns to the global `{}`",
                        text(name)
                    )));
                }
                Var::Expression(target) => {
                    let suffixes: Vec<&Suffix> = target.suffixes().collect();
                    let Some((Suffix::Index(index), before)) = suffixes.split_last() else {
                        return Err(unproven("assigns to something that is not a field"));
                    };
                    let table = self.chain(target.prefix(), before)?;
                    if table.kept()? != Value::Data && table != Value::Many {
                        return Err(unproven(
                            "assigns to a field of something that is not a table",
                        ));
                    }
                    self.index(index)?;
                }
                _ => return Err(unproven("assigns to something that is not known")),
            }
        }
        Ok(())
    }

    fn locals(&mut self, locals: &LocalAssignment) -> Result<()> {
        let mut bindings = Vec::new();
        let mut spreads_keys = false;
        let mut sizes = Vec::new();
        for expression in locals.expressions() {
            let value = self.value(expression)?;
            sizes.push(self.bounded(expression)?);
            spreads_keys = value == Value::ManyKeys;
            // `local call = redis.call` is an alias that stays known as long as nobody assigns to it.
            bindings.push(match value {
                Value::Call | Value::Function(_) => value.bound(),
                Value::Literal(_)
                | Value::Key(_)
                | Value::Keys
                | Value::Data
                | Value::Many
                | Value::ManyKeys => value.kept()?.bound(),
            });
        }
        for (index, name) in locals.names().iter().enumerate() {
            let name = text(name);
            let binding = match bindings.get(index) {
                Some(binding) => *binding,
                // `local a, b = unpack(KEYS)`: each is an element, or nil.
                None if spreads_keys => Binding::Key(Which::Any),
                None => Binding::Data,
            };
            if self.assigned.contains(name)
                && let Some(expression) = locals.expressions().iter().nth(index)
            {
                self.keep(expression)?;
            }
            let size = sizes.get(index).or(sizes.last()).copied();
            self.declare_once(name, binding, size.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Declares a local; one that holds `redis.call` or a function may not be assigned to anywhere.
    fn declare_once(&mut self, name: &str, binding: Binding, size: Size) -> Result<()> {
        let what = match binding {
            Binding::Call => "`redis.call`",
            Binding::Function(_) => "a function",
            Binding::Data | Binding::Key(_) | Binding::Itself => "",
        };
        if !what.is_empty() && self.assigned.contains(name) {
            return Err(unproven(format_args!(
                "assigns to `{name}`, which is {what}"
            )));
        }
        self.declare(name, binding, size);
        Ok(())
    }

    /// `function f() …` sets a variable, a local of that name or a field of one, which its body can see.
    fn declaration(&self, declaration: &FunctionDeclaration) -> Result<()> {
        let name = declaration.name();
        let root = name.names().iter().next().map(text).unwrap_or_default();
        Err(if self.local(root).is_none() {
            unproven(format_args!("declares the global function `{root}`"))
        } else {
            unproven(format_args!(
                "sets `{root}` to a function, which could come to call itself for ever: write `local function`"
            ))
        })
    }

    fn local_function(&mut self, function: &LocalFunction) -> Result<()> {
        let name = text(function.name());
        // Its name means itself in its own body.
        self.scopes
            .push(vec![(name.to_owned(), Binding::Itself, Size::GROWN)]);
        let work = self.function(function.body());
        self.scopes.pop();
        self.declare_once(name, Binding::Function(work?), Size::default())
    }

    /// A function's body, and what one call of it costs; what its callers pass is data.
    pub fn function(&mut self, body: &FunctionBody) -> Result<u64> {
        let outer = (self.work, self.rounds, self.in_function);
        (self.work, self.rounds, self.in_function) = (1, 1, true);
        let counted = (self.counted.now, self.counted.most);
        (self.counted.now, self.counted.most) = (1, 1);
        self.scopes.push(Vec::new());
        for parameter in body.parameters() {
            if let Parameter::Name(name) = parameter {
                self.declare(text(name), Binding::Data, Size::GROWN);
            }
        }
        let walked = self.block(body.block());
        self.scopes.pop();
        let work = self.work;
        (self.work, self.rounds, self.in_function) = outer;
        self.counted.in_functions = self.counted.in_functions.saturating_mul(self.counted.most);
        (self.counted.now, self.counted.most) = counted;
        walked.map(|()| work)
    }

    fn branches(&mut self, branches: &If) -> Result<()> {
        self.kept(branches.condition())?;
        self.block(branches.block())?;
        for branch in branches.else_if().into_iter().flatten() {
            self.kept(branch.condition())?;
            self.block(branch.block())?;
        }
        match branches.else_block() {
            Some(block) => self.block(block),
            None => Ok(()),
        }
    }

    fn call(&mut self, call: &FunctionCall) -> Result<Value<'static>> {
        let suffixes: Vec<&Suffix> = call.suffixes().collect();
        self.chain(call.prefix(), &suffixes)?.kept()?;
        Ok(Value::Many)
    }
}

/// A name, or a literal as it is written.
pub(super) fn text(token: &TokenReference) -> &str {
    match token.token().token_type() {
        TokenType::Identifier { identifier } => identifier.as_str(),
        TokenType::Number { text } => text.as_str(),
        TokenType::StringLiteral { literal, .. } => literal.as_str(),
        TokenType::Eof
        | TokenType::MultiLineComment { .. }
        | TokenType::Shebang { .. }
        | TokenType::SingleLineComment { .. }
        | TokenType::Symbol { .. }
        | TokenType::Whitespace { .. }
        | _ => "",
    }
}

/// Whether a function of the library returns exactly one value.
pub(super) fn returns_one(name: &str) -> bool {
    globals::ONE_VALUE.contains(&name)
}

/// Most statements that a script may run, as far as its text alone makes them many: a second or two.
pub(super) const WORK_MAX: u64 = 100_000_000;
