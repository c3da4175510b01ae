//! `batch` and `transactions`: several statements, all or nothing.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::body::{self, Numbers, Rows, RowsWanted, invalid};
use super::http::{BoxedRequest, Door, Head, bounded};
use super::respond::{self, Reply};
use super::routes::{Going, Step};
use crate::error::Problem;
use crate::execute::request::SqlRequest;
use crate::execute::stores::{Answer, TransactionAnswer};
use crate::execute::transaction::{BATCH_STATEMENTS_MAX, Begun};
use crate::gate::{Ask, Statement};
use crate::limit::Quota;
use crate::memory::Part;
use crate::operation::Store;
use crate::record::BATCH;
use crate::reply::{Column, NoRows, RowSink, SinkError, Summary, Value};
use crate::transaction::{Isolation, Options};
use crate::wire::json_rows::{Form, JsonRows};

/// The public members of `batch`'s body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    statements: Vec<StatementBody>,
    isolation: Option<String>,
    timeout_ms: Option<u64>,
    max_rows: Option<u64>,
    #[serde(default)]
    rows: Option<Rows>,
    #[serde(default)]
    numbers: Numbers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementBody {
    sql: String,
    #[serde(default)]
    params: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BeginBody {
    isolation: Option<String>,
    #[serde(default)]
    read_only: bool,
    idle_timeout_ms: Option<u64>,
}

/// `commit` and `rollback` say nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndBody {}

impl Door {
    /// `POST /v1/{postgres,mysql}/batch`.
    pub(super) async fn batch(
        &self,
        head: &Head,
        store: Store,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let parse = |bytes: &[u8], _: &Part| {
            let (ask, wanted) = batch(bytes, store)?;
            Ok((ask, BatchRows::new(self.form(wanted))))
        };
        let asked = head.as_request(BATCH);
        match self.ask(&asked, store, request, quota, parse).await? {
            (Answer::Transaction(TransactionAnswer::Batch(summaries)), rows, part) => {
                bounded(rows.finish(&summaries), part)
            }
            (answer, _, _) => Err(unexpected(&answer)),
        }
    }

    /// `POST /v1/{postgres,mysql}/transactions`.
    pub(super) async fn begin(
        &self,
        head: &Head,
        store: Store,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let parse = |bytes: &[u8], _: &Part| {
            let options = begin(bytes)?;
            Ok((Ask::Begin { store, options }, NoRows))
        };
        let asked = head.as_request("begin");
        match self.ask(&asked, store, request, quota, parse).await? {
            (Answer::Transaction(TransactionAnswer::Begun(begun)), NoRows, _) => {
                Ok(created(&begun))
            }
            (answer, NoRows, _) => Err(unexpected(&answer)),
        }
    }

    /// `POST …/transactions/{id}/query`, `/commit` and `/rollback`.
    pub(super) async fn go_on(
        &self,
        head: &Head,
        going: Going,
        request: BoxedRequest,
        quota: &mut Option<Quota>,
    ) -> Result<Reply, Problem> {
        let Going { store, id, step } = going;
        let (action, commits) = match step {
            Step::Query => return self.query(head, store, Some(id), request, quota).await,
            Step::Commit => ("commit", true),
            Step::RollBack => ("rollback", false),
        };
        let parse = |bytes: &[u8], _: &Part| {
            let EndBody {} = body::members(bytes)?;
            Ok((Ask::End { store, id, commits }, NoRows))
        };
        let mut asked = head.as_request(action);
        asked.transaction = Some(id);
        match self.ask(&asked, store, request, quota, parse).await? {
            (Answer::Transaction(TransactionAnswer::Committed), NoRows, _) => {
                Ok(ended("committed"))
            }
            (Answer::Transaction(TransactionAnswer::RolledBack), NoRows, _) => {
                Ok(ended("rolled_back"))
            }
            (answer, NoRows, _) => Err(unexpected(&answer)),
        }
    }
}

fn batch(body: &[u8], store: Store) -> Result<(Ask, RowsWanted), Problem> {
    let body: BatchBody = body::members(body)?;
    let count = body.statements.len();
    if count == 0 {
        return Err(invalid(
            "`statements` is empty: send at least one statement",
        ));
    }
    if count > BATCH_STATEMENTS_MAX {
        return Err(invalid(format!(
            "`statements` has {count} statements and may have {BATCH_STATEMENTS_MAX}: split the batch"
        )));
    }
    let wanted = RowsWanted::of(body.rows.as_ref(), &body.numbers, body.max_rows);
    let statement = |StatementBody { sql, params }| Statement {
        sql: Arc::from(sql),
        request: SqlRequest {
            params,
            timeout_ms: body.timeout_ms,
        },
    };
    let ask = Ask::Batch {
        store,
        statements: body.statements.into_iter().map(statement).collect(),
        options: Options {
            isolation: isolation(body.isolation.as_deref())?,
            ..Options::default()
        },
        timeout_ms: body.timeout_ms,
    };
    Ok((ask, wanted))
}

fn begin(body: &[u8]) -> Result<Options, Problem> {
    let body: BeginBody = body::members(body)?;
    Ok(Options {
        isolation: isolation(body.isolation.as_deref())?,
        read_only: body.read_only,
        idle_timeout_ms: body.idle_timeout_ms,
    })
}

fn isolation(text: Option<&str>) -> Result<Option<Isolation>, Problem> {
    let unknown = |text| {
        invalid(format!(
            "`isolation` is `{text}`; it must be read_uncommitted, read_committed, repeatable_read or serializable"
        ))
    };
    text.map(|text| Isolation::parse(text).ok_or_else(|| unknown(text)))
        .transpose()
}

fn created(begun: &Begun) -> Reply {
    let lifetime = Duration::from_millis(begun.lifetime_ms);
    let now = Timestamp::now();
    let expires_at = now.checked_add(lifetime).unwrap_or(now);
    let body = json!({
        "transaction": begun.id.to_string(),
        "expires_at": format!("{expires_at:.3}"),
        "idle_timeout_ms": begun.idle_timeout_ms,
    });
    respond::json(StatusCode::CREATED, body.to_string().into_bytes())
}

fn ended(fate: &str) -> Reply {
    let body = json!({"transaction": fate});
    respond::json(StatusCode::OK, body.to_string().into_bytes())
}

/// The gate answers what was asked, so this is a fault of the sidecar's own.
fn unexpected(answer: &Answer) -> Problem {
    invalid(match answer {
        Answer::Sql(_) => "not the answer of a single statement",
        Answer::Transaction(_) => "not the answer of a transaction",
        Answer::Mongodb(_) | Answer::Redis(_) => "not a SQL answer",
    })
}

/// The results of a batch, `{"results": […]}`, each as the answer of a query.
struct BatchRows {
    form: Form,
    /// What is left for results that are still to come, in bytes.
    bytes_left: usize,
    /// Rows of each result, as the policy says.
    rows_allowed: u64,
    results: Vec<JsonRows>,
}

impl BatchRows {
    fn new(form: Form) -> Self {
        Self {
            bytes_left: form.bytes_max,
            form,
            rows_allowed: u64::MAX,
            results: Vec::new(),
        }
    }

    fn finish(self, summaries: &[Summary]) -> Vec<u8> {
        let mut out = b"{\"results\":[".to_vec();
        for (place, (rows, summary)) in self.results.into_iter().zip(summaries).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&rows.finish(summary));
        }
        out.extend_from_slice(b"]}");
        out
    }

    fn current(&mut self) -> Result<&mut JsonRows, SinkError> {
        self.results.last_mut().ok_or(SinkError::RowsMax(0))
    }
}

impl RowSink for BatchRows {
    /// The most restrictive of the statements' bounds holds for each.
    fn limit_rows(&mut self, rows_max: u64) {
        self.rows_allowed = self.rows_allowed.min(rows_max);
    }

    /// Every statement brings its columns once, so they begin the next result.
    fn columns(&mut self, columns: &[Column]) -> Result<(), SinkError> {
        let written = self.results.last().map_or(0, JsonRows::written);
        self.bytes_left = self.bytes_left.saturating_sub(written);
        let mut rows = JsonRows::new(Form {
            bytes_max: self.bytes_left,
            ..self.form
        });
        rows.limit_rows(self.rows_allowed);
        rows.columns(columns)?;
        self.results.push(rows);
        Ok(())
    }

    fn start_row(&mut self) -> Result<(), SinkError> {
        self.current()?.start_row()
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), SinkError> {
        let bytes_max = self.form.bytes_max;
        self.current()?.value(value).map_err(|error| match error {
            SinkError::BytesMax(_) => SinkError::BytesMax(bytes_max),
            other @ (SinkError::DuplicateColumn(_)
            | SinkError::RowsMax(_)
            | SinkError::RowsAllowed(_)
            | SinkError::RowBytesMax(_)
            | SinkError::Memory
            | SinkError::Gone
            | SinkError::Stalled(_)
            | SinkError::Document(_)
            | SinkError::NoDocuments) => other,
        })
    }

    fn end_row(&mut self) -> Result<(), SinkError> {
        self.current()?.end_row()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json_rows::{NumberForm, RowForm};

    #[test]
    fn bodies_that_are_not_understood_are_refused_with_what_to_do() {
        let check = |body: &str, expected: &str| {
            let problem = batch(body.as_bytes(), Store::Mysql).err().unwrap();
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        };
        check("{}", "missing field `statements`");
        check(r#"{"statements":[]}"#, "`statements` is empty");
        check(
            r#"{"statements":[{"sql":"x","timeout_ms":1}]}"#,
            "unknown field `timeout_ms`",
        );
        check(
            r#"{"statements":[{"sql":"x"}],"isolation":"snapshot"}"#,
            "`isolation` is `snapshot`; it must be",
        );
        let many = vec![r#"{"sql":"x"}"#; BATCH_STATEMENTS_MAX + 1].join(",");
        check(
            &format!(r#"{{"statements":[{many}]}}"#),
            "may have 1000: split the batch",
        );
        assert!(begin(br#"{"idle_timeout":1}"#).is_err());
        assert_eq!(begin(b"{}").unwrap(), Options::default());
    }

    #[test]
    fn results_stand_in_order_within_one_bound() {
        let form = Form {
            rows: RowForm::Arrays,
            numbers: NumberForm::Exact,
            rows_max: 2,
            bytes_max: 120,
        };
        let column = Column {
            name: "a".into(),
            database_type: "t".into(),
        };
        let mut rows = BatchRows::new(form);
        rows.columns(std::slice::from_ref(&column)).unwrap();
        rows.start_row().unwrap();
        rows.value(&Value::Int(1)).unwrap();
        rows.end_row().unwrap();
        rows.columns(&[]).unwrap();
        let summary = Summary {
            rows_affected: 7,
            last_insert_id: None,
        };
        let text = String::from_utf8(rows.finish(&[Summary::default(), summary])).unwrap();
        assert_eq!(
            text,
            r#"{"results":[{"columns":[{"name":"a","type":"t"}],"rows":[[1]],"rows_affected":0},{"columns":[],"rows":[],"rows_affected":7}]}"#
        );
        let mut rows = BatchRows::new(form);
        let long = Value::Text("x".repeat(60).into());
        rows.columns(std::slice::from_ref(&column)).unwrap();
        rows.start_row().unwrap();
        rows.value(&Value::Text("x".into())).unwrap();
        rows.end_row().unwrap();
        rows.columns(std::slice::from_ref(&column)).unwrap();
        rows.start_row().unwrap();
        assert_eq!(rows.value(&long), Err(SinkError::BytesMax(120)));
    }
}
