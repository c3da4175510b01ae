//! The policy file: it compiles, or every fault is told.
#![no_main]

use bulkhead::decide::{Policy, PolicyFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("policy"), |text: &str| {
    let file = PolicyFile {
        path: "policy.toml".to_owned(),
        text: text.to_owned(),
    };
    match Policy::compile(&[file.clone()]) {
        Ok(policy) => {
            let again = Policy::compile(&[file]).expect("it compiled before");
            assert_eq!(policy.digest(), again.digest());
        }
        Err(faults) => assert!(!format!("{faults}").is_empty()),
    }
});
