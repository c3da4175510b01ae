//! PostgreSQL's classifier: it ends, whatever the text, and says the same twice.
#![no_main]

use bulkhead::classify::{Session, postgres::classify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("classify_postgres"), |sql: &str| {
    for session in [Session::Shared, Session::Own] {
        let known = classify(sql, session);
        assert_eq!(known, classify(sql, session));
    }
});
