//! Extended JSON in: what is read prints as text that reads back as the same bytes.
#![no_main]

use bulkhead::wire::extended_json::{Form, parse_extended_json, print_extended_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("extended_json"), |text: &str| {
    let Ok(document) = parse_extended_json(text) else {
        return;
    };
    let _ = print_extended_json(&document, Form::Relaxed);
    let Ok(printed) = print_extended_json(&document, Form::Canonical) else {
        return;
    };
    let again = parse_extended_json(&printed).expect("what is printed can be read");
    assert_eq!(document, again, "{printed}");
});
