//! Takes the server's own words out of an answer: about a table with hidden columns, they may show what is hidden
//! (`Duplicate entry 'value' for key …`).

use bson::{Bson, Document, RawDocument};

use crate::error::{Code, Problem};

/// What is said instead.
const WITHHELD: &str =
    "the database refused it; its words are withheld, since the policy hides columns or rows here";

/// The error of a whole statement.
pub(super) fn from_problem(problem: &mut Problem) {
    if matches!(problem.code, Code::StoreError | Code::StoreConflict) {
        problem.detail = WITHHELD.to_owned();
    }
}

/// The errors of single writes in MongoDB's reply (BSON bytes): each keeps its place and code.
pub(super) fn from_reply(reply: &mut Vec<u8>) {
    // Few replies have any, and the others need not be decoded.
    let raw = RawDocument::from_bytes(reply.as_slice());
    if raw.is_ok_and(|raw| matches!(raw.get("writeErrors"), Ok(None))) {
        return;
    }
    let Ok(mut document) = Document::from_reader(reply.as_slice()) else {
        return;
    };
    let Ok(errors) = document.get_array_mut("writeErrors") else {
        return;
    };
    for error in errors.iter_mut() {
        let mut told = Document::new();
        for name in ["index", "code"] {
            if let Some(value) = error.as_document().and_then(|error| error.get(name)) {
                told.insert(name, value.clone());
            }
        }
        told.insert("errmsg", WITHHELD);
        *error = Bson::Document(told);
    }
    if let Ok(bytes) = document.to_vec() {
        *reply = bytes;
    }
}
