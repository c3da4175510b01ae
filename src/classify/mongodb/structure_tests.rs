use super::super::{Session, classify, without_database};
use crate::classify::Refusal;
use crate::wire::extended_json::parse_extended_json;

/// A document of raw elements.
fn raw(elements: &[&[u8]]) -> Vec<u8> {
    let body: Vec<u8> = elements.concat();
    let mut bytes = u32::try_from(body.len() + 5)
        .unwrap()
        .to_le_bytes()
        .to_vec();
    bytes.extend(body);
    bytes.push(0);
    bytes
}

#[test]
fn bytes_that_readers_differ_about_are_refused() {
    let find_a: &[u8] = b"\x02find\0\x02\0\0\0a\0";
    let find_b: &[u8] = b"\x02find\0\x02\0\0\0b\0";
    assert!(classify(&raw(&[find_a]), "d", Session::Shared).is_ok());
    let nested = raw(&[b"\x10x\0\x01\0\0\0", b"\x10x\0\x02\0\0\0"]);
    let filter = [b"\x03filter\0".as_slice(), &nested].concat();
    let invalid: &[u8] = b"\x02find\0\x02\0\0\0\xff\0";
    let array = raw(&[b"\x02\x31\0\x02\0\0\0a\0"]);
    let documents = [b"\x04documents\0".as_slice(), &array].concat();
    for bytes in [
        raw(&[find_a, find_b]),
        raw(&[find_a, &filter]),
        raw(&[invalid]),
        raw(&[b"\x02insert\0\x02\0\0\0a\0", &documents]),
        raw(&[b"\x02find\0\xff\xff\xff\x7fa\0"]),
        vec![],
        vec![5, 0, 0, 0, 1],
        [raw(&[find_a]), vec![0]].concat(),
    ] {
        assert!(classify(&bytes, "d", Session::Own).is_err(), "{bytes:?}");
    }
    let many: Vec<Vec<u8>> = (0..20_000)
        .map(|n| format!("\x0ak{n}\0").into_bytes())
        .collect();
    let mut many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let wide = [b"\x03filter\0".as_slice(), &raw(&many)].concat();
    assert!(classify(&raw(&[find_a, &wide]), "d", Session::Shared).is_ok());
    many.push(b"\x0ak7\0");
    let wide = [b"\x03filter\0".as_slice(), &raw(&many)].concat();
    assert!(classify(&raw(&[find_a, &wide]), "d", Session::Shared).is_err());
}

/// `{"x": {"x": … {}}}`, or the same around an operator.
fn nested(levels: usize, key: &str, array: bool) -> Vec<u8> {
    let mut inner = raw(&[]);
    for _ in 0..levels {
        inner = if array {
            let list = raw(&[&[b"\x030\0".as_slice(), &inner].concat()]);
            raw(&[&[b"\x04".as_slice(), key.as_bytes(), b"\0", &list].concat()])
        } else {
            raw(&[&[b"\x03".as_slice(), key.as_bytes(), b"\0", &inner].concat()])
        };
    }
    inner
}

#[test]
fn depth_ends_in_a_limit() {
    for (levels, key, array, fits) in [
        (170, "x", false, true),
        (85, "$and", true, true),
        (200, "x", false, false),
        (5_000, "x", false, false),
        (5_000, "$and", true, false),
    ] {
        let filter = [b"\x03filter\0".as_slice(), &nested(levels, key, array)].concat();
        let result = classify(
            &raw(&[b"\x02find\0\x02\0\0\0a\0", &filter]),
            "d",
            Session::Shared,
        );
        assert_eq!(result.is_ok(), fits, "{levels} {key}: {result:?}");
        assert_eq!(fits, !matches!(result, Err(Refusal::TooLarge(_))));
    }
}

#[test]
fn the_database_comes_off() {
    let document = parse_extended_json(r#"{"find":"a","$db":"e","filter":{"b":1}}"#).unwrap();
    let (database, rest) = without_database(&document).unwrap();
    assert_eq!(database.as_deref(), Some("e"));
    assert_eq!(
        rest,
        parse_extended_json(r#"{"find":"a","filter":{"b":1}}"#).unwrap()
    );
}
