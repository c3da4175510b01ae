//! A server's reply: it prints as JSON or is refused, and canonical text reads back as the same bytes.
#![no_main]

use bulkhead::wire::extended_json::{Form, parse_extended_json, print_extended_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("bson_in"), |document: &[u8]| {
    if let Ok(relaxed) = print_extended_json(document, Form::Relaxed) {
        let json: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&relaxed);
        assert!(json.is_ok(), "{relaxed}");
    }
    if let Ok(canonical) = print_extended_json(document, Form::Canonical)
        && let Ok(again) = parse_extended_json(&canonical)
        && let Ok(printed) = print_extended_json(&again, Form::Canonical)
    {
        // Reading puts the options of a regular expression into the order that BSON asks for.
        if !canonical.contains("$regularExpression") {
            assert_eq!(canonical, printed);
        }
        let again = parse_extended_json(&printed).expect("it was read before");
        assert_eq!(print_extended_json(&again, Form::Canonical).expect("it was printed before"), printed);
    }
});
