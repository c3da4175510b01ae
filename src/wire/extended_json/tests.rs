use super::*;

#[track_caller]
fn same(text: &str) {
    let bytes = parse_extended_json(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(print_extended_json(&bytes, Form::Canonical).unwrap(), text);
    // What the relaxed form shows reads back as the same values, types of numbers apart.
    let relaxed = print_extended_json(&bytes, Form::Relaxed).unwrap();
    let again = parse_extended_json(&relaxed).unwrap_or_else(|error| panic!("{relaxed}: {error}"));
    assert_eq!(print_extended_json(&again, Form::Relaxed).unwrap(), relaxed);
}

#[test]
fn canonical_text_survives_unchanged() {
    for text in [
        r#"{}"#,
        r#"{"z":"1","a":{"$numberInt":"1"},"m":null,"t":true,"e":""}"#,
        r#"{"a":{"$numberLong":"9223372036854775807"},"b":{"$numberLong":"-9223372036854775808"}}"#,
        r#"{"a":{"$numberLong":"1"}}"#,
        r#"{"a":{"$numberDouble":"1.0"},"b":{"$numberDouble":"-0.0"},"c":{"$numberDouble":"NaN"}}"#,
        r#"{"a":{"$numberDouble":"Infinity"},"b":{"$numberDouble":"-Infinity"}}"#,
        r#"{"a":{"$numberDouble":"0.1"},"b":{"$numberDouble":"1e-300"},"c":{"$numberDouble":"1.7976931348623157e308"}}"#,
        r#"{"a":{"$numberDecimal":"1.10"},"b":{"$numberDecimal":"-1E-6143"},"c":{"$numberDecimal":"NaN"}}"#,
        r#"{"a":{"$numberDecimal":"1234567890123456789012345678901234"}}"#,
        r#"{"a":{"$oid":"65f000000000000000000001"},"b":{"$symbol":"s"}}"#,
        r#"{"a":{"$date":{"$numberLong":"1700000000123"}},"b":{"$date":{"$numberLong":"-1"}}}"#,
        r#"{"a":{"$date":{"$numberLong":"9223372036854775807"}}}"#,
        r#"{"a":{"$binary":{"base64":"AP8=","subType":"80"}},"b":{"$binary":{"base64":"","subType":"00"}}}"#,
        r#"{"a":{"$regularExpression":{"pattern":"^a\\.b","options":"im"}}}"#,
        r#"{"a":{"$timestamp":{"t":4294967295,"i":1}},"b":{"$minKey":1},"c":{"$maxKey":1}}"#,
        r#"{"a":{"$code":"x"},"b":{"$code":"y","$scope":{"n":{"$numberInt":"1"}}},"c":{"$undefined":true}}"#,
        r#"{"a":{"$dbPointer":{"$ref":"d.c","$id":{"$oid":"65f000000000000000000001"}}}}"#,
        r#"{"a":{"$ref":"c","$id":{"$numberInt":"1"}},"b":{"$regex":"x","$options":"i"},"c":{"$type":"string"}}"#,
        r#"{"a":[[],[{"$numberInt":"1"},{"b":[]}]],"":"é\u0000\"\\"}"#,
    ] {
        same(text);
    }
}

#[test]
fn relaxed_forms_are_read() {
    let canonical = |text: &str| {
        print_extended_json(&parse_extended_json(text).unwrap(), Form::Canonical).unwrap()
    };
    for (text, expected) in [
        (r#"{"a":1}"#, r#"{"a":{"$numberInt":"1"}}"#),
        (
            r#"{"a":2147483648}"#,
            r#"{"a":{"$numberLong":"2147483648"}}"#,
        ),
        (r#"{"a":1.0}"#, r#"{"a":{"$numberDouble":"1.0"}}"#),
        // BSON keeps a regular expression's options in this order.
        (
            r#"{"a":{"$regularExpression":{"pattern":"o","options":"mi"}}}"#,
            r#"{"a":{"$regularExpression":{"pattern":"o","options":"im"}}}"#,
        ),
        (r#"{"a":-0}"#, r#"{"a":{"$numberDouble":"-0.0"}}"#),
        // A parser that is off by one unit in the last place would show here.
        (
            r#"{"a":31.245270191439438}"#,
            r#"{"a":{"$numberDouble":"31.245270191439438"}}"#,
        ),
        (
            r#"{"a":0.3878149323828375}"#,
            r#"{"a":{"$numberDouble":"0.3878149323828375"}}"#,
        ),
        (
            r#"{"a":9223372036854775808}"#,
            r#"{"a":{"$numberDouble":"9.223372036854776e18"}}"#,
        ),
        (
            r#"{"a":{"$date":"2024-05-01T00:00:00.5+02:00"}}"#,
            r#"{"a":{"$date":{"$numberLong":"1714514400500"}}}"#,
        ),
        (
            r#"{"a":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"}}"#,
            r#"{"a":{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}}"#,
        ),
    ] {
        assert_eq!(canonical(text), expected);
    }
    let relaxed = |text: &str| {
        print_extended_json(&parse_extended_json(text).unwrap(), Form::Relaxed).unwrap()
    };
    for text in [
        r#"{"a":{"$date":"2024-05-01T00:00:00Z"},"b":{"$date":"2024-05-01T00:00:00.007Z"}}"#,
        r#"{"a":{"$date":{"$numberLong":"-1"}},"b":9007199254740993,"c":1.5}"#,
    ] {
        assert_eq!(relaxed(text), text);
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (text, why) in [
        ("[]", "object"),
        ("{", "JSON"),
        ("{} {}", "JSON"),
        (r#"{"a":1,"a":2}"#, "repeated"),
        (r#"{"a":[{"b":1,"c":2,"b":3}]}"#, "repeated"),
        (
            r#"{"a":{"$oid":"65f000000000000000000001","$oid":"65f000000000000000000002"}}"#,
            "repeated",
        ),
        (r#"{"a\u0000b":1}"#, "NUL"),
        (r#"{"a":18446744073709551615}"#, "decimal"),
        (r#"{"a":{"$oid":"1"}}"#, "$oid"),
        (r#"{"a":{"$numberLong":1}}"#, "$numberLong"),
        (r#"{"a":{"$numberInt":"2147483648"}}"#, "$numberInt"),
        (r#"{"a":{"$numberDouble":"nan"}}"#, "$numberDouble"),
        (
            r#"{"a":{"$numberDecimal":"12345678901234567890123456789012345"}}"#,
            "$numberDecimal",
        ),
        (r#"{"a":{"$date":"2024-05-01T00:00:00.0001Z"}}"#, "$date"),
        (
            r#"{"a":{"$binary":{"base64":"!","subType":"00"}}}"#,
            "$binary",
        ),
        (r#"{"a":{"$timestamp":{"t":-1,"i":1}}}"#, "$timestamp"),
    ] {
        let error = parse_extended_json(text).expect_err(text).to_string();
        assert!(
            error.to_lowercase().contains(&why.to_lowercase()),
            "{text}: {error}"
        );
    }
    let keys: Vec<String> = (0..50_000).map(|n| format!("\"k{n}\":1")).collect();
    assert!(parse_extended_json(&format!("{{{}}}", keys.join(","))).is_ok());
    assert!(parse_extended_json(&format!("{{{},\"k7\":1}}", keys.join(","))).is_err());
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    assert!(matches!(parse_extended_json(&deep), Err(Error::Json(_))));
    assert!(print_extended_json(&[5, 0, 0, 0], Form::Relaxed).is_err());
}
