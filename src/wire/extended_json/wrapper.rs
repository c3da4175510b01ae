//! The objects that stand for BSON types JSON does not have (`{"$oid": …}`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::oid::ObjectId;
use bson::raw::{RawBson, RawDocumentBuf, RawJavaScriptCodeWithScope};
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, Decimal128, Regex, Timestamp};

use super::Error;
use super::parse::{Json, cstring, document};

fn bad(wrapper: &'static str, wanted: &'static str) -> Error {
    Error::Wrapper { wrapper, wanted }
}

/// The typed value that an object of exactly a wrapper's keys stands for. `$type`, `$regex` and `$options` are
/// query operators here, as version 2 says.
pub(super) fn wrapper(fields: &[(String, Json)]) -> Result<Option<RawBson>, Error> {
    let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let get = |wanted: &str| {
        fields
            .iter()
            .find(|(key, _)| key == wanted)
            .map(|(_, json)| json)
    };
    let text = |key: &'static str| match get(key) {
        Some(Json::Text(text)) => Ok(text.as_str()),
        _ => Err(bad(key, "a string")),
    };
    Ok(Some(match keys.as_slice() {
        ["$oid"] => RawBson::ObjectId(
            ObjectId::parse_str(text("$oid")?).map_err(|_| bad("$oid", "24 hexadecimal digits"))?,
        ),
        ["$symbol"] => RawBson::Symbol(text("$symbol")?.to_owned()),
        ["$numberInt"] => RawBson::Int32(
            text("$numberInt")?
                .parse()
                .map_err(|_| bad("$numberInt", "a 32-bit integer, as a string"))?,
        ),
        ["$numberLong"] => RawBson::Int64(long(get("$numberLong"))?),
        ["$numberDouble"] => RawBson::Double(double(text("$numberDouble")?)?),
        ["$numberDecimal"] => {
            RawBson::Decimal128(text("$numberDecimal")?.parse::<Decimal128>().map_err(|_| {
                bad(
                    "$numberDecimal",
                    "a decimal of at most 34 digits, as a string",
                )
            })?)
        }
        ["$date"] => RawBson::DateTime(DateTime::from_millis(date(get("$date"))?)),
        ["$uuid"] => RawBson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: uuid(text("$uuid")?)?,
        }),
        ["$binary"] => match get("$binary") {
            Some(Json::Object(inner)) => RawBson::Binary(binary(inner)?),
            _ => return Err(bad("$binary", "`base64` and `subType`")),
        },
        ["$code"] => RawBson::JavaScriptCode(text("$code")?.to_owned()),
        ["$code", "$scope"] => RawBson::JavaScriptCodeWithScope(RawJavaScriptCodeWithScope {
            code: text("$code")?.to_owned(),
            scope: match get("$scope") {
                Some(Json::Object(scope)) => document(scope.clone())?,
                _ => return Err(bad("$scope", "a document")),
            },
        }),
        ["$timestamp"] => match get("$timestamp") {
            Some(Json::Object(inner)) => RawBson::Timestamp(timestamp(inner)?),
            _ => return Err(bad("$timestamp", "`t` and `i`")),
        },
        ["$regularExpression"] => match get("$regularExpression") {
            Some(Json::Object(inner)) => RawBson::RegularExpression(regex(inner)?),
            _ => return Err(bad("$regularExpression", "`pattern` and `options`")),
        },
        ["$dbPointer"] => match get("$dbPointer") {
            Some(Json::Object(inner)) => db_pointer(inner)?,
            _ => return Err(bad("$dbPointer", "`$ref` and `$id`")),
        },
        ["$minKey"] => one(get("$minKey"), RawBson::MinKey, "$minKey")?,
        ["$maxKey"] => one(get("$maxKey"), RawBson::MaxKey, "$maxKey")?,
        ["$undefined"] => match get("$undefined") {
            Some(Json::Bool(true)) => RawBson::Undefined,
            _ => return Err(bad("$undefined", "true")),
        },
        _ => return Ok(None),
    }))
}

fn one(json: Option<&Json>, value: RawBson, wrapper: &'static str) -> Result<RawBson, Error> {
    match json {
        Some(Json::Int(1)) => Ok(value),
        _ => Err(bad(wrapper, "1")),
    }
}

fn long(json: Option<&Json>) -> Result<i64, Error> {
    match json {
        Some(Json::Text(text)) => text.parse().ok(),
        _ => None,
    }
    .ok_or_else(|| bad("$numberLong", "a 64-bit integer, as a string"))
}

fn double(text: &str) -> Result<f64, Error> {
    let decimal = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    };
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ if decimal(text) => text.parse().map_err(|_| ()),
        _ => Err(()),
    }
    .map_err(|()| {
        bad(
            "$numberDouble",
            "a number, `NaN` or `Infinity`, as a string",
        )
    })
}

/// Milliseconds since 1970. Finer fractions would be lost, and are refused.
fn date(json: Option<&Json>) -> Result<i64, Error> {
    const WANTED: &str = "an RFC 3339 time of at most milliseconds, or `$numberLong`";
    let wrong = || bad("$date", WANTED);
    match json {
        Some(Json::Int(millis)) => Ok(*millis),
        Some(Json::Object(inner)) => match inner.as_slice() {
            [(key, millis)] if key == "$numberLong" => long(Some(millis)),
            _ => Err(wrong()),
        },
        Some(Json::Text(text)) => {
            let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
            if time.subsec_nanosecond() % 1_000_000 == 0 {
                Ok(time.as_millisecond())
            } else {
                Err(wrong())
            }
        }
        _ => Err(wrong()),
    }
}

fn uuid(text: &str) -> Result<Vec<u8>, Error> {
    uuid::Uuid::try_parse(text)
        .map(|uuid| uuid.as_bytes().to_vec())
        .map_err(|_| bad("$uuid", "a UUID"))
}

/// The two members of a wrapper's document, whichever order they stand in.
fn pair<'a>(
    inner: &'a [(String, Json)],
    first: &str,
    second: &str,
) -> Option<(&'a Json, &'a Json)> {
    match inner {
        [(a, x), (b, y)] if a == first && b == second => Some((x, y)),
        [(a, x), (b, y)] if a == second && b == first => Some((y, x)),
        _ => None,
    }
}

fn binary(inner: &[(String, Json)]) -> Result<Binary, Error> {
    let wrong = || {
        bad(
            "$binary",
            "`base64`, and `subType` as two hexadecimal digits",
        )
    };
    let Some((Json::Text(base64), Json::Text(subtype))) = pair(inner, "base64", "subType") else {
        return Err(wrong());
    };
    let hexadecimal =
        matches!(subtype.len(), 1 | 2) && subtype.bytes().all(|byte| byte.is_ascii_hexdigit());
    let subtype = u8::from_str_radix(subtype, 16).ok().filter(|_| hexadecimal);
    Ok(Binary {
        subtype: subtype.ok_or_else(wrong)?.into(),
        bytes: STANDARD.decode(base64).map_err(|_| wrong())?,
    })
}

fn timestamp(inner: &[(String, Json)]) -> Result<Timestamp, Error> {
    let wrong = || bad("$timestamp", "`t` and `i`, numbers of 32 bits without sign");
    let Some((Json::Int(time), Json::Int(increment))) = pair(inner, "t", "i") else {
        return Err(wrong());
    };
    Ok(Timestamp {
        time: u32::try_from(*time).map_err(|_| wrong())?,
        increment: u32::try_from(*increment).map_err(|_| wrong())?,
    })
}

fn regex(inner: &[(String, Json)]) -> Result<Regex, Error> {
    let Some((Json::Text(pattern), Json::Text(options))) = pair(inner, "pattern", "options") else {
        return Err(bad(
            "$regularExpression",
            "`pattern` and `options`, strings",
        ));
    };
    let mut options: Vec<char> = options.chars().collect();
    // BSON keeps them in alphabetical order.
    options.sort_unstable();
    Ok(Regex {
        pattern: cstring(pattern.clone())?,
        options: cstring(options.into_iter().collect())?,
    })
}

/// The deprecated pointer type, which the `bson` crate makes from bytes alone.
fn db_pointer(inner: &[(String, Json)]) -> Result<RawBson, Error> {
    let wrong = || bad("$dbPointer", "`$ref`, a string, and `$id`, an `$oid`");
    let Some((Json::Text(namespace), Json::Object(id))) = pair(inner, "$ref", "$id") else {
        return Err(wrong());
    };
    let Some(RawBson::ObjectId(id)) = wrapper(id)? else {
        return Err(wrong());
    };
    const TYPE: u8 = 0x0C;
    let text_bytes = namespace.len() + 1;
    let size = 4 + 2 + 4 + text_bytes + 12 + 1;
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(u32::try_from(size).map_err(|_| wrong())?.to_le_bytes());
    bytes.extend([TYPE, 0]);
    bytes.extend(
        u32::try_from(text_bytes)
            .map_err(|_| wrong())?
            .to_le_bytes(),
    );
    bytes.extend(namespace.as_bytes());
    bytes.push(0);
    bytes.extend(id.bytes());
    bytes.push(0);
    let document = RawDocumentBuf::from_bytes(bytes).map_err(|_| wrong())?;
    match document.iter().next() {
        Some(Ok((_, pointer))) => Ok(pointer.into()),
        _ => Err(wrong()),
    }
}
