//! A SQL result as the JSON of DESIGN §3, written row by row into one buffer.

use std::collections::HashSet;
use std::io::Write as _;

use super::json;
use crate::memory::{Exhausted, Part};
use crate::reply::{Column, RowSink, SinkError, Summary, Value};

/// So many names are compared with each other; of more, a set is made.
const FEW_COLUMNS: usize = 16;

/// Whether a row is an object (by column name) or an array (by position).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowForm {
    #[default]
    Objects,
    Arrays,
}

/// Whether 64-bit integers and decimals are JSON strings or numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberForm {
    #[default]
    Exact,
    Native,
}

/// What bounds and shapes one reply.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub rows: RowForm,
    pub numbers: NumberForm,
    pub rows_max: u64,
    pub bytes_max: usize,
}

/// Collects `{"columns": […], "rows": […], …}`.
pub struct JsonRows {
    form: Form,
    out: Vec<u8>,
    /// The columns' names as they stand before their values: `"name":`, already escaped.
    keys: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    column: usize,
    rows: u64,
    /// As the policy says.
    rows_allowed: u64,
    /// Held of the memory for all replies.
    part: Option<Part>,
}

impl JsonRows {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            out: Vec::with_capacity(512),
            keys: Vec::new(),
            ends: Vec::new(),
            column: 0,
            rows: 0,
            rows_allowed: u64::MAX,
            part: None,
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Bounded by what all replies may hold together, too.
    pub fn within(mut self, part: Part) -> Self {
        self.part = Some(part);
        self
    }

    /// What the reply holds of the memory for all; to be kept as long as the reply is.
    pub const fn take_part(&mut self) -> Option<Part> {
        self.part.take()
    }

    /// Closes the document. A statement without a result has no columns and no rows.
    pub fn finish(mut self, summary: &Summary) -> Vec<u8> {
        if self.out.is_empty() {
            self.out.extend_from_slice(b"{\"columns\":[],\"rows\":[");
        }
        // Writing into a Vec cannot fail.
        let _ = write!(self.out, "],\"rows_affected\":{}", summary.rows_affected);
        if let Some(id) = summary.last_insert_id {
            let _ = write!(self.out, ",\"last_insert_id\":\"{id}\"");
        }
        self.out.push(b'}');
        self.out
    }

    /// What the reply takes of the memory for all, as it grows.
    fn cover(&mut self) -> Result<(), SinkError> {
        if let Some(part) = &mut self.part {
            let covered = part.cover(self.out.capacity());
            covered.map_err(|Exhausted| SinkError::Memory)?;
        }
        Ok(())
    }
}

/// Appends `{"columns":[…]`, which the caller goes on with.
pub(super) fn columns(out: &mut Vec<u8>, columns: &[Column]) {
    out.extend_from_slice(b"{\"columns\":[");
    for (place, column) in columns.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        json::string(out, &column.name);
        out.extend_from_slice(b",\"type\":");
        json::string(out, &column.database_type);
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends one value.
pub fn value(out: &mut Vec<u8>, value: &Value<'_>, numbers: NumberForm) {
    let exact = numbers == NumberForm::Exact;
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) => json::number(out, value),
        Value::BigInt(value) => quoted(out, exact, |out| json::number(out, value)),
        Value::BigUint(value) => quoted(out, exact, |out| json::number(out, value)),
        Value::Float(value) if is_plain(f64::from(*value)) => json::number(out, value),
        Value::Double(value) if is_plain(*value) => json::number(out, value),
        // Writing into a Vec cannot fail.
        Value::Float(value) if value.is_finite() => drop(write!(out, "{value:?}")),
        Value::Double(value) if value.is_finite() => drop(write!(out, "{value:?}")),
        Value::Float(value) => json::string(out, not_finite(f64::from(*value))),
        Value::Double(value) => json::string(out, not_finite(*value)),
        Value::Decimal(text) => {
            let is_finite = text
                .bytes()
                .last()
                .is_some_and(|byte| byte.is_ascii_digit());
            quoted(out, exact || !is_finite, |out| {
                out.extend_from_slice(text.as_bytes());
            });
        }
        Value::Text(text) | Value::Temporal(text) => json::string(out, text),
        Value::Bytes(bytes) => json::base64(out, bytes),
        Value::Json(text) => out.extend_from_slice(text.as_bytes()),
        Value::Array(values) => array(out, values, numbers),
    }
}

/// Whether a number is written without an exponent: only then all writers write it alike.
fn is_plain(value: f64) -> bool {
    value == 0.0 || (1e-4..1e16).contains(&value.abs())
}

/// Puts what is written between quotes where it must be a string.
fn quoted(out: &mut Vec<u8>, is_quoted: bool, write: impl FnOnce(&mut Vec<u8>)) {
    let quote: &[u8] = if is_quoted { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    write(out);
    out.extend_from_slice(quote);
}

fn array(out: &mut Vec<u8>, values: &[Value<'_>], numbers: NumberForm) {
    out.push(b'[');
    for (place, element) in values.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        value(out, element, numbers);
    }
    out.push(b']');
}

/// Which of two bounds was met, what the request may have and what the policy allows.
pub(super) const fn too_many(rows_max: u64, rows_allowed: u64) -> SinkError {
    if rows_allowed <= rows_max {
        SinkError::RowsAllowed(rows_allowed)
    } else {
        SinkError::RowsMax(rows_max)
    }
}

/// A column whose name another before it has.
fn second_of_a_name(columns: &[Column]) -> Option<&Column> {
    if columns.len() <= FEW_COLUMNS {
        let has_before = |(at, column): &(usize, &Column)| {
            let before = columns.iter().take(*at);
            before.into_iter().any(|other| other.name == column.name)
        };
        let found = columns.iter().enumerate().find(has_before);
        return found.map(|(_, column)| column);
    }
    let mut names = HashSet::with_capacity(columns.len());
    columns.iter().find(|column| !names.insert(&column.name))
}

impl RowSink for JsonRows {
    fn limit_rows(&mut self, rows_max: u64) {
        self.rows_allowed = self.rows_allowed.min(rows_max);
    }

    fn columns(&mut self, shown: &[Column]) -> Result<(), SinkError> {
        if self.form.rows == RowForm::Objects
            && let Some(column) = second_of_a_name(shown)
        {
            return Err(SinkError::DuplicateColumn(column.name.clone()));
        }
        if self.form.rows == RowForm::Objects {
            self.ends.reserve_exact(shown.len());
            let names = shown.iter().map(|column| column.name.len());
            self.keys.reserve(names.map(|bytes| bytes + 3).sum());
            for column in shown {
                json::string(&mut self.keys, &column.name);
                self.keys.push(b':');
                self.ends.push(self.keys.len());
            }
        }
        columns(&mut self.out, shown);
        self.out.extend_from_slice(b",\"rows\":[");
        Ok(())
    }

    fn start_row(&mut self) -> Result<(), SinkError> {
        if self.rows == self.form.rows_max.min(self.rows_allowed) {
            return Err(too_many(self.form.rows_max, self.rows_allowed));
        }
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.column = 0;
        self.out.push(match self.form.rows {
            RowForm::Objects => b'{',
            RowForm::Arrays => b'[',
        });
        Ok(())
    }

    fn value(&mut self, shown: &Value<'_>) -> Result<(), SinkError> {
        if self.column > 0 {
            self.out.push(b',');
        }
        if let Some(end) = self.ends.get(self.column) {
            let before = self.column.checked_sub(1);
            let begin = before.and_then(|before| self.ends.get(before));
            let key = self.keys.get(begin.copied().unwrap_or(0)..*end);
            self.out.extend_from_slice(key.unwrap_or_default());
        }
        self.column += 1;
        value(&mut self.out, shown, self.form.numbers);
        if self.out.len() > self.form.bytes_max {
            return Err(SinkError::BytesMax(self.form.bytes_max));
        }
        self.cover()
    }

    fn end_row(&mut self) -> Result<(), SinkError> {
        self.out.push(match self.form.rows {
            RowForm::Objects => b'}',
            RowForm::Arrays => b']',
        });
        Ok(())
    }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(rows: RowForm, numbers: NumberForm) -> Form {
        Form {
            rows,
            numbers,
            rows_max: 2,
            bytes_max: 1000,
        }
    }

    fn column(name: &str) -> Column {
        Column {
            name: name.into(),
            database_type: "t".into(),
        }
    }

    fn row(sink: &mut JsonRows, values: &[Value<'_>]) -> Result<(), SinkError> {
        sink.start_row()?;
        for value in values {
            sink.value(value)?;
        }
        sink.end_row()
    }

    #[test]
    fn values_keep_every_digit() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Int(-1),
            Value::BigInt(i64::MIN),
            Value::BigUint(u64::MAX),
            Value::Float(0.1),
            Value::Double(f64::NAN),
            Value::Double(1e300),
            Value::Float(1e-5),
            Value::Double(-0.000_123),
            Value::Double(1234.0),
            Value::Double(-0.0),
            Value::Decimal("1.10".into()),
            Value::Decimal("NaN".into()),
            Value::Text("a\"".into()),
            Value::Bytes(b"\0\xff".into()),
            Value::Json("{\"k\":1}".into()),
            Value::Array(vec![Value::Int(1), Value::Null]),
        ];
        let check = |numbers, expected: &str| {
            let mut sink = JsonRows::new(form(RowForm::Arrays, numbers));
            sink.columns(&[]).unwrap();
            row(&mut sink, &values).unwrap();
            let text = String::from_utf8(sink.finish(&Summary::default())).unwrap();
            assert_eq!(
                text,
                format!("{{\"columns\":[],\"rows\":[{expected}],\"rows_affected\":0}}")
            );
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        };
        check(
            NumberForm::Exact,
            r#"[null,true,-1,"-9223372036854775808","18446744073709551615",0.1,"NaN",1e300,1e-5,-0.000123,1234.0,-0.0,"1.10","NaN","a\"","AP8=",{"k":1},[1,null]]"#,
        );
        check(
            NumberForm::Native,
            r#"[null,true,-1,-9223372036854775808,18446744073709551615,0.1,"NaN",1e300,1e-5,-0.000123,1234.0,-0.0,1.10,"NaN","a\"","AP8=",{"k":1},[1,null]]"#,
        );
    }

    #[test]
    fn two_columns_of_one_name_are_refused_as_objects_alone() {
        let twice = [column("a"), column("a")];
        let mut objects = JsonRows::new(form(RowForm::Objects, NumberForm::Exact));
        assert_eq!(
            objects.columns(&twice),
            Err(SinkError::DuplicateColumn("a".into()))
        );
        let mut arrays = JsonRows::new(form(RowForm::Arrays, NumberForm::Exact));
        arrays.columns(&twice).unwrap();
        row(&mut arrays, &[Value::Int(1), Value::Int(2)]).unwrap();
        let summary = Summary {
            rows_affected: 1,
            last_insert_id: Some(7),
        };
        assert_eq!(
            String::from_utf8(arrays.finish(&summary)).unwrap(),
            r#"{"columns":[{"name":"a","type":"t"},{"name":"a","type":"t"}],"rows":[[1,2]],"rows_affected":1,"last_insert_id":"7"}"#
        );
    }

    #[test]
    fn a_second_of_a_name_is_found_among_few_and_many() {
        for count in [2, FEW_COLUMNS, FEW_COLUMNS + 1, 100] {
            let mut columns: Vec<Column> = (0..count).map(|n| column(&n.to_string())).collect();
            assert_eq!(second_of_a_name(&columns), None);
            columns[count - 1].name = "0".to_owned();
            assert_eq!(second_of_a_name(&columns), columns.last());
        }
    }

    #[test]
    fn bounds_are_named() {
        let mut sink = JsonRows::new(form(RowForm::Objects, NumberForm::Exact));
        sink.columns(&[column("a")]).unwrap();
        row(&mut sink, &[Value::Null]).unwrap();
        row(&mut sink, &[Value::Null]).unwrap();
        assert_eq!(sink.start_row(), Err(SinkError::RowsMax(2)));
        let mut sink = JsonRows::new(form(RowForm::Objects, NumberForm::Exact));
        sink.columns(&[column("a")]).unwrap();
        sink.start_row().unwrap();
        let long = Value::Text("x".repeat(1000).into());
        assert_eq!(sink.value(&long), Err(SinkError::BytesMax(1000)));
    }
}
