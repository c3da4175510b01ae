//! The parser's ground: the cursor over the tokens, the names in scope, and what has been touched so far.
//!
//! Every method that moves the cursor says what it takes the token for. There is no way to step over a token
//! without saying so, hence nothing reaches the server that no rule has accounted for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::shape::Shape;
use super::token::{Kind, Token};
use super::words;
use crate::classify::{Refusal, Result, Session};
use crate::operation::{Action, Classification, Object, Touch};

/// Deepest nesting of parentheses, subqueries, function calls and `CASE`.
pub const NESTING_MAX: usize = 100;

/// Most tables in one `FROM` list; both servers stop at 61.
pub const JOINED_TABLES_MAX: usize = 64;

pub struct Parser<'a> {
    sql: &'a str,
    pub tokens: Vec<Token>,
    pub at: usize,
    depth: usize,
    pub session: Session,
    /// The common table expressions visible here, the innermost last.
    pub common_tables: Vec<String>,
    /// Where, in `common_tables`, the innermost `WITH` list begins of which a body is being read.
    pub body_of: Option<usize>,
    /// Names that were read as real tables, folded, with the place of the last such reading.
    pub referred: HashMap<String, usize>,
    /// While the value of an assignment is read: what stands before its columns, `None` for a bare column.
    pub qualifiers: Option<BTreeSet<Option<String>>>,
    touches: BTreeSet<Touch>,
    functions: BTreeSet<String>,
    /// Every name that may stand where a table does: tables, aliases, common tables, in lower case.
    pub known: HashSet<String>,
    /// How deep the text really nests, its longest chain of operators, and all its joins.
    pub depth_seen: usize,
    pub chain_seen: usize,
    pub joins_seen: usize,
    /// What a rewriting needs to know, where it is wanted.
    pub shape: Option<Box<Shape>>,
}

/// A table's name as the statement has it.
#[derive(Debug, Clone)]
pub struct TableName {
    pub namespace: Option<String>,
    pub name: String,
}

impl TableName {
    /// A dot would make `a.b` out of one name wherever names are shown or compared as text.
    pub fn check(&self) -> Result<()> {
        for part in self.namespace.iter().chain([&self.name]) {
            if part.contains(['.', '/', '\\', '\u{feff}']) || part.ends_with(' ') {
                return Err(Refusal::Forbidden(format!(
                    "the name `{part}` has a dot, a slash or a trailing space"
                )));
            }
        }
        Ok(())
    }
}

/// What a name in a `FROM` list stands for.
#[derive(Debug, Clone)]
pub enum Source {
    Table(TableName),
    /// A common table expression or a derived table: what it reads was touched where it was written.
    Derived,
}

impl<'a> Parser<'a> {
    pub fn new(sql: &'a str, tokens: Vec<Token>, session: Session) -> Self {
        Self {
            sql,
            tokens,
            at: 0,
            depth: 0,
            session,
            common_tables: Vec::new(),
            body_of: None,
            referred: HashMap::new(),
            qualifiers: None,
            touches: BTreeSet::new(),
            functions: BTreeSet::new(),
            known: HashSet::new(),
            depth_seen: 0,
            chain_seen: 0,
            joins_seen: 0,
            shape: None,
        }
    }

    pub fn finish(self) -> Classification {
        Classification {
            touches: self.touches.into_iter().collect(),
            functions: self.functions.into_iter().collect(),
            ..Classification::default()
        }
    }

    // The cursor.

    pub fn peek(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    pub fn kind(&self, ahead: usize) -> Option<Kind> {
        self.peek(ahead).map(|token| token.kind)
    }

    pub fn text(&self, ahead: usize) -> &'a str {
        self.peek(ahead).map_or("", |token| token.text(self.sql))
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn is_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// The bare word `ahead` of here, or "".
    pub fn word(&self, ahead: usize) -> &'a str {
        match self.kind(ahead) {
            Some(Kind::Word) => self.text(ahead),
            _ => "",
        }
    }

    pub fn is_word(&self, ahead: usize, keyword: &str) -> bool {
        self.word(ahead).eq_ignore_ascii_case(keyword)
    }

    pub fn is_symbol(&self, ahead: usize, symbol: &str) -> bool {
        self.kind(ahead) == Some(Kind::Symbol) && self.text(ahead) == symbol
    }

    /// Takes the keywords if all of them come next.
    pub fn eat(&mut self, keywords: &[&str]) -> bool {
        let all = keywords
            .iter()
            .enumerate()
            .all(|(ahead, keyword)| self.is_word(ahead, keyword));
        if all {
            self.at += keywords.len();
        }
        all
    }

    /// Takes one of the keywords, if one comes next.
    pub fn eat_any(&mut self, keywords: &[&str]) -> bool {
        let found = !self.word(0).is_empty() && words::is_any(self.word(0), keywords);
        if found {
            self.at += 1;
        }
        found
    }

    pub fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(0, symbol);
        if found {
            self.at += 1;
        }
        found
    }

    pub fn eat_kind(&mut self, kind: Kind) -> bool {
        let found = self.kind(0) == Some(kind);
        if found {
            self.at += 1;
        }
        found
    }

    pub fn expect(&mut self, keywords: &[&str]) -> Result<()> {
        if self.eat(keywords) {
            Ok(())
        } else {
            self.unexpected(&keywords.join(" "))
        }
    }

    pub fn expect_any(&mut self, keywords: &[&str]) -> Result<()> {
        if self.eat_any(keywords) {
            Ok(())
        } else {
            self.unexpected(&keywords.join(" or "))
        }
    }

    pub fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.eat_symbol(symbol) {
            Ok(())
        } else {
            self.unexpected(&format!("`{symbol}`"))
        }
    }

    pub fn expect_kind(&mut self, kind: Kind, what: &str) -> Result<()> {
        if self.eat_kind(kind) {
            Ok(())
        } else {
            self.unexpected(what)
        }
    }

    /// The error for a token that no rule takes. A value is not repeated, since it may be a secret.
    pub fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.kind(0) {
            None => "the end of the statement".to_owned(),
            Some(Kind::Text | Kind::National) => "a string".to_owned(),
            Some(Kind::Number | Kind::Binary) => "a number".to_owned(),
            Some(
                Kind::Word
                | Kind::Name
                | Kind::Quoted
                | Kind::Parameter
                | Kind::UserVariable
                | Kind::SystemVariable
                | Kind::Hint
                | Kind::Symbol,
            ) => format!("`{}`", self.text(0)),
        };
        let place = self.peek(0).map_or(self.sql.len(), |token| token.start());
        Err(Refusal::Unparsable(format!(
            "expected {wanted}, found {found} at byte {place}"
        )))
    }

    /// Runs `rule` one level deeper.
    pub fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= NESTING_MAX {
            return Err(Refusal::TooLarge(format!(
                "the statement nests deeper than {NESTING_MAX} levels; flatten it"
            )));
        }
        self.depth += 1;
        self.depth_seen = self.depth_seen.max(self.depth);
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// `item [, item]…`.
    pub fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            item(self)?;
            if !self.eat_symbol(",") {
                return Ok(());
            }
        }
    }

    /// `( item [, item]… )`.
    pub fn list_in_parentheses(&mut self, item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect_symbol("(")?;
        self.list(item)?;
        self.expect_symbol(")")
    }

    // Names.

    /// Takes a name that will be sent in back quotes, and gives what it spells.
    pub fn name(&mut self, what: &str) -> Result<String> {
        let spelled = self.bare_or_quoted_name(what)?;
        if let Some(token) = self.tokens.get_mut(self.at) {
            token.quote = token.kind != Kind::Quoted;
        }
        self.at += 1;
        Ok(spelled)
    }

    /// Takes a part of a column's name. It is sent as it stands unless a server could take it for a keyword, so
    /// that the columns of a result keep their labels.
    pub fn column_part(&mut self) -> Result<String> {
        let spelled = self.bare_or_quoted_name("a column")?;
        if let Some(token) = self.tokens.get_mut(self.at) {
            let plain = !spelled.contains('$')
                && !spelled.starts_with(|first: char| first.is_ascii_digit());
            let quoted = token.kind == Kind::Quoted;
            let touches_dot = token.kind == Kind::Name;
            token.quote = !quoted && (!plain || (!touches_dot && words::is_reserved(&spelled)));
        }
        self.at += 1;
        Ok(spelled)
    }

    fn bare_or_quoted_name(&self, what: &str) -> Result<String> {
        let text = self.text(0);
        match self.kind(0) {
            Some(Kind::Quoted) => {
                let inner = text.get(1..text.len() - 1).unwrap_or_default();
                Ok(inner.replace("``", "`"))
            }
            Some(Kind::Name) => Ok(text.to_owned()),
            Some(Kind::Word) if !words::is_reserved_by_both(text) => Ok(text.to_owned()),
            _ => self.unexpected(what),
        }
    }

    /// Whether an alias without `AS` comes next.
    pub fn is_alias(&self) -> bool {
        match self.kind(0) {
            Some(Kind::Quoted) => true,
            Some(Kind::Word) => !words::is_reserved(self.text(0)),
            _ => false,
        }
    }

    /// `[AS] name` after a table.
    pub fn table_alias(&mut self) -> Result<Option<String>> {
        if !self.eat(&["AS"]) && !self.is_alias() {
            return Ok(None);
        }
        let alias = self.name("an alias")?;
        self.known.insert(alias.to_lowercase());
        Ok(Some(alias))
    }

    /// `name` or `database.name`.
    pub fn table_name(&mut self) -> Result<TableName> {
        if self.is_symbol(0, ".") {
            return Err(Refusal::Forbidden(
                "a table's name that begins with a dot; write the name alone".into(),
            ));
        }
        let first = self.name("a table")?;
        let (namespace, name) = if self.eat_symbol(".") {
            let name = self.name("a table")?;
            (Some(first), name)
        } else {
            (None, first)
        };
        let table = TableName { namespace, name };
        table.check()?;
        self.known.insert(table.name.to_lowercase());
        Ok(table)
    }

    // What is touched.

    pub fn touch(&mut self, table: &TableName, action: Action) {
        self.touches.insert(Touch {
            object: Object::named(table.namespace.as_deref(), &table.name),
            action,
        });
    }

    pub fn function(&mut self, name: String) {
        self.functions.insert(name);
    }

    pub fn forbidden<T>(&self, reason: &str) -> Result<T> {
        Err(Refusal::Forbidden(reason.to_owned()))
    }

    /// Refuses on a shared connection what only makes sense on one of the caller's own.
    pub fn own_session(&self, what: &str, instead: &str) -> Result<()> {
        match self.session {
            Session::Own => Ok(()),
            Session::Shared => Err(Refusal::Forbidden(format!(
                "{what} on a connection that is shared between callers; {instead}"
            ))),
        }
    }
}
