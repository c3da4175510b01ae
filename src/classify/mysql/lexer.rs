//! The lexer: MySQL's and MariaDB's lexical rules under the session that Bulkhead pins.
//!
//! It is stricter than both servers: what they lex differently, or what hangs on a setting, is an error here.
//! After MySQL's `sql/sql_lex.cc` (`lex_one_token`) and the manuals' "Lexical Structure" pages.

use super::token::{Kind, Token};
use crate::classify::{Refusal, Result};

/// Most tokens in one text; a bulk insert of a hundred thousand rows stays well below.
pub const TOKENS_MAX: usize = 4_000_000;

/// Longest first, so that the first match is the token.
const SYMBOLS: [&str; 35] = [
    "<=>", "->>", "->", ":=", "<=", ">=", "<>", "!=", "<<", ">>", "&&", "||", "(", ")", ",", ";",
    "=", "<", ">", "+", "-", "*", "/", "%", "^", "&", "|", "~", "!", "{", "}", ".", "[", "]", ":",
];

/// Splits `sql` into tokens; comments are left out.
pub fn tokens(sql: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer {
        sql,
        bytes: sql.as_bytes(),
        at: 0,
        tokens: Vec::new(),
    };
    while lexer.skip_blank()? {
        if lexer.tokens.len() >= TOKENS_MAX {
            return Err(Refusal::TooLarge(format!(
                "the statement has more than {TOKENS_MAX} tokens; send it in parts"
            )));
        }
        lexer.token()?;
    }
    Ok(lexer.tokens)
}

pub struct Lexer<'a> {
    pub sql: &'a str,
    bytes: &'a [u8],
    pub at: usize,
    pub tokens: Vec<Token>,
}

pub fn unparsable<T>(reason: &str) -> Result<T> {
    Err(Refusal::Unparsable(reason.to_owned()))
}

/// The bytes of a bare name: letters, digits, `_`, `$` and everything that is not ASCII.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The six characters that both servers skip between tokens.
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

impl<'a> Lexer<'a> {
    /// The byte `ahead` of here; NUL past the end (NUL itself is refused before it matters).
    pub fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub fn slice(&self, start: usize) -> &'a str {
        self.sql.get(start..self.at).unwrap_or_default()
    }

    fn while_byte(&mut self, accept: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && accept(self.peek(0)) {
            self.at += 1;
        }
    }

    pub fn push(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token::new(kind, start, self.at));
    }

    /// Skips white space and comments; false at the end.
    fn skip_blank(&mut self) -> Result<bool> {
        loop {
            self.while_byte(is_blank);
            match (self.peek(0), self.peek(1), self.peek(2)) {
                (b'#', _, _) => self.while_byte(|byte| byte != b'\n'),
                (b'-', b'-', next)
                    if self.at + 2 >= self.bytes.len()
                        || is_blank(next)
                        || next.is_ascii_control() =>
                {
                    self.while_byte(|byte| byte != b'\n');
                }
                (b'/', b'*', b'+') if self.after_hinted_verb() => {
                    self.hint()?;
                }
                (b'/', b'*', _) => self.comment()?,
                (b'*', b'/', _) => return unparsable("`*/` stands outside a comment"),
                _ => return Ok(self.at < self.bytes.len()),
            }
        }
    }

    fn token(&mut self) -> Result<()> {
        let start = self.at;
        let kind = match (self.peek(0), self.peek(1)) {
            (b'\'' | b'"', _) => {
                self.quoted_text()?;
                Kind::Text
            }
            (b'n' | b'N', b'\'') => {
                self.at += 1;
                self.quoted_text()?;
                Kind::National
            }
            (b'x' | b'X', b'\'') => self.quoted_binary(|byte| byte.is_ascii_hexdigit(), 2)?,
            (b'b' | b'B', b'\'') => self.quoted_binary(|byte| matches!(byte, b'0' | b'1'), 1)?,
            (b'`', _) => self.quoted_name()?,
            // Neither server takes this `?` for a parameter.
            (b'?', next) if is_name_byte(next) => {
                return unparsable("a parameter runs into a name; put a space between them");
            }
            (b'?', _) => {
                self.at += 1;
                Kind::Parameter
            }
            (b'@', b'@') => self.system_variable()?,
            (b'@', _) => self.user_variable()?,
            (first, _) if is_name_byte(first) && self.is_after_dot() => self.word(),
            (b'.', b'0'..=b'9') if !self.is_after_name() => self.number()?,
            (b'0'..=b'9', _) => self.number()?,
            (first, _) if is_name_byte(first) => self.word(),
            _ => self.symbol()?,
        };
        self.push(kind, start);
        Ok(())
    }

    /// Whether the last token is a dot that touches this place.
    fn is_after_dot(&self) -> bool {
        self.tokens
            .last()
            .is_some_and(|last| last.end() == self.at && last.text(self.sql) == ".")
    }

    /// Whether the last token is a name, or could be one, that touches this place.
    fn is_after_name(&self) -> bool {
        self.tokens.last().is_some_and(|last| {
            last.end() == self.at && matches!(last.kind, Kind::Word | Kind::Name | Kind::Quoted)
        })
    }

    fn word(&mut self) -> Kind {
        let after_dot = self.is_after_dot();
        self.while_byte(is_name_byte);
        if after_dot || (self.peek(0) == b'.' && is_name_byte(self.peek(1))) {
            Kind::Name
        } else {
            Kind::Word
        }
    }

    /// A number, or a name that begins with digits (`2fa`), which is always sent in back quotes.
    fn number(&mut self) -> Result<Kind> {
        let start = self.at;
        for (prefix, digits) in [
            (
                b"0x",
                (|byte: u8| byte.is_ascii_hexdigit()) as fn(u8) -> bool,
            ),
            (b"0b", |byte: u8| matches!(byte, b'0' | b'1')),
        ] {
            if self.rest().starts_with(prefix) && digits(self.peek(2)) {
                self.at += 2;
                self.while_byte(digits);
                if !is_name_byte(self.peek(0)) && self.peek(0) != b'.' {
                    return Ok(Kind::Binary);
                }
                self.at = start;
            }
        }
        self.while_byte(|byte| byte.is_ascii_digit());
        if is_name_byte(self.peek(0)) && !self.is_exponent() {
            return Ok(self.word());
        }
        if self.peek(0) == b'.' {
            self.at += 1;
            self.while_byte(|byte| byte.is_ascii_digit());
        }
        if self.is_exponent() {
            self.at += 2;
            self.while_byte(|byte| byte.is_ascii_digit());
        }
        if is_name_byte(self.peek(0)) || self.peek(0) == b'.' {
            return unparsable("a number runs into a name or a dot; put a space between them");
        }
        Ok(Kind::Number)
    }

    /// `e5`, `e-5`, `e+5`.
    fn is_exponent(&self) -> bool {
        matches!(self.peek(0), b'e' | b'E')
            && (self.peek(1).is_ascii_digit()
                || (matches!(self.peek(1), b'+' | b'-') && self.peek(2).is_ascii_digit()))
    }

    /// Moves past a string: a backslash escapes, the quote doubled stands for itself.
    fn quoted_text(&mut self) -> Result<()> {
        let quote = self.peek(0);
        self.at += 1;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 1,
                byte if byte == quote && self.peek(1) == quote => self.at += 1,
                byte if byte == quote => {
                    self.at += 1;
                    return Ok(());
                }
                _ => {}
            }
            self.at += 1;
        }
        unparsable("a string is not closed")
    }

    fn quoted_binary(&mut self, digit: fn(u8) -> bool, width: usize) -> Result<Kind> {
        self.at += 2;
        let start = self.at;
        self.while_byte(digit);
        if self.peek(0) != b'\'' || !(self.at - start).is_multiple_of(width) {
            return unparsable("a hexadecimal or bit literal is malformed");
        }
        self.at += 1;
        Ok(Kind::Binary)
    }

    fn quoted_name(&mut self) -> Result<Kind> {
        let start = self.at;
        self.at += 1;
        loop {
            self.while_byte(|byte| byte != b'`');
            if self.at >= self.bytes.len() {
                return unparsable("a name in back quotes is not closed");
            }
            self.at += 1;
            if self.peek(0) != b'`' {
                break;
            }
            self.at += 1;
        }
        let inner = self.bytes.get(start + 1..self.at - 1).unwrap_or_default();
        if inner.is_empty() || inner.iter().any(u8::is_ascii_control) {
            return unparsable("a name is empty or has control characters");
        }
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            return unparsable("a name that begins with a digit needs back quotes after a dot");
        }
        Ok(Kind::Quoted)
    }

    fn user_variable(&mut self) -> Result<Kind> {
        self.at += 1;
        match self.peek(0) {
            b'\'' | b'"' => self.quoted_text()?,
            b'`' => {
                self.quoted_name()?;
            }
            _ => {
                let start = self.at;
                self.while_byte(|byte| is_name_byte(byte) || byte == b'.');
                // What is a letter beyond ASCII hangs on the server's tables.
                if start == self.at || !self.slice(start).is_ascii() {
                    return unparsable("`@` without a variable's plain name");
                }
            }
        }
        Ok(Kind::UserVariable)
    }

    fn system_variable(&mut self) -> Result<Kind> {
        self.at += 2;
        let start = self.at;
        self.while_byte(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.');
        let name = self.slice(start);
        if name.split('.').any(str::is_empty) || is_name_byte(self.peek(0)) {
            return unparsable("`@@` without a plain variable's name");
        }
        Ok(Kind::SystemVariable)
    }

    fn symbol(&mut self) -> Result<Kind> {
        let rest = self.rest();
        let symbol = SYMBOLS
            .iter()
            .find(|symbol| rest.starts_with(symbol.as_bytes()));
        let Some(symbol) = symbol else {
            return unparsable(match self.peek(0) {
                b'\\' => "`\\N` and other backslashes outside a string are not understood",
                _ => "a control or unknown character stands outside a string",
            });
        };
        self.at += symbol.len();
        Ok(Kind::Symbol)
    }
}
