//! The corpus' cases, and what each is as an HTTP request.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bulkhead::wire::extended_json::{Form, print_extended_json};
use serde_json::{Value, json};

/// This repository's corpus.
pub const OWN: &str = "tests/corpus";

#[derive(Debug)]
pub struct Case {
    pub id: String,
    pub store: String,
    pub request: Value,
    /// The exact bytes, where a JSON string cannot hold them.
    pub bytes: Option<Vec<u8>>,
    pub params: Vec<Value>,
    pub setup: Vec<Value>,
    pub is_hostile: bool,
    pub is_contested: bool,
    pub needs_session: bool,
    pub is_executed: bool,
    /// Refused whatever it touches.
    pub is_always: bool,
    /// What it does to what, as `action object`.
    pub touches: Vec<(String, String)>,
    pub dialect: Option<String>,
    pub server_setting: Option<String>,
}

pub fn folder() -> PathBuf {
    std::env::var_os("BULKHEAD_CORPUS").map_or_else(|| OWN.into(), PathBuf::from)
}

pub fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(folder().join("known.jsonl")).unwrap();
    text.lines().map(case).collect()
}

fn case(line: &str) -> Case {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    Case {
        id: text("id").unwrap(),
        store: text("store").unwrap(),
        request: value["request"].clone(),
        bytes: text("request_b64").map(|base64| BASE64.decode(base64).unwrap()),
        params: list("params"),
        setup: list("setup"),
        is_hostile: value["decision"] == "deny" && !value["contested"].is_string(),
        is_contested: value["contested"].is_string(),
        needs_session: value["session"] == true,
        is_always: value["always"] == true,
        touches: list("touches")
            .iter()
            .map(|touch| {
                let text = |name: &str| touch[name].as_str().unwrap_or_default().to_owned();
                (text("action"), text("object"))
            })
            .collect(),
        is_executed: value["verified"] == "executed",
        dialect: text("dialect"),
        server_setting: text("server_setting"),
    }
}

impl Case {
    /// The path and the body; a body may hold bytes that are not UTF-8, as a hostile client's may.
    pub fn http(&self) -> (&'static str, Vec<u8>) {
        match self.store.as_str() {
            "postgres" => ("/v1/postgres/query", self.sql_body()),
            "mysql" => ("/v1/mysql/query", self.sql_body()),
            "mongodb" => ("/v1/mongodb/command", self.mongodb_body()),
            "redis" => ("/v1/redis/command", self.redis_body()),
            other => panic!("{other}"),
        }
    }

    fn sql_body(&self) -> Vec<u8> {
        let Some(bytes) = &self.bytes else {
            // Parameters are values of the caller's; none of them decides anything.
            return json!({"sql": self.request, "params": self.params, "rows": "arrays"})
                .to_string()
                .into_bytes();
        };
        let mut body = b"{\"sql\": \"".to_vec();
        for byte in bytes {
            match byte {
                b'"' | b'\\' => body.extend([b'\\', *byte]),
                0..=0x1f => body.extend(format!("\\u{byte:04x}").bytes()),
                _ => body.push(*byte),
            }
        }
        body.extend(b"\"}");
        body
    }

    /// Printed from the BSON, so that repeated keys stay repeated.
    fn mongodb_body(&self) -> Vec<u8> {
        let command = match &self.bytes {
            Some(bytes) => print_extended_json(bytes, Form::Canonical)
                .unwrap_or_else(|_| self.request.to_string()),
            None => {
                let mut command = self.request.clone();
                if !self.is_hostile
                    && let Some(members) = command.as_object_mut()
                {
                    // Retrying is the sidecar's part on this route, which says so.
                    members.shift_remove("txnNumber");
                }
                command.to_string()
            }
        };
        format!("{{\"command\": {command}}}").into_bytes()
    }

    fn redis_body(&self) -> Vec<u8> {
        json!({"command": self.request}).to_string().into_bytes()
    }
}
