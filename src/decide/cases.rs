//! The cases of `*.test.toml`: what a policy's writers expect it to decide.
//!
//! ```toml
//! [[case]]
//! name = "a user is read from mysql"      # optional
//! role = "app"
//! store = "mysql"
//! request = "SELECT email FROM users"     # SQL, Extended JSON or a command; a table or an array will do, too
//! user_id = "42"                          # optional: the user to whom the caller's key belongs
//! at = "2026-01-05T09:00:00Z"             # optional: when it is asked
//! session = false                         # optional: as on a connection of the caller's own
//! expect = "allow"                        # or "deny"
//! code = "policy.wrong_store"             # optional, with "deny"
//! ```

use jiff::Timestamp;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Faults, PolicyFaults, did_you_mean};
use super::source::{Place, PolicyFile, Sources, Span, Written};
use super::toml_tree::{self, TableReader};
use crate::error::Code;
use crate::operation::Store;

/// One `[[case]]`.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: Option<String>,
    pub place: Place,
    pub role: String,
    pub store: Store,
    pub request: CaseRequest,
    pub user_id: Option<String>,
    pub at: Option<Timestamp>,
    pub session: bool,
    pub expectation: Expectation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseRequest {
    /// As written: SQL, a JSON document or array, or a Redis command line.
    Text(String),
    /// A TOML table or array, as JSON with its keys in the order of the file.
    Json(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Allow,
    /// With this code, or with any.
    Deny(Option<Code>),
}

impl Case {
    /// Reads test files. Fails with every fault of all of them.
    pub fn read(files: &[PolicyFile]) -> Result<Vec<Self>, PolicyFaults> {
        let sources = Sources::new(files);
        let mut faults = Faults::new(sources.clone());
        let mut cases = Vec::new();
        for file in 0..files.len() {
            let (root, errors) = DeTable::parse_recoverable(sources.text(file));
            toml_tree::syntax(file, &errors, &mut faults);
            let before = faults.len();
            let mut reader = TableReader::new(file, "the test file", 0..0, root.get_ref());
            for table in reader.tables("case", "a case", "[[case]]", &mut faults) {
                cases.extend(read_case(table, &mut faults));
            }
            reader.finish(&mut faults, |_| None);
            if !errors.is_empty() {
                faults.forget_echoes(before);
            }
        }
        faults.finish().map(|_| cases)
    }
}

fn read_case(mut table: TableReader<'_, '_>, faults: &mut Faults) -> Option<Case> {
    let name = table.string("name", "name = \"…\"", faults);
    let role = table.required("role", "role = \"app\"", faults);
    let store = table
        .required("store", "store = \"mysql\"", faults)
        .and_then(|name| store_of(&name, faults));
    let request = request(&mut table, faults);
    let user_id = table.string("user_id", "user_id = \"42\"", faults);
    let at = table
        .string("at", "at = \"2026-01-05T09:00:00Z\"", faults)
        .and_then(|written| time_of(&written, faults));
    let session = table.boolean("session", faults).unwrap_or(false);
    let expect = table.required("expect", "expect = \"deny\"", faults);
    let code = table.string("code", "code = \"policy.denied\"", faults);
    let code = code.map(|written| (code_of(&written, faults), written));
    let expectation = expect.and_then(|written| expectation(&written, code, faults));
    let place = faults.place(&table.span);
    table.finish(faults, |_| None);
    Some(Case {
        name: name.map(|name| name.value),
        place,
        role: role?.value,
        store: store?,
        request: request?,
        user_id: user_id.map(|user| user.value),
        at,
        session,
        expectation: expectation?,
    })
}

fn store_of(name: &Written<String>, faults: &mut Faults) -> Option<Store> {
    let store = Store::parse(&name.value);
    if store.is_none() {
        let help = did_you_mean(&name.value, Store::ALL.map(Store::as_str));
        faults.error(&name.span, format!("unknown store `{}`", name.value), help);
    }
    store
}

fn time_of(written: &Written<String>, faults: &mut Faults) -> Option<Timestamp> {
    let time = written.value.parse().ok();
    if time.is_none() {
        let message = format!("`{}` is not a time", written.value);
        faults.error(&written.span, message, "write it as `2026-01-05T09:00:00Z`");
    }
    time
}

fn code_of(written: &Written<String>, faults: &mut Faults) -> Option<Code> {
    let code = Code::ALL
        .into_iter()
        .find(|code| code.as_str() == written.value);
    if code.is_none() {
        let help = did_you_mean(&written.value, Code::ALL.map(Code::as_str));
        faults.error(
            &written.span,
            format!("unknown code `{}`", written.value),
            help,
        );
    }
    code
}

fn expectation(
    written: &Written<String>,
    code: Option<(Option<Code>, Written<String>)>,
    faults: &mut Faults,
) -> Option<Expectation> {
    match (written.value.as_str(), code) {
        ("allow", None) => Some(Expectation::Allow),
        ("allow", Some((_, code))) => {
            let message = "what is allowed has no code".to_owned();
            faults.error(
                &code.span,
                message,
                "remove it, or write `expect = \"deny\"`",
            );
            None
        }
        ("deny", None) => Some(Expectation::Deny(None)),
        ("deny", Some((code, _))) => code.map(|code| Expectation::Deny(Some(code))),
        (other, _) => {
            let help = did_you_mean(other, ["allow", "deny"]);
            faults.error(&written.span, format!("cannot expect `{other}`"), help);
            None
        }
    }
}

fn request(table: &mut TableReader<'_, '_>, faults: &mut Faults) -> Option<CaseRequest> {
    let Some(value) = table.value("request") else {
        table.missing("request", "request = \"SELECT 1\"", faults);
        return None;
    };
    match value.get_ref().as_str() {
        Some(text) => Some(CaseRequest::Text(text.to_owned())),
        None if value.get_ref().is_table() || value.get_ref().is_array() => {
            let json = json(table.file, value, faults)?;
            Some(CaseRequest::Json(json.to_string()))
        }
        None => {
            let span = Span {
                file: table.file,
                range: value.span(),
            };
            let message = format!("`request` cannot be of type {}", value.get_ref().type_str());
            faults.error(&span, message, "write SQL, a command document or a command");
            None
        }
    }
}

/// TOML as JSON, keys in the order in which they are written (a command's name is its first key).
fn json(
    file: usize,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Faults,
) -> Option<serde_json::Value> {
    let number = |text: &str, radix| i64::from_str_radix(text, radix).ok().map(Into::into);
    let found = match value.get_ref() {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Boolean(value) => Some((*value).into()),
        DeValue::Integer(integer) => number(integer.as_str(), integer.radix()),
        DeValue::Float(float) => float.as_str().parse::<f64>().ok().map(Into::into),
        DeValue::Datetime(_) => None,
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| json(file, item, faults)).collect();
            return items.map(Into::into);
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let mut object = serde_json::Map::new();
            for (key, value) in entries {
                object.insert(
                    key.get_ref().clone().into_owned(),
                    json(file, value, faults)?,
                );
            }
            return Some(object.into());
        }
    };
    if found.is_none() {
        let range = value.span();
        let message = "this value has no JSON form".to_owned();
        faults.error(
            &Span { file, range },
            message,
            "write the request as Extended JSON text",
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Case>, PolicyFaults> {
        Case::read(&[PolicyFile {
            path: "p.test.toml".into(),
            text: text.into(),
        }])
    }

    const HEAD: &str = "[[case]]\nrole = 'app'\n";

    #[test]
    fn requests_keep_the_order_of_their_keys() {
        for (request, expected) in [
            ("'SELECT 1'", CaseRequest::Text("SELECT 1".into())),
            ("['GET', 'k']", CaseRequest::Json(r#"["GET","k"]"#.into())),
            (
                "{ find = 'c', \"$db\" = 'd', batch = 1, a = { b = [true] } }",
                CaseRequest::Json(r#"{"find":"c","$db":"d","batch":1,"a":{"b":[true]}}"#.into()),
            ),
        ] {
            let text = format!("{HEAD}store = 'redis'\nexpect = 'allow'\nrequest = {request}\n");
            assert_eq!(read(&text).unwrap()[0].request, expected);
        }
    }

    #[test]
    fn every_fault_has_its_line_and_mend() {
        for (rest, line, message, help) in [
            (
                "store = 'mysq'",
                3,
                "unknown store `mysq`",
                "did you mean `mysql`?",
            ),
            (
                "expect = 'denied'",
                3,
                "cannot expect `denied`",
                "write one of `allow`, `deny`",
            ),
            (
                "expect = 'allow'\ncode = 'policy.denied'",
                4,
                "has no code",
                "remove it",
            ),
            (
                "expect = 'deny'\ncode = 'policy.deny'",
                4,
                "unknown code",
                "`policy.denied`?",
            ),
            (
                "request = 4",
                3,
                "`request` cannot be of type integer",
                "write SQL",
            ),
            (
                "request = [1979-05-27]",
                3,
                "no JSON form",
                "Extended JSON text",
            ),
            (
                "sesion = true",
                3,
                "unknown key `sesion` in a case",
                "`session`?",
            ),
            (
                "session = 'yes'",
                3,
                "`session` cannot be",
                "write `session = true`",
            ),
            ("", 1, "a case has no `store`", "write `store ="),
        ] {
            let faults = read(&format!("{HEAD}{rest}\n")).unwrap_err().0;
            let found = faults.iter().any(|fault| {
                fault.place.line == line
                    && fault.message.contains(message)
                    && fault.help.as_deref().unwrap_or("").contains(help)
            });
            assert!(found, "{rest}: {faults:#?}");
        }
    }
}
