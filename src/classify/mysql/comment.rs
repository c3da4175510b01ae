//! Comments, executable comments and optimizer hints.
//!
//! MySQL runs `/*!` comments up to its version, MariaDB runs others and has `/*M!`; both skip what is too new. No
//! statement needs them, so they are refused unless what they hold changes no result.

use super::lexer::{Lexer, is_blank, unparsable};
use super::token::Kind;
use crate::classify::{Refusal, Result};

/// Words after which MySQL reads `/*+ … */` as optimizer hints.
const HINTED_VERBS: [&str; 5] = ["SELECT", "INSERT", "REPLACE", "UPDATE", "DELETE"];

/// Optimizer hints that steer the plan alone. `SET_VAR` (session variables) and `RESOURCE_GROUP` are not here.
const HINTS: [&str; 44] = [
    "BKA",
    "BNL",
    "DERIVED_CONDITION_PUSHDOWN",
    "DUPSWEEDOUT",
    "EXISTS",
    "FIRSTMATCH",
    "GROUP_INDEX",
    "HASH_JOIN",
    "INDEX",
    "INDEX_MERGE",
    "INTOEXISTS",
    "JOIN_FIXED_ORDER",
    "JOIN_INDEX",
    "JOIN_ORDER",
    "JOIN_PREFIX",
    "JOIN_SUFFIX",
    "LOOSESCAN",
    "MATERIALIZATION",
    "MAX_EXECUTION_TIME",
    "MERGE",
    "MRR",
    "NO_BKA",
    "NO_BNL",
    "NO_DERIVED_CONDITION_PUSHDOWN",
    "NO_GROUP_INDEX",
    "NO_HASH_JOIN",
    "NO_ICP",
    "NO_INDEX",
    "NO_INDEX_MERGE",
    "NO_JOIN_INDEX",
    "NO_MERGE",
    "NO_MRR",
    "NO_ORDER_INDEX",
    "NO_RANGE_OPTIMIZATION",
    "NO_SEMIJOIN",
    "NO_SKIP_SCAN",
    "NO_SPLIT_MATERIALIZED",
    "ORDER_INDEX",
    "QB_NAME",
    "SEMIJOIN",
    "SKIP_SCAN",
    "SPLIT_MATERIALIZED",
    "SUBQUERY",
    "STRAIGHT_JOIN",
];

/// What an executable comment may hold to be taken for a plain comment and dropped: words that change the
/// plan and never the result, so that a server that runs them and one that skips them agree.
const INERT_WORDS: [&str; 7] = [
    "HIGH_PRIORITY",
    "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT",
    "SQL_CACHE",
    "SQL_NO_CACHE",
    "SQL_SMALL_RESULT",
    "STRAIGHT_JOIN",
];

impl<'a> Lexer<'a> {
    pub fn after_hinted_verb(&self) -> bool {
        self.tokens.last().is_some_and(|last| {
            last.kind == Kind::Word
                && HINTED_VERBS
                    .iter()
                    .any(|verb| last.text(self.sql).eq_ignore_ascii_case(verb))
        })
    }

    /// Whether the last token is `SELECT` or a modifier after it: elsewhere an inert word would be an alias or an
    /// error.
    fn is_in_select_modifiers(&self) -> bool {
        self.tokens.last().is_some_and(|last| {
            let word = last.text(self.sql);
            last.kind == Kind::Word
                && (word.eq_ignore_ascii_case("SELECT")
                    || INERT_WORDS
                        .iter()
                        .any(|inert| inert.eq_ignore_ascii_case(word)))
        })
    }

    /// Moves past a comment and gives what stands between `/*` and `*/`.
    fn comment_body(&mut self) -> Result<&'a str> {
        self.at += 2;
        let start = self.at;
        let Some(length) = self.rest().windows(2).position(|pair| pair == b"*/") else {
            return unparsable("a comment is not closed");
        };
        self.at += length;
        let body = self.slice(start);
        self.at += 2;
        Ok(body)
    }

    pub fn comment(&mut self) -> Result<()> {
        let body = self.comment_body()?;
        let Some(code) = body.strip_prefix('!').or_else(|| body.strip_prefix("M!")) else {
            return Ok(());
        };
        let code = code.trim_start_matches(|c: char| c.is_ascii_digit());
        let inert = |word: &str| {
            INERT_WORDS
                .iter()
                .any(|inert| inert.eq_ignore_ascii_case(word))
        };
        if self.is_in_select_modifiers() && code.split_ascii_whitespace().all(inert) {
            return Ok(());
        }
        Err(Refusal::Forbidden(
            "executable comments (`/*! … */`, `/*M! … */`) run on one server and not on another; \
             write the statement without them"
                .into(),
        ))
    }

    pub fn hint(&mut self) -> Result<()> {
        let start = self.at;
        let body = self.comment_body()?.get(1..).unwrap_or_default();
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || is_blank(byte) || b"_@`.,()$".contains(&byte)
        };
        let refused = |what: &str| {
            Err(Refusal::Forbidden(format!(
                "the optimizer hint {what} is not one that steers the plan alone; leave it out"
            )))
        };
        if !body.bytes().all(plain) {
            return refused("has unusual characters and");
        }
        // A hint is a name before `(`, at depth 0.
        let mut depth = 0_u32;
        for part in body.split_inclusive(['(', ')']) {
            let name = part.trim_end_matches(['(', ')']).trim();
            let known = HINTS.iter().any(|hint| hint.eq_ignore_ascii_case(name));
            if depth == 0 && !name.is_empty() && !known {
                return refused(&format!("`{name}`"));
            }
            if part.ends_with('(') {
                depth += 1;
            } else if part.ends_with(')') {
                depth = depth.saturating_sub(1);
            }
        }
        self.push(Kind::Hint, start);
        Ok(())
    }
}
