//! Row filters: text → [`Condition`].
//!
//! ```text
//! condition  = conjunct { OR conjunct }
//! conjunct   = term { AND term }
//! term       = NOT term | "(" condition ")" | column test
//! test       = ( "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ) constant
//!            | [ NOT ] IN "(" constant { "," constant } ")"
//!            | IS [ NOT ] NULL
//! constant   = 'text' | number | TRUE | FALSE | :caller.user_id | :caller.key_id | :caller.role
//! ```

use super::fault::did_you_mean;
use super::rules::{Attribute, Comparison, Condition, Constant};

/// Longest row filter.
const CONDITION_BYTES_MAX: usize = 4096;

/// How deep parentheses and `NOT` may stand within each other.
const CONDITION_DEPTH_MAX: usize = 16;

/// What is wrong, and what to write.
pub(super) type ConditionFault = (String, String);

type Result<T> = std::result::Result<T, ConditionFault>;

/// Reads a row filter.
pub(super) fn parse(text: &str) -> Result<Condition> {
    if text.len() > CONDITION_BYTES_MAX {
        let message = format!("the row filter is longer than {CONDITION_BYTES_MAX} bytes");
        return Err((message, "write a shorter one".into()));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let condition = parser.any()?;
    let rest = parser.next();
    if rest != Token::End {
        return Err(unexpected(&rest, "`AND`, `OR` or the end"));
    }
    Ok(condition)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A column, or one of the words of the language in any case.
    Word(String),
    /// A column in double quotes, which is no word of the language.
    Quoted(String),
    Text(String),
    Number(String),
    /// What follows a colon.
    Caller(String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(written) if written.eq_ignore_ascii_case(word))
    }

    fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Number(text) => format!("`{text}`"),
            Self::Quoted(text) => format!("`\"{text}\"`"),
            Self::Text(text) => format!("`'{text}'`"),
            Self::Caller(text) => format!("`:{text}`"),
            Self::Symbol(text) => format!("`{text}`"),
            Self::End => "the end".into(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 10] = ["<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token;
        (token, rest) = match first {
            '\'' => {
                let (text, rest) = quoted(rest, '\'')?;
                (Token::Text(text), rest)
            }
            '"' => {
                let (name, rest) = quoted(rest, '"')?;
                (Token::Quoted(name), rest)
            }
            ':' => {
                let (name, rest) = take(rest.get(1..).unwrap_or_default(), is_in_path);
                (Token::Caller(name.to_owned()), rest)
            }
            '-' | '0'..='9' => number(rest)?,
            first if first.is_alphabetic() || first == '_' => {
                let (word, rest) = take(rest, is_in_word);
                (Token::Word(word.to_owned()), rest)
            }
            _ => symbol(rest)?,
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

fn is_in_path(character: char) -> bool {
    is_in_word(character) || character == '.'
}

fn take(text: &str, accept: fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|character| !accept(character));
    text.split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or((text, ""))
}

/// What stands between two quotes; two of them within mean one.
fn quoted(text: &str, quote: char) -> Result<(String, &str)> {
    let mut inner = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let Some((before, after)) = rest.split_once(quote) else {
            let message = format!("a `{quote}` is not closed in the row filter");
            return Err((message, format!("write another `{quote}`")));
        };
        inner.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                inner.push(quote);
                rest = more;
            }
            None => {
                rest = after;
                break;
            }
        }
    }
    if inner.contains(char::is_control) {
        let message = "the row filter has a control character in it".to_owned();
        return Err((message, "remove it".into()));
    }
    Ok((inner, rest))
}

/// A decimal number, which every store reads in the same way.
fn number(text: &str) -> Result<(Token, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (written, rest) = take(digits, is_in_path);
    let (whole, fraction) = match written.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (written, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !fraction.is_none_or(is_digits) {
        let message = format!("`{sign}{written}` is not a number");
        return Err((message, "write digits, as in `42` or `-1.5`".into()));
    }
    Ok((Token::Number(format!("{sign}{written}")), rest))
}

fn symbol(text: &str) -> Result<(Token, &str)> {
    let found = SYMBOLS
        .into_iter()
        .find_map(|symbol| Some((symbol, text.strip_prefix(symbol)?)));
    match found {
        Some((symbol, rest)) => Ok((Token::Symbol(symbol), rest)),
        None => {
            let character = text.chars().next().unwrap_or_default();
            let message = format!("`{character}` means nothing in a row filter");
            let help =
                "compare columns with constants: `status = 'open' AND owner = :caller.user_id`";
            Err((message, help.into()))
        }
    }
}

fn unexpected(found: &Token, wanted: &str) -> ConditionFault {
    let message = format!(
        "{} stands in the row filter where {wanted} should",
        found.shown()
    );
    let help = "compare columns with constants: `status = 'open' AND owner = :caller.user_id`";
    (message, help.into())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<()> {
        let token = self.next();
        if token == Token::Symbol(symbol) {
            return Ok(());
        }
        Err(unexpected(&token, &format!("`{symbol}`")))
    }

    fn any(&mut self) -> Result<Condition> {
        let mut conditions = vec![self.all()?];
        while self.take_word("or") {
            conditions.push(self.all()?);
        }
        Ok(one_or(conditions, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition> {
        let mut conditions = vec![self.term()?];
        while self.take_word("and") {
            conditions.push(self.term()?);
        }
        Ok(one_or(conditions, Condition::All))
    }

    fn term(&mut self) -> Result<Condition> {
        if self.depth >= CONDITION_DEPTH_MAX {
            let message = format!("the row filter is nested deeper than {CONDITION_DEPTH_MAX}");
            return Err((message, "write a flatter one".into()));
        }
        self.depth += 1;
        let condition = self.inner();
        self.depth -= 1;
        condition
    }

    fn inner(&mut self) -> Result<Condition> {
        if self.take_word("not") {
            return Ok(Condition::Not(Box::new(self.term()?)));
        }
        if *self.peek() == Token::Symbol("(") {
            self.at += 1;
            let condition = self.any()?;
            self.expect(")")?;
            return Ok(condition);
        }
        let token = self.next();
        let column = match &token {
            Token::Quoted(name) => Some(name).filter(|name| !name.is_empty()),
            Token::Word(name) => Some(name).filter(|name| !is_reserved(name)),
            Token::Text(_)
            | Token::Number(_)
            | Token::Caller(_)
            | Token::Symbol(_)
            | Token::End => None,
        };
        let column = column.ok_or_else(|| unexpected(&token, "a column"))?;
        let column = column.clone();
        self.test(column.into())
    }

    fn test(&mut self, column: Box<str>) -> Result<Condition> {
        if self.take_word("is") {
            let not = self.take_word("not");
            if !self.take_word("null") {
                return Err(unexpected(&self.next(), "`NULL`"));
            }
            return Ok(negated(not, Condition::IsNull { column }));
        }
        let not = self.take_word("not");
        if self.take_word("in") {
            let values = self.list()?;
            return Ok(negated(not, Condition::In { column, values }));
        }
        let token = self.next();
        let comparison = comparison(&token).filter(|_| !not);
        let comparison = comparison.ok_or_else(|| unexpected(&token, "a comparison"))?;
        let value = self.constant()?;
        Ok(Condition::Compare {
            column,
            comparison,
            value,
        })
    }

    fn list(&mut self) -> Result<Vec<Constant>> {
        self.expect("(")?;
        let mut values = vec![self.constant()?];
        while *self.peek() == Token::Symbol(",") {
            self.at += 1;
            values.push(self.constant()?);
        }
        let token = self.next();
        if token == Token::Symbol(")") {
            return Ok(values);
        }
        Err(unexpected(&token, "`,` or `)`"))
    }

    fn constant(&mut self) -> Result<Constant> {
        let token = self.next();
        match &token {
            Token::Text(text) => Ok(Constant::Text(text.as_str().into())),
            Token::Number(number) => Ok(Constant::Number(number.as_str().into())),
            Token::Caller(name) => attribute(name).map(Constant::Caller),
            Token::Quoted(name) => Err((
                format!("`\"{name}\"` is a column, and a column is compared with a constant"),
                format!("write text in single quotes: `'{name}'`"),
            )),
            Token::Word(_) if token.is_word("true") => Ok(Constant::Boolean(true)),
            Token::Word(_) if token.is_word("false") => Ok(Constant::Boolean(false)),
            Token::Word(_) if token.is_word("null") => Err((
                "nothing is equal to NULL".into(),
                "write `IS NULL` or `IS NOT NULL`".into(),
            )),
            Token::Symbol("=") => Err((
                "a second `=` stands in the row filter".into(),
                "write one: `status = 'open'`".into(),
            )),
            Token::Word(_) | Token::Symbol(_) | Token::End => Err(unexpected(&token, "a constant")),
        }
    }
}

fn comparison(token: &Token) -> Option<Comparison> {
    let Token::Symbol(symbol) = token else {
        return None;
    };
    match *symbol {
        "=" => Some(Comparison::Equal),
        "<>" | "!=" => Some(Comparison::NotEqual),
        "<" => Some(Comparison::Less),
        "<=" => Some(Comparison::LessOrEqual),
        ">" => Some(Comparison::Greater),
        ">=" => Some(Comparison::GreaterOrEqual),
        _ => None,
    }
}

fn one_or(mut conditions: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match (conditions.len(), conditions.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            conditions.extend(last);
            join(conditions)
        }
    }
}

fn negated(not: bool, condition: Condition) -> Condition {
    if not {
        Condition::Not(Box::new(condition))
    } else {
        condition
    }
}

fn is_reserved(word: &str) -> bool {
    ["and", "or", "not", "in", "is", "null", "true", "false"]
        .iter()
        .any(|reserved| word.eq_ignore_ascii_case(reserved))
}

/// `caller.user_id` and its sisters.
fn attribute(name: &str) -> Result<Attribute> {
    let known = Attribute::ALL.map(|attribute| format!("caller.{}", attribute.as_str()));
    let found = Attribute::ALL
        .into_iter()
        .zip(&known)
        .find(|(_, known)| *known == name);
    match found {
        Some((attribute, _)) => Ok(attribute),
        None => Err((
            format!("unknown value `:{name}`"),
            match did_you_mean(name, known.iter().map(String::as_str)) {
                help if help.starts_with("did you mean `") => help.replacen('`', "`:", 1),
                _ => format!("write `:{}`", known.join("`, `:")),
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(condition: &Condition) -> String {
        let list = |conditions: &[Condition], word: &str| {
            let all: Vec<String> = conditions.iter().map(told).collect();
            format!("({})", all.join(word))
        };
        match condition {
            Condition::All(all) => list(all, " & "),
            Condition::Any(any) => list(any, " | "),
            Condition::Not(inner) => format!("!{}", told(inner)),
            Condition::Compare {
                column,
                comparison,
                value,
            } => format!("{column} {comparison:?} {}", shown(value)),
            Condition::In { column, values } => {
                let values: Vec<String> = values.iter().map(shown).collect();
                format!("{column} in [{}]", values.join(" "))
            }
            Condition::IsNull { column } => format!("{column} null"),
        }
    }

    fn shown(value: &Constant) -> String {
        match value {
            Constant::Text(text) => format!("'{text}'"),
            Constant::Number(number) => number.to_string(),
            Constant::Boolean(value) => value.to_string(),
            Constant::Caller(attribute) => format!("{attribute:?}"),
        }
    }

    #[test]
    fn conditions() {
        for (text, expected) in [
            ("a = 1", "a Equal 1"),
            ("user_id=:caller.user_id", "user_id Equal UserId"),
            (
                "a <> 'it''s' and b != -1.50",
                "(a NotEqual 'it's' & b NotEqual -1.50)",
            ),
            (
                "a < 1 OR b <= 2 AND c > 3",
                "(a Less 1 | (b LessOrEqual 2 & c Greater 3))",
            ),
            (
                "(a < 1 OR b >= 2) AND c = TRUE",
                "((a Less 1 | b GreaterOrEqual 2) & c Equal true)",
            ),
            (
                "NOT a IS NULL AND NOT (b = false)",
                "(!a null & !b Equal false)",
            ),
            ("a IS NOT NULL", "!a null"),
            ("a IN ('x', 2, :caller.role)", "a in ['x' 2 Role]"),
            ("a not in (1)", "!a in [1]"),
            ("\"In\" = :caller.key_id", "In Equal KeyId"),
            ("größe = 1", "größe Equal 1"),
        ] {
            assert_eq!(told(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn faults() {
        let deep = format!("{}a = 1{}", "(".repeat(20), ")".repeat(20));
        let long = format!("a = '{}'", "x".repeat(CONDITION_BYTES_MAX));
        for (text, message, help) in [
            ("", "the end stands", ""),
            ("a", "a comparison", ""),
            ("a = b", "`b` stands in the row filter where a constant", ""),
            ("a = \"b\"", "is a column", "`'b'`"),
            ("a = NULL", "equal to NULL", "IS NULL"),
            ("1 = 1", "where a column should", ""),
            ("true", "where a column should", ""),
            ("a = 1 b = 2", "`AND`, `OR` or the end", ""),
            ("a = 1 AND", "the end stands", ""),
            ("(a = 1", "`)`", ""),
            ("a = 'x", "is not closed", ""),
            ("a = 1e5", "is not a number", ""),
            ("a = 0x10", "is not a number", ""),
            ("a = 1.", "is not a number", ""),
            ("a = -", "is not a number", ""),
            ("a LIKE 'x%'", "a comparison", ""),
            ("a NOT = 1", "a comparison", ""),
            ("a IN ()", "a constant", ""),
            ("a == 1", "a second `=`", "write one"),
            ("lower(a) = 'x'", "`(` stands", ""),
            (
                "a = :caller.userid",
                "unknown value `:caller.userid`",
                "`:caller.user_id`",
            ),
            ("a = :user", "unknown value `:user`", "`:caller.role`"),
            ("a = 1; drop", "`;` means nothing", ""),
            ("a = 1 -- x", "is not a number", ""),
            ("a.b = 1", "`.` means nothing", ""),
            ("a = 'x\0'", "control character", ""),
            (&deep, "nested deeper", ""),
            (&long, "longer than", ""),
        ] {
            let (wrong, mend) = parse(text).unwrap_err();
            assert!(wrong.contains(message), "{text}: {wrong}");
            assert!(mend.contains(help), "{text}: {mend}");
        }
    }
}
