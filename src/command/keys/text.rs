//! What an operator types of a key, and what the table shows of it.

use std::convert::Infallible;

use crate::authenticate::key::{PREFIX, Presented};

/// A key's id. Of a whole key that was given in its place by mistake, no more than the id is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId(pub String);

/// Refuses nothing: an error would repeat what may be a secret.
pub fn id(text: &str) -> Result<KeyId, Infallible> {
    let id = match (
        Presented::parse(text.trim()),
        text.trim().strip_prefix(PREFIX),
    ) {
        (Some(whole), _) => whole.id,
        // Not copied whole, but what follows the id may be most of the secret.
        (None, Some(rest)) => rest.split('_').next().unwrap_or_default(),
        (None, None) => text,
    };
    Ok(KeyId(id.to_owned()))
}

/// A name that shows as it is.
pub fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("it must not be empty")
    } else if text.chars().any(char::is_control) {
        Err("it must have no control characters")
    } else {
        Ok(text.to_owned())
    }
}

/// A column as a terminal may show it: `api_keys` may have been filled by anybody.
pub fn plain(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "-".to_owned();
    };
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::authenticate::key::generate;

    #[test]
    fn of_a_whole_key_the_id_is_kept_alone() {
        let made = generate().unwrap();
        let key = made.key.expose_secret();
        let half = &key[..key.len() - 9];
        for (text, expected) in [
            (key, made.id.as_str()),
            (&format!(" {key}\n"), &made.id),
            (half, &made.id),
            (&made.id, &made.id),
            ("none", "none"),
        ] {
            assert_eq!(id(text).unwrap().0, expected);
        }
    }

    #[test]
    fn names_show_as_they_are() {
        for (text, expected) in [
            ("web", true),
            ("Büro 7", true),
            ("", false),
            ("  ", false),
            ("a\u{1b}[2J", false),
            ("a\nb", false),
            ("\u{9b}31m", false),
        ] {
            assert_eq!(name(text).is_ok(), expected, "{text:?}");
        }
        assert_eq!(plain(Some("é\u{1b}[31m\n")), "é\\u{1b}[31m\\n");
        assert_eq!(plain(None), "-");
    }
}
