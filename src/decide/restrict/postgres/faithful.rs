//! Whether what is written out is what was meant: trees are compared by what they print, without the places in
//! the text that they came from.

use std::fmt::{self, Write};

use pg_query::protobuf::{Node, ParseResult};
use sha2::{Digest as _, Sha256};

use super::Result;
use super::table::Tables;
use crate::classify::postgres as parser;

/// What a tree prints, as a digest, and how much is in it.
pub struct Print {
    digest: [u8; 32],
    /// `RangeVar` nodes.
    pub relations: usize,
    /// `ColumnRef` nodes.
    pub columns: usize,
    pub selects: usize,
}

impl Print {
    pub fn of(tree: &ParseResult) -> Self {
        let mut printer = Printer::default();
        // The printer never fails.
        let _ = write!(printer, "{:?}", tree.stmts);
        Self {
            digest: printer.hasher.finalize().into(),
            relations: printer.relations,
            columns: printer.columns,
            selects: printer.selects,
        }
    }
}

/// How many columns a part of a statement names.
pub fn columns(node: &Node) -> usize {
    let mut printer = Printer::default();
    // The printer never fails.
    let _ = write!(printer, "{node:?}");
    printer.columns
}

/// Text of a rewritten tree. The writer is the parser's library's; it is not trusted to write what it was given.
pub fn written(tree: &ParseResult, tables: &Tables<'_>) -> Result<String> {
    let failed =
        || tables.forbid("the statement cannot be written anew under the rules of its tables");
    let text =
        pg_query::deparse(tree, pg_query::DeparseOptions::default()).map_err(|_| failed())?;
    let again = parser::tree(&text).map_err(|_| failed())?;
    if Print::of(tree).digest != Print::of(&again).digest {
        return Err(failed());
    }
    Ok(text)
}

/// Digests what `Debug` prints, piece by piece: each field's name comes as a piece, then `: `, then its value. A
/// constant's text comes between quotes, where a quote is escaped, so it never looks like a field.
#[derive(Default)]
struct Printer {
    hasher: Sha256,
    state: State,
    relations: usize,
    columns: usize,
    selects: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Outside,
    /// After a field's name.
    Named(Field),
    /// In the value of a field that says a place in the text.
    Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Place,
    Relation,
    Column,
    Select,
}

fn field(name: &str) -> Option<Field> {
    match name {
        "location" | "stmt_location" | "stmt_len" | "name_location" | "list_start" | "list_end"
        | "rexpr_list_start" | "rexpr_list_end" => Some(Field::Place),
        "relname" => Some(Field::Relation),
        "fields" => Some(Field::Column),
        "limit_option" => Some(Field::Select),
        _ => None,
    }
}

impl Write for Printer {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.state = match self.state {
            State::Place
                if piece
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-') =>
            {
                return Ok(());
            }
            State::Named(field) if piece == ": " => match field {
                Field::Place => State::Place,
                Field::Relation => {
                    self.relations += 1;
                    State::Outside
                }
                Field::Column => {
                    self.columns += 1;
                    State::Outside
                }
                Field::Select => {
                    self.selects += 1;
                    State::Outside
                }
            },
            State::Outside | State::Named(_) | State::Place => {
                field(piece).map_or(State::Outside, State::Named)
            }
        };
        self.hasher.update(piece.as_bytes());
        Ok(())
    }
}
