//! Reads a TOML table key by key, collecting every fault with its place instead of stopping at the first.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with the configuration: where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `bulkhead.toml:12:8`, or the environment variable's name.
    pub place: String,
    pub message: String,
    /// Where it stands in the file, in bytes, for their order.
    pub(super) at: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where environment variables are looked up; a closure in tests.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A table being read. Keys that nobody asked for are faults when it is [finished](Reader::finish).
pub struct Section<'t> {
    name: String,
    table: Option<&'t DeTable<'t>>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

impl Section<'_> {
    /// As in `[server.tls]`, without the brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the file has this table at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }
}

/// Holds the file's text, the environment, and the faults found so far.
pub struct Reader<'e> {
    path: PathBuf,
    text: &'e str,
    environment: Environment<'e>,
    pub faults: Vec<Fault>,
}

impl<'e> Reader<'e> {
    pub fn new(path: &Path, text: &'e str, environment: Environment<'e>) -> Self {
        Self {
            path: path.to_owned(),
            text,
            environment,
            faults: Vec::new(),
        }
    }

    pub fn root<'t>(&self, table: &'t Spanned<DeTable<'t>>) -> Section<'t> {
        Section {
            name: String::new(),
            table: Some(table.get_ref()),
            span: table.span(),
            asked: Vec::new(),
        }
    }

    pub fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        self.faults.push(Fault {
            place: format!("{}:{line}:{column}", self.path.display()),
            message: message.into(),
            at: span.start,
        });
    }

    /// A fault of the section as a whole: something it lacks.
    pub fn missing(&mut self, section: &Section<'_>, message: impl Into<String>) {
        let message = message.into();
        if section.is_present() {
            self.fault(section.span.clone(), message);
        } else {
            self.faults.push(Fault {
                place: self.path.display().to_string(),
                message,
                at: 0,
            });
        }
    }

    pub fn section<'t>(&mut self, parent: &mut Section<'t>, key: &'static str) -> Section<'t> {
        let name = if parent.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", parent.name)
        };
        let mut section = Section {
            name,
            table: None,
            span: parent.span.clone(),
            asked: Vec::new(),
        };
        if let Some(value) = take(parent, key) {
            section.span = value.span();
            section.table = value.get_ref().as_table();
            if section.table.is_none() {
                let found = value.get_ref().type_str();
                self.fault(
                    value.span(),
                    format!("`{key}` must be a table, not {found}"),
                );
            }
        }
        section
    }

    /// A string, with `${NAME}` replaced from the environment (`$$` is a dollar).
    pub fn string(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<String> {
        let value = take(section, key)?;
        let DeValue::String(text) = value.get_ref() else {
            let found = value.get_ref().type_str();
            self.fault(
                value.span(),
                format!("`{key}` must be a string, not {found}"),
            );
            return None;
        };
        match interpolate(text, self.environment) {
            Ok(text) => Some(text),
            Err(message) => {
                self.fault(value.span(), message);
                None
            }
        }
    }

    /// A list of strings, each with where it stands.
    pub fn strings(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Vec<(String, Range<usize>)> {
        let Some(value) = take(section, key) else {
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in value.get_ref().as_array().into_iter().flatten() {
            match item
                .get_ref()
                .as_str()
                .map(|text| interpolate(text, self.environment))
            {
                Some(Ok(text)) => texts.push((text, item.span())),
                Some(Err(message)) => self.fault(item.span(), message),
                None => self.fault(item.span(), format!("`{key}` holds strings alone")),
            }
        }
        if value
            .get_ref()
            .as_array()
            .is_none_or(|items| items.is_empty())
        {
            self.fault(value.span(), format!("`{key}` must be a list of strings"));
        }
        texts
    }

    /// A string that an environment variable overrides.
    pub fn string_or_variable(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        variable: Option<&str>,
    ) -> Option<String> {
        let from_file = self.string(section, key);
        variable.and_then(self.environment).or(from_file)
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    pub fn variable_fault(&mut self, name: &str, message: String) {
        self.faults.push(Fault {
            place: format!("environment variable {name}"),
            message,
            at: usize::MAX,
        });
    }

    /// An integer within `range`, or `default`.
    pub fn integer(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = take(section, key) else {
            return default;
        };
        let number = value.get_ref().as_integer().and_then(|integer| {
            u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        });
        match number {
            Some(number) if range.contains(&number) => number,
            Some(_) | None => {
                let message = format!(
                    "`{key}` must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.fault(value.span(), message);
                default
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, section: &mut Section<'_>, key: &'static str, default: bool) -> bool {
        let Some(value) = take(section, key) else {
            return default;
        };
        if let DeValue::Boolean(value) = value.get_ref() {
            return *value;
        }
        self.fault(value.span(), format!("`{key}` must be true or false"));
        default
    }

    /// One of a closed list of words, or the first.
    pub fn choice<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let span = section
            .table
            .and_then(|table| table.get(key))
            .map(Spanned::span);
        let Some(word) = self.string(section, key) else {
            return default;
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return *choice;
        }
        let names: Vec<_> = choices
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        self.fault(
            span.unwrap_or_default(),
            format!("`{key}` is `{word}`; it must be {}", names.join(" or ")),
        );
        default
    }

    /// Words of a closed list, each once, in any order; none where the key is absent.
    pub fn choices<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Vec<T> {
        let Some(value) = take(section, key) else {
            return Vec::new();
        };
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let Some(list) = value.get_ref().as_array() else {
            let message = format!("`{key}` must be a list of some of {}", names.join(", "));
            self.fault(value.span(), message);
            return Vec::new();
        };
        let mut chosen = Vec::new();
        for word in list.iter() {
            let text = word.get_ref().as_str();
            match choices.iter().find(|(name, _)| Some(*name) == text) {
                Some((_, choice)) => chosen.push(*choice),
                None => {
                    let message = format!("`{key}` may list {}", names.join(", "));
                    self.fault(word.span(), message);
                }
            }
        }
        chosen
    }

    /// Every key of a section whose keys are the user's own, with its place and its string. Such a section is not
    /// [finished](Reader::finish).
    pub fn entries(&mut self, section: &Section<'_>) -> Vec<(String, Range<usize>, String)> {
        let mut found = Vec::new();
        for (key, value) in section.table.into_iter().flatten() {
            match value.get_ref().as_str() {
                Some(text) => {
                    let name = key.get_ref().clone().into_owned();
                    found.push((name, key.span(), text.to_owned()));
                }
                None => self.fault(
                    value.span(),
                    format!("`{}` must be a string", key.get_ref()),
                ),
            }
        }
        found
    }

    /// A path; a relative one is relative to the configuration file.
    pub fn path(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
        let text = self.string(section, key)?;
        Some(self.beside(Path::new(&text)))
    }

    /// A path as the configuration's folder sees it.
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A secret: `key`, or the contents of the file named by `key_file`, or an environment variable.
    pub fn secret(
        &mut self,
        section: &mut Section<'_>,
        keys: (&'static str, &'static str),
        variable: Option<&str>,
    ) -> Option<SecretString> {
        let (key, key_file) = keys;
        let span = section
            .table
            .and_then(|table| table.get(key_file))
            .map(Spanned::span);
        let inline = self.string_or_variable(section, key, variable);
        let file = self.path(section, key_file);
        match (inline, file) {
            (Some(secret), _) => Some(SecretString::from(secret)),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(secret) => Some(SecretString::from(secret.trim_end_matches(['\r', '\n']))),
                Err(error) => {
                    self.fault(
                        span.unwrap_or_default(),
                        format!("`{key_file}`: cannot read `{}`: {error}", file.display()),
                    );
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// Reports the keys of `section` that nobody asked for.
    pub fn finish(&mut self, section: Section<'_>) {
        let Some(table) = section.table else { return };
        for key in table.keys() {
            if section.asked.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let near = nearest(key.get_ref(), &section.asked);
            let hint = near.map_or_else(
                || format!("known keys: {}", section.asked.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let place = if section.name.is_empty() {
                "the file".to_owned()
            } else {
                format!("[{}]", section.name)
            };
            self.fault(
                key.span(),
                format!("unknown key `{}` in {place}; {hint}", key.get_ref()),
            );
        }
    }
}

fn take<'t>(section: &mut Section<'t>, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
    section.asked.push(key);
    section.table.and_then(|table| table.get(key))
}

/// The word most like `word`, if any is like it at all.
fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, name)| name)
}

fn interpolate(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|a| a.split_once('}'))
        {
            let value = environment(name)
                .ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
            out.push_str(&value);
            rest = after;
        } else {
            return Err("`$` stands for a variable: write `${NAME}`, or `$$` for a dollar".into());
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_variables() {
        let environment = |name: &str| (name == "A").then(|| "x".to_owned());
        let check = |text: &str, expected: Result<&str, &str>| {
            assert_eq!(
                interpolate(text, &environment),
                expected.map(str::to_owned).map_err(str::to_owned)
            );
        };
        check("plain", Ok("plain"));
        check("${A}b${A}", Ok("xbx"));
        check("p$$w", Ok("p$w"));
        check("${B}", Err("the environment variable `B` is not set"));
        check(
            "$A",
            Err("`$` stands for a variable: write `${NAME}`, or `$$` for a dollar"),
        );
    }
}
