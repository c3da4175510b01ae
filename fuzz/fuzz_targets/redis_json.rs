//! A reply of Redis: it prints as JSON or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 1 << 20;

fuzz_target!(init: bulkhead_fuzz::seed("redis_json"), |reply: &[u8]| {
    let Ok(value) = redis::parse_redis_value(reply) else {
        return;
    };
    let mut out = Vec::new();
    if bulkhead::wire::redis_json::write(&mut out, &value, BYTES_MAX).is_ok() {
        let json: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(&out);
        assert!(json.is_ok(), "{}", String::from_utf8_lossy(&out));
    }
});
