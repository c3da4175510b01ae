//! Tokens: the kinds of them, and where each stands in the text.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bare word, keyword or name.
    Word,
    /// A bare word that touches a dot: both servers take it for a name, whatever it spells.
    Name,
    /// A name in back quotes.
    Quoted,
    /// `'…'` or `"…"`, both strings under the pinned `sql_mode`.
    Text,
    /// `N'…'`.
    National,
    /// An integer, decimal or floating-point literal.
    Number,
    /// `x'…'`, `0x…`, `b'…'`, `0b…`.
    Binary,
    /// `?`.
    Parameter,
    /// `@name`, `@'…'`.
    UserVariable,
    /// `@@name`, `@@scope.name`.
    SystemVariable,
    /// An optimizer hint, `/*+ … */`, where MySQL reads one.
    Hint,
    /// An operator or punctuation.
    Symbol,
}

#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: Kind,
    /// Set by the parser on a bare word that must be sent in back quotes.
    pub quote: bool,
    start: u32,
    end: u32,
}

impl Token {
    /// `start` and `end` are bytes of a text no longer than `STATEMENT_BYTES_MAX`, which `classify` checks, so that
    /// both fit.
    pub fn new(kind: Kind, start: usize, end: usize) -> Self {
        Self {
            kind,
            quote: false,
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    pub fn text<'a>(&self, sql: &'a str) -> &'a str {
        sql.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    pub fn start(&self) -> usize {
        self.start as usize
    }

    pub fn end(&self) -> usize {
        self.end as usize
    }
}
