//! What a written value is, where it can be told from its text.

use super::statement::Statement;
use crate::classify::mysql::Kind;
use crate::classify::mysql::shape::Span;

#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// The statement's parameter, by its place from 0.
    Parameter(usize),
    /// What a number, a string, `TRUE` or `FALSE` spells.
    Literal(String),
    Other,
}

pub fn value_at(statement: &Statement<'_>, span: &Span) -> Value {
    let single = span.len() == 1;
    let text = statement.text(span.start);
    match statement.kind(span.start) {
        Some(Kind::Parameter) if single => Value::Parameter(statement.parameter_index(span.start)),
        Some(Kind::Number) if single => Value::Literal(text.to_owned()),
        Some(Kind::Text) if single => unescaped(text).map_or(Value::Other, Value::Literal),
        Some(Kind::Word) if single && text.eq_ignore_ascii_case("TRUE") => {
            Value::Literal("1".into())
        }
        Some(Kind::Word) if single && text.eq_ignore_ascii_case("FALSE") => {
            Value::Literal("0".into())
        }
        Some(Kind::Symbol) if span.len() == 2 && text == "-" => {
            match statement.kind(span.start + 1) {
                Some(Kind::Number) => {
                    Value::Literal(format!("-{}", statement.text(span.start + 1)))
                }
                _ => Value::Other,
            }
        }
        _ => Value::Other,
    }
}

/// What a string literal spells under the `sql_mode` that is pinned.
fn unescaped(literal: &str) -> Option<String> {
    let quote = literal.chars().next()?;
    let inner = literal.get(1..literal.len() - 1)?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char == quote {
            // The lexer takes a quote within for a doubled one.
            chars.next()?;
            out.push(quote);
        } else if char == '\\' {
            match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'b' => out.push('\u{8}'),
                '0' => out.push('\0'),
                'Z' => out.push('\u{1a}'),
                // Kept with its backslash.
                '%' => out.push_str("\\%"),
                '_' => out.push_str("\\_"),
                other => out.push(other),
            }
        } else {
            out.push(char);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_spell_what_the_servers_read() {
        for (literal, expected) in [
            ("'bob'", "bob"),
            ("'o''neil'", "o'neil"),
            ("\"o'neil\"", "o'neil"),
            (r"'a\'b\\c\n\%\q'", "a'b\\c\n\\%q"),
            ("''", ""),
        ] {
            assert_eq!(unescaped(literal).as_deref(), Some(expected), "{literal}");
        }
    }
}
