//! A request as the command line, a JSON line or a test case gives it → its classification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::raw::{CStr, RawDocument, RawDocumentBuf};

use crate::authenticate::Principal;
use crate::classify::{Refusal, Session, mongodb, mysql, postgres, redis};
use crate::decide::Policy;
use crate::error::{Code, Problem, PublicError as _};
use crate::operation::{Operation, Payload, Store};
use crate::wire::extended_json::parse_extended_json;

/// Most arguments that the length line of a command in Redis' protocol may announce (the server's own limit).
const REDIS_ARGUMENTS_MAX: usize = 1024 * 1024;

/// A request before its store reads it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'b> {
    /// As people write it: SQL, Extended JSON, a Redis command line or JSON array.
    Text(&'b str),
    /// JSON text: a string with any of the above, a command document, an array.
    Json(&'b str),
    /// Exact bytes: SQL, BSON, or a command in Redis' protocol (RESP array of bulk strings).
    Bytes(&'b [u8]),
}

/// Classifies a request as its front door would.
pub(super) fn classify(
    policy: &Policy,
    store: Store,
    body: Body<'_>,
    session: Session,
) -> Result<Operation, Problem> {
    let problem = |refusal: Refusal| refusal.problem();
    let (classification, payload) = match store {
        Store::Postgres | Store::Mysql => {
            let text = sql(body)?;
            let classified = match store {
                Store::Mysql => mysql::classify(&text, session),
                Store::Postgres | Store::Mongodb | Store::Redis => {
                    postgres::classify(&text, session)
                }
            };
            let classification = classified.map_err(problem)?;
            let sent = classification.rewritten.clone().unwrap_or(text);
            (classification, Payload::Sql(sent.into()))
        }
        Store::Mongodb => {
            let (document, database) = mongodb_command(policy, body)?;
            let document = document.into_bytes();
            let classification =
                mongodb::classify(&document, &database, session).map_err(problem)?;
            (classification, Payload::Mongodb { database, document })
        }
        Store::Redis => {
            let command = redis_command(body)?;
            let classification = redis::classify(&command, session).map_err(problem)?;
            let commands = vec![command];
            (
                classification,
                Payload::Redis {
                    commands,
                    atomic: false,
                },
            )
        }
    };
    Ok(Operation {
        store,
        classification: classification.into(),
        payload,
    })
}

/// Who asks, where nobody does.
pub(super) fn caller(role: &str, user_id: Option<&str>) -> Principal {
    Principal {
        key_id: "explain".to_owned(),
        user_id: user_id.map(str::to_owned),
        role: role.to_owned(),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

fn sql(body: Body<'_>) -> Result<String, Problem> {
    match body {
        Body::Text(text) => Ok(text.to_owned()),
        Body::Json(json) => serde_json::from_str(json)
            .map_err(|_| invalid("a SQL request is a string: write the statement's text")),
        Body::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Problem::new(
                Code::StatementUnparsable,
                format!(
                    "the statement is not UTF-8 from byte {} on",
                    error.valid_up_to()
                ),
            )),
        },
    }
}

/// The command document without its `$db`, and the database that this names (else the policy's).
fn mongodb_command(policy: &Policy, body: Body<'_>) -> Result<(RawDocumentBuf, String), Problem> {
    let whole = match body {
        Body::Text(text) => extended_json(text)?,
        Body::Json(json) if json.trim_start().starts_with('"') => {
            let text: String = serde_json::from_str(json).map_err(|e| invalid(e.to_string()))?;
            extended_json(&text)?
        }
        Body::Json(json) => extended_json(json)?,
        Body::Bytes(bytes) => bytes.to_vec(),
    };
    let whole = RawDocument::from_bytes(&whole).map_err(not_bson)?;
    let mut document = RawDocumentBuf::new();
    let mut database = None;
    for element in whole.iter() {
        let (key, value): (&CStr, _) = element.map_err(not_bson)?;
        if key.as_str() != "$db" {
            document.append(key, value);
        } else if database.is_some() {
            return Err(invalid("`$db` is there twice"));
        } else {
            let name = value
                .as_str()
                .ok_or_else(|| invalid("`$db` must be a string"))?;
            database = Some(name.to_owned());
        }
    }
    let default = policy.default_namespace(Store::Mongodb);
    let database = database.or_else(|| default.map(str::to_owned));
    let database = database.ok_or_else(|| invalid("the command has no `$db`"))?;
    Ok((document, database))
}

fn not_bson(error: impl std::fmt::Display) -> Problem {
    invalid(format!("the command is not a BSON document: {error}"))
}

fn extended_json(text: &str) -> Result<Vec<u8>, Problem> {
    parse_extended_json(text).map_err(|error| {
        invalid(format!(
            "the command is not a document in Extended JSON: {error}"
        ))
    })
}

fn redis_command(body: Body<'_>) -> Result<Vec<Vec<u8>>, Problem> {
    let command = match body {
        Body::Text(text) if text.trim_start().starts_with('[') => json_command(text)?,
        Body::Text(text) => command_line(text)?,
        Body::Json(json) if json.trim_start().starts_with('"') => {
            let text: String = serde_json::from_str(json).map_err(|e| invalid(e.to_string()))?;
            command_line(&text)?
        }
        Body::Json(json) => json_command(json)?,
        Body::Bytes(bytes) => resp_command(bytes)
            .ok_or_else(|| invalid("the bytes are not a RESP array of bulk strings"))?,
    };
    if command.is_empty() {
        return Err(invalid("the command is empty"));
    }
    Ok(command)
}

/// `["GET", "k"]`, where an argument that is not UTF-8 stands as `{"$base64": "…"}`.
fn json_command(json: &str) -> Result<Vec<Vec<u8>>, Problem> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Argument {
        Text(String),
        Bytes {
            #[serde(rename = "$base64")]
            base64: String,
        },
    }
    let arguments: Vec<Argument> = serde_json::from_str(json)
        .map_err(|error| invalid(format!("a command is an array of strings: {error}")))?;
    let bytes = |argument| match argument {
        Argument::Text(text) => Ok(text.into_bytes()),
        Argument::Bytes { base64 } => BASE64
            .decode(base64)
            .map_err(|error| invalid(format!("`$base64`: {error}"))),
    };
    arguments.into_iter().map(bytes).collect()
}

/// A command as one types it into `redis-cli`: words, `"…"` with escapes, `'…'` without.
fn command_line(text: &str) -> Result<Vec<Vec<u8>>, Problem> {
    let mut words = Vec::new();
    let mut rest = text.trim_start().as_bytes();
    while let Some(first) = rest.first() {
        let word;
        (word, rest) = match first {
            b'"' => double_quoted(rest.get(1..).unwrap_or_default())?,
            b'\'' => single_quoted(rest.get(1..).unwrap_or_default())?,
            _ => {
                let end = rest
                    .iter()
                    .position(u8::is_ascii_whitespace)
                    .unwrap_or(rest.len());
                let (word, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                (word.to_vec(), rest)
            }
        };
        if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
            return Err(invalid("a closing quote must be followed by a space"));
        }
        rest = rest.trim_ascii_start();
        words.push(word);
    }
    Ok(words)
}

fn double_quoted(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Problem> {
    let mut word = Vec::new();
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Ok((word, after)),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_digit(*high) * 16 + hex_digit(*low), after)
            }
            [b'\\', escaped, after @ ..] => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, after)
            }
            [byte, after @ ..] => (*byte, after),
            [] => return Err(invalid("a `\"` is not closed")),
        };
        word.push(byte);
        rest = after;
    }
}

fn single_quoted(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), Problem> {
    let mut word = Vec::new();
    loop {
        let (byte, after) = match rest {
            [b'\'', after @ ..] => return Ok((word, after)),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
            [] => return Err(invalid("a `'` is not closed")),
        };
        word.push(byte);
        rest = after;
    }
}

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, and nothing after it.
fn resp_command(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (count, mut rest) = resp_length(bytes, b'*')?;
    if count > REDIS_ARGUMENTS_MAX {
        return None;
    }
    let mut command = Vec::new();
    for _ in 0..count {
        let (length, after) = resp_length(rest, b'$')?;
        let (argument, after) = after.split_at_checked(length)?;
        command.push(argument.to_vec());
        rest = after.strip_prefix(b"\r\n")?;
    }
    rest.is_empty().then_some(command)
}

fn resp_length(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let rest = bytes.strip_prefix(&[kind])?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (digits, rest) = rest.split_at_checked(end)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let length = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    Some((length, rest.strip_prefix(b"\r\n")?))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
