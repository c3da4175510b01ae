use super::*;

fn check(type_: &Type, json: &str, expected: Result<&str, &str>) {
    let found = match parameter(json, type_) {
        Ok(Parameter::Null) => Ok("<null>".to_owned()),
        Ok(Parameter::Text(text)) => Ok(text.into_owned()),
        Ok(Parameter::Binary(bytes)) => Ok(format!("{bytes:02x?}")),
        Err(reason) => Err(reason),
    };
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{type_} {json}"),
        (Err(found), Err(expected)) => {
            assert!(found.contains(expected), "{type_} {json}: {found}");
        }
        (found, expected) => panic!("{type_} {json}: {found:?}, expected {expected:?}"),
    }
}

#[test]
fn scalars_keep_their_text() {
    check(
        &Type::INT8,
        "9223372036854775807",
        Ok("9223372036854775807"),
    );
    check(&Type::INT8, "\"-5\"", Ok("-5"));
    check(
        &Type::INT8,
        "9223372036854775808",
        Err("out of range for `int8`"),
    );
    check(&Type::INT2, "32768", Err("out of range"));
    check(&Type::INT4, "1.5", Err("is not an integer"));
    check(&Type::INT4, "true", Err("a boolean does not fit `int4`"));
    check(&Type::OID, "4294967295", Ok("4294967295"));
    check(
        &Type::NUMERIC,
        "0.10000000000000000000001",
        Ok("0.10000000000000000000001"),
    );
    check(&Type::NUMERIC, "\"NaN\"", Ok("NaN"));
    check(&Type::FLOAT8, "1e-300", Ok("1e-300"));
    check(&Type::BOOL, "true", Ok("true"));
    check(&Type::BOOL, "2", Err("a number does not fit `bool`"));
    check(&Type::TEXT, "\"a\\\"b\"", Ok("a\"b"));
    check(&Type::TEXT, "5", Ok("5"));
    check(&Type::TEXT, "{}", Err("send its text as a string"));
    check(&Type::TEXT, "\"\\u0000\"", Err("U+0000"));
    check(&Type::UUID, "null", Ok("<null>"));
}

#[test]
fn json_strings_are_json_text() {
    check(&Type::JSONB, "{\"a\": [1, 2.50]}", Ok("{\"a\": [1, 2.50]}"));
    check(&Type::JSONB, "\"{\\\"a\\\": 1}\"", Ok("{\"a\": 1}"));
    check(&Type::JSON, "7", Ok("7"));
    check(&Type::JSON, "null", Ok("<null>"));
}

#[test]
fn bytes_are_marked_as_such() {
    check(&Type::BYTEA, "{\"$base64\": \"AP8=\"}", Ok("[00, ff]"));
    check(&Type::BYTEA, "\"\\\\x00fF\"", Ok("[00, ff]"));
    check(&Type::BYTEA, "\"\\\\x0\"", Err("hexadecimal"));
    check(&Type::BYTEA, "\"AP8=\"", Err("$base64"));
    check(&Type::BYTEA, "{\"$base64\": \"?\"}", Err("not base64"));
}

#[test]
fn an_offset_is_never_dropped() {
    check(
        &Type::TIMESTAMP,
        "\"2024-01-01T10:00:00Z\"",
        Ok("2024-01-01T10:00:00Z"),
    );
    check(
        &Type::TIMESTAMP,
        "\"2024-01-01 10:00:00\"",
        Ok("2024-01-01 10:00:00"),
    );
    check(&Type::TIMESTAMP, "\"2024-01-01\"", Ok("2024-01-01"));
    check(
        &Type::TIMESTAMP,
        "\"2024-01-01T10:00:00+00:00\"",
        Ok("2024-01-01T10:00:00+00:00"),
    );
    check(
        &Type::TIMESTAMP,
        "\"2024-01-01T10:00:00+02:00\"",
        Err("has an offset"),
    );
    check(
        &Type::TIMESTAMPTZ,
        "\"2024-01-01T10:00:00+02:00\"",
        Ok("2024-01-01T10:00:00+02:00"),
    );
    check(&Type::TIMESTAMPTZ, "5", Err("send a string"));
}

#[test]
fn arrays_become_literals() {
    check(&Type::INT4_ARRAY, "[1, null, 3]", Ok("{\"1\",NULL,\"3\"}"));
    check(&Type::INT4_ARRAY, "[[1], [2]]", Ok("{{\"1\"},{\"2\"}}"));
    check(&Type::INT4_ARRAY, "[\"x\"]", Err("not an integer"));
    check(&Type::INT4_ARRAY, "\"{1,2}\"", Ok("{1,2}"));
    check(&Type::INT4_ARRAY, "5", Err("send a string"));
    check(&Type::INT4_ARRAY, "[[[[[[[1]]]]]]]", Err("at most 6"));
    check(
        &Type::TEXT_ARRAY,
        "[\"a,\\\"b\\\\\", \"\"]",
        Ok(r#"{"a,\"b\\",""}"#),
    );
    check(
        &Type::JSONB_ARRAY,
        "[[1], {\"a\": 2}]",
        Ok(r#"{"[1]","{\"a\": 2}"}"#),
    );
    check(
        &Type::BYTEA_ARRAY,
        "[{\"$base64\": \"AP8=\"}]",
        Ok(r#"{"\\x00ff"}"#),
    );
    check(
        &Type::BOX_ARRAY,
        "[\"(1,1),(0,0)\", null]",
        Ok(r#"{"(1,1),(0,0)";NULL}"#),
    );
}
