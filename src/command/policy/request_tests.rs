use super::*;
use crate::decide::PolicyFile;

fn policy() -> Policy {
    let text = "version = 1\n[stores.mongodb]\ndatabase = 'd'\ncollections = ['c']\n";
    Policy::compile(&[PolicyFile {
        path: "p.toml".into(),
        text: text.into(),
    }])
    .unwrap()
}

#[test]
fn a_redis_command_in_each_of_its_forms() {
    let get = vec![b"GET".to_vec(), b"a b".to_vec()];
    for (body, expected) in [
        (Body::Text(r#"GET "a b""#), Some(get.clone())),
        (Body::Text("  GET  'a b' "), Some(get.clone())),
        (
            Body::Text(r#"GET a"b"#),
            Some(vec![b"GET".to_vec(), b"a\"b".to_vec()]),
        ),
        (Body::Text(r#"["GET", "a b"]"#), Some(get.clone())),
        (
            Body::Json(r#"["GET", {"$base64": "YSBi"}]"#),
            Some(get.clone()),
        ),
        (Body::Json(r#""GET 'a b'""#), Some(get.clone())),
        (Body::Bytes(b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n"), Some(get)),
        (
            Body::Text(r#"SET k "\xff\n\"""#),
            Some(vec![b"SET".to_vec(), b"k".to_vec(), b"\xff\n\"".to_vec()]),
        ),
        (Body::Text(""), None),
        (Body::Json("[]"), None),
        (Body::Json("[1]"), None),
        (Body::Json(r#"["GET", {"$base64": "?"}]"#), None),
        (Body::Text(r#"GET "a"#), None),
        (Body::Text("GET 'a"), None),
        (Body::Text("GET 'a'b"), None),
        (Body::Bytes(b"*2\r\n$3\r\nGET\r\n"), None),
        (Body::Bytes(b"*1\r\n$3\r\nGET\r\nX"), None),
        (Body::Bytes(b"*1\r\n$-1\r\n"), None),
        (Body::Bytes(b"*99999999999\r\n"), None),
        (Body::Bytes(b"GET k\r\n"), None),
    ] {
        assert_eq!(redis_command(body).ok(), expected, "{body:?}");
    }
}

#[test]
fn a_mongodb_command_loses_its_db_and_keeps_its_order_and_repeats() {
    let document = |body| {
        let (document, database) = mongodb_command(&policy(), body)?;
        let keys = document.iter().map(|e| e.unwrap().0.as_str().to_owned());
        Ok::<_, Problem>((keys.collect::<Vec<_>>().join(","), database))
    };
    let mut repeated = RawDocumentBuf::new();
    for key in [
        bson::raw::cstr!("find"),
        bson::raw::cstr!("find"),
        bson::raw::cstr!("$db"),
    ] {
        repeated.append(key, "x");
    }
    let mut twice = repeated.clone();
    twice.append(bson::raw::cstr!("$db"), "y");
    for (body, expected) in [
        (
            Body::Json(r#"{"z": 1, "$db": "e", "a": {"$numberLong": "1"}}"#),
            Some(("z,a", "e")),
        ),
        (Body::Text(r#"{"ping": 1}"#), Some(("ping", "d"))),
        (Body::Json(r#""{\"ping\": 1}""#), Some(("ping", "d"))),
        (Body::Bytes(repeated.as_bytes()), Some(("find,find", "x"))),
        (Body::Bytes(twice.as_bytes()), None),
        (Body::Json(r#"{"ping": 1, "$db": 5}"#), None),
        (Body::Json(r#"{"ping": 1} x"#), None),
        (Body::Json("[1]"), None),
        (Body::Bytes(b"\x05\x00\x00"), None),
        (Body::Bytes(b"\x09\x00\x00\x00\x02a\x00\x01\x00"), None),
    ] {
        let expected = expected.map(|(keys, database)| (keys.to_owned(), database.to_owned()));
        assert_eq!(document(body).ok(), expected, "{body:?}");
    }
}

#[test]
fn sql_must_be_text() {
    for (body, expected) in [
        (Body::Text("SELECT 1"), Ok("SELECT 1".to_owned())),
        (Body::Json(r#""SELECT 'é'""#), Ok("SELECT 'é'".to_owned())),
        (Body::Bytes(b"SELECT 1"), Ok("SELECT 1".to_owned())),
        (
            Body::Bytes(b"SELECT '\xbf'"),
            Err(Code::StatementUnparsable),
        ),
        (Body::Json("{}"), Err(Code::RequestInvalid)),
    ] {
        assert_eq!(
            sql(body).map_err(|problem| problem.code),
            expected,
            "{body:?}"
        );
    }
}
