//! TOML with places: reads values of the expected type out of a table and reports everything else.
//!
//! `serde` with `deny_unknown_fields` stops at the first fault, and a security team wants all of them in one
//! run; so the tree is walked by hand, with the same strictness: a key that was not asked for is an error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, did_you_mean};
use super::source::{Span, Written, WrittenTable};

/// Reports broken syntax: the first fault of each line, since the parser goes on and finds the same again.
pub(super) fn syntax(file: usize, errors: &[toml::de::Error], faults: &mut Faults) {
    let mut last_line = None;
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let span = Span { file, range };
        let line = faults.place(&span).line;
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let text = error.message().lines().next().unwrap_or_default();
        let (wrong, expected) = text.split_once(", expected ").unwrap_or((text, ""));
        let help = match expected {
            "" => String::new(),
            expected => format!("expected {expected}"),
        };
        faults.error(&span, format!("not valid TOML: {wrong}"), help);
    }
}

/// One table while it is read. What is not taken from it by the time of [`TableReader::finish`] is unknown.
pub(super) struct TableReader<'t, 'i> {
    pub(super) file: usize,
    /// How messages call this table: `stores.mysql`, `a grant`.
    what: String,
    pub(super) span: Span,
    table: &'t DeTable<'i>,
    known: Vec<&'static str>,
}

impl<'t, 'i> TableReader<'t, 'i> {
    pub(super) fn new(
        file: usize,
        what: impl Into<String>,
        range: std::ops::Range<usize>,
        table: &'t DeTable<'i>,
    ) -> Self {
        Self {
            file,
            what: what.into(),
            span: Span { file, range },
            table,
            known: Vec::new(),
        }
    }

    /// Takes a string.
    pub(super) fn string(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Option<Written<String>> {
        let value = self.take(key)?;
        string_of(self.file, key, value, example, faults)
    }

    /// Takes a string that must be there.
    pub(super) fn required(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Option<Written<String>> {
        if !self.has(key) {
            self.missing(key, example, faults);
        }
        self.string(key, example, faults)
    }

    /// Takes `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, faults: &mut Faults) -> Option<bool> {
        self.flag(key, faults).map(|flag| flag.value)
    }

    /// Takes `true` or `false` with its place.
    pub(super) fn flag(&mut self, key: &'static str, faults: &mut Faults) -> Option<Written<bool>> {
        let value = self.take(key)?;
        let span = span_of(self.file, value);
        match value.get_ref().as_bool() {
            Some(value) => Some(Written { value, span }),
            None => {
                wrong_type(&span, key, value, &format!("{key} = true"), faults);
                None
            }
        }
    }

    /// Takes a value of any type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.take(key)
    }

    /// Takes an array of strings; `None` where the key is absent.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Option<Written<Vec<Written<String>>>> {
        let file = self.file;
        let value = self.take(key)?;
        let span = span_of(file, value);
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(&span, key, value, example, faults);
            return Some(Written {
                value: Vec::new(),
                span,
            });
        };
        let strings = items
            .iter()
            .filter_map(|item| string_of(file, key, item, example, faults))
            .collect();
        Some(Written {
            value: strings,
            span,
        })
    }

    /// Takes a string, or an array of them.
    pub(super) fn one_or_more(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Vec<Written<String>> {
        if self
            .table
            .get(key)
            .is_some_and(|value| value.get_ref().is_str())
        {
            return self.string(key, example, faults).into_iter().collect();
        }
        let list = self.strings(key, example, faults);
        list.map(|list| list.value).unwrap_or_default()
    }

    /// Takes a table of strings, such as `{ email = "partial" }`, in the order of the file.
    pub(super) fn string_table(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Option<WrittenTable> {
        let file = self.file;
        let value = self.take(key)?;
        let span = span_of(file, value);
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(&span, key, value, example, faults);
            return None;
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            let name = Written {
                value: name.get_ref().clone().into_owned(),
                span: span_of(file, name),
            };
            if let Some(value) = string_of(file, &name.value, value, example, faults) {
                pairs.push((name, value));
            }
        }
        pairs.sort_by_key(|(name, _)| name.span.range.start);
        Some(Written { value: pairs, span })
    }

    /// Takes a whole number from 1 to `u32::MAX`.
    pub(super) fn positive(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Option<Written<u32>> {
        let value = self.take(key)?;
        positive_of(self.file, key, value, example, faults)
    }

    /// Takes a number, whole or not.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        help: &str,
        faults: &mut Faults,
    ) -> Option<Written<f64>> {
        let value = self.take(key)?;
        let span = span_of(self.file, value);
        let integer = value.get_ref().as_integer();
        let integer =
            integer.and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok());
        let float = value.get_ref().as_float();
        let float = float.and_then(|float| float.as_str().parse().ok());
        match integer.map(f64::from).or(float) {
            Some(value) => Some(Written { value, span }),
            None => {
                let message = format!("`{key}` is not a number of use here");
                faults.error(&span, message, help);
                None
            }
        }
    }

    /// Takes a table of whole numbers from 1 on, such as `{ insert = 5 }`, in the order of the file.
    pub(super) fn positive_table(
        &mut self,
        key: &'static str,
        example: &str,
        faults: &mut Faults,
    ) -> Vec<(Written<String>, Written<u32>)> {
        let file = self.file;
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(&span_of(file, value), key, value, example, faults);
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (name, value) in table {
            let name = Written {
                value: name.get_ref().clone().into_owned(),
                span: span_of(file, name),
            };
            if let Some(value) = positive_of(file, &name.value, value, example, faults) {
                pairs.push((name, value));
            }
        }
        pairs.sort_by_key(|(name, _)| name.span.range.start);
        pairs
    }

    /// Takes a table of named tables, such as `[roles]`, each as a reader with its name.
    pub(super) fn named_tables(
        &mut self,
        key: &'static str,
        faults: &mut Faults,
    ) -> Vec<(Written<String>, Self)> {
        let file = self.file;
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            let example = format!("[{key}.NAME]");
            wrong_type(&span_of(file, value), key, value, &example, faults);
            return Vec::new();
        };
        let mut readers = Vec::new();
        for (name, value) in table {
            let name = Written {
                value: name.get_ref().clone().into_owned(),
                span: span_of(file, name),
            };
            let what = format!("{key}.{}", name.value);
            match value.get_ref().as_table() {
                Some(inner) => readers.push((
                    name.clone(),
                    TableReader::new(file, what, name.span.range.clone(), inner),
                )),
                None => {
                    let example = format!("[{what}]");
                    wrong_type(&span_of(file, value), &what, value, &example, faults);
                }
            }
        }
        readers.sort_by_key(|(name, _)| name.span.range.start);
        readers
    }

    /// Takes an array of tables, such as `[[roles.app.grants]]`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        each: &str,
        example: &str,
        faults: &mut Faults,
    ) -> Vec<Self> {
        let file = self.file;
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(&span_of(file, value), key, value, example, faults);
            return Vec::new();
        };
        let mut readers = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => readers.push(TableReader::new(file, each, item.span(), table)),
                None => wrong_type(&span_of(file, item), key, item, example, faults),
            }
        }
        readers
    }

    /// Whether the key is there; does not take it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Takes a key without reading it.
    pub(super) fn ignore(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Reports a key that must be there.
    pub(super) fn missing(&self, key: &str, example: &str, faults: &mut Faults) {
        let message = format!("{} has no `{key}`", self.what);
        faults.error(&self.span, message, format!("write `{example}`"));
    }

    /// Reports every key that nobody took. `hint` may know better than likeness what was meant.
    pub(super) fn finish(self, faults: &mut Faults, hint: impl Fn(&str) -> Option<String>) {
        #[cfg(test)]
        taken::note(&self.what, &self.known);
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let message = format!("unknown key `{name}` in {}", self.what);
            let help = hint(name).unwrap_or_else(|| did_you_mean(name, self.known.iter().copied()));
            faults.error(&span_of(self.file, key), message, help);
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.table.get(key)
    }
}

fn string_of(
    file: usize,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    example: &str,
    faults: &mut Faults,
) -> Option<Written<String>> {
    let span = span_of(file, value);
    match value.get_ref().as_str() {
        Some(text) => Some(Written {
            value: text.to_owned(),
            span,
        }),
        None => {
            wrong_type(&span, key, value, example, faults);
            None
        }
    }
}

fn positive_of(
    file: usize,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    example: &str,
    faults: &mut Faults,
) -> Option<Written<u32>> {
    let span = span_of(file, value);
    let Some(integer) = value.get_ref().as_integer() else {
        wrong_type(&span, key, value, example, faults);
        return None;
    };
    match u32::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(value) if value > 0 => Some(Written { value, span }),
        Ok(_) | Err(_) => {
            let message = format!("`{key}` is `{integer}`");
            let help = format!(
                "write a whole number from 1 to {}, as in `{example}`",
                u32::MAX
            );
            faults.error(&span, message, help);
            None
        }
    }
}

fn wrong_type(
    span: &Span,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    example: &str,
    faults: &mut Faults,
) {
    let message = format!("`{key}` cannot be of type {}", value.get_ref().type_str());
    faults.error(span, message, format!("write `{example}`"));
}

fn span_of<T>(file: usize, value: &Spanned<T>) -> Span {
    Span {
        file,
        range: value.span(),
    }
}

/// Which keys a table was asked for: the schema's tests compare them with theirs.
#[cfg(test)]
pub(super) mod taken {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    thread_local! {
        static TAKEN: RefCell<BTreeMap<String, BTreeSet<String>>> = RefCell::default();
    }

    pub(in crate::decide) fn note(what: &str, keys: &[&'static str]) {
        TAKEN.with_borrow_mut(|taken| {
            let known = taken.entry(what.to_owned()).or_default();
            known.extend(keys.iter().map(ToString::to_string));
        });
    }

    pub(in crate::decide) fn clear() {
        TAKEN.with_borrow_mut(BTreeMap::clear);
    }

    pub(in crate::decide) fn of(what: &str) -> BTreeSet<String> {
        TAKEN.with_borrow(|taken| taken.get(what).cloned().unwrap_or_default())
    }
}
