//! Request bodies: read within bounds, then parsed into what the gate asks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::coding::{Coding, Receiver, Refused};
use super::http::BoxedRequest;
use crate::authenticate::Principal;
use crate::error::{Code, Problem};
use crate::execute::request::SqlRequest;
use crate::gate::{Ask, aside};
use crate::memory::{Exhausted, Memory, Part};
use crate::operation::Store;
use crate::wire::extended_json::{Form as JsonForm, parse_extended_json};
use crate::wire::json_rows::{NumberForm, RowForm};

/// Bytes of a refused body that are read and thrown away.
const DISCARDED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a refused body is read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds on reading one body.
#[derive(Debug, Clone)]
pub struct Bounds {
    pub bytes_max: usize,
    pub timeout: Duration,
    /// What all bodies and replies may take together.
    pub memory: Arc<Memory>,
}

/// A body that was read whole, and what it holds of the memory for all.
pub struct Received {
    pub bytes: Vec<u8>,
    pub part: Part,
}

impl Received {
    /// What the body says; a large one is read aside.
    pub fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, Problem>) -> Result<T, Problem> {
        aside(self.bytes.len(), || parse(&self.bytes))
    }
}

/// Reads a JSON body whole, unpacked; what it takes counts for its caller.
pub async fn read(
    request: BoxedRequest,
    bounds: &Bounds,
    caller: &Principal,
) -> Result<Received, Problem> {
    media_type(request.headers())?;
    let coding = Coding::of_request(request.headers()).map_err(|coding| {
        let known = "send it plain, or with `Content-Encoding: gzip` or `zstd`";
        Problem::new(
            Code::RequestMediaType,
            format!("the content coding is `{coding}`: {known}"),
        )
    })?;
    let refused = |refused| match refused {
        Refused::TooLarge => too_large(bounds.bytes_max),
        Refused::Memory => Exhausted.problem(),
        Refused::Malformed => invalid("the request's body is not packed as its header says"),
    };
    let mut body = request.into_body();
    // Known before a byte of it is read.
    let stated = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let part = bounds.memory.part_of(&caller.key_id);
    let mut receiver = match Receiver::new(coding, stated, bounds.bytes_max, part) {
        Ok(receiver) => receiver,
        Err(reason) => {
            tokio::spawn(discard(body));
            return Err(refused(reason));
        }
    };
    let receiving = async {
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| invalid("the request's body could not be read to its end"))?;
            if let Some(data) = frame.data_ref() {
                receiver.take(data).map_err(refused)?;
            }
        }
        Ok(())
    };
    let received = tokio::time::timeout(bounds.timeout, receiving)
        .await
        .map_err(|_| invalid("the request's body did not arrive in time"))?;
    if let Err(problem) = received {
        tokio::spawn(discard(body));
        return Err(problem);
    }
    let (bytes, part) = receiver.finish().map_err(refused)?;
    Ok(Received { bytes, part })
}

/// Reads on for a while, so that the client sees the answer: closing a connection on which something still arrives
/// resets it, and takes the answer away.
async fn discard(mut body: Incoming) {
    let reading = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        Code::RequestTooLarge,
        format!("the body is larger than {bytes_max} bytes: split the work into several requests"),
    )
}

fn media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        Code::RequestMediaType,
        format!("the content type is `{content_type}`: send `Content-Type: application/json`"),
    ))
}

/// The public members of `query`'s body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryBody {
    #[serde(deserialize_with = "shared_text")]
    sql: Arc<str>,
    #[serde(default)]
    params: Vec<Box<RawValue>>,
    timeout_ms: Option<u64>,
    max_rows: Option<u64>,
    rows: Option<Rows>,
    #[serde(default)]
    numbers: Numbers,
}

/// A string straight into where it stays: a statement may be as large as the body.
fn shared_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<Arc<str>, E> {
            Ok(Arc::from(text))
        }
    }
    deserializer.deserialize_str(Text)
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rows {
    Objects,
    Arrays,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(super) enum Numbers {
    #[default]
    Exact,
    Native,
}

/// How the caller wants the rows of a query.
#[derive(Debug, Clone, Copy)]
pub struct RowsWanted {
    /// `None` where the request does not say.
    pub rows: Option<RowForm>,
    pub numbers: NumberForm,
    pub rows_max: Option<u64>,
}

impl RowsWanted {
    pub(super) fn of(rows: Option<&Rows>, numbers: &Numbers, rows_max: Option<u64>) -> Self {
        Self {
            rows: rows.map(|rows| match rows {
                Rows::Objects => RowForm::Objects,
                Rows::Arrays => RowForm::Arrays,
            }),
            numbers: match numbers {
                Numbers::Exact => NumberForm::Exact,
                Numbers::Native => NumberForm::Native,
            },
            rows_max,
        }
    }
}

/// `POST /v1/{postgres,mysql}/query`.
pub fn query(body: &[u8], store: Store) -> Result<(Ask, RowsWanted), Problem> {
    let body: QueryBody = members(body)?;
    let wanted = RowsWanted::of(body.rows.as_ref(), &body.numbers, body.max_rows);
    let ask = Ask::Sql {
        store,
        sql: body.sql,
        request: SqlRequest {
            params: body.params,
            timeout_ms: body.timeout_ms,
        },
    };
    Ok((ask, wanted))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MongodbBody<'b> {
    #[serde(borrow)]
    command: &'b RawValue,
    database: Option<String>,
    #[serde(default)]
    json: Json,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Json {
    #[default]
    Relaxed,
    Canonical,
}

/// `POST /v1/mongodb/command`.
pub fn mongodb(body: &[u8]) -> Result<(Ask, JsonForm), Problem> {
    let body: MongodbBody<'_> = members(body)?;
    let form = match body.json {
        Json::Relaxed => JsonForm::Relaxed,
        Json::Canonical => JsonForm::Canonical,
    };
    Ok((mongodb_ask(body.command.get(), body.database)?, form))
}

fn mongodb_ask(command: &str, database: Option<String>) -> Result<Ask, Problem> {
    let document = parse_extended_json(command).map_err(|error| invalid(error.to_string()))?;
    Ok(Ask::Mongodb { document, database })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    #[serde(rename = "$base64")]
    base64: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisCommandBody<'b> {
    #[serde(borrow)]
    command: Vec<&'b RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisPipelineBody<'b> {
    #[serde(borrow)]
    commands: Vec<Vec<&'b RawValue>>,
    #[serde(default)]
    atomic: bool,
}

/// `POST /v1/redis/command`.
pub fn redis_command(body: &[u8]) -> Result<Ask, Problem> {
    let body: RedisCommandBody<'_> = members(body)?;
    Ok(Ask::Redis {
        commands: vec![arguments(body.command)?],
        atomic: false,
    })
}

/// `POST /v1/redis/pipeline`.
pub fn redis_pipeline(body: &[u8]) -> Result<Ask, Problem> {
    let body: RedisPipelineBody<'_> = members(body)?;
    if body.commands.is_empty() {
        return Err(invalid("`commands` is empty: send at least one command"));
    }
    Ok(Ask::Redis {
        commands: body
            .commands
            .into_iter()
            .map(arguments)
            .collect::<Result<_, _>>()?,
        atomic: body.atomic,
    })
}

fn arguments(arguments: Vec<&RawValue>) -> Result<Vec<Vec<u8>>, Problem> {
    if arguments.is_empty() {
        return Err(invalid(
            "a command is empty: send its name and arguments, as [\"GET\", \"cache:x\"]",
        ));
    }
    arguments.into_iter().map(argument).collect()
}

/// A Redis argument: text, a number as it is written, or `{"$base64": "…"}` for any bytes.
fn argument(argument: &RawValue) -> Result<Vec<u8>, Problem> {
    let text = argument.get();
    let refused = |cause: &dyn std::fmt::Display| {
        invalid(format!(
            "a Redis argument is text, a number or {{\"$base64\": \"…\"}}: {cause}"
        ))
    };
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text)
            .map(String::into_bytes)
            .map_err(|error| refused(&error)),
        Some(b'-' | b'0'..=b'9') => Ok(text.as_bytes().to_vec()),
        Some(b'{') => {
            let bytes: Base64 = serde_json::from_str(text).map_err(|error| refused(&error))?;
            STANDARD
                .decode(&bytes.base64)
                .map_err(|error| invalid(format!("`$base64` is not base64: {error}")))
        }
        _ => Err(refused(&"this is a list, `true`, `false` or `null`")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainBody<'b> {
    store: String,
    #[serde(borrow)]
    request: &'b RawValue,
}

/// `POST /v1/explain`: what `query`, `command` would be asked, and of which store.
pub fn explain(body: &[u8]) -> Result<Ask, Problem> {
    let body: ExplainBody<'_> = members(body)?;
    let store = Store::parse(&body.store).ok_or_else(|| {
        let store = &body.store;
        invalid(format!(
            "`{store}` is not a store; it must be postgres, mysql, mongodb or redis"
        ))
    })?;
    let text = body.request.get();
    match store {
        Store::Postgres | Store::Mysql => Ok(Ask::Sql {
            store,
            sql: Arc::from(parse::<String>(text.as_bytes())?),
            request: SqlRequest::default(),
        }),
        Store::Mongodb => mongodb_ask(text, None),
        Store::Redis => Ok(Ask::Redis {
            commands: vec![arguments(parse(text.as_bytes())?)?],
            atomic: false,
        }),
    }
}

/// An object's members. A list in their order, which `serde` takes for one too, is not the interface.
pub(super) fn members<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(invalid("the body is an array: send an object"));
    }
    parse(body)
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body is not as expected: {error}")))
}

pub fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_that_are_not_understood_are_refused_with_what_to_do() {
        let check = |parsed: Result<Ask, Problem>, expected: &str| {
            let problem = parsed.err().unwrap();
            assert_eq!(problem.code, Code::RequestInvalid);
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        };
        let query = |body: &str| query(body.as_bytes(), Store::Mysql).map(|(ask, _)| ask);
        check(query("{"), "EOF while parsing");
        check(query(r#" ["SELECT 1"]"#), "send an object");
        check(query("{}"), "missing field `sql`");
        check(query(r#"{"sql":"x","parms":[]}"#), "unknown field `parms`");
        check(
            query(r#"{"sql":"x","rows":"lists"}"#),
            "unknown variant `lists`",
        );
        check(redis_command(br#"{"command":[]}"#), "a command is empty");
        check(
            redis_command(br#"{"command":[{"$base64":"*"}]}"#),
            "not base64",
        );
        check(redis_pipeline(br#"{"commands":[]}"#), "`commands` is empty");
        check(
            explain(br#"{"store":"oracle","request":"x"}"#),
            "`oracle` is not a store",
        );
    }

    #[test]
    fn redis_numbers_are_their_text_and_lists_are_refused() {
        for number in [
            "12345678901234567890.10",
            "18446744073709551616",
            "1.50",
            "1e5",
            "-0",
            "1e400",
        ] {
            let body = format!(r#"{{"command":["SET","k",{number}]}}"#);
            let Ask::Redis { commands, .. } = redis_command(body.as_bytes()).unwrap() else {
                panic!("not redis");
            };
            assert_eq!(commands[0][2], number.as_bytes());
        }
        for argument in ["[\"YWJj\"]", "true", "null"] {
            let body = format!(r#"{{"command":["SET","k",{argument}]}}"#);
            let problem = redis_command(body.as_bytes()).err().unwrap();
            assert!(
                problem.detail.contains("a Redis argument is text"),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn redis_arguments_keep_their_bytes() {
        let ask = redis_command(br#"{"command":["SET","k",1,{"$base64":"AP8="}]}"#).unwrap();
        let Ask::Redis { commands, .. } = ask else {
            panic!("not redis");
        };
        let expected: [&[u8]; 4] = [b"SET", b"k", b"1", b"\0\xff"];
        assert_eq!(commands[0], expected);
    }
}
