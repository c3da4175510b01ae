//! MySQL's classifier: it ends, and what it would send instead touches what the original does.
#![no_main]

use bulkhead::classify::{Session, mysql::classify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("classify_mysql"), |sql: &str| {
    for session in [Session::Shared, Session::Own] {
        let Ok(known) = classify(sql, session) else {
            continue;
        };
        if let Some(sent) = &known.rewritten {
            let again = classify(sent, session).expect("what is sent is understood");
            assert_eq!(known.touches, again.touches);
            assert_eq!(known.functions, again.functions);
        }
    }
});
