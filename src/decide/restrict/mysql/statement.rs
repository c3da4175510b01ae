//! The statement under its rules: which of its tables have some, and what its names may mean.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::{Column, Columns, Forbidden, Restrictions};
use super::columns::{Family, same_name};
use super::table::Table;
use crate::classify::mysql::shape::{ColumnUse, Shape, Span, TableUse, Write};
use crate::classify::mysql::{Kind, Reading, Token};
use crate::decide::rules::Mask;

pub struct Statement<'a> {
    pub reading: &'a Reading,
    pub restrictions: &'a Restrictions<'a>,
    pub tables: &'a [Table<'a>],
    /// Of every table that the statement names, the columns that are known.
    known: HashMap<usize, Arc<[Column]>>,
    /// The tokens that are parameters.
    parameters: Vec<usize>,
}

impl<'a> Statement<'a> {
    pub fn new(
        reading: &'a Reading,
        restrictions: &'a Restrictions<'a>,
        tables: &'a [Table<'a>],
        columns: Option<&dyn Columns>,
    ) -> Self {
        let mut known = HashMap::new();
        if let Some(columns) = columns {
            for (at, found) in reading.shape.tables.iter().enumerate() {
                let namespace = found.table.namespace.as_deref();
                let namespace = namespace.unwrap_or(restrictions.default_namespace);
                if let Some(columns) = columns.of(namespace, &found.table.name) {
                    known.insert(at, columns);
                }
            }
        }
        let tokens = reading.tokens.iter().enumerate();
        let parameters = tokens
            .filter(|(_, token)| token.kind == Kind::Parameter)
            .map(|(at, _)| at)
            .collect();
        Self {
            reading,
            restrictions,
            tables,
            known,
            parameters,
        }
    }

    pub fn shape(&self) -> &'a Shape {
        &self.reading.shape
    }

    pub fn write(&self) -> Option<&'a Write> {
        self.reading.shape.write.as_ref()
    }

    /// The rules of a table that the statement names.
    pub fn ruled(&self, found: &TableUse) -> Option<&'a Table<'a>> {
        self.tables
            .iter()
            .find(|table| table.is(&found.table, self.restrictions.default_namespace))
    }

    /// The tables that are written and have rules.
    pub fn targets(&self) -> impl Iterator<Item = (&'a TableUse, &'a Table<'a>)> {
        let named = self.reading.shape.tables.iter();
        named
            .filter(|found| found.is_target)
            .filter_map(|found| Some((found, self.ruled(found)?)))
    }

    /// The tables that are read and hide something.
    pub fn sources(&self) -> impl Iterator<Item = (&'a TableUse, &'a Table<'a>)> {
        let named = self.reading.shape.tables.iter();
        named
            .filter(|found| !found.is_target)
            .filter_map(|found| Some((found, self.ruled(found)?)))
            .filter(|(_, table)| table.hides())
    }

    // Tokens.

    pub fn token(&self, at: usize) -> Option<&'a Token> {
        self.reading.tokens.get(at)
    }

    pub fn text(&self, at: usize) -> &'a str {
        self.token(at)
            .map_or("", |token| token.text(&self.reading.sql))
    }

    pub fn kind(&self, at: usize) -> Option<Kind> {
        self.token(at).map(|token| token.kind)
    }

    /// Where the token begins; past the last, the end of the text.
    pub fn start(&self, at: usize) -> usize {
        self.token(at).map_or(self.reading.sql.len(), Token::start)
    }

    pub fn bytes(&self, span: &Span) -> Range<usize> {
        let start = self.start(span.start);
        let last = span.end.checked_sub(1).and_then(|last| self.token(last));
        start..last.map_or(start, Token::end).max(start)
    }

    pub fn text_of(&self, span: &Span) -> &'a str {
        self.reading.sql.get(self.bytes(span)).unwrap_or_default()
    }

    /// Which of the statement's parameters the token is.
    pub fn parameter_index(&self, at: usize) -> usize {
        self.parameters.partition_point(|place| *place < at)
    }

    // Names.

    /// Whether a column may be of this table.
    pub fn may_mean(&self, column: &ColumnUse, found: &TableUse) -> bool {
        column.qualifier().is_none_or(|qualifier| {
            // The servers fold letters beyond ASCII each in its own way.
            same_name(qualifier, found.exposed())
                || !qualifier.is_ascii()
                || !found.exposed().is_ascii()
        })
    }

    /// What a column holds, where every table that it may be of agrees.
    pub fn family(&self, column: &ColumnUse) -> Option<Family> {
        let name = column.name()?;
        if !name.is_ascii()
            || column
                .database()
                .is_some_and(|database| !database.is_ascii())
        {
            return None;
        }
        let derived = &self.shape().derived;
        let may_be_derived = match column.qualifier() {
            Some(qualifier) => {
                !qualifier.is_ascii() || derived.iter().any(|other| same_name(other, qualifier))
            }
            None => !derived.is_empty(),
        };
        if may_be_derived {
            return None;
        }
        let mut families = Vec::new();
        for (at, found) in self.shape().tables.iter().enumerate() {
            if !self.may_mean(column, found) {
                continue;
            }
            let of_table = self.known.get(&at)?.iter();
            let known = of_table
                .filter(|known| same_name(&known.name, name))
                .map(|known| Family::of(&known.type_name));
            let mask = self.ruled(found).and_then(|table| table.mask(name));
            families.extend(known.map(|family| match mask {
                Some(Mask::Hash | Mask::Partial) => Family::Text,
                Some(Mask::Null) | None => family,
            }));
        }
        let first = *families.first()?;
        families
            .iter()
            .all(|family| *family == first)
            .then_some(first)
    }

    /// The columns noted within a span.
    pub fn columns_in(&self, span: &Span) -> impl Iterator<Item = &'a ColumnUse> {
        let span = span.clone();
        let columns = self.reading.shape.columns.iter();
        columns.filter(move |column| span.contains(&column.tokens.start))
    }

    /// The column that begins at a token. They are noted in the order in which they stand.
    pub fn column_from(&self, at: usize) -> Option<&'a ColumnUse> {
        let columns = &self.reading.shape.columns;
        let found = columns.binary_search_by_key(&at, |column| column.tokens.start);
        found.ok().and_then(|found| columns.get(found))
    }

    /// The column that fills a span.
    pub fn column_at(&self, span: &Span) -> Option<&'a ColumnUse> {
        self.column_from(span.start)
            .filter(|column| column.tokens == *span)
    }

    pub fn forbidden(&self, reason: &str) -> Forbidden {
        Forbidden {
            objects: self
                .tables
                .iter()
                .flat_map(|table| table.objects.clone())
                .collect(),
            reason: reason.to_owned(),
        }
    }
}
