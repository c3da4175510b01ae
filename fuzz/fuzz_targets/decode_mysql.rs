//! Values as MySQL and MariaDB send them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("decode_mysql"), |data: &[u8]| {
    if let Some(([kind, flags], value)) = data.split_first_chunk::<2>() {
        bulkhead::execute::mysql::fuzz_decode(*kind, *flags, value);
    }
});
