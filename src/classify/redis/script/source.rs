//! A script's text: refused where Redis' Lua 5.1 and the parser could read it differently, or where it nests so
//! deep that parsing it would exhaust the stack.

use full_moon::LuaVersion;
use full_moon::ast::Ast;
use full_moon::tokenizer::{Lexer, LexerResult, Symbol, Token, TokenType};

use crate::classify::{Refusal, Result};

/// Longest script that is parsed, in bytes.
pub(super) const SCRIPT_BYTES_MAX: usize = 128 * 1024;

/// Deepest nesting: brackets, blocks and operators that stand open at once. Lua's own limit is 200.
pub(super) const NESTING_MAX: usize = 60;

/// The text of a script, as Lua sees it.
pub(super) fn text(script: &[u8]) -> Result<&str> {
    if script.len() > SCRIPT_BYTES_MAX {
        return Err(Refusal::TooLarge(format!(
            "a script has at most {SCRIPT_BYTES_MAX} bytes"
        )));
    }
    let text = std::str::from_utf8(script)
        .map_err(|_| Refusal::Unparsable("the script is not UTF-8".to_owned()))?;
    let text = without_shebang(text)?;
    if text.contains('\0') {
        return Err(Refusal::Unparsable("the script has a NUL byte".to_owned()));
    }
    // Lua ends a line, and a comment with it, at a carriage return too.
    if text.split('\r').skip(1).any(|line| !line.starts_with('\n')) {
        return Err(Refusal::Unparsable(
            "the script has a carriage return without a line feed: end lines with `\\n`".to_owned(),
        ));
    }
    Ok(text)
}

/// Parses a script, whose nesting was measured, as Lua 5.1.
pub(super) fn parse(text: &str) -> Result<Ast> {
    full_moon::parse_fallible(text, LuaVersion::lua51())
        .into_result()
        .map_err(|errors| {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            Refusal::Unparsable(format!("the script is not Lua 5.1: {first}"))
        })
}

/// Takes off `#!lua [flags=…]`, which Redis 7 reads before Lua sees the rest.
fn without_shebang(text: &str) -> Result<&str> {
    if !text.starts_with('#') {
        return Ok(text);
    }
    const FLAGS: [&str; 5] = [
        "no-writes",
        "allow-oom",
        "allow-stale",
        "no-cluster",
        "allow-cross-slot-keys",
    ];
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let known = line.strip_prefix("#!lua").is_some_and(|options| {
        options.split_ascii_whitespace().all(|option| {
            option
                .strip_prefix("flags=")
                .is_some_and(|flags| flags.split(',').all(|flag| FLAGS.contains(&flag)))
        })
    });
    if known {
        Ok(rest)
    } else {
        Err(Refusal::Unparsable(
            "the script's first line is not `#!lua flags=…` with known flags".to_owned(),
        ))
    }
}

/// The most that is open at one token. Within a bracket or block, operators add up until something ends the
/// expression they stand in.
pub(super) fn nesting(text: &str) -> Result<usize> {
    // The parser's lexer panics at a backtick that stands for a token. With another character that is none in Lua
    // either, it refuses; what passes has its backticks in strings and comments alone.
    let text = text.replace('`', "$");
    let LexerResult::Ok(tokens) = Lexer::new(&text, LuaVersion::lua51()).collect() else {
        return Err(Refusal::Unparsable(
            "the script is not Lua 5.1: it has a character or string that does not end".to_owned(),
        ));
    };
    let mut enclosing: Vec<usize> = Vec::new();
    let mut enclosing_total = 0_usize;
    let mut operators = 0_usize;
    let mut deepest = 0_usize;
    for symbol in tokens.iter().filter_map(symbol) {
        match effect(symbol) {
            Effect::Opens => {
                enclosing.push(operators);
                enclosing_total += operators + 1;
                operators = 0;
            }
            Effect::Closes => {
                operators = enclosing.pop().unwrap_or(0);
                enclosing_total = enclosing_total.saturating_sub(operators + 1);
            }
            Effect::Operates => operators += 1,
            Effect::Separates => operators = 0,
            Effect::Nothing => {}
        }
        deepest = deepest.max(enclosing_total + operators);
        if deepest > NESTING_MAX {
            return Err(Refusal::TooLarge(format!(
                "the script nests deeper than {NESTING_MAX} levels of brackets, blocks and operators"
            )));
        }
    }
    Ok(deepest)
}

fn symbol(token: &Token) -> Option<Symbol> {
    if let TokenType::Symbol { symbol } = token.token_type() {
        Some(*symbol)
    } else {
        None
    }
}

enum Effect {
    Opens,
    Closes,
    Operates,
    Separates,
    Nothing,
}

fn effect(symbol: Symbol) -> Effect {
    match symbol {
        Symbol::LeftParen
        | Symbol::LeftBrace
        | Symbol::LeftBracket
        | Symbol::Function
        | Symbol::If
        | Symbol::Do
        | Symbol::Repeat => Effect::Opens,
        Symbol::RightParen
        | Symbol::RightBrace
        | Symbol::RightBracket
        | Symbol::End
        | Symbol::Until => Effect::Closes,
        Symbol::Comma
        | Symbol::Semicolon
        | Symbol::Equal
        | Symbol::Local
        | Symbol::Return
        | Symbol::Then
        | Symbol::Else
        | Symbol::ElseIf
        | Symbol::While
        | Symbol::For
        | Symbol::In
        | Symbol::Break => Effect::Separates,
        Symbol::Nil | Symbol::True | Symbol::False | Symbol::Ellipsis => Effect::Nothing,
        // Every operator, and whatever a later version of the parser may add.
        Symbol::And
        | Symbol::Not
        | Symbol::Or
        | Symbol::Caret
        | Symbol::Colon
        | Symbol::Dot
        | Symbol::TwoDots
        | Symbol::TwoEqual
        | Symbol::GreaterThan
        | Symbol::GreaterThanEqual
        | Symbol::Hash
        | Symbol::LessThan
        | Symbol::LessThanEqual
        | Symbol::Minus
        | Symbol::Percent
        | Symbol::Plus
        | Symbol::Slash
        | Symbol::Star
        | Symbol::TildeEqual
        | _ => Effect::Operates,
    }
}
