//! The HTTP front door's bodies.
#![no_main]

use bulkhead::accept::body;
use bulkhead::operation::Store;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("request_body"), |bytes: &[u8]| {
    let _ = body::query(bytes, Store::Postgres);
    let _ = body::mongodb(bytes);
    let _ = body::redis_command(bytes);
    let _ = body::redis_pipeline(bytes);
    let _ = body::explain(bytes);
});
