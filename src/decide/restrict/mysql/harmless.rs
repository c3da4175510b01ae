//! Whether a condition of the caller's can be evaluated on a hidden row without anybody noticing.
//!
//! A server may evaluate the caller's condition before the row filter. An error or a warning would then tell of a row
//! that the caller may not see. By its shape a condition is harmless where it compares columns with constants,
//! parameters or columns of the same kind, and nothing is converted. Anything else is kept from hidden rows, at the
//! cost of an index that only the caller's condition could use.

use super::columns::Family;
use super::condition::is_moment;
use super::statement::Statement;
use crate::classify::mysql::Kind;
use crate::classify::mysql::shape::Span;

/// Deepest nesting that is looked into.
const NESTING_MAX: usize = 50;

/// What stands on a side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Column(Family),
    Number,
    Text {
        is_moment: bool,
        is_number: bool,
    },
    /// The token where it stands.
    Parameter(usize),
    Boolean,
    Null,
}

struct Reader<'s, 'a> {
    statement: &'s Statement<'a>,
    at: usize,
    end: usize,
    depth: usize,
    /// Parameters that a text column is compared with: sent as text, they are not converted.
    texts: Vec<usize>,
}

/// The parameters that must be made text; `None` if the condition is not harmless.
pub fn texts(statement: &Statement<'_>, condition: &Span) -> Option<Vec<usize>> {
    let mut reader = Reader {
        statement,
        at: condition.start,
        end: condition.end,
        depth: 0,
        texts: Vec::new(),
    };
    reader.any()?;
    (reader.at == reader.end).then_some(reader.texts)
}

impl Reader<'_, '_> {
    fn word(&self) -> &str {
        if self.at < self.end {
            self.statement.text(self.at)
        } else {
            ""
        }
    }

    fn eat(&mut self, words: &[&str]) -> bool {
        let found = self.kind() != Some(Kind::Quoted)
            && self.kind() != Some(Kind::Text)
            && words
                .iter()
                .any(|word| self.word().eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn kind(&self) -> Option<Kind> {
        if self.at < self.end {
            self.statement.kind(self.at)
        } else {
            None
        }
    }

    fn any(&mut self) -> Option<()> {
        self.all()?;
        while self.eat(&["OR", "||"]) {
            self.all()?;
        }
        Some(())
    }

    fn all(&mut self) -> Option<()> {
        self.term()?;
        while self.eat(&["AND", "&&"]) {
            self.term()?;
        }
        Some(())
    }

    fn term(&mut self) -> Option<()> {
        while self.eat(&["NOT"]) {}
        if self.eat(&["("]) {
            self.depth += 1;
            if self.depth > NESTING_MAX {
                return None;
            }
            self.any()?;
            self.depth -= 1;
            return self.eat(&[")"]).then_some(());
        }
        let left = self.operand()?;
        if self.eat(&["IS"]) {
            self.eat(&["NOT"]);
            return self.eat(&["NULL"]).then_some(());
        }
        self.eat(&["NOT"]);
        if self.eat(&["IN"]) {
            return self.among(left);
        }
        if self.eat(&["BETWEEN"]) {
            let low = self.operand()?;
            self.eat(&["AND"]).then_some(())?;
            let high = self.operand()?;
            self.compared(left, low)?;
            return self.compared(left, high);
        }
        if self.eat(&["LIKE"]) {
            let pattern = self.operand()?;
            return match (left, pattern) {
                (Operand::Column(Family::Text), Operand::Text { .. } | Operand::Parameter(_)) => {
                    Some(())
                }
                _ => None,
            };
        }
        if self.eat(&["=", "<", ">", "<=", ">=", "<>", "!=", "<=>"]) {
            let right = self.operand()?;
            return self.compared(left, right);
        }
        // A condition of its own.
        match left {
            Operand::Column(family) => family.is_number().then_some(()),
            Operand::Number | Operand::Boolean | Operand::Null => Some(()),
            Operand::Text { .. } | Operand::Parameter(_) => None,
        }
    }

    fn among(&mut self, left: Operand) -> Option<()> {
        self.eat(&["("]).then_some(())?;
        loop {
            let right = self.operand()?;
            self.compared(left, right)?;
            if !self.eat(&[","]) {
                return self.eat(&[")"]).then_some(());
            }
        }
    }

    /// Whether comparing the two converts nothing that hangs on a row.
    fn compared(&mut self, left: Operand, right: Operand) -> Option<()> {
        let (column, other) = match (left, right) {
            (Operand::Column(column), other) | (other, Operand::Column(column)) => (column, other),
            (Operand::Number | Operand::Boolean, Operand::Number | Operand::Boolean)
            | (Operand::Text { .. }, Operand::Text { .. }) => return Some(()),
            _ => return None,
        };
        let harmless = match (column, other) {
            (_, Operand::Null) => true,
            (Family::Integer | Family::Decimal, other) => match other {
                Operand::Column(other) => other.is_number(),
                Operand::Text { is_number, .. } => is_number,
                Operand::Number | Operand::Boolean | Operand::Parameter(_) => true,
                Operand::Null => true,
            },
            (Family::Text, Operand::Parameter(at)) => {
                self.texts.push(at);
                true
            }
            (Family::Text, Operand::Text { .. } | Operand::Column(Family::Text))
            | (Family::Moment, Operand::Column(Family::Moment)) => true,
            (Family::Moment, Operand::Text { is_moment, .. }) => is_moment,
            _ => false,
        };
        harmless.then_some(())
    }

    fn operand(&mut self) -> Option<Operand> {
        if let Some(column) = self.column() {
            return Some(Operand::Column(column));
        }
        let negative = self.eat(&["-"]);
        let at = self.at;
        let operand = match self.kind()? {
            Kind::Number => Operand::Number,
            _ if negative => return None,
            Kind::Parameter => Operand::Parameter(at),
            Kind::Text => {
                let spelled = self.word();
                let inner = spelled.get(1..spelled.len() - 1).unwrap_or_default();
                Operand::Text {
                    is_moment: is_moment(inner),
                    is_number: !inner.is_empty()
                        && inner.len() < 18
                        && inner.bytes().all(|byte| byte.is_ascii_digit()),
                }
            }
            Kind::Word if self.word().eq_ignore_ascii_case("NULL") => Operand::Null,
            Kind::Word
                if ["TRUE", "FALSE"]
                    .iter()
                    .any(|word| self.word().eq_ignore_ascii_case(word)) =>
            {
                Operand::Boolean
            }
            Kind::Word
            | Kind::Name
            | Kind::Quoted
            | Kind::National
            | Kind::Binary
            | Kind::UserVariable
            | Kind::SystemVariable
            | Kind::Hint
            | Kind::Symbol => return None,
        };
        self.at += 1;
        // Adjacent strings are one, and what follows a string may change what it is.
        (self.kind() != Some(Kind::Text)).then_some(operand)
    }

    fn column(&mut self) -> Option<Family> {
        let at = self.at;
        let statement = self.statement;
        let column = statement.column_from(at)?;
        if column.tokens.end > self.end {
            return None;
        }
        let family = statement.family(column)?;
        self.at = column.tokens.end;
        Some(family)
    }
}
