//! What a front door asks of a SQL store: parameters as raw JSON text, and what the audit must say.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One statement's parameters and limits. The statement itself comes with the ticket.
#[derive(Default)]
pub struct SqlRequest {
    /// The JSON text of each parameter, so that numbers stay exact.
    pub params: Vec<Box<RawValue>>,
    /// How long the statement may run; the store's own limit holds too.
    pub timeout_ms: Option<u64>,
}

impl SqlRequest {
    /// About how many bytes the statement and its parameters take on their way to the server.
    pub(super) fn sent_bytes(&self, sql: &str) -> usize {
        let params = self.params.iter().map(|param| param.get().len());
        sql.len() + params.sum::<usize>()
    }
}

/// Parameters are values of the caller's: Debug says how many there are, and no more.
impl fmt::Debug for SqlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRequest")
            .field("params", &self.params.len())
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

/// What `audit_logs` says about a change of a system table. Holds no value of the statement's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditRow {
    pub user_id: Option<String>,
    pub key_id: String,
    pub role: String,
    /// What was done, for example `update`.
    pub action: String,
    /// What kind of thing was changed, for example `table`.
    pub resource_type: String,
    pub objects: Vec<String>,
    pub request_id: String,
    pub trace_id: Option<String>,
    /// The statement without any value, and a digest of that.
    pub statement: String,
    pub fingerprint: String,
}

/// A parameter's JSON kind, with the text that matters. Nothing is parsed further than that.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// The number as it was written.
    Number(&'a str),
    String(Cow<'a, str>),
    /// The text of an array.
    Array(&'a str),
    /// The text of an object.
    Object(&'a str),
}

impl<'a> Json<'a> {
    /// Reads one JSON value's text. `text` is valid JSON, since a [`RawValue`] holds nothing else.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => Self::String(string(text)?),
            Some(b'[') => Self::Array(text),
            Some(b'{') => Self::Object(text),
            Some(_) => Self::Number(text),
            None => return Err("is empty".to_owned()),
        })
    }

    /// The word for this kind in an error message.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The elements of a JSON array, each still as its text.
pub(super) fn elements(array: &str) -> Result<Vec<&RawValue>, String> {
    serde_json::from_str(array).map_err(|error| error.to_string())
}

/// The bytes of `{"$base64": "…"}`; `None` for any other object.
pub(super) fn base64_object(object: &str) -> Option<Result<Vec<u8>, String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Base64<'a> {
        #[serde(rename = "$base64", borrow)]
        base64: Cow<'a, str>,
    }
    let object: Base64<'_> = serde_json::from_str(object).ok()?;
    Some(
        STANDARD
            .decode(object.base64.as_bytes())
            .map_err(|error| format!("`$base64` is not base64: {error}")),
    )
}

/// A JSON string's text, borrowed where it holds no escape.
fn string(text: &str) -> Result<Cow<'_, str>, String> {
    if let Ok(plain) = serde_json::from_str::<&str>(text) {
        return Ok(Cow::Borrowed(plain));
    }
    serde_json::from_str::<String>(text)
        .map(Cow::Owned)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_text() {
        for (text, expected) in [
            ("null", Json::Null),
            (" true ", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("1.50", Json::Number("1.50")),
            ("-9223372036854775808", Json::Number("-9223372036854775808")),
            ("\"a\"", Json::String("a".into())),
            ("\"\\u00e9\\n\"", Json::String("é\n".into())),
            ("[1, 2]", Json::Array("[1, 2]")),
            ("{\"a\": 1}", Json::Object("{\"a\": 1}")),
        ] {
            assert_eq!(Json::read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn base64_is_one_key_and_nothing_else() {
        assert_eq!(
            base64_object("{\"$base64\": \"AP8=\"}"),
            Some(Ok(vec![0, 255]))
        );
        assert!(base64_object("{\"$base64\": \"AP8\"}").is_some_and(|bytes| bytes.is_err()));
        assert_eq!(base64_object("{\"$base64\": \"\", \"a\": 1}"), None);
        assert_eq!(base64_object("{\"a\": 1}"), None);
        assert_eq!(base64_object("{}"), None);
    }
}
