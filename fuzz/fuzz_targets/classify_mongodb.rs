//! MongoDB's classifier: it ends, and the document that is sent touches what the one received does.
#![no_main]

use bulkhead::classify::{Session, mongodb};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: bulkhead_fuzz::seed("classify_mongodb"), |document: &[u8]| {
    for session in [Session::Shared, Session::Own] {
        let Ok(known) = mongodb::classify(document, "d", session) else {
            continue;
        };
        let (database, sent) = mongodb::without_database(document).expect("it was read before");
        let database = database.unwrap_or_else(|| "d".to_owned());
        let again = mongodb::classify(&sent, &database, session).expect("what is sent is understood");
        assert_eq!(known, again);
    }
});
