//! MySQL and MariaDB: the tokens of our own lexer, which refuses what the two servers read differently.

use super::Sink;
use super::sql::{Kind as Piece, Pieces};
use crate::classify::STATEMENT_BYTES_MAX;
use crate::classify::mysql::{
    Kind, is_classified_function, is_classified_keyword, is_reserved_by_both, tokens,
};

pub(super) fn read(sql: &str) -> Option<Sink> {
    if sql.len() > STATEMENT_BYTES_MAX || sql.contains('\0') {
        return None;
    }
    let tokens = tokens(sql).ok()?;
    let mut pieces = Pieces::default();
    let mut each = tokens.iter().peekable();
    while let Some(token) = each.next() {
        let text = token.text(sql);
        let next = each.peek();
        let piece = match token.kind {
            // Neighbours are one string.
            Kind::Text | Kind::National | Kind::Binary
                if pieces.last_is_value() && is_quote_before(sql, token.start()) =>
            {
                continue;
            }
            Kind::Text | Kind::National | Kind::Binary | Kind::Number | Kind::Parameter => {
                Piece::Value
            }
            Kind::Hint => continue,
            // `_utf8mb4'…'` is a literal as a whole.
            Kind::Word
                if text.starts_with('_') && next.is_some_and(|next| is_string(next.kind)) =>
            {
                continue;
            }
            Kind::Word if is_classified_keyword(text) && is_reserved_by_both(text) => {
                Piece::Reserved
            }
            Kind::Word if is_classified_keyword(text) => Piece::Keyword,
            Kind::Word
                if next.is_some_and(|next| next.text(sql) == "(")
                    && is_classified_function(&text.to_ascii_uppercase()) =>
            {
                Piece::Folded
            }
            Kind::UserVariable if text.contains(['\'', '"']) => {
                pieces.push(Piece::Symbol, "@")?;
                Piece::Value
            }
            Kind::Word | Kind::Name | Kind::Quoted | Kind::UserVariable => Piece::Name,
            Kind::SystemVariable => Piece::Folded,
            Kind::Symbol => Piece::Symbol,
        };
        pieces.push(piece, text)?;
    }
    Some(pieces.write())
}

fn is_string(kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::National | Kind::Binary)
}

/// Whether what stands before, but for white space, ends with a quote.
fn is_quote_before(sql: &str, at: usize) -> bool {
    sql.get(..at)
        .is_some_and(|before| before.trim_end().ends_with(['\'', '"']))
}
