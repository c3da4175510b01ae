//! Takes the server's own words out of an answer: about a table with hidden columns, they may show what is hidden
//! (`Duplicate entry 'value' for key …`).

use bson::raw::cstr;
use bson::{RawArray, RawArrayBuf, RawDocument, RawDocumentBuf};

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

/// The errors of single writes in MongoDB's reply (BSON bytes): each keeps its place and code, and the reply
/// everything else, byte for byte. A reply that is not understood is shown to nobody.
pub(super) fn from_reply(reply: &mut Vec<u8>) {
    let told = RawDocument::from_bytes(reply.as_slice()).and_then(|raw| {
        // Few replies have any, and the others need not be written anew.
        match raw.get("writeErrors")? {
            Some(_) => without_words(raw).map(Some),
            None => Ok(None),
        }
    });
    match told {
        Ok(None) => {}
        Ok(Some(told)) => *reply = told.into_bytes(),
        Err(_) => *reply = RawDocumentBuf::new().into_bytes(),
    }
}

fn without_words(reply: &RawDocument) -> bson::error::Result<RawDocumentBuf> {
    let mut told = RawDocumentBuf::new();
    for element in reply {
        let (name, value) = element?;
        if name == cstr!("writeErrors") {
            let errors = value.as_array().map(places_and_codes).transpose()?;
            told.append(name, errors.unwrap_or_default());
        } else {
            told.append(name, value);
        }
    }
    Ok(told)
}

fn places_and_codes(errors: &RawArray) -> bson::error::Result<RawArrayBuf> {
    let mut told = RawArrayBuf::new();
    for error in errors {
        let mut one = RawDocumentBuf::new();
        if let Some(error) = error?.as_document() {
            for element in error {
                let (name, value) = element?;
                if [cstr!("index"), cstr!("code")].contains(&name) {
                    one.append(name, value);
                }
            }
        }
        one.append(cstr!("errmsg"), WITHHELD);
        told.push(one);
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    fn told(reply: &RawDocumentBuf) -> Vec<u8> {
        let mut bytes = reply.as_bytes().to_vec();
        from_reply(&mut bytes);
        bytes
    }

    #[test]
    fn each_error_keeps_its_place_and_code_alone() {
        let reply = doc! {"n": 1, "writeErrors": [
            {"index": 1, "code": 11000, "keyValue": {"email": "a@b"}, "errmsg": "dup key: { email: \"a@b\" }"},
        ], "ok": 1.0};
        let told = told(&RawDocumentBuf::try_from(&reply).unwrap());
        assert_eq!(
            Document::from_reader(told.as_slice()).unwrap(),
            doc! {"n": 1, "writeErrors": [{"index": 1, "code": 11000, "errmsg": WITHHELD}], "ok": 1.0}
        );
    }

    #[test]
    fn the_rest_is_kept_byte_for_byte_and_what_is_no_reply_not_shown() {
        let mut reply = RawDocumentBuf::new();
        reply.append(cstr!("twice"), 1);
        reply.append(cstr!("twice"), 2);
        assert_eq!(told(&reply), reply.as_bytes());
        let mut with_errors = reply.clone();
        with_errors.append(cstr!("writeErrors"), RawArrayBuf::new());
        assert_eq!(told(&with_errors), with_errors.as_bytes());
        let mut broken = b"\x06\0\0\0a\0".to_vec();
        from_reply(&mut broken);
        assert_eq!(broken, RawDocumentBuf::new().as_bytes());
    }
}
