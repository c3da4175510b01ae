//! BSON bytes to Extended JSON text.

use bson::DateTime;
use bson::raw::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{DEPTH_MAX, Error};
use crate::wire::json;

/// Which of the two forms of Extended JSON is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Numbers and dates as people and most programs read them; a 64-bit integer is a plain JSON number.
    Relaxed,
    /// Every type is told apart.
    Canonical,
}

/// The Extended JSON of one BSON document.
pub fn print_extended_json(document: &[u8], form: Form) -> Result<String, Error> {
    let mut out = Vec::new();
    write_extended_json(&mut out, document, form)?;
    String::from_utf8(out).map_err(malformed)
}

/// Appends the Extended JSON of one BSON document, straight from its bytes: no value is built in between. What an
/// error leaves behind is no JSON.
pub fn write_extended_json(out: &mut Vec<u8>, document: &[u8], form: Form) -> Result<(), Error> {
    let document = RawDocument::from_bytes(document).map_err(malformed)?;
    Printer { form, out }.document(document, 1)
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Bson(error.to_string())
}

struct Printer<'o> {
    form: Form,
    out: &'o mut Vec<u8>,
}

impl Printer<'_> {
    fn document(&mut self, document: &RawDocument, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.out.push(b'{');
        for (index, field) in document.iter().enumerate() {
            let (key, value) = field.map_err(malformed)?;
            if index > 0 {
                self.out.push(b',');
            }
            self.string(key.as_str());
            self.out.push(b':');
            self.value(value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, array: &RawArray, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.out.push(b'[');
        for (index, value) in array.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(value.map_err(malformed)?, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn value(&mut self, value: RawBsonRef<'_>, depth: usize) -> Result<(), Error> {
        match value {
            RawBsonRef::Document(document) => self.document(document, depth + 1)?,
            RawBsonRef::Array(array) => self.array(array, depth + 1)?,
            RawBsonRef::Null => self.push("null"),
            RawBsonRef::Boolean(value) => self.push(if value { "true" } else { "false" }),
            RawBsonRef::String(text) => self.string(text),
            RawBsonRef::Int32(number) => self.integer("$numberInt", number.into()),
            RawBsonRef::Int64(number) => self.integer("$numberLong", number),
            RawBsonRef::Double(number) => self.double(number),
            RawBsonRef::Decimal128(decimal) => self.wrap("$numberDecimal", &decimal.to_string()),
            RawBsonRef::ObjectId(id) => self.wrap("$oid", &id.to_hex()),
            RawBsonRef::DateTime(time) => self.date(time),
            RawBsonRef::Symbol(text) => self.wrap("$symbol", text),
            RawBsonRef::Binary(binary) => {
                self.push("{\"$binary\":{\"base64\":");
                json::base64(self.out, binary.bytes);
                let subtype: u8 = binary.subtype.into();
                self.push(&format!(",\"subType\":\"{subtype:02x}\"}}}}"));
            }
            RawBsonRef::RegularExpression(regex) => {
                self.push("{\"$regularExpression\":{\"pattern\":");
                self.string(regex.pattern.as_str());
                self.push(",\"options\":");
                self.string(regex.options.as_str());
                self.push("}}");
            }
            RawBsonRef::Timestamp(stamp) => self.push(&format!(
                "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
                stamp.time, stamp.increment
            )),
            RawBsonRef::JavaScriptCode(code) => self.wrap("$code", code),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.push("{\"$code\":");
                self.string(code.code);
                self.push(",\"$scope\":");
                self.document(code.scope, depth + 1)?;
                self.out.push(b'}');
            }
            RawBsonRef::DbPointer(_) => self.db_pointer(value)?,
            RawBsonRef::Undefined => self.push("{\"$undefined\":true}"),
            RawBsonRef::MinKey => self.push("{\"$minKey\":1}"),
            RawBsonRef::MaxKey => self.push("{\"$maxKey\":1}"),
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        json::string(self.out, text);
    }

    fn wrap(&mut self, wrapper: &str, text: &str) {
        self.push("{\"");
        self.push(wrapper);
        self.push("\":");
        self.string(text);
        self.out.push(b'}');
    }

    fn integer(&mut self, wrapper: &str, number: i64) {
        match self.form {
            Form::Relaxed => self.push(&number.to_string()),
            Form::Canonical => self.wrap(wrapper, &number.to_string()),
        }
    }

    fn double(&mut self, number: f64) {
        let text = if number.is_nan() {
            "NaN".to_owned()
        } else if number.is_infinite() {
            if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }
            .to_owned()
        } else {
            // The shortest digits that read back as the same double, always with a point or an exponent.
            format!("{number:?}")
        };
        match self.form {
            Form::Relaxed if number.is_finite() => self.push(&text),
            Form::Relaxed | Form::Canonical => self.wrap("$numberDouble", &text),
        }
    }

    /// Relaxed dates are RFC 3339 within the years 1970 to 9999; outside, and in the canonical form, they are
    /// milliseconds.
    fn date(&mut self, time: DateTime) {
        const YEAR_10000_MS: i64 = 253_402_300_800_000;
        let millis = time.timestamp_millis();
        let readable = matches!(self.form, Form::Relaxed) && (0..YEAR_10000_MS).contains(&millis);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(stamp) if readable => {
                let text = if millis % 1000 == 0 {
                    format!("{stamp}")
                } else {
                    format!("{stamp:.3}")
                };
                self.wrap("$date", &text);
            }
            Ok(_) | Err(_) => {
                self.push("{\"$date\":");
                self.wrap("$numberLong", &millis.to_string());
                self.out.push(b'}');
            }
        }
    }

    /// The deprecated pointer type, whose parts the `bson` crate shows in bytes alone: after the document's
    /// size, type and empty key, a string's size, the string with its NUL, and twelve bytes of id.
    fn db_pointer(&mut self, pointer: RawBsonRef<'_>) -> Result<(), Error> {
        const ID_BYTES: usize = 12;
        let mut holder = RawDocumentBuf::new();
        holder.append(bson::raw::cstr!(""), pointer);
        let bytes = holder.as_bytes();
        let wrong = || Error::Bson("a pointer is cut short".to_owned());
        let body = bytes
            .get(10..bytes.len().saturating_sub(1))
            .ok_or_else(wrong)?;
        let (text, id) = body
            .split_at_checked(body.len().saturating_sub(ID_BYTES))
            .ok_or_else(wrong)?;
        let text = text.strip_suffix(&[0]).ok_or_else(wrong)?;
        let id = <[u8; ID_BYTES]>::try_from(id).map_err(|_| wrong())?;
        self.push("{\"$dbPointer\":{\"$ref\":");
        self.string(&String::from_utf8_lossy(text));
        self.push(",\"$id\":");
        self.wrap("$oid", &bson::oid::ObjectId::from_bytes(id).to_hex());
        self.push("}}");
        Ok(())
    }
}
