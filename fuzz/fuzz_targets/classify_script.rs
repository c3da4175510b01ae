//! Scripts: the proof ends, and never gives a key that the command does not declare.
#![no_main]

use bulkhead::classify::{Session, redis::classify};
use bulkhead::operation::Object;
use bulkhead_fuzz::SCRIPT_ARGUMENTS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("classify_script"), |script: &[u8]| {
    let mut command = vec![b"EVAL".to_vec(), script.to_vec()];
    command.extend(SCRIPT_ARGUMENTS.map(|word| word.as_bytes().to_vec()));
    if let Ok(known) = classify(&command, Session::Shared) {
        for touch in &known.touches {
            if let Object::Key(key) = &touch.object {
                assert!(command[3..7].contains(key), "{touch:?}");
            }
        }
    }
});
