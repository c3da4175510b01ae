//! The texts that are hashed, and those that stand in exported lines.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Bytes that are written as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hex(pub Vec<u8>);

impl Hex {
    /// What the first row of a chain, and the first seal, come after.
    pub fn zeros() -> Self {
        Self(vec![0; 32])
    }

    /// `None` where a digit is not one, or half a byte is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: &u8| (*byte as char).to_digit(16).map(|digit| digit as u8);
        let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        bytes.collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not hexadecimal digits"))
    }
}

/// Microseconds since the Unix epoch, as PostgreSQL keeps times. A line shows them as RFC 3339 where that has a form for
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(pub i64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_microsecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Timestamp::from_microsecond(self.0) {
            Ok(at) => serializer.collect_str(&at),
            Err(_) => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(Timestamp),
            Number(i64),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(micros) => Ok(Self(micros)),
            // What a line says beyond the microsecond would not be hashed.
            Written::Text(at) if at.subsec_nanosecond() % 1_000 == 0 => {
                Ok(Self(at.as_microsecond()))
            }
            Written::Text(_) => Err(serde::de::Error::custom("finer than a microsecond")),
        }
    }
}

/// Builds the text that PostgreSQL's `json_build_array(…)::text` gives for the same values.
pub struct Canonical(String);

impl Canonical {
    pub fn begin() -> Self {
        let mut text = String::with_capacity(512);
        text.push('[');
        Self(text)
    }

    pub fn end(mut self) -> String {
        self.0.push(']');
        self.0
    }

    fn next(&mut self) -> &mut String {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        &mut self.0
    }

    pub fn number(mut self, value: impl Into<Option<i64>>) -> Self {
        let out = self.next();
        match value.into() {
            // Writing to a String cannot fail.
            Some(value) => {
                let _ = write!(out, "{value}");
            }
            None => out.push_str("null"),
        }
        self
    }

    pub fn text(mut self, value: Option<&str>) -> Self {
        escape(self.next(), value);
        self
    }

    /// JSON as it stands.
    pub fn json(mut self, value: Option<&str>) -> Self {
        self.next().push_str(value.unwrap_or("null"));
        self
    }

    pub fn texts<T: AsRef<str>>(mut self, values: impl IntoIterator<Item = Option<T>>) -> Self {
        let out = self.next();
        out.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            escape(out, value.as_ref().map(AsRef::as_ref));
        }
        out.push(']');
        self
    }

    pub fn numbers(mut self, values: &[i64]) -> Self {
        let out = self.next();
        out.push('[');
        for (index, value) in values.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{value}");
        }
        out.push(']');
        self
    }
}

/// As PostgreSQL's `escape_json` does it.
fn escape(out: &mut String, text: Option<&str>) {
    let Some(text) = text else {
        return out.push_str("null");
    };
    out.push('"');
    for character in text.chars() {
        match character {
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The hash of what comes before, and of a text.
pub fn digest(before: &Hex, text: &str) -> Hex {
    let mut hasher = Sha256::new();
    hasher.update(&before.0);
    hasher.update(text.as_bytes());
    Hex(hasher.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_text_is_that_of_postgres() {
        let text = Canonical::begin()
            .number(-1)
            .number(None)
            .text(Some("a\"\\\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f} é𝄞/"))
            .text(None)
            .json(Some(r#"{"a": 1.0}"#))
            .texts([Some("x, y"), None])
            .texts::<&str>([])
            .numbers(&[1, 2])
            .end();
        let expected = "[-1, null, \"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f} é𝄞/\", null, {\"a\": 1.0}, [\"x, y\",null], [], [1,2]]";
        assert_eq!(text, expected);
    }

    #[test]
    fn bytes_and_times_read_back_as_they_were_written() {
        assert_eq!(Hex::parse("00fF"), Some(Hex(vec![0, 255])));
        for bad in ["0", "0g", "+1", " 1"] {
            assert_eq!(Hex::parse(bad), None, "{bad}");
        }
        for micros in [0, -1, 1_796_000_000_123_456, i64::MAX, i64::MIN] {
            let line = serde_json::to_string(&Micros(micros)).unwrap();
            assert_eq!(
                serde_json::from_str::<Micros>(&line).unwrap(),
                Micros(micros),
                "{line}"
            );
        }
        assert!(serde_json::from_str::<Micros>("\"2026-01-01T00:00:00.0000001Z\"").is_err());
    }
}
