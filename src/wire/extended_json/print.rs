//! BSON bytes to Extended JSON text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::DateTime;
use bson::raw::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};

use super::{DEPTH_MAX, Error};

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
    let document = RawDocument::from_bytes(document).map_err(malformed)?;
    let mut printer = Printer {
        form,
        text: String::new(),
    };
    printer.document(document, 1)?;
    Ok(printer.text)
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Bson(error.to_string())
}

struct Printer {
    form: Form,
    text: String,
}

impl Printer {
    fn document(&mut self, document: &RawDocument, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.text.push('{');
        for (index, field) in document.iter().enumerate() {
            let (key, value) = field.map_err(malformed)?;
            if index > 0 {
                self.text.push(',');
            }
            self.string(key.as_str());
            self.text.push(':');
            self.value(value, depth)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn array(&mut self, array: &RawArray, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.text.push('[');
        for (index, value) in array.into_iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.value(value.map_err(malformed)?, depth)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn value(&mut self, value: RawBsonRef<'_>, depth: usize) -> Result<(), Error> {
        match value {
            RawBsonRef::Document(document) => self.document(document, depth + 1)?,
            RawBsonRef::Array(array) => self.array(array, depth + 1)?,
            RawBsonRef::Null => self.text.push_str("null"),
            RawBsonRef::Boolean(value) => self.text.push_str(if value { "true" } else { "false" }),
            RawBsonRef::String(text) => self.string(text),
            RawBsonRef::Int32(number) => self.integer("$numberInt", number.into()),
            RawBsonRef::Int64(number) => self.integer("$numberLong", number),
            RawBsonRef::Double(number) => self.double(number),
            RawBsonRef::Decimal128(decimal) => self.wrap("$numberDecimal", &decimal.to_string()),
            RawBsonRef::ObjectId(id) => self.wrap("$oid", &id.to_hex()),
            RawBsonRef::DateTime(time) => self.date(time),
            RawBsonRef::Symbol(text) => self.wrap("$symbol", text),
            RawBsonRef::Binary(binary) => {
                self.text.push_str("{\"$binary\":{\"base64\":");
                self.string(&STANDARD.encode(binary.bytes));
                let subtype: u8 = binary.subtype.into();
                self.text
                    .push_str(&format!(",\"subType\":\"{subtype:02x}\"}}}}"));
            }
            RawBsonRef::RegularExpression(regex) => {
                self.text.push_str("{\"$regularExpression\":{\"pattern\":");
                self.string(regex.pattern.as_str());
                self.text.push_str(",\"options\":");
                self.string(regex.options.as_str());
                self.text.push_str("}}");
            }
            RawBsonRef::Timestamp(stamp) => self.text.push_str(&format!(
                "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}",
                stamp.time, stamp.increment
            )),
            RawBsonRef::JavaScriptCode(code) => self.wrap("$code", code),
            RawBsonRef::JavaScriptCodeWithScope(code) => {
                self.text.push_str("{\"$code\":");
                self.string(code.code);
                self.text.push_str(",\"$scope\":");
                self.document(code.scope, depth + 1)?;
                self.text.push('}');
            }
            RawBsonRef::DbPointer(_) => self.db_pointer(value)?,
            RawBsonRef::Undefined => self.text.push_str("{\"$undefined\":true}"),
            RawBsonRef::MinKey => self.text.push_str("{\"$minKey\":1}"),
            RawBsonRef::MaxKey => self.text.push_str("{\"$maxKey\":1}"),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.text
            .push_str(&serde_json::Value::from(text).to_string());
    }

    fn wrap(&mut self, wrapper: &str, text: &str) {
        self.text.push_str("{\"");
        self.text.push_str(wrapper);
        self.text.push_str("\":");
        self.string(text);
        self.text.push('}');
    }

    fn integer(&mut self, wrapper: &str, number: i64) {
        match self.form {
            Form::Relaxed => self.text.push_str(&number.to_string()),
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
            Form::Relaxed if number.is_finite() => self.text.push_str(&text),
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
                self.text.push_str("{\"$date\":");
                self.wrap("$numberLong", &millis.to_string());
                self.text.push('}');
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
        self.text.push_str("{\"$dbPointer\":{\"$ref\":");
        self.string(&String::from_utf8_lossy(text));
        self.text.push_str(",\"$id\":");
        self.wrap("$oid", &bson::oid::ObjectId::from_bytes(id).to_hex());
        self.text.push_str("}}");
        Ok(())
    }
}
