//! What the two SQL dialects share: pieces without values, lists of values cut short, and one way to write them.

use std::ops::Range;

use super::Sink;

/// Keywords that are columns more often than not.
const COLUMNS: [&str; 27] = [
    "ACTION",
    "ATTRIBUTE",
    "CATEGORY",
    "CODE",
    "CONTENT",
    "DATA",
    "DESCRIPTION",
    "HASH",
    "HEADER",
    "HOST",
    "ID",
    "KEY",
    "LABEL",
    "LEVEL",
    "LOCATION",
    "METHOD",
    "NAME",
    "PATH",
    "PORT",
    "POSITION",
    "SOURCE",
    "STATUS",
    "SUBJECT",
    "TYPE",
    "URL",
    "VALUE",
    "VERSION",
];

/// Most pieces of a statement, after its lists were cut short; one with more shows nothing.
const PIECES_MAX: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A literal, or a parameter without a number.
    Value,
    /// `$1`.
    Parameter,
    /// A keyword that can be no column; written in upper case.
    Reserved,
    /// A keyword that might be a column; written in upper case, too, but for those of [`COLUMNS`].
    Keyword,
    /// A name as it stands.
    Name,
    /// A bare name that the server folds; written in lower case.
    Folded,
    Symbol,
    /// `, …`: no or more elements like the one before it.
    More {
        parameters: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    kind: Kind,
    text: &'a str,
}

impl Piece<'_> {
    fn is(&self, text: &str) -> bool {
        match self.kind {
            Kind::Symbol => self.text == text,
            Kind::Reserved | Kind::Keyword => self.text.eq_ignore_ascii_case(text),
            Kind::Value | Kind::Parameter | Kind::Name | Kind::Folded | Kind::More { .. } => false,
        }
    }

    fn is_any(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.is(text))
    }

    fn is_value(&self) -> bool {
        matches!(self.kind, Kind::Value | Kind::Parameter)
    }

    /// Whether the two are written alike, but for parameters' numbers; a parameter is as good as a literal.
    fn is_like(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (Kind::Value | Kind::Parameter, Kind::Value | Kind::Parameter)
            | (Kind::More { .. }, Kind::More { .. }) => true,
            (Kind::Reserved, Kind::Reserved)
            | (Kind::Keyword, Kind::Keyword)
            | (Kind::Folded, Kind::Folded) => self.text.eq_ignore_ascii_case(other.text),
            (Kind::Name, Kind::Name) | (Kind::Symbol, Kind::Symbol) => self.text == other.text,
            (
                Kind::Value
                | Kind::Parameter
                | Kind::Reserved
                | Kind::Keyword
                | Kind::Name
                | Kind::Folded
                | Kind::Symbol
                | Kind::More { .. },
                _,
            ) => false,
        }
    }

    /// Whether a sign after it adds or subtracts, rather than belonging to the number that follows.
    fn is_operand(&self) -> bool {
        match self.kind {
            Kind::Value | Kind::Parameter | Kind::Name | Kind::Folded | Kind::More { .. } => true,
            Kind::Symbol => self.is_any(&[")", "]"]),
            Kind::Reserved => self.is_any(&[
                "CURRENT_CATALOG",
                "CURRENT_DATE",
                "CURRENT_ROLE",
                "CURRENT_SCHEMA",
                "CURRENT_TIME",
                "CURRENT_TIMESTAMP",
                "CURRENT_USER",
                "END",
                "LOCALTIME",
                "LOCALTIMESTAMP",
                "NULL",
                "SESSION_USER",
                "USER",
                "UTC_DATE",
                "UTC_TIME",
                "UTC_TIMESTAMP",
            ]),
            Kind::Keyword => !self.is_any(&["BY", "MAXVALUE", "MINVALUE", "OFFSET", "TO", "WITH"]),
        }
    }
}

/// Which lists say `…`, so that a text does not depend on how many elements there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Where elements repeat: whatever stands in brackets.
    Repeats,
    /// Where the first is a value, even alone: `IN (…)`, `ARRAY[…]`.
    Values,
    /// Where a row has a value, even alone: what follows `VALUES`.
    Rows,
}

/// A list that has not ended.
struct List {
    rule: Rule,
    /// Where its current element begins.
    start: usize,
    /// The element before the current one.
    previous: Option<Range<usize>>,
    /// What was counted when the current element began.
    values: usize,
    parameters: u32,
}

/// A statement's pieces, in their order.
#[derive(Default)]
pub(super) struct Pieces<'a> {
    pieces: Vec<Piece<'a>>,
    lists: Vec<List>,
    /// Values and parameters so far, those that were cut included.
    values: usize,
    parameters: u32,
}

impl<'a> Pieces<'a> {
    /// Adds a piece; nothing where there are too many.
    pub fn push(&mut self, kind: Kind, text: &'a str) -> Option<()> {
        let piece = self.seen(Piece { kind, text });
        if piece.is(",") {
            self.comma();
        } else if piece.is_any(&["(", "["]) {
            self.open(piece);
        } else if piece.is_any(&[")", "]"]) {
            self.close();
        } else {
            self.end_rows(piece.is("ROW"));
        }
        if piece.is_value() {
            self.drop_sign();
            self.values += 1;
            self.parameters += u32::from(piece.kind == Kind::Parameter);
        }
        self.pieces.push(piece);
        if piece.is(",") {
            self.begin_element();
        } else if piece.is_any(&["(", "["]) {
            let rule = self.rule_of_brackets();
            self.begin(rule, self.pieces.len());
        }
        (self.pieces.len() <= PIECES_MAX).then_some(())
    }

    /// What the last word is taken for, where it stands.
    fn seen(&self, piece: Piece<'a>) -> Piece<'a> {
        let value = Piece {
            kind: Kind::Value,
            ..piece
        };
        match (self.pieces.last(), piece.kind) {
            (Some(last), Kind::Reserved | Kind::Keyword) if last.is(".") => Piece {
                kind: Kind::Folded,
                ..piece
            },
            (_, Kind::Reserved | Kind::Keyword) if piece.is_any(&["TRUE", "FALSE"]) => value,
            // Not `IS NULL`, `NOT NULL`, `SET NULL`.
            (Some(last), Kind::Reserved | Kind::Keyword)
                if piece.is("NULL")
                    && (last.is_any(&["THEN", "ELSE", "DEFAULT"])
                        || last.kind == Kind::Symbol && !last.is_operand()) =>
            {
                value
            }
            (Some(_) | None, _) => piece,
        }
    }

    pub fn last_is_value(&self) -> bool {
        self.pieces
            .last()
            .is_some_and(|last| last.kind == Kind::Value)
    }

    /// `-5` is a value as `5` is.
    fn drop_sign(&mut self) {
        while let [before @ .., sign] = self.pieces.as_slice()
            && sign.is_any(&["-", "+"])
            && !before.last().is_some_and(Piece::is_operand)
        {
            self.pieces.pop();
        }
    }

    fn rule_of_brackets(&self) -> Rule {
        let before = self.pieces.len().checked_sub(2);
        match before.and_then(|at| self.pieces.get(at)) {
            Some(word) if word.is_any(&["IN", "ARRAY"]) => Rule::Values,
            Some(_) | None => Rule::Repeats,
        }
    }

    fn begin(&mut self, rule: Rule, start: usize) {
        self.lists.push(List {
            rule,
            start,
            previous: None,
            values: self.values,
            parameters: self.parameters,
        });
    }

    fn begin_element(&mut self) {
        if let Some(list) = self.lists.last_mut() {
            list.start = self.pieces.len();
            list.values = self.values;
            list.parameters = self.parameters;
        }
    }

    fn is_in_rows(&self) -> bool {
        self.lists
            .last()
            .is_some_and(|list| list.rule == Rule::Rows)
    }

    /// A bracket after `VALUES` or `VALUES ROW` begins rows.
    fn open(&mut self, bracket: Piece<'a>) {
        if self.is_in_rows() {
            let begins = self.lists.last().map(|list| list.start) == Some(self.pieces.len());
            let after_row = self.pieces.last().is_some_and(|last| last.is("ROW"));
            if !begins && !after_row {
                self.end_rows(false);
            }
            return;
        }
        let mut start = self.pieces.len();
        if self.pieces.last().is_some_and(|last| last.is("ROW")) {
            start -= 1;
        }
        let word = start.checked_sub(1).and_then(|at| self.pieces.get(at));
        if bracket.is("(") && word.is_some_and(|word| word.is_any(&["VALUES", "VALUE"])) {
            self.begin(Rule::Rows, start);
        }
    }

    fn close(&mut self) {
        self.end_rows(false);
        self.end_element();
        self.lists.pop();
    }

    fn comma(&mut self) {
        self.end_element();
    }

    /// Rows end before anything but a comma, or another row.
    fn end_rows(&mut self, begins_row: bool) {
        if !self.is_in_rows() {
            return;
        }
        let at_start = self.lists.last().map(|list| list.start) == Some(self.pieces.len());
        if begins_row && at_start {
            return;
        }
        self.end_element();
        self.lists.pop();
    }

    /// Cuts the element that ends here, where it is like the one before it. The comparisons of all levels together
    /// take a factor of the nesting's logarithm, since the shorter of two neighbours bounds each.
    fn end_element(&mut self) {
        let Some(list) = self.lists.last_mut() else {
            return;
        };
        let current = list.start..self.pieces.len();
        let Some(element) = self.pieces.get(current.clone()) else {
            return;
        };
        let Some(first) = element.first() else {
            return;
        };
        let has_value = self.values > list.values;
        let previous = list.previous.clone().and_then(|at| self.pieces.get(at));
        let is_repeated = has_value
            && previous.is_some_and(|previous| {
                previous.len() == element.len()
                    && previous.iter().zip(element).all(|(a, b)| a.is_like(b))
            });
        if is_repeated {
            let parameters = self.parameters - list.parameters;
            // With the comma before it.
            self.pieces.truncate(current.start.saturating_sub(1));
            self.more(parameters);
            return;
        }
        let says_more = match list.rule {
            Rule::Repeats => false,
            Rule::Values => {
                first.is_value()
                    || first.is("(") && element.get(1).is_some_and(Piece::is_value)
                    || first.is("[") && element.get(1).is_some_and(Piece::is_value)
            }
            Rule::Rows => has_value,
        };
        list.previous = Some(current);
        if says_more {
            self.more(0);
        }
    }

    fn more(&mut self, cut: u32) {
        if let Some(Piece {
            kind: Kind::More { parameters },
            ..
        }) = self.pieces.last_mut()
        {
            *parameters += cut;
        } else {
            self.pieces.push(Piece {
                kind: Kind::More { parameters: cut },
                text: "",
            });
        }
    }

    /// Writes all of them, with one space where one belongs.
    pub fn write(mut self) -> Sink {
        while self.pieces.last().is_some_and(|last| last.is(";")) {
            self.pieces.pop();
        }
        self.end_rows(false);
        let mut sink = Sink::default();
        let mut scratch = String::new();
        let mut cut = 0;
        let mut before: Option<Piece<'_>> = None;
        for piece in self.pieces {
            if before.is_some_and(|before| is_apart(before, piece)) {
                sink.push(" ");
            }
            before = Some(piece);
            scratch.clear();
            match piece.kind {
                Kind::Value => sink.push("?"),
                Kind::Name | Kind::Symbol => sink.push(piece.text),
                Kind::More { parameters } => {
                    cut += parameters;
                    sink.push(", …");
                }
                Kind::Keyword if piece.is_any(&COLUMNS) => {
                    scratch.push_str(piece.text);
                    scratch.make_ascii_lowercase();
                    sink.push(&scratch);
                }
                Kind::Reserved | Kind::Keyword => {
                    scratch.push_str(piece.text);
                    scratch.make_ascii_uppercase();
                    sink.push(&scratch);
                }
                Kind::Folded => {
                    scratch.push_str(piece.text);
                    scratch.make_ascii_lowercase();
                    sink.push(&scratch);
                }
                Kind::Parameter => {
                    sink.push("$");
                    sink.push(&number(piece.text, cut).to_string());
                }
            }
        }
        sink
    }
}

/// A parameter's number, less those that were cut before it.
fn number(text: &str, cut: u32) -> u32 {
    let number: u32 = text.trim_start_matches('$').parse().unwrap_or(0);
    match number.checked_sub(cut) {
        None | Some(0) => number,
        Some(left) => left,
    }
}

/// Whether a space stands between the two.
fn is_apart(before: Piece<'_>, piece: Piece<'_>) -> bool {
    if matches!(piece.kind, Kind::More { .. })
        || before.is_any(&["(", "[", ".", "::", "@"])
        || piece.is_any(&[")", "]", ",", ".", "::", ";"])
    {
        return false;
    }
    if piece.is("(") {
        return !matches!(before.kind, Kind::Name | Kind::Folded);
    }
    if piece.is("[") {
        return before.kind == Kind::Symbol && !before.is_operand();
    }
    true
}
