//! Whether a statement's text may hold a name. Says yes where it is not sure.

use std::collections::{HashMap, HashSet};

use super::When;

/// PostgreSQL cuts longer identifiers, so that a longer word in the text may mean this one.
const IDENTIFIER_BYTES_CUT: usize = 60;

/// Most different names before a dot that are looked for in a text; a text with more is taken to have functions'.
const ALIASES_MAX: usize = 64;

/// What makes one row of one value in FROM without being written like a call.
const VALUES: [&str; 12] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "user",
];

/// A statement's text, made comparable when first needed.
pub struct Text<'t> {
    sql: &'t str,
    small: Option<String>,
    words: Option<HashSet<Box<str>>>,
    fields: Option<Fields>,
}

/// The names that follow the alias of what may be a function in FROM.
enum Fields {
    Known(Vec<String>),
    /// The text is written in a way that is not followed.
    Any,
}

impl<'t> Text<'t> {
    pub const fn new(sql: &'t str) -> Self {
        Self {
            sql,
            small: None,
            words: None,
            fields: None,
        }
    }

    pub fn meets(&mut self, when: &When) -> bool {
        match when {
            When::Always => true,
            When::Word(word) => self.has_word(word),
            When::Symbol(symbol) => self.sql.contains(&**symbol),
            When::Field(name) => self.has_field(name),
            When::All(all) => all.iter().all(|when| self.meets(when)),
        }
    }

    fn small(&mut self) -> &str {
        self.small
            .get_or_insert_with(|| self.sql.to_ascii_lowercase())
    }

    fn has_word(&mut self, word: &str) -> bool {
        let text = &*self
            .small
            .get_or_insert_with(|| self.sql.to_ascii_lowercase());
        // A name can be spelled with escapes, or with quotes inside quotes.
        if text.contains("u&\"") || word.contains('"') {
            return true;
        }
        let word = word.to_ascii_lowercase();
        // A database may have thousands of words to look for.
        let is_plain = word.chars().all(is_part) && word.starts_with(is_letter);
        if is_plain && word.len() < IDENTIFIER_BYTES_CUT {
            let words = self.words.get_or_insert_with(|| words(text));
            return words.contains(word.as_str());
        }
        places(text, &word).next().is_some()
    }

    fn has_field(&mut self, name: &str) -> bool {
        if !self.sql.contains('.') {
            return false;
        }
        if self.fields.is_none() {
            self.fields = Some(fields(self.small()));
        }
        match &self.fields {
            Some(Fields::Known(fields)) => {
                let name = name.to_ascii_lowercase();
                fields.iter().any(|field| {
                    *field == name
                        || (name.len() >= IDENTIFIER_BYTES_CUT && field.starts_with(&name))
                })
            }
            Some(Fields::Any) | None => self.has_word(name),
        }
    }
}

/// The words of a text in small letters. What follows a digit or a `$` may be a word, too: these may end a number or
/// a string. Longer ones are not asked for.
fn words(text: &str) -> HashSet<Box<str>> {
    let mut words = HashSet::new();
    for run in text.split(|c| !is_part(c)) {
        let mut begins = true;
        for (at, c) in run.char_indices() {
            let word = run.get(at..).unwrap_or_default();
            if begins && is_letter(c) && word.len() < IDENTIFIER_BYTES_CUT {
                words.insert(word.into());
            }
            begins = !is_letter(c);
        }
    }
    words
}

/// Where a word stands in a text, both in small letters.
fn places<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = (usize, usize)> {
    let found = text.match_indices(word).map(|(start, _)| start);
    found.filter_map(|start| {
        let end = start + word.len();
        let before = text.get(..start)?.chars().next_back();
        let after = text.get(end..)?.chars().next();
        // A digit before may end a number.
        let begins = before.is_none_or(|c| !is_letter(c));
        let ends = after.is_none_or(|c| !is_part(c));
        (begins && (ends || word.len() >= IDENTIFIER_BYTES_CUT)).then_some((start, end))
    })
}

/// The names after the dots of a text in small letters, where what is before the dot may be a function's alias.
fn fields(text: &str) -> Fields {
    if ["u&\"", "/*", "--", "\"\""]
        .iter()
        .any(|odd| text.contains(odd))
    {
        return Fields::Any;
    }
    let mut found = Vec::new();
    let mut aliases: HashMap<&str, bool> = HashMap::new();
    for (dot, _) in text.match_indices('.') {
        let (Some(before), Some(after)) = (text.get(..dot), text.get(dot + 1..)) else {
            continue;
        };
        let (alias, name) = (last_name(before), first_name(after));
        if name.is_empty() || alias.is_empty() {
            continue;
        }
        if aliases.len() >= ALIASES_MAX {
            return Fields::Any;
        }
        let is_function = aliases.entry(alias);
        if *is_function.or_insert_with(|| may_be_function(text, alias)) {
            found.push(name.to_owned());
        }
    }
    Fields::Known(found)
}

/// The identifier that ends a text, without its quotes.
fn last_name(text: &str) -> &str {
    let text = text.trim_end();
    match text.strip_suffix('"') {
        Some(quoted) => quoted.rsplit('"').next().unwrap_or_default(),
        None => text.rsplit(|c| !is_part(c)).next().unwrap_or_default(),
    }
}

/// The identifier that begins a text, without its quotes.
fn first_name(text: &str) -> &str {
    let text = text.trim_start();
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default(),
        None => text.split(|c| !is_part(c)).next().unwrap_or_default(),
    }
}

/// Whether some use of the name follows a closing parenthesis or a value, as an alias would, or is itself called.
fn may_be_function(text: &str, alias: &str) -> bool {
    places(text, alias).any(|(start, end)| {
        let (Some(before), Some(after)) = (text.get(..start), text.get(end..)) else {
            return false;
        };
        if is_value(before, alias) {
            return true;
        }
        let before = before.strip_suffix('"').unwrap_or(before).trim_end();
        let after = after.strip_prefix('"').unwrap_or(after).trim_start();
        let before = without_last(before, "as");
        let word = last_name(before);
        before.ends_with(')')
            || word == "ordinality"
            || is_value(before.strip_suffix(word).unwrap_or(before), word)
            || (after.starts_with('(') && !is_inserted(before))
    })
}

/// Whether a word is one of [`VALUES`], not quoted.
fn is_value(before: &str, word: &str) -> bool {
    VALUES.contains(&word) && !before.ends_with('"')
}

/// Whether a name stands in `INSERT INTO schema.name`.
fn is_inserted(before: &str) -> bool {
    let before = match before.strip_suffix('.') {
        Some(qualified) => {
            let before = qualified.trim_end();
            let unquoted = before.strip_suffix('"').unwrap_or(before);
            let before = unquoted.strip_suffix(last_name(before));
            before.map_or("", |before| before.strip_suffix('"').unwrap_or(before))
        }
        None => before,
    };
    last_name(before.trim_end()) == "into"
}

/// A text without the word that ends it, if it is this one.
fn without_last<'t>(text: &'t str, word: &str) -> &'t str {
    match last_name(text) == word {
        true => text.strip_suffix(word).unwrap_or(text).trim_end(),
        false => text,
    }
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_part(c: char) -> bool {
    is_letter(c) || c.is_ascii_digit() || c == '$'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_as_the_server_would_read_it() {
        let long = "x".repeat(62);
        let cut = format!("SELECT {long}yz");
        let cases = [
            ("SELECT s.secret FROM s", "secret", true),
            ("SELECT s . \"secret\" FROM s", "secret", true),
            ("SELECT S.SECRET FROM s", "secret", true),
            ("SELECT 1secret", "secret", true),
            ("SELECT U&\"\\0073ecret\"", "secret", true),
            (
                "SELECT secretary, top_secret, secret1 FROM s",
                "secret",
                false,
            ),
            ("SELECT secrets, secret FROM s", "secret", true),
            ("SELECT ésecret", "secret", false),
            ("SELECT 1e5secret", "secret", true),
            ("SELECT $$ a$$secret", "secret", true),
            ("SELECT secret$$ a$$", "secret", false),
            ("SELECT a.\"secret\"", "secret", true),
            ("SELECT 1", "se\"cret", true),
            (&cut, &long, true),
        ];
        for (sql, word, expected) in cases {
            let found = Text::new(sql).meets(&When::Word(word.into()));
            assert_eq!(found, expected, "{word} in {sql}");
        }
        let long = "x".repeat(62);
        let cut = format!("SELECT f.{long}yz FROM unnest($1) f");
        for (sql, name, expected) in [
            ("SELECT x.leak FROM unnest($1) x", "leak", true),
            ("SELECT x . LEAK FROM unnest($1) AS x", "leak", true),
            ("SELECT \"X\".\"leak\" FROM unnest($1)\"X\"", "leak", true),
            ("SELECT x.leak FROM f($1) WITH ORDINALITY x", "leak", true),
            ("SELECT unnest.leak FROM unnest ($1)", "leak", true),
            ("SELECT x.leak FROM CURRENT_USER AS x", "leak", true),
            ("SELECT current_date.leak FROM current_date", "leak", true),
            ("SELECT x/**/.leak FROM unnest($1) x", "leak", true),
            ("SELECT u.slug, lower(u.slug) FROM users u", "slug", false),
            (
                "SELECT \"u\".\"slug\" FROM \"users\" AS \"u\"",
                "slug",
                false,
            ),
            ("SELECT slug FROM unnest($1) slug", "slug", false),
            ("SELECT \"user\".\"slug\" FROM \"user\"", "slug", false),
            ("SELECT user.slug FROM user", "slug", true),
            ("SELECT u.slug FROM \"user\" AS u", "slug", false),
            (
                "INSERT INTO users (id) VALUES (1) RETURNING users.slug",
                "slug",
                false,
            ),
            (
                "INSERT INTO public.users (id) VALUES (1) RETURNING users.slug",
                "slug",
                false,
            ),
            (
                "INSERT INTO \"a\".\"u\" (id) VALUES (1) RETURNING \"u\".\"slug\"",
                "slug",
                false,
            ),
            ("SELECT f.slug FROM public.f (1)", "slug", true),
            (&cut, &long, true),
        ] {
            let found = Text::new(sql).meets(&When::Field(name.into()));
            assert_eq!(found, expected, "{name} in {sql}");
        }
        assert!(Text::new("a ### b").meets(&When::Symbol("###".into())));
        assert!(!Text::new("a + b").meets(&When::Symbol("###".into())));
    }
}
