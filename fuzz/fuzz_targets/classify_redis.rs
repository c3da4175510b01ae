//! Redis' classifier: it ends, and case in a command's name means nothing.
#![no_main]

use bulkhead::classify::{
    Session,
    redis::{blocks, classify},
};
use bulkhead_fuzz::SEPARATOR;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("classify_redis"), |line: &[u8]| {
    let mut command: Vec<Vec<u8>> = line.split(|byte| *byte == SEPARATOR).map(<[u8]>::to_vec).collect();
    blocks(&command);
    for session in [Session::Shared, Session::Own] {
        let known = classify(&command, session).ok();
        command[0].make_ascii_uppercase();
        assert_eq!(known, classify(&command, session).ok());
    }
});
