//! Every type, out and in.

use super::*;

/// An expression, and the value it is shown as.
const SHOWN: &[(&str, &str)] = &[
    ("true", "Bool(true)"),
    ("'x'::\"char\"", "Text(\"x\")"),
    ("(-32768)::int2", "Int(-32768)"),
    ("9223372036854775807", "BigInt(9223372036854775807)"),
    ("4294967295::oid", "Int(4294967295)"),
    ("1.5::float4", "Float(1.5)"),
    ("'NaN'::float8", "Double(NaN)"),
    ("'-Infinity'::float8", "Double(-inf)"),
    (
        "123456789012345678901234567890.123456789",
        "Decimal(\"123456789012345678901234567890.123456789\")",
    ),
    (
        "0.00000000000000000001::numeric(40,25)",
        "Decimal(\"0.0000000000000000000100000\")",
    ),
    ("'NaN'::numeric", "Decimal(\"NaN\")"),
    ("'-Infinity'::numeric", "Decimal(\"-Infinity\")"),
    ("(-1e131071)::numeric = -1e131071", "Bool(true)"),
    ("'12.34'::money", "Decimal(\"12.34\")"),
    ("'{\"a\": 1.50}'::jsonb", "Json(\"{\\\"a\\\": 1.50}\")"),
    ("'[1 ,2]'::json", "Json(\"[1 ,2]\")"),
    ("'\\x00ff'::bytea", "Bytes([0, 255])"),
    (
        "'a0eebc999c0b4ef8bb6d6bb9bd380a11'::uuid",
        "Text(\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\")",
    ),
    ("'4713-01-01 BC'::date", "Temporal(\"4713-01-01 BC\")"),
    ("'5874897-12-31'::date", "Temporal(\"5874897-12-31\")"),
    ("'infinity'::timestamptz", "Temporal(\"infinity\")"),
    (
        "'294276-12-31 23:59:59.999999'::timestamp",
        "Temporal(\"294276-12-31T23:59:59.999999\")",
    ),
    (
        "'2024-01-02 03:04:05.678901+02'::timestamptz",
        "Temporal(\"2024-01-02T01:04:05.678901Z\")",
    ),
    ("'24:00'::time", "Temporal(\"24:00:00\")"),
    (
        "'01:02:03.5-08:30'::timetz",
        "Temporal(\"01:02:03.500000-08:30\")",
    ),
    (
        "'1 year 2 mons -3 days 04:05:06.7'::interval",
        "Text(\"P1Y2M-3DT4H5M6.7S\")",
    ),
    ("'10.1.2.3/8'::inet", "Text(\"10.1.2.3/8\")"),
    ("'::ffff:1.2.3.4'::inet", "Text(\"::ffff:1.2.3.4\")"),
    ("'10/8'::cidr", "Text(\"10.0.0.0/8\")"),
    (
        "'08:00:2b:01:02:03'::macaddr",
        "Text(\"08:00:2b:01:02:03\")",
    ),
    ("B'1011'", "Text(\"1011\")"),
    ("'(1.5,-2e20)'::point", "Text(\"(1.5,-2e+20)\")"),
    ("'((0,0),(1,1))'::path", "Text(\"((0,0),(1,1))\")"),
    ("'<(1,2),3>'::circle", "Text(\"<(1,2),3>\")"),
    ("'[1,5)'::int4range", "Text(\"[1,5)\")"),
    ("'{[1,2),[5,6)}'::int4multirange", "Text(\"{[1,2),[5,6)}\")"),
    (
        "tsrange('2024-01-01', null)",
        "Text(\"[2024-01-01T00:00:00,)\")",
    ),
    ("'a:1A b'::tsvector", "Text(\"'a':1A 'b'\")"),
    (
        "'!(a & b:*A) | c <2> d'::tsquery",
        "Text(\"!( 'a' & 'b':*A ) | 'c' <2> 'd'\")",
    ),
    ("ROW(1, 'a b', null)", "Text(\"(1,\\\"a b\\\",)\")"),
    (
        "ARRAY[[1,2],[3,null]]",
        "Array([Array([Int(1), Int(2)]), Array([Int(3), Null])])",
    ),
    ("ARRAY['a', null]::text[]", "Array([Text(\"a\"), Null])"),
    ("'{}'::numeric[]", "Array([])"),
    ("'1/AB'::pg_lsn", "Text(\"1/AB\")"),
    ("null::int", "Null"),
    ("'<a/>'::xml", "Text(\"<a/>\")"),
];

/// An expression with a parameter, the parameter, and the value it comes back as.
const TAKEN: &[(&str, &str, &str)] = &[
    ("$1::int8", "9007199254740993", "BigInt(9007199254740993)"),
    (
        "$1::numeric",
        "0.1000000000000000000000001",
        "Decimal(\"0.1000000000000000000000001\")",
    ),
    ("$1::numeric", "\"Infinity\"", "Decimal(\"Infinity\")"),
    ("$1::bool", "false", "Bool(false)"),
    ("$1::bytea", "{\"$base64\": \"AP8=\"}", "Bytes([0, 255])"),
    (
        "$1::jsonb",
        "{\"a\": [1, null]}",
        "Json(\"{\\\"a\\\": [1, null]}\")",
    ),
    (
        "$1::jsonb",
        "\"{\\\"a\\\": 1}\"",
        "Json(\"{\\\"a\\\": 1}\")",
    ),
    ("$1::json", "[1.0]", "Json(\"[1.0]\")"),
    (
        "$1::timestamptz",
        "\"2024-01-01T00:00:00+02:00\"",
        "Temporal(\"2023-12-31T22:00:00Z\")",
    ),
    (
        "$1::timestamp",
        "\"2024-01-01 00:00:00\"",
        "Temporal(\"2024-01-01T00:00:00\")",
    ),
    (
        "$1::timestamp",
        "\"0044-03-15T00:00:00 BC\"",
        "Temporal(\"0044-03-15T00:00:00 BC\")",
    ),
    (
        "$1::timestamptz",
        "\"0044-03-15T00:00:00Z BC\"",
        "Temporal(\"0044-03-15T00:00:00Z BC\")",
    ),
    (
        "$1::timestamp",
        "\"10000-01-01T00:00:00\"",
        "Temporal(\"10000-01-01T00:00:00\")",
    ),
    (
        "$1::interval",
        "\"P1Y2M3DT4H5M6.789S\"",
        "Text(\"P1Y2M3DT4H5M6.789S\")",
    ),
    (
        "$1::int[]",
        "[[1, 2], [3, null]]",
        "Array([Array([Int(1), Int(2)]), Array([Int(3), Null])])",
    ),
    (
        "$1::text[]",
        "[\"a,b\", \"\", \"NULL\", \"q\\\"\\\\\"]",
        "Array([Text(\"a,b\"), Text(\"\"), Text(\"NULL\"), Text(\"q\\\"\\\\\")])",
    ),
    (
        "$1::bytea[]",
        "[{\"$base64\": \"AP8=\"}]",
        "Array([Bytes([0, 255])])",
    ),
    (
        "$1::box[]",
        "[\"(1,1),(0,0)\"]",
        "Array([Text(\"(1,1),(0,0)\")])",
    ),
    ("$1::inet", "\"::1\"", "Text(\"::1\")"),
    ("$1::int4range", "\"[1,5)\"", "Text(\"[1,5)\")"),
    ("$1::money", "\"1000.05\"", "Decimal(\"1000.05\")"),
    (
        "$1::text",
        "\"'; DROP TABLE x --\"",
        "Text(\"'; DROP TABLE x --\")",
    ),
    ("$1::uuid", "null", "Null"),
];

#[tokio::test]
async fn every_type_is_shown_exactly() {
    let rig = Rig::new(2);
    for (sql, expected) in SHOWN {
        assert_eq!(
            rig.value(&format!("SELECT {sql}"), &[]).await,
            *expected,
            "{sql}"
        );
    }
    for sql in ["SELECT '{}'::aclitem[]"] {
        let error = rig.read(sql, &[]).await.unwrap_err();
        assert!(
            error.to_string().contains("text") || error.to_string().contains("binary"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn every_parameter_goes_in_exactly() {
    let rig = Rig::new(2);
    for (sql, param, expected) in TAKEN {
        assert_eq!(
            rig.value(&format!("SELECT {sql}"), &[param]).await,
            *expected,
            "{sql} {param}"
        );
    }
    for (sql, params, index, reason) in [
        (
            "SELECT $1::int4, $2::int4",
            ["1", "\"x\""],
            2,
            "not an integer",
        ),
        ("SELECT $1::uuid, $2::int4", ["\"x\"", "1"], 1, "uuid"),
        (
            "SELECT $1::int4, $2::timestamptz",
            ["1", "\"2024-13-01\""],
            2,
            "date/time",
        ),
        ("SELECT $1::int4, $2::jsonb", ["1", "\"{\""], 2, "json"),
    ] {
        match rig.read(sql, &params).await {
            Err(Error::Parameter {
                index: found,
                reason: text,
            }) => {
                assert_eq!(found, index, "{sql}");
                assert!(text.contains(reason), "{sql}: {text}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    let error = rig.read("SELECT $1::int4", &[]).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}
