//! Pure encoders and decoders: no sockets, no policy.

pub mod extended_json;
pub mod json;
pub mod json_rows;
pub mod ndjson;
pub mod redis_json;
