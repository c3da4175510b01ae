//! Values in PostgreSQL's binary format.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("decode_postgres"), |data: &[u8]| {
    if let Some((oid, value)) = data.split_first_chunk::<2>() {
        bulkhead::execute::postgres::fuzz_decode(u32::from(u16::from_be_bytes(*oid)), value);
    }
});
