//! PostgreSQL: the tokens of its own scanner, so that every form of literal is known for one.

use pg_query::protobuf::{KeywordKind, ScanToken, Token};

use super::Sink;
use super::sql::{Kind, Pieces};
use crate::classify::postgres::tokens;

pub(super) fn read(sql: &str) -> Option<Sink> {
    let mut pieces = Pieces::default();
    let mut setting = Setting::default();
    for token in tokens(sql)? {
        let start = usize::try_from(token.start).ok()?;
        let end = usize::try_from(token.end).ok()?;
        let Some(kind) = kind(&token, sql.get(start..end)?) else {
            continue;
        };
        pieces.push(setting.seen(&token, kind), sql.get(start..end)?)?;
    }
    Some(pieces.write())
}

/// What a token is; nothing for a comment.
#[allow(clippy::wildcard_enum_match_arm)] // The others are keywords, or marks.
fn kind(token: &ScanToken, text: &str) -> Option<Kind> {
    Some(match Token::try_from(token.token).ok()? {
        Token::SqlComment | Token::CComment => return None,
        // The letter of `N'…'`, which is a literal as a whole.
        Token::Nchar if text.eq_ignore_ascii_case("n") => return None,
        Token::Sconst
        | Token::Usconst
        | Token::Bconst
        | Token::Xconst
        | Token::Fconst
        | Token::Iconst => Kind::Value,
        Token::Param => Kind::Parameter,
        Token::Uident => Kind::Name,
        Token::Ident if text.starts_with('"') => Kind::Name,
        Token::Ident => Kind::Folded,
        _ => match KeywordKind::try_from(token.keyword_kind).ok()? {
            KeywordKind::NoKeyword => Kind::Symbol,
            KeywordKind::UnreservedKeyword => Kind::Keyword,
            KeywordKind::ColNameKeyword
            | KeywordKind::TypeFuncNameKeyword
            | KeywordKind::ReservedKeyword => Kind::Reserved,
        },
    })
}

/// `SET name = …`, where bare words are values, too.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Setting {
    #[default]
    Begins,
    Names,
    Values,
    No,
}

impl Setting {
    #[allow(clippy::wildcard_enum_match_arm)] // Every other token leaves it as it is.
    fn seen(&mut self, token: &ScanToken, kind: Kind) -> Kind {
        let token = Token::try_from(token.token).unwrap_or(Token::Nul);
        *self = match (*self, token) {
            (_, Token::Ascii59) => Self::Begins,
            (Self::Begins, Token::Set) => Self::Names,
            (Self::Begins, _) => Self::No,
            (Self::Names, Token::Ascii61 | Token::To | Token::Zone) => {
                *self = Self::Values;
                return kind;
            }
            (state, _) => state,
        };
        let is_mark = kind == Kind::Symbol;
        if *self == Self::Values && !is_mark {
            Kind::Value
        } else {
            kind
        }
    }
}
