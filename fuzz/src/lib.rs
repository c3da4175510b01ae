//! Seeds for the fuzz targets, from the corpus of benign and hostile requests.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;
use serde_json::value::RawValue;

/// Arguments of a Redis command stand between these bytes.
pub const SEPARATOR: u8 = 0;

/// Behind a script: four keys and two values.
pub const SCRIPT_ARGUMENTS: [&str; 7] = ["4", "a", "b", "c", "d", "1", "2"];

/// Puts the seeds of a target where cargo-fuzz looks for its corpus.
pub fn seed(target: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus' folder can be made");
    for (number, seed) in seeds(target, &root.join("..")).into_iter().enumerate() {
        let file: PathBuf = folder.join(format!("seed-{number}"));
        std::fs::write(file, seed).expect("a seed can be written");
    }
}

fn seeds(target: &str, repository: &Path) -> Vec<Vec<u8>> {
    let corpus = std::fs::read_to_string(repository.join("tests/corpus/known.jsonl"));
    let corpus = corpus.expect("the corpus is there");
    let cases: Vec<Case> = corpus.lines().filter_map(Case::read).collect();
    let of = |store: &'static str| cases.iter().filter(move |case| case.store == store);
    match target {
        "classify_postgres" => of("postgres").map(Case::text).collect(),
        "classify_mysql" => of("mysql").map(Case::text).collect(),
        "extended_json" => of("mongodb").map(|case| case.raw.clone()).collect(),
        "classify_mongodb" | "bson_in" => of("mongodb").filter_map(Case::bson).collect(),
        "classify_redis" => of("redis").filter_map(Case::words).collect(),
        "classify_script" => of("redis").filter_map(Case::script).collect(),
        "request_body" => cases.iter().map(Case::body).collect(),
        "policy" => policies(repository),
        "redis_json" => RESP.iter().map(|reply| reply.to_vec()).collect(),
        "decode_postgres" => POSTGRES.iter().map(|value| value.to_vec()).collect(),
        "decode_mysql" => MYSQL.iter().map(|value| value.to_vec()).collect(),
        _ => panic!("`{target}` has no seeds"),
    }
}

struct Case {
    store: String,
    request: Value,
    raw: Vec<u8>,
    bytes: Option<Vec<u8>>,
}

impl Case {
    fn read(line: &str) -> Option<Self> {
        let case: Value = serde_json::from_str(line).ok()?;
        let fields: std::collections::HashMap<&str, &RawValue> = serde_json::from_str(line).ok()?;
        let decode = |text| base64::engine::general_purpose::STANDARD.decode(text).ok();
        Some(Self {
            store: case["store"].as_str()?.to_owned(),
            request: case["request"].clone(),
            raw: fields.get("request")?.get().as_bytes().to_vec(),
            bytes: case["request_b64"].as_str().and_then(decode),
        })
    }

    fn text(&self) -> Vec<u8> {
        self.request
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec()
    }

    fn bson(&self) -> Option<Vec<u8>> {
        let parsed = || {
            let text = std::str::from_utf8(&self.raw).ok()?;
            bulkhead::wire::extended_json::parse_extended_json(text).ok()
        };
        self.bytes.clone().or_else(parsed)
    }

    fn words(&self) -> Option<Vec<u8>> {
        let words: Option<Vec<&str>> = self.request.as_array()?.iter().map(Value::as_str).collect();
        Some(words?.join("\0").into_bytes())
    }

    fn script(&self) -> Option<Vec<u8>> {
        let words = self.request.as_array()?;
        let name = words.first()?.as_str()?.to_ascii_lowercase();
        let script = words.get(1)?.as_str()?;
        (name == "eval" || name == "eval_ro").then(|| script.as_bytes().to_vec())
    }

    fn body(&self) -> Vec<u8> {
        let raw = String::from_utf8_lossy(&self.raw);
        match self.store.as_str() {
            "mongodb" => format!(r#"{{"command": {raw}, "database": "d"}}"#),
            "redis" => format!(r#"{{"command": {raw}}}"#),
            _ => format!(r#"{{"sql": {raw}, "params": [1, "a", null, {{"$base64": "AA=="}}], "timeout_ms": 5}}"#),
        }
        .into_bytes()
    }
}

fn policies(repository: &Path) -> Vec<Vec<u8>> {
    [
        "policies/default.toml",
        "tests/corpus/policy.toml",
        "deploy/compose/policy.toml",
    ]
    .iter()
    .map(|path| std::fs::read(repository.join(path)).expect("the policy is there"))
    .collect()
}

const RESP: [&[u8]; 8] = [
    b"$5\r\nhello\r\n",
    b"*3\r\n:1\r\n$-1\r\n+OK\r\n",
    b"-ERR wrong\r\n",
    b"%2\r\n+a\r\n:1\r\n$2\r\n\xff\xfe\r\n,1.5\r\n",
    b"~2\r\n#t\r\n_\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"(12345678901234567890\r\n",
    b"*1\r\n*1\r\n%1\r\n$7\r\n$base64\r\n,nan\r\n",
];

/// Two bytes of the type's number, then the value.
const POSTGRES: [&[u8]; 12] = [
    b"\x00\x17\x00\x00\x00\x05",
    b"\x00\x14\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\x06\xa4\x00\x02\x00\x00\x00\x00\x00\x02\x00\x01\x13\x88",
    b"\x04\x5a\x00\x02\x9a\x1b\x2c\x3d\x4e\x5f",
    b"\x04\x3a\x00\x00\x00\x00",
    b"\x03\xef\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x07",
    b"\x03\x65\x02\x20\x00\x04\x7f\x00\x00\x01",
    b"\x0e\xda\x01{\"a\": 1}",
    b"\x0f\x40\x02\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x04\x00\x00\x00\x09",
    b"\x04\xa2\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03",
    b"\x06\x18\x00\x00\x00\x09\xaa\x80",
    b"\x08\xc9\x00\x00\x00\x01\x00\x00\x00\x17\x00\x00\x00\x04\x00\x00\x00\x01",
];

/// A byte of the column's type, one of its flags, then the value.
const MYSQL: [&[u8]; 6] = [
    b"\x08\x0018446744073709551615",
    b"\xf6\x00-12.340",
    b"\x0c\x002024-02-30 00:00:00.000001",
    b"\x0b\x00-838:59:59",
    b"\xf5\x00{\"a\": [1]}",
    b"\x10\x01\x05",
];
