//! MongoDB Extended JSON, version 2: between the JSON of a request or reply and the BSON of the server.
//!
//! Exact in both directions: keys keep their order, 64-bit integers, decimals, dates and NaN keep their value,
//! and what cannot be kept is an error. The `bson` crate's own conversion goes through maps, where a repeated
//! key silently replaces the first.
//!
//! Specification: MongoDB's `extended-json.md`.

mod parse;
mod print;
mod wrapper;

pub use parse::parse_extended_json;
pub use print::{Form, print_extended_json, write_extended_json};

use crate::error::{Code, Problem, PublicError};

/// Deepest nesting of a document that is printed; the server's own limit is 200.
pub const DEPTH_MAX: usize = 200;

/// Why a text is not Extended JSON, or bytes are not BSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not valid JSON: {0}")]
    Json(String),
    #[error("the document must be a JSON object")]
    NotADocument,
    #[error("the key `{0}` is repeated")]
    RepeatedKey(String),
    #[error("the key `{0}` has a NUL character, which BSON cannot hold")]
    NulInKey(String),
    #[error(
        "the number {0} fits neither 64 bits nor a double exactly: use {{\"$numberDecimal\": \"…\"}}"
    )]
    Number(String),
    #[error("`{wrapper}` must hold {wanted}")]
    Wrapper {
        wrapper: &'static str,
        wanted: &'static str,
    },
    #[error("the document nests deeper than {DEPTH_MAX} levels")]
    Depth,
    #[error("not valid BSON: {0}")]
    Bson(String),
}

impl PublicError for Error {
    fn problem(&self) -> Problem {
        Problem::new(Code::RequestInvalid, self.to_string())
    }
}

#[cfg(test)]
mod tests;
