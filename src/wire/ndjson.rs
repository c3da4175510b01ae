//! A result as lines of JSON (`application/x-ndjson`), as DESIGN §3 has it: `{"columns"}`, an array a row, and
//! `{"complete": true, …}` or `{"error": {…}}` as the last line. Rows are arrays and nothing else is, so that no
//! data can look like the end.

use std::io::Write as _;

use super::extended_json::{Form as JsonForm, write_extended_json};
use super::json_rows::{self, NumberForm};
use crate::reply::{Column, SinkError, Summary, Value};

/// What bounds and shapes one stream.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    pub numbers: NumberForm,
    /// How documents are printed.
    pub documents: JsonForm,
    /// Rows, where the request says how many it wants at most.
    pub rows_max: Option<u64>,
    pub row_bytes_max: usize,
}

/// Lines not yet handed on.
pub struct Ndjson {
    form: Form,
    out: Vec<u8>,
    /// Where the row under way begins.
    row: usize,
    rows: u64,
    /// As the policy says.
    rows_allowed: u64,
    first: bool,
    /// Whether the row under way has JSON text in it as the server holds it.
    has_inlined: bool,
}

impl Ndjson {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            out: Vec::new(),
            row: 0,
            rows: 0,
            rows_allowed: u64::MAX,
            first: true,
            has_inlined: false,
        }
    }

    /// Bytes of the lines not yet taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes the lines so far. Called between rows. As many are expected next.
    pub fn take(&mut self) -> Vec<u8> {
        let expected = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, expected)
    }

    /// Takes no more rows than this, nor than it would otherwise.
    pub fn limit_rows(&mut self, rows_max: u64) {
        self.rows_allowed = self.rows_allowed.min(rows_max);
    }

    pub fn columns(&mut self, columns: &[Column]) {
        json_rows::columns(&mut self.out, columns);
        self.out.extend_from_slice(b"}\n");
    }

    pub fn start_row(&mut self) -> Result<(), SinkError> {
        let rows_max = self.form.rows_max.unwrap_or(u64::MAX);
        if self.rows == rows_max.min(self.rows_allowed) {
            return Err(json_rows::too_many(rows_max, self.rows_allowed));
        }
        self.rows += 1;
        self.row = self.out.len();
        self.first = true;
        self.has_inlined = false;
        self.out.push(b'[');
        Ok(())
    }

    pub fn value(&mut self, value: &Value<'_>) -> Result<(), SinkError> {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.has_inlined |= matches!(value, Value::Json(_) | Value::Array(_));
        json_rows::value(&mut self.out, value, self.form.numbers);
        self.bound()
    }

    /// Line ends in the row can only be white space between the tokens of inlined JSON.
    pub fn end_row(&mut self) {
        if self.has_inlined {
            let row = self.out.get_mut(self.row..).unwrap_or_default();
            for byte in row.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"]\n");
    }

    /// A row that is one document.
    pub fn document(&mut self, bson: &[u8]) -> Result<(), SinkError> {
        self.start_row()?;
        write_extended_json(&mut self.out, bson, self.form.documents)
            .map_err(|error| SinkError::Document(error.to_string()))?;
        self.bound()?;
        self.end_row();
        Ok(())
    }

    fn bound(&self) -> Result<(), SinkError> {
        if self.out.len() - self.row > self.form.row_bytes_max {
            return Err(SinkError::RowBytesMax(self.form.row_bytes_max));
        }
        Ok(())
    }

    /// The last line of a result that is whole.
    pub fn complete(&mut self, summary: &Summary) {
        // Writing into a Vec cannot fail.
        let _ = write!(
            self.out,
            "{{\"complete\":true,\"rows_affected\":{}",
            summary.rows_affected
        );
        if let Some(id) = summary.last_insert_id {
            let _ = write!(self.out, ",\"last_insert_id\":\"{id}\"");
        }
        self.out.extend_from_slice(b"}\n");
    }

    /// The last line of a result that is not; `problem` is a JSON object's text. A row that was under way goes.
    pub fn error(&mut self, problem: &str) {
        if self.out.last().is_some_and(|byte| *byte != b'\n') {
            self.out.truncate(self.row);
        }
        self.out.extend_from_slice(b"{\"error\":");
        self.out.extend_from_slice(problem.as_bytes());
        self.out.extend_from_slice(b"}\n");
    }

    pub const fn rows(&self) -> u64 {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Ndjson {
        Ndjson::new(Form {
            numbers: NumberForm::Exact,
            documents: JsonForm::Relaxed,
            rows_max: Some(2),
            row_bytes_max: 20,
        })
    }

    fn text(mut stream: Ndjson) -> String {
        String::from_utf8(stream.take()).unwrap()
    }

    fn row(stream: &mut Ndjson, values: &[Value<'_>]) -> Result<(), SinkError> {
        stream.start_row()?;
        for value in values {
            stream.value(value)?;
        }
        stream.end_row();
        Ok(())
    }

    #[test]
    fn a_whole_result_ends_with_complete() {
        let mut stream = stream();
        stream.columns(&[Column {
            name: "a".into(),
            database_type: "int8".into(),
        }]);
        row(&mut stream, &[Value::BigInt(1), Value::Text("\n".into())]).unwrap();
        row(&mut stream, &[]).unwrap();
        assert_eq!(row(&mut stream, &[]), Err(SinkError::RowsMax(2)));
        stream.complete(&Summary {
            rows_affected: 2,
            last_insert_id: Some(7),
        });
        assert_eq!(
            text(stream),
            "{\"columns\":[{\"name\":\"a\",\"type\":\"int8\"}]}\n[\"1\",\"\\n\"]\n[]\n\
             {\"complete\":true,\"rows_affected\":2,\"last_insert_id\":\"7\"}\n"
        );
    }

    #[test]
    fn a_row_that_failed_half_way_is_taken_back() {
        let mut stream = stream();
        row(&mut stream, &[Value::Int(1)]).unwrap();
        let long = Value::Text("x".repeat(20).into());
        assert_eq!(
            row(&mut stream, &[Value::Int(2), long]),
            Err(SinkError::RowBytesMax(20))
        );
        stream.error("{}");
        assert_eq!(text(stream), "[1]\n{\"error\":{}}\n");
    }

    #[test]
    fn a_policy_lowers_the_bound_and_never_raises_it() {
        for (limit, expected, end) in [
            (1, 1, SinkError::RowsAllowed(1)),
            (7, 2, SinkError::RowsMax(2)),
        ] {
            let mut stream = stream();
            stream.limit_rows(limit);
            for _ in 0..expected {
                row(&mut stream, &[]).unwrap();
            }
            assert_eq!(row(&mut stream, &[]), Err(end));
            assert_eq!(text(stream), "[]\n".repeat(expected));
        }
    }

    #[test]
    fn a_row_stays_on_its_line() {
        let mut stream = stream();
        row(&mut stream, &[Value::Json("{\r\n\"k\":1}".into())]).unwrap();
        assert_eq!(text(stream), "[{  \"k\":1}]\n");
    }

    #[test]
    fn a_document_cannot_look_like_the_end() {
        let mut stream = stream();
        let end = bson::doc! {"complete": true};
        let bytes = bson::RawDocumentBuf::try_from(&end).unwrap();
        stream.document(bytes.as_bytes()).unwrap();
        assert_eq!(text(stream), "[{\"complete\":true}]\n");
    }
}
